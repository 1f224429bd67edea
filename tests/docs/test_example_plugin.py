"""The example of a plug-in does what its page says, in this process and in a decoding child."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coverguard.hashlist import ListFormat, Malformed, parse
from coverguard.imaging import fingerprint
from coverguard.imaging.limits import Limits
from coverguard.imaging.sandbox import Sandbox
from coverguard.imaging.signal_types import faults, load
from coverguard.matching import ListedDigest, ListIndex
from coverguard.testing.pictures import Kind, draw, encode

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NAME = "luma_signal:LUMA"
PICTURE = encode(draw(Kind.SCENE, 5, side=128), "PNG")


@pytest.fixture
def types(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return load([NAME])


def test_it_keeps_what_it_promises(types):
    (luma,) = types.plugged_in
    assert list(faults(luma)) == []


def test_its_lists_are_read_and_matched(types):
    (luma,) = types.plugged_in
    shown = fingerprint(PICTURE, plugged_in=types.plugged_in)
    own = shown.views[0].signals[luma.algorithm]
    lines = ["id,algorithm,digest", f"a,{luma.algorithm},{own.hex()}", f"b,{luma.algorithm},00"]
    row, fault = parse(lines, ListFormat.CSV, algorithms=types.algorithms, valid=types.valid)
    assert isinstance(fault, Malformed)
    assert row.algorithm.hold_radius == -1
    listed = ListedDigest(entry_id=7, list_id=1, algorithm=row.algorithm, digest=row.digest)
    index = ListIndex([listed], seq=1, measures=types.measures)
    found = index.candidates(shown, radius={row.algorithm: 0})
    assert [(one.entry_id, one.view, one.distance) for one in found] == [(7, "displayed", 0)]


def test_it_has_nothing_to_say_of_a_speck(types):
    shown = fingerprint(encode(draw(Kind.SCENE, 5, side=6), "PNG"), plugged_in=types.plugged_in)
    assert all("luma-example.1" not in view.signals for view in shown.views)


@pytest.mark.process
def test_a_decoding_child_has_it_too(types, tmp_path):
    """As it would be installed: somewhere that the interpreter looks, whatever it is told not to."""
    start = tmp_path / "launch.py"
    source = Path(sys.modules["coverguard.imaging.sandbox.launch"].__file__).read_text("utf-8")
    here = Path(sys.modules["coverguard.imaging.sandbox.launch"].__file__)
    start.write_text(
        source.replace("Path(__file__)", f"Path({str(here)!r})").replace(
            "    adopt(PACKAGE)\n", f"    adopt(PACKAGE)\n    sys.path.insert(0, {str(EXAMPLES)!r})\n"
        ),
        encoding="utf-8",
    )
    program = (sys.executable, "-I", "-B", str(start))
    with Sandbox(Limits(), plugins=[NAME], signals=types.sizes, program=program) as sandbox:
        shown = sandbox.fingerprint(PICTURE)
    assert shown.views == fingerprint(PICTURE, plugged_in=types.plugged_in).views
