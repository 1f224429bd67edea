"""Who vouches for a list, who stopped it, who looked at what came of it: rows that are only added.

A stop is lifted, by a person or at its time. Both are list changes of their own, so that whoever matches, and
whoever looks again at what was judged meanwhile, comes to know.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, Select, func, insert, or_, select, update

from coverguard.errors import NotFound
from coverguard.model import Micros
from coverguard.policy import Stops
from coverguard.store.lists.rules import TURN, note_change
from coverguard.store.rows import new_ref, take_turn
from coverguard.store.schema import (
    case_item,
    hash_list,
    list_attestation,
    list_entry,
    list_review,
    list_rule,
    list_stop,
    match,
    screening,
)
from coverguard.store.schema.lists import ATTESTED, WEIGHED

STANDING: Final = list_stop.c.lifted_at.is_(None)


class Precision(NamedTuple):
    """What people have made of the items that a list brought."""

    confirmed: int
    cleared: int


# ── attestations ───────────────────────────────────────────────────────────────────────────────────────────


def attest(tx: Connection, list_id: int, said: Mapping[str, str], *, actor: str, now: Micros) -> None:
    """Append what is vouched for; what is not said stays as it was said before."""
    before = attestation(tx, list_id)
    values = {name: said.get(name) or (getattr(before, name) if before else "") for name in ATTESTED}
    tx.execute(insert(list_attestation).values(list_id=list_id, actor=actor, created_at=now, **values))


def attestation(tx: Connection, list_id: int) -> Row[Any] | None:
    """The newest one."""
    theirs = select(list_attestation).where(list_attestation.c.list_id == list_id)
    return tx.execute(theirs.order_by(list_attestation.c.id.desc()).limit(1)).one_or_none()


def missing(tx: Connection, list_id: int) -> Sequence[str]:
    """What nobody has vouched for yet."""
    said = attestation(tx, list_id)
    return [name for name in ATTESTED if said is None or not getattr(said, name)]


def not_attested(tx: Connection) -> Sequence[int]:
    """Lists in force whose source nobody vouched for: made before that was asked for."""
    newest = (
        select(func.max(list_attestation.c.id))
        .where(list_attestation.c.list_id == hash_list.c.id)
        .correlate(hash_list)
        .scalar_subquery()
    )
    said = select(list_attestation.c.id).where(
        list_attestation.c.id == newest, *(list_attestation.c[name] != "" for name in ATTESTED)
    )
    found = select(hash_list.c.id).where(hash_list.c.enabled, ~hash_list.c.own, ~said.exists())
    return list(tx.execute(found.order_by(hash_list.c.id)).scalars())


# ── stops ──────────────────────────────────────────────────────────────────────────────────────────────────


def stop(
    tx: Connection,
    *,
    note: str,
    actor: str,
    now: Micros,
    until: Micros | None = None,
    list_id: int | None = None,
    source: str | None = None,
    entry_id: int | None = None,
) -> str:
    """Stop one list, one source or one entry; return the stop's reference.

    Raises:
        NotFound: no list has that source.
    """
    take_turn(tx, TURN)
    of_lists = _lists_of(tx, list_id=list_id, source=source, entry_id=entry_id)
    if not of_lists:
        raise NotFound("no list has that source; see: coverguard lists show")
    ref = new_ref("stop")
    subject = {"list_id": list_id, "source": source, "entry_id": entry_id}
    values = {"ref": ref, "note": note, "actor": actor, "stopped_at": now, "until": until, **subject}
    tx.execute(insert(list_stop).values(values))
    for one in of_lists:
        note_change(tx, list_id=one, kind="stop", entries=0, now=now)
    return ref


def lift(tx: Connection, ref: str, *, now: Micros) -> Row[Any]:
    """End a stop; lifting it twice is harmless.

    Raises:
        NotFound: there is no such stop.
    """
    take_turn(tx, TURN)
    row = tx.execute(select(list_stop).where(list_stop.c.ref == ref)).one_or_none()
    if row is None:
        raise NotFound("no stop has that reference; see: coverguard lists stops")
    _lift(tx, row, now=now)
    return row


def lift_expired(tx: Connection, *, now: Micros) -> int:
    """End the stops whose time is over. They count for nothing since then; this tells it as a change."""
    over = tx.execute(_expired(now)).all()
    if over:
        take_turn(tx, TURN)
    for row in over:
        _lift(tx, row, now=now)
    return len(over)


def has_expired(tx: Connection, *, now: Micros) -> bool:
    return tx.execute(_expired(now).limit(1)).first() is not None


def _expired(now: Micros) -> Select[Any]:
    return select(list_stop).where(STANDING, list_stop.c.until <= now).order_by(list_stop.c.id)


def _lift(tx: Connection, row: Row[Any], *, now: Micros) -> None:
    ours = update(list_stop).where(list_stop.c.id == row.id, STANDING).values(lifted_at=now)
    if tx.execute(ours).rowcount != 1:
        return
    for one in _lists_of(tx, list_id=row.list_id, source=row.source, entry_id=row.entry_id):
        note_change(tx, list_id=one, kind="stop", entries=0, now=now)


def _lists_of(
    tx: Connection, *, list_id: int | None, source: str | None, entry_id: int | None
) -> Sequence[int]:
    if list_id is not None:
        return [list_id]
    if entry_id is not None:
        return list(tx.execute(select(list_entry.c.list_id).where(list_entry.c.id == entry_id)).scalars())
    return list(tx.execute(select(hash_list.c.id).where(hash_list.c.source == source)).scalars())


def stops(tx: Connection) -> Stops:
    """What is stopped, until when; of several stops of one thing the last to end counts."""
    entries: dict[int, Micros | None] = {}
    lists: dict[int, Micros | None] = {}
    for row in tx.execute(select(list_stop).where(STANDING)):
        if row.entry_id is not None:
            _longest(entries, row.entry_id, row.until)
            continue
        for one in _lists_of(tx, list_id=row.list_id, source=row.source, entry_id=None):
            _longest(lists, one, row.until)
    return Stops(entries=entries, lists=lists)


def _longest(stopped: dict[int, Micros | None], one: int, until: Micros | None) -> None:
    before = stopped.get(one, Micros(0))
    stopped[one] = None if before is None or until is None else max(before, until)


def standing_stops(tx: Connection) -> Sequence[Row[Any]]:
    """Stops that were not lifted, oldest first, with the name of the list they are about."""
    found = (
        select(list_stop, func.coalesce(hash_list.c.name, "").label("list_name"))
        .outerjoin(list_entry, list_entry.c.id == list_stop.c.entry_id)
        .outerjoin(hash_list, hash_list.c.id == func.coalesce(list_stop.c.list_id, list_entry.c.list_id))
        .where(STANDING)
        .order_by(list_stop.c.id)
    )
    return tx.execute(found).all()


def entry_of(tx: Connection, list_id: int, entry_id: int) -> int:
    """Return the id of the list's entry of that number.

    Raises:
        NotFound: the list has none.
    """
    named = select(list_entry.c.id).where(list_entry.c.id == entry_id, list_entry.c.list_id == list_id)
    found = tx.execute(named).scalar_one_or_none()
    if found is None:
        raise NotFound("the list has no entry of that number; alarms and cases name entries by number")
    return int(found)


# ── reviews ────────────────────────────────────────────────────────────────────────────────────────────────


def precision(tx: Connection, list_id: int) -> Precision:
    """How many of the items that rest on the list people confirmed, and how many they cleared."""
    theirs = (
        select(case_item.c.state, func.count(case_item.c.id.distinct()))
        .join(screening, screening.c.cover_version_id == case_item.c.cover_version_id)
        .join(match, match.c.screening_id == screening.c.id)
        .where(match.c.list_id == list_id, match.c.action != "shadow")
        .group_by(case_item.c.state)
    )
    counted = {str(state): int(count) for state, count in tx.execute(theirs)}
    return Precision(confirmed=counted.get("confirmed", 0), cleared=counted.get("cleared", 0))


def review(
    tx: Connection, list_id: int, weighed: Mapping[str, str], *, actor: str, due_at: Micros, now: Micros
) -> Precision:
    """Append what a person weighed, with what was counted; the next review is due then."""
    found = precision(tx, list_id)
    version = select(func.max(list_rule.c.version)).where(list_rule.c.list_id == list_id).scalar_subquery()
    values = {name: weighed[name] for name in WEIGHED}
    tx.execute(
        insert(list_review).values(
            list_id=list_id, rule_version=version, confirmed=found.confirmed, cleared=found.cleared,
            actor=actor, created_at=now, **values,
        )
    )  # fmt: skip
    tx.execute(update(hash_list).where(hash_list.c.id == list_id).values(review_due_at=due_at))
    return found


def reviews(tx: Connection, list_id: int) -> Sequence[Row[Any]]:
    """Newest first."""
    theirs = select(list_review).where(list_review.c.list_id == list_id)
    return tx.execute(theirs.order_by(list_review.c.id.desc())).all()


def review_falls_due(tx: Connection, list_id: int, *, at: Micros) -> None:
    """Have the list's rule looked at by then, or sooner where that was due already."""
    later_or_never = or_(hash_list.c.review_due_at.is_(None), hash_list.c.review_due_at > at)
    tx.execute(update(hash_list).where(hash_list.c.id == list_id, later_or_never).values(review_due_at=at))


