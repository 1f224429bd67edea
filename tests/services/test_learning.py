"""What verdicts teach: removals are found again, false positives are not, and neither goes any further."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import ADA, BEA, CLEO, WATCHED, altered, exact, fingerprint, near, opinion, person, picture

from coverguard.errors import IllegalTransition, Refused
from coverguard.learning import REMOVED_HERE
from coverguard.model import Algorithm, Category, ListAction
from coverguard.testing.pictures import Alteration, Kind, draw, encode

OWN = f"{REMOVED_HERE}/child_abuse"


def decision(world, data, name, **other):
    upload = world.upload(data, name, surface=WATCHED, uploader=name, **other)
    return world.answer(upload).decision


def bits(one, other):
    """How far apart two pictures' PDQs are, at the nearest orientation."""
    pdqs = [int.from_bytes(fingerprint(data).views[0].signals["pdq"]) for data in (one, other)]
    return (pdqs[0] ^ pdqs[1]).bit_count()


@pytest.fixture
def removed(world):
    """A confirmed removal, found by an exact digest, so that only what we learn knows its looks."""
    world.list_of(exact(picture(1)))
    upload = world.upload(picture(1), "removed", surface=WATCHED)
    world.confirm(upload)
    return upload


# ── removals ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_removal_joins_our_own_list(world, removed):
    learnt = {key: cap for key, cap in world.entries().items() if key[0] == OWN}
    assert learnt == {
        (OWN, Algorithm.SHA256): "hold", (OWN, Algorithm.SHA1): "hold", (OWN, Algorithm.MD5): "hold",
        (OWN, Algorithm.PDQ): "refer", (OWN, Algorithm.PHASH256): "refer",
    }  # fmt: skip
    (ours,) = [row for row in world.rows("hash_list") if row.own]
    assert (ours.name, ours.enabled) == (OWN, True)
    assert not world.rows("list_rule", list_id=ours.id)[0].known


def test_the_same_bytes_are_held_at_once(world, removed):
    world.switch(world.rows("hash_list", name="industry")[0].id, enabled=False)
    assert decision(world, picture(1), "again") == "hold"


@pytest.mark.thorough
def test_a_near_copy_refers_until_a_second_person_agrees(world, removed):
    copy = altered(1)
    assert 0 <= bits(picture(1), copy) <= 31
    assert decision(world, copy, "before") == "refer"
    world.review.agree_to_hold(world.item(removed).ref, actor=BEA, opinion=opinion())
    assert decision(world, copy, "after") == "hold"
    assert decision(world, altered(1, Alteration.MIRRORED), "mirrored") == "hold"
    assert world.rows("verdict")[-1].kind == "second"


def test_who_confirmed_does_not_agree_with_themselves(world, removed):
    for roles in (["moderator"], ["senior_moderator"]):
        with pytest.raises(Refused, match="second person"):
            world.review.agree_to_hold(
                world.item(removed).ref, actor=person("Ada", *roles), opinion=opinion()
            )
    assert world.entries()[OWN, Algorithm.PDQ] == "refer"


def test_only_a_confirmed_removal_teaches(world):
    world.list_of(near(picture(1)), known=False)
    upload = world.upload(picture(1))
    for step in (lambda: None, lambda: world.clear(upload)):
        step()
        with pytest.raises(IllegalTransition):
            world.review.agree_to_hold(world.item(upload).ref, actor=BEA, opinion=opinion())


def test_agreeing_twice_changes_nothing_more(world, removed):
    ref = world.item(removed).ref
    world.review.agree_to_hold(ref, actor=BEA, opinion=opinion())
    before = world.entries()
    for who in (BEA, CLEO):
        try:
            world.review.agree_to_hold(ref, actor=who, opinion=opinion())
        except Refused:
            continue
    assert world.entries() == before


def test_what_has_too_little_quality_is_not_learnt_by_its_looks(world):
    plain = picture(1, Kind.GRADIENT)
    world.list_of(exact(plain))
    upload = world.upload(plain)
    world.confirm(upload)
    assert {algorithm for name, algorithm in world.entries() if name == OWN} == {
        Algorithm.SHA256, Algorithm.SHA1, Algorithm.MD5,
    }  # fmt: skip


def test_a_reopened_removal_is_forgotten_at_once(world, removed):
    world.review.agree_to_hold(world.item(removed).ref, actor=BEA, opinion=opinion())
    world.reopen(removed)
    assert [key for key in world.entries() if key[0] == OWN] == []
    assert decision(world, altered(1), "copy") == "pass"


def test_a_removal_confirmed_again_is_learnt_again_and_needs_its_second_again(world, removed):
    world.review.agree_to_hold(world.item(removed).ref, actor=BEA, opinion=opinion())
    world.reopen(removed)
    world.confirm(removed, CLEO)
    assert world.entries()[OWN, Algorithm.SHA256] == "hold"
    assert world.entries()[OWN, Algorithm.PDQ] == "refer"


