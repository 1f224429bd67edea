"""Hash list files as rows, and what a whole list says against what is stored.

Three formats: CSV with a header (`id,algorithm,digest[,opinion][,category][,grid][,label]`), JSON Lines with
the same fields, and one hex digest a line. Every line becomes a `ListRow` or a `Malformed`, blank lines
apart; nothing is dropped in silence. Only what makes the whole file senseless raises `BadListFile`.

Invariants: no fault, error or repr carries what a file said, only line numbers and fixed words; a line meets
the length limit before it meets a parser; an id appears once; an unknown column or field is refused, since a
misspelt `category` must not pass for none; a file with malformed rows (mere repeats apart) withdraws nothing.

It opens no file, knows no database, no source's own wire format and no rule of a list.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, Any, Final, TypeVar

from coverguard.algorithms import Algorithms
from coverguard.errors import BadListFile
from coverguard.model import Algorithm, Category, Opinion


class ListFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"
    HEX = "hex"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListLimits:
    line_bytes: int = 4096
    id_bytes: int = 200
    rows: int = 50_000_000


DEFAULT_LIMITS: Final = ListLimits()
OURS: Final = Algorithms()
Valid = Callable[[Algorithm, bytes], bool]
FIELDS: Final = ("id", "algorithm", "digest", "opinion", "category", "grid", "label")
REQUIRED: Final = frozenset({"id", "algorithm", "digest"})

_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_BOOLEANS: Final = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
LABEL_BYTES: Final = 64
_ID_HEX: Final = 32  # characters of a derived id: 128 bits
_BLANK: Final = " \t\r\n"

K = TypeVar("K")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRow:
    """One entry as its source lists it."""

    source_entry_id: str
    algorithm: Algorithm
    digest: bytes = field(repr=False)
    opinion: Opinion = Opinion.POSITIVE
    category: Category | None = None  # None: the list's own
    grid: bool = False  # the source says: a grid or collage, whose near matches mean little
    label: str | None = None  # the source's own word for what it is, such as "A1"; the list's rule maps it

    def canonical(self) -> bytes:
        """Everything but the id: equal if and only if nothing changed. As secret as the digest."""
        category = self.category.value if self.category else ""
        facts = (self.opinion.value, category, str(int(self.grid)), self.label or "")
        return self.algorithm.value.encode() + b":" + self.digest + ":".join(("", *facts)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A line that is no row. The fault is a fixed sentence."""

    line: int  # from 1, as an editor counts
    fault: str
    repeat: bool = False  # an earlier row once more, word for word: no entry hides behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What a whole list changes."""

    upserts: tuple[ListRow, ...]  # new, or not as stored
    withdrawals: tuple[str, ...]  # ids that vanished, sorted
    doubtful: tuple[str, ...]  # vanished too, but from a file with malformed rows: perhaps one of those
    malformed: tuple[Malformed, ...]


class _Fault(Exception):
    """Why a line is no row. Never leaves this module."""


class _Repeat(_Fault):
    """The line says an earlier row again."""


def parse(
    source: IO[bytes] | Iterable[str],
    list_format: ListFormat,
    *,
    algorithm: Algorithm | None = None,
    algorithms: Mapping[str, Algorithm] = OURS,
    valid: Valid = lambda _algorithm, _digest: True,
    limits: ListLimits = DEFAULT_LIMITS,
) -> Iterator[ListRow | Malformed]:
    """Yield a row or a fault for every line of a binary stream or of an iterable of text lines.

    `algorithm` is for the plain hex format, and only for it; ids are there derived from algorithm and digest.
    `algorithms` are those that a file may name; `valid` says whether a digest of the right length is one.

    Raises:
        BadListFile: the file is empty, has too many rows, or (CSV, at the call) has no valid header.
        ValueError: an algorithm is missing, or given although the file says it.
    """
    if (algorithm is not None) is not (list_format is ListFormat.HEX):
        raise ValueError("an algorithm is given for the plain hex format, and only for it")
    lines = _text_lines(source, limits.line_bytes)
    match list_format:
        case ListFormat.CSV:
            read = _csv_reader(lines)
        case ListFormat.JSONL:
            read = _json_fields
        case ListFormat.HEX:
            read = _hex_reader(algorithm)
    make = functools.partial(_row, algorithms=algorithms, valid=valid, id_bytes=limits.id_bytes)
    return _rows(lines, read, make, limits=limits, header=list_format is ListFormat.CSV)


