"""No answer is its own answer: never clean, never a match; and what becomes of it when an answer comes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from world import GATED, WATCHED, near, picture

from coverguard.errors import DecoderUnavailable, TransientError
from coverguard.messages import parse
from coverguard.model import Category, Done, ListAction, Mode, Reject, Retry
from coverguard.store import covers
from coverguard.testing.pictures import hostile

SECOND = timedelta(seconds=1)
HOSTILE = hostile()
UNREADABLE = {
    "empty": "empty",
    "garbage": "unsupported_format",
    "html": "unsupported_format",
    "magic_only": "truncated",
    "long_side_png": None,
    "text_bomb": "too_much_text",
    "many_frames_gif": "too_many_frames",
}


def short(world, upload):
    """Decision, reason, what was told, whether strangers have it, and the alarms' kinds."""
    answer = world.answer(upload)
    kinds = sorted(kind for kind, _ in world.alarms())
    told = [kind for kind, _ in world.verdict_events(upload)]
    return answer.decision, answer.reason, told, world.served(upload.ref), kinds


def failing(world, upload, *, deliveries=1):
    with world.unreachable(upload.ref):
        return [world.deliver(upload.body) for _ in range(deliveries)][-1]


# ── unreadable: no retry, no grace ─────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
@pytest.mark.parametrize("surface", [GATED, WATCHED])
@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_withheld_at_once(world, surface, name):
    upload = world.upload(HOSTILE[name], surface=surface)
    assert upload.outcome == Done(note="not_screened")
    decision, reason, told, served, kinds = short(world, upload)
    assert (decision, reason, told, kinds) == (
        "not_screened", "unreadable_content", ["withheld"], ["not_screened"],
    )  # fmt: skip
    assert served is (surface is GATED)  # in the intake, where no stranger reads
    assert world.answer(upload).detail == UNREADABLE[name] or UNREADABLE[name] is None
    assert world.answer(upload).retry_at is None
    assert world.rows("case_item") == [], "it accuses nobody"
    assert world.vault() == []
    assert world.types("safety") == ["cover.not_screened"]
    assert world.answer(upload).settled_at


def test_too_large_is_refused_before_it_is_read(make_world):
    world = make_world(max_bytes=100)
    upload = world.upload(picture(1), surface=WATCHED)
    assert (world.answer(upload).reason, world.answer(upload).detail) == (
        "unreadable_content", "too_many_bytes",
    )  # fmt: skip
    assert not world.served(upload.ref)


# ── failing, in gate ───────────────────────────────────────────────────────────────────────────────────────


def test_gate_withholds_at_once_and_clears_later(world):
    upload = world.announce(picture(1))
    assert isinstance(failing(world, upload, deliveries=3), Retry)
    assert short(world, upload)[:3] == ("not_screened", "store_unreachable", ["withheld"])
    assert world.answer(upload).attempts == 3
    assert world.types("safety") == ["cover.not_screened"], "told once"
    assert world.deliver(upload.body) == Done(note="pass")
    assert short(world, upload) == ("pass", None, ["withheld", "cleared"], True, [])
    assert world.verdict_events(upload) == [("withheld", 1), ("cleared", 2)]


def test_gate_withholds_and_then_holds(world):
    world.list_of(near(picture(1)))
    upload = world.announce(picture(1))
    failing(world, upload)
    assert world.deliver(upload.body) == Done(note="hold")
    assert short(world, upload) == ("hold", None, ["withheld"], False, [])
    assert world.holds(upload)[0][:2] == ("hold", "held")


def test_gate_withholds_and_then_refers(world):
    world.list_of(near(picture(1)), action=ListAction.REFER)
    upload = world.announce(picture(1))
    failing(world, upload)
    world.deliver(upload.body)
    assert short(world, upload) == ("refer", "list_refers", ["withheld"], True, [])


def test_what_nobody_could_decode_is_decoded_later(world):
    """A child that was killed, or never came up, is no fault of the file's."""
    upload = world.announce(picture(1))
    well = world.intake
    world.intake = replace(world.parts, sandbox=NoChildren()).intake()
    assert isinstance(world.deliver(upload.body), Retry)
    assert short(world, upload)[:3] == ("not_screened", "decoder_unavailable", ["withheld"])
    world.intake = well
    assert world.deliver(upload.body) == Done(note="pass")
    assert short(world, upload) == ("pass", None, ["withheld", "cleared"], True, [])