def test_an_overturned_removal_stays_forgotten(world, removed):
    world.reopen(removed)
    world.clear(removed, BEA, CLEO)
    assert [key for key in world.entries() if key[0] == OWN] == []


def test_the_category_is_the_verdicts(world):
    world.list_of(exact(picture(1)))
    world.confirm(world.upload(picture(1)), category=Category.INTIMATE_IMAGE)
    assert {name for name, _ in world.entries()} == {"industry", f"{REMOVED_HERE}/intimate_image"}


def test_a_capped_item_teaches_nothing(world):
    """Consequences stopped: a person's verdict removes it, and no list grows by a flood."""
    world.list_of(near(picture(1)), hold_budget=0)
    upload = world.upload(picture(1))
    assert not world.item(upload).consequences
    world.confirm(upload)
    assert {name for name, _ in world.entries()} == {"industry"}


def test_what_was_never_read_teaches_nothing(world):
    world.list_of(near(picture(1)), action=ListAction.REFER)
    upload = world.upload(picture(1))
    with world.database.transaction() as tx:
        tx.exec_driver_sql("DELETE FROM fingerprint_view")
        tx.exec_driver_sql("DELETE FROM fingerprint")
    world.confirm(upload)
    assert {name for name, _ in world.entries()} == {"industry"}


# ── false positives ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def entries(world):
    """Two entries near the same picture, and a picture near both."""
    world.list_of(near(picture(1), bits=8), name="one", known=False)
    return world


def test_a_cleared_picture_is_not_matched_again(entries):
    world = entries
    world.clear(world.upload(picture(1), "first", surface=WATCHED))
    again = world.upload(picture(1), "again", surface=WATCHED, uploader="somebody else")
    assert world.answer(again).decision == "pass"
    assert [(match.suppressed, match.action) for match in world.matches(again)] == [(True, "shadow")]
    assert world.verdict_events(again) == [("cleared", 1)]


@pytest.mark.thorough
def test_one_person_clears_these_bytes_and_two_what_is_near_them(world):
    world.list_of(near(picture(1), bits=8), name="known")
    same_looks = encode(draw(Kind.SCENE, 1, side=128), "PNG", compress_level=1)
    assert same_looks != picture(1)
    assert bits(picture(1), altered(1)) > 4
    upload = world.upload(picture(1), "first", surface=WATCHED)
    world.clear(upload, ADA, BEA)
    kinds = sorted(row.kind for row in world.rows("suppression"))
    assert kinds == ["pdq", "sha256"]
    assert decision(world, same_looks, "same looks") == "pass"
    assert decision(world, altered(1), "farther") == "hold"


def test_one_persons_clearance_covers_no_other_bytes(entries):
    world = entries
    world.clear(world.upload(picture(1), "first", surface=WATCHED))
    assert [row.kind for row in world.rows("suppression")] == ["sha256"]
    assert decision(world, altered(1), "other bytes") == "hold"


@pytest.mark.thorough
def test_a_clearance_is_of_one_entry(entries):
    world = entries
    world.clear(world.upload(picture(1), "first", surface=WATCHED))
    world.list_of(near(picture(1), bits=5), name="two")
    assert decision(world, picture(1), "again") == "hold"


@pytest.mark.thorough
def test_an_exact_digest_is_never_cleared_away(world):
    world.list_of(exact(picture(1)), near(picture(1)))
    upload = world.upload(picture(1), "first", surface=WATCHED)
    world.clear(upload, ADA, BEA)
    assert decision(world, picture(1), "again") == "hold"


def test_a_clearance_is_looked_at_again_in_time(entries):
    world = entries
    upload = world.upload(picture(1), "first")
    world.clear(upload)
    review = world.clock.now() + world.settings.suppression_review // timedelta(microseconds=1)
    assert world.owed(upload) == {"suppression_review": review}
    assert {row.review_at for row in world.rows("suppression")} == {review}


@pytest.mark.thorough
def test_an_overturned_clearance_suppresses_nothing(entries):
    world = entries
    upload = world.upload(picture(1), "first", surface=WATCHED)
    world.clear(upload)
    world.reopen(upload)
    assert decision(world, picture(1), "again") == "hold"
    assert "suppression_review" not in world.owed(upload)


@pytest.mark.thorough
def test_what_is_cleared_again_is_suppressed_again(entries):
    world = entries
    upload = world.upload(picture(1), "first", surface=WATCHED)
    world.clear(upload)
    world.reopen(upload)
    world.clear(upload, BEA)
    assert decision(world, picture(1), "again") == "pass"
    world.reopen(upload, person("Selma", "senior_moderator"))
    assert decision(world, picture(1), "once more") == "hold"


def test_suppressions_do_not_lie_open_in_the_file(entries):
    world = entries
    world.clear(world.upload(picture(1), "first"))
    (row,) = world.rows("suppression")
    digest = fingerprint(picture(1)).digests["sha256"]
    assert digest not in row.digest_sealed + row.digest_mac
