"""JSON lines: one for each delivery, one for each event outside of a delivery.

Safe by construction: a line has only fields from `FIELDS`, and each value must look like its kind (a number,
a fixed word, a reference made by us). Anything else is a bug and raises before a byte is written, so that a
title, a digest or a platform's name cannot be logged even by mistake.

A delivery has one line, written when it is over. What is noted on its way, by whatever code, joins that line;
each thread has its own. The same note outside of a delivery is a line of its own.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Final, TextIO

from coverguard.ports import Page
from coverguard.telemetry.metrics import Metrics

_WORD: Final = re.compile(r"(?![0-9a-f]{16})[a-z][a-z0-9_.-]{0,59}")
_REF: Final = re.compile(
    r"([a-z][a-z0-9_]{2,29}:)?"  # a clock says what it is of, and then about what
    r"(cover|case|item|hold|verdict|takedown|report|list|entry|source|exchange|queue|event|part)[-:][a-z0-9_.-]{1,60}"
)
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
    "route": "word",
    "status": "number",
    "lease": "word",
    "severity": "word",
    "queue": "word",
    "cover": "ref",
    "case": "ref",
    "item": "ref",
    "hold": "ref",
    "subject": "ref",
    "error": "name",  # the class of an exception, never its message
    "at": "name",  # module and line
    "attempt": "number",
    "not_extended": "number",
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
    """Writes canonical lines to a stream, and counts them; silence is `Log(stream=None)`."""

    def __init__(self, stream: TextIO | None = sys.stderr, *, metrics: Metrics | None = None) -> None:
        self._stream = stream
        self._thread = threading.local()
        self.metrics = metrics or Metrics()
        self.counters: Counter[str] = Counter()  # lines, and what was noted in lines, by name

    def line(self, event: str, **fields: Value) -> None:
        """Write one line.

        Raises:
            ValueError: a field is not in `FIELDS`, or its value is not of the field's kind.
        """
        self._write(event, _all_checked(fields))

    def note(self, event: str, **fields: Value) -> None:
        """Let it join the line of the delivery in hand; without one, write it as a line.

        Raises:
            ValueError: as `line`.
        """
        if (joined := self._joined()) is None:
            self.line(event, **fields)
            return
        name, checked = str(_checked("event", event)), _all_checked(fields)
        joined.facts |= checked
        joined.noted.append(name)

    def add(self, **fields: Value) -> None:
        """Add facts to the line of the delivery in hand; without one, do nothing.

        Raises:
            ValueError: as `line`.
        """
        checked = _all_checked(fields)
        if (joined := self._joined()) is not None:
            joined.facts |= checked

    @contextmanager
    def delivery(self, **fields: Value) -> Iterator[None]:
        """Gather everything noted inside, by this thread, into one line `delivery`, written on leaving.

        An exception leaves no line, and what was noted is forgotten: whoever catches what a handler raises
        does so inside.
        """
        begun = time.perf_counter()
        self._thread.joined = joined = _Delivery(_all_checked(fields))
        try:
            yield
        finally:
            self._thread.joined = None
        spent = {"total_ms": _checked("total_ms", (time.perf_counter() - begun) * 1000)}
        for name in joined.noted:
            self._count(name)
        self._write("delivery", joined.facts | spent)

    def bug(self, error: BaseException) -> None:
        """Say that something raised that nobody expected, and where; not what it said."""
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        at = f"{frame.tb_frame.f_globals.get('__name__', '_')}:{frame.tb_lineno}" if frame else None
        self.note("bug", error=type(error).__name__, at=at)

    def _joined(self) -> _Delivery | None:
        joined: _Delivery | None = getattr(self._thread, "joined", None)
        return joined

    def _write(self, event: str, checked: Mapping[str, Value]) -> None:
        record = {"ts": round(time.time(), 3), "event": _checked("event", event), **checked}
        self._count(event)
        self.metrics.take(event, checked)
        if self._stream is not None:
            self._stream.write(json.dumps(record, separators=(",", ":")) + "\n")
            self._stream.flush()

    def _count(self, event: str) -> None:
        self.counters[event] += 1
        self.metrics.count(event)


class _Delivery:
    """What was said so far of the delivery in hand."""

    def __init__(self, facts: dict[str, Value]) -> None:
        self.facts = facts
        self.noted: list[str] = []


class LogPager:
    """The embedded profile's `Pager`: a page is a line, for whatever reads the log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def page(self, page: Page) -> None:
        self._log.line(
            "page", kind=page.kind, state=page.state, severity=page.severity,
            subject=page.subjects[0], count=page.count,
        )  # fmt: skip


def _all_checked(fields: Mapping[str, Value]) -> dict[str, Value]:
    return {name: _checked(name, value) for name, value in fields.items() if value is not None}


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
