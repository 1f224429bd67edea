"""Quarantine rows: the intent to block or hold one object version, and how far it got.

At most one live row a (bucket, key, version id). What keeps it held are its claims; when the last is dropped
the row is owed a release. A claim that arrives while a release is under way takes the row back to
`requested`, so that the releasing side finds its state changed and blocks again. Claims are made and dropped
by whoever has the row locked, so that a release and a claim never miss each other.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    func,
    or_,
    select,
    update,
)

from coverguard.lifecycle import QUARANTINE, QuarantineEvent, QuarantineState, TakedownState
from coverguard.model import Micros, ObjectRef
from coverguard.store import rows
from coverguard.store.rows import ensure, insert_once, lock_all, move, new_ref
from coverguard.store.schema import case_item, quarantine, quarantine_claim, screening, takedown

Level = Literal["block", "hold"]
LIVE: Final = quarantine.c.ended_at.is_(None)
WANTED: Final = (
    select(quarantine_claim.c.id)
    .where(quarantine_claim.c.quarantine_id == quarantine.c.id, quarantine_claim.c.dropped_at.is_(None))
    .exists()
)
DRIVEN: Final = (
    select(quarantine_claim.c.id)
    .join(takedown, takedown.c.id == quarantine_claim.c.takedown_id)
    .where(
        quarantine_claim.c.quarantine_id == quarantine.c.id,
        takedown.c.lifted_at.is_(None),
        or_(
            takedown.c.lifting_at.is_not(None),
            takedown.c.state.in_([TakedownState.REQUESTED.value, TakedownState.ENUMERATED.value]),
        ),
    )
    .exists()
)


CLAIMANTS: Final = ("item_id", "screening_id", "takedown_id", "report_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """Who wants it held, exactly one: a case item, an answer that is `not_screened`, a takedown or a report.

    The last two want many covers held; they say for which one they claim.
    """

    item_id: int | None = None
    screening_id: int | None = None
    takedown_id: int | None = None
    report_id: int | None = None
    cover_version_id: int | None = None

    def columns(self) -> Mapping[str, int]:
        """What says in a claim's row who it is."""
        said = {name: getattr(self, name) for name in (*CLAIMANTS, "cover_version_id")}
        return {name: value for name, value in said.items() if value is not None}


def request(
    tx: Connection,
    *,
    cover_version_id: int,
    ref: ObjectRef,
    level: Level,
    claimant: Claimant,
    rendition: bool,
    relist_until: Micros | None,
    now: Micros,
) -> int:
    """Ensure a live row at this level or above, claimed; return its id."""
    key = {"bucket": ref.bucket, "key": ref.key, "version_id": ref.version_id}
    values = {
        "ref": new_ref("hold"),
        "cover_version_id": cover_version_id,
        "rendition": rendition,
        "state": QuarantineState.REQUESTED.value,
        "level": level,
        "requested_at": now,
        "relist_until": relist_until,
    }
    row, new = ensure(tx, quarantine, key, values, where=LIVE)
    if not new:
        _renew(tx, row, level=level, relist_until=relist_until)
    _claim(tx, row.id, claimant, now=now)
    return int(row.id)


def named_renditions(cover: Row[Any]) -> Sequence[ObjectRef]:
    """The copies of a cover that the platform named, without the cover's own object."""
    own = ObjectRef(bucket=cover.bucket, key=cover.key, version_id=cover.version_id)
    named = [
        ObjectRef(bucket=one["bucket"], key=one["key"], version_id=one["version_id"])
        for one in cover.renditions
    ]
    return [one for one in named if one != own]


def request_of_cover(
    tx: Connection,
    cover: Row[Any],
    *,
    level: Level,
    claimant: Claimant,
    relist_until: Micros | None,
    now: Micros,
) -> None:
    """Ask for the cover's object and every rendition the platform named to be blocked or held."""
    own = ObjectRef(bucket=cover.bucket, key=cover.key, version_id=cover.version_id)
    for ref in (own, *named_renditions(cover)):
        request(
            tx,
            cover_version_id=cover.id,
            ref=ref,
            level=level,
            claimant=claimant,
            rendition=ref != own,
            relist_until=relist_until if ref == own else None,
            now=now,
        )


