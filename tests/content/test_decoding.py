"""What a viewer sees and what lies under it: formats, modes, orientation, transparency, animation."""

import hashlib
import struct
import warnings
from functools import cache

import numpy as np
import pytest
from PIL import Image

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
DIGEST_SIZES = {"md5": 16, "sha1": 20, "sha256": 32}


def apart(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


@pytest.fixture(scope="module")
def picture():
    return draw(Kind.SCENE, 31, side=SIDE)


@pytest.fixture(scope="module")
def reference(picture):
    return fingerprint(encode(picture, "PNG", compress_level=1)).views[0]


def filtered(rows):
    """PNG rows with filter type 0 before each."""
    return b"".join(b"\0" + bytes(row) for row in rows)


def quick(image):
    return encode(image, "PNG", compress_level=1)


def shallow(values, depth, key=None):
    """A grey PNG of 1, 2, 4 or 8 bits, one of whose shades may be transparent."""
    bits = np.unpackbits(values[:, :, None], axis=2)[:, :, -depth:].reshape(values.shape[0], -1)
    extra = b"" if key is None else png_chunk(b"tRNS", struct.pack(">H", key))
    return png_file(*values.shape[::-1], filtered(np.packbits(bits, axis=1)), depth=depth, extra=extra)


def test_digests_are_those_of_the_bytes_as_given(picture):
    data = encode(picture.resize((64, 64)), "JPEG") + b"trailing bytes"
    found = fingerprint(data).digests
    assert found == {name: hashlib.new(name, data).digest() for name in ("md5", "sha1", "sha256")}
    assert all(len(digest) == DIGEST_SIZES[name] for name, digest in found.items())


def test_nothing_prints_a_digest(picture):
    found = fingerprint(encode(picture.resize((64, 64)), "PNG"))
    secrets = [*found.digests.values(), *found.views[0].signals.values()]
    for text in (repr(found), str(found), repr(found.views[0]), f"{found.views}"):
        assert not any(secret.hex() in text or repr(secret) in text for secret in secrets)


@cache
def landscape(side):
    return draw(Kind.SCENE, 33, side=side).crop((0, 0, side, side * 2 // 3))


@pytest.mark.thorough
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("form", "side"), [("JPEG", 600), ("JPEG", 200), ("PNG", 600), ("WEBP", 200)])
def test_exif_orientation_is_applied(orientation, form, side):
    undone = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = landscape(side)
    stored = upright.transpose(undone[orientation]) if orientation in undone else upright
    options = {"compress_level": 1} if form == "PNG" else {}
    found = fingerprint(encode(stored, form, exif=with_orientation(stored, orientation), **options))
    wanted = fingerprint(encode(upright, "PNG", compress_level=1)).views[0].signals["pdq"]
    assert (found.width, found.height) == upright.size
    assert apart(found.views[0].signals["pdq"], wanted) <= 6


def test_a_lossless_turned_picture_hashes_exactly_as_the_upright_one():
    upright = draw(Kind.SCENE, 34, side=600)
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    found = fingerprint(encode(stored, "PNG", exif=with_orientation(stored, 6)))
    assert found.views == fingerprint(encode(upright, "PNG")).views


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II",
        b"XX*\0\x08\0\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",  # orientation 9
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x01\0\x06\0\0",  # orientation as text
    ],
)
def test_malformed_exif_is_no_orientation(exif, picture):
    small = picture.resize((96, 96))
    assert (
        fingerprint(encode(small, "JPEG", exif=b"Exif\0\0" + exif)).views
        == fingerprint(encode(small, "JPEG")).views
    )
    assert (
        fingerprint(encode(small, "PNG", exif=exif or b"x")).views == fingerprint(encode(small, "PNG")).views
    )


def test_a_picture_hidden_under_transparency_is_found_as_raw(picture, reference):
    views = {view.name: view for view in fingerprint(alter(picture, Alteration.HIDDEN_PNG)).views}
    assert views["raw"].signals == reference.signals
    assert views["displayed"].quality == views["on_black"].quality == 0


