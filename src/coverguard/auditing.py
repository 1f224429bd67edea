"""Checking the audit trail: recomputes every link and head, and names what is not as it was written.

What it rests on, strongest first: heads in the archive, heads in the ledger, links, rows' own digests. A head
counts as evidence only when a trusted key signed it. Reads the ledger in pages, each link beside its row, so
its memory does not grow with the trail; keeps the first flaws and counts the rest. Changes nothing, and
repairs nothing. What it cannot see: what was never committed, and what somebody changed who has the ledger,
the signing key and the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, Final

from coverguard.model import Micros, between, later
from coverguard.ports import Clock, HeadArchive, SealedHead, SignatureCheck
from coverguard.sealing import BEHIND_AFTER, LATE
from coverguard.store import Row, audit
from coverguard.store.engine import Database
from coverguard.trail import START, link, signed_bytes

KEPT: Final = 1000  # flaws that a report names
_PAGE: Final = 500
_NEVER: Final = Micros(0)
_RECENT: Final = timedelta(days=2)


class FlawKind(StrEnum):
    CHANGED_ROW = "changed_row"
    REMOVED_ROW = "removed_row"
    INSERTED_ROW = "inserted_row"
    CHANGED_LINK = "changed_link"
    REMOVED_LINKS = "removed_links"
    REWRITTEN = "rewritten"  # the links agree with each other, and not with what was signed
    CUT_TAIL = "cut_tail"  # something was signed that is not there any more
    FORGED_HEAD = "forged_head"
    UNKNOWN_KEY = "unknown_key"
    REMOVED_HEAD = "removed_head"
    REPLACED_HEAD = "replaced_head"
    ARCHIVE_GAP = "archive_gap"
    UNREADABLE_HEAD = "unreadable_head"
    UNSEALED = "unsealed"  # nothing is wrong with it, but nothing protects it either


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One thing that is not as it was written."""

    kind: FlawKind
    text: str
    row: int | None = None  # id in the ledger's table `audit`
    seq: int | None = None  # number of the link


@dataclass(slots=True, kw_only=True)
class AuditReport:
    """The result: what was gone through, and what was found."""

    links: int = 0
    heads: int = 0  # whose signature holds and whose link is as signed
    archived: int = 0  # the same of the archive
    flaws: list[Flaw] = field(default_factory=list)  # the first of them
    count: int = 0  # all of them

    def note(self, flaw: Flaw) -> None:
        self.count += 1
        if len(self.flaws) < KEPT:
            self.flaws.append(flaw)


Progress = Callable[[int, int], None]  # links gone through, links there were at the start


@dataclass(frozen=True, slots=True, kw_only=True)
class Auditor:
    """Checks the trail of one ledger against one archive, trusting the keys given."""

    database: Database
    archive: HeadArchive
    signatures: SignatureCheck
    clock: Clock

    def run(self, *, whole: bool = True, progress: Progress = lambda _done, _all: None) -> AuditReport:
        """Check every link and head; of the archive only the last days' heads unless it is to be the `whole`.

        Raises `TransientError` where ledger or archive do not answer: nothing is taken for checked then.
        """
        report = AuditReport()
        # Read before the ledger is: what is archived later than that is not missed.
        with self.database.reading() as tx:
            end = audit.newest_link(tx)
            last = audit.newest_head(tx, archived=True)
            since = 0 if whole else audit.sealed_up_to(tx, before=later(self.clock.now(), -_RECENT))
        walk = _Walk(report=report, signatures=self.signatures)
        self._go_through_links(walk, progress=progress, total=int(end.seq) if end else 0)
        self._look_at_unchained(walk)
        noted = int(last.seq) if last else 0
        _Archive(database=self.database, walk=walk, noted_up_to=noted).compare(self.archive, since=since)
        return report

    def _go_through_links(self, walk: _Walk, *, progress: Progress, total: int) -> None:
        while True:
            with self.database.reading() as tx:
                page = audit.links(tx, after=walk.seq, limit=_PAGE)
                end = int(page[-1].seq) if page else walk.seq
                heads = {
                    int(row.seq): audit.as_head(row) for row in audit.heads(tx, after=walk.seq, up_to=end)
                }
                newest = None if page else audit.newest_head(tx)
            for row in page:
                walk.step(row, head=heads.pop(int(row.seq), None))
            for head in heads.values():
                walk.headless(head)
            progress(walk.report.links, total)
            if not page:
                walk.finish(newest=audit.as_head(newest) if newest else None)
                return

    def _look_at_unchained(self, walk: _Walk) -> None:
        """What the sealer has not seen is young, or was put there behind its back."""
        now, after, waiting = self.clock.now(), 0, 0
        while True:
            with self.database.reading() as tx:
                rows = audit.unchained(tx, after=after, limit=_PAGE)
                floor = audit.floor(tx, before=later(now, -LATE))
            for row in rows:
                after = int(row.id)
                if audit.digest(row._mapping) != bytes(row.digest):  # noqa: SLF001 - SQLAlchemy's public name
                    walk.flaw(FlawKind.CHANGED_ROW, f"audit row {after} is not what was written", row=after)
                if after <= floor or walk.is_late(row.at):
                    told = f"audit row {after} was never chained, and older ones were: it was inserted"
                    walk.flaw(FlawKind.INSERTED_ROW, told, row=after)
                elif row.at < later(now, -BEHIND_AFTER):
                    waiting += 1
            if len(rows) < _PAGE:
                break
        unsigned = walk.seq - walk.covered if walk.newest_at < later(now, -BEHIND_AFTER) else 0
        if waiting or unsigned:
            told = f"{waiting + unsigned} audit rows wait to be sealed: does the keeper run?"
            walk.flaw(FlawKind.UNSEALED, told)


