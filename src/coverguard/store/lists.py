"""Hash lists at rest: rows are sealed, every change has a sequence number, rules are versions.

A digest is encrypted under the lists' key with its place (list, algorithm, id) as context, so that a row
moved to another place does not open. `load` is the only reader of digests; nothing here logs or returns one
to anybody but the index. Own lists are learnt from confirmed removals and look like any other.

Whoever changes what may match waits for the turn first and keeps it until the commit: changes are numbered in
the order in which they can be seen, and a reader that knows one knows all before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, select, update

from coverguard.algorithms import Algorithms
from coverguard.errors import ConfigurationError, NotFound
from coverguard.hashlist import ListRow
from coverguard.matching import ListedDigest
from coverguard.model import Algorithm, Category, ListAction, Micros, Opinion
from coverguard.policy import EntryFacts, ListRule, Suppressions
from coverguard.ports import Keys
from coverguard.store.rows import insert_once, take_turn, upsert
from coverguard.store.schema import (
    hash_list,
    list_change,
    list_entry,
    list_rule,
    statement,
    suppression,
    verdict,
)

PURPOSE = "lists"
TURN = "list changes"
OURS: Final = Algorithms()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSnapshot:
    """All that matching and judging need to know, as of one list change."""

    seq: int
    rules: Mapping[int, ListRule]
    entries: Mapping[int, EntryFacts]
    digests: Sequence[ListedDigest] = field(repr=False)
    suppressions: Suppressions


def newest_seq(tx: Connection) -> int:
    """The sequence number of the newest list change; 0 before the first."""
    return int(tx.execute(select(func.coalesce(func.max(list_change.c.seq), 0))).scalar_one())


def note_change(tx: Connection, *, list_id: int, kind: str, entries: int, now: Micros) -> int:
    """Append a change and return its sequence number. Others that change lists wait until the commit."""
    take_turn(tx, TURN)
    values = {"list_id": list_id, "kind": kind, "entries": entries, "at": now}
    return int(tx.execute(insert(list_change).values(values).returning(list_change.c.seq)).scalar_one())


def anything_sealed(tx: Connection) -> bool:
    """Whether any row of the ledger needs the deployment's keys."""
    return any(tx.execute(select(table.c.id).limit(1)).first() for table in (list_entry, statement, verdict))


def create(
    tx: Connection,
    *,
    name: str,
    source: str,
    rule: ListRule,
    actor: str,
    note: str,
    own: bool = False,
    now: Micros,
) -> tuple[int, bool]:
    """Create a list with its first rule, unless the name exists; return its id and whether it is new."""
    take_turn(tx, TURN)
    values = {"source": source, "enabled": True, "own": own, "created_at": now}
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
    newest = (
        select(list_rule).where(list_rule.c.list_id == list_id).order_by(list_rule.c.version.desc()).limit(1)
    )
    return _rule(tx.execute(newest).one())


def rules(tx: Connection) -> Mapping[int, ListRule]:
    """The rule in force of every enabled list."""
    newest = select(list_rule.c.list_id, func.max(list_rule.c.version).label("version")).group_by(
        list_rule.c.list_id
    )
    latest = newest.subquery()
    found = (
        select(list_rule)
        .join(latest, (latest.c.list_id == list_rule.c.list_id) & (latest.c.version == list_rule.c.version))
        .join(hash_list, hash_list.c.id == list_rule.c.list_id)
        .where(hash_list.c.enabled)
    )
    return {row.list_id: _rule(row) for row in tx.execute(found)}


def _rule(row: Row[Any]) -> ListRule:
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
    )


# ── entries ────────────────────────────────────────────────────────────────────────────────────────────────


def stored_rows(tx: Connection, list_id: int) -> Mapping[str, bytes]:
    """What is listed now: source entry id to the row's MAC."""
    live = (list_entry.c.list_id == list_id, list_entry.c.withdrawn_at.is_(None))
    found = tx.execute(select(list_entry.c.source_entry_id, list_entry.c.row_mac).where(*live))
    return {source_entry_id: row_mac for source_entry_id, row_mac in found}  # noqa: C416 - typed rows


def length(tx: Connection, list_id: int) -> int:
    """Count what is listed now."""
    live = (list_entry.c.list_id == list_id, list_entry.c.withdrawn_at.is_(None))
    return int(tx.execute(select(func.count()).select_from(list_entry).where(*live)).scalar_one())


def row_mac(keys: Keys, row: ListRow) -> bytes:
    return keys.mac(PURPOSE, row.canonical())


