"""Workers, a keeper and people on one cover, their outside calls interleaved by a seeded chance.

Every actor is a thread with a process's parts of its own, and stops before each outside call (after a commit:
before one it holds the write lock) until the chance gives it its turn. However they cross, the last verdict
is what strangers see, and nothing was done twice.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from crash_ledger import outbox_faults
from crash_stage import (
    Bench,
    Checkpoint,
    FaultyDeployment,
    Stage,
    add_list,
    never,
    person,
    picture,
    sha256_of,
)

from coverguard.errors import IllegalTransition, NotFound, Refused
from coverguard.model import Basis, Category, ListAction, Surface
from coverguard.ports import Reach
from coverguard.review import Opinion, Review
from coverguard.store import covers
from coverguard.testing.faults import FaultPlan, FaultyDatabase, FaultyProbe, FaultyStore
from coverguard.testing.platform import Upload
from coverguard.worker import Heartbeat

pytestmark = pytest.mark.thorough
MANY = 100  # runs after which chance must have crossed something

ACTORS = ("one worker", "other worker", "keeper", "first", "second", "appeal")
LISTED = picture(40)


class Turns:
    """Lets one actor go on at a time, chosen by chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._mine = {name: threading.Semaphore(0) for name in ACTORS}
        self._back = threading.Semaphore(0)
        self._at_work: set[str] = set(ACTORS)
        self._errors: list[BaseException] = []

    def wait(self, name: str) -> None:
        self._back.release()
        self._mine[name].acquire()

    def run(self, acts: dict[str, Callable[[], None]]) -> None:
        threads = [threading.Thread(target=self._act, args=item) for item in acts.items()]
        for thread in threads:
            thread.start()
            self._back.acquire()
        while self._at_work:
            self._mine[self._chance.choice(sorted(self._at_work))].release()
            self._back.acquire()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _act(self, name: str, act: Callable[[], None]) -> None:
        self.wait(name)
        try:
            act()
        except BaseException as error:
            self._errors.append(error)
        self._at_work.remove(name)
        self._back.release()


class Turn(FaultPlan):
    """One actor's plan: nothing fails, and every call waits for its turn."""

    def __init__(self, turns: Turns, name: str) -> None:
        super().__init__()
        self._turns, self._name = turns, name

    def begin(self, name: str) -> bool:
        if name != "database.commit":
            self._turns.wait(self._name)
        return False

    def end(self, name: str, *, fails: bool) -> None:
        if name == "database.commit":
            self._turns.wait(self._name)


class Scene:
    def __init__(self, bench: Bench, uploads: dict[str, Upload], start: Checkpoint) -> None:
        self.bench, self.uploads, self.start = bench, uploads, start
        url = bench.settings.database_url
        self.databases = {name: FaultyDatabase(url, plan=FaultPlan(), durable=False) for name in ACTORS}

    def close(self) -> None:
        for database in self.databases.values():
            database.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Iterator[Scene]:
    root = tmp_path_factory.mktemp("interleaved")
    bench = Bench(root / "home")
    with bench.stage() as stage:
        surfaces = {"gate": Surface.PLAYLIST_COVER, "watch": Surface.PROFILE_IMAGE}
        uploads = {
            mode: stage.platform.upload(
                LISTED, cover_id=mode, uploader="ann", surface=surface, found=["64.jpg"] * (mode == "watch")
            )
            for mode, surface in surfaces.items()
        }
        uploads["silent"] = stage.platform.upload(
            picture(41), cover_id="silent", uploader="bo", surface=surfaces["watch"], found=["64.jpg"]
        )
        digests = [sha256_of(LISTED)]
        add_list(stage, "industry", category=Category.CHILD_ABUSE, action=ListAction.HOLD, digests=digests)
        start = bench.save(stage, root / "start")
    made = Scene(bench, uploads, start)
    yield made
    made.close()
    bench.close()


class Cast:
    """The actors of one run."""

    def __init__(self, scene: Scene, stage: Stage, upload: Upload, turns: Turns, *, appeal: str) -> None:
        self.stage, self.upload, self.appeal = stage, upload, appeal
        self._parts = {}
        for name in ACTORS:
            plan = scene.databases[name].plan = Turn(turns, name)
            parts = FaultyDeployment(
                settings=stage.settings,
                database=scene.databases[name],
                store=FaultyStore(stage.store, plan),
                keys=stage.keys,
                probe=FaultyProbe(stage.probe, plan),
                clock=stage.clock,
                log=stage.log,
            )
            object.__setattr__(parts, "plan", plan)
            object.__setattr__(parts, "quiet", stage.observer)
            self._parts[name] = parts

    def acts(self) -> dict[str, Callable[[], None]]:
        return {
            "one worker": lambda: self._work("one worker"),
            "other worker": lambda: self._work("other worker"),
            "keeper": self._keep,
            "first": lambda: self._insist("first", "clear", times=40),
            "second": lambda: self._insist("second", "clear", times=60),
            "appeal": self._appeal,
        }

    def _work(self, name: str) -> None:
        worker = self._parts[name].worker()
        heartbeat = Heartbeat(lease=self.stage.settings.lease, log=self.stage.log)
        for _ in range(2):
            worker.serve_once(heartbeat, never())

    def _keep(self) -> None:
        keeper = self._parts["keeper"].keeper()
        for _ in range(4):
            self.stage.clock.sleep(timedelta(seconds=6))
            keeper.answer_for_the_silent()
            keeper.finish_acts()
            keeper.verify_gone()
            keeper.find_late_renditions()

    def _insist(self, name: str, verb: str, *, times: int) -> None:
        """Claim and decide as soon as it can be done, once."""
        review: Review = self._parts[name].review()
        for _ in range(times):
            self._parts[name].plan.begin("person.looks")
            with suppress(IllegalTransition, Refused, NotFound):
                item = self.stage.item(self.upload)
                review.claim(item, actor=person(name))
                getattr(review, verb)(item, actor=person(name), opinion=opinion())
                return

    def _appeal(self) -> None:
        """Nobody appeals; or somebody reopens what was cleared; or confirms it after that, too."""
        review: Review = self._parts["appeal"].review()
        for _ in range(60 * (self.appeal != "none")):
            self._parts["appeal"].plan.begin("person.looks")
            with suppress(IllegalTransition, Refused, NotFound):
                review.reopen(self.stage.item(self.upload), actor=person("senior"), opinion=opinion())
                return self._insist("appeal", "confirm", times=5 * (self.appeal == "confirm"))
        return None


