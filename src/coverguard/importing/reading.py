"""A list file in batches that are ready to be written: sealed rows, faults, and the place behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from coverguard.hashlist import Entry, ListFile, Malformed
from coverguard.store.lists.dead_letters import DeadLetter
from coverguard.store.lists.entries import Sealed
from coverguard.store.lists.importing import Staged

BATCH: Final = 5000
"""Lines of a transaction."""
TOLD: Final = 1000
"""Faults that a report names; all are counted and kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    rows: Sequence[Staged] = field(repr=False)
    faults: Sequence[tuple[int, str, bytes]] = field(repr=False)  # line, what is wrong, its bytes
    line: int
    byte: int

    def letters(self) -> list[DeadLetter]:
        return [DeadLetter(place=f"line {line}", fault=fault, raw=raw) for line, fault, raw in self.faults]

    def told(self) -> list[Malformed]:
        return [Malformed(line=line, fault=fault) for line, fault, _ in self.faults]


def batches(file: ListFile, seal: Callable[[Entry], Sealed], *, size: int) -> Iterator[Batch]:
    """Read on to the end. Raises what the file's lines do."""
    rows: list[Staged] = []
    faults: list[tuple[int, str, bytes]] = []
    count = number = byte = 0
    for number, byte, raw, entries, fault in file:
        for part, entry in enumerate(entries):
            rows.append((number, part, seal(entry)))
        if fault:
            faults.append((number, fault, raw))
        count += 1
        if count == size:
            yield Batch(rows=rows, faults=faults, line=number, byte=byte)
            rows, faults, count = [], [], 0
    if count:
        yield Batch(rows=rows, faults=faults, line=number, byte=byte)


def merged(told: Sequence[Malformed], more: Sequence[Malformed]) -> list[Malformed]:
    """The first faults of both, by line."""
    return sorted((*told, *more), key=lambda one: one.line)[:TOLD] if more else [*told]
