"""What the platform's own copy shows beyond the original is a view of its own."""

import pytest
from PIL import Image, ImageOps

from coverguard.imaging import fingerprint
from coverguard.imaging.renditions import with_rendition
from coverguard.testing.pictures import Kind, draw, encode


@pytest.fixture(scope="module")
def picture():
    return draw(Kind.SCENE, 61, side=600)


@pytest.fixture(scope="module")
def original(picture):
    return fingerprint(encode(picture, "JPEG", quality=90))


def test_a_copy_that_is_only_smaller_adds_nothing(picture, original):
    copy = fingerprint(encode(picture.resize((300, 300), Image.Resampling.LANCZOS), "JPEG", quality=80))
    assert with_rendition(original, copy) is original


def test_a_copy_that_shows_something_else_is_a_view(picture, original):
    cut = picture.crop((100, 50, 420, 370))
    copy = fingerprint(encode(ImageOps.expand(cut, 40, "white"), "PNG"))
    joined = with_rendition(original, copy)
    added = joined.views[len(original.views) :]
    assert joined.views[: len(original.views)] == original.views
    assert added[0].name == "rendition"
    assert added[0].signals == copy.views[0].signals
    assert all(view.name.startswith("rendition/") for view in added[1:])
    assert fingerprint(encode(cut, "PNG")).views[0].signals["pdq"] in {v.signals["pdq"] for v in added}
    assert (joined.digests, joined.width, joined.format) == (original.digests, 600, "jpeg")
