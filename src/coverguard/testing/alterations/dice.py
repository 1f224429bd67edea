"""Chance for alterations: numbers, grounds, words and company, all from a seed and a name."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from coverguard.testing import pictures

T = TypeVar("T")
Colour = tuple[int, int, int]

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
_COMPANY = (
    pictures.Kind.SCENE,
    pictures.Kind.LEAVES,
    pictures.Kind.FACADE,
    pictures.Kind.TYPOGRAPHY,
    pictures.Kind.OBJECT,
)


class Dice:
    """What one alteration of one picture draws its parameters from: the same for the same seed and name."""

    def __init__(self, seed: int, name: str) -> None:
        self._random = Random(zlib.crc32(f"{seed}/{name}".encode()))

    def within(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def whole(self, low: int, high: int) -> int:
        """Return an integer, both ends included."""
        return self._random.randint(low, high)

    def sign(self) -> int:
        return self._random.choice((-1, 1))

    def one_of(self, values: Sequence[T]) -> T:
        return self._random.choice(values)

    def colour(self) -> Colour:
        return (self.whole(0, 255), self.whole(0, 255), self.whole(0, 255))

    def text(self, words: int) -> str:
        """Return invented, harmless words."""
        titles = pictures.titles(self.whole(0, 10**6), 1 + words // 4)
        return " ".join(" ".join(titles).split()[:words])

    def noise(self, shape: tuple[int, ...], *, deviation: float) -> NDArray[np.float64]:
        return np.random.default_rng(self.whole(0, 2**32)).normal(0.0, deviation, shape)

    def company(self, side: int) -> Image.Image:
        """Return another picture, to stand beside or behind the altered one."""
        drawn = pictures.draw(self.one_of(_COMPANY), self.whole(10**6, 10**7), side=min(side, 300))
        return drawn if drawn.width == side else drawn.resize((side, side))


def write(image: Image.Image, at: tuple[float, float], text: str, *, height: float, fill: Colour) -> None:
    """Write one line of text into the picture, its upper left corner at `at`."""
    font = ImageFont.load_default(size=max(6, height))
    ImageDraw.Draw(image).text(at, text, font=font, fill=fill)


def each_pixel(
    image: Image.Image, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Image.Image:
    """Change the values, float64[h, w, 3] of 0 to 255; what leaves the range is cut off."""
    values = change(np.asarray(image).astype(np.float64))
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))
