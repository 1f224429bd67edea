"""A picture's luma twice, as decoded and small, and how places of the one are places of the other.

Structure is looked for in the small plane, where noise, ringing and half-covered pixels have averaged out;
a place that was found there is then settled to the pixel in the full one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coverguard.imaging.raster import Box, Raster

Luma = NDArray[np.int16]
"""Shape (height, width), 0 to 255."""

_AS_SHARP = 0.6  # of the sharpest line's change

SMALL = 320
"""Pixels a side that the small plane has, about: never more than half as many again, or those there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangle:
    """Whole pixels of a plane; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    def overlap(self, other: Rectangle) -> float:
        """Return the shared area as a share of the area both cover, 0 to 1."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        if across <= 0 or down <= 0:
            return 0.0
        shared = across * down
        return shared / (self.width * self.height + other.width * other.height - shared)

    def turned(self) -> Rectangle:
        """The same place in the transposed plane."""
        return Rectangle(left=self.top, top=self.left, right=self.bottom, bottom=self.right)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """Luma of one look: `full` has the raster's pixels, `small` the means of `across` × `down` of them."""

    full: NDArray[np.uint8] = field(repr=False)
    small: Luma = field(repr=False)
    across: int
    down: int

    @classmethod
    def of(cls, raster: Raster) -> Plane:
        grey = Image.fromarray(raster.pixels).convert("L")  # 601 luma, as PDQ weighs colours
        across, down = (max(1, int(side / SMALL + 0.5)) for side in grey.size)
        small = np.asarray(grey.reduce((across, down))).astype(np.int16)
        return cls(full=np.asarray(grey), small=small, across=across, down=down)

    @property
    def whole(self) -> Rectangle:
        """All of the raster."""
        return Rectangle(left=0, top=0, right=self.full.shape[1], bottom=self.full.shape[0])

    def settled(self, rough: Rectangle) -> Rectangle:
        """Move each edge of a place of the small plane to the sharpest line near it in the full one.

        Edges of the plane itself stay where they are.
        """
        left, right = (
            self._columns(rough.left, rough, inwards=1),
            self._columns(rough.right, rough, inwards=-1),
        )
        top, bottom = self._rows(rough.top, rough, inwards=1), self._rows(rough.bottom, rough, inwards=-1)
        return Rectangle(left=left, top=top, right=max(right, left + 1), bottom=max(bottom, top + 1))

    def _columns(self, edge: int, rough: Rectangle, *, inwards: int) -> int:
        if edge in (0, self.small.shape[1]):
            return 0 if edge == 0 else self.full.shape[1]
        lines = self.full[rough.top * self.down : rough.bottom * self.down]
        return _sharpest(lines.T, edge * self.across, self.across, inwards=inwards)

    def _rows(self, edge: int, rough: Rectangle, *, inwards: int) -> int:
        if edge in (0, self.small.shape[0]):
            return 0 if edge == 0 else self.full.shape[0]
        lines = self.full[:, rough.left * self.across : rough.right * self.across]
        return _sharpest(lines, edge * self.down, self.down, inwards=inwards)

    def box(self, place: Rectangle, raster: Raster) -> Box:
        """Return the place in the picture's own pixels."""
        x, y = raster.width / self.full.shape[1], raster.height / self.full.shape[0]
        return Box(left=place.left * x, top=place.top * y, right=place.right * x, bottom=place.bottom * y)


def _sharpest(lines: NDArray[np.uint8], near: int, step: int, *, inwards: int) -> int:
    """Return the row, at most 1½ steps from `near`, that differs most from the one before it.

    Of several that differ about as much the innermost: outside of it is the softened edge, or a thin frame.
    """
    reach = step + step // 2 + 1
    first, last = max(1, near - reach), min(len(lines) - 1, near + reach)
    if first > last:
        return near
    part = lines[first - 1 : last + 1].astype(np.int16)
    change = np.abs(np.diff(part, axis=0)).mean(axis=1)
    sharp = np.flatnonzero(change >= _AS_SHARP * change.max())
    return first + int(sharp[-1] if inwards > 0 else sharp[0])
