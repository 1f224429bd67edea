"""Further places of a picture worth a fingerprint of their own, chosen by what the picture shows.

A known picture comes back with a border, in a screenshot, beside others or a little turned, and a hash of
the whole then says nothing. So the picture without its border, the rectangles in it, the parts of a collage,
its middle and itself turned upright are looked at as well: for an ordinary photograph hardly any of them,
for a graphic some, never more than eleven.

Thresholds are of what can be seen (levels, shares of a side), not of any way in which pictures are altered.
Nothing here hashes or compares. Any raster of 1 × 1 and more is an answer, never an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from coverguard.imaging.raster import Box, Raster
from coverguard.imaging.views import borders, grids, rectangles, tilt
from coverguard.imaging.views.plane import Luma, Plane, Rectangle
from coverguard.imaging.views.seams import Seams

MOST: Final = 11
"""Regions that a raster has at most."""

_SMALLEST = 48  # pixels of the raster that a region has a side at least
_PLAIN = 24  # pixels of the small plane a side below which there are no seams
_CLOSELY = 96  # pixels of it a side below which it is looked at closely at once
_HINT = 0.5  # share of a rectangle's sides that must step, at half the size
_CARDS = 4  # rectangles at most
_ALIKE = 0.01  # of a side: edges nearer than this are the same
_SAME_THING = 0.75  # overlap from which two rectangles are about the same thing
_WIDE, _DOUBLE = 1.25, 1.6  # ratios of the longer side to the other: more than a square, about two
_TRIPLE = 2.6

Found = tuple[str, Raster, Box]


def regions(raster: Raster) -> Iterator[Found]:
    """Yield (name, raster, box): names are unique; the raster is the given one, or that turned upright."""
    plane = Plane.of(raster)
    seen = [plane.whole]
    left = MOST
    for name, place in _places(plane):
        if left and _is_new(place, seen):
            seen.append(place)
            left -= 1
            yield name, raster, plane.box(place, raster)
    if left:
        yield from _levelled(raster, plane)


def _is_new(place: Rectangle, seen: list[Rectangle]) -> bool:
    """Return whether a place is large enough, and no edge of any other is all but the same."""
    return min(place.width, place.height) >= _SMALLEST and not any(_alike(place, other) for other in seen)


def _alike(one: Rectangle, other: Rectangle) -> bool:
    across, down = _ALIKE * one.width, _ALIKE * one.height
    return (
        abs(one.left - other.left) <= across
        and abs(one.right - other.right) <= across
        and abs(one.top - other.top) <= down
        and abs(one.bottom - other.bottom) <= down
    )


def _places(plane: Plane) -> Iterator[tuple[str, Rectangle]]:
    """Yield names and places, the likeliest first; some may be alike, or small."""
    whole = Rectangle(left=0, top=0, right=plane.small.shape[1], bottom=plane.small.shape[0])
    trimmed = list(borders.trimmed(plane))
    for layer, place in enumerate(trimmed):
        yield _numbered("trimmed", layer), plane.settled(place)
    yield from _middle(plane.whole)
    parts, cards = _seamed(plane, trimmed[0] if trimmed else whole)
    for number, place in enumerate(cards):
        yield _numbered("card", number), plane.settled(place)
    for number, place in enumerate(parts):
        yield f"part_{number + 1}", plane.settled(place)
    if not parts and not cards:
        yield from _halves(plane.whole)


def _numbered(name: str, index: int) -> str:
    return f"{name}_{index + 1}" if index else name


def _seamed(plane: Plane, place: Rectangle) -> tuple[list[Rectangle], list[Rectangle]]:
    """Return the parts of a place and the rectangles of the whole plane."""
    if min(plane.small.shape) < _PLAIN or not _may_have_seams(plane.small):
        return [], []
    upright, level = _seams(plane.small)
    cards: list[Rectangle] = []
    for card in rectangles.found(upright, level):
        if len(cards) == _CARDS:
            break
        if all(card.overlap(other) < _SAME_THING for other in cards):
            cards.append(card)
    return grids.parts(upright, level, place), cards


def _may_have_seams(small: Luma) -> bool:
    """Return whether a closer look is worth it: at half the size most photographs have no rectangle."""
    height, width = (side // 2 * 2 for side in small.shape)
    if min(height, width) < _CLOSELY:
        return True
    pairs = small[:height:2, :width] + small[1:height:2, :width]
    half = (pairs[:, ::2] + pairs[:, 1::2]) >> 2
    return bool(rectangles.found(*_seams(half), support=_HINT))


def _seams(small: Luma) -> tuple[Seams, Seams]:
    return Seams.of(small), Seams.of(np.ascontiguousarray(small.T))


def _middle(whole: Rectangle) -> Iterator[tuple[str, Rectangle]]:
    """Yield the middle square of what is no square."""
    width, height = whole.width, whole.height
    left, top = (width - height) // 2, (height - width) // 2
    if width >= _WIDE * height:
        yield "centre", replace(whole, left=left, right=left + height)
    elif height >= _WIDE * width:
        yield "centre", replace(whole, top=top, bottom=top + width)


def _halves(whole: Rectangle) -> Iterator[tuple[str, Rectangle]]:
    """Yield the halves of what has the shape of two, beside or above one another."""
    ratio = whole.width / whole.height
    if _DOUBLE <= ratio <= _TRIPLE:
        yield "left", replace(whole, right=whole.width // 2)
        yield "right", replace(whole, left=whole.width // 2)
    elif _DOUBLE <= 1 / ratio <= _TRIPLE:
        yield "top", replace(whole, bottom=whole.height // 2)
        yield "bottom", replace(whole, top=whole.height // 2)


def _levelled(raster: Raster, plane: Plane) -> Iterator[Found]:
    turned = tilt.levelled(raster, plane)
    if turned is None:
        return
    framed, continued = turned
    yield "levelled", continued, raster.whole
    upright = Plane.of(framed)
    for place in borders.trimmed(upright):
        settled = upright.settled(place)
        if _is_new(settled, [upright.whole]):
            yield "levelled_trimmed", framed, upright.box(settled, raster)
        return
