"""Invented, harmless cover art for tests, demos and benchmarks, deterministic from a seed.

`draw` paints with integer arithmetic and a hash of its own for chance, so that scenes and gradients are the
same bytes on every machine and with every library version (the other kinds ask Pillow for glyphs and edges,
and may differ by a few pixels between versions). `alter` re-encodes a picture the ways uploads meet us;
`alterations` has many more. No picture shows anybody or anything; nothing is read from a file or stored in
one.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

Grid = NDArray[np.int32]


class Kind(StrEnum):
    SCENE = "scene"  # hills, clouds and water with the texture of photographs: PDQ quality ≥ 80
    GRADIENT = "gradient"  # below PDQ's quality gate on purpose
    TYPOGRAPHY = "typography"
    COLLAGE = "collage"  # four scenes in a grid
    SHAPES = "shapes"
    LEAVES = "leaves"  # things before one another, blurred by their distance: the statistics of photographs
    FACADE = "facade"  # straight walls and windows: photographs with edges where frames have theirs
    OBJECT = "object"  # one thing with its shadow on a plain ground


class Alteration(StrEnum):
    """What happens to a picture on its way to us."""

    JPEG_Q92 = "jpeg_q92"
    JPEG_Q70 = "jpeg_q70"
    JPEG_Q50 = "jpeg_q50"
    WEBP_Q80 = "webp_q80"
    PNG = "png"
    GIF = "gif"
    RESIZED_300 = "resized_300"
    RESIZED_400 = "resized_400"
    MIRRORED = "mirrored"
    ROTATED_90 = "rotated_90"  # counter-clockwise
    EXIF_TURNED = "exif_turned"  # stored rotated, displayed upright by its orientation tag
    GREY = "grey"
    BRIGHTER = "brighter"
    CMYK_JPEG = "cmyk_jpeg"
    GREY_16_PNG = "grey_16_png"
    TRANSLUCENT_PNG = "translucent_png"  # a little transparent everywhere
    HIDDEN_PNG = "hidden_png"  # wholly transparent: displays blank, the picture is in the colour channels


# ── chance ─────────────────────────────────────────────────────────────────────────────────────────────────


def chance(seed: int, salt: int, count: int) -> NDArray[np.uint32]:
    """Return `count` uniform 32-bit numbers of the stream (seed, salt): a mixed counter."""
    key = zlib.crc32(f"{seed}/{salt}".encode())
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(key)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    return x ^ x >> np.uint32(16)


def _picks(seed: int, salt: int, count: int, *, low: int, high: int) -> list[int]:
    """Return `count` integers in [low, high)."""
    return [low + int(value) % (high - low) for value in chance(seed, salt, count)]


def _doubled(grid: Grid) -> Grid:
    """Interpolate to twice the size along the first axis, in integers."""
    before = np.concatenate((grid[:1], grid[:-1]))
    after = np.concatenate((grid[1:], grid[-1:]))
    doubled = np.empty((2 * grid.shape[0], *grid.shape[1:]), np.int32)
    doubled[0::2] = (3 * grid + before) >> 2
    doubled[1::2] = (3 * grid + after) >> 2
    return doubled


def _texture(seed: int, salt: int, side: int) -> Grid:
    """Return side × side values of about ±30 000 whose amplitude falls as 1/f, as in photographs."""
    size, amplitude, octave = 5, 256, 0
    grid = np.zeros((size, size), np.int32)
    while True:
        noise = (chance(seed, salt + octave, size * size) >> np.uint32(24)).astype(np.int32) - 128
        grid += noise.reshape(size, size) * amplitude
        if size >= side:
            return grid[:side, :side]
        grid = _doubled(_doubled(grid).T).T
        size, amplitude, octave = 2 * size, max(amplitude * 5 // 8, 1), octave + 1


def _ridge(seed: int, salt: int, side: int) -> Grid:
    """Return side heights of about ±30 000: one row of a texture."""
    line = np.zeros(5, np.int32)
    amplitude, octave = 256, 0
    while True:
        noise = (chance(seed, salt + octave, line.size) >> np.uint32(24)).astype(np.int32) - 128
        line = line + noise * amplitude
        if line.size >= side:
            return line[:side]
        line, amplitude, octave = _doubled(line), amplitude // 2, octave + 1


# ── drawing ────────────────────────────────────────────────────────────────────────────────────────────────


def draw(kind: Kind, seed: int, *, side: int = 640) -> Image.Image:
    """Return an RGB picture of side × side pixels; another seed gives an unrelated one."""
    painter = {
        Kind.SCENE: _scene,
        Kind.GRADIENT: _gradient,
        Kind.TYPOGRAPHY: _typography,
        Kind.COLLAGE: _collage,
        Kind.SHAPES: _shapes,
        Kind.LEAVES: _leaves,
        Kind.FACADE: _facade,
        Kind.OBJECT: _object,
    }[kind]
    return painter(seed, side)


def _from_planes(planes: Sequence[NDArray[np.signedinteger]]) -> Image.Image:
    return Image.fromarray(np.stack([plane.clip(0, 255).astype(np.uint8) for plane in planes], axis=2))


def _scene(seed: int, side: int) -> Image.Image:
    """Paint a sky and three hills before one another, all in the light and shade of one texture."""
    texture = (_texture(seed, 0, side) >> 8).astype(np.int16)  # about ±120
    ramp = np.arange(side, dtype=np.int32)[:, np.newaxis]
    shade, place = texture >> 1, np.zeros((side, side), np.uint8)
    colours = [_picks(seed, 100, 3, low=60, high=200)]
    for hill in range(1, 4):
        relief = _picks(seed, 110 + hill, 5, low=0, high=256)
        colours.append([24 + value * 3 // 4 for value in relief[2:]])
        crest = side * (relief[0] + 96 * hill) // 512 + _ridge(seed, 200 + 20 * hill, side) * side // 160_000
        inside = ramp >= crest[np.newaxis, :]
        # every hill wears the texture another way round, in its own strength
        grain = (texture[::-1], texture.T, texture[:, ::-1])[hill - 1] * (5 + relief[1] // 64) >> 4
        np.copyto(shade, grain, where=inside)
        np.copyto(place, np.uint8(hill), where=inside)
    slope = _picks(seed, 101, 3, low=-90, high=90)
    planes = []
    for c in range(3):
        plane = np.array([colour[c] for colour in colours], np.int16)[place] + shade
        planes.append(plane + (slope[c] * (2 * ramp - side) // (2 * side)).astype(np.int16))
    return _from_planes(planes)


def _gradient(seed: int, side: int) -> Image.Image:
    start, end = _picks(seed, 1, 3, low=0, high=256), _picks(seed, 2, 3, low=0, high=256)
    across, down = _picks(seed, 3, 2, low=1, high=16)
    x = np.arange(side, dtype=np.int32)
    way = (across * x[np.newaxis, :] + down * x[:, np.newaxis]) // (across + down)
    return _from_planes([start[c] + (end[c] - start[c]) * way // side for c in range(3)])


def _typography(seed: int, side: int) -> Image.Image:
    image = _gradient(seed, side)
    ground = np.asarray(image.copy())
    pen = ImageDraw.Draw(image)
    words = [word for title in titles(seed, 4) for word in title.split()]
    sizes, shifts = _picks(seed, 11, 5, low=9, high=24), _picks(seed, 12, 5, low=0, high=30)
    y = side // 16
    for word, size, shift in zip(words, sizes, shifts, strict=False):
        height = side * size // 100
        shade = 240 if ground[min(y, side - 1), side // 2].sum() < 3 * 128 else 16
        font = ImageFont.load_default(size=height)
        pen.text((side * shift // 100, y), word, font=font, fill=(shade, shade, shade))
        y += height + side // 40
    return image


def _collage(seed: int, side: int) -> Image.Image:
    image = Image.new("RGB", (side, side))
    half = (side + 1) // 2
    for index in range(4):
        image.paste(_scene(seed * 4 + index + 1_000_003, half), (half * (index % 2), half * (index // 2)))
    return image


def _shapes(seed: int, side: int) -> Image.Image:
    image = Image.new("RGB", (side, side), tuple(_picks(seed, 21, 3, low=0, high=256)))
    pen = ImageDraw.Draw(image)
    for index in range(14):
        a = _picks(seed, 30 + index, 8, low=0, high=256)
        x, y, reach = a[0] * side >> 8, a[1] * side >> 8, side * (20 + a[2]) // 700
        box, colour = (x - reach, y - reach * (64 + a[3]) // 200, x + reach, y + reach), (a[4], a[5], a[6])
        (pen.ellipse, pen.rectangle)[a[7] & 1](box, fill=colour)
    return image


def _shaded(image: Image.Image, seed: int, salt: int, *, strength: int) -> Image.Image:
    """Lay light and shade over a picture: `strength` levels at most, about."""
    texture = _texture(seed, salt, image.width) * strength >> 15
    pixels = np.asarray(image).astype(np.int32) + texture[: image.height, :, np.newaxis]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _leaves(seed: int, side: int) -> Image.Image:
    image = Image.new("RGB", (side, side), tuple(_picks(seed, 40, 3, low=30, high=220)))
    layers, each = 5, 30
    for layer in range(layers):  # far things first, and those out of focus
        pen = ImageDraw.Draw(image)
        for index in range(each):
            a = _picks(seed, 400 + layer * each + index, 8, low=0, high=256)
            reach = max(2, side * 28 // ((24 + a[2]) * (1 + layer)))
            x, y = a[0] * (side + 2 * reach) // 256 - reach, a[1] * (side + 2 * reach) // 256 - reach
            lean, colour = reach * a[6] // 256 + 1, (a[3], a[4], (a[3] + a[4] + a[5]) // 3)
            if a[7] & 3:
                pen.ellipse((x - reach, y - lean, x + reach, y + lean), fill=colour)
            else:
                pen.polygon([(x - reach, y), (x + lean, y - reach), (x + reach, y + lean)], fill=colour)
        image = _shaded(image, seed, 700 + 20 * layer, strength=20 + 8 * layer)
        image = image.filter(ImageFilter.GaussianBlur(side * (layers - 1 - layer) / 400))
    return image


def _facade(seed: int, side: int) -> Image.Image:
    a = _picks(seed, 50, 12, low=0, high=256)
    image = Image.new("RGB", (side, side), (140 + a[0] // 4, 150 + a[1] // 4, 180 + a[2] // 4))
    pen = ImageDraw.Draw(image)
    x = -side * a[3] // 1024
    for house in range(8):
        b = _picks(seed, 60 + house, 12, low=0, high=256)
        wide, top = side * (40 + b[0] // 2) // 400, side * b[1] // 500
        wall = (40 + b[2] * 3 // 4, 40 + b[3] * 3 // 4, 40 + b[4] * 3 // 4)
        pen.rectangle((x, top, x + wide, side), fill=wall)
        across, down = wide // (2 + b[5] % 3), side // (5 + b[6] % 5)
        for index, (column, row) in enumerate((c, r) for c in range(4) for r in range(10)):
            left, high = x + column * across + across // 4, top + row * down + down // 4
            if left + across // 2 < x + wide:
                light = _picks(seed, 800 + 40 * house + index, 1, low=20, high=220)[0]
                window = (left, high, left + across // 2, high + down // 2)
                pen.rectangle(window, fill=(light, light, light * 3 // 4))
        x += wide
    return _shaded(image, seed, 900, strength=60)


def _object(seed: int, side: int) -> Image.Image:
    a = _picks(seed, 70, 8, low=0, high=256)
    ground = ((255, 255, 255), (250, 250, 248), (0, 0, 0), (a[1], a[2], a[3]))[a[0] & 3]
    turns = 40
    swell = _picks(seed, 71, 6, low=0, high=256)
    points = []
    for step in range(turns):
        angle = 2 * math.pi * step / turns
        waves = sum(
            swell[k] * math.cos((k // 2 + 1) * angle + swell[k - 1]) / (k // 2 + 1) for k in (1, 3, 5)
        )
        reach = side * (0.22 + a[5] / 1_600 + waves / 3_000)
        points.append((side * 0.5 + reach * math.cos(angle), side * 0.47 + reach * math.sin(angle)))
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon(points, fill=255)
    shadow = ImageChops.offset(mask, 0, side // 24).filter(ImageFilter.GaussianBlur(side / 40))
    image = Image.new("RGB", (side, side), ground)
    image.paste(tuple(value * 5 // 8 for value in ground), mask=shadow)
    image.paste((_scene, _leaves)[a[4] & 1](seed + 5_000_011, side), mask=mask)
    return image


# ── encoding and altering ──────────────────────────────────────────────────────────────────────────────────


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """Return the encoded file; `form` and options are Pillow's."""
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def animation(frames: Sequence[Image.Image], form: str = "GIF", **options: object) -> bytes:
    """Return an animated GIF, WebP or PNG of these frames, 100 ms each."""
    return encode(frames[0], form, save_all=True, append_images=list(frames[1:]), duration=100, **options)


