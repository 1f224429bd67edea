"""Every invariant the tables state, by trying to break it behind the code's back, in plain SQL."""

from __future__ import annotations

import itertools
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from sqlalchemy import Boolean, CheckConstraint, Column, UniqueConstraint

from coverguard.store.schema import metadata
from coverguard.store.schema.lists import ATTESTED, WEIGHED

AT = 1_800_000_000_000_000
NUMBER = object()  # stands for a number of its own
TABLES = {table.name: table for table in metadata.sorted_tables}

# A valid row of each table, in an order that lets references be made; "#" becomes a number of its own.
VALID: Mapping[str, Mapping[str, Any]] = {
    "account": {"platform_id": "account #", "seen_at": AT},
    "cover_version": {
        "ref": "cover-#", "surface": "playlist_cover", "cover_id": "cover #", "version": 1, "mode": "gate",
        "uploader_id": "@account", "owner_id": "@account", "bucket": "public", "key": "key #",
        "version_id": "version #", "renditions": "[]", "event_id": "event #", "sent_at": AT,
        "announced_at": AT,
    },
    "platform_event": {
        "event_id": "event #", "type": "account.terminated", "facts": "{}", "occurred_at": AT,
        "received_at": AT,
    },
    "collaboration": {"playlist_id": "playlist #", "account_id": "@account", "changed_at": AT, "active": 1},
    "fingerprint": {
        "cover_version_id": "@cover_version", "fingerprint_version": 1, "md5": b"m" * 16, "sha1": b"s" * 20,
        "sha256": b"S" * 32, "format": "PNG", "width": 1, "height": 1, "judged_seq": 1, "created_at": AT,
    },
    "fingerprint_view": {
        "fingerprint_id": "@fingerprint", "name": "view #", "quality": 50, "pdq": b"p" * 32,
        "phash256": b"h" * 32,
    },
    "screening": {
        "cover_version_id": "@cover_version", "origin": "upload", "origin_id": "", "fingerprint_version": 1,
        "decision": "pass", "software": "0", "decided_at": AT,
    },
    "hash_list": {"name": "list #", "source": "source", "enabled": 1, "own": 0, "created_at": AT},
    "list_rule": {
        "list_id": "@hash_list", "version": 1, "category": "other", "action": "hold", "pdq_radius": 31,
        "phash256_radius": -1, "quality_floor": 50, "hold_budget": 1, "known": 1, "actor": "a", "note": "n",
        "created_at": AT,
    },
    "list_change": {"list_id": "@hash_list", "kind": "entries", "entries": 1, "at": AT},
    "list_attestation": {
        "list_id": "@hash_list", **dict.fromkeys(ATTESTED, "said"), "actor": "a", "created_at": AT,
    },
    "list_review": {
        "list_id": "@hash_list", "rule_version": 1, **dict.fromkeys(WEIGHED, "weighed"), "confirmed": 0,
        "cleared": 0, "actor": "a", "created_at": AT,
    },
    "dead_letter": {
        "list_id": "@hash_list", "place": "p", "fault": "f", "raw_mac": b"mac #", "times": 1, "seen_at": AT,
    },
    "list_import": {
        "ref": "import-#", "list_id": "@hash_list", "content_mac": b"m" * 32, "state": "reading",
        "line": 0, "byte": 0, "staged": 0, "applied": 0, "withdrawn": 0, "malformed": 0, "repeated": 0,
        "direct": 0, "before": 0, "doubtful": 0, "actor": "a", "started_at": AT,
    },
    "staged_entry": {
        "import_id": NUMBER, "line": NUMBER, "part": 0, "source_entry_id": "entry #", "algorithm": "pdq",
        "digest_sealed": b"d", "row_mac": b"m" * 32, "digest_mac": b"d" * 32, "opinion": "positive",
        "grid": 0,
    },
    "exchange": {
        "name": "exchange #", "list_id": "@hash_list", "kind": "ncmec", "place": "p", "every": 1,
        "enabled": 1, "next_at": AT,
    },
    "exchange_record": {
        "list_id": NUMBER, "record_id": "record #", "stamp": 1, "gone": 0, "unsupported": 0,
    },
    "bookmark": {"name": "walk #", "at": 1},
    "batch": {"ref": "batch-#", "scope": "entry:#", "opened_at": AT},
    "case_file": {"ref": "case-#", "account_id": "@account", "category": "other", "opened_at": AT},
    "party": {
        "case_id": "@case_file", "account_id": "@account", "role": "uploader", "actor": "a", "added_at": AT,
    },
    "case_item": {
        "ref": "item-#", "case_id": "@case_file", "cover_version_id": "@cover_version", "state": "open",
        "consequences": 1, "two_people": 1, "opened_at": AT,
    },
    "verdict": {
        "ref": "verdict-#", "item_id": "@case_item", "kind": "decision", "outcome": "confirm",
        "category": "other", "reason_sealed": b"r", "basis": "viewed", "actor": "Ada", "role": "moderator",
        "channel": "cli", "given_at": AT,
    },
    "list_entry": {
        "list_id": "@hash_list", "source_entry_id": "entry #", "algorithm": "pdq", "digest_sealed": b"d",
        "row_mac": b"m" * 32, "opinion": "positive", "grid": 0, "cap": "hold", "changed_seq": 1,
    },
    "list_stop": {
        "ref": "stop-#", "entry_id": "@list_entry", "note": "n", "actor": "a", "stopped_at": AT,
    },
    "lost_ground": {
        "item_id": "@case_item", "entry_id": "@list_entry", "seq": 1, "outcome": "reopened", "found_at": AT,
    },
    "match": {
        "screening_id": "@screening", "entry_id": "@list_entry", "list_id": "@hash_list", "rule_version": 1,
        "category": "other", "opinion": "positive", "algorithm": "pdq", "view": "displayed",
        "orientation": "upright", "distance": 0, "quality": 100, "action": "hold", "suppressed": 0,
        "judged_seq": 1,
    },
    "suppression": {
        "entry_id": "@list_entry", "kind": "sha256", "digest_sealed": b"d", "digest_mac": b"mac #",
        "verdict_id": "@verdict", "created_at": AT, "review_at": AT,
    },
    "quarantine": {
        "ref": "hold-#", "cover_version_id": "@cover_version", "bucket": "public", "key": "key #",
        "version_id": "version #", "rendition": 0, "state": "requested", "level": "hold",
        "requested_at": AT,
    },
    "quarantine_claim": {"quarantine_id": "@quarantine", "item_id": "@case_item", "claimed_at": AT},
    "obligation": {"kind": "review", "item_id": "@case_item", "opened_at": AT, "due_at": AT},
    "outbox": {"topic": "pipeline", "idempotency_key": "key #", "body": "{}", "created_at": AT},
    "alarm": {"kind": "kind", "subject": "subject #", "raised_at": AT, "seen_at": AT, "count": 1},
    "audit_chain": {"seq": NUMBER, "audit_id": NUMBER, "chain": b"c" * 32},
    "audit_head": {
        "seq": NUMBER, "chain": b"c" * 32, "signature": b"s" * 64, "key_id": "key",
        "sealed_at": AT,
    },
    "own_write": {
        "quarantine_id": "@quarantine", "bucket": "b", "key": "k", "sha256": b"d" * 32, "recorded_at": AT,
    },
    "audit": {
        "at": AT, "actor": "a", "role": "r", "verb": "v", "subject": "s", "facts": "{}", "digest": b"d" * 32,
    },
    "queue_message": {"queue": "q", "body": "{}", "sent_at": AT, "visible_at": AT, "attempts": 0},
    "statement": {"event_id": "event #", "kind": "title", "text_sealed": b"t", "said_at": AT},
    "takedown": {
        "ref": "takedown-#", "account_id": "@account", "state": "requested", "level": "block",
        "requested_at": AT, "look_at": AT,
    },
    "takedown_cause": {
        "takedown_id": "@takedown", "kind": "termination", "origin": "origin #", "level": "block",
        "actor": "a", "role": "r", "added_at": AT,
    },
    "takedown_difference": {
        "takedown_id": "@takedown", "kind": "ledger_only", "bucket": "public", "key": "key #",
        "version_id": "version #", "found_at": AT,
    },
    "api_key": {
        "ref": "key-#", "name": "name", "role": "support", "secret_sha256": b"secret #", "created_by": "a",
        "created_at": AT, "expires_at": AT,
    },
    "report": {
        "ref": "report-#", "source": "anonymous", "state": "received", "category": "child_abuse",
        "urgent": 1, "event_id": "event #", "opted_out": 0, "received_at": AT,
    },
    "report_target": {
        "report_id": "@report", "kind": "cover", "surface": "playlist_cover", "named_id": "cover #",
        "version": NUMBER, "effect": "none",
    },
    "report_item": {"report_id": "@report", "item_id": "@case_item", "named": 1, "added_at": AT},
    "thread_entry": {
        "report_id": NUMBER, "seq": NUMBER, "entry_id": "entry #", "author": "reporter", "kind": "report",
        "text_sealed": b"t", "said_at": AT,
    },
    "thread_mail": {"mailbox": b"box #", "seq": NUMBER, "body_sealed": b"b"},
    "reporter": {"report_id": NUMBER, "contact_sealed": b"c", "expires_at": AT},
}  # fmt: skip


