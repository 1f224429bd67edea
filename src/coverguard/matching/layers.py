"""Entries of one algorithm that can change: a large base, a small delta over it, and who of the base is gone.

Invariants: nothing is changed in place. A change makes new layers that share the base's arrays with the old
ones, so that whoever searches the old ones is not disturbed, and costs time with its own size and the
delta's. An entry counts in one layer: what is changed is gone from the base and lies in the delta. A search
over layers equals one over a base that was made from what counts. When delta and gone rows are more than an
eighth of the base (or a few thousand), the base is made anew, without an object for each entry: each entry
pays for eight others at most, and a search looks at an eighth more than it must.

It knows no lists' rules, and neither its reprs nor its errors show a digest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from coverguard.matching.hamming import HammingIndex
from coverguard.matching.packing import Columns, Digests, Ids, Rows

LEAST: Final = 4096  # rows that may lie outside of the base, however small it is
SHARE: Final = 8  # of the base, that may

Hits = tuple[Ids, Ids, NDArray[Any]]
"""Query: int64[k], id: int64[k], distance[k]; those of one query in no order."""

Measure = Callable[[bytes, Digests], NDArray[np.int64]]
"""A plug-in's distances from one digest to each row of uint8[n, size]."""


class Searched(Protocol):
    """Digests in rows that stay as they are, and a way to find among them."""

    def search(self, digests: Digests, radius: int, /) -> Hits: ...

    def digests(self, rows: Rows) -> Digests: ...


@dataclass(frozen=True, slots=True)
class Segment:
    """Entries in the order of their ids."""

    ids: Ids
    lists: Ids
    searched: Searched = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def columns(self, rows: Rows) -> Columns:
        return Columns(self.ids[rows], self.lists[rows], self.searched.digests(rows))

    def rows_of(self, ids: Ids) -> Rows:
        """Where these ids, sorted and each once, are: in order."""
        first = np.searchsorted(self.ids, ids, side="left")
        count = np.searchsorted(self.ids, ids, side="right") - first
        ends = np.cumsum(count)
        inside = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - count, count)
        rows: Rows = np.repeat(first, count) + inside
        return rows


Build = Callable[[Columns], Segment]


