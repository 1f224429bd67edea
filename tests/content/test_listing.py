"""Crops for our own lists: where they lie, when there are any, and that they are no views of an upload."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageOps

from coverguard.imaging import fingerprint
from coverguard.imaging.listing import PREFIX, views_for_lists
from coverguard.imaging.raster import Box, Raster
from coverguard.testing.pictures import Kind, draw, encode


def blank(width, height, *, of=1):
    return Raster(pixels=np.zeros((height, width, 3), np.uint8), width=width * of, height=height * of)


@given(st.integers(64, 300), st.integers(64, 300), st.integers(1, 8))
def test_crops_lie_within_and_have_their_size(width, height, of):
    raster = blank(width, height, of=of)
    found = dict(views_for_lists(raster))
    assert len(found) == 12
    for name, box in found.items():
        assert name.startswith(PREFIX)
        assert len(name) <= 32, "as the ledger stores it"
        share = int(name[-2:]) / 100
        assert (box.width, box.height) == pytest.approx((share * raster.width, share * raster.height))
        assert -1e-6 <= box.left <= box.right <= raster.width + 1e-6
        assert -1e-6 <= box.top <= box.bottom <= raster.height + 1e-6
    assert len({(box.left, box.top, box.width) for box in found.values()}) == 12


def test_corners_are_where_they_say():
    found = dict(views_for_lists(blank(100, 200)))
    assert found["list/top_left_80"] == Box(left=0, top=0, right=80, bottom=160)
    assert found["list/bottom_right_90"] == Box(left=10, top=20, right=100, bottom=200)
    assert found["list/top_right_90"] == Box(left=10, top=0, right=100, bottom=180)
    assert found["list/centre_80"] == Box(left=10, top=20, right=90, bottom=180)


def test_crops_are_of_what_is_left_without_a_border():
    inside = Box(left=50, top=50, right=150, bottom=150)
    for _, box in views_for_lists(blank(200, 200), within=inside):
        assert inside.left <= box.left
        assert box.right <= inside.right


@pytest.mark.parametrize(("width", "height"), [(63, 500), (500, 63), (1, 1)])
def test_a_small_picture_has_none(width, height):
    assert list(views_for_lists(blank(width, height))) == []


def crops(kind, **options):
    return fingerprint(encode(draw(kind, 3, side=256), "PNG"), **options).parts


def test_a_photograph_has_crops_where_they_are_asked_for():
    assert crops(Kind.SCENE) == ()
    found = crops(Kind.SCENE, for_lists=True)
    assert len(found) == 12
    assert len({view.signals["pdq"] for view in found}) == 12


def test_a_graphic_has_none():
    assert crops(Kind.SHAPES, for_lists=True) == ()


def test_crops_are_no_views():
    shown = fingerprint(encode(draw(Kind.SCENE, 3, side=256), "PNG"), for_lists=True)
    assert not any(view.name.startswith(PREFIX) for view in shown.views)


def test_a_crop_hashes_as_what_was_cut_out():
    image = draw(Kind.SCENE, 3, side=500)
    shown = fingerprint(encode(image, "PNG"), for_lists=True)
    cut = fingerprint(encode(image.crop((0, 0, 400, 400)), "PNG"))
    (crop,) = [view for view in shown.parts if view.name == "list/top_left_80"]
    assert crop.signals["pdq"] == cut.views[0].signals["pdq"]


def test_a_border_is_no_part_of_the_crops():
    """The same crops, with and without a frame around the picture, but for a pixel that the edge may cost."""
    image = draw(Kind.LEAVES, 4, side=400)
    plain = fingerprint(encode(image, "PNG"), for_lists=True)
    framed = fingerprint(encode(ImageOps.expand(image, 60, (0, 0, 0)), "PNG"), for_lists=True)
    for one, other in zip(plain.parts, framed.parts, strict=True):
        ours, theirs = (int.from_bytes(view.signals["pdq"]) for view in (one, other))
        assert (ours ^ theirs).bit_count() <= 31, one.name