class Sql(ABC):
    """Writes rows as somebody would who has the database and not the code."""

    refusals: ClassVar[Mapping[str, str]]
    errors: ClassVar[tuple[type[Exception], ...]]
    slyly: ClassVar[Sequence[str]]  # other ways to change or remove rows

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    @abstractmethod
    def run(self, sql: str, *values: Any) -> Any:
        """Run one statement, with ? for each value, and return its cursor."""

    @contextmanager
    def refused(self, why: str) -> Iterator[None]:
        """A statement is refused: for a kind of reason, or by the name of a constraint or trigger."""
        with pytest.raises(self.errors, match=self.refusals.get(why, why)):
            yield

    def valid(self, table: str, **other: Any) -> dict[str, Any]:
        """A row that could be inserted, with rows for all it refers to."""
        number = str(next(self._numbers))
        row = {name: value for name, value in (VALID[table] | other).items() if value is not ...}
        for name, value in row.items():
            if isinstance(value, str) and value.startswith("@"):
                row[name] = self.insert(value[1:])
            elif isinstance(value, str):
                row[name] = value.replace("#", number)
            elif isinstance(value, bytes):
                row[name] = value.replace(b"#", number.encode())
            elif value is NUMBER:
                row[name] = int(number)
        return row

    def insert(self, table: str, **other: Any) -> int:
        row = self.valid(table, **other)
        names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" for _ in row)
        key = key_of(table)
        sql = f'INSERT INTO "{table}" ({names}) VALUES ({marks}) RETURNING {key}'
        return int(self.run(sql, *self.typed(table, row)).fetchall()[0][0])

    def typed(self, table: str, row: Mapping[str, Any]) -> list[Any]:
        return list(row.values())

    def row(self, table: str, row_id: int) -> dict[str, Any]:
        cursor = self.run(f'SELECT * FROM "{table}" WHERE {key_of(table)} = ?', row_id)
        return dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))


