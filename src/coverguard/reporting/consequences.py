"""What follows from a report: items in the account's one case, blocks within the caps, another look.

Each step is one transaction that writes intent, and may be taken twice; acting comes after it, and the keeper
takes up whatever was left. Rows are locked in the order cover version → account → item → quarantine. Hides by
report are blocks: no vault copy, no strike, and every one is a claim of the report for one cover version, so
that a person's clearing ends exactly it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from coverguard.acting import Enforcer
from coverguard.errors import CoverguardError
from coverguard.lifecycle import ItemState
from coverguard.model import Category, Micros, ReporterKind, TakedownCause, TargetEffect, TargetKind, later
from coverguard.policy.reporting import (
    KEYED,
    Ground,
    ReportEffects,
    ReportRules,
    Standing,
    Whole,
    effects_of_report,
)
from coverguard.ports import Clock
from coverguard.reporting.rescreening import Rescreening
from coverguard.retrying import again_if_contended
from coverguard.store import (
    Connection,
    Row,
    alarms,
    audit,
    cases,
    covers,
    outbox,
    quarantines,
    reports,
    standings,
    takedowns,
)
from coverguard.store.engine import Database
from coverguard.store.quarantines import Claimant
from coverguard.telemetry import Log

PAGE: Final = 100
HOUR: Final = timedelta(hours=1)
CAPPED: Final = ("report_hides_capped", "part:reports")
REACH: Final = "report_reach"


@dataclass(slots=True)
class _Served:
    """What came of one target so far."""

    effects: set[TargetEffect] = field(default_factory=set)
    hidden: list[int] = field(default_factory=list)  # cover versions to act on
    accounts: set[int] = field(default_factory=set)

    def effect(self) -> TargetEffect:
        """The one word for all of it: what was not hidden for a spent cap is what a person must see."""
        order = (TargetEffect.CAPPED, TargetEffect.HIDDEN, TargetEffect.RESCREENED)
        return next((one for one in order if one in self.effects), TargetEffect.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequences:
    database: Database
    enforcer: Enforcer
    rescreening: Rescreening
    clock: Clock
    log: Log
    rules: ReportRules

    def serve(self, report_id: int) -> int:
        """Do what the report calls for, target by target; return how many were served.

        Raises:
            TransientError: the ledger or the queue does not answer; what was done stays done.
        """
        with self.database.reading() as tx:
            report = reports.by_id(tx, report_id)
            waiting = [one for one in reports.targets(tx, report_id) if one.effected_at is None]
        for target in waiting:
            self._serve(report, target)
        return len(waiting)

    def _serve(self, report: Row[Any], target: Row[Any]) -> None:
        whole = target.kind == TargetKind.ACCOUNT.value
        served = self._account(report, target) if whole else self._named(report, target)
        for cover_version_id in served.hidden:
            self._settle(cover_version_id)
        for account_id in sorted(served.accounts):
            self.rescreening.begin(report.ref, account_id, now=self.clock.now())
        with self.database.transaction() as tx:
            only = next(iter(served.accounts)) if len(served.accounts) == 1 else None
            now = self.clock.now()
            reports.set_effect(tx, target.id, served.effect(), account_id=only, now=now)

    def _named(self, report: Row[Any], target: Row[Any]) -> _Served:
        """A cover or a playlist: what it shows is named, and hidden within the caps."""
        served, last = _Served(), 0
        while page := self._page(target, after=last):
            self._take(report, page, served, named=True)
            last = page[-1]
        return served

    def _account(self, report: Row[Any], target: Row[Any]) -> _Served:
        """A whole account: all that has no item yet joins its case, unless the takedown does that faster."""
        served, last = _Served(), 0
        accounts = self._accounts(report, target)
        while accounts and TargetEffect.HIDDEN not in served.effects:
            page = self._page(target, after=last)
            if page or last == 0:
                self._take(report, page, served, named=False, accounts=accounts)
            if not page:
                break
            last = page[-1]
        if TargetEffect.HIDDEN not in served.effects and not self._has_covers(target):
            served.effects.clear()  # nothing is known of it: taken up when there is
        return served

    def _accounts(self, report: Row[Any], target: Row[Any]) -> Sequence[int]:
        """The account, where it is known; who has a key is believed that it exists."""
        with self.database.transaction() as tx:
            if ReporterKind(report.source) in KEYED:
                return [covers.know_account(tx, target.named_id, now=self.clock.now())]
            return reports.account_ids(tx, [target])

    def _has_covers(self, target: Row[Any]) -> bool:
        with self.database.reading() as tx:
            return reports.has_covers(tx, target)

    def _page(self, target: Row[Any], *, after: int) -> Sequence[int]:
        with self.database.reading() as tx:
            return reports.cover_versions(tx, target, after=after, limit=PAGE)

    def _settle(self, cover_version_id: int) -> None:
        """What cannot be done now is written down, and the keeper finishes it."""
        try:
            self.enforcer.settle(cover_version_id)
        except CoverguardError as error:
            self.log.note("unsettled", error=type(error).__name__)

    @again_if_contended
    def _take(
        self,
        report: Row[Any],
        page: Sequence[int],
        served: _Served,
        *,
        named: bool,
        accounts: Sequence[int] = (),
    ) -> None:
        """Put a page of covers into their accounts' cases, and ask for what is to be hidden of them."""
        with self.database.transaction() as tx:
            found = covers.lock_many(tx, page)
            theirs = {int(cover.uploader_id) for cover in found}
            reports.take_turns(tx, {*theirs, *accounts})
            step = _Step(tx=tx, report=report, rules=self.rules, now=self.clock.now())
            step.open_cases(theirs)
            items = reports.newest_items(tx, page)
            for account_id in sorted({*theirs, *accounts} - served.accounts):  # as it is before any hide
                step.whole(account_id, named=named)
            for cover in found:
                step.take(cover, items.get(cover.id), named=named)
            step.ring_if_capped()
        served.effects |= step.effects
        served.hidden += step.hidden
        served.accounts |= {*theirs, *accounts}


