"""Every kind of event: told once, stored once, sealed where people wrote it, and never acked as if done."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import ADA, WATCHED, near, picture

from coverguard.errors import BadMessage
from coverguard.model import Done, Micros, Reject, Retry
from coverguard.store import cases, covers

MICROSECOND = timedelta(microseconds=1)
TITLE = "Amber harbour before rain"


def unserved(world):
    with world.database.reading() as tx:
        return dict(covers.unserved(tx))


def opened(world, row):
    return world.keys.open("private", row.text_sealed, context=row.event_id.encode()).decode()


# ── one event of each type ─────────────────────────────────────────────────────────────────────────────────

STORED = [
    # type, fields, facts, served
    ("account.terminated", {"account_id": "a", "reason": "child_safety"}, {"reason": "child_safety"}, True),
    ("account.terminated", {"account_id": "a", "reason": "unknown"}, {"reason": "unknown"}, True),
    ("account.reinstated", {"account_id": "a"}, {}, True),
    ("account.tagged", {"account_id": "a", "by_account_id": "b", "playlist_id": "p"}, {"by": "b"}, True),
    ("playlist.deleted", {"playlist_id": "p"}, {}, True),
]


@pytest.mark.parametrize(("kind", "fields", "facts", "served"), STORED)
def test_an_event_is_stored_once(world, kind, fields, facts, served):
    body = world.message(kind, **fields)
    assert world.deliver(body) == Done(note="noted")
    assert world.deliver(body) == Done(note="noted")
    (row,) = world.rows("platform_event")
    assert (row.type, row.facts, row.playlist_id) == (kind, facts, fields.get("playlist_id"))
    assert row.received_at == world.clock.now() - 2_000_000
    assert (row.served_at is not None) is served
    assert unserved(world) == ({} if served else {kind: 1})
    if "account_id" in fields:
        (account,) = world.rows("account")
        assert (account.platform_id, row.account_id) == ("a", account.id)


def test_what_nobody_serves_yet_is_counted_by_type(world):
    for number in range(3):
        world.deliver(world.message("account.terminated", account_id=f"a{number}", reason="user_request"))
    world.deliver(world.message("account.reinstated", account_id="a1"))
    world.deliver(world.message("content.reported", report_id="r1", text="please look"))
    world.deliver(world.message("playlist.deleted", playlist_id="p"))
    assert unserved(world) == {}


WRITTEN = [
    ("playlist.edited", {"playlist_id": "p", "editor_id": "a", "field": "title"}, "title"),
    ("playlist.edited", {"playlist_id": "p", "editor_id": "a", "field": "description"}, "description"),
    ("playlist.edited", {"playlist_id": "p", "editor_id": "a", "field": "track_title"}, "track_title"),
]


@pytest.mark.parametrize(("kind", "fields", "stored"), WRITTEN)
def test_what_people_write_is_sealed(world, kind, fields, stored):
    body = world.message(kind, **fields, text=TITLE)
    said_at = world.clock.now()
    assert world.deliver(body) == Done(note="noted")
    world.deliver(body)
    (row,) = world.rows("statement")
    assert (row.kind, row.playlist_id, row.said_at) == (stored, "p", said_at)
    assert row.expires_at == said_at + timedelta(days=180) // MICROSECOND
    assert opened(world, row) == TITLE
    assert TITLE.encode() not in row.text_sealed
    assert world.rows("account")[0].id == row.account_id


def test_a_new_name_is_sealed(world):
    world.deliver(world.message("account.renamed", account_id="a", new_name=TITLE))
    (row,) = world.rows("statement")
    assert (row.kind, row.playlist_id, opened(world, row)) == ("name", None, TITLE)


def test_an_empty_text_is_a_statement_too(world):
    world.deliver(world.message("playlist.edited", playlist_id="p", editor_id="a", field="title", text=""))
    assert [opened(world, row) for row in world.rows("statement")] == [""]


def test_a_report_is_never_lost_and_its_words_are_private(world):
    cover = {"id": "c1", "version": 1, "surface": "playlist_cover"}
    body = world.message(
        "content.reported",
        report_id="r1",
        account_id="a",
        covers=[cover, cover],
        playlist_ids=["p"],
        text=TITLE,
    )
    assert world.deliver(body) == Done(note="reported")
    assert world.deliver(body) == Done(note="reported")
    (report,) = world.rows("report")
    named = world.rows("report_target", report_id=report.id)
    assert [(one.kind, one.named_id, one.effect) for one in named] == [
        ("cover", "c1", "unknown"), ("playlist", "p", "unknown"), ("account", "a", "unknown"),
    ]  # fmt: skip
    assert TITLE.encode() not in b"".join(row.text_sealed for row in world.rows("thread_entry"))
    told = world.intake.reporting.transcript(report.ref, actor=ADA)[0]
    assert TITLE in told.text
    assert "playlist cover c1" in told.text


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"schema": "coverguard.event/1"}',
        '{"schema": "coverguard.event/2", "type": "account.reinstated", "event_id": "e", "account_id": "a"}',
        '{"schema": "coverguard.event/1", "type": "account.exploded", "event_id": "e"}',
        '{"schema": "coverguard.event/1", "type": "cover.uploaded", "event_id": "e"}',
    ],
)
def test_what_makes_no_sense_is_rejected_and_stores_nothing(world, body):
    with pytest.raises(BadMessage):
        world.deliver(body)
    assert isinstance(world.settled(body), Reject)
    assert not any(world.everything().values())


# ── tombstones ─────────────────────────────────────────────────────────────────────────────────────────────


def tombstone(world, cover_id="c1"):
    cover = {"id": cover_id, "version": 1, "surface": "profile_image"}
    return world.message("cover.deleted", cover=cover)


def test_the_first_tombstone_counts(world):
    upload = world.upload(picture(1), surface=WATCHED)
    assert world.deliver(tombstone(world)) == Done(note="noted")
    first = world.cover(upload).deleted_at
    assert first == world.clock.now()
    world.deliver(tombstone(world))
    assert world.cover(upload).deleted_at == first


def test_a_tombstone_that_overtook_its_upload_waits_for_it(world):
    gone, sent_at = tombstone(world), world.clock.now()
    assert world.deliver(gone, sent_at=sent_at) == Retry(after=timedelta(minutes=1), note="early")
    upload = world.upload(picture(1), surface=WATCHED)
    assert world.deliver(gone, sent_at=sent_at) == Done(note="noted")
    assert world.cover(upload).deleted_at


def test_a_tombstone_of_nothing_is_done_after_an_hour(world):
    gone, sent_at = tombstone(world), world.clock.now()
    world.clock.go_on(timedelta(minutes=59))
    assert isinstance(world.deliver(gone, sent_at=sent_at), Retry)
    world.clock.go_on(timedelta(minutes=1))
    assert world.deliver(gone, sent_at=sent_at) == Done(note="unknown_cover")


def test_a_cover_deleted_before_its_answer_is_not_told_cleared(world):
    upload = world.announce(picture(1))
    with world.absent(upload.ref):
        world.deliver(upload.body)
    cover = {"id": "c1", "version": 1, "surface": "playlist_cover"}
    world.deliver(world.message("cover.deleted", cover=cover))
    world.deliver(upload.body)
    assert world.answer(upload).decision == "pass"
    assert world.verdict_events(upload) == [("withheld", 1)]


def test_what_is_held_stays_held_when_the_platform_deletes_it(world):
    world.list_of(near(picture(1)))
    upload = world.upload(picture(1), surface=WATCHED)
    assert world.delete(upload) == Done(note="noted")
    assert world.holds(upload)[0][:2] == ("hold", "held")
    assert world.item(upload).state == "open"
    assert world.vault() == [picture(1)]


# ── collaborators ──────────────────────────────────────────────────────────────────────────────────────────


def collaboration(world, *steps):
    """Deliver (minute, added) steps in this order; return who shares the playlist after them."""
    bodies = []
    begun = world.clock.now()
    for minute, added in steps:
        world.clock._now = begun + timedelta(minutes=minute) // MICROSECOND
        kind = "collaborator.added" if added else "collaborator.removed"
        bodies.append(world.message(kind, playlist_id="p", account_id="friend"))
    for body in bodies:
        assert world.deliver(body) == Done(note="noted")
    (row,) = world.rows("collaboration")
    return bool(row.active)


@pytest.mark.parametrize(
    ("steps", "active"),
    [
        ([(1, True)], True),
        ([(1, False)], False),
        ([(1, True), (2, False)], False),
        ([(2, False), (1, True)], False),
        ([(3, True), (1, True), (2, False)], True),
        ([(2, False), (3, True), (1, True)], True),
        ([(1, True), (1, True)], True),
    ],
)
def test_the_newest_word_of_a_collaboration_counts_however_late_it_comes(world, steps, active):
    assert collaboration(world, *steps) is active


def test_collaborators_are_linked_to_a_case_and_not_in_it(world):
    world.list_of(near(picture(1)))
    for playlist, account in (("p", "friend"), ("p", "uploader-1"), ("q", "stranger"), ("p", "other friend")):
        world.deliver(world.message("collaborator.added", playlist_id=playlist, account_id=account))
    upload = world.upload(picture(1), playlist="p")
    case_id = world.item(upload).case_id
    with world.database.reading() as tx:
        linked = [(row.platform_id, row.playlists) for row in cases.linked_accounts(tx, case_id)]
        parties = [row.platform_id for row in cases.parties(tx, case_id)]
    assert linked == [("friend", 1), ("other friend", 1)]
    assert parties == ["uploader-1"]
    assert world.types("safety").count("account.flagged") == 1


def test_times_are_the_events_and_not_ours(world):
    at = Micros(world.clock.now() - timedelta(days=3) // MICROSECOND)
    world.clock._now = at
    body = world.message("playlist.deleted", playlist_id="p")
    world.clock.go_on(timedelta(days=3))
    world.deliver(body)
    (row,) = world.rows("platform_event")
    assert row.occurred_at == at
    assert row.received_at == world.clock.now()
