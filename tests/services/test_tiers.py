"""Tiers on the whole road: what may hold, what only brings people, and what our own removals are found by."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image, ImageOps
from reporting_desk import Desk
from world import BEA, WATCHED, exact, fingerprint, near, opinion, picture

from coverguard.errors import DecoderUnavailable, Refused
from coverguard.learning import REMOVED_HERE
from coverguard.model import Algorithm, Category
from coverguard.testing.pictures import Kind, encode

OWN = f"{REMOVED_HERE}/child_abuse"
TEXT = picture(3, Kind.TYPOGRAPHY)


def opened(data):
    return Image.open(BytesIO(data)).convert("RGB")


def cropped(data, left, top, right, bottom):
    """What is left between these shares of the sides."""
    image = opened(data)
    box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    return encode(image.crop(tuple(round(place) for place in box)), "PNG")


def told(world, data, name, **other):
    """Decision, reason and the matches' (tier, may, negative) of an upload."""
    upload = world.upload(data, name, surface=WATCHED, uploader=name, **other)
    answer = world.answer(upload)
    matches = [(one.tier, one.action, bool(one.complement)) for one in world.matches(upload)]
    return answer.decision, answer.reason, matches


def parts(world):
    return [row for row in world.rows("list_entry") if row.part]


def stored_parts(world):
    return [row.name for row in world.rows("fingerprint_view") if row.name.startswith("list/")]


# ── what may hold ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_graphic_near_an_entry_refers_and_says_why(world):
    displayed = fingerprint(TEXT).views[0]
    assert displayed.low_diversity
    assert displayed.quality >= 50
    world.list_of(near(TEXT))
    upload = world.upload(TEXT, surface=WATCHED)
    assert (world.answer(upload).decision, world.answer(upload).reason) == ("refer", "low_diversity")
    assert [(one.tier, one.action, one.low_diversity) for one in world.matches(upload)] == [
        ("enforce", "refer", True)
    ]
    assert not world.served(upload.ref), "a child-abuse list's referral blocks"
    assert [row.low_diversity for row in world.rows("fingerprint_view") if row.name == "displayed"] == [True]


def test_the_very_bytes_of_a_graphic_hold(world):
    world.list_of(exact(TEXT))
    assert told(world, TEXT, "same") == ("hold", None, [("enforce", "hold", False)])


def test_a_graphic_in_another_category_stays_public_under_a_clock(world):
    world.list_of(near(TEXT), category=Category.OTHER)
    upload = world.upload(TEXT, surface=WATCHED)
    assert world.answer(upload).reason == "low_diversity"
    assert world.served(upload.ref)
    assert "review" in world.owed(upload)


@pytest.mark.parametrize(
    ("rule", "decision"),
    [({}, "pass"), *(({"pdq_radius": r}, d) for r, d in ((39, "pass"), (40, "refer"), (53, "refer")))],
)
def test_a_wide_radius_is_asked_for_and_refers(world, rule, decision):
    world.list_of(near(picture(1), bits=40), **rule)
    found = told(world, picture(1), "far")
    assert found[0] == decision
    if decision == "refer":
        assert found[1:] == ("review_tier_only", [("review", "refer", False)])


def test_a_wide_list_does_not_widen_another(world):
    world.list_of(near(picture(1), bits=40), name="narrow")
    world.list_of(near(picture(2), bits=40), name="wide", pdq_radius=53)
    assert told(world, picture(1), "one")[0] == "pass"
    assert told(world, picture(2), "two")[0] == "refer"


def test_a_negative_refers_unless_the_rule_says_no(world):
    negative = encode(ImageOps.invert(opened(picture(1))), "PNG")
    list_id = world.list_of(near(picture(1)))
    assert told(world, negative, "one") == ("refer", "review_tier_only", [("review", "refer", True)])
    world.switch(list_id, enabled=False)
    world.list_of(near(picture(1)), name="without", complement=False)
    assert told(world, negative, "two")[0] == "pass"


# ── our own removals ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def removed(world):
    """A confirmed removal that only we know the looks of."""
    world.list_of(exact(picture(1)))
    upload = world.upload(picture(1), "removed", surface=WATCHED)
    world.confirm(upload)
    world.switch(world.rows("hash_list", name="industry")[0].id, enabled=False)
    return upload


