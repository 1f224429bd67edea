"""Takedowns: everything of one account goes dark, for as long as one cause is left.

At most one live takedown an account. The account's row is the lock: whoever requests, withdraws, lists or
lifts has it, and `account.takedown_id` says under it whether the account is dark, so that whoever announces a
cover either is seen by the listing or sees the takedown. Causes are ensured and withdrawn one by one; with
the last one the takedown begins to lift. What the platform said of terminations is judged by when it
happened, whatever order it came in. Nothing here touches an object: `takedown` drives, `acting` acts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, or_, select, update

from coverguard.lifecycle import TAKEDOWN, TakedownEvent, TakedownState
from coverguard.model import Micros, TakedownCause
from coverguard.store import alarms, audit
from coverguard.store.rows import ensure, insert_once, lock, lock_all, move, new_ref
from coverguard.store.schema import account, case_file, platform_event, takedown, takedown_cause

Level = Literal["block", "hold"]
LIVE: Final = takedown.c.lifted_at.is_(None)
STANDING: Final = takedown_cause.c.withdrawn_at.is_(None)
UNDER_WAY: Final = (TakedownState.REQUESTED.value, TakedownState.ENUMERATED.value, TakedownState.DARK.value)
UNVERIFIED: Final = and_(takedown.c.lifting_at.is_(None), takedown.c.state.in_(UNDER_WAY))
"""To be dark, and nobody has proven that it is, since it was requested or reopened."""

REOPENED: Final = "takedown_reopened"
STUCK: Final = "takedown_stuck"
DECIDED: Final = (TakedownCause.TERMINATION, TakedownCause.VERDICT, TakedownCause.PERSON)
TERMINATED: Final = "account.terminated"
REINSTATED: Final = "account.reinstated"


def request(
    tx: Connection,
    *,
    account_id: int,
    cause: TakedownCause,
    origin: str,
    level: Level,
    actor: str,
    role: str,
    now: Micros,
    reason_sealed: bytes | None = None,
) -> Row[Any]:
    """Ensure that the account is dark for this cause, at this level or above; return its one live takedown.

    Locks the account, after its cover versions where both are needed. Said again it changes nothing. One that
    is being lifted goes dark again, and so does all that was shown meanwhile.
    """
    lock(tx, account, account_id)
    first = {
        "ref": new_ref("takedown"),
        "state": TakedownState.REQUESTED.value,
        "level": level,
        "requested_at": now,
        "look_at": now,
    }
    row, new = ensure(tx, takedown, {"account_id": account_id}, first, where=LIVE)
    key = {"takedown_id": row.id, "kind": cause.value, "origin": origin}
    said = {"level": level, "actor": actor, "role": role, "added_at": now, "reason_sealed": reason_sealed}
    cause_id, added = insert_once(tx, takedown_cause, key, said)
    if not added and not _revived(tx, cause_id, said):
        return row
    raised = level == "hold" and row.level == "block"
    _take_up(
        tx, row, level="hold" if raised else row.level, anew=raised or row.lifting_at is not None, now=now
    )
    tx.execute(update(account).where(account.c.id == account_id).values(takedown_id=row.id))
    facts = {"cause": cause.value, "level": level, "new": new}
    audit.write(tx, now=now, verb="take down", subject=row.ref, actor=actor, role=role, facts=facts)
    return by_id(tx, row.id)


def _revived(tx: Connection, cause_id: int, said: Mapping[str, Any]) -> bool:
    """Whether a cause that was withdrawn stands again by this; one that stands is left alone, unwritten."""
    mine = takedown_cause.c.id == cause_id
    if tx.execute(select(takedown_cause.c.withdrawn_at).where(mine)).scalar_one() is None:
        return False
    never = {"withdrawn_at": None, "withdrawn_by": None, "withdrawn_reason_sealed": None}
    tx.execute(update(takedown_cause).where(mine).values(**said, **never))
    return True


def _take_up(tx: Connection, row: Row[Any], *, level: str, anew: bool, now: Micros) -> None:
    """Have it looked at now; `anew` means that every cover has to be claimed again."""
    values: dict[str, Any] = {"level": level, "look_at": now}
    if anew:
        values |= {"cursor": 0, "lifting_at": None, "walked_at": None}
    if anew and row.state != TakedownState.REQUESTED.value:
        values |= {"enumerated_at": now}
        move(tx, takedown, row, machine=TAKEDOWN, event=TakedownEvent.REAPPEAR, values=values)
    else:
        tx.execute(update(takedown).where(takedown.c.id == row.id).values(values))


def withdraw(
    tx: Connection,
    *,
    cause: TakedownCause,
    origin: str,
    actor: str,
    now: Micros,
    role: str = "machine",
    reason_sealed: bytes | None = None,
) -> int:
    """Take a cause back, wherever it stands; return how many did. With its last cause a takedown lifts."""
    named = (takedown_cause.c.kind == cause.value, takedown_cause.c.origin == origin, STANDING)
    found = select(takedown.c.account_id).join(takedown_cause, takedown_cause.c.takedown_id == takedown.c.id)
    lock_all(tx, account, tx.execute(found.where(*named, LIVE)).scalars())
    said = {"withdrawn_at": now, "withdrawn_by": actor, "withdrawn_reason_sealed": reason_sealed}
    changed = update(takedown_cause).where(*named).values(said).returning(takedown_cause.c.takedown_id)
    ids = sorted(tx.execute(changed).scalars())
    for takedown_id in ids:
        row = by_id(tx, takedown_id)
        facts = {"cause": cause.value}
        audit.write(tx, now=now, verb="withdraw cause", subject=row.ref, actor=actor, role=role, facts=facts)
        if row.lifted_at is None and not causes(tx, row.id):
            _begin_lifting(tx, row, now=now)
    return len(ids)


def _begin_lifting(tx: Connection, row: Row[Any], *, now: Micros) -> None:
    mine = (account.c.id == row.account_id, account.c.takedown_id == row.id)
    tx.execute(update(account).where(*mine).values(takedown_id=None))
    tx.execute(update(takedown).where(takedown.c.id == row.id).values(lifting_at=now, look_at=now))
    audit.write(tx, now=now, verb="begin to lift", subject=row.ref)


def reappeared(tx: Connection, takedown_id: int, *, now: Micros) -> None:
    """Something of the account is, or was, not dark: go back and make sure; ring where it was verified."""
    row = by_id(tx, takedown_id)
    if row.state not in (TakedownState.DARK.value, TakedownState.VERIFIED_GONE.value):
        return
    values = {"look_at": now, "enumerated_at": now, "reopened": takedown.c.reopened + 1}
    move(tx, takedown, row, machine=TAKEDOWN, event=TakedownEvent.REAPPEAR, values=values)
    if row.verified_at is not None and row.lifting_at is None:
        alarms.ring(tx, kind=REOPENED, subject=row.ref, now=now)
    audit.write(tx, now=now, verb="reopen takedown", subject=row.ref)


# ── how far it is ──────────────────────────────────────────────────────────────────────────────────────────


def lock_account_of(tx: Connection, row: Row[Any]) -> Row[Any]:
    """Lock the account of a takedown, and return the takedown as it is now."""
    lock(tx, account, row.account_id)
    return by_id(tx, row.id)


def look_at(tx: Connection, takedown_id: int, when: Micros, *, unless_since: Micros | None = None) -> None:
    """Set when to look next; not where somebody wants it looked at since that time."""
    mine = [takedown.c.id == takedown_id]
    if unless_since is not None:
        mine.append(takedown.c.look_at <= unless_since)
    tx.execute(update(takedown).where(*mine).values(look_at=when))


def note_walked(tx: Connection, row: Row[Any], *, now: Micros) -> None:
    """The catalogue said all that it has of the account."""
    tx.execute(update(takedown).where(takedown.c.id == row.id).values(walked_at=now))


def note_objects(tx: Connection, row: Row[Any], *, objects: int) -> None:
    """How many objects were seen gone, at a look after the first."""
    tx.execute(update(takedown).where(takedown.c.id == row.id).values(objects=objects))


def enumerated(tx: Connection, row: Row[Any], *, now: Micros) -> None:
    """Everything that ledger and catalogue know of is claimed."""
    _move(tx, row, TakedownEvent.ENUMERATE, enumerated_at=now)


def darkened(tx: Connection, row: Row[Any], *, now: Micros) -> None:
    """Everything claimed is blocked, and kept where the level says so."""
    _move(tx, row, TakedownEvent.DARKEN, dark_at=now)


def verified(tx: Connection, row: Row[Any], *, objects: int, now: Micros) -> None:
    """Every object was asked for, and nobody is served one."""
    _move(tx, row, TakedownEvent.VERIFY, verified_at=now, objects=objects)


def lifted(tx: Connection, row: Row[Any], *, now: Micros) -> None:
    """Everything that nobody else wants hidden is back."""
    _move(tx, row, TakedownEvent.LIFT, lifted_at=now)


def _move(tx: Connection, row: Row[Any], event: TakedownEvent, **values: int) -> None:
    move(tx, takedown, row, machine=TAKEDOWN, event=event, values=values)


# ── what the platform said of the account ──────────────────────────────────────────────────────────────────

TERMINATION_ORIGIN: Final = "account.terminated"


def judge_termination(tx: Connection, account_id: int, *, now: Micros) -> bool:
    """Ensure or withdraw the termination's cause, by all that was said so far; return whether it stands.

    A termination for child safety takes everything dark, one for an unknown reason where the account has an
    open case (also one that opens later). A reinstatement undoes what happened before it, whenever it comes.
    """
    lock(tx, account, account_id)
    reinstated = _newest(tx, account_id, REINSTATED)
    ended = select(platform_event.c.facts).where(
        platform_event.c.account_id == account_id,
        platform_event.c.type == TERMINATED,
        platform_event.c.occurred_at >= (reinstated or 0),  # at the same moment: rather dark than public
    )
    reasons = {facts["reason"] for facts in tx.execute(ended).scalars()}
    if not reasons:
        if live(tx, account_id) is not None:
            _withdraw_termination(tx, account_id, now=now)
        return False
    if "child_safety" in reasons or ("unknown" in reasons and _has_open_case(tx, account_id)):
        request(
            tx, account_id=account_id, cause=TakedownCause.TERMINATION,
            origin=_of_termination(account_id), level="hold", actor=audit.MACHINE, role="machine", now=now,
        )  # fmt: skip
        return True
    return False


def _of_termination(account_id: int) -> str:
    return f"{TERMINATION_ORIGIN}:{account_id}"


def _withdraw_termination(tx: Connection, account_id: int, *, now: Micros) -> None:
    origin = _of_termination(account_id)
    withdraw(tx, cause=TakedownCause.TERMINATION, origin=origin, actor=audit.MACHINE, now=now)


def _newest(tx: Connection, account_id: int, event_type: str) -> int | None:
    theirs = (platform_event.c.account_id == account_id, platform_event.c.type == event_type)
    found: int | None = tx.execute(select(func.max(platform_event.c.occurred_at)).where(*theirs)).scalar()
    return found


def _has_open_case(tx: Connection, account_id: int) -> bool:
    theirs = (case_file.c.account_id == account_id, case_file.c.closed_at.is_(None))
    return tx.execute(select(case_file.c.id).where(*theirs)).first() is not None


def unserved_accounts(tx: Connection, *, limit: int) -> Sequence[int]:
    """Accounts with a termination or reinstatement that an earlier release stored and nobody has served."""
    waiting = (
        select(platform_event.c.account_id)
        .where(platform_event.c.type.in_((TERMINATED, REINSTATED)), platform_event.c.served_at.is_(None))
        .distinct()
        .limit(limit)
    )
    return [int(one) for one in tx.execute(waiting).scalars()]


def mark_served(tx: Connection, account_id: int, *, now: Micros) -> None:
    """All that was said of the account's end and return up to now was acted on."""
    theirs = (
        platform_event.c.account_id == account_id,
        platform_event.c.type.in_((TERMINATED, REINSTATED)),
        platform_event.c.served_at.is_(None),
    )
    tx.execute(update(platform_event).where(*theirs).values(served_at=now))


