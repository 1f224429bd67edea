"""The moderators' verbs: claim, confirm, clear, unsure, reopen; and the two-person rules.

Every verb is one transaction that appends a verdict and moves the item, then the acts it calls for. A verdict
is never changed or taken back, only followed by another. Clearing an item that rests on a known hash takes
two different people, whatever their roles; the database refuses a second by the first person as well.

What a verdict teaches is in `learning`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from coverguard import access, learning
from coverguard.access import Verb
from coverguard.acting import Enforcer
from coverguard.errors import IllegalTransition, Refused
from coverguard.lifecycle import ItemEvent, ItemState, TakedownState
from coverguard.model import (
    Actor,
    Basis,
    Category,
    Micros,
    TakedownCause,
    VerdictKind,
    VerdictOutcome,
    later,
)
from coverguard.ports import Clock, Keys
from coverguard.retrying import again_if_contended
from coverguard.screening.recording import request_hold
from coverguard.store import (
    Connection,
    Row,
    audit,
    cases,
    covers,
    lists,
    obligations,
    outbox,
    quarantines,
    reports,
    takedowns,
)
from coverguard.store.engine import Database
from coverguard.store.quarantines import Claimant

MAX_REASON: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRules:
    claim_lease: timedelta
    review_target: timedelta
    preservation: timedelta
    cleared_retention: timedelta
    report_target: timedelta
    suppression_review: timedelta
    relist: timedelta
    takedown_deadline: timedelta  # from a confirmed child-abuse verdict to everything verified gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a person says of one item."""

    category: Category | None
    reason: str
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    database: Database
    keys: Keys
    enforcer: Enforcer
    clock: Clock
    rules: ReviewRules

    @again_if_contended
    def claim(self, item_ref: str, *, actor: Actor) -> Row[Any]:
        """Take an item for the length of the lease. Claiming one's own claim again starts the lease anew."""
        access.require(actor, Verb.DECIDE)
        with self.database.transaction() as tx:
            now = self.clock.now()
            item = cases.lock_item(tx, item_ref, now=now)
            lease = later(now, self.rules.claim_lease)
            if item.state == ItemState.CLAIMED.value and item.claimed_by == actor.name:
                return cases.extend_claim(tx, item, until=lease)
            cases.move_item(tx, item, ItemEvent.CLAIM, claimed_by=actor.name, lease_until=lease)
            return cases.item_by_id(tx, item.id)

    @again_if_contended
    def confirm(self, item_ref: str, *, actor: Actor, opinion: Opinion) -> Row[Any]:
        """Say that it is what the match says: the cover is removed, its evidence kept, its bytes remembered.

        Raises:
            Refused: the actor may not decide, has not claimed it, or gave no category or reason.
            IllegalTransition: the item is not claimed.
        """
        if opinion.category is None:
            raise Refused("a confirmation names the category")
        with self.database.transaction() as tx:
            now = self.clock.now()
            item = self._claimed(tx, item_ref, actor=actor, opinion=opinion)
            verdict = self._append(
                tx, item, actor=actor, opinion=opinion, outcome=VerdictOutcome.CONFIRM, now=now
            )
            cases.move_item(tx, item, ItemEvent.CONFIRM, decided_at=now)
            cover = covers.by_id(tx, item.cover_version_id)
            request_hold(
                tx, cover, level="hold", claimant=Claimant(item_id=item.id),
                relist_until=later(now, self.rules.relist), now=now,
            )  # fmt: skip
            quarantines.retain(tx, cover.id, until=later(now, self.rules.preservation))
            outbox.tell_pipeline(tx, cover=cover, event="cover.removed", now=now)
            self._owe_after_confirmation(tx, item, opinion.category, now=now)
            self._take_down(tx, item, cover, verdict, now=now)
            if item.consequences:
                learning.learn(tx, self.keys, item, opinion.category, now=now)
            self._decided(tx, item, verdict, now=now, second=False)
        self.enforcer.settle(cover.id)
        return verdict

    @again_if_contended
    def clear(self, item_ref: str, *, actor: Actor, opinion: Opinion) -> Row[Any]:
        """Say that it is not what the match says: proposed by the first of two where two are needed.

        Returns the verdict row; its `kind` is `proposal` where a second person still has to agree.

        Raises:
            Refused: the actor may not decide, has not claimed it, gave no reason, or proposed this before.
            IllegalTransition: the item is not claimed.
        """
        with self.database.transaction() as tx:
            now = self.clock.now()
            item = self._claimed(tx, item_ref, actor=actor, opinion=opinion)
            proposal = cases.pending_proposal(tx, item.id)
            if item.two_people and proposal is None:
                return self._propose(tx, item, actor=actor, opinion=opinion, now=now)
            if proposal is not None and proposal.actor == actor.name:
                raise Refused("clearing this item takes a second person; you proposed it")
            verdict = self._append(
                tx,
                item,
                actor=actor,
                opinion=opinion,
                outcome=VerdictOutcome.CLEAR,
                now=now,
                proposal=proposal,
            )
            cases.move_item(tx, item, ItemEvent.CLEAR, decided_at=now)
            quarantines.drop_claims(tx, Claimant(item_id=item.id), now=now)
            reports.let_go(tx, item.cover_version_id, now=now)
            lists.withdraw_learnt(tx, item_id=item.id, now=now)  # where it was confirmed before
            learning.suppress(
                tx, self.keys, item, verdict, two_people=proposal is not None,
                review_at=later(now, self.rules.suppression_review), now=now,
            )  # fmt: skip
            cover = covers.by_id(tx, item.cover_version_id)
            if not quarantines.of_cover(tx, cover.id):
                told_before = cover.verdict_seq > 0
                outbox.tell_pipeline(
                    tx, cover=cover, event="cover.released" if told_before else "cover.cleared", now=now
                )
            self._decided(tx, item, verdict, now=now, second=proposal is not None)
        self.enforcer.settle(cover.id)
        return verdict

    @again_if_contended
    def unsure(self, item_ref: str, *, actor: Actor, opinion: Opinion) -> Row[Any]:
        """Give the item back for somebody else."""
        with self.database.transaction() as tx:
            now = self.clock.now()
            item = self._claimed(tx, item_ref, actor=actor, opinion=opinion)
            cases.move_item(tx, item, ItemEvent.UNSURE)
            return self._append(
                tx, item, actor=actor, opinion=opinion, outcome=VerdictOutcome.UNSURE, now=now
            )

    @again_if_contended
    def reopen(self, item_ref: str, *, actor: Actor, opinion: Opinion) -> Row[Any]:
        """Put a decided item before people again (an appeal). The object stays as it is until they decide.

        Raises:
            Refused: the actor may not reopen, or gave the decision that is appealed.
        """
        access.require(actor, Verb.REOPEN)
        _reasoned(opinion)
        with self.database.transaction() as tx:
            now = self.clock.now()
            item = cases.lock_item(tx, item_ref, now=now)
            if any(one.actor == actor.name for one in cases.verdicts(tx, item.id)):
                raise Refused("an appeal is not for somebody who decided")
            file = cases.join_open_case(tx, item, now=now)
            cases.move_item(tx, item, ItemEvent.REOPEN)
            verdict = self._append(
                tx, item, actor=actor, opinion=opinion, outcome=VerdictOutcome.REOPEN, now=now,
                kind=VerdictKind.APPEAL,
            )  # fmt: skip
            due = later(now, self.rules.review_target)
            obligations.owe(tx, kind="review", item_id=item.id, due_at=due, now=now)
            lists.withdraw_learnt(tx, item_id=item.id, now=now)
            lists.lift_suppressions(tx, item_id=item.id, now=now)
            no_longer = ("authority_report", "account_takedown", "suppression_review")
            obligations.waive(tx, kinds=no_longer, item_id=item.id, now=now)
            facts = {"case": file.ref, "verdict": verdict.ref}
            audit.write(
                tx,
                now=now,
                verb="reopen item",
                subject=item.ref,
                actor=actor.name,
                role=verdict.role,
                facts=facts,
            )
            return verdict

    # ── verdict rows ───────────────────────────────────────────────────────────────────────────────────────

    def _claimed(self, tx: Connection, item_ref: str, *, actor: Actor, opinion: Opinion) -> Row[Any]:
        access.require(actor, Verb.DECIDE)
        _reasoned(opinion)
        item = cases.lock_item(tx, item_ref, now=self.clock.now())
        if item.state != ItemState.CLAIMED.value:
            raise IllegalTransition(f"claim the item before deciding it; it is {item.state}")
        if item.claimed_by != actor.name:
            raise Refused("somebody else has claimed this item")
        return item

    def _append(
        self,
        tx: Connection,
        item: Row[Any],
        *,
        actor: Actor,
        opinion: Opinion,
        outcome: VerdictOutcome,
        now: Micros,
        proposal: Row[Any] | None = None,
        kind: VerdictKind = VerdictKind.DECISION,
    ) -> Row[Any]:
        return cases.append_verdict(
            tx,
            item_id=item.id,
            kind=(VerdictKind.SECOND if proposal is not None else kind).value,
            outcome=outcome.value,
            category=opinion.category.value if opinion.category else None,
            reason_sealed=self.keys.seal("private", opinion.reason.encode(), context=item.ref.encode()),
            basis=opinion.basis.value,
            actor=actor.name,
            role=actor.role,
            channel=actor.channel.value,
            given_at=now,
            proposal_id=proposal.id if proposal is not None else None,
            proposal_actor=proposal.actor if proposal is not None else None,
        )

    def _propose(
        self, tx: Connection, item: Row[Any], *, actor: Actor, opinion: Opinion, now: Micros
    ) -> Row[Any]:
        verdict = self._append(
            tx, item, actor=actor, opinion=opinion, outcome=VerdictOutcome.CLEAR, now=now,
            kind=VerdictKind.PROPOSAL,
        )  # fmt: skip
        cases.move_item(tx, item, ItemEvent.PROPOSE)
        audit.write(
            tx, now=now, verb="propose to clear", subject=item.ref, actor=actor.name, role=verdict.role
        )
        return verdict

    def _decided(
        self, tx: Connection, item: Row[Any], verdict: Row[Any], *, second: bool, now: Micros
    ) -> None:
        obligations.meet(tx, kind="review", item_id=item.id, now=now)
        self._overturned(tx, item, verdict, now=now)
        if cases.close_if_decided(tx, item.case_id, now=now):
            account_id = cases.case_by_id(tx, item.case_id).account_id
            if (row := takedowns.unlifted(tx, account_id)) is not None:
                obligations.meet(tx, kind="review", takedown_id=row.id, now=now)
        facts = {"verdict": verdict.ref, "second": second, "basis": verdict.basis}
        audit.write(
            tx,
            now=now,
            verb=verdict.outcome,
            subject=item.ref,
            actor=verdict.actor,
            role=verdict.role,
            facts=facts,
        )

    # ── what a verdict leads to ────────────────────────────────────────────────────────────────────────────

    def _owe_after_confirmation(
        self, tx: Connection, item: Row[Any], category: Category, *, now: Micros
    ) -> None:
        keep = later(now, self.rules.preservation)
        obligations.owe(tx, kind="preservation_end", item_id=item.id, due_at=keep, now=now)
        if category is Category.CHILD_ABUSE:
            due = later(now, self.rules.report_target)
            obligations.owe(tx, kind="authority_report", item_id=item.id, due_at=due, now=now)

    def _take_down(
        self, tx: Connection, item: Row[Any], cover: Row[Any], verdict: Row[Any], *, now: Micros
    ) -> None:
        """Everything of the uploader goes dark; where consequences stopped, a person sees to it."""
        known = covers.uploader_of(tx, cover) is not None
        if verdict.category != Category.CHILD_ABUSE.value or not known:
            return
        due = later(now, self.rules.takedown_deadline)
        if not item.consequences:
            obligations.owe(tx, kind="account_takedown", item_id=item.id, due_at=due, now=now)
            return
        row = takedowns.request(
            tx, account_id=cover.uploader_id, cause=TakedownCause.VERDICT, origin=item.ref, level="hold",
            actor=verdict.actor, role=verdict.role, now=now,
        )  # fmt: skip
        if row.state != TakedownState.VERIFIED_GONE.value:
            obligations.owe(tx, kind="account_takedown", takedown_id=row.id, due_at=due, now=now)

    def _overturned(self, tx: Connection, item: Row[Any], verdict: Row[Any], *, now: Micros) -> None:
        """A verdict that is followed by another one calls for no takedown any more."""
        confirmed = verdict.outcome == VerdictOutcome.CONFIRM.value
        if not confirmed or verdict.category != Category.CHILD_ABUSE.value:
            takedowns.withdraw(
                tx, cause=TakedownCause.VERDICT, origin=item.ref, actor=verdict.actor, role=verdict.role,
                now=now,
            )  # fmt: skip

    @again_if_contended
    def agree_to_hold(self, item_ref: str, *, actor: Actor, opinion: Opinion) -> Row[Any]:
        """Let near copies of a confirmed removal hold: the second person's agreement.

        Raises:
            Refused: the actor confirmed it alone, may not decide, or gave no reason; or its looks are of a
                kind that many innocent pictures share.
            IllegalTransition: the item is not confirmed.
        """
        access.require(actor, Verb.DECIDE)
        _reasoned(opinion)
        with self.database.transaction() as tx:
            now = self.clock.now()
            item = cases.lock_item(tx, item_ref, now=now)
            if item.state != ItemState.CONFIRMED.value:
                raise IllegalTransition(f"only a confirmed removal teaches; it is {item.state}")
            first = _confirmation(cases.verdicts(tx, item.id))
            if first.actor == actor.name:
                raise Refused("near copies hold after a second person agreed; you confirmed it")
            learning.require_photograph(tx, item)
            verdict = self._append(
                tx,
                item,
                actor=actor,
                opinion=opinion,
                outcome=VerdictOutcome.CONFIRM,
                now=now,
                proposal=first,
            )
            lists.raise_cap(tx, item_id=item.id, now=now)
            audit.write(
                tx, now=now, verb="agree to hold", subject=item.ref, actor=actor.name, role=verdict.role
            )
            return verdict


def _reasoned(opinion: Opinion) -> None:
    if not opinion.reason.strip() or len(opinion.reason) > MAX_REASON:
        raise Refused(f"a verdict gives its reason, in 1 to {MAX_REASON} characters")


def _confirmation(given: Sequence[Row[Any]]) -> Row[Any]:
    confirmed: Row[Any] = next(one for one in reversed(given) if one.outcome == VerdictOutcome.CONFIRM.value)
    return confirmed
