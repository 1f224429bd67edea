"""Seams: straight upright or level lines along which a picture changes all at once.

The step across a seam stands out from the steps before and behind it nearly everywhere along it, while edges
of things do so here and there. So a line's share of stepping pixels says whether it is one, whatever the
picture and its surroundings are, and wherever it begins and ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from coverguard.imaging.views.plane import Luma

SIDE: Final = 0.18
"""Share of the picture's side that a part's must have: shorter ones are letters, buttons and things."""

SUPPORT: Final = 0.55
"""Share of a line that must step to be a seam."""

THROUGH: Final = 0.62
"""The same of a line that divides a place: there is one side to judge by, not four."""

_AS_SURE = 0.75  # of the surest line through a place
_REACH = 3  # pixels on either side that a step is compared with
_FAINT = 7  # levels that a step has at least,
_USUAL = (0.5, 0.85)  # and more than one of these shares of all steps in the picture
_CLEAR = 24  # levels that both steps of a thin line have at least
_SPARSE = 5  # every so many pixels are looked at for what is usual
_LEAST = 0.3  # of the height: the gain that a line has at least
_PLAIN_TO_SEE = 28  # levels that a step need never have more of
_CROWD = 20  # lines that may be seams in a picture; of more, most are not
_MOST = 12  # lines that are tried as sides, the longest


@dataclass(frozen=True, slots=True, eq=False)
class Seams:
    """The upright lines of a plane that may be seams, and how far any part of any upright line is one.

    Line x runs left of pixel x; the first and the last are the plane's own edges, which count as seams.
    """

    stepping: NDArray[np.int16] = field(repr=False)  # (height + 1, width + 1): how many pixels step above
    lines: NDArray[np.int64] = field(repr=False)  # those worth trying, rising, with the plane's edges

    @classmethod
    def of(cls, small: Luma) -> Seams:
        """Find them: where more lines seem to be seams than pictures have, only larger steps count."""
        stepping, gains = _seen(small)
        inner = np.flatnonzero(gains)
        inner = inner[np.argsort(-gains[inner], kind="stable")][:_MOST]
        return cls(stepping, np.sort(np.concatenate(([0], inner, [len(gains) - 1]))))

    @property
    def last(self) -> int:
        """The right edge of the plane."""
        return len(self.stepping[0]) - 1

    def support(
        self, line: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the share of each line that steps between two rows; 1 for the plane's own edges."""
        share = (self.stepping[end, line] - self.stepping[start, line]) / (end - start)
        return np.where((line == 0) | (line == self.last), 1.0, share)

    def through(self, first: int, last: int, start: int, end: int) -> dict[int, float]:
        """Return the lines between two others that are seams all the way between two rows, with support.

        Of seams that cross a place the sure ones count: half as clear a line is one of the picture's own.
        """
        share = (self.stepping[end, first:last] - self.stepping[start, first:last]) / (end - start)
        share[:_REACH] = share[-_REACH:] = 0.0
        least = max(THROUGH, _AS_SURE * float(share.max()))
        lines = np.flatnonzero(_peaks(share) & (share >= least))
        return {first + line: float(share[line]) for line in lines.tolist()}


def _seen(small: Luma) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return how many pixels step above each place, and the gains of the lines that may be seams, else 0.

    Where more lines than pictures have seem to be seams, as between the blocks of a poor JPEG, those steps
    are what is usual there, and only larger ones count.
    """
    for share in _USUAL:
        steps = _steps(small, share)
        stepping = np.zeros((len(steps) + 1, steps.shape[1]), np.int16)
        np.cumsum(steps.view(np.int8), axis=0, out=stepping[1:])
        gains = _gains(stepping)
        if np.count_nonzero(gains) <= _CROWD:
            break
    return stepping, gains


def _steps(small: Luma, usual: float) -> NDArray[np.bool_]:
    """Return where upright lines step, (height, width + 1), by more than this share of all steps there.

    Differences span two pixels, so that a pixel the seam runs through does not halve the step; a line has
    what either of the two pixels beside it has.
    """
    height, width = small.shape
    steps = np.zeros((height, width + 1), np.bool_)
    if width <= 2 * _REACH:
        return steps
    wide = small[:, 2:] - small[:, :-2]  # around pixel x + 1
    size = np.abs(wide)
    some = size[::_SPARSE, ::_SPARSE].ravel()
    place = int(usual * (some.size - 1))
    faint = min(max(_FAINT, int(np.partition(some, place)[place])), _PLAIN_TO_SEE)
    larger = size + (size >> 1)
    larger += np.int16(faint)
    here = size[:, 2:-2]
    out = here > np.maximum(larger[:, :-4], larger[:, 4:])
    _add_thin_lines(out, wide, size, larger)
    steps[:, _REACH : width - _REACH] = out
    steps[:, _REACH + 1 : width - _REACH + 1] |= out
    return steps


def _add_thin_lines(out: NDArray[np.bool_], wide: Luma, size: Luma, larger: Luma) -> None:
    """Add clear steps right beside a clear step back: those of a thin frame or gap, and no texture."""
    row, column = np.nonzero(size[:, 2:-2] > _CLEAR)
    here, up = size[row, column + 2], wide[row, column + 2] > 0
    for outer, inner in ((column, column + 4), (column + 4, column)):
        back = ((wide[row, inner] > 0) != up) & (2 * size[row, inner] > here)
        thin = back & (here > larger[row, outer])
        out[row[thin], column[thin]] = True


def _gains(stepping: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return five times the steps less twice the pixels of each line's best stretch; 0 for most lines."""
    height = len(stepping) - 1
    best = np.zeros(stepping.shape[1], np.int16)
    stepped = np.flatnonzero(3 * stepping[-1] >= _LEAST * height)  # others cannot reach it
    gains = 5 * stepping[:, stepped] - np.arange(0, 2 * height + 1, 2, dtype=np.int16)[:, np.newaxis]
    best[stepped] = (gains - np.minimum.accumulate(gains, axis=0)).max(axis=0)
    best[~(_peaks(best) & (best >= _LEAST * height))] = 0
    best[[0, -1]] = 0
    return best


def _peaks(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return which values are above the two before and not below the two behind."""
    padded = np.pad(values.astype(np.float64), 2, constant_values=-1.0)
    count = len(values)
    here = padded[2 : 2 + count]
    above = (here > padded[:count]) & (here > padded[1 : 1 + count])
    return above & (here >= padded[3 : 3 + count]) & (here >= padded[4 : 4 + count])
