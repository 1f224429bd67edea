"""The platform's own copies are further views of a cover, and pictures that are hardly there are no pass."""

from __future__ import annotations

from contextlib import suppress

import pytest
from world import WATCHED, exact, near, picture

from coverguard.errors import TransientError
from coverguard.model import ListAction, Retry
from coverguard.testing.pictures import Kind, draw, encode

BEYOND = picture(7)  # what only the copy shows


@pytest.fixture
def upload_with(world):
    """Upload a cover with such copies; return it and their places."""

    def made(data, *copies):
        refs = [
            world.rendition("c1", f"{number}.png", data=copy) for number, copy in enumerate(copies, start=1)
        ]
        return world.announce(data, "c1", surface=WATCHED, renditions=refs), refs

    return made


def found_by(world, upload):
    return {match.view for match in world.matches(upload)}


def test_what_only_the_copy_shows_is_found(world, upload_with):
    world.list_of(near(BEYOND))
    upload, (copy,) = upload_with(picture(1), BEYOND)
    world.deliver(upload.body)
    assert world.answer(upload).decision == "hold"
    assert found_by(world, upload) == {"rendition"}
    assert not world.served(upload.ref)
    assert not world.served(copy)


def test_the_largest_copy_is_looked_at_and_only_that(world, upload_with):
    small, large = sorted((BEYOND, picture(8)), key=len)
    world.list_of(near(small))
    upload, _ = upload_with(picture(1), large, small)
    world.deliver(upload.body)
    assert world.answer(upload).decision == "pass"
    assert len(large) > len(small)


def test_copies_that_cannot_be_read_take_nothing_from_the_answer(world, upload_with):
    upload, _ = upload_with(picture(1), b"written in some form of the platform's own " * 4000)
    world.deliver(upload.body)
    assert world.answer(upload).decision == "pass"
    assert world.types() == ["cover.cleared"]


def test_a_copy_that_is_gone_is_not_asked_for_again(world, upload_with):
    upload, (copy,) = upload_with(picture(1), BEYOND)
    world.list_of(near(BEYOND))
    with world.absent(copy):
        world.deliver(upload.body)
    assert world.answer(upload).decision == "pass"


def test_no_pass_while_a_copy_cannot_be_had(world, upload_with):
    world.list_of(near(BEYOND))
    upload, (copy,) = upload_with(picture(1), BEYOND)
    with world.unreachable(copy):
        assert isinstance(world.deliver(upload.body), Retry)
    assert (world.answer(upload).decision, world.answer(upload).reason) == (
        "not_screened",
        "store_unreachable",
    )
    world.deliver(upload.body, attempt=2)
    assert world.answer(upload).decision == "hold"


@pytest.mark.parametrize("action", [ListAction.HOLD, ListAction.REFER])
def test_what_was_found_stands_while_a_copy_cannot_be_had(world, upload_with, action):
    world.list_of(near(picture(1)), action=action)
    upload, (copy,) = upload_with(picture(1), BEYOND)
    with world.unreachable(copy), suppress(TransientError):  # nor can it be kept as evidence yet
        world.deliver(upload.body)
    assert world.answer(upload).decision == action.value
    assert not world.served(upload.ref)


def test_a_copy_may_make_a_hold_of_what_referred(world, upload_with):
    world.list_of(near(picture(1)), name="watchful", action=ListAction.REFER)
    world.list_of(near(BEYOND), name="sure")
    upload, _ = upload_with(picture(1), BEYOND)
    world.deliver(upload.body)
    assert world.answer(upload).decision == "hold"
    assert found_by(world, upload) == {"displayed", "rendition"}


def test_a_picture_of_which_hardly_anything_is_there_is_no_pass(world):
    whole = encode(draw(Kind.SCENE, 9, side=320), "JPEG", quality=90)
    upload = world.upload(whole[: len(whole) // 12], surface=WATCHED)
    row = world.answer(upload)
    assert (row.decision, row.reason, row.detail) == ("not_screened", "unreadable_content", "truncated")
    assert not world.served(upload.ref)


def test_nor_is_its_digest_forgotten(world):
    whole = encode(draw(Kind.SCENE, 9, side=320), "JPEG", quality=90)
    cut = whole[: len(whole) // 12]
    world.list_of(exact(cut))
    assert world.answer(world.upload(cut)).decision == "hold"
