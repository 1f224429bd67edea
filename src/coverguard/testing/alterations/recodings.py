"""The same picture in other bytes: codecs, qualities, palettes, depths, sizes, alpha, animations."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from coverguard.testing.alterations.dice import BLACK, WHITE, Dice
from coverguard.testing.pictures import animation, encode, png_file

Made = Image.Image | bytes
Alter = Callable[[Image.Image, Dice], Made]
_RGB = 2  # PNG's colour type


def _coded(form: str, low: int, high: int, **options: object) -> Alter:
    def alter(image: Image.Image, dice: Dice) -> bytes:
        return encode(image, form, quality=dice.whole(low, high), **options)

    return alter


def _coded_twice(image: Image.Image, dice: Dice) -> bytes:
    with_other = pixels_of(encode(image, dice.one_of(("JPEG", "WEBP")), quality=dice.whole(40, 80)))
    return encode(with_other, "JPEG", quality=dice.whole(40, 80))


def pixels_of(data: bytes) -> Image.Image:
    """Return what a generated file shows."""
    from io import BytesIO  # noqa: PLC0415

    with Image.open(BytesIO(data)) as image:
        return image.convert("RGB")


def _palette(image: Image.Image, dice: Dice) -> bytes:
    return encode(image.quantize(dice.whole(12, 128), dither=dice.one_of(tuple(Image.Dither)[:1])), "PNG")


def _gif(image: Image.Image, dice: Dice) -> bytes:
    return encode(image.quantize(dice.whole(64, 256)), "GIF")


def _grey_16(image: Image.Image, dice: Dice) -> bytes:
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    return encode(Image.fromarray(grey + np.uint16(0) * dice.whole(0, 1)), "PNG")


def _colour_16(image: Image.Image, dice: Dice) -> bytes:
    values = (np.asarray(image).astype(">u2") * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    note = struct.pack(">I", dice.whole(0, 9))  # so that two seeds give two files
    return png_file(image.width, image.height, rows, depth=16, colour=_RGB, extra=_comment(note))


def _comment(note: bytes) -> bytes:
    body = b"tEXtseed\0" + note.hex().encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _cmyk(image: Image.Image, dice: Dice) -> bytes:
    return encode(image.convert("CMYK"), "JPEG", quality=dice.whole(70, 95))


def _scaled(low: float, high: float, how: Image.Resampling) -> Alter:
    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        factor = dice.within(low, high)
        return image.resize((max(8, round(image.width * factor)), max(8, round(image.height * factor))), how)

    return alter


def _to_side(low: int, high: int) -> Alter:
    def alter(image: Image.Image, dice: Dice) -> Image.Image:
        factor = dice.whole(low, high) / max(image.size)
        size = (max(8, round(image.width * factor)), max(8, round(image.height * factor)))
        return image.resize(size, Image.Resampling.LANCZOS)

    return alter


def _squeezed(image: Image.Image, dice: Dice) -> Image.Image:
    factor = dice.one_of((dice.within(1.15, 1.8), 1 / dice.within(1.15, 1.8)))
    return image.resize((round(image.width * factor), image.height), Image.Resampling.BICUBIC)


def _hidden(image: Image.Image, dice: Dice) -> bytes:
    veiled = image.convert("RGBA")
    veiled.putalpha(dice.whole(0, 3))
    return encode(veiled, "PNG")


def _translucent(image: Image.Image, dice: Dice) -> bytes:
    veiled = image.convert("RGBA")
    veiled.putalpha(dice.whole(120, 240))
    return encode(veiled, dice.one_of(("PNG", "WEBP")), lossless=True)


def _disc(image: Image.Image, dice: Dice) -> bytes:
    """Cut the picture to a disc, as avatars are; what is outside is transparent, and gone."""
    height, width = image.height, image.width
    y, x = np.ogrid[:height, :width]
    reach = dice.within(0.48, 0.52)
    inside = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) < reach**2
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[inside] = np.dstack((np.asarray(image), np.full((height, width), 255, np.uint8)))[inside]
    return encode(Image.fromarray(rgba), "PNG")


def _first_frame(form: str) -> Alter:
    def alter(image: Image.Image, dice: Dice) -> bytes:
        others = [_blank(image, dice) for _ in range(dice.whole(1, 3))]
        return animation([image, *others], form)

    return alter


def _later_frame(form: str) -> Alter:
    def alter(image: Image.Image, dice: Dice) -> bytes:
        before = dice.whole(1, 14)
        others = [_blank(image, dice) for _ in range(before + dice.whole(0, 14))]
        return animation([*others[:before], image, *others[before:]], form)

    return alter


def _blank(image: Image.Image, dice: Dice) -> Image.Image:
    return Image.new("RGB", image.size, dice.one_of((BLACK, WHITE, dice.colour())))


RECODE: Mapping[str, Alter] = {
    "jpeg_high": _coded("JPEG", 86, 96),
    "jpeg_middling": _coded("JPEG", 60, 80),
    "jpeg_low": _coded("JPEG", 28, 50),
    "jpeg_very_low": _coded("JPEG", 8, 20),
    "jpeg_progressive": _coded("JPEG", 60, 90, progressive=True),
    "jpeg_full_colour": _coded("JPEG", 60, 90, subsampling=0),
    "coded_twice": _coded_twice,
    "webp": _coded("WEBP", 40, 90),
    "webp_low": _coded("WEBP", 5, 25),
    "avif": _coded("AVIF", 30, 70, speed=9),
    "png": lambda image, dice: encode(image, "PNG", compress_level=dice.whole(1, 6)),
    "png_palette": _palette,
    "gif": _gif,
    "png_16_bit_grey": _grey_16,
    "png_16_bit_colour": _colour_16,
    "jpeg_cmyk": _cmyk,
    "jpeg_grey": lambda image, dice: encode(image.convert("L"), "JPEG", quality=dice.whole(60, 90)),
}
RESIZE: Mapping[str, Alter] = {
    "halved": _scaled(0.4, 0.65, Image.Resampling.LANCZOS),
    "halved_roughly": _scaled(0.35, 0.65, Image.Resampling.NEAREST),
    "small": _to_side(130, 200),
    "tiny": _to_side(56, 90),
    "enlarged": _scaled(1.4, 2.6, Image.Resampling.BICUBIC),
    "squeezed": _squeezed,
}
ALPHA: Mapping[str, Alter] = {
    "hidden_by_alpha": _hidden,
    "translucent": _translucent,
    "disc": _disc,
}
ANIMATE: Mapping[str, Alter] = {
    "gif_first_frame": _first_frame("GIF"),
    "gif_later_frame": _later_frame("GIF"),
    "webp_later_frame": _later_frame("WEBP"),
    "apng_later_frame": _later_frame("PNG"),
}
