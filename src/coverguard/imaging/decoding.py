"""Bytes of an admitted file → the pixels a viewer sees, and those hidden under them: 8-bit RGB, ≤ 512 a side.

The picture is shrunk first, and only then converted, composited and turned: taking single pixels commutes
with all three, so the results are those of the full picture at a fraction of time and memory. The sampling
is that of PDQ's C++ reference: when a side is over 512, pixel (x, y) of 512 × 512 is the picture's pixel
(⌊x·width/512⌋, ⌊y·height/512⌋); smaller pictures are left alone.

JPEGs of 2048 and more a side are decoded at 1/2, 1/4 or 1/8 ("draft") and sampled at the same positions,
which halves time and bounds memory. On 80 generated JPEGs of 2048 to 4100 pixels PDQ is then 1.5 bits on
average (at most 8; 0.5 on scenes and collages) from the undrafted one; below 2048, and in every other format,
nothing is lost. Drafts sampled between pixels were no nearer, and cost 10 ms a picture.

Colour profiles and gamma are ignored. Of an animation the first, middle and last frames are looked at. Limits
were checked before (`sniff`); nothing global is set, and foreign exceptions are the caller's to translate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from coverguard.imaging.sniff import Container, Format, orientation

Pixels = NDArray[np.uint8]
"""Shape (height, width, 3), RGB, C-contiguous."""

SQUASHED = 512
"""Pixels a side that a larger picture is squashed to, as in PDQ's reference."""

_PLUGINS = {
    Format.JPEG: JpegImagePlugin.JpegImageFile.format,
    Format.PNG: PngImagePlugin.PngImageFile.format,
    Format.GIF: GifImagePlugin.GifImageFile.format,
    Format.WEBP: WebPImagePlugin.WebPImageFile.format,
}
# orientation -> (mirror left-right, flip top-bottom, then transpose), from the picture as stored to as shown
_TURNS = {
    1: (False, False, False),
    2: (True, False, False),
    3: (True, True, False),
    4: (False, True, False),
    5: (False, False, True),
    6: (False, True, True),
    7: (True, True, True),
    8: (True, False, True),
}
_DRAFT_SIDE = 1_024  # pixels a side that a JPEG's draft keeps at least
_NUDGE = 1e-6  # of a pixel: keeps floor() of an exact position from falling to the pixel before
_WHITE, _BLACK = 255, 0


def displayed_size(container: Container) -> tuple[int, int]:
    """Return (width, height) in pixels as a viewer shows the picture."""
    if _TURNS[orientation(container.exif)][2]:
        return container.height, container.width
    return container.width, container.height


