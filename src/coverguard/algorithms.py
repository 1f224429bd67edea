"""Names of hashes and what comes with them: length, kind, how far a match may be and still hold.

The built-in ones are here; an operator's plug-ins bring their own. No third-party import, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, Self


class Algorithm(str):
    """A registered name, which fixes method, length and version (a change would be `pdq.2`), and its bounds.

    Those below are built in; an operator's plug-ins bring their own. Whoever reads a name from outside asks
    an `Algorithms` for it.
    """

    __slots__ = ("hold_radius", "max_radius", "perceptual", "size")

    size: int  # digest length in bytes
    perceptual: bool  # of what is seen, not of the bytes as given
    hold_radius: (
        int  # the farthest match that may hold: 0 for digests of bytes, -1 where a person looks first
    )
    max_radius: int  # the farthest that a list's rule may ask for

    PDQ: ClassVar[Algorithm]
    PHASH256: ClassVar[Algorithm]
    SHA256: ClassVar[Algorithm]
    SHA1: ClassVar[Algorithm]
    MD5: ClassVar[Algorithm]

    def __new__(
        cls, name: str, *, size: int, perceptual: bool = False, hold_radius: int = 0, max_radius: int = 0
    ) -> Self:
        """Raise ValueError for a name that could not be stored or logged."""
        if not _ALGORITHM_NAME.fullmatch(name):
            raise ValueError("an algorithm's name is 1 to 32 of a-z, 0-9, dot, dash and underscore")
        if not -1 <= hold_radius <= max_radius:
            raise ValueError("a hold radius is -1 to the algorithm's max_radius")
        made = super().__new__(cls, name)
        made.size, made.perceptual = size, perceptual
        made.hold_radius, made.max_radius = hold_radius, max_radius
        return made

    @property
    def value(self) -> str:
        """The bare name."""
        return str(self)


_ALGORITHM_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")

Algorithm.PDQ = Algorithm("pdq", size=32, perceptual=True, hold_radius=31, max_radius=90)
Algorithm.PHASH256 = Algorithm("phash256", size=32, perceptual=True, hold_radius=-1, max_radius=90)
Algorithm.SHA256 = Algorithm("sha256", size=32)
Algorithm.SHA1 = Algorithm("sha1", size=20)
Algorithm.MD5 = Algorithm("md5", size=16)

BUILT_IN: Final = (Algorithm.PDQ, Algorithm.PHASH256, Algorithm.SHA256, Algorithm.SHA1, Algorithm.MD5)
PERCEPTUAL: Final = frozenset(one for one in BUILT_IN if one.perceptual)


class Algorithms(Mapping[str, Algorithm]):
    """The algorithms that a deployment knows, by name: the built-in ones, and those of its plug-ins."""

    def __init__(self, *plugged_in: Algorithm) -> None:
        """Raise ValueError where two have one name."""
        self._known = {one.value: one for one in (*BUILT_IN, *plugged_in)}
        if len(self._known) < len(BUILT_IN) + len(plugged_in):
            raise ValueError("two algorithms have one name")

    def __getitem__(self, name: str) -> Algorithm:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
