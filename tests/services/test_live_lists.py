"""A list change reaches every process as what it is, neither late nor never, and nothing else is read again.

The truth is kept beside the ledger; after each step what a process knows of the lists, having read changes
only, is compared with it, and with what somebody knows who has read everything just now.
"""

from __future__ import annotations

import functools
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import insert, select, update
from world import StandingClock, World, exact, fingerprint, near, off_by, picture

from coverguard.errors import ConfigurationError, TransientError
from coverguard.hashlist import ListRow
from coverguard.local.keys import PURPOSES, LocalKeys
from coverguard.matching import layers
from coverguard.model import Algorithm, Category, Done, Fingerprint, ListAction, Micros, Opinion, View
from coverguard.policy import ListRule
from coverguard.ports import Delivery
from coverguard.screening import KnowledgeCache
from coverguard.screening.knowledge import STALE_AFTER, Knowledge, unread
from coverguard.store import lists
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.store.schema import hash_list, list_change, list_entry, screening
from coverguard.telemetry import Log, Pulse
from coverguard.testing.servers import Postgres
from coverguard.worker import Worker

pytestmark = pytest.mark.thorough

NOW = Micros(1_800_000_000_000_000)
SECOND = timedelta(seconds=1)
SOON = 60
KEYS = LocalKeys({name: bytes([number + 1]) * 32 for number, name in enumerate(PURPOSES)})
BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)]
RULE = ListRule(list_id=0, version=0, category=Category.OTHER, action=ListAction.HOLD, phash256_radius=10)


@contextmanager
def on_postgresql(postgres: Postgres) -> Iterator[Database]:
    name = f"live_{uuid.uuid4().hex}"
    database = Database(postgres.create_database(name), durable=False)
    try:
        migrate(database)
        yield database
    finally:
        database.close()
        postgres.drop_database(name)


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        with on_postgresql(request.getfixturevalue("postgres")) as made:
            yield made
        return
    shutil.copy(request.getfixturevalue("migrated_ledger"), tmp_path / "ledger.db")
    made = Database(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False)
    yield made
    made.close()


class Ledger:
    """The verbs, each in a transaction of its own, and a process that keeps up with them."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, StandingClock()
        self.cache = self.process()

    def process(self) -> KnowledgeCache:
        return KnowledgeCache(self.database, KEYS, clock=self.clock)

    def make(self, name: str = "industry", rule: ListRule = RULE) -> int:
        with self.database.transaction() as tx:
            return lists.create(tx, name=name, source="s", rule=rule, actor="Ada", note="n", now=NOW)[0]

    def write(self, list_id: int, *rows: ListRow, **other: object) -> int:
        with self.database.transaction() as tx:
            return lists.write_entries(tx, KEYS, list_id=list_id, rows=rows, now=NOW, **other)

    def withdraw(self, list_id: int, *names: str) -> None:
        with self.database.transaction() as tx:
            lists.withdraw(tx, list_id=list_id, source_entry_ids=names, now=NOW)

    def switch(self, list_id: int, *, enabled: bool) -> None:
        with self.database.transaction() as tx:
            lists.switch(tx, list_id, enabled=enabled, now=NOW)

    def add_rule(self, list_id: int, rule: ListRule) -> None:
        with self.database.transaction() as tx:
            lists.add_rule(tx, list_id, rule, actor="Ada", note="n", now=NOW)

    def current(self) -> Knowledge:
        """What the process knows a second later."""
        self.clock.go_on(SECOND)
        return self.cache.current()

    def read_whole(self) -> Knowledge:
        return self.process().current()


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How the lists were read, one word a reading."""
    said: list[str] = []
    for name in ("load", "changes"):
        act = getattr(lists, name)
        monkeypatch.setattr(
            lists, name, lambda *args, name=name, act=act, **other: said.append(name) or act(*args, **other)
        )
    return said


@functools.cache
def digest_of(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed + 100).bytes(size)


