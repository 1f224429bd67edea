"""The claims of a takedown: which covers of its account it has, wants, or has to give back.

A cover is the account's if the account uploaded it, wherever it is shown. Claiming asks for the object and
the named renditions, puts the cover into the account's one case and tells the platform's pipeline; claiming
again changes nothing. Callers have the cover versions and the account locked. No object is touched here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from coverguard.lifecycle import ItemState, QuarantineState
from coverguard.model import Category, Micros, ObjectRef, TakedownCause
from coverguard.store import audit, cases, outbox, quarantines, takedowns
from coverguard.store.quarantines import Claimant
from coverguard.store.rows import lock_all, new_ref
from coverguard.store.schema import (
    case_file,
    case_item,
    cover_version,
    quarantine,
    quarantine_claim,
    takedown,
    takedown_difference,
)

GRAVE: Final = (TakedownCause.TERMINATION.value, TakedownCause.VERDICT.value)
STANDS: Final = quarantine_claim.c.dropped_at.is_(None)
LIVE: Final = quarantine.c.ended_at.is_(None)


def claim(tx: Connection, row: Row[Any], covers: Sequence[Row[Any]], *, now: Micros) -> int:
    """Claim these cover versions for the takedown; return how many it had not claimed before."""
    if not covers:
        return 0
    ids = [int(cover.id) for cover in covers]
    mine = {int(one) for one in tx.execute(_claimed(row.id, ids)).scalars()}
    hidden = {int(one) for one in tx.execute(_hidden(ids)).scalars()}
    for cover in covers:
        claimant = Claimant(takedown_id=row.id, cover_version_id=cover.id)
        quarantines.request_of_cover(
            tx, cover, level=row.level, claimant=claimant, relist_until=None, now=now
        )
        if cover.id not in hidden:
            outbox.tell_pipeline(tx, cover=cover, event="cover.withheld", now=now)
    _list_in_case(tx, row, ids, now=now)
    return len(set(ids) - mine)


def claim_elsewhere(tx: Connection, row: Row[Any], cover: Row[Any], ref: ObjectRef, *, now: Micros) -> None:
    """Claim an object that is the account's cover by the catalogue's word, and another than the ledger's."""
    claimant = Claimant(takedown_id=row.id, cover_version_id=cover.id)
    quarantines.request(
        tx, cover_version_id=cover.id, ref=ref, level=row.level, claimant=claimant, rendition=True,
        relist_until=None, now=now,
    )  # fmt: skip


def claim_announced(tx: Connection, takedown_id: int, cover: Row[Any], *, now: Micros) -> None:
    """Claim a cover at its announcement, before it is looked at: its account, which is locked, is dark."""
    row = takedowns.by_id(tx, takedown_id)
    if claim(tx, row, [cover], now=now):
        audit.write(tx, now=now, verb="hide announced", subject=row.ref, facts={"cover": cover.ref})
        takedowns.reappeared(tx, row.id, now=now)


def _claimed(takedown_id: int, ids: Sequence[int]) -> Select[Any]:
    return select(quarantine_claim.c.cover_version_id).where(
        quarantine_claim.c.takedown_id == takedown_id, quarantine_claim.c.cover_version_id.in_(ids), STANDS
    )


def _hidden(ids: Sequence[int]) -> Select[Any]:
    """Of these, the covers whose own object is to be hidden already: the pipeline knows."""
    own = (quarantine.c.cover_version_id.in_(ids), ~quarantine.c.rendition, LIVE, quarantines.WANTED)
    return select(quarantine.c.cover_version_id).where(*own)


# ── the case ───────────────────────────────────────────────────────────────────────────────────────────────


def _list_in_case(tx: Connection, row: Row[Any], ids: Sequence[int], *, now: Micros) -> None:
    """Make them items of one case; what a person has decided of a cover stays decided."""
    decided = (ItemState.CONFIRMED.value, ItemState.CLEARED.value)
    known = select(case_item.c.cover_version_id).where(
        case_item.c.cover_version_id.in_(ids), case_item.c.state.in_(decided)
    )
    new = sorted(set(ids) - set(tx.execute(known).scalars()))
    if not new:
        return
    file = _case_of(tx, row, now=now)
    values = [
        {
            "case_id": file.id,
            "cover_version_id": cover_version_id,
            "ref": new_ref("item"),
            "state": ItemState.OPEN.value,
            "consequences": True,
            "two_people": False,
            "opened_at": now,
        }
        for cover_version_id in new
    ]
    make = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    tx.execute(make(case_item).on_conflict_do_nothing(index_elements=["case_id", "cover_version_id"]), values)


