"""Hash list files into the ledger: a whole list becomes upserts and withdrawals, in batches.

A file is read once in batches, each a transaction with the place behind it; killed at any moment, the same
file goes on there. Where the list has entries the rows are staged and compared in SQL; every check comes
before the first change: faults are counted and told by line, a list that shrinks too much needs a person's
word. Where the list has none there is nothing to compare with, and rows count as they are read. A second
import of the same file changes nothing.

Reads no network and shows no digest. Memory does not grow with the list.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

from coverguard.errors import BadListFile, Refused
from coverguard.hashlist import (
    COLUMNS,
    DEFAULT_LIMITS,
    ListFile,
    ListFormat,
    Malformed,
    shrinks_too_much,
)
from coverguard.imaging.signal_types import SignalTypes
from coverguard.importing.counting import (
    ImportReport,
    compared_as,
    letter,
    one_more,
    read_on,
    repeat,
    repeated,
    report,
)
from coverguard.importing.reading import BATCH, TOLD, Batch, batches, merged
from coverguard.importing.seen import Seen
from coverguard.importing.sources import (
    Buckets,
    Content,
    content_of,
    fetched,
    none_allowed,
    opened,
    require_same,
)
from coverguard.model import Actor, Algorithm, Micros
from coverguard.policy import ListRule, require_searchable
from coverguard.ports import Clock, Keys
from coverguard.retrying import again_if_contended
from coverguard.store import Connection, audit, lists
from coverguard.store.engine import Database
from coverguard.store.lists import comparing, dead_letters
from coverguard.store.lists import importing as imports
from coverguard.store.lists.entries import sealing
from coverguard.store.lists.importing import ListImport
from coverguard.store.schema import staged_entry

HASHES_A_LINE: Final = 5

Progress = Callable[[int, int], object]
"""Called with the bytes read and the bytes in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    list_format: ListFormat
    algorithm: str | None
    columns: Mapping[str, str]
    actor: Actor
    dry_run: bool
    confirm_shrink: bool
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The list as it was found."""

    id: int
    name: str
    rule: ListRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    database: Database
    keys: Keys
    clock: Clock
    types: SignalTypes = field(default_factory=SignalTypes)  # whose digests a file may have
    buckets: Buckets | None = None
    batch: int = BATCH

    def load_file(
        self,
        name: str,
        path: Path | str,
        *,
        list_format: ListFormat,
        algorithm: str | None = None,
        columns: Mapping[str, str] | None = None,
        actor: Actor,
        dry_run: bool = False,
        confirm_shrink: bool = False,
        progress: Progress = lambda _read, _in_all: None,
    ) -> ImportReport:
        """Make the list say what the file says; `path` may be `s3://bucket/key`.

        `columns` says what a delivery's columns are called, see `hashlist.deliveries`.

        Raises:
            NotFound: no list has that name, or no object that key.
            BadListFile: the file as a whole makes no sense, or cannot be read.
            Refused: the list is learnt here, would be too long for its rule's radius, would shrink by more
                than a fifth and nobody confirmed it, or is imported by somebody else at the same time.
            TransientError: the ledger or the bucket is unwell; the same call goes on where it was.
        """
        asked = _Asked(
            list_format=list_format, algorithm=algorithm, columns=columns or {}, actor=actor,
            dry_run=dry_run, confirm_shrink=confirm_shrink, progress=progress,
        )  # fmt: skip
        found = self._found(name)
        if isinstance(path, str) and path.startswith("s3://"):
            if self.buckets is None:
                raise none_allowed()
            with fetched(self.buckets, path.removeprefix("s3://")) as source:
                return self._load(found, source, asked)
        with opened(Path(path)) as source:
            return self._load(found, source, asked)

    def _found(self, name: str) -> _Known:
        with self.database.reading() as tx:
            found = lists.by_name(tx, name)
            if found.own:
                raise Refused("this list is learnt from verdicts here; a file cannot say what was removed")
            return _Known(id=found.id, name=name, rule=lists.rule_of(tx, found.id))

    def _load(self, known: _Known, source: IO[bytes], asked: _Asked) -> ImportReport:
        try:
            content = content_of(source)
            if content.blank:
                raise BadListFile("the file is empty")
            file = self._file(source, asked)
            if asked.dry_run:
                return self._try(known, file, content, asked)
            return self._run(known, file, source, content, asked)
        except OSError as error:
            raise BadListFile(f"the file cannot be read: {type(error).__name__}") from error

    def _file(self, source: IO[bytes], asked: _Asked) -> ListFile:
        algorithms, types = self.types.algorithms, self.types
        if asked.algorithm is not None and asked.algorithm not in algorithms:
            raise BadListFile(f"there is no such algorithm; known are: {', '.join(algorithms)}")

        def valid(algorithm: Algorithm, digest: bytes) -> bool:
            return not algorithm.perceptual or types.valid(algorithm, digest)

        return ListFile(
            source, asked.list_format, algorithms=algorithms, valid=valid, columns=asked.columns,
            algorithm=None if asked.algorithm is None else algorithms[asked.algorithm],
            derive=self._keyed_id,
        )  # fmt: skip

    def _keyed_id(self, derived: str) -> str:
        """Ids that are derived from digests would tell what is listed, if they were not keyed."""
        return self.keys.mac(lists.PURPOSE, derived.encode()).hex()[: len(derived)]

    # ── a dry run ──────────────────────────────────────────────────────────────────────────────────────────

    def _try(self, known: _Known, file: ListFile, content: Content, asked: _Asked) -> ImportReport:
        """Compare where nothing stays of it."""
        now = self.clock.now()
        left = ListImport(
            id=-1 - secrets.randbits(60), list_id=known.id, direct=False, started_at=now
        )  # fmt: skip
        told: list[Malformed] = []
        with comparing.aside(self.database) as tx:
            comparing.patient(tx)
            staged = comparing.apart(tx)
            for batch in batches(file, sealing(self.keys, known.id), size=self.batch):
                imports.stage(tx, staged, left.id, batch.rows)
                told = merged(told, batch.told())
                left = read_on(left, batch)
                asked.progress(left.byte, content.size)
            for some in comparing.repeats(tx, staged, left.id):
                left, more = repeated(left, some)
                told = merged(told, more)
            compared = self._compared(tx, staged, left, known, asked)
        left = compared_as(left, compared)
        left = replace(left, applied=compared.upserts, withdrawn=0 if left.malformed else compared.vanished)
        return report(left, told, unread=file.unread, ages=bool(known.rule.max_age))

    def _compared(
        self, tx: Connection, staged: Any, left: ListImport, known: _Known, asked: _Asked  # noqa: ANN401 - a table
    ) -> comparing.Compared:  # fmt: skip
        """Compare, and refuse what a rule or a person should look at first."""
        if left.malformed or left.repeated:
            comparing.drop_repeats(tx, staged, left.id)
        found = comparing.compare(tx, staged, left.id, list_id=known.id, doubt=not left.clean)
        require_searchable(known.rule, entries=found.after)
        if shrinks_too_much(found.before, found.after) and not asked.confirm_shrink:
            raise Refused(
                f"the list would shrink from {found.before} to {found.after} entries; look at the file, "
                "then repeat with --confirm-shrink"
            )
        return found

    # ── an import ──────────────────────────────────────────────────────────────────────────────────────────

    def _run(
        self, known: _Known, file: ListFile, source: IO[bytes], content: Content, asked: _Asked
    ) -> ImportReport:
        left, resumed = self._begin(known, content, asked)
        told = self._told_before(left) if resumed else []
        resumed_at = left.line if resumed else None
        if left.state == "reading":
            try:
                file.go_on(line=left.line, byte=left.byte)
                seen = None if resumed else Seen(_most(content, asked.list_format))
                left, more = self._read(left, file, content, asked, seen=seen)
                told = merged(told, more)
                require_same(source, content)
            except BadListFile:
                self._abandon(known)
                raise
        if not left.direct:
            if left.state == "reading":
                left, more = self._compare(left, known, asked)
                told = merged(told, more)
            left = self._apply(left)
        self._finish(left, known, asked.actor)
        return report(
            left, told, unread=file.unread, ages=bool(known.rule.max_age), resumed_at=resumed_at
        )  # fmt: skip

    @again_if_contended
    def _begin(self, known: _Known, content: Content, asked: _Asked) -> tuple[ListImport, bool]:
        how = [asked.list_format.value, asked.algorithm, sorted(asked.columns.items())]
        told_by = b"list file:" + json.dumps(how).encode() + content.sha256
        with self.database.transaction() as tx:
            return imports.begin(
                tx, list_id=known.id, content_mac=self.keys.mac(lists.PURPOSE, told_by),
                may_be_direct=_fits(known.rule, content, asked.list_format), actor=asked.actor.name,
                now=self.clock.now(),
            )  # fmt: skip

    def _told_before(self, left: ListImport) -> list[Malformed]:
        """The faults of lines that were read before the import was taken up."""
        with self.database.reading() as tx:
            letters = dead_letters.dead_letters_since(
                tx, list_id=left.list_id, since=left.started_at, most=TOLD
            )
        lines = [(place.removeprefix("line "), fault) for place, fault in letters]
        told = [Malformed(line=int(line), fault=fault) for line, fault in lines if line.isdecimal()]
        return merged([], told)

    def _read(
        self, left: ListImport, file: ListFile, content: Content, asked: _Asked, *, seen: Seen | None
    ) -> tuple[ListImport, list[Malformed]]:
        """Read to the end: one batch is written while the next is parsed and sealed."""
        told: list[Malformed] = []
        waiting: Future[tuple[ListImport, list[Malformed]]] | None = None

        def settled(one: Future[tuple[ListImport, list[Malformed]]]) -> ListImport:
            reached, more = one.result()
            told[:] = merged(told, more)
            asked.progress(reached.byte, content.size)
            return reached

        with ThreadPoolExecutor(1) as pool:
            for batch in batches(file, sealing(self.keys, left.list_id), size=self.batch):
                left = left if waiting is None else settled(waiting)
                waiting = pool.submit(self._keep, left, batch, seen)
            left = left if waiting is None else settled(waiting)
        return left, told

    @again_if_contended
    def _keep(self, left: ListImport, batch: Batch, seen: Seen | None) -> tuple[ListImport, list[Malformed]]:
        """Write a batch and the place behind it; `seen` are the ids before it, if they are known."""
        reached, told, letters = read_on(left, batch), batch.told(), batch.letters()
        with self.database.transaction() as tx:
            now = self.clock.now()
            if left.direct:
                again = _first(tx, left.list_id, batch, seen, now=now)
                reached = replace(reached, applied=reached.applied + len(batch.rows) - len(again))
                for line, same, told_by in again:
                    reached = one_more(reached, same=same)
                    told.append(repeat(line, same=same))
                    if not same:
                        letters.append(letter(line, told_by))
            else:
                imports.stage(tx, staged_entry, left.id, batch.rows)
            dead_letters.keep_dead_letters(tx, self.keys, list_id=left.list_id, letters=letters, now=now)
            return imports.advance(tx, left, reached), told

    @again_if_contended
    def _compare(self, left: ListImport, known: _Known, asked: _Asked) -> tuple[ListImport, list[Malformed]]:
        told: list[Malformed] = []
        with self.database.transaction() as tx:
            comparing.patient(tx)
            now, reached = self.clock.now(), left
            for some in comparing.repeats(tx, staged_entry, left.id):
                reached, more = repeated(reached, some)
                told = merged(told, more)
                letters = [
                    letter(row.line, row.source_entry_id.encode() + row.row_mac)
                    for row in some
                    if not row.same
                ]
                dead_letters.keep_dead_letters(tx, self.keys, list_id=known.id, letters=letters, now=now)
            compared = self._compared(tx, staged_entry, reached, known, asked)
            reached = replace(compared_as(reached, compared), state="applying")
            return imports.advance(tx, left, reached), told

    def _apply(self, left: ListImport) -> ListImport:
        after = 0
        while (reached := self._write(left, after))[0] != left:
            left, after = reached
        while (withdrawn := self._withdraw(left)) != left:
            left = withdrawn
        return left

    @again_if_contended
    def _write(self, left: ListImport, after: int) -> tuple[ListImport, int]:
        with self.database.transaction() as tx:
            return comparing.apply_some(tx, left, after=after, most=self.batch, now=self.clock.now())

    @again_if_contended
    def _withdraw(self, left: ListImport) -> ListImport:
        with self.database.transaction() as tx:
            return comparing.withdraw_some(tx, left, most=self.batch, now=self.clock.now())

    @again_if_contended
    def _abandon(self, known: _Known) -> None:
        with self.database.transaction() as tx:
            imports.abandon(tx, known.id, now=self.clock.now())

    @again_if_contended
    def _finish(self, left: ListImport, known: _Known, actor: Actor) -> None:
        with self.database.transaction() as tx:
            now = self.clock.now()
            imports.finish(tx, left, now=now)
            audit.write(
                tx,
                now=now,
                verb="import list",
                subject=f"list:{known.id}",
                actor=actor.name,
                role=actor.role,
                facts={"upserts": left.applied, "withdrawals": left.withdrawn},
            )


def _first(
    tx: Connection, list_id: int, batch: Batch, seen: Seen | None, *, now: Micros
) -> Sequence[imports.Again]:
    """Write a batch of a first load. One that is written once more asks more, and says the same."""
    ids = [sealed[0] for _, _, sealed in batch.rows]
    again = imports.write_first(
        tx, list_id, batch.rows, maybe=ids if seen is None else seen.maybe(ids), now=now
    )
    if seen is not None:
        seen.add(ids)
    return again


def _most(content: Content, list_format: ListFormat) -> int:
    """Rows that the file has at most."""
    return content.lines * (HASHES_A_LINE if list_format in COLUMNS else 1)


def _fits(rule: ListRule, content: Content, list_format: ListFormat) -> bool:
    """Whether no check can refuse the file, whatever it says: then it need not be read before it counts."""
    try:
        require_searchable(rule, entries=_most(content, list_format))
    except Refused:
        return False
    return content.lines <= DEFAULT_LIMITS.rows
