"""How much of each side is border: lines that go on as the outermost one begins.

A border may have any colour, another on each side, grain or the ringing of a JPEG, and may shade from one
colour to another. What it may not have is structure, so lettered bars are for `rectangles` to find. Sides
are compared in short stretches whose means keep no grain.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from coverguard.imaging.views.plane import Luma, Plane, Rectangle

_STRETCHES = 32
_GLANCE = 8  # lines that mostly show that there is no border
_BEHIND = 2  # lines behind a border that say whether it ends all at once
_STRAY = 2  # stretches of a line that may differ: specks and cut-off corners
_CALM, _ROUGH = 3.0, 10.0  # levels that a border's stretches may differ by, by how noisy its first lines are
_MEDIAN_OF_DIFFERENCES = 0.954  # of two normal values, in deviations of one
_STEPPING = 0.4  # of a line, where a border ends that is not plain
_LAYERS = 3  # borders within borders
_LEFT_OVER = 0.2  # of each side must remain, or the picture is nearly plain
_WORTH = 0.01  # of a side must go, or it is not worth another view


def trimmed(plane: Plane) -> Iterator[Rectangle]:
    """Yield the places in the small plane that remain without the outermost border, without the next, …"""
    height, width = plane.small.shape
    place = Rectangle(left=0, top=0, right=width, bottom=height)
    for _ in range(_LAYERS):
        smaller = _without_border(plane.small, place)
        if smaller is None:
            return
        if smaller.width < _LEFT_OVER * width or smaller.height < _LEFT_OVER * height:
            return
        lost = max(
            (place.width - smaller.width) / place.width, (place.height - smaller.height) / place.height
        )
        if lost < _WORTH:
            return
        place = smaller
        yield place


def _without_border(small: Luma, place: Rectangle) -> Rectangle | None:
    part = small[place.top : place.bottom, place.left : place.right]
    top, bottom = _lines(part), _lines(part[::-1])
    left, right = _lines(part.T), _lines(part.T[::-1])
    if top + bottom >= place.height or left + right >= place.width:
        return None
    return Rectangle(
        left=place.left + left, top=place.top + top, right=place.right - right, bottom=place.bottom - bottom
    )


def _lines(part: Luma) -> int:
    """Count the lines from the first on that are border; most often there is none, and few are looked at."""
    if len(part) < 2:  # noqa: PLR2004 - nothing to compare
        return 0
    means = _stretches(part[:_GLANCE])
    plain, alike, tolerance = _leading(means)
    if max(plain, alike) >= _GLANCE - _BEHIND:
        means = _stretches(part)
        plain, alike, tolerance = _leading(means)
    return alike if alike > plain and _ends(means, alike, 2 * tolerance) else plain


def _stretches(lines: Luma) -> NDArray[np.float32]:
    """Return the means of up to 32 stretches of each line, (lines, stretches)."""
    means: NDArray[np.float32] = lines.astype(np.float32) @ _means(lines.shape[1])
    return means


@lru_cache(maxsize=64)
def _means(length: int) -> NDArray[np.float32]:
    """Return the matrix that takes a line of that length to the means of its stretches."""
    count = min(_STRETCHES, length)
    stretch = np.arange(length) * count // length
    taken = stretch[:, np.newaxis] == np.arange(count)
    means: NDArray[np.float32] = (taken / taken.sum(axis=0)).astype(np.float32)
    return means


def _leading(means: NDArray[np.float32]) -> tuple[int, int, float]:
    """Count the first lines that are plain, and those that are like the first; return levels of tolerance.

    Plain lines may shade from one to the next; lines with more than one colour must be alike, and the border
    must then end all at once, or every sky would begin with one.
    """
    grain = float(_middle(np.abs(means[1] - means[0]))) / _MEDIAN_OF_DIFFERENCES
    tolerance = min(max(4 * grain, _CALM), _ROUGH)
    middle = _middle(means)
    plain = _all_but_strays(np.abs(means - middle[:, np.newaxis]), tolerance)
    plain[1:] &= np.abs(np.diff(middle)) <= tolerance
    alike = _all_but_strays(np.abs(means - means[0]), tolerance)
    return _count(plain), _count(alike), tolerance


def _middle(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the upper median along the last axis."""
    place = values.shape[-1] // 2
    middle: NDArray[np.float32] = np.partition(values, place, axis=-1)[..., place]
    return middle


def _count(border: NDArray[np.bool_]) -> int:
    """Count how many are true before the first that is not."""
    return len(border) if border.all() else int(border.argmin())


def _ends(means: NDArray[np.float32], count: int, step: float) -> bool:
    """Return whether the picture steps along much of a line where the first `count` are over."""
    behind = means[min(count + 1, len(means) - 1)]
    return bool((np.abs(behind - means[count - 1]) > step).mean() >= _STEPPING)


def _all_but_strays(difference: NDArray[np.float32], tolerance: float) -> NDArray[np.bool_]:
    strays: NDArray[np.int64] = (difference > tolerance).sum(axis=1)
    return strays <= (_STRAY if difference.shape[1] == _STRETCHES else 0)