def _renew(tx: Connection, row: Row[Any], *, level: Level, relist_until: Micros | None) -> None:
    raised = level == "hold" and row.level == "block"
    if raised or row.releasing_at is not None:
        block_anew(tx, row, level="hold" if raised else row.level, relist_until=relist_until)


def block_anew(tx: Connection, row: Row[Any], *, level: Level, relist_until: Micros | None = None) -> None:
    """Take a live row back to `requested`, under a new generation.

    A generation has a marker token of its own, so that a release that was under way can only take away the
    block it knew of, however late it comes.
    """
    values = {
        "level": level,
        "generation": quarantine.c.generation + 1,
        "releasing_at": None,
        "gone_at": None,
        "relist_until": relist_until or row.relist_until,
    }
    if row.state == QuarantineState.HELD.value:
        move(tx, quarantine, row, machine=QUARANTINE, event=QuarantineEvent.RENEW, values=values)
    else:
        tx.execute(update(quarantine).where(quarantine.c.id == row.id).values(values))


def _claim(tx: Connection, quarantine_id: int, claimant: Claimant, *, now: Micros) -> None:
    key = {"quarantine_id": quarantine_id, **claimant.columns()}
    claim_id, new = insert_once(tx, quarantine_claim, key, {"claimed_at": now})
    if not new:
        again = quarantine_claim.c.id == claim_id
        tx.execute(update(quarantine_claim).where(again).values(dropped_at=None))


def drop_claims(tx: Connection, claimant: Claimant, *, now: Micros) -> None:
    """The claimant no longer wants anything held (for that cover, where it says one)."""
    mine = [quarantine_claim.c[name] == value for name, value in claimant.columns().items()]
    still = (*mine, quarantine_claim.c.dropped_at.is_(None))
    lock_all(tx, quarantine, tx.execute(select(quarantine_claim.c.quarantine_id).where(*still)).scalars())
    tx.execute(update(quarantine_claim).where(*still).values(dropped_at=now))


def claimants(tx: Connection, quarantine_id: int) -> Sequence[Claimant]:
    """Who wants it held now."""
    wanting = (quarantine_claim.c.quarantine_id == quarantine_id, quarantine_claim.c.dropped_at.is_(None))
    named = (*CLAIMANTS, "cover_version_id")
    return [
        Claimant(**{name: getattr(row, name) for name in named})
        for row in tx.execute(select(quarantine_claim).where(*wanting).order_by(quarantine_claim.c.id))
    ]


def by_id(tx: Connection, quarantine_id: int) -> Row[Any]:
    return tx.execute(select(quarantine).where(quarantine.c.id == quarantine_id)).one()


def lock(tx: Connection, quarantine_id: int) -> Row[Any]:
    """Lock a row, after its cover version where both are needed, and return it as it is now."""
    return rows.lock(tx, quarantine, quarantine_id)


def lock_of_cover(tx: Connection, cover_version_id: int) -> None:
    """Lock every live row that blocks a cover version."""
    lock_all(tx, quarantine, [int(row.id) for row in of_cover(tx, cover_version_id)])


def of_cover(tx: Connection, cover_version_id: int) -> Sequence[Row[Any]]:
    """Live rows that block a cover version, the cover's own object first, each with `wanted`.

    Its own rows, and those of another cover version with the same object that it has or had a claim on.
    """
    return tx.execute(_of_cover(), {"cover": cover_version_id}).all()


@functools.cache
def _of_cover() -> Select[Any]:
    """Built once: every answer asks this, and building it takes longer than the answer."""
    cover = bindparam("cover", type_=quarantine.c.cover_version_id.type)
    return (
        select(quarantine, WANTED.label("wanted"))
        .where(or_(quarantine.c.cover_version_id == cover, _claimed_for(cover)), LIVE)
        .order_by(quarantine.c.rendition, quarantine.c.id)
    )


