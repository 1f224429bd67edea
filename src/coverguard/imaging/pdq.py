"""Pixels → PDQ: any box of a raster, in all eight orientations, straight from decoded pixels.

PDQ is linear in luma up to its very last step: sampling (the reference takes 512 × 512 single pixels when a
side is longer), two box filters and decimation to 64 × 64 are one matrix a side, so that the 64 × 64 picture
is rows · luma · columnsᵀ. The matrices also know where on a raster that was decoded at a fraction of its size
the reference's pixels lie, and interpolate there; that is what makes a draft as good as the whole.

Turned pictures are not the upright one's bits with signs changed: sampling and filters of the reference lean
to the left and the top, so a mirrored picture is sampled at other places, and its PDQ is some 18 bits from
what signs alone would give. Here each mirrored side has a matrix of its own, and the orientations are those
that the reference finds in the turned picture, bit for bit.

Bits and bytes are the reference's hexadecimal form: 16 × 16 bits (row = vertical frequency, column =
horizontal frequency, both from 1) as one number whose bit 16·row + column, counted from the least
significant, is that coefficient's; most significant byte first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, lru_cache
from math import cos, pi, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coverguard.imaging.raster import Box, Raster

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Places = NDArray[np.intp]

SQUASHED = 512
"""Pixels a side that a picture with a longer side is squashed to, as in PDQ's reference."""

_SIDE = 64  # of the picture that is transformed
_BITS = 16  # frequencies a side
_BANDS = 8  # parts of the 64 rows; each looks at an eighth of the luma
_LINES = 2 * _SIDE // _BANDS  # of one part, as is and mirrored
_LEAST = 5  # pixels a side; the reference does not hash less
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_MOST_PLACES = 1_024  # a side: more are picked one by one instead of sliced
_BLANK = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """`dihedral` is in the order of `model.DIHEDRAL` and starts with `pdq` itself; `quality` is 0 to 100."""

    quality: int
    pdq: bytes = field(repr=False)
    dihedral: tuple[bytes, ...] = field(repr=False)


def hash_box(raster: Raster, box: Box) -> Hashed:
    """Hash one part of a picture as if it had been cut out of the full picture. See `Luma` for several."""
    return Luma(raster).hash(box)


class Luma:
    """The brightness of a raster, from which any number of its boxes can be hashed."""

    def __init__(self, raster: Raster) -> None:
        self._raster = raster
        self.plane = raster.pixels.astype(np.float32) @ _LUMA

    def hash(self, box: Box) -> Hashed:
        """Edges are rounded to whole pixels of the picture and kept within it."""
        raster = self._raster
        left, width = _span(box.left, box.right, raster.width)
        top, height = _span(box.top, box.bottom, raster.height)
        if min(width, height) < _LEAST:
            return Hashed(quality=0, pdq=_BLANK, dihedral=(_BLANK,) * 8)
        samples = (SQUASHED, SQUASHED) if max(width, height) > SQUASHED else (height, width)
        down, across = self.plane.shape
        rows = _Cut(raster.height, down, raster.reduction, top, height, samples[0])
        columns = _Cut(raster.width, across, raster.reduction, left, width, samples[1])
        small = _filtered(self.plane, _side(rows), _side(columns))
        turned = _turned(small)
        return Hashed(quality=_quality(small[0, 0]), pdq=turned[0], dihedral=turned)


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """Return first pixel and length."""
    first = min(max(round(low), 0), size - 1)
    return first, min(max(round(high), first + 1), size) - first


