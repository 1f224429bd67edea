"""The alterations themselves: many, from a seed, and pictures whatever is altered."""

from functools import cache
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


@cache
def picture():
    return draw(Kind.LEAVES, 2, side=120)


@pytest.mark.parametrize("name", alterations.ALTERATIONS)
def test_each_makes_a_picture_from_its_seed(name):
    image = picture()
    before = image.tobytes()
    made = alterations.apply(name, image, seed=1)
    assert image.tobytes() == before
    assert made == alterations.apply(name, image, seed=1)
    with Image.open(BytesIO(made)) as opened:
        opened.load()
        assert min(opened.size) >= 40


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(set(alterations.ALTERATIONS) - WITHOUT_PARAMETERS))
def test_another_seed_has_other_parameters(name):
    assert alterations.apply(name, picture(), seed=2) != alterations.apply(name, picture(), seed=3)


@pytest.mark.thorough
@pytest.mark.parametrize("name", alterations.ALTERATIONS)
def test_each_takes_pictures_that_are_no_squares(name):
    for box in ((0, 20, 120, 90), (30, 0, 90, 120)):
        assert alterations.apply(name, picture().crop(box), seed=3)