class OnSqlite(Sql):
    refusals: ClassVar = {"unique": "UNIQUE", "reference": "FOREIGN KEY", "required": "NOT NULL"}
    errors = (sqlite3.IntegrityError,)
    slyly = ("UPDATE OR REPLACE {table} SET role = role",)

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.execute("PRAGMA synchronous = OFF")

    def close(self) -> None:
        self._connection.close()

    def run(self, sql: str, *values: Any) -> Any:
        return self._connection.execute(sql, values)


class OnPostgresql(Sql):
    refusals: ClassVar = {
        "unique": "violates unique constraint",
        "reference": "violates foreign key constraint",
        "required": "null value in column",
    }
    errors = (psycopg.errors.IntegrityError, psycopg.errors.RaiseException)
    slyly = ("TRUNCATE {table} CASCADE",)

    def __init__(self, url: str) -> None:
        super().__init__()
        self._connection = psycopg.connect(
            url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True,
            options="-c search_path=public,private",
        )  # fmt: skip

    def close(self) -> None:
        self._connection.close()

    def run(self, sql: str, *values: Any) -> Any:
        return self._connection.execute(sql.replace("?", "%s"), values or None)

    def typed(self, table: str, row: Mapping[str, Any]) -> list[Any]:
        kinds = {column.name: column.type for column in TABLES[table].columns}
        return [
            bool(value) if isinstance(kinds[name], Boolean) and isinstance(value, int) else value
            for name, value in row.items()
        ]


