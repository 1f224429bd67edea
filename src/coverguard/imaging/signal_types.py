"""Signal types: what a hash of pictures is called, how it is made, and how far two of it are apart.

PDQ and pHash 256 are ours. An operator may plug in others, such as a hash that they have a licence for and
that nobody may ship: a module of theirs with an object that is a `SignalType`, named in the settings. It is
loaded by the worker, which compares, and by the decoding child, which extracts and has no settings, no
network and no files by the time it sees a picture. So it is trusted code, as much as coverguard's own.

Golden vectors say whether a type does here what it did where it was written: `doctor` and the tests ask
them. Exact digests (MD5, SHA-1, SHA-256) are of bytes and no signal types; they cannot be plugged in.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from coverguard.algorithms import BUILT_IN, Algorithm, Algorithms
from coverguard.errors import ConfigurationError
from coverguard.imaging.raster import Box, Raster
from coverguard.imaging.signals import Hasher

MOST: Final = 8
"""Plug-ins of one deployment: each looks at every view of every cover."""

Digests = NDArray[np.uint8]
"""Shape (n, size of the algorithm)."""

_PAINTED: Final = (300, 400)  # pixels of a golden picture: height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The digest of a picture that `painted` paints, as whoever wrote the type found it."""

    seed: int
    digest: bytes = field(repr=False)
    within: int = 0  # how far another machine's may be, in the algorithm's own measure


@runtime_checkable
class SignalType(Protocol):
    """A perceptual hash. Its methods are called with what is described here, and may keep nothing of it."""

    @property
    def algorithm(self) -> Algorithm:
        """Name, length and bounds; `perceptual` is true, and a change of method is another name."""

    @property
    def golden(self) -> Sequence[Golden]:
        """One and more; a hash that nobody can check is not to be trusted."""

    def extract(self, raster: Raster, box: Box) -> bytes | None:
        """Hash what the box shows; None where there is too little to see. Any picture may come."""

    def validate(self, digest: bytes) -> bool:
        """Whether a digest of a list, which has the right length, can be one of this type."""

    def distances(self, digest: bytes, listed: Digests) -> NDArray[np.int64]:
        """How far each of the listed digests is: int64[n], symmetric, 0 for the same one."""


class SignalTypes(Mapping[str, SignalType]):
    """The signal types of a deployment, by the algorithm's name: ours first, then what is plugged in."""

    def __init__(self, *plugged_in: SignalType) -> None:
        """Raise ValueError where two have one name."""
        self.plugged_in: Final = plugged_in
        self.algorithms: Final = Algorithms(*(one.algorithm for one in plugged_in))
        self._known: dict[str, SignalType] = {
            one.algorithm.value: one for one in (_PDQ, _PHASH256, *plugged_in)
        }

    @property
    def measures(self) -> Mapping[Algorithm, Callable[[bytes, Digests], NDArray[np.int64]]]:
        """How plug-ins compare; ours are compared bit by bit."""
        return {one.algorithm: one.distances for one in self.plugged_in}

    def valid(self, algorithm: Algorithm, digest: bytes) -> bool:
        """Whether a list may have this digest; nothing is known of those that are of bytes."""
        known = self.get(algorithm)
        return known is None or known.validate(digest)

    @property
    def sizes(self) -> Mapping[str, int]:
        """The signals that a view may have, and their length."""
        return {name: one.algorithm.size for name, one in self._known.items()}

    def __getitem__(self, name: str) -> SignalType:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def load(names: Sequence[str]) -> SignalTypes:
    """Import what these `module:attribute` names name.

    Raises:
        ConfigurationError: one cannot be imported, or is no signal type; the message says which and why.
    """
    if len(names) > MOST:
        raise ConfigurationError(f"setting signal_plugins: at most {MOST}")
    try:
        return SignalTypes(*(_imported(name) for name in names))
    except ValueError as error:
        raise ConfigurationError(f"setting signal_plugins: {error}") from error


