"""One deployment in this process, on a folder of its own, that can be killed at any outside call."""

from __future__ import annotations

import copy
import os
import secrets
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial
from pathlib import Path

import pytest

from coverguard import imaging, settings
from coverguard.acting import Enforcer
from coverguard.bootstrap import INCOMING, UPLOADS, Deployment
from coverguard.errors import TransientError
from coverguard.hashlist import ListRow
from coverguard.local.cdn import NoCdn
from coverguard.local.folder import FolderStore
from coverguard.local.keys import LocalKeys
from coverguard.model import (
    Actor,
    Algorithm,
    Basis,
    Category,
    Channel,
    Done,
    Fingerprint,
    ListAction,
    Micros,
    VerdictOutcome,
)
from coverguard.policy import ListRule
from coverguard.preparing import prepare
from coverguard.review import Opinion
from coverguard.screening import Eyes
from coverguard.store import lists
from coverguard.store.engine import Database
from coverguard.store.queue import TableQueue
from coverguard.store.topics import QueueTopic
from coverguard.telemetry import Log
from coverguard.testing.faults import (
    Death,
    FaultPlan,
    FaultyCdn,
    FaultyDatabase,
    FaultyProbe,
    FaultyQueue,
    FaultyStore,
)
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import InProcessProbe, Platform, StillClock, Upload
from coverguard.testing.vouching import vouch
from coverguard.worker import Heartbeat, Worker

START = Micros(1_700_000_000_000_000)
SIDE = 200
LEASE_AND_MORE = timedelta(seconds=61)
ACTS_ARE_TAKEN_UP = timedelta(seconds=6)
LOST_MESSAGES_ARE_SENT_AGAIN = timedelta(minutes=11)
TWO_HOURS = timedelta(hours=2)


@cache
def picture(seed: int) -> bytes:
    return encode(draw(Kind.SCENE, seed, side=SIDE))


@cache
def fingerprint(data: bytes, *, for_lists: bool = False) -> Fingerprint:
    """The real one, once for the same bytes: nothing here is about imaging."""
    return imaging.fingerprint(data, for_lists=for_lists)


def person(name: str) -> Actor:
    return Actor(name=name, roles=frozenset({"moderator", "senior_moderator"}), channel=Channel.CLI)


class FaultyDeployment(Deployment):
    """What bootstrap wires, with everything outside wrapped in one fault plan."""

    __slots__ = ("plan", "quiet")

    def queue(self, name: str):
        # the queue fails as a whole: what its own transaction does before or after is the same to its users
        return FaultyQueue(TableQueue(self.quiet, name, clock=self.clock), self.plan)

    def topic(self, name: str):
        return QueueTopic(self.queue(name))

    def sealer(self):
        # does not fail here: it is not part of the road, and its own tests fail it at every call
        return replace(Deployment.sealer(self), database=self.quiet)

    def enforcer(self) -> Enforcer:
        return replace(Deployment.enforcer(self), cdn=FaultyCdn(NoCdn(), self.plan))

    def eyes(self) -> Eyes:
        return replace(Deployment.eyes(self), fingerprint=fingerprint)


@dataclass(frozen=True)
class Checkpoint:
    """A stage at rest: its folder, its clock and what the platform remembers."""

    home: Path
    now: Micros
    memory: dict


class Bench:
    """What one home's stages share, one after the other: a path, keys and two engines with warm caches."""

    def __init__(self, home: Path, *, toml: str = "") -> None:
        self.home = prepared(home, toml=toml)
        self.settings = settings.load(home)
        self.keys = LocalKeys.open_or_create(home / "keys")
        self.database = FaultyDatabase(self.settings.database_url, plan=FaultPlan(), durable=False)
        self.observer = Database(self.settings.database_url, durable=False)

    def stage(self, checkpoint: Checkpoint | None = None, *, plan: FaultPlan | None = None) -> Stage:
        """Set up the stage, as it was at the checkpoint."""
        self.close()
        stage = Stage(self, plan=plan or FaultPlan(), checkpoint=checkpoint)
        if checkpoint is None:
            return stage
        memory = copy.deepcopy(checkpoint.memory)
        stage.told = memory.pop("told")
        vars(stage.platform).update(memory)
        return stage

    def restore(self, checkpoint: Checkpoint) -> None:
        for name in ("ledger.db-wal", "ledger.db-shm"):
            (self.home / name).unlink(missing_ok=True)
        shutil.copyfile(checkpoint.home / "ledger.db", self.home / "ledger.db")
        for name in ("objects", "elsewhere", "heads"):
            mirror(checkpoint.home / name, self.home / name)

    def save(self, stage: Stage, to: Path) -> Checkpoint:
        stage.close()
        for name in ("elsewhere", "heads"):
            (self.home / name).mkdir(exist_ok=True)
        to.mkdir()
        shutil.copyfile(self.home / "ledger.db", to / "ledger.db")
        for name in ("objects", "elsewhere", "heads"):
            shutil.copytree(self.home / name, to / name)
        memory = {name: getattr(stage.platform, name) for name in ("_seen", "_put", "shown")}
        return Checkpoint(to, stage.clock.now(), copy.deepcopy(memory | {"told": stage.told}))

    def close(self) -> None:
        """Close every connection; the last one takes the write-ahead log into the file."""
        self.database.close()
        self.observer.close()


