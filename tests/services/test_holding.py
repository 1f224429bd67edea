"""What a hold acts on, and what it must not touch: versions, renditions, newer uploads, and back again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import ADA, BEA, WATCHED, near, picture

from coverguard.model import Category, ListAction


@pytest.fixture
def listed(world):
    return world.list_of(near(picture(1)))


pytestmark = pytest.mark.usefixtures("listed")


def states(world, upload):
    """Keys of the cover's quarantine rows and the states they are in."""
    return {key: state for _, state, key, _ in world.holds(upload)}


# ── versions of one key ────────────────────────────────────────────────────────────────────────────────────


def test_a_newer_version_on_the_same_key_is_not_hidden(world):
    first = world.announce(picture(1), "c1", version=1, surface=WATCHED, key="raw/c1")
    second = world.announce(picture(2), "c1", version=2, surface=WATCHED, key="raw/c1")
    world.deliver(first.body)
    world.deliver(second.body)
    assert world.answer(first).decision == "hold"
    assert world.served(second.ref)
    assert world.vault() == [picture(1)]
    assert world.rows("quarantine")[0].gone_at
    assert world.verdict_events(second) == [("cleared", 1)]


def test_a_newer_version_is_published_over_a_hold(world):
    first = world.upload(picture(1), "c1", version=1, surface=WATCHED, key="raw/c1")
    assert not world.served(first.ref)
    second = world.upload(picture(2), "c1", version=2, surface=WATCHED, key="raw/c1")
    assert world.served(second.ref)
    world.keeper.verify_gone()
    assert world.served(second.ref)


def test_nothing_older_comes_back_when_the_newest_is_held(world):
    older = world.upload(picture(2), "c1", version=1, surface=WATCHED, key="raw/c1")
    newer = world.upload(picture(1), "c1", version=2, surface=WATCHED, key="raw/c1")
    assert world.answer(older).decision == "pass"
    assert world.store.current("public", "raw/c1") is None
    assert not world.served(newer.ref)


def test_a_byte_identical_newer_version_is_hidden_too(world):
    first = world.announce(picture(1), "c1", surface=WATCHED, key="raw/c1")
    again = world.put(picture(1), "raw/c1")
    world.deliver(first.body)
    assert not world.served(again)


# ── renditions ─────────────────────────────────────────────────────────────────────────────────────────────


def test_renditions_are_held_whether_named_or_found(world):
    named = world.put(b"generated, named", "elsewhere/c1-small")
    found = world.rendition("c1", "300.jpg")
    others = [
        world.rendition("c11", "300.jpg"),
        world.rendition("c1", "300.jpg", version=2),
        world.rendition("c1", "300.jpg", surface=type(WATCHED).TRACK_ART),
        world.put(b"deeper", "covers/profile_image/c1/1/a/b"),
    ]
    upload = world.upload(picture(1), "c1", surface=WATCHED, renditions=[named])
    assert [world.served(ref) for ref in (upload.ref, named, found)] == [False] * 3
    assert all(world.served(ref) for ref in others)
    assert len(world.vault()) == 3
    assert [rendition for _, _, _, rendition in world.holds(upload)] == [False, True, True]


def test_a_late_rendition_is_held_when_looked_for_again(world):
    upload = world.upload(picture(1), "c1", surface=WATCHED)
    late = world.rendition("c1")
    assert world.served(late)
    world.keeper.find_late_renditions()
    assert not world.served(late)
    assert len(world.vault()) == 2
    assert world.answer(upload).settled_at


def test_renditions_are_looked_for_as_long_as_settings_say(world):
    world.upload(picture(1), "c1", surface=WATCHED)
    world.clock.go_on(world.settings.relist)
    late = world.rendition("c1")
    assert world.keeper.find_late_renditions() == 0
    assert world.served(late)


