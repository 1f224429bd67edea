"""A staged list against what is listed, in SQL: what is new or changed, what vanished, what only repeats.

After comparing, what is staged is exactly what remains to be done: rows to write (line > 0), and under the
negative of its id each entry that vanished. A batch is applied and taken off in one transaction, so that an
import goes on from wherever it was stopped.

Invariants: nothing is withdrawn for a file with malformed rows; the first row of an id counts; what stays as
it was is not written again; every batch has its number of change and its turn. It reads no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    MetaData,
    Row,
    Select,
    Table,
    and_,
    delete,
    false,
    func,
    insert,
    literal,
    null,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from coverguard.model import ListAction, Micros
from coverguard.store.engine import Database
from coverguard.store.lists.entries import (
    ENTRY_KEY,
    SEALED,
    disputed_of,
    length,
    settle_disputes,
    withdraw_other_algorithms,
    withdraw_rows,
)
from coverguard.store.lists.importing import ListImport, advance
from coverguard.store.lists.rules import TURN, note_change
from coverguard.store.rows import take_turn
from coverguard.store.schema import list_entry, staged_entry

AT_A_TIME: Final = 1000
PATIENT: Final = (
    "SET LOCAL statement_timeout = '1h'",  # one statement looks at a whole list
    # Of rows that were staged a moment ago the planner knows nothing and takes them for few. Then it looks at
    # the whole list for each: 50 000 rows took longer than anybody waited.
    "SET LOCAL enable_nestloop = off",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    before: int
    upserts: int
    vanished: int
    after: int


def apart(tx: Connection) -> Table:
    """Where rows are staged of which nothing may stay: gone with the transaction.

    On SQLite that is a table of this connection, so that nobody waits for us; on PostgreSQL the rows are seen
    by nobody else until a commit that does not come.
    """
    if tx.dialect.name == "postgresql":
        return staged_entry
    table = staged_entry.to_metadata(MetaData(), name="staged_apart")
    table._prefixes = ["TEMPORARY"]  # noqa: SLF001 - `to_metadata` takes none
    table.create(tx)
    return table


@contextmanager
def aside(database: Database) -> Iterator[Connection]:
    """A transaction of which nothing stays. On SQLite it takes no write lock: see `apart`."""
    if database.engine.dialect.name == "sqlite":
        with database.reading() as tx:
            yield tx
        return
    with database.transaction() as tx:
        yield tx
        tx.rollback()


def patient(tx: Connection) -> None:
    """Let statements of this transaction look at whole lists, which takes time: nobody waits for them."""
    if tx.dialect.name == "postgresql":
        for setting in PATIENT:
            tx.exec_driver_sql(setting)


def repeats(tx: Connection, staged: Table, import_id: int) -> Iterator[Sequence[Row[Any]]]:
    """The later rows of ids that come more than once: line, id, MAC, and whether it says the `same` again."""
    found = tx.execute(_repeats(staged, import_id), execution_options={"yield_per": AT_A_TIME})
    yield from found.partitions()


def _repeats(staged: Table, import_id: int) -> Select[Any]:
    of_import = (staged.c.import_id == import_id, staged.c.line > 0)
    first = (
        select(staged.c.source_entry_id, func.min(staged.c.line).label("line"))
        .where(*of_import)
        .group_by(staged.c.source_entry_id)
        .having(func.count() > 1)
        .subquery("first")
    )
    head = staged.alias("head")
    named = and_(
        head.c.import_id == import_id,
        head.c.line == first.c.line,
        head.c.source_entry_id == first.c.source_entry_id,
    )
    return (
        select(
            staged.c.line, staged.c.part, staged.c.source_entry_id, staged.c.row_mac,
            (staged.c.row_mac == head.c.row_mac).label("same"),
        )
        .join(first, first.c.source_entry_id == staged.c.source_entry_id)
        .join(head, named)
        .where(_of_import(staged, import_id), staged.c.line > first.c.line)
        .order_by(staged.c.line)
    )  # fmt: skip


def drop_repeats(tx: Connection, staged: Table, import_id: int) -> None:
    later = _repeats(staged, import_id).order_by(None).subquery("later")
    wanted = tuple_(staged.c.line, staged.c.part).in_(select(later.c.line, later.c.part))
    tx.execute(delete(staged).where(staged.c.import_id == import_id, wanted))


def compare(tx: Connection, staged: Table, import_id: int, *, list_id: int, doubt: bool) -> Compared:
    """Leave staged what has to be done; with `doubt` nothing is withdrawn. Repeats are gone already."""
    rows = (staged.c.import_id == import_id, staged.c.line > 0)
    said = tx.execute(select(func.count()).select_from(staged).where(*rows)).scalar_one()
    before = length(tx, list_id)
    vanished = _vanished(staged, import_id, list_id)
    if doubt:
        gone = tx.execute(select(func.count()).select_from(vanished.subquery())).scalar_one()
    else:
        columns = [*vanished.selected_columns.keys()]
        told = {"preserve_rowcount": True}  # else it may be -1
        gone = tx.execute(insert(staged).from_select(columns, vanished), execution_options=told).rowcount
    kept = tx.execute(delete(staged).where(*rows, _unchanged(staged, list_id))).rowcount
    return Compared(before=before, upserts=said - kept, vanished=gone, after=said + (gone if doubt else 0))


def _vanished(staged: Table, import_id: int, list_id: int) -> Select[Any]:
    """What is listed and not in the file, as rows of the staging table."""
    live = (list_entry.c.list_id == list_id, list_entry.c.withdrawn_at.is_(None))
    said = select(staged.c.source_entry_id).where(staged.c.import_id == import_id, staged.c.line > 0)
    # one pass over each: SQLite would look at all staged rows for each entry, were they joined
    missing = select(list_entry.c.source_entry_id).where(*live).except_(said)
    return select(
        literal(import_id).label("import_id"),
        (-list_entry.c.id).label("line"),
        literal(0).label("part"),
        list_entry.c.source_entry_id,
        list_entry.c.algorithm,
        literal(b"").label("digest_sealed"),
        list_entry.c.row_mac,
        func.coalesce(list_entry.c.digest_mac, literal(b"")).label("digest_mac"),
        list_entry.c.opinion,
        list_entry.c.grid,
    ).where(*live, list_entry.c.source_entry_id.in_(missing))


def _of_import(staged: Table, import_id: int) -> ColumnElement[bool]:
    """The import's rows, found by their ids: by their key SQLite would go through all of them for each."""
    return staged.c.import_id + 0 == import_id


