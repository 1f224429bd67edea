"""What goes over the wire between a worker and the child that decodes for it.

    request   header | bytes of the file
    answer    header | a fingerprint without its digests, or the reason of a rejection, or a fault's place
    greeting  of a fixed size, from the launcher and from each child, before any request

Requests are numbered, and an answer carries the number of its request: none is ever taken for another's. All
numbers are big-endian and of fixed size, all texts ASCII of a known alphabet, all counts bounded. The answer
comes from a process that may do whatever a hostile file made it do: `parse` takes nothing but what a sound
child could have written, allocates no more than it was given, and says `Malformed` to the rest. Digests of
the bytes are no part of it: who has the bytes need not believe anybody.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Final

from coverguard.errors import RejectReason
from coverguard.model import DIHEDRAL, Algorithm, Fingerprint, View

HEADER: Final = struct.Struct(">4sBxxxII")  # magic, kind, number of the request, length of what follows
GREETING: Final = struct.Struct(">4sBHH247s")  # magic, kind, fingerprint version, flags, text

MAX_ANSWER: Final = 256 * 1024  # bytes; a hundred views with eight orientations each are 40 kB
MAX_VIEWS: Final = 100  # of one kind
MAX_SIGNALS: Final = 16  # of one view
MAX_SIDE: Final = 2**31 - 1  # pixels; what a side may really have is the limits' affair

_REQUEST, _ANSWER, _GREETING = b"CGR1", b"CGA1", b"CGG1"
_SIZE: Final = struct.Struct(">IIB")  # width, height, flags
_COUNT: Final = struct.Struct(">B")
_VIEW: Final = struct.Struct(">BBB")  # quality, flags, number of signals
_DIHEDRAL: Final = (
    0x80  # of a view's flags; the others are its truth values, and so a fingerprint's, in order
)
_PDQ_BYTES: Final = 32
_VIEW_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*){0,2}", re.ASCII)
_VIEW_NAME_LENGTH: Final = 32  # as the ledger stores it
_FORMAT: Final = re.compile(r"[a-z][a-z0-9]{0,15}", re.ASCII)
_SIGNAL: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}", re.ASCII)
_PLACE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,79}(:[0-9]{1,6})?", re.ASCII)
_MOST_QUALITY: Final = 100

Signals = Mapping[str, int]
"""Which signals a view may have, and their length in bytes."""

REQUIRED: Final[Signals] = {Algorithm.PDQ.value: 32, Algorithm.PHASH256.value: 32}


class Malformed(Exception):
    """No sound child writes this."""


def _truths(of: type[Fingerprint | View]) -> tuple[str, ...]:
    return tuple(one.name for one in fields(of) if one.type == "bool")


_FINGERPRINT_TRUTHS: Final = _truths(Fingerprint)
_KINDS_OF_VIEWS: Final = tuple(one.name for one in fields(Fingerprint) if one.type == "tuple[View, ...]")
_VIEW_TRUTHS: Final = _truths(View)


class Kind(IntEnum):
    READY = 1  # a greeting: all is well
    FAILED = 2  # a greeting: it cannot start, and the text says why
    WORK = 3  # a request
    WORK_FOR_LISTS = 7  # the same, with what a list is to remember of it
    FINGERPRINT = 4
    REJECTED = 5
    FAULT = 6  # our own code raised what it should not


# ── greetings: trusted, for they are sent before any file was seen ─────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    kind: Kind
    fingerprint_version: int = 0
    flags: int = 0
    text: str = ""  # of READY the release, of FAILED the cause

    def pack(self) -> bytes:
        text = self.text.encode("ascii", "replace")
        return GREETING.pack(_GREETING, self.kind, self.fingerprint_version, self.flags, text)

    @classmethod
    def parse(cls, data: bytes) -> Greeting:
        """Raise Malformed for anything that is no greeting."""
        if len(data) != GREETING.size:
            raise Malformed("greeting: wrong length")
        magic, kind, version, flags, text = GREETING.unpack(data)
        if magic != _GREETING or kind not in (Kind.READY, Kind.FAILED):
            raise Malformed("greeting: wrong kind")
        words = text.rstrip(b"\0").decode("ascii", "replace")
        return cls(kind=Kind(kind), fingerprint_version=version, flags=flags, text=words)


# ── requests ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What comes before the bytes of a file."""

    number: int
    size: int
    for_lists: bool = False

    def pack(self) -> bytes:
        kind = Kind.WORK_FOR_LISTS if self.for_lists else Kind.WORK
        return HEADER.pack(_REQUEST, kind, self.number, self.size)

    @classmethod
    def parse(cls, header: bytes, *, limit: int) -> Request:
        """Raise Malformed for anything that is no request, or asks for more than `limit` bytes to be read."""
        magic, kind, number, size = HEADER.unpack(header)
        if magic != _REQUEST or kind not in (Kind.WORK, Kind.WORK_FOR_LISTS) or size > limit:
            raise Malformed("request: wrong header")
        return cls(number=number, size=size, for_lists=kind == Kind.WORK_FOR_LISTS)


