"""Alarms: something a person must know. One open row a (kind, subject); raising it again counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from coverguard.model import Micros
from coverguard.store.rows import insert_once
from coverguard.store.schema import alarm

OPEN = alarm.c.closed_at.is_(None)


def ring(tx: Connection, *, kind: str, subject: str, now: Micros) -> bool:
    """Ensure that the alarm is open; return whether it is new."""
    key = {"kind": kind, "subject": subject}
    row_id, new = insert_once(tx, alarm, key, {"raised_at": now, "seen_at": now, "count": 1}, where=OPEN)
    if not new:
        tx.execute(update(alarm).where(alarm.c.id == row_id).values(seen_at=now, count=alarm.c.count + 1))
    return new


def quiet(tx: Connection, *, kind: str, subject: str, now: Micros) -> None:
    """Close the alarm, where it is open."""
    mine = (alarm.c.kind == kind, alarm.c.subject == subject, OPEN)
    tx.execute(update(alarm).where(*mine).values(closed_at=now))


def ringing(tx: Connection) -> Sequence[Row[Any]]:
    """Open alarms, oldest first; `rung` is how often."""
    # a row's own `count` is the tuple's method
    named = select(alarm, alarm.c.count.label("rung"))
    return tx.execute(named.where(OPEN).order_by(alarm.c.raised_at, alarm.c.id)).all()
