"""Pixels → perceptual signals: PDQ with its quality, the industry's word, and pHash 256, a second opinion.

pHash 256's bytes are its bits row by row, the constant term first. Before imagehash gets a picture of
64 × 64, means over whole numbers of pixels are taken down to no less than twice that, at a third of the
cost: on 63 generated JPEGs 0.9 bits on average from `imagehash.phash` of the full picture, 4 at most.
Nothing here compares anything or knows a threshold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import imagehash
import numpy as np
from PIL import Image

from coverguard.imaging.pdq import Luma
from coverguard.imaging.raster import Box, Raster
from coverguard.model import Algorithm

_PHASH_SIDE = 16  # 16 × 16 coefficients = 256 bits …
_PHASH_PICTURE = 4 * _PHASH_SIDE  # … of a picture of this many pixels a side
_REDUCED_TO = 2.0  # times the picture, before it is interpolated


@dataclass(frozen=True, slots=True, kw_only=True)
class Perceptual:
    """`digests` has 32 bytes each of `pdq` and `phash256`; `dihedral` is in the order of `model.DIHEDRAL`."""

    quality: int
    digests: Mapping[str, bytes] = field(repr=False)
    dihedral: tuple[bytes, ...] = field(repr=False)


class Hasher:
    """Hashes any number of boxes of one raster."""

    def __init__(self, raster: Raster) -> None:
        self._luma = Luma(raster)
        self._grey = Image.fromarray(np.rint(self._luma.plane).astype(np.uint8))
        self._across = raster.pixels.shape[1] / raster.width
        self._down = raster.pixels.shape[0] / raster.height

    def hash(self, box: Box) -> Perceptual:
        """Hash a part of the picture as if it had been cut out of it."""
        hashed = self._luma.hash(box)
        digests = {Algorithm.PDQ.value: hashed.pdq, Algorithm.PHASH256.value: self._phash256(box)}
        return Perceptual(quality=hashed.quality, digests=digests, dihedral=hashed.dihedral)

    def _phash256(self, box: Box) -> bytes:
        width, height = self._grey.size
        left, right = _within(box.left * self._across, box.right * self._across, width)
        top, bottom = _within(box.top * self._down, box.bottom * self._down, height)
        small = self._grey.resize(
            (_PHASH_PICTURE, _PHASH_PICTURE),
            Image.Resampling.LANCZOS,
            box=(left, top, right, bottom),
            reducing_gap=_REDUCED_TO,
        )
        return np.packbits(imagehash.phash(small, hash_size=_PHASH_SIDE).hash).tobytes()


def exact(data: bytes) -> Mapping[str, bytes]:
    """Return `md5`, `sha1` and `sha256` of the bytes as given."""
    return {
        Algorithm.MD5.value: hashlib.md5(data, usedforsecurity=False).digest(),
        Algorithm.SHA1.value: hashlib.sha1(data, usedforsecurity=False).digest(),
        Algorithm.SHA256.value: hashlib.sha256(data).digest(),
    }


def _within(low: float, high: float, size: int) -> tuple[float, float]:
    """Keep a part of a side within it, and at least a pixel long."""
    first = min(max(low, 0.0), size - 1.0)
    return first, min(max(high, first + 1.0), float(size))
