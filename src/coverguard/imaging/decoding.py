"""Bytes of an admitted file → the pixels a viewer sees, and those hidden under them: upright RGB rasters.

JPEGs are decoded at 1/2, 1/4 or 1/8 ("draft") as long as the shorter side keeps `_DRAFT_SIDE` pixels, in RGB,
since brightness alone is another one where colours are saturated. Everything else is decoded once; of a side
over `_MOST_SIDE` that many single pixels are taken before anything is converted, composited or turned, which
commutes with all three and bounds time and memory. They include those that PDQ's reference takes.

Every frame of an animation is decoded, since the last needs all before it, and those that differ are looked
at (`animation`). Of a picture that is cut off or broken, what was drawn before is looked at, as browsers show
it, and the container is no longer complete; one of which nothing was drawn stays an error.

Colour profiles and gamma are ignored. Limits were checked before (`sniff`); nothing global is set, and
foreign exceptions are the caller's to translate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from coverguard.errors import ContentRejected, RejectReason
from coverguard.imaging import diversity, heic
from coverguard.imaging.animation import Kept
from coverguard.imaging.channels import BLACK, WHITE, Alpha, channels, over
from coverguard.imaging.container import Container, Format
from coverguard.imaging.raster import Pixels, Raster
from coverguard.imaging.sniff import orientation

_PLUGINS = {
    Format.JPEG: JpegImagePlugin.JpegImageFile.format,
    Format.PNG: PngImagePlugin.PngImageFile.format,
    Format.GIF: GifImagePlugin.GifImageFile.format,
    Format.WEBP: WebPImagePlugin.WebPImageFile.format,
    Format.AVIF: AvifImagePlugin.AvifImageFile.format,
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
_DRAFT_SIDE = 320  # pixels of a JPEG's shorter side that a draft keeps at least, and twice that of sharp type
_HARD = 96  # levels by which brightness bends at a hard edge
_HARD_SHARE = 0.004  # of all pixels
_MOST_SIDE = 1_024  # twice what PDQ's reference takes, so that its pixels are among them
_NUDGE = 1e-6  # of a pixel: keeps floor() of an exact position from falling to the pixel before


def looks(container: Container) -> Iterator[tuple[str, Raster]]:
    """Yield (name, raster): "displayed" first, then each further look that differs from it.

    "raw" is the colour stored under transparency, "on_black" the picture as a dark page shows it, "frame_N" a
    frame (from 0) of an animation over white, "frame_N_raw" and "frame_N_on_black" the same of that.
    Afterwards the container is complete only if its picture was.

    Raises:
        ContentRejected: UNSUPPORTED_FORMAT where this installation has no decoder for it.
        Exception: whatever a decoder raises.
    """
    frames, shape = _decoded(container, _DRAFT_SIDE)
    if shape.reduction > 1 and _is_sharp_graphic(shape.raster(frames[0].rgb)):
        frames, shape = _decoded(container, 2 * _DRAFT_SIDE)
    displayed = frames.pop(min(shape.start, max(frames)))
    yield from _named(displayed, ("displayed", "raw", "on_black"), shape)
    for index, frame in frames.items():
        name = f"frame_{index}"
        yield from _named(frame, (name, f"{name}_raw", f"{name}_on_black"), shape, displayed.over(WHITE))


def _decoded(container: Container, side: int) -> tuple[dict[int, _Frame], _Shape]:
    """Return the frames to look at, by number; of a JPEG its shorter side has `side` pixels at least."""
    with _opened(container) as image:
        shape = _Shape.of(image, container, side)
        kept: Kept[_Frame] = Kept(always=shape.start + 1)
        for index in _drawn(image, container):
            frame = shape.frame(image)
            if container.frames > 1:
                kept.offer(index, frame, frame.over(WHITE), frame.over(BLACK))
            else:
                kept.frames[index] = frame
    return kept.frames, shape


def _is_sharp_graphic(raster: Raster) -> bool:
    """Say whether a draft shows type or the like, whose edges the reference samples finer than the draft.

    A photograph may have as many hard edges; there they matter less, among all the rest.
    """
    bend = np.abs(np.diff(raster.pixels[::2, :, 1].astype(np.int16), n=2, axis=1))
    return float((bend > _HARD).mean()) > _HARD_SHARE and diversity.is_low(raster, raster.whole)


def displayed_size(container: Container) -> tuple[int, int]:
    """Return (width, height) in pixels as a viewer shows the picture, once it was looked at."""
    if _TURNS[orientation(container.exif)][2]:
        return container.height, container.width
    return container.width, container.height


def _named(
    frame: _Frame, names: tuple[str, str, str], shape: _Shape, known: Pixels | None = None
) -> Iterator[tuple[str, Raster]]:
    """Yield a frame over white, raw and over black under these names, unless it looks like one before."""
    seen = [] if known is None else [known]
    ways = (frame.over(WHITE), frame.rgb, frame.over(BLACK)) if frame.alpha is not None else (frame.rgb,)
    for name, pixels in zip(names, ways, strict=False):
        if not any(np.array_equal(pixels, other) for other in seen):
            seen.append(pixels)
            yield name, shape.raster(pixels)


# ── decoders ───────────────────────────────────────────────────────────────────────────────────────────────


def _opened(container: Container) -> Image.Image:
    """Let the format's own decoder read the header, and tell the container how the picture is turned."""
    file = BytesIO(container.body)
    if container.format is Format.HEIC:
        if not heic.READ:
            raise ContentRejected(RejectReason.UNSUPPORTED_FORMAT)
        image = heic.opened(file)
        container.width, container.height, container.exif = *image.size, b""  # it turns the picture itself
    else:
        if container.format is Format.AVIF and not AvifImagePlugin.SUPPORTED:
            raise ContentRejected(RejectReason.UNSUPPORTED_FORMAT)
        image = Image.open(file, formats=(_PLUGINS[container.format],))
    if container.format is Format.AVIF:  # which has properties of its own for it; Pillow tells them as EXIF
        container.exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
    return image