def write_entries(
    tx: Connection,
    keys: Keys,
    *,
    list_id: int,
    rows: Sequence[ListRow],
    now: Micros,
    cap: ListAction = ListAction.HOLD,
    item_id: int | None = None,
    part: bool = False,
) -> int:
    """Insert or replace entries under one list change; return its sequence number."""
    common = {"list_id": list_id, "cap": cap.value, "item_id": item_id, "part": part, "withdrawn_at": None}
    sealed = [_sealed(keys, row, list_id=list_id) | common for row in rows]  # before others have to wait
    seq = note_change(tx, list_id=list_id, kind="entries", entries=len(rows), now=now)
    key = ("list_id", "source_entry_id", "algorithm")
    upsert(tx, list_entry, [values | {"changed_seq": seq} for values in sealed], key=key)
    return seq


def _sealed(keys: Keys, row: ListRow, *, list_id: int) -> dict[str, Any]:
    place = _place(list_id=list_id, source_entry_id=row.source_entry_id, algorithm=row.algorithm.value)
    return {
        "source_entry_id": row.source_entry_id,
        "algorithm": row.algorithm.value,
        "digest_sealed": keys.seal(PURPOSE, row.digest, context=place),
        "row_mac": row_mac(keys, row),
        "opinion": row.opinion.value,
        "category": row.category.value if row.category else None,
        "grid": row.grid,
    }


def withdraw(tx: Connection, *, list_id: int, source_entry_ids: Sequence[str], now: Micros) -> int:
    """Take entries out of matching; their rows stay, since matches name them."""
    seq = note_change(tx, list_id=list_id, kind="entries", entries=len(source_entry_ids), now=now)
    for start in range(0, len(source_entry_ids), 500):
        some = source_entry_ids[start : start + 500]
        listed = (list_entry.c.list_id == list_id, list_entry.c.source_entry_id.in_(some))
        tx.execute(update(list_entry).where(*listed).values(withdrawn_at=now, changed_seq=seq))
    return seq


def withdraw_learnt(tx: Connection, *, item_id: int, now: Micros) -> None:
    """Take out what was learnt from an item whose confirmation no longer stands."""
    take_turn(tx, TURN)
    learnt = (list_entry.c.item_id == item_id, list_entry.c.withdrawn_at.is_(None))
    for list_id in set(tx.execute(select(list_entry.c.list_id).where(*learnt)).scalars()):
        seq = note_change(tx, list_id=list_id, kind="entries", entries=0, now=now)
        tx.execute(update(list_entry).where(*learnt).values(withdrawn_at=now, changed_seq=seq))


def raise_cap(tx: Connection, *, item_id: int, now: Micros) -> None:
    """Let the near signals learnt from an item hold: a second person agreed. Crops of it never do."""
    take_turn(tx, TURN)
    learnt = (
        list_entry.c.item_id == item_id,
        list_entry.c.cap != ListAction.HOLD.value,
        ~list_entry.c.part,
    )
    for list_id in set(tx.execute(select(list_entry.c.list_id).where(*learnt)).scalars()):
        seq = note_change(tx, list_id=list_id, kind="entries", entries=0, now=now)
        tx.execute(update(list_entry).where(*learnt).values(cap=ListAction.HOLD.value, changed_seq=seq))


def suppress(
    tx: Connection,
    keys: Keys,
    *,
    entry_id: int,
    kind: Algorithm,
    digest: bytes,
    verdict_id: int,
    now: Micros,
    review_at: Micros,
) -> None:
    """Remember a false positive: this entry for these bytes, or for PDQs near this one."""
    take_turn(tx, TURN)
    key = {"entry_id": entry_id, "kind": kind.value, "digest_mac": keys.mac(PURPOSE, digest)}
    sealed = keys.seal(PURPOSE, digest, context=_suppression_place(entry_id, kind.value))
    values = {"digest_sealed": sealed, "verdict_id": verdict_id, "created_at": now, "review_at": review_at}
    row_id, changed = insert_once(tx, suppression, key, values)
    if not changed:  # lifted before, and now cleared again
        lifted = (suppression.c.id == row_id, suppression.c.lifted_at.is_not(None))
        again = update(suppression).where(*lifted).values(**values, lifted_at=None)
        changed = tx.execute(again).rowcount == 1
    if changed:
        list_id = tx.execute(select(list_entry.c.list_id).where(list_entry.c.id == entry_id)).scalar_one()
        note_change(tx, list_id=list_id, kind="suppression", entries=0, now=now)


