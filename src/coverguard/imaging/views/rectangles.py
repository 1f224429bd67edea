"""Rectangles whose four sides are seams, or seams and the picture's own edges.

A cover in a screenshot, on another picture or before its own blurred copy is such a rectangle, and its
sides tell it from what it lies on, whatever that is.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from coverguard.imaging.views.plane import Rectangle
from coverguard.imaging.views.seams import SIDE, SUPPORT, Seams

_SURE = 0.6  # share of a side that must step for the side to speak for the rectangle
_SEVERAL = 0.5  # what a rectangle is worth that a further seam cuts in two


def found(upright: Seams, level: Seams, *, support: float = SUPPORT) -> list[Rectangle]:
    """Return all rectangles but the plane itself, those with the surest sides first.

    `support` is the share of each side that must step.
    """
    across, down = _pairs(upright), _pairs(level)
    boxes = np.concatenate((np.repeat(across, len(down), axis=0), np.tile(down, (len(across), 1))), axis=1)
    left, right, top, bottom = boxes.T
    supports = np.stack(
        (
            upright.support(left, top, bottom),
            upright.support(right, top, bottom),
            level.support(top, left, right),
            level.support(bottom, left, right),
        )
    )
    own = np.stack((left == 0, right == upright.last, top == 0, bottom == level.last))
    kept = (supports.min(axis=0) >= support) & ~own.all(axis=0)
    boxes, supports, own = boxes[kept], supports[:, kept], own[:, kept]
    scores = _scores(boxes / np.array([upright.last, upright.last, level.last, level.last]), supports, own)
    cut = _cut(upright, boxes[:, :2], boxes[:, 2:]) | _cut(level, boxes[:, 2:], boxes[:, :2])
    order = np.argsort(-np.where(cut, _SEVERAL * scores, scores), kind="stable")
    return [
        Rectangle(left=left, top=top, right=right, bottom=bottom)
        for left, right, top, bottom in boxes[order].tolist()
    ]


def _pairs(seams: Seams) -> NDArray[np.int64]:
    """Return all (first, last) lines that are far enough apart, (n, 2)."""
    least = SIDE * seams.last
    chosen = [(a, b) for a, b in itertools.combinations(seams.lines.tolist(), 2) if b - a >= least]
    return np.array(chosen, np.int64).reshape(-1, 2)


def _scores(
    shares: NDArray[np.float64], supports: NDArray[np.float64], own: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return how much the sides speak for each rectangle: by length, and by how much of them steps."""
    left, right, top, bottom = shares.T
    lengths = np.stack((bottom - top, bottom - top, right - left, right - left))
    total: NDArray[np.float64] = np.where(own, 0.0, (supports - _SURE) * lengths).sum(axis=0)
    return total


def _cut(seams: Seams, sides: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rectangles a seam runs through from end to end, well inside: likely several pictures."""
    lines = seams.lines[np.newaxis, 1:-1]
    inside = (lines - sides[:, :1] >= SIDE * seams.last) & (sides[:, 1:] - lines >= SIDE * seams.last)
    shape = inside.shape
    support = seams.support(
        np.broadcast_to(lines, shape),
        np.broadcast_to(ends[:, :1], shape),
        np.broadcast_to(ends[:, 1:], shape),
    )
    cut: NDArray[np.bool_] = np.any(inside & (support >= SUPPORT), axis=1)
    return cut
