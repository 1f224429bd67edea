"""Figures about a set of covers: for reports to people, never for decisions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, func, select

from coverguard.store.outbox import count_unsent
from coverguard.store.schema import case_file, case_item, cover_version, quarantine, screening


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
