"""A migrated ledger in a file of its own, and a clock that stands still."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from coverguard.local.keys import PURPOSES, LocalKeys
from coverguard.model import Micros
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate

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


@pytest.fixture
def database(ledger_file: Path, reused: tuple[Path, Database]) -> Database:
    return reused[1]


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def keys() -> LocalKeys:
    return LocalKeys({purpose: bytes([number + 1]) * 32 for number, purpose in enumerate(PURPOSES)})