def _imported(name: str) -> SignalType:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ConfigurationError(f"setting signal_plugins: {name} is not module:attribute")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a stranger's module raises while it is imported
        raise ConfigurationError(
            f"setting signal_plugins: {name} cannot be imported here: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, SignalType):
        raise ConfigurationError(f"setting signal_plugins: {name} is no signal type (see docs/plugins.md)")
    if not found.algorithm.perceptual or found.algorithm in BUILT_IN:
        raise ConfigurationError(
            f"setting signal_plugins: {name} must be perceptual, under a name of its own"
        )
    return found


# ── golden vectors ─────────────────────────────────────────────────────────────────────────────────────────


def painted(seed: int) -> Raster:
    """Return a picture of 400 × 300 pixels made of whole numbers alone: the same everywhere, never flat.

    Three folded ramps a colour: a steep one, a bent one, a gentle one. Another seed gives another picture.
    """
    rows, columns = np.mgrid[: _PAINTED[0], : _PAINTED[1]].astype(np.int64)
    planes = []
    for colour in range(3):
        a, b, c = ((seed * 7 + colour * 5 + k * 3) % 11 + 2 for k in range(3))
        ramps = (a * columns - b * rows, rows * columns // (16 + b), (b * columns + c * rows) // 6)
        planes.append(sum(np.abs((ramp + 37 * seed) % 510 - 255) for ramp in ramps) // 3)
    pixels = np.stack(planes, axis=2).astype(np.uint8)
    return Raster(pixels=pixels, width=_PAINTED[1], height=_PAINTED[0])


def faults(one: SignalType) -> Iterator[str]:
    """Say what a type does otherwise than it promises, here and with this version of everything."""
    algorithm = one.algorithm
    if not one.golden:
        yield "it has no golden vectors"
    for golden in one.golden:
        raster = painted(golden.seed)
        made = one.extract(raster, raster.whole)
        if made is None or len(made) != algorithm.size:
            yield f"picture {golden.seed}: a digest has {algorithm.size} bytes"
            continue
        if not one.validate(made):
            yield f"picture {golden.seed}: it does not take its own digest for one"
        both = np.frombuffer(made + golden.digest, np.uint8).reshape(2, -1)
        same, apart = (int(distance) for distance in one.distances(made, both))
        if same:
            yield f"picture {golden.seed}: a digest is {same} from itself"
        if apart > golden.within:
            yield f"picture {golden.seed}: {apart} from its golden vector, at most {golden.within} are right"


# ── ours ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bits:
    """A hash that is compared bit by bit, one of those that `signals.Hasher` makes."""

    algorithm: Algorithm
    golden: Sequence[Golden]

    def extract(self, raster: Raster, box: Box) -> bytes:
        return Hasher(raster).hash(box).digests[self.algorithm]

    def validate(self, digest: bytes) -> bool:
        """Any bits may be a hash of something."""
        return len(digest) == self.algorithm.size

    def distances(self, digest: bytes, listed: Digests) -> NDArray[np.int64]:
        differing = np.bitwise_xor(listed, np.frombuffer(digest, np.uint8))
        return np.asarray(np.bitwise_count(differing).sum(axis=1), np.int64)


_PDQ: Final = _Bits(
    algorithm=Algorithm.PDQ,
    golden=(
        Golden(
            seed=1,
            digest=bytes.fromhex("95b649246a64b6e46ca499cd3391e7199fb13471d05ba3e10f0ffc05800f1ffe"),
            within=4,
        ),
        Golden(
            seed=2,
            digest=bytes.fromhex("12cd248d4d8d99093319e6599d293bd1e0e389e323c30f837e0fa02f807e7ffd"),
            within=4,
        ),
        Golden(
            seed=5,
            digest=bytes.fromhex("b5551b55c2a164a94949b299649bc8133743ece331c6470e3c1ee07e07fcffe8"),
            within=4,
        ),
    ),
)
_PHASH256: Final = _Bits(
    algorithm=Algorithm.PHASH256,
    golden=(
        Golden(
            seed=1,
            digest=bytes.fromhex("8fff3ff07800d01fe878c3e2e901cf164628cc73c4e6d9cc929b93b6932b9249"),
            within=4,
        ),
        Golden(
            seed=2,
            digest=bytes.fromhex("a1ff5fffbf016800f83f60f8e1e0e380e30345eec25ccd33c866c84cd8d9d892"),
            within=4,
        ),
        Golden(
            seed=5,
            digest=bytes.fromhex("a0000bff1ff03f033c3e38f371c6639b617764eb6c936ca64b494a935aa1556c"),
            within=4,
        ),
    ),
)
