"""A list's life: vouched for, enabled, promoted step by step, stopped, reviewed; what is taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from world import ADA, BEA, EDITOR, GATED, WATCHED, exact, near, opinion, person, picture

from coverguard.errors import NotFound, Refused
from coverguard.lifecycle import ItemState
from coverguard.model import Basis, Category, ListAction
from coverguard.policy import LabelRule, ListRule
from coverguard.store import grounds, lists
from coverguard.store.lists import governance
from coverguard.store.schema.lists import ATTESTED, WEIGHED

SAID = dict.fromkeys(ATTESTED, "said")
WEIGHED_SO = dict.fromkeys(WEIGHED, "weighed")
RULE = ListRule(list_id=0, version=0, category=Category.CHILD_ABUSE)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def governor(world):
    return world.parts.governor()


def rule_of(world, name="l"):
    with world.database.reading() as tx:
        return lists.rule_of(tx, lists.by_name(tx, name).id)


def audited(world):
    return [
        (row.verb, row.actor) for row in world.rows("audit") if row.subject.startswith(("list:", "stop-"))
    ]


# ── vouched for, enabled, promoted ─────────────────────────────────────────────────────────────────────────


def test_a_list_begins_in_shadow_and_switched_off(world, governor):
    assert governor.add("l", RULE, source="s", actor=EDITOR)
    assert not governor.add("l", RULE, source="other", actor=EDITOR)
    (row,) = world.rows("hash_list")
    assert (row.enabled, row.source, rule_of(world).action) == (False, "s", ListAction.SHADOW)
    with pytest.raises(Refused, match="begins in shadow"):
        governor.add("m", replace(RULE, action=ListAction.REFER), source="s", actor=EDITOR)


@pytest.mark.parametrize("left_out", ATTESTED)
def test_a_list_is_not_enabled_before_all_is_said_of_its_source(world, governor, left_out):
    governor.add("l", RULE, source="s", actor=EDITOR)
    missing = governor.attest("l", {k: v for k, v in SAID.items() if k != left_out}, actor=EDITOR)
    assert missing == [left_out]
    for act in (lambda: governor.enable("l", actor=EDITOR), lambda: promoted(governor)):
        with pytest.raises(Refused, match="nobody vouches"):
            act()
    assert governor.attest("l", {left_out: "said at last"}, actor=EDITOR) == []
    governor.enable("l", actor=EDITOR)
    with world.database.reading() as tx:
        said = governance.attestation(tx, lists.by_name(tx, "l").id)
        assert governance.not_attested(tx) == []
    assert {getattr(said, name) for name in ATTESTED} == {"said", "said at last"}
    assert len(world.rows("list_attestation")) == 2, "what was said before stays on record"


def promoted(governor):
    return governor.promote("l", note="looked right", actor=EDITOR)


def test_it_goes_from_shadow_to_refer_to_hold_by_single_audited_steps(world, governor):
    governor.add("l", RULE, source="s", actor=EDITOR)
    governor.attest("l", SAID, actor=EDITOR)
    assert promoted(governor) is ListAction.REFER
    with pytest.raises(Refused, match="lists review"):
        promoted(governor)
    governor.review("l", WEIGHED_SO, actor=EDITOR)
    assert promoted(governor) is ListAction.HOLD
    with pytest.raises(Refused, match="no more than that"):
        promoted(governor)
    with pytest.raises(Refused, match="lists promote and lists demote"):
        governor.change_rule("l", lambda rule: replace(rule, action=ListAction.REFER), note="n", actor=EDITOR)
    governor.demote("l", ListAction.SHADOW, note="too many", actor=EDITOR)
    with pytest.raises(Refused, match="may only shadow"):
        governor.demote("l", ListAction.REFER, note="n", actor=EDITOR)
    assert [row.action for row in world.rows("list_rule")] == ["shadow", "refer", "hold", "shadow"]
    verbs = [verb for verb, _ in audited(world)]
    assert verbs == ["add list", "attest list", "change rule", "review list", "change rule", "change rule"]


def test_only_editors_do_any_of_it(world, governor):
    listed = world.list_of(near(picture(1)), name="l")
    verbs = (
        lambda who: governor.add("m", RULE, source="s", actor=who),
        lambda who: governor.attest("l", SAID, actor=who),
        lambda who: governor.enable("l", actor=who),
        lambda who: governor.disable("l", actor=who),
        lambda who: governor.promote("l", note="n", actor=who),
        lambda who: governor.demote("l", ListAction.SHADOW, note="n", actor=who),
        lambda who: governor.change_rule("l", lambda rule: rule, note="n", actor=who),
        lambda who: governor.stop("l", note="n", actor=who),
        lambda who: governor.lift("stop-1", actor=who),
        lambda who: governor.review("l", WEIGHED_SO, actor=who),
    )
    before = world.everything()
    for verb in verbs:
        for role in ("moderator", "operator", "list_reader", "auditor"):
            with pytest.raises(Refused, match="may not change lists"):
                verb(person("Carl", role))
    assert world.everything() == before
    assert listed


# ── kill switches ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "how", [{}, {"whole_source": True}, {"entry_id": 1}], ids=["list", "source", "entry"]
)
def test_what_is_stopped_counts_for_nothing_until_it_is_lifted(world, governor, how):
    world.list_of(near(picture(1)), name="l")
    ref = governor.stop("l", note="a bad entry", actor=EDITOR, **how)
    assert world.answer(world.upload(picture(1), "c1")).decision == "pass"
    governor.lift(ref, actor=EDITOR)
    governor.lift(ref, actor=EDITOR)
    assert world.answer(world.upload(picture(1), "c2")).decision == "hold"
    assert audited(world)[-3:] == [("stop list", "Edda"), ("lift stop", "Edda"), ("lift stop", "Edda")]


def test_one_stopped_entry_stops_no_other(world, governor):
    world.list_of(near(picture(1)), near(picture(2)), name="l")
    entry = world.rows("list_entry")[0]
    governor.stop("l", note="n", entry_id=entry.id, actor=EDITOR)
    assert {world.answer(world.upload(picture(n), f"c{n}")).decision for n in (1, 2)} == {"pass", "hold"}
    with pytest.raises(NotFound, match="no entry of that number"):
        governor.stop("l", note="n", entry_id=10**6, actor=EDITOR)
    with pytest.raises(NotFound, match="no stop"):
        governor.lift("stop-none", actor=EDITOR)


def test_a_stop_of_a_source_is_one_of_all_its_lists(world, governor):
    world.list_of(near(picture(1)), name="l")
    world.list_of(near(picture(2)), name="m")
    governor.stop("l", note="n", whole_source=True, actor=EDITOR)
    assert {world.answer(world.upload(picture(n), f"c{n}")).decision for n in (1, 2)} == {"pass"}


def test_a_stop_for_a_while_ends_by_itself_and_its_end_is_a_change(world, governor):
    world.list_of(near(picture(1)), name="l")
    governor.stop("l", note="n", lasting=HOUR, actor=EDITOR)
    assert world.answer(world.upload(picture(1), "c1")).decision == "pass"
    world.clock.go_on(HOUR)
    assert world.answer(world.upload(picture(1), "c2")).decision == "hold", "before anybody tells it"
    with world.database.reading() as tx:
        before = lists.newest_seq(tx)
    assert world.keeper.lift_expired_stops() == 1
    assert world.keeper.lift_expired_stops() == 0
    with world.database.reading() as tx:
        assert lists.newest_seq(tx) == before + 1, "so that what passed meanwhile is found by its judged_seq"
        assert governance.standing_stops(tx) == []


def test_of_two_stops_the_last_to_end_counts(world, governor):
    world.list_of(near(picture(1)), name="l")
    governor.stop("l", note="n", lasting=HOUR, actor=EDITOR)
    governor.stop("l", note="n", actor=EDITOR)
    world.clock.go_on(2 * HOUR)
    assert world.answer(world.upload(picture(1), "c1")).decision == "pass"


# ── reviews ────────────────────────────────────────────────────────────────────────────────────────────────


def test_reviews_fall_due_after_each_change_and_after_half_a_year(world, governor):
    def due():
        with world.database.reading() as tx:
            return governance.reviews_due(tx, now=world.clock.now())

    governor.add("l", RULE, source="s", actor=EDITOR)
    governor.attest("l", SAID, actor=EDITOR)
    governor.enable("l", actor=EDITOR)
    world.clock.go_on(15 * DAY)
    assert due() == [1], "two weeks after it was made"
    governor.review("l", WEIGHED_SO, actor=EDITOR)
    assert due() == []
    world.clock.go_on(179 * DAY)
    assert due() == []
    world.clock.go_on(2 * DAY)
    assert due() == [1]
    governor.review("l", WEIGHED_SO, actor=EDITOR)
    governor.change_rule("l", lambda rule: replace(rule, pdq_radius=20), note="n", actor=EDITOR)
    world.clock.go_on(15 * DAY)
    assert due() == [1]


def test_a_review_counts_what_people_made_of_the_lists_items(world, governor):
    world.list_of(near(picture(1)), near(picture(2)), near(picture(3)), name="l", known=False)
    uploads = [world.upload(picture(n), f"c{n}", uploader=f"u{n}") for n in (1, 2, 3)]
    world.confirm(uploads[0])
    world.clear(uploads[1])
    found = governor.review("l", WEIGHED_SO, actor=EDITOR)
    assert found == (1, 1)
    (row,) = world.rows("list_review")
    assert (row.confirmed, row.cleared, row.rule_version, row.actor) == (1, 1, 1, "Edda")
    with pytest.raises(Refused, match="all three"):
        governor.review("l", WEIGHED_SO | {"severity": " "}, actor=EDITOR)


# ── what a source's words mean ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("label", "category", "decision"),
    [("A1", "intimate_image", "hold"), ("B2", "terrorism", "refer"), ("Z9", "child_abuse", "refer"),
     (None, "child_abuse", "hold")],
)  # fmt: skip
def test_the_rule_says_what_a_sources_word_means_and_does(world, label, category, decision):
    labels = {
        "A1": LabelRule(category=Category.INTIMATE_IMAGE, action=ListAction.HOLD),
        "B2": LabelRule(category=Category.TERRORISM, action=ListAction.REFER),
    }
    world.list_of(replace(near(picture(1)), label=label), labels=labels)
    upload = world.upload(picture(1))
    assert world.answer(upload).decision == decision
    assert {match.category for match in world.matches(upload)} == {category}


# ── stale lists ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("withhold", [True, False])
def test_nothing_passes_while_a_list_that_must_be_fresh_is_stale(world, withhold):
    listed = world.list_of(near(picture(1)), max_age=HOUR, withhold_stale=withhold)
    assert world.answer(world.upload(picture(2), "c1")).decision == "pass"
    world.clock.go_on(HOUR)
    late = world.upload(picture(2), "c2", surface=GATED)
    row = world.answer(late)
    assert (row.decision, row.reason) == (("not_screened", "lists_stale") if withhold else ("pass", None))
    assert world.answer(world.upload(picture(1), "c3")).decision == "hold", "what is known is known"
    with world.database.transaction() as tx:
        governance.note_refreshed(tx, listed, now=world.clock.now())
    world.deliver(late.body)
    assert world.answer(late).decision == "pass"


# ── shares of review ───────────────────────────────────────────────────────────────────────────────────────


def test_of_known_bytes_no_more_than_the_lists_share_is_seen_by_people(world):
    world.list_of(exact(picture(1)), near(picture(2)), review_share=0)
    first = world.upload(picture(1), "c1", uploader="u1")
    assert not world.item(first).spared, "an entry's first hit is always seen"
    assert "review" in world.owed(first)
    world.confirm(first)
    spare = partial(replace, review_share=0)
    world.parts.governor().change_rule("removed-here/child_abuse", spare, note="n", actor=EDITOR)
    again = world.upload(picture(1), "c2", uploader="u2")
    assert (world.item(again).spared, world.item(again).state) == (True, ItemState.OPEN.value)
    assert "review" not in world.owed(again)
    assert not world.served(again.ref)
    looks = world.upload(picture(2), "c3", uploader="u3")
    assert not world.item(looks).spared, "what was found by its looks is always seen"


# ── withdrawn entries ──────────────────────────────────────────────────────────────────────────────────────


def test_what_rested_on_a_withdrawn_entry_alone_is_looked_at_again(world):
    row = near(picture(1))
    listed = world.list_of(row)
    upload = world.upload(picture(1))
    world.confirm(upload, basis=Basis.MATCH_RECORD)
    assert world.item(upload).state == "confirmed"
    world.withdraw(listed, row)
    assert world.keeper.reopen_lost() == 1
    assert world.keeper.reopen_lost() == 0
    item = world.item(upload)
    assert item.state == "open"
    assert {"review", "preservation_end"} <= set(world.owed(upload))
    assert "authority_report" not in world.owed(upload)
    (lost,) = world.rows("lost_ground")
    assert (lost.item_id, lost.entry_id, lost.outcome) == (item.id, 1, "reopened")
    (told,) = [one for one in world.rows("audit") if one.verb == "lose ground"]
    assert (told.subject, told.facts["entry"]) == (item.ref, 1)
    assert not world.served(upload.ref), "nothing is released by a machine"


def test_what_somebody_looked_at_rests_on_that(world):
    row = near(picture(1))
    listed = world.list_of(row)
    upload = world.upload(picture(1))
    world.confirm(upload)
    world.withdraw(listed, row)
    assert world.keeper.reopen_lost() == 0
    assert world.item(upload).state == "confirmed"


def test_what_has_another_ground_stands(world):
    one, other = near(picture(1)), exact(picture(1))
    listed = world.list_of(one, other)
    upload = world.upload(picture(1))
    world.confirm(upload, basis=Basis.MATCH_RECORD)
    world.withdraw(listed, one)
    assert world.keeper.reopen_lost() == 0
    world.withdraw(listed, other)
    assert world.keeper.reopen_lost() == 1, "the last one was taken, too"


def test_what_was_learnt_from_a_decision_is_no_ground_of_it(world):
    row = near(picture(1))
    listed = world.list_of(row)
    upload = world.upload(picture(1))
    world.confirm(upload, basis=Basis.MATCH_RECORD)
    assert any(one.own for one in world.rows("hash_list"))
    world.withdraw(listed, row)
    assert world.keeper.reopen_lost() == 1
    item = world.item(upload)
    world.clear(upload, BEA)
    if world.item(upload).state == "open":
        world.clear(upload, ADA)
    assert world.item(upload).id == item.id
    assert all(one.withdrawn_at for one in world.rows("list_entry", item_id=item.id)), "and is forgotten"


def test_an_open_item_that_lost_its_ground_says_so_and_has_a_clock(world):
    row = near(picture(1))
    listed = world.list_of(row)
    upload = world.upload(picture(1), surface=WATCHED)
    world.withdraw(listed, row)
    assert world.keeper.reopen_lost() == 1
    with world.database.reading() as tx:
        assert grounds.lost_by(tx, [world.item(upload).id]) == {world.item(upload).id: [1]}
    assert "review" in world.owed(upload)


def test_a_person_who_confirmed_it_again_is_not_asked_again_for_the_same_reason(world):
    row = near(picture(1))
    listed = world.list_of(row)
    upload = world.upload(picture(1))
    world.confirm(upload, basis=Basis.MATCH_RECORD)
    world.withdraw(listed, row)
    world.keeper.reopen_lost()
    world.confirm(upload, BEA, basis=Basis.MATCH_RECORD)
    with world.database.transaction() as tx:
        grounds.move_bookmark(tx, "withdrawn entries", at=0)
    assert world.keeper.reopen_lost() == 0, "a walk that was cut off is taken again"
    assert opinion(Category.OTHER).basis is Basis.VIEWED


# ── breakers ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_entry_that_meets_many_strangers_by_its_looks_trips(world):
    world.list_of(near(picture(1)), exact(picture(2)), entry_accounts=2)
    rows = [world.item(world.upload(picture(1), f"c{n}", uploader=f"u{n}")) for n in range(4)]
    assert [row.consequences for row in rows] == [True, True, False, False]
    assert all(not world.served(world.upload(picture(1), f"d{n}", uploader="v").ref) for n in range(2))
    assert ("hold_budget_spent", "entry:1") in world.alarms()
    (batch,) = world.rows("batch")
    assert (batch.scope, batch.closed_at) == ("entry:1", None)
    assert {row.batch_id for row in rows[2:]} == {batch.id}
    exactly = [world.item(world.upload(picture(2), f"e{n}", uploader=f"w{n}")) for n in range(4)]
    assert all(row.consequences for row in exactly), "exact digests never trip"


def test_one_uploader_with_many_copies_does_not_trip_an_entry(world):
    world.list_of(near(picture(1)), entry_accounts=2)
    rows = [world.item(world.upload(picture(1), f"c{n}")) for n in range(6)]
    assert all(row.consequences for row in rows)


def test_lists_of_one_source_share_a_budget(make_world):
    world = make_world(source_hold_budget=2)
    world.list_of(near(picture(1)), near(picture(2)), name="l")
    world.list_of(near(picture(3)), near(picture(4)), name="m")
    rows = [world.item(world.upload(picture(n), f"c{n}", uploader=f"u{n}")) for n in (1, 2, 3, 4)]
    assert [row.consequences for row in rows] == [True, True, False, False]
    assert ("hold_budget_spent", "source:1") in world.alarms()


def test_a_batch_closes_when_nothing_in_it_waits(world):
    world.list_of(near(picture(1)), entry_accounts=0, known=False)
    upload = world.upload(picture(1))
    assert world.keeper.close_batches() == 0
    world.confirm(upload)
    assert world.keeper.close_batches() == 1
    (batch,) = world.rows("batch")
    assert batch.closed_at is not None
