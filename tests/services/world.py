"""One deployment in a folder: real SQLite, real folder store, an honest probe, and a clock that stands still.

Pictures are drawn, hashes computed from them or invented. The platform's side is here, too: it puts objects
and sends messages, and nobody but strangers asks what is public.
"""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import select

from coverguard import imaging
from coverguard.bootstrap import UPLOADS, Deployment, folder_store
from coverguard.hashlist import ListRow
from coverguard.local.keypaths import OWN, directory_names
from coverguard.local.keys import PURPOSES, LocalKeys
from coverguard.messages import from_micros, parse_outgoing
from coverguard.model import (
    Actor,
    Algorithm,
    Basis,
    Category,
    Channel,
    Fingerprint,
    ListAction,
    Micros,
    Mode,
    ObjectRef,
    Outcome,
    Surface,
)
from coverguard.policy import ListRule
from coverguard.ports import Delivery, Reach
from coverguard.review import Opinion
from coverguard.settings import Settings
from coverguard.store import alarms, lists, obligations, schema
from coverguard.store.engine import Database
from coverguard.telemetry import Log
from coverguard.testing.pictures import Alteration, Kind, alter, draw, encode
from coverguard.testing.vouching import vouch

MICROSECOND = timedelta(microseconds=1)
BEGINNING = Micros(1_800_000_000_000_000)
WATCHED, GATED = Surface.PROFILE_IMAGE, Surface.PLAYLIST_COVER


# ── pictures ───────────────────────────────────────────────────────────────────────────────────────────────


@functools.cache
def picture(seed: int, kind: Kind = Kind.SCENE) -> bytes:
    return encode(draw(kind, seed, side=128), "PNG")


@functools.cache
def altered(seed: int, how: Alteration = Alteration.JPEG_Q92) -> bytes:
    """The same to the eye, other bytes."""
    return alter(draw(Kind.SCENE, seed, side=128), how)


@functools.cache
def fingerprint(data: bytes) -> Fingerprint:
    return imaging.fingerprint(data)


def off_by(value: bytes, bits: int) -> bytes:
    return (int.from_bytes(value) ^ ((1 << bits) - 1)).to_bytes(len(value))


def listed(digest: bytes, algorithm: Algorithm) -> ListRow:
    """An entry as a source would list it, under an id that says nothing of it."""
    name = f"{algorithm.value} {zlib.crc32(digest):08x}"
    return ListRow(source_entry_id=name, algorithm=algorithm, digest=digest)


def near(data: bytes, *, bits: int = 10, algorithm: Algorithm = Algorithm.PDQ) -> ListRow:
    """An entry that the picture is so many bits from."""
    return listed(off_by(fingerprint(data).views[0].signals[algorithm.value], bits), algorithm)


def exact(data: bytes, algorithm: Algorithm = Algorithm.SHA256) -> ListRow:
    return listed(fingerprint(data).digests[algorithm.value], algorithm)


# ── people ─────────────────────────────────────────────────────────────────────────────────────────────────


def person(name: str, *roles: str) -> Actor:
    return Actor(name=name, roles=frozenset(roles or ("moderator",)), channel=Channel.CONSOLE)


ADA, BEA, CLEO = person("Ada"), person("Bea"), person("Cleo")
SENIOR = person("Senta", "senior_moderator")
EDITOR = person("Edda", "list_editor")


def opinion(category: Category | None = None, reason: str = "I looked at it") -> Opinion:
    return Opinion(category=category, reason=reason, basis=Basis.VIEWED)


# ── seams ──────────────────────────────────────────────────────────────────────────────────────────────────


class StandingClock:
    """Moves only when told to, or when somebody sleeps on it."""

    def __init__(self) -> None:
        self._now = int(BEGINNING)

    def now(self) -> Micros:
        return Micros(self._now)

    def sleep(self, period: timedelta) -> None:
        self.go_on(period)

    def go_on(self, period: timedelta) -> None:
        self._now += period // MICROSECOND


