"""Reports and what they name: filed once, joined to cases, counted against the caps, decided by people.

A report's row is locked by whoever adds to its thread or moves it, after accounts, items and quarantines.
What a report names is kept as it was named; what that is in the ledger is looked up when it is needed, since
a cover may be announced after it was reported. Claims of reports on quarantines end when a person clears the
cover. `public_covers` reads only the columns that the internet-facing process may read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from coverguard.errors import NotFound
from coverguard.lifecycle import REPORT, ItemState, ReportEvent, ReportState
from coverguard.model import Micros, ReporterKind, Surface, TargetEffect, TargetKind
from coverguard.policy.reporting import REPEATED
from coverguard.store.rows import insert_row, lock_all, move, take_turn
from coverguard.store.rows import lock as lock_row
from coverguard.store.schema import (
    account,
    api_key,
    case_file,
    case_item,
    cover_version,
    quarantine,
    quarantine_claim,
    report,
    report_item,
    report_target,
    screening,
)

OPEN: Final = report.c.state != ReportState.DECIDED.value
BY_MACHINE: Final = (ReporterKind.ANONYMOUS.value, ReporterKind.PLATFORM.value)
"""Whose hides are capped: nobody has vouched for these reporters."""

_TURN: Final = "reports"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing that a report names, by the platform's ids."""

    kind: TargetKind
    named_id: str
    surface: Surface | None = None  # of a cover
    version: int | None = None  # of a cover; None: all of them


# ── filing ─────────────────────────────────────────────────────────────────────────────────────────────────


def file(tx: Connection, *, event_id: str, values: Mapping[str, Any]) -> tuple[Row[Any], bool]:
    """Write a report down once; return its row and whether it is new. The caller took `take_turns`."""
    return insert_row(tx, report, {"event_id": event_id}, values)


def take_turns(tx: Connection, account_ids: Collection[int]) -> None:
    """Lock the accounts, and wait for other reports: repeats and caps are judged one after the other."""
    lock_all(tx, account, account_ids)
    take_turn(tx, _TURN)


def name(tx: Connection, report_id: int, targets: Sequence[Target]) -> None:
    """Write down what a new report names; the caller names nothing twice."""
    if targets:
        tx.execute(insert(report_target), [_named(tx, report_id, target) for target in targets])


def _named(tx: Connection, report_id: int, target: Target) -> Mapping[str, Any]:
    accounts = account_ids(tx, [target])
    return {
        "report_id": report_id,
        "kind": target.kind.value,
        "surface": target.surface.value if target.surface else None,
        "named_id": target.named_id,
        "version": target.version,
        "effect": TargetEffect.NONE.value,
        "account_id": accounts[0] if len(accounts) == 1 else None,
    }


def account_ids(tx: Connection, targets: Sequence[Target | Row[Any]]) -> Sequence[int]:
    """The accounts behind what is named, of those that we know, in order."""
    found: set[int] = set()
    for target in targets:
        if target.kind == TargetKind.ACCOUNT.value:
            theirs = select(account.c.id).where(account.c.platform_id == target.named_id)
        else:
            theirs = select(cover_version.c.uploader_id).distinct().where(_meant(target))
        found |= {int(one) for one in tx.execute(theirs).scalars()}
    return sorted(found)


def _meant(target: Target | Row[Any]) -> ColumnElement[bool]:
    """Which cover versions a named cover or playlist is."""
    if target.kind == TargetKind.PLAYLIST.value:
        return cover_version.c.playlist_id == target.named_id
    mine = [cover_version.c.surface == str(target.surface), cover_version.c.cover_id == target.named_id]
    return and_(*mine, *([cover_version.c.version == target.version] if target.version is not None else []))


def cover_versions(tx: Connection, target: Row[Any], *, after: int = 0, limit: int) -> Sequence[int]:
    """Ids of the cover versions that a target means, in order; of an account, those that are in no case."""
    meant = _listable(target) if target.kind == TargetKind.ACCOUNT.value else _meant(target)
    found = select(cover_version.c.id).where(meant, cover_version.c.id > after)
    return [int(one) for one in tx.execute(found.order_by(cover_version.c.id).limit(limit)).scalars()]