def test_a_picture_that_only_a_dark_page_shows_is_found_on_black(picture, reference):
    """White, opaque where the picture is bright: over black its light appears, over white nothing."""
    veil = Image.new("RGBA", picture.size, "white")
    veil.putalpha(picture.convert("L"))
    views = {view.name: view for view in fingerprint(encode(veil, "PNG")).views}
    assert list(views) == ["displayed", "on_black"]  # raw is as white as displayed
    assert apart(views["on_black"].signals["pdq"], reference.signals["pdq"]) <= 2
    assert views["displayed"].quality == 0


def test_opaque_alpha_is_no_further_view(picture):
    for data in (quick(picture.convert("RGBA")), quick(picture.convert("LA"))):
        assert [view.name for view in fingerprint(data).views] == ["displayed"]


@pytest.mark.parametrize(("depth", "key"), [(1, 1), (2, 2), (4, 9), (8, 120), (16, 120 * 257)])
def test_a_transparent_shade_of_any_depth_is_white_on_a_page(depth, key, picture):
    grey = picture.convert("L").resize((200, 200))
    if depth == 16:
        values = (np.asarray(grey).astype(">u2") * 257).tobytes()
        extra = png_chunk(b"tRNS", struct.pack(">H", key))
        rows = [values[start : start + 400] for start in range(0, len(values), 400)]
        data = png_file(200, 200, filtered(rows), depth=16, extra=extra)
    else:
        data = shallow(np.asarray(grey) >> 8 - depth, depth, key)
    shades = np.asarray(grey) >> 8 - min(depth, 8)
    shown = np.where(shades == (120 if depth == 16 else key), 255, shades * (255 // (2 ** min(depth, 8) - 1)))
    found = fingerprint(data).views
    wanted = fingerprint(encode(Image.fromarray(shown.astype(np.uint8)), "PNG")).views[0]
    assert found[0] == wanted
    assert found[-1].name == "on_black" if depth > 1 else len(found) >= 2


def test_a_transparent_rgb_colour(picture):
    pixels = np.asarray(picture.resize((200, 200))) & 0xC0
    data = encode(Image.fromarray(pixels), "PNG", transparency=tuple(int(value) for value in pixels[0, 0]))
    shown = pixels.copy()
    shown[(pixels == pixels[0, 0]).all(axis=2)] = 255
    assert fingerprint(data).views[0] == fingerprint(encode(Image.fromarray(shown), "PNG")).views[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (4, 4), (5, 5), (63, 65)])
@pytest.mark.parametrize("form", ["PNG", "GIF", "JPEG", "WEBP"])
def test_tiny_and_thin_pictures_have_a_fingerprint(size, form):
    found = fingerprint(encode(Image.new("RGB", size, "olive"), form))
    assert (found.width, found.height) == size
    assert found.views[0].quality == 0
    assert [len(digest) for digest in found.views[0].signals.values()] == [32, 32]


def test_passengers_of_a_picture_change_no_signal(picture):
    small = picture.resize((128, 128))
    plain = fingerprint(encode(small, "JPEG")).views
    loaded = encode(small, "JPEG", comment=b"words", icc_profile=bytes(70_000), xmp=b"<x/>", dpi=(72, 72))
    assert fingerprint(loaded + b"PK\x03\x04 and more").views == plain


def test_padding_between_jpeg_segments_is_skipped(picture):
    data = encode(picture.resize((96, 96)), "JPEG")
    table = data.index(b"\xff\xdb")
    padded = data[:table] + b"\0junk\xff\xff\xff" + data[table:]
    assert fingerprint(padded).views == fingerprint(data).views


def test_decoders_warnings_are_silenced_and_filters_left_as_they_were(picture):
    before = list(warnings.filters)
    lying = animation([picture.resize((64, 64)), picture.rotate(90).resize((64, 64))], "PNG")
    at = lying.index(b"acTL")
    control = png_chunk(b"acTL", struct.pack(">II", 0, 0))  # no frames: Pillow warns
    assert fingerprint(lying[: at - 4] + control + lying[at + 16 :]).views
    assert list(warnings.filters) == before
