"""One report is enough: written down, receipted, acted on within the caps, and its reporter hears of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from reporting_desk import Desk
from world import ADA, BEA, GATED, MICROSECOND, SENIOR, WATCHED, near, person, picture

from coverguard.correspondence import NamedCover
from coverguard.errors import NotFound, Refused
from coverguard.messages import parse
from coverguard.model import Category, ReporterKind, Surface
from coverguard.store import covers, reports

SUPPORT, FLAGGER, HOTLINE = ReporterKind.SUPPORT, ReporterKind.TRUSTED_FLAGGER, ReporterKind.HOTLINE
HOUR = timedelta(hours=1) // MICROSECOND
DAY = timedelta(days=1)


@pytest.fixture
def desk(world):
    return Desk(world)


def shown(world, number=1, **other):
    """A cover that the public sees, with nothing against it."""
    fields = {"surface": WATCHED, "uploader": "child"} | other
    return world.upload(picture(number), f"c{number}", **fields)


def settle(world):
    world.clock.go_on(timedelta(seconds=10))
    for step in world.keeper.steps():
        step()


def unserved(world):
    """What `verify` says of events and reports that nobody acted on."""
    return next(one.found for one in world.parts.verifier().run() if one.check == "events_served")


# ── one report ─────────────────────────────────────────────────────────────────────────────────────────────


def test_what_anybody_names_is_hidden_and_nothing_else(world, desk):
    named, other = shown(world, 1), shown(world, 2)
    made = desk.file(named)
    assert made.outcome.note == "reported"
    assert not world.served(named.ref)
    assert world.served(other.ref)
    assert world.holds(named) == [("block", "held", named.ref.key, False)]
    assert world.vault() == []
    assert desk.targets(made) == [("c1", "hidden")]
    assert desk.row(made).state == "hidden"
    assert world.item(named).state == "open"
    assert world.items(other) == []
    assert world.rows("takedown") == []
    assert "cover.withheld" in world.types(upload=named)


def test_its_reporter_reads_with_the_token_what_staff_reads(world, desk):
    made = desk.file(shown(world), text="He made me do it.", police_reference="CR/1")
    assert desk.kinds(made) == ["report", "receipt", "status"]
    assert [one.seq for one in desk.mail(made)] == [1, 2, 3]
    first, receipt, status = desk.mail(made)
    assert "He made me do it." in first.text
    assert "CR/1" in first.text
    assert "profile picture c1" in first.text
    assert made.reference in receipt.text
    assert "24 hours" in receipt.text
    assert "hidden" in status.text
    for_staff = world.intake.reporting.transcript(made.reference, actor=ADA)
    assert [(one.seq, one.author.value, one.kind, one.text) for one in for_staff] == [
        (one.seq, one.author, one.kind, one.text) for one in desk.mail(made)
    ]


def test_told_twice_is_told_once(world, desk):
    made = desk.file(shown(world))
    before = world.everything()
    assert desk.deliver(made.body).note == "reported"
    assert world.everything() == before


def test_the_platform_hears_of_the_receipt(world, desk):
    cover = shown(world)
    named = {"id": cover.cover_id, "version": 1, "surface": cover.surface.value}
    desk.button(report_id="r-7", account_id=None, covers=[named], text="look")
    (row,) = world.rows("report")
    assert (row.source, row.category, row.state) == ("platform", "child_abuse", "hidden")
    assert [
        (one.report_id, one.reference) for one in world.told("safety") if one.type == "report.receipted"
    ] == [("r-7", row.ref)]


@pytest.mark.thorough
def test_another_category_hides_nothing_by_machine(world, desk):
    for number, category in enumerate((Category.OTHER, Category.TERRORISM), 1):
        cover = shown(world, number)
        made = desk.file(cover, category=category)
        assert world.served(cover.ref)
        assert desk.effects(made) == {"rescreened"}
        assert world.item(cover).state == "open"


def test_an_intimate_image_is_hidden_and_owed_away_within_two_days(world, desk):
    cover = shown(world)
    made = desk.file(cover, category=Category.INTIMATE_IMAGE)
    assert not world.served(cover.ref)
    assert set(desk.owed(made)) == {"report_review"}  # it is out of sight: that was owed
    (removal,) = world.rows("obligation", kind="removal_48h")
    assert removal.due_at - removal.opened_at == 48 * HOUR


def test_several_things_in_one_report(world, desk):
    one, two = shown(world, 1), shown(world, 2, uploader="friend", surface=GATED, playlist="p1")
    made = desk.file(one, playlists=["p1"], accounts=["nobody-here"])
    assert desk.targets(made) == [("c1", "hidden"), ("p1", "hidden"), ("nobody-here", "unknown")]
    assert world.item(two).state == "open"
    assert len(world.rows("case_file")) == 2
    assert len(world.rows("report")) == 1


def test_all_versions_are_meant_unless_one_is_named(world, desk):
    old = shown(world, 1, version=1)
    new = world.upload(picture(3), "c1", surface=WATCHED, uploader="child", version=2, key="raw/c1/2")
    desk.file(NamedCover(id="c1", surface=WATCHED, version=1))
    assert (world.served(old.ref), world.served(new.ref)) == (False, True)
    desk.file(NamedCover(id="c1", surface=WATCHED), net="other")
    assert not world.served(new.ref)
    assert len(world.rows("case_file")) == 1


@pytest.mark.thorough
def test_what_is_unknown_is_kept_and_taken_up_when_it_comes(world, desk):
    made = desk.file(NamedCover(id="c1", surface=WATCHED))
    assert desk.effects(made) == {"unknown"}
    settle(world)
    assert desk.row(made).state == "received"
    cover = shown(world)
    assert world.served(cover.ref)
    settle(world)
    assert not world.served(cover.ref)
    assert desk.effects(made) == {"hidden"}


def test_a_worker_that_died_after_writing_it_down_loses_nothing(world, desk):
    cover = shown(world)
    made = desk.sent(cover)
    acceptance = world.intake.reporting.acceptance
    acceptance.file(acceptance.read(parse(made.body)))
    assert world.served(cover.ref)
    world.clock.go_on(timedelta(minutes=6))
    assert unserved(world) == [made.reference]
    settle(world)
    assert unserved(world) == []
    assert not world.served(cover.ref)
    assert desk.row(made).state == "hidden"


@pytest.mark.thorough
def test_what_an_earlier_release_only_stored_is_acted_on(world, desk):
    cover = shown(world)
    named = {"id": cover.cover_id, "version": 1, "surface": cover.surface.value}
    body = world.message("content.reported", report_id="r-1", covers=[named], text="look")
    event = parse(body)
    sealed = world.keys.seal("private", body.encode(), context=event.event_id.encode())
    now = world.clock.now()
    with world.database.transaction() as tx:
        covers.note_event(
            tx, event_id=event.event_id, event_type=event.type, facts={}, occurred_at=now, now=now,
            served=False,
        )  # fmt: skip
        covers.note_statement(
            tx, event_id=event.event_id, kind="report", text_sealed=sealed, said_at=now, expires_at=None
        )
    settle(world)
    assert not world.served(cover.ref)
    assert len(world.rows("report")) == 1
    assert [row.served_at is None for row in world.rows("platform_event")] == [False]
    settle(world)
    assert len(world.rows("report")) == 1


# ── the rest of the account ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
def test_the_rest_is_looked_at_again_with_what_the_lists_say_now(world, desk):
    named, other, third = shown(world, 1), shown(world, 2), shown(world, 3)
    world.list_of(near(picture(2)))
    world.clock.go_on(timedelta(seconds=2))
    made = desk.file(named)
    assert world.served(other.ref)
    assert desk.rescreen() == 1
    assert not world.served(other.ref)
    assert world.served(third.ref)
    (answer,) = world.rows("screening", origin="report", cover_version_id=world.cover(other).id)
    assert (answer.decision, answer.origin_id) == ("hold", made.reference)
    assert len(world.rows("case_file")) == 1
    before = world.everything()
    desk.rescreen()
    assert world.everything()["screening"] == before["screening"]


def test_what_was_compared_with_the_newest_lists_needs_no_other_look(world, desk):
    """But for the first of what a person may come to remove: crops of it are missing."""
    cover, other = shown(world), shown(world, 2)
    desk.file(cover)
    assert desk.rescreen() == 1
    assert not world.rows("screening", origin="report", cover_version_id=world.cover(other).id)
    desk.file(cover, net="elsewhere")
    assert len(desk.rescreens()) == 1


def test_a_named_account_joins_one_case_whole_and_is_not_hidden_for_that(world, desk):
    covers = [shown(world, number) for number in (1, 2, 3)]
    made = desk.file(accounts=["child"])
    assert desk.effects(made) == {"rescreened"}
    assert [world.item(one).state for one in covers] == ["open"] * 3
    assert len({world.item(one).case_id for one in covers}) == 1
    assert all(world.served(one.ref) for one in covers)
    items = len(world.rows("case_item"))
    desk.file(accounts=["child"], net="elsewhere")
    assert len(world.rows("case_item")) == items


def test_an_account_with_a_matched_cover_goes_dark_by_a_report(world, desk):
    world.list_of(near(picture(1)))
    shown(world, 1)
    other = shown(world, 2)
    assert world.served(other.ref)
    made = desk.file(other)
    (taken,) = world.rows("takedown_cause")
    assert (taken.kind, taken.origin, taken.level) == ("report", made.reference, "block")


@pytest.mark.parametrize("role", [SUPPORT, FLAGGER, HOTLINE])
def test_who_has_a_key_hides_the_whole_account(world, desk, role):
    named = shown(world, 1)
    desk.keyed(role, named)
    (taken,) = world.rows("takedown_cause")
    assert taken.kind == ("support" if role is SUPPORT else "report")
    assert taken.role == role.value
    assert world.item(named).two_people is (role is HOTLINE)


@pytest.mark.parametrize("role", [SUPPORT, FLAGGER, HOTLINE])
def test_who_names_no_key_of_ours_is_anybody(world, desk, role):
    named = shown(world, 1)
    for api_key in (None, "key-0123456789abcdef", desk.key(SUPPORT if role is HOTLINE else HOTLINE)):
        made = desk.file(named, source=role, api_key=api_key, removal=True)
        assert desk.row(made).source == "anonymous"
        assert not desk.row(made).urgent
    assert world.rows("takedown") == []


def test_far_reach_asks_a_person_first(make_world):
    world = make_world(report_reach_covers=2)
    desk = Desk(world)
    named, other = shown(world, 1), shown(world, 2)
    made = desk.keyed(FLAGGER, named)
    assert world.rows("takedown") == []
    assert ("report_reach", made.reference) in world.alarms()
    assert not world.served(named.ref)
    assert world.served(other.ref)
    desk.keyed(SUPPORT, named)
    assert len(world.rows("takedown")) == 1


def test_two_anonymous_networks_are_not_two_reporters(world, desk):
    named = shown(world, 1)
    for net in ("one", "two", "three"):
        desk.file(named, net=net)
    assert world.rows("takedown") == []


def test_the_button_and_an_anonymous_report_may_be_one_person(world, desk):
    named, other = shown(world, 1), shown(world, 2)
    desk.button(report_id="b", reporter_id="r1", account_id="child")
    desk.file(named)
    desk.file(accounts=["child"])
    assert world.rows("takedown") == []
    assert world.served(other.ref)


def test_two_whom_the_platform_knows_agree(world, desk):
    cover = shown(world, 1)
    for number, reporter in enumerate(("r1", "r1", "r2")):
        assert world.rows("takedown") == []
        desk.button(report_id=f"b{number}", reporter_id=reporter, account_id="child")
    (taken,) = world.rows("takedown_cause")
    assert taken.kind == "report"
    assert cover


@pytest.mark.thorough
def test_an_account_terminated_for_child_safety_is_dark_before_anybody_reports(world, desk):
    covers = [shown(world, number) for number in (1, 2)]
    world.deliver(world.message("account.terminated", account_id="child", reason="child_safety"))
    made = desk.file(accounts=["child"])
    for _ in range(4):  # a page each
        settle(world)
    assert not any(world.served(one.ref) for one in covers)
    assert desk.effects(made) == {"hidden"}
    assert desk.row(made).state == "hidden"
    assert len(world.rows("case_file")) == 1
    assert [one.kind for one in world.rows("takedown_cause")] == ["termination"]


def test_public_covers_of_an_account(world, desk):
    def count(account):
        with world.database.reading() as tx:
            return reports.public_covers(tx, account)

    assert count("child") == 0
    covers = [shown(world, number) for number in (1, 2, 3)]
    shown(world, 4, uploader="friend")
    assert (count("child"), count("friend"), count("nobody")) == (3, 1, 0)
    desk.file(covers[0])
    assert count("child") == 2
    world.delete(covers[1])
    assert count("child") == 1
    with world.unreachable(covers[2].ref):
        world.deliver(world.announce(picture(4), "c9", surface=WATCHED, uploader="child").body)
    world.list_of(near(picture(5)))
    shown(world, 5)
    assert count("child") == 2


# ── caps ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
def test_over_the_cap_a_person_is_told_and_nothing_is_hidden(make_world):
    world = make_world(report_hides_network=1)
    desk = Desk(world)
    one, two, three = (shown(world, number, uploader=f"u{number}") for number in (1, 2, 3))
    first = desk.file(one)
    second = desk.file(two)
    assert desk.effects(first) == {"hidden"}
    assert desk.effects(second) == {"capped"}
    assert (world.served(one.ref), world.served(two.ref)) == (False, True)
    assert world.alarms() == [("report_hides_capped", "part:reports")]
    assert desk.kinds(second) == ["report", "receipt"]
    assert desk.effects(desk.file(three, net="elsewhere")) == {"hidden"}
    again = desk.file(one, net="home")  # hidden already: costs nothing
    assert desk.effects(again) == {"hidden"}
    world.clock.go_on(timedelta(hours=1, seconds=1))
    settle(world)
    assert world.alarms() == []
    assert desk.effects(desk.file(two)) == {"hidden"}


@pytest.mark.thorough
def test_the_cap_of_all_and_who_is_not_counted(make_world):
    world = make_world(report_hides_total=1)
    desk = Desk(world)
    one, two, three = (shown(world, number, uploader=f"u{number}") for number in (1, 2, 3))
    desk.keyed(FLAGGER, one)
    assert desk.effects(desk.file(two, net="a")) == {"hidden"}
    assert desk.effects(desk.file(three, net="b")) == {"capped"}
    assert desk.effects(desk.keyed(HOTLINE, three)) == {"hidden"}


def many(world, desk, *, accounts, reports):
    covers = {n: [shown(world, 2 * n + i, uploader=f"u{n}") for i in (0, 1)] for n in range(accounts)}
    made = [desk.file(covers[number % accounts][0], net=f"n{number % 7}") for number in range(reports)]
    hidden = [pair[0] for pair in covers.values() if not world.served(pair[0].ref)]
    assert all(world.served(pair[1].ref) for pair in covers.values())
    assert world.rows("takedown") == []
    assert len(world.rows("report")) == reports
    assert all(desk.kinds(one)[:2] == ["report", "receipt"] for one in made[:: max(1, reports // 20)])
    assert sum(one.type == "report.receipted" for one in world.told("safety")) == reports
    assert len(world.rows("case_file")) == accounts
    return hidden


@pytest.mark.thorough
def test_many_reports_on_innocent_accounts_stay_within_the_caps(make_world):
    world = make_world(report_hides_network=3, report_hides_total=10)
    hidden = many(world, Desk(world), accounts=20, reports=80)
    assert len(hidden) == 10
    assert ("report_hides_capped", "part:reports") in world.alarms()


@pytest.mark.by_hand
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_reports_on_a_thousand_accounts(make_world):
    world = make_world()
    hidden = many(world, Desk(world), accounts=1000, reports=10_000)
    assert len(hidden) <= 7 * world.settings.report_hides_network


def test_a_groomer_silences_nothing_but_what_they_name(world, desk):
    childs = [shown(world, number) for number in (1, 2, 3)]
    for net in ("vpn-1", "vpn-2", "vpn-3", "vpn-4"):
        desk.file(childs[0], accounts=["child"], net=net, text="it is abuse", urgent=True)
    settle(world)
    assert [world.served(one.ref) for one in childs] == [False, True, True]
    assert world.rows("takedown") == []


# ── repeats ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeat_joins_escalates_and_moves_no_clock(world, desk):
    cover = shown(world)
    first = desk.file(cover)
    clock = desk.owed(first)
    world.clock.go_on(DAY - timedelta(hours=2))
    before = desk.row(first).priority
    second = desk.file(cover, net="other")
    assert desk.row(second).repeats_id == desk.row(first).id
    assert desk.row(first).repeats == 1
    assert before < desk.row(first).priority == desk.row(second).priority
    assert desk.owed(first) == clock
    assert desk.owed(second) == {}
    assert len(world.rows("case_file")) == 1
    assert len(world.items(cover)) == 1
    assert not [one for one in world.alarms() if one[0] == "report_overdue_repeated"]


@pytest.mark.thorough
def test_a_repeat_after_the_time_pages_a_supervisor_once(world, desk):
    cover = shown(world)
    first = desk.file(cover)
    world.clock.go_on(DAY + timedelta(seconds=1))
    for _ in range(2):
        desk.file(cover, net="other")
    assert [one for one in world.alarms() if one[0] == "report_overdue_repeated"] == [
        ("report_overdue_repeated", first.reference)
    ]
    assert set(desk.owed(first)) == {"report_review", "repeat_review"}
    assert len(world.rows("obligation", kind="repeat_review")) == 1
    world.confirm(cover)
    settle(world)
    assert desk.owed(first) == {}
    assert not [one for one in world.alarms() if one[0] == "report_overdue_repeated"]


def test_a_repeat_that_names_more_has_a_clock_of_its_own(world, desk):
    one, two = shown(world, 1), shown(world, 2)
    desk.file(one)
    assert set(desk.owed(desk.file(one, two))) == {"report_review"}


# ── decisions ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
def test_a_confirmed_cover_is_told_as_removed_exactly_once(world, desk):
    cover = shown(world)
    made, other = desk.file(cover), desk.file(cover, net="other", opted_out=True)
    world.confirm(cover)
    for _ in range(3):
        settle(world)
    assert desk.row(made).state == desk.row(other).state == "decided"
    assert desk.kinds(made) == ["report", "receipt", "status", "outcome"]
    outcome = desk.mail(made)[-1].text
    assert "removed" in outcome
    assert "automatically" in outcome
    assert "complain" in outcome
    assert desk.kinds(other) == ["report", "receipt", "status", "status"]
    assert desk.row(made).told_at is not None
    assert desk.row(other).told_at is None
    assert desk.owed(made) == {}


def test_a_cleared_cover_comes_back_byte_for_byte(world, desk):
    cover = shown(world)
    made = desk.file(cover)
    desk.file(cover, net="other")
    assert not world.served(cover.ref)
    world.clear(cover, ADA)
    assert world.served(cover.ref)
    assert world.types(upload=cover)[-1] == "cover.released"
    settle(world)
    assert desk.row(made).state == "decided"
    assert "has not been removed" in desk.mail(made)[-1].text


@pytest.mark.thorough
def test_what_a_person_cleared_is_hidden_again_only_for_who_has_a_key(world, desk):
    cover = shown(world)
    desk.file(cover)
    world.clear(cover, ADA)
    settle(world)
    again = desk.file(cover)
    assert world.served(cover.ref)
    assert desk.effects(again) == {"rescreened"}
    assert world.item(cover).state == "open"
    settle(world)
    assert desk.row(again).state == "received"  # what was decided before it came decides nothing of it
    demand = desk.keyed(HOTLINE, cover, removal=True)
    assert not world.served(cover.ref)
    assert desk.row(demand).urgent
    assert world.item(cover).two_people
    opened = {
        one.kind: one.due_at - one.opened_at
        for one in world.rows("obligation", report_id=desk.row(demand).id)
    }
    assert opened == {"report_review": 4 * HOUR, "notice_24h": 24 * HOUR}


def test_a_report_of_something_unknown_is_closed_by_a_person(world, desk):
    made = desk.file(NamedCover(id="gone", surface=Surface.TRACK_ART))
    reporting = world.intake.reporting
    with pytest.raises(Refused):
        reporting.close(made.reference, actor=person("Sam", "support"))
    reporting.close(made.reference, actor=ADA)
    reporting.close(made.reference, actor=ADA)
    assert desk.row(made).state == "decided"
    assert desk.kinds(made) == ["report", "receipt", "outcome"]
    assert "found nothing" in desk.mail(made)[-1].text
    waiting = desk.file(shown(world))
    with pytest.raises(Refused, match="verdict"):
        reporting.close(waiting.reference, actor=ADA)


# ── the thread ─────────────────────────────────────────────────────────────────────────────────────────────


def test_additions_and_answers(world, desk):
    made = desk.file(shown(world))
    assert desk.add(made, "There is more", police_reference="CR/9", event_id="a1").note == "added"
    assert desk.add(made, "There is more", event_id="a1").note == "added"
    world.intake.reporting.reply(made.reference, "Thank you. We look at it now.", actor=BEA)
    assert desk.kinds(made)[-2:] == ["addition", "reply"]
    addition, reply = desk.mail(made)[-2:]
    assert (addition.author, reply.author) == ("reporter", "staff")
    assert "CR/9" in addition.text
    assert "Bea" not in str(desk.mail(made))


def test_nobody_else_adds_to_a_report(world, desk):
    made = desk.file(shown(world))
    before = world.everything()
    assert desk.add(made, "nonsense", token=b"x" * 32).note == "not_the_reporter"
    assert desk.add(made, "  ").note == "empty_addition"
    assert world.everything() == before


def test_an_addition_that_overtook_its_report_waits(world, desk):
    made = desk.sent(shown(world))
    assert desk.add(made, "more").note == "early"
    desk.deliver(made.body)
    assert desk.add(made, "more").note == "added"


@pytest.mark.thorough
def test_an_addition_to_a_decided_report_is_owed_another_look(world, desk):
    cover = shown(world)
    made = desk.file(cover)
    world.confirm(cover)
    settle(world)
    assert desk.owed(made) == {}
    desk.add(made, "please look again")
    assert set(desk.owed(made)) == {"report_review"}
    world.intake.reporting.reply(made.reference, "We have looked again.", actor=ADA)
    assert desk.owed(made) == {}


def test_who_reads_and_answers_is_checked_and_audited(world, desk):
    made, reporting = desk.file(shown(world)), world.intake.reporting
    for roles in (["support"], ["operator"], ["auditor"], ["hotline"]):
        nobody = person("Eve", *roles)
        with pytest.raises(Refused):
            reporting.transcript(made.reference, actor=nobody)
        with pytest.raises(Refused):
            reporting.reply(made.reference, "hello", actor=nobody)
    with pytest.raises(Refused):
        reporting.reply(made.reference, " ", actor=ADA)
    with pytest.raises(NotFound):
        reporting.transcript("report-0000000000000000", actor=ADA)
    reporting.transcript(made.reference, actor=SENIOR)
    reads = [one.actor for one in world.rows("audit", verb="read report")]
    assert reads == ["Senta"]


def test_contacts_and_networks_go_at_their_time(world, desk):
    made = desk.file(shown(world), contact="parent@example.org")
    assert len(world.rows("reporter")) == 1
    assert b"parent" not in world.rows("reporter")[0].contact_sealed
    world.clock.go_on(world.settings.report_network_retention + timedelta(seconds=1))
    settle(world)
    assert desk.row(made).network is None
    assert len(world.rows("reporter")) == 1
    world.clock.go_on(world.settings.report_contact_retention)
    settle(world)
    assert world.rows("reporter") == []


def test_a_mailbox_that_cannot_be_used_costs_nobody_their_report(world, desk):
    made = desk.sent(shown(world))
    body = made.body.replace(made.mailbox.public_key.hex(), "00" * 32)
    assert desk.deliver(body).note == "reported"
    assert desk.row(made).mailbox is None
    assert world.rows("thread_mail") == []
