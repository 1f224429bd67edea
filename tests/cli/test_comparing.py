"""`fingerprint FILE --explain OTHER`: the nearest pair of views first, in words and as a drawing."""

import json
import stat
from io import BytesIO

import pytest
from PIL import Image

from coverguard.cli import main
from coverguard.imaging import Limits, explaining
from coverguard.model import DIHEDRAL
from coverguard.testing.alterations import frames
from coverguard.testing.alterations.dice import BLACK, Dice
from coverguard.testing.pictures import Kind, draw, encode


def files(folder):
    """One picture, and the same mirrored in a black frame."""
    image = draw(Kind.LEAVES, 5, side=300)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    known, framed = folder / "known.png", folder / "framed.png"
    known.write_bytes(encode(image))
    framed.write_bytes(encode(frames.border(0.1, 0.2, BLACK)(mirrored, Dice(1, "frame"))))
    return framed, known


def test_the_nearest_pair_says_which_views_and_how_they_are_turned(tmp_path, capsys):
    framed, known = files(tmp_path)
    assert main(["fingerprint", str(framed), "--explain", str(known)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["distance", "view", "orientation"]
    assert lines[2].split()[1:3] == ["displayed/trimmed", "mirrored"]
    assert lines[-1] == f"drawn to {tmp_path / 'framed.explained.png'}"


def test_the_drawing_is_a_new_picture_for_this_user_alone(tmp_path, capsys):
    framed, known = files(tmp_path)
    drawn = tmp_path / "why.png"
    arguments = ["fingerprint", str(framed), "--explain", str(known), "--output", str(drawn)]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["drawing"] == str(drawn)
    assert [pair["distance"] for pair in told["pairs"]] == sorted(pair["distance"] for pair in told["pairs"])
    assert stat.S_IMODE(drawn.stat().st_mode) == 0o600
    with Image.open(drawn) as image:
        assert image.format == "PNG"
        assert image.width > 700
        assert len(image.getcolors(10**6)) > 1_000
    assert main(arguments) == 2
    assert "is there already" in capsys.readouterr().err


def test_what_cannot_be_compared_says_why(tmp_path, capsys):
    framed, known = files(tmp_path)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert main(["fingerprint", str(framed), "--explain", str(broken)]) == 1
    assert "broken.png: not screened: unsupported_format" in capsys.readouterr().out
    assert main(["fingerprint", str(framed), str(known), "--explain", str(known)]) == 2
    assert "give one file" in capsys.readouterr().err
    assert main(["fingerprint", str(framed), "--output", "x.png"]) == 2
    assert main(["fingerprint", str(framed), "--explain", str(tmp_path / "nowhere")]) == 2
    nowhere = str(tmp_path / "nowhere" / "drawn.png")
    assert main(["fingerprint", str(framed), "--explain", str(known), "--output", nowhere]) == 2
    assert not list(tmp_path.glob("*.explained.png"))


@pytest.mark.parametrize("orientation", DIHEDRAL)
def test_pictures_are_drawn_as_they_were_compared(orientation):
    image = draw(Kind.LEAVES, 6, side=200)
    turn = {**explaining._TURNED, "upright": None}[orientation]
    ones = explaining.seen(encode(image), limits=Limits())
    others = explaining.seen(encode(image if turn is None else image.transpose(turn)), limits=Limits())
    first = explaining.pairs(ones[:1], others[:1])[0]
    assert (first.orientation, first.distance) == (orientation, 0)


def test_animations_are_drawn_too():
    shown = [draw(Kind.SCENE, 1, side=150), draw(Kind.LEAVES, 2, side=150)]
    gif = encode(shown[0], "GIF", save_all=True, append_images=shown[1:], duration=90)
    ones = explaining.seen(gif, limits=Limits())
    others = explaining.seen(encode(shown[1]), limits=Limits())
    compared = explaining.pairs(ones, others)
    assert compared[0].one.name == "frame_1"
    drawn = explaining.drawing(compared, titles=("moving.gif", "still.png"))
    with Image.open(BytesIO(drawn)) as image:
        image.load()