def test_crops_are_kept_of_what_people_may_remove(world):
    world.upload(picture(2), "innocent", surface=WATCHED)
    assert stored_parts(world) == []
    world.list_of(exact(picture(1)))
    upload = world.upload(picture(1), "matched", surface=WATCHED)
    assert len(stored_parts(world)) == 12
    assert all(not one.view.startswith("list/") for one in world.matches(upload))
    assert parts(world) == [], "nobody has confirmed it"


def test_a_crop_of_a_removal_refers(world, removed):
    assert len(parts(world)) == 12
    assert {(row.cap, row.algorithm) for row in parts(world)} == {("refer", "pdq")}
    for name, box in {"centre": (0.1, 0.1, 0.9, 0.9), "corner": (0, 0.2, 0.8, 1)}.items():
        decision, reason, matches = told(world, cropped(picture(1), *box), name)
        assert (decision, reason) == ("refer", "review_tier_only")
        assert {tier for tier, _, _ in matches} == {"review"}


def test_our_own_lists_look_farther(world, removed):
    (ours,) = world.rows("hash_list", name=OWN)
    (rule,) = world.rows("list_rule", list_id=ours.id)
    assert (rule.pdq_radius, rule.phash256_radius, rule.complement) == (53, 53, True)
    assert {(row.algorithm, row.cap) for row in world.rows("list_entry", list_id=ours.id)} == {
        ("sha256", "hold"), ("sha1", "hold"), ("md5", "hold"), ("pdq", "refer"), ("phash256", "refer"),
    }  # fmt: skip


def test_a_second_person_lets_the_picture_hold_and_none_of_its_crops(world, removed):
    world.review.agree_to_hold(world.item(removed).ref, actor=BEA, opinion=opinion())
    assert {row.cap for row in parts(world)} == {"refer"}
    same_looks = encode(opened(picture(1)), "PNG", compress_level=1)
    assert told(world, same_looks, "same")[0] == "hold"
    assert told(world, cropped(picture(1), 0.1, 0.1, 0.9, 0.9), "crop")[0] == "refer"


def test_crops_are_forgotten_with_the_verdict(world, removed):
    world.reopen(removed)
    assert all(row.withdrawn_at is not None for row in parts(world))
    assert told(world, cropped(picture(1), 0.1, 0.1, 0.9, 0.9), "crop")[0] == "pass"


def test_a_removed_graphic_never_holds_by_its_looks(world):
    list_id = world.list_of(exact(TEXT))
    upload = world.upload(TEXT, "removed", surface=WATCHED)
    world.confirm(upload)
    world.switch(list_id, enabled=False)
    assert parts(world) == []
    with pytest.raises(Refused, match="look alike to a hash"):
        world.review.agree_to_hold(world.item(upload).ref, actor=BEA, opinion=opinion())
    near_copy = encode(opened(TEXT), "PNG", compress_level=1)
    assert told(world, near_copy, "copy") == ("refer", "list_refers", [("enforce", "refer", False)])
    assert {row.algorithm for row in world.rows("list_entry") if row.cap == "refer"} == {Algorithm.PDQ}


def test_what_is_reported_and_removed_has_crops_too(world):
    """No list knew it: the report's own look at the account finds that crops are missing, once."""
    desk = Desk(world)
    upload = world.upload(picture(1), "reported", surface=WATCHED)
    desk.file(upload)
    assert stored_parts(world) == []
    assert desk.rescreen() == 1
    assert len(stored_parts(world)) == 12
    desk.file(upload, net="elsewhere")
    assert len(desk.rescreens()) == 1, "the first one's, and no other"
    world.confirm(upload)
    assert len(parts(world)) == 12
    assert told(world, cropped(picture(1), 0.1, 0.1, 0.9, 0.9), "crop")[0] == "refer"


def test_a_reported_graphic_is_not_looked_at_for_crops(world):
    desk = Desk(world)
    upload = world.upload(TEXT, "reported", surface=WATCHED)
    desk.file(upload)
    assert desk.rescreens() == []


def test_a_match_stands_where_crops_cannot_be_made(world):
    """The second decoding fails: the hold does not wait for it."""
    eyes = world.intake.screener.eyes
    whole = eyes.fingerprint

    def failing(data, *, for_lists=False):
        if for_lists:
            raise DecoderUnavailable("no child")
        return whole(data)

    object.__setattr__(eyes, "fingerprint", failing)
    world.list_of(near(picture(1), bits=3))
    assert told(world, picture(1), "matched")[0] == "hold"
    assert stored_parts(world) == []
