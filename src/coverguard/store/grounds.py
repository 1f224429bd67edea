"""Decisions whose ground was withdrawn: they rest on an entry that its source took back, and on nothing else.

And bookmarks: how far a walk over numbered rows has come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from coverguard.model import Micros
from coverguard.store.rows import insert_once, upsert
from coverguard.store.schema import (
    bookmark,
    case_item,
    list_entry,
    lost_ground,
    match,
    report_item,
    screening,
)


def withdrawn_between(tx: Connection, *, after: int, upto: int) -> Sequence[Any]:
    """Entries (id, list_id, seq) that a change in that span withdrew and that something matched."""
    found = (
        select(list_entry.c.id, list_entry.c.list_id, list_entry.c.changed_seq.label("seq"))
        .where(
            list_entry.c.changed_seq > after,
            list_entry.c.changed_seq <= upto,
            list_entry.c.withdrawn_at.is_not(None),
            select(match.c.id).where(match.c.entry_id == list_entry.c.id).exists(),
        )
        .order_by(list_entry.c.id)
    )
    return tx.execute(found).all()


def items_on(tx: Connection, entry_id: int) -> Sequence[str]:
    """References of the items that this entry brought, or helped to bring."""
    found = (
        select(case_item.c.ref)
        .join(screening, screening.c.cover_version_id == case_item.c.cover_version_id)
        .join(match, match.c.screening_id == screening.c.id)
        .where(match.c.entry_id == entry_id, match.c.action != "shadow")
        .distinct()
        .order_by(case_item.c.ref)
    )
    return list(tx.execute(found).scalars())


def stands(tx: Connection, item: Row[Any]) -> bool:
    """Whether anything else speaks against the cover: a listed entry, or somebody's report."""
    listed = (
        select(match.c.id)
        .join(screening, screening.c.id == match.c.screening_id)
        .join(list_entry, list_entry.c.id == match.c.entry_id)
        .where(
            screening.c.cover_version_id == item.cover_version_id,
            match.c.action != "shadow",
            list_entry.c.withdrawn_at.is_(None),
            list_entry.c.item_id.is_distinct_from(item.id),  # learnt from this very decision
        )
    )
    reported = select(report_item.c.report_id).where(report_item.c.item_id == item.id)
    return any(tx.execute(one.limit(1)).first() for one in (listed, reported))


def is_lost(tx: Connection, item: Row[Any], *, entry_id: int, seq: int) -> bool:
    """Whether it was written down that the item lost this ground by that change."""
    lost = (lost_ground.c.item_id == item.id, lost_ground.c.entry_id == entry_id, lost_ground.c.seq == seq)
    return tx.execute(select(lost_ground.c.id).where(*lost)).first() is not None


def note_lost(tx: Connection, item: Row[Any], *, entry_id: int, seq: int, outcome: str, now: Micros) -> None:
    key = {"item_id": item.id, "entry_id": entry_id, "seq": seq}
    insert_once(tx, lost_ground, key, {"outcome": outcome, "found_at": now})


def lost_by(tx: Connection, item_ids: Sequence[int]) -> Mapping[int, Sequence[int]]:
    """The numbers of the entries that each of these items rested on and that were withdrawn."""
    found = select(lost_ground.c.item_id, lost_ground.c.entry_id).where(lost_ground.c.item_id.in_(item_ids))
    lost: dict[int, list[int]] = {}
    for item_id, entry_id in tx.execute(found.order_by(lost_ground.c.id)):
        lost.setdefault(item_id, []).append(entry_id)
    return lost


def bookmark_at(tx: Connection, name: str) -> int:
    """Where the walk of that name stopped; 0 before its first step."""
    return int(tx.execute(select(bookmark.c.at).where(bookmark.c.name == name)).scalar_one_or_none() or 0)


def move_bookmark(tx: Connection, name: str, *, at: int) -> None:
    upsert(tx, bookmark, [{"name": name, "at": at}], key=("name",))
