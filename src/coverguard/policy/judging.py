"""From index candidates to matches: each candidate meets its list's rule, entry and suppressions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from coverguard.model import (
    Algorithm,
    Candidate,
    Category,
    Fingerprint,
    ListAction,
    Match,
    Micros,
    Opinion,
    Tier,
)
from coverguard.policy.rules import GRAPHIC_RADIUS, QUALITY_FLOOR, ListRule
from coverguard.policy.stops import Stops

SUPPRESSED_PDQ_RADIUS = 4
NO_STOPS = Stops()
BEGINNING = Micros(0)
_STRENGTH = {ListAction.SHADOW: 0, ListAction.REFER: 1, ListAction.HOLD: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFacts:
    """What judging needs to know of an entry; never its digest."""

    entry_id: int
    list_id: int
    opinion: Opinion
    category: Category | None = None  # the list's where the entry has none
    grid: bool = False  # a collage: near matches are to its parts
    cap: ListAction = ListAction.HOLD  # the most this entry may do
    part: bool = False  # of a picture that we removed: a crop of it, so that crops are found
    label: str | None = None  # the source's own word for what it is
    disputed: bool = False  # its list also has the opposite word on the same digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressions:
    """Known false positives: an entry for exactly these bytes, or (after two people) for PDQs near these."""

    pairs: frozenset[tuple[int, bytes]] = field(default=frozenset(), repr=False)
    near: Mapping[int, tuple[bytes, ...]] = field(default_factory=dict, repr=False)

    def cover(self, entry_id: int, fingerprint: Fingerprint, *, view: str) -> bool:
        if (entry_id, fingerprint.digests["sha256"]) in self.pairs:
            return True
        cleared = self.near.get(entry_id, ())
        shown = next((v for v in fingerprint.views if v.name == view), None)
        if not cleared or shown is None:
            return False
        return any(_bits(a, b) <= SUPPRESSED_PDQ_RADIUS for a in shown.orientations() for b in cleared)


def judge(
    candidates: Iterable[Candidate],
    fingerprint: Fingerprint,
    *,
    entries: Mapping[int, EntryFacts],
    rules: Mapping[int, ListRule],
    suppressions: Suppressions,
    stops: Stops = NO_STOPS,
    now: Micros = BEGINNING,
) -> tuple[Match, ...]:
    """Return the matches, shadow and suppressed ones included, strongest first, one an entry and algorithm.

    Of several views that match an entry the one that may do most counts, then the nearest.
    A candidate without entry or rule (withdrawn, list switched off) is no match, nor is one that is stopped
    at that time: an empty policy denies consequences, and the index never decides.
    """
    strongest: dict[tuple[int, Algorithm], Match] = {}
    for candidate in candidates:
        entry = entries.get(candidate.entry_id)
        rule = rules.get(entry.list_id) if entry else None
        if entry is None or rule is None or not _within(candidate, entry, rule):
            continue
        if stops.cover(entry_id=entry.entry_id, list_id=entry.list_id, now=now):
            continue
        suppressed = candidate.algorithm.perceptual and suppressions.cover(
            entry.entry_id, fingerprint, view=candidate.view
        )
        match = _match(candidate, entry, rule, suppressed=suppressed)
        known = strongest.setdefault((entry.entry_id, candidate.algorithm), match)
        if _strongest_first(match) < _strongest_first(known):
            strongest[entry.entry_id, candidate.algorithm] = match
    return tuple(sorted(strongest.values(), key=_strongest_first))


def _within(candidate: Candidate, entry: EntryFacts, rule: ListRule) -> bool:
    if entry.opinion is Opinion.NEGATIVE:
        return False
    if not candidate.algorithm.perceptual:
        return True
    if candidate.distance > rule.radius(candidate.algorithm):
        return False
    if candidate.quality < rule.floor(candidate.algorithm):
        return False
    if candidate.complement and not rule.complement:
        return False
    # beyond the industry's threshold graphics match each other by the thousand, and what is hardly there, too
    return _in_reach(candidate) or (candidate.quality >= QUALITY_FLOOR and _is_telling(candidate))


def _is_telling(candidate: Candidate) -> bool:
    """Whether a match beyond the threshold says anything of such a picture."""
    if not candidate.low_diversity:
        return True
    upright = candidate.algorithm == Algorithm.PDQ and not candidate.complement
    return upright and candidate.distance <= GRAPHIC_RADIUS


def _in_reach(candidate: Candidate) -> bool:
    """Whether it is as near as the algorithm's makers call the same picture."""
    return not candidate.complement and candidate.distance <= candidate.algorithm.hold_radius


def _tier(candidate: Candidate, entry: EntryFacts) -> Tier:
    if not candidate.algorithm.perceptual:
        return Tier.ENFORCE
    firm = _in_reach(candidate) and candidate.quality >= QUALITY_FLOOR and not entry.part
    return Tier.ENFORCE if firm else Tier.REVIEW


def _match(candidate: Candidate, entry: EntryFacts, rule: ListRule, *, suppressed: bool) -> Match:
    allowed = [rule.action, entry.cap]
    if suppressed:
        allowed.append(ListAction.SHADOW)
    meaning = rule.labels.get(entry.label) if entry.label else None
    if meaning is not None:
        allowed.append(meaning.action)
    tier = _tier(candidate, entry)
    part_of_collage = candidate.algorithm.perceptual and entry.grid
    doubtful = entry.opinion is not Opinion.POSITIVE or entry.disputed or _says_unknown(entry, rule)
    if doubtful or tier is Tier.REVIEW or part_of_collage:
        allowed.append(ListAction.REFER)
    action = min(allowed, key=_STRENGTH.__getitem__)
    held_back = action is ListAction.HOLD and candidate.low_diversity
    return Match(
        entry_id=entry.entry_id,
        list_id=entry.list_id,
        rule_version=rule.version,
        category=meaning.category if meaning else entry.category or rule.category,
        opinion=Opinion.DISPUTED if entry.disputed else entry.opinion,
        algorithm=candidate.algorithm,
        view=candidate.view,
        orientation=candidate.orientation,
        distance=candidate.distance,
        quality=candidate.quality,
        action=ListAction.REFER if held_back else action,
        tier=tier,
        complement=candidate.complement,
        low_diversity=held_back,
        suppressed=suppressed,
    )


def _says_unknown(entry: EntryFacts, rule: ListRule) -> bool:
    """Whether the source calls it something that the rule, which says what its words mean, does not know."""
    return bool(rule.labels) and entry.label is not None and entry.label not in rule.labels


def _strongest_first(match: Match) -> tuple[int, bool, int, int]:
    return (-_STRENGTH[match.action], not match.exact, match.distance, match.entry_id)


def _bits(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()