def row(name: str, *, seed: int = 1, bits: int = 0, algorithm: Algorithm = Algorithm.PDQ, **facts: object):
    value = digest_of(seed, algorithm.size)
    return ListRow(source_entry_id=name, algorithm=algorithm, digest=off_by(value, bits), **facts)


def shown(seed: int) -> Fingerprint:
    """A picture that has every digest of that seed."""
    digests = {name: digest_of(seed, size) for name, size in (("md5", 16), ("sha1", 20), ("sha256", 32))}
    signals = {"pdq": digest_of(seed, 32), "phash256": digest_of(seed, 32)}
    views = (View(name="displayed", quality=80, signals=signals),)
    return Fingerprint(digests=digests, views=views, format="PNG", width=64, height=64)


def matched(knowledge: Knowledge, seed: int = 1) -> list[int]:
    return [one.entry_id for one in knowledge.matches(shown(seed), now=NOW)]


def same(one: Knowledge, other: Knowledge) -> None:
    assert one.seq == other.seq
    assert one.index.sizes == other.index.sizes
    assert one.index.perceptual == other.index.perceptual
    assert dict(one.snapshot.entries) == dict(other.snapshot.entries)
    assert one.snapshot.rules == other.snapshot.rules
    assert one.snapshot.suppressions == other.snapshot.suppressions
    for seed in range(3):
        assert one.matches(shown(seed), now=NOW) == other.matches(shown(seed), now=NOW)


# ── whatever happens to lists ──────────────────────────────────────────────────────────────────────────────

NAMES = st.sampled_from("abcdef")
WHICH = st.integers(0, 1)
ALGORITHMS = st.sampled_from([Algorithm.PDQ, Algorithm.PHASH256, Algorithm.SHA256, Algorithm.MD5])
RADII = st.sampled_from([-1, 0, 20, 31, 53])


class Lists(RuleBasedStateMachine):
    ledger: Ledger  # of the subclass

    @initialize()
    def begin(self) -> None:
        number = uuid.uuid4().hex
        self.lists = [self.ledger.make(f"{number} {one}") for one in range(2)]
        self.rules = [RULE, RULE]
        self.enabled = [True, True]
        self.truth: dict[tuple[int, str, Algorithm], bytes] = {}
        self.theirs = set(self.lists)

    @rule(which=WHICH, data=st.data(), names=st.sets(NAMES, min_size=1))
    def list_some(self, which: int, data: st.DataObject, names: set[str]) -> None:
        rows = []
        for name in sorted(names):
            seed, bits = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 60))
            opinion = data.draw(st.sampled_from([Opinion.POSITIVE, Opinion.SEED]))
            one = row(name, seed=seed, bits=bits, algorithm=data.draw(ALGORITHMS), opinion=opinion)
            rows.append(one)
            self.truth[which, name, one.algorithm] = one.digest
        self.ledger.write(self.lists[which], *rows)

    @rule(which=WHICH, names=st.sets(NAMES, min_size=1))
    def withdraw(self, which: int, names: set[str]) -> None:
        self.ledger.withdraw(self.lists[which], *sorted(names))
        self.truth = {key: one for key, one in self.truth.items() if key[0] != which or key[1] not in names}

    @rule(which=WHICH, pdq=RADII, phash=RADII)
    def rule_otherwise(self, which: int, pdq: int, phash: int) -> None:
        self.rules[which] = replace(RULE, pdq_radius=pdq, phash256_radius=phash)
        self.ledger.add_rule(self.lists[which], self.rules[which])

    @rule(which=WHICH)
    def switch(self, which: int) -> None:
        self.enabled[which] = not self.enabled[which]
        self.ledger.switch(self.lists[which], enabled=self.enabled[which])

    @rule()
    def begin_anew(self) -> None:
        self.ledger.cache = self.ledger.process()

    @rule()
    def keep_up(self) -> None:
        """Not after every step: changes come together, too."""
        known = self.ledger.current()
        same(known, self.ledger.read_whole())
        sizes: dict[tuple[int, Algorithm], int] = {}
        for which, _, algorithm in self.truth:
            if self.enabled[which] and self.rules[which].radius(algorithm) >= 0:
                key = (self.lists[which], algorithm)
                sizes[key] = sizes.get(key, 0) + 1
        ours = {key: count for key, count in known.index.sizes.items() if key[0] in self.theirs}
        assert ours == sizes
        for seed in range(3):
            assert self.found(known, seed) == self.near(seed)

    def found(self, known: Knowledge, seed: int) -> set[tuple[int, Algorithm, int]]:
        matches = known.matches(shown(seed), now=NOW)
        return {(m.list_id, m.algorithm, m.distance) for m in matches if m.list_id in self.theirs}

    def near(self, seed: int) -> set[tuple[int, Algorithm, int]]:
        """What the definition says of upright views, where nothing else is near."""
        found = set()
        for (which, _, algorithm), digest in self.truth.items():
            own = digest_of(seed, algorithm.size)
            distance = (int.from_bytes(own) ^ int.from_bytes(digest)).bit_count()
            if self.enabled[which] and distance <= self.rules[which].radius(algorithm):
                found.add((self.lists[which], algorithm, distance))
        return found

    @invariant()
    def a_poll_with_nothing_new_gives_the_same(self) -> None:
        if self.ledger.cache.age() is not None:
            assert self.ledger.current() is self.ledger.current()

    def teardown(self) -> None:
        if hasattr(self, "lists"):
            self.keep_up()
            for one in self.lists:
                self.ledger.switch(one, enabled=False)


