"""What was compared with what: two pictures, view by view, as figures and as one drawing.

For people at a terminal who ask why two files match or do not. Both are decoded in this process, without the
sandbox, since a drawing needs pixels and the sandbox gives none back. No list is read, nothing is kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from coverguard.errors import ContentRejected, RejectReason
from coverguard.imaging import decoding, sniff, views
from coverguard.imaging.limits import Limits
from coverguard.imaging.pdq import Luma
from coverguard.imaging.raster import Box, Raster
from coverguard.model import DIHEDRAL

MOST_SEEN: Final = 40
"""Views of one file that are compared."""

_SHOWN = 8  # pairs that are drawn
_LARGE, _THUMB, _MARGIN, _LINE = 360, 120, 16, 16  # pixels
_PAPER, _INK, _FAINT, _BEST = (255, 255, 255), (20, 20, 20), (140, 140, 140), (0, 140, 60)
_PENS = ((220, 30, 60), (0, 110, 220), (240, 140, 0), (130, 50, 180), (0, 150, 140), (120, 120, 0))
# how to turn a picture so that it looks as the orientation says
_TURNED: Final = {
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "flipped": Image.Transpose.FLIP_TOP_BOTTOM,
    "rotated180": Image.Transpose.ROTATE_180,
    "transposed": Image.Transpose.TRANSPOSE,
    "rotated90": Image.Transpose.ROTATE_90,
    "rotated270": Image.Transpose.ROTATE_270,
    "transversed": Image.Transpose.TRANSVERSE,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """One view, with what it was taken from."""

    name: str
    quality: int
    look: str
    raster: Raster = field(repr=False)
    box: Box
    dihedral: tuple[bytes, ...] = field(repr=False)  # PDQs in the order of DIHEDRAL


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """A view of the one picture, turned, and the view of the other that it is `distance` bits from."""

    one: Seen
    orientation: str
    other: Seen
    distance: int

    @property
    def quality(self) -> int:
        """The lower of both: what there is to see."""
        return min(self.one.quality, self.other.quality)


def seen(data: bytes, *, limits: Limits) -> tuple[Seen, ...]:
    """Return the views of a file, the picture as displayed first.

    Raises:
        ContentRejected: with the reason why there are none.
    """
    container = sniff.admit(data, limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(islice(_seen(container), MOST_SEEN))
    except ContentRejected:
        raise
    except MemoryError as error:
        raise ContentRejected(RejectReason.OUT_OF_MEMORY) from error
    except Exception as error:  # decoders raise what they like
        raise ContentRejected(RejectReason.UNREADABLE) from error


def _seen(container: sniff.Container) -> Iterator[Seen]:
    for look, raster in decoding.looks(container):
        luma = Luma(raster)
        yield _hashed(look, look, raster, raster.whole, luma)
        for name, other, box in views.regions(raster):
            yield _hashed(f"{look}/{name}", look, other, box, luma if other is raster else Luma(other))


def _hashed(name: str, look: str, raster: Raster, box: Box, luma: Luma) -> Seen:
    made = luma.hash(box)
    return Seen(name=name, look=look, quality=made.quality, raster=raster, box=box, dihedral=made.dihedral)


def pairs(ones: Sequence[Seen], others: Sequence[Seen]) -> tuple[Pair, ...]:
    """Compare each view of one picture with each of the other, in the orientation that is nearest.

    The nearest pair comes first; of equally near ones that with most to see.
    """
    found = [_nearest(one, other) for one in ones for other in others]
    return tuple(sorted(found, key=lambda pair: (pair.distance, -pair.quality)))


def _nearest(one: Seen, other: Seen) -> Pair:
    distances = [_bits(turned, other.dihedral[0]) for turned in one.dihedral]
    distance = min(distances)
    orientation = DIHEDRAL[distances.index(distance)]
    return Pair(one=one, orientation=orientation, other=other, distance=distance)


def _bits(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


# ── drawing ────────────────────────────────────────────────────────────────────────────────────────────────


def drawing(compared: Sequence[Pair], *, titles: tuple[str, str]) -> bytes:
    """Return a PNG: both pictures with the places that were looked at, then the nearest pairs of views."""
    ones = _distinct([pair.one for pair in compared])
    others = _distinct([pair.other for pair in compared])
    shown = compared[:_SHOWN]
    top = _MARGIN + 2 * _LINE
    start = top + _LARGE + 2 * _MARGIN
    size = (2 * _LARGE + 3 * _MARGIN, start + len(shown) * (_THUMB + _MARGIN) + _MARGIN)
    paper = Image.new("RGB", size, _PAPER)
    for side, (title, all_seen) in enumerate(zip(titles, (ones, others), strict=True)):
        left = _MARGIN + side * (_LARGE + _MARGIN)
        _write(paper, (left, _MARGIN), title[-48:])
        paper.paste(_with_boxes(all_seen), (left, top))
    for row, pair in enumerate(shown):
        _draw_pair(paper, start + row * (_THUMB + _MARGIN), pair, best=row == 0)
    buffer = BytesIO()
    paper.save(buffer, "PNG")
    return buffer.getvalue()


def _distinct(all_seen: Sequence[Seen]) -> list[Seen]:
    """Return each view once, the displayed picture's first."""
    by_name = {one.name: one for one in all_seen}
    return sorted(by_name.values(), key=lambda one: (one.name != "displayed", one.name))


