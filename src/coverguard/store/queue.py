"""Queues in a table: the embedded profile's `Queue`, with the lease semantics of SQS.

A message belongs to whoever holds its newest receipt until `visible_at`. Settling with a stale receipt
changes nothing and raises `LeaseLost`. What ran out of leases `max_receive` times moves to the dead-letter
queue, whose name is the queue's with `.dead` behind it. One transaction a call.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, case, delete, func, insert, select, update

from coverguard.errors import LeaseLost
from coverguard.model import Done, Micros, Outcome, Reject, Retry, between, later
from coverguard.ports import Clock, Delivery
from coverguard.store.engine import Database
from coverguard.store.schema import queue_message

POLL: Final = timedelta(milliseconds=100)


class TableQueue:
    """One named queue."""

    def __init__(self, database: Database, name: str, *, clock: Clock, max_receive: int = 5) -> None:
        self.name = name
        self._database = database
        self._clock = clock
        self._max_receive = max_receive

    def send(self, bodies: Sequence[str], *, delay: timedelta = timedelta()) -> None:
        if not bodies:
            return
        now = self._clock.now()
        row = {"queue": self.name, "sent_at": now, "visible_at": later(now, delay), "attempts": 0}
        with self._database.transaction() as tx:
            # Inline: who may only send can read nothing back, not even a new row's id.
            tx.execute(insert(queue_message).inline(), [{**row, "body": body} for body in bodies])

    def receive(self, *, limit: int, wait: timedelta, lease: timedelta) -> Sequence[Delivery]:
        deadline = later(self._clock.now(), wait)
        while True:
            now = self._clock.now()
            # Looking first takes no write lock, so idle workers do not stand in the busy ones' way.
            if self._anything_visible(now):
                with self._database.transaction() as tx:
                    self._bury(tx, now)
                    leased = self._lease(tx, limit=limit, until=later(now, lease), now=now)
                if leased:
                    return leased
            if now >= deadline:
                return ()
            self._clock.sleep(min(POLL, between(now, deadline)))

    def extend(self, delivery: Delivery, *, lease: timedelta) -> None:
        until = later(self._clock.now(), lease)
        with self._database.transaction() as tx:
            moved = tx.execute(update(queue_message).where(*_mine(delivery)).values(visible_at=until))
            _only_ours(moved.rowcount)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        with self._database.transaction() as tx:
            match outcome:
                case Done():
                    changed = tx.execute(delete(queue_message).where(*_mine(delivery)))
                case Retry(after=after):
                    again = later(self._clock.now(), after)
                    values = {"visible_at": again, "receipt": None, "attempts": delivery.attempt - 1}
                    changed = tx.execute(update(queue_message).where(*_mine(delivery)).values(values))
                case Reject(reason=reason):
                    dead = {"queue": dead_letters(self.name), "receipt": None, "fault": reason[:500]}
                    changed = tx.execute(update(queue_message).where(*_mine(delivery)).values(dead))
            _only_ours(changed.rowcount)

    def depth(self) -> Mapping[str, int]:
        now = self._clock.now()
        state = case(
            (queue_message.c.queue == dead_letters(self.name), "dead"),
            (queue_message.c.visible_at <= now, "visible"),
            (queue_message.c.receipt.is_not(None), "leased"),
            else_="delayed",
        )
        ours = queue_message.c.queue.in_([self.name, dead_letters(self.name)])
        with self._database.reading() as tx:
            counted = tx.execute(select(state, func.count()).where(ours).group_by(state)).all()
        found = {str(name): int(count) for name, count in counted}
        return {name: found.get(name, 0) for name in ("visible", "delayed", "leased", "dead")}

    def redrive(self, *, limit: int | None = None) -> int:
        values = {
            "queue": self.name,
            "visible_at": self._clock.now(),
            "attempts": 0,
            "receipt": None,
            "fault": None,
        }
        dead = select(queue_message.c.id).where(queue_message.c.queue == dead_letters(self.name))
        some = dead.order_by(queue_message.c.id).limit(limit).with_for_update(skip_locked=True).cte("some")
        theirs = queue_message.c.id.in_(select(some.c.id))
        back = update(queue_message).where(theirs).values(values).returning(queue_message.c.id)
        with self._database.transaction() as tx:
            return len(tx.execute(back).all())  # SQLite counts no rows of a statement that begins WITH

    def _anything_visible(self, now: Micros) -> bool:
        waiting = select(queue_message.c.id).where(*self._visible(now)).limit(1)
        with self._database.reading() as tx:
            return tx.execute(waiting).first() is not None

    def _visible(self, now: Micros) -> tuple[Any, Any]:
        return queue_message.c.queue == self.name, queue_message.c.visible_at <= now

    def _bury(self, tx: Connection, now: Micros) -> None:
        """Dead-letter what killed its handler too often; whoever asks next finds it so."""
        worn_out = (
            select(queue_message.c.id)
            .where(*self._visible(now), queue_message.c.attempts >= self._max_receive)
            .with_for_update(skip_locked=True)
            .cte("worn_out")
        )
        fault = f"leased {self._max_receive} times and never settled"
        buried = {"queue": dead_letters(self.name), "receipt": None, "fault": fault}
        theirs = queue_message.c.id.in_(select(worn_out.c.id))
        tx.execute(update(queue_message).where(theirs).values(buried))

    def _lease(self, tx: Connection, *, limit: int, until: int, now: Micros) -> Sequence[Delivery]:
        free = (
            select(queue_message.c.id)
            .where(*self._visible(now))
            .order_by(queue_message.c.visible_at, queue_message.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("free")  # PostgreSQL may run a subquery more than once, and lease more than was asked for
        )
        receipt = secrets.token_hex(16)
        leased = (
            update(queue_message)
            .where(queue_message.c.id.in_(select(free.c.id)))
            .values(visible_at=until, receipt=receipt, attempts=queue_message.c.attempts + 1)
            .returning(queue_message)
        )
        rows = sorted(tx.execute(leased).all(), key=lambda row: int(row.id))
        return [
            Delivery(
                queue=self.name,
                body=row.body,
                receipt=f"{row.id}:{receipt}",
                attempt=row.attempts,
                sent_at=Micros(row.sent_at),
            )
            for row in rows
        ]


def dead_letters(name: str) -> str:
    return f"{name}.dead"


def _mine(delivery: Delivery) -> tuple[Any, Any, Any]:
    message_id, _, receipt = delivery.receipt.partition(":")
    return (
        queue_message.c.id == int(message_id),
        queue_message.c.receipt == receipt,
        queue_message.c.queue == delivery.queue,
    )


def _only_ours(changed: int) -> None:
    if changed != 1:
        raise LeaseLost("the lease ran out and the message was given to somebody else")