def key_of(table: str) -> str:
    """The first column of the key; the one column of it, but for tables that nothing refers to."""
    return str(next(iter(TABLES[table].primary_key.columns)).name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def sql(request: pytest.FixtureRequest) -> Iterator[Sql]:
    opened: OnSqlite | OnPostgresql
    if request.param == "sqlite":
        opened = OnSqlite(request.getfixturevalue("ledger_file"))
    else:
        opened = OnPostgresql(request.getfixturevalue("ledger_url"))
    yield opened
    opened.close()


def test_every_table_has_a_valid_row_here(sql: Sql) -> None:
    assert set(VALID) == {table.name for table in metadata.sorted_tables}
    for table in VALID:
        assert sql.insert(table)
        assert sql.insert(table)


# ── CHECKs ─────────────────────────────────────────────────────────────────────────────────────────────────

HELD = {"state": "held", "blocked_at": AT, "vaulted_at": AT}
CLAIMED = {"state": "claimed", "claimed_by": "Ada", "lease_until": AT}
FAILED = {"decision": "not_screened", "reason": "object_missing", "first_failed_at": AT}
BY_ANSWER = {"item_id": None, "screening_id": "@screening"}
BY_TAKEDOWN = {"item_id": None, "takedown_id": "@takedown", "cover_version_id": "@cover_version"}
BY_REPORT = {"item_id": None, "report_id": "@report", "cover_version_id": "@cover_version"}
RULES = {
    "ck_fingerprint_view_quality": [
        ("fingerprint_view", {"quality": -1}),
        ("fingerprint_view", {"quality": 101}),
    ],
    "ck_list_entry_algorithm_named": [("list_entry", {"algorithm": ""})],
    "ck_match_algorithm_named": [("match", {"algorithm": ""})],
    "ck_screening_failure_has_a_start": [
        ("screening", FAILED | {"first_failed_at": None}),
        ("screening", {"first_failed_at": AT}),
    ],
    "ck_screening_only_failures_retry": [("screening", {"retry_at": AT})],
    "ck_case_item_claim_has_a_lease": [
        ("case_item", CLAIMED | {"lease_until": None}),
        ("case_item", CLAIMED | {"claimed_by": None}),
        ("case_item", {"state": "claimed"}),
        ("case_item", CLAIMED | {"state": "open"}),
        ("case_item", CLAIMED | {"state": "confirmed", "decided_at": AT}),
    ],
    "ck_case_item_decided": [
        ("case_item", {"state": "confirmed"}),
        ("case_item", {"state": "cleared"}),
        ("case_item", {"decided_at": AT}),
        ("case_item", CLAIMED | {"decided_at": AT}),
    ],
    "ck_verdict_second_names_a_proposal": [("verdict", {"kind": "second"})],
    "ck_quarantine_ended": [
        ("quarantine", {"ended_at": AT}),
        ("quarantine", HELD | {"ended_at": AT}),
        *(("quarantine", {"state": s}) for s in ("released", "superseded", "destroyed", "abandoned")),
    ],
    "ck_quarantine_held_is_blocked": [
        ("quarantine", HELD | {"blocked_at": None}),
        ("quarantine", {"state": "held", "level": "block"}),
    ],
    "ck_quarantine_hold_is_vaulted": [("quarantine", HELD | {"vaulted_at": None})],
    "ck_quarantine_claim_one_claimant": [
        ("quarantine_claim", {"item_id": None}),
        ("quarantine_claim", {"screening_id": "@screening"}),
        ("quarantine_claim", BY_TAKEDOWN | {"item_id": "@case_item"}),
        ("quarantine_claim", BY_REPORT | {"screening_id": "@screening"}),
        ("quarantine_claim", BY_REPORT | {"takedown_id": "@takedown"}),
    ],
    "ck_quarantine_claim_for_a_cover": [
        ("quarantine_claim", BY_TAKEDOWN | {"cover_version_id": None}),
        ("quarantine_claim", BY_REPORT | {"cover_version_id": None}),
        ("quarantine_claim", {"cover_version_id": "@cover_version"}),
        ("quarantine_claim", BY_ANSWER | {"cover_version_id": "@cover_version"}),
    ],
    "ck_obligation_one_subject": [
        ("obligation", {"item_id": None}),
        ("obligation", {"takedown_id": "@takedown"}),
        ("obligation", {"report_id": "@report"}),
        ("obligation", {"item_id": None, "takedown_id": "@takedown", "report_id": "@report"}),
    ],
    "ck_list_stop_one_subject": [
        ("list_stop", {"entry_id": None}),
        ("list_stop", {"list_id": "@hash_list"}),
        ("list_stop", {"source": "s"}),
    ],
    "ck_exchange_held_until_some_time": [
        ("exchange", {"holder": "h"}),
        ("exchange", {"held_until": AT}),
    ],
    "ck_takedown_lifted": [
        ("takedown", {"state": "lifted"}),
        *(
            ("takedown", {"state": state, "lifted_at": AT})
            for state in ("requested", "enumerated", "dark", "verified_gone")
        ),
    ],
}
PROPOSALS = {"ck_verdict_two_different_people", "ck_verdict_proposal_has_an_actor"}  # tested below
WORDS = {
    f"ck_{table.name}_{column.name}": (table.name, column.name)
    for table in metadata.sorted_tables
    for column in table.columns
    if any(str(c.name).endswith(f"ck_{table.name}_{column.name}") for c in table.constraints)
    and column.name != "quality"
}


def test_every_check_is_tried_here() -> None:
    stated = {
        str(constraint.name)
        for table in metadata.sorted_tables
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert stated == set(RULES) | set(WORDS) | PROPOSALS


@pytest.mark.parametrize("of", sorted({table for table, _ in WORDS.values()}))
def test_a_column_of_words_takes_no_other(sql: Sql, of: str) -> None:
    for name, (table, column) in WORDS.items():
        ended = {"ended_at": AT} if name == "ck_quarantine_state" else {}  # else another rule refuses first
        for word in ("", "Pass", "everything", 7) if table == of else ():
            with sql.refused(name):
                sql.insert(table, **{column: word}, **ended)


@pytest.mark.parametrize(
    ("name", "table", "broken"), [(name, *one) for name, tries in RULES.items() for one in tries]
)
def test_a_rule_of_a_row(sql: Sql, name: str, table: str, broken: Mapping[str, Any]) -> None:
    with sql.refused(name):
        sql.insert(table, **broken)


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("screening", FAILED),
        ("screening", FAILED | {"retry_at": AT}),
        ("case_item", CLAIMED),
        ("case_item", {"state": "confirmed", "decided_at": AT}),
        ("quarantine", HELD),
        ("quarantine", {"state": "held", "level": "block", "blocked_at": AT}),
        ("quarantine", {"state": "released", "ended_at": AT}),
        ("quarantine", {"state": "abandoned", "ended_at": AT}),
        ("quarantine_claim", BY_ANSWER),
        ("quarantine_claim", BY_TAKEDOWN),
        ("quarantine_claim", BY_REPORT),
        ("obligation", {"item_id": None, "takedown_id": "@takedown"}),
        ("obligation", {"item_id": None, "report_id": "@report"}),
        ("takedown", {"state": "lifted", "lifted_at": AT}),
        ("report_target", {"surface": None, "version": None, "kind": "account"}),
        ("list_entry", {"category": None}),
        ("list_entry", {"category": "terrorism"}),
        ("verdict", {"category": None}),
    ],
)
def test_what_the_rules_allow(sql: Sql, table: str, values: Mapping[str, Any]) -> None:
    assert sql.insert(table, **values)


