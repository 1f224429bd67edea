"""The keeper: walks what is unfinished, so that nothing depends on a message coming again.

Each tick relays the outbox, finishes acts that a dead worker left, asks again for held objects that nobody
has seen gone, looks for late renditions, answers for covers that got no answer, lapses claims and seals the
audit trail; now and then it looks around (`watching`) and rings. Every step may run twice, in several keepers
at once, and beside the workers.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from coverguard.acting import Enforcer
from coverguard.acting.enforcer import UNSETTLED
from coverguard.errors import CoverguardError, TransientError
from coverguard.grounds import Grounds
from coverguard.model import Micros, NotScreened, NotScreenedReason, Origin, later
from coverguard.ports import Clock, Queue, Reach
from coverguard.relaying import Relay
from coverguard.reporting import Reporting
from coverguard.retrying import uncontended
from coverguard.screening import AnswerRecorder
from coverguard.sealing import Sealer
from coverguard.store import Row, alarms, budgets, cases, covers, quarantines, screenings
from coverguard.store.engine import Database
from coverguard.store.lists import governance
from coverguard.store.screenings import Answer
from coverguard.takedown import TakedownDriver
from coverguard.telemetry import Log, Pulse
from coverguard.watching import Watch

TICK: Final = 0.5  # seconds
TAKEDOWNS: Final = "takedowns"  # the loop of their own
SETTLE_AFTER: Final = timedelta(seconds=5)  # a live worker is usually still on it before
LOST_AFTER: Final = timedelta(minutes=10)
RELIST_EVERY: Final = 30.0  # seconds
LOOK_EVERY: Final = 10.0  # seconds: each look asks every queue and the store, which cost money
ASK_AGAIN: Final = timedelta(seconds=5)
ASK_HOURLY: Final = timedelta(hours=1)
BEGINNING: Final = Micros(0)
LOOK_AT_ALL_EVERY: Final = 3600.0  # seconds
LATE_COMMITS: Final = timedelta(hours=1)  # more than clocks differ and transactions last
SOME: Final = 200
FEW: Final = 10  # a URL that times out takes seconds, and the other steps wait


@dataclass(slots=True)
class _Answered:
    """Up to when every announced cover has an answer: what is older need not be looked through each tick."""

    _until: Micros = BEGINNING
    _whole_at: float = -math.inf

    def since(self, before: Micros) -> Micros:
        """From when to look; all of it once an hour, whatever clocks may have done."""
        if time.monotonic() - self._whole_at >= LOOK_AT_ALL_EVERY:
            return BEGINNING
        return later(min(self._until, before), -LATE_COMMITS)

    def note(self, before: Micros) -> None:
        """All that was announced before then is answered."""
        if time.monotonic() - self._whole_at >= LOOK_AT_ALL_EVERY:
            self._whole_at = time.monotonic()
        self._until = before


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    database: Database
    enforcer: Enforcer
    recorder: AnswerRecorder
    uploads: Queue
    watch: Watch
    outgoing: Relay
    sealer: Sealer
    takedowns: TakedownDriver
    reporting: Reporting
    grounds: Grounds
    clock: Clock
    grace: timedelta
    forget_after: timedelta
    log: Log
    pulse: Pulse = field(default_factory=lambda: Pulse("keeper", TAKEDOWNS))
    _answered: _Answered = field(default_factory=_Answered, init=False, repr=False)
    _resting: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def run(self, stop: threading.Event) -> None:
        """Tick until told to stop; a tick that fails is said and tried again.

        Takedowns have a thread of their own: thousands of covers must not keep the other steps waiting.
        """
        beside = threading.Thread(target=self._take_down, args=(stop,), name=TAKEDOWNS)
        beside.start()
        try:
            self._tick(stop)
        finally:
            stop.set()
            beside.join()

    def _take_down(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._safely(self.drive_takedowns)
            self.pulse.beat(TAKEDOWNS)
            stop.wait(0 if self.takedowns.under_way else TICK)

    def _tick(self, stop: threading.Event) -> None:
        looked = relisted = -math.inf
        while not stop.is_set():
            now = time.monotonic()  # a clock that is set must not keep us from looking
            steps = [*self.acts()]
            if now - relisted >= RELIST_EVERY:
                steps.append(self.find_late_renditions)
                relisted = now
            if now - looked >= LOOK_EVERY:
                steps += [*self.reporting.steps(), *self.watch.steps(), self.takedowns.ring_stuck]
                looked = now
            for step in steps:
                self._safely(step)
                self.pulse.beat("keeper")
            stop.wait(TICK)

    def steps(self) -> tuple[Callable[[], int], ...]:
        """Everything but looking for late renditions, each returning how much it did."""
        looks = (*self.reporting.steps(), *self.watch.steps(), self.takedowns.ring_stuck)
        return (*self.acts(), self.drive_takedowns, *looks)

    def acts(self) -> tuple[Callable[[], int], ...]:
        """What is done at each tick."""
        return (
            self.relay,
            self.answer_for_the_silent,
            self.end_grace,
            self.finish_acts,
            self.verify_gone,
            self.revive_lost_retries,
            self.lapse_claims,
            self.reopen_lost,
            self.lift_expired_stops,
            self.close_batches,
            self.takedowns.serve_terminations,
            self.forget_deleted,
            self.expire_statements,
            self.seal,
            self.archive_heads,
        )

    def _safely(self, step: Callable[[], int]) -> None:
        """Take a step. One that fails slowly rests as long as it took: the others need their time."""
        begun = time.monotonic()
        if begun < self._resting.get(step.__name__, begun):
            return
        try:
            uncontended(step, clock=self.clock)
        except TransientError as error:
            self._resting[step.__name__] = 2 * time.monotonic() - begun
            self.log.line("unwell", error=type(error.__cause__ or error).__name__, note=step.__name__)
        except Exception as error:  # noqa: BLE001 - one step that fails must not stop the others
            self.log.bug(error)

    def relay(self) -> int:
        """Send what the outbox owes, oldest first; at least once."""
        return self.outgoing.relay()

    def seal(self) -> int:
        """Chain and sign what was written to the audit trail."""
        return self.sealer.seal()

    def archive_heads(self) -> int:
        """Lock the newest signed head away, now and then."""
        return self.sealer.archive_heads()

    def finish_acts(self) -> int:
        """Take up what is requested, or no longer wanted, and has been for a while; and what rings for it."""
        before = self._ago(SETTLE_AFTER)
        with self.database.reading() as tx:
            owing = {*quarantines.owing(tx, before=before, limit=SOME)}
            owing |= {*screenings.unsettled(tx, decided_before=before, limit=SOME)}
            rung = [covers.by_ref(tx, ref) for ref in alarms.subjects(tx, UNSETTLED, limit=SOME)]
            owing |= {int(cover.id) for cover in rung if cover is not None}
        for cover_version_id in sorted(owing):
            self._settle(cover_version_id)
        return len(owing)

    def _settle(self, cover_version_id: int) -> None:
        """One cover that cannot be settled must not keep the others from it."""
        try:
            self.enforcer.settle(cover_version_id)
        except CoverguardError as error:
            self.log.line("unsettled", error=type(error).__name__)
            with self.database.transaction() as tx:
                ref = covers.by_id(tx, cover_version_id).ref
                alarms.ring(tx, kind=UNSETTLED, subject=ref, now=self.clock.now())

    def verify_gone(self) -> int:
        """Ask again for held objects: soon where nobody has seen them gone, hourly where somebody has."""
        soon, hourly = self._ago(ASK_AGAIN), self._ago(ASK_HOURLY)
        with self.database.reading() as tx:
            rows = quarantines.to_ask(tx, not_gone_since=soon, gone_since=hourly, limit=FEW)
        for row in rows:
            reach = self.enforcer.verify_gone(row)
            if reach is Reach.REACHABLE or row.gone_at is None:
                self._settle(row.cover_version_id)
        return len(rows)

    def drive_takedowns(self) -> int:
        """Take every takedown that is due a page further."""
        return self.takedowns.turn(beat=lambda: self.pulse.beat(TAKEDOWNS))

    def find_late_renditions(self) -> int:
        """A resizer may finish after the hold: look again for a while."""
        with self.database.reading() as tx:
            due = quarantines.relisting(tx, now=self.clock.now())
        for cover_version_id in due:
            self._settle(cover_version_id)
        return len(due)

    def answer_for_the_silent(self) -> int:
        """Announced, and then nothing for the whole grace: that is an answer, too."""
        before = self._ago(self.grace)
        with self.database.reading() as tx:
            after = self._answered.since(before)
            silent = screenings.unanswered(tx, announced_after=after, announced_before=before, limit=SOME)
        for cover in silent:
            no_answer = NotScreened(reason=NotScreenedReason.NO_ANSWER)
            self._not_screened(cover, no_answer, since=cover.announced_at)
            self._send_again(cover)
        if len(silent) < SOME:
            self._answered.note(before)
        return len(silent)

    def end_grace(self) -> int:
        """Failing for the whole grace: withhold, even if no retry comes to say so."""
        with self.database.reading() as tx:
            failing = screenings.failing_since(tx, before=self._ago(self.grace), limit=SOME)
            rows = [(covers.by_id(tx, one.cover_version_id), one) for one in failing]
        for cover, row in rows:
            reason = NotScreenedReason(row.reason)
            self._not_screened(
                cover, NotScreened(reason=reason, detail=row.detail), since=row.first_failed_at
            )
        return len(rows)

    def _not_screened(self, cover: Row[Any], decision: NotScreened, *, since: Micros) -> None:
        answer = Answer(
            cover_version_id=cover.id,
            origin=Origin.UPLOAD,
            origin_id="",
            decision=decision,
            matches=(),
            fingerprint=None,
            judged_seq=None,
            failing_since=since,
        )
        with self.database.transaction() as tx:
            self.recorder.record(tx, answer, known_lists={}, now=self.clock.now())
        self._settle(cover.id)

    def revive_lost_retries(self) -> int:
        """A retry that is long overdue lost its message: send one again."""
        with self.database.reading() as tx:
            lost = screenings.overdue_retries(tx, due_before=self._ago(LOST_AFTER), limit=SOME)
            covers_of = [covers.by_id(tx, one.cover_version_id) for one in lost]
        for row, cover in zip(lost, covers_of, strict=True):
            with self.database.transaction() as tx:
                ours = screenings.postpone(tx, row, retry_at=self.clock.now())
            if ours:
                self._send_again(cover)
        return len(lost)

    def _send_again(self, cover: Row[Any]) -> None:
        with self.database.reading() as tx:
            body = covers.announcement(tx, cover)
        self.uploads.send([body])

    def lapse_claims(self) -> int:
        """Give back what a reviewer claimed and left."""
        with self.database.reading() as tx:
            if not cases.has_lapsed(tx, now=self.clock.now()):
                return 0
        with self.database.transaction() as tx:
            return cases.lapse(tx, now=self.clock.now())

    def reopen_lost(self) -> int:
        """Put before people again what rested on entries that their sources took back."""
        return self.grounds.reopen_lost()

    def lift_expired_stops(self) -> int:
        """Tell as a change that a stop's time is over."""
        with self.database.reading() as tx:
            if not governance.has_expired(tx, now=self.clock.now()):
                return 0
        with self.database.transaction() as tx:
            return governance.lift_expired(tx, now=self.clock.now())

    def close_batches(self) -> int:
        """Close batches in which nothing waits for a person."""
        with self.database.reading() as tx:
            if not budgets.any_decided(tx):
                return 0
        with self.database.transaction() as tx:
            return budgets.close_decided(tx, now=self.clock.now())

    def forget_deleted(self) -> int:
        """Fingerprints of deleted covers go after a while, where nothing of them is evidence."""
        before = self._ago(self.forget_after)
        with self.database.reading() as tx:
            due = screenings.forgettable(tx, deleted_before=before, limit=SOME)
        if not due:
            return 0
        with self.database.transaction() as tx:
            return screenings.forget(tx, due, deleted_before=before)

    def expire_statements(self) -> int:
        """What people wrote goes at its time, unless it is part of a case."""
        with self.database.reading() as tx:
            due = covers.expired_statements(tx, now=self.clock.now(), limit=SOME)
        if due:
            with self.database.transaction() as tx:
                covers.erase_statements(tx, due)
        return len(due)

    def _ago(self, span: timedelta) -> Micros:
        return later(self.clock.now(), -span)
