"""Hash lists and their rules: versions in force, switches, and the number that every change has.

Whoever changes what may match waits for the turn first and keeps it until the commit: changes are numbered in
the order in which they can be seen, and a reader that knows one knows all before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, select, update

from coverguard.errors import NotFound
from coverguard.model import Category, ListAction, Micros
from coverguard.policy import LabelRule, ListRule
from coverguard.store.rows import insert_once, take_turn
from coverguard.store.schema import hash_list, list_change, list_entry, list_rule

TURN: Final = "list changes"
MICROSECOND: Final = timedelta(microseconds=1)


def newest_seq(tx: Connection) -> int:
    """The sequence number of the newest list change; 0 before the first."""
    return int(tx.execute(select(func.coalesce(func.max(list_change.c.seq), 0))).scalar_one())


def note_change(tx: Connection, *, list_id: int, kind: str, entries: int, now: Micros) -> int:
    """Append a change and return its sequence number. Others that change lists wait until the commit."""
    take_turn(tx, TURN)
    values = {"list_id": list_id, "kind": kind, "entries": entries, "at": now}
    return int(tx.execute(insert(list_change).values(values).returning(list_change.c.seq)).scalar_one())


def create(
    tx: Connection,
    *,
    name: str,
    source: str,
    rule: ListRule,
    actor: str,
    note: str,
    own: bool = False,
    enabled: bool = True,
    now: Micros,
) -> tuple[int, bool]:
    """Create a list with its first rule, unless the name exists; return its id and whether it is new."""
    take_turn(tx, TURN)
    values = {"source": source, "enabled": enabled, "own": own, "created_at": now}
    list_id, new = insert_once(tx, hash_list, {"name": name}, values)
    if new:
        add_rule(tx, list_id, rule, actor=actor, note=note, now=now)
    return list_id, new


def by_name(tx: Connection, name: str) -> Row[Any]:
    row = tx.execute(select(hash_list).where(hash_list.c.name == name)).one_or_none()
    if row is None:
        raise NotFound("no list has that name; see: coverguard lists show")
    return row


def add_rule(tx: Connection, list_id: int, rule: ListRule, *, actor: str, note: str, now: Micros) -> int:
    """Append the next version of the list's rule and return its number."""
    take_turn(tx, TURN)
    newest = select(func.coalesce(func.max(list_rule.c.version), 0)).where(list_rule.c.list_id == list_id)
    version = int(tx.execute(newest).scalar_one()) + 1
    tx.execute(
        insert(list_rule).values(
            list_id=list_id,
            version=version,
            category=rule.category.value,
            action=rule.action.value,
            pdq_radius=rule.pdq_radius,
            phash256_radius=rule.phash256_radius,
            radii=json.dumps(dict(rule.radii), sort_keys=True),
            complement=rule.complement,
            quality_floor=rule.quality_floor,
            hold_budget=rule.hold_budget,
            known=rule.known,
            floors=json.dumps(dict(rule.floors), sort_keys=True),
            labels=json.dumps(_stored_labels(rule), sort_keys=True),
            review_share=rule.review_share,
            entry_accounts=rule.entry_accounts,
            max_age=rule.max_age // MICROSECOND,
            withhold_stale=rule.withhold_stale,
            actor=actor,
            note=note,
            created_at=now,
        )
    )
    note_change(tx, list_id=list_id, kind="rule", entries=0, now=now)
    return version


def switch(tx: Connection, list_id: int, *, enabled: bool, now: Micros) -> None:
    """Take a list out of matching, or back in."""
    take_turn(tx, TURN)
    tx.execute(update(hash_list).where(hash_list.c.id == list_id).values(enabled=enabled))
    note_change(tx, list_id=list_id, kind="enabled", entries=0, now=now)


def rule_of(tx: Connection, list_id: int) -> ListRule:
    """The list's rule in force, also where the list is disabled."""
    source = str(tx.execute(select(hash_list.c.source).where(hash_list.c.id == list_id)).scalar_one())
    newest = (
        select(list_rule).where(list_rule.c.list_id == list_id).order_by(list_rule.c.version.desc()).limit(1)
    )
    return _rule(tx.execute(newest).one(), source=source)


def rules(tx: Connection) -> Mapping[int, ListRule]:
    """The rule in force of every enabled list."""
    newest = select(list_rule.c.list_id, func.max(list_rule.c.version).label("version")).group_by(
        list_rule.c.list_id
    )
    latest = newest.subquery()
    found = (
        select(list_rule, hash_list.c.source)
        .join(latest, (latest.c.list_id == list_rule.c.list_id) & (latest.c.version == list_rule.c.version))
        .join(hash_list, hash_list.c.id == list_rule.c.list_id)
        .where(hash_list.c.enabled)
    )
    return {row.list_id: _rule(row, source=row.source) for row in tx.execute(found)}


def _stored_labels(rule: ListRule) -> Mapping[str, tuple[str, str]]:
    return {word: (one.category.value, one.action.value) for word, one in rule.labels.items()}


def _rule(row: Row[Any], *, source: str) -> ListRule:
    return ListRule(
        list_id=row.list_id,
        version=row.version,
        category=Category(row.category),
        action=ListAction(row.action),
        pdq_radius=row.pdq_radius,
        phash256_radius=row.phash256_radius,
        radii=json.loads(row.radii),
        complement=row.complement,
        quality_floor=row.quality_floor,
        hold_budget=row.hold_budget,
        known=row.known,
        floors=json.loads(row.floors),
        labels={
            word: LabelRule(category=Category(category), action=ListAction(action))
            for word, (category, action) in json.loads(row.labels).items()
        },
        review_share=row.review_share,
        entry_accounts=row.entry_accounts,
        max_age=timedelta(microseconds=row.max_age),
        withhold_stale=row.withhold_stale,
        source=source,
    )


def counts(tx: Connection) -> Iterable[Row[Any]]:
    """Every list with the number of its live entries and the rule in force."""
    live = (
        select(list_entry.c.list_id, func.count().label("entries"))
        .where(list_entry.c.withdrawn_at.is_(None))
        .group_by(list_entry.c.list_id)
        .subquery()
    )
    in_force = (
        select(list_rule.c.list_id, func.max(list_rule.c.version).label("version"))
        .group_by(list_rule.c.list_id)
        .subquery()
    )
    joined = (
        select(
            hash_list.c.name,
            hash_list.c.source,
            hash_list.c.enabled,
            hash_list.c.own,
            hash_list.c.refreshed_at,
            hash_list.c.review_due_at,
            func.coalesce(live.c.entries, 0).label("entries"),
            list_rule,
        )
        .join(in_force, in_force.c.list_id == hash_list.c.id)
        .join(
            list_rule,
            (list_rule.c.list_id == hash_list.c.id) & (list_rule.c.version == in_force.c.version),
        )
        .outerjoin(live, live.c.list_id == hash_list.c.id)
        .order_by(hash_list.c.name)
    )
    return tx.execute(joined).all()