# ── answers ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    reason: RejectReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    error: str  # class of what was raised
    at: str  # module and line


Answer = Fingerprint | Rejected | Fault


def pack(answer: Answer, *, number: int) -> bytes:
    """Header and payload of the answer to the request of that number.

    Raises:
        Malformed: it has more than a frame may hold, which is a bug.
    """
    match answer:
        case Rejected(reason=reason):
            kind, payload = Kind.REJECTED, _text(reason.value)
        case Fault(error=error, at=at):
            kind, payload = Kind.FAULT, _text(error[:80]) + _text(at[:80])
        case Fingerprint():
            kind, payload = Kind.FINGERPRINT, _packed(answer)
    if len(payload) > MAX_ANSWER:
        raise Malformed("answer: too large")
    return HEADER.pack(_ANSWER, kind, number, len(payload)) + payload


def answer_of(header: bytes, *, number: int) -> tuple[Kind, int]:
    """Kind and length of the payload that follows. Raises Malformed, also for another request's answer."""
    magic, kind, said, size = HEADER.unpack(header)
    if magic != _ANSWER or kind not in (Kind.FINGERPRINT, Kind.REJECTED, Kind.FAULT) or said != number:
        raise Malformed("answer: wrong header")
    if header != HEADER.pack(_ANSWER, kind, said, size) or size > MAX_ANSWER:
        raise Malformed("answer: wrong length")
    return Kind(kind), int(size)


def parse(kind: Kind, payload: bytes, *, digests: Mapping[str, bytes], signals: Signals = REQUIRED) -> Answer:
    """Read an answer; the digests are those that the caller made of the bytes himself.

    Raises:
        Malformed: a field is out of its bounds, a name is unknown, something is missing or left over.
    """
    reader = _Reader(payload)
    match kind:
        case Kind.FINGERPRINT:
            answer: Answer = _unpacked(reader, digests=digests, signals=signals)
        case Kind.REJECTED:
            answer = _rejected(reader)
        case Kind.FAULT:
            answer = Fault(error=reader.text(_PLACE, 80), at=reader.text(_PLACE, 87))
        case _:
            raise Malformed("answer: wrong kind")
    reader.end()
    return answer


def _text(words: str) -> bytes:
    data = words.encode("ascii")
    return bytes([len(data)]) + data


def _flags(of: Fingerprint | View, names: tuple[str, ...]) -> int:
    return sum(1 << bit for bit, name in enumerate(names) if getattr(of, name))


def _truths_of(flags: int, names: tuple[str, ...]) -> dict[str, bool]:
    if flags >> len(names):
        raise Malformed("answer: unknown flag")
    return {name: bool(flags >> bit & 1) for bit, name in enumerate(names)}


