"""The same picture in other light: brightness, contrast, colour, filters, blur, noise, negatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from coverguard.testing.alterations.dice import Dice, each_pixel

Alter = Callable[[Image.Image, Dice], Image.Image]
Values = NDArray[np.float64]

_SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
_MIDDLE = 128


def _times(low: float, high: float) -> Alter:
    return lambda image, dice: ImageEnhance.Brightness(image).enhance(dice.within(low, high))


def _contrast(low: float, high: float) -> Alter:
    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        factor = dice.within(low, high)
        return each_pixel(image, lambda values: (values - _MIDDLE) * factor + _MIDDLE)

    return alter


def _gamma(low: float, high: float) -> Alter:
    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        power = dice.within(low, high)
        return each_pixel(image, lambda values: 255 * (values / 255) ** power)

    return alter


def _saturation(low: float, high: float) -> Alter:
    return lambda image, dice: ImageEnhance.Color(image).enhance(dice.within(low, high))


def _hue(low: int, high: int) -> Alter:
    """Turn the colour wheel, in degrees, either way."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        turn = round(dice.sign() * dice.whole(low, high) * 256 / 360) % 256
        hue, saturation, value = image.convert("HSV").split()
        turned = Image.fromarray(np.asarray(hue) + np.uint8(turn))
        return Image.merge("HSV", (turned, saturation, value)).convert("RGB")

    return alter


def _tinted(image: Image.Image, dice: Dice) -> Image.Image:
    gains = np.array([dice.within(0.7, 1.3) for _ in range(3)])
    return each_pixel(image, lambda values: values * gains)


def _washed(image: Image.Image, dice: Dice) -> Image.Image:
    colour, share = np.array(dice.colour()), dice.within(0.15, 0.45)
    return each_pixel(image, lambda values: values * (1 - share) + colour * share)


def _sepia(image: Image.Image, dice: Dice) -> Image.Image:
    share = dice.within(0.6, 1)
    return each_pixel(image, lambda values: values * (1 - share) + values @ _SEPIA.T * share)


def _vignette(image: Image.Image, dice: Dice) -> Image.Image:
    y, x = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    fall = 1 - dice.within(0.3, 0.6) * (x**2 + y**2) / 2
    return each_pixel(image, lambda values: values * fall[:, :, np.newaxis])


def _vintage(image: Image.Image, dice: Dice) -> Image.Image:
    faded = each_pixel(_sepia(image, dice), lambda values: values * dice.within(0.75, 0.9) + 24)
    return _vignette(faded, dice)


def _lit_from_a_side(image: Image.Image, dice: Dice) -> Image.Image:
    fall = np.linspace(dice.within(0.6, 0.8), dice.within(1.1, 1.3), image.width)
    if dice.sign() < 0:
        fall = fall[::-1]
    return each_pixel(image, lambda values: values * fall[np.newaxis, :, np.newaxis])


def _mosaic(image: Image.Image, dice: Dice) -> Image.Image:
    size = (dice.whole(40, 90), dice.whole(40, 90))
    return image.resize(size, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def _noisy(low: float, high: float) -> Alter:
    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        grain = dice.noise((image.height, image.width, 3), deviation=dice.within(low, high))
        return each_pixel(image, lambda values: values + grain)

    return alter


def _salt_and_pepper(image: Image.Image, dice: Dice) -> Image.Image:
    grain, limit = dice.noise((image.height, image.width, 1), deviation=1), dice.within(2, 2.5)

    def change(values: Values) -> Values:
        return np.where(grain > limit, 255.0, np.where(grain < -limit, 0.0, values))

    return each_pixel(image, change)


def _blurred(low: float, high: float) -> Alter:
    """Blur by a share of the longer side."""
    return lambda image, dice: image.filter(
        ImageFilter.GaussianBlur(dice.within(low, high) * max(image.size))
    )


def _sharpened(image: Image.Image, dice: Dice) -> Image.Image:
    return image.filter(ImageFilter.UnsharpMask(dice.whole(2, 5), dice.whole(80, 200), 2))


TONE: Mapping[str, Alter] = {
    "brighter": _times(1.15, 1.5),
    "darker": _times(0.45, 0.85),
    "contrast_up": _contrast(1.2, 1.7),
    "contrast_down": _contrast(0.4, 0.8),
    "gamma_bright": _gamma(0.45, 0.8),
    "gamma_dark": _gamma(1.3, 2.2),
    "saturated": _saturation(1.4, 2.2),
    "pale": _saturation(0.2, 0.7),
    "grey": lambda image, _: ImageOps.grayscale(image).convert("RGB"),
    "hue_turned": _hue(20, 90),
    "hue_opposite": _hue(140, 180),
    "tinted": _tinted,
    "washed": _washed,
    "equalised": lambda image, _: ImageOps.equalize(image),
    "stretched_tones": lambda image, dice: ImageOps.autocontrast(image, cutoff=dice.within(0, 3)),
    "posterised": lambda image, dice: ImageOps.posterize(image, dice.whole(2, 4)),
    "sepia": _sepia,
    "vintage": _vintage,
    "vignette": _vignette,
    "lit_from_a_side": _lit_from_a_side,
    "solarised": lambda image, dice: ImageOps.solarize(image, dice.whole(100, 200)),
}
DETAIL: Mapping[str, Alter] = {
    "blurred": _blurred(0.002, 0.005),
    "blurred_strongly": _blurred(0.006, 0.015),
    "sharpened": _sharpened,
    "median": lambda image, dice: image.filter(ImageFilter.MedianFilter(dice.one_of((3, 5)))),
    "mosaic": _mosaic,
    "noisy": _noisy(6, 18),
    "very_noisy": _noisy(25, 50),
    "salt_and_pepper": _salt_and_pepper,
}
NEGATE: Mapping[str, Alter] = {
    "inverted": lambda image, _: ImageOps.invert(image),
    "inverted_grey": lambda image, _: ImageOps.invert(ImageOps.grayscale(image)).convert("RGB"),
    "inverted_low_contrast": lambda image, dice: _contrast(0.5, 0.9)(ImageOps.invert(image), dice),
}
