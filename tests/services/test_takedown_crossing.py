"""Takedowns and uploads that cross on PostgreSQL: whoever is faster, nothing of the account is public."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from world import WATCHED, Upload, World, picture

from coverguard.store import covers
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.testing.servers import Postgres

pytestmark = pytest.mark.servers

ROUNDS = 3
SOON = 60
HER = "her-account"


@pytest.fixture(scope="module")
def world(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    name = f"takedown_{uuid.uuid4().hex}"
    database = Database(postgres.create_database(name), durable=False)
    migrate(database)
    home: Path = tmp_path_factory.mktemp("crossing")
    made = World(home, database)
    yield made
    made.close()
    postgres.drop_database(name)


def at_once(*verbs: Callable[[], object]) -> None:
    """Run each in a thread of its own, from one moment on."""
    together = threading.Barrier(len(verbs))

    def run(verb: Callable[[], object]) -> None:
        together.wait(SOON)
        verb()

    with ThreadPoolExecutor(len(verbs)) as pool:
        for one in [pool.submit(run, verb) for verb in verbs]:
            one.result(SOON)


def rest(world: World) -> None:
    for _ in range(60):
        if not world.keeper.drive_takedowns() and not world.keeper.takedowns.under_way:
            assert not world.parts.log.counters["bug"]
            return
    raise AssertionError("it never rests")


def public(world: World) -> list[str]:
    return [ref.key for ref in world.store.walk("public", prefix="")]


def terminated(world: World, account: str) -> str:
    return world.message("account.terminated", account_id=account, reason="child_safety")


@pytest.mark.parametrize("number", range(ROUNDS))
def test_uploads_that_slip_in_while_it_is_requested(world: World, number: int) -> None:
    her = f"{HER}-{number}"
    made = [
        world.announce(picture(9), f"slip-{number}-{one}", uploader=her, surface=WATCHED) for one in range(4)
    ]
    body = terminated(world, her)
    at_once(lambda: world.deliver(body), *[lambda one=one: world.deliver(one.body) for one in made])
    rest(world)
    assert not public(world)
    assert {row.state for row in world.rows("takedown")} == {"verified_gone"}


@pytest.mark.parametrize("first", ["upload", "takedown"])
def test_whoever_has_the_account_first_is_seen_by_the_other(world: World, first: str) -> None:
    """The one holds its transaction open until the other waits for it, or a moment has passed."""
    her = f"{HER}-{first}"
    made = world.announce(picture(9), f"held-{first}", uploader=her, surface=WATCHED)
    with world.database.transaction() as tx:
        covers.know_account(tx, her, now=world.clock.now())
    opened, go_on = threading.Event(), threading.Event()
    body = terminated(world, her)

    def upload(upload: Upload = made) -> None:
        world.deliver(upload.body)

    def slowly(verb: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            with world.database.transaction() as tx:
                covers.know_account(tx, her, now=world.clock.now())
                opened.set()
                go_on.wait(1)
            verb()

        return run

    verbs = [upload, lambda: world.deliver(body)]
    slow, quick = verbs if first == "takedown" else verbs[::-1]
    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(slowly(slow))
        assert opened.wait(SOON)
        quick()
        go_on.set()
        late.result(SOON)
    rest(world)
    assert not public(world)


def test_two_drivers_at_once_do_everything_once(world: World) -> None:
    her = f"{HER}-twice"
    for one in range(6):
        world.upload(picture(9), f"twice-{one}", uploader=her, surface=WATCHED)
    world.deliver(terminated(world, her))
    (row,) = [one for one in world.rows("takedown") if one.state == "requested"]
    drivers = [world.parts.takedown_driver() for _ in range(3)]
    at_once(*[lambda driver=driver: list(driver.drive(row.id)) for driver in drivers])
    world.clock.go_on(timedelta(seconds=6))
    rest(world)
    assert not public(world)
    told = [one for one in world.told("safety") if getattr(one, "account_id", "") == her]
    assert [one.type for one in told] == ["account.takedown_verified"]
    assert len(world.rows("quarantine_claim", takedown_id=row.id)) == 6


def test_lifting_and_a_new_cause_cross(world: World) -> None:
    her = f"{HER}-crossed"
    world.upload(picture(9), "crossed", uploader=her, surface=WATCHED)
    world.deliver(terminated(world, her))
    rest(world)
    world.deliver(world.message("account.reinstated", account_id=her))
    world.clock.go_on(timedelta(minutes=1))
    again = terminated(world, her)
    at_once(world.keeper.drive_takedowns, lambda: world.deliver(again))
    rest(world)
    assert not public(world)
