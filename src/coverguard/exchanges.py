"""What a hash exchange tells, as values: records, what could not be read, and how far one has come.

An exchange sends versions of records, in no order and perhaps twice. Whoever stores them keeps, of each
record id, the version with the greatest stamp (of equal ones the one read later); it replaces every row of
the earlier one. So reading anything again changes nothing.

Invariants: nothing is dropped in silence: what was sent is in a `Record`, in a `Faulty`, or in a gap that
is asked for again; a checkpoint never lies past what was not read, gaps apart; no value here prints a
digest.

It does no I/O, stores nothing and knows no exchange's wire format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

from coverguard.errors import TransientError
from coverguard.hashlist import ListRow

RAW_BYTES: Final = 4096
CHECKPOINT_CHARACTERS: Final = 2000


class ExchangeBusy(TransientError):
    """The exchange asks to be left alone for longer than is worth waiting for within a run."""

    def __init__(self, message: str, *, after: timedelta) -> None:
        super().__init__(message)
        self.after = after


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One version of one record. No row and not gone: there is nothing in it that we can use."""

    record_id: str
    stamp: int  # UTC microseconds, by the source
    rows: tuple[ListRow, ...] = ()  # each under the record's id; of one algorithm there may be several
    gone: bool = False  # deleted or withdrawn by the source
    unsupported: tuple[str, ...] = ()  # fixed words for what coverguard cannot compare, such as "PDNA"

    def __post_init__(self) -> None:
        assert not (self.gone and self.rows)
        assert all(row.source_entry_id == self.record_id for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulty:
    """Something that could not be read, told each time it is sent. Place and fault are our words alone."""

    place: str  # "page 3, record 17"
    fault: str
    raw: bytes = field(repr=False)  # its beginning, as secret as a digest
    record_id: str | None = None  # of which record it is, where that could be read

    def __post_init__(self) -> None:
        assert len(self.raw) <= RAW_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one page told.

    A `whole` batch is part of a listing of everything. What such a listing did not have may be withdrawn
    after its last batch (the one with a checkpoint), provided that it ended without gaps: an unread record is
    not a withdrawn one. So what is faulty counts as there; if its id is not known, nothing may be withdrawn.
    """

    records: tuple[Record, ...]
    faulty: tuple[Faulty, ...] = ()
    checkpoint: str | None = None  # where to go on once this batch is stored, in the same transaction
    gaps: int = 0  # places that could not be read yet and are in the next checkpoint
    position: str  # for a person to read
    whole: bool = False


class Exchange(Protocol):
    """A source of records. Nothing is remembered between calls but what the caller stores."""

    @property
    def name(self) -> str: ...

    def batches(self, checkpoint: str | None) -> Iterator[Batch]:
        """Tell everything from a stored checkpoint (None: from the beginning) to now.

        Raises:
            TransientError: ask again later, from the checkpoint stored last; `ExchangeBusy` says when.
            Refused: our credentials are not taken; the message names their file.
            IntegrityFailure: that checkpoint is none of this exchange's. Nothing was asked.
        """

    def check(self) -> None:
        """Make one cheap authorised request; raises as `batches` does."""
