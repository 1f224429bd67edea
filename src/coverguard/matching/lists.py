"""What all lists say, as one immutable snapshot: perceptual entries searched by distance, digests looked up.

Invariants: a snapshot is of one sequence number and never changes. The next one shares with it what is the
same (see `layers`), and finds what one made from scratch would find; every view is asked, PDQ in its eight
orientations and, where wanted, as the negative of each; an algorithm that has entries is never skipped for
want of a radius. Lists that ask for a wide radius lie apart, so that only they pay for it. A candidate is an
entry that is near: whether it counts is decided by `policy`, with the list's rule.

It reads no store, knows no opinions or categories, and shows no digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from coverguard.algorithms import BUILT_IN
from coverguard.matching.hamming import WIDTHS
from coverguard.matching.layers import Build, Layers, Measure, by_bits, by_bytes, by_measure
from coverguard.matching.packing import Columns, Ids, ListedDigest, PackedDigests
from coverguard.model import BYTES_VIEW, DIHEDRAL, Algorithm, Candidate, Fingerprint, View

UPRIGHT: Final = DIHEDRAL[0]
_INVERTED: Final = bytes(range(255, -1, -1))
_CERTAIN: Final = 100  # quality of a digest

Place = tuple[Algorithm, bool]  # and whether it is of lists that look wide
Sizes = Counter[tuple[int, Algorithm]]


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
        """`wide` names the lists with a radius of their own, `measures` say how far what is not bits is.

        `PackedDigests` are taken as they are; anything else is packed first.
        """
        self.seq = seq
        self._wide = frozenset(wide)
        self._measures = dict(measures or {})
        self._sizes: Sizes = Counter()
        self._places: dict[Place, Layers] = {}
        for place, columns in _placed(_packed(entries), self._wide).items():
            self._places[place] = Layers.of(columns, build=self._build(place[0]))
            self._sizes += _counted(columns.lists, place[0])

    def changed(
        self,
        *,
        upserts: Iterable[ListedDigest],
        removed: Collection[int],
        seq: int,
        wide: Collection[int] | None = None,
        dropped: Collection[tuple[int, Algorithm]] = (),
    ) -> ListIndex:
        """Return the index as of a later list change; this one stays as it is.

        An entry that is among `upserts` has the digests given there and no others; one that is `removed` has
        none. `dropped` names what goes of whole lists, before anything is added; `wide` the lists that lie
        apart from now on (as before, if it is not given).

        Raises:
            ValueError: as for a new index.
        """
        packed = _packed(upserts)
        apart = self._wide if wide is None else frozenset(wide)
        coming = _placed(packed, apart)
        leaving = _unique([*(columns.ids for _, columns in packed.columns()), _ids(removed)])
        off: dict[Place, Ids] = {}
        for place, layers in self._places.items():
            off[place] = self._leaving(place, layers, ids=leaving, dropped=dropped)
            moved = self._wide ^ apart if place[0].perceptual else frozenset()
            if moved and len((columns := layers.of_lists(_ids(moved)).without(off[place])).ids):
                off[place] = np.union1d(off[place], columns.ids)
                _put(coming, (place[0], not place[1]), columns)
        return self._with(coming, off, seq=seq, wide=apart)

    def _leaving(
        self, place: Place, layers: Layers, *, ids: Ids, dropped: Collection[tuple[int, Algorithm]]
    ) -> Ids:
        whole = [list_id for list_id, algorithm in dropped if algorithm == place[0]]
        return np.union1d(ids, layers.of_lists(_ids(whole)).ids) if whole else ids

    def _with(
        self, coming: Mapping[Place, Columns], off: Mapping[Place, Ids], *, seq: int, wide: frozenset[int]
    ) -> ListIndex:
        made = ListIndex((), seq=seq, wide=wide, measures=self._measures)
        made._sizes = Counter(self._sizes)
        for place in {**self._places, **coming}:
            algorithm = place[0]
            none = Columns.none(algorithm.size)
            layers = self._places.get(place) or Layers.of(none, build=self._build(algorithm))
            added, gone = coming.get(place, none), off.get(place, none.ids)
            made._sizes -= _counted(layers.lists_of(gone), algorithm)
            made._sizes += _counted(added.lists, algorithm)
            if len(changed := layers.changed(removed=gone, added=added)):
                made._places[place] = changed
        return made

    def _build(self, algorithm: Algorithm) -> Build:
        if not algorithm.perceptual:
            return by_bytes
        if (measure := self._measures.get(algorithm)) is not None:
            return by_measure(measure)
        if algorithm.size not in WIDTHS:
            raise ValueError(f"{algorithm} has entries and no measure")
        return by_bits

    @property
    def sizes(self) -> Mapping[tuple[int, Algorithm], int]:
        """How many digests the snapshot has by list id and algorithm."""
        return dict(self._sizes)

    @property
    def perceptual(self) -> frozenset[Algorithm]:
        """The algorithms that need a radius."""
        return frozenset(algorithm for algorithm, _ in self._places if algorithm.perceptual)

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
        for (algorithm, wide), layers in sorted(self._places.items(), key=lambda one: one[0]):
            if not algorithm.perceptual:
                yield from _same(layers, fingerprint.digests[algorithm], algorithm=algorithm)
                continue
            if algorithm not in radius[wide]:
                raise ValueError(f"{algorithm} has entries and no radius")
            asked = tuple(_asked(fingerprint.views, algorithm, complement=complement))
            yield from _near(layers, asked, algorithm=algorithm, radius=radius[wide][algorithm])


def _packed(entries: Iterable[ListedDigest]) -> PackedDigests:
    return entries if isinstance(entries, PackedDigests) else PackedDigests(entries)


def _placed(packed: PackedDigests, wide: Collection[int]) -> dict[Place, Columns]:
    """Part the lists that look wide from the others; where a place would be empty there is none."""
    found: dict[Place, Columns] = {}
    for algorithm, columns in packed.columns():
        apart = np.isin(columns.lists, _ids(wide)) if algorithm.perceptual and wide else None
        if apart is None or not apart.any():
            found[algorithm, False] = columns
            continue
        found[algorithm, True] = columns.take(apart)
        if not apart.all():
            found[algorithm, False] = columns.take(~apart)
    return found


def _put(coming: dict[Place, Columns], place: Place, columns: Columns) -> None:
    coming[place] = coming[place].joined(columns) if place in coming else columns


def _ids(some: Collection[int]) -> Ids:
    return np.fromiter(some, np.int64, len(some))


def _unique(several: Sequence[Ids]) -> Ids:
    return np.unique(np.concatenate(several))


def _counted(lists: Ids, algorithm: Algorithm) -> Sizes:
    ids, counts = np.unique(lists, return_counts=True)
    return Counter(
        {(list_id, algorithm): count for list_id, count in zip(ids.tolist(), counts.tolist(), strict=True)}
    )


def _same(layers: Layers, digest: bytes, *, algorithm: Algorithm) -> Iterator[Candidate]:
    _, ids, _ = layers.search(np.frombuffer(digest, np.uint8).reshape(1, -1), 0)
    for entry_id in ids.tolist():
        yield Candidate(
            entry_id=entry_id,
            algorithm=algorithm,
            view=BYTES_VIEW,
            orientation=UPRIGHT,
            distance=0,
            quality=_CERTAIN,
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """One digest that is looked up, and what it is of."""

    view: View
    orientation: str
    digest: bytes
    complement: bool = False


def _near(
    layers: Layers, asked: Sequence[_Asked], *, algorithm: Algorithm, radius: int
) -> Iterator[Candidate]:
    if not asked:
        return
    packed = b"".join(one.digest for one in asked)
    rows = np.frombuffer(packed, dtype=np.uint8).reshape(len(asked), algorithm.size)
    for number, entry_id, distance in zip(
        *(hits.tolist() for hits in layers.search(rows, radius)), strict=True
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
