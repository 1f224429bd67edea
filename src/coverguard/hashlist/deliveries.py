"""Deliveries of others: CSV with a row a picture and a column a hash, as the IWF and GIFCT describe theirs.

Their true schemas are for members only, and nobody here has seen one. The columns below are what the sources
say in public that a record has, under the names that are the most likely; whoever gets a delivery says with
`--columns` what its columns are really called. A row becomes one entry for each hash that coverguard can
compare, under the row's id and the algorithm (`17/sha256`), with the source's category word as its label.

Invariants: a hash that cannot be compared (PhotoDNA, TMK) and a column that nobody named are counted under
our own words, neither faults nor dropped in silence; of a row with one broken hash the others count, and the
row is a fault; a column that the operator named must be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from coverguard.errors import BadListFile
from coverguard.hashlist.formats import Fault, Known, Read, boolean, cells, derived_id, header_cells, label
from coverguard.hashlist.rows import Entry, Facts, ListFormat
from coverguard.model import Algorithm

Columns = Mapping[str, str]
"""Our word to the name of a delivery's column, compared without case, blanks, dashes and underscores."""

HASHES: Final = ("md5", "sha1", "sha256", "pdq", "phash256")
UNSUPPORTED: Final = ("photodna", "tmk", "sha512")  # known, and nothing here can compare them
FACTS: Final = ("id", "category", "grid")
WORDS: Final = (*FACTS, *HASHES, *UNSUPPORTED)

COLUMNS: Final[Mapping[ListFormat, Columns]] = {
    ListFormat.IWF: {
        "id": "ImageID", "md5": "MD5", "sha1": "SHA1", "sha256": "SHA256", "photodna": "PhotoDNA",
        "category": "Category", "grid": "GridImage",
    },
    ListFormat.GIFCT: {
        "id": "ID", "md5": "MD5", "sha256": "SHA256", "pdq": "PDQ", "tmk": "TMK", "category": "Label",
    },
}  # fmt: skip


def columns_of(list_format: ListFormat, named: Columns) -> Columns:
    """The columns of a delivery, some of them named by the operator.

    Raises:
        BadListFile: a word is none that a column can be.
    """
    if any(name not in WORDS for name in named):
        raise BadListFile(f"a column can be: {', '.join(WORDS)}; see docs/lists.md")
    return {**COLUMNS[list_format], **named}


class Delivery:
    """The columns of one file, and what in them was not read."""

    def __init__(
        self, list_format: ListFormat, header: tuple[int, str], named: Columns, *, known: Known,
        derive: Callable[[str], str],
    ) -> None:  # fmt: skip
        """Raises `BadListFile` for a header without an id or without a hash, or without a named column."""
        number, line = header
        self._names = header_cells(number, line)
        found = _places(self._names)
        wanted = columns_of(list_format, named)
        self._at = {word: found[_bare(name)] for word, name in wanted.items() if _bare(name) in found}
        if missing := [word for word in named if word not in self._at]:
            raise BadListFile(f"line {number}: no column for {', '.join(missing)}")
        if len(set(self._at.values())) < len(self._at):
            raise BadListFile(f"line {number}: one column is named for two things")
        algorithms = known.algorithms
        self._hashes = [(algorithms[word], self._at[word]) for word in HASHES if word in self._at]
        if not self._hashes:
            raise BadListFile(f"line {number}: no column has a hash that coverguard can compare")
        self._others = self._unread_columns()
        self._known, self._derive = known, derive
        self.unread: Counter[str] = Counter()

    def _unread_columns(self) -> Sequence[tuple[str, int]]:
        """What is counted instead of read: a name of ours, or the column's position."""
        by_place = {place: word for word, place in self._at.items() if word in UNSUPPORTED}
        for place in range(len(self._names)):
            if place not in self._at.values():
                by_place[place] = f"column {place + 1}"
        return [(word, place) for place, word in sorted(by_place.items())]

    @property
    def read(self) -> Read:
        return self._read

    def _read(self, line: str) -> Sequence[Entry]:
        values = [value.strip() for value in cells(line)]
        if len(values) != len(self._names):
            raise Fault("not as many cells as the header has")
        for word, place in self._others:
            if values[place]:
                self.unread[word] += 1
        facts = Facts(
            grid=boolean(values[self._at["grid"]]) if "grid" in self._at else False,
            label=label(values[self._at["category"]] or None) if "category" in self._at else None,
        )
        given = [(algorithm, values[place]) for algorithm, place in self._hashes if values[place]]
        if not given and not any(values[place] for word, place in self._others if word in UNSUPPORTED):
            raise Fault("the row has no hash")
        return self._entries(values, given, facts)

    def _entries(
        self, values: Sequence[str], given: Sequence[tuple[Algorithm, str]], facts: Facts
    ) -> Sequence[Entry]:
        entries, wrong = [], ""
        for algorithm, text in given:
            try:
                digest = self._known.digest(text, algorithm)
                entries.append((self._id(values, algorithm, text), algorithm, digest, facts))
            except Fault as fault:
                wrong = wrong or str(fault)
        if wrong:
            raise Fault(wrong, entries=entries)
        return entries

    def _id(self, values: Sequence[str], algorithm: Algorithm, text: str) -> str:
        if "id" not in self._at:
            return self._derive(derived_id(algorithm, text.lower()))
        own = self._known.entry_id(values[self._at["id"]])
        return self._known.entry_id(f"{own}/{algorithm}")


def _places(names: Sequence[str]) -> Mapping[str, int]:
    """The first of the columns that have a name, by it."""
    return {_bare(name): place for place, name in reversed(list(enumerate(names)))}


def _bare(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")
