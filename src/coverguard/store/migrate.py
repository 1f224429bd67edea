"""Bring a database to this release's schema: the same history on SQLite and PostgreSQL.

Migrations first expand, and contract a release later, so that processes of the previous release go on during
and after the change. A revision's name says who can: `0007from0005` is the seventh, and code written for the
fifth or a later one still runs on it. A migration never waits long for a lock on PostgreSQL: everything else
would queue behind it. It gives up, with nothing changed, and is run again.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from coverguard.errors import ConfigurationError
from coverguard.store.engine import Database
from coverguard.store.rows import take_turn

MIGRATIONS: Final = Path(__file__).parent / "migrations"
PATIENCE: Final = timedelta(seconds=3)
OTHERS_MIGRATION: Final = timedelta(minutes=10)
NAME: Final = re.compile(r"(?P<number>\d{4})(?:from(?P<oldest>\d{4}))?")


class Revision(NamedTuple):
    """A schema's place in the history, and the oldest place whose code runs on it."""

    number: int
    oldest: int

    def serves(self, code: Revision) -> bool:
        return self.oldest <= code.number <= self.number


def revision(name: str) -> Revision | None:
    """Read a revision's name; nothing where it is none. A name that tells no oldest serves its own code."""
    found = NAME.fullmatch(name)
    if found is None:
        return None
    return Revision(number=int(found["number"]), oldest=int(found["oldest"] or found["number"]))


def migrate(database: Database, *, patience: timedelta = PATIENCE) -> str:
    """Upgrade to this release's revision and return the one reached. Harmless when there is nothing to do.

    A newer release's schema stays as it is where this release can run on it.

    Raises:
        TransientError: somebody is using a table that has to be changed; nothing was changed, run it again.
        ConfigurationError: the schema is a newer release's that this one cannot run on.
    """
    with database.transaction() as tx:
        _wait_at_most(tx, OTHERS_MIGRATION)
        take_turn(tx, "migrate")
        found = _found(tx)
        if found is not None and found not in _known():
            _require_served(found)
            return found
        _wait_at_most(tx, patience)
        upgrade(tx, "head")
    return newest_revision()


def upgrade(tx: Connection, to: str) -> None:
    """Run the migrations up to a revision in this transaction."""
    config = _config()
    config.attributes["connection"] = tx
    command.upgrade(config, to)


def _wait_at_most(tx: Connection, patience: timedelta) -> None:
    if tx.dialect.name != "postgresql":
        return
    limits = {"lock_timeout": patience // timedelta(milliseconds=1), "statement_timeout": 0}
    for name, value in limits.items():
        tx.execute(select(func.set_config(name, str(value), True)))


def newest_revision() -> str:
    """The revision that this release was written for."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def require_migrated(database: Database) -> None:
    """Refuse to run on a schema that this release's code was not written for and cannot run on.

    Raises:
        ConfigurationError: it is older, or has contracted since, or is nobody's.
    """
    with database.reading() as tx:
        found = _found(tx)
    if found != newest_revision():
        _require_served(found)


def _require_served(found: str | None) -> None:
    schema, code = revision(found or ""), revision(newest_revision())
    assert code is not None
    if schema is not None and schema.serves(code):
        return
    if schema is not None and schema.oldest > code.number:
        raise ConfigurationError("the database belongs to a newer release, on which this one cannot run")
    raise ConfigurationError("the database is not migrated to this release; run: coverguard migrate")


def _found(tx: Connection) -> str | None:
    return MigrationContext.configure(tx).get_current_revision()


def _known() -> frozenset[str]:
    return frozenset(one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config
