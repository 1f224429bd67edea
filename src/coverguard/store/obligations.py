"""Obligations: what we owe by a deadline, to whom it matters: an item, a takedown or a report.

A clock that runs is never moved and never doubled: owing the same again changes nothing, so that a repeat
cannot buy time. What was met may arise anew, with a clock of its own. Deadlines are UTC. What is warned of,
and when, is `policy.clocks`' word; nothing here rings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, or_, select, true, update

from coverguard.model import Micros
from coverguard.policy.clocks import MARKS, WARNING, WHOLE
from coverguard.store.rows import insert_once
from coverguard.store.schema import case_file, case_item, obligation, report, report_item, takedown

UNMET: Final = obligation.c.met_at.is_(None)


def owe(
    tx: Connection,
    *,
    kind: str,
    due_at: Micros,
    now: Micros,
    item_id: int | None = None,
    takedown_id: int | None = None,
    report_id: int | None = None,
) -> None:
    """Ensure the obligation; a second call never moves a running clock, and one that was met arises anew.

    Raises:
        ValueError: it is not about exactly one subject.
    """
    subject = _subject(item_id, takedown_id, report_id)
    insert_once(tx, obligation, {"kind": kind, **subject}, {"opened_at": now, "due_at": due_at}, where=UNMET)


def meet(
    tx: Connection,
    *,
    kind: str,
    now: Micros,
    item_id: int | None = None,
    takedown_id: int | None = None,
    report_id: int | None = None,
) -> None:
    """What was owed is done; where nothing was owed, nothing changes.

    Raises:
        ValueError: it is not about exactly one subject.
    """
    subject = _subject(item_id, takedown_id, report_id)
    named = [obligation.c[name] == value for name, value in {"kind": kind, **subject}.items()]
    tx.execute(update(obligation).where(*named, UNMET).values(met_at=now))


def waive(
    tx: Connection,
    *,
    kinds: Sequence[str],
    now: Micros,
    item_id: int | None = None,
    takedown_id: int | None = None,
    report_id: int | None = None,
) -> None:
    """Close obligations whose reason is gone, as an overturned verdict's or a withdrawn cause's.

    Raises:
        ValueError: it is not about exactly one subject.
    """
    for kind in kinds:
        meet(tx, kind=kind, now=now, item_id=item_id, takedown_id=takedown_id, report_id=report_id)


def owed(tx: Connection, *, due_before: Micros | None = None) -> Sequence[Row[Any]]:
    """Unmet obligations, soonest first, with `ref` of what each is about and `case_ref` where there is one.

    `item_ref`, `takedown_ref` and `report_ref` say it by kind of subject; two of them are None.
    """
    due = obligation.c.due_at < due_before if due_before is not None else true()
    case_ref = func.coalesce(case_file.c.ref, _case_of_account(), _case_of_report()).label("case_ref")
    subjects = (case_item.c.ref.label("item_ref"), takedown.c.ref.label("takedown_ref"))
    found = (
        _referring()
        .add_columns(*subjects, report.c.ref.label("report_ref"), case_ref)
        .outerjoin(case_file, case_file.c.id == case_item.c.case_id)
        .where(UNMET, due)
        .order_by(obligation.c.due_at, obligation.c.id)
    )
    return tx.execute(found).all()


def to_warn(tx: Connection, *, now: Micros, limit: int) -> Sequence[Row[Any]]:
    """Clocks of kinds that warn which have passed a mark since they last did, soonest due first."""
    over = (now - obligation.c.opened_at) * WHOLE
    span = obligation.c.due_at - obligation.c.opened_at
    unsaid = or_(*(and_(obligation.c.warned < mark, over >= span * mark) for mark in MARKS))
    found = _referring().where(UNMET, obligation.c.kind.in_(WARNING), unsaid)
    return tx.execute(found.order_by(obligation.c.due_at, obligation.c.id).limit(limit)).all()


def note_warned(tx: Connection, obligation_id: int, *, mark: int) -> bool:
    """Remember that it passed the mark; False where it is met by now, or somebody else was first."""
    first = (obligation.c.id == obligation_id, obligation.c.warned < mark, UNMET)
    return tx.execute(update(obligation).where(*first).values(warned=mark)).rowcount == 1


def warned(tx: Connection) -> Sequence[Row[Any]]:
    """Unmet obligations that have passed a mark, with `ref` of what each is about."""
    return tx.execute(_referring().where(UNMET, obligation.c.warned > 0)).all()


def _referring() -> Select[Any]:
    """Obligations with the reference of what each is about."""
    return (
        select(obligation, func.coalesce(case_item.c.ref, takedown.c.ref, report.c.ref).label("ref"))
        .outerjoin(case_item, case_item.c.id == obligation.c.item_id)
        .outerjoin(takedown, takedown.c.id == obligation.c.takedown_id)
        .outerjoin(report, report.c.id == obligation.c.report_id)
    )


def _case_of_account() -> ColumnElement[str | None]:
    """The newest case of the account that is taken down."""
    theirs = case_file.alias("theirs")
    newest = select(theirs.c.ref).where(theirs.c.account_id == takedown.c.account_id)
    return newest.order_by(theirs.c.id.desc()).limit(1).correlate(takedown).scalar_subquery()


def _case_of_report() -> ColumnElement[str | None]:
    """The newest case that has an item of the report."""
    joined, named = case_file.alias("joined"), case_item.alias("named")
    newest = (
        select(joined.c.ref)
        .join(named, named.c.case_id == joined.c.id)
        .join(report_item, report_item.c.item_id == named.c.id)
        .where(report_item.c.report_id == obligation.c.report_id)
    )
    return newest.order_by(joined.c.id.desc()).limit(1).correlate(obligation).scalar_subquery()


def _subject(item_id: int | None, takedown_id: int | None, report_id: int | None) -> Mapping[str, int]:
    said = {"item_id": item_id, "takedown_id": takedown_id, "report_id": report_id}
    named = {name: value for name, value in said.items() if value is not None}
    if len(named) != 1:
        raise ValueError("an obligation is about one item, one takedown or one report")
    return named
