"""Something put around the picture: borders, letterboxes, blurred padding, text bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from coverguard.testing.alterations.dice import BLACK, WHITE, Colour, Dice, each_pixel, write

Alter = Callable[[Image.Image, Dice], Image.Image]
Sides = tuple[int, int, int, int]  # pixels added left, top, right, bottom


def padded(image: Image.Image, sides: Sides, ground: Colour) -> Image.Image:
    """Return the picture with a plain border."""
    left, top, right, bottom = sides
    made = Image.new("RGB", (image.width + left + right, image.height + top + bottom), ground)
    made.paste(image, (left, top))
    return made


def _all_round(image: Image.Image, share: float) -> Sides:
    wide = max(1, round(share * min(image.size)))
    return (wide, wide, wide, wide)


def border(low: float, high: float, *grounds: Colour) -> Alter:
    """Add the same border on all sides, a share of the shorter one; without grounds of any colour."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        ground = dice.one_of(grounds) if grounds else dice.colour()
        return padded(image, _all_round(image, dice.within(low, high)), ground)

    return alter


def _unequal(image: Image.Image, dice: Dice) -> Image.Image:
    """Add another width on each side; one side may have none."""
    shares = [dice.within(0.02, 0.25) for _ in range(4)]
    shares[dice.whole(0, 3)] = dice.one_of((0.0, 0.1))
    left, top, right, bottom = (round(share * min(image.size)) for share in shares)
    return padded(image, (left, top, right, bottom), dice.one_of((BLACK, WHITE, dice.colour())))


def _noisy(image: Image.Image, dice: Dice) -> Image.Image:
    """Add a border with grain of its own."""
    sides = _all_round(image, dice.within(0.05, 0.18))
    made = padded(image, sides, dice.one_of((BLACK, WHITE, dice.colour())))
    grain = dice.noise((made.height, made.width, 1), deviation=dice.within(4, 14))
    return inside(each_pixel(made, lambda values: values + grain), image, sides)


def inside(ground: Image.Image, image: Image.Image, sides: Sides) -> Image.Image:
    """Put the picture back onto a ground that was made for it."""
    ground.paste(image, sides[:2])
    return ground


def _two_colours(image: Image.Image, dice: Dice) -> Image.Image:
    """Add one colour above and below, another left and right."""
    share, other = dice.within(0.05, 0.15), dice.within(0.05, 0.15)
    wide = round(share * image.width)
    tall = round(other * image.height)
    return padded(padded(image, (wide, 0, wide, 0), dice.colour()), (0, tall, 0, tall), dice.colour())


def _double(image: Image.Image, dice: Dice) -> Image.Image:
    """Add a thin border and a wide one around it."""
    thin = padded(image, _all_round(image, dice.within(0.01, 0.03)), dice.one_of((WHITE, dice.colour())))
    return padded(thin, _all_round(thin, dice.within(0.05, 0.15)), dice.one_of((BLACK, dice.colour())))


def _graded(image: Image.Image, dice: Dice) -> Image.Image:
    """Add a border that goes from one colour to another."""
    sides = _all_round(image, dice.within(0.06, 0.18))
    made = padded(image, sides, BLACK)
    way = np.linspace(0, 1, made.height)[:, np.newaxis, np.newaxis]
    start, end = np.array(dice.colour()), np.array(dice.colour())
    ground = each_pixel(made, lambda values: 0 * values + start * (1 - way) + end * way)
    return inside(ground, image, sides)


def _instant(image: Image.Image, dice: Dice) -> Image.Image:
    """Print it as instant cameras do: white all round, more of it below, perhaps with a word."""
    side = min(image.size)
    slim, foot = round(side * dice.within(0.04, 0.08)), round(side * dice.within(0.18, 0.26))
    made = padded(image, (slim, slim, slim, foot), (dice.whole(235, 255),) * 3)
    if dice.sign() > 0:
        at = (slim + 0.1 * side, slim + image.height + foot * 0.3)
        write(made, at, dice.text(3), height=foot * 0.4, fill=(40, 40, 60))
    return made


