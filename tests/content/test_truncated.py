"""A picture that is cut off or broken is looked at as far as browsers show it, and marked."""

import threading
import zlib

import numpy as np
import pytest
from PIL import ImageFile

from coverguard.errors import ContentRejected, RejectReason
from coverguard.imaging import fingerprint
from coverguard.testing.pictures import Kind, animation, draw, encode, png_chunk, png_file


def apart(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


@pytest.fixture(scope="module")
def picture():
    return draw(Kind.SCENE, 51, side=320)


@pytest.fixture(scope="module")
def pdq(picture):
    return fingerprint(encode(picture, "PNG")).views[0].signals["pdq"]


def displayed(data):
    found = fingerprint(data)
    return found, found.views[0].signals["pdq"]


def why(data):
    with pytest.raises(ContentRejected) as caught:
        fingerprint(data)
    return caught.value.reason


FILES = {
    "jpeg": ("JPEG", {"quality": 90}),
    "progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "png": ("PNG", {}),
    "gif": ("GIF", {"interlace": 0}),
    "interlaced_gif": ("GIF", {}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_picture_without_its_last_bytes_is_still_that_picture(name, picture, pdq):
    form, options = FILES[name]
    data = encode(picture, form, **options)
    found, digest = displayed(data[: len(data) * 98 // 100])
    assert found.truncated
    assert (found.width, found.height) == picture.size
    assert apart(digest, pdq) <= 31


def test_of_a_progressive_jpeg_the_first_scans_do(picture, pdq):
    data = encode(picture, "JPEG", quality=90, progressive=True)
    found, digest = displayed(data[: len(data) // 2])
    assert found.truncated
    assert apart(digest, pdq) <= 31


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF"])
def test_the_upper_half_is_looked_at_where_it_lies(form, picture):
    """As pixels: what was drawn is that of the whole picture, and below it there is one colour."""
    data = encode(picture, form, **({"interlace": 0} if form == "GIF" else {}))
    found, _ = displayed(data[: len(data) // 2])
    assert found.truncated
    assert found.views[0].quality >= 50


def test_a_whole_file_is_not_truncated(picture):
    for form, options in FILES.values():
        assert not fingerprint(encode(picture, form, **options)).truncated


def test_a_missing_end_mark_is_said_though_nothing_is_missing(picture):
    data = encode(picture, "JPEG", quality=90)
    found = fingerprint(data[:-2])
    assert found.truncated
    assert found.views == fingerprint(data).views


def test_a_broken_stream_is_looked_at_up_to_the_fault(picture):
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(picture))
    packed = bytearray(zlib.compress(rows, 0))  # stored blocks: each has its length twice
    fault = packed.index(b"\xff\xff\x00\x00", len(packed) // 2)
    packed[fault : fault + 4] = b"\x12\x34\x56\x78"
    whole = png_file(*picture.size, rows, colour=2)
    start = whole.index(b"IDAT") - 4
    data = whole[:start] + png_chunk(b"IDAT", bytes(packed)) + png_chunk(b"IEND")
    found = fingerprint(data)
    assert found.truncated
    assert found.views[0].quality >= 50


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP"])
def test_where_nothing_was_drawn_nothing_was_seen(form, picture):
    data = encode(picture, form)
    assert why(data[: 30 if form != "JPEG" else data.index(b"\xff\xda")]) is RejectReason.TRUNCATED


def test_an_animated_webp_is_looked_at_up_to_its_last_whole_frame(picture, pdq):
    data = animation([picture, *(draw(Kind.SCENE, seed, side=320) for seed in (52, 53))], "WEBP", quality=90)
    found, digest = displayed(data[: len(data) - 40])
    assert found.truncated
    assert apart(digest, pdq) <= 10
    assert [view.name for view in found.views if "/" not in view.name] == ["displayed", "frame_1"]


def test_a_lone_webp_needs_its_end(picture):
    """Browsers draw what there is; the decoder here does not, so nobody says that it was screened."""
    assert why(encode(picture, "WEBP")[:-40]) is RejectReason.TRUNCATED


def test_leniency_is_not_global(picture):
    """Threads that decode at the same time see no switch of one another's."""
    data = encode(picture, "PNG")
    seen = set()
    done = threading.Event()

    def watch():
        while not done.is_set():
            seen.add(ImageFile.LOAD_TRUNCATED_IMAGES)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for end in range(len(data) // 2, len(data), len(data) // 20):
        fingerprint(data[:end])
    done.set()
    watcher.join()
    assert seen == {False}
