"""From a quarantine row to an object that nobody is served, and back.

Order of a hold: block first (the shorter exposure; it is reversible), then the verified vault copy, then the
CDN, then the row. Order of a release: note that it begins, unblock, close the row unless somebody claimed it
meanwhile. "Gone" is what a stranger's request says, never what the store says of itself; unknown is not gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from coverguard.acting.places import Places
from coverguard.errors import CoverguardError, ObjectMissing, Refused, TransientError
from coverguard.lifecycle import QuarantineEvent, QuarantineState
from coverguard.model import Micros, ObjectRef
from coverguard.ports import Cdn, Clock, ObjectInfo, ObjectStore, Presence, Reach, UrlProbe
from coverguard.retrying import again_if_contended, briefly, uncontended
from coverguard.store import (
    Connection,
    Row,
    alarms,
    audit,
    covers,
    outbox,
    own_writes,
    quarantines,
    screenings,
    takedowns,
)
from coverguard.store.engine import Database
from coverguard.store.quarantines import Claimant

NOT_GONE = "held_not_verified_gone"
UNSETTLED = "unsettled"  # rung by who cannot settle, and quieted here by whoever can

T = TypeVar("T")


class Each(Protocol):
    """As `map`, in the order of what is given; perhaps several at a time."""

    def __call__(self, work: Callable[[int], T], over: Sequence[int], /) -> Iterable[T]: ...


class _Hidden(NamedTuple):
    """A row whose object is blocked, and kept where its level says so; noted after the caches dropped it."""

    row: Row[Any]
    kept: ObjectInfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcer:
    database: Database
    store: ObjectStore
    probe: UrlProbe
    cdn: Cdn
    clock: Clock
    places: Places
    cleared_retention: int  # microseconds that the vault keeps what was released

    @again_if_contended
    def settle(self, cover_version_id: int) -> bool:
        """Do everything this cover version's quarantine rows call for; return whether all of it is done.

        Raises:
            TransientError: an act has to be tried again; what was done stays done.
        """
        self._find_renditions(cover_version_id)
        with self.database.reading() as tx:
            rows = quarantines.of_cover(tx, cover_version_id)
        errors = [error for row in rows if (error := self._try(row)) is not None]
        if errors:
            raise errors[0]
        return self._settled(cover_version_id)

    def settle_many(self, cover_version_ids: Sequence[int], *, each: Each) -> Mapping[int, CoverguardError]:
        """Settle many, with one invalidation for all; return the error of each that is unfinished.

        Raises:
            TransientError: cached copies could not be dropped; nothing hidden by this call is noted as held.
        """
        begun = dict(zip(cover_version_ids, each(self._begin, cover_version_ids), strict=True))
        keys = {(row.bucket, row.key) for hidden, _ in begun.values() for row, _ in hidden}
        if keys:
            self.cdn.invalidate(sorted(keys))

        def finish(cover_version_id: int) -> CoverguardError | None:
            hidden, error = begun[cover_version_id]
            try:
                for one in hidden:
                    uncontended(partial(self._note_hidden, one), clock=self.clock)
                if error is None:
                    uncontended(partial(self._settled, cover_version_id), clock=self.clock)
            except CoverguardError as failed:
                return failed
            return error

        ended = zip(cover_version_ids, each(finish, cover_version_ids), strict=True)
        return {cover_version_id: error for cover_version_id, error in ended if error is not None}

    def _begin(self, cover_version_id: int) -> tuple[Sequence[_Hidden], CoverguardError | None]:
        """Everything that `settle` does up to the invalidation, and every release."""
        hidden: list[_Hidden] = []
        failed: CoverguardError | None = None
        try:
            uncontended(partial(self._find_renditions, cover_version_id), clock=self.clock)
            with self.database.reading() as tx:
                rows = quarantines.of_cover(tx, cover_version_id)
        except CoverguardError as error:
            return hidden, error
        for row in rows:
            try:
                if not row.wanted:
                    uncontended(partial(self._release, row), clock=self.clock)
                elif row.state == QuarantineState.REQUESTED.value:
                    done = uncontended(partial(self._hide, row), clock=self.clock)
                    hidden += [done] if done is not None else []
            except CoverguardError as error:
                failed = failed or error
        return hidden, failed

    def _try(self, row: Row[Any]) -> CoverguardError | None:
        """Act for one row; an object that cannot be acted on must not keep the others public."""
        try:
            if not row.wanted:
                self._release(row)
            elif row.state == QuarantineState.REQUESTED.value:
                self._hold(row)
        except CoverguardError as error:
            return error
        return None

    @again_if_contended
    def verify_gone(self, row: Row[Any]) -> Reach:
        """Ask again for a held object and remember the answer; one that is back is to be blocked anew.

        Returns `GONE`, `REACHABLE` (by the origin's word or a URL's), or `UNKNOWN`, which is not gone.
        """
        ref = ref_of(row)
        try:
            reach = self._reach(row, ref)
            served = reach is Reach.REACHABLE and self._presence(ref) is Presence.CURRENT
        except CoverguardError:  # nobody can say
            reach, served = Reach.UNKNOWN, False
        with self.database.transaction() as tx:
            now = self.clock.now()
            quarantines.lock(tx, row.id)
            quarantines.note_probe(tx, row.id, gone=reach is Reach.GONE, now=now)
            current = quarantines.by_id(tx, row.id)
            if served and current.state == QuarantineState.HELD.value and current.releasing_at is None:
                quarantines.block_anew(tx, current, level=current.level)
                audit.write(tx, now=now, verb="block anew", subject=row.ref)
                cover = covers.by_id(tx, row.cover_version_id)
                alarms.ring(tx, kind=NOT_GONE, subject=cover.ref, now=now)
                self._reopen(tx, quarantines.claimants(tx, row.id), now=now)
        return reach

    def drop_copies(self, rows: Iterable[Row[Any]]) -> None:
        """Ensure that no cache has these objects, which are blocked and still seen; or `TransientError`."""
        self.cdn.invalidate(sorted({(row.bucket, row.key) for row in rows}))

    def put_again(self, row: Row[Any]) -> ObjectRef | None:
        """What the public is served at a row's place, where that is another version than the row's."""
        first = next(iter(self.store.walk(row.bucket, prefix=row.key)), None)  # the shortest key is first
        return first if first is not None and first.key == row.key and first != ref_of(row) else None

    def note_settled(self, cover_version_id: int) -> None:
        """Quiet what rang for a cover version of which nothing is owed any more."""
        uncontended(partial(self._settled, cover_version_id), clock=self.clock)

    def _reopen(self, tx: Connection, claimants: Iterable[Claimant], *, now: Micros) -> None:
        """Something of an account that is to be dark was not: its takedown looks at everything again."""
        for takedown_id in sorted({one.takedown_id for one in claimants if one.takedown_id is not None}):
            takedowns.reappeared(tx, takedown_id, now=now)

    # ── hold ───────────────────────────────────────────────────────────────────────────────────────────────

    def _hold(self, row: Row[Any]) -> None:
        hidden = self._hide(row)
        if hidden is not None:
            self.cdn.invalidate([(row.bucket, row.key)])  # waits for minutes, where it must: once is enough
            self._note_hidden(hidden)

    def _hide(self, row: Row[Any]) -> _Hidden | None:
        """Block, and keep where the level says so; nothing is left to hide where there is no object."""
        ref = ref_of(row)
        try:
            briefly(lambda: self.store.block(ref, token=_token(row, row.generation)), clock=self.clock)
            return _Hidden(row, self._keep(row, ref) if row.level == "hold" else None)
        except ObjectMissing:
            self._abandon(row)
            return None

    def _note_hidden(self, hidden: _Hidden) -> None:
        row, kept = hidden
        ref = ref_of(row)
        gone = self._reach(row, ref) is Reach.GONE
        with self.database.transaction() as tx:
            now = self.clock.now()
            current = quarantines.lock(tx, row.id)
            if late := _released(current):
                late = covers.by_id(tx, row.cover_version_id).deleted_at is None
            elif current.state == QuarantineState.REQUESTED.value:  # else somebody was faster on this road
                sha256 = kept.sha256 if kept else None
                if quarantines.hold(tx, row, vaulted=kept is not None, sha256=sha256, gone=gone, now=now):
                    audit.write(tx, now=now, verb=row.level, subject=row.ref, facts={"gone": gone})
        if late:  # our block may have come after the release that was to end it, and nobody else knows of it
            briefly(lambda: self._take_markers_away(row, ref), clock=self.clock)

    def _keep(self, row: Row[Any], ref: ObjectRef) -> ObjectInfo:
        return briefly(lambda: self.store.keep(ref, name=row.ref), clock=self.clock)

    def _abandon(self, row: Row[Any]) -> None:
        with self.database.transaction() as tx:
            current = quarantines.lock(tx, row.id)
            if current.state != QuarantineState.REQUESTED.value:
                return
            now = self.clock.now()
            quarantines.abandon(tx, current, now=now)
            audit.write(tx, now=now, verb="abandon", subject=row.ref)
            if (there := own_writes.now_at(tx, row)) is not None:
                self._follow(tx, row, there, now=now)

    def _follow(self, tx: Connection, row: Row[Any], there: ObjectRef, *, now: Micros) -> None:
        """A release had put the bytes back as a new version when they were wanted held again."""
        for claimant in quarantines.claimants(tx, row.id):
            quarantines.request(
                tx,
                cover_version_id=row.cover_version_id,
                ref=there,
                level=row.level,
                claimant=claimant,
                rendition=row.rendition,
                relist_until=row.relist_until,
                now=now,
            )

    def _reach(self, row: Row[Any], ref: ObjectRef) -> Reach:
        """Gone: the origin serves other bytes or none, and the canonical URL says so, too."""
        presence = self._presence(ref)
        if presence is Presence.CURRENT:
            return Reach.REACHABLE
        url = self.places.url(ref.bucket, ref.key)
        if url is None:
            return Reach.GONE
        sha256 = self._expected(row)
        reach = self.probe.ask(url, sha256=sha256 or b"")
        if reach in (Reach.GONE, Reach.UNKNOWN):
            return reach
        replaced = reach is Reach.REPLACED and presence is Presence.REPLACED and sha256 is not None
        return Reach.GONE if replaced else Reach.REACHABLE

    def _presence(self, ref: ObjectRef) -> Presence:
        try:
            return self.store.presence(ref)
        except ObjectMissing:
            return Presence.ABSENT

    def _expected(self, row: Row[Any]) -> bytes | None:
        if row.sha256 is not None:
            return bytes(row.sha256)
        if row.rendition:
            return None
        with self.database.reading() as tx:
            stored = screenings.stored_fingerprint(tx, row.cover_version_id)
        return bytes(stored.sha256) if stored else None

    # ── release ────────────────────────────────────────────────────────────────────────────────────────────

    def _release(self, row: Row[Any]) -> None:
        ref = ref_of(row)
        with self.database.transaction() as tx:
            if not quarantines.start_release(tx, row, now=self.clock.now()):
                return
            cover = covers.by_id(tx, row.cover_version_id)
        presence = Presence.ABSENT if cover.deleted_at is not None else self._put_back(row, ref)
        with self.database.transaction() as tx:
            now = self.clock.now()
            covers.lock_many(tx, quarantines.covers_of(tx, row))
            current = quarantines.lock(tx, row.id)
            event = _ending(current, presence)
            retain_until = Micros(now + self.cleared_retention) if current.vaulted_at else None
            if not quarantines.end(tx, row, event, retain_until=retain_until, now=now):
                return  # claimed again: the row is requested now, and the next look blocks again
            audit.write(tx, now=now, verb=event.value, subject=row.ref)
            self._tell_released(tx, row, now=now)

    def _tell_released(self, tx: Connection, row: Row[Any], *, now: Micros) -> None:
        """Of every cover version that this row blocked, that is put back and that nothing blocks any more."""
        for cover_version_id in quarantines.covers_of(tx, row):
            cover = covers.by_id(tx, cover_version_id)
            shown = quarantines.put_back(tx, cover) and screenings.may_be_shown(tx, cover)
            if shown and not quarantines.of_cover(tx, cover_version_id):
                outbox.tell_pipeline(tx, cover=cover, event="cover.released", now=now)

    def _put_back(self, row: Row[Any], ref: ObjectRef) -> Presence:
        try:
            return self._take_markers_away(row, ref)
        except ObjectMissing:
            return self._restore(row, ref) if row.vaulted_at is not None else Presence.ABSENT

    def _take_markers_away(self, row: Row[Any], ref: ObjectRef) -> Presence:
        """Of every generation up to the one this release knows of; a newer block is not ours to end."""
        presence, missing = Presence.ABSENT, None
        for generation in range(1, row.generation + 1):
            try:
                presence = self.store.unblock(ref, token=_token(row, generation))
            except ObjectMissing as error:  # the version is gone; the other generations' tokens still count
                missing = error
        if missing is not None:
            raise missing
        return presence

    def _restore(self, row: Row[Any], ref: ObjectRef) -> Presence:
        """Put the vault's bytes where the version was that the store no longer has."""
        with self.database.transaction() as tx:
            own_writes.record(tx, row, now=self.clock.now())  # before: the event of our write may be faster
        try:
            there = briefly(lambda: self.store.restore(ref, name=row.ref), clock=self.clock)
        except Refused:  # something newer has its place
            with self.database.transaction() as tx:
                own_writes.withdraw(tx, row)
            return Presence.REPLACED
        with self.database.transaction() as tx:
            moved = covers.lock_many(tx, quarantines.covers_of(tx, row))
            own_writes.note_version(tx, row, there, moved=moved)
            audit.write(tx, now=self.clock.now(), verb="restore", subject=row.ref)
        return Presence.CURRENT

    # ── renditions, settling ───────────────────────────────────────────────────────────────────────────────

    def rendition_appeared(self, ref: ObjectRef) -> bool:
        """Whether the object is a rendition by its place; one of a held cover is held as well.

        Raises:
            TransientError: it has to be tried again.
        """
        named = self.places.cover_of(ref)
        if named is None:
            return False
        surface, cover_id, version = named
        with self.database.reading() as tx:
            cover = covers.by_name(tx, surface=surface, cover_id=cover_id, version=version)
            held = cover is not None and bool(quarantines.of_cover(tx, cover.id))
        if cover is not None and held:
            self.settle(cover.id)
        return True

    def is_own_write(self, ref: ObjectRef) -> bool:
        """Whether we put that version there ourselves.

        Raises:
            TransientError: we are about to write at that key, and cannot tell yet.
        """
        with self.database.reading() as tx:
            whose = own_writes.whose(tx, ref)
        if whose == "under way":
            raise TransientError("a write of our own is under way at that place")
        return whose == "ours"

    def _find_renditions(self, cover_version_id: int) -> None:
        """Give every rendition, new or not claimed itself, the claims and the level of the cover's object."""
        with self.database.reading() as tx:
            live = quarantines.of_cover(tx, cover_version_id)
            cover = covers.by_id(tx, cover_version_id)
        main = next((row for row in live if row.wanted and not row.rendition), None)
        if main is None:
            return
        known = {ref_of(row) for row in live}
        found = [ref_of(row) for row in live if row.rendition and (not row.wanted or _below(row, main))]
        with self.database.reading() as tx:
            earlier = [ref_of(row) for row in quarantines.renditions_before(tx, main)]
        listed = dict.fromkeys((*earlier, *self._renditions(cover)))  # each once, in order
        found += [ref for ref in listed if ref not in known]
        if not found:
            return
        with self.database.transaction() as tx:
            covers.lock(tx, cover_version_id)
            main = quarantines.lock(tx, main.id)
            wanting = quarantines.claimants(tx, main.id)
            for claimant in wanting:
                for ref in found:
                    quarantines.request(
                        tx,
                        cover_version_id=cover_version_id,
                        ref=ref,
                        level=main.level,
                        claimant=claimant,
                        rendition=True,
                        relist_until=None,
                        now=self.clock.now(),
                    )
            if main.retain_until is not None:
                quarantines.retain(tx, cover_version_id, until=main.retain_until)
            self._reopen(tx, wanting, now=self.clock.now())

    def _renditions(self, cover: Row[Any]) -> Iterator[ObjectRef]:
        named = {"surface": cover.surface, "cover_id": cover.cover_id, "version": cover.version}
        own = ObjectRef(bucket=cover.bucket, key=cover.key, version_id=cover.version_id)
        for bucket, prefix in self.places.searches(**named):
            for ref in self.store.walk(bucket, prefix=prefix):
                if ref != own and self.places.is_rendition(ref, **named):
                    yield ref

    def _settled(self, cover_version_id: int) -> bool:
        with self.database.transaction() as tx:
            now = self.clock.now()
            cover = covers.lock(tx, cover_version_id)
            quarantines.lock_of_cover(tx, cover_version_id)
            rows = quarantines.of_cover(tx, cover_version_id)
            if any(not row.wanted or row.state == QuarantineState.REQUESTED.value for row in rows):
                return False
            screenings.settle(tx, cover_version_id, now=now)
            alarms.quiet(tx, kind=UNSETTLED, subject=cover.ref, now=now)
            if all(row.gone_at is not None for row in rows):
                alarms.quiet(tx, kind=NOT_GONE, subject=cover.ref, now=now)
            else:
                alarms.ring(tx, kind=NOT_GONE, subject=cover.ref, now=now)
            return True


def _token(row: Row[Any], generation: int) -> str:
    return f"{row.ref}:{generation}"


def _below(row: Row[Any], main: Row[Any]) -> bool:
    return bool(row.level == "block" and main.level == "hold")


def _released(row: Row[Any]) -> bool:
    """Whether the row's release has begun, or is over."""
    ended = (QuarantineState.RELEASED.value, QuarantineState.ABANDONED.value)
    return row.releasing_at is not None or row.state in ended


def _ending(row: Row[Any], presence: Presence) -> QuarantineEvent:
    """How a row ends whose object was put back, unless something newer, or a deletion, has its place."""
    if row.state == QuarantineState.REQUESTED.value:
        return QuarantineEvent.ABANDON
    return QuarantineEvent.RELEASE if presence is Presence.CURRENT else QuarantineEvent.SUPERSEDE


def ref_of(row: Row[Any]) -> ObjectRef:
    """The object version of a quarantine or cover version row."""
    return ObjectRef(bucket=row.bucket, key=row.key, version_id=row.version_id)
