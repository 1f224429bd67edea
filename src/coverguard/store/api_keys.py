"""Keys of the platform's interface: whose they are, what they may do, until when.

Only the SHA-256 of a key's 32 random bytes is stored: what lies here lets nobody in. A key that was revoked
or has run out is not found, from the transaction's end on. Nothing is removed: reports name the key they came
with. Decides nothing about roles; `access` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select, update

from coverguard.access import Role
from coverguard.errors import NotFound, Refused
from coverguard.model import Micros
from coverguard.store.rows import lock, new_ref, take_turn
from coverguard.store.schema import api_key, report

ROLES: Final = frozenset({Role.SUPPORT, Role.TRUSTED_FLAGGER, Role.HOTLINE})
SECRET_BYTES: Final = 32


def role_of(word: str) -> Role:
    """The role of that name, if a key may have it.

    Raises:
        Refused: no key of the interface has that role.
    """
    if word not in ROLES:
        raise Refused(f"a key has one of the roles: {', '.join(sorted(one.value for one in ROLES))}")
    return Role(word)


def add(
    tx: Connection,
    *,
    name: str,
    role: Role,
    secret: bytes,
    public_key: bytes | None,
    created_by: str,
    now: Micros,
    expires_at: Micros,
) -> str:
    """Note a new key and return its reference; `public_key` is Ed25519, 32 bytes, of who signs requests.

    Raises:
        Refused: no key of the interface has that role, or a key of that name exists: a name is whose it is.
    """
    role_of(role)
    take_turn(tx, "api keys")
    if tx.execute(select(api_key.c.id).where(api_key.c.name == name).limit(1)).first() is not None:
        raise Refused("there is, or was, a key of that name: rotate it, or choose another name")
    return _insert(
        tx,
        name=name,
        role=role.value,
        secret=secret,
        public_key=public_key,
        created_by=created_by,
        now=now,
        expires_at=expires_at,
    )


def _insert(
    tx: Connection,
    *,
    name: str,
    role: str,
    secret: bytes,
    public_key: bytes | None,
    created_by: str,
    now: Micros,
    expires_at: Micros,
) -> str:
    ref = new_ref("key")
    values = {
        "ref": ref,
        "name": name,
        "role": role,
        "secret_sha256": hashed(secret),
        "public_key": public_key,
        "created_by": created_by,
        "created_at": now,
        "expires_at": expires_at,
    }
    tx.execute(insert(api_key).values(**values))
    return ref


def live(tx: Connection, *, secret: bytes, now: Micros) -> Row[Any] | None:
    """The key of these 32 bytes, unless it was revoked or has run out."""
    usable = (api_key.c.revoked_at.is_(None), api_key.c.expires_at > now)
    found = select(api_key).where(api_key.c.secret_sha256 == hashed(secret), *usable)
    return tx.execute(found).one_or_none()


def listing(tx: Connection) -> Sequence[Row[Any]]:
    """Every key there ever was, the newest first."""
    return tx.execute(select(api_key).order_by(api_key.c.id.desc())).all()


def revoke(tx: Connection, ref: str, *, now: Micros) -> bool:
    """Ensure that a key lets nobody in any more; return whether it did until now.

    Raises:
        NotFound: there is no such key.
    """
    row = lock(tx, api_key, _id_of(tx, ref))
    if row.revoked_at is not None:
        return False
    tx.execute(update(api_key).where(api_key.c.id == row.id).values(revoked_at=now))
    return bool(row.expires_at > now)


def replace(
    tx: Connection,
    ref: str,
    *,
    secret: bytes,
    created_by: str,
    now: Micros,
    expires_at: Micros,
    until: Micros,
) -> str:
    """Make another key of the same name, role and public key; the old one ends at `until` at the latest.

    Raises:
        NotFound: there is no such key.
        Refused: it was revoked, or has run out: whoever has it may be nobody we know.
    """
    row = lock(tx, api_key, _id_of(tx, ref))
    if row.revoked_at is not None or row.expires_at <= now:
        raise Refused("the key has ended; add a new one")
    ends = min(int(row.expires_at), until)
    tx.execute(update(api_key).where(api_key.c.id == row.id).values(expires_at=ends))
    return _insert(
        tx,
        name=row.name,
        role=row.role,
        secret=secret,
        public_key=row.public_key,
        created_by=created_by,
        now=now,
        expires_at=expires_at,
    )


def report_of(tx: Connection, *, key_name: str, reference: str) -> Row[Any] | None:
    """State and times of a report, if it came with a key of that name: a rotated key's reports go on."""
    mine = select(api_key.c.id).where(api_key.c.name == key_name).scalar_subquery()
    columns = (report.c.ref, report.c.state, report.c.received_at, report.c.hidden_at, report.c.decided_at)
    wanted = select(*columns).where(report.c.ref == reference, report.c.api_key_id.in_(mine))
    found: Any = tx.execute(wanted).one_or_none()
    row: Row[Any] | None = found
    return row


def hashed(secret: bytes) -> bytes:
    """What is stored of a key. It is random and long, so a plain digest is enough."""
    return hashlib.sha256(secret).digest()


def _id_of(tx: Connection, ref: str) -> int:
    found = tx.execute(select(api_key.c.id).where(api_key.c.ref == ref)).scalar_one_or_none()
    if found is None:
        raise NotFound("there is no such key")
    return int(found)
