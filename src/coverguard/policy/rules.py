"""A list's rule: versioned, changed only by an audited verb, never by a settings file.

Defaults are the field's: PDQ within 31 bits of 256 and quality 50 (facebook/ThreatExchange, pdq/README.md).
pHash 256 is a second opinion with no industry threshold and starts switched off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from coverguard.model import Algorithm, Category, Hold, ListAction

HOLD_RADIUS: Final = 31
"""Only a PDQ this near may hold, whatever a list's own radius: beyond it a person looks."""

MAX_RADIUS: Final = 90
QUALITY_FLOOR: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRule:
    """How one list is used. A radius of -1 switches that algorithm off; digests always match exactly."""

    list_id: int
    version: int
    category: Category
    action: ListAction = ListAction.SHADOW
    pdq_radius: int = HOLD_RADIUS
    phash256_radius: int = -1
    quality_floor: int = QUALITY_FLOOR
    hold_budget: int = 1000  # near-match holds an hour by this list before consequences stop
    known: bool = True  # entries were verified by people with expertise: clearing takes two

    def __post_init__(self) -> None:
        for name in ("pdq_radius", "phash256_radius"):
            if not -1 <= getattr(self, name) <= MAX_RADIUS:
                raise ValueError(f"{name} must be -1 (off) to {MAX_RADIUS} bits")
        if not 0 <= self.quality_floor <= 100:  # noqa: PLR2004 - PDQ quality's own range
            raise ValueError("quality_floor must be 0 to 100")
        if self.hold_budget < 0:
            raise ValueError("hold_budget must not be negative")

    def radius(self, algorithm: Algorithm) -> int:
        """Bits within which this list matches; 0 for a digest."""
        return {Algorithm.PDQ: self.pdq_radius, Algorithm.PHASH256: self.phash256_radius}.get(algorithm, 0)


def search_radii(rules: Iterable[ListRule]) -> Mapping[Algorithm, int]:
    """The widest radius any list asks for, by perceptual algorithm; absent where every list has it off."""
    known = tuple(rules)
    widest = {
        algorithm: max((rule.radius(algorithm) for rule in known), default=-1)
        for algorithm in (Algorithm.PDQ, Algorithm.PHASH256)
    }
    return {algorithm: radius for algorithm, radius in widest.items() if radius >= 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """Near-match holds in the last hour, this one not counted."""

    everywhere: int
    by_list: Mapping[int, int]


def is_capped(hold: Hold) -> bool:
    """Whether a hold counts against budgets: one that rests on an exact digest is never counted or capped."""
    return not any(match.exact for match in hold.matches if match.action is ListAction.HOLD)


def spent_budget(hold: Hold, *, rules: Mapping[int, ListRule], use: BudgetUse, everywhere: int) -> str | None:
    """Name the scope whose hold budget is spent, or None while consequences may follow.

    The block itself never depends on this: a spent budget stops account effects, notices and learning, groups
    covers for one review and pages a person. A hold that rests on an exact digest is never counted or capped.
    A list without a rule (switched off since the match) has nothing to spend.
    """
    if not is_capped(hold):
        return None
    firm = [match for match in hold.matches if match.action is ListAction.HOLD]
    if use.everywhere >= everywhere:
        return "global"
    lists = {match.list_id for match in firm}
    budgets = {one: rules[one].hold_budget if one in rules else 0 for one in lists}
    spent = [one for one in sorted(lists) if use.by_list.get(one, 0) >= budgets[one]]
    return f"list:{spent[0]}" if len(spent) == len(lists) else None