class NoChildren:
    def fingerprint(self, data):
        raise DecoderUnavailable("no child came up")


# ── failing, in watch ──────────────────────────────────────────────────────────────────────────────────────


def within_and_after_grace(world, upload):
    first = failing(world, upload)
    assert isinstance(first, Retry)
    assert short(world, upload) == ("not_screened", "store_unreachable", [], True, [])
    world.clock.go_on(world.settings.grace - 4 * SECOND)
    failing(world, upload)
    assert short(world, upload)[2:] == ([], True, [])
    world.clock.go_on(4 * SECOND)
    failing(world, upload)


def test_watch_blocks_after_the_grace(world):
    upload = world.announce(picture(1), surface=WATCHED)
    within_and_after_grace(world, upload)
    assert short(world, upload)[2] == ["withheld"]
    assert world.types("safety") == ["cover.not_screened"]
    world.deliver(upload.body)
    assert world.verdict_events(upload) == [("withheld", 1), ("released", 2)]
    assert short(world, upload) == ("pass", None, ["withheld", "released"], True, [])
    assert world.holds(upload)[0][:2] in (("block", "released"), ("block", "abandoned"))
    assert world.vault() == [], "nothing was known against it"
    assert world.answer(upload).settled_at


@pytest.mark.thorough
def test_watch_blocks_at_the_end_of_the_grace_without_any_message(world):
    upload = world.announce(picture(1), surface=WATCHED)
    failing(world, upload)
    world.clock.go_on(world.settings.grace + SECOND)
    assert world.served(upload.ref)
    world.keeper.end_grace()
    assert not world.served(upload.ref)
    assert short(world, upload)[:3] == ("not_screened", "store_unreachable", ["withheld"])
    assert world.keeper.end_grace() == 0
    world.deliver(upload.body)
    assert world.served(upload.ref)
    assert world.verdict_events(upload) == [("withheld", 1), ("released", 2)]


def test_watch_that_cannot_even_block_goes_on_owing_it(world):
    upload = world.announce(picture(1), surface=WATCHED)
    with world.unreachable(upload.ref, whole=True):
        world.deliver(upload.body)
        world.clock.go_on(world.settings.grace)
        with pytest.raises(TransientError):
            world.deliver(upload.body)
        assert isinstance(world.settled(upload.body), Retry)
    assert short(world, upload)[2:] == (["withheld"], True, ["not_screened"])
    assert not world.answer(upload).settled_at
    world.clock.go_on(timedelta(seconds=10))
    world.keeper.finish_acts()
    assert short(world, upload)[2:] == (["withheld"], False, ["not_screened"])
    assert world.answer(upload).settled_at


@pytest.mark.thorough
def test_watch_goes_from_blocked_to_held(world):
    world.list_of(near(picture(1)))
    upload = world.announce(picture(1), surface=WATCHED)
    within_and_after_grace(world, upload)
    world.deliver(upload.body)
    assert short(world, upload) == ("hold", None, ["withheld"], False, [])
    assert [row[:2] for row in world.holds(upload)] == [("hold", "held")], "one row, raised"
    assert world.vault() == [picture(1)]


@pytest.mark.thorough
def test_watch_goes_from_blocked_to_referred_and_public(world):
    world.list_of(near(picture(1)), action=ListAction.REFER, category=Category.TERRORISM)
    upload = world.announce(picture(1), surface=WATCHED)
    within_and_after_grace(world, upload)
    world.deliver(upload.body)
    assert short(world, upload) == ("refer", "list_refers", ["withheld", "released"], True, [])
    assert world.item(upload).state == "open"


def test_watch_within_the_grace_is_as_if_nothing_had_been(world):
    upload = world.announce(picture(1), surface=WATCHED)
    failing(world, upload)
    world.deliver(upload.body)
    assert world.verdict_events(upload) == [("cleared", 1)]
    assert world.holds(upload) == []


def test_one_second_of_an_answer_does_not_start_the_grace_anew(world):
    """It goes on failing, for another reason: the first failure counts."""
    upload = world.announce(picture(1), surface=WATCHED)
    failing(world, upload)
    world.clock.go_on(world.settings.grace)
    with world.absent(upload.ref):
        world.deliver(upload.body)
    assert short(world, upload)[1:3] == ("object_missing", ["withheld"])


