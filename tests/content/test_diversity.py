"""Graphics that look alike to a hash are told from what is like a photograph, whatever was done to them."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from coverguard.imaging.diversity import is_low
from coverguard.imaging.raster import Box, Raster
from coverguard.testing.pictures import Kind, draw

LOW = (Kind.GRADIENT, Kind.TYPOGRAPHY, Kind.SHAPES)
NOT_LOW = (Kind.SCENE, Kind.COLLAGE, Kind.LEAVES, Kind.FACADE)
SEEDS = range(40, 60)


def raster(image, *, width=None, height=None):
    pixels = np.asarray(image.convert("RGB"))
    return Raster(pixels=pixels, width=width or pixels.shape[1], height=height or pixels.shape[0])


def low(image):
    shown = raster(image)
    return is_low(shown, shown.whole)


def jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def flag(seed):
    image = Image.new("RGB", (512, 340))
    pen = ImageDraw.Draw(image)
    for stripe in range(3):
        colour = ((seed * 71 + stripe * 90) % 256, (seed * 37) % 256, (stripe * 120 + seed) % 256)
        pen.rectangle((0, 340 * stripe // 3, 512, 340 * (stripe + 1) // 3), fill=colour)
    return image


def letter(seed):
    image = Image.new("RGB", (512, 512), (240, 240, 240))
    ImageDraw.Draw(image).text(
        (100, 0), chr(65 + seed % 26), font=ImageFont.load_default(size=420), fill=(20, 20, 120)
    )
    return image


def page(seed):
    image = Image.new("RGB", (512, 512), (255, 255, 255))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=28)
    for line in range(14):
        words = "".join(chr(97 + (seed * 7 + line * 13 + place * place) % 26) for place in range(26))
        pen.text((16, 8 + 35 * line), words, font=font, fill=(0, 0, 0))
    return image


@pytest.mark.parametrize("side", [300, 512, 1000])
@pytest.mark.parametrize("kind", LOW)
def test_graphics_are_low(kind, side):
    assert sum(low(draw(kind, seed, side=side)) for seed in SEEDS) >= 19


@pytest.mark.parametrize("made", [flag, letter, page])
def test_flags_letters_and_pages_of_text_are_low(made):
    assert all(low(made(seed)) for seed in SEEDS)


@pytest.mark.parametrize("side", [64, 128, 300, 512, 1000])
@pytest.mark.parametrize("kind", NOT_LOW)
def test_what_is_like_a_photograph_is_not_low(kind, side):
    some = SEEDS if side < 1000 else SEEDS[:4]  # which take long to draw
    assert not any(low(draw(kind, seed, side=side)) for seed in some)


def test_one_thing_on_a_plain_ground_is_like_a_photograph():
    assert sum(low(draw(Kind.OBJECT, seed, side=512)) for seed in SEEDS) <= 4


@pytest.mark.parametrize("quality", [92, 70, 50])
def test_what_jpeg_adds_is_no_texture(quality):
    graphics = [draw(kind, seed, side=512) for kind in LOW for seed in SEEDS[:8]]
    assert sum(low(jpeg(image, quality)) for image in graphics) >= len(graphics) - 1
    photographs = [draw(kind, seed, side=512) for kind in NOT_LOW for seed in SEEDS[:8]]
    assert not any(low(jpeg(image, quality)) for image in photographs)


def test_a_little_blur_takes_no_photograph_away():
    blur = ImageFilter.GaussianBlur(2)
    for kind in NOT_LOW:
        assert not any(low(draw(kind, seed, side=512).filter(blur)) for seed in SEEDS[:8])


def test_only_the_box_counts():
    """A scene framed by a wide plain border: the whole is mostly flat, what is left without it is a scene."""
    framed = Image.new("RGB", (1024, 1024), (255, 255, 255))
    framed.paste(draw(Kind.SCENE, 3, side=256), (600, 100))
    shown = raster(framed)
    assert is_low(shown, shown.whole)
    assert not is_low(shown, Box(left=600, top=100, right=856, bottom=356))
    assert is_low(shown, Box(left=0, top=400, right=500, bottom=900))


def test_a_reduced_raster_is_read_at_its_own_pixels():
    for kind, expected in ((Kind.SCENE, False), (Kind.SHAPES, True)):
        shown = raster(draw(kind, 5, side=512), width=4096, height=4096)
        assert is_low(shown, shown.whole) is expected


@pytest.mark.parametrize("turn", list(Image.Transpose))
def test_turning_changes_nothing(turn):
    for kind in (*LOW, *NOT_LOW):
        image = draw(kind, 6, side=384)
        assert low(image) == low(image.transpose(turn))


PIXELS = st.tuples(st.integers(1, 70), st.integers(1, 70)).flatmap(
    lambda shape: arrays.arrays(np.uint8, (*shape, 3), elements=st.integers(0, 255))
)


@settings(max_examples=60)
@given(PIXELS, st.integers(1, 9))
def test_any_picture_has_an_answer(pixels, scale):
    shown = Raster(pixels=pixels, width=pixels.shape[1] * scale, height=pixels.shape[0] * scale)
    assert is_low(shown, shown.whole) in (True, False)
    corner = Box(left=0, top=0, right=max(1, shown.width // 3), bottom=max(1, shown.height // 3))
    assert is_low(shown, corner) in (True, False)


@given(st.integers(0, 255), st.integers(1, 300), st.integers(1, 300))
def test_a_flat_picture_is_low(shade, height, width):
    shown = Raster(pixels=np.full((height, width, 3), shade, np.uint8), width=width, height=height)
    assert is_low(shown, shown.whole)


def test_noise_is_not_low():
    noise = np.random.default_rng(7).integers(0, 256, (300, 300, 3), np.uint8)
    assert not is_low(Raster(pixels=noise, width=300, height=300), Box(left=0, top=0, right=300, bottom=300))
