"""Hash list files into the ledger: a whole list becomes upserts and withdrawals, in batches.

The first transaction that changes anything is preceded by every check: faults are counted and told by line,
a list that shrinks too much needs a person's word, `dry_run` stops there. Batches may be repeated: a second
import of the same file changes nothing. Reads no network and shows no digest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from coverguard.errors import BadListFile, Refused
from coverguard.hashlist import Delta, ListFormat, ListRow, Malformed, delta, parse, shrinks_too_much
from coverguard.imaging.signal_types import SignalTypes
from coverguard.model import Actor, Algorithm
from coverguard.policy import require_searchable
from coverguard.ports import Clock, Keys
from coverguard.retrying import again_if_contended
from coverguard.store import audit, lists
from coverguard.store.engine import Database

BATCH: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did, or with `dry_run` would do."""

    entries_before: int
    upserts: int
    withdrawals: int
    doubtful: int  # vanished from a file with malformed rows: kept, look at the faults
    faults: Sequence[Malformed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    database: Database
    keys: Keys
    clock: Clock
    types: SignalTypes = field(default_factory=SignalTypes)  # whose digests a file may have

    def load_file(
        self,
        name: str,
        path: Path,
        *,
        list_format: ListFormat,
        algorithm: str | None = None,
        actor: Actor,
        dry_run: bool = False,
        confirm_shrink: bool = False,
        progress: Callable[[int], object] = lambda _entries: None,
    ) -> ImportReport:
        """Make the list say what the file says.

        Raises:
            NotFound: no list has that name.
            BadListFile: the file as a whole makes no sense, or cannot be read.
            Refused: the list is learnt here, would be too long for its rule's radius, or would shrink by
                more than a fifth and nobody confirmed it.
        """
        with self.database.reading() as tx:
            found_list = lists.by_name(tx, name)
            if found_list.own:
                raise Refused("this list is learnt from verdicts here; a file cannot say what was removed")
            list_id = found_list.id
            stored = lists.stored_rows(tx, list_id)
            rule = lists.rule_of(tx, list_id)
        named = self._named(algorithm)
        found = self._compared(stored, path, list_format, named)
        after = (
            len(stored) - len(found.withdrawals) + sum(r.source_entry_id not in stored for r in found.upserts)
        )
        require_searchable(rule, entries=after)
        if shrinks_too_much(len(stored), after) and not confirm_shrink:
            raise Refused(
                f"the list would shrink from {len(stored)} to {after} entries; look at the file, "
                "then repeat with --confirm-shrink"
            )
        if not dry_run:
            self._write(list_id, found.upserts, found.withdrawals, known=stored.keys(), progress=progress)
            self._note(name, len(found.upserts), len(found.withdrawals), actor=actor)
        return ImportReport(
            entries_before=len(stored),
            upserts=len(found.upserts),
            withdrawals=len(found.withdrawals),
            doubtful=len(found.doubtful),
            faults=found.malformed,
        )

    def _compared(
        self, stored: Mapping[str, bytes], path: Path, list_format: ListFormat, algorithm: Algorithm | None
    ) -> Delta:
        """What the file changes of what is stored."""
        known, valid = self.types.algorithms, self.types.valid
        try:
            with path.open("rb") as stream:
                rows = parse(stream, list_format, algorithm=algorithm, algorithms=known, valid=valid)
                if list_format is ListFormat.HEX:
                    rows = map(self._under_a_keyed_id, rows)
                return delta(stored, rows, key=lambda row: lists.row_mac(self.keys, row))
        except OSError as error:
            raise BadListFile(f"the file cannot be read: {type(error).__name__}") from error

    def _named(self, algorithm: str | None) -> Algorithm | None:
        known = self.types.algorithms
        if algorithm is not None and algorithm not in known:
            raise BadListFile(f"there is no such algorithm; known are: {', '.join(known)}")
        return None if algorithm is None else known[algorithm]

    def _under_a_keyed_id(self, row: ListRow | Malformed) -> ListRow | Malformed:
        """Ids of plain hex files are derived from digests: without a key they would tell what is listed."""
        if isinstance(row, Malformed):
            return row
        keyed = self.keys.mac(lists.PURPOSE, row.source_entry_id.encode()).hex()
        return replace(row, source_entry_id=keyed[: len(row.source_entry_id)])

    def _write(
        self,
        list_id: int,
        upserts: Sequence[ListRow],
        withdrawals: Sequence[str],
        *,
        known: Collection[str],
        progress: Callable[[int], object],
    ) -> None:
        for start in range(0, len(upserts), BATCH):
            batch = upserts[start : start + BATCH]
            self._upsert(list_id, batch, known=known)
            progress(len(batch))
        for start in range(0, len(withdrawals), BATCH):
            self._withdraw(list_id, withdrawals[start : start + BATCH])

    @again_if_contended
    def _upsert(self, list_id: int, batch: Sequence[ListRow], *, known: Collection[str]) -> None:
        with self.database.transaction() as tx:
            now = self.clock.now()
            lists.write_entries(tx, self.keys, list_id=list_id, rows=batch, now=now)
            changed = [row for row in batch if row.source_entry_id in known]
            lists.withdraw_renamed(tx, list_id=list_id, rows=changed, now=now)

    @again_if_contended
    def _withdraw(self, list_id: int, gone: Sequence[str]) -> None:
        with self.database.transaction() as tx:
            lists.withdraw(tx, list_id=list_id, source_entry_ids=gone, now=self.clock.now())

    @again_if_contended
    def _note(self, name: str, upserts: int, withdrawals: int, *, actor: Actor) -> None:
        with self.database.transaction() as tx:
            list_id = lists.by_name(tx, name).id
            audit.write(
                tx,
                now=self.clock.now(),
                verb="import list",
                subject=f"list:{list_id}",
                actor=actor.name,
                role=actor.role,
                facts={"upserts": upserts, "withdrawals": withdrawals},
            )
