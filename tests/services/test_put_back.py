"""A release whose version is gone from the store: all comes back from the vault, and the event is ours."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import ADA, BEA, WATCHED, near, picture

from coverguard.errors import TransientError
from coverguard.model import Done, ObjectRef
from coverguard.store import own_writes, quarantines
from coverguard.store.quarantines import Claimant


@pytest.fixture
def held(world):
    """A cover that was held, and whose versions a life-cycle rule removed meanwhile."""
    world.list_of(near(picture(1)))
    named = world.put(b"generated, named", "elsewhere/c1-small")
    upload = world.upload(picture(1), "c1", surface=WATCHED, renditions=[named])
    for ref in (upload.ref, named):
        expire(world, ref)
    return upload


def expire(world, ref):
    world._folder(ref).rename(world.home / f"expired-{abs(hash(ref))}")


def public(world, key):
    return world.store.current("public", key)


def test_bytes_headers_metadata_come_back_as_a_new_version(world, held):
    world.clear(held, ADA, BEA)
    now = public(world, held.ref.key)
    assert world.store.read(now.ref, limit=10**7) == picture(1)
    assert (now.content_type, now.metadata) == ("image/png", {"by": "the platform"})
    assert now.ref.version_id != held.ref.version_id
    assert public(world, "elsewhere/c1-small") is not None
    assert [state for _, state, _, _ in world.holds(held)] == ["released", "released"]
    assert [row.verb for row in world.rows("audit")].count("restore") == 2


def test_the_ledger_and_the_event_name_the_new_version(world, held):
    world.clear(held, ADA, BEA)
    now = public(world, held.ref.key).ref
    assert world.cover(held).version_id == now.version_id
    released = world.told(upload=held)[-1]
    assert (released.type, released.object.version_id) == ("cover.released", now.version_id)
    (small,) = world.cover(held).renditions
    assert small["version_id"] == public(world, "elsewhere/c1-small").ref.version_id


def test_the_old_message_still_says_the_same(world, held):
    world.clear(held, ADA, BEA)
    before = world.everything()
    assert isinstance(world.deliver(held.body), Done)
    assert world.everything() == before
    assert public(world, held.ref.key) is not None


def test_our_write_is_known_and_the_next_upload_is_not_ours(world, held):
    enforcer = world.parts.enforcer()
    world.clear(held, ADA, BEA)
    assert enforcer.is_own_write(public(world, held.ref.key).ref)
    assert not enforcer.is_own_write(held.ref)
    assert not enforcer.is_own_write(world.put(picture(2), held.ref.key))


def test_while_we_write_nobody_can_tell(world, held):
    row = world.rows("quarantine")[0]
    with world.database.transaction() as tx:
        own_writes.record(tx, row, now=world.clock.now())
    with pytest.raises(TransientError):
        world.parts.enforcer().is_own_write(ObjectRef(bucket="public", key=held.ref.key, version_id="new"))


def test_a_release_that_died_after_writing_writes_once(world, held, monkeypatch):
    with monkeypatch.context() as dying:
        dying.setattr(own_writes, "note_version", broken)
        with pytest.raises(TransientError):
            world.clear(held, ADA, BEA)
    versions = len(world.store.versions("public", held.ref.key))
    world.keeper.finish_acts()
    assert len(world.store.versions("public", held.ref.key)) == versions
    assert world.cover(held).version_id == public(world, held.ref.key).ref.version_id
    assert world.verdict_events(held) == [("withheld", 1), ("released", 2)]


def broken(*_, **__):
    raise TransientError("died")


def test_what_is_newer_is_not_written_over_and_is_an_upload(world, held):
    newer = world.put(picture(2), held.ref.key)
    world.clear(held, ADA, BEA)
    assert world.served(newer)
    assert {state for _, state, key, _ in world.holds(held) if key == held.ref.key} == {"superseded"}
    assert not world.parts.enforcer().is_own_write(newer)


def test_what_the_platform_deleted_stays_deleted(world, held):
    cover = {"id": held.cover_id, "version": held.version, "surface": held.surface.value}
    world.deliver(world.message("cover.deleted", cover=cover))
    world.clear(held, ADA, BEA)
    assert public(world, held.ref.key) is None


@pytest.mark.thorough
def test_a_later_hold_acts_on_the_new_version(world, held):
    world.clear(held, ADA, BEA)
    world.reopen(held)
    world.confirm(held)
    assert public(world, held.ref.key) is None
    assert public(world, "elsewhere/c1-small") is None


@pytest.mark.thorough
def test_a_claim_that_arrived_during_the_release_follows_the_bytes(world, held, monkeypatch):
    """Wanted held again between the write and the end of the release: the new version is blocked."""
    noting = own_writes.note_version

    def and_claimed_again(tx, row, *args, **kwargs):
        noting(tx, row, *args, **kwargs)
        if not row.rendition:
            claim_again(tx, row, world)

    monkeypatch.setattr(own_writes, "note_version", and_claimed_again)
    world.clear(held, ADA, BEA)
    for _ in range(2):  # the row of the old version is given up, then the new version is blocked
        world.clock.go_on(timedelta(seconds=6))
        world.keeper.finish_acts()
    assert public(world, held.ref.key) is None


def claim_again(tx, row, world):
    (item,) = world.rows("case_item")
    quarantines.request(
        tx,
        cover_version_id=row.cover_version_id,
        ref=ObjectRef(bucket=row.bucket, key=row.key, version_id=row.version_id),
        level="hold",
        claimant=Claimant(item_id=item.id),
        rendition=False,
        relist_until=None,
        now=world.clock.now(),
    )


# ── renditions that appear ─────────────────────────────────────────────────────────────────────────────────


def test_a_rendition_of_a_held_cover_is_held_when_it_appears(world):
    world.list_of(near(picture(1)))
    world.upload(picture(1), "c1", surface=WATCHED)
    world.clock.go_on(world.settings.relist)
    late = world.rendition("c1")
    assert world.parts.enforcer().rendition_appeared(late)
    assert not world.served(late)


def test_a_rendition_of_a_cover_that_nobody_holds_stays(world):
    world.upload(picture(2), "c2", surface=WATCHED)
    rendition = world.rendition("c2")
    assert world.parts.enforcer().rendition_appeared(rendition)
    assert world.served(rendition)


def test_a_rendition_of_a_cover_that_is_not_known_yet_stays(world):
    assert world.parts.enforcer().rendition_appeared(world.rendition("unknown"))


def test_what_is_no_rendition_is_an_upload(world):
    assert not world.parts.enforcer().rendition_appeared(world.put(picture(2), "raw/c3/1"))
