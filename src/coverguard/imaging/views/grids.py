"""What a place falls into along seams that run all the way through it: pictures beside one another, bars.

Rows and columns of a collage go on through all of it, so a seam that is seen in one strip is drawn through
the others: two of its pictures may be white where they meet.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from coverguard.imaging.views.plane import Rectangle
from coverguard.imaging.views.seams import SIDE, Seams

_MOST = 9  # parts of a collage


def parts(upright: Seams, level: Seams, place: Rectangle) -> list[Rectangle]:
    """Return the strips of a place and the parts of its strips; nothing where it is one picture."""
    columns, rows = _cuts(upright, place), _cuts(level, place.turned())
    if not columns and not rows:
        return []
    if max(columns.values(), default=0.0) >= max(rows.values(), default=0.0):
        return _strips_and_parts(upright, level, place)
    return [part.turned() for part in _strips_and_parts(level, upright, place.turned())]


def _strips_and_parts(upright: Seams, level: Seams, place: Rectangle) -> list[Rectangle]:
    """Cut into columns, and those across; only the parts where columns and parts would be too many.

    What lies beside the surest cut alone comes last: a collage may have a bar of text beside it.
    """
    cuts = _cuts(upright, place)
    least = SIDE * upright.last
    columns = _between(place, cuts, least)
    across = max((_cuts(level, column.turned()) for column in columns), key=len, default={})
    found = [
        part.turned() for column in columns for part in _between(column.turned(), across, SIDE * level.last)
    ]
    several = columns if not across else found if len(found) + len(columns) > _MOST else columns + found
    surest = _between(place, [max(cuts, key=lambda cut: cuts[cut])], least) if len(cuts) > 1 else []
    return several[:_MOST] + surest


def _cuts(seams: Seams, place: Rectangle) -> dict[int, float]:
    return seams.through(place.left, place.right, place.top, place.bottom)


def _between(place: Rectangle, cuts: Iterable[int], least: float) -> list[Rectangle]:
    """Return what lies between upright cuts and is no gap."""
    edges = [place.left, *(cut for cut in cuts if place.left < cut < place.right), place.right]
    return [
        Rectangle(left=left, top=place.top, right=right, bottom=place.bottom)
        for left, right in pairwise(edges)
        if right - left >= least
    ]
