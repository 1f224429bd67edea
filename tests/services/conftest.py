"""A whole deployment in a test's own folder."""

from __future__ import annotations

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


@pytest.fixture
def make_world(tmp_path: Path, migrated_ledger: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**settings: object) -> World:
        made.append(World(tmp_path / f"home-{len(made)}", migrated_ledger, **settings))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