def looks(container: Container) -> Iterator[tuple[str, Pixels]]:
    """Yield (name of view, pixels): "displayed" first, then each further look that differs from it.

    "raw" is the colour stored under transparency, "on_black" the picture as a dark page shows it, "frame_N"
    a later frame (from 0) of an animation over white.
    """
    with Image.open(BytesIO(container.body), formats=(_PLUGINS[container.format],)) as image:
        width, height = image.size
        reduction = 1
        if container.format is Format.JPEG and image.draft(None, (_DRAFT_SIDE, _DRAFT_SIDE)) is not None:
            reduction = round(width / image.width)
        turn = _TURNS[orientation(container.exif)]
        shape = _Shape(width=width, height=height, reduction=reduction, turn=turn, depth=container.depth)
        frames = min(getattr(image, "n_frames", 1), container.frames)
        # an APNG's first picture may be for viewers that know no animation; browsers then start at the next
        start = 1 if frames > 1 and getattr(image, "default_image", False) else 0
        # in rising order, for decoders start again from the first frame to go back (and APNG's then fails)
        seen = {index: _frame(image, index, shape) for index in sorted({0, start, frames // 2, frames - 1})}
    rgb, alpha = seen.pop(start)
    displayed = _over(rgb, alpha, _WHITE)
    others = {f"frame_{index}": _over(*frame, _WHITE) for index, frame in seen.items()}
    if alpha is not None:
        others = {"raw": rgb, "on_black": _over(rgb, alpha, _BLACK), **others}
    yield "displayed", displayed
    for name, pixels in others.items():
        if not np.array_equal(pixels, displayed):
            yield name, pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """How the decoder's pixels lie in the picture."""

    width: int  # pixels as stored
    height: int
    reduction: int  # pixels a side that one pixel of a draft stands for: 1, 2, 4 or 8
    turn: tuple[bool, bool, bool]
    depth: int


def _frame(image: Image.Image, index: int, shape: _Shape) -> tuple[Pixels, Pixels | None]:
    """Return one frame's colours and, where any pixel is not opaque, its alpha (height, width)."""
    if index != image.tell():
        image.seek(index)
    image.load()
    mirror, flip, transpose = shape.turn
    if max(shape.width, shape.height) > SQUASHED:
        rgb, alpha = _channels(_squash(image, shape), shape.depth)
    else:
        rgb, alpha = _channels(image, shape.depth)
        rows, columns = slice(None, None, -1 if flip else 1), slice(None, None, -1 if mirror else 1)
        rgb = rgb[rows, columns]
        alpha = alpha[rows, columns] if alpha is not None else None
    if transpose:
        rgb = rgb.transpose(1, 0, 2)
        alpha = alpha.T if alpha is not None else None
    return np.ascontiguousarray(rgb), alpha


def _squash(image: Image.Image, shape: _Shape) -> Image.Image:
    """Sample 512 × 512 pixels, mirrored and flipped but not yet transposed."""
    mirror, flip, _ = shape.turn
    step_x, offset_x = _sampling(shape.width, shape.reduction, backwards=mirror)
    step_y, offset_y = _sampling(shape.height, shape.reduction, backwards=flip)
    return image.transform(
        (SQUASHED, SQUASHED),
        Image.Transform.AFFINE,
        (step_x, 0, offset_x, 0, step_y, offset_y),
        Image.Resampling.NEAREST,
    )


def _sampling(length: int, reduction: int, *, backwards: bool) -> tuple[float, float]:
    """Return (step, offset) of an affine transform that takes sample i from pixel ⌊i·length/512⌋.

    The transform evaluates step·(i + ½) + offset and takes the pixel it falls into; of a draft that is the
    one which covers the position.
    """
    step = length / SQUASHED
    if backwards:
        return -step / reduction, (length + step / 2 - _NUDGE) / reduction
    return step / reduction, (_NUDGE - step / 2) / reduction


def _channels(image: Image.Image, depth: int) -> tuple[Pixels, Pixels | None]:
    """Return 8-bit colours (h, w, 3) and alpha (h, w), or None where everything is opaque."""
    key = image.info.get("transparency")
    if image.mode in ("RGBA", "LA", "PA") or (image.mode == "P" and key is not None):
        rgba = np.asarray(image.convert("RGBA"))
        rgb, alpha = rgba[:, :, :3], rgba[:, :, 3]
    elif image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64).clip(0, 0xFFFF)
        rgb = np.repeat(((values + 128) // 257).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)
        alpha = _keyed(values[:, :, np.newaxis], key)
    else:
        plain = image.copy()
        plain.info = {}
        rgb = np.asarray(plain.convert("RGB"))
        alpha = _keyed(rgb, _key_in_8_bits(key, mode=image.mode, depth=depth))
    return rgb, None if alpha.min() == _WHITE else alpha


def _keyed(values: NDArray[np.generic], key: object) -> Pixels:
    """Return alpha 0 where the pixel has exactly the key's value, 255 elsewhere."""
    if key is None:
        return np.full(values.shape[:2], 255, np.uint8)
    return np.where((values == np.asarray(key)).all(axis=2), 0, 255).astype(np.uint8)


def _key_in_8_bits(key: object, *, mode: str, depth: int) -> object:
    """A PNG names its transparent colour in its own bit depth, while the decoder scales the pixels to 8."""
    if isinstance(key, tuple):
        return tuple(int(value) >> 8 if depth > 8 else int(value) for value in key)  # noqa: PLR2004 - bits a byte
    if isinstance(key, int) and mode == "L" and depth in (2, 4):
        return key * (0xFF // (2**depth - 1))
    return key


def _over(rgb: Pixels, alpha: Pixels | None, ground: int) -> Pixels:
    """Composite over a grey ground, 0 to 255."""
    if alpha is None:
        return rgb
    weight = alpha[:, :, np.newaxis].astype(np.uint32)
    return ((rgb * weight + ground * (255 - weight) + 127) // 255).astype(np.uint8)
