"""The road of an object that the store itself told us of: whose is it, and has anybody announced it?

A write of our own, a rendition and an object that an announcement names have their answer elsewhere. All else
is screened. Who uploaded it is believed only where settings say that platform services alone write the
objects' metadata. An object of nobody is blocked and held like any other, in a case of its own; no account is
flagged or owed a takedown for it. Nothing here reads the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import unquote

from coverguard.acting import Enforcer
from coverguard.acting.enforcer import ref_of
from coverguard.acting.places import Places
from coverguard.errors import BadMessage, ObjectMissing
from coverguard.messages import Cover, CoverUploaded, StoredObject, from_micros
from coverguard.model import Done, Micros, Mode, ObjectRef, Outcome, Retry, Surface, between
from coverguard.notifications import Happening, Record, event_of, nobody, unannounced
from coverguard.ports import Clock, ObjectStore
from coverguard.retrying import briefly
from coverguard.screening import Screener
from coverguard.store import covers
from coverguard.store.engine import Database

METADATA: Final = (
    "coverguard-"  # as the store gives it: x-amz-meta-coverguard-cover-id is coverguard-cover-id
)
ANNOUNCED_WITHIN: Final = timedelta(seconds=30)
LOOK_AGAIN: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEvents:
    database: Database
    store: ObjectStore
    screener: Screener
    enforcer: Enforcer
    places: Places
    clock: Clock
    modes: Mapping[Surface, Mode]
    buckets: frozenset[str]  # where an event may point
    trust_metadata: bool

    def handle(self, record: Record, *, sent_at: Micros) -> Outcome:
        """Do what one record of a notification asks.

        Raises:
            BadMessage: it makes no sense, its bucket is not ours or keeps no versions.
            TransientError: try again later.
        """
        event = event_of(record)
        if event.happening is not Happening.CREATED:
            return Done(note=f"object_{event.happening}")
        ref = event.ref
        if ref.bucket not in self.buckets:
            raise BadMessage("field bucket: is not one coverguard may read")
        if self.enforcer.is_own_write(ref):
            return Done(note="own_write")
        if self._answered_elsewhere(ref):
            return Done(note="announced")
        if self._is_rendition(ref) and self.enforcer.rendition_appeared(ref):
            return Done(note="rendition")
        return self._screen(ref, sent_at=sent_at)

    def _answered_elsewhere(self, ref: ObjectRef) -> bool:
        """Whether a cover of another name than this road gives lies there: its own message is its road."""
        with self.database.reading() as tx:
            return any(cover.event_id != unannounced(ref) for cover in covers.lying_at(tx, ref))

    def _is_rendition(self, ref: ObjectRef) -> bool:
        """Whether the place is of a cover we know: else it may be that cover's own object, unannounced."""
        named = self.places.cover_of(ref)
        if named is None:
            return False
        surface, cover_id, version = named
        with self.database.reading() as tx:
            return covers.by_name(tx, surface=surface, cover_id=cover_id, version=version) is not None

    def _screen(self, ref: ObjectRef, *, sent_at: Micros) -> Outcome:
        try:
            metadata = briefly(lambda: self.store.describe(ref), clock=self.clock).metadata
        except ObjectMissing:  # a version that is gone never comes back, and nobody waits for an answer
            return Done(note="object_gone")
        event = self._named(ref, metadata, sent_at=sent_at) if self.trust_metadata else None
        if event is not None:
            return self.screener.screen(event, sent_at=sent_at)
        if between(sent_at, self.clock.now()) < ANNOUNCED_WITHIN:
            return Retry(after=LOOK_AGAIN, note="early")  # the announcement may be slower than the store
        mode = Mode.GATE if self.places.url(ref.bucket, ref.key) is None else Mode.WATCH
        event = self._of_nobody(ref, mode, sent_at=sent_at)
        return self.screener.screen(event, sent_at=sent_at, mode=mode)

    def _named(self, ref: ObjectRef, metadata: Mapping[str, str], *, sent_at: Micros) -> CoverUploaded | None:
        """The announcement that trusted metadata makes, if they name cover and uploader properly."""
        found = {
            name.lower().removeprefix(METADATA): unquote(value)
            for name, value in metadata.items()
            if name.lower().startswith(METADATA)
        }
        try:
            cover = Cover(
                id=found["cover-id"], version=int(found["cover-version"]), surface=Surface(found["surface"])
            )
            uploader = found["uploader-id"]
            facts: dict[str, Any] = {
                "uploader_id": uploader,
                "owner_id": found.get("owner-id") or uploader,
                "playlist_id": found.get("playlist-id") or None,
            }
            with self.database.reading() as tx:
                known = covers.find(tx, cover)
            if known is not None and ref_of(known) != ref:
                # A copy, at a place that no template names: the same uploader's, another object.
                cover = Cover(id=unannounced(ref), version=0, surface=cover.surface)
            return _uploaded(ref, cover, facts, sent_at=sent_at)
        except (KeyError, ValueError):
            return None

    def _of_nobody(self, ref: ObjectRef, mode: Mode, *, sent_at: Micros) -> CoverUploaded:
        """An announcement under names that stand for the object alone; its surface is a guess."""
        said = (self.places.cover_of(ref) or ("",))[0]
        likely = [surface for surface in Surface if self.modes[surface] is mode] or [*Surface]
        surface = Surface(said) if said in [*Surface] else likely[0]
        cover = Cover(id=unannounced(ref), version=0, surface=surface)
        somebody = nobody(cover.id)
        return _uploaded(ref, cover, {"uploader_id": somebody, "owner_id": somebody}, sent_at=sent_at)


def _uploaded(ref: ObjectRef, cover: Cover, facts: Mapping[str, Any], *, sent_at: Micros) -> CoverUploaded:
    return CoverUploaded(
        event_id=unannounced(ref),
        occurred_at=from_micros(sent_at),
        cover=cover,
        object=StoredObject(bucket=ref.bucket, key=ref.key, version_id=ref.version_id),
        **facts,
    )
