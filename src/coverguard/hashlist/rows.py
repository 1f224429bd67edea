"""What a list file says, as values: rows, lines that are none, and what a whole list changes.

Invariant: no repr shows a digest. It reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar

from coverguard.model import Algorithm, Category, Opinion

SHRINK: Final = 0.2  # the share that a list may lose without a person's word

K = TypeVar("K")


class ListFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"
    HEX = "hex"
    IWF = "iwf"
    GIFCT = "gifct"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListLimits:
    line_bytes: int = 4096
    id_bytes: int = 200
    rows: int = 50_000_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What is said of a digest. Few differ within a file, so that rows share them."""

    opinion: Opinion = Opinion.POSITIVE
    category: Category | None = None  # None: the list's own
    grid: bool = False  # the source says: a grid or collage, whose near matches mean little
    label: str | None = None  # the source's own word for what it is, such as "A1"; the list's rule maps it
    said: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        category = self.category.value if self.category else ""
        words = ["", self.opinion.value, category, str(int(self.grid))]
        # without a label as releases before labels wrote it, so that their rows are not taken for changed
        object.__setattr__(self, "said", ":".join([*words, self.label] if self.label else words).encode())


POSITIVE: Final = Facts()

Entry = tuple[str, Algorithm, bytes, Facts]
"""A row in short: id, algorithm, digest, facts. A million objects cost more than their sealing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRow:
    """One entry as its source lists it."""

    source_entry_id: str
    algorithm: Algorithm
    digest: bytes = field(repr=False)
    opinion: Opinion = Opinion.POSITIVE
    category: Category | None = None  # None: the list's own
    grid: bool = False  # see `Facts`
    label: str | None = None

    def canonical(self) -> bytes:
        """Everything but the id: equal if and only if nothing changed. As secret as the digest."""
        return canonical(self.entry())

    def entry(self) -> Entry:
        facts = Facts(self.opinion, self.category, self.grid, self.label)
        return self.source_entry_id, self.algorithm, self.digest, facts


def row_of(entry: Entry) -> ListRow:
    name, algorithm, digest, facts = entry
    return ListRow(
        source_entry_id=name,
        algorithm=algorithm,
        digest=digest,
        opinion=facts.opinion,
        category=facts.category,
        grid=facts.grid,
        label=facts.label,
    )


def canonical(entry: Entry) -> bytes:
    """Everything but the id: equal if and only if nothing changed. As secret as the digest."""
    return entry[1].encode() + b":" + entry[2] + entry[3].said


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A line that is no row. The fault is a fixed sentence."""

    line: int  # from 1, as an editor counts
    fault: str
    repeat: bool = False  # an earlier row once more, word for word: no entry hides behind it


REPEATED: Final = "the row was on an earlier line"
CONTRADICTED: Final = "the id was on an earlier line, for something else"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What a whole list changes."""

    upserts: tuple[ListRow, ...]  # new, or not as stored
    withdrawals: tuple[str, ...]  # ids that vanished, sorted
    doubtful: tuple[str, ...]  # vanished too, but from a file with malformed rows: perhaps one of those
    malformed: tuple[Malformed, ...]


def delta(
    current: Mapping[str, K],
    rows: Iterable[ListRow | Malformed],
    *,
    key: Callable[[ListRow], K],
) -> Delta:
    """Compare a whole list with what is stored of it: source entry id to key.

    `key` gives the stored form of `row.canonical()`, such as a MAC of it. Of a file with malformed rows one
    cannot say which entries it left out, so what vanished from it is doubtful instead of withdrawn. Rows that
    only repeat an earlier one cast no doubt. In memory: an import compares in the ledger, and its tests ask
    this what is right.
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


def shrinks_too_much(before: int, after: int, share: float = SHRINK) -> bool:
    """Say whether a list loses more than that share of its entries, so that a person should look first."""
    return before - after > share * before