# ── looking ────────────────────────────────────────────────────────────────────────────────────────────────


def live(tx: Connection, account_id: int) -> Row[Any] | None:
    """The takedown that keeps the account dark; none where it is being lifted, or there is none."""
    dark = (takedown.c.account_id == account_id, LIVE, takedown.c.lifting_at.is_(None))
    return tx.execute(select(takedown).where(*dark)).one_or_none()


def live_of(tx: Connection, platform_id: str) -> Row[Any] | None:
    """The takedown that keeps the account of that name dark, if one does."""
    dark = (account.c.platform_id == platform_id, LIVE, takedown.c.lifting_at.is_(None))
    return tx.execute(
        select(takedown).join(account, account.c.id == takedown.c.account_id).where(*dark)
    ).one_or_none()


def unlifted(tx: Connection, account_id: int) -> Row[Any] | None:
    """The account's takedown, also while it is being lifted."""
    return tx.execute(select(takedown).where(takedown.c.account_id == account_id, LIVE)).one_or_none()


def by_id(tx: Connection, takedown_id: int) -> Row[Any]:
    return tx.execute(select(takedown).where(takedown.c.id == takedown_id)).one()


def causes(tx: Connection, takedown_id: int) -> Sequence[Row[Any]]:
    """The causes that stand, oldest first."""
    mine = (takedown_cause.c.takedown_id == takedown_id, STANDING)
    return tx.execute(select(takedown_cause).where(*mine).order_by(takedown_cause.c.id)).all()


