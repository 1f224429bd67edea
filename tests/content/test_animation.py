"""A picture shown in any frame of an animation is found, whatever the other frames are like."""

import numpy as np
import pytest
from PIL import Image, features

from coverguard.imaging import fingerprint
from coverguard.imaging.animation import MOST, Kept
from coverguard.testing.pictures import Kind, animation, draw, encode

SIDE = 240
FORMS = ["GIF", "WEBP", "PNG", *(["AVIF"] if features.check("avif") else [])]
FAST = {"AVIF": {"speed": 10}, "WEBP": {"method": 0}}


def apart(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


@pytest.fixture(scope="module")
def hidden():
    return draw(Kind.SCENE, 35, side=SIDE)


@pytest.fixture(scope="module")
def hidden_pdq(hidden):
    return fingerprint(encode(hidden, "PNG")).views[0].signals["pdq"]


def drifting(count):
    """One scene under a light that changes from frame to frame."""
    scene = draw(Kind.SCENE, 36, side=SIDE)
    return [scene.point(lambda value, index=index: value * (60 + index % 23) // 90) for index in range(count)]


def looks(data):
    """The whole views by name."""
    return {view.name: view for view in fingerprint(data).views if "/" not in view.name}


def nearest(data, pdq):
    return min((apart(view.signals["pdq"], pdq), name) for name, view in looks(data).items())


@pytest.mark.thorough
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "place", [0, 17, 49, *(pytest.param(one, marks=pytest.mark.long) for one in (1, 25, 48))]
)
def test_a_picture_in_any_of_fifty_frames_is_found(form, place, hidden, hidden_pdq):
    frames = drifting(50)
    frames[place] = hidden
    distance, name = nearest(animation(frames, form, **FAST.get(form, {})), hidden_pdq)
    if form == "WEBP":  # whose encoder makes one of frames that differ little
        assert (name == "displayed") == (place == 0)
    else:
        assert name == (f"frame_{place}" if place else "displayed")
    assert distance <= 10


def test_every_frame_of_a_short_slide_show_is_a_view():
    slides = [draw(Kind.SCENE, seed, side=96) for seed in range(MOST)]
    assert list(looks(animation(slides, "PNG"))) == ["displayed", *(f"frame_{n}" for n in range(1, MOST))]


def test_the_number_of_views_is_bounded():
    slides = [draw(Kind.SCENE, seed, side=64) for seed in range(3 * MOST)]
    assert len(looks(animation(slides, "WEBP", lossless=True))) == MOST


def test_a_small_change_is_seen_wherever_it_is(hidden):
    noted = np.asarray(hidden).copy()
    noted[150:190, 20:60] = 255 - noted[150:190, 20:60]
    assert set(looks(animation([hidden, Image.fromarray(noted)], "PNG"))) == {"displayed", "frame_1"}


def test_the_animation_and_not_its_substitute_is_displayed(hidden, hidden_pdq):
    substitute = Image.new("RGB", hidden.size, "teal")
    later = draw(Kind.SCENE, 37, side=SIDE)
    views = looks(animation([substitute, hidden, later], "PNG", default_image=True))
    assert list(views) == ["displayed", "frame_0", "frame_2"]
    assert views["displayed"].signals["pdq"] == hidden_pdq


def test_equal_frames_are_one_view(hidden):
    assert list(looks(animation([hidden, hidden.copy(), hidden.copy()], "GIF"))) == ["displayed"]


def test_frames_that_draw_over_each_other_are_seen_as_shown(hidden, hidden_pdq):
    """The lower half comes first and stays; the second frame brings the upper half only."""
    lower, upper = hidden.convert("RGBA"), hidden.convert("RGBA")
    lower.paste((0, 0, 0, 0), (0, 0, SIDE, SIDE // 2))
    upper.paste((0, 0, 0, 0), (0, SIDE // 2, SIDE, SIDE))
    for form, options in (("PNG", {"disposal": 0, "blend": 1}), ("GIF", {"disposal": 1})):
        assert nearest(animation([lower, upper], form, **options), hidden_pdq)[0] <= 10


def test_what_lies_under_a_transparent_frame_is_looked_at(hidden, hidden_pdq):
    veiled = hidden.convert("RGBA")
    veiled.putalpha(0)
    frames = [Image.new("RGBA", hidden.size, "teal"), veiled]
    views = looks(animation(frames, "PNG", disposal=1, blend=0))
    assert list(views) == ["displayed", "frame_1", "frame_1_raw", "frame_1_on_black"]
    assert views["frame_1_raw"].signals["pdq"] == hidden_pdq


def test_frames_before_a_broken_one_are_looked_at(hidden, hidden_pdq):
    data = animation([Image.new("RGB", hidden.size, "teal"), hidden, *drifting(3)], "GIF")
    found = fingerprint(data[: len(data) * 3 // 4])
    assert found.truncated
    assert min(apart(view.signals["pdq"], hidden_pdq) for view in found.views) <= 10


def flat(level):
    return np.full((8, 8, 3), level, np.uint8)


def test_those_that_differ_most_are_kept():
    kept = Kept(always=1)
    for index in range(200):
        level = 250 if index == 77 else index // 4  # 49 shades of dark, and once bright
        kept.offer(index, str(index), flat(level))
    assert len(kept.frames) <= MOST
    assert kept.frames[0] == "0"
    assert kept.frames[77] == "77"
    assert list(kept.frames) == sorted(kept.frames)


def test_the_first_stay_even_if_alike():
    kept = Kept(always=2)
    for index, level in enumerate([9, 9, *range(20, 20 + 7 * 3 * MOST, 7)]):
        kept.offer(index, index, flat(level % 256))
    assert list(kept.frames)[:2] == [0, 1]
    assert len(kept.frames) == MOST
