"""How old lists are, and what follows: an alarm, or no pass until their sources were heard again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coverguard.model import Micros, between
from coverguard.policy.rules import ListRule


def stale(rules: Mapping[int, ListRule], refreshed: Mapping[int, Micros], *, now: Micros) -> Sequence[int]:
    """Lists that did not say for too long all that their sources say; of those in force."""
    return [
        list_id
        for list_id, rule in sorted(rules.items())
        if rule.max_age and between(refreshed.get(list_id, Micros(0)), now) > rule.max_age
    ]


def withholds(rules: Mapping[int, ListRule], refreshed: Mapping[int, Micros], *, now: Micros) -> bool:
    """Whether nothing may pass now: a list that must be fresh for that is not."""
    return any(rules[list_id].withhold_stale for list_id in stale(rules, refreshed, now=now))