@dataclass(frozen=True, slots=True)
class Layers:
    """All entries of one algorithm, or all of it that lie apart."""

    build: Build
    base: Segment
    delta: Segment
    gone: Ids  # of the base, sorted, each once
    gone_rows: int = 0

    @classmethod
    def of(cls, columns: Columns, *, build: Build) -> Layers:
        size = columns.digests.shape[1]
        return cls(build, build(columns.by_id()), build(Columns.none(size)), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.base) - self.gone_rows + len(self.delta)

    def search(self, digests: Digests, radius: int) -> Hits:
        """Return what is near among the entries that count.

        Raises:
            ValueError: the radius is out of bounds.
        """
        query, ids, distance = self.base.searched.search(digests, radius)
        if len(self.gone) and len(ids):
            counts = ~_among(ids, self.gone)
            query, ids, distance = query[counts], ids[counts], distance[counts]
        if not len(self.delta):
            return query, ids, distance
        both = zip((query, ids, distance), self.delta.searched.search(digests, radius), strict=True)
        query, ids, distance = (np.concatenate(parts) for parts in both)
        return query, ids, distance

    def of_entries(self, ids: Ids) -> tuple[Rows, Rows]:
        """The rows of base and delta that count and are of these ids, which are sorted, each once."""
        here = ids[~_among(ids, self.gone)]
        return self.base.rows_of(here), self.delta.rows_of(ids)

    def lists_of(self, ids: Ids) -> Ids:
        """The lists of what counts of these ids, which are sorted, each once: one a row."""
        older, newer = self.of_entries(ids)
        return np.concatenate([self.base.lists[older], self.delta.lists[newer]])

    def of_lists(self, lists: Ids) -> Columns:
        """What counts of these lists."""
        rows = np.flatnonzero(np.isin(self.base.lists, lists))
        rows = rows[~_among(self.base.ids[rows], self.gone)]
        newer = np.flatnonzero(np.isin(self.delta.lists, lists))
        return self.base.columns(rows).joined(self.delta.columns(newer))

    def changed(self, *, removed: Ids, added: Columns) -> Layers:
        """Return layers without these ids, which are sorted, each once, and with these entries.

        Ids of entries that are added and count already are among those that are removed.
        """
        older, newer = self.of_entries(removed)
        if not len(older) and not len(newer) and not len(added.ids):
            return self
        kept = np.ones(len(self.delta), np.bool_)
        kept[newer] = False
        delta = self.delta.columns(np.flatnonzero(kept)).joined(added).by_id()
        made = replace(
            self,
            delta=self.build(delta),
            gone=np.union1d(self.gone, self.base.ids[older]),
            gone_rows=self.gone_rows + len(older),
        )
        return made.compacted() if made.is_loose() else made

    def is_loose(self) -> bool:
        """Whether enough lies outside of the base to make it anew."""
        return len(self.delta) + self.gone_rows > max(LEAST, len(self.base) // SHARE)

    def compacted(self) -> Layers:
        """The same in one base."""
        rows = np.flatnonzero(~_among(self.base.ids, self.gone))
        newer = self.delta.columns(np.arange(len(self.delta)))
        return Layers.of(self.base.columns(rows).joined(newer), build=self.build)


def _among(ids: Ids, some: Ids) -> NDArray[np.bool_]:
    """Which of the ids are among some that are sorted."""
    if not len(some):
        return np.zeros(len(ids), np.bool_)
    places = np.minimum(np.searchsorted(some, ids), len(some) - 1)
    among: NDArray[np.bool_] = some[places] == ids
    return among


# ── ways to find ───────────────────────────────────────────────────────────────────────────────────────────


def by_bits(columns: Columns) -> Segment:
    """Bit by bit, in the two widths that `HammingIndex` has."""
    index = HammingIndex.build(columns.digests, columns.ids.astype(np.uint64))
    return Segment(index.ids, columns.lists.copy(), index)


def by_measure(measure: Measure) -> Build:
    """By a plug-in: each entry is measured."""

    def build(columns: Columns) -> Segment:
        ids, digests = columns.ids.copy(), columns.digests.copy()
        return Segment(ids, columns.lists.copy(), _Measured(ids, digests, measure))

    return build


def by_bytes(columns: Columns) -> Segment:
    """Only what is the same, whatever the radius."""
    ids = columns.ids.copy()
    return Segment(ids, columns.lists.copy(), _Same(ids, columns.digests.copy()))


class _Measured:
    def __init__(self, ids: Ids, rows: Digests, measure: Measure) -> None:
        self._ids = ids
        self._rows = rows
        self._measure = measure

    def search(self, digests: Digests, radius: int) -> Hits:
        if radius < 0:
            raise ValueError("the radius must not be negative")
        if not len(self._ids):
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
        distances = [self._measure(digest.tobytes(), self._rows) for digest in digests]
        near = [np.flatnonzero(found <= radius) for found in distances]
        query = np.repeat(np.arange(len(near)), [len(rows) for rows in near])
        rows = np.concatenate(near)
        return query, self._ids[rows], np.concatenate([f[n] for f, n in zip(distances, near, strict=True)])

    def digests(self, rows: Rows) -> Digests:
        return self._rows[rows]


class _Same:
    """Digests looked up by their first eight bytes, which are sorted, and then compared whole."""

    def __init__(self, ids: Ids, rows: Digests) -> None:
        self._ids = ids
        self._rows = rows
        heads = _heads(rows)
        self._order = np.argsort(heads, kind="stable").astype(np.uint32 if len(ids) < 2**32 else np.int64)
        self._heads = heads[self._order]

    def search(self, digests: Digests, _radius: int) -> Hits:
        found: list[tuple[int, Rows]] = []
        for number, head in enumerate(_heads(digests)):
            first, last = (int(np.searchsorted(self._heads, head, side=side)) for side in ("left", "right"))
            if first < last:
                rows = self._order[first:last].astype(np.intp)
                found.append((number, rows[(self._rows[rows] == digests[number]).all(axis=1)]))
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16)
        query = np.repeat(np.array([number for number, _ in found]), [len(rows) for _, rows in found])
        ids = self._ids[np.concatenate([rows for _, rows in found])]
        return query, ids, np.zeros(len(ids), np.uint16)

    def digests(self, rows: Rows) -> Digests:
        return self._rows[rows]


def _heads(digests: Digests) -> NDArray[np.uint64]:
    """See the first eight bytes as a number; what is shorter is filled up. Any byte order will do."""
    heads = np.zeros((len(digests), 8), np.uint8)
    width = min(8, digests.shape[1])
    heads[:, :width] = digests[:, :width]
    return heads.view(np.uint64)[:, 0]
