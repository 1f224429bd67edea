"""The transactional outbox: what we owe to tell, written with the facts that call for it.

Delivery is at least once; the idempotency key lets a consumer drop repeats, and `verdict_seq` (rising per
cover version) lets it ignore what arrives late.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select, true, update

from coverguard.messages import (
    Cover,
    CoverCleared,
    CoverReleased,
    CoverRemoved,
    CoverWithheld,
    PipelineEvent,
    SafetyEvent,
    StoredObject,
    dump,
    from_micros,
)
from coverguard.model import Micros
from coverguard.store.rows import insert_once
from coverguard.store.schema import cover_version, fingerprint, outbox

VerdictEventType = Literal["cover.cleared", "cover.withheld", "cover.released", "cover.removed"]
_VERDICTS: dict[VerdictEventType, type[PipelineEvent]] = {
    "cover.cleared": CoverCleared,
    "cover.withheld": CoverWithheld,
    "cover.released": CoverReleased,
    "cover.removed": CoverRemoved,
}
_PUBLISHING: frozenset[VerdictEventType] = frozenset({"cover.cleared", "cover.released"})


def cover_of(cover: Row[Any]) -> Cover:
    return Cover(id=cover.cover_id, version=cover.version, surface=cover.surface)


def tell_pipeline(
    tx: Connection, *, cover: Row[Any], event: VerdictEventType, now: Micros, sha256: bytes | None = None
) -> None:
    """Owe the platform one verdict event about a cover version, with the next `verdict_seq`.

    Nothing is owed where the event would publish what the platform has deleted meanwhile. Without `sha256`
    the newest fingerprint's is looked up.
    """
    mine = cover_version.c.id == cover.id
    raised = (
        update(cover_version)
        .where(mine, cover_version.c.deleted_at.is_(None) if event in _PUBLISHING else true())
        .values(verdict_seq=cover_version.c.verdict_seq + 1)
        .returning(cover_version.c.verdict_seq)
    )
    seq = tx.execute(raised).scalar_one_or_none()
    if seq is None:
        return
    digest = sha256 or _newest_sha256(tx, cover.id)
    key = f"{cover.ref}:{seq}"
    body = _VERDICTS[event](
        event_id=key,
        occurred_at=from_micros(now),
        cover=cover_of(cover),
        object=StoredObject(bucket=cover.bucket, key=cover.key, version_id=cover.version_id),
        sha256=digest.hex() if digest else "",
        verdict_seq=seq,
    )
    _owe(tx, topic="pipeline", key=key, body=dump(body), now=now)


def _newest_sha256(tx: Connection, cover_version_id: int) -> bytes | None:
    newest = (
        select(fingerprint.c.sha256)
        .where(fingerprint.c.cover_version_id == cover_version_id)
        .order_by(fingerprint.c.fingerprint_version.desc())
        .limit(1)
    )
    return tx.execute(newest).scalar_one_or_none()


def tell_safety(tx: Connection, *, event: SafetyEvent, now: Micros) -> None:
    """Owe the safety team one event; its `event_id` is the idempotency key."""
    _owe(tx, topic="safety", key=event.event_id, body=dump(event), now=now)


def _owe(tx: Connection, *, topic: str, key: str, body: str, now: Micros) -> None:
    insert_once(tx, outbox, {"idempotency_key": key}, {"topic": topic, "body": body, "created_at": now})


def unsent(tx: Connection, *, limit: int, topic: str | None = None, after: int = 0) -> Sequence[Row[Any]]:
    """The oldest unsent events (of a topic, with a higher id). By id: those of one cover are in order."""
    waiting = select(outbox).where(outbox.c.sent_at.is_(None), outbox.c.id > after)
    if topic is not None:
        waiting = waiting.where(outbox.c.topic == topic)
    return tx.execute(waiting.order_by(outbox.c.id).limit(limit)).all()


def overdue_topics(tx: Connection, *, before: Micros, besides: Collection[int]) -> frozenset[str]:
    """The topics that have owed an event since that time, other than those named by id."""
    waiting = (
        select(outbox.c.topic)
        .where(outbox.c.sent_at.is_(None), outbox.c.created_at < before, outbox.c.id.not_in(besides))
        .distinct()
    )
    return frozenset(tx.execute(waiting).scalars())


def mark_sent(tx: Connection, ids: Sequence[int], *, now: Micros) -> None:
    tx.execute(update(outbox).where(outbox.c.id.in_(ids), outbox.c.sent_at.is_(None)).values(sent_at=now))


def count_unsent(tx: Connection) -> int:
    return int(tx.execute(select(func.count()).where(outbox.c.sent_at.is_(None))).scalar_one())
