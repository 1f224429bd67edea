"""The relay: sends what the outbox owes, oldest first, at least once, and forgets nothing.

Invariants: only what a topic confirmed is marked sent; what was sent and not marked (a crash between) goes
out again with the same idempotency key; events of one group leave in order. A refused event (one that no
repetition makes acceptable) holds up nothing, stays owed, is tried again every minute, and rings. Later
verdicts on the same cover pass it, since their `verdict_seq` is higher and a consumer ignores what comes
late. With two keepers a repeat may come after a later event. No transaction is open while a topic is asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from coverguard.errors import TransientError
from coverguard.model import Micros, later
from coverguard.ports import Clock, OutgoingEvent, Published, Topic
from coverguard.store import Row, outbox
from coverguard.store.engine import Database
from coverguard.telemetry import Log

NOT_SENT: Final = "event_not_sent"
OVERDUE_AFTER: Final = timedelta(minutes=5)
REFUSED_AGAIN: Final = timedelta(minutes=1)
NAMED: Final = 20  # refused events that ring on their own account; where all are refused, one alarm will do
_PAGE: Final = 200
_PAGES: Final = 5  # a tick; the keeper's other steps wait


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    topic: str
    group: str
    again_at: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """One a keeper. Remembers what was refused until it is sent or the process ends."""

    database: Database
    topics: Mapping[str, Topic]  # by the outbox's names: pipeline, safety
    clock: Clock
    log: Log
    _refused: dict[int, _Refusal] = field(default_factory=dict, init=False, repr=False)

    def relay(self) -> int:
        """Send what is owed; return how many events are now known to have arrived.

        Raises `TransientError` in the end where a topic did not confirm everything: the rest stays owed.
        """
        sent, faults = 0, []
        for name, topic in self.topics.items():
            count, fault = self._relay_topic(name, topic)
            sent += count
            faults += [fault] if fault else []
        if faults:
            raise TransientError(f"events were not confirmed: {faults[0]}")
        return sent

    def not_sent(self) -> frozenset[str]:
        """Subjects to ring for: the topic where events are overdue, else what each refused event is about."""
        before = later(self.clock.now(), -OVERDUE_AFTER)
        with self.database.reading() as tx:
            overdue = outbox.overdue_topics(tx, before=before, besides=[*self._refused][:NAMED])
        crowded = {
            name for name in self.topics if sum(o.topic == name for o in self._refused.values()) > NAMED
        }
        named = {one.group for one in self._refused.values() if one.topic not in crowded}
        return frozenset({f"queue:{name}" for name in overdue | crowded} | named)

    def _relay_topic(self, name: str, topic: Topic) -> tuple[int, str]:
        sent, after = 0, 0
        for _ in range(_PAGES):
            with self.database.reading() as tx:
                rows = outbox.unsent(tx, limit=_PAGE, topic=name, after=after)
            due = [row for row in rows if not self._waits(int(row.id))]
            became = topic.publish([event_of(row) for row in due]) if due else Published()
            sent += self._note(name, due, became)
            if len(became.confirmed) + len(became.refused) < len(due):
                return sent, became.fault or "unknown"
            if len(rows) < _PAGE:
                break
            after = int(rows[-1].id)
        return sent, ""

    def _waits(self, row_id: int) -> bool:
        refusal = self._refused.get(row_id)
        return refusal is not None and self.clock.now() < refusal.again_at

    def _note(self, name: str, rows: Sequence[Row[Any]], became: Published) -> int:
        arrived = [int(row.id) for row in rows if row.idempotency_key in became.confirmed]
        now = self.clock.now()
        if arrived:
            with self.database.transaction() as tx:
                outbox.mark_sent(tx, arrived, now=now)
        for row_id in arrived:
            self._refused.pop(row_id, None)
        for row in rows:
            if row.idempotency_key in became.refused:
                again = later(now, REFUSED_AGAIN)
                if row.id not in self._refused:
                    self.log.line("event_refused", queue=name, subject=group_of(row), type=event_of(row).type)
                self._refused[int(row.id)] = _Refusal(topic=name, group=group_of(row), again_at=again)
        return len(arrived)


def event_of(row: Row[Any]) -> OutgoingEvent:
    document = json.loads(row.body)
    return OutgoingEvent(
        key=row.idempotency_key,
        group=group_of(row),
        type=document["type"],
        schema=document["schema"],
        body=row.body,
    )


def group_of(row: Row[Any]) -> str:
    """What an event is about: keys begin with our reference of it (`cover-…:3`, `case-…:flagged`)."""
    return str(row.idempotency_key).partition(":")[0]
