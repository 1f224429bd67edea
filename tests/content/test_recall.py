"""Known pictures in altered files: never found less often than by plain pdqhash, and found where it is blind.

A sample of what `bench/recall.py` measures, on parameters of its own. No threshold here is the bench's.
"""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageEnhance

from coverguard.imaging import fingerprint
from coverguard.model import Fingerprint, View
from coverguard.testing import alterations, recall
from coverguard.testing.pictures import Kind, draw, encode

SEED = 4_711
BLIND = (
    "border_black", "border_white", "border_colour", "border_thick", "border_unequal", "border_noisy",
    "border_two_colours", "letterbox_wide", "letterbox_tall", "blurred_padding_wide", "text_above",
    "phone_dark", "phone_light", "phone_gallery", "desktop", "mirrored", "half_turn", "quarter_turn_left",
    "collage_2x2", "side_by_side", "in_picture_large", "tilted_on_black",
    "tilted_whole", "gif_later_frame", "apng_later_frame", "mirror_border_jpeg",
)  # fmt: skip
SEEN = (
    "jpeg_low", "webp", "gif", "png_palette", "halved", "squeezed", "brighter", "contrast_up", "gamma_dark",
    "grey", "blurred", "noisy", "watermark", "caption_low", "logo", "crop_slight", "jpeg_cmyk",
    "perspective_slight", "tilted_slightly", "orientation_tag_wrong", "hidden_by_alpha", "disc",
)  # fmt: skip


@pytest.fixture(scope="module")
def pictures():
    drawn = [
        (kind, draw(kind, SEED + index, side=420))
        for index, kind in enumerate((Kind.SCENE, Kind.LEAVES, Kind.LEAVES))
    ]
    return [recall.known(kind, image) for kind, image in drawn]


def shares(pictures, name):
    outcomes = [
        recall.outcome(one, alterations.apply(name, one.image, seed=SEED + number))
        for number, one in enumerate(pictures)
    ]
    return tuple(np.mean([getattr(one, tier) for one in outcomes]) for tier in ("plain", "enforce", "review"))


@pytest.mark.parametrize("name", BLIND)
def test_what_plain_hashing_is_blind_for_is_found(pictures, name):
    plain, enforce, review = shares(pictures, name)
    assert plain == 0
    assert enforce >= 0.6
    assert review >= enforce


@pytest.mark.parametrize("name", SEEN)
def test_what_plain_hashing_finds_is_found(pictures, name):
    plain, enforce, review = shares(pictures, name)
    assert review >= plain
    assert review >= enforce


@pytest.fixture(scope="module")
def of_all_kinds():
    return [one for one in (recall.known(*pair) for pair in recall.drawn(3, seed=SEED)) if one]


@pytest.mark.long
@pytest.mark.parametrize("name", alterations.ALTERATIONS)
def test_no_alteration_is_found_less_often_than_by_plain_hashing(name, of_all_kinds):
    plain, _, review = shares(of_all_kinds, name)
    assert review >= plain


def test_negatives_go_to_a_person(pictures):
    plain, enforce, review = shares(pictures, "inverted")
    assert (plain, enforce, review) == (0, 0, 1)


def test_what_is_only_darker_goes_to_a_person_at_less_quality():
    """A graphic keeps its bits when it pales, and not its quality; a list of our own looks nevertheless."""
    (one,) = filter(None, (recall.known("shapes", draw(Kind.SHAPES, seed, side=420)) for seed in [SEED]))
    pale = encode(ImageEnhance.Contrast(one.image).enhance(0.35), "PNG")
    assert 15 <= fingerprint(pale).views[0].quality < 50
    told = recall.outcome(one, pale)
    assert (told.plain, told.enforce, told.review) == (True, False, True)


def test_pictures_with_too_little_to_see_are_not_measured():
    assert recall.known("gradient", draw(Kind.GRADIENT, 1)) is None


# ── pictures that are not the same ─────────────────────────────────────────────────────────────────────────


def small(numbers):
    return [
        fingerprint(
            encode(draw(recall.PHOTO_LIKE[number % 2], 10**6 + number, side=96), "PNG", compress_level=1),
            digests={},
        )
        for number in numbers
    ]


def test_photographs_are_not_taken_for_one_another():
    false = recall.look_up(recall.listed(small(range(40))), small(range(40, 80)))
    assert (false.pairs, false.enforce, false.review) == (1_600, 0, 0)


@pytest.mark.long
def test_a_million_pairs_of_photographs_have_no_false_one():
    false = recall.look_up(recall.listed(small(range(1_000))), small(range(1_000, 2_000)))
    assert false.pairs >= 900_000
    assert false.enforce == 0


def test_what_is_the_same_is_counted():
    one = small([1])
    false = recall.look_up(recall.listed(one), one)
    assert (false.pairs, false.enforce, false.review) == (1, 1, 1)


def test_nothing_is_looked_up_below_the_gate():
    plain = Fingerprint(
        digests={}, views=(View(name="displayed", quality=14, signals={"pdq": bytes(32)}),), format="png",
        width=1, height=1,
    )  # fmt: skip
    assert recall.look_up(recall.listed(small([2])), [plain]).queries == 0


# ── figures ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("found", "tried", "low", "high"),
    [
        (0, 0, 0, 1),
        (0, 10, 0, 0.2775),
        (10, 10, 0.7225, 1),
        (5, 10, 0.2366, 0.7634),
        (79, 80, 0.9325, 0.9978),
    ],
)
def test_wilson(found, tried, low, high):
    """Against values from the literature's formula, to four places."""
    assert recall.wilson(found, tried) == pytest.approx((low, high), abs=2e-4)


def test_none_found_is_not_zero():
    assert recall.at_most(0, 10**6) == pytest.approx(3e-6)
    assert recall.at_most(2, 100) > 0.02
    assert not math.isnan(recall.at_most(100, 100))


def test_the_bench_runs_on_a_folder(tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(encode(draw(Kind.SCENE, 60 + number, side=200)))
    script = Path(__file__).parents[2] / "bench" / "recall.py"
    arguments = ["--folder", str(tmp_path), "--only", "border_thick", "--seed", "5", "--json"]
    ended = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, check=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert '"border_thick": {"plain": 0.0, "enforce": 1.0, "review": 1.0}' in ended.stdout