@pytest.mark.parametrize(("least", "share"), [(4096, 8), (3, 2)])
def test_who_reads_changes_knows_what_who_reads_everything_knows(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, least: int, share: int
) -> None:
    monkeypatch.setattr(layers, "LEAST", least)
    monkeypatch.setattr(layers, "SHARE", share)
    these = type("These", (Lists,), {"ledger": ledger})
    few = settings(
        max_examples=max(5, settings().max_examples // 4),
        stateful_step_count=14,
        phases=[Phase.reuse, Phase.generate],  # what fails is short, and a ledger takes its time
    )
    run_state_machine_as_test(these, settings=few)


# ── what is read again ─────────────────────────────────────────────────────────────────────────────────────


def test_a_change_is_read_as_what_it_is(ledger: Ledger, readings: list[str]) -> None:
    one, other = ledger.make(), ledger.make("other")
    ledger.write(one, row("a"), row("b", algorithm=Algorithm.SHA256))
    ledger.write(other, row("a"), row("c", seed=2))
    assert len(matched(ledger.current())) == 3
    del readings[:]
    ledger.withdraw(one, "a")
    assert len(matched(ledger.current())) == 2
    ledger.switch(other, enabled=False)
    assert len(matched(ledger.current())) == 1
    ledger.add_rule(one, replace(RULE, action=ListAction.REFER))
    (found,) = ledger.current().matches(shown(1), now=NOW)
    assert found.action is ListAction.REFER
    ledger.current()
    assert readings == ["changes"] * 3


def test_only_what_counts_anew_is_opened(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = ledger.make(), ledger.make("other")
    ledger.write(one, *(row(str(n), seed=n, algorithm=Algorithm.MD5) for n in range(20)), row("x"))
    ledger.write(other, *(row(str(n), seed=n) for n in range(20)))
    ledger.add_rule(one, replace(RULE, pdq_radius=-1))
    ledger.current()
    opened = []
    real = LocalKeys.open
    monkeypatch.setattr(
        LocalKeys, "open", lambda self, *args, **other: opened.append(1) or real(self, *args, **other)
    )
    ledger.add_rule(one, replace(RULE, pdq_radius=53))  # has its one PDQ read; then it lies apart
    ledger.current()
    ledger.add_rule(other, replace(RULE, pdq_radius=53))  # is moved, not read
    same(ledger.current(), ledger.read_whole())
    assert len(opened) == 1 + 41


@pytest.mark.parametrize("what", ["kind", "past", "shorter past"])
def test_where_changes_do_not_say_everything_it_is_read_whole(
    ledger: Ledger, readings: list[str], what: str
) -> None:
    listed = ledger.make()
    ledger.write(listed, row("a"))
    ledger.write(listed, row("b"))
    ledger.current()
    del readings[:]
    with ledger.database.transaction() as tx:
        tx.execute(update(list_entry).values(withdrawn_at=NOW))  # under no number
        newest = lists.newest_seq(tx)
        if what == "shorter past":
            tx.execute(list_change.delete().where(list_change.c.seq == newest))
        else:
            kind = "novel" if what == "kind" else "entries"
            tx.execute(insert(list_change).values(list_id=listed, kind=kind, entries=0, at=NOW))
        if what == "past":
            tx.execute(update(list_change).where(list_change.c.seq == newest).values(at=NOW - 1))
    assert matched(ledger.current()) == []
    assert readings == ["changes", "load"]


def test_an_entry_of_a_plug_in_that_is_not_here_is_never_passed_over(ledger: Ledger) -> None:
    listed = ledger.make()
    ledger.write(listed, row("a"))
    ledger.current()
    seq = ledger.write(listed, row("b"))
    with ledger.database.transaction() as tx:
        tx.execute(update(list_entry).where(list_entry.c.changed_seq == seq).values(algorithm="luma.1"))
    with pytest.raises(TransientError, match="cannot be read") as caught:
        ledger.current()
    assert isinstance(caught.value.__cause__, ConfigurationError)
    with pytest.raises(TransientError):
        ledger.cache.require_loaded()
    ledger.withdraw(listed, "b")
    assert len(matched(ledger.current())) == 1


def test_nothing_known_shows_a_digest(ledger: Ledger) -> None:
    listed = ledger.make()
    ledger.write(listed, row("a"))
    ledger.current()
    ledger.write(listed, row("b"))
    with ledger.database.reading() as tx:
        found = lists.changes(tx, KEYS, since=ledger.cache.current().snapshot)
    known = ledger.current()
    digest = repr(digest_of(1, 32))[2:-1]
    assert not [one for one in (found, known, known.index, known.snapshot.entries) if digest in repr(one)]
    assert not len(known.snapshot.digests)


# ── changes that commit late ───────────────────────────────────────────────────────────────────────────────


class Writer:
    """A transaction in a thread of its own, which does its part and commits when it is told to."""

    def __init__(self, pool: ThreadPoolExecutor, database: Database, act: Callable) -> None:
        self.done, self._go_on = threading.Event(), threading.Event()
        self._ended: Future[object] = pool.submit(self._run, database, act)

    def _run(self, database: Database, act: Callable) -> object:
        with database.transaction() as tx:
            result = act(tx)
            self.done.set()
            assert self._go_on.wait(SOON)
            return result

    def commit(self) -> object:
        self._go_on.set()
        return self._ended.result(SOON)


@pytest.mark.servers
def test_no_reader_skips_a_change_that_commits_late(postgres: Postgres) -> None:
    """Of two writers at once the first has the lower number, and the other waits to have any."""
    with on_postgresql(postgres) as database, ThreadPoolExecutor(4) as pool:
        ledger = Ledger(database)
        listed = ledger.make()
        ledger.current()

        def write(name: str) -> Callable:
            return lambda tx: lists.write_entries(tx, KEYS, list_id=listed, rows=[row(name)], now=NOW)

        first = Writer(pool, database, write("a"))
        assert first.done.wait(SOON)
        second = Writer(pool, database, write("b"))
        second._go_on.set()
        assert not second.done.wait(0.3)
        assert matched(ledger.current()) == []
        seq = first.commit()
        later = second.commit()
        assert seq < later
        assert len(matched(ledger.current())) == 2
        third = Writer(pool, database, write("c"))
        assert third.done.wait(SOON)
        assert len(matched(ledger.current())) == 2
        third.commit()
        assert len(matched(ledger.current())) == 3
        same(ledger.current(), ledger.read_whole())


def test_readers_keep_up_with_several_writers(ledger: Ledger) -> None:
    """Each reading is of one moment: it has all changes up to its number and none after it."""
    listed = [ledger.make(name) for name in "xyz"]
    ledger.current()
    together, over = threading.Barrier(len(listed) + 2), threading.Event()

    def write(list_id: int) -> None:
        together.wait(SOON)
        for number in range(12):
            ledger.write(list_id, *(row(f"{number} {n}", seed=number) for n in range(3)))
            ledger.withdraw(list_id, f"{number} 0")

    def read() -> Knowledge:
        cache = ledger.process()
        together.wait(SOON)
        while not over.is_set():
            ledger.clock.go_on(SECOND)
            known = cache.current()
            with ledger.database.reading() as tx:
                theirs = select(list_change.c.kind, list_change.c.entries).where(
                    list_change.c.seq <= known.seq
                )
                counts = [entries for kind, entries in tx.execute(theirs) if kind == "entries"]
            assert len(known.index) == sum(n if n == 3 else -n for n in counts)
        ledger.clock.go_on(SECOND)
        return cache.current()

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write, one) for one in listed]
        try:
            for one in writers:
                one.result(SOON)
        finally:
            over.set()
        for reader in readers:
            same(reader.result(SOON), ledger.read_whole())


