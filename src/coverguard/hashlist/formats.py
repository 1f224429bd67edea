"""The formats that are ours: CSV with a header, JSON Lines with the same fields, one hex digest a line.

`id,algorithm,digest[,opinion][,category][,grid][,label]`. A reader makes entries of a line or raises `Fault`.
What is plainly right takes a short way; whatever is not goes the long one, which alone says what is wrong.

Invariants: no fault carries what a line said; an unknown column or field is refused, since a misspelt
`category` must not pass for none. It knows no database and no rule of a list.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from coverguard.errors import BadListFile
from coverguard.hashlist.lines import BLANK
from coverguard.hashlist.rows import POSITIVE, Entry, Facts
from coverguard.model import Algorithm, Category, Opinion

Valid = Callable[[Algorithm, bytes], bool]
Fields = Mapping[str, object]
Read = Callable[[str], Sequence[Entry]]

FIELDS: Final = ("id", "algorithm", "digest", "opinion", "category", "grid", "label")
REQUIRED: Final = frozenset({"id", "algorithm", "digest"})
LABEL_BYTES: Final = 64
KEPT_FACTS: Final = 4096  # that a file's rows share; a label of its own for every row must not fill memory

_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_BOOLEANS: Final = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_ID_HEX: Final = 32  # characters of a derived id: 128 bits
_UTF8: Final = 4  # bytes that a character has at most


class Fault(Exception):
    """Why a line is no row, and what of it is one all the same. Never leaves this package."""

    def __init__(self, said: str, *, entries: Sequence[Entry] = ()) -> None:
        super().__init__(said)
        self.entries = entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a digest may be."""

    algorithms: Mapping[str, Algorithm]
    valid: Valid
    id_bytes: int

    def entry_id(self, value: object) -> str:
        return _printable(value, self.id_bytes, name="id")

    def digest(self, value: object, algorithm: Algorithm) -> bytes:
        if not isinstance(value, str) or not _HEX.fullmatch(value):
            raise Fault("digest is not hex")
        digest = bytes.fromhex(value)
        if len(digest) != algorithm.size:
            raise Fault(f"digest has not the {algorithm.size} bytes of {algorithm}")
        if not self.valid(algorithm, digest):
            raise Fault(f"digest is none that {algorithm} could make")
        return digest

    def entry(self, fields: Fields) -> Entry:
        """The long way: everything is looked at, and the first thing that is wrong is said."""
        name = fields.get("algorithm")
        algorithm = self.algorithms.get(name) if isinstance(name, str) else None
        if algorithm is None:
            raise Fault("algorithm is not a word coverguard knows")
        grid = fields.get("grid", False)
        if not isinstance(grid, bool):
            raise Fault("grid is neither true nor false")
        entry_id = self.entry_id(fields.get("id"))
        digest = self.digest(fields.get("digest"), algorithm)
        opinion = _opinion(fields.get("opinion", Opinion.POSITIVE.value))
        category = word(Category, fields["category"], name="category") if "category" in fields else None
        return entry_id, algorithm, digest, Facts(opinion, category, grid, label(fields.get("label")))


# ── CSV ────────────────────────────────────────────────────────────────────────────────────────────────────


def csv_reader(number: int, header: str, known: Known) -> Read:
    """What reads the lines below this header.

    Raises:
        BadListFile: the header is none, or names a column that nobody knows, or not all that are needed.
    """
    names = header_cells(number, header)
    unknown = [str(place) for place, name in enumerate(names, start=1) if name not in FIELDS]
    if unknown:
        raise BadListFile(f"line {number}: not a known column at position {', '.join(unknown[:10])}")
    if missing := sorted(REQUIRED - set(names)):
        raise BadListFile(f"line {number}: no column {', '.join(missing)}")
    at_id, at_algorithm, at_digest = (names.index(name) for name in ("id", "algorithm", "digest"))
    rest = [place for place, name in enumerate(names) if name not in REQUIRED]
    algorithms, width, longest = dict(known.algorithms), len(names), known.id_bytes // _UTF8
    facts_of: dict[tuple[str, ...], Facts] = {}

    def read(line: str) -> Sequence[Entry]:
        values = cells(line)
        if len(values) != width:
            raise Fault("not as many cells as the header has")
        name, algorithm, text = values[at_id], algorithms.get(values[at_algorithm]), values[at_digest]
        facts = facts_of.get(tuple([values[place] for place in rest]))
        if algorithm is not None and facts is not None and 0 < len(name) <= longest and name.isprintable():
            digest = _digest(text, algorithm, known)
            if digest is not None:
                return ((name, algorithm, digest, facts),)
        entry = known.entry(_csv_fields(names, values))
        if len(facts_of) < KEPT_FACTS:
            facts_of[tuple([values[place] for place in rest])] = entry[3]
        return (entry,)

    return read


