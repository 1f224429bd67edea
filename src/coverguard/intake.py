"""Every incoming event finds its use case here: told once, stored once, answered with an outcome.

Uploads are screened. What an object store notifies of goes its own road (`objects`), each record by itself.
Tombstones, collaborators and playlist texts are recorded, a termination together with its takedown. Reports
are taken in by `reporting`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never

from coverguard.messages import (
    AccountReinstated,
    AccountRenamed,
    AccountTagged,
    AccountTerminated,
    CollaboratorAdded,
    CollaboratorRemoved,
    ContentReported,
    CoverDeleted,
    CoverUploaded,
    Incoming,
    PlaylistDeleted,
    PlaylistEdited,
    ReportAdded,
    ReportFiled,
    ReportRescreen,
    parse,
)
from coverguard.model import Done, Micros, Outcome, Retry, between, later
from coverguard.notifications import Record, alone, records_of, unwrapped
from coverguard.objects import ObjectEvents
from coverguard.ports import Clock, Delivery, Keys
from coverguard.reporting import Reporting
from coverguard.retrying import again_if_contended
from coverguard.screening import Screener
from coverguard.store import Connection, covers, takedowns
from coverguard.store.engine import Database

EARLY: Final = timedelta(minutes=1)
EARLY_FOR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    database: Database
    screener: Screener
    objects: ObjectEvents
    reporting: Reporting
    send_again: Callable[[Sequence[str]], None]  # to the queue of uploads
    keys: Keys
    clock: Clock
    statement_retention: timedelta

    @again_if_contended
    def handle(self, delivery: Delivery) -> Outcome:
        """Do what the message asks.

        Raises:
            BadMessage: it cannot be understood.
            TransientError: try again later.
        """
        body = unwrapped(delivery.body)
        records = records_of(body)
        if records is not None:
            return self._notified(records, sent_at=delivery.sent_at)
        event = parse(body)
        if isinstance(event, CoverUploaded):
            return self.screener.screen(event, sent_at=delivery.sent_at)
        if isinstance(event, CoverDeleted):
            return self._bury(event, sent_at=delivery.sent_at)
        if isinstance(event, ContentReported | ReportFiled | ReportAdded | ReportRescreen):
            return self.reporting.handle(event, sent_at=delivery.sent_at)
        with self.database.transaction() as tx:
            self._note(tx, event, now=self.clock.now())
        return Done(note="noted")

    def _notified(self, records: Sequence[Record], *, sent_at: Micros) -> Outcome:
        """Each record is a unit: several become a message each, so that none is held up by another."""
        if not records:
            return Done(note="test_event")
        if len(records) > 1:
            self.send_again([alone(record) for record in records])
            return Done(note="split")
        return self.objects.handle(records[0], sent_at=sent_at)

    def _bury(self, event: CoverDeleted, *, sent_at: Micros) -> Outcome:
        """Note the platform's deletion; one that overtook its upload waits for it for an hour."""
        with self.database.transaction() as tx:
            now = self.clock.now()
            cover = covers.find(tx, event.cover)
            if cover is not None:
                covers.mark_deleted(tx, cover, now=now)
                return Done(note="noted")
        if between(sent_at, now) < EARLY_FOR:
            return Retry(after=EARLY, note="early")
        return Done(note="unknown_cover")

    def _note(self, tx: Connection, event: Incoming, *, now: Micros) -> None:
        match event:
            case CollaboratorAdded() | CollaboratorRemoved():
                account_id = covers.know_account(tx, event.account_id, now=now)
                covers.note_collaboration(
                    tx,
                    playlist_id=event.playlist_id,
                    account_id=account_id,
                    active=isinstance(event, CollaboratorAdded),
                    at=event.occurred(),
                )
            case PlaylistEdited():
                self._keep_text(
                    tx,
                    event,
                    kind=event.field,
                    text=event.text,
                    by=event.editor_id,
                    playlist_id=event.playlist_id,
                )
            case AccountRenamed():
                self._keep_text(tx, event, kind="name", text=event.new_name, by=event.account_id)
            case AccountTagged():
                facts = {"by": event.by_account_id}
                self._store(
                    tx, event, facts, about=event.account_id, playlist_id=event.playlist_id, served=True
                )
            case PlaylistDeleted():
                self._store(tx, event, {}, playlist_id=event.playlist_id, served=True)
            case AccountTerminated():
                self._store(tx, event, {"reason": event.reason}, about=event.account_id, served=True)
                self._judge_termination(tx, event.account_id, now=now)
            case AccountReinstated():
                self._store(tx, event, {}, about=event.account_id, served=True)
                self._judge_termination(tx, event.account_id, now=now)
            case CoverUploaded() | CoverDeleted():
                raise AssertionError("handled before")
            case ContentReported() | ReportFiled() | ReportAdded() | ReportRescreen():
                raise AssertionError("handled before")
            case _ as never:
                assert_never(never)

    @staticmethod
    def _judge_termination(tx: Connection, platform_id: str, *, now: Micros) -> None:
        """In the same transaction, so that a termination without its takedown cannot be."""
        takedowns.judge_termination(tx, covers.know_account(tx, platform_id, now=now), now=now)

    def _store(
        self,
        tx: Connection,
        event: Incoming,
        facts: Mapping[str, str | int | None],
        *,
        served: bool,
        about: str | None = None,
        playlist_id: str | None = None,
    ) -> bool:
        now = self.clock.now()
        return covers.note_event(
            tx,
            event_id=event.event_id,
            event_type=event.type,
            facts=facts,
            occurred_at=event.occurred(),
            now=now,
            served=served,
            account_id=covers.know_account(tx, about, now=now) if about else None,
            playlist_id=playlist_id,
        )

    def _keep_text(
        self,
        tx: Connection,
        event: Incoming,
        *,
        kind: str,
        text: str,
        by: str | None,
        playlist_id: str | None = None,
    ) -> None:
        keep = later(event.occurred(), self.statement_retention)
        covers.note_statement(
            tx,
            event_id=event.event_id,
            kind=kind,
            text_sealed=self.keys.seal("private", text.encode(), context=event.event_id.encode()),
            said_at=event.occurred(),
            expires_at=keep,
            account_id=covers.know_account(tx, by, now=self.clock.now()) if by else None,
            playlist_id=playlist_id,
        )
