"""From index candidates to matches: each candidate meets its list's rule, entry and suppressions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from coverguard.model import Algorithm, Candidate, Category, Fingerprint, ListAction, Match, Opinion
from coverguard.policy.rules import HOLD_RADIUS, ListRule

SUPPRESSED_PDQ_RADIUS = 4
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
) -> tuple[Match, ...]:
    """Return the matches, shadow and suppressed ones included, strongest first, one an entry and algorithm.

    Of several views that match an entry the one that may do most counts, then the nearest.
    A candidate without entry or rule (withdrawn, list switched off) is no match: an empty policy denies
    consequences, and the index never decides.
    """
    strongest: dict[tuple[int, Algorithm], Match] = {}
    for candidate in candidates:
        entry = entries.get(candidate.entry_id)
        rule = rules.get(entry.list_id) if entry else None
        if entry is None or rule is None or not _within(candidate, entry, rule):
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
    return candidate.distance <= rule.radius(candidate.algorithm) and candidate.quality >= rule.quality_floor


def _match(candidate: Candidate, entry: EntryFacts, rule: ListRule, *, suppressed: bool) -> Match:
    allowed = [rule.action, entry.cap]
    if suppressed:
        allowed.append(ListAction.SHADOW)
    if entry.opinion is Opinion.SEED or _needs_a_person(candidate, entry):
        allowed.append(ListAction.REFER)
    return Match(
        entry_id=entry.entry_id,
        list_id=entry.list_id,
        rule_version=rule.version,
        category=entry.category or rule.category,
        opinion=entry.opinion,
        algorithm=candidate.algorithm,
        view=candidate.view,
        orientation=candidate.orientation,
        distance=candidate.distance,
        quality=candidate.quality,
        action=min(allowed, key=_STRENGTH.__getitem__),
        suppressed=suppressed,
    )


def _needs_a_person(candidate: Candidate, entry: EntryFacts) -> bool:
    """Near matches that must not hold: another hash than PDQ, too far, or to a part of a collage."""
    if not candidate.algorithm.perceptual:
        return False
    return candidate.algorithm is not Algorithm.PDQ or candidate.distance > HOLD_RADIUS or entry.grid


def _strongest_first(match: Match) -> tuple[int, bool, int, int]:
    return (-_STRENGTH[match.action], not match.exact, match.distance, match.entry_id)


def _bits(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()
