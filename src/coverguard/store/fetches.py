"""Exchanges: where a list comes from by itself, who fetches it now, how far it has come.

One process at a time fetches an exchange: it holds a lease, and what it writes is refused once the lease is
another's. A checkpoint is stored with the records that it stands for, in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select, update

from coverguard.errors import LeaseLost, NotFound, Refused
from coverguard.model import Micros
from coverguard.store.rows import insert_once, lock
from coverguard.store.schema import dead_letter, exchange, exchange_record, hash_list


def create(
    tx: Connection, *, name: str, list_id: int, kind: str, place: str, every: int, now: Micros
) -> bool:
    """Have a list come from an exchange; False where the name exists, and nothing is changed.

    Raises:
        Refused: the list comes from another exchange. A whole listing of one would withdraw the other's.
    """
    others = select(exchange.c.id).where(exchange.c.list_id == list_id, exchange.c.name != name)
    if tx.execute(others.limit(1)).first() is not None:
        raise Refused("that list comes from another exchange; each has a list of its own")
    values = {
        "list_id": list_id, "kind": kind, "place": place, "every": every, "enabled": True, "next_at": now,
    }  # fmt: skip
    return insert_once(tx, exchange, {"name": name}, values)[1]


def by_name(tx: Connection, name: str) -> Row[Any]:
    row = tx.execute(select(exchange).where(exchange.c.name == name)).one_or_none()
    if row is None:
        raise NotFound("no exchange has that name; see: coverguard import status")
    return row


def switch(tx: Connection, name: str, *, enabled: bool) -> None:
    tx.execute(update(exchange).where(exchange.c.name == name).values(enabled=enabled))


def due(tx: Connection, *, now: Micros) -> Sequence[str]:
    """Names of the exchanges whose time has come and that nobody fetches, longest due first."""
    free = or_(exchange.c.held_until.is_(None), exchange.c.held_until <= now)
    found = select(exchange.c.name).where(exchange.c.enabled, exchange.c.next_at <= now, free)
    return list(tx.execute(found.order_by(exchange.c.next_at)).scalars())


def take(tx: Connection, name: str, *, holder: str, until: Micros, now: Micros) -> Row[Any] | None:
    """Become the one who fetches; None where somebody else is."""
    row = lock(tx, exchange, by_name(tx, name).id)
    if row.held_until is not None and row.held_until > now and row.holder != holder:
        return None
    values = {"holder": holder, "held_until": until, "began_at": now}
    tx.execute(update(exchange).where(exchange.c.id == row.id).values(values))
    return row


def keep(tx: Connection, row: Row[Any], *, holder: str, until: Micros) -> Row[Any]:
    """Lock the exchange that one holds, and hold it longer.

    Raises:
        LeaseLost: somebody else fetches it by now.
    """
    held = lock(tx, exchange, row.id)
    if held.holder != holder:
        raise LeaseLost("somebody else fetches this exchange")
    tx.execute(update(exchange).where(exchange.c.id == row.id).values(held_until=until))
    return held


def note_progress(tx: Connection, row: Row[Any], **values: Any) -> None:  # noqa: ANN401 - its columns
    tx.execute(update(exchange).where(exchange.c.id == row.id).values(**values))


def let_go(tx: Connection, row: Row[Any], *, holder: str, **values: Any) -> None:  # noqa: ANN401 - its columns
    """Stop fetching; somebody else's lease is left alone."""
    ours = (exchange.c.id == row.id, exchange.c.holder == holder)
    tx.execute(update(exchange).where(*ours).values(holder=None, held_until=None, **values))


def enabled(tx: Connection) -> Sequence[Row[Any]]:
    """Every exchange that is fetched at its time."""
    return tx.execute(select(exchange).where(exchange.c.enabled).order_by(exchange.c.name)).all()


def failing(tx: Connection, *, times: int) -> Sequence[int]:
    """Ids of exchanges of which so many runs in a row have failed, or that have unreadable places."""
    bad = or_(exchange.c.failures >= times, exchange.c.gaps > 0)
    return list(tx.execute(select(exchange.c.id).where(exchange.c.enabled, bad)).scalars())


def status(tx: Connection) -> Sequence[Row[Any]]:
    """Every exchange with its list, its records, those that are gone, and what nobody could read or use."""
    records = (
        select(
            exchange_record.c.list_id,
            func.count().label("records"),
            func.sum(exchange_record.c.unsupported).label("unsupported"),
        )
        .where(~exchange_record.c.gone)
        .group_by(exchange_record.c.list_id)
        .subquery()
    )
    unread = (
        select(dead_letter.c.list_id, func.count().label("unread"))
        .where(dead_letter.c.settled_at.is_(None))
        .group_by(dead_letter.c.list_id)
        .subquery()
    )
    found = (
        select(
            exchange,
            hash_list.c.name.label("list_name"),
            func.coalesce(records.c.records, 0).label("records"),
            func.coalesce(records.c.unsupported, 0).label("unsupported"),
            func.coalesce(unread.c.unread, 0).label("unread"),
        )
        .join(hash_list, hash_list.c.id == exchange.c.list_id)
        .outerjoin(records, records.c.list_id == exchange.c.list_id)
        .outerjoin(unread, unread.c.list_id == exchange.c.list_id)
        .order_by(exchange.c.name)
    )
    return tx.execute(found).all()
