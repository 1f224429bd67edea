"""The thread of a report: every entry sealed twice, for staff and for the reporter, under one number.

What a reporter can read is exactly what staff can read of the thread: nothing is added to one copy alone. An
entry says by its author's kind who spoke, never by name. Both copies, and what they tell of, are written in
the caller's transaction, which has the report's row locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coverguard.correspondence import Mail, mail_context, to_seal
from coverguard.messages import from_micros
from coverguard.model import Micros, ThreadAuthor
from coverguard.ports import Keys, Letterbox
from coverguard.store import Connection, Row, threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a thread, opened."""

    seq: int
    at: Micros
    author: ThreadAuthor
    kind: str  # report, receipt, addition, reply, status, outcome
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Threads:
    keys: Keys
    letters: Letterbox

    def say(
        self,
        tx: Connection,
        report: Row[Any],
        text: str,
        *,
        entry_id: str,
        author: ThreadAuthor,
        kind: str,
        now: Micros,
    ) -> bool:
        """Append an entry, once an `entry_id`; return whether it is new. The caller has the report locked."""
        if threads.has(tx, entry_id):
            return False
        seq = threads.next_seq(tx, report.id)
        threads.add(
            tx,
            report_id=report.id,
            seq=seq,
            entry_id=entry_id,
            author=author,
            kind=kind,
            text_sealed=self.keys.seal("private", text.encode(), context=_context(report.ref, seq)),
            said_at=now,
        )
        if report.mailbox is not None:
            mail = Mail(
                reference=report.ref,
                seq=seq,
                at=from_micros(now),
                author=author.value,
                kind=kind,
                text=text,
            )
            mailbox, context = bytes(report.mailbox), mail_context(report.ref, seq)
            sealed = self.letters.seal(mailbox, to_seal(mail), context=context)
            threads.post(tx, address=threads.address_of(mailbox), seq=seq, body_sealed=sealed)
        return True

    def announce(self, tx: Connection, report: Row[Any], text: str, *, kind: str, now: Micros) -> bool:
        """Append an automatic entry, once a kind and moment of the report's story."""
        entry_id = f"{report.ref}:{kind}:{now}"
        return self.say(
            tx, report, text, entry_id=entry_id, author=ThreadAuthor.AUTOMATIC, kind=kind, now=now
        )

    def read(self, tx: Connection, report: Row[Any]) -> Sequence[Entry]:
        """The whole thread, as staff may read it.

        Raises:
            IntegrityFailure: an entry is not what was sealed in its place.
        """
        return [
            Entry(
                seq=int(row.seq),
                at=Micros(row.said_at),
                author=ThreadAuthor(row.author),
                kind=str(row.kind),
                text=self.keys.open(
                    "private", bytes(row.text_sealed), context=_context(report.ref, row.seq)
                ).decode(),
            )
            for row in threads.entries(tx, report.id)
        ]


def _context(reference: str, seq: int) -> bytes:
    return f"report.thread:{reference}:{seq}".encode()
