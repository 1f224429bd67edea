"""What the buckets hold of an account's covers against the ledger: stored versions that nobody announced.

A version at the place of a cover whose every known version the account uploaded is taken for the account's,
and is hidden with it; where others uploaded versions of the same cover, nobody says whose it is: it is
remembered, screened as an object of nobody, and no account's guilt. Only a walk to the end counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from coverguard.acting.inventory import Found, Inventory
from coverguard.messages import Cover, CoverUploaded, StoredObject, dump, from_micros
from coverguard.model import Micros, Surface
from coverguard.notifications import nobody, unannounced
from coverguard.ports import Clock, Queue
from coverguard.store import Row, covers, darkening, takedowns
from coverguard.store.engine import Database

PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StockTaking:
    database: Database
    inventory: Inventory
    uploads: Queue
    clock: Clock

    def pages(self, seen: Row[Any]) -> Iterator[int]:
        """Walk to the end; yield how many covers' places were looked at so far.

        Raises:
            TransientError: the store did not list all of it.
        """
        done = after = 0
        while True:
            with self.database.reading() as tx:
                newest = darkening.newest_versions(tx, seen.account_id, after=after, limit=PAGE)
            if not newest:
                return
            for cover in newest:
                self._look(seen, cover)
            done, after = done + len(newest), newest[-1].id
            yield done

    def _look(self, seen: Row[Any], cover: Row[Any]) -> None:
        with self.database.reading() as tx:
            known = {row.version: row for row in covers.versions_of(tx, cover)}
        places = self.inventory.of_cover(surface=cover.surface, cover_id=cover.cover_id)
        unknown = [found for found in places if found.version not in known]
        if not unknown:
            return
        all_theirs = all(row.uploader_id == seen.account_id for row in known.values())
        self._note(seen, cover, unknown, theirs=all_theirs)
        if not all_theirs:
            now = self.clock.now()
            self.uploads.send([dump(_of_nobody(found, now=now)) for found in unknown])

    def _note(self, seen: Row[Any], cover: Row[Any], unknown: Sequence[Found], *, theirs: bool) -> None:
        with self.database.transaction() as tx:
            now = self.clock.now()
            covers.lock(tx, cover.id)
            live = takedowns.lock_account_of(tx, seen)
            if live.lifting_at is not None or live.lifted_at is not None:
                return
            for found in unknown:
                if theirs:
                    darkening.claim_elsewhere(tx, live, cover, found.ref, now=now)
                darkening.note_difference(
                    tx, seen.id, found.ref, kind="unattributed", cover_version_id=cover.id, now=now
                )


def _of_nobody(found: Found, *, now: Micros) -> CoverUploaded:
    ref = found.ref
    name = unannounced(ref)
    return CoverUploaded(
        event_id=name,
        occurred_at=from_micros(now),
        cover=Cover(id=name, version=0, surface=Surface(found.surface)),
        uploader_id=nobody(name),
        owner_id=nobody(name),
        object=StoredObject(bucket=ref.bucket, key=ref.key, version_id=ref.version_id),
    )
