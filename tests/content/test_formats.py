"""One picture in every format and mode that may reach us is near itself in plain RGB."""

import struct
import zlib

import numpy as np
import pytest
from heic import READ, heic
from PIL import Image, ImageChops, features

from coverguard.imaging import fingerprint
from coverguard.testing.pictures import (
    Alteration,
    Kind,
    alter,
    animation,
    draw,
    encode,
    png_chunk,
    png_file,
    with_orientation,
)

SIDE = 640
UNDONE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def apart(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def filtered(rows):
    """PNG rows with filter type 0 before each."""
    return b"".join(b"\0" + bytes(row) for row in rows)


def quick(image, **options):
    return encode(image, "PNG", compress_level=1, **options)


def deep(image, colour):
    """A 16-bit PNG of any colour type, which Pillow reads but does not write."""
    values = np.asarray(image).astype(">u2") * 257
    return png_file(*image.size, filtered(row.tobytes() for row in values), depth=16, colour=colour)


def shaded(image, depth):
    """The picture in 2 ** depth shades of grey of a palette, diffused as encoders do."""
    shades = Image.new("P", (1, 1))
    shades.putpalette([level * 255 // (2**depth - 1) for level in range(2**depth) for _ in range(3)])
    return image.convert("L").convert("RGB").quantize(palette=shades)


def shallow(values, depth, key=None):
    """A grey PNG of 1, 2, 4 or 8 bits, one of whose shades may be transparent."""
    bits = np.unpackbits(values[:, :, None], axis=2)[:, :, -depth:].reshape(values.shape[0], -1)
    extra = b"" if key is None else png_chunk(b"tRNS", struct.pack(">H", key))
    return png_file(*values.shape[::-1], filtered(np.packbits(bits, axis=1)), depth=depth, extra=extra)


def interlaced(image):
    """A PNG in the seven passes of Adam7, which Pillow reads but does not write."""
    pixels = np.asarray(image)
    passes = (
        (0, 8, 0, 8),
        (0, 8, 4, 8),
        (4, 8, 0, 4),
        (0, 4, 2, 4),
        (2, 4, 0, 2),
        (0, 2, 1, 2),
        (1, 2, 0, 1),
    )
    rows = b"".join(
        filtered(row.tobytes() for row in pixels[y::down, x::across]) for y, down, x, across in passes
    )
    header = struct.pack(">IIBBBBB", *image.size, 8, {3: 2, 4: 6}[pixels.shape[2]], 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def palette(image, **options):
    return image.convert("P", palette=Image.Palette.ADAPTIVE, **options)


def ycck(image):
    """A JPEG of ink in brightness, two colours and black, as print shops' tools write it."""
    cyan, magenta, yellow, black = image.convert("CMYK").split()
    bright, blue, red = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    inverse = [ImageChops.invert(band) for band in (bright, blue, red)]  # as Pillow inverts what it stores
    data = encode(Image.merge("CMYK", (*inverse, black)), "JPEG", quality=95)
    transform = data.index(b"Adobe") + 11
    return data[:transform] + b"\x02" + data[transform + 1 :]


def turned(form, orientation, **options):
    def encoded(image):
        stored = image.transpose(UNDONE[orientation]) if orientation in UNDONE else image
        return encode(stored, form, exif=with_orientation(stored, orientation), **options)

    return encoded


def turned_heic(image):
    stored = image.transpose(UNDONE[6])
    return heic(stored, exif=with_orientation(stored, 6), quality=80)


def moving(form, **options):
    return lambda image: animation(
        [image, image.transpose(UNDONE[3]), image.transpose(UNDONE[2])], form, **options
    )


MATRIX = {
    "rgb_jpeg": lambda im: encode(im, "JPEG", quality=90),
    "progressive_jpeg": lambda im: encode(im, "JPEG", quality=90, progressive=True),
    "rgb_422_jpeg": lambda im: encode(im, "JPEG", quality=85, subsampling=1),
    "rgb_420_jpeg": lambda im: encode(im, "JPEG", quality=75, subsampling=2),
    "rgb_444_jpeg": lambda im: encode(im, "JPEG", quality=95, subsampling=0),
    "stored_rgb_jpeg": lambda im: encode(im, "JPEG", quality=90, keep_rgb=True),
    "optimised_jpeg": lambda im: encode(im, "JPEG", quality=60, optimize=True),
    "restarting_jpeg": lambda im: encode(im, "JPEG", quality=85, restart_marker_blocks=7),
    "grey_jpeg": lambda im: encode(im.convert("L"), "JPEG"),
    "progressive_grey_jpeg": lambda im: encode(im.convert("L"), "JPEG", progressive=True),
    "cmyk_jpeg": lambda im: encode(im.convert("CMYK"), "JPEG"),
    "progressive_cmyk_jpeg": lambda im: encode(im.convert("CMYK"), "JPEG", progressive=True),
    "ycck_jpeg": ycck,
    **{f"turned_{n}_jpeg": turned("JPEG", n, quality=90) for n in range(1, 9)},
    "rgb_png": quick,
    "interlaced_png": interlaced,
    "interlaced_rgba_png": lambda im: interlaced(im.convert("RGBA")),
    "rgba_png": lambda im: quick(im.convert("RGBA")),
    "grey_png": lambda im: encode(im.convert("L"), "PNG"),
    "grey_alpha_png": lambda im: quick(im.convert("LA")),
    "palette_png": lambda im: encode(palette(im), "PNG"),
    "palette_4_bits_png": lambda im: encode(shaded(im, 4), "PNG", bits=4),
    "palette_web_png": lambda im: encode(im.convert("P"), "PNG"),
    "palette_alpha_png": lambda im: encode(palette(im), "PNG", transparency=bytes([250] * 256)),
    "grey_1_png": lambda im: encode(im.convert("1"), "PNG"),
    "grey_2_png": lambda im: shallow(np.asarray(shaded(im, 2)), 2),
    "grey_4_png": lambda im: shallow(np.asarray(shaded(im, 4)), 4),
    "grey_16_png": lambda im: alter(im, Alteration.GREY_16_PNG),
    "rgb_16_png": lambda im: deep(im, 2),
    "rgba_16_png": lambda im: deep(im.convert("RGBA"), 6),
    "grey_alpha_16_png": lambda im: deep(im.convert("LA"), 4),
    "turned_6_png": turned("PNG", 6, compress_level=1),
    "moving_png": moving("PNG"),
    "gif": lambda im: encode(im, "GIF"),
    "straight_gif": lambda im: encode(im, "GIF", interlace=0),
    "grey_gif": lambda im: encode(im.convert("L"), "GIF"),
    "moving_gif": moving("GIF"),
    "webp": lambda im: encode(im, "WEBP", quality=80),
    "poor_webp": lambda im: encode(im, "WEBP", quality=30),
    "lossless_webp": lambda im: encode(im, "WEBP", lossless=True, quality=0, method=0),
    "rgba_webp": lambda im: encode(im.convert("RGBA"), "WEBP", quality=80),
    "turned_8_webp": turned("WEBP", 8, quality=90),
    "moving_webp": moving("WEBP"),
}
if features.check("avif"):
    MATRIX |= {
        "avif": lambda im: encode(im, "AVIF", speed=9),
        "rgb_444_avif": lambda im: encode(im, "AVIF", speed=9, quality=90, subsampling="4:4:4"),
        "grey_avif": lambda im: encode(im.convert("L"), "AVIF", speed=9),
        "rgba_avif": lambda im: encode(im.convert("RGBA"), "AVIF", speed=9),
        "turned_6_avif": turned("AVIF", 6, speed=9),
        "turned_7_avif": turned("AVIF", 7, speed=9),
        "moving_avif": moving("AVIF", speed=9),
    }
if READ:
    MATRIX |= {
        "heic": lambda im: heic(im, quality=80),
        "grey_heic": lambda im: heic(im.convert("L"), quality=80),
        "rgba_heic": lambda im: heic(im.convert("RGBA"), quality=80),
        "turned_6_heic": turned_heic,
    }


@pytest.fixture(scope="module")
def picture():
    return draw(Kind.SCENE, 31, side=SIDE)


@pytest.fixture(scope="module")
def reference(picture):
    return fingerprint(quick(picture)).views[0]


def test_there_are_enough_of_them():
    assert len(MATRIX) >= 40


@pytest.mark.parametrize("name", MATRIX)
def test_every_mode_is_near_the_same_picture_in_rgb(name, picture, reference):
    found = fingerprint(MATRIX[name](picture))
    assert found.format == name.rsplit("_", maxsplit=1)[-1]
    assert (found.width, found.height, found.truncated) == (SIDE, SIDE, False)
    assert found.views[0].name == "displayed"
    assert apart(found.views[0].signals["pdq"], reference.signals["pdq"]) <= 10
    # pHash has no reference to be near to; half the shades are gone in a 2-bit picture
    assert apart(found.views[0].signals["phash256"], reference.signals["phash256"]) <= 16
