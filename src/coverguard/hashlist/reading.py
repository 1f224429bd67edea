"""A list file, line by line: every line becomes entries or a fault, blank lines apart.

Invariants: nothing is dropped in silence; no error or fault carries what the file said, only line numbers and
fixed words; a line meets the length limit before it meets a parser. Only what makes the whole file senseless
raises `BadListFile`. It opens no file and knows no database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any, Final

from coverguard.algorithms import Algorithms
from coverguard.errors import BadListFile
from coverguard.hashlist.deliveries import COLUMNS, Columns, Delivery
from coverguard.hashlist.formats import Fault, Known, Read, Valid, csv_reader, hex_reader, json_reader
from coverguard.hashlist.lines import read_lines
from coverguard.hashlist.rows import (
    CONTRADICTED,
    REPEATED,
    Entry,
    ListFormat,
    ListLimits,
    ListRow,
    Malformed,
    canonical,
    row_of,
)
from coverguard.model import Algorithm

DEFAULT_LIMITS: Final = ListLimits()
OURS: Final = Algorithms()

Parsed = tuple[int, int, bytes, "tuple[Entry, ...] | list[Entry]", str]
"""Line, byte behind it, the line's (first) bytes, its entries, and its fault or nothing."""


class ListFile:
    """One pass over a list file, from its beginning or from where an earlier pass stopped."""

    def __init__(
        self,
        source: IO[bytes] | Iterable[str],
        list_format: ListFormat,
        *,
        algorithm: Algorithm | None = None,
        algorithms: Mapping[str, Algorithm] = OURS,
        valid: Valid = lambda _algorithm, _digest: True,
        limits: ListLimits = DEFAULT_LIMITS,
        columns: Mapping[str, str] | None = None,
        derive: Callable[[str], str] = str,
    ) -> None:
        """Read the header, where the format has one.

        `algorithm` is for the plain hex format, and only for it; `columns` for deliveries. Ids of hashes that
        come without one are derived from the digest, and `derive` keys them. `algorithms` are those that a
        file may name; `valid` says whether a digest of the right length is one.

        Raises:
            BadListFile: there is no valid header.
            ValueError: an algorithm is missing, or given although the file says it.
        """
        if (algorithm is not None) is not (list_format is ListFormat.HEX):
            raise ValueError("an algorithm is given for the plain hex format, and only for it")
        self._source, self._limits = source, limits
        self._lines = read_lines(source, limits.line_bytes)
        self._delivery: Delivery | None = None
        known = Known(algorithms=dict(algorithms), valid=valid, id_bytes=limits.id_bytes)
        self._read = self._reader(
            list_format, known, algorithm=algorithm, columns=columns or {}, derive=derive
        )
        self._count = 0
        self._header = list_format not in (ListFormat.JSONL, ListFormat.HEX)

    def _reader(
        self, list_format: ListFormat, known: Known, *, algorithm: Algorithm | None, columns: Columns,
        derive: Callable[[str], str],
    ) -> Read:  # fmt: skip
        if list_format is ListFormat.HEX:
            assert algorithm is not None  # `__init__` has checked
            return hex_reader(algorithm, known, derive)
        if list_format is ListFormat.JSONL:
            return json_reader(known)
        number, _, _, text, fault = next(self._lines, (1, 0, b"", "", ""))
        if fault:
            raise BadListFile(f"line {number}: {fault}")
        if not text:
            raise BadListFile("the file is empty")
        if list_format in COLUMNS:
            self._delivery = Delivery(list_format, (number, text), columns, known=known, derive=derive)
            return self._delivery.read
        return csv_reader(number, text, known)

    @property
    def unread(self) -> Mapping[str, int]:
        """How many cells of a delivery were counted instead of read, by what they were."""
        return {} if self._delivery is None else dict(self._delivery.unread)

    def go_on(self, *, line: int, byte: int) -> None:
        """Go on behind a line that an earlier pass has read. Only for a binary stream that can seek."""
        if not byte:
            return
        source: Any = self._source
        source.seek(byte)
        self._count = line - self._header  # blank lines, too: a limit need not be exact
        self._lines = read_lines(source, self._limits.line_bytes, line=line, byte=byte)

    def __iter__(self) -> Iterator[Parsed]:
        """Yield every line that is not blank. Raises `BadListFile` for an empty file or too many rows."""
        read, most = self._read, self._limits.rows
        for number, byte, raw, text, fault in self._lines:
            self._count += 1
            if self._count > most:
                raise BadListFile(f"line {number}: more than {most} rows")
            entries: Any = ()
            if not fault:
                try:
                    entries = read(text)
                except Fault as said:
                    fault, entries = str(said), said.entries  # noqa: PLW2901 - what the reader says of the line
            yield number, byte, raw, entries, fault
        if not self._count and not self._header:
            raise BadListFile("the file is empty")


def parse(
    source: IO[bytes] | Iterable[str],
    list_format: ListFormat,
    *,
    algorithm: Algorithm | None = None,
    algorithms: Mapping[str, Algorithm] = OURS,
    valid: Valid = lambda _algorithm, _digest: True,
    limits: ListLimits = DEFAULT_LIMITS,
    columns: Mapping[str, str] | None = None,
) -> Iterator[ListRow | Malformed]:
    """Yield rows or a fault for every line, an id once: a later row of it is a fault. In memory.

    Raises what `ListFile` does; a missing header at the call.
    """
    file = ListFile(
        source, list_format, algorithm=algorithm, algorithms=algorithms, valid=valid, limits=limits,
        columns=columns,
    )  # fmt: skip
    return _once(file)


def _once(file: ListFile) -> Iterator[ListRow | Malformed]:
    """Let the first row of an id pass; of the others remember only a hash."""
    seen: dict[str, int] = {}
    for number, _, _, entries, fault in file:
        for entry in entries:
            said = hash(canonical(entry))
            if entry[0] not in seen:
                seen[entry[0]] = said
                yield row_of(entry)
            elif seen[entry[0]] == said:
                yield Malformed(line=number, fault=REPEATED, repeat=True)
            else:
                yield Malformed(line=number, fault=CONTRADICTED)
        if fault:
            yield Malformed(line=number, fault=fault)
