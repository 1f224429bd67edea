"""Bring a database to this release's schema: the same history on SQLite and PostgreSQL.

Migrations first expand, and contract a release later, so that workers of the previous release go on during
the change.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from coverguard.errors import ConfigurationError
from coverguard.store.engine import Database

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def migrate(database: Database) -> str:
    """Upgrade to the newest revision and return its name. Harmless when there is nothing to do."""
    config = _config()
    with database.transaction() as tx:
        config.attributes["connection"] = tx
        command.upgrade(config, "head")
    return newest_revision()


def newest_revision() -> str:
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def require_migrated(database: Database) -> None:
    """Refuse to run on a schema that is not this release's."""
    with database.reading() as tx:
        found = MigrationContext.configure(tx).get_current_revision()
    if found != newest_revision():
        raise ConfigurationError("the database is not migrated to this release; run: coverguard migrate")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config
