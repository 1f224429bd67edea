"""Three ways of writing a row that every ledger verb uses: once, moved, and with a reference."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from coverguard import lifecycle
from coverguard.errors import IllegalTransition

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


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

    `where` is the predicate of a partial unique index, where the key is one.
    """
    make = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    statement = (
        make(table)
        .values(**key, **values)
        .on_conflict_do_nothing(index_elements=list(key), index_where=where)
        .returning(table.c.id)
    )
    new = tx.execute(statement).scalar_one_or_none()
    if new is not None:
        return int(new), True
    conditions = [table.c[name] == value for name, value in key.items()]
    if where is not None:
        conditions.append(where)
    return int(tx.execute(select(table.c.id).where(and_(*conditions))).scalar_one()), False


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
