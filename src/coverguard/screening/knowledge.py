"""What this process knows of the lists: one immutable snapshot, followed by the next when a list changes.

Invariants: nobody is given knowledge that is more than a second behind the database at the time of asking,
and old knowledge never stands in for new. The first reading is of everything, later ones of what has changed.
How old knowledge is counts from when its reading *began*. One thread reads at a time. Who asks meanwhile
waits, and takes what was read if that began less than a second before it asked; else it reads itself, which
is then a matter of what has changed since. So a long reading is waited for once, and never begun twice.

A worker polls beside its deliveries, so that the first cover after a big change, or after a quiet hour, does
not wait for it; and asks `require_fresh` before it receives. Whether an answer given just before a change has
to be given again is not decided here: it says which change it was given at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, NamedTuple, Self

from coverguard.errors import ConfigurationError, IntegrityFailure, TransientError
from coverguard.imaging.signal_types import SignalTypes
from coverguard.matching import ListIndex
from coverguard.model import Fingerprint, Match, Micros, between, later
from coverguard.policy import judge, reach, withholds
from coverguard.ports import Clock, Keys
from coverguard.store import alarms, lists
from coverguard.store.engine import Database
from coverguard.store.lists import ListChanges, ListSnapshot
from coverguard.telemetry import Log

UNREADABLE: Final = ("lists_unreadable", "part:lists")
POLL: Final = timedelta(seconds=1)
STALE_AFTER: Final = timedelta(seconds=10)
ENDED_WITHIN: Final = 10  # seconds that a poll under way may take to end when the process does


class ListsUnknown(TransientError):
    """The lists could not be asked, and what was known of them is too old to go by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    snapshot: ListSnapshot
    index: ListIndex

    @classmethod
    def of(cls, snapshot: ListSnapshot, types: SignalTypes) -> Self:
        index = ListIndex(snapshot.digests, seq=snapshot.seq, wide=snapshot.wide, measures=types.measures)
        return cls(snapshot=snapshot.indexed(), index=index)

    def changed(self, changes: ListChanges) -> Knowledge:
        """Return what is known after these changes; what was known before stays as it is."""
        snapshot = changes.applied(self.snapshot)
        index = self.index.changed(
            upserts=changes.digests,
            removed=changes.removed,
            seq=snapshot.seq,
            wide=snapshot.wide,
            dropped=changes.dropped,
        )
        return Knowledge(snapshot=snapshot, index=index)

    @property
    def seq(self) -> int:
        """The list change this knowledge is as new as."""
        return self.snapshot.seq

    def known_lists(self) -> Mapping[int, bool]:
        """Whether clearing a match of a list takes two people, by list id."""
        return {list_id: rule.known for list_id, rule in self.snapshot.rules.items()}

    def withholds(self, *, now: Micros) -> bool:
        """Whether nothing may pass: a list that must be fresh for that is not."""
        return withholds(self.snapshot.rules, self.snapshot.refreshed, now=now)

    def heard(self, refreshed: Mapping[int, Micros]) -> Knowledge:
        """Return the same with when lists were last heard of."""
        if refreshed == self.snapshot.refreshed:
            return self
        return Knowledge(snapshot=replace(self.snapshot, refreshed=refreshed), index=self.index)

    def matches(self, fingerprint: Fingerprint, *, now: Micros) -> tuple[Match, ...]:
        """Every match, shadow and suppressed ones included and stopped ones not, strongest first."""
        rules = self.snapshot.rules
        near = reach((rule for rule in rules.values() if not rule.wide), algorithms=self.index.perceptual)
        far = reach((rule for rule in rules.values() if rule.wide), algorithms=self.index.perceptual)
        candidates = self.index.candidates(
            fingerprint, radius=near.radius, wide=far.radius, complement=near.complement or far.complement
        )
        return judge(
            candidates,
            fingerprint,
            entries=self.snapshot.entries,
            rules=rules,
            suppressions=self.snapshot.suppressions,
            stops=self.snapshot.stops,
            now=now,
        )


class _Read(NamedTuple):
    knowledge: Knowledge
    began_at: Micros


