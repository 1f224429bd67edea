"""Is this a picture that many innocent ones look like to a hash? Text covers, flags, letters, cards, shapes.

A perceptual hash of such a picture says where a few dark and light areas are, and so do thousands of others:
with PDQ within 31 bits some 10⁻⁵ of all pairs match, of photographs none in 14 million. Their near matches
are therefore for people to look at, and their wide ones for nobody (`policy.judging`). What is asked here is
not what a picture shows but how its light is spread: photographs have texture nearly everywhere, graphics
have flat or evenly shaded areas and hard edges between them.

`is_low` looks at 128 × 128 single pixels. Where the light bends from one to the next by 3 of 256 levels or
more there is texture or an edge; blocks of 6 × 6 with one at every second pixel are *textured*. A picture is
low in diversity if too little of it is textured (unless what is there is texture nearly throughout, such as
one thing on a plain ground), or if it has few levels of light and mostly hard edges, such as a page of text.

Share called low of the generated kinds (`testing.pictures`, 100 seeds, 512 pixels a side), as drawn, as JPEG
of quality 50, and blurred by 2 pixels before a JPEG of quality 75:

    scene          0%    0%    0%
    gradient     100%  100%  100%
    typography   100%   98%   98%
    collage        0%    0%    0%
    shapes       100%  100%   99%
    leaves         0%    0%    0%
    facade         0%    0%    0%
    object         3%    1%   26%

Of 19 photographs of free test sets, three ways as above, 52 of 57 are not low; three of the five are of one
motion-blurred clock, two were blurred by us. Half a millisecond at most.

It knows no list, no rule and no kind of picture by name. Being wrong costs a person's look, one way or the
other: a photograph called low refers instead of holding, a graphic called diverse may hold.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from coverguard.imaging.raster import Box, Raster

Levels = NDArray[np.float32]

_SIDE: Final = 128  # samples a side
_BLOCK: Final = 6
_HALF: Final = _BLOCK * _BLOCK // 2
_SHAPED: Final = 3  # bent samples from which a block is not flat
_LEAST: Final = 4 * _BLOCK + 2  # samples a side below which there is nothing to tell
_BEND: Final = 3  # levels by which light bends where it is not evenly shaded: JPEG's rounding stays below
_HARD: Final = 48  # levels by which it bends at an edge between two plain colours

_LUMA: Final = np.array((0.25, 0.625, 0.125), np.float32)

_TEXTURED: Final = 0.35  # share of all blocks, below which a picture is low, unless …
_SOME: Final = 0.15  # … this share is, and
_THROUGHOUT: Final = 0.7  # this share of what is not flat, with
_SOFT: Final = 0.2  # at most so many of the bends hard: one thing on a plain ground, and no outline
_FEW_LEVELS: Final = 4.3  # bits of entropy over 64 levels of light
_HARD_SHARE: Final = 0.4
_CONTRAST: Final = 32.0  # levels of standard deviation: a wall of bricks has few levels, too


def is_low(raster: Raster, box: Box) -> bool:
    """Say whether what the box shows is a graphic of low diversity rather than like a photograph."""
    light = _light(raster, box)
    if min(light.shape) < _LEAST:
        return True
    bend = _bend(light)
    bent = bend >= _BEND
    count = _by_block(bent)
    textured, shaped = np.count_nonzero(count >= _HALF), np.count_nonzero(count >= _SHAPED)
    hard = int(np.count_nonzero(bend > _HARD)) / max(1, int(np.count_nonzero(bent)))
    if textured < _TEXTURED * count.size:
        throughout = textured >= _SOME * count.size and textured >= _THROUGHOUT * shaped
        return not throughout or hard > _SOFT
    return bool(hard > _HARD_SHARE and float(light.std()) > _CONTRAST and _entropy(light) < _FEW_LEVELS)


def _light(raster: Raster, box: Box) -> Levels:
    """Take single pixels, evenly spread: an average would make edges look like texture, and cost more."""
    rows = _places(box.top, box.height, length=raster.pixels.shape[0], of=raster.height)
    columns = _places(box.left, box.width, length=raster.pixels.shape[1], of=raster.width)
    pixels = raster.pixels[rows].take(columns, axis=1)
    return np.asarray(np.rint(pixels.astype(np.float32) @ _LUMA), np.float32)


def _places(start: float, extent: float, *, length: int, of: int) -> NDArray[np.intp]:
    """Return the pixels of a side to look at; never one twice, which would look like a flat area."""
    scale = length / of
    count = max(1, min(_SIDE, int(extent * scale)))
    centres = (start + (np.arange(count) + 0.5) * (extent / count)) * scale
    return np.asarray(centres, np.intp).clip(0, length - 1)


def _bend(light: Levels) -> Levels:
    """Return how far each inner sample is from the even run of its neighbours, the worse of both ways."""
    twice = 2 * light[1:-1, 1:-1]
    across = np.abs(light[1:-1, :-2] + light[1:-1, 2:] - twice)
    down = np.abs(light[:-2, 1:-1] + light[2:, 1:-1] - twice)
    return np.asarray(np.maximum(across, down), np.float32)


def _by_block(bent: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Count in each whole block of 6 × 6."""
    rows, columns = (_summing(side) for side in bent.shape)
    return np.asarray(rows @ bent.astype(np.float32) @ columns.T, np.float32)


@functools.cache
def _summing(side: int) -> NDArray[np.float32]:
    """Return the (blocks, side) matrix that adds up the whole blocks along a side."""
    blocks = np.repeat(np.eye(side // _BLOCK, dtype=np.float32), _BLOCK, axis=1)
    return np.pad(blocks, ((0, 0), (0, side % _BLOCK)))


def _entropy(light: Levels) -> float:
    share = np.bincount(light.astype(np.uint8).ravel() >> 2, minlength=64) / light.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())