def _listable(target: Row[Any]) -> ColumnElement[bool]:
    theirs = select(account.c.id).where(account.c.platform_id == target.named_id).scalar_subquery()
    listed = exists(select(case_item.c.id).where(case_item.c.cover_version_id == cover_version.c.id))
    return and_(cover_version.c.uploader_id == theirs, ~listed)


def has_covers(tx: Connection, target: Row[Any]) -> bool:
    """Whether the account that a target names has uploaded anything, by all we know."""
    theirs = select(account.c.id).where(account.c.platform_id == target.named_id).scalar_subquery()
    found = select(cover_version.c.id).where(cover_version.c.uploader_id == theirs).limit(1)
    return tx.execute(found).first() is not None


def key_of(tx: Connection, ref: str | None, *, source: ReporterKind) -> int | None:
    """The API key of that reference, where it may speak as that kind of reporter."""
    if ref is None:
        return None
    mine = select(api_key.c.id).where(api_key.c.ref == ref, api_key.c.role == source.value)
    return tx.execute(mine).scalar_one_or_none()


# ── repeats ────────────────────────────────────────────────────────────────────────────────────────────────


def first_open(
    tx: Connection, *, targets: Sequence[Target], accounts: Collection[int], before: int
) -> Row[Any] | None:
    """The oldest report still open, older than `before`, that names the same, or something of the account."""
    same: list[ColumnElement[bool]] = [report_target.c.account_id.in_(accounts)]
    for kind, surface in {(one.kind, one.surface) for one in targets}:
        ids = [one.named_id for one in targets if (one.kind, one.surface) == (kind, surface)]
        named: list[ColumnElement[bool]] = [
            report_target.c.kind == kind.value,
            report_target.c.named_id.in_(ids),
        ]
        if surface is not None:
            named.append(report_target.c.surface == surface.value)
        same.append(and_(*named))
    found = (
        select(report)
        .where(
            report.c.id.in_(select(report_target.c.report_id).where(or_(*same))), OPEN, report.c.id < before
        )
        .order_by(report.c.id)
        .limit(1)
    )
    return tx.execute(found).one_or_none()


def note_repeat(tx: Connection, first: Row[Any], repeat: Row[Any]) -> None:
    """Somebody named the same again: the first one's priority rises, and the repeat has no less."""
    raised = max(first.priority, repeat.priority) + REPEATED
    again = {"repeats": report.c.repeats + 1, "priority": raised}
    tx.execute(update(report).where(report.c.id == first.id).values(again))
    joined = {"repeats_id": first.id, "priority": raised}
    tx.execute(update(report).where(report.c.id == repeat.id).values(joined))


class Earlier(StrEnum):
    """What the report is that a reporter says theirs follows on. For staff alone: no oracle for others."""

    SAME_ACCOUNT = "same_account"
    SOMETHING_ELSE = "something_else"
    UNKNOWN = "unknown"  # to us, so far: it may come later


def earlier(tx: Connection, row: Row[Any]) -> Earlier | None:
    """Say what a reporter's word for an earlier report is worth; nothing where they said none.

    A hint for people: whoever knows a reference may write it down, so that nothing is decided by this.
    """
    if row.earlier_ref is None:
        return None
    named = find(tx, row.earlier_ref)
    if named is None or named.id == row.id:
        return Earlier.UNKNOWN
    same = bool(_subjects(tx, named) & _subjects(tx, row))
    return Earlier.SAME_ACCOUNT if same else Earlier.SOMETHING_ELSE


def _subjects(tx: Connection, row: Row[Any]) -> frozenset[object]:
    """The accounts behind what a report names, and what it names where nobody knows whose that is."""
    found = targets(tx, row.id)
    names = {(one.kind, one.surface, one.named_id) for one in found}
    return frozenset({*account_ids(tx, found), *names})


# ── what the public can see ───────────────────────────────────────────────────────────────────────────────


