"""Entries at rest: sealed rows, told apart by MACs; a withdrawn one stays, since matches name it.

A digest is encrypted under the lists' key with its place (list, algorithm, id) as context, so that a row
moved to another place does not open. Nothing here logs a digest or gives one to anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, func, select, update

from coverguard.hashlist import ListRow
from coverguard.model import ListAction, Micros
from coverguard.ports import Keys
from coverguard.store.lists.rules import TURN, note_change
from coverguard.store.rows import take_turn, upsert
from coverguard.store.schema import list_entry, statement, verdict

PURPOSE: Final = "lists"


def anything_sealed(tx: Connection) -> bool:
    """Whether any row of the ledger needs the deployment's keys."""
    return any(tx.execute(select(table.c.id).limit(1)).first() for table in (list_entry, statement, verdict))


def stored_rows(tx: Connection, list_id: int) -> Mapping[str, bytes]:
    """What is listed now: source entry id to the row's MAC."""
    live = (list_entry.c.list_id == list_id, list_entry.c.withdrawn_at.is_(None))
    found = tx.execute(select(list_entry.c.source_entry_id, list_entry.c.row_mac).where(*live))
    return {source_entry_id: row_mac for source_entry_id, row_mac in found}  # noqa: C416 - typed rows


def length(tx: Connection, list_id: int) -> int:
    """Count what is listed now."""
    live = (list_entry.c.list_id == list_id, list_entry.c.withdrawn_at.is_(None))
    return int(tx.execute(select(func.count()).select_from(list_entry).where(*live)).scalar_one())


def row_mac(keys: Keys, row: ListRow) -> bytes:
    return keys.mac(PURPOSE, row.canonical())


def write_entries(
    tx: Connection,
    keys: Keys,
    *,
    list_id: int,
    rows: Sequence[ListRow],
    now: Micros,
    cap: ListAction = ListAction.HOLD,
    item_id: int | None = None,
    part: bool = False,
) -> int:
    """Insert or replace entries under one list change; return its sequence number."""
    common = {"list_id": list_id, "cap": cap.value, "item_id": item_id, "part": part, "withdrawn_at": None}
    sealed = [_sealed(keys, row, list_id=list_id) | common for row in rows]  # before others have to wait
    seq = note_change(tx, list_id=list_id, kind="entries", entries=len(rows), now=now)
    key = ("list_id", "source_entry_id", "algorithm")
    upsert(tx, list_entry, [values | {"changed_seq": seq} for values in sealed], key=key)
    return seq


def _sealed(keys: Keys, row: ListRow, *, list_id: int) -> dict[str, Any]:
    where = place(list_id=list_id, source_entry_id=row.source_entry_id, algorithm=row.algorithm.value)
    return {
        "source_entry_id": row.source_entry_id,
        "algorithm": row.algorithm.value,
        "digest_sealed": keys.seal(PURPOSE, row.digest, context=where),
        "row_mac": row_mac(keys, row),
        "opinion": row.opinion.value,
        "category": row.category.value if row.category else None,
        "grid": row.grid,
    }


def withdraw(tx: Connection, *, list_id: int, source_entry_ids: Sequence[str], now: Micros) -> int:
    """Take entries out of matching; their rows stay, since matches name them."""
    seq = note_change(tx, list_id=list_id, kind="entries", entries=len(source_entry_ids), now=now)
    for start in range(0, len(source_entry_ids), 500):
        some = source_entry_ids[start : start + 500]
        listed = (list_entry.c.list_id == list_id, list_entry.c.source_entry_id.in_(some))
        tx.execute(update(list_entry).where(*listed).values(withdrawn_at=now, changed_seq=seq))
    return seq


def withdraw_learnt(tx: Connection, *, item_id: int, now: Micros) -> None:
    """Take out what was learnt from an item whose confirmation no longer stands."""
    take_turn(tx, TURN)
    learnt = (list_entry.c.item_id == item_id, list_entry.c.withdrawn_at.is_(None))
    for list_id in set(tx.execute(select(list_entry.c.list_id).where(*learnt)).scalars()):
        seq = note_change(tx, list_id=list_id, kind="entries", entries=0, now=now)
        tx.execute(update(list_entry).where(*learnt).values(withdrawn_at=now, changed_seq=seq))


def raise_cap(tx: Connection, *, item_id: int, now: Micros) -> None:
    """Let the near signals learnt from an item hold: a second person agreed. Crops of it never do."""
    take_turn(tx, TURN)
    learnt = (
        list_entry.c.item_id == item_id,
        list_entry.c.cap != ListAction.HOLD.value,
        ~list_entry.c.part,
    )
    for list_id in set(tx.execute(select(list_entry.c.list_id).where(*learnt)).scalars()):
        seq = note_change(tx, list_id=list_id, kind="entries", entries=0, now=now)
        tx.execute(update(list_entry).where(*learnt).values(cap=ListAction.HOLD.value, changed_seq=seq))


def withdraw_renamed(tx: Connection, *, list_id: int, rows: Sequence[ListRow], now: Micros) -> None:
    """Take out what an id said under another algorithm before: in a file an id has one digest."""
    take_turn(tx, TURN)
    for row in rows:
        before = (
            list_entry.c.list_id == list_id,
            list_entry.c.source_entry_id == row.source_entry_id,
            list_entry.c.algorithm != row.algorithm.value,
            list_entry.c.withdrawn_at.is_(None),
        )
        if tx.execute(select(list_entry.c.id).where(*before).limit(1)).first():
            seq = note_change(tx, list_id=list_id, kind="entries", entries=1, now=now)
            tx.execute(update(list_entry).where(*before).values(withdrawn_at=now, changed_seq=seq))


def place(*, list_id: int, source_entry_id: str, algorithm: str) -> bytes:
    return f"entry:{list_id}:{algorithm}:{source_entry_id}".encode()
