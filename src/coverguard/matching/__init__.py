"""Fingerprint in, candidates out: an exact Hamming index and the snapshot of all lists.

Everything here is a pure function of arrays it was given; it says what is near, never what that means. Rules,
radii of single lists, opinions and caps are `policy`'s, the transaction that reads entries is the store's.
"""

from __future__ import annotations

from coverguard.matching.facts import FactsBuilder, FactsById
from coverguard.matching.hamming import HammingIndex
from coverguard.matching.lists import ListIndex
from coverguard.matching.packing import ListedDigest, PackedDigests

__all__ = ["FactsBuilder", "FactsById", "HammingIndex", "ListIndex", "ListedDigest", "PackedDigests"]