def _rounded(image: Image.Image, dice: Dice) -> Image.Image:
    """Round the corners and put it on a plain ground, as cards are."""
    mask = Image.new("L", image.size)
    reach = dice.within(0.03, 0.08) * min(image.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, image.width - 1, image.height - 1), reach, fill=255)
    sides = _all_round(image, dice.within(0.04, 0.15))
    ground = dice.one_of((BLACK, WHITE, dice.colour()))
    made = padded(Image.new("RGB", image.size, ground), sides, ground)
    made.paste(image, sides[:2], mask)
    return made


def _bars(image: Image.Image, ratio: float) -> Sides:
    """How much to add so that width : height becomes this ratio."""
    if image.width < ratio * image.height:
        wide = max(1, round((ratio * image.height - image.width) / 2))
        return (wide, 0, wide, 0)
    tall = max(1, round((image.width / ratio - image.height) / 2))
    return (0, tall, 0, tall)


def letterbox(low: float, high: float, *grounds: Colour) -> Alter:
    """Pad to another ratio of width to height."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        return padded(image, _bars(image, dice.within(low, high)), dice.one_of(grounds))

    return alter


def _pillow_and_letterbox(image: Image.Image, dice: Dice) -> Image.Image:
    """Pad to wide, and the result to square again, as a video of a still is shown as a cover."""
    wide = padded(image, _bars(image, dice.within(1.3, 1.9)), BLACK)
    return padded(wide, _bars(wide, 1.0), dice.one_of((BLACK, WHITE)))


def blurred_padding(low: float, high: float) -> Alter:
    """Pad to another ratio with the picture itself, enlarged and blurred."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        left, top, right, bottom = sides = _bars(image, dice.within(low, high))
        size = (image.width + left + right, image.height + top + bottom)
        factor = max(size[0] / image.width, size[1] / image.height)
        large = image.resize((round(image.width * factor), round(image.height * factor)))
        x, y = (large.width - size[0]) // 2, (large.height - size[1]) // 2
        ground = large.crop((x, y, x + size[0], y + size[1]))
        ground = ground.filter(ImageFilter.GaussianBlur(max(size) * dice.within(0.015, 0.05)))
        shade = dice.within(0.6, 1)
        return inside(each_pixel(ground, lambda values: values * shade), image, sides)

    return alter


def text_bar(image: Image.Image, dice: Dice, *, above: bool, below: bool) -> Image.Image:
    """Put lines of text on plain ground above or below, as memes have them."""
    ground, ink = dice.one_of(((WHITE, BLACK), (BLACK, WHITE)))
    heights = [round(image.height * dice.within(0.1, 0.35)) if side else 0 for side in (above, below)]
    made = padded(image, (0, heights[0], 0, heights[1]), ground)
    for start, tall in zip((0, heights[0] + image.height), heights, strict=True):
        lines = dice.whole(1, 2) if tall else 0
        for line in range(lines):
            at = (image.width * 0.04, start + tall * (0.15 + 0.8 * line / lines))
            write(made, at, dice.text(5), height=tall * 0.5 / lines, fill=ink)
    return made


BORDER: Mapping[str, Alter] = {
    "border_black": border(0.04, 0.15, BLACK),
    "border_white": border(0.04, 0.15, WHITE),
    "border_colour": border(0.04, 0.15),
    "border_thin": border(0.012, 0.035, BLACK, WHITE),
    "border_thick": border(0.18, 0.35, BLACK, WHITE),
    "border_unequal": _unequal,
    "border_noisy": _noisy,
    "border_two_colours": _two_colours,
    "border_double": _double,
    "border_graded": _graded,
    "instant_print": _instant,
    "rounded_card": _rounded,
}
PADDING: Mapping[str, Alter] = {
    "letterbox_wide": letterbox(1.3, 2.0, BLACK),
    "letterbox_tall": letterbox(0.5, 0.8, WHITE, BLACK),
    "letterbox_colour": letterbox(1.3, 2.0, (18, 18, 18), (60, 20, 90), (200, 190, 170)),
    "letterbox_to_square": _pillow_and_letterbox,
    "blurred_padding_wide": blurred_padding(1.35, 2.0),
    "blurred_padding_tall": blurred_padding(0.5, 0.75),
    "text_above": lambda image, dice: text_bar(image, dice, above=True, below=False),
    "text_below": lambda image, dice: text_bar(image, dice, above=False, below=True),
    "text_above_and_below": lambda image, dice: text_bar(image, dice, above=True, below=True),
}
