"""What is known of each entry, in twelve bytes an entry: ids in order, each with which of a few facts it is.

Invariants: nothing is changed in place; a change shares the base with what was before and costs time with its
own size and that of earlier changes, which are at most an eighth of the base (see `layers`).

It does not know what facts are: they are hashable, and `told` makes of them what a reader is given.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from coverguard.matching.layers import LEAST, SHARE
from coverguard.matching.packing import Ids

Fact = TypeVar("Fact", bound=Hashable)
Told = TypeVar("Told")

_NONE: Final = 2**32 - 1  # known of an entry that is gone


@dataclass(frozen=True, slots=True)
class _Known:
    """Ids in order, each once, and the number of what is known of each."""

    ids: Ids
    numbers: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.ids)

    def get(self, entry_id: int) -> int | None:
        place = int(np.searchsorted(self.ids, entry_id))
        if place == len(self.ids) or int(self.ids[place]) != entry_id:
            return None
        return int(self.numbers[place])

    def under(self, newer: _Known) -> _Known:
        """Both, where of one id the newer counts."""
        ids = np.concatenate([self.ids, newer.ids])
        numbers = np.concatenate([self.numbers, newer.numbers])
        order = np.argsort(ids, kind="stable")
        ids, numbers = ids[order], numbers[order]
        last = np.ones(len(ids), np.bool_)
        last[:-1] = ids[:-1] != ids[1:]
        return _Known(ids[last], numbers[last])

    def only(self, rows: NDArray[np.bool_]) -> _Known:
        return _Known(self.ids[rows], self.numbers[rows])


_NOTHING: Final = _Known(np.empty(0, np.int64), np.empty(0, np.uint32))


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FactsById(Mapping[int, Told], Generic[Fact, Told]):
    """A mapping from entry id to what is told of the entry; made by a `FactsBuilder`."""

    told: Callable[[int, Fact], Told]
    distinct: tuple[Fact, ...]
    base: _Known
    newer: _Known = _NOTHING

    def __getitem__(self, entry_id: int) -> Told:
        number = self.newer.get(entry_id)
        if number is None:
            number = self.base.get(entry_id)
        if number is None or number == _NONE:
            raise KeyError(entry_id)
        return self.told(entry_id, self.distinct[number])

    def __iter__(self) -> Iterator[int]:
        return iter(self.whole().ids.tolist())

    def __len__(self) -> int:
        return len(self.whole()) if len(self.newer) else len(self.base)

    def __repr__(self) -> str:
        return f"<FactsById: {len(self)} entries, {len(self.distinct)} distinct facts>"

    def changed(
        self,
        upserts: FactsById[Fact, Told],
        *,
        removed: Iterable[int],
        dropped: Callable[[Fact], bool] | None = None,
    ) -> FactsById[Fact, Told]:
        """Return the facts without those `dropped` and `removed`, and then with these."""
        distinct, numbers = self._joined(upserts.distinct)
        coming = upserts.whole()
        coming = _Known(coming.ids, numbers[coming.numbers])
        ids = np.unique(np.fromiter(removed, np.int64))
        gone = _Known(ids, np.full(len(ids), _NONE, np.uint32))
        left = self if dropped is None else self._without(dropped)
        made = replace(left, distinct=distinct, newer=left.newer.under(gone.under(coming)))
        loose = len(made.newer) > max(LEAST, len(made.base) // SHARE)
        return replace(made, base=made.whole(), newer=_NOTHING) if loose else made

    def _joined(self, others: tuple[Fact, ...]) -> tuple[tuple[Fact, ...], NDArray[np.uint32]]:
        """All distinct facts, and the numbers that the others have among them."""
        places = {fact: number for number, fact in enumerate(self.distinct)}
        numbers = np.array([places.setdefault(fact, len(places)) for fact in others], np.uint32)
        return (self.distinct if len(places) == len(self.distinct) else tuple(places)), numbers

    def _without(self, dropped: Callable[[Fact], bool]) -> FactsById[Fact, Told]:
        off = [number for number, fact in enumerate(self.distinct) if dropped(fact)]
        if not off:
            return self
        whole = self.whole()
        kept = whole.only(~np.isin(whole.numbers, np.array(off, np.uint32)))
        return replace(self, base=kept, newer=_NOTHING)

    def whole(self) -> _Known:
        """What counts, in one."""
        whole = self.base.under(self.newer) if len(self.newer) else self.base
        return whole.only(whole.numbers != _NONE) if len(self.newer) else whole


class FactsBuilder(Generic[Fact, Told]):
    """Facts on their way: as they come, no object an entry."""

    def __init__(self, told: Callable[[int, Fact], Told]) -> None:
        self._told = told
        self._ids: array[int] = array("q")
        self._numbers: array[int] = array("I")
        self._distinct: dict[Fact, int] = {}

    def add(self, entry_id: int, fact: Fact) -> None:
        """Say what is known of an entry; of an id that comes again the last word counts."""
        self._numbers.append(self._distinct.setdefault(fact, len(self._distinct)))
        self._ids.append(entry_id)

    def built(self) -> FactsById[Fact, Told]:
        known = _Known(np.array(self._ids, np.int64), np.array(self._numbers, np.uint32))
        return FactsById(self._told, tuple(self._distinct), _NOTHING.under(known))
