"""The migrations make the schema that the code was written for, and nothing runs on another one."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine
from sqlalchemy.sql.schema import SchemaConst

from coverguard.errors import ConfigurationError
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate, newest_revision, require_migrated
from coverguard.store.schema import metadata


def flattened() -> MetaData:
    """All tables without a schema: SQLite has the private ones in the same file."""
    flat = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(
            flat, schema=None if table.schema else SchemaConst.RETAIN_SCHEMA,
            referred_schema_fn=lambda *_: None,
        )  # fmt: skip
    return flat


def shape(path: Path) -> list[tuple[str, str, str]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
    connection.close()
    return sorted(found)


ADDED = re.compile(r"BIGINT, (?=[a-z_]+ BIGINT)")


def statements(path: Path) -> dict[str, set[str]]:
    """The lines of each table's and index's statement, by name; SQLite's own indexes have none.

    A column that a later migration added stands on the line of the last one before it.
    """
    return {
        name: {line.strip().strip(",") for line in ADDED.sub("BIGINT\n", sql.replace("'1'", "1")).splitlines()}
        for kind, name, sql in shape(path)
        if kind in ("table", "index") and sql and name != "sqlite_sequence"
    }


def test_alembic_sees_no_difference(database: Database) -> None:
    with database.reading() as tx:
        differences = compare_metadata(MigrationContext.configure(tx), flattened())
    # SQLite cannot state a reference into another schema, so that the first migration leaves this one out
    assert [(kind, constraint.name) for kind, constraint in differences] == [
        ("add_fk", "fk_statement_account_id")
    ]


def test_the_migrations_state_all_that_the_tables_state(ledger_file: Path, tmp_path: Path) -> None:
    """Alembic compares no CHECKs and few defaults: so the statements themselves, line by line."""
    drawn = tmp_path / "drawn.db"
    engine = create_engine(f"sqlite:///{drawn}")
    flattened().create_all(engine)
    engine.dispose()
    wanted, made = statements(drawn), statements(ledger_file)
    wanted["statement"] -= {
        "CONSTRAINT fk_statement_account_id FOREIGN KEY(account_id) REFERENCES account (id)"
    }
    assert {
        name: made.get(name, set()) ^ lines for name, lines in wanted.items() if made.get(name) != lines
    } == {}
    assert set(made) - set(wanted) == {"alembic_version"}


def test_verdicts_and_audit_rows_have_their_triggers(ledger_file: Path) -> None:
    triggers = {name for kind, name, _ in shape(ledger_file) if kind == "trigger"}
    assert triggers == {f"{table}_no_{act}" for table in ("verdict", "audit") for act in ("update", "delete")}


def test_migrating_twice_changes_nothing(database: Database, ledger_file: Path) -> None:
    before = shape(ledger_file)
    assert migrate(database) == newest_revision()
    assert shape(ledger_file) == before
    require_migrated(database)


def test_nothing_runs_on_an_empty_database(tmp_path: Path) -> None:
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.db'}", durable=False)
    with pytest.raises(ConfigurationError, match="coverguard migrate"):
        require_migrated(fresh)
    migrate(fresh)
    require_migrated(fresh)
    fresh.close()


def test_nothing_runs_on_another_releases_schema(database: Database, ledger_file: Path) -> None:
    with sqlite3.connect(ledger_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(ConfigurationError, match="not migrated"):
        require_migrated(database)


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="sqlite"):
        Database("postgresql://localhost/coverguard")
