"""Sealing: chains what was written to the audit trail, signs how far it goes, and has that locked away.

Invariants: a row is chained once, in the order in which it was seen to be committed, so that one that
commits late has its own place and moves no other; links have no gaps, with any number of sealers; a head is
signed only when nothing waits to be chained, and only over a link that is committed. Every step may run
twice. Whoever has the ledger and the key can write another history, and is found out by the archive. Checks
nothing: see `auditing`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from coverguard.model import between, later
from coverguard.ports import Clock, HeadArchive, SealedHead, Signer
from coverguard.store import Row, audit
from coverguard.store.engine import Database
from coverguard.store.rows import take_turn
from coverguard.trail import START, link, signed_bytes

LATE: Final = timedelta(hours=1)
"""No transaction is open for longer, so no honest row is chained so long after its date."""

HEADS_BEHIND: Final = "audit_heads_behind"
HEADS_SUBJECT: Final = "part:audit-heads"
BEHIND_AFTER: Final = timedelta(minutes=5)
_PAGE: Final = 500
_PAGES: Final = 20  # a turn; the keeper's other steps wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealer:
    """Chains, signs, archives. One a keeper; any number at once do no harm."""

    database: Database
    signer: Signer
    archive: HeadArchive
    clock: Clock
    # An archived head is a request and an object kept for years. One a second says little more than one a
    # minute: whoever rewrites the ledger within that minute has to forge signatures as well.
    archive_every: timedelta = timedelta(minutes=1)
    archive_links: int = 1000  # or as soon as so many links are not covered

    def seal(self) -> int:
        """Chain what is not, then sign; return how many rows were chained."""
        chained, after = 0, None
        for _ in range(_PAGES):
            with self.database.reading() as tx:  # looking takes no write lock
                if after is None:
                    after = audit.floor(tx, before=later(self.clock.now(), -LATE))
                waiting = audit.unchained(tx, after=after, limit=_PAGE)
                last, signed = audit.newest_link(tx), audit.newest_head(tx)
            if not waiting:
                if last is not None and (signed is None or signed.seq < last.seq):
                    self._sign(last)
                return chained
            done = self._chain(after)
            chained += done
            after = int(waiting[-1].id) if done == _PAGE else after
        return chained

    def _chain(self, after: int) -> int:
        with self.database.transaction() as tx:
            take_turn(tx, "sealer")
            last = audit.newest_link(tx)
            seq, chain = (int(last.seq), bytes(last.chain)) if last else (0, START)
            links = []
            for row in audit.unchained(tx, after=after, limit=_PAGE):  # again: somebody may have been faster
                seq, chain = seq + 1, link(chain, int(row.id), bytes(row.digest))
                links.append({"seq": seq, "audit_id": row.id, "chain": chain})
            if links:
                audit.add_links(tx, links)
        return len(links)

    def _sign(self, last: Row[Any]) -> None:
        unsigned = SealedHead(
            seq=int(last.seq),
            chain=bytes(last.chain),
            sealed_at=self.clock.now(),
            key_id=self.signer.key_id,
            signature=b"",
        )
        signature = self.signer.sign(signed_bytes(unsigned))
        with self.database.transaction() as tx:
            audit.add_head(tx, replace(unsigned, signature=signature))

    def archive_heads(self) -> int:
        """Lock the newest head away, if it is time to; return how many were.

        Raises:
            TransientError: the archive does not answer; it is tried again at the next tick.
            IntegrityFailure: the archive has another head in its place: the ledger is not the one it was.
        """
        now = self.clock.now()
        with self.database.reading() as tx:
            newest, kept = audit.newest_head(tx), audit.newest_head(tx, archived=True)
        if newest is None or newest.archived_at is not None:
            return 0
        if kept is not None:
            recent = timedelta() <= between(kept.archived_at, now) < self.archive_every
            if recent and newest.seq - kept.seq < self.archive_links:
                return 0
        self.archive.put(audit.as_head(newest))
        with self.database.transaction() as tx:
            audit.mark_archived(tx, int(newest.seq), now=self.clock.now())
        return 1

    def is_behind(self) -> bool:
        """Whether something has waited for minutes to be sealed or locked away."""
        since = later(self.clock.now(), -BEHIND_AFTER)
        with self.database.reading() as tx:
            kept = audit.newest_head(tx, archived=True)
            first = audit.oldest_head(tx, after=int(kept.seq) if kept else 0)
            if first is not None and first.sealed_at < since:
                return True
            after = audit.floor(tx, before=later(self.clock.now(), -LATE))
            return any(row.at < since for row in audit.unchained(tx, after=after, limit=1))