def delta(
    current: Mapping[str, K],
    rows: Iterable[ListRow | Malformed],
    *,
    key: Callable[[ListRow], K],
) -> Delta:
    """Compare a whole list with what is stored of it: source entry id to key.

    `key` gives the stored form of `row.canonical()`, such as a MAC of it. Of a file with malformed rows one
    cannot say which entries it left out, so what vanished from it is doubtful instead of withdrawn. Rows that
    only repeat an earlier one cast no doubt.
    """
    upserts: list[ListRow] = []
    malformed: list[Malformed] = []
    vanished = set(current)
    for row in rows:
        if isinstance(row, Malformed):
            malformed.append(row)
            continue
        vanished.discard(row.source_entry_id)
        known = row.source_entry_id in current
        if not known or current[row.source_entry_id] != key(row):
            upserts.append(row)
    gone = tuple(sorted(vanished))
    doubt = any(not fault.repeat for fault in malformed)
    return Delta(
        upserts=tuple(upserts),
        withdrawals=() if doubt else gone,
        doubtful=gone if doubt else (),
        malformed=tuple(malformed),
    )


def shrinks_too_much(before: int, after: int, share: float = 0.2) -> bool:
    """Say whether a list loses more than that share of its entries, so that a person should look first."""
    return before - after > share * before


# ── lines ──────────────────────────────────────────────────────────────────────────────────────────────────

Line = tuple[int, str | Malformed]
Fields = Mapping[str, object]
Reader = Callable[[str], Fields]


def _text_lines(source: IO[bytes] | Iterable[str], limit: int) -> Iterator[Line]:
    """Number the lines that are not blank, each text without its end, or its fault."""
    pieces = _bounded(source, limit) if hasattr(source, "readline") else source
    for number, piece in enumerate(pieces, start=1):
        try:
            text = _decoded(piece, limit)
        except _Fault as fault:
            yield number, Malformed(line=number, fault=str(fault))
            continue
        if number == 1:
            text = text.removeprefix("\ufeff")
        if text.strip(_BLANK):
            yield number, text.rstrip("\r\n")


def _bounded(stream: IO[bytes] | Any, limit: int) -> Iterator[bytes | None]:  # noqa: ANN401 - narrowed by hasattr
    """Read lines without ever holding more than the limit of one; None for a longer line."""
    while piece := stream.readline(limit + 1):
        if len(piece) <= limit:
            yield piece
            continue
        while piece and not _ended(piece):
            piece = stream.readline(limit + 1)
        yield None


def _ended(piece: bytes | str) -> bool:
    return piece[-1:] in (b"\n", "\n")


def _decoded(piece: bytes | str | None, limit: int) -> str:
    if piece is None:
        raise _Fault("the line is too long")
    try:
        octets = piece.encode() if isinstance(piece, str) else piece
        text = octets.decode()
    except UnicodeError:
        raise _Fault("the line is not UTF-8") from None
    if len(octets) > limit:
        raise _Fault("the line is too long")
    if "\0" in text:
        raise _Fault("the line has a NUL character")
    return text


def _rows(
    lines: Iterator[Line],
    read: Reader,
    make: Callable[[Fields], ListRow],
    *,
    limits: ListLimits,
    header: bool,
) -> Iterator[ListRow | Malformed]:
    seen: dict[str, int] = {}
    count = 0
    for number, text in lines:
        count += 1
        if count > limits.rows:
            raise BadListFile(f"line {number}: more than {limits.rows} rows")
        if isinstance(text, Malformed):
            yield text
            continue
        try:
            row = make(read(text))
            _once(row, seen)
        except _Fault as fault:
            yield Malformed(line=number, fault=str(fault), repeat=isinstance(fault, _Repeat))
            continue
        yield row
    if not count and not header:
        raise BadListFile("the file is empty")


def _once(row: ListRow, seen: dict[str, int]) -> None:
    """Let the first row of an id pass; of the others remember only a hash, since a list may have millions."""
    said = hash(row.canonical())
    if row.source_entry_id not in seen:
        seen[row.source_entry_id] = said
    elif seen[row.source_entry_id] == said:
        raise _Repeat("the row was on an earlier line")
    else:
        raise _Fault("the id was on an earlier line, for something else")


# ── formats ────────────────────────────────────────────────────────────────────────────────────────────────