def opinion() -> Opinion:
    return Opinion(category=Category.CHILD_ABUSE, reason="seen", basis=Basis.VIEWED)


@pytest.mark.parametrize("mode", ["gate", "watch"])
@pytest.mark.parametrize("runs", [15, pytest.param(400, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_however_they_cross_the_last_verdict_is_what_strangers_see(scene, mode, runs):
    seed = secrets.randbelow(10**6)
    print(f"seed {seed}")
    upload = scene.uploads[mode]
    ends = set()
    for run in range(runs):
        scene.close()
        with scene.bench.stage(scene.start) as stage:
            stage.announce(upload, upload)
            chance = random.Random(seed + run)
            turns = Turns(chance)
            appeal = chance.choice(["none", "none", "reopen", "confirm"])
            turns.run(Cast(scene, stage, upload, turns, appeal=appeal).acts())
            scene.close()
            stage.settle_down()
            stage.keeper.find_late_renditions()  # one of the thirty looks of its quarter of an hour
            stage.settle_down()
            assert not wrong(stage, upload), f"seed {seed + run}"
            ends.add(stage.state(upload))
    print(f"ended {sorted(ends)}")
    assert len(ends) > 1 or runs < MANY, "the chance crossed nothing"


@pytest.mark.parametrize("runs", [15, pytest.param(400, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_an_answer_that_crosses_the_block_for_want_of_it_takes_it_away(scene, runs):
    """The keeper blocks a cover that nobody answered for; two workers answer at that moment: it passes."""
    seed = secrets.randbelow(10**6)
    print(f"seed {seed}")
    upload, states = scene.uploads["silent"], set()
    for run in range(runs):
        scene.close()
        with scene.bench.stage(scene.start) as stage:
            now = stage.clock.now()
            with stage.observer.transaction() as tx:
                covers.announce(tx, upload.event, mode=upload.mode, sent_at=now, now=now)
            stage.clock.sleep(timedelta(minutes=11))
            stage.announce(upload, upload)
            turns = Turns(random.Random(seed + run))
            acts = Cast(scene, stage, upload, turns, appeal="none").acts()
            turns.run(acts | dict.fromkeys(("first", "second", "appeal"), lambda: None))
            scene.close()
            stage.settle_down()
            reached = {stage.probe.ask(url, sha256=b"") for url in stage.platform.urls(upload.key)}
            told = f"seed {seed + run}"
            assert Reach.GONE not in reached, told
            assert stage.one("SELECT count(*) FROM quarantine WHERE ended_at IS NULL") == 0, told
            assert stage.one("SELECT decision FROM screening") == "pass", told
            assert stage.platform.shown[upload.key], told
            assert not stage.log.counters["bug"], told
            assert not stage.log.counters["unsettled"], told
            assert not outbox_faults(stage.home), told
            states.add(stage.one("SELECT group_concat(DISTINCT state) FROM quarantine"))
    print(f"quarantines ended {states}")
    assert len(states) > 1, "the chance crossed nothing"


def wrong(stage: Stage, upload: Upload) -> list[str]:
    """Say what does not fit the last verdict; an appeal leaves the cover as it is until somebody decides."""
    decided = "SELECT outcome FROM verdict WHERE kind IN ('second', 'decision') ORDER BY id DESC LIMIT 1"
    shown = stage.one(decided) == "clear"
    reached = [stage.probe.ask(url, sha256=b"") is not Reach.GONE for url in stage.platform.urls(upload.key)]
    lost = stage.store.current(upload.event.object.bucket, upload.event.object.key) is None
    live = stage.one("SELECT count(*) FROM quarantine WHERE ended_at IS NULL")
    unsettled = stage.one(
        "SELECT count(*) FROM quarantine WHERE state = 'requested' OR releasing_at IS NOT NULL"
    )
    counts = [stage.one(f"SELECT count(*) FROM {table}") for table in ("screening", "case_item", "case_file")]
    checks = {
        f"{stage.state(upload)}, and reached: {reached}": set(reached) == {shown},
        f"{stage.state(upload)}, and its bytes are hidden: {lost}": lost is not shown,
        f"{stage.state(upload)}, and the platform shows it": stage.platform.shown[upload.key] is shown,
        f"{live} rows live": (live == 0) is shown,
        f"{unsettled} rows unsettled": unsettled == 0,
        f"counts {counts}": counts == [1, 1, 1],
        f"bugs {stage.log.counters}": not stage.log.counters["bug"] and not stage.log.counters["unsettled"],
    }
    return [said for said, right in checks.items() if not right] + outbox_faults(stage.home)
