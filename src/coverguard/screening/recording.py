"""Transaction 1: the answer, the case it opens, the holds it asks for, and what others are told.

Everything an answer calls for is written here, in one transaction, as intent; acting comes after. A second
recording of the same answer changes nothing. Rows are locked in the order cover version → account (for its
cases) → item → quarantine.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from coverguard.messages import AccountFlagged, MatchFound, NotScreenedAlarm, from_micros
from coverguard.model import (
    Category,
    Hold,
    Match,
    Micros,
    Mode,
    NotScreened,
    Origin,
    Refer,
    between,
    later,
)
from coverguard.policy import PERCENT, Budgets, Effects, effects, firm, is_capped, spent_budget
from coverguard.retrying import backoff
from coverguard.store import (
    Connection,
    Row,
    alarms,
    audit,
    budgets,
    cases,
    covers,
    lists,
    obligations,
    outbox,
    quarantines,
    screenings,
)
from coverguard.store.lists import governance
from coverguard.store.quarantines import Claimant, Level
from coverguard.store.screenings import Answer

GIVE_UP: Final = timedelta(days=1)
SLOW: Final = timedelta(hours=1)
NO_ANSWER_ALARM: Final = "not_screened"
BUDGET_ALARM: Final = "hold_budget_spent"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRules:
    grace: timedelta
    relist: timedelta
    review_target: timedelta
    budgets: Budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRecorder:
    rules: RecordingRules

    def record(
        self, tx: Connection, answer: Answer, *, known_lists: Mapping[int, bool], now: Micros
    ) -> Row[Any]:
        """Write the answer and all it calls for; return the screening row that stands."""
        cover = covers.lock(tx, answer.cover_version_id)
        before = screenings.get(tx, cover.id, answer.origin, answer.origin_id)
        budget_spent = self._spent_budget(tx, answer, uploader_id=cover.uploader_id, now=now)
        row, changed = screenings.record(
            tx, answer, budget_spent=budget_spent, retry_at=self._retry_at(before, answer, now=now), now=now
        )
        if not changed:
            return row
        if budget_spent:
            alarms.ring(tx, kind=BUDGET_ALARM, subject=budget_subject(budget_spent), now=now)
        followed = effects(
            answer.decision,
            mode=Mode(cover.mode),
            origin=answer.origin,
            grace_over=self._grace_over(row, now=now),
        )
        claimant = Claimant(screening_id=row.id)
        if followed.case:
            claimant = self._extend_case(tx, cover, row, answer, known_lists=known_lists, now=now)
        if followed.block:
            self._request_hold(
                tx, cover, level="hold" if followed.vault else "block", claimant=claimant, now=now
            )
        blocked = followed.block or bool(quarantines.of_cover(tx, cover.id))
        told = self._tell(tx, cover, row, followed, blocked=blocked, answer=answer, now=now)
        if before is not None and not isinstance(answer.decision, NotScreened):
            self._answered_after_all(tx, cover, row, now=now)
        settled_at = None if blocked else now
        if (told, settled_at) == (row.told, row.settled_at):
            return row
        return screenings.follow_up(tx, row, told=told, settled_at=settled_at)

    # ── budgets, retries, grace ────────────────────────────────────────────────────────────────────────────

    def _spent_budget(self, tx: Connection, answer: Answer, *, uploader_id: int, now: Micros) -> str | None:
        if not isinstance(answer.decision, Hold) or not is_capped(answer.decision):
            return None
        entries = {match.entry_id for match in firm(answer.decision)}
        use = budgets.use(tx, entries=entries, uploader_id=uploader_id, now=now)
        return spent_budget(answer.decision, rules=lists.rules(tx), use=use, budgets=self.rules.budgets)

    def _retry_at(self, before: Row[Any] | None, answer: Answer, *, now: Micros) -> Micros | None:
        """When a failure is tried again: soon within the grace, hourly for a day, then only by a person."""
        if not isinstance(answer.decision, NotScreened) or not answer.decision.curable:
            return None
        first = before.first_failed_at if before is not None and before.first_failed_at else now
        age = between(first, now)
        if age >= GIVE_UP:
            return None
        attempts = before.attempts if before is not None else 0
        wait = backoff(attempts + 1) if age < self.rules.grace else SLOW
        return later(now, wait)

    def _grace_over(self, row: Row[Any], *, now: Micros) -> bool:
        return row.first_failed_at is not None and between(row.first_failed_at, now) >= self.rules.grace

    # ── case ───────────────────────────────────────────────────────────────────────────────────────────────

    def _extend_case(
        self,
        tx: Connection,
        cover: Row[Any],
        row: Row[Any],
        answer: Answer,
        *,
        known_lists: Mapping[int, bool],
        now: Micros,
    ) -> Claimant:
        assert isinstance(answer.decision, Hold | Refer)
        matches = answer.decision.matches
        category = gravest(matches)
        file, _ = cases.open_case(tx, account_id=cover.uploader_id, category=category, now=now)
        item, _ = cases.add_item(
            tx,
            case_id=file.id,
            cover_version_id=cover.id,
            consequences=row.budget_spent is None,
            two_people=any(known_lists.get(match.list_id, True) for match in matches),
            now=now,
            batch_id=budgets.open_batch(tx, scope=row.budget_spent, now=now) if row.budget_spent else None,
            spared=self._is_spared(tx, answer.decision),
        )
        if not item.spared:
            due = later(now, self.rules.review_target)
            obligations.owe(tx, kind="review", item_id=item.id, due_at=due, now=now)
        facts = {
            "decision": row.decision,
            "case": file.ref,
            "matches": len(matches),
            "seq": answer.judged_seq,
            "spared": item.spared,
        }
        audit.write(tx, now=now, verb="decide", subject=item.ref, facts=facts)
        self._tell_safety(tx, cover, row, answer, file=file, now=now)
        return Claimant(item_id=item.id)

    def _is_spared(self, tx: Connection, decision: Hold | Refer) -> bool:
        """Draw whether nobody has to look: only at listed bytes, which people have confirmed before.

        It stays held and open, without a clock. What is drawn is the lists' share; one that wants all of its
        holds seen, as every list does at first, has them all seen.
        """
        if not isinstance(decision, Hold) or is_capped(decision):
            return False
        rules = lists.rules(tx)
        share = max(
            rules[one.list_id].review_share if one.list_id in rules else PERCENT for one in firm(decision)
        )
        exactly = {one.entry_id for one in firm(decision) if one.exact}
        if share >= PERCENT or not governance.was_confirmed(tx, exactly):
            return False
        return secrets.randbelow(PERCENT) >= share

    def _tell_safety(
        self,
        tx: Connection,
        cover: Row[Any],
        row: Row[Any],
        answer: Answer,
        *,
        file: Row[Any],
        now: Micros,
    ) -> None:
        assert isinstance(answer.decision, Hold | Refer)
        matches = answer.decision.matches
        found = MatchFound(
            event_id=f"{cover.ref}:match:{row.origin}:{row.id}",
            occurred_at=from_micros(now),
            case_ref=file.ref,
            cover=outbox.cover_of(cover),
            category=gravest(matches).value,
            match_type="exact" if any(match.exact for match in matches) else "near",
            decision="hold" if isinstance(answer.decision, Hold) else "refer",
        )
        outbox.tell_safety(tx, event=found, now=now)
        uploader = covers.uploader_of(tx, cover)
        if row.budget_spent is None and uploader is not None:  # a spent budget stops effects on accounts
            flagged = AccountFlagged(
                event_id=f"{file.ref}:flagged",
                occurred_at=from_micros(now),
                case_ref=file.ref,
                account_id=uploader,
                category=file.category,
            )
            outbox.tell_safety(tx, event=flagged, now=now)

    # ── holds, events, settling ────────────────────────────────────────────────────────────────────────────

    def _request_hold(
        self, tx: Connection, cover: Row[Any], *, level: Level, claimant: Claimant, now: Micros
    ) -> None:
        request_hold(
            tx,
            cover,
            level=level,
            claimant=claimant,
            relist_until=later(now, self.rules.relist),
            now=now,
        )

    def _tell(
        self,
        tx: Connection,
        cover: Row[Any],
        row: Row[Any],
        followed: Effects,
        *,
        blocked: bool,
        answer: Answer,
        now: Micros,
    ) -> str | None:
        """Owe the pipeline its event, once; a cover that is still blocked is cleared by its release.

        Returns what the pipeline was told last about this answer.
        """
        if followed.alarm:
            alarms.ring(tx, kind=NO_ANSWER_ALARM, subject=cover.ref, now=now)
        event = followed.event
        if event is None or event == row.told or (event == "cover.cleared" and blocked):
            return str(row.told) if row.told else None
        sha256 = answer.fingerprint.digests["sha256"] if answer.fingerprint else None
        outbox.tell_pipeline(tx, cover=cover, event=event, sha256=sha256, now=now)
        if followed.alarm:
            alarm = NotScreenedAlarm(
                event_id=f"{cover.ref}:not_screened:{row.id}",
                occurred_at=from_micros(now),
                cover=outbox.cover_of(cover),
                reason=row.reason,
            )
            outbox.tell_safety(tx, event=alarm, now=now)
        return event

    def _answered_after_all(self, tx: Connection, cover: Row[Any], row: Row[Any], *, now: Micros) -> None:
        """An answer replaced `not_screened`: its block and its alarm have no reason any more."""
        quarantines.drop_claims(tx, Claimant(screening_id=row.id), now=now)
        if row.origin == Origin.UPLOAD.value:
            alarms.quiet(tx, kind=NO_ANSWER_ALARM, subject=cover.ref, now=now)


def request_hold(
    tx: Connection, cover: Row[Any], *, level: Level, claimant: Claimant, relist_until: int, now: Micros
) -> None:
    """Ask for the cover's object and every rendition the platform named to be blocked or held."""
    quarantines.request_of_cover(
        tx, cover, level=level, claimant=claimant, relist_until=Micros(relist_until), now=now
    )


def budget_subject(scope: str) -> str:
    """An alarm's subject for a spent scope: `list:12`, `entry:7`, or `list:global` for all lists together."""
    return scope if ":" in scope else f"list:{scope}"


def gravest(matches: tuple[Match, ...]) -> Category:
    """The category that decides how urgent, and how secret, a case is."""
    return min((match.category for match in matches), key=cases.GRAVEST_FIRST.index)