class KnowledgeCache:
    """Keeps knowledge fresh: asks for the newest list change at most once a second, and reads what is new."""

    def __init__(
        self, database: Database, keys: Keys, *, clock: Clock, types: SignalTypes | None = None
    ) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._types = types or SignalTypes()
        self._read: _Read | None = None  # replaced whole, so that it can be looked at without the turn
        self._turn = threading.Lock()  # to read

    def current(self) -> Knowledge:
        """Return knowledge that is at most a second behind the database.

        Raises:
            TransientError: the database does not answer, and old knowledge is not used in its stead; or a
                list row does not open, and it rings until the lists can be read.
        """
        asked_at = self._clock.now()
        known = self._known_at(asked_at)
        if known is None:
            with self._turn:
                known = self._known_at(asked_at) or self._poll()
        return known

    def _known_at(self, asked_at: Micros) -> Knowledge | None:
        """What is known, if its reading began late enough for who asked then. Clocks may be set back."""
        read = self._read
        if read is None or not later(asked_at, -POLL) < read.began_at <= self._clock.now():
            return None
        return read.knowledge

    # ── for those who wait for messages ────────────────────────────────────────────────────────────────────

    def require_loaded(self) -> None:
        """Say whether the lists were read; may be asked from another thread.

        Raises:
            TransientError: not yet, or not any more.
        """
        if self._read is None:
            raise ListsUnknown("the lists were not read yet")

    def age(self) -> timedelta | None:
        """How long ago the last reading began that came to its end; None before the first."""
        read = self._read
        return None if read is None else between(read.began_at, self._clock.now())

    def require_fresh(self) -> None:
        """Say whether it makes sense to begin with a cover; may be asked from another thread.

        Raises:
            TransientError: the lists were not read for `STALE_AFTER`.
        """
        age = self.age()
        if age is None or not timedelta() <= age <= STALE_AFTER:
            raise ListsUnknown("the lists were not read lately")

    @contextmanager
    def polling(self, told: Callable[[Exception], object]) -> Iterator[None]:
        """Poll every second from a thread, as long as the block lasts; `told` is given what goes wrong."""
        stop = threading.Event()
        thread = threading.Thread(target=self._keep_polling, args=(stop, told), name="lists", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(ENDED_WITHIN)

    def _keep_polling(self, stop: threading.Event, told: Callable[[Exception], object]) -> None:
        while not stop.wait(POLL.total_seconds()):
            try:
                with self._turn:
                    self._poll()
            except Exception as error:  # noqa: BLE001 - without this thread an idle worker would stop
                told(error)

    # ── reading ────────────────────────────────────────────────────────────────────────────────────────────

    def _poll(self) -> Knowledge:
        """Ask what the newest change is, and come to know it; by who has the turn."""
        began_at = self._clock.now()
        try:
            knowledge = self._newest()
        except TransientError as error:
            raise ListsUnknown(str(error)) from error.__cause__ or error
        self._read = _Read(knowledge, began_at)
        return knowledge

    def _newest(self) -> Knowledge:
        known = None if self._read is None else self._read.knowledge
        try:
            made = self._after(known)
        except (IntegrityFailure, ConfigurationError) as error:
            self._read = None
            self._ring(broken=True)
            raise TransientError("the lists cannot be read") from error
        if made is not known:
            self._ring(broken=False)
        return made

    def _after(self, known: Knowledge | None) -> Knowledge:
        changes: ListChanges | None = None
        with self._database.reading() as tx:
            if known is not None:
                if lists.newest(tx) == known.snapshot.newest:
                    return known.heard(lists.refreshed(tx, known.snapshot.rules))
                changes = lists.changes(
                    tx, self._keys, since=known.snapshot, algorithms=self._types.algorithms
                )
            if changes is None:
                snapshot = lists.load(tx, self._keys, algorithms=self._types.algorithms)
        if known is not None and changes is not None:
            return known.changed(changes)
        return Knowledge.of(snapshot, self._types)

    def _ring(self, *, broken: bool) -> None:
        kind, subject = UNREADABLE
        with self._database.reading() as tx:
            rings = any((one.kind, one.subject) == UNREADABLE for one in alarms.ringing(tx))
        if rings == broken:  # a look takes no write lock, and lists change all the time
            return
        with self._database.transaction() as tx:
            now = self._clock.now()
            if broken:
                alarms.ring(tx, kind=kind, subject=subject, now=now)
            else:
                alarms.quiet(tx, kind=kind, subject=subject, now=now)


def unread(log: Log, error: Exception) -> None:
    """Say in the log that a poll failed."""
    if isinstance(error, TransientError):
        log.line("lists_unread", error=type(error.__cause__ or error).__name__)
    else:
        log.bug(error)
