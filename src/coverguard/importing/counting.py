"""What an import counts: lines, rows, faults, repeats; and the report of it. Pure; it writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from coverguard.hashlist import CONTRADICTED, REPEATED, Malformed
from coverguard.importing.reading import Batch
from coverguard.store.lists.comparing import Compared
from coverguard.store.lists.dead_letters import DeadLetter
from coverguard.store.lists.importing import ListImport


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did, or with `dry_run` would do."""

    entries_before: int
    upserts: int
    withdrawals: int
    doubtful: int  # vanished from a file with malformed rows: kept, look at the faults
    faults: Sequence[Malformed]  # the first thousand
    faulty: int  # all of them
    unread: Mapping[str, int] = field(default_factory=dict)  # of a delivery, since line `resumed_at`
    resumed_at: int | None = None  # the line behind which an import that did not end was taken up
    not_fresh: bool = False  # the list has an age at which it is stale, and this load did not make it fresh


def read_on(left: ListImport, batch: Batch) -> ListImport:
    return replace(
        left, line=batch.line, byte=batch.byte, staged=left.staged + len(batch.rows),
        malformed=left.malformed + len(batch.faults),
    )  # fmt: skip


def one_more(left: ListImport, *, same: bool) -> ListImport:
    if same:
        return replace(left, repeated=left.repeated + 1)
    return replace(left, malformed=left.malformed + 1)


def repeat(line: int, *, same: bool) -> Malformed:
    return Malformed(line=line, fault=REPEATED if same else CONTRADICTED, repeat=same)


def repeated(left: ListImport, rows: Sequence[Any]) -> tuple[ListImport, list[Malformed]]:
    for row in rows:
        left = one_more(left, same=bool(row.same))
    return left, [repeat(row.line, same=bool(row.same)) for row in rows]


def letter(line: int, told_by: bytes) -> DeadLetter:
    return DeadLetter(place=f"line {line}", fault=CONTRADICTED, raw=None, told_by=told_by)


def compared_as(left: ListImport, found: Compared) -> ListImport:
    doubtful = 0 if left.clean else found.vanished
    return replace(left, staged=found.upserts, before=found.before, doubtful=doubtful)


def report(
    left: ListImport,
    told: Sequence[Malformed],
    *,
    unread: Mapping[str, int],
    ages: bool,
    resumed_at: int | None = None,
) -> ImportReport:
    return ImportReport(
        entries_before=left.before,
        upserts=left.applied,
        withdrawals=left.withdrawn,
        doubtful=left.doubtful,
        faults=tuple(told),
        faulty=left.malformed + left.repeated,
        unread=unread,
        resumed_at=resumed_at,
        not_fresh=ages and not left.clean,
    )