def _csv_reader(lines: Iterator[Line]) -> Reader:
    """Take the header off the lines and return what reads the rest by it."""
    number, text = next(lines, (1, ""))
    if isinstance(text, Malformed):
        raise BadListFile(f"line {number}: {text.fault}")
    if not text:
        raise BadListFile("the file is empty")
    try:
        names = tuple(name.strip() for name in _cells(text))
    except _Fault as fault:
        raise BadListFile(f"line {number}: {fault}") from None
    unknown = [str(place) for place, name in enumerate(names, start=1) if name not in FIELDS]
    if unknown:
        raise BadListFile(f"line {number}: not a known column at position {', '.join(unknown[:10])}")
    if len(set(names)) < len(names):
        raise BadListFile(f"line {number}: a column appears twice")
    if missing := sorted(REQUIRED - set(names)):
        raise BadListFile(f"line {number}: no column {', '.join(missing)}")
    return lambda line: _csv_fields(names, line)


def _csv_fields(names: tuple[str, ...], line: str) -> Fields:
    cells = _cells(line)
    if len(cells) != len(names):
        raise _Fault("not as many cells as the header has")
    fields: dict[str, object] = dict(zip(names, cells, strict=True))
    if "grid" in fields:
        word = str(fields["grid"]).lower()
        if word not in _BOOLEANS:
            raise _Fault("grid is neither true nor false")
        fields["grid"] = _BOOLEANS[word]
    return {name: value for name, value in fields.items() if value != "" or name in REQUIRED}


def _cells(line: str) -> list[str]:
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error:
        raise _Fault("the line is not CSV") from None
    if len(rows) != 1:
        raise _Fault("the line is not one row of CSV")
    return rows[0]


def _json_fields(line: str) -> Fields:
    try:
        document = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _Fault("the line is not JSON") from None
    if not isinstance(document, dict):
        raise _Fault("the line is not a JSON object")
    if any(name not in FIELDS for name in document):
        raise _Fault("the object has an unknown field")
    return {name: value for name, value in document.items() if value is not None}


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise _Fault("the object has a field twice")
    return document


def _hex_reader(algorithm: Algorithm | None) -> Reader:
    assert algorithm is not None  # `parse` has checked

    def read(line: str) -> Fields:
        text = line.strip(_BLANK).lower()
        derived = hashlib.sha256(f"{algorithm}:{text}".encode()).hexdigest()[:_ID_HEX]
        return {"id": derived, "algorithm": algorithm, "digest": text}

    return read


# ── fields ─────────────────────────────────────────────────────────────────────────────────────────────────

W = TypeVar("W", bound=StrEnum)


def _row(fields: Fields, *, algorithms: Mapping[str, Algorithm], valid: Valid, id_bytes: int) -> ListRow:
    algorithm = algorithms.get(name) if isinstance(name := fields.get("algorithm"), str) else None
    if algorithm is None:
        raise _Fault("algorithm is not a word coverguard knows")
    grid = fields.get("grid", False)
    if not isinstance(grid, bool):
        raise _Fault("grid is neither true nor false")
    return ListRow(
        source_entry_id=_entry_id(fields.get("id"), id_bytes),
        algorithm=algorithm,
        digest=_digest(fields.get("digest"), algorithm, valid),
        opinion=_opinion(fields.get("opinion", Opinion.POSITIVE.value)),
        category=_word(Category, fields["category"], name="category") if "category" in fields else None,
        grid=grid,
        label=_label(fields.get("label")),
    )


def _entry_id(value: object, limit: int) -> str:
    return _printable(value, limit, name="id")


def _printable(value: object, limit: int, *, name: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable() or len(value.encode()) > limit:
        raise _Fault(f"{name} is not 1 to {limit} bytes of printable UTF-8")
    return value


def _opinion(value: object) -> Opinion:
    """What one line may say; that a digest is disputed follows from several."""
    said = _word(Opinion, value, name="opinion")
    if said is Opinion.DISPUTED:
        raise _Fault("opinion is not a word coverguard knows")
    return said


def _label(value: object) -> str | None:
    if value is None:
        return None
    return _printable(value, LABEL_BYTES, name="label")


def _digest(value: object, algorithm: Algorithm, valid: Valid) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise _Fault("digest is not hex")
    digest = bytes.fromhex(value)
    if len(digest) != algorithm.size:
        raise _Fault(f"digest has not the {algorithm.size} bytes of {algorithm}")
    if not valid(algorithm, digest):
        raise _Fault(f"digest is none that {algorithm} could make")
    return digest


def _word(words: type[W], value: object, *, name: str) -> W:
    if not isinstance(value, str) or value not in words.__members__.values():
        raise _Fault(f"{name} is not a word coverguard knows")
    return words(value)
