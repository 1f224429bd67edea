"""Our PDQ against the reference: bit for bit from whole pixels, within few bits from a draft."""

import io
import itertools
from functools import cache

import numpy as np
import pdqhash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from coverguard.imaging import decoding, fingerprint, sniff
from coverguard.imaging.limits import Limits
from coverguard.imaging.pdq import SQUASHED, Luma, hash_box
from coverguard.imaging.raster import Box, Raster
from coverguard.model import DIHEDRAL
from coverguard.testing.pictures import Kind, draw, encode

SEEN_AS = {
    "upright": lambda pixels: pixels,
    "mirrored": lambda pixels: pixels[:, ::-1],
    "flipped": lambda pixels: pixels[::-1],
    "rotated180": lambda pixels: pixels[::-1, ::-1],
    "transposed": lambda pixels: pixels.transpose(1, 0, 2),
    "rotated90": lambda pixels: np.rot90(pixels, 1),  # counter-clockwise
    "rotated270": lambda pixels: np.rot90(pixels, 3),
    "transversed": lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
}
INFORMATIVE = [kind for kind in Kind if kind is not Kind.GRADIENT]


def apart(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def reference(pixels):
    """PDQ and quality as the C++ reference has them: single pixels of a larger picture, then its library."""
    height, width = pixels.shape[:2]
    if max(height, width) > SQUASHED:
        rows, columns = np.arange(SQUASHED) * height // SQUASHED, np.arange(SQUASHED) * width // SQUASHED
        pixels = pixels[rows[:, None], columns]
    vector, quality = pdqhash.compute(np.ascontiguousarray(pixels))
    return np.packbits(vector.astype(np.uint8)).tobytes(), quality


def raster(pixels):
    return Raster(pixels=pixels, width=pixels.shape[1], height=pixels.shape[0])


def whole(pixels):
    return hash_box(raster(pixels), raster(pixels).whole)


@cache
def pixels_of(kind, seed, width, height):
    return np.asarray(draw(kind, seed, side=max(width, height)))[:height, :width]


SIZES = [(640, 640), (512, 512), (300, 300), (200, 333), (1000, 700), (900, 400), (64, 64), (40, 90)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("kind", INFORMATIVE)
def test_whole_pixels_give_the_reference_in_all_orientations(kind, width, height):
    pixels = pixels_of(kind, 3, width, height)
    hashed = whole(pixels)
    assert (hashed.pdq, hashed.quality) == reference(pixels)
    for name, digest in zip(DIHEDRAL, hashed.dihedral, strict=True):
        assert digest == reference(SEEN_AS[name](pixels))[0], name


def test_where_nothing_is_to_be_seen_only_quality_counts():
    """The bits of a gradient are the noise of arithmetic; the reference's are, too."""
    pixels = pixels_of(Kind.GRADIENT, 1, 640, 640)
    hashed = whole(pixels)
    assert hashed.quality == reference(pixels)[1] == 0
    assert apart(hashed.pdq, reference(pixels)[0]) <= 8


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (4, 900), (900, 4)])
def test_less_than_five_pixels_are_not_hashed(size):
    hashed = whole(pixels_of(Kind.SCENE, 3, *size))
    assert (hashed.quality, hashed.pdq) == (0, bytes(32))
    assert hashed.dihedral == (bytes(32),) * 8


@pytest.mark.parametrize("size", [(5, 5), (5, 700), (900, 7), (63, 65), (19, 17)])
def test_the_smallest_and_thinnest_are(size):
    pixels = pixels_of(Kind.SCENE, 3, *size)
    assert apart(whole(pixels).pdq, reference(pixels)[0]) <= 2


PICTURE = pixels_of(Kind.COLLAGE, 4, 900, 620)


@given(
    left=st.integers(0, 880), top=st.integers(0, 600), width=st.integers(20, 900), height=st.integers(20, 620)
)
@settings(max_examples=60, deadline=None)
def test_a_box_is_hashed_as_if_it_were_cut_out(left, top, width, height):
    right, bottom = min(left + width, 900), min(top + height, 620)
    digest, quality = reference(PICTURE[top:bottom, left:right])
    hashed = LUMA.hash(Box(left=left, top=top, right=right, bottom=bottom))
    assert abs(hashed.quality - quality) <= 1
    assert apart(hashed.pdq, digest) <= (2 if quality >= 20 else 16)  # ties, where there is little to see


