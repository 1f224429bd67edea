"""An exact index for "every entry within r bits of this digest", by scanning.

Entries lie as columns of 64-bit words, so that the first two words of all of them are two sequential reads:
what already differs by more than r bits there is out, and with r well under a quarter of the bits next to
nothing is left to verify. No hash tables, no approximation: the result equals brute force.

Invariants: immutable after `build`; the caller's arrays are copied; results are sorted by query, then
distance, then id; one search allocates its own buffers, so threads may share an index.

It does not know algorithms, lists or meanings, and neither its repr nor its errors show a digest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from coverguard.matching import snapshot

Words = NDArray[np.uint64]
Hits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]]

WIDTHS: Final = (8, 32)
"""Digest lengths in bytes: 64-bit and 256-bit."""

_BLOCK: Final = 32_768
"""Rows looked at together: small enough that their columns stay cached for the next query of a batch."""

_FIRST: Final = 2
"""Words compared before anything is verified."""


class HammingIndex:
    """All entries of one digest width. Made by `build` or `load`."""

    __slots__ = ("_bits", "_columns", "_ids")

    def __init__(self, table: Words) -> None:
        """Take over a table as `snapshot` stores it: row 0 the ids, then one row a word of the digest."""
        self._ids = table[0]
        self._columns = tuple(table[1:])
        self._bits = 64 * len(self._columns)

    @classmethod
    def build(cls, digests: NDArray[np.uint8], ids: NDArray[np.uint64]) -> HammingIndex:
        """Index uint8[n, 8] or uint8[n, 32] digests under uint64[n] ids below 2**63; ids may repeat.

        Raises:
            ValueError: a shape, dtype or id is not that.
        """
        _check_digests(digests)
        _check_ids(ids, count=len(digests))
        table = np.empty((1 + digests.shape[1] // 8, len(digests)), dtype=np.uint64)
        table[0] = ids
        table[1:] = _words(digests).T
        table.flags.writeable = False
        return cls(table)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HammingIndex:
        """Map a saved index into memory; its pages are shared by all processes that map it.

        Raises:
            ConfigurationError: there is no readable file.
            IntegrityFailure: it is not, or no longer, what `save` wrote.
        """
        return cls(snapshot.read(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index as one file that only this user may read; whole or not at all.

        The file has the digests in the clear: it belongs on a tmpfs.

        Raises:
            TransientError: it could not be written; what was there before still is.
        """
        snapshot.write(path, ids=self._ids, columns=self._columns)

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64[n], as they were given: not a copy, and not to be written to."""
        ids: NDArray[np.int64] = self._ids.view(np.int64)
        return ids

    def digests(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Give back the digests of these rows: uint8[k, …]."""
        words = np.empty((len(rows), len(self._columns)), dtype=np.uint64)
        for number, column in enumerate(self._columns):
            words[:, number] = column[rows]
        return words.view(np.uint8)

    def search(self, digests: NDArray[np.uint8], radius: int) -> Hits:
        """Return (query: int64[k], id: int64[k], distance: uint16[k]) of all pairs within `radius` bits.

        `digests` is uint8[m, …] as wide as the index; `query` counts its rows.

        Raises:
            ValueError: another width, shape or dtype, or a radius outside 0 … bits.
        """
        _check_digests(digests)
        if digests.shape[1] * 8 != self._bits:
            raise ValueError(f"this index has digests of {self._bits} bits")
        if not 0 <= radius <= self._bits:
            raise ValueError(f"the radius must be between 0 and {self._bits} bits")
        return _sorted(self._scan(_words(digests), radius))

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"<HammingIndex: {len(self)} entries of {self._bits} bits>"

    def _scan(self, queries: Words, radius: int) -> list[_Found]:
        found: list[_Found] = []
        size = min(_BLOCK, len(self))
        buffers = _Buffers(np.empty(size, np.uint64), np.empty(size, np.uint8), np.empty(size, np.uint8))
        for start in range(0, len(self), _BLOCK):
            columns = [column[start : start + _BLOCK] for column in self._columns]
            ids = self._ids[start : start + _BLOCK]
            for number, query in enumerate(queries):
                near = buffers.near(columns[:_FIRST], query[:_FIRST], radius=radius)
                if near is not None:
                    rows, distance = _verified(near, columns, query, radius=radius)
                    found.append(_Found(query=number, ids=ids[rows], distance=distance))
        return found


@dataclass(frozen=True, slots=True)
class _Found:
    """The hits of one query in one block."""

    query: int
    ids: Words
    distance: NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Scratch of one search, so that a block allocates nothing."""

    differing: Words
    count: NDArray[np.uint8]
    total: NDArray[np.uint8]  # at most 128: two words

    def near(self, columns: list[Words], query: Words, *, radius: int) -> NDArray[np.intp] | None:
        """Return the rows of which the first words do not rule out the radius; None for no row."""
        rows = len(columns[0])
        differing, count, total = self.differing[:rows], self.count[:rows], self.total[:rows]
        np.bitwise_xor(columns[0], query[0], out=differing)
        np.bitwise_count(differing, out=total)
        for column, word in zip(columns[1:], query[1:], strict=True):
            np.bitwise_xor(column, word, out=differing)
            np.bitwise_count(differing, out=count)
            np.add(total, count, out=total)
        if int(total.min()) > radius:
            return None
        return np.flatnonzero(total <= radius)


def _verified(
    rows: NDArray[np.intp], columns: list[Words], query: Words, *, radius: int
) -> tuple[NDArray[np.intp], NDArray[np.uint16]]:
    """Keep of the rows those within the radius, with their whole distance."""
    distance = np.zeros(len(rows), dtype=np.uint16)
    for column, word in zip(columns, query, strict=True):
        distance += np.bitwise_count(column[rows] ^ word)
    within = distance <= radius
    return rows[within], distance[within]


def _sorted(found: list[_Found]) -> Hits:
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16)
    query = np.repeat(
        np.array([hits.query for hits in found], dtype=np.int64), [len(hits.ids) for hits in found]
    )
    ids = np.concatenate([hits.ids for hits in found]).astype(np.int64)
    distance = np.concatenate([hits.distance for hits in found])
    order = np.lexsort((ids, distance, query))
    return query[order], ids[order], distance[order]


def _check_digests(digests: object) -> None:
    if not isinstance(digests, np.ndarray) or digests.dtype != np.uint8:
        raise ValueError("digests must be a uint8 array")
    if digests.ndim != 2 or digests.shape[1] not in WIDTHS:  # noqa: PLR2004 - rows and bytes
        raise ValueError("digests must have the shape [n, 8] or [n, 32]")


def _check_ids(ids: object, *, count: int) -> None:
    if not isinstance(ids, np.ndarray) or ids.dtype != np.uint64 or ids.shape != (count,):
        raise ValueError("ids must be a uint64 array with one id a digest")
    if count and int(ids.max()) >= 2**63:
        raise ValueError("ids must be below 2**63")


def _words(digests: NDArray[np.uint8]) -> Words:
    """See the digests as words. Any byte order will do: it permutes the bits of both sides alike."""
    return np.ascontiguousarray(digests).view(np.uint64)
