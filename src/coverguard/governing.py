"""What people do with lists: vouch, enable, promote, stop, review. One audited transaction a verb.

A list begins in shadow and switched off. It is enabled when somebody has vouched for its source in all the
words that are asked for; it goes from shadow to refer to hold one step at a time, and to hold only after a
person has weighed what it does to people. Going back, and stopping, need no ceremony. Each step makes a
review of the list's rule fall due. Nothing here shows, or says anything of, a digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from coverguard.access import Verb, require
from coverguard.errors import Refused
from coverguard.model import Actor, ListAction, Micros, later
from coverguard.policy import ListRule, require_searchable
from coverguard.ports import Clock
from coverguard.retrying import again_if_contended
from coverguard.store import Connection, Row, audit, lists
from coverguard.store.engine import Database
from coverguard.store.lists import dead_letters, governance
from coverguard.store.lists.governance import Precision

STEPS: Final = (ListAction.SHADOW, ListAction.REFER, ListAction.HOLD)


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernanceRules:
    review_every: timedelta
    review_after_change: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Governor:
    """Every verb raises `Refused` where the actor may not edit lists, `NotFound` for a list that is not."""

    database: Database
    clock: Clock
    rules: GovernanceRules

    @again_if_contended
    def add(self, name: str, rule: ListRule, *, source: str, actor: Actor) -> bool:
        """Make a list, in shadow and switched off; False where the name exists, and nothing is changed."""
        require(actor, Verb.EDIT_LISTS)
        if rule.action is not ListAction.SHADOW:
            raise Refused("a list begins in shadow; see: coverguard lists promote")
        with self.database.transaction() as tx:
            now = self.clock.now()
            list_id, new = lists.create(
                tx, name=name, source=source, rule=rule, actor=actor.name, note="created", now=now,
                enabled=False,
            )  # fmt: skip
            if new:
                self._changed(tx, list_id, now=now)
                facts = {"action": rule.action.value, "category": rule.category.value}
                _audit(tx, "add list", list_id, actor=actor, now=now, facts=facts)
        return new

    @again_if_contended
    def attest(self, name: str, said: Mapping[str, str], *, actor: Actor) -> list[str]:
        """Vouch for a list's source, in whole or in part; return what nobody has said yet."""
        require(actor, Verb.EDIT_LISTS)
        with self.database.transaction() as tx:
            row, now = lists.by_name(tx, name), self.clock.now()
            governance.attest(tx, row.id, said, actor=actor.name, now=now)
            missing = list(governance.missing(tx, row.id))
            _audit(tx, "attest list", row.id, actor=actor, now=now, facts={"missing": len(missing)})
        return missing

    @again_if_contended
    def enable(self, name: str, *, actor: Actor) -> None:
        """Have a list match.

        Raises:
            Refused: something about its source was not said yet.
        """
        require(actor, Verb.EDIT_LISTS)
        with self.database.transaction() as tx:
            row, now = lists.by_name(tx, name), self.clock.now()
            if not row.own and (missing := governance.missing(tx, row.id)):
                asked = " ".join(f"--{one.replace('_', '-')} …" for one in missing)
                raise Refused(f"nobody vouches for it yet: coverguard lists attest {name} {asked}")
            lists.switch(tx, row.id, enabled=True, now=now)
            _audit(tx, "enable list", row.id, actor=actor, now=now)

    @again_if_contended
    def disable(self, name: str, *, actor: Actor) -> None:
        """Have a list match nothing until somebody enables it."""
        require(actor, Verb.EDIT_LISTS)
        with self.database.transaction() as tx:
            row, now = lists.by_name(tx, name), self.clock.now()
            lists.switch(tx, row.id, enabled=False, now=now)
            _audit(tx, "disable list", row.id, actor=actor, now=now)

    @again_if_contended
    def promote(self, name: str, *, note: str, actor: Actor) -> ListAction:
        """Let a list do more, by one step; return what it may do now.

        Raises:
            Refused: it may hold already, nobody vouches for it, or nobody weighed what holding would do.
        """
        require(actor, Verb.EDIT_LISTS)
        with self.database.transaction() as tx:
            row, now = lists.by_name(tx, name), self.clock.now()
            rule = lists.rule_of(tx, row.id)
            if rule.action is STEPS[-1]:
                raise Refused("it may hold already; there is no more than that")
            reached = STEPS[STEPS.index(rule.action) + 1]
            if not row.own and governance.missing(tx, row.id):
                raise Refused("nobody vouches for it yet; see: coverguard lists attest --help")
            if reached is ListAction.HOLD and not governance.reviews(tx, row.id):
                raise Refused("nobody weighed yet what holding would do; see: coverguard lists review --help")
            self._set_rule(tx, row, replace(rule, action=reached), actor=actor, note=note, now=now)
        return reached

    @again_if_contended
    def demote(self, name: str, to: ListAction, *, note: str, actor: Actor) -> None:
        """Let a list do less.

        Raises:
            Refused: it does no more than that already.
        """
        require(actor, Verb.EDIT_LISTS)
        with self.database.transaction() as tx:
            row, now = lists.by_name(tx, name), self.clock.now()
            rule = lists.rule_of(tx, row.id)
            if STEPS.index(to) >= STEPS.index(rule.action):
                raise Refused(f"it may only {rule.action.value} now; to let it do more: lists promote")
            self._set_rule(tx, row, replace(rule, action=to), actor=actor, note=note, now=now)

    @again_if_contended
    def change_rule(
        self, name: str, change: Callable[[ListRule], ListRule], *, note: str, actor: Actor
    ) -> int:
        """Append a version of the rule that says something else, though not what the list may do.

        Raises:
            Refused: what the list may do is another step's, or it is too long for the radius.
        """
        require(actor, Verb.EDIT_LISTS)
        with self.database.transaction() as tx:
            row, now = lists.by_name(tx, name), self.clock.now()
            before = lists.rule_of(tx, row.id)
            rule = change(before)
            if rule.action is not before.action:
                raise Refused("what a list may do is changed by lists promote and lists demote")
            return self._set_rule(tx, row, rule, actor=actor, note=note, now=now)

    @again_if_contended
    def stop(
        self,
        name: str,
        *,
        note: str,
        actor: Actor,
        entry_id: int | None = None,
        whole_source: bool = False,
        lasting: timedelta | None = None,
    ) -> str:
        """Stop a list, one of its entries, or all lists of its source; return the stop's reference."""
        require(actor, Verb.EDIT_LISTS)
        with self.database.transaction() as tx:
            row, now = lists.by_name(tx, name), self.clock.now()
            until = None if lasting is None else later(now, lasting)
            subject: dict[str, Any] = {"list_id": row.id}
            if entry_id is not None:
                subject = {"entry_id": governance.entry_of(tx, row.id, entry_id)}
            elif whole_source:
                subject = {"source": row.source}
            ref = governance.stop(tx, note=note, actor=actor.name, now=now, until=until, **subject)
            facts: dict[str, audit.Fact] = {"stop": ref, "of": next(iter(subject)), "entry": entry_id or 0}
            _audit(tx, "stop list", row.id, actor=actor, now=now, facts=facts)
        return ref

    @again_if_contended
    def lift(self, ref: str, *, actor: Actor) -> None:
        """End a stop; twice is once."""
        require(actor, Verb.EDIT_LISTS)
        with self.database.transaction() as tx:
            now = self.clock.now()
            governance.lift(tx, ref, now=now)
            audit.write(tx, now=now, verb="lift stop", subject=ref, actor=actor.name, role=actor.role)

    @again_if_contended
    def settle_faults(self, name: str, *, actor: Actor) -> int:
        """Say that the source was told of the records that nobody could read; return how many those were."""
        require(actor, Verb.EDIT_LISTS)
        with self.database.transaction() as tx:
            row, now = lists.by_name(tx, name), self.clock.now()
            settled = dead_letters.settle_dead_letters(tx, list_id=row.id, now=now)
            _audit(tx, "settle unread records", row.id, actor=actor, now=now, facts={"records": settled})
        return settled

    @again_if_contended
    def review(self, name: str, weighed: Mapping[str, str], *, actor: Actor) -> Precision:
        """Record what a person weighed of a list's rule, beside what people made of its items."""
        require(actor, Verb.EDIT_LISTS)
        if not all(text.strip() for text in weighed.values()):
            raise Refused("a review says all three: severity, false positives, safeguards")
        with self.database.transaction() as tx:
            row, now = lists.by_name(tx, name), self.clock.now()
            due = later(now, self.rules.review_every)
            found = governance.review(tx, row.id, weighed, actor=actor.name, due_at=due, now=now)
            _audit(tx, "review list", row.id, actor=actor, now=now, facts=found._asdict())
        return found

    def _set_rule(
        self, tx: Connection, row: Row[Any], rule: ListRule, *, actor: Actor, note: str, now: Micros
    ) -> int:
        require_searchable(rule, entries=lists.length(tx, row.id))
        version = lists.add_rule(tx, row.id, rule, actor=actor.name, note=note, now=now)
        self._changed(tx, row.id, now=now)
        facts: dict[str, audit.Fact] = {
            "version": version, "action": rule.action.value, "pdq_radius": rule.pdq_radius,
        }  # fmt: skip
        _audit(tx, "change rule", row.id, actor=actor, now=now, facts=facts)
        return version

    def _changed(self, tx: Connection, list_id: int, *, now: Micros) -> None:
        governance.review_falls_due(tx, list_id, at=later(now, self.rules.review_after_change))


def _audit(
    tx: Connection,
    verb: str,
    list_id: int,
    *,
    actor: Actor,
    now: Micros,
    facts: Mapping[str, audit.Fact] | None = None,
) -> None:
    audit.write(
        tx, now=now, verb=verb, subject=f"list:{list_id}", actor=actor.name, role=actor.role,
        facts=facts or {},
    )  # fmt: skip
