"""Alarms: something a person must know. One open row a (kind, subject); raising it again counts.

A row remembers when somebody was last told of it: an alarm is owed to a person until that is written. What
people are told, and when, is `policy.alarms`' word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select, update

from coverguard.model import Micros
from coverguard.policy.alarms import ALARMS
from coverguard.store.rows import ensure
from coverguard.store.schema import alarm

OPEN = alarm.c.closed_at.is_(None)


def ring(tx: Connection, *, kind: str, subject: str, now: Micros) -> bool:
    """Ensure that the alarm is open; return whether it is new.

    Raises:
        ValueError: there is no such kind in `policy.alarms.ALARMS`.
    """
    if kind not in ALARMS:
        raise ValueError(f"no such kind of alarm: {kind}")
    key = {"kind": kind, "subject": subject}
    row, new = ensure(tx, alarm, key, {"raised_at": now, "seen_at": now, "count": 1}, where=OPEN)
    if not new:
        tx.execute(update(alarm).where(alarm.c.id == row.id).values(seen_at=now, count=alarm.c.count + 1))
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


def ringing_by_kind(tx: Connection) -> Mapping[str, int]:
    """How many alarms of each kind ring; kinds that are silent are not named."""
    counted = select(alarm.c.kind, func.count()).where(OPEN).group_by(alarm.c.kind)
    return {str(kind): int(count) for kind, count in tx.execute(counted)}


def subjects(tx: Connection, kind: str, *, limit: int) -> Sequence[str]:
    """What open alarms of a kind are about, oldest first."""
    found = select(alarm.c.subject).where(alarm.c.kind == kind, OPEN).order_by(alarm.c.id).limit(limit)
    return list(tx.execute(found).scalars())


def to_tell(tx: Connection, *, ended_since: Micros) -> Sequence[Row[Any]]:
    """Open alarms, and those that ended since then of which somebody knows that they rang, and no more."""
    ended = and_(alarm.c.closed_at >= ended_since, alarm.c.paged_at <= alarm.c.closed_at)
    return tx.execute(select(alarm).where(or_(OPEN, ended)).order_by(alarm.c.id)).all()


def note_told(tx: Connection, alarm_ids: Collection[int], *, ended: bool, now: Micros) -> None:
    """Remember that somebody was told that these alarms ring, or that they have ended.

    One that ended while somebody was being told that it rings still owes the news of its end.
    """
    sooner = func.min if tx.dialect.name == "sqlite" else func.least
    told_at = alarm.c.closed_at + 1 if ended else sooner(now, func.coalesce(alarm.c.closed_at, now))
    tx.execute(update(alarm).where(alarm.c.id.in_(alarm_ids)).values(paged_at=told_at))
