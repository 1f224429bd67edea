"""The migrations make the schema that the code was written for, and nothing runs on another one."""

from __future__ import annotations

import re
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine, inspect, select
from sqlalchemy.sql.schema import SchemaConst

from coverguard.errors import ConfigurationError, TransientError
from coverguard.store import schema
from coverguard.store.engine import Database
from coverguard.store.migrate import (
    MIGRATIONS,
    migrate,
    newest_revision,
    require_migrated,
    revision,
    upgrade,
)
from coverguard.store.schema import metadata
from coverguard.testing.servers import Postgres

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)]


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


ADDED = re.compile(r", (?=[a-z_]+ (?:BIGINT|INTEGER|TEXT|BOOLEAN|BLOB|VARCHAR))")


def statements(path: Path) -> dict[str, set[str]]:
    """The lines of each table's and index's statement, by name; SQLite's own indexes have none.

    A column that a later migration added stands on the line of the last one before it.
    """
    return {
        name: {line.strip().strip(",") for line in ADDED.sub("\n", sql.replace("'1'", "1")).splitlines()}
        for kind, name, sql in shape(path)
        if kind in ("table", "index") and sql and name != "sqlite_sequence"
    }


@pytest.mark.servers
def test_alembic_sees_no_difference_on_postgresql(on_postgresql: Database) -> None:
    options = {"include_schemas": True, "compare_server_default": True}
    with on_postgresql.reading() as tx:
        assert compare_metadata(MigrationContext.configure(tx, opts=options), metadata) == []


def test_alembic_sees_no_difference(ledger_file: Path, reused: tuple[Path, Database]) -> None:
    with reused[1].reading() as tx:
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


CHECKS = """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE contype IN ('c', 'u', 'f') AND connamespace::regnamespace::text IN ('public', 'private')"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname IN ('public', 'private')"


@pytest.mark.servers
def test_the_migrations_state_all_that_the_tables_state_on_postgresql(
    on_postgresql: Database, postgres: Postgres
) -> None:
    """CHECKs, keys, partial indexes: as PostgreSQL itself writes them."""
    name = f"drawn_{uuid.uuid4().hex}"
    drawn = Database(postgres.create_database(name), durable=False)
    with drawn.transaction() as tx:
        tx.exec_driver_sql("CREATE SCHEMA private")
        metadata.create_all(tx)
    stated = []
    for one in (drawn, on_postgresql):
        with one.reading() as tx:
            found = {tuple(row) for sql in (CHECKS, INDEXES) for row in tx.exec_driver_sql(sql)}
        stated.append({row for row in found if row[0] != "alembic_version"})
    drawn.close()
    postgres.drop_database(name)
    assert len(stated[0]) > 150
    assert stated[0] ^ stated[1] == set()


@pytest.mark.servers
def test_verdicts_and_audit_rows_have_their_triggers_on_postgresql(on_postgresql: Database) -> None:
    with on_postgresql.reading() as tx:
        found = tx.exec_driver_sql("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal").scalars()
        assert set(found) == {"verdict_append_only", "audit_append_only"}


def test_verdicts_and_audit_rows_have_their_triggers(ledger_file: Path) -> None:
    triggers = {name for kind, name, _ in shape(ledger_file) if kind == "trigger"}
    assert triggers == {f"{table}_no_{act}" for table in ("verdict", "audit") for act in ("update", "delete")}


def test_migrating_twice_changes_nothing(ledger_file: Path, reused: tuple[Path, Database]) -> None:
    before = shape(ledger_file)
    assert migrate(reused[1]) == newest_revision()
    assert shape(ledger_file) == before
    require_migrated(reused[1])


def test_nothing_runs_on_an_empty_database(tmp_path: Path) -> None:
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.db'}", durable=False)
    with pytest.raises(ConfigurationError, match="coverguard migrate"):
        require_migrated(fresh)
    migrate(fresh)
    require_migrated(fresh)
    fresh.close()


# ── which code runs on which schema ────────────────────────────────────────────────────────────────────────


def rename(database: Database, name: str) -> None:
    """Make the schema say that it is another revision."""
    with database.transaction() as tx:
        tx.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{name}'")


def number() -> int:
    newest = revision(newest_revision())
    assert newest is not None
    return newest.number


def test_this_release_goes_on_when_the_next_one_has_expanded_the_schema(database: Database) -> None:
    for oldest in (1, number() - 1, number()):
        name = f"{number() + 1:04}from{oldest:04}"
        rename(database, name)
        require_migrated(database)
        assert migrate(database) == name, "an older release changes nothing and says what it found"


def test_this_release_stops_where_a_later_one_has_contracted_the_schema(database: Database) -> None:
    rename(database, f"{number() + 2:04}from{number() + 1:04}")
    for refused in (require_migrated, migrate):
        with pytest.raises(ConfigurationError, match="newer release"):
            refused(database)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["9999", "9999from9999", "", "main", "0003 from 0001", "3from1"])
def test_nothing_runs_on_a_schema_that_does_not_say_it_may(database: Database, name: str) -> None:
    rename(database, name)
    for refused in (require_migrated, migrate):
        with pytest.raises(ConfigurationError, match=r"not migrated|newer release"):
            refused(database)


def test_nothing_runs_on_an_older_schema(database: Database) -> None:
    rename(database, "0001")
    with pytest.raises(ConfigurationError, match="coverguard migrate"):
        require_migrated(database)


def history() -> list[Any]:
    """Every migration, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return list(reversed(list(ScriptDirectory.from_config(config).walk_revisions())))