def test_a_rendition_that_does_not_exist_yet_stops_nothing(world):
    missing = type(world.rendition("x"))(bucket="public", key="covers/profile_image/c1/1/s", version_id="9")
    upload = world.upload(picture(1), "c1", surface=WATCHED, renditions=[missing])
    assert states(world, upload) == {"raw/c1/1": "held", "covers/profile_image/c1/1/s": "abandoned"}
    assert world.answer(upload).settled_at
    assert not world.served(upload.ref)


def test_renditions_are_released_with_their_cover(world):
    rendition = world.rendition("c1")
    upload = world.upload(picture(1), "c1", surface=WATCHED)
    assert world.clear(upload, ADA, BEA).kind == "second"
    assert world.served(upload.ref)
    assert world.served(rendition)
    assert world.verdict_events(upload) == [("withheld", 1), ("released", 2)]


@pytest.mark.thorough
def test_a_rendition_stays_hidden_while_its_cover_goes_from_unanswered_to_held(world):
    """The claim of the missing answer goes; the rendition that it found must not go public by that."""
    rendition = world.rendition("c1")
    upload = world.announce(picture(1), "c1", surface=WATCHED)
    with world.unreachable(upload.ref):
        world.deliver(upload.body)
        world.clock.go_on(world.settings.grace)
        world.deliver(upload.body)
    assert [world.served(ref) for ref in (upload.ref, rendition)] == [False, False]
    before = len(world.store.versions("public", rendition.key))
    world.deliver(upload.body)
    assert world.answer(upload).decision == "hold"
    assert [world.served(ref) for ref in (upload.ref, rendition)] == [False, False]
    assert len(world.store.versions("public", rendition.key)) == before, "it was not shown in between"
    assert {(level, state) for level, state, _, _ in world.holds(upload)} == {("hold", "held")}
    assert len(world.vault()) == 2


# ── and back again ─────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_released_is_as_it_was(world):
    before = world.announce(picture(1), "c1", surface=WATCHED)
    shown = world.store.current("public", before.ref.key)
    world.deliver(before.body)
    world.clear(before, ADA, BEA)
    assert world.store.current("public", before.ref.key) == shown
    assert states(world, before) == {before.ref.key: "released"}
    (row,) = world.rows("quarantine")
    kept = world.settings.cleared_retention // timedelta(microseconds=1)
    assert row.retain_until == row.ended_at + kept
    assert len(world.vault()) == 1, "the copy is kept for a set time"


@pytest.mark.thorough
def test_a_release_that_something_newer_has_overtaken_puts_nothing_back(world):
    first = world.upload(picture(1), "c1", version=1, surface=WATCHED, key="raw/c1")
    second = world.upload(picture(2), "c1", version=2, surface=WATCHED, key="raw/c1")
    world.clear(first, ADA, BEA)
    assert world.served(second.ref)
    assert states(world, first) == {"raw/c1": "superseded"}
    assert world.verdict_events(first) == [("withheld", 1)], "the platform is not told to publish it"


@pytest.mark.thorough
def test_a_superseded_cover_is_not_told_released_for_its_renditions(world):
    rendition = world.rendition("c1")
    first = world.upload(picture(1), "c1", version=1, surface=WATCHED, key="raw/c1")
    world.upload(picture(2), "c1", version=2, surface=WATCHED, key="raw/c1")
    world.clear(first, ADA, BEA)
    assert states(world, first) == {"raw/c1": "superseded", rendition.key: "released"}
    assert world.verdict_events(first) == [("withheld", 1)]


@pytest.mark.thorough
def test_a_superseded_rendition_does_not_keep_its_cover_from_being_told(world):
    rendition = world.rendition("c1")
    upload = world.upload(picture(1), "c1", surface=WATCHED)
    world.put(b"a newer rendition, generated", rendition.key)
    world.clear(upload, ADA, BEA)
    assert states(world, upload) == {"raw/c1/1": "released", rendition.key: "superseded"}
    assert world.verdict_events(upload) == [("withheld", 1), ("released", 2)]