# ── other reasons ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_object_that_is_not_there_yet_is_tried_again(world):
    upload = world.announce(picture(1))
    with world.absent(upload.ref):
        assert isinstance(world.deliver(upload.body), Retry)
    assert short(world, upload)[:3] == ("not_screened", "object_missing", ["withheld"])
    assert world.deliver(upload.body) == Done(note="pass")
    assert short(world, upload)[2:] == (["withheld", "cleared"], True, [])


def test_damaged_bytes_are_no_answer(world):
    upload = world.announce(picture(1))
    path = next(path for path in (world.home / "objects").rglob(upload.ref.version_id))
    path.write_bytes(picture(2))
    assert isinstance(world.deliver(upload.body), Retry)
    assert (world.answer(upload).reason, world.answer(upload).detail) == (
        "store_unreachable", "integrity_failure",
    )  # fmt: skip
    assert world.rows("fingerprint") == []


def test_announced_and_then_silence_is_an_answer_too(world):
    """The worker died on it each time; nothing but the announcement is left."""
    upload = world.announce(picture(1), surface=WATCHED)
    with world.database.transaction() as tx:
        covers.announce(
            tx, parse(upload.body), mode=Mode.WATCH, sent_at=world.clock.now(), now=world.clock.now()
        )
    assert world.keeper.answer_for_the_silent() == 0
    world.clock.go_on(world.settings.grace + SECOND)
    assert world.keeper.answer_for_the_silent() == 1
    assert short(world, upload)[:4] == ("not_screened", "no_answer", ["withheld"], False)
    (again,) = world.parts.queue("uploads").receive(limit=9, wait=timedelta(), lease=SECOND)
    assert world.deliver(again.body) == Done(note="pass")
    assert short(world, upload)[2:] == (["withheld", "released"], True, [])


# ── retries ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
def test_retries_come_slower_and_end_after_a_day(world):
    upload = world.announce(picture(1))
    waits = []
    with world.unreachable(upload.ref):
        while isinstance(outcome := world.deliver(upload.body), Retry):
            waits.append(outcome.after)
            world.clock.go_on(outcome.after)
    assert outcome == Done(note="not_screened")
    assert waits[:3] == sorted(waits[:3])
    assert all(SECOND <= wait <= timedelta(minutes=2) for wait in waits[:8])
    assert timedelta(hours=1) - SECOND <= waits[-1] <= timedelta(hours=1)
    age = world.clock.now() - world.answer(upload).first_failed_at
    assert timedelta(days=1) <= age * timedelta(microseconds=1) < timedelta(days=1, hours=2)
    assert world.answer(upload).retry_at is None
    assert world.verdict_events(upload) == [("withheld", 1)]


def test_a_real_answer_is_final(world):
    upload = world.upload(picture(1))
    failing(world, upload)
    assert short(world, upload) == ("pass", None, ["cleared"], True, [])
    assert world.answer(upload).attempts == 1


def test_the_database_away_is_no_answer_and_no_rejection(world, tmp_path):
    upload = world.announce(picture(1))
    ledger = world.home / "ledger.db"
    world.database.close()
    ledger.rename(tmp_path / "away.db")
    ledger.mkdir()
    assert isinstance(world.settled(upload.body), Retry)
    world.database.close()
    ledger.rmdir()
    (tmp_path / "away.db").rename(ledger)
    assert world.settled(upload.body) == Done(note="pass")


def test_lists_that_cannot_be_read_wait_for_somebody_to_mend_them(world):
    """A row that does not open: nobody can say what matches, so that nobody says anything."""
    world.list_of(near(picture(1)))
    with world.database.transaction() as tx:
        tx.exec_driver_sql("UPDATE list_entry SET digest_sealed = zeroblob(60)")
    upload = world.announce(picture(1))
    assert isinstance(world.settled(upload.body), Retry)
    assert world.verdict_events(upload) == []


def test_a_handler_that_fails_unexpectedly_settles_nothing(world):
    with world.database.transaction() as tx:
        tx.exec_driver_sql(
            "CREATE TRIGGER bug BEFORE INSERT ON screening BEGIN SELECT RAISE(ABORT, 'a bug'); END"
        )
    upload = world.announce(picture(1))
    assert world.settled(upload.body) is None
    assert world.verdict_events(upload) == []
    assert isinstance(world.settled("not json"), Reject)
