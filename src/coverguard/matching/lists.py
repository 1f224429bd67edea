"""What all lists say, as one immutable snapshot: perceptual entries in Hamming indexes, digests in dicts.

Invariants: a snapshot is of one sequence number and never changes, a new one takes its place whole; every
view is asked, PDQ in its eight orientations and, where wanted, as the negative of each; an algorithm that has
entries is never skipped for want of a radius. Lists that ask for a wide radius lie apart, so that only they
pay for it. A candidate is an entry that is near: whether it counts is decided by `policy`, with the list's
rule.

It reads no store, knows no opinions or categories, and shows no digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from coverguard.algorithms import BUILT_IN
from coverguard.matching.hamming import WIDTHS, HammingIndex
from coverguard.model import BYTES_VIEW, DIHEDRAL, Algorithm, Candidate, Fingerprint, View

UPRIGHT: Final = DIHEDRAL[0]
_INVERTED: Final = bytes(range(255, -1, -1))
_CERTAIN: Final = 100  # quality of a digest

Measure = Callable[[bytes, NDArray[np.uint8]], NDArray[np.int64]]
"""A plug-in's distances from one digest to each row of uint8[n, size]."""


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

    def __init__(
        self,
        entries: Iterable[ListedDigest],
        *,
        seq: int,
        wide: Collection[int] = (),
        measures: Mapping[Algorithm, Measure] | None = None,
    ) -> None:
        """`wide` names the lists with a radius of their own, `measures` say how far what is not bits is."""
        self.seq = seq
        gathered = _Gathered(wide=frozenset(wide), measures=measures or {})
        for entry in entries:
            gathered.add(entry)
        self._near = {place: gathered.index(*place) for place in gathered.packed}
        self._exact = gathered.exact
        self._sizes = dict(gathered.sizes)

    @property
    def sizes(self) -> Mapping[tuple[int, Algorithm], int]:
        """How many digests the snapshot has by list id and algorithm."""
        return dict(self._sizes)

    @property
    def perceptual(self) -> frozenset[Algorithm]:
        """The algorithms that need a radius."""
        return frozenset(algorithm for algorithm, _ in self._near)

    def __len__(self) -> int:
        """Count the digests of all lists."""
        return sum(self._sizes.values())

    def __repr__(self) -> str:
        return f"<ListIndex: {len(self)} digests at seq {self.seq}>"

    def candidates(
        self,
        fingerprint: Fingerprint,
        *,
        radius: Mapping[Algorithm, int],
        wide: Mapping[Algorithm, int] | None = None,
        complement: bool = False,
    ) -> Sequence[Candidate]:
        """Return the nearest candidate of each entry, algorithm and view, by entry id, algorithm, then view.

        `radius` has the widest radius in use of every perceptual algorithm, `wide` those of the lists that
        lie apart (the same, if it is not given); digests match exactly. With `complement` the negative of
        each view is looked up as well, by PDQ, as if it were a view of its own.
        No view stands for another: rules differ in the quality they ask for, and the nearest view of an entry
        may be one that does not count for its list. Of equally near orientations the first one asked wins.

        Raises:
            ValueError: a perceptual algorithm has entries and no radius, or the radius is out of bounds.
        """
        best: dict[tuple[int, str, int, bool], Candidate] = {}
        place = {name: at for at, name in enumerate((BYTES_VIEW, *(view.name for view in fingerprint.views)))}
        asked = {False: radius, True: radius if wide is None else wide}
        for candidate in self._all(fingerprint, asked, complement=complement):
            view, negative = place[candidate.view], candidate.complement
            key = (candidate.entry_id, candidate.algorithm.value, view, negative)
            known = best.get(key)
            if known is None or candidate.distance < known.distance:
                best[key] = candidate
        return tuple(best[key] for key in sorted(best))

    def _all(
        self, fingerprint: Fingerprint, radius: Mapping[bool, Mapping[Algorithm, int]], *, complement: bool
    ) -> Iterator[Candidate]:
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
        for (algorithm, wide), index in self._near.items():
            if algorithm not in radius[wide]:
                raise ValueError(f"{algorithm} has entries and no radius")
            asked = tuple(_asked(fingerprint.views, algorithm, complement=complement))
            yield from _near(index, asked, algorithm=algorithm, radius=radius[wide][algorithm])


