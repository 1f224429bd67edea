"""Reports at once on PostgreSQL: whoever is first is the first, caps are spent once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from reporting_desk import Desk
from world import ADA, WATCHED, World, opinion, picture

from coverguard.errors import ConfigurationError
from coverguard.model import ReporterKind
from coverguard.store import Connection, reports, threads
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.store.roles import apply_roles
from coverguard.testing.servers import Postgres

pytestmark = pytest.mark.servers

SOON = 60


@pytest.fixture
def make(postgres: Postgres, tmp_path: Path) -> Iterator[Callable[..., World]]:
    name = f"reports_{uuid.uuid4().hex}"
    database = Database(postgres.create_database(name), durable=False)
    migrate(database)
    yield lambda **settings: World(tmp_path, database, **settings)
    database.close()
    postgres.drop_database(name)


def at_once(*verbs: Callable[[], object]) -> list[object]:
    """Run each in a thread of its own, from one moment on."""
    together = threading.Barrier(len(verbs))

    def run(verb: Callable[[], object]) -> object:
        together.wait(SOON)
        return verb()

    with ThreadPoolExecutor(len(verbs)) as pool:
        return [one.result(SOON) for one in [pool.submit(run, verb) for verb in verbs]]


def test_reports_of_one_cover_at_once_are_one_case_with_one_first(make: Callable[..., World]) -> None:
    world = make()
    desk = Desk(world)
    cover = world.upload(picture(1), "c1", surface=WATCHED)
    made = [desk.sent(cover, net=f"n{number}") for number in range(5)]
    at_once(*(lambda one=one: desk.deliver(one.body) for one in (*made, made[0])))
    rows = world.rows("report")
    assert len(rows) == len(made)
    assert sorted(row.repeats for row in rows) == [0, 0, 0, 0, 4]
    assert len({row.repeats_id for row in rows} - {None}) == 1
    assert len(world.rows("case_file")) == len(world.items(cover)) == 1
    assert len(world.rows("quarantine_claim")) == 1
    assert not world.served(cover.ref)
    assert {row.state for row in rows} == {"hidden"}


def test_a_cap_of_two_is_spent_by_two(make: Callable[..., World]) -> None:
    world = make(report_hides_total=2)
    desk = Desk(world)
    covers = [world.upload(picture(n), f"c{n}", surface=WATCHED, uploader=f"u{n}") for n in range(5)]
    made = [desk.sent(cover, net=f"n{number}") for number, cover in enumerate(covers)]
    at_once(*(lambda one=one: desk.deliver(one.body) for one in made))
    assert sorted(effect for one in made for effect in desk.effects(one)) == ["capped"] * 3 + ["hidden"] * 2
    assert sum(not world.served(cover.ref) for cover in covers) == 2


def test_what_faces_the_internet_counts_and_fetches_sealed_mail_and_no_more(
    make: Callable[..., World],
) -> None:
    world = make()
    apply_roles(world.database)
    desk = Desk(world)
    cover = world.upload(picture(1), "c1", surface=WATCHED, uploader="u")
    made = desk.file(cover)
    world.upload(picture(2), "c2", surface=WATCHED, uploader="u")

    def as_public(read: Callable[[Connection], object]) -> object:
        with world.database.reading() as tx:
            tx.exec_driver_sql("SET LOCAL ROLE coverguard_public")
            return read(tx)

    assert as_public(lambda tx: reports.public_covers(tx, "u")) == 1
    found = as_public(lambda tx: threads.mail(tx, made.mailbox.address))
    assert [seq for seq, _ in found] == [1, 2, 3]
    row = desk.row(made)
    for forbidden in (
        lambda tx: reports.by_ref(tx, row.ref),
        lambda tx: reports.targets(tx, row.id),
        lambda tx: threads.entries(tx, row.id),
        lambda tx: threads.contact(tx, row.id),
        lambda tx: reports.key_of(tx, "key-0123456789abcdef", source=ReporterKind.HOTLINE),
    ):
        with pytest.raises(ConfigurationError):
            as_public(forbidden)


def test_a_report_while_a_person_clears(make: Callable[..., World]) -> None:
    """Whichever is first: the cover is shown and its item decided, or somebody looks once more."""
    world = make()
    desk = Desk(world)
    cover = world.upload(picture(1), "c1", surface=WATCHED)
    desk.file(cover)
    item, second = world.claim(cover), desk.sent(cover, net="other")
    at_once(
        lambda: world.review.clear(item.ref, actor=ADA, opinion=opinion()),
        lambda: desk.deliver(second.body),
    )
    world.keeper.finish_acts()
    assert world.served(cover.ref)
    assert world.item(cover).state in ("cleared", "open")