def due(tx: Connection, *, now: Micros, limit: int) -> Sequence[int]:
    """Takedowns that somebody has to look at, the longest waiting first."""
    waiting = select(takedown.c.id).where(LIVE, takedown.c.look_at <= now).order_by(takedown.c.look_at)
    return [int(one) for one in tx.execute(waiting.limit(limit)).scalars()]


def late(tx: Connection, *, since: Micros) -> Sequence[Row[Any]]:
    """Takedowns requested or reopened before then and not verified since, or being lifted since then."""
    wanted = or_(and_(UNVERIFIED, _begun() < since), takedown.c.lifting_at < since)
    return tx.execute(select(takedown).where(LIVE, wanted)).all()


def unverified(tx: Connection) -> tuple[int, Micros | None]:
    """How many accounts are to be dark and not proven to be, and since when the first of them."""
    found = tx.execute(select(func.count(), func.min(_begun())).where(UNVERIFIED)).one()
    since: int | None = found[1]
    return int(found[0]), Micros(since) if since is not None else None


def _begun() -> ColumnElement[int]:
    first = takedown.c.verified_at.is_(None)
    return case((first, takedown.c.requested_at), else_=takedown.c.enumerated_at)


def hidden_by_support(tx: Connection) -> Sequence[str]:
    """References of takedowns that support asked for and that nobody has decided on."""
    causes = select(takedown_cause.c.kind).where(takedown_cause.c.takedown_id == takedown.c.id, STANDING)
    hidden = causes.where(takedown_cause.c.kind == TakedownCause.SUPPORT.value).exists()
    decided = causes.where(takedown_cause.c.kind.in_([one.value for one in DECIDED])).exists()
    waiting = select(takedown.c.ref).where(LIVE, takedown.c.lifting_at.is_(None), hidden, ~decided)
    return [str(one) for one in tx.execute(waiting).scalars()]


def listing(tx: Connection, *, lifted: bool = False) -> Sequence[Row[Any]]:
    """Takedowns with the platform's id of the account, the newest last."""
    wanted = takedown.c.lifted_at.is_not(None) if lifted else LIVE
    found = select(takedown, account.c.platform_id).join(account, account.c.id == takedown.c.account_id)
    return tx.execute(found.where(wanted).order_by(takedown.c.id)).all()
