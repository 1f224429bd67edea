"""What happens to decisions when a source takes an entry back: what rested on it alone is looked at again.

A machine's hold or question that nobody has decided gets its clock, if it had none. A person's confirmation
that rests on the match record is put before people again; one of somebody who looked at the picture rests on
that, and stands. Nothing is released and nothing that was learnt is forgotten by this: a person decides,
soon. Which entry it was is written down, and shown with the item.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from coverguard.errors import IllegalTransition
from coverguard.lifecycle import ItemEvent, ItemState
from coverguard.model import Basis, Micros, VerdictOutcome, later
from coverguard.ports import Clock
from coverguard.store import Connection, Row, audit, cases, grounds, lists, obligations
from coverguard.store.engine import Database

WALK: Final = "withdrawn entries"
REOPENED, UNDECIDED = "reopened", "undecided"
NO_LONGER: Final = ("authority_report", "account_takedown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    database: Database
    clock: Clock
    review_target: timedelta

    def reopen_lost(self) -> int:
        """Walk the entries withdrawn since the last walk; return how many items lost their only ground.

        May run twice, and beside itself: an item loses a ground once a change.
        """
        with self.database.reading() as tx:
            after, upto = grounds.bookmark_at(tx, WALK), lists.newest_seq(tx)
            if after == upto:
                return 0
            withdrawn = grounds.withdrawn_between(tx, after=after, upto=upto)
            rested = [(entry, ref) for entry in withdrawn for ref in grounds.items_on(tx, entry.id)]
        lost = sum(self._lose(ref, entry) for entry, ref in rested)
        with self.database.transaction() as tx:
            grounds.move_bookmark(tx, WALK, at=upto)
        return lost

    def _lose(self, item_ref: str, entry: Row[Any]) -> bool:
        with self.database.transaction() as tx:
            now = self.clock.now()
            item = cases.lock_item(tx, item_ref, now=now)
            outcome = _outcome(item, confirmed_by_looking=_was_looked_at(tx, item))
            known = grounds.is_lost(tx, item, entry_id=entry.id, seq=entry.seq)
            if outcome is None or known or grounds.stands(tx, item):
                return False
            if outcome == REOPENED and not self._reopen(tx, item, now=now):
                outcome = UNDECIDED
            grounds.note_lost(tx, item, entry_id=entry.id, seq=entry.seq, outcome=outcome, now=now)
            due = later(now, self.review_target)
            obligations.owe(tx, kind="review", item_id=item.id, due_at=due, now=now)
            facts: dict[str, audit.Fact] = {
                "entry": entry.id, "list": entry.list_id, "seq": entry.seq, "outcome": outcome,
            }  # fmt: skip
            audit.write(tx, now=now, verb="lose ground", subject=item.ref, facts=facts)
            return True

    def _reopen(self, tx: Connection, item: Row[Any], *, now: Micros) -> bool:
        """Put it before people; False where its cover waits already, as an item of a newer case."""
        try:
            cases.join_open_case(tx, item, now=now)
        except IllegalTransition:
            return False
        cases.move_item(tx, item, ItemEvent.REOPEN)
        obligations.waive(tx, kinds=NO_LONGER, item_id=item.id, now=now)
        return True


def _outcome(item: Row[Any], *, confirmed_by_looking: bool) -> str | None:
    match ItemState(item.state):
        case ItemState.OPEN | ItemState.CLAIMED:
            return UNDECIDED
        case ItemState.CONFIRMED if not confirmed_by_looking:
            return REOPENED
        case _:
            return None


def _was_looked_at(tx: Connection, item: Row[Any]) -> bool:
    confirming = [one for one in cases.verdicts(tx, item.id) if one.outcome == VerdictOutcome.CONFIRM.value]
    return any(one.basis == Basis.VIEWED.value for one in confirming)
