"""What may match: read whole, or what has changed since; opened for the index. The only reader of digests.

Invariants: each reading is of one moment, if its transaction is (`Database.reading`). Changes are numbered in
the order in which they are committed (see `rules.TURN`), so that who reads the newest number has all before
it. What is read of changes, applied to what was known, is what reading all of it would give: an entry that
changed has a higher number, and a list whose switch or rule changed which of its algorithms count has them
read, or dropped, as a whole. Where that cannot be said, of a kind of change that is not known here or a past
that is not the one that was read, there are no changes: the caller reads everything.

Rows are opened as they come from the database, in batches, and lie packed: no object an entry is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, select

from coverguard.algorithms import Algorithms
from coverguard.errors import ConfigurationError
from coverguard.matching import FactsBuilder, FactsById, PackedDigests
from coverguard.model import Algorithm, Category, ListAction, Micros, Opinion
from coverguard.policy import EntryFacts, ListRule, Stops, Suppressions
from coverguard.ports import Keys
from coverguard.store.lists import governance
from coverguard.store.lists.entries import PURPOSE, place
from coverguard.store.lists.rules import rules
from coverguard.store.lists.suppressions import suppressions
from coverguard.store.schema import list_change, list_entry

OURS: Final = Algorithms()
BATCH: Final = 2000  # rows at once

READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "list_id": int,
    "opinion": Opinion,
    "category": lambda stored: Category(stored) if stored else None,
    "grid": bool,
    "cap": ListAction,
    "part": bool,
    "label": lambda stored: stored,
    "disputed": bool,
}
"""The columns of an entry that are facts of it, by their name in `EntryFacts`."""

ENTRY: Final = select(
    list_entry.c.id,
    list_entry.c.list_id,
    list_entry.c.source_entry_id,
    list_entry.c.algorithm,
    list_entry.c.digest_sealed,
    *(list_entry.c[name].label(f"fact_{name}") for name in READ),
)
LIVE: Final = list_entry.c.withdrawn_at.is_(None)

ENTRIES, SUPPRESSION = "entries", "suppression"
KINDS: Final = frozenset({ENTRIES, SUPPRESSION, "rule", "enabled", "stop"})
"""Kinds of changes whose effects `changes` knows."""

Counted = frozenset[tuple[int, Algorithm]]  # what of which list may match


class Fact(NamedTuple):
    """What many entries have in common."""

    algorithm: Algorithm
    facts: EntryFacts  # of no entry in particular


Facts = FactsById[Fact, EntryFacts]


class Newest(NamedTuple):
    """The newest list change: its number, and when it was, which tells it from one of another past."""

    seq: int
    at: Micros


def told(entry_id: int, fact: Fact) -> EntryFacts:
    return changed(fact.facts, entry_id=entry_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSnapshot:
    """All that matching and judging need to know, as of one list change."""

    newest: Newest
    rules: Mapping[int, ListRule]
    entries: Facts
    suppressions: Suppressions
    stops: Stops
    refreshed: Mapping[int, Micros]  # when each list last said all that its source says, where that matters
    digests: PackedDigests = field(repr=False)  # of all entries; none where they are in an index already

    @property
    def seq(self) -> int:
        return self.newest.seq

    @property
    def wide(self) -> Collection[int]:
        """The lists that lie apart in an index."""
        return {list_id for list_id, rule in self.rules.items() if rule.wide}

    def indexed(self) -> ListSnapshot:
        """The same without digests."""
        return changed(self, digests=PackedDigests())


@dataclass(frozen=True, slots=True, kw_only=True)
class ListChanges:
    """What is to be done to a snapshot, and to an index of it, to be as of a later list change."""

    newest: Newest
    rules: Mapping[int, ListRule]
    suppressions: Suppressions
    stops: Stops
    refreshed: Mapping[int, Micros]
    dropped: Counted  # what of whole lists no longer counts
    removed: Sequence[int]  # entries that count no longer, or never did
    upserts: Facts
    digests: PackedDigests = field(repr=False)  # of the upserts

    def applied(self, known: ListSnapshot) -> ListSnapshot:
        """Return the later snapshot, without digests."""
        return ListSnapshot(
            newest=self.newest,
            rules=self.rules,
            entries=known.entries.changed(
                self.upserts,
                removed=self.removed,
                dropped=(lambda fact: (fact.facts.list_id, fact.algorithm) in self.dropped)
                if self.dropped
                else None,
            ),
            suppressions=self.suppressions,
            stops=self.stops,
            refreshed=self.refreshed,
            digests=PackedDigests(),
        )


def newest(tx: Connection) -> Newest:
    """The newest list change; number 0 before the first."""
    last = select(list_change.c.seq, list_change.c.at).order_by(list_change.c.seq.desc()).limit(1)
    row = tx.execute(last).one_or_none()
    return Newest(row.seq, row.at) if row else Newest(0, Micros(0))


def refreshed(tx: Connection, in_force: Mapping[int, ListRule]) -> Mapping[int, Micros]:
    """When each list last said all that its source says; nothing where no rule asks for it."""
    return governance.refreshed(tx) if any(rule.max_age for rule in in_force.values()) else {}


def load(tx: Connection, keys: Keys, *, algorithms: Mapping[str, Algorithm] = OURS) -> ListSnapshot:
    """Read everything that may match now.

    Raises:
        IntegrityFailure: a sealed row does not open: tampered with, moved, or of another key.
        ConfigurationError: an entry is of a plug-in that this process has not.
    """
    in_force = rules(tx)
    opened = _Opened(keys, counted=_counted(in_force, algorithms), algorithms=algorithms)
    for row in _rows(tx, ENTRY.where(LIVE, list_entry.c.list_id.in_(list(in_force)))):
        opened.add(row)
    return ListSnapshot(
        newest=newest(tx),
        rules=in_force,
        entries=opened.facts.built(),
        suppressions=suppressions(tx, keys),
        stops=governance.stops(tx),
        refreshed=refreshed(tx, in_force),
        digests=opened.digests,
    )


def changes(
    tx: Connection, keys: Keys, *, since: ListSnapshot, algorithms: Mapping[str, Algorithm] = OURS
) -> ListChanges | None:
    """Read what has changed since a snapshot was read; None where everything has to be read.

    Raises:
        IntegrityFailure: a sealed row does not open: tampered with, moved, or of another key.
        ConfigurationError: an entry is of a plug-in that this process has not.
    """
    later = list_change.c.seq > since.seq
    kinds = set(tx.execute(select(list_change.c.kind).where(later).distinct()).scalars())
    if not kinds <= KINDS or not _is_past(tx, since.newest):
        return None
    in_force = rules(tx)
    before, now = (_counted(one, algorithms) for one in (since.rules, in_force))
    opened = _Opened(keys, counted=now, algorithms=algorithms)
    removed: list[int] = []
    for row in _rows(tx, _changed_since(since.seq)):
        if row.counts and row.list_id in in_force and opened.add(row):
            continue
        removed.append(row.id)
    for list_id in {list_id for list_id, _ in now - before} | (in_force.keys() - since.rules.keys()):
        again = ENTRY.where(LIVE, list_entry.c.list_id == list_id, list_entry.c.changed_seq <= since.seq)
        if list_id in since.rules:
            some = [one.value for name, one in now - before if name == list_id]
            again = again.where(list_entry.c.algorithm.in_(some))
        for row in _rows(tx, again):
            opened.add(row)
    return ListChanges(
        newest=newest(tx),
        rules=in_force,
        suppressions=suppressions(tx, keys) if SUPPRESSION in kinds else since.suppressions,
        stops=governance.stops(tx),  # also of a list that was made after its source was stopped
        refreshed=refreshed(tx, in_force),
        dropped=before - now,
        removed=removed,
        upserts=opened.facts.built(),
        digests=opened.digests,
    )


def _changed_since(seq: int) -> Select[Any]:
    return ENTRY.add_columns(LIVE.label("counts")).where(list_entry.c.changed_seq > seq)


def _is_past(tx: Connection, known: Newest) -> bool:
    """Whether the change that was the newest is one still: not where an older ledger was restored."""
    if not known.seq:
        return True
    at = select(list_change.c.at).where(list_change.c.seq == known.seq)
    return tx.execute(at).scalar_one_or_none() == known.at


def _rows(tx: Connection, statement: Select[Any]) -> Iterator[Any]:
    """Rows as they come: on PostgreSQL from a cursor on the server, a batch at a time."""
    with tx.execute(statement, execution_options={"yield_per": BATCH}) as found:
        yield from found


def _counted(in_force: Mapping[int, ListRule], algorithms: Mapping[str, Algorithm]) -> Counted:
    return frozenset(
        (list_id, algorithm)
        for list_id, rule in in_force.items()
        for algorithm in algorithms.values()
        if rule.radius(algorithm) >= 0  # else that list has this algorithm switched off
    )


class _Opened:
    """Entries as they are read, opened and packed."""

    def __init__(self, keys: Keys, *, counted: Counted, algorithms: Mapping[str, Algorithm]) -> None:
        self.digests = PackedDigests()
        self.facts: FactsBuilder[Fact, EntryFacts] = FactsBuilder(told)
        self._keys = keys
        self._counted = counted
        self._algorithms = algorithms
        self._seen: dict[tuple[Any, ...], Fact] = {}  # by what is stored: nearly all rows say the same

    def add(self, row: Any) -> bool:  # noqa: ANN401 - a row of `ENTRY`
        """Take the row in, unless its list has its algorithm switched off; return whether it counts."""
        entry_id, list_id, source_entry_id, name, sealed, *stored = row[: 5 + len(READ)]
        algorithm = self._algorithms.get(name)
        if algorithm is None:
            raise ConfigurationError(
                f"a list has entries of {name}, which no plug-in here brings; see signal_plugins in the"
                " settings"
            )
        if (list_id, algorithm) not in self._counted:
            return False
        where = place(list_id=list_id, source_entry_id=source_entry_id, algorithm=name)
        plain = self._keys.open(PURPOSE, sealed, context=where)
        self.digests.add(entry_id, algorithm, list_id=list_id, digest=plain)
        self.facts.add(entry_id, self._fact(algorithm, tuple(stored)))
        return True

    def _fact(self, algorithm: Algorithm, stored: tuple[Any, ...]) -> Fact:
        known = self._seen.get((algorithm, *stored))
        if known is None:
            read = {name: of(value) for (name, of), value in zip(READ.items(), stored, strict=True)}
            known = Fact(algorithm, EntryFacts(entry_id=0, **read))
            self._seen[algorithm, *stored] = known
        return known