class _Gathered:
    """Entries on their way into a snapshot."""

    def __init__(self, *, wide: Collection[int], measures: Mapping[Algorithm, Measure]) -> None:
        self._wide = wide
        self._measures = measures
        self.packed: dict[tuple[Algorithm, bool], bytearray] = {}
        self.ids: dict[tuple[Algorithm, bool], list[int]] = {}
        self.exact: dict[Algorithm, dict[bytes, tuple[int, ...]]] = {}
        self.sizes: Counter[tuple[int, Algorithm]] = Counter()

    def add(self, entry: ListedDigest) -> None:
        algorithm, digest = entry.algorithm, entry.digest
        if len(digest) != algorithm.size:
            raise ValueError(f"a digest of {algorithm.value} has {algorithm.size} bytes")
        if not 0 <= entry.entry_id < 2**63:
            raise ValueError("an entry id is between 0 and 2**63 - 1")
        if algorithm.perceptual:
            place = (algorithm, entry.list_id in self._wide)
            self.packed.setdefault(place, bytearray()).extend(digest)
            self.ids.setdefault(place, []).append(entry.entry_id)
        else:
            known = self.exact.setdefault(algorithm, {})
            known[digest] = (*known.get(digest, ()), entry.entry_id)
        self.sizes[entry.list_id, algorithm] += 1

    def index(self, algorithm: Algorithm, wide: bool) -> _Index:  # noqa: FBT001 - a key's second half
        place = (algorithm, wide)
        rows = np.frombuffer(bytes(self.packed[place]), dtype=np.uint8).reshape(-1, algorithm.size)
        ids = np.array(self.ids[place], dtype=np.uint64)
        if (measure := self._measures.get(algorithm)) is not None:
            return _Measured(rows, ids.astype(np.int64), measure)
        if algorithm.size not in WIDTHS:
            raise ValueError(f"{algorithm} has entries and no measure")
        return HammingIndex.build(rows, ids)


Hits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]


class _Index(Protocol):
    def search(self, digests: NDArray[np.uint8], radius: int, /) -> Hits: ...


class _Measured:
    """Entries of a plug-in's algorithm: each is measured, by the plug-in."""

    def __init__(self, rows: NDArray[np.uint8], ids: NDArray[np.int64], measure: Measure) -> None:
        self._rows = rows
        self._ids = ids
        self._measure = measure

    def search(self, digests: NDArray[np.uint8], radius: int) -> Hits:
        """As `HammingIndex.search`, in no order."""
        if radius < 0:
            raise ValueError("the radius must not be negative")
        distances = [self._measure(digest.tobytes(), self._rows) for digest in digests]
        near = [np.flatnonzero(found <= radius) for found in distances]
        query = np.repeat(np.arange(len(near)), [len(rows) for rows in near])
        rows = np.concatenate(near)
        return query, self._ids[rows], np.concatenate([f[n] for f, n in zip(distances, near, strict=True)])


@dataclass(frozen=True, slots=True)
class _Asked:
    """One digest that is looked up, and what it is of."""

    view: View
    orientation: str
    digest: bytes
    complement: bool = False


def _near(
    index: _Index, asked: Sequence[_Asked], *, algorithm: Algorithm, radius: int
) -> Iterator[Candidate]:
    if not asked:
        return
    packed = b"".join(one.digest for one in asked)
    rows = np.frombuffer(packed, dtype=np.uint8).reshape(len(asked), algorithm.size)
    for number, entry_id, distance in zip(
        *(hits.tolist() for hits in index.search(rows, radius)), strict=True
    ):
        one = asked[number]
        yield Candidate(
            entry_id=entry_id,
            algorithm=algorithm,
            view=one.view.name,
            orientation=one.orientation,
            distance=distance,
            quality=one.view.quality,
            complement=one.complement,
            low_diversity=one.view.low_diversity,
        )


def _asked(views: Sequence[View], algorithm: Algorithm, *, complement: bool) -> Iterator[_Asked]:
    """Say what of each view is looked up. Only the bits of a PDQ can be turned without the picture.

    A plug-in may have nothing to say of a view; the built-in ones always have.
    """
    for view in views:
        if algorithm == Algorithm.PDQ:
            for orientation, digest in zip(DIHEDRAL, view.orientations(), strict=True):
                yield _Asked(view, orientation, digest)
                if complement:  # a DCT's signs are the other way round, and so is every bit
                    yield _Asked(view, orientation, bytes(digest).translate(_INVERTED), complement=True)
        elif algorithm in BUILT_IN or algorithm in view.signals:
            yield _Asked(view, UPRIGHT, view.signals[algorithm])
