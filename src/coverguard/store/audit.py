"""The audit trail: who did what to which thing, in the transaction that did it.

Rows are append-only and carry the SHA-256 of their own canonical content. Facts are fixed words, numbers and
references: never a title, a digest or a name of an uploader. Clean passes are counted, not audited.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, insert, select

from coverguard.model import Micros
from coverguard.store.schema import audit

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


def digest(row: Mapping[str, object]) -> bytes:
    """The SHA-256 of a row's content, keys sorted."""
    kept = {name: row[name] for name in ("at", "actor", "role", "verb", "subject", "facts")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).digest()


def changed_rows(tx: Connection) -> Iterator[int]:
    """Yield the ids of rows that are no longer what was written."""
    for row in tx.execute(select(audit).order_by(audit.c.id)).mappings():
        if digest(dict(row)) != row["digest"]:
            yield int(row["id"])
