"""Any bytes end in a fingerprint or a named reason, in bounded time."""

import dataclasses
import struct
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from coverguard.errors import ContentRejected, RejectReason
from coverguard.imaging import Limits, fingerprint
from coverguard.imaging.sniff import orientation
from coverguard.model import Fingerprint
from coverguard.testing.cast import BROKEN
from coverguard.testing.pictures import (
    Kind,
    animation,
    draw,
    encode,
    hostile,
    many_frames,
    many_scans,
    png_chunk,
    png_file,
)

REASONS = {
    "empty": RejectReason.EMPTY,
    "garbage": RejectReason.UNSUPPORTED_FORMAT,
    "html": RejectReason.UNSUPPORTED_FORMAT,
    "svg": RejectReason.UNSUPPORTED_FORMAT,
    "bmp": RejectReason.UNSUPPORTED_FORMAT,
    "tiff": RejectReason.UNSUPPORTED_FORMAT,
    "pdf": RejectReason.UNSUPPORTED_FORMAT,
    "magic_only": RejectReason.TRUNCATED,
    "truncated_jpeg": None,  # what browsers show of it is looked at, and the fingerprint says so
    "truncated_png": None,
    "truncated_gif": None,
    "truncated_webp": RejectReason.TRUNCATED,  # browsers show a part; the decoder here takes whole ones only
    "broken_png": RejectReason.UNREADABLE,
    "long_side_png": RejectReason.SIDE_TOO_LONG,
    "large_area_png": RejectReason.TOO_MANY_PIXELS,
    "large_area_jpeg": RejectReason.TOO_MANY_PIXELS,
    "large_area_gif": RejectReason.TOO_MANY_PIXELS,
    "large_area_webp": RejectReason.TOO_MANY_PIXELS,
    "text_bomb": RejectReason.TOO_MUCH_TEXT,
    "inflating_text": None,  # dropped unread
    "many_scans_jpeg": RejectReason.TOO_MANY_SCANS,
    "many_frames_gif": RejectReason.TOO_MANY_FRAMES,
    "many_blocks_gif": RejectReason.UNREADABLE,
    "polyglot": None,  # the picture in it is fingerprinted
}
HOSTILE = hostile()


def reason(data, limits=None):
    """The reason for which bytes are rejected, or None for a fingerprint."""
    try:
        found = fingerprint(data, limits=limits or Limits())
    except ContentRejected as error:
        return error.reason
    assert isinstance(found, Fingerprint)
    assert found.views[0].name == "displayed"
    return None


def test_every_hostile_file_is_in_the_table():
    assert set(REASONS) == set(HOSTILE)


@pytest.mark.parametrize("name", REASONS)
def test_hostile_file_ends_in_its_reason_quickly(name):
    began = time.process_time()
    assert reason(HOSTILE[name]) == REASONS[name]
    assert time.process_time() - began < 2


def test_an_error_carries_nothing_of_the_file():
    with pytest.raises(ContentRejected) as caught:
        fingerprint(HOSTILE["html"])
    assert str(caught.value) == "content rejected: unsupported_format"


def small_files():
    image = draw(Kind.SCENE, 41, side=48)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    return {
        "jpeg": encode(
            image, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
        ),
        "progressive": encode(image, "JPEG", progressive=True),
        "png": encode(image.convert("RGBA"), "PNG"),
        "palette": encode(image.convert("P"), "PNG", transparency=3),
        "apng": animation([image, turned, image], "PNG"),
        "gif": encode(image, "GIF"),
        "animated_gif": animation([image, turned, image], "GIF"),
        "webp": encode(image, "WEBP"),
        "animated_webp": animation([image, turned], "WEBP"),
    }


SMALL = small_files()
if features.check("avif"):
    SMALL["avif"] = encode(draw(Kind.SCENE, 41, side=48).convert("RGBA"), "AVIF", speed=10)
    SMALL["animated_avif"] = animation(
        [draw(Kind.SCENE, seed, side=48) for seed in (41, 44)], "AVIF", speed=10
    )


@pytest.mark.parametrize("name", SMALL)
def test_every_allowed_format_decodes(name):
    assert reason(SMALL[name]) is None


