"""The alterations themselves: many, from a seed, and pictures whatever is altered."""

from io import BytesIO

import pytest
from PIL import Image

from coverguard.testing import alterations
from coverguard.testing.pictures import Kind, draw

WITHOUT_PARAMETERS = {
    "grey", "equalised", "inverted", "inverted_grey", "jpeg_grey", "png", "png_16_bit_grey",
    "mirrored", "upside_down_mirrored", "quarter_turn_left", "half_turn", "quarter_turn_right", "transposed",
    "transversed", "orientation_tag", "orientation_tag_wrong", "hidden_by_alpha", "median",
    "png_16_bit_colour", "gif_first_frame",
}  # fmt: skip


def test_there_are_many_and_each_has_one_name():
    assert len(alterations.ALTERATIONS) >= 90
    assert len(set(alterations.ALTERATIONS)) == len(alterations.ALTERATIONS)
    assert {alterations.family(name) for name in alterations.ALTERATIONS} == set(alterations.FAMILIES)
    with pytest.raises(KeyError):
        alterations.apply("nothing", Image.new("RGB", (9, 9)), seed=1)


@pytest.mark.parametrize("name", alterations.ALTERATIONS)
def test_each_makes_a_picture_from_its_seed(name):
    image = draw(Kind.LEAVES, 2, side=120)
    before = image.tobytes()
    made = alterations.apply(name, image, seed=1)
    assert image.tobytes() == before
    assert made == alterations.apply(name, image, seed=1)
    with Image.open(BytesIO(made)) as opened:
        opened.load()
        assert min(opened.size) >= 40
    others = {alterations.apply(name, image, seed=seed) for seed in range(2, 5)}
    assert others != {made} or name in WITHOUT_PARAMETERS


@pytest.mark.parametrize("name", alterations.ALTERATIONS)
def test_each_takes_pictures_that_are_no_squares(name):
    image = draw(Kind.SCENE, 4, side=150).crop((0, 20, 150, 110))
    assert alterations.apply(name, image, seed=3)
