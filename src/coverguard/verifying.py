"""Invariants as code: is every promise kept that this release can check?

Each check asks the world again (URLs, the store, the sealed rows) and returns what breaks it, by reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from coverguard import contacts
from coverguard.acting import Enforcer
from coverguard.algorithms import Algorithm, Algorithms
from coverguard.auditing import Auditor
from coverguard.errors import IntegrityFailure
from coverguard.messages import from_micros
from coverguard.model import Micros, later
from coverguard.ports import Clock, Keys, Queue, Reach
from coverguard.store import (
    alarms,
    covers,
    darkening,
    lists,
    obligations,
    outbox,
    quarantines,
    reports,
    reports_due,
    screenings,
    takedowns,
)
from coverguard.store.engine import Database

SETTLED_WITHIN: Final = timedelta(minutes=5)
SENT_WITHIN: Final = timedelta(minutes=5)
MANY: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check: nothing found means that the promise is kept."""

    check: str
    promise: str
    found: Sequence[str]  # references or counts, never contents

    @property
    def broken(self) -> bool:
        return bool(self.found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    database: Database
    enforcer: Enforcer
    auditor: Auditor
    keys: Keys
    clock: Clock
    queues: Mapping[str, Queue]
    grace: timedelta
    takedown_target: timedelta
    algorithms: Mapping[str, Algorithm] = field(default_factory=Algorithms)

    def run(self) -> list[Finding]:
        """Check everything; a check that cannot be made raises, and nothing is taken for kept."""
        checks: Sequence[tuple[str, str, Callable[[], Sequence[str]]]] = (
            ("held_covers_gone", "no held cover is public, asked anew", self._reachable),
            ("every_announced_answered", "every announced cover has an answer", self._unanswered),
            ("failures_withheld", "what could not be screened is withheld", self._unwithheld),
            ("quarantines_settled", "no quarantine is unsettled", self._unsettled),
            ("outbox_sent", "every owed event was sent", self._unsent),
            ("no_dead_letters", "no message is dead-lettered", self._dead),
            ("obligations_in_time", "nothing we owe people is overdue", self._overdue),
            ("lists_open", "every sealed list row opens with our key", self._sealed),
            ("audit_unchanged", "the audit trail is as it was written and sealed", self._altered),
            ("events_served", "terminations and reports are acted on", self._unserved),
            ("takedowns_served", "accounts that are to be dark are verified dark, in time",
             self._takedowns),
            ("contacts_reviewed", "help contacts on receipts were reviewed in time", self._contacts),
        )  # fmt: skip
        return [Finding(check=name, promise=promise, found=list(check())) for name, promise, check in checks]

    def _reachable(self) -> Sequence[str]:
        with self.database.reading() as tx:
            rows = quarantines.held(tx)
        asked = [(row.ref, self.enforcer.verify_gone(row)) for row in rows]
        said = {Reach.REACHABLE: "is served", Reach.UNKNOWN: "could not be asked: does the file server run?"}
        return [f"{ref} {said[reach]}" for ref, reach in asked if reach is not Reach.GONE]

    def _unanswered(self) -> Sequence[str]:
        with self.database.reading() as tx:
            silent = screenings.unanswered(tx, announced_before=self._ago(self.grace), limit=MANY)
        return [cover.ref for cover in silent]

    def _unwithheld(self) -> Sequence[str]:
        """A failure past its grace of which the pipeline was never told."""
        late = self._ago(self.grace + SETTLED_WITHIN)
        with self.database.reading() as tx:
            rows = screenings.failing_since(tx, before=late, limit=MANY)
            return [covers.by_id(tx, row.cover_version_id).ref for row in rows]

    def _unsettled(self) -> Sequence[str]:
        with self.database.reading() as tx:
            owing = quarantines.owing(tx, before=self._ago(SETTLED_WITHIN), limit=MANY)
            return [covers.by_id(tx, one).ref for one in owing]

    def _unsent(self) -> Sequence[str]:
        with self.database.reading() as tx:
            rows = outbox.unsent(tx, limit=MANY)
        late = self._ago(SENT_WITHIN)
        return [row.idempotency_key for row in rows if row.created_at < late]

    def _dead(self) -> Sequence[str]:
        depths = {name: queue.depth()["dead"] for name, queue in self.queues.items()}
        return [f"{name}: {count}" for name, count in depths.items() if count]

    def _overdue(self) -> Sequence[str]:
        with self.database.reading() as tx:
            rows = obligations.owed(tx, due_before=self.clock.now())
        return [f"{row.kind} of {row.ref}" for row in rows if row.kind != "account_takedown"]

    def _takedowns(self) -> Sequence[str]:
        """That each object they hide is gone is asked for with all others: see `held_covers_gone`."""
        found = []
        with self.database.reading() as tx:
            late = {row.ref for row in takedowns.late(tx, since=self._ago(self.takedown_target))}
            for row in takedowns.listing(tx):
                if row.ref in late:
                    found.append(f"{row.ref} {'not lifted' if row.lifting_at else row.state} for too long")
                if row.lifting_at is None and darkening.unclaimed(tx, row, limit=1):
                    found.append(f"{row.ref} has not claimed every cover")
            overdue = obligations.owed(tx, due_before=self.clock.now())
        calling = [row.ref for row in overdue if row.kind == "account_takedown"]
        found += [f"{ref} calls for a takedown that is overdue" for ref in calling]
        return found

    def _sealed(self) -> Sequence[str]:
        try:
            with self.database.reading() as tx:
                lists.load(tx, self.keys, algorithms=self.algorithms)
        except IntegrityFailure as error:
            return [str(error)]
        return []

    def _altered(self) -> Sequence[str]:
        return [flaw.text for flaw in self.auditor.run(whole=False).flaws]

    def _unserved(self) -> Sequence[str]:
        with self.database.reading() as tx:
            stored = [f"{kind}: {count}" for kind, count in covers.unserved(tx).items()]
            left = reports_due.unserved(tx, before=self._ago(SETTLED_WITHIN), limit=MANY)
            return [*stored, *(reports.by_id(tx, report_id).ref for report_id in left)]

    def _contacts(self) -> Sequence[str]:
        return contacts.overdue(from_micros(self.clock.now()).date())

    def ringing(self) -> Sequence[tuple[str, str, int]]:
        """Open alarms: kind, subject, how often they rang."""
        with self.database.reading() as tx:
            return [(row.kind, row.subject, int(row.rung)) for row in alarms.ringing(tx)]

    def _ago(self, span: timedelta) -> Micros:
        return later(self.clock.now(), -span)