@pytest.mark.parametrize("name", SMALL)
def test_no_cut_of_a_file_goes_unnoticed(name):
    """A file cut anywhere is rejected by name, or marked, or nothing of the picture is missing."""
    data = SMALL[name]
    whole = fingerprint(data).views
    for end in range(1, len(data), max(1, len(data) // 25)):
        why = reason(data[:end])
        assert why in {RejectReason.TRUNCATED, RejectReason.UNSUPPORTED_FORMAT, None}
        if why is None:
            found = fingerprint(data[:end])
            assert found.truncated or found.views == whole


@given(
    magic=st.sampled_from(
        [
            b"",
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"RIFF\x40\0\0\0WEBP",
            b"\0\0\0\x18ftypavif\0\0\0\0avifmif1\0\0\1\0meta",
        ]
    ),
    tail=st.binary(max_size=400),
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_end_in_a_fingerprint_or_a_reason(magic, tail):
    reason(magic + tail)


@given(exif=st.binary(max_size=60), order=st.sampled_from([b"II*\0", b"MM\0*", b""]))
@settings(max_examples=200, deadline=None)
def test_any_exif_ends_in_an_orientation(exif, order):
    assert orientation(order + exif) in range(1, 9)


EDITS = st.lists(
    st.tuples(st.sampled_from("rdic"), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=5,
)


def edited(data, edits):
    """Replace, delete, insert or cut at a place given as a fraction of the length."""
    for act, place, patch in edits:
        at = int(place * len(data))
        if act == "r":
            data = data[:at] + patch + data[at + len(patch) :]
        elif act == "d":
            data = data[:at] + data[at + len(patch) :]
        elif act == "i":
            data = data[:at] + patch + data[at:]
        else:
            data = data[: max(at, 1)]
    return data


@pytest.mark.thorough
@given(name=st.sampled_from(sorted(SMALL)), edits=EDITS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_files_end_in_a_fingerprint_or_a_reason(name, edits):
    reason(edited(SMALL[name], edits))


# ── each limit at its boundary ─────────────────────────────────────────────────────────────────────────────

PNG_8X8 = png_file(8, 8, bytes(72))
TEXT = png_file(8, 8, bytes(72), extra=png_chunk(b"tEXt", b"a\0" + b"b" * 98))
SCANS = many_scans(draw(Kind.SCENE, 42, side=64), 5)
WIDE = png_file(40, 8, bytes(41 * 8))
PLAIN_GIF = encode(Image.new("L", (8, 8)), "GIF")
COMMENTED_GIF = PLAIN_GIF[:-1] + b"!\xfe" + b"\x05hello" * 20 + b"\0;"


def boxed(kind, payload):
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def avif(*properties, deep=0):
    """An AVIF of sizes and nothing to draw."""
    held = boxed(b"ipco", b"".join(boxed(b"ispe", struct.pack(">III", 0, *size)) for size in properties))
    for _ in range(deep):
        held = boxed(b"iprp", held)
    return boxed(b"ftyp", b"avif\0\0\0\0mif1") + boxed(b"meta", bytes(4) + boxed(b"iprp", held))


def sequence(frames):
    table = boxed(b"stbl", boxed(b"stsz", struct.pack(">III", 0, 9, frames)))
    track = boxed(
        b"trak", boxed(b"mdia", boxed(b"minf", table)) + boxed(b"tkhd", bytes(76) + b"\0\x40\0\0" * 2)
    )
    return boxed(b"ftyp", b"avis\0\0\0\0avis") + boxed(b"moov", track)


def scans_of(data):
    return data.count(b"\xff\xda")


AVIF_LIMITS = (
    [
        (SMALL["avif"], "max_side", 48, RejectReason.SIDE_TOO_LONG),
        (SMALL["avif"], "max_pixels", 48 * 48, RejectReason.TOO_MANY_PIXELS),
        (SMALL["animated_avif"], "max_frames", 2, RejectReason.TOO_MANY_FRAMES),
    ]
    if "avif" in SMALL
    else []
)


@pytest.mark.parametrize(
    ("data", "field", "limit", "over"),
    [
        (PNG_8X8, "max_bytes", len(PNG_8X8), RejectReason.TOO_MANY_BYTES),
        (WIDE, "max_pixels", 320, RejectReason.TOO_MANY_PIXELS),
        (WIDE, "max_side", 40, RejectReason.SIDE_TOO_LONG),
        (many_frames(7), "max_frames", 7, RejectReason.TOO_MANY_FRAMES),
        (many_frames(7), "max_frame_pixels", 7 * 64, RejectReason.TOO_MANY_FRAMES),
        (SMALL["apng"], "max_frames", 3, RejectReason.TOO_MANY_FRAMES),
        (SMALL["animated_webp"], "max_frames", 2, RejectReason.TOO_MANY_FRAMES),
        (SMALL["animated_webp"], "max_frame_pixels", 2 * 48 * 48, RejectReason.TOO_MANY_FRAMES),
        (SCANS, "max_scans", scans_of(SCANS), RejectReason.TOO_MANY_SCANS),
        (SCANS, "max_scan_pixels", scans_of(SCANS) * 64 * 64, RejectReason.TOO_MANY_SCANS),
        (TEXT, "max_text_bytes", 100, RejectReason.TOO_MUCH_TEXT),
        (PNG_8X8, "max_blocks", 3, RejectReason.UNREADABLE),
        *AVIF_LIMITS,
    ],
)
def test_limits_are_inclusive(data, field, limit, over):
    assert reason(data, dataclasses.replace(Limits(), **{field: limit})) is None
    assert reason(data, dataclasses.replace(Limits(), **{field: limit - 1})) is over


def test_text_of_every_container_is_counted():
    comment = encode(Image.new("L", (8, 8)), "JPEG", comment=b"c" * 200)
    for data in (TEXT, comment, COMMENTED_GIF):
        assert reason(data) is None
        assert reason(data, Limits(max_text_bytes=50)) is RejectReason.TOO_MUCH_TEXT


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (avif((16_400, 8)), RejectReason.SIDE_TOO_LONG),
        (avif((64, 64), (16_000, 16_000)), RejectReason.TOO_MANY_PIXELS),  # the largest of all claims counts
        (avif((16_400, 8), deep=3), RejectReason.SIDE_TOO_LONG),
        (avif((8, 8), deep=1_000), RejectReason.UNREADABLE),  # nobody follows that far
        (avif((0, 0)), RejectReason.UNREADABLE),
        (avif((8, 8)), RejectReason.UNREADABLE),
        (avif((8, 8))[:-3], RejectReason.TRUNCATED),
        (sequence(1_001), RejectReason.TOO_MANY_FRAMES),
        (sequence(2**32 - 1), RejectReason.TOO_MANY_FRAMES),
        (boxed(b"ftyp", b"avif\0\0\0\0mif1") + struct.pack(">I4s", 3, b"meta") * 9, RejectReason.TRUNCATED),
        (boxed(b"ftyp", b"isom\0\0\0\0mp42"), RejectReason.UNSUPPORTED_FORMAT),
    ],
)
def test_what_an_avif_claims_is_measured_before_it_is_decoded(data, why):
    assert reason(data) is why


def test_one_picture_is_no_animation():
    assert reason(PNG_8X8, Limits(max_frame_pixels=1)) is None


def test_a_frame_beyond_the_screen_is_measured():
    gif = bytearray(PLAIN_GIF)
    at = gif.rindex(b"\x2c")
    gif[at + 5 : at + 9] = b"\xff\x7f\xff\x7f"  # 32767 × 32767 in a screen of 8 × 8
    assert reason(bytes(gif)) is RejectReason.SIDE_TOO_LONG


def test_scans_after_the_end_of_the_picture_are_none():
    data = encode(draw(Kind.SCENE, 43, side=64), "JPEG") + b"\xff\xda\0\x0c" * 500
    assert reason(data) is None


def test_a_limit_above_the_decoders_own_leaves_no_warning():
    """Between Pillow's warning at 89 and its error at 179 million pixels, and above it."""
    generous = Limits(max_pixels=10**9, max_side=10**6)
    assert reason(png_file(10_000, 10_000, b"\0"), generous) is RejectReason.TRUNCATED
    assert reason(png_file(16_000, 16_000, b"\0"), generous) is RejectReason.TOO_MANY_PIXELS


OUT_OF_MEMORY = """
import resource
from pathlib import Path
from coverguard.errors import ContentRejected
from coverguard.imaging import fingerprint
from coverguard.testing.pictures import png_file
fingerprint(png_file(8, 8, bytes(72)))
status = Path("/proc/self/status").read_text()
size = 1024 * int(status.split("VmSize:")[1].split()[0])
resource.setrlimit(resource.RLIMIT_AS, (size + 40_000_000, size + 40_000_000))
try:
    fingerprint(png_file(7_000, 7_000, bytes(1_000_000), depth=8, colour=6))
except ContentRejected as error:
    print(error.reason)
"""


@pytest.mark.thorough
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_memory_is_a_reason():
    run = subprocess.run([sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == RejectReason.OUT_OF_MEMORY


@pytest.mark.parametrize("name", BROKEN)
def test_what_the_demo_calls_broken_cannot_be_read(name):
    """The demo expects that such covers are withheld."""
    with pytest.raises(ContentRejected):
        fingerprint(hostile()[name])
