"""Every kind of alarm rings when its fault is there, is told to somebody, and stops when the fault is over.

The kinds are those of the code: one without a scenario here fails. Each scenario causes its fault in a real
deployment, yields the subject that has to ring, puts the fault right and ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event

import pytest
from reporting_desk import Desk
from sqlalchemy import insert
from world import ADA, BEA, EDITOR, SENIOR, WATCHED, World, exact, near, person, picture

from coverguard.errors import TransientError
from coverguard.hashlist import ListFormat
from coverguard.model import Category, ReporterKind, later
from coverguard.policy import ListRule
from coverguard.policy.alarms import ALARMS, Severity
from coverguard.ports import Page
from coverguard.store import alarms, fetches, lists, obligations, schema
from coverguard.store.lists import governance
from coverguard.store.schema.lists import ATTESTED, WEIGHED
from coverguard.worker import Heartbeat

pytestmark = pytest.mark.thorough

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
Scenario = Callable[[World], Iterator[str]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(made: Scenario) -> Scenario:
    SCENARIOS[made.__name__] = made
    return made


# ── the deployment goes on ─────────────────────────────────────────────────────────────────────────────────


def look(world: World, after: timedelta = timedelta()) -> None:
    """Let time pass, then let the keeper do everything once, as its loop does."""
    world.clock.go_on(after)
    for step in world.keeper.steps():
        try:
            step()
        except TransientError:
            continue


def drive(world: World) -> None:
    """Let the keeper drive takedowns as far as they get."""
    for _ in range(10):
        look(world, timedelta(seconds=6))


def serve(world: World) -> None:
    world.worker.serve_once(Heartbeat(lease=world.settings.lease, log=world.parts.log), Event())


@contextmanager
def broken(path: Path) -> Iterator[None]:
    """There is a file where a folder should be."""
    away = path.with_name(f"{path.name}-away")
    path.rename(away)
    path.write_bytes(b"")
    try:
        yield
    finally:
        path.unlink()
        away.rename(path)


@contextmanager
def without_table(world: World, name: str) -> Iterator[None]:
    _execute(world, f"ALTER TABLE {name} RENAME TO away")
    try:
        yield
    finally:
        _execute(world, f"ALTER TABLE away RENAME TO {name}")


def _execute(world: World, statement: str) -> None:
    with world.database.transaction() as tx:
        tx.exec_driver_sql(statement)


def met_by_hand(world: World, kind: str) -> None:
    """As a later release will: no command of this one records that it was met."""
    _execute(world, f"UPDATE obligation SET met_at = 1 WHERE kind = '{kind}'")
    look(world)


# ── one scenario a kind ────────────────────────────────────────────────────────────────────────────────────


@scenario
def not_screened(world: World) -> Iterator[str]:
    upload = world.announce(picture(1))
    with world.unreachable(upload.ref):
        world.deliver(upload.body)
        yield world.cover(upload).ref
    world.deliver(upload.body)


@scenario
def held_not_verified_gone(world: World) -> Iterator[str]:
    world.list_of(exact(picture(1)))
    world.probe.blind = True
    upload = world.upload(picture(1), surface=WATCHED)
    yield world.cover(upload).ref
    world.probe.blind = False
    look(world, MINUTE)


@scenario
def unsettled(world: World) -> Iterator[str]:
    world.list_of(exact(picture(1)))
    upload = world.announce(picture(1), surface=WATCHED)
    vault = world.home / "objects" / world.settings.vault_bucket
    vault.mkdir(exist_ok=True)
    with broken(vault):
        with pytest.raises(TransientError):
            world.deliver(upload.body)
        look(world, timedelta(seconds=6))
        yield world.cover(upload).ref
    look(world, MINUTE)
    assert len(world.vault()) == 1


@scenario
def hold_budget_spent(world: World) -> Iterator[str]:
    listed = world.list_of(near(picture(1)), near(picture(2)), hold_budget=1)
    for number in (1, 2):
        world.upload(picture(number), f"c{number}")
    yield f"list:{listed}"
    look(world, HOUR + MINUTE)


@scenario
def dead_letters(world: World) -> Iterator[str]:
    queue = world.parts.queue("reports")
    queue.send(["no message at all"])
    serve(world)
    look(world)
    yield "queue:reports"
    queue.redrive()
    look(world)


@scenario
def overdue_review(world: World) -> Iterator[str]:
    world.list_of(near(picture(1)))
    upload = world.upload(picture(1))
    look(world, DAY + MINUTE)
    yield world.item(upload).ref
    world.confirm(upload)
    look(world)


@scenario
def overdue_authority_report(world: World) -> Iterator[str]:
    world.list_of(near(picture(1)))
    upload = world.upload(picture(1))
    world.confirm(upload)
    look(world, DAY + MINUTE)
    yield world.item(upload).ref
    world.reopen(upload, SENIOR)
    look(world)


@scenario
def overdue_account_takedown(world: World) -> Iterator[str]:
    world.list_of(near(picture(1)))
    upload = world.upload(picture(1), surface=WATCHED)
    world.probe.blind = True
    world.confirm(upload, category=Category.CHILD_ABUSE)
    drive(world)
    look(world, HOUR + MINUTE)
    yield world.rows("takedown")[0].ref
    world.probe.blind = False
    drive(world)


@scenario
def takedown_stuck(world: World) -> Iterator[str]:
    world.upload(picture(1), uploader="her", surface=WATCHED)
    world.probe.blind = True
    world.deliver(world.message("account.terminated", account_id="her", reason="child_safety"))
    drive(world)
    look(world, 15 * MINUTE)
    yield world.rows("takedown")[0].ref
    world.probe.blind = False
    drive(world)


@scenario
def hidden_by_support(world: World) -> Iterator[str]:
    verbs = world.parts.takedown_verbs()
    verbs.take_down("her", actor=person("Sia", "support"), reason="her mother called")
    look(world)
    yield world.rows("takedown")[0].ref
    verbs.take_down("her", actor=person("Mo", "moderator"), reason="I have looked at it")
    look(world)


@scenario
def takedown_reopened(world: World) -> Iterator[str]:
    world.deliver(world.message("account.terminated", account_id="her", reason="child_safety"))
    drive(world)
    world.upload(picture(1), uploader="her")
    yield world.rows("takedown")[0].ref
    drive(world)


@scenario
def overdue_preservation_end(world: World) -> Iterator[str]:
    world.list_of(near(picture(1)))
    upload = world.upload(picture(1))
    world.confirm(upload)
    look(world, 365 * DAY + MINUTE)
    yield world.item(upload).ref
    met_by_hand(world, "preservation_end")


@scenario
def overdue_suppression_review(world: World) -> Iterator[str]:
    world.list_of(near(picture(1)))
    upload = world.upload(picture(1))
    world.clear(upload, ADA, BEA)
    look(world, 180 * DAY + MINUTE)
    yield world.item(upload).ref
    met_by_hand(world, "suppression_review")


def owed_to_a_reporter(world: World, kind: str) -> Iterator[str]:
    """Somebody told us; nobody did what is owed for it, and then somebody did."""
    now = world.clock.now()
    made = insert(schema.report).values(
        ref=f"report-{'0' * 16}", source="anonymous", state="received", category="intimate_image",
        urgent=False, event_id="e", opted_out=False, received_at=now,
    )  # fmt: skip
    with world.database.transaction() as tx:
        row = tx.execute(made.returning(schema.report)).one()
        obligations.owe(tx, kind=kind, due_at=later(now, DAY), now=now, report_id=row.id)
    look(world, DAY + MINUTE)
    yield row.ref
    with world.database.transaction() as tx:
        obligations.meet(tx, kind=kind, now=world.clock.now(), report_id=row.id)
    look(world)


@scenario
def overdue_report_review(world: World) -> Iterator[str]:
    yield from owed_to_a_reporter(world, "report_review")


@scenario
def overdue_repeat_review(world: World) -> Iterator[str]:
    yield from owed_to_a_reporter(world, "repeat_review")


@scenario
def overdue_removal_48h(world: World) -> Iterator[str]:
    yield from owed_to_a_reporter(world, "removal_48h")


@scenario
def overdue_notice_24h(world: World) -> Iterator[str]:
    yield from owed_to_a_reporter(world, "notice_24h")


@scenario
def report_hides_capped(world: World) -> Iterator[str]:
    desk = Desk(world)
    for number in range(world.settings.report_hides_network + 1):
        upload = world.upload(picture(number % 5), f"c{number}", surface=WATCHED, uploader=f"u{number}")
        desk.file(upload)
    yield "part:reports"
    look(world, HOUR + MINUTE)


@scenario
def report_reach(world: World) -> Iterator[str]:
    upload = world.upload(picture(1), surface=WATCHED, uploader="her", playlist="p0")
    for number in range(world.settings.report_reach_links):
        world.deliver(world.message("collaborator.added", playlist_id="p0", account_id=f"fan-{number}"))
    made = Desk(world).keyed(ReporterKind.TRUSTED_FLAGGER, upload)
    yield made.reference
    world.confirm(upload)
    look(world)


@scenario
def report_overdue_repeated(world: World) -> Iterator[str]:
    upload, desk = world.upload(picture(1), surface=WATCHED), Desk(world)
    first = desk.file(upload)
    look(world, DAY + MINUTE)
    desk.file(upload, net="another")
    yield first.reference
    world.confirm(upload)
    look(world)


def waiting(world: World, time: timedelta) -> Iterator[str]:
    """An item waits for a person, and then somebody comes."""
    world.list_of(near(picture(1)))
    upload = world.upload(picture(1))
    look(world, time)
    yield f"review:{world.item(upload).ref}"
    world.confirm(upload)
    look(world)


@scenario
def clock_half_over(world: World) -> Iterator[str]:
    yield from waiting(world, 12 * HOUR)


@scenario
def clock_three_quarters_over(world: World) -> Iterator[str]:
    yield from waiting(world, 18 * HOUR)


@scenario
def clock_nearly_over(world: World) -> Iterator[str]:
    yield from waiting(world, 22 * HOUR)


@scenario
def queue_unserved(world: World) -> Iterator[str]:
    world.parts.queue("uploads").send([world.announce(picture(1)).body])
    look(world)
    look(world, MINUTE)
    assert world.alarms() == [], "a worker may be about to"
    look(world, MINUTE)
    yield "queue:uploads"
    serve(world)
    look(world)


@scenario
def queue_unreachable(world: World) -> Iterator[str]:
    with without_table(world, "queue_message"):
        look(world)
        look(world, MINUTE)
        yield "queue:uploads"
    look(world)


@scenario
def store_unreachable(world: World) -> Iterator[str]:
    world.put(b"generated", "a")
    with broken(world.home / "objects" / "public"):
        look(world)
        assert world.alarms() == [], "it may be a hiccup"
        look(world, MINUTE)
        yield "part:store"
    look(world)


@scenario
def lists_unreadable(world: World) -> Iterator[str]:
    listed = world.list_of(near(picture(2)))
    upload = world.upload(picture(1), "before")
    next_seq = "(SELECT max(seq) + 1 FROM list_change)"
    _execute(
        world, f"UPDATE list_entry SET digest_sealed = substr(digest_sealed, 1, 30), changed_seq = {next_seq}"
    )
    change(world, listed)
    unlucky = world.announce(picture(3), "meanwhile")
    for _ in range(2):
        with pytest.raises(TransientError):
            world.deliver(unlucky.body)
    yield "part:lists"
    assert world.answer(upload).decision == "pass"
    world.withdraw(listed, near(picture(2)))
    world.upload(picture(4), "after")


def change(world: World, list_id: int) -> None:
    with world.database.transaction() as tx:
        lists.note_change(tx, list_id=list_id, kind="entries", entries=1, now=world.clock.now())


@scenario
def disk_nearly_full(world: World) -> Iterator[str]:
    free = [2**30]
    watch = replace(world.keeper.watch, free_disk=lambda: free[0])
    world.keeper = replace(world.keeper, watch=watch)
    look(world)
    yield "part:home"
    free[0] = 2**40
    look(world)


@scenario
def clock_jumped(world: World) -> Iterator[str]:
    world.upload(picture(1))
    look(world)
    world.clock.go_on(-HOUR)
    look(world)
    yield "part:clock"
    look(world, HOUR)


@scenario
def event_not_sent(world: World) -> Iterator[str]:
    world.list_of(near(picture(1)))
    world.upload(picture(1))
    with without_table(world, "queue_message"):
        look(world, 6 * MINUTE)
        yield "queue:pipeline"
    look(world)


@scenario
def audit_heads_behind(world: World) -> Iterator[str]:
    world.list_of(near(picture(1)))
    world.upload(picture(1))
    heads = world.home / "heads"
    heads.mkdir(exist_ok=True)
    with broken(heads):
        look(world)
        look(world, 6 * MINUTE)
        yield "part:audit-heads"
    look(world)


@scenario
def list_stale(world: World) -> Iterator[str]:
    listed = world.list_of(near(picture(1)), max_age=HOUR)
    look(world, HOUR + MINUTE)
    yield f"list:{listed}"
    with world.database.transaction() as tx:
        governance.note_refreshed(tx, listed, now=world.clock.now())
    look(world)


@scenario
def list_review_due(world: World) -> Iterator[str]:
    governor = world.parts.governor()
    listed = world.list_of(near(picture(1)))
    governor.change_rule("industry", lambda rule: replace(rule, pdq_radius=20), note="n", actor=EDITOR)
    look(world, 14 * DAY + MINUTE)
    yield f"list:{listed}"
    governor.review("industry", dict.fromkeys(WEIGHED, "weighed"), actor=EDITOR)
    look(world)


@scenario
def list_not_attested(world: World) -> Iterator[str]:
    rule = ListRule(list_id=0, version=0, category=Category.OTHER)
    with world.database.transaction() as tx:  # as a release before attestations made it
        now = world.clock.now()
        listed, _ = lists.create(tx, name="l", source="s", rule=rule, actor="Edda", note="n", now=now)
    look(world)
    yield f"list:{listed}"
    world.parts.governor().attest("l", dict.fromkeys(ATTESTED, "said"), actor=EDITOR)
    look(world)


@scenario
def list_records_unreadable(world: World) -> Iterator[str]:
    listed = world.list_of(near(picture(1)), name="l")
    file = world.home / "list.csv"
    file.write_text("id,algorithm,digest\ne,pdq,nothex\n", encoding="utf-8")
    load = partial(
        world.parts.importer().load_file, "l", file, list_format=ListFormat.CSV, actor=EDITOR,
        confirm_shrink=True,
    )  # fmt: skip
    load()
    look(world)
    yield f"list:{listed}"
    file.write_text(f"id,algorithm,digest\ne,pdq,{'ab' * 32}\n", encoding="utf-8")
    load()
    look(world)


@scenario
def exchange_failing(world: World) -> Iterator[str]:
    listed = world.list_of(name="l")
    with world.database.transaction() as tx:
        fetches.create(tx, name="x", list_id=listed, kind="ncmec", place="x", every=1, now=world.clock.now())
        row = fetches.by_name(tx, "x")
        fetches.note_progress(tx, row, failures=3)
    look(world)
    yield f"exchange:{row.id}"
    with world.database.transaction() as tx:
        fetches.note_progress(tx, row, failures=0)
    look(world)


class Unanswered:
    """A pager that takes nothing, until it is well."""

    def __init__(self) -> None:
        self.well = False
        self.pages: list[Page] = []

    def page(self, page: Page) -> None:
        if not self.well:
            raise TransientError("nobody there")
        self.pages.append(page)


@scenario
def pages_not_delivered(world: World) -> Iterator[str]:
    pager = Unanswered()
    watch = replace(world.keeper.watch, pager=pager)
    world.keeper = replace(world.keeper, watch=watch)
    world.parts.queue("reports").send(["no message at all"])
    serve(world)
    look(world)
    look(world, 6 * MINUTE)
    yield "part:pager"
    world.keeper = replace(world.keeper, watch=replace(watch, pager=world.parts.keeper().watch.pager))
    look(world)
    look(world)


# ── the tests ──────────────────────────────────────────────────────────────────────────────────────────────


def pages(world: World, kind: str) -> list[str]:
    told = [json.loads(line) for line in world.lines.getvalue().splitlines()]
    return [line["state"] for line in told if line["event"] == "page" and line["kind"] == kind]


def rings(world: World, kind: str) -> set[str]:
    return {subject for one, subject in world.alarms() if one == kind}


def gauge(world: World, kind: str) -> float | None:
    labels = {"kind": kind, "severity": ALARMS[kind].severity.value}
    return world.parts.log.metrics.registry.get_sample_value("coverguard_alarms_ringing", labels)


def test_every_kind_has_a_scenario():
    assert set(SCENARIOS) == set(ALARMS)


@pytest.mark.parametrize("kind", sorted(ALARMS))
def test_it_rings_is_told_and_stops(world, kind):
    world.put(b"generated", "there is something in the store")
    look(world)
    assert rings(world, kind) == set(), "nothing is wrong yet"
    steps = SCENARIOS[kind](world)
    subject = next(steps)
    assert subject in rings(world, kind)
    look(world, MINUTE)
    assert subject in rings(world, kind), "and goes on as long as the fault"
    assert gauge(world, kind) >= 1
    if kind != "pages_not_delivered":
        assert pages(world, kind) == ["ringing"], "told once"
    assert next(steps, None) is None
    assert rings(world, kind) == set()
    look(world)
    assert gauge(world, kind) == 0
    assert pages(world, kind)[-1] == "ended"


def test_nothing_rings_where_nothing_is_wrong(world):
    world.list_of(near(picture(1)))
    for number in (1, 2):
        world.parts.queue("uploads").send([world.announce(picture(number), f"c{number}").body])
    serve(world)
    for _ in range(4):
        look(world, 10 * MINUTE)
    assert world.alarms() == []


def test_what_cannot_be_looked_at_goes_on_ringing(world):
    """A queue that does not answer has not lost its dead letters by that."""
    steps = dead_letters(world)
    next(steps)
    with without_table(world, "queue_message"):
        look(world)
        look(world, MINUTE)
        assert ("dead_letters", "queue:reports") in world.alarms()
    look(world)
    assert world.alarms() == [("dead_letters", "queue:reports")]


def test_a_keeper_that_begins_anew_ends_what_another_rang(world):
    steps = queue_unserved(world)
    next(steps)
    world.keeper = world.parts.keeper()
    look(world)
    assert rings(world, "queue_unserved"), "its memory is gone, the fault is not"
    next(steps, None)
    assert rings(world, "queue_unserved") == set()


def test_an_unknown_kind_cannot_ring(world):
    with (
        world.database.transaction() as tx,
        pytest.raises(ValueError, match="no such kind of alarm: surprise"),
    ):
        alarms.ring(tx, kind="surprise", subject="part:any", now=world.clock.now())


def test_who_must_know_at_night():
    tickets = {kind for kind, known in ALARMS.items() if known.severity is Severity.TICKET}
    assert tickets == {
        "audit_heads_behind", "clock_half_over", "clock_three_quarters_over", "not_screened",
        "list_not_attested", "list_records_unreadable", "list_review_due",
        "overdue_preservation_end", "overdue_repeat_review", "overdue_review", "overdue_suppression_review",
    }  # fmt: skip


def test_what_was_reported_again_too_late_pages_once_an_hour_and_for_one_reason(world):
    """A supervisor who does not come is told again by the same alarm, not by another, nor by its clock."""
    upload, desk = world.upload(picture(1), surface=WATCHED), Desk(world)
    first = desk.file(upload)
    look(world, DAY + MINUTE)
    desk.file(upload, net="another")
    for _ in range(6):
        look(world, HOUR)
    assert rings(world, "overdue_repeat_review") == {first.reference}
    ringing = {kind for kind, subject in world.alarms() if subject.endswith(first.reference)}
    paging = {kind for kind in ringing if ALARMS[kind].severity is Severity.PAGE}
    assert paging == {"report_overdue_repeated", "overdue_report_review"}, "again, and not decided in time"
    assert not {subject for _, subject in world.alarms() if subject.startswith("repeat_review:")}
    assert pages(world, "report_overdue_repeated") == ["ringing", *["still_ringing"] * 5]


# ── telling people ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def pager(world):
    pager = Unanswered()
    pager.well = True
    world.keeper = replace(world.keeper, watch=replace(world.keeper.watch, pager=pager))
    return pager


def ring(world, kind, *subjects):
    with world.database.transaction() as tx:
        for subject in subjects:
            alarms.ring(tx, kind=kind, subject=subject, now=world.clock.now())


def tell(world, after=timedelta()):
    world.clock.go_on(after)
    world.keeper.watch.tell_people()


def test_a_page_that_is_not_taken_is_told_again_with_the_same_key(world, pager):
    ring(world, "hold_budget_spent", "list:1")
    pager.well = False
    tell(world)
    assert world.rows("alarm")[0].paged_at is None
    assert world.parts.log.metrics.registry.get_sample_value("coverguard_alarms_untold") == 1
    pager.well = True
    tell(world, MINUTE)
    tell(world, MINUTE)
    (page,) = pager.pages
    assert page.key.startswith("hold_budget_spent:list:1:")
    assert (page.count, page.severity, page.state.value) == (1, Severity.PAGE, "ringing")
    assert world.parts.log.metrics.registry.get_sample_value("coverguard_alarms_untold") == 0


def test_told_before_it_was_noted_is_told_twice_with_one_key(world, pager):
    """The process dies between the page and its note."""
    ring(world, "hold_budget_spent", "list:1")
    tell(world)
    _execute(world, "UPDATE alarm SET paged_at = NULL")
    tell(world, MINUTE)
    assert len(pager.pages) == 2
    assert len({page.key for page in pager.pages}) == 1


def test_a_storm_is_one_page(world, pager):
    ring(world, "dead_letters", *(f"queue:q{number}" for number in range(50)))
    tell(world)
    ring(world, "dead_letters", *(f"queue:r{number}" for number in range(50)))
    tell(world, MINUTE)
    assert [page.count for page in pager.pages] == [50], "more of the same waits"
    assert len(pager.pages[0].subjects) == 5
    tell(world, 4 * MINUTE)
    assert [page.count for page in pager.pages] == [50, 50]


@pytest.mark.parametrize(("kind", "again"), [("dead_letters", HOUR), ("overdue_review", DAY)])
def test_what_goes_on_is_told_again_in_time(world, pager, kind, again):
    ring(world, kind, "queue:uploads")
    tell(world)
    tell(world, again - MINUTE)
    assert [page.state.value for page in pager.pages] == ["ringing"]
    tell(world, MINUTE)
    tell(world, MINUTE)
    assert [page.state.value for page in pager.pages] == ["ringing", "still_ringing"]


def test_patience(world, pager):
    """What is over in seconds need not wake anybody."""
    ring(world, "held_not_verified_gone", "cover-1", "cover-2")
    tell(world)
    assert pager.pages == []
    with world.database.transaction() as tx:
        alarms.quiet(tx, kind="held_not_verified_gone", subject="cover-1", now=world.clock.now())
    tell(world, MINUTE)
    (page,) = pager.pages
    assert (page.subjects, page.state.value) == (["cover-2"], "ringing")


def test_what_ended_while_somebody_was_told_is_told_as_ended(world, pager):
    ring(world, "dead_letters", "queue:uploads")
    (row,) = world.rows("alarm")
    with world.database.transaction() as tx:
        alarms.quiet(tx, kind="dead_letters", subject="queue:uploads", now=world.clock.now())
        alarms.note_told(tx, [row.id], ended=False, now=world.clock.now())
    for _ in range(2):
        tell(world, MINUTE)
    assert [page.state.value for page in pager.pages] == ["ended"]


def test_one_that_cannot_be_told_keeps_nobody_from_the_others(world, pager):
    class Choosy(Unanswered):
        def page(self, page: Page) -> None:
            self.well = page.kind != "clock_jumped"
            super().page(page)

    choosy = Choosy()
    world.keeper = replace(world.keeper, watch=replace(world.keeper.watch, pager=choosy))
    ring(world, "clock_jumped", "part:clock")
    ring(world, "store_unreachable", "part:store")
    tell(world)
    assert [page.kind for page in choosy.pages] == ["store_unreachable"]
    assert "not_paged" in world.parts.log.counters


def test_a_kind_of_a_later_release_is_left_to_it(world, pager):
    ring(world, "dead_letters", "queue:uploads")
    _execute(world, "UPDATE alarm SET kind = 'of_tomorrow'")
    tell(world)
    assert pager.pages == []
