"""Versions that we put into the platform's buckets, recorded before they are made: their events are ours.

A release writes only where the version it hid is gone from the store and its bytes come back from the vault.
From then on the ledger names the new version wherever it named the old one, and the old one is still known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, select, update

from coverguard.model import Micros, ObjectRef
from coverguard.store.rows import insert_once
from coverguard.store.schema import cover_version, own_write, quarantine

Written = Literal["ours", "theirs", "under way"]


def record(tx: Connection, row: Row[Any], *, now: Micros) -> None:
    """About to put the vault copy of this quarantine row back."""
    values = {"bucket": row.bucket, "key": row.key, "sha256": row.sha256, "recorded_at": now}
    insert_once(tx, own_write, {"quarantine_id": row.id}, values)


def withdraw(tx: Connection, row: Row[Any]) -> None:
    """Nothing was put back after all."""
    tx.execute(delete(own_write).where(own_write.c.quarantine_id == row.id, own_write.c.version_id.is_(None)))


def note_version(tx: Connection, row: Row[Any], ref: ObjectRef, *, moved: Sequence[Row[Any]]) -> None:
    """It is there as this version; these cover versions, locked before, lie there now."""
    mine = own_write.c.quarantine_id == row.id
    tx.execute(update(own_write).where(mine).values(version_id=ref.version_id))
    for cover in moved:
        _move(tx, cover, row, ref)


def _move(tx: Connection, cover: Row[Any], row: Row[Any], ref: ObjectRef) -> None:
    old = (row.bucket, row.key, row.version_id)
    values: dict[str, Any] = {
        "renditions": [
            one | {"version_id": ref.version_id}
            if (one["bucket"], one["key"], one["version_id"]) == old
            else one
            for one in cover.renditions
        ]
    }
    if (cover.bucket, cover.key, cover.version_id) == old:
        values["version_id"] = ref.version_id
    tx.execute(update(cover_version).where(cover_version.c.id == cover.id).values(values))


def now_at(tx: Connection, row: Row[Any]) -> ObjectRef | None:
    """Where this quarantine row's bytes were put back, if they were."""
    mine = (own_write.c.quarantine_id == row.id, own_write.c.version_id.is_not(None))
    found = tx.execute(select(own_write).where(*mine)).one_or_none()
    return ObjectRef(bucket=found.bucket, key=found.key, version_id=found.version_id) if found else None


def whose(tx: Connection, ref: ObjectRef) -> Written:
    """Whether that version is one that we wrote; `under way` where one is being written at that key."""
    there = (own_write.c.bucket == ref.bucket, own_write.c.key == ref.key)
    found = set(tx.execute(select(own_write.c.version_id).where(*there)).scalars())
    if ref.version_id in found:
        return "ours"
    return "under way" if None in found else "theirs"


def took_the_place_of(tx: Connection, ref: ObjectRef) -> bool:
    """Whether we put bytes back because this version was gone: then who names it means the newer one."""
    written = select(own_write.c.quarantine_id).where(own_write.c.version_id.is_not(None))
    gone = select(quarantine.c.id).where(
        quarantine.c.bucket == ref.bucket,
        quarantine.c.key == ref.key,
        quarantine.c.version_id == ref.version_id,
        quarantine.c.id.in_(written),
    )
    return tx.execute(gone.limit(1)).first() is not None