def test_every_revision_says_who_can_run_on_it() -> None:
    """The first two are older than the rule, and serve release 0.1.0 as far as it does not ask."""
    oldest = 1
    for place, script in enumerate(history(), start=1):
        said = revision(script.revision)
        assert said is not None
        assert said.number == place
        if place > 2:
            contracts = getattr(script.module, "CONTRACTS", None)
            assert oldest <= said.oldest < place, "the release before has to go on"
            assert (said.oldest > oldest) == bool(contracts), "CONTRACTS says why somebody is left behind"
            oldest = said.oldest


def draft(database: Database) -> dict[tuple[str, ...], str]:
    """All that a schema has, part by part, as the inspector sees it."""
    found: dict[tuple[str, ...], str] = {}
    with database.reading() as tx:
        seen = inspect(tx)
        for schema_name in ("public", "private") if tx.dialect.name == "postgresql" else (None,):
            at = {"schema": schema_name}
            for (_, table), columns in seen.get_multi_columns(**at).items():
                found[table, "table"] = ""
                for column in columns:
                    optional = column["nullable"] or column["default"] is not None
                    found[table, "column", column["name"]] = f"{column['type']!r} {column['nullable']}"
                    found[table, "column", column["name"], "is optional"] = str(optional)
            asked = (seen.get_multi_indexes, seen.get_multi_check_constraints,
                     seen.get_multi_unique_constraints, seen.get_multi_foreign_keys)  # fmt: skip
            for (_, table), parts in (one for ask in asked for one in ask(**at).items()):
                for part in parts:
                    kind = "rule" if part.get("unique", True) else "index"  # a plain index forbids nothing
                    found[table, kind, str(part["name"])] = repr(plain(part))
    return found


def plain(part: Any) -> Any:
    """Without what differs from run to run."""
    if isinstance(part, dict):
        return {name: plain(value) for name, value in sorted(part.items())}
    return part if isinstance(part, list | bool | None) else str(part)


def unlike_an_expansion(before: dict[tuple[str, ...], str], after: dict[tuple[str, ...], str]) -> set[Any]:
    """What would stop, or surprise, code that was written for the schema before."""
    there = {key[0] for key in before}
    lost = {key for key, value in before.items() if after.get(key) != value}
    added = {key for key in after.keys() - before.keys() if key[0] in there}
    demanded = {key for key in added if key[-1] == "is optional" and after[key] == "False"}
    ruled = {key for key in added if key[1] == "rule"}
    return lost | demanded | ruled


