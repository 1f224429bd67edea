"""Exchanges into lists: one fetcher an exchange, what a page tells and how far that comes in one transaction.

A run goes from the checkpoint stored last to now. It may end anywhere and be taken up by anybody: what was
stored is stored, and reading it again changes nothing. Records that nobody could read are kept and counted.
What a whole listing did not name is withdrawn at its end, unless something of it could not be read, or it
would take away too much and nobody has said that this is right; the checkpoint stands where it was until
then. Runs of several deployments do not meet: times are spread by a tenth.

Each exchange is fetched in a thread of its own, so that a slow one keeps no other waiting, nor the end of
the process: what is not over a few seconds after it was told to stop loses its lease and writes no more.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from coverguard.errors import ConfigurationError, IntegrityFailure, LeaseLost, Refused, TransientError
from coverguard.exchanges import Batch, Exchange, ExchangeBusy
from coverguard.hashlist import shrinks_too_much
from coverguard.model import Micros, later
from coverguard.ports import Clock, Keys
from coverguard.retrying import again_if_contended
from coverguard.store import Connection, Row, audit, fetches
from coverguard.store.engine import Database
from coverguard.store.lists import dead_letters, governance, records
from coverguard.store.lists.dead_letters import DeadLetter
from coverguard.telemetry import Log, Pulse

LEASE: Final = timedelta(minutes=15)  # more than a page with all its retries takes
SILENT: Final = LEASE.total_seconds()  # … so that a fetch without a page for as long hangs
TICK: Final = 5.0  # seconds between looks at what is due
LAST_SECONDS: Final = 5.0  # for fetches to end by themselves, once told to stop
FAULT_CHARACTERS: Final = 200
SPREAD: Final = 0.1
WITHDRAWN_AT_ONCE: Final = 1000
FIRST_WAIT: Final = timedelta(seconds=30)
LONGEST_WAIT: Final = timedelta(hours=6)
DOUBLINGS: Final = 10
TROUBLE: Final = (TransientError, Refused, IntegrityFailure, ConfigurationError)


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run did, or with `dry_run` would have done."""

    records: int = 0
    upserts: int = 0
    withdrawals: int = 0
    unsupported: int = 0
    unread: int = 0
    gaps: int = 0
    position: str = ""
    caught_up: bool = False
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    database: Database
    keys: Keys
    clock: Clock
    log: Log
    holder: str  # a name that no other process has
    exchange_of: Callable[[Row[Any]], Exchange]
    pulse: Pulse = field(default_factory=lambda: Pulse("importer"))

    def run(self, stop: threading.Event) -> None:
        """Fetch what is due until told to stop. What fails is said, and tried again at its time."""
        beside = _Beside(self, stop)
        while not stop.is_set():
            try:
                with self.database.reading() as tx:
                    due = fetches.due(tx, now=self.clock.now())
                for name in due:
                    beside.start(name)
            except TransientError as error:
                self._unwell(error)
            except Exception as error:  # noqa: BLE001 - a bug here must not stop what is fetched beside
                self.log.bug(error)
            if not beside.hangs:
                self.pulse.beat("importer")
            stop.wait(TICK)
        for name in beside.end():
            with suppress(TransientError):  # then the lease ends by itself
                self._abandon(name)

    def fetch_beside(self, name: str, *, told: Callable[[Report], object], stop: threading.Event) -> None:
        """Run once as `run` does: nothing is raised."""
        try:
            self.fetch(name, progress=told, stop=stop)
        except TransientError as error:
            self._unwell(error)
        except Exception as error:  # noqa: BLE001 - one exchange that fails must not stop the others
            self.log.bug(error)

    def fetch(
        self,
        name: str,
        *,
        whole: bool = False,
        confirm_shrink: bool = False,
        progress: Callable[[Report], object] = lambda _report: None,
        stop: threading.Event | None = None,
    ) -> Report | None:
        """Run once; None where somebody else is at it. A fault is in the report, and on record.

        With `whole` everything is asked for again, from the beginning.

        Raises:
            NotFound: there is no such exchange.
            TransientError: the database is unwell.
        """
        row = self._take(name)
        if row is None:
            return None
        report = Report()
        with self._noting(row, report):
            since = None if whole else row.checkpoint
            self._run(row, report, since=since, confirm_shrink=confirm_shrink, progress=progress, stop=stop)
        outcome = "failed" if report.fault else "caught_up" if report.caught_up else "interrupted"
        self.log.line("fetched", subject=f"exchange:{row.id}", outcome=outcome)
        return report

    def preview(
        self,
        name: str,
        *,
        whole: bool = False,
        progress: Callable[[Report], object] = lambda _report: None,
    ) -> Report:
        """Read to the end and say what would change; store nothing, not even how far it came."""
        with self.database.reading() as tx:
            row = fetches.by_name(tx, name)
        report = Report()
        try:
            for batch in self.exchange_of(row).batches(None if whole else row.checkpoint):
                with self.database.reading() as tx:
                    found = records.compare(tx, self.keys, list_id=row.list_id, records=batch.records)
                _count(report, batch, found)
                progress(report)
            report.caught_up = True
        except TROUBLE as error:
            report.fault = str(error)
        return report

    @contextmanager
    def _noting(self, row: Row[Any], report: Report) -> Iterator[None]:
        """What ends a run before its time is in the report and on record, and the lease is given back."""
        try:
            yield
        except LeaseLost:
            report.fault = "somebody else fetches it by now"
        except ExchangeBusy as error:
            report.fault = str(error)
            self._let_go(row, fault=report.fault, next_at=self._in(min(error.after, LONGEST_WAIT)))
        except TROUBLE as error:
            report.fault = str(error)
            self._note_failure(row, report.fault)
        except Exception as error:
            self._note_failure(row, f"a bug, see the log: {type(error).__name__}")
            raise
        except BaseException:  # somebody pressed Ctrl-C
            self._let_go(row, next_at=self.clock.now())
            raise

    def _note_failure(self, row: Row[Any], fault: str) -> None:
        failures = row.failures + 1
        wait = min(FIRST_WAIT * 2 ** min(failures, DOUBLINGS), LONGEST_WAIT)
        self._let_go(row, fault=fault, next_at=self._in(wait), failures=failures)

    # ── one run ────────────────────────────────────────────────────────────────────────────────────────────

    def _run(
        self,
        row: Row[Any],
        report: Report,
        *,
        since: str | None,
        confirm_shrink: bool,
        progress: Callable[[Report], object],
        stop: threading.Event | None,
    ) -> None:
        run = secrets.randbits(62)  # tells this listing from every other, whatever clocks say
        clean = True
        for batch in self.exchange_of(row).batches(since):
            clean = clean and not batch.gaps and all(one.record_id for one in batch.faulty)
            ended = clean and batch.whole and batch.checkpoint is not None
            self._store(row, batch, report, run=run, hold=ended)
            progress(report)
            if ended:
                self._end_listing(row, batch, report, run=run, confirm_shrink=confirm_shrink)
            if stop is not None and stop.is_set():
                self._let_go(row, next_at=self.clock.now())
                return
        report.caught_up = True
        self._caught_up(row, report)

    @again_if_contended
    def _store(self, row: Row[Any], batch: Batch, report: Report, *, run: int, hold: bool) -> None:
        """Store what a page told and how far that comes; with `hold` the checkpoint waits for withdrawals."""
        with self.database.transaction() as tx:
            now = self.clock.now()
            held = fetches.keep(tx, row, holder=self.holder, until=later(now, LEASE))
            mark = run if batch.whole else None
            found = records.write(
                tx, self.keys, list_id=row.list_id, records=batch.records, run=mark, now=now,
                unread=[one.record_id for one in batch.faulty if one.record_id],
            )  # fmt: skip
            self._keep_unread(tx, row, batch, found, now=now)
            new = batch.checkpoint is not None and not hold
            checkpoint = batch.checkpoint if new else held.checkpoint
            fetches.note_progress(
                tx, row, checkpoint=checkpoint, position=batch.position[:100], gaps=batch.gaps
            )
        _count(report, batch, found)

    def _keep_unread(
        self, tx: Connection, row: Row[Any], batch: Batch, found: records.Compared, *, now: Micros
    ) -> None:
        unread = [DeadLetter(place=one.place, fault=one.fault, raw=one.raw) for one in batch.faulty]
        unread += [
            DeadLetter(
                place=batch.position[:100], fault="a record has more digests of one kind than are kept",
                raw=None, told_by=one.record_id.encode(),
            )
            for one in found.crowded
        ]  # fmt: skip
        dead_letters.keep_dead_letters(tx, self.keys, list_id=row.list_id, letters=unread, now=now)

    def _end_listing(
        self, row: Row[Any], batch: Batch, report: Report, *, run: int, confirm_shrink: bool
    ) -> None:
        """Withdraw what a whole listing did not name, and only then note that it was read.

        Raises:
            Refused: that is more than a fifth of the list, and nobody confirmed it.
        """
        with self.database.reading() as tx:
            missing, all_of_it = records.not_named(tx, row.list_id, run=run)
        if shrinks_too_much(all_of_it, all_of_it - missing) and not confirm_shrink:
            raise Refused(
                f"the whole listing leaves out {missing} of {all_of_it} records; ask the exchange, then: "
                f"coverguard import run {row.name} --whole --confirm-shrink"
            )
        while some := self._withdraw_some(row, run=run):
            report.withdrawals += some
        self._note_listed(row, batch, all_read=not report.unread)

    @again_if_contended
    def _note_listed(self, row: Row[Any], batch: Batch, *, all_read: bool) -> None:
        """What could not be read earlier is not in the list any more, or was read now."""
        with self.database.transaction() as tx:
            now = self.clock.now()
            fetches.keep(tx, row, holder=self.holder, until=later(now, LEASE))
            if all_read:
                dead_letters.settle_dead_letters(tx, list_id=row.list_id, now=now)
            fetches.note_progress(tx, row, checkpoint=batch.checkpoint)

    @again_if_contended
    def _withdraw_some(self, row: Row[Any], *, run: int) -> int:
        with self.database.transaction() as tx:
            now = self.clock.now()
            fetches.keep(tx, row, holder=self.holder, until=later(now, LEASE))
            return records.withdraw_not_named(tx, row.list_id, run=run, most=WITHDRAWN_AT_ONCE, now=now)

    @again_if_contended
    def _caught_up(self, row: Row[Any], report: Report) -> None:
        with self.database.transaction() as tx:
            now = self.clock.now()
            fetches.let_go(
                tx, row, holder=self.holder, next_at=self._in(timedelta(microseconds=row.every)),
                caught_up_at=now, failures=0, fault=None,
            )  # fmt: skip
            if not report.gaps:
                governance.note_refreshed(tx, row.list_id, now=now)
            if report.upserts or report.withdrawals:
                facts = {"upserts": report.upserts, "withdrawals": report.withdrawals}
                audit.write(tx, now=now, verb="import list", subject=f"list:{row.list_id}", facts=facts)

    # ── leases and times ───────────────────────────────────────────────────────────────────────────────────

    @again_if_contended
    def _take(self, name: str) -> Row[Any] | None:
        with self.database.transaction() as tx:
            now = self.clock.now()
            return fetches.take(tx, name, holder=self.holder, until=later(now, LEASE), now=now)

    @again_if_contended
    def _let_go(self, row: Row[Any], /, **values: Any) -> None:  # noqa: ANN401 - columns of the exchange
        if values.get("fault"):
            values["fault"] = values["fault"][:FAULT_CHARACTERS]
        with self.database.transaction() as tx:
            fetches.let_go(tx, row, holder=self.holder, **values)

    def _abandon(self, name: str) -> None:
        """Give back the lease of a fetch that does not end: what it still reads is stored by nobody."""
        with self.database.reading() as tx:
            row = fetches.by_name(tx, name)
        self._let_go(row, next_at=self.clock.now())

    def _unwell(self, error: TransientError) -> None:
        self.log.line("unwell", error=type(error.__cause__ or error).__name__)

    def _in(self, wait: timedelta) -> Micros:
        spread = 1 + SPREAD * (2 * random.random() - 1)  # noqa: S311 - only that not all ask at once
        return later(self.clock.now(), wait * spread)


