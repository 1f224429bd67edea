"""What the platform told us: accounts, cover versions, collaborations, statements, events not yet served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, or_, select, update

from coverguard.errors import BadMessage, Contention
from coverguard.messages import Cover, CoverUploaded, StoredObject, dump, from_micros
from coverguard.model import Micros, Mode, ObjectRef
from coverguard.notifications import is_nobody
from coverguard.store import darkening, own_writes
from coverguard.store.rows import insert_once, insert_row, lock_all, new_ref
from coverguard.store.schema import (
    account,
    case_file,
    case_item,
    collaboration,
    cover_version,
    platform_event,
    statement,
)


def know_account(tx: Connection, platform_id: str, *, now: Micros) -> int:
    """Return the account's id, noting it on first sight."""
    return insert_once(tx, account, {"platform_id": platform_id}, {"seen_at": now})[0]


def announce(tx: Connection, event: CoverUploaded, *, mode: Mode, sent_at: Micros, now: Micros) -> Row[Any]:
    """Write the cover version down before anything can go wrong with it, and return its row.

    One whose uploader is dark is claimed in the same transaction, before anybody looks at it.

    Raises:
        BadMessage: the same cover version was announced before with another object.
        Contention: its uploader went dark in between; run the whole verb again.
    """
    key = {"surface": event.cover.surface.value, "cover_id": event.cover.id, "version": event.cover.version}
    people = sorted({event.uploader_id, event.owner_id})  # in one order, so that no two wait for each other
    seen = {"seen_at": now}
    accounts = {one: insert_row(tx, account, {"platform_id": one}, seen)[0] for one in people}
    known = {platform_id: int(found.id) for platform_id, found in accounts.items()}
    row, new = insert_row(
        tx,
        cover_version,
        key,
        {
            "ref": new_ref("cover"),
            "mode": mode.value,
            "uploader_id": known[event.uploader_id],
            "owner_id": known[event.owner_id],
            "playlist_id": event.playlist_id,
            "bucket": event.object.bucket,
            "key": event.object.key,
            "version_id": event.object.version_id,
            "renditions": [rendition.model_dump() for rendition in event.renditions],
            "event_id": event.event_id,
            "sent_at": sent_at,
            "announced_at": now,
        },
    )
    if not new and not _says_the_same(tx, row, event.object):
        raise BadMessage("field object: this cover version was announced before with another object")
    if (takedown_id := _darkness(tx, accounts[event.uploader_id])) is not None:
        darkening.claim_announced(tx, takedown_id, row, now=now)
        row = by_id(tx, row.id)
    return row


def _darkness(tx: Connection, uploader: Row[Any]) -> int | None:
    """The takedown of a dark account, under a lock that whoever requests or lifts one waits for.

    Claiming takes the stronger lock. Two that had the weaker one and want that would wait for each other.
    """
    if uploader.takedown_id is not None:
        found: int | None = lock_all(tx, account, [uploader.id])[0].takedown_id
        return found
    shared = select(account.c.takedown_id).where(account.c.id == uploader.id).with_for_update(read=True)
    if tx.execute(shared).scalar_one() is not None:
        raise Contention("an account went dark while a cover of its was announced")
    return None


def _says_the_same(tx: Connection, row: Row[Any], stored: StoredObject) -> bool:
    if (row.bucket, row.key, row.version_id) == (stored.bucket, stored.key, stored.version_id):
        return True
    said = ObjectRef(bucket=stored.bucket, key=stored.key, version_id=stored.version_id)
    return (row.bucket, row.key) == (said.bucket, said.key) and own_writes.took_the_place_of(tx, said)


def by_id(tx: Connection, cover_version_id: int) -> Row[Any]:
    return tx.execute(select(cover_version).where(cover_version.c.id == cover_version_id)).one()


def lock(tx: Connection, cover_version_id: int) -> Row[Any]:
    """Lock a cover version, before any other row, for who answers it, decides on it or tells of it."""
    return lock_many(tx, [cover_version_id])[0]


def lock_many(tx: Connection, ids: Iterable[int]) -> Sequence[Row[Any]]:
    """Lock several at once; a second call in the same transaction could wait for who waits for it."""
    return lock_all(tx, cover_version, ids)


def by_ref(tx: Connection, ref: str) -> Row[Any] | None:
    return tx.execute(select(cover_version).where(cover_version.c.ref == ref)).one_or_none()


def announcement(tx: Connection, cover: Row[Any]) -> str:
    """The upload message of a cover version once more, from the ledger."""
    event = CoverUploaded(
        event_id=cover.event_id,
        occurred_at=from_micros(cover.announced_at),
        cover=Cover(id=cover.cover_id, version=cover.version, surface=cover.surface),
        uploader_id=platform_account(tx, cover.uploader_id),
        owner_id=platform_account(tx, cover.owner_id),
        playlist_id=cover.playlist_id,
        object=StoredObject(bucket=cover.bucket, key=cover.key, version_id=cover.version_id),
        renditions=[StoredObject.model_validate(one) for one in cover.renditions],
    )
    return dump(event)


def find(tx: Connection, cover: Cover) -> Row[Any] | None:
    return by_name(tx, surface=cover.surface.value, cover_id=cover.id, version=cover.version)


def by_name(tx: Connection, *, surface: str, cover_id: str, version: int) -> Row[Any] | None:
    mine = select(cover_version).where(
        cover_version.c.surface == surface,
        cover_version.c.cover_id == cover_id,
        cover_version.c.version == version,
    )
    return tx.execute(mine).one_or_none()


