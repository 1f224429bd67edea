"""Two processes on one thing at once: whoever comes second finds it done, and nothing is done twice.

The slow one stops before or after each of its outside calls, one after the other, while the other one goes
all the way. (Not before a commit: there it holds the write lock, and the other one waits.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from crash_ledger import difference, dump, outbox_faults
from crash_stage import LEASE_AND_MORE, Bench, Checkpoint, Stage, add_list, never, person, picture, sha256_of

from coverguard.model import Basis, Category, ListAction, Surface, VerdictOutcome
from coverguard.ports import Reach
from coverguard.review import Opinion
from coverguard.testing.faults import Death, FaultPlan
from coverguard.testing.platform import Upload
from coverguard.worker import Heartbeat

pytestmark = pytest.mark.thorough

WATCH = Surface.PROFILE_IMAGE
SURFACES = {"gate": Surface.PLAYLIST_COVER, "watch": WATCH}


class Scene:
    """A bench, and a checkpoint at which a listed cover of each mode lies there, not announced yet."""

    def __init__(self, bench: Bench, uploads: dict[str, Upload], start: Checkpoint) -> None:
        self.bench, self.uploads, self.start = bench, uploads, start


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Iterator[Scene]:
    root = tmp_path_factory.mktemp("together")
    bench = Bench(root / "home")
    with bench.stage() as stage:
        put = stage.platform.upload
        renditions = {"gate": {}, "watch": {"named": ["300.jpg"], "found": ["64.jpg"]}}
        uploads = {
            mode: put(picture(20), cover_id=mode, uploader="ann", surface=surface, **renditions[mode])
            for mode, surface in SURFACES.items()
        }
        digests = [sha256_of(picture(20))]
        add_list(stage, "industry", category=Category.CHILD_ABUSE, action=ListAction.HOLD, digests=digests)
        start = bench.save(stage, root / "start")
    yield Scene(bench, uploads, start)
    bench.close()


def serve_elsewhere(stage: Stage) -> None:
    """Let another worker serve everything that is visible once the slow one's lease has run out."""
    stage.clock.sleep(LEASE_AND_MORE)
    worker = stage.other().worker()
    heartbeat = Heartbeat(lease=stage.settings.lease, log=stage.log)
    while stage.depth()["visible"]:
        worker.serve_once(heartbeat, never())


def places(calls: list[str]) -> Iterator[tuple[int, str]]:
    for number, name in enumerate(calls, start=1):
        if name != "database.commit":
            yield number, "before"
        yield number, "after"


@pytest.mark.parametrize("mode", SURFACES)
def test_two_workers_on_one_message_at_every_point_of_it(scene, mode):
    def run(plan: FaultPlan) -> dict[str, list[str]]:
        with scene.bench.stage(scene.start, plan=plan) as stage:
            holder.append(stage)
            stage.announce(scene.uploads[mode])
            stage.survive(lambda: stage.worker.serve_once(stage.heartbeat, never()))
            plan.stop()
            stage.settle_down()
            assert not outbox_faults(stage.home)
            assert not stage.log.counters["bug"]
            lost.append(stage.log.counters["lease_lost"])
            return dump(stage.home)

    holder: list[Stage] = []
    lost: list[int] = []
    calls = FaultPlan()
    clean = run(calls)
    found = {}
    for number, when in places(calls.calls):
        plan = FaultPlan(fail_at={number}, when=when, instead=lambda: serve_elsewhere(holder[-1]))
        if faults := difference(clean, run(plan)):
            found[f"{when} call {number}, {calls.calls[number - 1]}"] = faults
        assert plan.failed, "nobody came in between"
    assert not found
    assert sum(lost) > 0, "the slow one never noticed"


# ── holds and releases that cross ──────────────────────────────────────────────────────────────────────────


def opinion() -> Opinion:
    return Opinion(category=Category.CHILD_ABUSE, reason="seen", basis=Basis.VIEWED)


def confirm_after_all(stage: Stage, upload: Upload) -> None:
    """Somebody appeals the clearance, and somebody confirms."""
    review, item = stage.other().review(), stage.item(upload)
    review.reopen(item, actor=person("su"), opinion=opinion())
    review.claim(item, actor=person("vi"))
    review.confirm(item, actor=person("vi"), opinion=opinion())


def clear_elsewhere(stage: Stage, upload: Upload) -> None:
    """Two people clear it, through another process that puts it back."""
    for name in ("mo", "jo"):
        review, item = stage.other().review(), stage.item(upload)
        review.claim(item, actor=person(name))
        review.clear(item, actor=person(name), opinion=opinion())


