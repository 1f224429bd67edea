"""What became of a report: it moves with what happens to the things that it names, and its reporter is told.

`hidden` once something of it cannot be seen any more, `decided` once people have decided on all of it. The
outcome is told exactly once, and not to who wanted none; the thread shows the status in any case. A report
about which nothing can be decided by looking at pictures waits for a person to close it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from coverguard.lifecycle import ItemState, QuarantineState, ReportEvent, ReportState, TakedownState
from coverguard.model import Micros, TargetEffect, TargetKind, later
from coverguard.policy.reporting import ReportRules
from coverguard.ports import Clock
from coverguard.reporting import texts
from coverguard.reporting.accepting import OVERDUE_REPEATED
from coverguard.reporting.consequences import CAPPED, REACH, Consequences
from coverguard.reporting.texts import Outcome
from coverguard.reporting.thread import Threads
from coverguard.retrying import again_if_contended
from coverguard.store import (
    Connection,
    Row,
    alarms,
    audit,
    obligations,
    reports,
    reports_due,
    takedowns,
    threads,
)
from coverguard.store.engine import Database

SOME: Final = 200
LEFT_AFTER: Final = timedelta(minutes=1)  # whoever took it in is usually still on it before
QUIET_AFTER: Final = timedelta(hours=1)
CLOCKS: Final = ("report_review", "repeat_review", "removal_48h", "notice_24h")
OUT_OF_SIGHT: Final = ("removal_48h", "notice_24h")  # owed to make it unreachable, not to decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    database: Database
    threads: Threads
    consequences: Consequences
    clock: Clock
    rules: ReportRules

    def steps(self) -> tuple[Callable[[], int], ...]:
        """What the keeper does for reports, each returning how much it did."""
        return (
            self.serve_reports,
            self.tell_hidden,
            self.tell_decided,
            self.forget_reporters,
            self.calm_down,
        )

    # ── steps ──────────────────────────────────────────────────────────────────────────────────────────────

    def serve_reports(self) -> int:
        """Take up what a dead worker left, and what was unknown when it was reported and is there now."""
        with self.database.transaction() as tx:
            found = reports_due.take_up_found(tx, limit=SOME)
        with self.database.reading() as tx:
            left = reports_due.unserved(tx, before=self._ago(LEFT_AFTER), limit=SOME)
        for report_id in sorted({*found, *left}):
            self.consequences.serve(report_id)
        return len({*found, *left})

    def tell_hidden(self) -> int:
        with self.database.reading() as tx:
            due = reports_due.to_hide(tx, limit=SOME)
        return sum(self.progress(report_id) for report_id in due)

    def tell_decided(self) -> int:
        told, last = 0, 0
        while due := self._perhaps_decided(after=last):
            told += sum(self.progress(report_id) for report_id in due)
            last = due[-1]
        return told

    def _perhaps_decided(self, *, after: int) -> Sequence[int]:
        with self.database.reading() as tx:
            return reports_due.perhaps_decided(tx, after=after, limit=SOME)

    def forget_reporters(self) -> int:
        """Digests of networks and what reporters told of themselves go at their time."""
        networks = self._ago(self.rules.network_retention)
        with self.database.reading() as tx:
            due = threads.contacts_expired(tx, now=self.clock.now())
            due = due or reports_due.networks_to_forget(tx, before=networks)
        if not due:
            return 0
        with self.database.transaction() as tx:
            contacts = threads.erase_contacts(tx, now=self.clock.now())
            return contacts + reports_due.forget_networks(tx, before=networks)

    def calm_down(self) -> int:
        """The caps stop nothing any more since an hour."""
        with self.database.reading() as tx:
            ringing = [row for row in alarms.ringing(tx) if (row.kind, row.subject) == CAPPED]
        over = [row for row in ringing if row.seen_at < self._ago(QUIET_AFTER)]
        for row in over:
            with self.database.transaction() as tx:
                alarms.quiet(tx, kind=row.kind, subject=row.subject, now=self.clock.now())
        return len(over)

    def _ago(self, span: timedelta) -> Micros:
        return later(self.clock.now(), -span)

    # ── moving ─────────────────────────────────────────────────────────────────────────────────────────────

    @again_if_contended
    def progress(self, report_id: int) -> bool:
        """Move the report as far as things are, and tell its reporter; return whether it moved."""
        with self.database.transaction() as tx:
            row = reports.lock(tx, report_id)
            if row.state == ReportState.DECIDED.value:
                return False
            hidden = row.state == ReportState.RECEIVED.value and self._is_hidden(tx, row)
            if hidden:
                self._hide(tx, row)
                row = reports.by_id(tx, row.id)
            decided = self._decide(tx, row)
            return hidden or decided

    def _is_hidden(self, tx: Connection, row: Row[Any]) -> bool:
        """Something that it names is unreachable, and nothing of that is still on its way there."""
        for target in reports.targets(tx, row.id):
            if target.effect not in (TargetEffect.HIDDEN.value, TargetEffect.CAPPED.value):
                continue
            if target.kind == TargetKind.ACCOUNT.value:
                dark = self._takedown(tx, target)
                if dark is not None and dark.state in (TakedownState.DARK, TakedownState.VERIFIED_GONE):
                    return True
                continue
            states = reports.quarantine_states(tx, target)
            if QuarantineState.HELD.value in states and QuarantineState.REQUESTED.value not in states:
                return True
        return False

    def _takedown(self, tx: Connection, target: Row[Any]) -> Row[Any] | None:
        return takedowns.live(tx, target.account_id) if target.account_id is not None else None

    def _hide(self, tx: Connection, row: Row[Any]) -> None:
        now = self.clock.now()
        reports.advance(tx, row, ReportEvent.HIDE, hidden_at=now)
        self.threads.announce(tx, row, texts.HIDDEN, kind="status", now=now)
        for kind in OUT_OF_SIGHT:
            obligations.meet(tx, kind=kind, report_id=row.id, now=now)
        audit.write(tx, now=now, verb="report hidden", subject=row.ref)

    def _decide(self, tx: Connection, row: Row[Any]) -> bool:
        found = [(target, self._outcome(tx, row, target)) for target in reports.targets(tx, row.id)]
        words = [word for _, word in found if word is not None]
        if not found or len(words) < len(found):
            return False
        now = self.clock.now()
        for target, word in found:
            reports.decide_target(tx, target.id, outcome=str(word), now=now)
        self.end(tx, row, _together(words), now=now)
        return True

    def end(self, tx: Connection, row: Row[Any], outcome: Outcome, *, now: Micros) -> None:
        """All of it is decided: tell it once, and close what was owed and what rang."""
        told = None if row.opted_out else now
        reports.advance(tx, row, ReportEvent.DECIDE, decided_at=now, told_at=told)
        text = texts.outcome(outcome, hidden_by_machine=row.hidden_at is not None)
        if row.opted_out:
            self.threads.announce(tx, row, texts.STATUS_DECIDED, kind="status", now=now)
        else:
            self.threads.announce(tx, row, text, kind="outcome", now=now)
        for kind in CLOCKS:
            obligations.meet(tx, kind=kind, report_id=row.id, now=now)
        for kind in (OVERDUE_REPEATED, REACH):
            alarms.quiet(tx, kind=kind, subject=row.ref, now=now)
        facts = {"outcome": outcome.value, "told": not row.opted_out}
        audit.write(tx, now=now, verb="report decided", subject=row.ref, facts=facts)

    def close(self, tx: Connection, row: Row[Any], *, now: Micros) -> None:
        """A person ends it: what we do not have was not found, and the rest needs no verdict."""
        words = []
        for target in reports.targets(tx, row.id):
            unknown = target.effect == TargetEffect.UNKNOWN.value
            word = self._outcome(tx, row, target) or (Outcome.NOT_FOUND if unknown else Outcome.CLOSED)
            reports.decide_target(tx, target.id, outcome=word.value, now=now)
            words.append(word)
        self.end(tx, row, _together(words or [Outcome.CLOSED]), now=now)

    def _outcome(self, tx: Connection, row: Row[Any], target: Row[Any]) -> Outcome | None:
        """What people decided on a target; None while somebody still has to.

        What was cleared before this report came is no decision about it: somebody looks once more.
        """
        if target.decided_at is not None:
            return Outcome(target.outcome)
        if target.effect in (TargetEffect.NONE.value, TargetEffect.UNKNOWN.value):
            return None
        if target.kind == TargetKind.ACCOUNT.value:
            dark = self._takedown(tx, target)
            if dark is not None and dark.enumerated_at is None:
                return None
        states = reports.item_states(tx, target)
        if any(state in (ItemState.OPEN.value, ItemState.CLAIMED.value) for state, _ in states):
            return None
        removed = any(state == ItemState.CONFIRMED.value for state, _ in states)
        kept = any(state == ItemState.CLEARED.value and at >= row.received_at for state, at in states)
        return _word(removed=removed, kept=kept)


def _word(*, removed: bool, kept: bool) -> Outcome | None:
    if removed and kept:
        return Outcome.BOTH
    if removed:
        return Outcome.REMOVED
    return Outcome.KEPT if kept else None


def _together(words: Sequence[Outcome]) -> Outcome:
    """One word for all that a report names."""
    decisive = {one for one in words if one not in (Outcome.NOT_FOUND, Outcome.CLOSED)}
    if not decisive:
        return words[0]
    return decisive.pop() if len(decisive) == 1 else Outcome.BOTH