def _packed(made: Fingerprint) -> bytes:
    flags = _flags(made, _FINGERPRINT_TRUTHS)
    written = [_text(made.format), _SIZE.pack(made.width, made.height, flags)]
    for kind in _KINDS_OF_VIEWS:
        views: tuple[View, ...] = getattr(made, kind)
        if len(views) > MAX_VIEWS:
            raise Malformed("answer: too many views")
        written += (_COUNT.pack(len(views)), *(_packed_view(view) for view in views))
    return b"".join(written)


def _packed_view(view: View) -> bytes:
    flags = _flags(view, _VIEW_TRUTHS) | (_DIHEDRAL if view.dihedral else 0)
    signals = b"".join(_text(name) + digest for name, digest in view.signals.items())
    head = _text(view.name) + _VIEW.pack(view.quality, flags, len(view.signals))
    return head + signals + b"".join(view.dihedral)


def _unpacked(reader: _Reader, *, digests: Mapping[str, bytes], signals: Signals) -> Fingerprint:
    form = reader.text(_FORMAT, 16)
    width, height, flags = reader.numbers(_SIZE)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise Malformed("fingerprint: size")
    truths = _truths_of(flags, _FINGERPRINT_TRUTHS)
    more: dict[str, Any] = {**truths, **{kind: _views(reader, signals) for kind in _KINDS_OF_VIEWS}}
    if not more["views"]:
        raise Malformed("fingerprint: nothing was looked at")
    return Fingerprint(digests=digests, format=form, width=width, height=height, **more)


def _views(reader: _Reader, signals: Signals) -> tuple[View, ...]:
    (count,) = reader.numbers(_COUNT)
    if count > MAX_VIEWS:
        raise Malformed("fingerprint: number of views")
    views = tuple(_view(reader, signals) for _ in range(count))
    if len({view.name for view in views}) < count:
        raise Malformed("fingerprint: two views have one name")
    return views


def _view(reader: _Reader, signals: Signals) -> View:
    name = reader.text(_VIEW_NAME, _VIEW_NAME_LENGTH)
    quality, flags, count = reader.numbers(_VIEW)
    truths: dict[str, Any] = {**_truths_of(flags & ~_DIHEDRAL, _VIEW_TRUTHS)}
    if quality > _MOST_QUALITY or count > MAX_SIGNALS:
        raise Malformed("view: numbers")
    found: dict[str, bytes] = {}
    for _ in range(count):
        signal = reader.text(_SIGNAL, 32)
        if signal in found or signal not in signals:
            raise Malformed("view: signal")
        found[signal] = reader.take(signals[signal])
    if not REQUIRED.keys() <= found.keys():
        raise Malformed("view: a signal is missing")
    turned = tuple(reader.take(_PDQ_BYTES) for _ in DIHEDRAL) if flags & _DIHEDRAL else ()
    if turned and turned[0] != found[Algorithm.PDQ.value]:
        raise Malformed("view: upright is not upright")
    return View(name=name, quality=quality, signals=found, dihedral=turned, **truths)


def _rejected(reader: _Reader) -> Rejected:
    word = reader.text(_VIEW_NAME, 40)
    try:
        return Rejected(reason=RejectReason(word))
    except ValueError as error:
        raise Malformed("rejection: unknown reason") from error


class _Reader:
    """Reads fields one after the other, and never beyond the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise Malformed("answer: ends too early")
        found = self._data[self._at : end]
        self._at = end
        return found

    def numbers(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.take(form.size))

    def text(self, alphabet: re.Pattern[str], longest: int) -> str:
        size = self.take(1)[0]
        if size > longest:
            raise Malformed("answer: text too long")
        words = self.take(size).decode("latin-1")
        if not alphabet.fullmatch(words):
            raise Malformed("answer: text of another alphabet")
        return words

    def end(self) -> None:
        if self._at != len(self._data):
            raise Malformed("answer: something is left over")
