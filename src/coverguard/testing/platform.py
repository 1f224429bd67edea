"""A small platform: uploads covers, does as the pipeline's events say, and shows what strangers see.

It publishes exactly the bytes of cleared and released covers, from the intake into the public bucket at the
place that the settings' first rendition template names, and takes back what is withheld or removed. An event
whose `verdict_seq` is not newer than one seen is ignored, however often and late it comes. A cover of a watch
surface is public from its upload; coverguard, not the platform, makes that one unreachable. What the platform
remembers of events lives in the object, which therefore has to outlive the workers it plays with.

`StillClock` and `InProcessProbe` stand in for the host's clock and for requests to the file server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol
from urllib.parse import unquote

from coverguard.acting.places import segment
from coverguard.errors import ConfigurationError, CoverguardError
from coverguard.local.folder import FolderStore
from coverguard.messages import (
    Cover,
    CoverCleared,
    CoverReleased,
    CoverUploaded,
    PipelineEvent,
    StoredObject,
    dump,
    from_micros,
    parse_outgoing,
)
from coverguard.model import Done, Micros, Mode, ObjectRef, Surface
from coverguard.ports import Clock, ObjectInfo, Queue, Reach
from coverguard.settings import Settings

FULL: Final = "full.jpg"
BATCH: Final = 50
LEASE: Final = timedelta(seconds=60)

CoverKey = tuple[str, str, int]
"""Surface, id, version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One cover version as the platform knows it."""

    event: CoverUploaded
    data: bytes = field(repr=False)
    mode: Mode

    @property
    def key(self) -> CoverKey:
        return key_of(self.event.cover)

    @property
    def body(self) -> str:
        """The message that announces it."""
        return dump(self.event)


class Buckets(Protocol):
    """What the platform does to its own store; `FolderStore` and `testing.buckets.S3Buckets` can."""

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> ObjectRef: ...

    def delete(self, bucket: str, key: str) -> None: ...

    def current(self, bucket: str, key: str) -> ObjectInfo | None: ...

    def read(self, ref: ObjectRef, *, limit: int) -> bytes: ...


class Platform:
    """The platform's side of one deployment: its buckets and its end of the pipeline topic."""

    def __init__(self, *, settings: Settings, store: Buckets, clock: Clock) -> None:
        bucket, _, path = settings.renditions[0].partition(":")
        if bucket != settings.public_bucket or not path.endswith("/{*}"):
            raise ConfigurationError("the simulated platform needs public:…/{*} as first rendition template")
        self._settings = settings
        self._store = store
        self._clock = clock
        self._places = settings.places()
        self._template = path
        self._seen: dict[CoverKey, int] = {}  # the highest verdict_seq
        self._put: dict[CoverKey, set[str]] = {}  # every key of it that was ever public
        self.shown: dict[CoverKey, bool] = {}  # the newest event's word

    # ── uploads ────────────────────────────────────────────────────────────────────────────────────────────

    def upload(
        self,
        data: bytes,
        *,
        cover_id: str,
        uploader: str,
        surface: Surface = Surface.PLAYLIST_COVER,
        version: int = 1,
        named: Sequence[str] = (),
        found: Sequence[str] = (),
        late: bool = False,
    ) -> Upload:
        """Store a new cover version and its renditions, and return what is to be announced.

        `named` are file names of renditions that the message names, `found` of those it does not. The bytes
        of a `late` cover of a gate surface are not in the store before `replicate`.
        """
        cover = Cover(id=cover_id, version=version, surface=surface)
        mode = self._settings.modes[surface]
        if mode is Mode.WATCH:
            own = self._put_public(cover, FULL, data)
        else:
            store = self._elsewhere() if late else self._store
            place = f"uploads/{segment(cover_id)}/{version}"
            own = _put(store, self._settings.intake_bucket, place, data)
        refs = [self.resize(cover, data, name) for name in (*named, *found)]
        event = CoverUploaded(
            event_id=f"event-{surface.value}-{cover_id}-{version}",
            occurred_at=from_micros(self._clock.now()),
            cover=cover,
            uploader_id=uploader,
            owner_id=uploader,
            object=_stored(own),
            renditions=[_stored(ref) for ref in refs[: len(named)]],
        )
        return Upload(event=event, data=data, mode=mode)

    def resize(self, cover: Cover, data: bytes, name: str) -> ObjectRef:
        """Put one rendition where the template has it: bytes of its own, made from the cover's."""
        small = b"a rendition, generated: " + name.encode() + hashlib.sha256(data).digest()
        return self._put_public(cover, name, small)

    def replicate(self) -> None:
        """Let every late upload arrive, version ids and all, each at one moment. Folder stores only."""
        source, target = (
            root / self._settings.intake_bucket / "=uploads"
            for root in (self._settings.home / "elsewhere", self._settings.home / "objects")
        )
        target.mkdir(mode=0o700, exist_ok=True)
        for path in sorted(source.iterdir()):
            path.rename(target / path.name)

    # ── the pipeline ───────────────────────────────────────────────────────────────────────────────────────

    def consume(self, pipeline: Queue) -> int:
        """Do what every waiting event says; return how many there were."""
        count = 0
        while deliveries := pipeline.receive(limit=BATCH, wait=timedelta(), lease=LEASE):
            for delivery in deliveries:
                event = parse_outgoing(delivery.body)
                assert isinstance(event, PipelineEvent), "an event of another topic"
                self.heed(event)
                pipeline.settle(delivery, Done())
                count += 1
        return count

    def heed(self, event: PipelineEvent) -> bool:
        """Do what one event says, unless one as new was seen; return whether it was done."""
        key = key_of(event.cover)
        if event.verdict_seq <= self._seen.get(key, 0):
            return False
        self._seen[key] = event.verdict_seq
        self.shown[key] = isinstance(event, CoverCleared | CoverReleased)
        if self._settings.modes[event.cover.surface] is Mode.GATE:
            if self.shown[key]:
                self._publish(event)
            else:
                self._unpublish(key)
        return True

    def _publish(self, event: PipelineEvent) -> None:
        data = self._store.read(event.object.ref(), limit=self._settings.max_bytes)
        assert hashlib.sha256(data).hexdigest() == event.sha256, "the event names other bytes"
        now = self._store.current(self._settings.public_bucket, self._place(event.cover, FULL))
        if now is None or now.sha256.hex() != event.sha256:
            self._put_public(event.cover, FULL, data)

    def _unpublish(self, key: CoverKey) -> None:
        for place in sorted(self._put.get(key, ())):
            if self._store.current(self._settings.public_bucket, place) is not None:
                self._store.delete(self._settings.public_bucket, place)

    # ── what strangers may ask ─────────────────────────────────────────────────────────────────────────────

    def urls(self, key: CoverKey) -> tuple[str, ...]:
        """Every URL at which anything of that cover version is, was or would be public, its own first."""
        surface, cover_id, version = key
        full = self._place(Cover(id=cover_id, version=version, surface=Surface(surface)), FULL)
        places = [full, *sorted(self._put.get(key, set()) - {full})]
        made = (self._places.url(self._settings.public_bucket, place) for place in places)
        return tuple(url for url in made if url is not None)

    def _place(self, cover: Cover, name: str) -> str:
        place = self._template.replace("{surface}", cover.surface.value).replace("{id}", segment(cover.id))
        return place.replace("{version}", str(cover.version)).replace("{*}", name)

    def _put_public(self, cover: Cover, name: str, data: bytes) -> ObjectRef:
        place = self._place(cover, name)
        self._put.setdefault(key_of(cover), set()).add(place)
        return _put(self._store, self._settings.public_bucket, place, data)

    def _elsewhere(self) -> FolderStore:
        """Where late uploads wait: a store of the same form that coverguard does not know."""
        root = self._settings.home / "elsewhere"
        buckets, vault = self._settings.readable_buckets, self._settings.vault_bucket
        return FolderStore(root=root, buckets=buckets, vault=vault, durable=False)