# ── uniqueness ─────────────────────────────────────────────────────────────────────────────────────────────

UNIQUE = [
    (table.name, tuple(column.name for column in constraint.columns))
    for table in metadata.sorted_tables
    for constraint in table.constraints
    if isinstance(constraint, UniqueConstraint)
    if (table.name, tuple(column.name for column in constraint.columns))
    not in {
        ("verdict", ("id", "actor")),  # there to be referred to
        ("verdict", ("proposal_id",)),  # tested below
        ("quarantine_claim", ("quarantine_id", "screening_id")),  # tested below
        ("quarantine_claim", ("quarantine_id", "takedown_id", "cover_version_id")),  # tested below
        ("quarantine_claim", ("quarantine_id", "report_id", "cover_version_id")),  # tested below
    }
]


@pytest.mark.parametrize(("table", "columns"), UNIQUE)
def test_a_key_is_there_once(sql: Sql, table: str, columns: tuple[str, ...]) -> None:
    first = sql.row(table, sql.insert(table))
    key = {name: first[name] for name in columns}
    with sql.refused("unique"):
        sql.insert(table, **key)
    for name in columns:  # each part of the key counts
        fresh = sql.valid(table)
        if fresh[name] != first[name]:
            assert sql.insert(table, **(key | {name: fresh[name]}))