def with_orientation(image: Image.Image, orientation: int) -> Image.Exif:
    """Return EXIF data naming that orientation, 1 to 8, for `encode(…, exif=…)`."""
    exif = image.getexif()
    exif[0x0112] = orientation
    return exif


def alter(image: Image.Image, how: Alteration) -> bytes:
    """Return the file that an RGB picture becomes."""
    if how in _RECODED:
        form, options = _RECODED[how]
        return encode(image, form, **options)
    if how in (Alteration.GREY_16_PNG, Alteration.TRANSLUCENT_PNG, Alteration.HIDDEN_PNG):
        return encode(_REPAINTED[how](image), "PNG")
    exif = {"exif": with_orientation(image, 6)} if how is Alteration.EXIF_TURNED else {}
    return encode(_REPAINTED[how](image), "JPEG", quality=90, **exif)


def _resized(side: int) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize((side, side), Image.Resampling.LANCZOS)


def _veiled(alpha: int) -> Callable[[Image.Image], Image.Image]:
    def veil(image: Image.Image) -> Image.Image:
        veiled = image.convert("RGBA")
        veiled.putalpha(alpha)
        return veiled

    return veil


def _in_16_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


_RECODED: Mapping[Alteration, tuple[str, Mapping[str, int]]] = {
    Alteration.JPEG_Q92: ("JPEG", {"quality": 92}),
    Alteration.JPEG_Q70: ("JPEG", {"quality": 70}),
    Alteration.JPEG_Q50: ("JPEG", {"quality": 50}),
    Alteration.WEBP_Q80: ("WEBP", {"quality": 80}),
    Alteration.PNG: ("PNG", {}),
    Alteration.GIF: ("GIF", {}),
}
_REPAINTED: Mapping[Alteration, Callable[[Image.Image], Image.Image]] = {
    Alteration.RESIZED_300: _resized(300),
    Alteration.RESIZED_400: _resized(400),
    Alteration.MIRRORED: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    Alteration.ROTATED_90: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    Alteration.EXIF_TURNED: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    Alteration.GREY: lambda image: image.convert("L"),
    Alteration.BRIGHTER: lambda image: image.point(lambda value: value * 11 // 10 + 6),
    Alteration.CMYK_JPEG: lambda image: image.convert("CMYK"),
    Alteration.GREY_16_PNG: _in_16_bits,
    Alteration.TRANSLUCENT_PNG: _veiled(215),
    Alteration.HIDDEN_PNG: _veiled(0),
}


# ── hostile files ──────────────────────────────────────────────────────────────────────────────────────────


def png_chunk(kind: bytes, payload: bytes = b"") -> bytes:
    """Return one PNG chunk with length and checksum."""
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png_file(
    width: int, height: int, pixels: bytes, *, depth: int = 8, colour: int = 0, extra: bytes = b""
) -> bytes:
    """Return a PNG of any bit depth and colour type from filtered rows; `extra` chunks come before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = png_chunk(b"IDAT", zlib.compress(pixels, 1)) + png_chunk(b"IEND")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra + body


def many_scans(image: Image.Image, extra: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated `extra` times."""
    data = encode(image, "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * extra + data[-2:]


def many_frames(count: int) -> bytes:
    """Return a GIF of `count` frames of 8 × 8 pixels."""
    data = encode(Image.new("L", (8, 8), 90), "GIF")
    frame = data[data.rindex(b"\x2c") : -1]
    return data[:-1] + frame * (count - 1) + data[-1:]


def _large_claims(jpeg: bytes) -> dict[str, bytes]:
    """Return tiny files whose headers claim pictures of 16 000 pixels a side and more."""
    frame = jpeg.index(b"\xff\xc0") + 5
    screen = struct.pack("<HHBBB", 16_000, 16_000, 0, 0, 0)
    return {
        "long_side_png": png_file(65_500, 65_500, b"\0"),
        "large_area_png": png_file(16_000, 16_000, b"\0"),
        "large_area_jpeg": jpeg[:frame] + struct.pack(">HH", 16_000, 16_000) + jpeg[frame + 4 :],
        "large_area_gif": b"GIF89a" + screen + b";",
        "large_area_webp": b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x7f\x3e\0" * 2,
    }


def hostile() -> dict[str, bytes]:
    """Return files made to harm a decoder, by name. All are generated, none is over 5 MB.

    "polyglot" and "inflating_text" are valid pictures with a passenger, which do decode. So do three that are
    truncated, as far as browsers show them, but not the WebP; nothing else does.
    """
    small = draw(Kind.SCENE, 7, side=96)
    whole = {form: encode(small, form) for form in ("JPEG", "PNG", "GIF", "WEBP")}
    text = png_chunk(b"tEXt", b"note\0" + b"harmless " * 1_000)
    inflating = png_chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(16 << 20)))
    gif_head = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0)
    return {
        **{f"truncated_{form.lower()}": data[: len(data) * 2 // 3] for form, data in whole.items()},
        "empty": b"",
        "garbage": chance(1, 1, 5_000).astype("<u4").tobytes(),
        "html": b"<!doctype html><title>cover</title><p>not a picture</p>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "bmp": encode(small, "BMP"),
        "tiff": encode(small, "TIFF"),
        "pdf": encode(small, "PDF"),
        "magic_only": b"\xff\xd8\xff",
        "broken_png": png_file(8, 8, bytes(72)).replace(b"IDAT\x78", b"IDAT\x00"),
        **_large_claims(whole["JPEG"]),
        "text_bomb": png_file(8, 8, bytes(72), extra=text * 500),
        "inflating_text": png_file(8, 8, bytes(72), extra=inflating * 3),
        "many_scans_jpeg": many_scans(small, 1_000),
        "many_frames_gif": many_frames(1_500),
        "many_blocks_gif": gif_head + b"!\xfe" + b"\x01x" * 150_000 + b"\0;",
        "polyglot": whole["JPEG"] + b"PK\x03\x04<script>/* and so on */</script>" * 50,
    }


# ── words ──────────────────────────────────────────────────────────────────────────────────────────────────

_MOODS = ("amber", "quiet", "northern", "paper", "slow", "velvet", "copper", "distant", "hollow", "silver")
_THINGS = ("harbour", "meadow", "lantern", "river", "kitchen", "orchard", "window", "train", "radio", "cloud")
_TIMES = ("in autumn", "at noon", "before rain", "of june", "after midnight", "by ferry", "for sunday")


def titles(seed: int, count: int = 10) -> tuple[str, ...]:
    """Return invented, harmless playlist titles."""
    return tuple(
        f"{_MOODS[a % len(_MOODS)]} {_THINGS[b % len(_THINGS)]} {_TIMES[c % len(_TIMES)]}".capitalize()
        for a, b, c in (_picks(seed, 1_000 + index, 3, low=0, high=1 << 16) for index in range(count))
    )
