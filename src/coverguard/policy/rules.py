"""A list's rule: versioned, changed only by an audited verb, never by a settings file.

Defaults are the field's: PDQ within 31 bits of 256 and quality 50 (facebook/ThreatExchange, pdq/README.md).
pHash 256 is a second opinion with no industry threshold and starts switched off.

Two tiers. *Enforce*: within the industry's own threshold a match may hold. *Review*: a wider radius, the
negative of a picture, pHash 256: a person looks. A wider radius is for small lists and asked for by the rule:
a search within 31 bits passes nearly all of a list by after a glance, one within 53 does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from coverguard.errors import Refused
from coverguard.model import Algorithm, Category, Hold, ListAction

HOLD_RADIUS: Final = Algorithm.PDQ.hold_radius
"""Only a PDQ this near may hold, whatever a list's own radius: beyond it a person looks."""

REVIEW_RADIUS: Final = 53
"""How far our own lists look: no false pair among 14 million of photographs, two thirds of overlays found."""

GRAPHIC_RADIUS: Final = HOLD_RADIUS + 10
"""How far graphics of low diversity are looked for by lists that look wide: what two ways of sampling sharp
type may differ by, and no further, since beyond it they match each other."""

WIDE_ENTRIES: Final = 20_000
"""Near signals of a list, up to which its rule may ask for more than `HOLD_RADIUS`."""

QUALITY_FLOOR: Final = 50
"""The least quality at which a near match may hold, and the default of lists for matching at all."""


REVIEW_QUALITY: Final = 15
"""The least quality at which our own lists look, within `HOLD_RADIUS`: what is only darker, or pale, has less
of it and the same bits. No false pair among two million of generated pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRule:
    """How one list is used. A radius of -1 switches that algorithm off; digests always match exactly.

    A plug-in's algorithm is off unless `radii` names it, in its own measure.
    """

    list_id: int
    version: int
    category: Category
    action: ListAction = ListAction.SHADOW
    pdq_radius: int = HOLD_RADIUS
    phash256_radius: int = -1
    radii: Mapping[str, int] = field(default_factory=dict)  # of plug-ins, by algorithm
    complement: bool = True  # negatives of pictures are looked up, too, and refer
    quality_floor: int = QUALITY_FLOOR
    hold_budget: int = 1000  # near-match holds an hour by this list before consequences stop
    known: bool = True  # entries were verified by people with expertise: clearing takes two

    def __post_init__(self) -> None:
        for algorithm in (Algorithm.PDQ, Algorithm.PHASH256):
            if not -1 <= self.radius(algorithm) <= algorithm.max_radius:
                raise ValueError(f"{algorithm}_radius must be -1 (off) to {algorithm.max_radius} bits")
        if any(radius < -1 for radius in self.radii.values()):
            raise ValueError("radii must be -1 (off) or more")
        if not 0 <= self.quality_floor <= 100:  # noqa: PLR2004 - PDQ quality's own range
            raise ValueError("quality_floor must be 0 to 100")
        if self.hold_budget < 0:
            raise ValueError("hold_budget must not be negative")

    def radius(self, algorithm: Algorithm) -> int:
        """How far this list matches, in the algorithm's own measure; 0 for a digest of bytes."""
        if not algorithm.perceptual:
            return 0
        own = {Algorithm.PDQ: self.pdq_radius, Algorithm.PHASH256: self.phash256_radius}
        return own.get(algorithm, self.radii.get(algorithm, -1))

    @property
    def wide(self) -> bool:
        """Whether it asks for more than is quickly looked up in a list of any size."""
        return max(self.pdq_radius, self.phash256_radius) > HOLD_RADIUS


def own_rule(category: Category) -> ListRule:
    """What a list of our own removals is made with."""
    return ListRule(
        list_id=0,
        version=0,
        category=category,
        action=ListAction.HOLD,
        known=False,
        pdq_radius=REVIEW_RADIUS,
        phash256_radius=REVIEW_RADIUS,
        quality_floor=REVIEW_QUALITY,
    )


def require_searchable(rule: ListRule, *, entries: int) -> None:
    """Refuse a radius that would make every cover wait for a long list.

    Raises:
        Refused: the rule asks for a wide radius, and the list has more entries than that is for.
    """
    if rule.wide and entries > WIDE_ENTRIES:
        raise Refused(
            f"a list of {entries} entries cannot be searched within more than {HOLD_RADIUS} bits while "
            f"covers wait; that is for lists of up to {WIDE_ENTRIES}: lower its radius, or split the list"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far the lists of one kind are searched: as far as the widest of their rules asks."""

    radius: Mapping[Algorithm, int]  # by perceptual algorithm; absent where every list has it off
    complement: bool


def reach(
    rules: Iterable[ListRule], *, algorithms: Iterable[Algorithm] = (Algorithm.PDQ, Algorithm.PHASH256)
) -> Reach:
    """Sum up what rules ask for of these perceptual algorithms."""
    known = tuple(rules)
    widest = {one: max((rule.radius(one) for rule in known), default=-1) for one in algorithms}
    return Reach(
        radius={one: radius for one, radius in widest.items() if radius >= 0},
        complement=any(rule.complement and rule.pdq_radius >= 0 for rule in known),
    )


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
