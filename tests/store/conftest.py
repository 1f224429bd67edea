"""A migrated ledger of its own for each test, on SQLite and on PostgreSQL, and a clock that stands still.

`database` runs a test on both; `ledger_file` and `ledger_url` are for what only one of them has.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from coverguard.local.keys import PURPOSES, LocalKeys
from coverguard.model import Micros
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.testing.servers import Postgres

MICROSECOND = timedelta(microseconds=1)
BEGINNING = Micros(1_800_000_000_000_000)


class StandingClock:
    """Moves only when told to, or when somebody sleeps on it."""

    def __init__(self) -> None:
        self._now = int(BEGINNING)
        self._lock = threading.Lock()

    def now(self) -> Micros:
        return Micros(self._now)

    def sleep(self, period: timedelta) -> None:
        self.go_on(period)

    def go_on(self, period: timedelta) -> None:
        with self._lock:
            self._now += period // MICROSECOND


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger as the migrations make it, to be copied: they take longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "ledger.db"
    database = Database(f"sqlite:///{path}", durable=False)
    migrate(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def reused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Database]]:
    """A place for ledgers, one after the other, and an engine that need not compile its SQL again."""
    path = tmp_path_factory.mktemp("ledgers") / "now" / "ledger.db"
    database = Database(f"sqlite:///{path}", durable=False)
    yield path, database
    database.close()


@pytest.fixture
def ledger_file(migrated_file: Path, reused: tuple[Path, Database]) -> Iterator[Path]:
    path, database = reused
    path.parent.mkdir()
    yield Path(shutil.copy(migrated_file, path))
    database.close()
    shutil.rmtree(path.parent)


@pytest.fixture(scope="session")
def administer(postgres: Postgres) -> Iterator[Callable[[str], object]]:
    """Run one statement on PostgreSQL as superuser, outside any test's database."""
    with psycopg.connect(libpq(postgres.url()), autocommit=True) as connection:
        yield connection.execute


@pytest.fixture(scope="session")
def migrated_database(postgres: Postgres) -> str:
    """A ledger on PostgreSQL as the migrations make it, to be copied."""
    name = f"migrated_{uuid.uuid4().hex}"
    database = Database(postgres.create_database(name), durable=False)
    migrate(database)
    database.close()
    return name


@pytest.fixture(scope="session")
def reused_on_postgresql(postgres: Postgres) -> Iterator[tuple[str, Database]]:
    """The name of ledgers that live one after the other, and an engine that need not compile again."""
    name = f"ledger_{uuid.uuid4().hex}"
    database = Database(postgres.url(name), durable=False)
    yield name, database
    database.close()


@pytest.fixture
def ledger_url(
    postgres: Postgres,
    administer: Callable[[str], object],
    migrated_database: str,
    reused_on_postgresql: tuple[str, Database],
) -> Iterator[str]:
    """A ledger on PostgreSQL, by its URL as superuser."""
    name, database = reused_on_postgresql
    administer(f"CREATE DATABASE {name} TEMPLATE {migrated_database}")
    yield postgres.url(name)
    database.close()
    administer(f"DROP DATABASE {name} WITH (FORCE)")


def libpq(url: str) -> str:
    return url.replace("postgresql+psycopg:", "postgresql:", 1)


BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)]


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest) -> Database:
    if request.param == "sqlite":
        request.getfixturevalue("ledger_file")
        return request.getfixturevalue("reused")[1]
    return request.getfixturevalue("on_postgresql")


@pytest.fixture
def on_postgresql(ledger_url: str, reused_on_postgresql: tuple[str, Database]) -> Database:
    return reused_on_postgresql[1]


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def keys() -> LocalKeys:
    return LocalKeys({purpose: bytes([number + 1]) * 32 for number, purpose in enumerate(PURPOSES)})
