"""The picture as part of another: screenshots of phones and desktops, collages, a picture in a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image, ImageDraw, ImageFilter

from coverguard.testing.alterations.dice import BLACK, WHITE, Colour, Dice, write

Alter = Callable[[Image.Image, Dice], Image.Image]

_DARK: Colour = (18, 18, 18)
_GREY: Colour = (120, 120, 120)


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.LANCZOS)


def phone(*, dark: bool) -> Alter:
    """Show it in a music player on a phone: clock above, title, progress and buttons below."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        wide = dice.one_of((720, 828, 1080))
        tall = round(wide * dice.within(1.78, 2.2))
        ground = dice.one_of((_DARK, BLACK, (28, 24, 36))) if dark else dice.one_of((WHITE, (246, 246, 248)))
        ink = WHITE if dark else BLACK
        made = Image.new("RGB", (wide, tall), ground)
        margin = round(wide * dice.within(0.03, 0.1))
        width = wide - 2 * margin
        height = min(round(width * image.height / image.width), tall // 2)
        top = round(tall * dice.within(0.1, 0.2))
        write(
            made,
            (wide * 0.07, tall * 0.015),
            f"{dice.whole(8, 23)}:{dice.whole(10, 59)}",
            height=tall * 0.018,
            fill=ink,
        )
        write(made, (wide * 0.3, tall * 0.06), dice.text(2), height=tall * 0.017, fill=ink)
        made.paste(_fitted(image, width, height), (margin, top))
        _controls(made, dice, margin, top + height, ink)
        return made

    return alter


def _controls(made: Image.Image, dice: Dice, margin: int, below: int, ink: Colour) -> None:
    """Draw title, artist, progress and three buttons."""
    pen, step = ImageDraw.Draw(made), made.height * 0.045
    write(made, (margin, below + step * 0.8), dice.text(3), height=step * 0.6, fill=ink)
    write(made, (margin, below + step * 1.6), dice.text(2), height=step * 0.4, fill=_GREY)
    line = below + step * 3
    pen.line((margin, line, made.width - margin, line), fill=_GREY, width=4)
    pen.line((margin, line, made.width * dice.within(0.2, 0.8), line), fill=ink, width=4)
    for index, reach in ((1, 0.5), (2, 0.8), (3, 0.5)):
        x, y = made.width * index / 4, line + step * 2
        pen.ellipse((x - reach * step, y - reach * step, x + reach * step, y + reach * step), fill=ink)


def _desktop(image: Image.Image, dice: Dice) -> Image.Image:
    """Show it in a window: bars above and beside, a column of titles."""
    wide, tall = dice.one_of(((1280, 800), (1366, 768), (1440, 900)))
    dark = dice.sign() > 0
    ground, ink = (_DARK, WHITE) if dark else ((250, 250, 250), BLACK)
    made = Image.new("RGB", (wide, tall), ground)
    pen = ImageDraw.Draw(made)
    bar, side = round(tall * dice.within(0.05, 0.09)), round(wide * dice.within(0.12, 0.2))
    pen.rectangle((0, 0, wide, bar), fill=(40, 40, 44) if dark else (225, 226, 230))
    pen.rectangle((0, bar, side, tall), fill=(8, 8, 8) if dark else (238, 238, 240))
    write(made, (wide * 0.1, bar * 0.25), dice.text(5), height=bar * 0.45, fill=ink)
    for line in range(8):
        write(
            made,
            (side * 0.12, bar + tall * (0.04 + 0.07 * line)),
            dice.text(2),
            height=tall * 0.02,
            fill=_GREY,
        )
    height = round(tall * dice.within(0.35, 0.6))
    width = min(round(height * image.width / image.height), wide // 2)
    x, y = side + round(wide * dice.within(0.02, 0.08)), bar + round(tall * dice.within(0.04, 0.12))
    made.paste(_fitted(image, width, height), (x, y))
    for line in range(6):
        at = (x + width + wide * 0.03, y + tall * (0.02 + 0.06 * line))
        write(made, at, dice.text(3), height=tall * 0.026, fill=ink)
    return made


def _gallery(image: Image.Image, dice: Dice) -> Image.Image:
    """Show it full width on a phone, on black, with nothing but small signs above and below."""
    wide = dice.one_of((720, 828, 1080))
    tall = round(wide * dice.within(1.8, 2.2))
    made = Image.new("RGB", (wide, tall), BLACK)
    height = min(round(wide * image.height / image.width), round(tall * 0.8))
    made.paste(_fitted(image, wide, height), (0, (tall - height) // 2))
    write(
        made,
        (wide * 0.05, tall * 0.02),
        f"{dice.whole(8, 23)}:{dice.whole(10, 59)}",
        height=tall * 0.018,
        fill=WHITE,
    )
    for index in range(4):
        x, y = wide * (0.14 + 0.24 * index), tall * 0.95
        ImageDraw.Draw(made).ellipse((x - 16, y - 16, x + 16, y + 16), outline=WHITE, width=4)
    return made


def _player_blurred(image: Image.Image, dice: Dice) -> Image.Image:
    """Show it in a player whose background is the picture itself, blurred and darkened."""
    wide = dice.one_of((720, 828))
    tall = round(wide * dice.within(1.8, 2.1))
    ground = image.resize((tall, tall)).crop(((tall - wide) // 2, 0, (tall + wide) // 2, tall))
    made = ground.filter(ImageFilter.GaussianBlur(dice.within(30, 60))).point(lambda value: value * 2 // 3)
    margin, top = round(wide * dice.within(0.06, 0.12)), round(tall * dice.within(0.14, 0.22))
    width = wide - 2 * margin
    height = min(round(width * image.height / image.width), tall // 2)
    made.paste(_fitted(image, width, height), (margin, top))
    _controls(made, dice, margin, top + height, WHITE)
    return made


def _grid(across: int, down: int, gap: tuple[float, float]) -> Alter:
    """Put it into one place of a grid of other pictures."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        width = max(image.width // max(across, down) * 3 // 2, 120)
        height = max(round(width * image.height / image.width), 40)
        space = round(dice.within(*gap) * width)
        size = (across * width + (across + 1) * space, down * height + (down + 1) * space)
        made = Image.new("RGB", size, dice.one_of((WHITE, BLACK)))
        chosen = dice.whole(0, across * down - 1)
        for place in range(across * down):
            shown = image if place == chosen else dice.company(width)
            at = (space + place % across * (width + space), space + place // across * (height + space))
            made.paste(_fitted(shown, width, height), at)
        return made if space else made.crop((0, 0, across * width, down * height))

    return alter


def _in_picture(low: float, high: float, *, framed: bool) -> Alter:
    """Lay it, smaller, somewhere on another picture."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        made = dice.company(round(max(image.size) * 1.2))
        factor = dice.within(low, high) * made.width / max(image.size)
        width, height = round(image.width * factor), round(image.height * factor)
        x, y = dice.whole(0, made.width - width), dice.whole(0, made.height - height)
        if framed:
            line = max(2, made.width // 150)
            box = (x - line, y - line, x + width + line, y + height + line)
            ImageDraw.Draw(made).rectangle(box, fill=dice.one_of((WHITE, BLACK)))
        made.paste(_fitted(image, width, height), (x, y))
        return made

    return alter


SCREEN: Mapping[str, Alter] = {
    "phone_dark": phone(dark=True),
    "phone_light": phone(dark=False),
    "phone_gallery": _gallery,
    "phone_blurred": _player_blurred,
    "desktop": _desktop,
}
COMPOSE: Mapping[str, Alter] = {
    "collage_2x2": _grid(2, 2, (0, 0)),
    "collage_2x2_gaps": _grid(2, 2, (0.01, 0.05)),
    "collage_3x3": _grid(3, 3, (0, 0)),
    "collage_3x2_gaps": _grid(3, 2, (0.01, 0.05)),
    "side_by_side": _grid(2, 1, (0, 0)),
    "one_above_another": _grid(1, 2, (0, 0)),
    "in_picture_large": _in_picture(0.6, 0.8, framed=False),
    "in_picture_small": _in_picture(0.35, 0.55, framed=False),
    "in_picture_framed": _in_picture(0.4, 0.7, framed=True),
}
