"""Budgets and breakers: how much may be held by looks alone before consequences stop.

Per entry, list, source, and for all lists together. They stop consequences and never protection: the block
itself depends on none of them. A spent budget stops account effects, notices and learning, puts covers into
one batch and pages a person. What rests on an exact digest is never counted and never stopped; and only a
person stops an entry.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from coverguard.model import Hold, ListAction, Match
from coverguard.policy.rules import ListRule


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """Near-match holds in the last hour, this one not counted."""

    everywhere: int
    by_list: Mapping[int, int]
    by_source: Mapping[str, int] = field(default_factory=dict)
    accounts: Mapping[int, int] = field(default_factory=dict)  # by entry: uploaders, this one's among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Near-match holds an hour that no list's rule says."""

    everywhere: int
    a_source: int


def is_capped(hold: Hold) -> bool:
    """Whether a hold counts against budgets: one that rests on an exact digest is never counted or capped."""
    return not any(match.exact for match in firm(hold))


def firm(hold: Hold) -> tuple[Match, ...]:
    """The matches that it rests on."""
    return tuple(match for match in hold.matches if match.action is ListAction.HOLD)


def spent_budget(
    hold: Hold, *, rules: Mapping[int, ListRule], use: BudgetUse, budgets: Budgets
) -> str | None:
    """Name the scope whose budget is spent, or None while consequences may follow.

    Of entries, lists and sources each has to be spent: one that is not is ground enough by itself. A list
    without a rule (switched off since the match) has nothing to spend. A source is named by its oldest list.
    """
    if not is_capped(hold):
        return None
    if use.everywhere >= budgets.everywhere:
        return "global"
    lists = {match.list_id for match in firm(hold)}
    sources = {_source(rules, one) for one in lists}
    if all(use.by_source.get(one, 0) >= budgets.a_source for one in sources):
        return f"source:{_oldest_list(rules, sources)}"
    if all(use.by_list.get(one, 0) >= (rules[one].hold_budget if one in rules else 0) for one in lists):
        return f"list:{min(lists)}"
    entries = {match.entry_id: match.list_id for match in firm(hold)}
    if all(_has_tripped(entry, rules.get(of), use) for entry, of in entries.items()):
        return f"entry:{min(entries)}"
    return None


def _has_tripped(entry_id: int, rule: ListRule | None, use: BudgetUse) -> bool:
    """An entry that meets many strangers by its looks is more likely a bad entry than a sudden wave."""
    return rule is None or use.accounts.get(entry_id, 0) > rule.entry_accounts


def _source(rules: Mapping[int, ListRule], list_id: int) -> str:
    return rules[list_id].source if list_id in rules else ""


def _oldest_list(rules: Mapping[int, ListRule], sources: Collection[str]) -> int:
    return min((one for one, rule in rules.items() if rule.source in sources), default=0)
