"""`coverguard fingerprint FILE --explain OTHER`: what was compared, as a table and as a drawing.

Reads the two files and no list, and writes one new file. The drawing shows the pictures, so only the user
who asked may read it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from coverguard.cli.output import document, say, table
from coverguard.errors import BadMessage, ContentRejected
from coverguard.imaging import Limits
from coverguard.imaging.explaining import Pair, Seen, drawing, pairs, seen

_ROWS: Final = 12  # of the table


def explain_pair(files: Sequence[Path], other: Path, *, output: Path | None, as_json: bool) -> int:
    """Compare two files, print how, and draw it; return 1 where one of them has no fingerprint.

    Raises:
        BadMessage: more than one file is given, one cannot be read, or the drawing not be written.
    """
    if len(files) != 1:
        raise BadMessage("--explain OTHER compares one FILE with OTHER: give one file")
    (file,) = files
    ones, others = _views(file), _views(other)
    if isinstance(ones, str) or isinstance(others, str):
        for path, made in ((file, ones), (other, others)):
            if isinstance(made, str):
                say(f"{path}: not screened: {made}")
        return 1
    compared = pairs(ones, others)
    drawn = output if output is not None else file.with_name(f"{file.stem}.explained.png")
    _write(drawn, drawing(compared, titles=(file.name, other.name)))
    if as_json:
        document({"file": str(file), "other": str(other), "drawing": str(drawn), "pairs": _rows(compared)})
        return 0
    say(f"{file}: {len(ones)} views; {other}: {len(others)} views; the nearest pairs:")
    table(_rows(compared[:_ROWS]), empty="nothing to compare")
    say(f"drawn to {drawn}")
    return 0


def _views(path: Path) -> tuple[Seen, ...] | str:
    try:
        return seen(path.read_bytes(), limits=Limits())
    except OSError as error:
        raise BadMessage(f"{path} cannot be read: {type(error).__name__}") from error
    except ContentRejected as error:
        return error.reason.value


def _rows(compared: Sequence[Pair]) -> list[dict[str, Any]]:
    return [
        {
            "distance": pair.distance,
            "view": pair.one.name,
            "orientation": pair.orientation,
            "quality": pair.one.quality,
            "other view": pair.other.name,
            "other quality": pair.other.quality,
        }
        for pair in compared
    ]


def _write(path: Path, data: bytes) -> None:
    """Write a new file that only this user may read; nothing is written over."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise BadMessage(f"{path} is there already: name another with --output") from error
    except OSError as error:
        raise BadMessage(f"{path} cannot be written: {type(error).__name__}") from error
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
