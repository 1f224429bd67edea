"""The ways of writing a row that every ledger verb uses: once, locked, moved, in turn, and with a reference.

A lock is a statement of its own, before what it guards is read: on PostgreSQL each statement sees what was
committed when it began, so a condition in the statement that had to wait would be judged by an older state.
SQLite has one writer at a time, and these locks are plain reads there.

Statements that differ by their values alone are built once: building one takes longer than sending it.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from coverguard import lifecycle
from coverguard.errors import Contention, IllegalTransition

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)

TRIES: Final = 20
STATEMENTS: Final = 256  # that are kept; a ledger's verbs have a few dozen


def new_ref(kind: str) -> str:
    """A random public reference: says what it is of, and nothing of how many there are."""
    return f"{kind}-{secrets.token_hex(8)}"


def insert_once(
    tx: Connection,
    table: Table,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    where: ColumnElement[bool] | None = None,
) -> tuple[int, bool]:
    """Insert a row unless its unique key exists; return its id and whether it is new.

    `where` is the predicate of a partial unique index, where the key is one: a constant of its module. What
    it was true of may have ended when the caller looks at it, unless a lock prevents that: see `ensure`. No
    part of a key is NULL.
    """
    found, new = _inserted(tx, table, key, values, where=where, wanted=("id",))
    return int(found.id), new


def insert_row(
    tx: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[Row[Any], bool]:
    """Insert a row unless its unique key exists; return the whole row and whether it is new."""
    return _inserted(tx, table, key, values, where=None, wanted=tuple(table.c.keys()))


def _inserted(
    tx: Connection,
    table: Table,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    where: ColumnElement[bool] | None,
    wanted: tuple[str, ...],
) -> tuple[Row[Any], bool]:
    statement = _insertion(tx.dialect.name, table, tuple(key), where, wanted)
    there = _by_key(table, tuple(key), where, wanted)
    for _ in range(TRIES):
        if (new := tx.execute(statement, {**key, **values}).one_or_none()) is not None:
            return new, True
        if (found := tx.execute(there, key).one_or_none()) is not None:
            return found, False
    raise Contention(f"rows of {table.name} end as fast as they are found")


@functools.lru_cache(STATEMENTS)
def _insertion(
    dialect: str,
    table: Table,
    key: tuple[str, ...],
    where: ColumnElement[bool] | None,
    wanted: tuple[str, ...],
) -> ReturningInsert[Any]:
    make = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement = make(table).on_conflict_do_nothing(index_elements=list(key), index_where=where)
    return statement.returning(*(table.c[name] for name in wanted))


@functools.lru_cache(STATEMENTS)
def _by_key(
    table: Table, key: tuple[str, ...], where: ColumnElement[bool] | None, wanted: tuple[str, ...]
) -> Select[Any]:
    conditions = [table.c[name] == bindparam(name) for name in key]
    found = select(*(table.c[name] for name in wanted)).where(*conditions)
    return found if where is None else found.where(where)


def ensure(
    tx: Connection,
    table: Table,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    where: ColumnElement[bool] | None = None,
) -> tuple[Row[Any], bool]:
    """Insert a row unless its unique key exists, and lock it; return it as it is, and whether it is new."""
    for _ in range(TRIES):
        row_id, new = insert_once(tx, table, key, values, where=where)
        row = tx.execute(_locking_one(table, where), {"row_id": row_id}).one_or_none()
        if row is not None:
            return row, new
    raise Contention(f"rows of {table.name} end as fast as they are found")


def upsert(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, key: Sequence[str]) -> None:
    """Insert rows, all of the same columns; one whose unique key exists replaces what was there."""
    if not rows:
        return
    make = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    statement = make(table)
    replaced = {name: statement.excluded[name] for name in rows[0] if name not in key}
    tx.execute(statement.on_conflict_do_update(index_elements=list(key), set_=replaced), [*rows])


def lock(tx: Connection, table: Table, row_id: int) -> Row[Any]:
    """Lock one row until the transaction ends, and return it as it is now."""
    return tx.execute(_locking_one(table, None), {"row_id": row_id}).one()


@functools.lru_cache(STATEMENTS)
def _locking_one(table: Table, where: ColumnElement[bool] | None) -> Select[Any]:
    found = select(table).where(table.c.id == bindparam("row_id")).with_for_update(key_share=True)
    return found if where is None else found.where(where)


def lock_all(tx: Connection, table: Table, ids: Iterable[int]) -> Sequence[Row[Any]]:
    """Lock rows in the order of their ids, whoever asks, so that no two wait for each other."""
    if len(wanted := sorted(set(ids))) == 1:
        return tx.execute(_locking_one(table, None), {"row_id": wanted[0]}).all()
    return tx.execute(_locking(table), {"row_ids": wanted}).all()


@functools.lru_cache(STATEMENTS)
def _locking(table: Table) -> Select[Any]:
    wanted = select(table).where(table.c.id.in_(bindparam("row_ids", expanding=True))).order_by(table.c.id)
    return wanted.with_for_update(key_share=True)


def take_turn(tx: Connection, name: str) -> None:
    """Wait until nobody else is in a transaction that took this turn. Taking it twice is harmless."""
    if tx.dialect.name == "postgresql":
        tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"coverguard:{name}", 0))))


def move(
    tx: Connection,
    table: Table,
    row: Row[Any],
    *,
    machine: Mapping[S, Mapping[E, S]],
    event: E,
    values: Mapping[str, Any],
) -> S:
    """Advance one row from the state it was read in, or raise and change nothing."""
    left = next(state for state in machine if state.value == row.state)
    reached = lifecycle.advance(machine, left, event)
    statement = (
        update(table)
        .where(table.c.id == row.id, table.c.state == left.value)
        .values(state=reached.value, **values)
    )
    if tx.execute(statement).rowcount != 1:
        raise IllegalTransition(f"it was no longer {left.value}")
    return reached