class Stage:
    """A deployment between two checkpoints."""

    def __init__(self, bench: Bench, *, plan: FaultPlan, checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None:
            bench.restore(checkpoint)
        self.bench, self.home, self.settings, self.keys = bench, bench.home, bench.settings, bench.keys
        self.plan = bench.database.plan = plan
        self.observer = bench.observer
        self.clock = StillClock(checkpoint.now if checkpoint else START)
        self.store = FolderStore(
            root=self.home / "objects",
            buckets=self.settings.readable_buckets,
            vault=self.settings.vault_bucket,
            durable=False,
        )
        self.probe = InProcessProbe(settings=self.settings, store=self.store)
        self.platform = Platform(settings=self.settings, store=self.store, clock=self.clock)
        self.eye = sqlite3.connect(self.home / "ledger.db", isolation_level=None, check_same_thread=False)
        self.told: list[str] = []  # bodies that came out of the safety topic
        self.deaths = 0
        self.log = Log(stream=None)
        self._start()

    # ── life ───────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        self.deployment = FaultyDeployment(
            settings=self.settings,
            database=self.bench.database,
            store=FaultyStore(self.store, self.plan),
            keys=self.keys,
            probe=FaultyProbe(self.probe, self.plan),
            clock=self.clock,
            log=self.log,
        )
        object.__setattr__(self.deployment, "plan", self.plan)
        object.__setattr__(self.deployment, "quiet", self.observer)
        self.worker: Worker = self.deployment.worker()
        self.keeper = self.deployment.keeper()
        self.heartbeat = Heartbeat(lease=self.settings.lease, log=self.log)  # never started

    def other(self) -> Deployment:
        """Another process of the same deployment, in which nothing fails."""
        return Deployment(
            settings=self.settings,
            database=self.observer,
            store=self.store,
            keys=self.keys,
            probe=self.probe,
            clock=self.clock,
            log=self.log,
        )

    def replan(self, plan: FaultPlan) -> None:
        """Start a new process, with this plan."""
        self.plan = self.bench.database.plan = plan
        self.restart()

    def restart(self) -> None:
        """What a supervisor does after a process has died: all connections and all memory are new."""
        self.bench.database.close()
        self.deaths += 1
        self._start()

    def close(self) -> None:
        self.eye.close()
        self.bench.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ── messages ───────────────────────────────────────────────────────────────────────────────────────────

    def queue(self, name: str) -> TableQueue:
        """A queue as others see it: its calls are not counted."""
        return TableQueue(self.observer, name, clock=self.clock)

    def announce(self, *uploads: Upload) -> None:
        self.queue(UPLOADS).send([upload.body for upload in uploads])

    def depth(self) -> Counter[str]:
        """How many incoming messages there are, by state."""
        now, marks = self.clock.now(), ",".join("?" * len(INCOMING))
        rows = self.eye.execute(
            f"SELECT visible_at <= ?, receipt IS NOT NULL FROM queue_message WHERE queue IN ({marks})",
            (now, *INCOMING),
        )
        return Counter("visible" if ready else "leased" if leased else "delayed" for ready, leased in rows)

    def serve(self) -> bool:
        """Serve what is visible, as `Worker.run` does but without waiting; return whether there was any."""
        served = False
        while self.depth()["visible"]:
            served = True
            self.survive(lambda: self.worker.serve_once(self.heartbeat, never()))
            assert not self.heartbeat._in_hand, "the lease of a message that nobody works on would never end"
        return served

    def survive(self, act: Callable[[], object]) -> bool:
        """Do something; a transient error is left to the next time, a death is followed by a restart."""
        try:
            act()
        except TransientError:
            return False
        except Death:
            self.restart()
            return False
        return True

    def tick(self) -> bool:
        """Run the keeper's steps once, then the platform; return whether anything but telling was done."""
        did: Counter[str] = Counter()
        for name in [step.__name__ for step in self.keeper.steps()]:
            self.survive(lambda name=name: did.update({name: self._step(name)()}))
        self.platform.consume(self.queue("pipeline"))
        safety = self.queue("safety")
        for delivery in safety.receive(limit=50, wait=timedelta(), lease=TWO_HOURS):
            self.told.append(delivery.body)
            safety.settle(delivery, Done())
        did.pop("relay", None)
        return did.total() > 0

    def _step(self, name: str) -> Callable[[], int]:
        """The step of the keeper that there is now: a death on the way makes a new one."""
        (step,) = (step for step in self.keeper.steps() if step.__name__ == name)
        return step

    def settle_down(self, *, waiting: bool = False) -> None:
        """Go on, and let time pass, until nothing is left to do; `waiting`: but for a message's retries."""
        while True:
            self.serve()
            left = self.depth()
            if left["leased"]:
                self.clock.sleep(LEASE_AND_MORE)
                continue
            self.clock.sleep(ACTS_ARE_TAKEN_UP)
            if left["delayed"] and not (waiting and self.one(RETRYING)):
                continue
            if not left and self.one(RETRYING):
                self.clock.sleep(LOST_MESSAGES_ARE_SENT_AGAIN)
            if not self.tick():
                return

    # ── people ─────────────────────────────────────────────────────────────────────────────────────────────

    def decide(self, upload: Upload, outcome: VerdictOutcome, *, by: str) -> None:
        """A person claims and decides, and tries again until the verdict is in the ledger."""
        for _ in range(20):  # an attempt in nine dies in a storm
            if self.verdicts(upload, by=by):
                return
            self.survive(partial(self._try_to_decide, self.item(upload), outcome, person(by)))
        raise AssertionError("a person could not decide")

    def _try_to_decide(self, item: str, outcome: VerdictOutcome, actor: Actor) -> None:
        review = self.deployment.review()
        opinion = Opinion(category=Category.CHILD_ABUSE, reason="seen", basis=Basis.MATCH_RECORD)
        verb = review.confirm if outcome is VerdictOutcome.CONFIRM else review.clear
        review.claim(item, actor=actor)
        verb(item, actor=actor, opinion=opinion)

    def one(self, query: str, *values: object) -> object:
        row = self.eye.execute(query, values).fetchone()
        return row[0] if row else None

    def item(self, upload: Upload) -> str:
        return str(self.one(f"SELECT case_item.ref {OF_COVER}", *upload.key))

    def state(self, upload: Upload) -> str:
        return str(self.one(f"SELECT case_item.state {OF_COVER}", *upload.key))

    def verdicts(self, upload: Upload, *, by: str) -> int:
        query = f"SELECT count(*) {OF_COVER} AND verdict.actor = ?".replace(
            "WHERE", "JOIN verdict ON verdict.item_id = case_item.id WHERE"
        )
        return int(str(self.one(query, *upload.key, by)))


