"""Connections and transactions, the same for SQLite (embedded) and PostgreSQL.

SQLite: WAL, full synchronisation, foreign keys on, and every write transaction takes the write lock when it
begins, so it waits its turn instead of failing half-way. The `private` schema lies in the same file there.
PostgreSQL: READ COMMITTED and row locks taken before what they guard is read (see `rows.lock`); a read is one
snapshot; no statement, lock or idle transaction lasts for ever. Statements never show parameters in errors,
and database errors leave this module as `TransientError` (`Contention` where the whole verb should be run
again at once); what is not transient (a constraint) is a bug and passes unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from coverguard.errors import ConfigurationError, Contention, TransientError

BUSY_MILLISECONDS: Final = 30_000
READ_ONLY: Final = "coverguard_read_only"

DRIVER: Final = "postgresql+psycopg"
SESSION: Final[Mapping[str, str]] = {
    "statement_timeout": "60s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",  # a frozen process must not keep its locks
    "search_path": "public",
    "timezone": "UTC",
}
CONNECTION: Final[Mapping[str, Any]] = {
    "application_name": "coverguard",
    "connect_timeout": 5,  # seconds, for each address of the host
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds that sent bytes may wait for their receipt
}
POOL: Final[Mapping[str, Any]] = {
    "pool_size": 5,
    "max_overflow": 10,
    "pool_timeout": 10,
    "pool_recycle": 1800,
}

# SQLSTATEs, or their first two characters: https://www.postgresql.org/docs/current/errcodes-appendix.html
CONTENDED: Final = ("40001", "40P01")
REFUSED: Final = "42501"
READ_ONLY_SERVER: Final = "25006"  # a primary that became a standby: its connections are no good any more
DATA: Final = "22"  # the message quotes the value; of other errors the detail does
UNWELL: Final = ("08", "25P03", "25P04", READ_ONLY_SERVER, "40", "53", "55P03", "57", "58")


class Database:
    """One pool of connections. Not shared across a fork."""

    def __init__(self, url: str, *, durable: bool = True) -> None:
        """`durable=False` gives up fsync, for tests that never cut the power.

        Raises:
            ConfigurationError: it is the URL of no database that is served.
        """
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise ConfigurationError("the database's URL cannot be read") from error
        match parsed.get_backend_name(), parsed.drivername:
            case "sqlite", _:
                self._engine = _sqlite(parsed, durable=durable)
            case "postgresql", ("postgresql" | "postgresql+psycopg"):
                self._engine = _postgresql(parsed.set(drivername=DRIVER), durable=durable)
            case _:
                raise ConfigurationError("a database is sqlite:///… or postgresql+psycopg://…")

    @property
    def engine(self) -> Engine:
        return self._engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One write transaction: committed on leaving, rolled back on any error.

        Raises:
            Contention: nothing was written; the whole verb may be run again at once.
            TransientError: the database is unwell. Whether a commit that failed was made is not known.
        """
        with _translated(), self._engine.begin() as tx:
            yield tx

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent read: every statement sees the same moment. Takes no write lock."""
        with _translated(), self._engine.connect() as connection:
            yield connection.execution_options(**_reading(connection))

    def close(self) -> None:
        self._engine.dispose()


def _reading(connection: Connection) -> Mapping[str, Any]:
    if connection.dialect.name == "sqlite":
        return {READ_ONLY: True}
    return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except PoolTimeoutError as error:
        raise TransientError("database: every connection is in use") from error
    except DBAPIError as error:
        known = _meaning(error)
        if known is None:
            raise
        raise known from error


def _meaning(error: DBAPIError) -> TransientError | ConfigurationError | None:
    """What a caller should make of it; nothing where it is a bug."""
    state = str(getattr(error.orig, "sqlstate", None) or "")
    name = f"database: {type(error.orig).__name__}"
    if state in CONTENDED:
        return Contention(name)
    if state == REFUSED:
        return ConfigurationError("database: this process's role has no right to that; see docs/deploy.md")
    unwell = state.startswith(UNWELL) or error.connection_invalidated
    if unwell or isinstance(error, OperationalError | InterfaceError):
        return TransientError(name)
    return None


def _postgresql(url: URL, *, durable: bool) -> Engine:
    session = dict(SESSION) if durable else {**SESSION, "synchronous_commit": "off"}
    options = " ".join(f"-c {name}={value}" for name, value in session.items())
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        connect_args={**CONNECTION, **url.query, "options": options},
        **POOL,
    )

    @event.listens_for(engine, "handle_error")
    def _look(context: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own
        original = context.original_exception
        if isinstance(state := getattr(original, "sqlstate", None), str):
            if state == READ_ONLY_SERVER:
                context.is_disconnect = True
            said = "a value" if state.startswith(DATA) else str(original.diag.message_primary)
            original.args = (said,)
            if context.sqlalchemy_exception is not None:
                context.sqlalchemy_exception.args = (f"({type(original).__name__}) {said}",)

    return engine


def _sqlite(url: URL, *, durable: bool) -> Engine:
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
