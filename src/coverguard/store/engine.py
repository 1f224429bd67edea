"""Connections and transactions, the same for SQLite (embedded) and PostgreSQL.

SQLite: WAL, full synchronisation, foreign keys on, and every write transaction takes the write lock when it
begins, so it waits its turn instead of failing half-way. The `private` schema lies in the same file there.
Statements never show parameters in errors, and database errors leave this module as `TransientError`; what
is not transient (a constraint) is a bug and passes unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from coverguard.errors import ConfigurationError, TransientError

BUSY_MILLISECONDS: Final = 30_000
READ_ONLY: Final = "coverguard_read_only"


class Database:
    """One pool of connections. Not shared across a fork."""

    def __init__(self, url: str, *, durable: bool = True) -> None:
        """`durable=False` gives up fsync, for tests that never cut the power."""
        if make_url(url).get_backend_name() != "sqlite":
            raise ConfigurationError("only sqlite:/// databases are served by this release")
        self._engine = _sqlite(url, durable=durable)

    @property
    def engine(self) -> Engine:
        return self._engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One write transaction: committed on leaving, rolled back on any error."""
        with _translated(), self._engine.begin() as tx:
            yield tx

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent read; takes no write lock."""
        with _translated(), self._engine.connect() as connection:
            yield connection.execution_options(**{READ_ONLY: True})

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except (OperationalError, InterfaceError) as error:
        raise TransientError(f"database: {type(error.orig).__name__}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise TransientError("database: connection lost") from error
        raise


def _sqlite(url: str, *, durable: bool) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": BUSY_MILLISECONDS / 1000},
        execution_options={"schema_translate_map": {"private": None}},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - the DBAPI's own
        connection.isolation_level = None  # the driver must not begin transactions of its own
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA secure_delete = ON")  # erased texts must not live on in free pages
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get(READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
