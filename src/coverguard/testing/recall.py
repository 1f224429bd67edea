"""What is found again of a known picture, and how often two pictures that are not the same seem to be.

A known picture stands on a list by the PDQ and the pHash 256 of what it displays. An altered file is
found in the *enforce* tier if a view of it, in any orientation, is within 31 bits of the PDQ at quality
50 and more, and in the *review* tier if a list of our own would match it at all (`policy.own_rule`):
within 53 bits, by its negative, by its pHash, or within 31 at less quality. Whether it is a graphic,
whose matches never hold, does not matter here. The peer is what everybody does: Pillow decodes all,
`pdqhash` hashes all, upright, 31 bits, no quality asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from math import sqrt
from typing import Final

import numpy as np
import pdqhash
from numpy.typing import NDArray
from PIL import Image

from coverguard.imaging import fingerprint
from coverguard.matching import HammingIndex, ListedDigest, ListIndex
from coverguard.model import Algorithm, Category, Fingerprint, Match, Opinion, Tier, View
from coverguard.policy import (
    HOLD_RADIUS,
    QUALITY_FLOOR,
    REVIEW_QUALITY,
    REVIEW_RADIUS,
    EntryFacts,
    Suppressions,
    judge,
    own_rule,
    reach,
)
from coverguard.testing.pictures import Kind, chance, draw, encode

PHOTO_LIKE: Final = (Kind.SCENE, Kind.LEAVES)
KINDS: Final = (*PHOTO_LIKE, Kind.FACADE, Kind.OBJECT, Kind.COLLAGE, Kind.TYPOGRAPHY, Kind.SHAPES)
CERTAINTY: Final = 1.96
"""Standard deviations on either side of 95 % of a normal distribution."""

_SIDES = (480, 640, 800)
_LIST = 1  # the list that has the known picture


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """A picture that a list has."""

    label: str  # its kind
    image: Image.Image = field(repr=False)
    displayed: View
    plain: int = field(repr=False)  # the peer's hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one altered file."""

    label: str  # kind of the known picture
    plain: bool
    enforce: bool
    review: bool
    views: int
    seconds: float = field(compare=False)  # of processor time
    plain_seconds: float = field(compare=False)


def drawn(per_kind: int, *, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Yield (kind, picture): so many of each kind, of several sizes."""
    for salt, kind in enumerate(KINDS):
        for index, number in enumerate(chance(seed, 77_000 + salt, per_kind)):
            yield kind.value, draw(kind, int(number >> 4), side=_SIDES[index % len(_SIDES)])


def known(label: str, image: Image.Image) -> Known | None:
    """Put a picture on the list; None where it has too little to see for a near match to count."""
    data = encode(image, "PNG", compress_level=1)
    displayed = fingerprint(data).views[0]
    if displayed.quality < QUALITY_FLOOR:
        return None
    return Known(label=label, image=image, displayed=displayed, plain=_plain(data))


def outcome(one: Known, data: bytes) -> Outcome:
    """Look for a known picture in a file."""
    begun = time.process_time()
    plain = (_plain(data) ^ one.plain).bit_count() <= HOLD_RADIUS
    between = time.process_time()
    made = fingerprint(data)
    ended = time.process_time()
    matches = matches_of(made, one.displayed)
    return Outcome(
        label=one.label,
        plain=plain,
        enforce=any(match.tier is Tier.ENFORCE for match in matches),
        review=bool(matches),
        views=len(made.views),
        seconds=ended - between,
        plain_seconds=between - begun,
    )


def matches_of(made: Fingerprint, displayed: View) -> tuple[Match, ...]:
    """Judge a file by a list of our own that has this one picture."""
    digests = [
        ListedDigest(entry_id=number, list_id=_LIST, algorithm=algorithm, digest=displayed.signals[algorithm])
        for number, algorithm in enumerate((Algorithm.PDQ, Algorithm.PHASH256))
    ]
    rule = replace(own_rule(Category.CHILD_ABUSE), list_id=_LIST)
    asked = reach([rule])
    index = ListIndex(digests, seq=1, wide=[_LIST])
    entries = {
        one.entry_id: EntryFacts(entry_id=one.entry_id, list_id=_LIST, opinion=Opinion.POSITIVE)
        for one in digests
    }
    candidates = index.candidates(made, radius=asked.radius, complement=asked.complement)
    rules = {_LIST: rule}
    return judge(candidates, made, entries=entries, rules=rules, suppressions=Suppressions())


def wilson(found: int, tried: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, by Wilson's score: never below 0 or above 1."""
    if not tried:
        return 0.0, 1.0
    share, z = found / tried, CERTAINTY
    middle = share + z * z / (2 * tried)
    spread = z * sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    scale = 1 + z * z / tried
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def at_most(found: int, tried: int) -> float:
    """Return the rate that is not exceeded at 95 %: three in all tried where none was found."""
    return 3 / tried if not found else wilson(found, tried)[1]


# ── pictures that are not the same ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class FalsePairs:
    """Pairs of a listed picture and another that has nothing to do with it."""

    pairs: int
    enforce: int
    review: int  # by PDQ and its negative
    queries: int  # PDQs that were looked up

    def plus(self, more: FalsePairs) -> FalsePairs:
        return FalsePairs(
            pairs=self.pairs + more.pairs,
            enforce=self.enforce + more.enforce,
            review=self.review + more.review,
            queries=self.queries + more.queries,
        )


def look_up(index: HammingIndex, pictures: Sequence[Fingerprint]) -> FalsePairs:
    """Look up every view of pictures of which none is listed, in all orientations and as negatives."""
    rows: list[bytes] = []
    owners: list[tuple[int, bool]] = []  # picture, and whether it has enough to see
    for number, picture in enumerate(pictures):
        for view in picture.views:
            if view.quality >= REVIEW_QUALITY:
                turned = view.orientations()
                rows += turned
                owners += [(number, view.quality >= QUALITY_FLOOR)] * len(turned)
    if not rows:
        return FalsePairs(pairs=len(index) * len(pictures), enforce=0, review=0, queries=0)
    packed = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 32)
    found = [index.search(packed, REVIEW_RADIUS), index.search(~packed, REVIEW_RADIUS)]
    near = {(*owners[query], entry) for query, entry in _near(found[0], HOLD_RADIUS)}
    wide = {(*owners[query], entry) for hits in found for query, entry in _near(hits, REVIEW_RADIUS)}
    firm = {(picture, entry) for picture, clear, entry in near if clear}
    seen = {(picture, entry) for picture, _, entry in near}
    seen |= {(picture, entry) for picture, clear, entry in wide if clear}
    return FalsePairs(
        pairs=len(index) * len(pictures), enforce=len(firm), review=len(seen), queries=2 * len(rows)
    )


def listed(pictures: Iterable[Fingerprint]) -> HammingIndex:
    """List what pictures display, if there is enough to see."""
    digests = [one.views[0].signals["pdq"] for one in pictures if one.views[0].quality >= QUALITY_FLOOR]
    packed = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    return HammingIndex.build(packed, np.arange(len(digests), dtype=np.uint64))


def _near(
    hits: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]], radius: int
) -> Iterator[tuple[int, int]]:
    query, entry, distance = hits
    within = distance <= radius
    yield from zip(query[within].tolist(), entry[within].tolist(), strict=True)


def _plain(data: bytes) -> int:
    with Image.open(BytesIO(data)) as image:
        vector, _ = pdqhash.compute(np.ascontiguousarray(np.asarray(image.convert("RGB"))))
    return int.from_bytes(np.packbits(vector.astype(np.uint8)).tobytes(), "big")