def lift_suppressions(tx: Connection, *, item_id: int, now: Micros) -> None:
    """Forget what was suppressed by an item's clearing verdict, which no longer stands."""
    take_turn(tx, TURN)
    given = select(verdict.c.id).where(verdict.c.item_id == item_id).scalar_subquery()
    standing = (suppression.c.verdict_id.in_(given), suppression.c.lifted_at.is_(None))
    of_lists = (
        select(list_entry.c.list_id)
        .join(suppression, suppression.c.entry_id == list_entry.c.id)
        .where(*standing)
    )
    for list_id in set(tx.execute(of_lists).scalars()):
        note_change(tx, list_id=list_id, kind="suppression", entries=0, now=now)
    tx.execute(update(suppression).where(*standing).values(lifted_at=now))


def withdraw_renamed(tx: Connection, *, list_id: int, rows: Sequence[ListRow], now: Micros) -> None:
    """Take out what an id said under another algorithm before: in a file an id has one digest."""
    take_turn(tx, TURN)
    for row in rows:
        before = (
            list_entry.c.list_id == list_id,
            list_entry.c.source_entry_id == row.source_entry_id,
            list_entry.c.algorithm != row.algorithm.value,
            list_entry.c.withdrawn_at.is_(None),
        )
        if tx.execute(select(list_entry.c.id).where(*before).limit(1)).first():
            seq = note_change(tx, list_id=list_id, kind="entries", entries=1, now=now)
            tx.execute(update(list_entry).where(*before).values(withdrawn_at=now, changed_seq=seq))


# ── the snapshot ───────────────────────────────────────────────────────────────────────────────────────────


def load(tx: Connection, keys: Keys, *, algorithms: Mapping[str, Algorithm] = OURS) -> ListSnapshot:
    """Read everything that may match now.

    Raises:
        IntegrityFailure: a sealed row does not open: tampered with, moved, or of another key.
        ConfigurationError: an entry is of a plug-in that this process has not.
    """
    in_force = rules(tx)
    live = select(list_entry).where(
        list_entry.c.withdrawn_at.is_(None), list_entry.c.list_id.in_(list(in_force))
    )
    facts: dict[int, EntryFacts] = {}
    digests: list[ListedDigest] = []
    for row in tx.execute(live):
        algorithm = _algorithm(row.algorithm, algorithms)
        if in_force[row.list_id].radius(algorithm) < 0:
            continue  # that list has this algorithm switched off
        facts[row.id] = _facts(row)
        place = _place(list_id=row.list_id, source_entry_id=row.source_entry_id, algorithm=row.algorithm)
        plain = keys.open(PURPOSE, row.digest_sealed, context=place)
        digests.append(ListedDigest(entry_id=row.id, list_id=row.list_id, algorithm=algorithm, digest=plain))
    return ListSnapshot(
        seq=newest_seq(tx),
        rules=in_force,
        entries=facts,
        digests=digests,
        suppressions=_suppressions(tx, keys),
    )


def _algorithm(name: str, known: Mapping[str, Algorithm]) -> Algorithm:
    if name not in known:
        raise ConfigurationError(
            f"a list has entries of {name}, which no plug-in here brings; see signal_plugins in the settings"
        )
    return known[name]


def _facts(row: Row[Any]) -> EntryFacts:
    return EntryFacts(
        entry_id=row.id,
        list_id=row.list_id,
        opinion=Opinion(row.opinion),
        category=Category(row.category) if row.category else None,
        grid=row.grid,
        cap=ListAction(row.cap),
        part=row.part,
    )


def _suppressions(tx: Connection, keys: Keys) -> Suppressions:
    pairs: set[tuple[int, bytes]] = set()
    near: dict[int, tuple[bytes, ...]] = {}
    for row in tx.execute(select(suppression).where(suppression.c.lifted_at.is_(None))):
        digest = keys.open(PURPOSE, row.digest_sealed, context=_suppression_place(row.entry_id, row.kind))
        if row.kind == Algorithm.SHA256:
            pairs.add((row.entry_id, digest))
        else:
            near[row.entry_id] = (*near.get(row.entry_id, ()), digest)
    return Suppressions(pairs=frozenset(pairs), near=near)


def _place(*, list_id: int, source_entry_id: str, algorithm: str) -> bytes:
    return f"entry:{list_id}:{algorithm}:{source_entry_id}".encode()


def _suppression_place(entry_id: int, kind: str) -> bytes:
    return f"suppression:{entry_id}:{kind}".encode()


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
