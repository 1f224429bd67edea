"""A whole deployment in a test's own folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("world")

from world import World  # noqa: E402 - after the rewrite is registered

from coverguard.store.engine import Database  # noqa: E402 - as above
from coverguard.store.migrate import migrate  # noqa: E402 - as above


@pytest.fixture(scope="session")
def migrated_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger as the migrations make it, to be copied: they take longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "ledger.db"
    database = Database(f"sqlite:///{path}", durable=False)
    migrate(database)
    database.close()
    return path


class Slots:
    """Homes that worlds live in, one after the other: an engine that stays need not compile its SQL again."""

    def __init__(self, root: Path, ledger: Path) -> None:
        self._root, self._ledger = root, ledger
        self._databases: list[Database] = []

    def world(self, number: int, **settings: object) -> World:
        home = self._root / f"home-{number}"
        if number == len(self._databases):
            self._databases.append(Database(f"sqlite:///{home / 'ledger.db'}", durable=False))
        home.mkdir(mode=0o700)
        shutil.copy(self._ledger, home / "ledger.db")
        return World(home, self._databases[number], **settings)


@pytest.fixture(scope="session")
def slots(tmp_path_factory: pytest.TempPathFactory, migrated_ledger: Path) -> Slots:
    return Slots(tmp_path_factory.mktemp("worlds"), migrated_ledger)


@pytest.fixture
def make_world(slots: Slots) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**settings: object) -> World:
        made.append(slots.world(len(made), **settings))
        return made[-1]

    yield make
    for world in made:
        world.close()
        shutil.rmtree(world.home)


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