@pytest.mark.parametrize("claimant", [BY_ANSWER, BY_TAKEDOWN, BY_REPORT])
def test_a_claim_is_there_once(sql: Sql, claimant: Mapping[str, Any]) -> None:
    first = sql.row("quarantine_claim", sql.insert("quarantine_claim", **claimant))
    key = {name: first[name] for name in ("quarantine_id", *claimant)}
    with sql.refused("unique"):
        sql.insert("quarantine_claim", **key)
    for name in key.keys() - {"item_id"}:  # each part of the key counts
        assert sql.insert("quarantine_claim", **(key | {name: f"@{name.removesuffix('_id')}"}))


PARTIAL = {
    "uq_case_file_open": ("case_file", ("account_id",), {"closed_at": AT}),
    "uq_quarantine_live": (
        "quarantine", ("bucket", "key", "version_id"), {"state": "released", "ended_at": AT},
    ),
    "uq_obligation_open": ("obligation", ("kind", "item_id"), {"met_at": AT}),
    "uq_obligation_open_takedown": ("obligation", ("kind", "takedown_id"), {"met_at": AT}),
    "uq_obligation_open_report": ("obligation", ("kind", "report_id"), {"met_at": AT}),
    "uq_takedown_live": ("takedown", ("account_id",), {"state": "lifted", "lifted_at": AT}),
    "uq_list_import_open": ("list_import", ("list_id",), {"state": "finished"}),
    "uq_batch_open": ("batch", ("scope",), {"closed_at": AT}),
    "uq_alarm_open": ("alarm", ("kind", "subject"), {"closed_at": AT}),
}  # fmt: skip

NAMED = {  # the keys of what a report names, tested below
    "uq_report_target_all_versions": {"version": None},
    "uq_report_target_whole": {"kind": "account", "surface": None, "version": None},
}

SUBJECTS: Mapping[tuple[str, ...], Mapping[str, Any]] = {  # of obligations that are not about an item
    ("kind", "takedown_id"): {"item_id": None, "takedown_id": "@takedown"},
    ("kind", "report_id"): {"item_id": None, "report_id": "@report"},
}


def test_every_partial_index_is_tried_here() -> None:
    stated = {str(index.name) for table in metadata.sorted_tables for index in table.indexes if index.unique}
    assert stated == set(PARTIAL) | set(NAMED)


@pytest.mark.parametrize(("table", "columns", "ended"), list(PARTIAL.values()), ids=list(PARTIAL))
def test_one_is_live_and_any_number_ended(
    sql: Sql, table: str, columns: tuple[str, ...], ended: Mapping[str, Any]
) -> None:
    other = SUBJECTS.get(columns, {})
    first = sql.row(table, sql.insert(table, **other))
    key = other | {name: first[name] for name in columns}
    sql.insert(table, **key, **ended)
    sql.insert(table, **key, **ended)
    with sql.refused("unique"):
        sql.insert(table, **key)
    others = ", ".join(f"{name} = '{value}'" for name, value in ended.items())
    sql.run(f'UPDATE "{table}" SET {others} WHERE id = ?', first["id"])
    sql.insert(table, **key)


@pytest.mark.parametrize("absent", list(NAMED.values()), ids=list(NAMED))
def test_a_report_names_a_thing_once(sql: Sql, absent: Mapping[str, Any]) -> None:
    """Also where a part of its name is not there: a playlist has no surface, all versions have no number."""
    first = sql.row("report_target", sql.insert("report_target", **absent))
    key = {name: first[name] for name in ("report_id", "kind", "surface", "named_id", "version")}
    with sql.refused("unique"):
        sql.insert("report_target", **key)
    others = {"report_id": "@report", "kind": "playlist", "named_id": "another", "version": 7}
    for name, value in others.items() if absent.keys() == {"version"} else list(others.items())[:3]:
        assert sql.insert("report_target", **(key | {name: value}))


