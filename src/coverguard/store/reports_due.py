"""Reports that somebody has to go on with: what the keeper looks for, so that none depends on a message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select, update

from coverguard.imaging.listing import PREFIX
from coverguard.lifecycle import ReportState
from coverguard.model import FINGERPRINT_VERSION, Micros, TargetEffect, TargetKind
from coverguard.policy import QUALITY_FLOOR
from coverguard.store.schema import (
    account,
    case_file,
    case_item,
    cover_version,
    fingerprint,
    fingerprint_view,
    platform_event,
    report,
    report_item,
    report_target,
    screening,
    statement,
)

OPEN: Final = report.c.state != ReportState.DECIDED.value


def unserved(tx: Connection, *, before: Micros, limit: int) -> Sequence[int]:
    """Reports received before then that name something that nothing was done about yet."""
    found = (
        select(report.c.id)
        .join(report_target, report_target.c.report_id == report.c.id)
        .where(report_target.c.effected_at.is_(None), report.c.received_at < before)
        .distinct()
        .order_by(report.c.id)
        .limit(limit)
    )
    return [int(one) for one in tx.execute(found).scalars()]


def take_up_found(tx: Connection, *, limit: int) -> Sequence[int]:
    """Have targets served that nobody knew when they were named, and that are there now.

    Returns the ids of their reports.
    """
    unknown = (report_target.c.effect == TargetEffect.UNKNOWN.value, report_target.c.decided_at.is_(None))
    found = (
        select(report_target.c.id, report_target.c.report_id).where(*unknown, or_(*_is_there())).limit(limit)
    )
    rows = tx.execute(found).all()
    again = {"effect": TargetEffect.NONE.value, "effected_at": None}
    ids = [row.id for row in rows]
    tx.execute(update(report_target).where(report_target.c.id.in_(ids)).values(again))
    return sorted({int(row.report_id) for row in rows})


def to_hide(tx: Connection, *, limit: int) -> Sequence[int]:
    """Reports in `received` of which something is, or is becoming, unreachable."""
    hiding = exists(
        select(report_target.c.id).where(
            report_target.c.report_id == report.c.id, report_target.c.effect == TargetEffect.HIDDEN.value
        )
    )
    found = select(report.c.id).where(report.c.state == ReportState.RECEIVED.value, hiding)
    return [int(one) for one in tx.execute(found.order_by(report.c.id).limit(limit)).scalars()]


def perhaps_decided(tx: Connection, *, after: int, limit: int) -> Sequence[int]:
    """Open reports with a higher id of which everything was served and no named item waits for a person."""
    unserved_one = exists(
        select(report_target.c.id).where(
            report_target.c.report_id == report.c.id,
            or_(
                report_target.c.effect == TargetEffect.NONE.value,
                and_(
                    report_target.c.effect == TargetEffect.UNKNOWN.value, report_target.c.decided_at.is_(None)
                ),
            ),
        )
    )
    waiting = exists(
        select(report_item.c.id)
        .join(case_item, case_item.c.id == report_item.c.item_id)
        .where(report_item.c.report_id == report.c.id, case_item.c.state.in_(("open", "claimed")))
    )
    open_business = exists(
        select(report_target.c.id)
        .join(case_file, case_file.c.account_id == report_target.c.account_id)
        .where(
            report_target.c.report_id == report.c.id,
            report_target.c.kind == "account",
            case_file.c.closed_at.is_(None),
        )
    )
    done = (OPEN, ~unserved_one, ~waiting, ~open_business, report.c.id > after)
    found = select(report.c.id).where(*done).order_by(report.c.id).limit(limit)
    return [int(one) for one in tx.execute(found).scalars()]


def networks_to_forget(tx: Connection, *, before: Micros) -> bool:
    due = (report.c.network.is_not(None), report.c.received_at < before)
    return tx.execute(select(report.c.id).where(*due).limit(1)).first() is not None


def forget_networks(tx: Connection, *, before: Micros) -> int:
    """Erase digests of networks and reporters that were received before then; return how many."""
    due = (report.c.network.is_not(None), report.c.received_at < before)
    return tx.execute(update(report).where(*due).values(network=None)).rowcount


def stored_by_earlier(tx: Connection, *, limit: int) -> Sequence[tuple[str, bytes]]:
    """Reports that an earlier release stored without acting on them: event id and the sealed message."""
    waiting = (
        select(platform_event.c.event_id, statement.c.text_sealed)
        .join(statement, statement.c.event_id == platform_event.c.event_id)
        .where(platform_event.c.type == "content.reported", platform_event.c.served_at.is_(None))
        .order_by(platform_event.c.id)
        .limit(limit)
    )
    return [(str(event_id), bytes(sealed)) for event_id, sealed in tx.execute(waiting)]


def mark_served(tx: Connection, event_id: str, *, now: Micros) -> None:
    """What an earlier release stored of a report is acted on now."""
    mine = platform_event.c.event_id == event_id
    tx.execute(update(platform_event).where(mine).values(served_at=now))


def _is_there() -> Sequence[ColumnElement[bool]]:
    """What a target of each kind needs to be known."""
    versioned = or_(report_target.c.version.is_(None), cover_version.c.version == report_target.c.version)
    cover = select(cover_version.c.id).where(
        cover_version.c.surface == report_target.c.surface,
        cover_version.c.cover_id == report_target.c.named_id,
        versioned,
    )
    playlist = select(cover_version.c.id).where(cover_version.c.playlist_id == report_target.c.named_id)
    theirs = (
        select(cover_version.c.id)
        .join(account, account.c.id == cover_version.c.uploader_id)
        .where(account.c.platform_id == report_target.c.named_id)
    )
    kinds = {TargetKind.COVER: cover, TargetKind.PLAYLIST: playlist, TargetKind.ACCOUNT: theirs}
    return [and_(report_target.c.kind == kind.value, exists(found)) for kind, found in kinds.items()]


def judged_before(tx: Connection, account_id: int, *, seq: int, after: int, limit: int) -> Sequence[int]:
    """The account's cover versions, from an id on, that were compared with older lists than these.

    So are those that a person may come to remove and that our own lists would know too little of: without
    crops, where they may have any. One that has no answer yet is not among them: it is about to get one.
    """
    newest = func.max(screening.c.judged_seq)
    waits = (case_item.c.cover_version_id == cover_version.c.id, case_item.c.state.in_(("open", "claimed")))
    with_item = exists(select(case_item.c.id).where(*waits))
    displayed = fingerprint_view.c.name == "displayed"
    is_poor = or_(fingerprint_view.c.low_diversity, fingerprint_view.c.quality < QUALITY_FLOOR)
    known = exists(
        select(fingerprint.c.id)
        .join(fingerprint_view, fingerprint_view.c.fingerprint_id == fingerprint.c.id)
        .where(
            fingerprint.c.cover_version_id == cover_version.c.id,
            fingerprint.c.fingerprint_version == FINGERPRINT_VERSION,
            or_(fingerprint_view.c.name.like(f"{PREFIX}%"), and_(displayed, is_poor)),
        )
    )
    found = (
        select(cover_version.c.id)
        .join(screening, screening.c.cover_version_id == cover_version.c.id)
        .where(
            cover_version.c.uploader_id == account_id,
            cover_version.c.id > after,
            screening.c.judged_seq.is_not(None),
        )
        .group_by(cover_version.c.id)
        .having(or_(newest < seq, and_(with_item, ~known)))
        .order_by(cover_version.c.id)
        .limit(limit)
    )
    return [int(one) for one in tx.execute(found).scalars()]
