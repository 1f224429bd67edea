"""Figures: of a set of covers for reports to people, of the whole ledger for the keeper's metrics and alarms.

Never for decisions about covers. What is counted for the keeper is what is unfinished, so it stays cheap
however large the ledger grows; counts stop at `ENOUGH`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, func, select

from coverguard.lifecycle import QuarantineState
from coverguard.model import Micros, between, later
from coverguard.store import screenings, takedowns
from coverguard.store.outbox import count_unsent
from coverguard.store.schema import (
    audit,
    audit_chain,
    case_file,
    case_item,
    cover_version,
    outbox,
    quarantine,
    screening,
)

ENOUGH: Final = 1000
LATELY: Final = timedelta(days=1)
LATE_COMMITS: Final = 1000  # audit rows before the newest chained one that are still looked at
_LIVE: Final = (QuarantineState.REQUESTED.value, QuarantineState.HELD.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is unfinished. Ages are seconds, 0 where there is nothing."""

    outbox_owed: int
    outbox_oldest: float
    unanswered: int
    unanswered_oldest: float
    not_gone: int
    not_gone_oldest: float
    audit_unsealed: int
    audit_unsealed_oldest: float
    takedowns_unverified: int
    takedowns_unverified_oldest: float


def standing(tx: Connection, *, now: Micros) -> Standing:
    """Count what is unfinished now."""
    owed = select(func.count(), func.min(outbox.c.created_at)).where(outbox.c.sent_at.is_(None))
    not_gone = select(func.count(), func.min(quarantine.c.requested_at)).where(
        quarantine.c.state.in_(_LIVE), quarantine.c.gone_at.is_(None), quarantine.c.ended_at.is_(None)
    )
    outbox_owed, outbox_oldest = tx.execute(owed).one()
    held, held_oldest = tx.execute(not_gone).one()
    unsealed = _unsealed(tx)
    to_be_dark, to_be_dark_since = takedowns.unverified(tx)
    lately = later(now, -LATELY)  # the keeper answers for older ones, and `verify` looks through all
    waiting = screenings.unanswered(tx, announced_after=lately, announced_before=now, limit=ENOUGH)
    silent = [row.announced_at for row in waiting]
    return Standing(
        outbox_owed=int(outbox_owed),
        outbox_oldest=_age(outbox_oldest, now),
        unanswered=len(silent),
        unanswered_oldest=_age(min(silent, default=None), now),
        not_gone=int(held),
        not_gone_oldest=_age(held_oldest, now),
        audit_unsealed=len(unsealed),
        audit_unsealed_oldest=_age(min(unsealed, default=None), now),
        takedowns_unverified=to_be_dark,
        takedowns_unverified_oldest=_age(to_be_dark_since, now),
    )


def _unsealed(tx: Connection) -> Sequence[int]:
    """When audit rows were written that have no link; one that committed late may have a low id."""
    newest = select(func.coalesce(func.max(audit_chain.c.audit_id), 0)).scalar_subquery()
    linked = select(audit_chain.c.seq).where(audit_chain.c.audit_id == audit.c.id).exists()
    unlinked = select(audit.c.at).where(audit.c.id > newest - LATE_COMMITS, ~linked)
    return tx.execute(unlinked.order_by(audit.c.id).limit(ENOUGH)).scalars().all()


def _age(since: int | None, now: Micros) -> float:
    return max(between(Micros(since), now).total_seconds(), 0.0) if since is not None else 0.0


def gone_since(tx: Connection, since: Micros) -> Mapping[int, float]:
    """Quarantines of covers' own objects seen gone since then: id to seconds from the upload's message."""
    found = (
        select(quarantine.c.id, quarantine.c.gone_at, cover_version.c.sent_at)
        .join(cover_version, cover_version.c.id == quarantine.c.cover_version_id)
        .where(
            quarantine.c.state == QuarantineState.HELD.value,
            quarantine.c.rendition.is_(False),
            quarantine.c.gone_at >= since,
        )
    )
    return {int(row.id): max(row.gone_at - row.sent_at, 0) / 1e6 for row in tx.execute(found)}


def newest(tx: Connection) -> Micros:
    """When the newest rows say that it was: the time by the clocks of whoever wrote last."""
    written = (
        select(audit.c.at).order_by(audit.c.id.desc()).limit(1),
        select(cover_version.c.announced_at).order_by(cover_version.c.id.desc()).limit(1),
    )
    return Micros(max(int(tx.execute(one).scalar() or 0) for one in written))


def settled(tx: Connection, cover_ids: Collection[str]) -> int:
    """How many of these covers have an answer whose acts are all done."""
    done = (
        select(func.count(cover_version.c.id.distinct()))
        .join(screening, screening.c.cover_version_id == cover_version.c.id)
        .where(cover_version.c.cover_id.in_(cover_ids), screening.c.settled_at.is_not(None))
    )
    return int(tx.execute(done).scalar_one())


def untold(tx: Connection) -> int:
    """How many events wait to be relayed."""
    return count_unsent(tx)


def run(tx: Connection, cover_ids: Collection[str]) -> dict[str, Any]:
    """Decisions, cases, linked covers, and milliseconds from message and from worker to verified gone."""
    mine = cover_version.c.cover_id.in_(cover_ids)
    decisions = (
        select(screening.c.decision, func.count())
        .join(cover_version, cover_version.c.id == screening.c.cover_version_id)
        .where(mine)
        .group_by(screening.c.decision)
        .order_by(screening.c.decision)
    )
    in_case = select(case_item.c.cover_version_id).scalar_subquery()
    files = (
        select(case_file.c.id, case_file.c.account_id)
        .join(case_item, case_item.c.case_id == case_file.c.id)
        .join(cover_version, cover_version.c.id == case_item.c.cover_version_id)
        .where(mine)
        .distinct()
    )
    found = tx.execute(files).all()
    accounts = [row.account_id for row in found]
    linked = select(func.count()).where(
        cover_version.c.uploader_id.in_(accounts), cover_version.c.id.not_in(in_case)
    )
    gone = (
        select(quarantine.c.gone_at, cover_version.c.sent_at, cover_version.c.announced_at)
        .join(cover_version, cover_version.c.id == quarantine.c.cover_version_id)
        .where(mine, quarantine.c.level == "hold", quarantine.c.gone_at.is_not(None))
    )
    times = tx.execute(gone).all()
    return {
        "decisions": {str(name): int(count) for name, count in tx.execute(decisions)},
        "cases": len(found),
        "linked": int(tx.execute(linked).scalar_one()),
        "from_message": [(row.gone_at - row.sent_at) / 1000 for row in times],
        "from_worker": [(row.gone_at - row.announced_at) / 1000 for row in times],
    }
