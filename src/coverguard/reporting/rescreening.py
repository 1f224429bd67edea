"""The rest of a reported account is looked at again: at once, in stretches, with what the lists say now.

Only covers whose newest answer rests on older lists are read anew, and those with an item of which no crops
are known yet, should a person remove them; the others have been compared with every entry within every list's
radius already, so that a thousand reports of one account cost one look. The answers
are recorded under the report, with a report's effects: a match is blocked and joins the case, a pass changes
nothing. A stretch sends for the next one; done twice it finds nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from coverguard.errors import CoverguardError
from coverguard.messages import ReportRescreen, dump, from_micros
from coverguard.model import Done, Micros, NotScreened, NotScreenedReason, Origin, Outcome, Retry, between
from coverguard.screening import Screener
from coverguard.store import Row, covers, lists, reports, reports_due
from coverguard.store.screenings import Answer
from coverguard.telemetry import Stopwatch

STRETCH: Final = 50
AGAIN: Final = timedelta(minutes=1)
GIVE_UP: Final = timedelta(days=1)
_SOON_CURED: Final = frozenset({NotScreenedReason.STORE_UNREACHABLE, NotScreenedReason.DECODER_UNAVAILABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescreening:
    screener: Screener
    send: Callable[[Sequence[str]], None]  # to a queue that workers serve

    def begin(self, reference: str, account_id: int, *, now: Micros) -> bool:
        """Send for the account's covers to be looked at again, where any of them needs it."""
        with self.screener.database.reading() as tx:
            seq = lists.newest_seq(tx)  # the keeper may not read lists, but knows how new they are
            stale = reports_due.judged_before(tx, account_id, seq=seq, after=0, limit=1)
        if stale:
            self.send([dump(_stretch(reference, account_id, after=0, now=now))])
            return True
        return False

    def handle(self, event: ReportRescreen, *, sent_at: Micros) -> Outcome:
        """Look at one stretch of covers, and send for the next.

        Raises:
            TransientError: the lists or the ledger do not answer.
        """
        stretch = self._stale(event.account, after=event.after, limit=STRETCH)
        looked = [self._look(cover_version_id, event.reference) for cover_version_id in stretch]
        now = self.screener.clock.now()
        if not all(looked) and between(sent_at, now) < GIVE_UP:
            return Retry(after=AGAIN, note="rescreen_incomplete")
        if len(stretch) == STRETCH:
            self.send([dump(_stretch(event.reference, event.account, after=stretch[-1], now=now))])
        return Done(note="rescreened")

    def _stale(self, account_id: int, *, after: int, limit: int) -> Sequence[int]:
        seq = self.screener.knowledge.current().seq
        with self.screener.database.reading() as tx:
            return reports_due.judged_before(tx, account_id, seq=seq, after=after, limit=limit)

    def _look(self, cover_version_id: int, reference: str) -> bool:
        """Answer for one cover once more; return whether that is done."""
        screener, knowledge = self.screener, self.screener.knowledge.current()
        with screener.database.reading() as tx:
            cover = covers.by_id(tx, cover_version_id)
            named = bool(reports.newest_items(tx, [cover_version_id]))
        decision, matches, fingerprint = screener.look(cover, knowledge, Stopwatch(), for_lists=named)
        if isinstance(decision, NotScreened):  # its earlier answer stands
            return decision.reason not in _SOON_CURED
        answer = Answer(
            cover_version_id=cover_version_id,
            origin=Origin.REPORT,
            origin_id=reference,
            decision=decision,
            matches=matches,
            fingerprint=fingerprint,
            judged_seq=knowledge.seq,
        )
        with screener.database.transaction() as tx:
            row = screener.recorder.record(
                tx, answer, known_lists=knowledge.known_lists(), now=screener.clock.now()
            )
        self._settle(row)
        return True

    def _settle(self, row: Row[Any]) -> None:
        """What cannot be done now is written down, and the keeper finishes it."""
        if row.settled_at is None:
            try:
                self.screener.enforcer.settle(row.cover_version_id)
            except CoverguardError as error:
                self.screener.log.note("unsettled", error=type(error).__name__)


def _stretch(reference: str, account_id: int, *, after: int, now: Micros) -> ReportRescreen:
    return ReportRescreen(
        event_id=f"{reference}:rescreen:{account_id}:{after}",
        occurred_at=from_micros(now),
        reference=reference,
        account=account_id,
        after=after,
    )