class HonestProbe:
    """Says what a stranger would be served, by the store's own bytes; or nothing, while it is blind."""

    def __init__(self, settings: Settings, store: object) -> None:
        start = settings.public_url.replace("{port}", str(settings.file_server_port))
        self._start = start.partition("{bucket}")[0]
        self._store = store
        self.blind = False
        self.asked: list[str] = []

    def ask(self, url: str, *, sha256: bytes) -> Reach:
        assert url.startswith(self._start)
        bucket, _, key = url.removeprefix(self._start).partition("/")
        self.asked.append(unquote(key))
        if self.blind:
            return Reach.UNKNOWN
        served = self._store.current(bucket, unquote(key))
        if served is None:
            return Reach.GONE
        return Reach.REACHABLE if served.sha256 == sha256 else Reach.REPLACED


@dataclass(frozen=True, kw_only=True)
class Upload:
    cover_id: str
    version: int
    surface: Surface
    ref: ObjectRef
    body: str = field(repr=False)
    outcome: Outcome | None = None


class World:
    def __init__(self, home: Path, database: Database, **changed: object) -> None:
        self.home = home
        self.settings = Settings(home=home, **changed)
        self.clock = StandingClock()
        self.lines = StringIO()
        self.database = database
        self.store = type(folder_store(self.settings))(
            root=home / "objects",
            buckets=self.settings.readable_buckets,
            vault=self.settings.vault_bucket,
            durable=False,
        )
        self.keys = LocalKeys({name: bytes([number + 1]) * 32 for number, name in enumerate(PURPOSES)})
        self.probe = HonestProbe(self.settings, self.store)
        self.parts = Deployment(
            settings=self.settings,
            database=self.database,
            store=self.store,
            keys=self.keys,
            probe=self.probe,
            clock=self.clock,
            log=Log(self.lines),
        )
        self.intake = self.parts.intake()
        self.review = self.parts.review()
        self.importer = self.parts.importer()
        self.keeper = self.parts.keeper()
        self.worker = self.parts.worker()
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self.database.close()

    # ── lists ──────────────────────────────────────────────────────────────────────────────────────────────

    def list_of(
        self,
        *rows: ListRow,
        name: str = "industry",
        action: ListAction = ListAction.HOLD,
        category: Category = Category.CHILD_ABUSE,
        **rule: object,
    ) -> int:
        """Make a list of these entries, or add them to it; return its id."""
        first = ListRule(list_id=0, version=0, category=category, action=action, **rule)
        now = self.clock.now()
        with self.database.transaction() as tx:
            list_id, _ = lists.create(tx, name=name, source="s", rule=first, actor="Edda", note="n", now=now)
            vouch(tx, list_id, now=now)
            if rows:
                lists.write_entries(tx, self.keys, list_id=list_id, rows=rows, now=now)
        return list_id

    def switch(self, list_id: int, *, enabled: bool) -> None:
        with self.database.transaction() as tx:
            lists.switch(tx, list_id, enabled=enabled, now=self.clock.now())

    def withdraw(self, list_id: int, *rows: ListRow) -> None:
        names = [row.source_entry_id for row in rows]
        with self.database.transaction() as tx:
            lists.withdraw(tx, list_id=list_id, source_entry_ids=names, now=self.clock.now())

    def entries(self) -> dict[tuple[str, Algorithm], str]:
        """What may match now: (list, algorithm) to the most it may do."""
        with self.database.reading() as tx:
            snapshot = lists.load(tx, self.keys)
        names = {row.id: row.name for row in self.rows("hash_list")}
        return {
            (names[one.list_id], one.algorithm): snapshot.entries[one.entry_id].cap.value
            for one in snapshot.digests
        }

    # ── the platform ───────────────────────────────────────────────────────────────────────────────────────

    def bucket(self, surface: Surface) -> str:
        gated = self.settings.modes[surface] is Mode.GATE
        return self.settings.intake_bucket if gated else self.settings.public_bucket

    def put(self, data: bytes, key: str, *, bucket: str = "public") -> ObjectRef:
        return self.store.put(bucket, key, data, content_type="image/png", metadata={"by": "the platform"})

    def rendition(self, cover_id: str, name: str = "300.jpg", *, version: int = 1, surface: Surface = WATCHED,
                  data: bytes | None = None) -> ObjectRef:  # fmt: skip
        small = data or f"generated rendition {cover_id} {name}".encode()
        return self.put(small, f"covers/{surface.value}/{cover_id}/{version}/{name}")

    def announce(
        self,
        data: bytes,
        cover_id: str = "c1",
        *,
        version: int = 1,
        surface: Surface = GATED,
        uploader: str = "uploader-1",
        owner: str | None = None,
        playlist: str | None = None,
        key: str | None = None,
        ref: ObjectRef | None = None,
        renditions: Sequence[ObjectRef] = (),
    ) -> Upload:
        """Put the object and write its message; nobody is told yet."""
        own = ref or self.put(data, key or f"raw/{cover_id}/{version}", bucket=self.bucket(surface))
        body = self.message(
            "cover.uploaded",
            cover={"id": cover_id, "version": version, "surface": surface.value},
            uploader_id=uploader,
            owner_id=owner or uploader,
            playlist_id=playlist,
            object=_named(own),
            renditions=[_named(one) for one in renditions],
        )
        return Upload(cover_id=cover_id, version=version, surface=surface, ref=own, body=body)

    def upload(self, data: bytes, cover_id: str = "c1", **other: object) -> Upload:
        """Put the object and let its message be handled."""
        made = self.announce(data, cover_id, **other)
        return replace(made, outcome=self.deliver(made.body))

    def message(self, kind: str, **fields: object) -> str:
        number = next(self._numbers)
        head = {
            "schema": "coverguard.event/1",
            "type": kind,
            "event_id": f"event-{number}",
            "occurred_at": from_micros(self.clock.now()).isoformat(),
        }
        return json.dumps(head | fields)

    def deliver(self, body: str, *, sent_at: Micros | None = None, attempt: int = 1) -> Outcome:
        """Hand over one delivery, two seconds later, so that newer lists are known."""
        self.clock.go_on(timedelta(seconds=2))
        return self.intake.handle(self._delivery(body, sent_at=sent_at, attempt=attempt))

    def settled(self, body: str) -> Outcome | None:
        """What the worker makes of one delivery."""
        self.clock.go_on(timedelta(seconds=2))
        return self.worker.outcome_of(self._delivery(body))

    def _delivery(self, body: str, *, sent_at: Micros | None = None, attempt: int = 1) -> Delivery:
        return Delivery(
            queue=UPLOADS, body=body, receipt="1:x", attempt=attempt, sent_at=sent_at or self.clock.now()
        )

    def delete(self, upload: Upload) -> Outcome:
        """The platform takes a cover away and says so."""
        self.store.delete(upload.ref.bucket, upload.ref.key)
        cover = {"id": upload.cover_id, "version": upload.version, "surface": upload.surface.value}
        return self.deliver(self.message("cover.deleted", cover=cover))

    @contextmanager
    def unreachable(self, ref: ObjectRef, *, whole: bool = False) -> Iterator[None]:
        """The bytes cannot be read for a while, nor, with `whole`, anything of the object."""
        folder = self._folder(ref)
        path = folder / ("versions.json" if whole else ref.version_id)
        away = path.with_name("away")
        path.rename(away)
        path.mkdir()
        try:
            yield
        finally:
            path.rmdir()
            away.rename(path)

    @contextmanager
    def absent(self, ref: ObjectRef) -> Iterator[None]:
        """The object is not there yet."""
        folder = self._folder(ref)
        away = folder.rename(folder.with_name("away"))
        try:
            yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            away.rename(folder)

    def _folder(self, ref: ObjectRef) -> Path:
        return (self.home / "objects" / ref.bucket).joinpath(*directory_names(ref.key.encode()), OWN)

    # ── looking ────────────────────────────────────────────────────────────────────────────────────────────

    def served(self, ref: ObjectRef) -> bool:
        """Whether a stranger gets exactly that version's bytes."""
        now = self.store.current(ref.bucket, ref.key)
        return now is not None and now.ref == ref

    def vault(self) -> list[bytes]:
        found = self.store.walk(self.settings.vault_bucket, prefix="")
        return [self.store.read(ref, limit=10**7) for ref in found]

    def rows(self, table: str, **where: object) -> list:
        of = getattr(schema, table)
        found = select(of).where(*(of.c[name] == value for name, value in where.items()))
        with self.database.reading() as tx:
            return list(tx.execute(found.order_by(*of.primary_key.columns)).all())

    def cover(self, upload: Upload):
        (row,) = self.rows(
            "cover_version", cover_id=upload.cover_id, version=upload.version, surface=upload.surface.value
        )
        return row

    def answer(self, upload: Upload):
        (row,) = self.rows("screening", cover_version_id=self.cover(upload).id)
        return row

    def item(self, upload: Upload):
        """The cover's newest item."""
        return self.rows("case_item", cover_version_id=self.cover(upload).id)[-1]

    def items(self, upload: Upload) -> list:
        return self.rows("case_item", cover_version_id=self.cover(upload).id)

    def holds(self, upload: Upload) -> list[tuple[str, str, str, bool]]:
        """Level, state, key and whether it is a rendition, of every quarantine row of the cover."""
        rows = self.rows("quarantine", cover_version_id=self.cover(upload).id)
        return [(row.level, row.state, row.key, row.rendition) for row in rows]

    def matches(self, upload: Upload) -> list:
        return self.rows("match", screening_id=self.answer(upload).id)

    def told(self, topic: str = "pipeline", upload: Upload | None = None) -> list:
        events = [parse_outgoing(row.body) for row in self.rows("outbox", topic=topic)]
        if upload is not None:
            events = [
                one
                for one in events
                if (one.cover.id, one.cover.version) == (upload.cover_id, upload.version)
            ]
        return events

    def types(self, topic: str = "pipeline", upload: Upload | None = None) -> list[str]:
        return [event.type for event in self.told(topic, upload)]

    def verdict_events(self, upload: Upload) -> list[tuple[str, int]]:
        return [(event.type.removeprefix("cover."), event.verdict_seq) for event in self.told(upload=upload)]

    def alarms(self) -> list[tuple[str, str]]:
        with self.database.reading() as tx:
            return [(row.kind, row.subject) for row in alarms.ringing(tx)]

    def owed(self, upload: Upload) -> dict[str, int]:
        """Unmet obligations of the cover's newest item: kind to hours from the beginning of time here."""
        with self.database.reading() as tx:
            found = obligations.owed(tx)
        mine = self.item(upload).ref
        return {row.kind: row.due_at for row in found if row.item_ref == mine}

    def everything(self) -> Mapping[str, list]:
        """Every row of every table, to compare before and after."""
        return {name: self.rows(name) for name in schema.__all__ if name not in ("metadata", "queue_message")}

    # ── verdicts ───────────────────────────────────────────────────────────────────────────────────────────

    def claim(self, upload: Upload, who: Actor = ADA):
        return self.review.claim(self.item(upload).ref, actor=who)

    def confirm(
        self,
        upload: Upload,
        who: Actor = ADA,
        category: Category = Category.CHILD_ABUSE,
        basis: Basis = Basis.VIEWED,
    ):
        self.clock.go_on(timedelta(seconds=2))
        ref = self.claim(upload, who).ref
        return self.review.confirm(ref, actor=who, opinion=replace(opinion(category), basis=basis))

    def clear(self, upload: Upload, *people: Actor):
        """Let one person after another clear the item; return the last verdict."""
        for who in people or (ADA,):
            self.clock.go_on(timedelta(seconds=2))
            ref = self.claim(upload, who).ref
            verdict = self.review.clear(ref, actor=who, opinion=opinion())
        return verdict

    def reopen(self, upload: Upload, who: Actor = SENIOR):
        self.clock.go_on(timedelta(seconds=2))
        return self.review.reopen(self.item(upload).ref, actor=who, opinion=opinion())


def _named(ref: ObjectRef) -> dict[str, str]:
    return {"bucket": ref.bucket, "key": ref.key, "version_id": ref.version_id}
