"""A report comes in, by whatever road: written down once, with its clocks, its thread and what it repeats.

The web's report is opened with the staff's key, the platform's button sends its own in the clear. Nothing is
believed that the sender cannot have from us: who names no live key of a role is anybody. A report that was
taken in is never lost for what is wrong with a part of it (an unusable mailbox, an unknown cover).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from coverguard.correspondence import NamedCover, ReportDetails, filed_context, reference_in, unsealed
from coverguard.errors import BadMessage
from coverguard.lifecycle import ReportState
from coverguard.messages import ContentReported, ReportFiled, ReportReceipted, from_micros
from coverguard.model import Category, Micros, ReporterKind, TargetKind, ThreadAuthor, later
from coverguard.policy.reporting import KEYED, ReportRules, priority
from coverguard.ports import Clock, Keys, Letterbox
from coverguard.reporting import texts
from coverguard.reporting.thread import Threads
from coverguard.retrying import again_if_contended
from coverguard.store import Connection, Row, alarms, audit, obligations, outbox, reports, threads
from coverguard.store.engine import Database
from coverguard.store.reports import Target
from coverguard.store.rows import new_ref

OVERDUE_REPEATED: Final = "report_overdue_repeated"
DEMANDING: Final = frozenset({ReporterKind.HOTLINE, ReporterKind.TRUSTED_FLAGGER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """A report as it came, whatever the road."""

    reference: str
    event_id: str
    known_as: str  # by whoever sent it
    source: ReporterKind
    details: ReportDetails = field(repr=False)
    api_key: str | None = None
    removal: bool = False
    mailbox: bytes | None = field(default=None, repr=False)
    network: bytes | None = field(default=None, repr=False)

    def targets(self) -> Sequence[Target]:
        """What it names, each once."""
        told = self.details
        named = [
            *(
                Target(kind=TargetKind.COVER, named_id=one.id, surface=one.surface, version=one.version)
                for one in told.covers
            ),
            *(Target(kind=TargetKind.PLAYLIST, named_id=one) for one in told.playlist_ids),
            *(Target(kind=TargetKind.ACCOUNT, named_id=one) for one in told.account_ids),
        ]
        return list(dict.fromkeys(named))


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    database: Database
    keys: Keys
    letters: Letterbox
    threads: Threads
    clock: Clock
    rules: ReportRules

    def read(self, event: ContentReported | ReportFiled) -> Filed:
        """Return what the message reports.

        Raises:
            BadMessage: what was sealed is no report.
            IntegrityFailure: it was sealed for another key, or changed on its way.
        """
        if isinstance(event, ReportFiled):
            plain = self.letters.open(event.sealed(), context=filed_context(event.reference))
            return Filed(
                reference=event.reference,
                event_id=event.event_id,
                known_as=event.reference,
                source=event.source,
                details=unsealed(ReportDetails, plain),
                api_key=event.api_key,
                removal=event.removal,
                mailbox=self._usable(event.mailbox),
                network=bytes.fromhex(event.network) if event.network else None,
            )
        return Filed(
            reference=new_ref("report"),
            event_id=event.event_id,
            known_as=event.report_id,
            source=ReporterKind.PLATFORM,
            details=_of_button(event),
            network=self.keys.mac("private", f"reporter:{event.reporter_id}".encode())
            if event.reporter_id
            else None,
        )

    def _usable(self, mailbox: str | None) -> bytes | None:
        """A mailbox that nothing can be sealed for is none; the report counts without it."""
        if mailbox is None:
            return None
        try:
            self.letters.seal(bytes.fromhex(mailbox), b"", context=b"try")
        except BadMessage:
            return None
        return bytes.fromhex(mailbox)

    @again_if_contended
    def file(self, filed: Filed) -> Row[Any]:
        """Write the report down, once, with its thread, its clocks and what it repeats."""
        with self.database.transaction() as tx:
            now = self.clock.now()
            targets = filed.targets()
            accounts = reports.account_ids(tx, targets)
            reports.take_turns(tx, accounts)
            known = reports.by_event(tx, filed.event_id) or reports.find(tx, filed.reference)
            if known is not None:
                return known
            row, _ = reports.file(tx, event_id=filed.event_id, values=self._values(tx, filed, now=now))
            reports.name(tx, row.id, targets)
            first = reports.first_open(tx, targets=targets, accounts=accounts, before=row.id)
            if first is not None:
                self._repeats(tx, first, row, now=now)
            self._owe(tx, row, filed, covered=first is not None and _covers(tx, first, row), now=now)
            self._begin_thread(tx, row, filed, now=now)
            self._receipt(tx, row, filed, now=now)
            return reports.by_id(tx, row.id)

    def _values(self, tx: Connection, filed: Filed, *, now: Micros) -> Mapping[str, Any]:
        told = filed.details
        key_id = reports.key_of(tx, filed.api_key, source=filed.source)
        believed = key_id is not None or (filed.source not in KEYED and filed.api_key is None)
        source = filed.source if believed else ReporterKind.ANONYMOUS
        urgent = told.urgent or self._demands(filed, source)
        return {
            "ref": filed.reference,
            "source": source.value,
            "state": ReportState.RECEIVED.value,
            "category": told.category.value,
            "urgent": urgent,
            "network": filed.network,
            "api_key_id": key_id,
            "mailbox": filed.mailbox,
            "country": told.country or None,
            "language": told.language or None,
            "opted_out": told.opted_out,
            "earlier_ref": told.earlier_reference or None,
            "priority": priority(source, told.category, urgent=urgent),
            "received_at": now,
        }

    def _demands(self, filed: Filed, source: ReporterKind) -> bool:
        """A removal that is demanded by who may, with a signature that was checked."""
        return filed.removal and source is ReporterKind.HOTLINE

    def _repeats(self, tx: Connection, first: Row[Any], row: Row[Any], *, now: Micros) -> None:
        """The same again: more pressing, on the same clock; a supervisor hears of it once it is late."""
        reports.note_repeat(tx, first, row)
        target = self.rules.target(urgent=first.urgent)
        if later(Micros(first.received_at), target) < now:
            due = later(now, self.rules.urgent_target)
            obligations.owe(tx, kind="repeat_review", report_id=first.id, due_at=due, now=now)
            alarms.ring(tx, kind=OVERDUE_REPEATED, subject=first.ref, now=now)

    def _owe(self, tx: Connection, row: Row[Any], filed: Filed, *, covered: bool, now: Micros) -> None:
        """Start this report's own clocks; what an open report names already has one that runs out sooner."""
        source = ReporterKind(row.source)
        clocks = {"report_review": self.rules.target(urgent=row.urgent)} if not covered or row.urgent else {}
        if row.category == Category.INTIMATE_IMAGE.value:
            clocks["removal_48h"] = self.rules.removal_target
        if self._demands(filed, source) or source is ReporterKind.TRUSTED_FLAGGER:
            clocks["notice_24h"] = self.rules.notice_target
        for kind, span in clocks.items():
            obligations.owe(tx, kind=kind, report_id=row.id, due_at=later(now, span), now=now)

    def _begin_thread(self, tx: Connection, row: Row[Any], filed: Filed, *, now: Micros) -> None:
        told = filed.details
        self.threads.say(
            tx, row, texts.told(told), entry_id=f"{row.ref}:report", author=ThreadAuthor.REPORTER,
            kind="report", now=now,
        )  # fmt: skip
        receipt = texts.received(row.ref, target=self.rules.target(urgent=row.urgent))
        self.threads.announce(tx, row, receipt, kind="receipt", now=now)
        if told.contact:
            threads.keep_contact(
                tx,
                report_id=row.id,
                contact_sealed=self.keys.seal("private", told.contact.encode(), context=row.ref.encode()),
                expires_at=later(now, self.rules.contact_retention),
            )

    def _receipt(self, tx: Connection, row: Row[Any], filed: Filed, *, now: Micros) -> None:
        event = ReportReceipted(
            event_id=f"{row.ref}:receipted",
            occurred_at=from_micros(now),
            report_id=filed.known_as,
            reference=row.ref,
        )
        outbox.tell_safety(tx, event=event, now=now)
        facts = {
            "source": row.source,
            "category": row.category,
            "urgent": row.urgent,
            "names": len(filed.targets()),
            "demand": self._demands(filed, ReporterKind(row.source)),
            "believed": row.source == filed.source.value,
        }
        audit.write(tx, now=now, verb="take in report", subject=row.ref, facts=facts)


def _of_button(event: ContentReported) -> ReportDetails:
    return ReportDetails(
        category=event.category,
        covers=[NamedCover(id=one.id, surface=one.surface, version=one.version) for one in event.covers],
        playlist_ids=list(event.playlist_ids),
        account_ids=[event.account_id] if event.account_id else [],
        text=event.text.replace("\0", ""),
        earlier_reference=reference_in(event.earlier_reference),
        urgent=event.urgent,
    )


def _covers(tx: Connection, first: Row[Any], row: Row[Any]) -> bool:
    """Whether all that a repeat names is named by the first, or is of an account that the first names."""
    named = {_key(one) for one in reports.targets(tx, first.id)}
    whole = {
        one.account_id for one in reports.targets(tx, first.id) if one.kind == TargetKind.ACCOUNT.value
    } - {None}
    return all(_key(one) in named or one.account_id in whole for one in reports.targets(tx, row.id))


def _key(target: Row[Any]) -> tuple[str, str | None, str]:
    return str(target.kind), target.surface, str(target.named_id)
