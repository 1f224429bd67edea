"""The audit trail: who did what to which thing, in the transaction that did it; and what was sealed of it.

Rows are append-only and carry the SHA-256 of their own canonical content. Facts are fixed words, numbers and
references: never a title, a digest or a name of an uploader. Clean passes are counted, not audited. Links
(`audit_chain`) and heads (`audit_head`) are written by `sealing`, which knows what they mean; a row that
commits late has a low id and a high link, so the order of the trail is that of the links.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from coverguard.model import Micros
from coverguard.ports import SealedHead
from coverguard.store.schema import audit, audit_chain, audit_head

Fact = str | int | bool | None

MACHINE = "coverguard"


def write(
    tx: Connection,
    *,
    now: Micros,
    verb: str,
    subject: str,
    actor: str = MACHINE,
    role: str = "machine",
    facts: Mapping[str, Fact] | None = None,
) -> None:
    """Append one row."""
    row = {
        "at": now,
        "actor": actor,
        "role": role,
        "verb": verb,
        "subject": subject,
        "facts": dict(facts or {}),
    }
    tx.execute(insert(audit).values(**row, digest=digest(row)))


def digest(row: Mapping[Any, Any]) -> bytes:
    """The SHA-256 of a row's content, keys sorted."""
    kept = {name: row[name] for name in ("at", "actor", "role", "verb", "subject", "facts")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).digest()


def changed_rows(tx: Connection) -> Iterator[int]:
    """Yield the ids of rows that are no longer what was written, sealed or not."""
    for row in tx.execute(select(audit).order_by(audit.c.id)).mappings():
        if digest(dict(row)) != row["digest"]:
            yield int(row["id"])


# ── sealing ────────────────────────────────────────────────────────────────────────────────────────────────


def unchained(tx: Connection, *, after: int, limit: int) -> Sequence[Row[Any]]:
    """Rows with a higher id that have no link yet, by id."""
    linked = audit.outerjoin(audit_chain, audit_chain.c.audit_id == audit.c.id)
    waiting = (
        select(audit)
        .select_from(linked)
        .where(audit.c.id > after, audit_chain.c.seq.is_(None))
        .order_by(audit.c.id)
        .limit(limit)
    )
    return tx.execute(waiting).all()


def floor(tx: Connection, *, before: Micros) -> int:
    """The highest id of the last rows chained when a head was sealed before that time; 0 without one.

    Whoever gave a lower id to a row that is still not committed has been at it since then.
    """
    sealed = select(audit_head.c.seq).where(audit_head.c.sealed_at < before)
    newest = sealed.order_by(audit_head.c.seq.desc()).limit(1).scalar_subquery()
    found = tx.execute(select(audit_chain.c.audit_id).where(audit_chain.c.seq == newest)).scalar_one_or_none()
    return int(found or 0)


def sealed_up_to(tx: Connection, *, before: Micros) -> int:
    """The last link that a head covered which was sealed before that time; 0 without one."""
    sealed = select(func.max(audit_head.c.seq)).where(audit_head.c.sealed_at < before)
    return int(tx.execute(sealed).scalar_one() or 0)


def newest_link(tx: Connection) -> Row[Any] | None:
    return tx.execute(select(audit_chain).order_by(audit_chain.c.seq.desc()).limit(1)).one_or_none()


def add_links(tx: Connection, links: Sequence[Mapping[str, object]]) -> None:
    """Append links: `seq`, `audit_id`, `chain`. The caller has the sealer's turn."""
    tx.execute(insert(audit_chain), list(links))


def newest_head(tx: Connection, *, archived: bool = False) -> Row[Any] | None:
    """The head that covers most; of those that the archive has, if asked so."""
    heads = select(audit_head).order_by(audit_head.c.seq.desc()).limit(1)
    return tx.execute(heads.where(audit_head.c.archived_at.is_not(None)) if archived else heads).one_or_none()


def oldest_head(tx: Connection, *, after: int) -> Row[Any] | None:
    """The first head that covers more than that link."""
    heads = select(audit_head).where(audit_head.c.seq > after).order_by(audit_head.c.seq).limit(1)
    return tx.execute(heads).one_or_none()


def add_head(tx: Connection, head: SealedHead) -> None:
    """Note a head, unless somebody has sealed this link meanwhile."""
    make = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    values = {"seq": head.seq, "chain": head.chain, "signature": head.signature, "key_id": head.key_id}
    tx.execute(make(audit_head).values(**values, sealed_at=head.sealed_at).on_conflict_do_nothing())


def mark_archived(tx: Connection, seq: int, *, now: Micros) -> None:
    tx.execute(update(audit_head).where(audit_head.c.seq == seq).values(archived_at=now))


def as_head(row: Row[Any]) -> SealedHead:
    return SealedHead(
        seq=int(row.seq),
        chain=bytes(row.chain),
        sealed_at=Micros(row.sealed_at),
        key_id=str(row.key_id),
        signature=bytes(row.signature),
    )


# ── checking ───────────────────────────────────────────────────────────────────────────────────────────────


def links(tx: Connection, *, after: int, limit: int) -> Sequence[Row[Any]]:
    """The next links by `seq`, each beside its row: all of the row's columns are None where it is gone."""
    beside = audit_chain.outerjoin(audit, audit.c.id == audit_chain.c.audit_id)
    columns = (audit_chain.c.seq, audit_chain.c.audit_id, audit_chain.c.chain, *audit.c)
    following = select(*columns).select_from(beside).where(audit_chain.c.seq > after)
    return tx.execute(following.order_by(audit_chain.c.seq).limit(limit)).all()


def chains_at(tx: Connection, seqs: Sequence[int]) -> Mapping[int, bytes]:
    """The values of these links, of those that are there."""
    rows = tx.execute(select(audit_chain.c.seq, audit_chain.c.chain).where(audit_chain.c.seq.in_(seqs)))
    return {int(row.seq): bytes(row.chain) for row in rows}


def heads(tx: Connection, *, after: int, up_to: int) -> Sequence[Row[Any]]:
    """The heads of a stretch of links, by `seq`."""
    stretch = select(audit_head).where(audit_head.c.seq > after, audit_head.c.seq <= up_to)
    return tx.execute(stretch.order_by(audit_head.c.seq)).all()


def archived_heads(tx: Connection, *, after: int, limit: int) -> Sequence[Row[Any]]:
    """The next heads by `seq` of which it is noted that the archive has them."""
    noted = select(audit_head).where(audit_head.c.seq > after, audit_head.c.archived_at.is_not(None))
    return tx.execute(noted.order_by(audit_head.c.seq).limit(limit)).all()


def heads_at(tx: Connection, seqs: Sequence[int]) -> Mapping[int, SealedHead]:
    rows = tx.execute(select(audit_head).where(audit_head.c.seq.in_(seqs)))
    return {int(row.seq): as_head(row) for row in rows}
