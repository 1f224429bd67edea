"""Which frames of an animation are looked at: those that differ most from one another, in one pass.

A frame that is like one already kept adds nothing; when there are too many, the two most alike lose one. So a
picture that is shown for a single frame among others like each other is kept wherever it is, while of a film
with more than `MOST` different pictures in it those stay that differ most.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coverguard.imaging.raster import Pixels

MOST = 16
"""Frames of one animation that are looked at."""

_CELLS = 32  # a side in which frames are compared: means, so that no pixel goes unseen
_NEW = 6  # levels in any cell and colour; what noise and dithering do to a mean stays below

Frame = TypeVar("Frame")
_Cells = NDArray[np.int16]


class Kept(Generic[Frame]):
    """Frames by their number, in the order in which they are shown."""

    def __init__(self, *, always: int) -> None:
        """Keep the first `always` frames whatever they look like."""
        self.frames: dict[int, Frame] = {}
        self._always = always
        self._cells: list[_Cells] = []  # of each frame
        self._apart: list[list[float]] = []  # of each frame, from those before it

    def offer(self, index: int, frame: Frame, *shown: Pixels) -> None:
        """Keep the frame if it adds to those there are. `shown`: the ways in which viewers see it."""
        cells = np.concatenate([_afar(pixels) for pixels in shown])
        differences = [np.abs(cells - known) for known in self._cells]
        if len(self.frames) >= self._always and any(it.max() <= _NEW for it in differences):
            return
        self.frames[index] = frame
        self._cells.append(cells)
        self._apart.append([float(it.mean()) for it in differences])
        if len(self.frames) > MOST:
            self._drop_one()

    def _drop_one(self) -> None:
        """Drop the earlier one of the nearest two, or the later where the earlier is to stay."""
        places = range(self._always, len(self._apart))
        _, earlier, later = min((self._apart[b][a], a, b) for b in places for a in range(b))
        place = earlier if earlier >= self._always else later
        del self.frames[list(self.frames)[place]], self._cells[place], self._apart[place]
        for distances in self._apart[place:]:
            del distances[place]


def _afar(pixels: Pixels) -> _Cells:
    small = Image.fromarray(pixels).resize((_CELLS, _CELLS), Image.Resampling.BOX)
    return np.asarray(small).astype(np.int16)
