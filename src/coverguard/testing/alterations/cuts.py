"""A part of the picture, or the picture turned: crops, mirrors, quarter turns, small angles, perspective."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from coverguard.testing.alterations.dice import BLACK, WHITE, Colour, Dice
from coverguard.testing.pictures import encode, with_orientation

Alter = Callable[[Image.Image, Dice], Image.Image | bytes]
Turn = Image.Transpose
Point = tuple[float, float]

# what a picture of that orientation tag must be turned by to be stored
_STORED = {2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 6: Turn.ROTATE_90, 8: Turn.ROTATE_270}


def cropped(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Cut shares of width and height off each side."""
    width, height = image.size
    first = round(left * width), round(top * height)
    return image.crop((*first, round((1 - right) * width), round((1 - bottom) * height)))


def crop(low: float, high: float) -> Alter:
    """Cut the same share off all four sides; the range is that of what is lost of a side's length."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        share = dice.within(low, high) / 2
        return cropped(image, share, share, share, share)

    return alter


def _off_centre(low: float, high: float) -> Alter:
    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        across, down = dice.within(low, high), dice.within(low, high)
        x, y = dice.within(0, 1), dice.within(0, 1)
        return cropped(image, across * x, down * y, across * (1 - x), down * (1 - y))

    return alter


def _one_side(image: Image.Image, dice: Dice) -> Image.Image:
    shares = [0.0, 0.0, 0.0, 0.0]
    shares[dice.whole(0, 3)] = dice.within(0.05, 0.2)
    return cropped(image, *shares)


def _to_ratio(low: float, high: float) -> Alter:
    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        ratio = dice.within(low, high)
        lost = 1 - ratio * image.height / image.width
        if lost >= 0:
            return cropped(image, lost / 2, 0, lost / 2, 0)
        lost = 1 - image.width / ratio / image.height
        return cropped(image, 0, lost / 2, 0, lost / 2)

    return alter


def turned(how: Turn) -> Alter:
    return lambda image, _: image.transpose(how)


def _tagged(image: Image.Image, dice: Dice) -> bytes:
    """Store it turned, with the tag that turns it back."""
    tag, how = dice.one_of(tuple(_STORED.items()))
    return encode(image.transpose(how), "JPEG", quality=90, exif=with_orientation(image, tag))


def _tagged_wrongly(image: Image.Image, dice: Dice) -> bytes:
    """Leave a tag on that turns an upright picture."""
    tag = dice.one_of(tuple(_STORED))
    return encode(image, "JPEG", quality=90, exif=with_orientation(image, tag))


def _angle(dice: Dice, low: float, high: float) -> float:
    return dice.sign() * dice.within(low, high)


def _tilted_and_cropped(low: float, high: float) -> Alter:
    """Turn by so many degrees and keep the largest upright part of the same shape."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        degrees = _angle(dice, low, high)
        made = image.rotate(degrees, Image.Resampling.BICUBIC)
        leaning, longer = math.radians(abs(degrees)), max(image.size) / min(image.size)
        lost = (1 - 1 / (math.cos(leaning) + longer * math.sin(leaning))) / 2
        return cropped(made, lost, lost, lost, lost)

    return alter


def tilted(low: float, high: float, *grounds: Colour, expand: bool = False) -> Alter:
    """Turn by so many degrees over a plain ground, in the same frame or in one that holds it all."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        degrees = _angle(dice, low, high)
        return image.rotate(degrees, Image.Resampling.BICUBIC, expand=expand, fillcolor=dice.one_of(grounds))

    return alter


def _sheared(image: Image.Image, dice: Dice) -> Image.Image:
    lean = dice.sign() * dice.within(0.02, 0.08)
    matrix = (1, lean, -lean * image.height / 2, 0, 1, 0)
    ground = dice.one_of((BLACK, WHITE))
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=ground
    )


def _perspective(low: float, high: float) -> Alter:
    """Pull each corner inwards by up to a share of the sides, as in a photograph of a screen."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        width, height = image.size
        corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
        from_there = [
            (
                x + (1 if x == 0 else -1) * dice.within(low, high) * width,
                y + (1 if y == 0 else -1) * dice.within(low, high) * height,
            )
            for x, y in corners
        ]
        return image.transform(
            image.size,
            Image.Transform.PERSPECTIVE,
            _homography(corners, from_there),
            Image.Resampling.BICUBIC,
        )

    return alter


def _homography(shown: list[Point], taken: list[Point]) -> list[float]:
    """Solve for the eight numbers that take each shown corner to where it is taken from."""
    rows, values = [], []
    for (x, y), (u, v) in zip(shown, taken, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return [float(one) for one in np.linalg.solve(np.array(rows), np.array(values))]


CROP: Mapping[str, Alter] = {
    "crop_slight": crop(0.015, 0.04),
    "crop_light": crop(0.05, 0.12),
    "crop_strong": crop(0.15, 0.35),
    "crop_off_centre": _off_centre(0.06, 0.15),
    "crop_off_centre_strong": _off_centre(0.2, 0.4),
    "crop_one_side": _one_side,
    "crop_to_wide": _to_ratio(1.3, 1.8),
    "crop_to_tall": _to_ratio(0.6, 0.85),
}
TURN: Mapping[str, Alter] = {
    "mirrored": turned(Turn.FLIP_LEFT_RIGHT),
    "upside_down_mirrored": turned(Turn.FLIP_TOP_BOTTOM),
    "quarter_turn_left": turned(Turn.ROTATE_90),
    "half_turn": turned(Turn.ROTATE_180),
    "quarter_turn_right": turned(Turn.ROTATE_270),
    "transposed": turned(Turn.TRANSPOSE),
    "transversed": turned(Turn.TRANSVERSE),
    "orientation_tag": _tagged,
    "orientation_tag_wrong": _tagged_wrongly,
}
TILT: Mapping[str, Alter] = {
    "tilted_slightly_cropped": _tilted_and_cropped(0.5, 1.5),
    "tilted_cropped": _tilted_and_cropped(2, 8),
    "tilted_slightly": tilted(1, 3, WHITE, BLACK),
    "tilted_on_white": tilted(3, 10, WHITE),
    "tilted_on_black": tilted(3, 10, BLACK),
    "tilted_whole": tilted(2, 10, WHITE, BLACK, (90, 60, 120), expand=True),
    "sheared": _sheared,
    "perspective_slight": _perspective(0.0, 0.02),
    "perspective": _perspective(0.02, 0.06),
    "perspective_strong": _perspective(0.08, 0.15),
}
