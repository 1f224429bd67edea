"""A fault at every outside call, one after the other, and then redelivery: the ledger ends as without it.

The scenario is cut into steps, each of which ends at rest. A run with a fault starts from the clean run's
checkpoint before the step that makes the call, goes through that step with the fault, recovers (a new process
after a death, time for leases and retries), and has to be where the clean run was after that step: in the
ledger, in the buckets, in the vault, in what was told. What is not compared is named in `crash_ledger`.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import pytest
from crash_ledger import difference, dump, outbox_faults
from crash_stage import (
    ACTS_ARE_TAKEN_UP,
    SHARES,
    SIDE,
    START,
    Bench,
    Checkpoint,
    Stage,
    add_list,
    one_in,
    pdq_of,
    picture,
    sha256_of,
)

from coverguard.errors import TransientError
from coverguard.messages import (
    AccountTagged,
    CollaboratorAdded,
    ContentReported,
    CoverDeleted,
    PlaylistEdited,
    from_micros,
)
from coverguard.messages import dump as body_of
from coverguard.model import Category, ListAction, Mode, Surface, VerdictOutcome
from coverguard.store import covers
from coverguard.testing.faults import CHANGES_NOTHING, Death, FaultPlan
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import Upload

pytestmark = pytest.mark.thorough

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
        "abuse": put(picture(8), cover_id="abuse", uploader="fay", surface=WATCH, found=["64.jpg"]),
        "broken": put(b"nor is this", cover_id="broken", uploader="ed", surface=WATCH),
        "silent": put(picture(9), cover_id="silent", uploader="ben", surface=WATCH, found=["64.jpg"]),
    }


def near_copy() -> bytes:
    return encode(draw(Kind.SCENE, 3, side=SIDE), "JPEG", quality=70)


def list_all(stage: Stage) -> None:
    abuse, terrorism = Category.CHILD_ABUSE, Category.TERRORISM
    held = [sha256_of(picture(2)), pdq_of(picture(3)), sha256_of(picture(6))]
    add_list(stage, "industry", category=abuse, action=ListAction.HOLD, digests=held)
    add_list(stage, "terror", category=terrorism, action=ListAction.REFER, digests=[sha256_of(picture(7))])
    add_list(stage, "seeds", category=abuse, action=ListAction.REFER, digests=[sha256_of(picture(8))])


def other_messages() -> list[str]:
    told = {"occurred_at": from_micros(START)}
    report = ContentReported(event_id="report", report_id="r1", account_id="ed", text="please look", **told)
    return [
        body_of(CollaboratorAdded(event_id="joined", playlist_id="list", account_id="ed", **told)),
        body_of(
            PlaylistEdited(
                event_id="edit", playlist_id="list", editor_id="ed", field="title", text="Amber", **told
            )
        ),
        body_of(AccountTagged(event_id="tag", account_id="ben", by_account_id="ed", **told)),
        body_of(report),
    ]


# ── the scenario ───────────────────────────────────────────────────────────────────────────────────────────

Act = Callable[[Stage, Uploads], object]


def announcing(*names: str) -> Act:
    def act(stage: Stage, uploads: Uploads) -> None:
        stage.announce(*(uploads[name] for name in names))
        stage.serve()

    return act


def deciding(name: str, outcome: VerdictOutcome, by: str) -> Act:
    return lambda stage, uploads: stage.decide(uploads[name], outcome, by=by)


def keeping(stage: Stage, uploads: Uploads) -> None:
    stage.clock.sleep(ACTS_ARE_TAKEN_UP)
    stage.tick()


def arriving(stage: Stage, uploads: Uploads) -> None:
    stage.platform.replicate()
    stage.clock.sleep(timedelta(minutes=2))
    stage.serve()


def resizing(stage: Stage, uploads: Uploads) -> None:
    stage.platform.resize(uploads["held"].event.cover, uploads["held"].data, "128.jpg")
    stage.survive(stage.keeper.find_late_renditions)


def noting(stage: Stage, uploads: Uploads) -> None:
    now = from_micros(START)
    tombstone = CoverDeleted(event_id="gone", occurred_at=now, cover=uploads["passes"].event.cover)
    stage.queue("account-events").send([*other_messages(), body_of(tombstone)])
    stage.serve()


def falling_silent(stage: Stage, uploads: Uploads) -> None:
    """Announced in the ledger, and then the worker and the message are lost."""
    with stage.observer.transaction() as tx:
        event, now = uploads["silent"].event, stage.clock.now()
        covers.announce(tx, event, mode=Mode.WATCH, sent_at=now, now=now)
    stage.clock.sleep(timedelta(minutes=11))
    stage.tick()


def noting_again(stage: Stage, uploads: Uploads) -> None:
    stage.queue("account-events").send(other_messages())
    stage.serve()


STEPS: Mapping[str, Act] = {
    "gate": announcing("passes", "exact", "passes"),
    "near": announcing("near"),
    "unreadable": announcing("unreadable", "broken"),
    "keeper relays": keeping,
    "missing": announcing("late"),
    "arrived": arriving,
    "hold with renditions": announcing("held", "held"),
    "watched": announcing("watched"),
    "late rendition": resizing,
    "referred": announcing("terror", "abuse"),
    "others": noting,
    "first proposes": deciding("near", VerdictOutcome.CLEAR, "mo"),
    "second clears": deciding("near", VerdictOutcome.CLEAR, "jo"),
    "watch proposed": deciding("held", VerdictOutcome.CLEAR, "mo"),
    "watch cleared": deciding("held", VerdictOutcome.CLEAR, "jo"),
    "referred proposed": deciding("terror", VerdictOutcome.CLEAR, "mo"),
    "referred cleared": deciding("terror", VerdictOutcome.CLEAR, "jo"),
    "confirmed": deciding("exact", VerdictOutcome.CONFIRM, "mo"),
    "block becomes hold": deciding("abuse", VerdictOutcome.CONFIRM, "jo"),
    "silence": falling_silent,
    "passed again": announcing("passes", "unreadable", "late"),
    "held again": announcing("exact", "near", "held"),
    "referred again": announcing("terror", "abuse", "broken"),
    "others again": noting_again,
}


LISTED_AGAIN = ("hold with renditions", "late rendition")  # the keeper does it for all, which takes its time


@dataclass(frozen=True)
class Clean:
    """The run without a fault: the stage before each step, its calls in it, and the dump after it."""

    bench: Bench
    uploads: Uploads
    before: Mapping[str, Checkpoint]
    calls: Mapping[str, list[str]]
    after: Mapping[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Iterator[Clean]:
    root = tmp_path_factory.mktemp("clean")
    bench = Bench(root / "home")
    before, calls, after = {}, {}, {}
    with bench.stage() as stage:
        uploads = upload_all(stage)
        list_all(stage)
        latest = bench.save(stage, root / "0")
    for number, name in enumerate(STEPS, start=1):
        before[name] = latest
        with bench.stage(latest, plan=(plan := FaultPlan())) as stage:
            take(name, stage, uploads)
            calls[name] = plan.calls
            after[name] = ended(stage)
            assert not outbox_faults(stage.home)
            latest = bench.save(stage, root / str(number))
    yield Clean(bench, uploads, before, calls, after)
    bench.close()


def take(step: str, stage: Stage, uploads: Uploads) -> None:
    """Take a step; then nothing fails any more, and what is left over is done."""
    STEPS[step](stage, uploads)
    stage.plan.stop()
    if step in LISTED_AGAIN:
        stage.keeper.find_late_renditions()
    if step == "silence":  # the block is finished before the answer comes: else there is nothing to release
        keeping(stage, uploads)
    stage.settle_down(waiting=step == "missing")


def ended(stage: Stage) -> dict[str, list[str]]:
    """What the ledger and the buckets say, what came out of the topics, and what the platform shows."""
    shown = [f"{key}: {value}" for key, value in sorted(stage.platform.shown.items())]
    return dump(stage.home) | {"shown": shown, "safety events": [str(len(set(stage.told)))]}


def faults_of_run(clean: Clean, first: str, last: str, *, plan: FaultPlan) -> list[str]:
    """Go through the steps from first to last with the fault plan; return how the end differs."""
    names = list(STEPS)
    with clean.bench.stage(clean.before[first], plan=plan) as stage:
        for name in names[names.index(first) : names.index(last) + 1]:
            take(name, stage, clean.uploads)
        faults = outbox_faults(stage.home)
        if stage.log.counters["bug"]:
            faults.append("something raised that nobody expected")
        return faults + difference(clean.after[last], ended(stage))


KINDS = {"transient": TransientError, "death": Death}


def variants(calls: list[str], kind: str) -> Iterator[tuple[int, str, str]]:
    """Every call, before and after, as far as there is a difference.

    After a call that changes nothing everything is as before it. A death before a call finds what one after
    the last call that changed something finds, so of those two only the latter is tried.
    """
    for number, name in enumerate(calls, start=1):
        if kind == "transient" or number == 1:
            yield number, name, "before"
        if name not in CHANGES_NOTHING:
            yield number, name, "after"


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
def test_a_fault_at_every_call_of_a_step_leaves_no_trace(clean, step, kind, share):
    failures = {}
    for number, name, when in one_in(share, variants(clean.calls[step], kind)):
        plan = FaultPlan(fail_at={number}, when=when, error=KINDS[kind])
        found = faults_of_run(clean, step, step, plan=plan)
        assert plan.failed == [name], "the run up to the fault is not the clean one"
        if found:
            failures[f"{when} call {number}, {name}"] = found
    told = (f"{call}:\n    " + "\n    ".join(found) for call, found in failures.items())
    assert not failures, f"{len(failures)} calls, the first:\n" + next(told)


# ── to the end of the road, and worse weather ──────────────────────────────────────────────────────────────


def every_variant(clean: Clean) -> list[tuple[str, str, int, str, str]]:
    return [
        (step, kind, number, name, when)
        for step in STEPS
        for kind in KINDS
        for number, name, when in variants(clean.calls[step], kind)
    ]


@pytest.mark.parametrize("count", [6, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_a_fault_at_any_call_leaves_no_trace_at_the_end_of_the_road_either(clean, count):
    chance = random.Random(new_seed())
    last = list(STEPS)[-1]
    for step, kind, number, name, when in chance.sample(every_variant(clean), count):
        plan = FaultPlan(fail_at={number}, when=when, error=KINDS[kind])
        found = faults_of_run(clean, step, last, plan=plan)
        assert not found, f"{step}, {kind} {when} call {number}, {name}:\n" + "\n".join(found)


class Chance:
    """Calls that fail by chance, one in so many."""

    def __init__(self, chance: random.Random, one_in: int) -> None:
        self._chance = chance
        self._one_in = one_in

    def __contains__(self, _number: object) -> bool:
        return self._chance.randrange(self._one_in) == 0


FINAL = ("objects in intake", "objects in public", "objects in vault", "shown", "case_file", "case_item")
"""What does not depend on how often a cover was withheld for want of an answer before it got one."""
FINAL += ("fingerprint", "fingerprint_view", "match", "verdict", "suppression", "list_entry", "collaboration")


LOOKS = 30
"""As often as the keeper looks for late renditions in its quarter of an hour; here one look in three dies."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("storms", [2, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_faults_on_faults_end_in_the_same_answers(clean, storms, kind):
    """Also while the last fault is being recovered from; the answers, verdicts and objects are the same."""
    seed = new_seed()
    first, last = next(iter(STEPS)), list(STEPS)[-1]
    for storm in range(storms):
        chance = random.Random(f"{seed}/{storm}")  # one storm can be had again alone
        when = chance.choice(["before", "after"])
        plan = FaultPlan(fail_at=Chance(chance, 25), when=when, error=KINDS[kind])
        with clean.bench.stage(clean.before[first], plan=plan) as stage:
            for name in STEPS:
                STEPS[name](stage, clean.uploads)
                for _ in range(LOOKS * (name in LISTED_AGAIN)):
                    stage.survive(stage.keeper.find_late_renditions)
                stage.settle_down(waiting=name == "missing")
            stage.plan.stop()
            stage.settle_down()
            print(f"storm {storm}: {len(plan.failed)} of {len(plan.calls)} calls failed")
            faults = outbox_faults(stage.home)
            found = difference(clean.after[last], ended(stage))
        assert not faults
        assert not [line for line in found if line.startswith(tuple(f"{part}:" for part in FINAL))]


def new_seed() -> int:
    seed = secrets.randbelow(10**6)
    print(f"seed {seed}")
    return seed
