"""Something laid over the picture: captions, stickers, bars, marks, logos, thin lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image, ImageDraw

from coverguard.testing.alterations.dice import BLACK, WHITE, Dice, write

Alter = Callable[[Image.Image, Dice], Image.Image]


def _caption(low: float, high: float, *, tall: tuple[float, float]) -> Alter:
    """Write one outlined line at a height between two shares of the picture's."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        made, text = image.copy(), dice.text(dice.whole(2, 4)).upper()
        height = dice.within(*tall) * image.height
        at = (dice.within(0.03, 0.15) * image.width, dice.within(low, high) * image.height)
        lift = max(1, height / 16)
        for x, y in ((-lift, 0), (lift, 0), (0, -lift), (0, lift)):
            write(made, (at[0] + x, at[1] + y), text, height=height, fill=BLACK)
        write(made, at, text, height=height, fill=dice.one_of((WHITE, WHITE, (255, 230, 60))))
        return made

    return alter


def _text_over_all(image: Image.Image, dice: Dice) -> Image.Image:
    made, height = image.copy(), image.height * dice.within(0.04, 0.06)
    for line in range(dice.whole(6, 10)):
        at = (image.width * 0.05, image.height * 0.05 + line * height * 1.6)
        write(made, at, dice.text(6), height=height, fill=WHITE)
    return made


def _stickers(count: tuple[int, int], low: float, high: float) -> Alter:
    """Lay discs or boxes of a share of the shorter side anywhere."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        made, pen_side = image.copy(), min(image.size)
        pen = ImageDraw.Draw(made)
        for _ in range(dice.whole(*count)):
            side = dice.within(low, high) * pen_side
            x, y = dice.within(0, image.width - side), dice.within(0, image.height - side)
            shape = dice.one_of((pen.ellipse, pen.rectangle))
            shape((x, y, x + side, y + side), fill=dice.colour(), outline=dice.colour(), width=3)
        return made

    return alter


def _bar(low: float, high: float) -> Alter:
    """Black out a band across the middle, as over eyes."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        made, tall = image.copy(), dice.within(low, high) * image.height
        top = dice.within(0.2, 0.6) * image.height
        ImageDraw.Draw(made).rectangle((0, top, image.width, top + tall), fill=dice.one_of((BLACK, WHITE)))
        return made

    return alter


def _marks(image: Image.Image, dice: Dice) -> Image.Image:
    layer = Image.new("RGB", image.size)
    text, height = dice.text(2), image.height * dice.within(0.04, 0.07)
    step = dice.within(0.18, 0.3)
    for row in range(1, round(1 / step) + 1):
        for column in range(4):
            at = (column * 0.3 * image.width + row * 11, row * step * image.height - height)
            write(layer, at, text, height=height, fill=(dice.whole(70, 120),) * 3)
    made = image.copy()
    made.paste(WHITE, mask=layer.convert("L"))
    return made


def _logo(image: Image.Image, dice: Dice) -> Image.Image:
    made, side = image.copy(), round(min(image.size) * dice.within(0.1, 0.2))
    logo = Image.new("RGB", (side, side), dice.colour())
    write(logo, (side * 0.15, side * 0.2), dice.text(1)[:2], height=side * 0.6, fill=WHITE)
    gap = round(side * 0.3)
    x, y = dice.one_of((gap, image.width - side - gap)), dice.one_of((gap, image.height - side - gap))
    made.paste(logo, (x, y))
    return made


def _line_around(image: Image.Image, dice: Dice) -> Image.Image:
    """Draw a thin line a little inside the edges: a frame that covers, and does not shift, the picture."""
    made, inset = image.copy(), dice.within(0.02, 0.05) * min(image.size)
    box = (inset, inset, image.width - inset, image.height - inset)
    width = round(min(image.size) * dice.within(0.004, 0.012)) or 1
    ImageDraw.Draw(made).rectangle(box, outline=dice.one_of((WHITE, BLACK, dice.colour())), width=width)
    return made


def _scribble(image: Image.Image, dice: Dice) -> Image.Image:
    made = image.copy()
    points = [
        (dice.within(0, 1) * image.width, dice.within(0, 1) * image.height) for _ in range(dice.whole(5, 9))
    ]
    ImageDraw.Draw(made).line(points, fill=dice.colour(), width=round(min(image.size) * 0.015) or 1)
    return made


def _play_button(image: Image.Image, dice: Dice) -> Image.Image:
    made, reach = image.copy(), min(image.size) * dice.within(0.08, 0.14)
    x, y = image.width / 2, image.height / 2
    pen = ImageDraw.Draw(made)
    pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=dice.one_of((BLACK, WHITE, (30, 215, 96))))
    part = reach / 2
    pen.polygon([(x - part, y - part), (x - part, y + part), (x + part, y)], fill=(128, 128, 128))
    return made


OVERLAY: Mapping[str, Alter] = {
    "caption_low": _caption(0.8, 0.88, tall=(0.05, 0.09)),
    "caption_high": _caption(0.03, 0.1, tall=(0.05, 0.09)),
    "caption_across": _caption(0.35, 0.55, tall=(0.1, 0.18)),
    "text_over_all": _text_over_all,
    "sticker": _stickers((1, 1), 0.08, 0.18),
    "sticker_large": _stickers((1, 1), 0.22, 0.35),
    "stickers": _stickers((3, 6), 0.08, 0.18),
    "bar_thin": _bar(0.05, 0.1),
    "bar_thick": _bar(0.15, 0.28),
    "watermark": _marks,
    "logo": _logo,
    "line_around": _line_around,
    "scribble": _scribble,
    "play_button": _play_button,
}