def public_covers(tx: Connection, platform_id: str) -> int:
    """How many cover versions of an account the public can see, by all we know; 0 for an unknown account.

    Reads only what the internet-facing process may read, in one statement.
    """
    theirs = select(account.c.id).where(account.c.platform_id == platform_id).scalar_subquery()
    return int(tx.execute(count_public(cover_version.c.uploader_id == theirs)).scalar() or 0)


def count_public(theirs: ColumnElement[bool]) -> Select[int]:
    """The query that counts those of these cover versions that the public can see, by all we know."""
    passed = exists(
        select(screening.c.cover_version_id).where(
            screening.c.cover_version_id == cover_version.c.id,
            screening.c.origin == "upload",
            screening.c.decision == "pass",
        )
    )
    blocked = exists(
        select(quarantine.c.cover_version_id).where(
            quarantine.c.cover_version_id == cover_version.c.id, quarantine.c.ended_at.is_(None)
        )
    )
    return select(func.count(cover_version.c.id)).where(
        theirs, cover_version.c.deleted_at.is_(None), passed, ~blocked
    )


# ── items, hides, caps ─────────────────────────────────────────────────────────────────────────────────────


def newest_items(tx: Connection, cover_version_ids: Collection[int]) -> Mapping[int, Row[Any]]:
    """Each cover version's newest case item, where it has one."""
    mine = select(case_item).where(case_item.c.cover_version_id.in_(cover_version_ids))
    return {int(row.cover_version_id): row for row in tx.execute(mine.order_by(case_item.c.id))}


def join(tx: Connection, report_id: int, item_id: int, *, now: Micros) -> None:
    """The report is about this item, because it named the cover."""
    key = {"report_id": report_id, "item_id": item_id}
    insert_row(tx, report_item, key, {"named": True, "added_at": now})


def hidden_by_report(tx: Connection, cover_version_ids: Collection[int]) -> frozenset[int]:
    """Those of these cover versions that a report keeps hidden already."""
    claimed = select(quarantine_claim.c.cover_version_id).where(
        quarantine_claim.c.cover_version_id.in_(cover_version_ids),
        quarantine_claim.c.report_id.is_not(None),
        quarantine_claim.c.dropped_at.is_(None),
    )
    return frozenset(int(one) for one in tx.execute(claimed).scalars())


def hides(tx: Connection, *, since: Micros, network: bytes | None = None) -> int:
    """How many covers reports of nobody in particular hid since then; those of one network, if named."""
    made = (
        select(cover_version.c.surface, cover_version.c.cover_id)
        .join(quarantine_claim, quarantine_claim.c.cover_version_id == cover_version.c.id)
        .join(report, report.c.id == quarantine_claim.c.report_id)
        .where(
            quarantine_claim.c.claimed_at > since,
            quarantine_claim.c.report_id.is_not(None),  # in so many words, for the index
            report.c.source.in_(BY_MACHINE),
        )
        .distinct()
    )
    mine = made if network is None else made.where(report.c.network == network)
    return int(tx.execute(select(func.count()).select_from(mine.subquery())).scalar_one())


def let_go(tx: Connection, cover_version_id: int, *, now: Micros) -> None:
    """A person cleared the cover: no report wants it hidden any more."""
    still = (
        quarantine_claim.c.cover_version_id == cover_version_id,
        quarantine_claim.c.report_id.is_not(None),
        quarantine_claim.c.dropped_at.is_(None),
    )
    lock_all(tx, quarantine, tx.execute(select(quarantine_claim.c.quarantine_id).where(*still)).scalars())
    tx.execute(update(quarantine_claim).where(*still).values(dropped_at=now))


def set_effect(
    tx: Connection,
    target_id: int,
    effect: TargetEffect,
    *,
    account_id: int | None,
    now: Micros,
) -> None:
    values = {"effect": effect.value, "effected_at": now, "account_id": account_id}
    tx.execute(update(report_target).where(report_target.c.id == target_id).values(values))


def item_states(tx: Connection, target: Row[Any]) -> Sequence[tuple[str, int | None]]:
    """State and time of decision of the newest item of every cover version that a target means."""
    newest = (
        select(func.max(case_item.c.id))
        .join(cover_version, cover_version.c.id == case_item.c.cover_version_id)
        .where(_all_of(target))
        .group_by(case_item.c.cover_version_id)
    )
    mine = select(case_item.c.state, case_item.c.decided_at).where(case_item.c.id.in_(newest))
    return [(str(row.state), row.decided_at) for row in tx.execute(mine)]