def _drawn(image: Image.Image, container: Container) -> Iterator[int]:
    """Decode frame after frame and yield the number of each; stop where the file is cut off or broken.

    Decoders go forward only: a step back starts again from the first frame, and APNG's then fails.
    """
    _load(image, container)
    yield 0
    for index in range(1, container.frames):
        try:
            image.seek(index)
            image.load()
        except EOFError:
            return
        except (MemoryError, Image.DecompressionBombError):
            raise
        except Exception:  # noqa: BLE001 - decoders raise anything; the frames before are there
            container.complete = False
            return
        yield index


def _load(image: Image.Image, container: Container) -> None:
    """Decode what there is of a picture. Raises as the decoder does if that is nothing."""
    try:
        image.load()
    except (MemoryError, Image.DecompressionBombError):
        raise
    except Exception:
        if isinstance(image, ImageFile.ImageFile):
            image.tile = []  # there is no more to come: what was drawn so far is the picture
        if _is_blank(image):
            raise
        container.complete = False
    else:
        if container.format is Format.JPEG and not container.complete and _is_blank(image):
            raise OSError("the picture is truncated before its first pixels")


def _is_blank(image: Image.Image) -> bool:
    """Say whether a picture, perhaps without a canvas, is of one colour."""
    try:
        bands = np.atleast_2d(np.asarray(image.getextrema()))
    except Exception:  # noqa: BLE001 - a decoder that failed fails again
        return True
    return bool((bands[:, 0] == bands[:, 1]).all())


# ── frames ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Frame:
    rgb: Pixels = field(repr=False)
    alpha: Alpha | None = field(repr=False)

    def over(self, ground: int) -> Pixels:
        return over(self.rgb, self.alpha, ground)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """How the decoder's pixels lie in the picture."""

    width: int  # pixels as displayed
    height: int
    reduction: int  # pixels a side that one pixel of a draft stands for: 1, 2, 4 or 8
    turn: tuple[bool, bool, bool]
    depth: int
    start: int  # the frame that is displayed first

    @classmethod
    def of(cls, image: Image.Image, container: Container, side: int) -> _Shape:
        """Measure, and have JPEGs decoded at a fraction of their size."""
        turn = _TURNS[orientation(container.exif)]
        width, height = image.size
        reduction = 1
        if container.format is Format.JPEG:
            wanted = _reduction(width, height, turn, side)
            image.draft(None, (width // wanted, height // wanted))
            reduction = round(width / image.width)
        if turn[2]:
            width, height = height, width
        # an APNG's first picture may be for viewers that know no animation; browsers then start at the next
        start = int(container.frames > 1 and bool(getattr(image, "default_image", False)))
        return cls(
            width=width, height=height, reduction=reduction, turn=turn, depth=container.depth, start=start
        )

    def raster(self, pixels: Pixels) -> Raster:
        return Raster(pixels=pixels, width=self.width, height=self.height, reduction=self.reduction)

    def frame(self, image: Image.Image) -> _Frame:
        """Return one decoded frame upright: colours, and alpha where any pixel is not opaque."""
        mirror, flip, transpose = self.turn
        if max(image.size) > _MOST_SIDE and self.reduction == 1:
            rgb, alpha = channels(_sampled(image, mirror=mirror, flip=flip), self.depth)
        else:
            rgb, alpha = channels(image, self.depth)
            if mirror or flip:
                rows, columns = slice(None, None, -1 if flip else 1), slice(None, None, -1 if mirror else 1)
                rgb = rgb[rows, columns]
                alpha = alpha[rows, columns] if alpha is not None else None
        if transpose:
            rgb = rgb.transpose(1, 0, 2)
            alpha = alpha.T if alpha is not None else None
        return _Frame(rgb=np.ascontiguousarray(rgb), alpha=alpha)


def _reduction(width: int, height: int, turn: tuple[bool, bool, bool], side: int) -> int:
    """Return the fraction to decode at. A mirrored side is one of whole blocks, for its last comes first."""
    mirror, flip, _ = turn
    for reduction in (8, 4, 2):
        whole = not (mirror and width % reduction) and not (flip and height % reduction)
        if whole and min(width, height) >= reduction * side:
            return reduction
    return 1


def _sampled(image: Image.Image, *, mirror: bool, flip: bool) -> Image.Image:
    """Take `_MOST_SIDE` single pixels of each longer side, mirrored and flipped but not yet transposed."""
    width, height = (min(side, _MOST_SIDE) for side in image.size)
    step_x, offset_x = _sampling(image.width, width, backwards=mirror)
    step_y, offset_y = _sampling(image.height, height, backwards=flip)
    return image.transform(
        (width, height),
        Image.Transform.AFFINE,
        (step_x, 0, offset_x, 0, step_y, offset_y),
        Image.Resampling.NEAREST,
    )


def _sampling(length: int, samples: int, *, backwards: bool) -> tuple[float, float]:
    """Return (step, offset) of an affine transform that takes sample i from pixel ⌊i·length/samples⌋.

    The transform evaluates step·(i + ½) + offset and takes the pixel it falls into.
    """
    step = length / samples
    if backwards:
        return -step, length + step / 2 - _NUDGE
    return step, _NUDGE - step / 2
