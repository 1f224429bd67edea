"""What is known of an account when somebody reports it: the facts that the effects of a report depend on.

Nothing is stored here and nothing is concluded: `policy.reporting` does that. Who reported counts as one
where nothing shows that they are more.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Connection, Select, and_, exists, func, select

from coverguard.model import Category, ReporterKind
from coverguard.policy.reporting import HIDING, Standing
from coverguard.store import reports
from coverguard.store.schema import (
    case_file,
    case_item,
    collaboration,
    cover_version,
    match,
    report,
    report_item,
    report_target,
    screening,
    verdict,
)


def of(tx: Connection, account_id: int, *, terminated: bool) -> Standing:
    """What the effects of a report depend on; the caller has the account locked."""
    playlists = (
        select(cover_version.c.playlist_id)
        .distinct()
        .where(cover_version.c.uploader_id == account_id, cover_version.c.playlist_id.is_not(None))
    )
    sharing = (
        select(collaboration.c.account_id)
        .distinct()
        .where(
            collaboration.c.playlist_id.in_(playlists),
            collaboration.c.active,
            collaboration.c.account_id != account_id,
        )
    )
    links = sum(_count(tx, one) for one in (playlists, sharing))
    return Standing(
        terminated=terminated,
        confirmed=tx.execute(select(_confirmed(account_id))).scalar_one(),
        matched=tx.execute(select(_matched(account_id))).scalar_one(),
        reporters=reporters(tx, account_id),
        links=links,
        covers=int(tx.execute(reports.count_public(cover_version.c.uploader_id == account_id)).scalar_one()),
    )


def _count(tx: Connection, found: Select[Any]) -> int:
    return int(tx.execute(select(func.count()).select_from(found.subquery())).scalar_one())


def _confirmed(account_id: int) -> ColumnElement[bool]:
    return exists(
        select(case_item.c.id)
        .join(cover_version, cover_version.c.id == case_item.c.cover_version_id)
        .join(verdict, verdict.c.item_id == case_item.c.id)
        .where(
            cover_version.c.uploader_id == account_id,
            case_item.c.state == "confirmed",
            verdict.c.outcome == "confirm",
            verdict.c.category.in_([one.value for one in HIDING]),
        )
    )


def _matched(account_id: int) -> ColumnElement[bool]:
    cleared = exists(
        select(case_item.c.id).where(
            case_item.c.cover_version_id == cover_version.c.id, case_item.c.state == "cleared"
        )
    )
    return exists(
        select(match.c.id)
        .join(screening, screening.c.id == match.c.screening_id)
        .join(cover_version, cover_version.c.id == screening.c.cover_version_id)
        .where(
            cover_version.c.uploader_id == account_id,
            screening.c.decision.in_(("hold", "refer")),
            screening.c.budget_spent.is_(None),
            match.c.action != "shadow",
            match.c.category.in_([one.value for one in HIDING]),
            ~match.c.suppressed,
            ~cleared,
        )
    )


def reporters(tx: Connection, account_id: int) -> int:
    """How many reporters who are independent of each other name the account for child abuse now.

    Whoever pressed the platform's own button is somebody whom the platform knows. All others together are one
    at most, and none beside those: nothing shows that whoever writes anonymously has not pressed it as well.
    """
    known = and_(report.c.source == ReporterKind.PLATFORM.value, report.c.network.is_not(None))
    theirs = report.c.id.in_(_about(account_id))
    serious = (theirs, reports.OPEN, report.c.category == Category.CHILD_ABUSE.value)
    named = select(func.count(report.c.network.distinct())).where(known, *serious)
    others = select(report.c.id).where(~known, *serious).limit(1)
    return max(int(tx.execute(named).scalar_one()), int(tx.execute(others).first() is not None))


def _about(account_id: int) -> CompoundSelect[Any]:
    by_item = (
        select(report_item.c.report_id)
        .join(case_item, case_item.c.id == report_item.c.item_id)
        .join(case_file, case_file.c.id == case_item.c.case_id)
        .where(case_file.c.account_id == account_id, report_item.c.named)
    )
    by_name = select(report_target.c.report_id).where(report_target.c.account_id == account_id)
    return by_name.union(by_item)
