"""Entries on their way into an index: packed as they come, so that a million of them are no million objects.

Invariants: a digest has its algorithm's length and an id fits into 63 bits, else nothing is added; neither a
repr nor an error shows a digest.

It is written by one thread, and not while its columns are looked at. It sorts nothing and searches nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from coverguard.model import Algorithm

Ids = NDArray[np.int64]
Rows = NDArray[np.intp]
Digests = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDigest:
    """One entry of one list, or one of several digests of it. An entry is of one list."""

    entry_id: int  # 0 … 2**63 - 1
    list_id: int
    algorithm: Algorithm
    digest: bytes = field(repr=False)


class Columns(NamedTuple):
    """Entries of one algorithm, side by side."""

    ids: Ids  # int64[n]
    lists: Ids  # int64[n]
    digests: Digests  # uint8[n, size]

    @classmethod
    def none(cls, size: int) -> Self:
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, size), np.uint8))

    def take(self, rows: Rows | NDArray[np.bool_]) -> Columns:
        return Columns(self.ids[rows], self.lists[rows], self.digests[rows])

    def without(self, ids: Ids) -> Columns:
        """All that are of none of these ids."""
        return self.take(~np.isin(self.ids, ids))

    def joined(self, *others: Columns) -> Columns:
        several = [one for one in (self, *others) if len(one.ids)]
        if len(several) < 2:  # noqa: PLR2004 - nothing to join
            return several[0] if several else self
        return Columns(*(np.concatenate(parts) for parts in zip(*several, strict=True)))

    def by_id(self) -> Columns:
        """The same in the order of ids; those of one id stay in theirs."""
        if np.all(self.ids[:-1] <= self.ids[1:]):
            return self
        return self.take(np.argsort(self.ids, kind="stable"))


class PackedDigests(Iterable[ListedDigest]):
    """What `ListIndex` is made of, and changed with."""

    def __init__(self, entries: Iterable[ListedDigest] = ()) -> None:
        """Pack entries that are at hand; `add` packs one by one.

        Raises:
            ValueError: as `add`.
        """
        self._packed: dict[Algorithm, _Packed] = {}
        for one in entries:
            self.add(one.entry_id, one.algorithm, list_id=one.list_id, digest=one.digest)

    def add(self, entry_id: int, algorithm: Algorithm, *, list_id: int, digest: bytes) -> None:
        """Append a digest.

        Raises:
            ValueError: it has not the length of its algorithm, or an id is out of range.
        """
        if len(digest) != algorithm.size:
            raise ValueError(f"a digest of {algorithm.value} has {algorithm.size} bytes")
        if not 0 <= entry_id < 2**63:
            raise ValueError("an entry id is between 0 and 2**63 - 1")
        packed = self._packed.get(algorithm)
        if packed is None:
            packed = self._packed[algorithm] = _Packed()
        packed.lists.append(list_id)
        packed.ids.append(entry_id)
        packed.digests += digest

    def columns(self) -> Iterator[tuple[Algorithm, Columns]]:
        """What there is, by algorithm; views of the bytes here, not copies."""
        for algorithm, packed in self._packed.items():
            digests = np.frombuffer(packed.digests, np.uint8).reshape(-1, algorithm.size)
            ids, lists = (np.frombuffer(one, np.int64) for one in (packed.ids, packed.lists))
            yield algorithm, Columns(ids, lists, digests)

    def __iter__(self) -> Iterator[ListedDigest]:
        for algorithm, columns in self.columns():
            for entry_id, list_id, digest in zip(*columns, strict=True):
                yield ListedDigest(
                    entry_id=int(entry_id),
                    list_id=int(list_id),
                    algorithm=algorithm,
                    digest=digest.tobytes(),
                )

    def __len__(self) -> int:
        return sum(len(packed.ids) for packed in self._packed.values())

    def __repr__(self) -> str:
        return f"<PackedDigests: {len(self)}>"


@dataclass(slots=True)
class _Packed:
    ids: array[int] = field(default_factory=lambda: array("q"))
    lists: array[int] = field(default_factory=lambda: array("q"))
    digests: bytearray = field(default_factory=bytearray, repr=False)
