"""Known false positives: an entry that does not count for these bytes, or for looks near these."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from coverguard.model import Algorithm, Micros
from coverguard.policy import Suppressions
from coverguard.ports import Keys
from coverguard.store.lists.entries import PURPOSE
from coverguard.store.lists.rules import TURN, note_change
from coverguard.store.rows import insert_once, take_turn
from coverguard.store.schema import list_entry, suppression, verdict


def suppress(
    tx: Connection,
    keys: Keys,
    *,
    entry_id: int,
    kind: Algorithm,
    digest: bytes,
    verdict_id: int,
    now: Micros,
    review_at: Micros,
) -> None:
    """Remember a false positive: this entry for these bytes, or for PDQs near this one."""
    take_turn(tx, TURN)
    key = {"entry_id": entry_id, "kind": kind.value, "digest_mac": keys.mac(PURPOSE, digest)}
    sealed = keys.seal(PURPOSE, digest, context=_suppression_place(entry_id, kind.value))
    values = {"digest_sealed": sealed, "verdict_id": verdict_id, "created_at": now, "review_at": review_at}
    row_id, changed = insert_once(tx, suppression, key, values)
    if not changed:  # lifted before, and now cleared again
        lifted = (suppression.c.id == row_id, suppression.c.lifted_at.is_not(None))
        again = update(suppression).where(*lifted).values(**values, lifted_at=None)
        changed = tx.execute(again).rowcount == 1
    if changed:
        list_id = tx.execute(select(list_entry.c.list_id).where(list_entry.c.id == entry_id)).scalar_one()
        note_change(tx, list_id=list_id, kind="suppression", entries=0, now=now)


def lift_suppressions(tx: Connection, *, item_id: int, now: Micros) -> None:
    """Forget what was suppressed by an item's clearing verdict, which no longer stands."""
    take_turn(tx, TURN)
    given = select(verdict.c.id).where(verdict.c.item_id == item_id).scalar_subquery()
    standing = (suppression.c.verdict_id.in_(given), suppression.c.lifted_at.is_(None))
    of_lists = (
        select(list_entry.c.list_id)
        .join(suppression, suppression.c.entry_id == list_entry.c.id)
        .where(*standing)
    )
    for list_id in set(tx.execute(of_lists).scalars()):
        note_change(tx, list_id=list_id, kind="suppression", entries=0, now=now)
    tx.execute(update(suppression).where(*standing).values(lifted_at=now))


def suppressions(tx: Connection, keys: Keys) -> Suppressions:
    pairs: set[tuple[int, bytes]] = set()
    near: dict[int, tuple[bytes, ...]] = {}
    for row in tx.execute(select(suppression).where(suppression.c.lifted_at.is_(None))):
        digest = keys.open(PURPOSE, row.digest_sealed, context=_suppression_place(row.entry_id, row.kind))
        if row.kind == Algorithm.SHA256:
            pairs.add((row.entry_id, digest))
        else:
            near[row.entry_id] = (*near.get(row.entry_id, ()), digest)
    return Suppressions(pairs=frozenset(pairs), near=near)


def _suppression_place(entry_id: int, kind: str) -> bytes:
    return f"suppression:{entry_id}:{kind}".encode()
