"""Which ids a first load has for certain not written yet: a Bloom filter, so that few are looked up.

Invariant: an id that was added is never said to be new. One that was not may be said to be there; then the
ledger is asked. It is bounded however long a list is: of a longer one more is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SMALLEST: Final = 1 << 16  # bits
LARGEST: Final = 1 << 27  # 16 MiB: of fifty million ids a quarter is asked for
BITS_AN_ID: Final = 12


class Seen:
    """Ids that came by in this process."""

    def __init__(self, most: int) -> None:
        """Make one for about so many ids."""
        bits = 1 << (min(max(most * BITS_AN_ID, SMALLEST), LARGEST) - 1).bit_length()
        self._mask = bits - 1
        self._bits = bytearray(bits // 8)

    def maybe(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that may have been added."""
        bits, mask = self._bits, self._mask
        found = []
        for one in ids:
            said = hash(one)
            first, second = said & mask, said >> 30 & mask  # no bit is in both
            if bits[first >> 3] >> (first & 7) & 1 and bits[second >> 3] >> (second & 7) & 1:
                found.append(one)
        return found

    def add(self, ids: Sequence[str]) -> None:
        bits, mask = self._bits, self._mask
        for one in ids:
            said = hash(one)
            for place in (said & mask, said >> 30 & mask):
                bits[place >> 3] |= 1 << (place & 7)