# ── between match and commit ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=BOTH)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        if request.param == "postgresql":
            made = stack.enter_context(on_postgresql(request.getfixturevalue("postgres")))
            world = World(tmp_path, made)
        else:
            world = request.getfixturevalue("make_world")()
        world.deliver(world.announce(picture(2), "warm").body)
        yield world


def answer(world: World) -> tuple[str, int, int]:
    """The decision on c1, what it was given at, and the number of the newest entry."""
    with world.database.reading() as tx:
        found = tx.execute(select(screening).order_by(screening.c.id.desc()).limit(1)).one()
        entry = tx.execute(select(list_entry.c.changed_seq)).scalar_one()
    return found.decision, found.judged_seq, entry


def test_what_is_listed_between_match_and_commit_has_a_higher_number(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a barrier: the entry is committed when the cover was matched, and before its answer is stored."""
    matched, listed = threading.Event(), threading.Event()
    real = Knowledge.matches

    def matches(self: Knowledge, seen: Fingerprint, *, now: Micros):
        found = real(self, seen, now=now)
        matched.set()
        assert listed.wait(SOON)
        return found

    monkeypatch.setattr(Knowledge, "matches", matches)
    with ThreadPoolExecutor(1) as pool:
        upload = world.announce(picture(1), "c1")
        handled = pool.submit(world.deliver, upload.body)
        assert matched.wait(SOON)
        world.list_of(exact(picture(1)))
        listed.set()
        assert isinstance(handled.result(SOON), Done)
    decision, judged, entry = answer(world)
    assert decision == "pass"
    assert judged < entry, "a sweep for this entry finds the cover"


@pytest.mark.servers
def test_what_is_listed_while_the_answer_is_stored_has_a_higher_number(
    postgres: Postgres, tmp_path: Path
) -> None:
    with on_postgresql(postgres) as database:
        world = World(tmp_path, database)
        recorder = world.intake.screener.recorder

        class Between:
            def record(self, tx: object, *args: object, **other: object):
                done = recorder.record(tx, *args, **other)
                world.list_of(exact(picture(1)))  # is committed before this transaction is
                return done

        object.__setattr__(world.intake.screener, "recorder", Between())
        world.deliver(world.announce(picture(1), "c1").body)
        decision, judged, entry = answer(world)
        assert (decision, judged < entry) == ("pass", True)


def test_what_is_listed_while_a_cover_is_looked_at_is_found(world: World) -> None:
    eyes = world.intake.screener.eyes

    def slow(data: bytes, *, for_lists: bool = False) -> Fingerprint:
        if not for_lists:
            world.list_of(near(picture(1)))
            world.clock.go_on(SECOND)
        return fingerprint(data)

    object.__setattr__(world.intake.screener, "eyes", replace(eyes, fingerprint=slow))
    world.deliver(world.announce(picture(1), "c1").body)
    decision, judged, entry = answer(world)
    assert (decision, judged >= entry) == ("hold", True)


def test_lists_that_are_gone_when_a_cover_is_matched_are_no_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    eyes = world.intake.screener.eyes

    def slow(data: bytes, **_: object) -> Fingerprint:
        world.clock.go_on(SECOND)
        monkeypatch.setattr(lists, "newest", lambda _: (_ for _ in ()).throw(TransientError("gone")))
        return fingerprint(data)

    object.__setattr__(world.intake.screener, "eyes", replace(eyes, fingerprint=slow))
    upload = world.announce(picture(1), "c1")
    with pytest.raises(TransientError, match="gone"):
        world.deliver(upload.body)
    monkeypatch.undo()
    object.__setattr__(world.intake.screener, "eyes", eyes)
    assert isinstance(world.deliver(upload.body), Done)


# ── how old ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def file(tmp_path: Path, migrated_ledger: Path) -> Iterator[Ledger]:
    shutil.copy(migrated_ledger, tmp_path / "ledger.db")
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False)
    yield Ledger(database)
    database.close()


class Gate:
    """Holds up readings until it is opened, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.opened, self.count = threading.Semaphore(0), threading.Semaphore(0), 0
        real = lists.newest

        def newest(tx: object):
            self.count += 1
            self.entered.release()
            assert self.opened.acquire(timeout=SOON)
            return real(tx)

        monkeypatch.setattr(lists, "newest", newest)


@pytest.mark.parametrize(("later", "readings"), [(0.9, 1), (1.0, 2), (30, 2)])
def test_who_asks_during_a_reading_takes_it_only_if_it_is_new_enough(
    file: Ledger, monkeypatch: pytest.MonkeyPatch, later: float, readings: int
) -> None:
    file.current()
    file.clock.go_on(SECOND)
    gate = Gate(monkeypatch)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(file.cache.current)
        assert gate.entered.acquire(timeout=SOON)
        file.clock.go_on(timedelta(seconds=later))
        asked = threading.Event()
        now = file.clock.now
        file.clock.now = lambda: asked.set() or now()
        second = pool.submit(file.cache.current)
        assert asked.wait(SOON)
        assert not second.done()
        for _ in range(2):
            gate.opened.release()
        assert first.result(SOON) is second.result(SOON)
    assert gate.count == readings


def test_what_is_known_is_as_old_as_its_reading(file: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file.cache.age() is None
    with pytest.raises(TransientError):
        file.cache.require_fresh()
    file.cache.current()
    file.clock.go_on(STALE_AFTER)
    assert file.cache.age() == STALE_AFTER
    file.cache.require_fresh()
    file.clock.go_on(timedelta(microseconds=1))
    with pytest.raises(TransientError):
        file.cache.require_fresh()
    file.cache.current()
    file.cache.require_fresh()


def test_a_clock_that_is_set_back_makes_nothing_newer(file: Ledger) -> None:
    file.write(file.make(), row("a"))
    file.cache.current()
    file.write(1, row("b"))
    file.clock.go_on(-timedelta(hours=1))
    with pytest.raises(TransientError):
        file.cache.require_fresh()
    assert len(matched(file.cache.current())) == 2


def test_old_knowledge_never_stands_in_for_new(file: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    file.current()
    monkeypatch.setattr(lists, "newest", lambda _: (_ for _ in ()).throw(TransientError("gone")))
    file.cache.current()
    for _ in range(2):
        with pytest.raises(TransientError, match="gone"):
            file.current()
    monkeypatch.undo()
    file.cache.current()


def test_an_idle_worker_keeps_up(file: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coverguard.screening.knowledge.POLL", timedelta(milliseconds=20))
    faults, log = [], Log(StringIO())
    listed = file.make()
    first = file.current()
    known = threading.Event()
    real = Knowledge.changed
    monkeypatch.setattr(Knowledge, "changed", lambda *args: (real(*args), known.set())[0])

    def told(error: Exception) -> None:
        unread(log, error)
        faults.append(type(error.__cause__ or error))

    with file.cache.polling(told):
        for error in (TransientError("gone"), KeyError("a bug")):
            with pytest.MonkeyPatch.context() as unwell:
                unwell.setattr(lists, "newest", lambda _, error=error: (_ for _ in ()).throw(error))
                while type(error) not in faults:
                    threading.Event().wait(0.01)
        file.write(listed, row("a"))
        assert known.wait(SOON)
    assert log.counters["lists_unread"] >= 1
    assert log.counters["bug"] >= 1
    assert not [one for one in threading.enumerate() if one.name == "lists"]
    assert len(matched(file.cache.current())) == 1
    assert matched(first) == []


# ── a worker that does not know enough ─────────────────────────────────────────────────────────────────────


class Waiting:
    """A queue that says who asked it."""

    name = "uploads"

    def __init__(self) -> None:
        self.asked = 0

    def receive(self, **_: object) -> list[Delivery]:
        self.asked += 1
        return []


class Rounds(threading.Event):
    """Set after so many rounds of a worker's loop; tells what goes on in between."""

    def __init__(self, *each: Callable[[], object]) -> None:
        super().__init__()
        self.each = iter(each)

    def is_set(self) -> bool:
        step = next(self.each, None)
        if step is not None:
            step()
        return step is None

    def wait(self, timeout: float | None = None) -> bool:
        return False


def test_a_worker_that_knows_too_little_receives_nothing_and_says_so_once() -> None:
    queue, log, fresh, beats = Waiting(), Log(StringIO()), [True], []
    during: list[str] = []

    def ask() -> None:
        if not fresh[0]:
            raise TransientError("the lists were not read lately")

    @contextmanager
    def beside() -> Iterator[None]:
        during.append("begun")
        yield
        during.append("ended")

    pulse = Pulse("worker", "heartbeat")
    pulse.beat = beats.append
    worker = Worker(
        queues=[queue], handle=lambda _: Done(), lease=timedelta(minutes=1), log=log, pulse=pulse,
        may_receive=[ask], beside=[beside],
    )  # fmt: skip
    asked = []

    def state(*, now: bool) -> Callable[[], object]:
        return lambda: (asked.append(queue.asked), fresh.__setitem__(0, now))

    worker.run(Rounds(*(state(now=one) for one in (True, False, False, False, True, True, False))))
    assert [b > a for a, b in zip(asked, [*asked[1:], queue.asked], strict=True)] == [
        True, False, False, False, True, True, False,
    ]  # fmt: skip
    assert beats.count("worker") >= 7
    assert (log.counters["not_receiving"], log.counters["receiving"]) == (2, 1)
    assert during == ["begun", "ended"]


def test_the_deployments_worker_asks_its_lists(make_world: Callable[..., World]) -> None:
    world = make_world()
    (ask,) = world.worker.may_receive
    with pytest.raises(TransientError):
        ask()
    world.worker.checks["lists"].__self__.current()
    ask()
    world.clock.go_on(STALE_AFTER + SECOND)
    with pytest.raises(TransientError):
        ask()
    (begin,) = world.worker.beside
    with begin():
        assert [one for one in threading.enumerate() if one.name == "lists"]


def test_a_list_that_was_switched_off_by_hand_is_as_it_was_until_there_is_a_number(ledger: Ledger) -> None:
    """Whoever changes rows past the verbs is not noticed; `verify` and the next whole reading are."""
    ledger.write(ledger.make(), row("a"))
    ledger.current()
    with ledger.database.transaction() as tx:
        tx.execute(update(hash_list).values(enabled=False))
    assert len(matched(ledger.current())) == 1
    assert matched(ledger.read_whole()) == []