def empty(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Database:
    if kind == "sqlite":
        return Database(f"sqlite:///{tmp_path / 'empty.db'}", durable=False)
    postgres = request.getfixturevalue("postgres")
    name = f"empty_{uuid.uuid4().hex}"
    request.addfinalizer(lambda: postgres.drop_database(name))
    return Database(postgres.create_database(name), durable=False)


@pytest.fixture(params=BOTH)
def nothing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without a table."""
    database = empty(request, request.param, tmp_path)
    yield database
    database.close()


def test_a_migration_only_adds_unless_it_says_that_it_contracts(nothing: Database) -> None:
    before: dict[tuple[str, ...], str] = {}
    for script in history():
        with nothing.transaction() as tx:
            upgrade(tx, script.revision)
        after = draft(nothing)
        if not getattr(script.module, "CONTRACTS", None):
            assert unlike_an_expansion(before, after) == set(), script.revision
        before = after


@pytest.mark.thorough
@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE audit_head",
        "ALTER TABLE alarm DROP COLUMN paged_at",
        "ALTER TABLE alarm RENAME COLUMN paged_at TO told_at",
        "ALTER TABLE alarm RENAME TO bell",
        "ALTER TABLE alarm ADD COLUMN x INTEGER CONSTRAINT another CHECK (x > 1)",
        "CREATE UNIQUE INDEX one_more ON alarm (raised_at)",
        "DROP INDEX uq_alarm_open",
    ],
)
def test_what_is_no_expansion(database: Database, change: str) -> None:
    before = draft(database)
    with database.transaction() as tx:
        tx.exec_driver_sql(change)
    assert unlike_an_expansion(before, draft(database))


@pytest.mark.servers
@pytest.mark.parametrize(
    "change",
    ["ALTER COLUMN count TYPE bigint", "ALTER COLUMN count DROP NOT NULL", "ADD COLUMN x int NOT NULL"],
)
def test_what_is_no_expansion_on_postgresql(on_postgresql: Database, change: str) -> None:
    before = draft(on_postgresql)
    with on_postgresql.transaction() as tx:
        tx.exec_driver_sql(f"ALTER TABLE alarm {change}")
    assert unlike_an_expansion(before, draft(on_postgresql))


def test_what_is_an_expansion(database: Database) -> None:
    before = draft(database)
    with database.transaction() as tx:
        tx.exec_driver_sql("ALTER TABLE alarm ADD COLUMN x INTEGER")
        tx.exec_driver_sql("ALTER TABLE alarm ADD COLUMN y INTEGER NOT NULL DEFAULT 1")
        tx.exec_driver_sql("CREATE TABLE bell (x INTEGER CHECK (x > 1))")
        tx.exec_driver_sql("CREATE INDEX ix_one_more ON alarm (raised_at)")
    assert unlike_an_expansion(before, draft(database)) == set()


# ── what was written before ────────────────────────────────────────────────────────────────────────────────

# a ledger of the second revision with rows in the tables that the third makes anew on SQLite
WRITING_BEFORE = """
    INSERT INTO account (id, platform_id, seen_at) VALUES (1, 'a', 1);
    INSERT INTO cover_version (id, ref, surface, cover_id, version, mode, uploader_id, owner_id, bucket, key,
        version_id, renditions, event_id, sent_at, announced_at)
        VALUES (1, 'cover-1', 'playlist_cover', 'c', 1, 'gate', 1, 1, 'b', 'k', 'v', '[]', 'e', 1, 1);
    INSERT INTO screening (id, cover_version_id, origin, origin_id, fingerprint_version, decision, reason,
        first_failed_at, software, decided_at)
        VALUES (1, 1, 'upload', '', 1, 'not_screened', 'object_missing', 1, '0', 1);
    INSERT INTO case_file (id, ref, account_id, category, opened_at) VALUES (1, 'case-1', 1, 'other', 1);
    INSERT INTO case_item (id, ref, case_id, cover_version_id, state, consequences, two_people, opened_at)
        VALUES (1, 'item-1', 1, 1, 'open', true, false, 1);
    INSERT INTO quarantine (id, ref, cover_version_id, bucket, key, version_id, rendition, state, level,
        requested_at) VALUES (1, 'hold-1', 1, 'b', 'k', 'v', false, 'requested', 'hold', 1);
    INSERT INTO hash_list (id, name, source, enabled, own, created_at) VALUES (1, 'l', 's', true, false, 1);
    INSERT INTO list_rule (list_id, version, category, action, pdq_radius, phash256_radius, quality_floor,
        hold_budget, known, actor, note, created_at)
        VALUES (1, 1, 'other', 'hold', 31, -1, 50, 9, true, 'a', 'n', 1);
    INSERT INTO list_entry (id, list_id, source_entry_id, algorithm, digest_sealed, row_mac, opinion, grid,
        cap, changed_seq) VALUES (1, 1, 'e', 'pdq', 'd', 'm', 'positive', false, 'hold', 1);
    INSERT INTO match (screening_id, entry_id, list_id, rule_version, category, opinion, algorithm, view,
        orientation, distance, quality, action, suppressed, judged_seq)
        VALUES (1, 1, 1, 1, 'other', 'positive', 'pdq', 'displayed', 'upright', 3, 90, 'hold', false, 1);
    INSERT INTO verdict (id, ref, item_id, kind, outcome, category, reason_sealed, basis, actor, role,
        channel, given_at)
        VALUES (1, 'v', 1, 'decision', 'clear', 'other', 'r', 'viewed', 'Ada', 'moderator', 'cli', 1);
    INSERT INTO suppression (entry_id, kind, digest_sealed, digest_mac, verdict_id, created_at, review_at)
        VALUES (1, 'pdq', 'd', 'm', 1, 1, 2);
    INSERT INTO quarantine_claim (quarantine_id, item_id, claimed_at) VALUES (1, 1, 11);
    INSERT INTO quarantine_claim (quarantine_id, screening_id, claimed_at, dropped_at) VALUES (1, 1, 12, 13);
    INSERT INTO obligation (kind, item_id, opened_at, due_at, met_at) VALUES ('review', 1, 1, 2, 3);
    INSERT INTO obligation (kind, item_id, opened_at, due_at) VALUES ('review', 1, 4, 5);
    INSERT INTO obligation (kind, item_id, opened_at, due_at) VALUES ('authority_report', 1, 6, 7)
"""
WRITTEN_BEFORE = [*WRITING_BEFORE.split(";")]
REMADE = ("screening", "list_entry", "match", "suppression", "quarantine_claim", "obligation")


def test_a_table_that_is_made_anew_keeps_its_rows(nothing: Database) -> None:
    with nothing.transaction() as tx:
        upgrade(tx, "0002")
        for statement in WRITTEN_BEFORE:
            tx.exec_driver_sql(statement)
    before = {table: rows_of(nothing, table) for table in REMADE}
    migrate(nothing)
    for table in REMADE:
        now = rows_of(nothing, table)
        assert [{name: row[name] for name in old} for old, row in zip(before[table], now, strict=True)] == (
            before[table]
        )
        added = {row[name] for row in now for name in row.keys() - before[table][0].keys()}
        assert added <= {None, 0, "enforce"}


@pytest.mark.thorough
def test_the_code_before_goes_on_writing_to_a_table_that_was_made_anew(nothing: Database) -> None:
    """By its own keys: its claims and its running clocks stay single, and ids rise on."""
    with nothing.transaction() as tx:
        upgrade(tx, "0002")
        for statement in WRITTEN_BEFORE:
            tx.exec_driver_sql(statement)
    migrate(nothing)
    again = (*WRITTEN_BEFORE[-5:-3], *WRITTEN_BEFORE[-2:])
    with nothing.transaction() as tx:
        for statement in again:
            tx.exec_driver_sql(f"{statement} ON CONFLICT DO NOTHING")
        tx.exec_driver_sql("UPDATE obligation SET met_at = 8 WHERE met_at IS NULL")
        tx.exec_driver_sql(WRITTEN_BEFORE[-1])
    assert [row["id"] for row in rows_of(nothing, "quarantine_claim")] == [1, 2]
    ids = [row["id"] for row in rows_of(nothing, "obligation")]
    assert len(ids) == 4
    assert ids[:3] == [1, 2, 3]
    assert ids[3] > 3


def rows_of(database: Database, table: str) -> list[dict[str, Any]]:
    with database.reading() as tx:
        found = tx.exec_driver_sql(f"SELECT * FROM {table} ORDER BY id").mappings()
        return [dict(row) for row in found]


# ── migrating while others work ────────────────────────────────────────────────────────────────────────────


@pytest.mark.servers
@pytest.mark.parametrize("nothing", ["postgresql"], indirect=True)
class TestAmongOthers:
    def test_two_migrators_at_once(self, nothing: Database) -> None:
        together = threading.Barrier(3)

        def run() -> str:
            together.wait(timeout=30)
            return migrate(nothing)

        with ThreadPoolExecutor(3) as pool:
            done = [pool.submit(run) for _ in range(3)]
            assert {one.result(timeout=60) for one in done} == {newest_revision()}
        require_migrated(nothing)

    def test_it_does_not_queue_before_everybody_else_behind_a_long_transaction(
        self, nothing: Database
    ) -> None:
        with nothing.transaction() as tx:
            upgrade(tx, "0001")
        before = draft(nothing)
        with nothing.reading() as report:
            report.execute(select(schema.account.c.id)).all()
            report.exec_driver_sql("SELECT count(*) FROM alarm")
            with pytest.raises(TransientError, match="LockNotAvailable"):
                migrate(nothing, patience=timedelta(milliseconds=200))
            with nothing.transaction() as tx:  # nobody waits behind it
                tx.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
                tx.exec_driver_sql(
                    "INSERT INTO alarm (kind, subject, raised_at, seen_at, count) VALUES ('k', 's', 1, 1, 1)"
                )
        assert draft(nothing) == before, "all of it or nothing"
        assert migrate(nothing, patience=timedelta(seconds=10)) == newest_revision()

    def test_what_the_release_before_wrote_is_still_there(self, nothing: Database) -> None:
        with nothing.transaction() as tx:
            upgrade(tx, "0001")
            tx.exec_driver_sql("INSERT INTO account (platform_id, seen_at) VALUES ('a', 1)")
        migrate(nothing)
        with nothing.reading() as tx:
            assert tx.execute(select(schema.account.c.platform_id)).scalars().all() == ["a"]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://localhost/coverguard",
        "postgresql+psycopg2://localhost/x",
        "postgresql+asyncpg://x/y",
        "x",
        "",
    ],
)
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="database"):
        Database(url)