def _with_boxes(all_seen: Sequence[Seen]) -> Image.Image:
    """Draw the displayed picture and where in it views were taken; what was turned has no place in it."""
    whole = all_seen[0]
    image = _fitted(_pixels(whole), _LARGE)
    pen = ImageDraw.Draw(image)
    across, down = image.width / whole.raster.width, image.height / whole.raster.height
    parts = [one for one in all_seen[1:] if one.raster is whole.raster]
    for index, one in enumerate(parts):
        colour = _PENS[index % len(_PENS)]
        left, top = one.box.left * across, one.box.top * down
        right, bottom = one.box.right * across - 1, one.box.bottom * down - 1
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=2)
        label = one.name.removeprefix(f"{one.look}/")
        pen.text((left + 4, top + 2 + index % 4 * _LINE), label, fill=colour, font=_font(), stroke_width=1,
                 stroke_fill=_PAPER)  # fmt: skip
    return image


def _draw_pair(paper: Image.Image, top: int, pair: Pair, *, best: bool) -> None:
    turn = _TURNED.get(pair.orientation)
    one = _pixels(pair.one)
    thumbs = (one.transpose(turn) if turn is not None else one, _pixels(pair.other))
    for place, thumb in enumerate(thumbs):
        paper.paste(_fitted(thumb, _THUMB), (_MARGIN + place * (_THUMB + _MARGIN), top))
    left = 2 * (_THUMB + _MARGIN) + _MARGIN
    lines = (
        f"{pair.distance} of 256 bits apart" + (": the nearest" if best else ""),
        f"left: {pair.one.name}, {pair.orientation}, quality {pair.one.quality}",
        f"right: {pair.other.name}, quality {pair.other.quality}",
    )
    for number, line in enumerate(lines):
        ink = (_BEST if best else _INK) if number == 0 else _FAINT
        _write(paper, (left, top + 8 + number * (_LINE + 6)), line, ink=ink)
    if best:
        box = (_MARGIN - 5, top - 5, paper.width - _MARGIN + 4, top + _THUMB + 4)
        ImageDraw.Draw(paper).rectangle(box, outline=_BEST, width=3)


def _pixels(one: Seen) -> Image.Image:
    """Return what the view shows, in the picture's own proportions, which a raster need not have."""
    height, width = one.raster.pixels.shape[:2]
    across, down = width / one.raster.width, height / one.raster.height
    left, top = round(one.box.left * across), round(one.box.top * down)
    right, bottom = round(one.box.right * across), round(one.box.bottom * down)
    part = one.raster.pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
    scale = min(across, down)
    size = (max(1, round(one.box.width * scale)), max(1, round(one.box.height * scale)))
    return Image.fromarray(np.ascontiguousarray(part)).resize(size)


def _fitted(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _write(paper: Image.Image, at: tuple[int, int], text: str, *, ink: tuple[int, int, int] = _INK) -> None:
    ImageDraw.Draw(paper).text(at, text, fill=ink, font=_font())


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=13)