@pytest.mark.thorough
@pytest.mark.parametrize("surface", list(type(WATCHED)))
def test_a_deleted_cover_is_not_resurrected(world, surface):
    upload = world.upload(picture(1), "c1", surface=surface)
    world.delete(upload)
    world.clear(upload, ADA, BEA)
    assert world.store.current(upload.ref.bucket, upload.ref.key) is None
    assert world.verdict_events(upload) == [("withheld", 1)]
    assert world.item(upload).state == "cleared"
    assert len(world.vault()) == 1, "held evidence stays"


def test_a_deleted_cover_that_was_only_referred_is_not_published(world):
    world.list_of(near(picture(2)), name="refers", action=ListAction.REFER)
    upload = world.upload(picture(2), "c2")
    world.delete(upload)
    world.clear(upload, ADA, BEA)
    assert world.verdict_events(upload) == [("withheld", 1)]


def test_an_object_that_is_gone_leaves_nothing_to_hold(world):
    upload = world.announce(picture(1), "c1", surface=WATCHED)
    elsewhere = type(upload.ref)(bucket="public", key="raw/gone", version_id=upload.ref.version_id)
    gone = world.upload(picture(1), "c2", ref=elsewhere, surface=WATCHED)
    assert world.answer(gone).reason == "object_missing"
    assert world.holds(gone) == []


# ── two covers, one object ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
def test_one_object_of_two_covers_is_shown_when_neither_is_held(world):
    one = world.upload(picture(1), "c1", surface=WATCHED)
    two = world.upload(picture(1), "c2", surface=WATCHED, ref=one.ref, uploader="somebody else")
    assert len(world.rows("quarantine")) == 1
    assert len(world.rows("quarantine_claim")) == 2
    world.clear(one, ADA, BEA)
    assert not world.served(one.ref)
    assert world.verdict_events(one) == [("withheld", 1)]
    world.clear(two, ADA, BEA)
    assert world.served(one.ref)
    assert [world.verdict_events(each)[-1] for each in (one, two)] == [("released", 2)] * 2


# ── gone, and how sure ─────────────────────────────────────────────────────────────────────────────────────


def test_unknown_is_not_gone(world):
    world.probe.blind = True
    upload = world.upload(picture(1), "c1", surface=WATCHED)
    assert not world.served(upload.ref)
    assert world.rows("quarantine")[0].gone_at is None
    assert world.alarms() == [("held_not_verified_gone", world.cover(upload).ref)]
    world.probe.blind = False
    world.clock.go_on(timedelta(minutes=1))
    world.keeper.verify_gone()
    assert world.rows("quarantine")[0].gone_at
    assert world.alarms() == []


def test_only_the_canonical_url_is_asked(world):
    world.upload(picture(1), "c1", surface=WATCHED, key="raw/a b?c#d%2F")
    assert set(world.probe.asked) == {"raw/a b?c#d%2F"}


def test_a_private_object_has_no_url_to_ask(world):
    upload = world.upload(picture(1), "c1")
    assert upload.ref.bucket == "intake"
    assert world.probe.asked == []
    assert world.rows("quarantine")[0].gone_at


def test_a_held_object_that_somebody_shows_again_is_blocked_again(world):
    upload = world.upload(picture(1), "c1", surface=WATCHED)
    again = world.put(picture(1), upload.ref.key)
    assert world.served(again)
    world.clock.go_on(timedelta(hours=2))
    world.keeper.verify_gone()
    world.clock.go_on(timedelta(minutes=1))
    world.keeper.finish_acts()
    assert not world.served(again)
    assert world.store.current("public", upload.ref.key) is None


def test_the_category_decides_what_a_refer_blocks_on_both_sides(world):
    world.list_of(near(picture(3)), name="t", action=ListAction.REFER, category=Category.TERRORISM)
    world.list_of(near(picture(3)), name="i", action=ListAction.REFER, category=Category.INTIMATE_IMAGE)
    upload = world.upload(picture(3), "c3", surface=WATCHED)
    assert world.rows("case_file")[0].category == "intimate_image"
    assert not world.served(upload.ref)