def _unchanged(staged: Table, list_id: int) -> Any:  # noqa: ANN401 - a condition
    """Whether a row is listed word for word, and its id says nothing else."""
    same, other = list_entry.alias("same"), list_entry.alias("other")
    listed = (
        same.c.list_id == list_id,
        same.c.source_entry_id == staged.c.source_entry_id,
        same.c.algorithm == staged.c.algorithm,
        same.c.withdrawn_at.is_(None),
        same.c.row_mac == staged.c.row_mac,
        same.c.digest_mac.is_not(None),  # else it was written before there were MACs of digests
    )
    differs = (
        other.c.list_id == list_id,
        other.c.source_entry_id == staged.c.source_entry_id,
        other.c.algorithm != staged.c.algorithm,
        other.c.withdrawn_at.is_(None),
    )
    return and_(select(same.c.id).where(*listed).exists(), ~select(other.c.id).where(*differs).exists())


# ── batches ────────────────────────────────────────────────────────────────────────────────────────────────


def apply_some(
    tx: Connection, left: ListImport, *, after: int, most: int, now: Micros
) -> tuple[ListImport, int]:
    """Write the next rows behind that line, or none are left; return how far it is, and the last line."""
    take_turn(tx, TURN)
    batch = _next(tx, left.id, after=after, most=most)
    if not batch:
        return left, after
    list_id, last = left.list_id, batch[-1].line
    ids = [row.source_entry_id for row in batch]
    seq = note_change(tx, list_id=list_id, kind="entries", entries=len(batch), now=now)
    ended = disputed_of(tx, list_id, ids=ids)
    mine = (
        staged_entry.c.import_id == left.id, staged_entry.c.line > after, staged_entry.c.line <= last
    )  # fmt: skip
    _upsert(tx, list_id, mine, seq=seq)
    settle_disputes(tx, list_id, digests=[*ended, *(row.digest_mac for row in batch)], seq=seq)
    algorithms = {row.source_entry_id: row.algorithm for row in batch}
    withdraw_other_algorithms(tx, list_id, algorithms, now=now)
    tx.execute(delete(staged_entry).where(*mine))
    return advance(tx, left, replace(left, applied=left.applied + len(batch))), last


def _next(tx: Connection, import_id: int, *, after: int, most: int) -> Sequence[Row[Any]]:
    """The next rows, of whole lines."""
    wanted = (
        select(
            staged_entry.c.line, staged_entry.c.source_entry_id, staged_entry.c.algorithm,
            staged_entry.c.digest_mac,
        )
        .where(staged_entry.c.import_id == import_id, staged_entry.c.line > after)
        .order_by(staged_entry.c.line, staged_entry.c.part)
        .limit(most)
    )  # fmt: skip
    rows: list[Row[Any]] = [*tx.execute(wanted)]
    if len(rows) < most:
        return rows
    whole = [row for row in rows if row.line < rows[-1].line]
    return whole or rows


def _upsert(tx: Connection, list_id: int, mine: Sequence[Any], *, seq: int) -> None:
    fixed = {
        "list_id": literal(list_id),
        "cap": literal(ListAction.HOLD.value),
        "changed_seq": literal(seq),
        "part": false(),
        "disputed": false(),
        "item_id": null(),
        "withdrawn_at": null(),
    }
    columns = [*SEALED, *fixed]
    rows = select(*(staged_entry.c[name] for name in SEALED), *fixed.values()).where(*mine)
    make = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    statement = make(list_entry).from_select(columns, rows.order_by(staged_entry.c.line))
    replaced = {name: statement.excluded[name] for name in columns if name not in ENTRY_KEY}
    tx.execute(statement.on_conflict_do_update(index_elements=list(ENTRY_KEY), set_=replaced))


def withdraw_some(tx: Connection, left: ListImport, *, most: int, now: Micros) -> ListImport:
    """Take the next entries out that vanished; `left` as it was where none are left."""
    take_turn(tx, TURN)
    gone = (staged_entry.c.import_id == left.id, staged_entry.c.line < 0)
    wanted = select((-staged_entry.c.line).label("id"), staged_entry.c.digest_mac).where(*gone)
    batch = tx.execute(wanted.order_by(staged_entry.c.line).limit(most)).all()
    if not batch:
        return left
    withdraw_rows(tx, left.list_id, batch, now=now)
    tx.execute(delete(staged_entry).where(*gone, staged_entry.c.line <= -batch[-1].id))
    return advance(tx, left, replace(left, withdrawn=left.withdrawn + len(batch)))
