"""Whole lists on their way in: how far each has come, and rows in bulk.

An import is `reading` until its whole file was read, `applying` until its changes are in the list, then
`finished`; one that another file replaced is `abandoned`. Where a list has no entry yet there is nothing to
compare with, and rows go straight into it (`direct`); else they are staged.

Invariants: a list has one unfinished import; rows and the place up to which the file was read are written in
one transaction, under the condition that the import is where the writer believes it to be, so that nothing is
lost or written twice, whoever dies or comes second. It reads no file and opens no digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
from sqlalchemy import (
    ARRAY,
    Connection,
    Row,
    String,
    Table,
    delete,
    func,
    literal,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from coverguard.errors import Refused
from coverguard.model import ListAction, Micros
from coverguard.store.lists.dead_letters import settle_dead_letters
from coverguard.store.lists.entries import (
    DIGEST_MAC,
    ROW_MAC,
    SEALED,
    Sealed,
    among,
    portions,
    settle_disputes,
)
from coverguard.store.lists.governance import note_refreshed
from coverguard.store.lists.rules import TURN, note_change
from coverguard.store.rows import insert_once, new_ref, take_turn
from coverguard.store.schema import list_entry, list_import, staged_entry
from coverguard.store.schema.lists import UNFINISHED

Staged = tuple[int, int, Sealed]
"""Line, which of its hashes, and the row."""
Again = tuple[int, bool, bytes]
"""The line of a row whose id was there, whether it says the same, and what tells it from others."""

OVERTAKEN: Final = "another import of this list goes on at the same time; look who does it, then repeat"
_BINARY: Final = {
    "import_id": "int8", "line": "int8", "part": "int4", "list_id": "int8", "changed_seq": "int8",
    "digest_sealed": "bytea", "row_mac": "bytea", "digest_mac": "bytea", "grid": "bool", "disputed": "bool",
}  # fmt: skip
_COUNTS: Final = (
    "line", "byte", "staged", "applied", "withdrawn", "malformed", "repeated", "before", "doubtful",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ListImport:
    """How far an import has come."""

    id: int
    list_id: int
    state: str = "reading"
    direct: bool
    line: int = 0
    byte: int = 0
    staged: int = 0  # rows read; once compared, those to be applied
    applied: int = 0
    withdrawn: int = 0
    malformed: int = 0  # lines, mere repeats apart
    repeated: int = 0
    before: int = 0
    doubtful: int = 0
    started_at: Micros

    @property
    def clean(self) -> bool:
        """Whether it said all that its source says."""
        return not self.malformed


def unfinished(tx: Connection, list_id: int) -> Row[Any] | None:
    open_ones = (list_import.c.list_id == list_id, list_import.c.state.in_(("reading", "applying")))
    return tx.execute(select(list_import).where(*open_ones)).one_or_none()


def begin(
    tx: Connection, *, list_id: int, content_mac: bytes, may_be_direct: bool, actor: str, now: Micros
) -> tuple[ListImport, bool]:
    """Begin an import, or find the one of the same content that did not end; say which.

    One of another content is abandoned. Raises `Refused` where somebody else has just begun one.
    """
    found = unfinished(tx, list_id)
    if found is not None and found.content_mac == content_mac:
        return _of(found), True
    abandon(tx, list_id, now=now)
    there = select(list_entry.c.id).where(list_entry.c.list_id == list_id).limit(1)
    direct = may_be_direct and tx.execute(there).first() is None
    values = {
        "ref": new_ref("import"), "content_mac": content_mac, "state": "reading", "direct": direct,
        "actor": actor, "started_at": now, **dict.fromkeys(_COUNTS, 0),
    }  # fmt: skip
    import_id, new = insert_once(
        tx, list_import, {"list_id": list_id}, values, where=literal_column(UNFINISHED.text)
    )
    if not new:
        raise Refused(OVERTAKEN)
    return ListImport(id=import_id, list_id=list_id, direct=direct, started_at=now), False


def _of(row: Row[Any]) -> ListImport:
    counts = {name: getattr(row, name) for name in _COUNTS}
    return ListImport(
        id=row.id,
        list_id=row.list_id,
        state=row.state,
        direct=row.direct,
        started_at=row.started_at,
        **counts,
    )


def advance(tx: Connection, left: ListImport, reached: ListImport) -> ListImport:
    """Write how far it has come. Raises `Refused` where it is no longer where it was left."""
    mine = [getattr(list_import.c, name) == getattr(left, name) for name in ("id", "state", *_COUNTS)]
    values = {name: getattr(reached, name) for name in ("state", *_COUNTS)}
    if tx.execute(update(list_import).where(*mine).values(values)).rowcount != 1:
        raise Refused(OVERTAKEN)
    return reached


def leave(tx: Connection, left: ListImport, *, state: str, now: Micros) -> None:
    """End an import, as `finished` or `abandoned`; what it staged goes."""
    advance(tx, left, replace(left, state=state))
    tx.execute(update(list_import).where(list_import.c.id == left.id).values(finished_at=now))
    tx.execute(delete(staged_entry).where(staged_entry.c.import_id == left.id))


def abandon(tx: Connection, list_id: int, *, now: Micros) -> None:
    """End the list's unfinished import, wherever it is."""
    found = unfinished(tx, list_id)
    if found is not None:
        leave(tx, _of(found), state="abandoned", now=now)


