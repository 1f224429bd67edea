"""Decoded pixels and the parts of them that are looked at.

A raster may be smaller than the picture it stands for (a JPEG decoded at a fraction of its size); places are
always given in the picture's own pixels, so that nobody but the sampling needs to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""Shape (height, width, 3), RGB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Raster:
    """A picture of `width` × `height` pixels as decoded, upright, and often smaller.

    Each of its own pixels covers as many of the picture's as the ratio of the sizes says. With a reduction
    of 1 they are single pixels of the picture: of a side of n, the jth is its ⌊j·size/n⌋th. With one of r
    they are means: the jth of the picture's r pixels from r·j on.
    """

    pixels: Pixels = field(repr=False)
    width: int
    height: int
    reduction: int = 1

    @property
    def whole(self) -> Box:
        return Box(left=0, top=0, right=self.width, bottom=self.height)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in the picture's pixels; right and bottom are exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top