def renditions_before(tx: Connection, main: Row[Any]) -> Sequence[Row[Any]]:
    """Ended rows of a cover's renditions from before this hold of the cover, where this hold has none yet.

    The store need not show such an object now: a block under its ended row may have come late, and whoever
    made it is about to take it away.
    """
    later_row = quarantine.alias()
    since = (
        select(later_row.c.id)
        .where(
            later_row.c.id > main.id,
            later_row.c.bucket == quarantine.c.bucket,
            later_row.c.key == quarantine.c.key,
            later_row.c.version_id == quarantine.c.version_id,
        )
        .exists()
    )
    mine = (quarantine.c.cover_version_id == main.cover_version_id, quarantine.c.rendition)
    return tx.execute(select(quarantine).where(*mine, quarantine.c.id < main.id, ~LIVE, ~since)).all()


def _claimed_for(cover_version_id: BindParameter[int]) -> ColumnElement[bool]:
    items = select(case_item.c.id).where(case_item.c.cover_version_id == cover_version_id)
    answers = select(screening.c.id).where(screening.c.cover_version_id == cover_version_id)
    theirs = or_(
        quarantine_claim.c.cover_version_id == cover_version_id,
        quarantine_claim.c.item_id.in_(items.scalar_subquery()),
        quarantine_claim.c.screening_id.in_(answers.scalar_subquery()),
    )
    return (
        select(quarantine_claim.c.id)
        .where(quarantine_claim.c.quarantine_id == quarantine.c.id, theirs)
        .exists()
    )


def covers_of(tx: Connection, row: Row[Any]) -> Sequence[int]:
    """Every cover version that this row blocks or blocked: its own, and those that had a claim on it."""
    by_item = (
        select(case_item.c.cover_version_id)
        .join(quarantine_claim, quarantine_claim.c.item_id == case_item.c.id)
        .where(quarantine_claim.c.quarantine_id == row.id)
    )
    by_answer = (
        select(screening.c.cover_version_id)
        .join(quarantine_claim, quarantine_claim.c.screening_id == screening.c.id)
        .where(quarantine_claim.c.quarantine_id == row.id)
    )
    by_name = select(quarantine_claim.c.cover_version_id).where(
        quarantine_claim.c.quarantine_id == row.id, quarantine_claim.c.cover_version_id.is_not(None)
    )
    claimed = {one for found in (by_item, by_answer, by_name) for one in tx.execute(found).scalars()}
    return sorted({int(row.cover_version_id), *(int(one) for one in claimed)})


def put_back(tx: Connection, cover: Row[Any]) -> bool:
    """Whether the cover's own object ended as it was before, and not as superseded by something newer."""
    own = (
        quarantine.c.bucket == cover.bucket,
        quarantine.c.key == cover.key,
        quarantine.c.version_id == cover.version_id,
    )
    newest = select(quarantine.c.state).where(*own).order_by(quarantine.c.id.desc()).limit(1)
    return tx.execute(newest).scalar_one_or_none() != QuarantineState.SUPERSEDED.value


def hold(
    tx: Connection, row: Row[Any], *, vaulted: bool, sha256: bytes | None, gone: bool, now: Micros
) -> bool:
    """The object is blocked, and in the vault where the level says so; False where more is owed by now."""
    values = {
        "blocked_at": row.blocked_at or now,
        "vaulted_at": (row.vaulted_at or now) if vaulted else row.vaulted_at,
        "sha256": sha256 or row.sha256,
        "gone_at": now if gone else None,
        "checked_at": now,
        "probes": quarantine.c.probes + 1,
    }
    if lock(tx, row.id).generation != row.generation:
        return False  # renewed meanwhile: more is owed than was done, and the next look takes it on
    move(tx, quarantine, row, machine=QUARANTINE, event=QuarantineEvent.HOLD, values=values)
    return True


