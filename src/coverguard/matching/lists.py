"""What all lists say, as one immutable snapshot: perceptual entries in Hamming indexes, digests in dicts.

Invariants: a snapshot is of one sequence number and never changes, a new one takes its place whole; every
view is asked, PDQ in its eight orientations; an algorithm that has entries is never skipped for want of a
radius. A candidate is an entry that is near: whether it counts is decided by `policy`, with the list's rule.

It reads no store, knows no opinions or categories, and shows no digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from coverguard.matching.hamming import HammingIndex
from coverguard.model import DIHEDRAL, Algorithm, Candidate, Fingerprint, View

BYTES_VIEW: Final = "bytes"
"""The view of a digest: the bytes as given."""

UPRIGHT: Final = DIHEDRAL[0]
_CERTAIN: Final = 100  # quality of a digest
_RANK: Final = {algorithm: rank for rank, algorithm in enumerate(Algorithm)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDigest:
    """One entry of one list, or one of several digests of it."""

    entry_id: int  # 0 … 2**63 - 1
    list_id: int
    algorithm: Algorithm
    digest: bytes = field(repr=False)


class ListIndex:
    """The entries of all lists as of list change `seq`.

    Raises:
        ValueError: a digest has not the length of its algorithm, or an id is out of range.
    """

    def __init__(self, entries: Iterable[ListedDigest], *, seq: int) -> None:
        self.seq = seq
        gathered = _Gathered()
        for entry in entries:
            gathered.add(entry)
        self._near = {algorithm: gathered.index(algorithm) for algorithm in gathered.packed}
        self._exact = gathered.exact
        self._sizes = dict(gathered.sizes)

    @property
    def sizes(self) -> Mapping[tuple[int, Algorithm], int]:
        """How many digests the snapshot has by list id and algorithm."""
        return dict(self._sizes)

    def __len__(self) -> int:
        """Count the digests of all lists."""
        return sum(self._sizes.values())

    def __repr__(self) -> str:
        return f"<ListIndex: {len(self)} digests at seq {self.seq}>"

    def candidates(self, fingerprint: Fingerprint, *, radius: Mapping[Algorithm, int]) -> Sequence[Candidate]:
        """Return the nearest candidate of each entry, algorithm and view, by entry id, algorithm, then view.

        `radius` has the widest radius in use of every perceptual algorithm, in bits; digests match exactly.
        No view stands for another: rules differ in the quality they ask for, and the nearest view of an entry
        may be one that does not count for its list. Of equally near orientations the first one asked wins.

        Raises:
            ValueError: a perceptual algorithm has entries and no radius, or the radius is out of bounds.
        """
        best: dict[tuple[int, int, int], Candidate] = {}
        place = {name: at for at, name in enumerate((BYTES_VIEW, *(view.name for view in fingerprint.views)))}
        for candidate in self._all(fingerprint, radius):
            key = (candidate.entry_id, _RANK[candidate.algorithm], place[candidate.view])
            known = best.get(key)
            if known is None or candidate.distance < known.distance:
                best[key] = candidate
        return tuple(best[key] for key in sorted(best))

    def _all(self, fingerprint: Fingerprint, radius: Mapping[Algorithm, int]) -> Iterator[Candidate]:
        for algorithm, known in self._exact.items():
            for entry_id in known.get(fingerprint.digests[algorithm], ()):
                yield Candidate(
                    entry_id=entry_id,
                    algorithm=algorithm,
                    view=BYTES_VIEW,
                    orientation=UPRIGHT,
                    distance=0,
                    quality=_CERTAIN,
                )
        for algorithm, index in self._near.items():
            if algorithm not in radius:
                raise ValueError(f"{algorithm.value} has entries and no radius")
            yield from _near(index, fingerprint.views, algorithm=algorithm, radius=radius[algorithm])


class _Gathered:
    """Entries on their way into a snapshot."""

    def __init__(self) -> None:
        self.packed: dict[Algorithm, bytearray] = {}
        self.ids: dict[Algorithm, list[int]] = {}
        self.exact: dict[Algorithm, dict[bytes, tuple[int, ...]]] = {}
        self.sizes: Counter[tuple[int, Algorithm]] = Counter()

    def add(self, entry: ListedDigest) -> None:
        algorithm, digest = entry.algorithm, entry.digest
        if len(digest) != algorithm.size:
            raise ValueError(f"a digest of {algorithm.value} has {algorithm.size} bytes")
        if not 0 <= entry.entry_id < 2**63:
            raise ValueError("an entry id is between 0 and 2**63 - 1")
        if algorithm.perceptual:
            self.packed.setdefault(algorithm, bytearray()).extend(digest)
            self.ids.setdefault(algorithm, []).append(entry.entry_id)
        else:
            known = self.exact.setdefault(algorithm, {})
            known[digest] = (*known.get(digest, ()), entry.entry_id)
        self.sizes[entry.list_id, algorithm] += 1

    def index(self, algorithm: Algorithm) -> HammingIndex:
        rows = np.frombuffer(bytes(self.packed[algorithm]), dtype=np.uint8).reshape(-1, algorithm.size)
        return HammingIndex.build(rows, np.array(self.ids[algorithm], dtype=np.uint64))


def _near(
    index: HammingIndex, views: Sequence[View], *, algorithm: Algorithm, radius: int
) -> Iterator[Candidate]:
    asked = [(view, *turn) for view in views for turn in _turns(view, algorithm)]
    packed = b"".join(digest for _, _, digest in asked)
    rows = np.frombuffer(packed, dtype=np.uint8).reshape(len(asked), algorithm.size)
    for number, entry_id, distance in zip(
        *(hits.tolist() for hits in index.search(rows, radius)), strict=True
    ):
        view, orientation, _ = asked[number]
        yield Candidate(
            entry_id=entry_id,
            algorithm=algorithm,
            view=view.name,
            orientation=orientation,
            distance=distance,
            quality=view.quality,
        )


def _turns(view: View, algorithm: Algorithm) -> Iterable[tuple[str, bytes]]:
    """Name what of a view is looked up. Only the bits of a PDQ can be turned without the picture."""
    if algorithm is Algorithm.PDQ:
        return zip(DIHEDRAL, view.orientations(), strict=True)
    return ((UPRIGHT, view.signals[algorithm]),)
