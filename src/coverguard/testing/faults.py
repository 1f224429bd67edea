"""Faults on purpose: every outside operation is counted, and one fails before it was done, or after.

One `FaultPlan` is shared by the wrappers of one process, so that its calls have one numbering: object store,
queue, database (reads and commits), URL probe, CDN. `Death` stands for a killed process: nothing that is
shipped catches it. Apart from the call that fails, the wrappers pass everything through unchanged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, Literal

from coverguard.errors import TransientError
from coverguard.model import ObjectRef, Outcome
from coverguard.ports import (
    Cdn,
    Delivery,
    ObjectDescription,
    ObjectInfo,
    ObjectStore,
    Presence,
    Queue,
    Reach,
    UrlProbe,
)
from coverguard.store import Connection
from coverguard.store.engine import Database

When = Literal["before", "after"]

CHANGES_NOTHING: Final = frozenset(
    {"database.read", "store.read", "store.describe", "store.walk", "store.presence", "probe.ask"}
)
"""Operations that leave everything as it was."""


class Death(BaseException):
    """The process is gone. Whoever catches it starts a new one on what the old one left."""


class FaultPlan:
    """Counts the calls of one process from 1, and makes those in `fail_at` fail. Thread-safe."""

    def __init__(
        self,
        *,
        fail_at: Container[int] = (),
        when: When = "before",
        error: type[BaseException] = TransientError,
        instead: Callable[[], object] | None = None,
    ) -> None:
        """`instead` of failing somebody else acts there; before a commit they would wait for it for ever."""
        self._instead = instead
        self._fail_at = fail_at
        self._when = when
        self._error = error
        self._lock = threading.Lock()
        self._stopped = False
        self.calls: list[str] = []  # the operations asked for, in order
        self.failed: list[str] = []  # those of them that were made to fail

    def stop(self) -> None:
        """Neither count nor fail from now on."""
        self._stopped = True

    def begin(self, name: str) -> bool:
        """Count an operation that is about to be done, or fail before it; return whether to fail after it."""
        if self._stopped:
            return False
        with self._lock:
            self.calls.append(name)
            fails = len(self.calls) in self._fail_at
            if fails:
                self.failed.append(name)
        if fails and self._when == "before":
            self._strike(f"fault before {name}")
            return False
        return fails

    def end(self, name: str, *, fails: bool) -> None:
        if fails:
            self._strike(f"fault after {name}")

    def _strike(self, fault: str) -> None:
        if self._instead is None:
            raise self._error(fault)
        self._instead()

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Do one outside operation inside."""
        fails = self.begin(name)
        yield
        self.end(name, fails=fails)


class FaultyDatabase(Database):
    """Reads and commits may fail; a commit that fails before it was done is rolled back."""

    def __init__(self, url: str, *, plan: FaultPlan, durable: bool = True) -> None:
        super().__init__(url, durable=durable)
        self.plan = plan

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with super().transaction() as tx:
            yield tx
            fails = self.plan.begin("database.commit")
        self.plan.end("database.commit", fails=fails)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self.plan.call("database.read"), super().reading() as tx:
            yield tx


class FaultyStore:
    """`ports.ObjectStore`."""

    def __init__(self, inner: ObjectStore, plan: FaultPlan) -> None:
        self._inner = inner
        self._plan = plan

    def read(self, ref: ObjectRef, *, limit: int) -> bytes:
        with self._plan.call("store.read"):
            return self._inner.read(ref, limit=limit)

    def describe(self, ref: ObjectRef) -> ObjectDescription:
        with self._plan.call("store.describe"):
            return self._inner.describe(ref)

    def walk(self, bucket: str, *, prefix: str) -> Iterator[ObjectRef]:
        with self._plan.call("store.walk"):
            found = list(self._inner.walk(bucket, prefix=prefix))
        return iter(found)

    def presence(self, ref: ObjectRef) -> Presence:
        with self._plan.call("store.presence"):
            return self._inner.presence(ref)

    def block(self, ref: ObjectRef, *, token: str) -> Presence:
        with self._plan.call("store.block"):
            return self._inner.block(ref, token=token)

    def unblock(self, ref: ObjectRef, *, token: str) -> Presence:
        with self._plan.call("store.unblock"):
            return self._inner.unblock(ref, token=token)

    def keep(self, ref: ObjectRef, *, name: str) -> ObjectInfo:
        with self._plan.call("store.keep"):
            return self._inner.keep(ref, name=name)

    def restore(self, ref: ObjectRef, *, name: str) -> ObjectRef:
        with self._plan.call("store.restore"):
            return self._inner.restore(ref, name=name)


class FaultyQueue:
    """`ports.Queue`."""

    def __init__(self, inner: Queue, plan: FaultPlan) -> None:
        self._inner = inner
        self._plan = plan

    def send(self, bodies: Sequence[str], *, delay: timedelta = timedelta()) -> None:
        with self._plan.call("queue.send"):
            self._inner.send(bodies, delay=delay)

    def receive(self, *, limit: int, wait: timedelta, lease: timedelta) -> Sequence[Delivery]:
        with self._plan.call("queue.receive"):
            return self._inner.receive(limit=limit, wait=wait, lease=lease)

    def extend(self, delivery: Delivery, *, lease: timedelta) -> None:
        with self._plan.call("queue.extend"):
            self._inner.extend(delivery, lease=lease)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        with self._plan.call("queue.settle"):
            self._inner.settle(delivery, outcome)

    def depth(self) -> Mapping[str, int]:
        return self._inner.depth()


class FaultyProbe:
    """`ports.UrlProbe`. It never raises for what a server does, so a transient fault is an unknown answer."""

    def __init__(self, inner: UrlProbe, plan: FaultPlan) -> None:
        self._inner = inner
        self._plan = plan

    def ask(self, url: str, *, sha256: bytes) -> Reach:
        try:
            with self._plan.call("probe.ask"):
                return self._inner.ask(url, sha256=sha256)
        except TransientError:
            return Reach.UNKNOWN


class FaultyCdn:
    """`ports.Cdn`."""

    def __init__(self, inner: Cdn, plan: FaultPlan) -> None:
        self._inner = inner
        self._plan = plan

    def invalidate(self, keys: Sequence[tuple[str, str]]) -> None:
        with self._plan.call("cdn.invalidate"):
            self._inner.invalidate(keys)
