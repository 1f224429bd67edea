"""What coverguard says of itself: one JSON line an event, and counters.

Safe by construction: a line has only fields from `FIELDS`, and each value must look like its kind (a number,
a fixed word, a reference made by us). Anything else is a bug and raises before a byte is written, so that a
title, a digest or a platform's name cannot be logged even by mistake.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Final, TextIO

_WORD: Final = re.compile(r"(?![0-9a-f]{16})[a-z][a-z0-9_.-]{0,59}")
_REF: Final = re.compile(r"(cover|case|item|hold|verdict|list|queue|event)[-:][a-z0-9_.-]{1,60}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,79}(:[0-9]+)?")
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{20}")  # a reference of ours has 16 such characters

FIELDS: Final[Mapping[str, str]] = {
    "event": "word",
    "outcome": "word",
    "note": "word",
    "type": "word",
    "surface": "word",
    "mode": "word",
    "decision": "word",
    "reason": "word",
    "detail": "word",
    "kind": "word",
    "state": "word",
    "queue": "word",
    "cover": "ref",
    "case": "ref",
    "item": "ref",
    "hold": "ref",
    "subject": "ref",
    "error": "name",  # the class of an exception, never its message
    "at": "name",  # module and line
    "attempt": "number",
    "matches": "number",
    "distance": "number",
    "seq": "number",
    "count": "number",
    "entries": "number",
    "pid": "number",
    "port": "number",
    "read_ms": "number",
    "fingerprint_ms": "number",
    "match_ms": "number",
    "record_ms": "number",
    "act_ms": "number",
    "total_ms": "number",
    "wait_ms": "number",
}

Value = str | int | float | bool | None


class Log:
    """Writes canonical lines to a stream; `with_stream(None)` style silence is `Log(stream=None)`."""

    def __init__(self, stream: TextIO | None = sys.stderr) -> None:
        self._stream = stream
        self.counters: Counter[str] = Counter()

    def line(self, event: str, **fields: Value) -> None:
        """Write one line.

        Raises:
            ValueError: a field is not in `FIELDS`, or its value is not of the field's kind.
        """
        checked = {name: _checked(name, value) for name, value in fields.items() if value is not None}
        record = {"ts": round(time.time(), 3), "event": _checked("event", event), **checked}
        self.counters[event] += 1
        if self._stream is not None:
            self._stream.write(json.dumps(record, separators=(",", ":")) + "\n")
            self._stream.flush()

    def bug(self, error: BaseException) -> None:
        """Say that something raised that nobody expected, and where; not what it said."""
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        at = f"{frame.tb_frame.f_globals.get('__name__', '_')}:{frame.tb_lineno}" if frame else None
        self.line("bug", error=type(error).__name__, at=at)


def _checked(name: str, value: Value) -> Value:
    kind = FIELDS.get(name)
    if isinstance(value, StrEnum):
        value = value.value
    if isinstance(value, str) and _DIGEST.search(value):
        raise ValueError(f"log field {name} looks like a digest")
    match kind, value:
        case "number", bool() | int() | float():
            return round(value, 3) if isinstance(value, float) else value
        case "word", str() if _WORD.fullmatch(value):
            return value
        case "ref", str() if _REF.fullmatch(value):
            return value
        case "name", str() if _NAME.fullmatch(value):
            return value
        case _:
            raise ValueError(f"log field {name} is unknown or not a {kind or 'known kind'}")


class Stopwatch:
    """Milliseconds by phase of one delivery."""

    def __init__(self, tick: Callable[[], float] = time.perf_counter) -> None:
        self._tick = tick
        self._started = tick()
        self.phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time inside to a phase, also when it raises."""
        begun = self._tick()
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + (self._tick() - begun) * 1000

    def milliseconds(self) -> dict[str, float]:
        """Every phase as a log field, and the total."""
        total = (self._tick() - self._started) * 1000
        return {**{f"{name}_ms": spent for name, spent in self.phases.items()}, "total_ms": total}