class _Step:
    """One transaction's work for one report; the covers and accounts are locked, and it is our turn."""

    def __init__(self, *, tx: Connection, report: Row[Any], rules: ReportRules, now: Micros) -> None:
        self._tx, self._report, self._rules, self._now = tx, report, rules, now
        self._source = ReporterKind(report.source)
        self._category = Category(report.category)
        self._left = self._hides_left()
        self._spent: set[tuple[str, str]] = set()
        self._files: dict[int, Row[Any]] = {}
        self.effects: set[TargetEffect] = set()
        self.hidden: list[int] = []

    def _hides_left(self) -> int:
        since, caps = later(self._now, -HOUR), self._rules.caps
        left = caps.everywhere - reports.hides(self._tx, since=since)
        if self._report.network is None:
            return left
        own = reports.hides(self._tx, since=since, network=bytes(self._report.network))
        return min(left, caps.network - own)

    def open_cases(self, account_ids: Collection[int]) -> None:
        for account_id in sorted(account_ids):
            self._files[account_id], _ = cases.open_case(
                self._tx, account_id=account_id, category=self._category, now=self._now
            )

    def take(self, cover: Row[Any], item: Row[Any] | None, *, named: bool) -> None:
        """Have a person look at it; hide it, where it is named and may be hidden."""
        cleared = item is not None and item.state == ItemState.CLEARED.value
        if item is None or item.state != ItemState.CONFIRMED.value:  # else it is removed, and stays so
            item, _ = cases.add_item(
                self._tx,
                case_id=self._files[int(cover.uploader_id)].id,
                cover_version_id=cover.id,
                consequences=True,  # of a person's verdict: a report has none itself
                two_people=self._source is ReporterKind.HOTLINE,
                now=self._now,
            )
        if not named:
            return
        reports.join(self._tx, self._report.id, item.id, now=self._now)
        effect = self._named_effect(cover, cleared=cleared)
        if effect is TargetEffect.HIDDEN:
            self._hide(cover)
        self.effects.add(effect)

    def _named_effect(self, cover: Row[Any], *, cleared: bool) -> TargetEffect:
        free = _name(cover) in self._spent or self._is_hidden(cover)
        return effects_of_report(
            self._source,
            self._category,
            standing=Standing(),  # matters to everything else of the account alone
            caps=self._rules.caps,
            hides_left=1 if free else self._left,
            cleared=cleared,
        ).named

    def _is_hidden(self, cover: Row[Any]) -> bool:
        return cover.id in reports.hidden_by_report(self._tx, [cover.id])

    def _hide(self, cover: Row[Any]) -> None:
        """Ask for the cover to be blocked, for this report; what another keeps hidden need not be counted."""
        if self._is_hidden(cover):
            return
        if _name(cover) not in self._spent:
            self._spent.add(_name(cover))
            self._left -= 1
        blocked = bool(quarantines.of_cover(self._tx, cover.id))
        quarantines.request_of_cover(
            self._tx,
            cover,
            level="block",
            claimant=Claimant(report_id=self._report.id, cover_version_id=cover.id),
            relist_until=later(self._now, self._rules.relist),
            now=self._now,
        )
        if not blocked:
            outbox.tell_pipeline(self._tx, cover=cover, event="cover.withheld", now=self._now)
        self.hidden.append(int(cover.id))

    def ring_if_capped(self) -> None:
        if TargetEffect.CAPPED in self.effects:
            kind, subject = CAPPED
            alarms.ring(self._tx, kind=kind, subject=subject, now=self._now)

    def whole(self, account_id: int, *, named: bool) -> None:
        """What becomes of everything else of the account; of everything, where the account was named.

        A termination that waited for a case to be open takes effect by this.
        """
        terminated = takedowns.judge_termination(self._tx, account_id, now=self._now)
        standing = standings.of(self._tx, account_id, terminated=terminated)
        called_for = effects_of_report(
            self._source, self._category, standing=standing, caps=self._rules.caps, hides_left=0
        )
        asked = called_for.whole is Whole.ASK and alarms.ring(
            self._tx, kind=REACH, subject=self._report.ref, now=self._now
        )
        if (
            called_for.whole is Whole.HIDE and called_for.ground is not Ground.TERMINATED
        ):  # it is dark already
            self._take_down(account_id, called_for)
        if not named:
            dark = called_for.whole is Whole.HIDE
            self.effects.add(TargetEffect.HIDDEN if dark else TargetEffect.RESCREENED)
        if asked:  # a takedown has a row of its own; serving a report twice leaves no second one
            facts: Mapping[str, str | int] = {"whole": called_for.whole.value, "account": account_id}
            audit.write(self._tx, now=self._now, verb="ask a person", subject=self._report.ref, facts=facts)

    def _take_down(self, account_id: int, called_for: ReportEffects) -> None:
        cause = TakedownCause.SUPPORT if called_for.ground is Ground.SUPPORT else TakedownCause.REPORT
        keyed = self._source in KEYED
        takedowns.request(
            self._tx,
            account_id=account_id,
            cause=cause,
            origin=self._report.ref,
            level="block",
            actor=f"key {self._report.api_key_id}" if keyed else audit.MACHINE,
            role=self._source.value if keyed else "machine",
            now=self._now,
        )


def _name(cover: Row[Any]) -> tuple[str, str]:
    """What the public would call one cover, whatever its version."""
    return str(cover.surface), str(cover.cover_id)
