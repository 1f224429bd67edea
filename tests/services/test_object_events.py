"""What an object store notifies of: screened once, whoever said it first, and nobody is blamed for it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from world import GATED, WATCHED, Upload, exact, near, picture

from coverguard.errors import BadMessage, TransientError
from coverguard.model import Done, Reject, Retry
from coverguard.notifications import nobody, unannounced
from coverguard.ports import Delivery
from coverguard.store import own_writes

EARLY = Retry(after=timedelta(seconds=10), note="early")
LONG = timedelta(minutes=1)
IDS = {
    "coverguard-cover-id": "c1",
    "coverguard-cover-version": "1",
    "coverguard-surface": "profile_image",
    "coverguard-uploader-id": "uploader-1",
}


def notification(*refs, name="ObjectCreated:Put"):
    records = [
        {
            "eventSource": "aws:s3",
            "eventName": name,
            "s3": {
                "bucket": {"name": ref.bucket},
                "object": {"key": ref.key, "versionId": ref.version_id, "sequencer": "0"},
            },
        }
        for ref in refs
    ]
    return json.dumps({"Records": records})


def put(world, data, key="raw/c1", *, bucket="public", metadata=None):
    return world.store.put(bucket, key, data, content_type="image/png", metadata=metadata or {})


def told_of(world, ref, *, after=LONG, name="ObjectCreated:Put"):
    """Deliver the event of that object so long after it was sent."""
    sent_at = world.clock.now()
    world.clock.go_on(after)
    return world.deliver(notification(ref, name=name), sent_at=sent_at)


def of_nobody(ref, surface=WATCHED):
    return Upload(cover_id=unannounced(ref), version=0, surface=surface, ref=ref, body="")


@pytest.fixture
def trusting(make_world):
    return make_world(trust_object_metadata=True)


# ── an object of nobody ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bucket", "surface", "mode"), [("public", WATCHED, "watch"), ("intake", GATED, "gate")]
)
def test_an_object_that_nobody_announces_is_screened_by_the_rules_of_its_place(world, bucket, surface, mode):
    ref = put(world, picture(1), bucket=bucket)
    assert told_of(world, ref) == Done(note="pass")
    upload = of_nobody(ref, surface)
    row = world.cover(upload)
    assert (row.mode, row.bucket, row.key, row.version_id) == (mode, ref.bucket, ref.key, ref.version_id)
    assert world.types(upload=upload) == ["cover.cleared"]
    assert {one.platform_id for one in world.rows("account")} == {nobody(upload.cover_id)}


def test_a_public_object_of_nobody_is_watched_where_no_surface_is(make_world):
    world = make_world(modes=dict.fromkeys(["playlist_cover", "profile_image", "track_art"], "gate"))
    world.list_of(near(picture(1)))
    ref = put(world, picture(1))
    assert told_of(world, ref) == Done(note="hold")
    assert world.rows("cover_version")[0].mode == "watch"
    assert not world.served(ref)


def test_a_match_of_nobody_is_held_and_no_account_is_flagged(world):
    world.list_of(near(picture(1)))
    ref = put(world, picture(1))
    assert told_of(world, ref) == Done(note="hold")
    upload = of_nobody(ref)
    assert not world.served(ref)
    assert world.vault() == [picture(1)]
    assert world.types("safety") == ["match.found"]
    assert world.item(upload).state == "open"


@pytest.mark.thorough
def test_two_objects_of_nobody_are_two_cases(world):
    world.list_of(near(picture(1)))
    for key in ("raw/a", "raw/b"):
        told_of(world, put(world, picture(1), key))
    assert len(world.rows("case_file")) == 2


@pytest.mark.thorough
def test_a_confirmed_object_of_nobody_is_removed_and_learnt_and_no_account_is_owed_a_takedown(world):
    world.list_of(near(picture(1)))
    ref = put(world, picture(1))
    told_of(world, ref)
    upload = of_nobody(ref)
    world.confirm(upload)
    assert world.types(upload=upload) == ["cover.withheld", "cover.removed"]
    assert set(world.owed(upload)) == {"preservation_end", "authority_report"}
    assert any(name.startswith("removed-here/") for name, _ in world.entries())


def test_a_cleared_object_of_nobody_is_public_again(world):
    world.list_of(near(picture(1)), known=False)
    ref = put(world, picture(1))
    told_of(world, ref)
    world.clear(of_nobody(ref))
    assert world.served(ref)


def test_metadata_that_anybody_may_write_is_not_believed(world):
    world.list_of(near(picture(1)))
    ref = put(world, picture(1), metadata=IDS)
    assert told_of(world, ref) == Done(note="hold")
    assert [row.cover_id for row in world.rows("cover_version")] == [unannounced(ref)]
    assert "uploader-1" not in {row.platform_id for row in world.rows("account")}


def test_an_account_that_calls_itself_nobody_is_somebody(world):
    world.list_of(near(picture(1)))
    upload = world.upload(picture(1), uploader=nobody("object:c1"))
    assert "account.flagged" in world.types("safety", None)
    assert world.item(upload)


def test_the_event_may_come_twice(world):
    world.list_of(near(picture(1)))
    ref = put(world, picture(1))
    told_of(world, ref)
    before = world.everything()
    assert told_of(world, ref) == Done(note="hold")
    assert world.everything() == before


def test_what_could_not_be_screened_is_withheld_and_tried_again(world):
    ref = put(world, picture(1))
    told_of(world, ref, after=timedelta())
    with world.unreachable(ref):
        outcome = told_of(world, ref)
    assert isinstance(outcome, Retry)
    assert outcome.note == "not_screened"
    assert world.answer(of_nobody(ref)).decision == "not_screened"
    world.clock.go_on(timedelta(minutes=11))
    world.keeper.end_grace()
    assert not world.served(ref)
    assert told_of(world, ref) == Done(note="pass")
    assert world.served(ref)


def test_the_keeper_can_send_an_object_of_nobody_again(world):
    """Its announcement from the ledger is a message like any other, and means the same cover."""
    world.list_of(near(picture(1)))
    ref = put(world, picture(1))
    with world.unreachable(ref):
        told_of(world, ref)
    world.clock.go_on(timedelta(minutes=30))
    assert world.keeper.revive_lost_retries() == 1
    (again,) = world.parts.queue("uploads").receive(limit=9, wait=timedelta(), lease=LONG)
    assert world.deliver(again.body) == Done(note="hold")
    assert world.types("safety").count("account.flagged") == 0
    assert len(world.rows("cover_version")) == 1


# ── who says it first ──────────────────────────────────────────────────────────────────────────────────────


def test_an_announcement_may_be_slower_than_the_store(world):
    world.list_of(near(picture(1)))
    upload = world.announce(picture(1), surface=WATCHED)
    body, sent_at = notification(upload.ref), world.clock.now()
    assert world.deliver(body, sent_at=sent_at) == EARLY
    assert world.deliver(upload.body) == Done(note="hold")
    assert world.deliver(body, sent_at=sent_at) == Done(note="announced")
    assert len(world.rows("cover_version")) == len(world.rows("case_file")) == 1


def test_what_is_not_announced_in_time_is_screened_all_the_same(world):
    ref, sent_at = put(world, picture(1)), world.clock.now()
    told = []
    while not told or told[-1] == EARLY:
        told.append(world.deliver(notification(ref), sent_at=sent_at))
        world.clock.go_on(EARLY.after)
    assert len(told) == 4
    assert told[-1] == Done(note="pass")


@pytest.mark.thorough
def test_an_announcement_that_is_much_too_late_finds_the_object_blocked(world):
    world.list_of(near(picture(1)))
    upload = world.announce(picture(1), surface=WATCHED)
    told_of(world, upload.ref)
    assert not world.served(upload.ref)
    assert world.deliver(upload.body) == Done(note="hold")
    assert world.item(upload).case_id != world.item(of_nobody(upload.ref)).case_id
    world.confirm(upload)
    assert not world.served(upload.ref)
    assert told_of(world, upload.ref) == Done(note="announced")


# ── trusted metadata ───────────────────────────────────────────────────────────────────────────────────────


def test_trusted_metadata_announce_the_cover_at_once(trusting):
    world = trusting
    world.list_of(near(picture(1)))
    more = {"coverguard-owner-id": "owner-1", "Coverguard-Playlist-Id": "a%20list%2B%C3%A9"}
    ref = put(world, picture(1), metadata=IDS | more)
    assert told_of(world, ref, after=timedelta()) == Done(note="hold")
    (row,) = world.rows("cover_version")
    assert (row.cover_id, row.version, row.surface, row.mode) == ("c1", 1, "profile_image", "watch")
    assert row.playlist_id == "a list+é"
    assert {one.platform_id for one in world.rows("account")} == {"uploader-1", "owner-1"}
    assert world.types("safety") == ["match.found", "account.flagged"]
    assert told_of(world, ref) == Done(note="hold")


def test_trusted_metadata_and_the_announcement_are_one_cover(trusting):
    world = trusting
    ref = put(world, picture(1), metadata=IDS)
    upload = world.announce(picture(1), surface=WATCHED, ref=ref)
    assert told_of(world, ref) == Done(note="pass")
    assert world.deliver(upload.body) == Done(note="pass")
    assert len(world.rows("cover_version")) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"coverguard-cover-id": ""},
        {"coverguard-cover-version": "one"},
        {"coverguard-cover-version": "-1"},
        {"coverguard-surface": "billboard"},
        {"coverguard-uploader-id": "x" * 201},
    ],
)
def test_metadata_that_make_no_sense_are_nobodys(trusting, wrong):
    ref = put(trusting, picture(1), metadata=IDS | wrong)
    assert told_of(trusting, ref, after=timedelta()) == EARLY
    assert told_of(trusting, ref) == Done(note="pass")
    assert [row.cover_id for row in trusting.rows("cover_version")] == [unannounced(ref)]


@pytest.mark.parametrize("missing", IDS)
def test_metadata_that_lack_something_are_nobodys(trusting, missing):
    ref = put(trusting, picture(1), metadata={name: IDS[name] for name in IDS if name != missing})
    assert told_of(trusting, ref) == Done(note="pass")
    assert [row.cover_id for row in trusting.rows("cover_version")] == [unannounced(ref)]


def test_a_copy_of_a_cover_elsewhere_is_the_same_uploaders_other_object(trusting):
    """A copy keeps its metadata; what is published is screened although its source was cleared."""
    world = trusting
    told_of(world, put(world, picture(1), "raw/c1", metadata=IDS))
    world.list_of(exact(picture(1)))
    copy = put(world, picture(1), "elsewhere/c1", metadata=IDS)
    assert told_of(world, copy) == Done(note="hold")
    assert not world.served(copy)
    assert (
        world.cover(of_nobody(copy)).uploader_id == world.rows("cover_version", cover_id="c1")[0].uploader_id
    )
    assert "account.flagged" in world.types("safety")


# ── what has its answer elsewhere ──────────────────────────────────────────────────────────────────────────


def test_a_rendition_of_a_held_cover_is_held_at_once(world):
    world.list_of(near(picture(1)))
    upload = world.upload(picture(1), surface=WATCHED)
    small = world.rendition("c1")
    assert world.served(small)
    assert told_of(world, small, after=timedelta()) == Done(note="rendition")
    assert not world.served(small)
    assert len(world.rows("cover_version")) == 1
    assert [hold[3] for hold in world.holds(upload)] == [False, True]


def test_a_rendition_of_a_cover_that_passed_stays(world):
    world.upload(picture(1), surface=WATCHED)
    small = world.rendition("c1")
    assert told_of(world, small) == Done(note="rendition")
    assert world.served(small)


def test_an_unannounced_object_at_the_place_of_a_rendition_is_screened(world):
    """Its own template may cover the original: only a known cover has renditions."""
    world.list_of(near(picture(1)))
    ref = put(world, picture(1), "covers/profile_image/c1/1/full")
    assert told_of(world, ref) == Done(note="hold")
    assert not world.served(ref)


def test_a_write_of_our_own_is_no_upload(world):
    world.list_of(near(picture(1)), known=False)
    upload = world.upload(picture(1), surface=WATCHED)
    (row,) = world.rows("quarantine")
    with world.database.transaction() as tx:
        own_writes.record(tx, row, now=world.clock.now())
    ours = put(world, picture(1), upload.ref.key)
    with pytest.raises(TransientError):
        told_of(world, ours)
    with world.database.transaction() as tx:
        own_writes.note_version(tx, row, ours, moved=[])
    assert told_of(world, ours) == Done(note="own_write")
    assert len(world.rows("cover_version")) == 1


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("ObjectRemoved:DeleteMarkerCreated", "object_deleted"),
        ("ObjectRemoved:Delete", "object_deleted"),
        ("ObjectTagging:Put", "object_other"),
    ],
)
def test_what_brings_no_new_bytes_is_done(world, name, note):
    ref = put(world, picture(1))
    assert told_of(world, ref, name=name) == Done(note=note)
    assert not world.rows("cover_version")


def test_an_object_that_is_gone_for_good_is_done(world):
    ref = put(world, picture(1))
    with world.absent(ref):
        assert told_of(world, ref) == Done(note="object_gone")
    assert not world.rows("cover_version")


def test_an_object_under_a_delete_marker_is_still_screened(world):
    world.list_of(near(picture(1)))
    ref = put(world, picture(1))
    world.store.delete(ref.bucket, ref.key)
    assert told_of(world, ref) == Done(note="hold")


def test_a_bucket_that_is_not_ours_is_refused(world):
    ref = put(world, picture(1))
    theirs = type(ref)(bucket="vault", key=ref.key, version_id=ref.version_id)
    with pytest.raises(BadMessage, match="field bucket"):
        told_of(world, theirs)
    assert isinstance(world.settled(notification(theirs)), Reject)


# ── several records, test events ───────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
def test_each_record_is_its_own_unit(world):
    """One that fails stops no other, and none is lost."""
    world.list_of(near(picture(1)))
    good = [put(world, picture(1), f"raw/{number}") for number in range(3)]
    bad = type(good[0])(bucket="nowhere", key="k", version_id="v")
    sent_at = world.clock.now()
    assert world.deliver(notification(good[0], bad, *good[1:])) == Done(note="split")
    queue = world.parts.queue("uploads")
    parts = queue.receive(limit=10, wait=timedelta(), lease=LONG)
    assert len(parts) == 4
    world.clock.go_on(LONG)
    kinds = [type(world.worker.outcome_of(Delivery(
        queue="uploads", body=one.body, receipt="1:x", attempt=1, sent_at=sent_at
    ))) for one in parts]  # fmt: skip
    assert kinds == [Done, Reject, Done, Done]
    assert not any(world.served(ref) for ref in good)


def test_a_test_event_is_done(world):
    assert world.deliver('{"Service": "Amazon S3", "Event": "s3:TestEvent"}') == Done(note="test_event")


def test_a_platforms_message_through_sns_is_the_same_message(world):
    upload = world.announce(picture(1), surface=WATCHED)
    wrapped = json.dumps({"Type": "Notification", "TopicArn": "arn", "Message": upload.body})
    assert world.deliver(wrapped) == Done(note="pass")
    assert world.cover(upload).cover_id == "c1"
