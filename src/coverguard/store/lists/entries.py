"""Entries at rest: sealed rows, told apart by MACs; a withdrawn one stays, since matches name it.

A digest is encrypted under the lists' key with its place (list, algorithm, id) as context, so that a row
moved to another place does not open. Nothing here logs a digest or gives one to anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    FromClause,
    and_,
    any_,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    update,
)

from coverguard.hashlist import Entry, ListRow
from coverguard.model import ListAction, Micros, Opinion
from coverguard.ports import Keys
from coverguard.store.lists.rules import TURN, note_change
from coverguard.store.rows import take_turn, upsert
from coverguard.store.schema import list_entry, statement, verdict
from coverguard.store.schema.lists import IN_QUESTION

PURPOSE: Final = "lists"
ENTRY_KEY: Final = ("list_id", "source_entry_id", "algorithm")
SEALED: Final = (
    "source_entry_id", "algorithm", "digest_sealed", "row_mac", "digest_mac", "opinion", "category", "grid",
    "label",
)  # fmt: skip
ROW_MAC: Final = 3
DIGEST_MAC: Final = 4
_PARAMETERS: Final = 500  # of one statement on SQLite

Sealed = tuple[str, str, bytes, bytes, bytes, str, str | None, bool, str | None]
"""The columns `SEALED`."""


def anything_sealed(tx: Connection) -> bool:
    """Whether any row of the ledger needs the deployment's keys."""
    return any(tx.execute(select(table.c.id).limit(1)).first() for table in (list_entry, statement, verdict))


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
    common = {"list_id": list_id, "cap": cap.value, "item_id": item_id, "part": part}
    seal = sealing(keys, list_id)
    sealed = [seal(row.entry()) for row in rows]  # before others have to wait
    seq = note_change(tx, list_id=list_id, kind="entries", entries=len(rows), now=now)
    ended = disputed_of(tx, list_id, ids=[one[0] for one in sealed])
    upsert_entries(tx, [dict(zip(SEALED, one, strict=True)) | common for one in sealed], seq=seq)
    settle_disputes(tx, list_id, digests=[*ended, *[one[DIGEST_MAC] for one in sealed]], seq=seq)
    return seq


def upsert_entries(tx: Connection, rows: Sequence[Mapping[str, Any]], *, seq: int) -> None:
    """Write rows as they are now in their list: live, and not known to be disputed."""
    anew = {"withdrawn_at": None, "disputed": False, "changed_seq": seq}
    upsert(tx, list_entry, [{**row, **anew} for row in rows], key=ENTRY_KEY)


def sealing(keys: Keys, list_id: int) -> Callable[[Entry], Sealed]:
    """What makes the columns `SEALED` of an entry of this list: its digest encrypted, and its MACs."""
    seal, mac = keys.seal, keys.mac

    def sealed(entry: Entry) -> Sealed:
        name, algorithm, digest, facts = entry
        kind = algorithm.value
        context = place(list_id=list_id, source_entry_id=name, algorithm=kind)
        said = kind.encode() + b":" + digest
        return (
            name,
            kind,
            seal(PURPOSE, digest, context=context),
            mac(PURPOSE, said + facts.said),
            mac(PURPOSE, b"digest:" + said),
            facts.opinion.value,
            facts.category.value if facts.category else None,
            facts.grid,
            facts.label,
        )

    return sealed


def withdraw(tx: Connection, *, list_id: int, source_entry_ids: Sequence[str], now: Micros) -> int:
    """Take entries out of matching; their rows stay, since matches name them."""
    seq = note_change(tx, list_id=list_id, kind="entries", entries=len(source_entry_ids), now=now)
    ended = disputed_of(tx, list_id, ids=source_entry_ids)
    for some in portions(tx, source_entry_ids):
        listed = (list_entry.c.list_id == list_id, among(tx, list_entry.c.source_entry_id, some))
        tx.execute(
            update(list_entry).where(*listed).values(withdrawn_at=now, disputed=False, changed_seq=seq)
        )
    settle_disputes(tx, list_id, digests=ended, seq=seq)
    return seq


def withdraw_learnt(tx: Connection, *, item_id: int, now: Micros) -> None:
    """Take out what was learnt from an item whose confirmation no longer stands."""
    take_turn(tx, TURN)
    learnt = (list_entry.c.item_id == item_id, list_entry.c.withdrawn_at.is_(None))
    found = tx.execute(select(list_entry.c.list_id, list_entry.c.digest_mac).where(*learnt)).all()
    for list_id in {row.list_id for row in found}:
        seq = note_change(tx, list_id=list_id, kind="entries", entries=0, now=now)
        of_list = (*learnt, list_entry.c.list_id == list_id)
        gone = {"withdrawn_at": now, "disputed": False, "changed_seq": seq}
        tx.execute(update(list_entry).where(*of_list).values(gone))
        digests = [row.digest_mac for row in found if row.list_id == list_id and row.digest_mac]
        settle_disputes(tx, list_id, digests=digests, seq=seq)


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


