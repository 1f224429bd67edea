"""A fault at every outside call of a takedown and of its lifting: nothing stays public, nothing is lost.

What is compared is not rows but what strangers are served, what is kept, and what the safety team is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from crash_ledger import outbox_faults
from crash_stage import SHARES, START, Bench, Checkpoint, Stage, one_in, picture

from coverguard.errors import TransientError
from coverguard.messages import AccountReinstated, AccountTerminated, from_micros
from coverguard.messages import dump as body_of
from coverguard.model import Surface
from coverguard.testing.faults import CHANGES_NOTHING, Death, FaultPlan

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(900)]

HER = "her-account"
WATCH = Surface.PROFILE_IMAGE
KINDS = {"transient": TransientError, "death": Death}
TURNS = 9
KEPT = "SELECT count(*) FROM quarantine WHERE state = 'held' AND level = 'hold'"


class Scene:
    """A bench, and its checkpoints: before the termination, and before the reinstatement."""

    def __init__(self, root: Path) -> None:
        self.bench = Bench(root / "home")
        with self.bench.stage() as stage:
            put = stage.platform.upload
            uploads = [
                put(picture(20), cover_id="avatar", uploader=HER, surface=WATCH, found=["64.jpg"]),
                put(picture(21), cover_id="list", uploader=HER),
            ]
            stage.announce(*uploads)
            stage.serve()
            stage.settle_down()
            self.shown = public(stage)
            self.starts = {"terminated": self.bench.save(stage, root / "terminated")}
        with self.bench.stage(self.starts["terminated"]) as stage:
            go("terminated", stage)
            finish(stage)
            self.kept = stage.one(KEPT)
            assert not public(stage)
            self.starts["reinstated"] = self.bench.save(stage, root / "reinstated")

    def start(self, step: str) -> Checkpoint:
        return self.starts[step]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("takedown"))
    yield made
    made.bench.close()


def public(stage: Stage) -> dict[str, bytes]:
    return {ref.key: stage.store.read(ref, limit=10**7) for ref in stage.store.walk("public", prefix="")}


def go(step: str, stage: Stage) -> None:
    """Tell of it, and let the driver go on while the plan lasts."""
    told = {"event_id": step, "account_id": HER}
    body = (
        body_of(AccountTerminated(occurred_at=from_micros(START), reason="child_safety", **told))
        if step == "terminated"
        else body_of(AccountReinstated(occurred_at=from_micros(stage.clock.now()), **told))
    )
    stage.queue("account-events").send([body])
    stage.serve()
    for _ in range(TURNS):
        stage.survive(stage.keeper.drive_takedowns)
        stage.clock.sleep(timedelta(seconds=6))


def finish(stage: Stage) -> None:
    stage.plan.stop()
    for _ in range(3):
        stage.settle_down()


def faults(scene: Scene, step: str, stage: Stage) -> list[str]:
    found = list(outbox_faults(stage.home))
    state, wanted = stage.one("SELECT state FROM takedown"), "verified_gone"
    if step == "reinstated":
        wanted = "lifted"
        if public(stage) != scene.shown:
            found.append("not shown as it was")
        if stage.one("SELECT count(*) FROM quarantine WHERE ended_at IS NULL"):
            found.append("something is still hidden")
    else:
        found += [f"{key} is public" for key in public(stage)]
        if (kept := stage.one(KEPT)) != scene.kept:
            found.append(f"{kept} are kept, and not {scene.kept}")
        verified = [body for body in set(stage.told) if "account.takedown_verified" in body]
        if len(verified) != 1:
            found.append(f"told {len(verified)} times that it is gone")
        if stage.one("SELECT count(*) FROM case_item") != 2:
            found.append("not every cover is in the case")
    if state != wanted:
        found.append(f"it is {state}")
    if stage.log.counters["bug"]:
        found.append("something raised that nobody expected")
    return found


def variants(calls: list[str], kind: str) -> Iterator[tuple[int, str, str]]:
    for number, name in enumerate(calls, start=1):
        if kind == "transient" or number == 1:
            yield number, name, "before"
        if name not in CHANGES_NOTHING:
            yield number, name, "after"


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", ["terminated", "reinstated"])
def test_a_fault_at_every_call_leaves_nothing_behind(scene: Scene, step: str, kind: str, share: int) -> None:
    plan = FaultPlan()
    with scene.bench.stage(scene.start(step), plan=plan) as stage:
        go(step, stage)
        calls = list(plan.calls)
        finish(stage)
        assert not faults(scene, step, stage)
    failures = {}
    for number, name, when in one_in(share, variants(calls, kind)):
        plan = FaultPlan(fail_at={number}, when=when, error=KINDS[kind])
        with scene.bench.stage(scene.start(step), plan=plan) as stage:
            go(step, stage)
            finish(stage)
            if found := faults(scene, step, stage):
                failures[f"{when} call {number}, {name}"] = found
        assert plan.failed
    assert not failures, f"{len(failures)} of {len(calls)} calls: {failures}"