def note_probe(tx: Connection, quarantine_id: int, *, gone: bool, now: Micros) -> None:
    """Remember what asking again said; `gone_at` stays the first time it was gone for good."""
    gone_at = func.coalesce(quarantine.c.gone_at, now) if gone else None
    values = {"probes": quarantine.c.probes + 1, "gone_at": gone_at, "checked_at": now}
    held = (quarantine.c.id == quarantine_id, quarantine.c.state == QuarantineState.HELD.value)
    tx.execute(update(quarantine).where(*held).values(values))


def start_release(tx: Connection, row: Row[Any], *, now: Micros) -> bool:
    """Record that the object is about to be put back; False where somebody wants it held after all."""
    current = lock(tx, row.id)
    if current.ended_at is not None or claimants(tx, row.id):
        return False
    tx.execute(update(quarantine).where(quarantine.c.id == row.id).values(releasing_at=now))
    return True


def end(
    tx: Connection, row: Row[Any], event: QuarantineEvent, *, retain_until: Micros | None, now: Micros
) -> bool:
    """Close the row: its object was put back, or was replaced. False where it was claimed meanwhile."""
    current = lock(tx, row.id)
    stale = current.generation != row.generation or current.releasing_at is None
    if current.ended_at is not None or stale or claimants(tx, row.id):
        return False
    values = {"ended_at": now, "retain_until": retain_until, "releasing_at": None}
    move(tx, quarantine, current, machine=QUARANTINE, event=event, values=values)
    return True


def retain(tx: Connection, cover_version_id: int, *, until: Micros) -> None:
    """What is or will be in the vault of this cover version is kept at least until then."""
    mine = quarantine.c.cover_version_id == cover_version_id
    longer = or_(quarantine.c.retain_until.is_(None), quarantine.c.retain_until < until)
    tx.execute(update(quarantine).where(mine, longer).values(retain_until=until))


def abandon(tx: Connection, row: Row[Any], *, now: Micros) -> None:
    """There is nothing (left) to hold."""
    values = {"ended_at": now, "releasing_at": None}
    move(tx, quarantine, row, machine=QUARANTINE, event=QuarantineEvent.ABANDON, values=values)


# ── what the keeper looks for ──────────────────────────────────────────────────────────────────────────────


def owing(tx: Connection, *, before: Micros, limit: int) -> Sequence[int]:
    """Cover versions with a row that is requested, or held and wanted by nobody, since before then.

    What a takedown is at work on is its driver's: thousands of covers must not keep the others waiting.
    """
    requested = and_(
        quarantine.c.state == QuarantineState.REQUESTED.value, quarantine.c.requested_at < before
    )
    unwanted = and_(quarantine.c.state == QuarantineState.HELD.value, ~WANTED)
    found = select(quarantine.c.cover_version_id).where(or_(requested, unwanted), ~DRIVEN)
    found = found.distinct().limit(limit)
    return [int(one) for one in tx.execute(found).scalars()]


def to_ask(tx: Connection, *, not_gone_since: Micros, gone_since: Micros, limit: int) -> Sequence[Row[Any]]:
    """Held rows to ask for again: not seen gone and not asked since then, or gone and not asked for long."""
    again = or_(
        and_(quarantine.c.gone_at.is_(None), quarantine.c.checked_at < not_gone_since),
        quarantine.c.checked_at < gone_since,
    )
    due = (quarantine.c.state == QuarantineState.HELD.value, again)
    return tx.execute(select(quarantine).where(*due).order_by(quarantine.c.checked_at).limit(limit)).all()


def held(tx: Connection) -> Sequence[Row[Any]]:
    return tx.execute(select(quarantine).where(quarantine.c.state == QuarantineState.HELD.value)).all()


def relisting(tx: Connection, *, now: Micros) -> Sequence[int]:
    """Cover versions whose renditions are still to be looked for."""
    due = (LIVE, quarantine.c.relist_until > now, ~quarantine.c.rendition)
    return [int(one) for one in tx.execute(select(quarantine.c.cover_version_id).where(*due)).scalars()]


def state_counts(tx: Connection) -> dict[str, int]:
    counted = select(quarantine.c.state, func.count()).group_by(quarantine.c.state)
    return {str(name): int(count) for name, count in tx.execute(counted)}
