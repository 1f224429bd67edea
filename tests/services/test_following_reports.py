"""What a reporter says that their report follows on: a hint for staff, on which nothing else depends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from reporting_desk import Desk
from test_reports import DAY, settle, shown

from coverguard.store import reports
from coverguard.store.reports import Earlier


@pytest.fixture
def desk(world):
    return Desk(world)


def earlier(world, desk, receipt):
    with world.database.reading() as tx:
        return reports.earlier(tx, desk.row(receipt))


def traces(world, desk, receipt):
    """All that a report made, but for references, ids and what was said."""
    row = desk.row(receipt)
    facts = {name: getattr(row, name) for name in ("source", "state", "urgent", "priority", "repeats")}
    clocks = [(one.kind, one.due_at - one.opened_at, one.met_at) for one in world.rows("obligation")]
    claims = [(one.claimed_at, one.dropped_at) for one in world.rows("quarantine_claim")]
    counts = {name: len(rows) for name, rows in world.everything().items()}
    kinds = [kind for kind, _ in world.alarms()]
    return facts, desk.targets(receipt), clocks, claims, counts, kinds, desk.kinds(receipt)


NOBODYS = "report-0000000000000000"


@pytest.mark.parametrize("which", ["the same account's", "somebody else's", "nobody's"])
def test_a_hint_changes_no_effect_no_clock_and_no_count(make_world, which):
    made = []
    for hinted in (False, True):
        world = make_world()
        desk = Desk(world)
        mine, theirs = shown(world, 1), shown(world, 2, uploader="friend")
        first, other = desk.file(mine), desk.file(theirs, net="other")
        before = desk.row(other)
        world.clock.go_on(DAY + timedelta(seconds=1))
        named = {"the same account's": first.reference, "somebody else's": other.reference}
        told = {"earlier_reference": named.get(which, NOBODYS)} if hinted else {}
        second = desk.file(mine, **told)
        settle(world)
        made.append(traces(world, desk, second))
        assert desk.row(second).repeats_id == desk.row(first).id, "found by what it names, hint or no hint"
        assert desk.row(other) == before
        assert desk.kinds(other) == ["report", "receipt", "status"]
    assert made[0] == made[1]


def test_staff_reads_what_a_report_is_said_to_follow_on(world, desk):
    cover, other = shown(world, 1), shown(world, 2, uploader="friend")
    first = desk.file(cover)
    second = desk.file(accounts=["child"], earlier_reference=first.reference)
    assert desk.row(second).earlier_ref == first.reference
    assert earlier(world, desk, second) is Earlier.SAME_ACCOUNT
    assert f"Follows on: {first.reference}" in desk.mail(second)[0].text
    foreign = desk.file(other, earlier_reference=first.reference)
    assert earlier(world, desk, foreign) is Earlier.SOMETHING_ELSE
    assert first.reference in desk.mail(foreign)[0].text, "as they told it, whatever it is"
    assert desk.row(foreign).repeats_id is None
    assert earlier(world, desk, desk.file(cover, earlier_reference=NOBODYS)) is Earlier.UNKNOWN
    assert earlier(world, desk, desk.file(cover)) is None


def test_two_reports_of_what_nobody_knows_are_about_the_same(world, desk):
    first = desk.file(accounts=["nobody-here"])
    second = desk.file(accounts=["nobody-here", "child"], earlier_reference=first.reference)
    assert earlier(world, desk, second) is Earlier.SAME_ACCOUNT


def test_a_report_that_overtook_the_one_it_follows_on_is_read_rightly_later(world, desk):
    cover = shown(world)
    first = desk.sent(cover)
    second = desk.file(cover, earlier_reference=first.reference)
    assert earlier(world, desk, second) is Earlier.UNKNOWN
    desk.deliver(first.body)
    assert earlier(world, desk, second) is Earlier.SAME_ACCOUNT


@pytest.mark.parametrize(
    ("written", "kept"),
    [(" REPORT-0123456789ABCDEF ", "report-0123456789abcdef"), ("the one of yesterday", None), ("", None)],
)
def test_a_reference_that_is_none_costs_nobody_their_button_press(world, desk, written, kept):
    cover = shown(world)
    named = {"id": cover.cover_id, "version": 1, "surface": cover.surface.value}
    made = desk.button(report_id="r-7", covers=[named], earlier_reference=written)
    assert made.note == "reported"
    (row,) = world.rows("report")
    assert (row.earlier_ref, row.state) == (kept, "hidden")