class _Beside:
    """What is fetched beside the loop, each exchange in a thread of its own. For the loop's thread alone."""

    def __init__(self, fetcher: Fetcher, stop: threading.Event) -> None:
        self._fetcher, self._stop = fetcher, stop
        self._threads: dict[str, threading.Thread] = {}
        self._told: dict[str, float] = {}  # when each last told something, by a clock that nobody sets

    def start(self, name: str) -> None:
        """Fetch it, unless that is under way."""
        if name in self._going():
            return

        def told(_report: object = None) -> None:
            self._told[name] = time.monotonic()

        told()
        kept = {"told": told, "stop": self._stop}
        # A daemon: one that hangs in a request must not keep the process from ending.
        thread = threading.Thread(
            target=self._fetcher.fetch_beside, args=(name,), kwargs=kept, name="fetch", daemon=True
        )
        self._threads[name] = thread
        thread.start()

    @property
    def hangs(self) -> bool:
        """Whether one of them has told nothing for longer than a page takes."""
        return any(time.monotonic() - self._told[name] > SILENT for name in self._going())

    def end(self) -> list[str]:
        """Wait a little until all are over; return those that are not."""
        until = time.monotonic() + LAST_SECONDS
        for thread in self._threads.values():
            thread.join(max(0.0, until - time.monotonic()))
        return self._going()

    def _going(self) -> list[str]:
        return [name for name, thread in self._threads.items() if thread.is_alive()]


def _count(report: Report, batch: Batch, found: records.Compared) -> None:
    report.records += len(batch.records)
    report.upserts += len(found.changed)
    report.withdrawals += len(found.vanished)
    report.unsupported += sum(len(one.unsupported) for one in batch.records)
    report.unread += len(batch.faulty) + len(found.crowded)
    report.gaps = batch.gaps
    report.position = batch.position