LUMA = Luma(raster(PICTURE))


@given(edges=st.lists(st.floats(-2_000, 2_000), min_size=4, max_size=4))
@settings(max_examples=100, deadline=None)
def test_any_box_has_a_hash(edges):
    hashed = LUMA.hash(Box(left=edges[0], top=edges[1], right=edges[2], bottom=edges[3]))
    assert [len(digest) for digest in hashed.dihedral] == [32] * 8
    assert 0 <= hashed.quality <= 100


def drafted(data):
    (_, found), *_ = decoding.looks(sniff.admit(data, Limits()))
    return found


DRAFTED = [(640, 640, 7), (640, 640, 8), (960, 650, 7), (701, 1023, 8), (1290, 1280, 7)]


@pytest.mark.thorough
def test_a_draft_is_near_the_reference():
    distances = []
    for kind, (width, height, seed) in itertools.product(INFORMATIVE, DRAFTED):
        image = Image.fromarray(pixels_of(kind, seed, width, height))
        data = encode(image, "JPEG", quality=85 + seed % 2 * 7, subsampling=2 * (seed % 2))
        full = np.asarray(Image.open(io.BytesIO(data)))
        draft = drafted(data)  # or, of sharp type, the whole
        box = Box(left=width * 0.12, top=height * 0.2, right=width * 0.8, bottom=height * 0.93)
        cut = full[round(box.top) : round(box.bottom), round(box.left) : round(box.right)]
        for part, place in ((full, draft.whole), (cut, box)):
            digest, quality = reference(part)
            hashed = hash_box(draft, place)
            if quality >= 80:
                distances.append(apart(hashed.pdq, digest))
            mirrored = reference(part[:, ::-1])[0]
            assert apart(hashed.dihedral[DIHEDRAL.index("mirrored")], mirrored) <= 14
    assert len(distances) > 50
    assert np.mean(distances) <= 2
    assert max(distances) <= 10


@pytest.mark.parametrize(
    ("size", "reduction"),
    [
        ((639, 2000), 1),
        ((640, 2000), 2),
        ((1279, 1280), 2),
        ((1280, 1300), 4),
        ((2560, 2570), 8),
        ((9000, 330), 1),
    ],
)
def test_how_far_a_jpeg_is_reduced(size, reduction):
    draft = drafted(encode(Image.new("RGB", size, "olive"), "JPEG"))
    assert (draft.width, draft.height, draft.reduction) == (*size, reduction)
    across, down = (min(side, 1_024) if reduction == 1 else -(-side // reduction) for side in size)
    assert draft.pixels.shape == (down, across, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_draft_of_broken_blocks_is_turned_like_the_whole(orientation):
    """1003 and 1301 are no multiples of 8: the last block of a line is not full, and mirrored comes first."""
    image = Image.fromarray(pixels_of(Kind.SCENE, 9, 1301, 1003))
    exif = image.getexif()
    exif[0x0112] = orientation
    data = encode(image, "JPEG", quality=92, exif=exif)
    full = np.asarray(Image.open(io.BytesIO(data)))
    shown = {
        1: "upright", 2: "mirrored", 3: "rotated180", 4: "flipped",
        5: "transposed", 6: "rotated270", 7: "transversed", 8: "rotated90",
    }[orientation]  # fmt: skip
    found = fingerprint(data)
    assert apart(found.views[0].signals["pdq"], reference(SEEN_AS[shown](full))[0]) <= 4


@pytest.mark.thorough
@pytest.mark.parametrize("size", [(1025, 1025), (1500, 1100), (2600, 700)])
def test_a_large_picture_of_single_pixels_is_the_reference(size):
    pixels = pixels_of(Kind.SCENE, 10, *size)
    found = fingerprint(encode(Image.fromarray(pixels), "PNG", compress_level=1)).views[0]
    assert (found.signals["pdq"], found.quality) == reference(pixels)
    for name, digest in zip(
        DIHEDRAL, found.dihedral, strict=True
    ):  # of a turned one some pixels are next to ours
        assert apart(digest, reference(SEEN_AS[name](pixels))[0]) <= 6, name
