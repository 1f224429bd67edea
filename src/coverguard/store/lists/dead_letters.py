"""What a source sent and nobody could read: kept sealed, counted when it comes again, until it is settled.

Invariant: place and fault are our words alone; what was sent is encrypted under the lists' key with its list
and its MAC as context. It decides nothing about what the rest of a list is worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from coverguard.model import Micros
from coverguard.ports import Keys
from coverguard.store.lists.entries import PURPOSE
from coverguard.store.schema import dead_letter

RAW_BYTES: Final = 4096
UNSETTLED: Final = dead_letter.c.settled_at.is_(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Something that could not be read. Without its bytes, `told_by` tells it from others."""

    place: str
    fault: str
    raw: bytes | None = field(repr=False)
    told_by: bytes = field(default=b"", repr=False)


def keep_dead_letters(
    tx: Connection, keys: Keys, *, list_id: int, letters: Sequence[DeadLetter], now: Micros
) -> None:
    """Keep what could not be read; the same again is counted, and open again if it was settled."""
    if not letters:
        return
    make = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    statement = make(dead_letter)
    new = statement.excluded
    again = {
        "times": dead_letter.c.times + new.times,
        "place": new.place,
        "fault": new.fault,
        "seen_at": new.seen_at,
        "settled_at": None,
    }
    rows = [_sealed(keys, letter, list_id=list_id, now=now) for letter in letters]
    key = ["list_id", "raw_mac"]
    tx.execute(statement.on_conflict_do_update(index_elements=key, set_=again), rows)


def _sealed(keys: Keys, letter: DeadLetter, *, list_id: int, now: Micros) -> dict[str, Any]:
    raw = None if letter.raw is None else letter.raw[:RAW_BYTES]
    mac = keys.mac(PURPOSE, b"dead letter:" + (letter.told_by if raw is None else raw))
    context = f"dead letter:{list_id}:".encode() + mac
    return {
        "list_id": list_id,
        "place": letter.place,
        "fault": letter.fault,
        "raw_sealed": None if raw is None else keys.seal(PURPOSE, raw, context=context),
        "raw_mac": mac,
        "times": 1,
        "seen_at": now,
    }


def open_dead_letter(keys: Keys, row: Any) -> bytes | None:  # noqa: ANN401 - a row of the table
    """What was sent, as far as it was kept. Raises `IntegrityFailure`."""
    if row.raw_sealed is None:
        return None
    context = f"dead letter:{row.list_id}:".encode() + row.raw_mac
    return keys.open(PURPOSE, row.raw_sealed, context=context)


def settle_dead_letters(tx: Connection, *, list_id: int, now: Micros) -> int:
    """What could not be read has come again and could be, is listed no more, or a person saw to it.

    Returns how many records that are.
    """
    of_list = (dead_letter.c.list_id == list_id, UNSETTLED)
    return tx.execute(update(dead_letter).where(*of_list).values(settled_at=now)).rowcount


def unsettled(tx: Connection) -> Mapping[int, int]:
    """How many records of each list nobody could read, and nobody has settled."""
    found = select(dead_letter.c.list_id, func.count()).where(UNSETTLED).group_by(dead_letter.c.list_id)
    return {list_id: int(count) for list_id, count in tx.execute(found)}


def unsettled_of(tx: Connection, list_id: int, *, most: int) -> Sequence[Any]:
    """Those of one list, newest first: place, fault, times, when; never what was sent."""
    wanted = select(dead_letter.c.place, dead_letter.c.fault, dead_letter.c.times, dead_letter.c.seen_at)
    of_list = wanted.where(dead_letter.c.list_id == list_id, UNSETTLED)
    return tx.execute(of_list.order_by(dead_letter.c.seen_at.desc()).limit(most)).all()


def dead_letters_since(
    tx: Connection, *, list_id: int, since: Micros, most: int
) -> Sequence[tuple[str, str]]:
    """Place and fault of the first of those seen since then."""
    seen = (dead_letter.c.list_id == list_id, dead_letter.c.seen_at >= since)
    found = select(dead_letter.c.place, dead_letter.c.fault).where(*seen).order_by(dead_letter.c.id)
    return [(row.place, row.fault) for row in tx.execute(found.limit(most))]
