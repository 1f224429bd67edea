"""Notes of blocks as values: what each step leaves, and whose a marker may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from coverguard.aws.s3_notes import ADOPTED_WITHIN, Block, Intent, Note, from_json, to_json
from coverguard.aws.s3_objects import Marker, Version
from coverguard.errors import IntegrityFailure

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
VERSION = Version(version_id="v1", size=3, etag='"e"')


def intent(token: str = "t1", at: datetime = AT) -> Intent:
    return Intent(token=token, at=at)


def block() -> Block:
    return Note().of_version(VERSION)


def test_a_note_is_read_as_it_was_written() -> None:
    held = block().intends("i1", intent()).with_marker("m1").intends("i2", intent("t2"))
    note = Note().with_block(held).with_block(Block(version_id="v0", size=0, etag="", lifting=True))
    assert from_json(to_json(note)) == note
    assert from_json(to_json(Note())) == Note()


def test_nothing_of_a_note_is_printed_but_ids() -> None:
    assert '"e"' not in repr(block())


@pytest.mark.parametrize("document", [b"\xff", b"1", b'{"format": 1, "blocks": {"a": 1}}', b'{"blocks": []}'])
def test_what_was_not_written_here_is_an_integrity_failure(document: bytes) -> None:
    with pytest.raises(IntegrityFailure) as caught:
        from_json(document)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("later", "ours"),
    [
        (-2 * SECOND, False),
        (-SECOND, True),  # S3 tells whole seconds, and one call may round where another cuts
        (timedelta(), True),
        (ADOPTED_WITHIN, True),
        (ADOPTED_WITHIN + SECOND, False),
    ],
)
def test_a_marker_is_only_ours_shortly_after_an_intent(later: timedelta, ours: bool) -> None:  # noqa: FBT001
    marker = Marker(version_id="m1", put_at=AT + later)
    assert block().intends("i1", intent()).may_have_put(marker) is ours
    assert not block().may_have_put(marker)
    assert not block().intends("i1", intent()).with_marker("m0").may_have_put(marker)


def test_a_token_goes_with_its_last_intent_but_not_from_under_a_marker() -> None:
    one = block().intends("i1", intent())
    assert one.gave_up("i1").tokens == frozenset()
    assert one.intends("i2", intent()).gave_up("i1").tokens == {"t1"}
    assert one.intends("i2", intent("t2")).gave_up("i1").tokens == {"t2"}
    assert one.with_marker("m1").intends("i2", intent()).gave_up("i2").tokens == {"t1"}


def test_a_token_is_dropped_only_where_it_holds_no_marker() -> None:
    held = Note().with_block(block().intends("i1", intent()).with_marker("m1"))
    assert held.without_token("t1") == held
    open_ = Note().with_block(block().intends("i1", intent()))
    assert open_.without_token("t1").of_version(VERSION).tokens == frozenset()


def test_what_nobody_wants_is_tidied_once_no_marker_of_it_can_come() -> None:
    note = Note().with_block(block().intends("i1", intent()).without("t1"))
    assert note.tidied(now=AT + ADOPTED_WITHIN) == note
    assert note.tidied(now=AT + ADOPTED_WITHIN + 2 * SECOND) == Note()
    wanted = Note().with_block(block().intends("i1", intent()))
    assert wanted.tidied(now=AT + timedelta(days=1)) == wanted
    marked = Note().with_block(block().with_marker("m1"))
    assert marked.tidied(now=AT + timedelta(days=1)) == marked
