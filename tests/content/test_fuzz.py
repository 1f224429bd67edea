"""Thousands of broken files: each ends in a fingerprint or a named reason, and nothing is left behind."""

import os
import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from heic import READ, heic
from mutations import mutated, parts
from PIL import Image, features

from coverguard.errors import ContentRejected, RejectReason
from coverguard.imaging.sandbox import Ending, Sandbox
from coverguard.imaging.sniff import sniff
from coverguard.model import Fingerprint
from coverguard.testing.pictures import Kind, animation, draw, encode

pytestmark = pytest.mark.process

MOST_KEPT = (
    24 * 2**20
)  # bytes of a worker's memory: caches that fill once, far below one leaked picture a file


def seeds():
    """A small file of each format and kind of it; those of no format that is read stand for the rest."""
    image = draw(Kind.SCENE, 41, side=48)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    veiled = image.convert("RGBA")
    veiled.putalpha(Image.linear_gradient("L").resize((48, 48)))
    shorts = Image.fromarray((np.arange(48 * 48, dtype=np.uint16) * 20).reshape(48, 48))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
    made = {
        "jpeg": encode(image, "JPEG", exif=exif),
        "progressive": encode(image, "JPEG", progressive=True),
        "cmyk": encode(image.convert("CMYK"), "JPEG"),
        "grey_jpeg": encode(image.convert("L"), "JPEG", restart_marker_rows=1),
        "png": encode(veiled, "PNG"),
        "palette": encode(image.convert("P"), "PNG", transparency=3),
        "shorts": encode(shorts, "PNG"),
        "apng": animation([image, turned, image], "PNG"),
        "gif": encode(image, "GIF"),
        "animated_gif": animation([image, turned, image], "GIF"),
        "webp": encode(image, "WEBP"),
        "lossless_webp": encode(veiled, "WEBP", lossless=True, exact=True, exif=exif),
        "animated_webp": animation([image, turned], "WEBP"),
        "bmp": encode(image, "BMP"),
        "tiff": encode(image, "TIFF"),
    }
    if features.check("avif"):
        made["avif"] = encode(veiled, "AVIF", quality=60)
        made["animated_avif"] = animation([image, turned], "AVIF")
    if READ:
        made["heic"] = heic(image)
    return made


SEEDS = seeds()


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def fuzzed(count, seed):
    """What so many broken files came to; the seed is shown where it fails."""
    print(f"seed {seed}")
    chance, came, told = random.Random(seed), Counter(), []
    others = list(SEEDS.values())
    with Sandbox(told=told.append) as sandbox:
        for data in others:  # whole files first: everything is loaded, and all read are read
            came[ending(sandbox, data)] += 1
        assert came["fingerprint"] >= sum(sniff(data) is not None for data in others)
        before = resident("self") if sys.platform == "linux" else 0
        for _ in range(count):
            name = chance.choice(sorted(SEEDS))
            came[ending(sandbox, mutated(SEEDS[name], others, chance))] += 1
        after = resident("self") if sys.platform == "linux" else 0
    assert after - before < MOST_KEPT
    return came, told


def ending(sandbox, data):
    try:
        made = sandbox.fingerprint(data)
    except ContentRejected as error:
        return error.reason
    assert isinstance(made, Fingerprint)
    return "fingerprint"


def judge(came, told):
    assert {RejectReason.UNSUPPORTED_FORMAT, "fingerprint"} <= came.keys(), "nothing was reached"
    assert not came[RejectReason.FORBIDDEN_CALL], "decoding needs a call that the table has not"
    assert [one for one in told if one.error] == [], "a bug of ours"
    assert {one.why for one in told} <= {Ending.WORN, Ending.GROWN, Ending.CRASHED, Ending.OUT_OF_MEMORY}


@pytest.mark.thorough
def test_two_thousand_broken_files():
    judge(*fuzzed(2_000, random.SystemRandom().getrandbits(32)))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_thousand_broken_files():
    judge(*fuzzed(20_000, random.SystemRandom().getrandbits(32)))


def test_pieces_make_the_whole():
    for name, data in SEEDS.items():
        assert b"".join(parts(data)) == data, name
    assert len(parts(SEEDS["png"])) > 3
    assert len(parts(SEEDS["jpeg"])) > 5
    assert len(parts(SEEDS["animated_webp"])) > 3
    assert len(parts(SEEDS["animated_gif"])) > 3


def slope(sizes):
    """Bytes that each step adds, by least squares; steps are evenly apart."""
    steps = np.arange(len(sizes))
    return float(np.polyfit(steps, np.asarray(sizes, dtype=float), 1)[0])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked by /proc")
def test_memory_does_not_grow_over_five_thousand_covers():
    """Neither the worker's nor that of a child, which is not replaced here as it would be."""
    chance = random.Random(9)
    whole = [
        encode(draw(Kind.SCENE, seed, side=200), form)
        for seed in range(6)
        for form in ("JPEG", "PNG", "WEBP")
    ]
    broken = [mutated(data, whole, chance) for data in SEEDS.values() for _ in range(4)]
    ours, childs, pids = [], [], set()
    with Sandbox(covers=10**6) as sandbox:
        for number in range(5_000):
            ending(sandbox, chance.choice(whole if number % 5 else broken))
            if number >= 1_000 and number % 100 == 0:
                ours.append(resident("self"))
                pids |= {*sandbox.idle()}
                childs += map(resident, sandbox.idle())
    assert len(pids) == 1
    assert slope(ours) / 100 < 150, "bytes of the worker's a cover"
    assert slope(childs) / 100 < 300, "bytes of the child's a cover"