def test_a_dead_row_cannot_come_back_beside_a_live_one(sql: Sql) -> None:
    first = sql.row("quarantine", sql.insert("quarantine", state="released", ended_at=AT))
    sql.insert("quarantine", **{name: first[name] for name in ("bucket", "key", "version_id")})
    with sql.refused("unique"):
        sql.run("UPDATE quarantine SET state = 'requested', ended_at = NULL WHERE id = ?", first["id"])


# ── two people ─────────────────────────────────────────────────────────────────────────────────────────────


def second(sql: Sql, item: int, proposal: int, **other: Any) -> int:
    values = {"kind": "second", "outcome": "clear", "proposal_id": proposal, "proposal_actor": "Ada"}
    return sql.insert("verdict", item_id=item, **(values | {"actor": "Bea"} | other))


@pytest.fixture
def proposed(sql: Sql) -> tuple[int, int]:
    item = sql.insert("case_item")
    return item, sql.insert("verdict", item_id=item, kind="proposal", outcome="clear")


def test_a_second_verdict_is_another_persons(sql: Sql, proposed: tuple[int, int]) -> None:
    with sql.refused("ck_verdict_two_different_people"):
        second(sql, *proposed, actor="Ada")
    assert second(sql, *proposed)


def test_a_second_verdict_cannot_lie_about_who_was_first(sql: Sql, proposed: tuple[int, int]) -> None:
    """By naming somebody else as the first, Ada could be both."""
    with sql.refused("reference"):
        second(sql, *proposed, actor="Ada", proposal_actor="Bea")
    with sql.refused("ck_verdict_proposal_has_an_actor"):
        second(sql, *proposed, actor="Ada", proposal_actor=None)
    with sql.refused("ck_verdict_"):
        sql.insert("verdict", proposal_actor="Cleo")


def test_a_second_verdict_needs_a_proposal_that_exists(sql: Sql, proposed: tuple[int, int]) -> None:
    item, proposal = proposed
    with sql.refused("reference"):
        second(sql, item, proposal + 1000)
    with sql.refused("ck_verdict_second_names_a_proposal"):
        second(sql, item, proposal, kind="decision")


def test_a_proposal_has_one_second(sql: Sql, proposed: tuple[int, int]) -> None:
    second(sql, *proposed)
    with sql.refused("unique"):
        second(sql, *proposed, actor="Cleo")


# ── append-only, references ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("table", ["verdict", "audit"])
def test_what_was_said_stays_said(sql: Sql, table: str) -> None:
    row_id = sql.insert(table)
    before = sql.row(table, row_id)
    for act in (
        f"UPDATE {table} SET actor = 'Eve' WHERE id = {row_id}",
        f"DELETE FROM {table} WHERE id = {row_id}",
        f"DELETE FROM {table}",
        *(one.format(table=table) for one in sql.slyly),
    ):
        with sql.refused("append-only"):
            sql.run(act)
    assert sql.row(table, row_id) == before


def columns_of(table: str, kind: Callable[[Column[Any]], bool]) -> list[str]:
    return [column.name for column in TABLES[table].columns if kind(column)]


REFERRING = {  # else another rule refuses first
    ("quarantine_claim", "screening_id"): BY_ANSWER,
    ("quarantine_claim", "takedown_id"): BY_TAKEDOWN,
    ("quarantine_claim", "report_id"): BY_REPORT,
    ("quarantine_claim", "cover_version_id"): BY_TAKEDOWN,
    ("obligation", "takedown_id"): {"item_id": None},
    ("list_stop", "list_id"): {"entry_id": None},
    ("obligation", "report_id"): {"item_id": None},
}


@pytest.mark.parametrize("table", [name for name in VALID if name != "statement"])
def test_a_reference_is_to_something(sql: Sql, table: str) -> None:
    for column in columns_of(table, lambda one: bool(one.foreign_keys) and "proposal" not in one.name):
        other = REFERRING.get((table, column), {})
        with sql.refused("reference"):
            sql.insert(table, **(other | {column: 10**9}))


@pytest.mark.parametrize("table", list(VALID))
def test_what_must_be_there(sql: Sql, table: str) -> None:
    required = columns_of(table, lambda one: not one.nullable and not one.primary_key)
    assert required
    for column in required:
        with sql.refused(f"{sql.refusals['required']}.*{column}"):
            sql.insert(table, **{column: None})
