"""Everything that may match now, read and opened for the index: the only reader of digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from coverguard.algorithms import Algorithms
from coverguard.errors import ConfigurationError
from coverguard.matching import ListedDigest
from coverguard.model import Algorithm, Category, ListAction, Opinion
from coverguard.policy import EntryFacts, ListRule, Suppressions
from coverguard.ports import Keys
from coverguard.store.lists.entries import PURPOSE, place
from coverguard.store.lists.rules import newest_seq, rules
from coverguard.store.lists.suppressions import suppressions
from coverguard.store.schema import list_entry

OURS: Final = Algorithms()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSnapshot:
    """All that matching and judging need to know, as of one list change."""

    seq: int
    rules: Mapping[int, ListRule]
    entries: Mapping[int, EntryFacts]
    digests: Sequence[ListedDigest] = field(repr=False)
    suppressions: Suppressions


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
        where = place(list_id=row.list_id, source_entry_id=row.source_entry_id, algorithm=row.algorithm)
        plain = keys.open(PURPOSE, row.digest_sealed, context=where)
        digests.append(ListedDigest(entry_id=row.id, list_id=row.list_id, algorithm=algorithm, digest=plain))
    return ListSnapshot(
        seq=newest_seq(tx),
        rules=in_force,
        entries=facts,
        digests=digests,
        suppressions=suppressions(tx, keys),
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