def withdraw_other_algorithms(
    tx: Connection, list_id: int, algorithms: Mapping[str, str], *, now: Micros
) -> None:
    """Take out what these ids say under other algorithms than these: in a file an id has one digest."""
    take_turn(tx, TURN)
    wanted = select(
        list_entry.c.id, list_entry.c.source_entry_id, list_entry.c.algorithm, list_entry.c.digest_mac
    )
    live = (list_entry.c.list_id == list_id, list_entry.c.withdrawn_at.is_(None))
    renamed = [
        row
        for some in portions(tx, list(algorithms))
        for row in tx.execute(wanted.where(*live, among(tx, list_entry.c.source_entry_id, some)))
        if row.algorithm != algorithms[row.source_entry_id]
    ]
    withdraw_rows(tx, list_id, renamed, now=now)


def withdraw_rows(tx: Connection, list_id: int, rows: Sequence[Any], *, now: Micros) -> None:
    """Take out these rows (`id`, `digest_mac`) of one list under one list change; nothing for none."""
    if not rows:
        return
    seq = note_change(tx, list_id=list_id, kind="entries", entries=len(rows), now=now)
    gone = {"withdrawn_at": now, "disputed": False, "changed_seq": seq}
    for ids in portions(tx, [row.id for row in rows]):
        live = (among(tx, list_entry.c.id, ids), list_entry.c.withdrawn_at.is_(None))
        tx.execute(update(list_entry).where(*live).values(gone))
    settle_disputes(tx, list_id, digests=[row.digest_mac for row in rows if row.digest_mac], seq=seq)


# ── disputes ───────────────────────────────────────────────────────────────────────────────────────────────


def disputed_of(tx: Connection, list_id: int, *, ids: Sequence[str]) -> Sequence[bytes]:
    """The digests that these ids say now and others of the list dispute: a change of theirs may end that."""
    live = (list_entry.c.list_id == list_id, list_entry.c.withdrawn_at.is_(None), list_entry.c.disputed)
    found = select(list_entry.c.digest_mac).where(*live)
    return [
        mac
        for some in portions(tx, ids)
        for mac in tx.execute(found.where(among(tx, list_entry.c.source_entry_id, some))).scalars()
    ]


def settle_disputes(tx: Connection, list_id: int, *, digests: Sequence[bytes], seq: int) -> None:
    """Mark the live entries of these digests as disputed where the list both names and denies a digest.

    Those whose mark changes get the number of this change, so that readers see it. Most lists deny nothing:
    there one look is all it takes.
    """
    for few in portions(tx, sorted(_in_question(tx, list_id, digests))):
        _mark(tx, list_id, few, seq=seq)


def _in_question(tx: Connection, list_id: int, digests: Sequence[bytes]) -> set[bytes]:
    """Those of these digests that the list denies, or has marked."""
    asked = and_(list_entry.c.list_id == list_id, literal_column(IN_QUESTION.text))
    if tx.execute(select(list_entry.c.id).where(asked).limit(1)).first() is None:
        return set()
    found = select(list_entry.c.digest_mac).where(asked)
    return {
        mac
        for some in portions(tx, digests)
        for mac in tx.execute(found.where(among(tx, list_entry.c.digest_mac, some))).scalars()
    }


def _mark(tx: Connection, list_id: int, digests: Sequence[bytes], *, seq: int) -> None:
    other = list_entry.alias("other")
    of_digest = (
        _of_list(other, list_id),
        other.c.digest_mac == list_entry.c.digest_mac,
        other.c.withdrawn_at.is_(None),
    )
    denied = select(other.c.id).where(*of_digest, other.c.opinion == Opinion.NEGATIVE.value).exists()
    named = select(other.c.id).where(*of_digest, other.c.opinion != Opinion.NEGATIVE.value).exists()
    both = and_(denied, named)
    wrong = or_(and_(list_entry.c.disputed, not_(both)), and_(not_(list_entry.c.disputed), both))
    live = (_of_list(list_entry, list_id), list_entry.c.withdrawn_at.is_(None))
    marked = update(list_entry).values(disputed=not_(list_entry.c.disputed), changed_seq=seq)
    tx.execute(marked.where(among(tx, list_entry.c.digest_mac, digests), *live, wrong))


def _of_list(table: FromClause, list_id: int) -> ColumnElement[bool]:
    """The list's rows, found by their digests: an index on whole lists would be the wrong one to take."""
    return table.c.list_id + 0 == list_id


# ── many values at once ────────────────────────────────────────────────────────────────────────────────────

V = TypeVar("V")


def portions(tx: Connection, values: Sequence[V]) -> Iterator[Sequence[V]]:
    """As many at a time as a statement takes: PostgreSQL takes an array, SQLite parameters."""
    size = len(values) if tx.dialect.name == "postgresql" else _PARAMETERS
    return (values[start : start + size] for start in range(0, len(values), size or 1))


def among(tx: Connection, column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """Whether a column is one of a portion of values."""
    if tx.dialect.name == "postgresql":
        return column == any_(literal([*values], ARRAY(column.type)))
    return column.in_(values)


def place(*, list_id: int, source_entry_id: str, algorithm: str) -> bytes:
    return f"entry:{list_id}:{algorithm}:{source_entry_id}".encode()
