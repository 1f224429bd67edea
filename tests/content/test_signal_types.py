"""Signal types: ours do here what they did where they were written down; what is plugged in is checked."""

import sys
from types import SimpleNamespace

import numpy as np
import pdqhash
import pytest

from coverguard.algorithms import BUILT_IN, Algorithm, Algorithms
from coverguard.errors import ConfigurationError
from coverguard.imaging import fingerprint
from coverguard.imaging.raster import Raster
from coverguard.imaging.signal_types import MOST, Golden, SignalType, SignalTypes, faults, load, painted
from coverguard.testing.pictures import Kind, draw, encode

OURS = SignalTypes()


class Corner:
    """The colour of the upper left pixel: a hash that can be wrong in every way that a test wants."""

    def __init__(self, name="corner.1", **changed):
        self.algorithm = Algorithm(name, size=3, perceptual=True, hold_radius=5, max_radius=700)
        self.golden = (Golden(seed=1, digest=bytes(painted(1).pixels[0, 0])),)
        vars(self).update(changed)

    def extract(self, raster, box):
        return raster.pixels[0, 0].tobytes() if min(raster.pixels.shape[:2]) > 1 else None

    def validate(self, digest):
        return len(digest) == 3

    def distances(self, digest, listed):
        return np.abs(listed.astype(np.int64) - np.frombuffer(digest, np.uint8)).sum(axis=1)


@pytest.fixture
def module(monkeypatch):
    made = SimpleNamespace(ONE=Corner(), TWO=Corner("corner.2"), OURS=Corner("pdq"), NOT=object())
    monkeypatch.setitem(sys.modules, "plugged_module", made)
    return made


# ── ours ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", list(OURS))
def test_ours_keep_their_golden_vectors(name):
    assert isinstance(OURS[name], SignalType)
    assert list(faults(OURS[name])) == []


def test_the_golden_vectors_of_pdq_are_the_references():
    for golden in OURS["pdq"].golden:
        bits, quality = pdqhash.compute(painted(golden.seed).pixels)
        assert np.packbits(bits.astype(np.uint8)).tobytes() == golden.digest
        assert quality == 100


def test_painted_pictures_are_the_same_everywhere():
    assert painted(1).pixels.sum() == 44486911
    assert painted(9).pixels.shape == (300, 400, 3)
    assert not np.array_equal(painted(1).pixels, painted(2).pixels)


def test_bits_are_counted():
    (apart,) = OURS["pdq"].distances(bytes(32), np.full((1, 32), 3, np.uint8))
    assert apart == 64


def test_every_algorithm_of_ours_is_known_by_its_name():
    known = Algorithms()
    assert [known[one.value] for one in BUILT_IN] == list(BUILT_IN)
    assert {one.value: one.hold_radius for one in BUILT_IN} == {
        "pdq": 31, "phash256": -1, "sha256": 0, "sha1": 0, "md5": 0,
    }  # fmt: skip
    with pytest.raises(KeyError):
        known["pdq.2"]


@pytest.mark.parametrize("name", ["", "PDQ", "a b", "x" * 33, ".a", "é"])
def test_names_are_short_and_plain(name):
    with pytest.raises(ValueError):
        Algorithm(name, size=1)


def test_a_match_cannot_hold_farther_than_it_can_match():
    with pytest.raises(ValueError):
        Algorithm("x", size=1, perceptual=True, hold_radius=5, max_radius=4)


# ── plugged in ─────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_plugged_in_stands_beside_ours(module):
    types = load(["plugged_module:ONE", "plugged_module:TWO"])
    assert list(types) == ["pdq", "phash256", "corner.1", "corner.2"]
    assert types.sizes == {"pdq": 32, "phash256": 32, "corner.1": 3, "corner.2": 3}
    assert types.algorithms["corner.1"].hold_radius == 5
    assert set(types.measures) == {"corner.1", "corner.2"}
    assert types.valid(types.algorithms["corner.1"], bytes(3))
    assert not types.valid(types.algorithms["corner.1"], bytes(4))
    assert types.valid(Algorithm.MD5, b"whatever")


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["plugged_module"], "module:attribute"),
        (["no_such_module:ONE"], "cannot be imported here: ModuleNotFoundError"),
        (["plugged_module:NONE"], "cannot be imported here: AttributeError"),
        (["plugged_module:NOT"], "no signal type"),
        (["plugged_module:OURS"], "a name of its own"),
        (["plugged_module:ONE", "plugged_module:ONE"], "one name"),
        (["plugged_module:ONE"] * (MOST + 1), "at most 8"),
    ],
)
def test_what_cannot_be_plugged_in_is_named(module, names, why):
    with pytest.raises(ConfigurationError, match="signal_plugins: ") as caught:
        load(names)
    assert why in str(caught.value)


def test_every_view_has_what_a_plug_in_says_of_it():
    shown = fingerprint(encode(draw(Kind.SCENE, 1, side=96), "PNG"), plugged_in=[Corner()], for_lists=True)
    assert len(shown.parts) == 12
    for view in (*shown.views, *shown.parts):
        assert len(view.signals["corner.1"]) == 3


def test_a_plug_in_may_have_nothing_to_say():
    silent = Corner(extract=lambda _raster, _box: None)
    shown = fingerprint(encode(draw(Kind.SCENE, 1, side=96), "PNG"), plugged_in=[silent])
    assert all("corner.1" not in view.signals for view in shown.views)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"golden": ()}, "no golden vectors"),
        ({"golden": (Golden(seed=1, digest=b"\0\0\0"),)}, "from its golden vector, at most 0"),
        ({"extract": lambda _raster, _box: None}, "a digest has 3 bytes"),
        ({"extract": lambda _raster, _box: bytes(4)}, "a digest has 3 bytes"),
        ({"validate": lambda _digest: False}, "does not take its own digest"),
        ({"distances": lambda _digest, listed: np.ones(len(listed), np.int64)}, "a digest is 1 from itself"),
    ],
)
def test_what_breaks_its_promise_is_told(changed, said):
    assert any(said in fault for fault in faults(Corner(**changed)))
    assert list(faults(Corner())) == []


def test_a_golden_vector_may_be_near():
    off = bytes(min(255, value + 1) for value in painted(1).pixels[0, 0])
    assert list(faults(Corner(golden=(Golden(seed=1, digest=off, within=3),)))) == []
    assert isinstance(painted(1), Raster)
