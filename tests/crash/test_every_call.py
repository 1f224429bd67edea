"""A fault at every outside call, one after the other, and then redelivery: the ledger ends as without it.

The scenario is cut into steps, each of which ends at rest. A run with a fault starts from the clean run's
checkpoint before the step that makes the call, goes through that step with the fault, recovers (a new process
after a death, time for leases and retries), and has to be where the clean run was after that step: in the
ledger, in the buckets, in the vault, in what was told. What is not compared is named in `crash_ledger`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from coverguard.errors import TransientError
from coverguard.messages import (
    AccountTagged,
    CollaboratorAdded,
    ContentReported,
    CoverDeleted,
    PlaylistEdited,
    dump as body_of,
    from_micros,
)
from coverguard.model import Category, ListAction, Surface, VerdictOutcome
from coverguard.testing.faults import CHANGES_NOTHING, Death, FaultPlan
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import Upload
from crash_ledger import difference, dump, outbox_faults
from crash_stage import SIDE, START, Stage, add_list, pdq_of, picture, prepared, sha256_of

WATCH = Surface.PROFILE_IMAGE
Uploads = Mapping[str, Upload]


def upload_all(stage: Stage) -> Uploads:
    """Put every picture where it will be; nothing is announced yet."""
    put = stage.platform.upload
    return {
        "passes": put(picture(1), cover_id="passes", uploader="ben"),
        "exact": put(picture(2), cover_id="exact", uploader="cy"),
        "near": put(near_copy(), cover_id="near", uploader="di"),
        "unreadable": put(b"not a picture", cover_id="unreadable", uploader="ben"),
        "late": put(picture(4), cover_id="late", uploader="ben", late=True),
        "watched": put(picture(5), cover_id="watched", uploader="ben", surface=WATCH),
        "held": put(
            picture(6), cover_id="held", uploader="di", surface=WATCH, named=["300.jpg"], found=["64.jpg"]
        ),
        "terror": put(picture(7), cover_id="terror", uploader="ed", surface=WATCH),
        "abuse": put(picture(8), cover_id="abuse", uploader="ed", surface=WATCH, found=["64.jpg"]),
        "broken": put(b"nor is this", cover_id="broken", uploader="ed", surface=WATCH),
    }


def near_copy() -> bytes:
    return encode(draw(Kind.SCENE, 3, side=SIDE), "JPEG", quality=70)


def list_all(stage: Stage) -> None:
    abuse, terrorism = Category.CHILD_ABUSE, Category.TERRORISM
    held = [sha256_of(picture(2)), pdq_of(picture(3)), sha256_of(picture(6))]
    add_list(stage, "industry", category=abuse, action=ListAction.HOLD, digests=held)
    add_list(stage, "terror", category=terrorism, action=ListAction.REFER, digests=[sha256_of(picture(7))])
    add_list(stage, "seeds", category=abuse, action=ListAction.REFER, digests=[sha256_of(picture(8))])


def other_messages(stage: Stage) -> list[str]:
    told = {"occurred_at": from_micros(START)}
    return [
        body_of(CollaboratorAdded(event_id="joined", playlist_id="list", account_id="ed", **told)),
        body_of(PlaylistEdited(event_id="edit", playlist_id="list", editor_id="ed", field="title", text="Amber", **told)),
        body_of(AccountTagged(event_id="tag", account_id="ben", by_account_id="ed", **told)),
        body_of(ContentReported(event_id="report", report_id="r1", account_id="ed", text="please look", **told)),
    ]


# ── the scenario ───────────────────────────────────────────────────────────────────────────────────────────


def announcing(*names: str) -> Callable[[Stage, Uploads], None]:
    def step(stage: Stage, uploads: Uploads) -> None:
        stage.announce(*(uploads[name] for name in names))
        stage.settle_down(waiting="late" in names)

    return step


def deciding(name: str, outcome: VerdictOutcome, by: str) -> Callable[[Stage, Uploads], None]:
    def step(stage: Stage, uploads: Uploads) -> None:
        stage.decide(uploads[name], outcome, by=by)
        stage.settle_down()

    return step


def arriving(stage: Stage, uploads: Uploads) -> None:
    stage.platform.replicate()
    stage.settle_down()


def noting(stage: Stage, uploads: Uploads) -> None:
    tombstone = CoverDeleted(event_id="gone", occurred_at=from_micros(START), cover=uploads["passes"].event.cover)
    stage.queue("account-events").send(other_messages(stage))
    stage.queue("account-events").send([body_of(tombstone)])
    stage.settle_down()


def everything_again(stage: Stage, uploads: Uploads) -> None:
    stage.queue("account-events").send(other_messages(stage))
    stage.announce(*uploads.values())
    stage.settle_down()


STEPS: Mapping[str, Callable[[Stage, Uploads], None]] = {
    "gate": announcing("passes", "exact", "near", "passes"),
    "unreadable": announcing("unreadable", "broken"),
    "missing": announcing("late"),
    "arrived": arriving,
    "hold with renditions": announcing("held", "watched", "held"),
    "referred": announcing("terror", "abuse", "near"),
    "others": noting,
    "first proposes": deciding("near", VerdictOutcome.CLEAR, "mo"),
    "second clears": deciding("near", VerdictOutcome.CLEAR, "jo"),
    "watch proposed": deciding("held", VerdictOutcome.CLEAR, "mo"),
    "watch cleared": deciding("held", VerdictOutcome.CLEAR, "jo"),
    "referred proposed": deciding("terror", VerdictOutcome.CLEAR, "mo"),
    "referred cleared": deciding("terror", VerdictOutcome.CLEAR, "jo"),
    "confirmed": deciding("exact", VerdictOutcome.CONFIRM, "mo"),
    "block becomes hold": deciding("abuse", VerdictOutcome.CONFIRM, "jo"),
    "everything again": everything_again,
}


@dataclass(frozen=True)
class Clean:
    """The run without a fault: the stage before each step, its calls in it, and the dump after it."""

    uploads: Uploads
    before: Mapping[str, object]
    calls: Mapping[str, list[str]]
    after: Mapping[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Clean:
    root = tmp_path_factory.mktemp("clean")
    before, calls, after = {}, {}, {}
    with Stage(prepared(root / "template")) as stage:
        uploads = upload_all(stage)
        list_all(stage)
        latest = stage.save(root / "0")
    for number, (name, step) in enumerate(STEPS.items(), start=1):
        before[name] = latest
        with Stage.at(latest, root / f"run-{number}", plan=(plan := FaultPlan())) as stage:
            step(stage, uploads)
            calls[name] = plan.calls
            after[name] = dump(stage.home) | {"told": told(stage)}
            assert not outbox_faults(stage.home)
            latest = stage.save(root / str(number))
    return Clean(uploads, before, calls, after)


def told(stage: Stage) -> list[str]:
    """What came out of the topics at least once, and what the platform shows."""
    shown = [f"{key}: {value}" for key, value in sorted(stage.platform.shown.items())]
    return shown + [f"safety events: {len(set(stage.told))}"]


def run(clean: Clean, first: str, home, *, plan: FaultPlan, last: str) -> list[str]:
    """Go through the steps from first to last with the fault plan; return how the end differs."""
    names = list(STEPS)
    with Stage.at(clean.before[first], home, plan=plan) as stage:
        for name in names[names.index(first) : names.index(last) + 1]:
            STEPS[name](stage, clean.uploads)
        faults = outbox_faults(stage.home)
        ended = dump(stage.home) | {"told": told(stage)}
        if stage.log.counters["bug"]:
            faults.append("something raised that nobody expected")
    return faults + difference(clean.after[last], ended)


KINDS = {"transient": TransientError, "death": Death}


def variants(calls: list[str]):
    for number, name in enumerate(calls, start=1):
        for when in ("before", "after"):
            if when == "before" or name not in CHANGES_NOTHING:
                yield number, name, when


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
def test_a_fault_at_every_call_of_a_step_leaves_no_trace(clean, step, kind, tmp_path):
    failures = {}
    for number, name, when in variants(clean.calls[step]):
        plan = FaultPlan(fail_at=number, when=when, error=KINDS[kind])
        found = run(clean, step, tmp_path / f"{number}-{when}", plan=plan, last=step)
        assert plan.failed == [name], "the run up to the fault is not the clean one"
        if found:
            failures[f"{when} call {number}, {name}"] = found
    assert not failures


