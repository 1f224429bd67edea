"""Pixels → perceptual signals: PDQ with its quality, the industry's word, and pHash 256, a second opinion.

PDQ's bytes are the reference's hexadecimal form: its 16 × 16 bits (row = vertical frequency, column =
horizontal frequency, both from 1) as one 256-bit number whose bit 16·row + column, counted from the least
significant, is that coefficient's; most significant byte first, so the last row leads. pHash 256's bytes are
its bits row by row, the constant term first. Nothing here compares anything or knows a threshold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import imagehash
import numpy as np
import pdqhash
from PIL import Image

from coverguard.imaging.decoding import Pixels
from coverguard.model import DIHEDRAL, Algorithm

_PHASH_SIDE = 16  # 16 × 16 coefficients = 256 bits


# In the order of `compute_dihedral`, whose flips are about the x axis, the y axis, and the two diagonals.
_REFERENCE_ORDER = (
    "upright",
    "rotated90",
    "rotated180",
    "rotated270",
    "flipped",
    "mirrored",
    "transposed",
    "transversed",
)


def perceptual(pixels: Pixels) -> tuple[int, Mapping[str, bytes], tuple[bytes, ...]]:
    """Hash (h, w, 3) uint8 RGB.

    Returns PDQ's quality (0 to 100), the 32-byte digests `pdq` and `phash256`, and the exact PDQs of the
    eight orientations in the order of `DIHEDRAL`, all from one transform.
    """
    # the binding takes the address of the first pixel for a C-contiguous picture, whatever its strides are
    turned, quality = pdqhash.compute_dihedral(np.ascontiguousarray(pixels))
    packed = {
        name: np.packbits(bits.astype(np.uint8)).tobytes()
        for name, bits in zip(_REFERENCE_ORDER, turned, strict=True)
    }
    phash = imagehash.phash(Image.fromarray(pixels), hash_size=_PHASH_SIDE)
    digests = {
        Algorithm.PDQ.value: packed["upright"],
        Algorithm.PHASH256.value: np.packbits(phash.hash).tobytes(),
    }
    return int(quality), digests, tuple(packed[name] for name in DIHEDRAL)


def exact(data: bytes) -> Mapping[str, bytes]:
    """Return `md5`, `sha1` and `sha256` of the bytes as given."""
    return {
        Algorithm.MD5.value: hashlib.md5(data, usedforsecurity=False).digest(),
        Algorithm.SHA1.value: hashlib.sha1(data, usedforsecurity=False).digest(),
        Algorithm.SHA256.value: hashlib.sha256(data).digest(),
    }