def _digest(text: str, algorithm: Algorithm, known: Known) -> bytes | None:
    """The digest that this hex plainly says; `bytes.fromhex` passes over blanks, but then there is less."""
    if len(text) != 2 * algorithm.size:
        return None
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        return None
    if len(digest) != algorithm.size or not known.valid(algorithm, digest):
        return None
    return digest


def header_cells(number: int, header: str) -> tuple[str, ...]:
    """The names in a header, each once. Raises `BadListFile`."""
    try:
        names = tuple(name.strip() for name in cells(header))
    except Fault as fault:
        raise BadListFile(f"line {number}: {fault}") from None
    if len(set(names)) < len(names):
        raise BadListFile(f"line {number}: a column appears twice")
    return names


def cells(line: str) -> list[str]:
    """The cells of one line of CSV."""
    if '"' not in line and "\r" not in line:
        return line.split(",")
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error:
        raise Fault("the line is not CSV") from None
    if len(rows) != 1:
        raise Fault("the line is not one row of CSV")
    return rows[0]


def _csv_fields(names: tuple[str, ...], values: list[str]) -> Fields:
    fields: dict[str, object] = dict(zip(names, values, strict=True))
    if "grid" in fields:
        fields["grid"] = boolean(str(fields["grid"]))
    return {name: value for name, value in fields.items() if value != "" or name in REQUIRED}


# ── JSON Lines ─────────────────────────────────────────────────────────────────────────────────────────────


def json_reader(known: Known) -> Read:
    return lambda line: (known.entry(_json_fields(line)),)


def _json_fields(line: str) -> Fields:
    try:
        document = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise Fault("the line is not JSON") from None
    if not isinstance(document, dict):
        raise Fault("the line is not a JSON object")
    if any(name not in FIELDS for name in document):
        raise Fault("the object has an unknown field")
    return {name: value for name, value in document.items() if value is not None}


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise Fault("the object has a field twice")
    return document


# ── plain hex ──────────────────────────────────────────────────────────────────────────────────────────────


def hex_reader(algorithm: Algorithm, known: Known, derive: Callable[[str], str]) -> Read:
    def read(line: str) -> Sequence[Entry]:
        text = line.strip(BLANK).lower()
        digest = known.digest(text, algorithm)
        return ((derive(derived_id(algorithm, text)), algorithm, digest, POSITIVE),)

    return read


def derived_id(algorithm: Algorithm, text: str) -> str:
    """An id for a digest that came without one. It tells what is listed, unless it is keyed."""
    return hashlib.sha256(f"{algorithm}:{text}".encode()).hexdigest()[:_ID_HEX]


# ── words ──────────────────────────────────────────────────────────────────────────────────────────────────

W = TypeVar("W", bound=StrEnum)


def _printable(value: object, limit: int, *, name: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable() or len(value.encode()) > limit:
        raise Fault(f"{name} is not 1 to {limit} bytes of printable UTF-8")
    return value


def _opinion(value: object) -> Opinion:
    """What one line may say; that a digest is disputed follows from several."""
    said = word(Opinion, value, name="opinion")
    if said is Opinion.DISPUTED:
        raise Fault("opinion is not a word coverguard knows")
    return said


def label(value: object) -> str | None:
    return None if value is None else _printable(value, LABEL_BYTES, name="label")


def boolean(value: str) -> bool:
    if (said := value.strip().lower()) not in _BOOLEANS:
        raise Fault("grid is neither true nor false")
    return _BOOLEANS[said]


def word(words: type[W], value: object, *, name: str) -> W:
    if not isinstance(value, str) or value not in words.__members__.values():
        raise Fault(f"{name} is not a word coverguard knows")
    return words(value)