def _filtered(plane: Floats, rows: _Side, columns: _Side) -> Floats:
    """Return (2, 2, 64, 64): as is and flipped top to bottom, by as is and mirrored left to right.

    The flipped and mirrored ones are laid out as if turned back: their transforms differ by signs only.
    """
    wanted = plane[rows.places]
    narrow = np.empty((2 * _SIDE, wanted.shape[1]), np.float32)
    for band, (window, weights) in enumerate(rows.bands):
        np.matmul(weights, wanted[window], out=narrow[band * _LINES : (band + 1) * _LINES])
    small = (narrow[:, columns.places] @ columns.transposed).reshape(_BANDS, 2, _LINES // 2, 2, _SIDE)
    return np.ascontiguousarray(small.transpose(1, 3, 0, 2, 4)).reshape(2, 2, _SIDE, _SIDE)


def _quality(small: Floats) -> int:
    """Sum the steps between neighbours in whole hundredths of the full range, as the reference does."""
    steps = sum(
        int(np.trunc(np.diff(small, axis=axis) * np.float32(100) / np.float32(255)).__abs__().sum())
        for axis in (0, 1)
    )
    return min(steps // 90, 100)


def _turned(small: Floats) -> tuple[bytes, ...]:
    """Return the PDQs in the order of `model.DIHEDRAL`: as is, mirrored, flipped, both; then transposed."""
    coefficients = (_DCT @ small @ _DCT.T * _SIGNS).reshape(4, _BITS * _BITS)
    middle = _BITS * _BITS // 2 - 1  # the lower median
    medians = np.partition(coefficients, middle, axis=1)[:, middle, np.newaxis]
    four = (coefficients > medians).reshape(4, _BITS, _BITS)
    eight = np.concatenate((four, four.transpose(0, 2, 1))).reshape(8, _BITS * _BITS)
    packed = np.packbits(eight[:, ::-1], axis=1).tobytes()
    return tuple(packed[start : start + 32] for start in range(0, len(packed), 32))


def _transform() -> Floats:
    return np.array(
        [
            [sqrt(2 / _SIDE) * cos(pi / 2 / _SIDE * k * (2 * n + 1)) for n in range(_SIDE)]
            for k in range(1, _BITS + 1)
        ],
        np.float32,
    )


def _signs() -> Floats:
    """Return (2, 2, 16, 16): turning the lines of a transform round negates its odd frequencies."""
    odd = np.where(np.arange(1, _BITS + 1) % 2, -1, 1).astype(np.float32)
    lines = np.stack((np.ones_like(odd), odd))
    return lines[:, np.newaxis, :, np.newaxis] * lines[np.newaxis, :, np.newaxis, :]


_DCT = _transform()
_SIGNS = _signs()


# ── the matrix of one side ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Side:
    """Which lines of a raster are wanted, and how 2 × 64 lines are made of them: as is, and mirrored."""

    places: slice | Places
    bands: tuple[tuple[slice, Floats], ...]  # by rows: 8 as is and the same 8 mirrored, of a window of lines
    transposed: Floats  # by columns: all lines, then 64 as is and 64 mirrored


class _Cut(NamedTuple):
    """A part of one side of a picture, and of how many samples it is hashed."""

    size: int  # of the whole side, in pixels
    length: int  # of the raster's side
    reduction: int
    first: int
    extent: int
    samples: int


@lru_cache(maxsize=128)  # at most 1 MB each, a fifth of that for an ordinary cover
def _side(cut: _Cut) -> _Side:
    """Compose sampling, filters and decimation."""
    taps, weights = _filters(cut.samples)
    grid = taps * cut.extent // cut.samples
    # of a mirrored picture the same grid counts from the other end; its lines are turned back at once
    there = cut.first + np.stack((grid, cut.extent - 1 - grid[::-1]))
    places, shares = _on_raster(there, np.stack((weights, weights[::-1])), cut)
    low, high = int(places.min()), int(places.max()) + 1
    wanted: slice | Places = slice(low, high)
    if high - low > _MOST_PLACES:
        wanted, places = np.unique(places, return_inverse=True)
        low, high = 0, len(wanted)
    matrix = _scattered(places.reshape(2, _SIDE, -1) - low, shares.reshape(2, _SIDE, -1), width=high - low)
    return _Side(
        places=wanted,
        bands=tuple(_band(matrix[:, start : start + _LINES // 2]) for start in range(0, _SIDE, _LINES // 2)),
        transposed=np.ascontiguousarray(matrix.reshape(2 * _SIDE, -1).T),
    )


@cache  # for 1 to 512 samples, 8 kB each
def _filters(samples: int) -> tuple[Places, Doubles]:
    """Return, for each of the 64 lines, the samples it is made of and their weights.

    Twice the mean over a window, which shrinks at the ends; then the middles of 64 equal parts are taken.
    """
    window = (samples + 2 * _SIDE - 1) // (2 * _SIDE)
    after = (window + 2) // 2 - 1
    reach = np.arange(after - window + 1, after + 1)
    middles = ((np.arange(_SIDE) + 0.5) * samples / _SIDE).astype(np.intp)
    outer, outer_shares = _means(middles, reach, samples)
    inner, inner_shares = _means(outer, reach, samples)
    weights = outer_shares[:, :, np.newaxis] * inner_shares
    return inner.reshape(_SIDE, -1), weights.reshape(_SIDE, -1)


def _means(middles: Places, reach: Places, samples: int) -> tuple[Places, Doubles]:
    """Return the samples around each of the middles, and their equal shares: nothing beyond the ends."""
    around = middles[..., np.newaxis] + reach
    inside = (around >= 0) & (around < samples)
    return np.clip(around, 0, samples - 1), inside / inside.sum(axis=-1, keepdims=True)


def _on_raster(there: Places, shares: Doubles, cut: _Cut) -> tuple[Places, Doubles]:
    """Turn pixels of the picture into pixels of the raster: a cubic through four where each is a mean.

    A straight line between two is a quarter of a bit worse on average.
    """
    if cut.reduction == 1:
        return ((there + 1) * cut.length - 1) // cut.size, shares
    exact = (there[..., np.newaxis] + 0.5) / cut.reduction - 0.5
    around = np.floor(exact).astype(np.intp) + np.arange(-1, 3)
    away = np.abs(exact - around)
    near, far = (1.5 * away - 2.5) * away**2 + 1, ((2.5 - 0.5 * away) * away - 4) * away + 2
    return np.clip(around, 0, cut.length - 1), shares[..., np.newaxis] * np.where(away <= 1, near, far)


def _scattered(places: Places, shares: Doubles, *, width: int) -> Floats:
    """Return (2, 64, width): each line's shares at their places."""
    lines = np.arange(2 * _SIDE).reshape(2, _SIDE, 1)
    dense = np.bincount((lines * width + places).ravel(), shares.ravel(), minlength=2 * _SIDE * width)
    return dense.astype(np.float32).reshape(2, _SIDE, width)


def _band(lines: Floats) -> tuple[slice, Floats]:
    """Return the window that some lines look at, and their weights in it."""
    used = np.flatnonzero(lines.any(axis=(0, 1)))
    window = slice(int(used[0]), int(used[-1]) + 1)
    return window, np.ascontiguousarray(lines[:, :, window].reshape(-1, window.stop - window.start))