@dataclass(slots=True, kw_only=True)
class _Walk:
    """Where the recomputation is: the last link, and what is not yet said about it."""

    report: AuditReport
    signatures: SignatureCheck
    seq: int = 0
    chain: bytes = START  # as stored, also where it is wrong: what follows is judged on its own
    audit_id: int = 0
    newest_at: int = 0  # of the rows gone through
    suspect: int | None = None  # row id of the last link, where link and row disagree
    instead: bytes = START  # what the suspect's link would be, were its row right
    covered: int = 0  # the last link with a head, whatever it says
    signed: int = 0  # the last link that a head was found to agree with
    disagrees: bool = False  # whether the last head did not
    sealed_at: Micros = _NEVER  # when that head was sealed

    def flaw(self, kind: FlawKind, text: str, *, row: int | None = None, seq: int | None = None) -> None:
        self.report.note(Flaw(kind=kind, text=text, row=row, seq=seq))

    def step(self, row: Row[Any], *, head: SealedHead | None) -> None:
        """Judge the next link, its row, and the head that was signed there."""
        seq, audit_id, chain = int(row.seq), int(row.audit_id), bytes(row.chain)
        if seq != self.seq + 1:
            self._settle_suspect()
            rows = f"between {self.audit_id} and {audit_id}"
            told = f"links {self.seq + 1} to {seq - 1} are gone: they were of audit rows {rows}"
            self.flaw(FlawKind.REMOVED_LINKS, told, seq=self.seq + 1)
        if row.id is None:
            self._settle_suspect()
            self.flaw(FlawKind.REMOVED_ROW, f"audit row {audit_id} was removed", row=audit_id, seq=seq)
        else:
            self._compare(row, follows=seq == self.seq + 1)
            self.newest_at = max(self.newest_at, int(row.at))
        self.seq, self.chain, self.audit_id = seq, chain, audit_id
        self.report.links += 1
        if head is not None:
            self.covered = seq
            if self.is_genuine(head, where="the ledger"):
                self._compare_head(head)

    def _compare(self, row: Row[Any], *, follows: bool) -> None:
        audit_id, chain, digest = int(row.audit_id), bytes(row.chain), bytes(row.digest)
        content = audit.digest(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
        if content != digest:
            told = f"audit row {audit_id} is not what was written"
            self.flaw(FlawKind.CHANGED_ROW, told, row=audit_id, seq=int(row.seq))
        if self.is_late(row.at):
            ago = between(Micros(row.at), self.sealed_at)
            told = f"audit row {audit_id} is dated {ago} before a head that does not cover it"
            told += ": it was inserted, or a clock was wrong"
            self.flaw(FlawKind.INSERTED_ROW, told, row=audit_id, seq=int(row.seq))
        if not follows:
            return
        fits = {link(self.chain, audit_id, one): True for one in (digest, content)}
        if self.suspect is not None:
            fits |= {link(self.instead, audit_id, one): False for one in (digest, content)}
        if chain in fits:
            self._settle_suspect(row_is_wrong=fits[chain])
            return
        self._settle_suspect()
        if content == digest:  # else it has been named
            self.suspect, self.instead = audit_id, link(self.chain, audit_id, digest)

    def _settle_suspect(self, *, row_is_wrong: bool = True) -> None:
        """What follows a changed row still follows its link; what follows a changed link follows its row."""
        if self.suspect is None:
            return
        if row_is_wrong:
            told = f"audit row {self.suspect} was changed, its digest as well"
            self.flaw(FlawKind.CHANGED_ROW, told, row=self.suspect, seq=self.seq)
        else:
            self.flaw(FlawKind.CHANGED_LINK, f"link {self.seq} was changed", row=self.suspect, seq=self.seq)
        self.suspect = None

    def is_late(self, at: int) -> bool:
        """Whether a row that the last head does not cover is older than any honest one could be."""
        return at < later(self.sealed_at, -LATE)

    def is_genuine(self, head: SealedHead, *, where: str) -> bool:
        if not self.signatures.knows(head.key_id):
            told = f"the head at link {head.seq} in {where} is signed with a key that is not trusted"
            self.flaw(FlawKind.UNKNOWN_KEY, told, seq=head.seq)
            return False
        if not self.signatures.holds(head.key_id, signed_bytes(head), signature=head.signature):
            told = f"the head at link {head.seq} in {where} is forged: its signature is not of this content"
            self.flaw(FlawKind.FORGED_HEAD, told, seq=head.seq)
            return False
        return True

    def _compare_head(self, head: SealedHead) -> None:
        if head.chain != self.chain:
            if not self.disagrees:  # all that follow will
                told = f"links {self.signed + 1} to {head.seq} are not those that were signed"
                told += ": rows among them were changed, removed or inserted"
                self.flaw(FlawKind.REWRITTEN, told, seq=head.seq)
            self.disagrees = True
            return
        self.disagrees = False
        self.report.heads += 1
        self.signed, self.sealed_at = head.seq, max(self.sealed_at, head.sealed_at)

    def headless(self, head: SealedHead) -> None:
        """A head within the stretch gone through whose link is gone; the gap was named."""
        self.is_genuine(head, where="the ledger")

    def finish(self, *, newest: SealedHead | None) -> None:
        self._settle_suspect()
        if newest is not None and newest.seq > self.seq and self.is_genuine(newest, where="the ledger"):
            told = f"the chain ends at link {self.seq} and was signed up to {newest.seq}: its end was cut off"
            self.flaw(FlawKind.CUT_TAIL, told, seq=self.seq + 1)


@dataclass(slots=True, kw_only=True)
class _Archive:
    """The comparison of what is archived with the ledger."""

    database: Database
    walk: _Walk
    noted_up_to: int
    _beyond: list[int] = field(default_factory=list)  # first and last archived head with no link
    _other: list[int] = field(default_factory=list)  # the same of heads over another chain
    _previous: SealedHead | None = None

    def compare(self, archive: HeadArchive, *, since: int) -> None:
        found = archive.walk(after=since)
        noted = self._noted(since)
        awaited = next(noted, None)
        while some := list(islice(found, _PAGE)):
            seqs = [one.head.seq for one in some if one.head is not None]
            with self.database.reading() as tx:
                chains, heads = audit.chains_at(tx, seqs), audit.heads_at(tx, seqs)
            for one in some:
                head = one.head
                if head is None:
                    self.walk.flaw(FlawKind.UNREADABLE_HEAD, f"{one.name} in the archive is no head")
                    continue
                while awaited is not None and awaited <= head.seq:
                    if awaited < head.seq:
                        self._missing(awaited)
                    awaited = next(noted, None)
                if self.walk.is_genuine(head, where="the archive"):
                    self._judge(head, chain=chains.get(head.seq), known=heads.get(head.seq))
        for seq in (awaited, *noted) if awaited is not None else ():
            self._missing(seq)
        self._sum_up()

    def _noted(self, since: int) -> Iterator[int]:
        """The links whose heads the ledger says are archived."""
        while since < self.noted_up_to:
            with self.database.reading() as tx:
                rows = audit.archived_heads(tx, after=since, limit=_PAGE)
            for row in rows:
                if row.seq <= self.noted_up_to:
                    yield int(row.seq)
            if not rows:
                return
            since = int(rows[-1].seq)

    def _missing(self, seq: int) -> None:
        told = f"the head at link {seq} was archived and is not in the archive"
        self.walk.flaw(FlawKind.ARCHIVE_GAP, told, seq=seq)

    def _judge(self, head: SealedHead, *, chain: bytes | None, known: SealedHead | None) -> None:
        previous, self._previous = self._previous, head
        if previous is not None and previous.seq == head.seq and previous != head:
            told = f"the archive has two signed heads for link {head.seq}"
            self.walk.flaw(FlawKind.REPLACED_HEAD, told, seq=head.seq)
        if chain is None:
            if head.seq > self.walk.seq:  # else its link is in a gap, which was named
                self._beyond[1:] = [head.seq]
            return
        if chain != head.chain:
            self._other[1:] = [head.seq]
            return
        if known is None:
            told = f"the head at link {head.seq} is archived and was removed from the ledger"
            self.walk.flaw(FlawKind.REMOVED_HEAD, told, seq=head.seq)
        elif known != head:
            told = f"the head at link {head.seq} was replaced in the ledger"
            self.walk.flaw(FlawKind.REPLACED_HEAD, told, seq=head.seq)
        self.walk.report.archived += 1

    def _sum_up(self) -> None:
        """A rewritten or cut trail disagrees with every head since: said once."""
        if self._other:
            stretch = f"{self._other[0]} to {self._other[-1]}"
            told = f"the archive's heads at links {stretch} are not over the ledger's chain: it was rewritten"
            self.walk.flaw(FlawKind.REWRITTEN, told, seq=self._other[0])
        if self._beyond:
            stretch = f"{self._beyond[0]} to {self._beyond[-1]}"
            told = f"the archive has heads at links {stretch}, which the ledger does not have"
            told += ": its end was cut off, or an old state was put back"
            self.walk.flaw(FlawKind.CUT_TAIL, told, seq=self._beyond[0])