SHARES = [8, pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
"""Of all calls a fault is tried at: one in so many, others each run, and in the long run each."""


def one_in(share: int, all_of_them: Iterable[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """Every second, third, … of them, from a random one on, which is printed."""
    start = secrets.randbelow(share)
    print(f"from the one numbered {start} on, one in {share}")
    return list(all_of_them)[start::share]


RETRYING = "SELECT id FROM screening WHERE retry_at IS NOT NULL"
OF_COVER = (
    "FROM case_item JOIN cover_version ON cover_version.id = case_item.cover_version_id "
    "WHERE surface = ? AND cover_id = ? AND version = ?"
)


class never:  # noqa: N801 - reads as a word where it is used
    """A stop that never comes."""

    def is_set(self) -> bool:
        return False


def mirror(source: Path, target: Path) -> None:
    """Make one folder what the other is. The store replaces files, so a link is as good as a copy."""
    target.mkdir(exist_ok=True)
    with os.scandir(target) as found:
        there = {entry.name: entry for entry in found}
    with os.scandir(source) as found:
        for entry in found:
            mine = there.pop(entry.name, None)
            if entry.is_dir():
                mirror(source / entry.name, target / entry.name)
            elif mine is None or mine.inode() != entry.inode():
                (target / entry.name).unlink(missing_ok=True)
                os.link(entry.path, target / entry.name)
    for name, entry in there.items():
        if entry.is_dir():
            shutil.rmtree(target / name)
        else:
            (target / name).unlink()


def prepared(home: Path, *, toml: str = "") -> Path:
    """A migrated deployment without lists."""
    home.mkdir(mode=0o700, parents=True)
    (home / settings.FILE).write_text("takedown_threads = 1\n" + toml)
    prepare(home)
    LocalKeys.open_or_create(home / "keys")
    return home


def add_list(
    stage: Stage,
    name: str,
    *,
    category: Category,
    action: ListAction,
    digests: list[tuple[Algorithm, bytes]],
) -> None:
    rule = ListRule(list_id=0, version=0, category=category, action=action)
    rows = [
        ListRow(source_entry_id=f"{name}-{number}", algorithm=algorithm, digest=digest)
        for number, (algorithm, digest) in enumerate(digests)
    ]
    with stage.observer.transaction() as tx:
        now = stage.clock.now()
        list_id, _ = lists.create(
            tx, name=name, source="invented", rule=rule, actor="ann", note="generated", now=now
        )
        vouch(tx, list_id, now=now)
        lists.write_entries(tx, stage.keys, list_id=list_id, rows=rows, now=now)


def sha256_of(data: bytes) -> tuple[Algorithm, bytes]:
    return Algorithm.SHA256, fingerprint(data).digests["sha256"]


def pdq_of(data: bytes) -> tuple[Algorithm, bytes]:
    return Algorithm.PDQ, fingerprint(data).views[0].signals["pdq"]
