"""Threads: everything that was said about a report, for staff and for the reporter, who has a mailbox.

Append-only. Both copies of an entry are written in one transaction under one number, and the caller has the
report's row locked, so that the numbers have no gap. What is written is sealed before it comes here: nothing
in this module can be read without a key that it does not know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from coverguard.model import Micros, ThreadAuthor
from coverguard.store.schema import reporter, thread_entry, thread_mail


def next_seq(tx: Connection, report_id: int) -> int:
    """The number of the thread's next entry; the caller has the report locked."""
    newest = select(func.max(thread_entry.c.seq)).where(thread_entry.c.report_id == report_id)
    return int(tx.execute(newest).scalar() or 0) + 1


def has(tx: Connection, entry_id: str) -> bool:
    """Whether that was said already."""
    return (
        tx.execute(select(thread_entry.c.id).where(thread_entry.c.entry_id == entry_id)).first() is not None
    )


def add(
    tx: Connection,
    *,
    report_id: int,
    seq: int,
    entry_id: str,
    author: ThreadAuthor,
    kind: str,
    text_sealed: bytes,
    said_at: Micros,
) -> None:
    """Append the staff's copy of an entry."""
    values = {
        "report_id": report_id,
        "seq": seq,
        "entry_id": entry_id,
        "author": author.value,
        "kind": kind,
        "text_sealed": text_sealed,
        "said_at": said_at,
    }
    tx.execute(insert(thread_entry).values(values))


def entries(tx: Connection, report_id: int) -> Sequence[Row[Any]]:
    """The whole thread, in its order."""
    mine = select(thread_entry).where(thread_entry.c.report_id == report_id)
    return tx.execute(mine.order_by(thread_entry.c.seq)).all()


# ── the reporter's copy ────────────────────────────────────────────────────────────────────────────────────


def address_of(public_key: bytes) -> bytes:
    """Where the mail of a mailbox lies: the SHA-256 of its public key."""
    return hashlib.sha256(public_key).digest()


def post(tx: Connection, *, address: bytes, seq: int, body_sealed: bytes) -> None:
    """Append the reporter's copy of an entry."""
    tx.execute(insert(thread_mail).values(mailbox=address, seq=seq, body_sealed=body_sealed))


def mail(tx: Connection, address: bytes, *, after: int = 0) -> Sequence[tuple[int, bytes]]:
    """The mail at an address, in its order: number and sealed body. Needs no right but to read mail."""
    mine = select(thread_mail.c.seq, thread_mail.c.body_sealed).where(
        thread_mail.c.mailbox == address, thread_mail.c.seq > after
    )
    return [(int(row.seq), bytes(row.body_sealed)) for row in tx.execute(mine.order_by(thread_mail.c.seq))]


# ── who they are, of those who said it ─────────────────────────────────────────────────────────────────────


def keep_contact(tx: Connection, *, report_id: int, contact_sealed: bytes, expires_at: Micros) -> None:
    values = {"report_id": report_id, "contact_sealed": contact_sealed, "expires_at": expires_at}
    tx.execute(insert(reporter).values(values).inline())  # its writer may not read it, not even the new id


def contact(tx: Connection, report_id: int) -> bytes | None:
    """The sealed contact of a reporter who gave one, until it expires."""
    mine = select(reporter.c.contact_sealed).where(reporter.c.report_id == report_id)
    found = tx.execute(mine).scalar_one_or_none()
    return bytes(found) if found is not None else None


def contacts_expired(tx: Connection, *, now: Micros) -> bool:
    return tx.execute(select(reporter.c.id).where(reporter.c.expires_at < now).limit(1)).first() is not None


def erase_contacts(tx: Connection, *, now: Micros) -> int:
    """Erase contacts past their time; return how many."""
    return tx.execute(delete(reporter).where(reporter.c.expires_at < now)).rowcount