def _case_of(tx: Connection, row: Row[Any], *, now: Micros) -> Row[Any]:
    """The account's open case; else the one whose verdict took it down, open again; else a new one."""
    standing = takedowns.causes(tx, row.id)
    theirs = (case_file.c.account_id == row.account_id, case_file.c.closed_at.is_(None))
    if tx.execute(select(case_file.c.id).where(*theirs)).first() is None:
        origins = [one.origin for one in standing if one.kind == TakedownCause.VERDICT.value]
        cause = select(case_item.c.case_id).where(case_item.c.ref.in_(origins))
        newest = tx.execute(cause.order_by(case_item.c.id.desc()).limit(1)).scalar_one_or_none()
        if newest is not None:
            tx.execute(update(case_file).where(case_file.c.id == newest).values(closed_at=None))
            return cases.case_by_id(tx, newest)
    grave = any(one.kind in GRAVE for one in standing)
    category = Category.CHILD_ABUSE if grave else Category.OTHER
    return cases.open_case(tx, account_id=row.account_id, category=category, now=now)[0]


# ── what is to be done ─────────────────────────────────────────────────────────────────────────────────────


def covers_after(tx: Connection, account_id: int, *, after: int, limit: int) -> Sequence[int]:
    """The next cover versions that the account uploaded, by id."""
    theirs = (cover_version.c.uploader_id == account_id, cover_version.c.id > after)
    return _ids(tx, select(cover_version.c.id).where(*theirs).order_by(cover_version.c.id).limit(limit))


def newest_versions(tx: Connection, account_id: int, *, after: int, limit: int) -> Sequence[Row[Any]]:
    """Of each cover of which the account uploaded a version its newest such version, by id."""
    newest = (
        select(func.max(cover_version.c.id))
        .where(cover_version.c.uploader_id == account_id)
        .group_by(cover_version.c.surface, cover_version.c.cover_id)
    )
    found = select(cover_version).where(cover_version.c.id.in_(newest), cover_version.c.id > after)
    return tx.execute(found.order_by(cover_version.c.id).limit(limit)).all()


def unclaimed(tx: Connection, row: Row[Any], *, limit: int) -> Sequence[int]:
    """Cover versions of the account that the takedown has not claimed, however they escaped it."""
    mine = (
        select(quarantine_claim.c.id)
        .where(
            quarantine_claim.c.takedown_id == row.id,
            quarantine_claim.c.cover_version_id == cover_version.c.id,
            STANDS,
        )
        .exists()
    )
    theirs = (cover_version.c.uploader_id == row.account_id, ~mine)
    return _ids(tx, select(cover_version.c.id).where(*theirs).order_by(cover_version.c.id).limit(limit))


def claimed(tx: Connection, takedown_id: int, *, after: int, limit: int) -> Sequence[int]:
    """The next cover versions that the takedown claims, by id."""
    column = quarantine_claim.c.cover_version_id
    theirs = (quarantine_claim.c.takedown_id == takedown_id, STANDS, column > after)
    return _ids(tx, select(column).where(*theirs).distinct().order_by(column).limit(limit))


def owing(tx: Connection, takedown_id: int, *, after: int, limit: int) -> Sequence[int]:
    """The next cover versions claimed by it with an object that is not yet blocked or kept, by id."""
    column = quarantine_claim.c.cover_version_id
    found = (
        select(column)
        .join(quarantine, quarantine.c.id == quarantine_claim.c.quarantine_id)
        .where(
            quarantine_claim.c.takedown_id == takedown_id,
            STANDS,
            column > after,
            LIVE,
            quarantine.c.state == QuarantineState.REQUESTED.value,
        )
    )
    return _ids(tx, found.distinct().order_by(column).limit(limit))


