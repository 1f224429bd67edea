"""The keeper's eyes: rings for what a person must know, tells people, and takes figures.

Warns of clocks that run out, rings for what is overdue, for queues nobody serves or that do not answer, dead
letters, spent budgets, a store that does not answer, a full disk, a clock that jumped; quiets each as soon as
it is over. An alarm that cannot be looked at is left as it is. Every step may run twice and in several
keepers; two keepers may tell people twice, with the same key. Nothing here acts on a cover.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from operator import attrgetter
from typing import Final

from coverguard.errors import CoverguardError, TransientError
from coverguard.model import Micros, between, later
from coverguard.policy import clocks, stale
from coverguard.policy.alarms import ALARMS, due_pages
from coverguard.ports import Clock, ObjectStore, Pager, PageState, Queue
from coverguard.relaying import NOT_SENT
from coverguard.screening.recording import BUDGET_ALARM, budget_subject
from coverguard.sealing import HEADS_BEHIND, HEADS_SUBJECT
from coverguard.store import alarms, budgets, fetches, figures, lists, obligations, takedowns
from coverguard.store.engine import Database
from coverguard.store.lists import dead_letters, governance
from coverguard.telemetry import Log

UNSERVED_AFTER: Final = timedelta(
    minutes=2
)  # longer than a dead worker's lease: its messages come back first
UNREACHABLE_AFTER: Final = timedelta(minutes=1)
PAGER_FAILS_AFTER: Final = timedelta(minutes=5)
AHEAD: Final = timedelta(minutes=1)  # more than clocks of one deployment may differ
DISK_LOW: Final = 2 * 1024**3  # bytes; nothing of the vault is ever deleted
ENDS_ARE_NEWS_FOR: Final = timedelta(days=1)
COUNTED_AGAIN_FOR: Final = timedelta(minutes=1)  # a row that committed late is still counted
NOWHERE: Final = "coverguard/readiness/"  # no object lies there

EXCHANGE_FAILS: Final = 3  # runs in a row
HIDDEN_BY_SUPPORT: Final = "hidden_by_support"
SOME: Final = 200  # clocks in one look
MARK_OF: Final = {kind: mark for mark, kind in clocks.WARNINGS.items()}

Subject = tuple[str, str]  # kind, subject


@dataclass(slots=True, kw_only=True)
class _Memory:
    """What is forgotten with the process: since when something lasts, and what was counted."""

    since: dict[Subject, Micros] = field(default_factory=dict)
    begun_at: Micros | None = None
    figures_at: Micros | None = None
    counted: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    database: Database
    store: ObjectStore
    buckets: Collection[str]  # of the store, to ask whether it answers
    incoming: Mapping[str, Queue]  # that workers serve
    clock: Clock
    pager: Pager
    log: Log
    free_disk: Callable[[], int] | None = None  # bytes; None where nothing of ours lies on a disk
    not_sent: Callable[[], Collection[str]] = frozenset  # subjects: topics, and what refused events are about
    heads_behind: Callable[[], bool] = bool  # whether audit heads wait to be signed or archived for long
    _memory: _Memory = field(default_factory=_Memory)

    def steps(self) -> tuple[Callable[[], int], ...]:
        """Everything there is to look at, each returning how many alarms began or ended."""
        return (
            self.warn_of_clocks,
            self.ring_overdue,
            self.ring_spent_budgets,
            self.ring_lists,
            self.ring_hidden_by_support,
            self.ring_queues,
            self.ring_parts,
            self.ring_outgoing,
            self.ring_heads,
            self.ring_clock,
            self.take_figures,
            self.tell_people,
        )

    # ── alarms ─────────────────────────────────────────────────────────────────────────────────────────────

    def warn_of_clocks(self) -> int:
        """Ring once for each mark that a clock passes; quiet what has been met or waived since."""
        now = self.clock.now()
        with self.database.reading() as tx:
            passing = obligations.to_warn(tx, now=now, limit=SOME)
        for one in passing:
            mark = clocks.passed(clocks.percent(opened_at=one.opened_at, due_at=one.due_at, now=now))
            with self.database.transaction() as tx:
                ours = obligations.note_warned(tx, one.id, mark=mark)
                if ours and (kind := clocks.WARNINGS.get(mark)) is not None:
                    alarms.ring(tx, kind=kind, subject=clocks.subject(one.kind, one.ref), now=now)
        return len(passing) + self._quiet_clocks()

    def _quiet_clocks(self) -> int:
        """End the warnings of clocks that no longer run.

        Alarms and clocks are of one moment: a warning that another keeper has just given is not ended by one
        that looked at the clocks before.
        """
        with self.database.reading() as tx:
            running = {clocks.subject(one.kind, one.ref): one.warned for one in obligations.warned(tx)}
            rung = [one for one in alarms.ringing(tx) if one.kind in MARK_OF]
        ended = [one for one in rung if running.get(one.subject, 0) < MARK_OF[one.kind]]
        if ended:
            with self.database.transaction() as tx:
                for one in sorted(ended, key=attrgetter("id")):
                    alarms.quiet(tx, kind=one.kind, subject=one.subject, now=self.clock.now())
        return len(ended)

    def ring_overdue(self) -> int:
        """Every obligation past its time rings until it is met."""
        with self.database.reading() as tx:
            overdue = obligations.owed(tx, due_before=self.clock.now())
        wanted = {(f"overdue_{one.kind}", one.ref) for one in overdue}
        return self._ring_exactly(wanted, kinds={kind for kind in ALARMS if kind.startswith("overdue_")})

    def ring_spent_budgets(self) -> int:
        """A spent hold budget rings until an hour has passed without one."""
        with self.database.reading() as tx:
            spent = budgets.spent(tx, now=self.clock.now())
        wanted = {(BUDGET_ALARM, budget_subject(one)) for one in spent}
        return self._ring_exactly(wanted, kinds={BUDGET_ALARM})

    def ring_lists(self) -> int:
        """Lists that are stale, not attested, not reviewed or not understood; exchanges that fail."""
        now = self.clock.now()
        with self.database.reading() as tx:
            subjects = {
                "list_stale": stale(lists.rules(tx), governance.refreshed(tx), now=now),
                "list_review_due": governance.reviews_due(tx, now=now),
                "list_not_attested": governance.not_attested(tx),
                "list_records_unreadable": dead_letters.unsettled(tx),
            }
            failing = {f"exchange:{one}" for one in fetches.failing(tx, times=EXCHANGE_FAILS)}
        wanted = {(kind, f"list:{one}") for kind, which in subjects.items() for one in which}
        wanted |= {("exchange_failing", one) for one in failing}
        return self._ring_exactly(wanted, kinds={*subjects, "exchange_failing"})

    def ring_hidden_by_support(self) -> int:
        """An account that support has hidden rings until somebody decides on it."""
        with self.database.reading() as tx:
            wanted = {(HIDDEN_BY_SUPPORT, ref) for ref in takedowns.hidden_by_support(tx)}
        return self._ring_exactly(wanted, kinds={HIDDEN_BY_SUPPORT})

    def ring_queues(self) -> int:
        """Dead letters, messages that nobody takes, queues that do not answer."""
        dead, unserved, silent = set(), set(), set()
        for name, queue in self.incoming.items():
            subject = f"queue:{name}"
            try:
                depth = queue.depth()
            except TransientError:
                silent.add(subject)
                continue
            for state, count in depth.items():
                self.log.metrics.gauge("coverguard_queue_messages", count, queue=name, state=state)
            if depth["dead"]:
                dead.add(subject)
            if depth["visible"] and not depth["leased"]:
                unserved.add(subject)
        changed = self._ring_exactly(
            {("dead_letters", one) for one in dead}, kinds={"dead_letters"}, unseen=silent
        )
        changed += self._ring_lasting("queue_unserved", unserved, patience=UNSERVED_AFTER, unseen=silent)
        return changed + self._ring_lasting("queue_unreachable", silent, patience=UNREACHABLE_AFTER)

    def ring_parts(self) -> int:
        """A store that does not answer, a disk that is nearly full."""
        silent = set()
        try:
            ask_store(self.store, self.buckets)
        except CoverguardError:
            silent.add("part:store")
        changed = self._ring_lasting("store_unreachable", silent, patience=UNREACHABLE_AFTER)
        if self.free_disk is not None:
            free = self.free_disk()
            self.log.metrics.gauge("coverguard_disk_free_bytes", free)
            full = {("disk_nearly_full", "part:home")} if free < DISK_LOW else set()
            changed += self._ring_exactly(full, kinds={"disk_nearly_full"})
        return changed

    def ring_outgoing(self) -> int:
        """Events that a topic refuses, or that are owed for minutes: the platform does not know a verdict."""
        return self._ring_exactly({(NOT_SENT, one) for one in self.not_sent()}, kinds={NOT_SENT})

    def ring_heads(self) -> int:
        """An audit trail that is not sealed and locked away can be rewritten."""
        behind = {(HEADS_BEHIND, HEADS_SUBJECT)} if self.heads_behind() else set()
        return self._ring_exactly(behind, kinds={HEADS_BEHIND})

    def ring_clock(self) -> int:
        """Rows from the future: while our clock is behind, nothing becomes due in time."""
        with self.database.reading() as tx:
            ahead = between(self.clock.now(), figures.newest(tx)) > AHEAD
        return self._ring_exactly(
            {("clock_jumped", "part:clock")} if ahead else set(), kinds={"clock_jumped"}
        )

    def _ring_lasting(
        self, kind: str, subjects: Iterable[str], *, patience: timedelta, unseen: Collection[str] = ()
    ) -> int:
        """Ring for what has lasted so long; what rings already goes on, as far as it is seen."""
        now = self.clock.now()
        since = self._memory.since
        lasting = {(kind, subject) for subject in subjects}
        for key in [key for key in since if key[0] == kind and key not in lasting]:
            del since[key]
        long = {key for key in lasting if between(since.setdefault(key, now), now) >= patience}
        return self._ring_exactly(long, kinds={kind}, going_on=lasting, unseen=unseen)

    def _ring_exactly(
        self,
        wanted: Collection[Subject],
        *,
        kinds: Collection[str],
        going_on: Collection[Subject] = (),
        unseen: Collection[str] = (),
    ) -> int:
        """Make the alarms of these kinds ring for what is wanted, and for nothing else.

        What is `going_on` does not begin to ring by that, and does not end; what is `unseen` neither.
        """
        with self.database.reading() as tx:
            rung = {(one.kind, one.subject) for one in alarms.ringing(tx) if one.kind in kinds}
        ended = {one for one in rung - {*wanted} if one not in going_on and one[1] not in unseen}
        begun = {*wanted} - rung
        if begun or ended:
            with self.database.transaction() as tx:
                now = self.clock.now()
                for kind, subject in sorted(begun):
                    alarms.ring(tx, kind=kind, subject=subject, now=now)
                for kind, subject in sorted(ended):
                    alarms.quiet(tx, kind=kind, subject=subject, now=now)
        return len(begun) + len(ended)

    # ── people ─────────────────────────────────────────────────────────────────────────────────────────────

    def tell_people(self) -> int:
        """Page what is due; what could not be told is told again, and rings itself after a while."""
        now = self.clock.now()
        with self.database.reading() as tx:
            rows = alarms.to_tell(tx, ended_since=later(now, -ENDS_ARE_NEWS_FOR))
        told = due_pages(rows, now=now)
        untold = 0
        for one in told:
            try:
                self.pager.page(one.page)
            except TransientError as error:
                self.log.line("not_paged", kind=one.page.kind, error=type(error.__cause__ or error).__name__)
                untold += one.page.count
                continue
            with self.database.transaction() as tx:
                alarms.note_told(tx, one.alarm_ids, ended=one.page.state is PageState.ENDED, now=now)
        self.log.metrics.gauge("coverguard_alarms_untold", untold)
        failing = {"part:pager"} if untold else set()
        return len(told) + self._ring_lasting("pages_not_delivered", failing, patience=PAGER_FAILS_AFTER)

    # ── figures ────────────────────────────────────────────────────────────────────────────────────────────

    def take_figures(self) -> int:
        """Take the ledger's figures for the metrics; changes nothing."""
        now = self.clock.now()
        memory = self._memory
        begun = memory.begun_at = memory.begun_at or now  # what was gone before was counted by somebody else
        since = max(begun, later(memory.figures_at or now, -COUNTED_AGAIN_FOR))
        with self.database.reading() as tx:
            standing = figures.standing(tx, now=now)
            ringing = alarms.ringing_by_kind(tx)
            gone = figures.gone_since(tx, since)
        gauge = self.log.metrics.gauge
        gauge("coverguard_outbox_owed", standing.outbox_owed)
        gauge("coverguard_outbox_oldest_seconds", standing.outbox_oldest)
        gauge("coverguard_unanswered_covers", standing.unanswered)
        gauge("coverguard_unanswered_oldest_seconds", standing.unanswered_oldest)
        gauge("coverguard_holds_not_gone", standing.not_gone)
        gauge("coverguard_holds_not_gone_oldest_seconds", standing.not_gone_oldest)
        gauge("coverguard_takedowns_not_verified", standing.takedowns_unverified)
        gauge("coverguard_takedowns_not_verified_oldest_seconds", standing.takedowns_unverified_oldest)
        gauge("coverguard_audit_unsealed", standing.audit_unsealed)
        gauge("coverguard_audit_unsealed_oldest_seconds", standing.audit_unsealed_oldest)
        for kind, known in ALARMS.items():
            gauge("coverguard_alarms_ringing", ringing.get(kind, 0), kind=kind, severity=known.severity)
        self.log.metrics.gone(spent for row_id, spent in gone.items() if row_id not in memory.counted)
        memory.counted, memory.figures_at = frozenset(gone), now
        gauge("coverguard_figures_at_seconds", now / 1e6)
        return 0


def ask_store(store: ObjectStore, buckets: Collection[str]) -> None:
    """Ask the store for something cheap in each bucket.

    Raises:
        CoverguardError: it does not answer as it should.
    """
    for bucket in sorted(buckets):
        next(iter(store.walk(bucket, prefix=NOWHERE)), None)