def reviews_due(tx: Connection, *, now: Micros) -> Sequence[int]:
    due = select(hash_list.c.id).where(hash_list.c.enabled, hash_list.c.review_due_at <= now)
    return list(tx.execute(due.order_by(hash_list.c.id)).scalars())


# ── what lists are worth ───────────────────────────────────────────────────────────────────────────────────


def was_confirmed(tx: Connection, entry_ids: Collection[int]) -> bool:
    """Whether people have confirmed an item of any of these entries before."""
    known = (
        select(case_item.c.id)
        .join(screening, screening.c.cover_version_id == case_item.c.cover_version_id)
        .join(match, match.c.screening_id == screening.c.id)
        .where(match.c.entry_id.in_(entry_ids), case_item.c.state == "confirmed")
    )
    return tx.execute(known.limit(1)).first() is not None


def refreshed(tx: Connection) -> Mapping[int, Micros]:
    """When each list was last known to say all that its source says; its beginning where it never was."""
    found = select(hash_list.c.id, func.coalesce(hash_list.c.refreshed_at, hash_list.c.created_at))
    return {list_id: Micros(at) for list_id, at in tx.execute(found)}


def note_refreshed(tx: Connection, list_id: int, *, now: Micros) -> None:
    tx.execute(update(hash_list).where(hash_list.c.id == list_id).values(refreshed_at=now))
