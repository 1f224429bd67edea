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
from coverguard.model import Algorithm

_PHASH_SIDE = 16  # 16 × 16 coefficients = 256 bits


def perceptual(pixels: Pixels) -> tuple[int, Mapping[str, bytes]]:
    """Return PDQ's quality (0 to 100) and the 32-byte digests `pdq` and `phash256` of (h, w, 3) uint8 RGB."""
    # the binding takes the address of the first pixel for a C-contiguous picture, whatever its strides are
    bits, quality = pdqhash.compute(np.ascontiguousarray(pixels))
    phash = imagehash.phash(Image.fromarray(pixels), hash_size=_PHASH_SIDE)
    return int(quality), {
        Algorithm.PDQ.value: np.packbits(bits.astype(np.uint8)).tobytes(),
        Algorithm.PHASH256.value: np.packbits(phash.hash).tobytes(),
    }


def exact(data: bytes) -> Mapping[str, bytes]:
    """Return `md5`, `sha1` and `sha256` of the bytes as given."""
    return {
        Algorithm.MD5.value: hashlib.md5(data, usedforsecurity=False).digest(),
        Algorithm.SHA1.value: hashlib.sha1(data, usedforsecurity=False).digest(),
        Algorithm.SHA256.value: hashlib.sha256(data).digest(),
    }