def versions_of(tx: Connection, cover: Row[Any]) -> Sequence[Row[Any]]:
    """Every version of that cover that we know of, whoever uploaded it."""
    same = (cover_version.c.surface == cover.surface, cover_version.c.cover_id == cover.cover_id)
    return tx.execute(select(cover_version).where(*same).order_by(cover_version.c.version)).all()


def lying_at(tx: Connection, ref: ObjectRef) -> Sequence[Row[Any]]:
    """Cover versions whose object is exactly that one."""
    mine = (cover_version.c.bucket == ref.bucket, cover_version.c.key == ref.key)
    return tx.execute(select(cover_version).where(cover_version.c.version_id == ref.version_id, *mine)).all()


def mark_deleted(tx: Connection, cover: Row[Any], *, now: Micros) -> None:
    """Set the platform's tombstone; the first one counts."""
    still = (cover_version.c.id == cover.id, cover_version.c.deleted_at.is_(None))
    tx.execute(update(cover_version).where(*still).values(deleted_at=now))


def platform_account(tx: Connection, account_id: int) -> str:
    return str(tx.execute(select(account.c.platform_id).where(account.c.id == account_id)).scalar_one())


def uploader_of(tx: Connection, cover: Row[Any]) -> str | None:
    """The platform's id of who uploaded it; None where nobody said who."""
    account_id = platform_account(tx, cover.uploader_id)
    return None if is_nobody(account_id, cover_id=cover.cover_id) else account_id


def note_collaboration(
    tx: Connection, *, playlist_id: str, account_id: int, active: bool, at: Micros
) -> None:
    """Remember who shares a playlist; an older event that arrives late changes nothing."""
    key = {"playlist_id": playlist_id, "account_id": account_id}
    row_id, new = insert_once(tx, collaboration, key, {"changed_at": at, "active": active})
    if not new:
        older = (collaboration.c.id == row_id, collaboration.c.changed_at < at)
        tx.execute(update(collaboration).where(*older).values(changed_at=at, active=active))


def note_event(
    tx: Connection,
    *,
    event_id: str,
    event_type: str,
    facts: Mapping[str, str | int | None],
    occurred_at: Micros,
    now: Micros,
    served: bool,
    account_id: int | None = None,
    playlist_id: str | None = None,
) -> bool:
    """Store a platform event once; `served=False` keeps it in `verify`'s list of what is still owed."""
    values = {
        "type": event_type,
        "account_id": account_id,
        "playlist_id": playlist_id,
        "facts": dict(facts),
        "occurred_at": occurred_at,
        "received_at": now,
        "served_at": now if served else None,
    }
    return insert_once(tx, platform_event, {"event_id": event_id}, values)[1]


def note_statement(
    tx: Connection,
    *,
    event_id: str,
    kind: str,
    text_sealed: bytes,
    said_at: Micros,
    expires_at: Micros | None,
    account_id: int | None = None,
    playlist_id: str | None = None,
) -> None:
    """Store what a person wrote, sealed under the private key."""
    values = {
        "kind": kind,
        "account_id": account_id,
        "playlist_id": playlist_id,
        "text_sealed": text_sealed,
        "said_at": said_at,
        "expires_at": expires_at,
    }
    insert_once(tx, statement, {"event_id": event_id}, values)


def expired_statements(tx: Connection, *, now: Micros, limit: int) -> Sequence[int]:
    """Ids of statements past their time that are about no playlist and no account of a case."""
    in_cases = select(case_item.c.cover_version_id).scalar_subquery()
    playlists = select(cover_version.c.playlist_id).where(
        cover_version.c.id.in_(in_cases), cover_version.c.playlist_id.is_not(None)
    )
    accounts = select(case_file.c.account_id).scalar_subquery()
    due = (
        select(statement.c.id)
        .where(
            statement.c.expires_at < now,
            or_(
                statement.c.playlist_id.is_(None), statement.c.playlist_id.not_in(playlists.scalar_subquery())
            ),
            or_(statement.c.account_id.is_(None), statement.c.account_id.not_in(accounts)),
        )
        .limit(limit)
    )
    return [int(one) for one in tx.execute(due).scalars()]


def erase_statements(tx: Connection, ids: Sequence[int]) -> None:
    tx.execute(delete(statement).where(statement.c.id.in_(ids)))


def unserved(tx: Connection) -> Mapping[str, int]:
    """Stored events that no part of this release serves yet, counted by type."""
    waiting = (
        select(platform_event.c.type, func.count())
        .where(platform_event.c.served_at.is_(None))
        .group_by(platform_event.c.type)
        .order_by(platform_event.c.type)
    )
    return {str(kind): int(count) for kind, count in tx.execute(waiting)}


def count_of_uploader(tx: Connection, account_id: int) -> int:
    """How many cover versions of the account there are."""
    mine = select(func.count()).select_from(cover_version).where(cover_version.c.uploader_id == account_id)
    return int(tx.execute(mine).scalar_one())


def others_of_uploader(tx: Connection, account_id: int, *, besides: Sequence[int]) -> Sequence[Row[Any]]:
    """Everything else the account has uploaded, newest first."""
    theirs = (
        select(cover_version)
        .where(cover_version.c.uploader_id == account_id, cover_version.c.id.not_in(list(besides)))
        .order_by(cover_version.c.announced_at.desc(), cover_version.c.id.desc())
    )
    return tx.execute(theirs).all()