def finish(tx: Connection, left: ListImport, *, now: Micros) -> None:
    """The list says what the file says; where that was all, dead letters are settled, the list is fresh."""
    leave(tx, left, state="finished", now=now)
    if left.clean:
        settle_dead_letters(tx, list_id=left.list_id, now=now)
        note_refreshed(tx, left.list_id, now=now)


# ── rows in bulk ───────────────────────────────────────────────────────────────────────────────────────────


def stage(tx: Connection, table: Table, import_id: int, rows: Sequence[Staged]) -> None:
    """Put rows where they are compared."""
    columns = ("import_id", "line", "part", *SEALED)
    _bulk(tx, table, columns, [(import_id, line, part, *sealed) for line, part, sealed in rows])


def write_first(
    tx: Connection, list_id: int, rows: Sequence[Staged], *, maybe: Sequence[str], now: Micros
) -> Sequence[Again]:
    """Add rows to a list whose file is read for the first time; the first row of an id counts.

    `maybe` are the ids that an earlier batch may have had: the others need no look. Returns the later rows.
    """
    take_turn(tx, TURN)
    new, again = _parted(rows, _row_macs(tx, list_id, maybe))
    try:
        with tx.begin_nested():
            _add(tx, list_id, new, now=now)
    except IntegrityError:  # somebody else has written to this list since we began
        new, again = _parted(rows, _row_macs(tx, list_id, [sealed[0] for _, _, sealed in rows]))
        _add(tx, list_id, new, now=now)
    return again


def _parted(rows: Sequence[Staged], there: dict[str, bytes]) -> tuple[list[Sealed], list[Again]]:
    """Rows of new ids, and the others."""
    new, again = [], []
    for line, _, sealed in rows:
        said = there.setdefault(sealed[0], sealed[ROW_MAC])
        if said is sealed[ROW_MAC]:
            new.append(sealed)
        else:
            again.append((line, said == sealed[ROW_MAC], sealed[0].encode() + sealed[ROW_MAC]))
    return new, again


def _add(tx: Connection, list_id: int, new: Sequence[Sealed], *, now: Micros) -> None:
    if not new:
        return
    seq = note_change(tx, list_id=list_id, kind="entries", entries=len(new), now=now)
    columns = ("list_id", *SEALED, "cap", "changed_seq", "part", "disputed")
    rest = (ListAction.HOLD.value, seq, False, False)
    _bulk(tx, list_entry, columns, [(list_id, *sealed, *rest) for sealed in new])
    settle_disputes(tx, list_id, digests=[sealed[DIGEST_MAC] for sealed in new], seq=seq)


def _row_macs(tx: Connection, list_id: int, ids: Sequence[str]) -> dict[str, bytes]:
    """What is listed of these ids. None of it is the very object of a new row."""
    if not ids:
        return {}
    columns = (list_entry.c.source_entry_id, list_entry.c.row_mac)
    if tx.dialect.name == "postgresql":  # one probe an id, whatever the planner knows of a young table
        given = func.unnest(literal([*ids], ARRAY(String))).table_valued("name").render_derived()
        named = (list_entry.c.list_id == list_id, list_entry.c.source_entry_id == given.c.name)
        there = select(*columns).where(*named).limit(1).lateral()
        found = tx.execute(select(*there.c).select_from(given.join(there, true())))
        return {row.source_entry_id: row.row_mac for row in found}
    wanted = select(*columns).where(list_entry.c.list_id == list_id)
    return {
        row.source_entry_id: row.row_mac
        for some in portions(tx, ids)
        for row in tx.execute(wanted.where(among(tx, list_entry.c.source_entry_id, some)))
    }


def _bulk(tx: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    if tx.dialect.name != "postgresql":
        marks = ", ".join("?" * len(columns))
        tx.exec_driver_sql(f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})", [*rows])  # noqa: S608 - names of ours
        return
    connection = tx.connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    types = [
        "bool" if name == "part" and table is list_entry else _BINARY.get(name, "text") for name in columns
    ]
    said = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    with _translated(tx), connection.cursor() as cursor, cursor.copy(said.encode()) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


@contextmanager
def _translated(tx: Connection) -> Iterator[None]:
    """Raise what SQLAlchemy would: the engine knows those errors. Their own words quote values."""
    try:
        yield
    except psycopg.Error as error:
        error.args = ("a row could not be copied",)
        raise DBAPIError.instance(
            "COPY", None, error, psycopg.Error, hide_parameters=True, dialect=tx.dialect
        ) from None