def reached(stage: Stage, upload: Upload) -> list[Reach]:
    return [stage.probe.ask(url, sha256=b"") for url in stage.platform.urls(upload.key)]


def held(scene: Scene, stage: Stage, mode: str) -> Upload:
    upload = scene.uploads[mode]
    stage.announce(upload)
    stage.serve()
    stage.settle_down()
    stage.decide(upload, VerdictOutcome.CLEAR, by="mo")
    return upload


def releasing_calls(scene: Scene, mode: str) -> list[str]:
    """What the second person's clearance does outside, in order."""
    with scene.bench.stage(scene.start) as stage:
        upload = held(scene, stage, mode)
        before = len(stage.plan.calls)
        stage.decide(upload, VerdictOutcome.CLEAR, by="jo")
        return stage.plan.calls[before:]


@pytest.mark.parametrize("then_dies", [pytest.param(False, marks=pytest.mark.long), True])
@pytest.mark.parametrize("mode", SURFACES)
def test_what_is_claimed_again_while_it_is_put_back_ends_blocked(scene, mode, then_dies):
    calls = releasing_calls(scene, mode)
    decided = calls.index("database.commit", calls.index("database.commit") + 1) + 1  # the clearance itself
    for number, when in places(calls):
        if number <= decided:
            continue
        with scene.bench.stage(scene.start) as stage:
            upload = held(scene, stage, mode)
            act = crossing(stage, upload, dies=then_dies)
            stage.replan(FaultPlan(fail_at={number}, when=when, instead=act))
            stage.decide(upload, VerdictOutcome.CLEAR, by="jo")
            assert stage.plan.failed
            stage.plan.stop()
            stage.settle_down()
            told = f"{when} call {number}, {calls[number - 1]}"
            assert stage.state(upload) == "confirmed", told
            assert set(reached(stage, upload)) == {Reach.GONE}, told
            assert stage.store.current(upload.event.object.bucket, upload.event.object.key) is None, told
            live = "SELECT group_concat(DISTINCT state) FROM quarantine WHERE ended_at IS NULL"
            assert stage.one(live) == "held", told
            assert not stage.platform.shown[upload.key], told
            assert not outbox_faults(stage.home), told


def crossing(stage: Stage, upload: Upload, *, dies: bool) -> Callable[[], None]:
    def act() -> None:
        confirm_after_all(stage, upload)
        if dies:
            raise Death("after somebody else had confirmed")

    return act


@pytest.mark.parametrize("mode", SURFACES)
def test_a_block_that_comes_after_its_release_does_not_stay(scene, mode):
    """A worker stops inside a hold; others hold, clear and put back; then it goes on."""
    with scene.bench.stage(scene.start) as stage:
        stage.announce(scene.uploads[mode])
        stage.serve()
        calls = stage.plan.calls
    begun, done = calls.index("store.block"), len(calls)
    for number, when in places(calls[:done]):
        if number <= begun:
            continue
        with scene.bench.stage(scene.start) as stage:
            upload = scene.uploads[mode]

            def act(stage: Stage = stage, upload: Upload = upload) -> None:
                serve_elsewhere(stage)
                clear_elsewhere(stage, upload)

            stage.replan(FaultPlan(fail_at={number}, when=when, instead=act))
            stage.announce(upload)
            stage.survive(lambda: stage.worker.serve_once(stage.heartbeat, never()))
            assert stage.plan.failed
            stage.plan.stop()
            stage.settle_down()
            told = f"{when} call {number}, {calls[number - 1]}"
            assert stage.state(upload) == "cleared", told
            assert Reach.GONE not in reached(stage, upload), told
            assert stage.store.current(upload.event.object.bucket, upload.event.object.key), told
            assert stage.one("SELECT count(*) FROM quarantine WHERE ended_at IS NULL") == 0, told
            assert stage.platform.shown[upload.key], told
            assert not outbox_faults(stage.home), told


def test_two_people_at_once_are_served_one_after_the_other(scene):
    """The same person twice, or two at one claim: one verdict."""
    with scene.bench.stage(scene.start) as stage:
        upload = held(scene, stage, "gate")
        item, review = stage.item(upload), stage.deployment.review()
        review.claim(item, actor=person("jo"))
        stage.other().review().clear(item, actor=person("jo"), opinion=opinion())
        with pytest.raises(Exception, match="claim the item"):
            review.clear(item, actor=person("jo"), opinion=opinion())
        stage.clock.sleep(timedelta(seconds=10))
        stage.settle_down()
        assert stage.verdicts(upload, by="jo") == 1