class StillClock:
    """`ports.Clock` that stands still until somebody sleeps."""

    def __init__(self, now: Micros) -> None:
        self._now = now

    def now(self) -> Micros:
        return self._now

    def sleep(self, period: timedelta) -> None:
        self._now = Micros(self._now + max(period, timedelta()) // timedelta(microseconds=1))


class InProcessProbe:
    """`ports.UrlProbe` without sockets: what asking the loopback file server over this store would say."""

    def __init__(self, *, settings: Settings, store: FolderStore) -> None:
        url = settings.public_url.replace("{port}", str(settings.file_server_port))
        self._start = url.partition("{bucket}")[0]
        self._public = settings.public_bucket
        self._store = store
        self.down = False  # as if nobody answered

    def ask(self, url: str, *, sha256: bytes) -> Reach:
        if self.down or not url.startswith(self._start):
            return Reach.UNKNOWN
        bucket, _, key = url.removeprefix(self._start).partition("/")
        if bucket != self._public:
            return Reach.GONE
        try:
            found = self._store.current(bucket, unquote(key))
            if found is None:
                return Reach.GONE
            self._store.read(found.ref, limit=found.size)
        except CoverguardError:
            return Reach.UNKNOWN
        return Reach.REACHABLE if found.sha256 == sha256 else Reach.REPLACED


def key_of(cover: Cover) -> CoverKey:
    return cover.surface.value, cover.id, cover.version


def _put(store: Buckets, bucket: str, key: str, data: bytes) -> ObjectRef:
    return store.put(bucket, key, data, content_type="image/png", metadata={"by": "the platform"})


def _stored(ref: ObjectRef) -> StoredObject:
    return StoredObject(bucket=ref.bucket, key=ref.key, version_id=ref.version_id)