def unreleased(tx: Connection, takedown_id: int, *, after: int, limit: int) -> Sequence[int]:
    """The next cover versions that it has given up and that are still to be put back, by id."""
    mine = quarantine_claim.alias()  # beside those that `WANTED` asks for
    column = mine.c.cover_version_id
    given_up = (mine.c.takedown_id == takedown_id, mine.c.dropped_at.is_not(None), column > after)
    found = (
        select(column)
        .join(quarantine, quarantine.c.id == mine.c.quarantine_id)
        .where(*given_up, LIVE, ~quarantines.WANTED)
    )
    return _ids(tx, found.distinct().order_by(column).limit(limit))


def _ids(tx: Connection, found: Select[Any]) -> Sequence[int]:
    return [int(one) for one in tx.execute(found).scalars()]


def objects_of(tx: Connection, takedown_id: int, cover_version_id: int) -> Sequence[Row[Any]]:
    """The live rows of objects that the takedown wants hidden for that cover version."""
    wanted = (
        select(quarantine_claim.c.id)
        .where(
            quarantine_claim.c.quarantine_id == quarantine.c.id,
            quarantine_claim.c.takedown_id == takedown_id,
            quarantine_claim.c.cover_version_id == cover_version_id,
            STANDS,
        )
        .exists()
    )
    return tx.execute(select(quarantine).where(wanted, LIVE).order_by(quarantine.c.id)).all()


def give_up(tx: Connection, takedown_id: int, ids: Sequence[int], *, now: Micros) -> None:
    """Drop its claims for these cover versions; what nobody else wants hidden is owed a release."""
    theirs = (
        quarantine_claim.c.takedown_id == takedown_id,
        quarantine_claim.c.cover_version_id.in_(ids),
        STANDS,
    )
    lock_all(tx, quarantine, tx.execute(select(quarantine_claim.c.quarantine_id).where(*theirs)).scalars())
    tx.execute(update(quarantine_claim).where(*theirs).values(dropped_at=now))


def list_up_to(tx: Connection, row: Row[Any], cover_version_id: int) -> None:
    """Remember that every cover version up to this one is claimed."""
    behind = (takedown.c.id == row.id, takedown.c.cursor < cover_version_id)
    tx.execute(update(takedown).where(*behind).values(cursor=cover_version_id))


# ── what ledger and catalogue do not agree on ──────────────────────────────────────────────────────────────


def note_difference(
    tx: Connection, takedown_id: int, ref: ObjectRef, *, kind: str, cover_version_id: int, now: Micros
) -> None:
    """Remember what one of the two knows and the other does not; the first word on an object counts."""
    make = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    key = {"takedown_id": takedown_id, "bucket": ref.bucket, "key": ref.key, "version_id": ref.version_id}
    values = {"kind": kind, "cover_version_id": cover_version_id, "found_at": now}
    tx.execute(
        make(takedown_difference).values(**key, **values).on_conflict_do_nothing(index_elements=list(key))
    )


def settle_differences(tx: Connection, takedown_id: int, *, now: Micros) -> None:
    """Everything of both was seen gone: what they disagree on is dark, too."""
    open_ones = (
        takedown_difference.c.takedown_id == takedown_id,
        takedown_difference.c.settled_at.is_(None),
    )
    tx.execute(update(takedown_difference).where(*open_ones).values(settled_at=now))


def differences(tx: Connection, takedown_id: int) -> dict[str, int]:
    """How many there are of each kind."""
    counted = (
        select(takedown_difference.c.kind, func.count())
        .where(takedown_difference.c.takedown_id == takedown_id)
        .group_by(takedown_difference.c.kind)
    )
    return {str(kind): int(count) for kind, count in tx.execute(counted)}


def counts(tx: Connection, row: Row[Any]) -> tuple[int, int]:
    """Cover versions of the account, and how many of them the takedown claims."""
    theirs = select(func.count()).where(cover_version.c.uploader_id == row.account_id)
    mine = select(func.count(quarantine_claim.c.cover_version_id.distinct())).where(
        quarantine_claim.c.takedown_id == row.id, STANDS
    )
    return int(tx.execute(theirs).scalar_one()), int(tx.execute(mine).scalar_one())
