"""The verbs of reports: accept, add, reply, read, close.

Accepting writes the report down first and acts afterwards, so that nothing that fails later can lose it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

from coverguard import access
from coverguard.access import Verb
from coverguard.correspondence import MAX_TEXT, ReportAddition, added_context, unsealed
from coverguard.errors import Refused
from coverguard.lifecycle import ReportState
from coverguard.messages import ContentReported, ReportAdded, ReportFiled, ReportRescreen, parse
from coverguard.model import Actor, Done, Micros, Outcome, Retry, ThreadAuthor, between, later
from coverguard.policy.reporting import ReportRules
from coverguard.ports import Clock, Keys, Letterbox
from coverguard.reporting import texts
from coverguard.reporting.accepting import Acceptance
from coverguard.reporting.consequences import Consequences
from coverguard.reporting.outcomes import Outcomes
from coverguard.reporting.rescreening import Rescreening
from coverguard.reporting.thread import Entry, Threads
from coverguard.retrying import again_if_contended
from coverguard.screening import Screener
from coverguard.store import audit, obligations, reports, reports_due
from coverguard.store.engine import Database
from coverguard.store.rows import new_ref

ReportEvent = ContentReported | ReportFiled | ReportAdded | ReportRescreen
EARLY: Final = timedelta(minutes=1)
SOME: Final = 50
EARLY_FOR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    database: Database
    letters: Letterbox
    threads: Threads
    acceptance: Acceptance
    consequences: Consequences
    outcomes: Outcomes
    rescreening: Rescreening
    clock: Clock
    rules: ReportRules

    @classmethod
    def beside(
        cls,
        screener: Screener,
        *,
        keys: Keys,
        letters: Letterbox,
        send: Callable[[Sequence[str]], None],
        rules: ReportRules,
    ) -> Self:
        """Put the parts together; `send` is to a queue that workers serve."""
        database, clock = screener.database, screener.clock
        threads = Threads(keys=keys, letters=letters)
        rescreening = Rescreening(screener=screener, send=send)
        consequences = Consequences(
            database=database, enforcer=screener.enforcer, rescreening=rescreening, clock=clock,
            log=screener.log, rules=rules,
        )  # fmt: skip
        return cls(
            database=database,
            letters=letters,
            threads=threads,
            acceptance=Acceptance(
                database=database, keys=keys, letters=letters, threads=threads, clock=clock, rules=rules
            ),
            consequences=consequences,
            outcomes=Outcomes(
                database=database, threads=threads, consequences=consequences, clock=clock, rules=rules
            ),
            rescreening=rescreening,
            clock=clock,
            rules=rules,
        )

    def handle(self, event: ReportEvent, *, sent_at: Micros) -> Outcome:
        """Do what a message about reports asks. Raises as the verbs do."""
        if isinstance(event, ReportAdded):
            return self.add(event, sent_at=sent_at)
        if isinstance(event, ReportRescreen):
            return self.rescreening.handle(event, sent_at=sent_at)
        return self.accept(event)

    def accept(self, event: ContentReported | ReportFiled) -> Outcome:
        """Take a report in, once, and do at once what it calls for.

        Raises:
            BadMessage: what was sealed is no report.
            IntegrityFailure: it was sealed for another key, or changed on its way.
            TransientError: try again later; what was written stays written.
        """
        row = self.acceptance.file(self.acceptance.read(event))
        self.consequences.serve(row.id)
        self.outcomes.progress(row.id)
        return Done(note="reported")

    @again_if_contended
    def add(self, event: ReportAdded, *, sent_at: Micros) -> Outcome:
        """Append what the reporter added, once; from anybody else it is dropped, and counted.

        A decided report is owed another look by this: who adds to it may ask for one.

        Raises:
            BadMessage: what was sealed is no addition.
            IntegrityFailure: it was sealed for another key, or changed on its way.
        """
        told = unsealed(
            ReportAddition, self.letters.open(event.sealed(), context=added_context(event.reference))
        )
        with self.database.transaction() as tx:
            now = self.clock.now()
            found = reports.find(tx, event.reference)
            if found is None:
                early = between(sent_at, now) < EARLY_FOR  # it overtook its report
                return Retry(after=EARLY, note="early") if early else Done(note="unknown_report")
            row = reports.lock(tx, found.id)
            if row.mailbox is None or bytes(row.mailbox) != bytes.fromhex(event.mailbox):
                return Done(note="not_the_reporter")
            text = texts.added(told)
            if not text.strip():
                return Done(note="empty_addition")
            new = self.threads.say(
                tx, row, text, entry_id=event.event_id, author=ThreadAuthor.REPORTER, kind="addition",
                now=now,
            )  # fmt: skip
            if new and row.state == ReportState.DECIDED.value:
                due = later(now, self.rules.review_target)
                obligations.owe(tx, kind="report_review", report_id=row.id, due_at=due, now=now)
            if new:
                audit.write(tx, now=now, verb="add to report", subject=row.ref)
        return Done(note="added")

    # ── people ─────────────────────────────────────────────────────────────────────────────────────────────

    @again_if_contended
    def reply(self, ref: str, text: str, *, actor: Actor) -> None:
        """Answer the reporter, in the thread.

        Raises:
            Refused: the actor may not answer, or says nothing, or too much.
            NotFound: no report has that reference.
        """
        access.require(actor, Verb.ANSWER_REPORTS)
        if not text.strip() or len(text) > MAX_TEXT or "\0" in text:
            raise Refused(f"an answer has 1 to {MAX_TEXT} characters")
        with self.database.transaction() as tx:
            now = self.clock.now()
            row = reports.lock(tx, reports.by_ref(tx, ref).id)
            self.threads.say(
                tx, row, text, entry_id=new_ref("reply"), author=ThreadAuthor.STAFF, kind="reply", now=now
            )
            if row.state == ReportState.DECIDED.value:  # the reporter had asked again
                obligations.meet(tx, kind="report_review", report_id=row.id, now=now)
            audit.write(tx, now=now, verb="answer report", subject=row.ref, actor=actor.name, role=actor.role)

    @again_if_contended
    def transcript(self, ref: str, *, actor: Actor) -> Sequence[Entry]:
        """The whole correspondence of a report. Reading it is audited.

        Raises:
            Refused: the actor may not read reports.
            NotFound: no report has that reference.
        """
        access.require(actor, Verb.READ_REPORTS)
        with self.database.transaction() as tx:
            row = reports.by_ref(tx, ref)
            now = self.clock.now()
            audit.write(tx, now=now, verb="read report", subject=row.ref, actor=actor.name, role=actor.role)
            return self.threads.read(tx, row)

    @again_if_contended
    def close(self, ref: str, *, actor: Actor) -> None:
        """Decide what no verdict on a picture will decide: things that we do not have, or words alone.

        Raises:
            Refused: the actor may not, or something that it names waits for a verdict.
            NotFound: no report has that reference.
        """
        access.require(actor, Verb.ANSWER_REPORTS)
        with self.database.transaction() as tx:
            now = self.clock.now()
            row = reports.lock(tx, reports.by_ref(tx, ref).id)
            if row.state == ReportState.DECIDED.value:
                return
            if reports.awaits_verdict(tx, row.id):
                raise Refused("something that this report names waits for a verdict; see: coverguard cases")
            audit.write(tx, now=now, verb="close report", subject=row.ref, actor=actor.name, role=actor.role)
            self.outcomes.close(tx, row, now=now)

    def steps(self) -> tuple[Callable[[], int], ...]:
        """What the keeper does for reports."""
        return (self.take_in_stored, *self.outcomes.steps())

    def take_in_stored(self) -> int:
        """Act on what an earlier release only stored: its reporters have waited long enough."""
        with self.database.reading() as tx:
            stored = reports_due.stored_by_earlier(tx, limit=SOME)
        for event_id, sealed in stored:
            plain = self.acceptance.keys.open("private", sealed, context=event_id.encode())
            event = parse(plain.decode())
            assert isinstance(event, ContentReported)
            self.accept(event)
            with self.database.transaction() as tx:
                reports_due.mark_served(tx, event_id, now=self.clock.now())
        return len(stored)
