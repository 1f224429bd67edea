"""A picture turned by a few degrees on a plain ground: the angle, read from the wedges in the corners.

Along each side the ground grows deeper evenly, the same way round on all four. A picture that was turned and
then cropped has no such wedges, and its angle is not found.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coverguard.imaging.raster import Pixels, Raster
from coverguard.imaging.views.plane import Luma, Plane

_ALIKE = 14  # levels that pixels of the ground differ by at most
_CORNER = 2  # pixels of the small plane a side of a corner
_LEAST, _MOST = math.tan(math.radians(0.6)), math.tan(math.radians(13))
_DEEPEST = 0.45  # of the plane that a wedge may reach
_NEAR_LINE = 1.5  # pixels that a wedge's edge may stray
_SAMPLES = 160  # places a side at which the ground's depth is taken
_TRIED = 12  # slopes, those that occur most often between places of a side
_LONG = 0.18  # of a side that must lie along one line
_SPREAD = math.radians(0.8)  # that the sides' angles may differ by
_THERE = 255
_SIDES = 3  # that must agree


def levelled(raster: Raster, plane: Plane) -> tuple[Raster, Raster] | None:
    """Return the picture turned upright in a frame of its own size, None where no tilt is seen.

    What comes from outside the frame is ground in the first of the two, for borders to be trimmed, and in
    the second goes on as the picture ends, which takes least of what a whole picture's corners have lost.
    """
    seen = _tilt(raster, plane)
    if seen is None:
        return None
    angle, ground = seen
    upright = _turned(raster.pixels, _turn(angle, raster), (ground, ground, ground))
    there = _turned(_covered(plane.full, ground), _turn(angle, raster), 0) == _THERE
    return _of(upright, raster), _of(_continued(upright, there), raster)


def _turned(
    pixels: NDArray[np.uint8], how: tuple[float, ...], outside: int | tuple[int, int, int]
) -> NDArray[np.uint8]:
    size = (pixels.shape[1], pixels.shape[0])
    image = Image.fromarray(pixels)
    return np.asarray(
        image.transform(size, Image.Transform.AFFINE, how, Image.Resampling.BILINEAR, fillcolor=outside)
    )


def _of(pixels: Pixels, raster: Raster) -> Raster:
    return replace(raster, pixels=pixels)


def _turn(angle: float, raster: Raster) -> tuple[float, float, float, float, float, float]:
    """Return the affine transform, output to input, that turns about the middle, in the raster's pixels."""
    height, width = raster.pixels.shape[:2]
    x, y = raster.width / width, raster.height / height  # the picture's pixels in one of the raster's
    cosine = math.cos(angle)
    right, down = -math.sin(angle) * y / x, math.sin(angle) * x / y
    start_x = (width - cosine * width - right * height) / 2
    start_y = (height - down * width - cosine * height) / 2
    return cosine, right, start_x, down, cosine, start_y


def _covered(full: NDArray[np.uint8], ground: int) -> NDArray[np.uint8]:
    """Return 255 between the first and the last pixel of each row that is not ground, 0 outside."""
    things = _things(full, ground)
    width = things.shape[1]
    first = np.where(things.any(axis=1), things.argmax(axis=1), width)
    last = width - things[:, ::-1].argmax(axis=1)
    x = np.arange(width)
    inside = (x >= first[:, np.newaxis]) & (x < last[:, np.newaxis])
    return np.where(inside, np.uint8(_THERE), np.uint8(0))


def _continued(pixels: Pixels, there: NDArray[np.bool_]) -> Pixels:
    """Let each row go on outwards as its outermost pixels are."""
    width = there.shape[1]
    first = np.where(there.any(axis=1), there.argmax(axis=1), 0)
    last = width - 1 - there[:, ::-1].argmax(axis=1)
    source = np.clip(np.arange(width), first[:, np.newaxis], np.maximum(first, last)[:, np.newaxis])
    return np.ascontiguousarray(np.take_along_axis(pixels, source[:, :, np.newaxis], axis=1))


def _tilt(raster: Raster, plane: Plane) -> tuple[float, int] | None:
    """Return the angle in radians that takes the content upright, and the ground's level."""
    ground = _ground(plane.small)
    if ground is None:
        return None
    full = plane.full
    height, width = full.shape
    across, down = -(-width // _SAMPLES), -(-height // _SAMPLES)
    columns, rows = _things(full[:, ::across], ground), _things(full[::down].T, ground)
    steep = (raster.height / height) / (raster.width / width)
    # round the picture clockwise, so that a turn deepens all four the same way
    sides = [
        (columns, steep / across),
        (rows[:, ::-1], 1 / steep / down),
        (columns[::-1, ::-1], steep / across),
        (rows[::-1], 1 / steep / down),
    ]
    angles = [math.atan(slope) for side, scale in sides for slope in _slopes(side, scale)]
    agreed = _agreed(angles)
    return None if agreed is None else (agreed, ground)


def _things(lines: NDArray[np.uint8], ground: int) -> NDArray[np.bool_]:
    """Return what is not ground."""
    return (lines > ground + _ALIKE) | (lines < ground - _ALIKE)


def _ground(small: Luma) -> int | None:
    """Return the level that all four corners share."""
    corners = np.concatenate(
        [
            small[rows, columns].ravel()
            for rows in (slice(_CORNER), slice(-_CORNER, None))
            for columns in (slice(_CORNER), slice(-_CORNER, None))
        ]
    )
    return int(np.median(corners)) if int(np.ptp(corners)) <= _ALIKE else None


def _slopes(things: NDArray[np.bool_], scale: float) -> list[float]:
    """Return the slope of the ground's lower edge below the upper side, if much of it is one line.

    `scale` is how many of the picture's pixels deep a row is, over how many across a column.
    """
    height, width = things.shape
    depth = np.where(things.any(axis=0), things.argmax(axis=0), height)
    at = np.flatnonzero((depth > 1) & (depth < _DEEPEST * height))
    lag = max(2, round(_LONG * width / 2))
    if len(at) <= lag:
        return []
    deep = depth[at].astype(np.float64)
    slopes = (deep[lag:] - deep[:-lag]) / (at[lag:] - at[:-lag])
    steep = np.abs(slopes * scale)
    likely, often = np.unique(
        np.round(slopes[(steep >= _LEAST / 2) & (steep <= 2 * _MOST)], 2), return_counts=True
    )
    best = np.zeros(len(at), np.bool_)
    for slope in likely[np.argsort(-often, kind="stable")[:_TRIED]].tolist():
        offsets = deep - slope * at
        on = np.abs(offsets - _commonest(offsets)) <= _NEAR_LINE
        if on.sum() > best.sum():
            best = on
    if best.sum() < _LONG * width:
        return []
    slope = float(np.polyfit(at[best], deep[best], 1)[0]) * scale
    return [slope] if _LEAST <= abs(slope) <= _MOST else []


def _commonest(values: NDArray[np.float64]) -> float:
    """Return the middle of the pixel-wide bin that most values fall into."""
    low = float(values.min())
    counts = np.bincount(np.rint(values - low).astype(np.int64))
    return low + float(counts.argmax())


def _agreed(angles: list[float]) -> float | None:
    """Return the mean of the angles that lie together, if enough sides have one."""
    for angle in angles:
        near = [other for other in angles if abs(other - angle) <= _SPREAD]
        if len(near) >= _SIDES:
            return sum(near) / len(near)
    return None
