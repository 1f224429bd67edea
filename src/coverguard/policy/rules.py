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
from datetime import timedelta
from typing import Final

from coverguard.errors import Refused
from coverguard.model import Algorithm, Category, ListAction

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

PERCENT: Final = 100  # also the range of PDQ's quality

REVIEW_QUALITY: Final = 15
"""The least quality at which our own lists look, within `HOLD_RADIUS`: what is only darker, or pale, has less
of it and the same bits. No false pair among two million of generated pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """What one of the source's own words means here, and the most that entries of it may do."""

    category: Category
    action: ListAction


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
    floors: Mapping[str, int] = field(default_factory=dict)  # by algorithm, where not the list's
    labels: Mapping[str, LabelRule] = field(default_factory=dict)  # by the source's word; others only refer
    review_share: int = 100  # percent of holds by exact digest of entries confirmed before that a person sees
    entry_accounts: int = 20  # uploaders an hour whom one entry may meet by its looks before it trips
    max_age: timedelta = timedelta()  # since it last said all that its source says; zero: never stale
    withhold_stale: bool = False  # nothing passes while it is stale; else it rings
    source: str = ""  # who vouches; lists of one source share a budget

    def __post_init__(self) -> None:
        for algorithm in (Algorithm.PDQ, Algorithm.PHASH256):
            if not -1 <= self.radius(algorithm) <= algorithm.max_radius:
                raise ValueError(f"{algorithm}_radius must be -1 (off) to {algorithm.max_radius} bits")
        if any(radius < -1 for radius in self.radii.values()):
            raise ValueError("radii must be -1 (off) or more")
        for floor in (self.quality_floor, *self.floors.values()):
            if not 0 <= floor <= PERCENT:
                raise ValueError("quality_floor must be 0 to 100")
        if not 0 <= self.review_share <= PERCENT:
            raise ValueError("review_share must be 0 to 100 percent")
        if self.hold_budget < 0 or self.entry_accounts < 0 or self.max_age < timedelta():
            raise ValueError("hold_budget, entry_accounts and max_age must not be negative")
        if self.withhold_stale and not self.max_age:
            raise ValueError("withhold_stale needs a max_age after which the list is stale")

    def radius(self, algorithm: Algorithm) -> int:
        """How far this list matches, in the algorithm's own measure; 0 for a digest of bytes."""
        if not algorithm.perceptual:
            return 0
        own = {Algorithm.PDQ: self.pdq_radius, Algorithm.PHASH256: self.phash256_radius}
        return own.get(algorithm, self.radii.get(algorithm, -1))

    def floor(self, algorithm: Algorithm) -> int:
        """The least quality at which a near match of this algorithm counts at all."""
        return self.floors.get(algorithm, self.quality_floor)

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
