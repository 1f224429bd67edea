"""Numbered lines of a stream, each within its limit before anything looks at it.

Invariants: never more than the limit of a line is held; blank lines are passed over and counted; a byte
position is the one behind its line, so that a reader who stops there can go on there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

BLANK: Final = " \t\r\n"
TOO_LONG: Final = "the line is too long"
NOT_UTF8: Final = "the line is not UTF-8"
NUL: Final = "the line has a NUL character"

Line = tuple[int, int, bytes, str, str]
"""Number from 1, byte behind it, its (first) bytes, its text without the end, and its fault or nothing."""


def read_lines(
    source: IO[bytes] | Iterable[str], limit: int, *, line: int = 0, byte: int = 0
) -> Iterator[Line]:
    """Yield the lines that are not blank of a binary stream, or of an iterable of text lines.

    `line` and `byte` say where the stream stands.
    """
    pieces = _bounded(source, limit) if hasattr(source, "readline") else ((piece, 0) for piece in source)
    for piece, beyond in pieces:
        line += 1
        try:
            raw = piece if isinstance(piece, bytes) else piece.encode()
            text = raw.decode()
        except UnicodeError:
            raw = piece if isinstance(piece, bytes) else piece.encode(errors="replace")
            byte += len(raw) + beyond
            yield line, byte, raw[:limit], "", TOO_LONG if beyond or len(raw) > limit else NOT_UTF8
            continue
        byte += len(raw) + beyond
        if beyond or len(raw) > limit:
            yield line, byte, raw[:limit], "", TOO_LONG
        elif "\0" in text:
            yield line, byte, raw, "", NUL
        else:
            if line == 1:
                text = text.removeprefix("\ufeff")
            if text.strip(BLANK):
                yield line, byte, raw, text.rstrip("\r\n"), ""


def _bounded(stream: IO[bytes] | Any, limit: int) -> Iterator[tuple[Any, int]]:  # noqa: ANN401 - narrowed by hasattr
    """Read lines, never holding more than the limit of one, and how much of a longer one is left out."""
    readline, more = stream.readline, limit + 1
    while piece := readline(more):
        if len(piece) <= limit:
            yield piece, 0
            continue
        beyond, rest = 0, piece
        while rest and rest[-1:] not in (b"\n", "\n"):
            rest = readline(more)
            beyond += len(rest)
        yield piece, beyond
