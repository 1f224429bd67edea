"""An exchange's records as entries of a list: of each record the newest word, and nothing older ever again.

A record replaces all that it said before, and one that is gone stays known as gone, so that an older word on
it that comes later wakes nothing up. Reading the same again changes nothing. What a listing of everything did
not name is withdrawn at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Connection, func, or_, select, update

from coverguard.exchanges import Record
from coverguard.hashlist import ListRow
from coverguard.model import Micros
from coverguard.ports import Keys
from coverguard.store.lists.entries import among, portions, row_mac, withdraw_rows, write_entries
from coverguard.store.lists.rules import TURN
from coverguard.store.rows import take_turn, upsert
from coverguard.store.schema import exchange_record, list_entry

MOST: Final = 4
"""Digests of one algorithm that are kept of a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What some records change."""

    fresh: Sequence[Record]  # newer than what is known of them, one a record id
    changed: Sequence[ListRow] = field(repr=False)
    vanished: Sequence[Any]  # rows of entries that they no longer say
    crowded: Sequence[Record]  # of these not every digest is kept


def compare(tx: Connection, keys: Keys, *, list_id: int, records: Iterable[Record]) -> Compared:
    """Say what these records change; reads only."""
    newest: dict[str, Record] = {}
    for record in records:
        known = newest.get(record.record_id)
        if known is None or record.stamp >= known.stamp:
            newest[record.record_id] = record
    stamps = _stamps(tx, list_id, list(newest))
    fresh = [one for one in newest.values() if one.stamp >= stamps.get(one.record_id, one.stamp)]
    said = {(row.source_entry_id, row.algorithm.value): row for one in fresh for row in _named(one)}
    live = _live(tx, list_id, [_name(one.record_id, n) for one in fresh for n in range(MOST)])
    macs = {(row.source_entry_id, row.algorithm): row.row_mac for row in live}
    return Compared(
        fresh=fresh,
        changed=[row for key, row in said.items() if macs.get(key) != row_mac(keys, row)],
        vanished=[row for row in live if (row.source_entry_id, row.algorithm) not in said],
        crowded=[one for one in fresh if len(tuple(_named(one))) < len(one.rows)],
    )


def write(
    tx: Connection,
    keys: Keys,
    *,
    list_id: int,
    records: Sequence[Record],
    run: int | None,
    now: Micros,
    unread: Sequence[str] = (),
) -> Compared:
    """Store the newest word on each of these records; `run` marks them as named by a whole listing.

    It names those as well of which no more than the id could be read.
    """
    take_turn(tx, TURN)
    found = compare(tx, keys, list_id=list_id, records=records)
    if found.changed:
        write_entries(tx, keys, list_id=list_id, rows=found.changed, now=now)
    withdraw_rows(tx, list_id, found.vanished, now=now)
    rows = [
        {
            "list_id": list_id,
            "record_id": one.record_id,
            "stamp": one.stamp,
            "gone": one.gone,
            "unsupported": len(one.unsupported),
            "run": run,
        }
        for one in found.fresh
    ]
    upsert(tx, exchange_record, rows, key=("list_id", "record_id"))
    if run is not None:  # older words on a record name it, too
        _mark(tx, list_id, sorted({*unread, *(one.record_id for one in records)}), run=run)
    return found


def not_named(tx: Connection, list_id: int, *, run: int) -> tuple[int, int]:
    """How many records a listing of everything did not name, and how many there are."""
    live = (exchange_record.c.list_id == list_id, ~exchange_record.c.gone)
    count = select(func.count()).select_from(exchange_record)
    missing = tx.execute(count.where(*live, _unmarked(run))).scalar_one()
    return int(missing), int(tx.execute(count.where(*live)).scalar_one())


def withdraw_not_named(tx: Connection, list_id: int, *, run: int, most: int, now: Micros) -> int:
    """Withdraw at most so many of them; return how many it were."""
    take_turn(tx, TURN)
    missing = (exchange_record.c.list_id == list_id, ~exchange_record.c.gone, _unmarked(run))
    ids = list(tx.execute(select(exchange_record.c.record_id).where(*missing).limit(most)).scalars())
    withdraw_rows(
        tx, list_id, _live(tx, list_id, [_name(one, n) for one in ids for n in range(MOST)]), now=now
    )
    for some in portions(tx, ids):
        named = (exchange_record.c.list_id == list_id, among(tx, exchange_record.c.record_id, some))
        tx.execute(update(exchange_record).where(*named).values(gone=True, run=run))
    return len(ids)


def _unmarked(run: int) -> Any:  # noqa: ANN401 - a condition
    return or_(exchange_record.c.run.is_(None), exchange_record.c.run != run)


def _mark(tx: Connection, list_id: int, ids: Sequence[str], *, run: int) -> None:
    for some in portions(tx, ids):
        named = (exchange_record.c.list_id == list_id, among(tx, exchange_record.c.record_id, some))
        tx.execute(update(exchange_record).where(*named).values(run=run))


def _stamps(tx: Connection, list_id: int, ids: Sequence[str]) -> Mapping[str, int]:
    found = select(exchange_record.c.record_id, exchange_record.c.stamp)
    return {
        row.record_id: row.stamp
        for some in portions(tx, ids)
        for row in tx.execute(
            found.where(exchange_record.c.list_id == list_id, among(tx, exchange_record.c.record_id, some))
        )
    }


def _live(tx: Connection, list_id: int, names: Sequence[str]) -> Sequence[Any]:
    live = (list_entry.c.list_id == list_id, list_entry.c.withdrawn_at.is_(None))
    wanted = select(
        list_entry.c.id, list_entry.c.source_entry_id, list_entry.c.algorithm, list_entry.c.row_mac,
        list_entry.c.digest_mac,
    )  # fmt: skip
    return [
        row
        for some in portions(tx, names)
        for row in tx.execute(wanted.where(*live, among(tx, list_entry.c.source_entry_id, some)))
    ]


def _named(record: Record) -> Iterable[ListRow]:
    """A record's rows under names of their own: of one algorithm there may be several."""
    numbers: dict[str, int] = {}
    for row in record.rows:
        number = numbers.get(row.algorithm.value, 0)
        numbers[row.algorithm.value] = number + 1
        if number < MOST:
            yield replace(row, source_entry_id=_name(record.record_id, number))


def _name(record_id: str, number: int) -> str:
    """No record id has a control character, so that no name is another record's."""
    return record_id if number == 0 else f"{record_id}\x1f{number + 1}"
