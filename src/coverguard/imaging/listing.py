"""What a removed picture is remembered by, beside its own views: crops of it, so that crops of it are found.

A crop cannot be undone when somebody uploads it, for nobody knows what is missing. So the list's side has
crops, of pictures that *we* removed and whose pixels are at hand when they are first screened: nobody reads
the vault again. Only photographs have them (crops of graphics match other graphics, 4·10⁻⁴ of all pairs),
they are never looked up as an upload's views, and who comes near one is referred to a person, never held.

A crop around the middle is at most 2.5 % a side from one of these, down to 70 %; one at a corner 5 %. That is
within the review tier's radius for most pictures, within 31 bits for some. Other crops are not found by this.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coverguard.imaging.raster import Box, Raster

PREFIX: Final = "list/"
"""Begins the names of these views, as they are stored."""

_CENTRES: Final = (95, 90, 80, 70)  # percent of each side that is left
_CORNERS: Final = (90, 80)
_LEAST: Final = 64  # pixels a side of the raster: PDQ would look at more than there is


def views_for_lists(raster: Raster, *, within: Box | None = None) -> Iterator[tuple[str, Box]]:
    """Yield (name, box) of each crop: twelve, or none of a picture that is too small.

    `within` is what is left of the picture without its border.
    """
    whole = within or raster.whole
    scale = raster.pixels.shape[1] / raster.width, raster.pixels.shape[0] / raster.height
    if min(whole.width * scale[0], whole.height * scale[1]) < _LEAST:
        return
    for percent in _CENTRES:
        yield f"{PREFIX}centre_{percent}", _cut(whole, percent, across=0.5, down=0.5)
    for percent in _CORNERS:
        for down, vertical in enumerate(("top", "bottom")):
            for across, horizontal in enumerate(("left", "right")):
                name = f"{PREFIX}{vertical}_{horizontal}_{percent}"
                yield name, _cut(whole, percent, across=across, down=down)


def _cut(whole: Box, percent: int, *, across: float, down: float) -> Box:
    """Leave so much of each side; `across` and `down` say where: 0 at the left and top, 1 at the far end."""
    width, height = whole.width * percent / 100, whole.height * percent / 100
    left, top = whole.left + (whole.width - width) * across, whole.top + (whole.height - height) * down
    return Box(left=left, top=top, right=left + width, bottom=top + height)