def quarantine_states(tx: Connection, target: Row[Any]) -> frozenset[str]:
    """The states of the live quarantines of what a cover or playlist shows."""
    live = (
        select(quarantine.c.state)
        .distinct()
        .join(cover_version, cover_version.c.id == quarantine.c.cover_version_id)
        .where(_all_of(target), quarantine.c.ended_at.is_(None))
    )
    return frozenset(str(one) for one in tx.execute(live).scalars())


def _all_of(target: Row[Any]) -> ColumnElement[bool]:
    if target.kind != TargetKind.ACCOUNT.value:
        return _meant(target)
    theirs: ColumnElement[bool] = cover_version.c.uploader_id == target.account_id
    return theirs


def awaits_verdict(tx: Connection, report_id: int) -> bool:
    """Whether anything that a report names is an item that nobody has decided."""
    waiting = {ItemState.OPEN.value, ItemState.CLAIMED.value}
    return any(state in waiting for target in targets(tx, report_id) for state, _ in item_states(tx, target))


# ── moving ─────────────────────────────────────────────────────────────────────────────────────────────────


def lock(tx: Connection, report_id: int) -> Row[Any]:
    """Lock a report, after accounts, items and quarantines, and return it as it is now."""
    return lock_row(tx, report, report_id)


def advance(tx: Connection, row: Row[Any], event: ReportEvent, **values: Any) -> None:  # noqa: ANN401 - columns
    move(tx, report, row, machine=REPORT, event=event, values=values)


def decide_target(tx: Connection, target_id: int, *, outcome: str, now: Micros) -> None:
    undecided = (report_target.c.id == target_id, report_target.c.decided_at.is_(None))
    tx.execute(update(report_target).where(*undecided).values(decided_at=now, outcome=outcome))


# ── looking ────────────────────────────────────────────────────────────────────────────────────────────────


def find(tx: Connection, ref: str) -> Row[Any] | None:
    return tx.execute(select(report).where(report.c.ref == ref)).one_or_none()


def by_ref(tx: Connection, ref: str) -> Row[Any]:
    """Raises `NotFound`."""
    if (row := find(tx, ref)) is None:
        raise NotFound("no report has that reference; see: coverguard reports")
    return row


def by_id(tx: Connection, report_id: int) -> Row[Any]:
    return tx.execute(select(report).where(report.c.id == report_id)).one()


def by_event(tx: Connection, event_id: str) -> Row[Any] | None:
    return tx.execute(select(report).where(report.c.event_id == event_id)).one_or_none()


def targets(tx: Connection, report_id: int) -> Sequence[Row[Any]]:
    mine = select(report_target).where(report_target.c.report_id == report_id)
    return tx.execute(mine.order_by(report_target.c.id)).all()


def listing(tx: Connection, *, decided: bool = False, limit: int = 1000) -> Sequence[Row[Any]]:
    """Reports, what is most pressing first, each with how many things it names."""
    named = (
        select(func.count(report_target.c.id))
        .where(report_target.c.report_id == report.c.id)
        .correlate(report)
        .scalar_subquery()
    )
    first = report.alias()
    found = (
        select(report, named.label("named"), first.c.ref.label("first_ref"))
        .outerjoin(first, first.c.id == report.c.repeats_id)
        .where(~OPEN if decided else OPEN)
        .order_by(report.c.priority.desc(), report.c.id)
        .limit(limit)
    )
    return tx.execute(found).all()


def cases_of(tx: Connection, report_id: int) -> Sequence[str]:
    """References of the cases that the report's items are in."""
    found = (
        select(case_file.c.ref)
        .join(case_item, case_item.c.case_id == case_file.c.id)
        .join(report_item, report_item.c.item_id == case_item.c.id)
        .where(report_item.c.report_id == report_id)
        .distinct()
    )
    return sorted(tx.execute(found).scalars())
