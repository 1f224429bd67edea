"""A takedown of thousands of covers: a page of them in memory, and every one of them dark."""

from __future__ import annotations

import tracemalloc

import pytest
from world import WATCHED, World, picture

from coverguard.messages import CoverUploaded, parse
from coverguard.model import Mode
from coverguard.store import covers

pytestmark = [pytest.mark.by_hand, pytest.mark.long, pytest.mark.timeout(3600)]

HER = "her-account"
MIB = 1024 * 1024


def fill(world: World, count: int) -> None:
    with world.database.transaction() as tx:
        for number in range(count):
            made = world.announce(picture(9), f"c{number}", uploader=HER, surface=WATCHED)
            event = parse(made.body)
            assert isinstance(event, CoverUploaded)
            now = world.clock.now()
            covers.announce(tx, event, mode=Mode.WATCH, sent_at=now, now=now)


def peak(world: World, count: int) -> int:
    """Bytes that Python had at most, beyond those it began with, while all of it went dark."""
    fill(world, count)
    world.deliver(world.message("account.terminated", account_id=HER, reason="child_safety"))
    (row,) = world.rows("takedown")
    driver = world.parts.takedown_driver()
    tracemalloc.start()
    for step in driver.drive(row.id):
        assert step.done <= step.total
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not list(world.store.walk("public", prefix=""))
    (row,) = world.rows("takedown")
    assert (row.state, row.objects) == ("verified_gone", count)
    return most


def test_memory_does_not_grow_with_the_account(make_world) -> None:
    few = peak(make_world(), 500)
    many = peak(make_world(), 5000)
    assert many < few + 16 * MIB
