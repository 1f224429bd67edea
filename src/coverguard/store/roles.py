"""Who may do what in the ledger: one PostgreSQL role a process, from one table, everything else denied.

The roles are groups without a login; each process's login is a member of its own. Tables belong to whoever
migrates, and nobody else may change them. What is only added to (verdicts, the audit trail, list changes)
cannot be changed or removed by any role; what people wrote is sealed, with keys that no
database has. SQLite has no roles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from coverguard.store.engine import Database
from coverguard.store.rows import take_turn
from coverguard.store.schema import metadata

ROLES: Final = (
    "coverguard_worker", "coverguard_keeper", "coverguard_operator", "coverguard_reader",
    "coverguard_public", "coverguard_platform", "coverguard_importer",
)  # fmt: skip
VERSION_TABLE: Final = "alembic_version"

# S select, I insert, U update, D delete; (columns) where it is not the whole row. Who locks a row needs a
# right to update some column of it.
_DARK: Final = "U(seen_at,takedown_id)"
_THEIRS: Final = f"SI{_DARK}"
# what is needed to count an account's public covers
_NAMED, _WHOSE = "S(id,platform_id)", "S(id,uploader_id,deleted_at)"
_ANSWER, _LIVE = "S(cover_version_id,origin,decision)", "S(cover_version_id,ended_at)"
# which entries are withdrawn, and never what they say
_ENTRY: Final = "S(id,list_id,item_id,withdrawn_at,changed_seq)"
_TOLD: Final = "U(verdict_seq,deleted_at,version_id,renditions)"
RIGHTS: Final[Mapping[str, Sequence[str]]] = {
    #                    worker             keeper                operator           reader  public  platform
    VERSION_TABLE:      ("S",               "S",                  "S",               "S",   "S",    "S"),
    "account":          (f"SI{_DARK}",      f"SI{_DARK}",         f"SI{_DARK}",      "",    _NAMED, _THEIRS),
    "cover_version":    (f"SI{_TOLD}",      f"SI{_TOLD}",         f"S{_TOLD}",       "",    _WHOSE, "S"),
    "platform_event":   ("SIU(served_at)",  "SU(served_at)",      "S",               "",    "",     ""),
    "collaboration":    ("SIU",             "S",                  "S",               "",    "",     "S"),
    "fingerprint":      ("SIU",             "SD",                 "S",               "",    "",     ""),
    "fingerprint_view": ("SI",              "SD",                 "S",               "",    "",     ""),
    "screening":        ("SIU",             "SIU",                "SU",              "",    _ANSWER, _ANSWER),
    "match":            ("SID",             "S",                  "S",               "",    "",     ""),
    "hash_list":        ("S",               "S",                  "SIU",             "",    "",     ""),
    "list_rule":        ("S",               "S",                  "SI",              "",    "",     ""),
    "list_change":      ("S",               "SI",                 "SI",              "",    "",     ""),
    "list_entry":       ("S",               _ENTRY,               "SIU",             "",    "",     ""),
    "suppression":      ("S",               "",                   "SIU",             "",    "",     ""),
    "list_attestation": ("",                "S",                  "SI",              "",    "",     ""),
    "list_review":      ("",                "S",                  "SI",              "",    "",     ""),
    "list_stop":        ("S",               "SU(lifted_at)",      "SIU",             "",    "",     ""),
    "dead_letter":      ("",                "S(list_id,settled_at)", "SIU",          "",    "",     ""),
    "list_import":      ("",                "",                   "SIU",             "",    "",     ""),
    "staged_entry":     ("",                "",                   "SID",             "",    "",     ""),
    "exchange":         ("",                "S",                  "SIU",             "",    "",     ""),
    "exchange_record":  ("",                "",                   "SIU",             "",    "",     ""),
    "lost_ground":      ("",                "SI",                 "S",               "",    "",     ""),
    "bookmark":         ("",                "SIU",                "S",               "",    "",     ""),
    "batch":            ("SIU",             "SIU",                "SIU",             "",    "",     ""),
    "case_file":        ("SIU",             "SIU",                "SIU",             "",    "",     "S"),
    "party":            ("SI",              "SI",                 "SI",              "",    "",     ""),
    "case_item":        ("SIU",             "SIU",                "SIU",             "",    "",     "S"),
    "verdict":          ("S(id,item_id,kind,outcome,category)", "S", "SI", "", "", ""),
    "quarantine":       ("SIU",             "SIU",                "SIU",             "",    _LIVE, _LIVE),
    "quarantine_claim": ("SIU",             "SIU",                "SIU",             "",    "",     ""),
    "own_write":        ("SIUD",            "SIUD",               "SIUD",            "",    "",     ""),
    "takedown":         ("SIU",             "SIU",                "SIU",             "",    "",     "SIU"),
    "takedown_cause":   ("SIU",             "SIU",                "SIU",             "",    "",     "SI"),
    "takedown_difference": ("SIU",          "SIU",                "SIU",             "",    "",     ""),
    "report":           ("SIU",             "SIU",                "SIU",             "",    "",     "S"),
    "report_target":    ("SIU",             "SIU",                "SIU",             "",    "",     "S"),
    "report_item":      ("SIU",             "SIU",                "SIU",             "",    "",     ""),
    "api_key":          ("S(id,ref,role)",  "",                   "SIU(revoked_at,expires_at)", "", "", "S"),
    "obligation":       ("SIU",             "SIU",                "SIU",             "",    "",     "SI"),
    "outbox":           ("SI",              "SIU(sent_at)",       "SI",              "",    "",     "SI"),
    "alarm":            ("SIU",             "SIU",                "SIU",             "",    "",     "SIU"),
    "audit":            ("S(id)I",          "SI",                 "SI",              "S",   "",     "S(id)I"),
    "audit_chain":      ("",                "SI",                 "S",               "S",   "",     ""),
    "audit_head":       ("",                "SIU(archived_at)",   "S",               "S",   "",     ""),
    "queue_message":    ("SIUD",            "SIUD",               "SIUD",            "",    "I",    "I"),
    "private.statement": (
        "S(id,event_id)I", "S(id,event_id,account_id,playlist_id,expires_at,text_sealed)D",
        "S(id)", "", "", "",
    ),
    "private.thread_entry": ("SI", "SI", "SI", "", "", ""),
    "private.thread_mail": ("SI", "SI", "SI", "", "S", ""),
    "private.reporter": ("I", "SD", "S", "", "", ""),
}  # fmt: skip

IMPORTER: Final = ROLES[-1]
IMPORTERS: Final[Mapping[str, str]] = {  # what comes from outside writes lists, and knows nothing else
    VERSION_TABLE: "S",
    "hash_list": "SU(refreshed_at)",
    "list_rule": "S",
    "list_change": "SI",
    "list_entry": "SIU",
    "dead_letter": "SIU",
    "exchange": "SU(holder,held_until,began_at,next_at,caught_up_at,checkpoint,position,gaps,failures,fault)",
    "exchange_record": "SIU",
    "audit": "S(id)I",
}

_RIGHT: Final = re.compile(r"([SIUD])(?:\(([a-z_0-9,]+)\))?")
_NAMES: Final = {"S": "SELECT", "I": "INSERT", "U": "UPDATE", "D": "DELETE"}


class Right(NamedTuple):
    """What one role may do with one table."""

    role: str
    table: str  # with its schema, where it is not public
    verb: str
    columns: tuple[str, ...]  # none: all of them


def rights() -> Iterator[Right]:
    """Everything that is allowed."""
    for table, by_role in RIGHTS.items():
        for role, said in zip(ROLES[:-1], by_role, strict=True):
            yield from _said(role, table, said)
    for table, said in IMPORTERS.items():
        yield from _said(IMPORTER, table, said)


def _said(role: str, table: str, said: str) -> Iterator[Right]:
    for letter, columns in _RIGHT.findall(said):
        named = tuple(columns.split(",")) if columns else ()
        yield Right(role=role, table=table, verb=_NAMES[letter], columns=named)


def apply_roles(database: Database) -> Sequence[str]:
    """Give each role exactly its rights, in one transaction; return the roles that are missing.

    A missing role is created where the caller may create roles. Rights that an earlier release gave and this
    one does not are taken away. On SQLite there is nothing to do.

    Raises:
        ConfigurationError: the tables are not the caller's.
    """
    with database.transaction() as tx:
        if tx.dialect.name != "postgresql":
            return ()
        take_turn(tx, "migrate")
        missing = _create_missing(tx)
        for statement in statements(besides=missing):
            tx.execute(text(statement))
    return missing


def creation(role: str) -> str:
    """The statement that makes a role; for who has to ask somebody else to run it."""
    return f"CREATE ROLE {role} NOLOGIN"


def _create_missing(tx: Connection) -> Sequence[str]:
    there = set(tx.execute(text("SELECT rolname FROM pg_roles")).scalars())
    missing = tuple(role for role in ROLES if role not in there)
    able = text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    if not missing or not tx.execute(able).scalar_one():
        return missing
    for role in missing:
        tx.execute(text(creation(role)))
    return ()


def statements(*, besides: Sequence[str] = ()) -> Iterator[str]:
    """The SQL that takes every right away and gives back those of the table."""
    roles = [role for role in ROLES if role not in besides]
    for who in ("PUBLIC", *roles):
        for kind in ("TABLES", "SEQUENCES"):
            yield f"REVOKE ALL ON ALL {kind} IN SCHEMA public, private FROM {who}"
        yield f"REVOKE ALL ON SCHEMA private FROM {who}"
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    given = [right for right in rights() if right.role in roles]
    for role in roles:
        schemas = {"public", *(_schema(right.table) for right in given if right.role == role)}
        yield f"GRANT USAGE ON SCHEMA {', '.join(sorted(schemas))} TO {role}"
    for right in given:
        columns = f" ({', '.join(right.columns)})" if right.columns else ""
        schema, name = _schema(right.table), right.table.rpartition(".")[2]
        yield f'GRANT {right.verb}{columns} ON {schema}."{name}" TO {right.role}'
        if right.verb == "INSERT" and (sequence := _sequence(right.table)):
            yield f'GRANT USAGE ON SEQUENCE {schema}."{sequence}" TO {right.role}'


def _schema(table: str) -> str:
    return table.rpartition(".")[0] or "public"


def _sequence(table: str) -> str | None:
    """The sequence that numbers a table's rows, where one does."""
    key = metadata.tables[table].autoincrement_column if table != VERSION_TABLE else None
    return f"{table.rpartition('.')[2]}_{key.name}_seq" if key is not None else None
