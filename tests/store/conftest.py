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
from coverguard.store.schema import metadata
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


SHAPE = """SELECT md5(string_agg(line, ';' ORDER BY line)) FROM (
    SELECT concat_ws(' ', oid::regclass, relkind, relowner, relacl) AS line FROM pg_class
        WHERE relnamespace::regnamespace::text IN ('public', 'private')
    UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, atttypid, attnotnull, atthasdef, attacl)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace::regnamespace::text IN ('public', 'private')
    UNION ALL SELECT concat_ws(' ', nspname, nspacl) FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT concat_ws(' ', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger
    UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname) FROM pg_constraint
    UNION ALL SELECT version_num FROM alembic_version
) AS lines"""


class Reused:
    """One ledger on PostgreSQL for test after test: emptied, and made anew where a test changed its shape."""

    def __init__(self, url: str, *, make: Callable[[], object]) -> None:
        self.url = url
        self.database = Database(url, durable=False)
        self._make = make
        self._make()
        with psycopg.connect(libpq(url)) as connection:
            self._shape = connection.execute(SHAPE).fetchone()

    def clean(self) -> None:
        with psycopg.connect(libpq(self.url), autocommit=True) as connection:
            try:
                same = connection.execute(SHAPE).fetchone() == self._shape
            except psycopg.errors.UndefinedTable:
                same = False
            if same:
                connection.execute(self._emptying())
        if not same:
            self.database.close()
            self._make()

    def _emptying(self) -> str:
        tables = [
            f'"{table.schema or "public"}"."{table.name}"' for table in reversed(metadata.sorted_tables)
        ]
        deletes = "".join(f"DELETE FROM {table};" for table in tables)
        restart = (
            "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"
            " AND relnamespace::regnamespace::text IN ('public', 'private')"
        )
        return f"SET session_replication_role = replica; {deletes} {restart}"  # no triggers, no references


@pytest.fixture(scope="session")
def reused_on_postgresql(
    postgres: Postgres, administer: Callable[[str], object], migrated_database: str
) -> Iterator[Reused]:
    name = f"ledger_{uuid.uuid4().hex}"

    def make() -> None:
        administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        administer(f"CREATE DATABASE {name} TEMPLATE {migrated_database}")

    made = Reused(postgres.url(name), make=make)
    yield made
    made.database.close()


@pytest.fixture
def ledger_url(reused_on_postgresql: Reused) -> Iterator[str]:
    """A ledger on PostgreSQL, by its URL as superuser."""
    yield reused_on_postgresql.url
    reused_on_postgresql.clean()


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
def on_postgresql(ledger_url: str, reused_on_postgresql: Reused) -> Database:
    return reused_on_postgresql.database


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def keys() -> LocalKeys:
    return LocalKeys({purpose: bytes([number + 1]) * 32 for number, purpose in enumerate(PURPOSES)})
