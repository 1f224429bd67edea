"""The moderators' verbs: who may, who must not alone, and what a verdict brings about."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import ADA, BEA, CLEO, GATED, SENIOR, WATCHED, exact, near, opinion, person, picture

from coverguard.errors import IllegalTransition, NotFound, Refused
from coverguard.model import Basis, Category, ListAction, Mode, NotScreened, NotScreenedReason, Origin
from coverguard.review import MAX_REASON, Opinion
from coverguard.store import audit, cases, covers
from coverguard.store.screenings import Answer

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def held(world):
    """A cover held on a list of known material: clearing takes two."""
    world.list_of(near(picture(1)))
    return world.upload(picture(1), "c1", surface=WATCHED)


@pytest.fixture
def single(world):
    """A cover held on a list that one person may clear."""
    world.list_of(near(picture(2)), name="unverified", known=False)
    return world.upload(picture(2), "c2", surface=WATCHED)


def verdicts(world, upload):
    return [
        (row.kind, row.outcome, row.actor) for row in world.rows("verdict", item_id=world.item(upload).id)
    ]


def trail(world, upload):
    subject = world.item(upload).ref
    return [(row.verb, row.actor) for row in world.rows("audit", subject=subject)]


# ── claims ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_is_for_one_and_for_a_while(world, held):
    claimed = world.claim(held, ADA)
    lease = world.settings.claim_lease // MICROSECOND
    assert (claimed.state, claimed.claimed_by) == ("claimed", "Ada")
    assert claimed.lease_until == world.clock.now() + lease
    with pytest.raises(IllegalTransition):
        world.claim(held, BEA)
    world.clock.go_on(world.settings.claim_lease)
    with pytest.raises(IllegalTransition):
        world.claim(held, BEA)
    world.clock.go_on(MICROSECOND)
    assert world.claim(held, BEA).claimed_by == "Bea"


def test_ones_own_claim_can_be_made_longer(world, held):
    world.claim(held, ADA)
    world.clock.go_on(timedelta(minutes=20))
    again = world.claim(held, ADA)
    assert again.lease_until == world.clock.now() + world.settings.claim_lease // MICROSECOND
    assert world.item(held) == again


def test_a_lapsed_claim_decides_nothing(world, held):
    world.claim(held, ADA)
    world.clock.go_on(world.settings.claim_lease + MICROSECOND)
    with pytest.raises(IllegalTransition):
        world.review.confirm(world.item(held).ref, actor=ADA, opinion=opinion(Category.OTHER))
    assert world.keeper.lapse_claims() == 1
    assert world.item(held).state == "open"
    assert world.keeper.lapse_claims() == 0


@pytest.mark.parametrize("verb", ["confirm", "clear", "unsure"])
def test_what_is_not_claimed_by_the_actor_is_not_decided(world, held, verb):
    decide, ref = getattr(world.review, verb), world.item(held).ref
    with pytest.raises(IllegalTransition, match="claim"):
        decide(ref, actor=ADA, opinion=opinion(Category.OTHER))
    world.claim(held, BEA)
    with pytest.raises(Refused, match="somebody else"):
        decide(ref, actor=ADA, opinion=opinion(Category.OTHER))
    assert verdicts(world, held) == []
    assert world.item(held).state == "claimed"


@pytest.mark.parametrize("roles", [["support"], ["list_editor", "auditor", "operator"], ["root"], [""]])
def test_other_roles_decide_nothing(world, held, roles):
    world.claim(held, ADA)
    nobody, ref = person("Ada", *roles), world.item(held).ref
    before = world.everything()
    for verb in ("confirm", "clear", "unsure", "reopen", "agree_to_hold"):
        with pytest.raises(Refused):
            getattr(world.review, verb)(ref, actor=nobody, opinion=opinion(Category.OTHER))
    with pytest.raises(Refused):
        world.review.claim(ref, actor=nobody)
    assert world.everything() == before


@pytest.mark.thorough
@pytest.mark.parametrize("reason", ["", "  \n", "x" * (MAX_REASON + 1)])
@pytest.mark.parametrize("verb", ["confirm", "clear", "unsure"])
def test_a_verdict_gives_its_reason(world, held, verb, reason):
    ref = world.claim(held).ref
    with pytest.raises(Refused, match="reason"):
        getattr(world.review, verb)(ref, actor=ADA, opinion=opinion(Category.OTHER, reason))
    assert verdicts(world, held) == []


def test_a_confirmation_names_the_category(world, held):
    with pytest.raises(Refused, match="category"):
        world.review.confirm(world.claim(held).ref, actor=ADA, opinion=opinion())
    assert verdicts(world, held) == []


def test_what_does_not_exist(world):
    with pytest.raises(NotFound):
        world.review.claim("item-0", actor=ADA)
    with pytest.raises(NotFound):
        world.review.reopen("item-0", actor=SENIOR, opinion=opinion())


def test_unsure_gives_the_item_back(world, held):
    ref = world.claim(held).ref
    world.review.unsure(ref, actor=ADA, opinion=opinion())
    assert world.item(held).state == "open"
    assert verdicts(world, held) == [("decision", "unsure", "Ada")]
    assert not world.served(held.ref)
    assert world.owed(held).keys() == {"review"}


def test_a_verdict_keeps_who_when_how_and_why(world, held):
    ref = world.claim(held).ref
    said = Opinion(category=Category.CHILD_ABUSE, reason="Seen before", basis=Basis.PRIOR_VERDICT)
    world.review.confirm(ref, actor=ADA, opinion=said)
    (row,) = world.rows("verdict")
    assert (row.actor, row.role, row.channel, row.basis) == ("Ada", "moderator", "console", "prior_verdict")
    assert (row.category, row.given_at) == ("child_abuse", world.clock.now())
    assert world.keys.open("private", row.reason_sealed, context=ref.encode()) == b"Seen before"
    assert b"Seen" not in row.reason_sealed


# ── clearing ───────────────────────────────────────────────────────────────────────────────────────────────


def test_one_person_clears_what_is_not_of_known_material(world, single):
    assert world.clear(single).kind == "decision"
    assert world.item(single).state == "cleared"
    assert world.served(single.ref)
    assert world.verdict_events(single) == [("withheld", 1), ("released", 2)]
    assert trail(world, single)[-1] == ("clear", "Ada")


def test_two_people_clear_known_material(world, held):
    first = world.clear(held, ADA)
    assert (first.kind, world.item(held).state) == ("proposal", "open")
    assert not world.served(held.ref)
    assert world.verdict_events(held) == [("withheld", 1)]
    assert world.owed(held).keys() == {"review"}
    second = world.clear(held, BEA)
    assert (second.kind, second.proposal_id, second.proposal_actor) == ("second", first.id, "Ada")
    assert world.item(held).state == "cleared"
    assert world.served(held.ref)
    assert "review" not in world.owed(held)
    assert trail(world, held)[-2:] == [("propose to clear", "Ada"), ("clear", "Bea")]
    facts = world.rows("audit", verb="clear")[0].facts
    assert (facts["second"], facts["verdict"]) == (True, second.ref)


@pytest.mark.parametrize("roles", [["moderator"], ["senior_moderator"], ["moderator", "senior_moderator"]])
def test_nobody_is_two_people(world, held, roles):
    world.clear(held, ADA)
    ref = world.claim(held, ADA).ref
    with pytest.raises(Refused, match="second person"):
        world.review.clear(ref, actor=person("Ada", *roles), opinion=opinion())
    assert verdicts(world, held) == [("proposal", "clear", "Ada")]
    assert not world.served(held.ref)


def test_a_doubt_takes_the_proposal_back(world, held):
    world.clear(held, ADA)
    world.review.unsure(world.claim(held, BEA).ref, actor=BEA, opinion=opinion())
    assert world.clear(held, CLEO).kind == "proposal", "it begins again"
    assert world.clear(held, BEA).kind == "second"


def test_who_is_second_may_contradict(world, held):
    world.clear(held, ADA)
    world.confirm(held, BEA)
    assert verdicts(world, held) == [("proposal", "clear", "Ada"), ("decision", "confirm", "Bea")]
    assert world.rows("audit", verb="confirm")[0].facts["second"] is False
    assert not world.served(held.ref)


def test_a_referred_public_cover_is_cleared_to_be_published(world):
    world.list_of(near(picture(1)), action=ListAction.REFER, category=Category.OTHER, known=False)
    watched = world.upload(picture(1), "w", surface=WATCHED)
    gated = world.upload(picture(1), "g", surface=GATED)
    world.clear(watched)
    world.clear(gated)
    assert world.verdict_events(watched) == [("cleared", 1)], "nothing was told before"
    assert world.verdict_events(gated) == [("withheld", 1), ("released", 2)]


def test_a_decided_item_is_not_decided_again(world, single):
    world.clear(single)
    for verb in ("confirm", "clear", "unsure"):
        with pytest.raises(IllegalTransition):
            getattr(world.review, verb)(world.item(single).ref, actor=BEA, opinion=opinion(Category.OTHER))
    with pytest.raises(IllegalTransition):
        world.claim(single, BEA)


# ── confirming ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_confirmation_removes_and_keeps_the_evidence(world, held):
    world.confirm(held)
    assert world.item(held).state == "confirmed"
    assert world.verdict_events(held) == [("withheld", 1), ("removed", 2)]
    assert not world.served(held.ref)
    (row,) = world.rows("quarantine")
    assert (row.level, row.state) == ("hold", "held")
    assert row.retain_until == world.clock.now() + world.settings.preservation // MICROSECOND
    assert world.vault() == [picture(1)]
    owed = world.owed(held)
    assert owed.keys() == {"preservation_end", "authority_report"}
    (takedown,) = world.rows("obligation", kind="account_takedown")
    assert takedown.due_at == world.clock.now() + world.settings.takedown_deadline // MICROSECOND
    assert owed["authority_report"] == world.clock.now() + timedelta(hours=24) // MICROSECOND
    assert trail(world, held)[-1] == ("confirm", "Ada")


def test_other_categories_owe_no_report_to_the_authorities(world, held):
    world.confirm(held, category=Category.OTHER)
    assert world.owed(held).keys() == {"preservation_end"}


@pytest.mark.parametrize("category", [Category.TERRORISM, Category.OTHER])
def test_a_referred_public_cover_is_held_when_it_is_confirmed(world, category):
    world.list_of(near(picture(1)), action=ListAction.REFER, category=category)
    rendition = world.rendition("c1")
    upload = world.upload(picture(1), "c1", surface=WATCHED)
    assert world.served(upload.ref)
    world.confirm(upload, category=category)
    assert [world.served(ref) for ref in (upload.ref, rendition)] == [False, False]
    assert len(world.vault()) == 2
    assert world.verdict_events(upload) == [("removed", 1)]
    assert all(row.retain_until for row in world.rows("quarantine"))


def test_a_blocked_cover_goes_to_the_vault_when_it_is_confirmed(world):
    world.list_of(near(picture(1)), action=ListAction.REFER)
    upload = world.upload(picture(1), "c1", surface=WATCHED)
    assert (world.holds(upload)[0][:2], world.vault()) == (("block", "held"), [])
    world.confirm(upload)
    assert (world.holds(upload)[0][:2], world.vault()) == (("hold", "held"), [picture(1)])
    assert not world.served(upload.ref)


def test_a_gated_cover_is_taken_out_of_the_intake_when_it_is_confirmed(world):
    world.list_of(near(picture(1)), action=ListAction.REFER)
    upload = world.upload(picture(1), "c1", surface=GATED)
    world.confirm(upload)
    assert world.store.current("intake", upload.ref.key) is None
    assert world.vault() == [picture(1)]


def test_a_cover_the_platform_deleted_can_be_confirmed(world, held):
    world.delete(held)
    world.confirm(held)
    assert world.item(held).state == "confirmed"
    assert world.vault() == [picture(1)]


@pytest.mark.thorough
def test_a_copy_that_comes_late_is_kept_as_long_as_the_rest(world, held):
    world.confirm(held)
    world.rendition("c1")
    world.keeper.find_late_renditions()
    assert len({row.retain_until for row in world.rows("quarantine")}) == 1


# ── reopening ──────────────────────────────────────────────────────────────────────────────────────────────


def test_only_senior_moderators_reopen(world, single):
    world.clear(single)
    for who in (BEA, person("Opal", "operator")):
        with pytest.raises(Refused):
            world.reopen(single, who)


def test_an_appeal_is_not_for_somebody_who_decided(world, held):
    decider = person("Senta", "senior_moderator")
    world.clear(held, decider, BEA)
    for name in ("Senta", "Bea"):
        with pytest.raises(Refused, match="appeal"):
            world.reopen(held, person(name, "senior_moderator"))
    assert world.reopen(held, person("Selma", "senior_moderator")).kind == "appeal"


def test_an_open_item_is_not_reopened(world, held):
    for _ in range(2):
        with pytest.raises(IllegalTransition):
            world.reopen(held)
        world.claim(held) if world.item(held).state == "open" else None


@pytest.mark.thorough
def test_a_reopened_clearance_leaves_the_cover_as_it_is_until_somebody_decides(world, single):
    world.clear(single)
    world.reopen(single)
    assert world.item(single).state == "open"
    assert world.served(single.ref)
    assert world.owed(single)["review"] == world.clock.now() + timedelta(hours=24) // MICROSECOND
    world.confirm(single, BEA)
    assert not world.served(single.ref)
    assert world.verdict_events(single) == [("withheld", 1), ("released", 2), ("removed", 3)]


def test_a_reopened_removal_owes_nothing_until_it_is_confirmed_again(world, held):
    world.confirm(held)
    world.reopen(held)
    assert world.owed(held).keys() == {"review", "preservation_end"}
    assert not world.served(held.ref)
    world.confirm(held, BEA)
    assert world.owed(held).keys() == {"preservation_end", "authority_report"}


@pytest.mark.thorough
def test_an_overturned_removal_is_shown_again(world, held):
    world.confirm(held)
    world.reopen(held)
    world.clear(held, BEA, CLEO)
    assert world.served(held.ref)
    assert world.verdict_events(held) == [("withheld", 1), ("removed", 2), ("released", 3)]


# ── cases ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two(world):
    world.list_of(near(picture(1)), near(picture(2)), near(picture(3)), known=False)
    return [world.upload(picture(number), f"c{number}") for number in (1, 2)]


def files(world):
    """Whether each case is closed, oldest first."""
    return [row.closed_at is not None for row in world.rows("case_file")]


def test_a_case_closes_when_all_is_decided(world, two):
    world.clear(two[0])
    assert files(world) == [False]
    world.confirm(two[1])
    assert files(world) == [True]


def test_a_proposal_closes_no_case(world, held):
    world.clear(held, ADA)
    assert files(world) == [False]
    world.clear(held, BEA)
    assert files(world) == [True]


@pytest.mark.thorough
def test_a_new_match_after_that_is_a_new_case(world, two):
    for upload in two:
        world.clear(upload)
    third = world.upload(picture(3), "c3")
    assert files(world) == [True, False]
    assert world.item(third).case_id != world.item(two[0]).case_id


@pytest.mark.thorough
def test_a_reopened_item_opens_its_case_again(world, two):
    for upload in two:
        world.clear(upload)
    world.reopen(two[0])
    assert files(world) == [False]
    world.clear(two[0], BEA)
    assert files(world) == [True]


@pytest.mark.thorough
def test_a_reopened_item_joins_the_open_case(world, two):
    for upload in two:
        world.clear(upload)
    third = world.upload(picture(3), "c3")
    world.reopen(two[0])
    assert files(world) == [True, False]
    assert world.item(two[0]).case_id == world.item(third).case_id
    assert ("move item", "coverguard") in trail(world, two[0])
    for upload in (two[0], third):
        world.clear(upload, BEA)
    assert files(world) == [True, True]


@pytest.mark.thorough
def test_what_is_a_cover_of_the_open_case_already_is_not_put_there_twice(world, two):
    for upload in two:
        world.clear(upload)
    world.upload(picture(3), "c3")
    cover = world.cover(two[0])
    with world.database.transaction() as tx:  # as a sweep will: something new speaks against it
        file, _ = cases.open_case(
            tx, account_id=cover.uploader_id, category=Category.OTHER, now=world.clock.now()
        )
        cases.add_item(
            tx, case_id=file.id, cover_version_id=cover.id, consequences=True, two_people=False,
            now=world.clock.now(),
        )  # fmt: skip
    older = world.items(two[0])[0]
    with pytest.raises(IllegalTransition, match="open case"):
        world.review.reopen(older.ref, actor=SENIOR, opinion=opinion())


def test_the_other_covers_of_an_uploader(world, two):
    later = world.upload(picture(7), "c7")
    world.upload(picture(8), "c8", uploader="somebody else", owner="uploader-1")
    items = [world.cover(upload) for upload in two]
    with world.database.reading() as tx:
        found = covers.others_of_uploader(tx, items[0].uploader_id, besides=[row.id for row in items])
        assert [row.cover_id for row in found] == ["c7"]
        everything = covers.others_of_uploader(tx, items[0].uploader_id, besides=[])
    assert [row.cover_id for row in everything] == ["c7", "c2", "c1"]
    assert world.cover(later).uploader_id == items[0].uploader_id


@pytest.mark.thorough
def test_cases_by_the_same_entries_are_one_network(world):
    a, b, c, d = (near(picture(number)) for number in (1, 2, 3, 4))
    world.list_of(a, b, c, d, known=False)
    world.list_of(near(picture(4)), near(picture(1)), name="shadow", action=ListAction.SHADOW)
    for uploader, numbers in {"u1": [1], "u2": [1, 2], "u3": [2, 3], "u4": [4], "u5": [3]}.items():
        for number in numbers:
            world.upload(picture(number), f"{uploader}-{number}", uploader=uploader)
    refs = {row.id: row.ref for row in world.rows("case_file")}
    by_uploader = {
        one.platform_id: next(row for row in world.rows("case_file") if row.account_id == one.id)
        for one in world.rows("account")
    }

    def network(uploader):
        with world.database.reading() as tx:
            found = cases.case_group(tx, by_uploader[uploader].id)
        names = {row.ref: name for name, row in by_uploader.items()}
        return {names[ref] for ref in found}

    assert len(refs) == 5
    assert network("u1") == {"u2", "u3", "u5"}
    assert network("u5") == {"u1", "u2", "u3"}
    assert network("u4") == set()


@pytest.mark.thorough
def test_cases_are_listed_gravest_first(world):
    for number, category in enumerate((Category.OTHER, Category.CHILD_ABUSE, Category.TERRORISM)):
        world.list_of(near(picture(number)), name=category.value, category=category)
        world.upload(picture(number), f"c{number}", uploader=f"u{number}")
    with world.database.reading() as tx:
        listed = [(row.category, row.platform_id, row.items, row.waiting) for row in cases.cases(tx)]
    assert listed == [("child_abuse", "u1", 1, 1), ("terrorism", "u2", 1, 1), ("other", "u0", 1, 1)]


# ── what the ledger is left with ───────────────────────────────────────────────────────────────────────────


def test_an_answer_without_case_makes_no_item(world, held):
    """A failed sweep of a cover that is an item already erases nothing."""
    before = world.item(held)
    answer = Answer(
        cover_version_id=world.cover(held).id, origin=Origin.SWEEP, origin_id="sweep-1",
        decision=NotScreened(reason=NotScreenedReason.OBJECT_MISSING), matches=(), fingerprint=None,
        judged_seq=None,
    )  # fmt: skip
    with world.database.transaction() as tx:
        world.parts.recorder().record(tx, answer, known_lists={}, now=world.clock.now())
    assert world.item(held) == before
    assert world.verdict_events(held) == [("withheld", 1)]
    assert not world.served(held.ref)
    assert world.cover(held).mode == Mode.WATCH


@pytest.mark.thorough
def test_the_trail_of_all_this_is_untouched(world, held, single):
    world.clear(held, ADA, BEA)
    world.confirm(single)
    world.reopen(single)
    with world.database.reading() as tx:
        assert list(audit.changed_rows(tx)) == []
    assert len(world.rows("audit")) > 8


@pytest.mark.thorough
def test_exact_matches_leave_no_false_positive_to_review(world):
    world.list_of(exact(picture(5)), name="digests", known=False)
    upload = world.upload(picture(5), "c5")
    world.clear(upload)
    assert world.owed(upload) == {}
    assert world.rows("suppression") == []
