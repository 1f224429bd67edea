"""Regions: within the picture, few, the same each time; and where pictures really are in other pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from coverguard.imaging import views
from coverguard.imaging.pdq import hash_box
from coverguard.imaging.raster import Raster
from coverguard.imaging.views import MOST
from coverguard.testing.pictures import Kind, chance, draw, encode
from coverguard.testing.recall import PHOTO_LIKE

NEAR = 31


def raster(image):
    pixels = np.asarray(image.convert("RGB"))
    return Raster(pixels=pixels, width=pixels.shape[1], height=pixels.shape[0])


def found(image):
    return list(views.regions(raster(image)))


def apart(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def nearest(image, known):
    """Bits from the nearest region to the whole of a known picture, and its name."""
    whole = raster(known)
    target = hash_box(whole, whole.whole).pdq
    hashed = [(hash_box(one, box), name) for name, one, box in found(image)]
    return min(((apart(made.pdq, target), name) for made, name in hashed), default=(256, ""))


def padded(image, sides, ground):
    left, top, right, bottom = sides
    made = Image.new("RGB", (image.width + left + right, image.height + top + bottom), ground)
    made.paste(image, (left, top))
    return made


def scene(seed, side=300):
    return draw(Kind.SCENE, seed, side=side)


GROUNDS = st.tuples(*[st.integers(0, 255)] * 3)
SIDES = st.tuples(*[st.integers(0, 90)] * 4)


# ── for any raster ─────────────────────────────────────────────────────────────────────────────────────────


def noise(width, height, seed):
    return Image.fromarray(
        (chance(seed, 1, width * height * 3) >> 24).astype(np.uint8).reshape(height, width, 3)
    )


def stripes(width, height, seed):
    """Return hard-edged bands both ways: as many seams as there is room for."""
    x, y = np.arange(width) // (1 + seed % 40), np.arange(height) // (1 + seed // 40 % 40)
    pixels = ((x[np.newaxis, :] * 89 + y[:, np.newaxis] * 57) % 256).astype(np.uint8)
    return Image.fromarray(np.repeat(pixels[:, :, np.newaxis], 3, axis=2))


def noise_on_plain(width, height, seed):
    made = Image.new("RGB", (width, height), (seed % 256, 40, 90))
    made.paste(noise(max(1, width // 2), max(1, height // 2), seed), (width // 4, height // 4))
    return made.rotate(seed % 15 - 7, fillcolor=(seed % 256, 40, 90))


@given(
    st.integers(1, 400), st.integers(1, 400), st.integers(0, 10**6),
    st.sampled_from((noise, stripes, noise_on_plain)), st.integers(1, 4),
)  # fmt: skip
def test_regions_lie_within_are_few_and_the_same_each_time(width, height, seed, paint, reduction):
    pixels = np.asarray(paint(width, height, seed))
    one = Raster(pixels=pixels, width=width * reduction, height=height * reduction, reduction=reduction)
    regions = list(views.regions(one))
    assert len(regions) <= MOST
    assert len({name for name, _, _ in regions}) == len(regions)
    for _, other, box in regions:
        assert (other.width, other.height) == (one.width, one.height)
        assert 0 <= box.left < box.right <= one.width
        assert 0 <= box.top < box.bottom <= one.height
    again = list(views.regions(one))
    assert [(name, box) for name, _, box in again] == [(name, box) for name, _, box in regions]


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (2, 2), (47, 47), (5, 900)])
def test_the_smallest_have_none_but_by_shape(size):
    assert found(noise(*size, 3)) == []


@pytest.mark.parametrize("side", [60, 300, 700])
def test_plain_pictures_have_none(side):
    for ground in ("black", "white", "#8040c0"):
        assert found(Image.new("RGB", (side, side), ground)) == []
    assert len(found(draw(Kind.GRADIENT, 4, side=side))) <= 1


@pytest.mark.parametrize("kind", PHOTO_LIKE)
def test_photographs_hardly_have_any(kind):
    counts = [len(found(draw(kind, 900 + seed, side=360))) for seed in range(8)]
    assert np.mean(counts) <= 1


def test_poor_jpegs_hardly_have_more(tmp_path):
    counts = []
    for seed in range(6):
        path = tmp_path / "poor.jpg"
        path.write_bytes(encode(scene(950 + seed, 360), "JPEG", quality=16))
        with Image.open(path) as image:
            counts.append(len(found(image)))
    assert np.mean(counts) <= 1


# ── frames ─────────────────────────────────────────────────────────────────────────────────────────────────


@given(SIDES.filter(lambda sides: max(sides) >= 8), GROUNDS, st.integers(0, 5))
def test_borders_of_any_colour_and_width_are_trimmed(sides, ground, seed):
    image = scene(seed)
    outermost = np.concatenate(
        [np.asarray(image)[[0, -1]].reshape(-1, 3), np.asarray(image)[:, [0, -1]].reshape(-1, 3)]
    )
    if np.abs(outermost.astype(int) - ground).sum(axis=1).mean() < 60:
        return  # the border is like the picture's edge: nobody could tell
    framed = padded(image, sides, ground)
    distance, _ = nearest(framed, image)
    assert distance <= NEAR


def test_a_border_is_found_to_the_pixel():
    ((name, _, box),) = [
        one for one in found(padded(scene(1), (31, 17, 64, 40), "white")) if one[0] == "trimmed"
    ]
    assert (name, box.left, box.top, box.right, box.bottom) == ("trimmed", 31, 17, 331, 317)


def test_grain_shades_and_two_colours_are_borders_too():
    image = scene(2)
    framed = padded(image, (40, 40, 40, 40), (90, 90, 90))
    grain = np.random.default_rng(5).normal(0, 10, (380, 380, 1))
    grained = Image.fromarray((np.asarray(framed) + grain).clip(0, 255).astype(np.uint8))
    shade = np.linspace(0, 220, 380)[:, np.newaxis, np.newaxis] + np.zeros((380, 380, 3))
    shaded = Image.fromarray(shade.astype(np.uint8))
    shaded.paste(image, (40, 40))
    two = padded(padded(image, (30, 0, 30, 0), "navy"), (0, 40, 0, 40), "orange")
    for made in (grained, shaded, two):
        assert nearest(made, image)[0] <= NEAR


def test_a_border_within_a_border():
    image = scene(3)
    framed = padded(padded(image, (6, 6, 6, 6), "white"), (40, 40, 40, 40), "black")
    assert nearest(framed, image)[0] <= NEAR


def test_letters_beside_it_do_not_hide_a_picture():
    image = scene(4)
    for above in (True, False):
        bar = Image.new("RGB", (300, 90), "white")
        ImageDraw.Draw(bar).text((12, 20), "when the ferry is late", fill="black", font_size=24)
        made = Image.new("RGB", (300, 390))
        made.paste(bar, (0, 0 if above else 300))
        made.paste(image, (0, 90 if above else 0))
        assert nearest(made, image)[0] <= NEAR


def test_blurred_padding():
    image = scene(5)
    ground = image.resize((520, 520)).crop((0, 110, 520, 410)).filter(ImageFilter.GaussianBlur(14))
    ground.paste(image, (110, 0))
    assert nearest(ground, image)[0] <= NEAR


# ── other pictures beside and behind ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ground", ["black", "#f4f4f4"])
def test_a_card_on_a_screen(ground):
    image = scene(6, 420)
    made = Image.new("RGB", (500, 1040), ground)
    made.paste(image, (40, 170))
    pen = ImageDraw.Draw(made)
    pen.text((40, 640), "Slow harbour at noon", fill="grey", font_size=34)
    pen.ellipse((210, 800, 290, 880), fill="grey")
    assert nearest(made, image)[0] <= NEAR


def test_a_picture_on_a_picture():
    """Nearly always: where the one goes on as the other, there is no side to see."""
    distances = []
    for seed in range(4):
        image = scene(seed, 250)
        for left, top in ((20, 60), (75, 75), (101, 33), (140, 0), (64, 130)):
            made = draw(Kind.LEAVES, 70 + seed, side=400)
            made.paste(image, (left, top))
            distances.append(nearest(made, image)[0])
    assert np.mean(np.array(distances) <= NEAR) >= 0.8


@pytest.mark.parametrize(
    ("across", "down", "gap"), [(2, 1, 0), (1, 2, 0), (2, 2, 0), (2, 2, 12), (3, 3, 0), (3, 2, 9)]
)
def test_every_picture_of_a_collage(across, down, gap):
    tiles = [scene(20 + number, 200) for number in range(across * down)]
    made = Image.new("RGB", (across * (200 + gap) + gap, down * (200 + gap) + gap), "white")
    for number, tile in enumerate(tiles):
        made.paste(tile, (gap + number % across * (200 + gap), gap + number // across * (200 + gap)))
    distances = [nearest(made, tile)[0] for tile in tiles]
    assert np.mean(np.array(distances) <= NEAR) >= 0.75


def test_the_middle_of_what_is_wide_and_the_halves_of_what_is_two():
    wide = scene(8, 600).crop((0, 100, 600, 400))
    names = [name for name, _, _ in found(wide)]
    assert names == ["centre", "left", "right"]
    tall = scene(8, 600).crop((100, 0, 400, 600))
    assert [name for name, _, _ in found(tall)] == ["centre", "top", "bottom"]
    square = wide.crop((150, 0, 450, 300))
    assert nearest(wide, square) == (0, "centre")


# ── turned by a little ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("degrees", [1.3, -2.0, 3.7, -6.5, 9.5])
@pytest.mark.parametrize("ground", ["black", "white"])
@pytest.mark.parametrize("expand", [False, True])
def test_a_tilted_picture_is_turned_upright(degrees, ground, expand):
    image = draw(Kind.LEAVES, 11, side=360)
    tilted = image.rotate(degrees, Image.Resampling.BICUBIC, expand=expand, fillcolor=ground)
    distance, name = nearest(tilted, image)
    assert distance <= NEAR
    assert name == ("levelled_trimmed" if expand else "levelled")
