"""PDQ, its bit order, pHash and the eight orientations."""

import itertools
import json
from functools import cache

import imagehash
import numpy as np
import pdqhash
import pytest
from golden_fingerprints import GOLDEN, PICTURES, measure
from PIL import Image

from coverguard.imaging import fingerprint
from coverguard.model import DIHEDRAL, turned
from coverguard.testing.pictures import Alteration, Kind, alter, draw, encode, titles

# in the order of compute_dihedral; its flips are about the x axis, the y axis, and the two diagonals
REFERENCE = (
    "upright",
    "rotated90",
    "rotated180",
    "rotated270",
    "flipped",
    "mirrored",
    "transposed",
    "transversed",
)
SEEN_AS = {
    "upright": None,
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "flipped": Image.Transpose.FLIP_TOP_BOTTOM,
    "rotated180": Image.Transpose.ROTATE_180,
    "transposed": Image.Transpose.TRANSPOSE,
    "rotated90": Image.Transpose.ROTATE_90,
    "rotated270": Image.Transpose.ROTATE_270,
    "transversed": Image.Transpose.TRANSVERSE,
}


def apart(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def packed(vector):
    return np.packbits(vector.astype(np.uint8)).tobytes()


@cache
def scene(seed, side=640):
    return draw(Kind.SCENE, seed, side=side)


@cache
def view_of_scene(seed, side=640):
    return first_view(scene(seed, side))


def first_view(image):
    return fingerprint(encode(image, "PNG", compress_level=1)).views[0]


@pytest.mark.parametrize("name", PICTURES)
def test_golden(name):
    assert measure(name) == json.loads(GOLDEN.read_text())[name]


def test_golden_names_are_all_there():
    assert set(json.loads(GOLDEN.read_text())) == set(PICTURES)


def test_pdq_bytes_are_the_reference_hexadecimal():
    """Against PDQ's definition: word r holds row r, bit c of it column c, and word 15 is printed first."""
    luma = np.asarray(draw(Kind.SCENE, 5, side=64).convert("L"))
    k, n = np.arange(1, 17)[:, None], np.arange(64)[None, :]
    basis = np.cos(np.pi * k * (2 * n + 1) / 128)
    coefficients = basis @ luma.astype(float) @ basis.T
    above = coefficients > np.sort(coefficients, axis=None)[127]
    words = [sum(int(above[r, c]) << c for c in range(16)) for r in range(16)]
    expected = "".join(f"{word:04x}" for word in reversed(words))
    assert first_view(Image.fromarray(luma)).signals["pdq"].hex() == expected


def test_turned_is_near_the_reference():
    """Bits do not tell how far the median is from zero, so the bound holds for most pictures, not for all."""
    distances = {name: [] for name in DIHEDRAL}
    for kind, seed in itertools.product((Kind.SCENE, Kind.COLLAGE, Kind.TYPOGRAPHY), range(8)):
        exact, quality = pdqhash.compute_dihedral(np.asarray(draw(kind, seed, side=300)))
        assert quality >= 50
        computed = dict(zip(DIHEDRAL, turned(packed(exact[0])), strict=True))
        for name, it in zip(REFERENCE, exact, strict=True):
            distances[name].append(apart(computed[name], packed(it)))
    assert max(distances["upright"] + distances["transposed"]) == 0
    for of_name in distances.values():
        assert np.median(of_name) <= 10
        assert np.mean(np.array(of_name) <= 16) >= 0.85
        assert max(of_name) <= 48


@pytest.mark.parametrize("name", DIHEDRAL)
def test_turned_names_say_what_happened_to_the_picture(name):
    image = scene(3, 500)
    seen = image if SEEN_AS[name] is None else image.transpose(SEEN_AS[name])
    eight, actual = view_of_scene(3, 500).orientations(), first_view(seen).signals["pdq"]
    distances = {one: apart(pdq, actual) for one, pdq in zip(DIHEDRAL, eight, strict=True)}
    assert distances[name] == 0
    assert all(distance > 60 for other, distance in distances.items() if other != name)


def test_turned_is_a_group_action():
    pdq = view_of_scene(4).signals["pdq"]
    eight = turned(pdq)
    assert len(set(eight)) == 8
    for one in eight:
        assert set(turned(one)) == set(eight)
    assert turned(eight[DIHEDRAL.index("rotated90")])[DIHEDRAL.index("rotated270")] == pdq


def test_phash_is_packed_row_by_row():
    image = draw(Kind.SCENE, 9, side=64)  # as many pixels as it transforms: nothing is interpolated
    assert first_view(image).signals["phash256"].hex() == str(imagehash.phash(image, hash_size=16))


@pytest.mark.parametrize("side", [200, 512, 640, 1100])
@pytest.mark.parametrize("kind", [Kind.SCENE, Kind.TYPOGRAPHY, Kind.LEAVES])
def test_phash_is_near_that_of_the_full_picture(kind, side):
    image = draw(kind, 9, side=side)
    expected = np.packbits(imagehash.phash(image, hash_size=16).hash).tobytes()
    for data in (encode(image, "PNG", compress_level=1), encode(image, "JPEG", quality=92)):
        assert apart(fingerprint(data).views[0].signals["phash256"], expected) <= 8


@pytest.mark.thorough
def test_unrelated_pictures_are_far_apart_and_scenes_carry_information():
    views = [
        first_view(draw(kind, seed, side=300)) for kind in (Kind.SCENE, Kind.COLLAGE) for seed in range(12)
    ]
    assert min(view.quality for view in views) >= 80
    assert min(apart(a.signals["pdq"], b.signals["pdq"]) for a, b in itertools.combinations(views, 2)) > 60


@pytest.mark.thorough
@pytest.mark.parametrize("how", [how for how in Alteration if how is not Alteration.HIDDEN_PNG])
def test_altered_pictures_stay_within_the_radius_of_some_orientation(how):
    altered = fingerprint(alter(scene(11), how)).views[0]
    assert min(apart(altered.signals["pdq"], it) for it in view_of_scene(11).orientations()) <= 31


def test_plain_pictures_are_below_the_quality_gate():
    plain = [Image.new("RGB", (300, 300), shade) for shade in ("black", "white", "#3060a0")]
    assert [first_view(image).quality for image in [*plain, draw(Kind.GRADIENT, 3)]] == [0] * 4


def test_pictures_and_titles_come_from_the_seed():
    assert draw(Kind.SCENE, 1, side=90).tobytes() == draw(Kind.SCENE, 1, side=90).tobytes()
    assert draw(Kind.SCENE, 1, side=90).tobytes() != draw(Kind.SCENE, 2, side=90).tobytes()
    assert titles(1) == titles(1) != titles(2)
    for kind in Kind:
        assert (draw(kind, 1, side=77).size, draw(kind, 1, side=77).mode) == ((77, 77), "RGB")
