"""Whole verbs at once on PostgreSQL: a verdict, an answer about the same object, and the keeper, on one row.

What comes of it does not depend on who was faster, and nobody is told of a deadlock.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from world import ADA, WATCHED, World, near, opinion, picture

from coverguard.model import Done, NotScreenedReason
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.testing.servers import Postgres

pytestmark = pytest.mark.servers

ROUNDS = 4
SOON = 60


@pytest.fixture
def world(postgres: Postgres, tmp_path: Path) -> Iterator[World]:
    name = f"crossing_{uuid.uuid4().hex}"
    database = Database(postgres.create_database(name), durable=False)
    migrate(database)
    made = World(tmp_path, database)
    made.list_of(near(picture(1)), known=False)
    yield made
    made.close()
    postgres.drop_database(name)


def at_once(*verbs: Callable[[], object]) -> list[object]:
    """Run each in a thread of its own, from one moment on."""
    together = threading.Barrier(len(verbs))

    def run(verb: Callable[[], object]) -> object:
        together.wait(SOON)
        return verb()

    with ThreadPoolExecutor(len(verbs)) as pool:
        return [one.result(SOON) for one in [pool.submit(run, verb) for verb in verbs]]


def keep(world: World) -> None:
    for _ in range(3):
        world.keeper.finish_acts()
        world.keeper.find_late_renditions()
        world.keeper.verify_gone()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_an_object_that_somebody_else_wants_held_stays_held(world: World, number: int) -> None:
    """One person clears a cover while another cover with the same object is matched."""
    world.rendition("c1")
    first = world.upload(picture(1), "c1", surface=WATCHED)
    item = world.claim(first)
    second = world.announce(picture(1), "c2", surface=WATCHED, uploader="another", ref=first.ref)
    at_once(
        lambda: world.review.clear(item.ref, actor=ADA, opinion=opinion()),
        lambda: world.deliver(second.body),
        lambda: world.deliver(second.body),
        lambda: keep(world),
    )
    keep(world)
    assert not world.served(first.ref)
    assert (world.item(first).state, world.item(second).state) == ("cleared", "open")
    assert [row.decision for row in world.rows("screening")] == ["hold", "hold"]
    live = [row for row in world.rows("quarantine") if row.ended_at is None and not row.rendition]
    assert [row.state for row in live] == ["held"]
    assert world.verdict_events(first) in ([("withheld", 1)], [("withheld", 1), ("released", 2)])
    assert world.verdict_events(second) == [("withheld", 1)]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_two_people_and_two_uploads_of_one_account(world: World, number: int) -> None:
    """Closing a case and adding to it meet at the account.

    The later uploads are other bytes of the same picture: what is cleared suppresses its own bytes only.
    """
    first, other = (world.upload(picture(1), name, surface=WATCHED) for name in ("c1", "c2"))
    refs = [world.claim(one).ref for one in (first, other)]
    more = [world.announce(picture(1) + b"\0", name, surface=WATCHED) for name in ("c3", "c4")]
    at_once(
        *(lambda ref=ref: world.review.clear(ref, actor=ADA, opinion=opinion()) for ref in refs),
        *(lambda one=one: world.deliver(one.body) for one in more),
    )
    keep(world)
    assert world.served(first.ref)
    assert world.served(other.ref)
    assert not any(world.served(one.ref) for one in more)
    waiting = {row.case_id for row in world.rows("case_item") if row.state == "open"}
    opened = [row.id for row in world.rows("case_file") if row.closed_at is None]
    assert sorted(waiting) == opened
    assert len(opened) == 1
    for one in (first, other):
        assert world.verdict_events(one) == [("withheld", 1), ("released", 2)]


def test_many_answers_about_many_covers(world: World) -> None:
    """Four workers, twice each message, matches and others, five accounts."""
    uploads = [
        world.announce(picture(1 + number % 2), f"c{number}", surface=WATCHED, uploader=f"u{number % 5}")
        for number in range(24)
    ]
    bodies = [one.body for one in uploads]

    def serve(order: list[str]) -> Callable[[], object]:
        return lambda: [world.settled(body) for body in order]

    results = at_once(serve(bodies), serve(bodies[::-1]), serve(bodies[12:] + bodies[:12]), serve(bodies))
    assert {outcome for outcomes in results for outcome in outcomes} == {Done(note="hold"), Done(note="pass")}
    assert [world.served(one.ref) for one in uploads] == [bool(number % 2) for number in range(24)]
    assert len(world.rows("screening")) == 24
    assert len(world.rows("case_item")) == len(world.rows("quarantine")) == 12
    assert len({row.account_id for row in world.rows("case_file")}) == len(world.rows("case_file"))
    assert not [row for row in world.rows("screening") if row.reason == NotScreenedReason.NO_ANSWER.value]
