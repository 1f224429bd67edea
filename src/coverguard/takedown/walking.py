"""The platform's catalogue of one account against the ledger: what one knows and the other does not.

What the ledger does not know is announced as if the platform had just done it, so that it is claimed at once
and screened; each difference is remembered. A cover that the catalogue gives this account and the ledger
somebody else's is hidden with the account and not taken from the other. Only a walk to the end counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from coverguard.acting.enforcer import ref_of
from coverguard.errors import ConfigurationError
from coverguard.messages import CoverUploaded, dump
from coverguard.model import Mode, Surface
from coverguard.ports import Catalogue, Clock, Queue
from coverguard.retrying import uncontended
from coverguard.store import Row, covers, darkening, takedowns
from coverguard.store.engine import Database

PAGE: Final = 100
NOT_OURS: Final = 0  # no cover version's id


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueWalk:
    database: Database
    catalogue: Catalogue
    uploads: Queue
    clock: Clock
    modes: Mapping[Surface, Mode]
    buckets: frozenset[str]  # where an announcement may point

    def pages(self, seen: Row[Any]) -> Iterator[int]:
        """Walk to the end; yield how many covers were compared so far.

        Raises:
            TransientError: the catalogue did not say all of it.
            ConfigurationError: it names an object in a bucket where we may not act; all others are known now.
        """
        with self.database.reading() as tx:
            platform_id = covers.platform_account(tx, seen.account_id)
        told = iter(self.catalogue.covers_of(platform_id))
        known: set[int] = set()  # ids alone: a few dozen bytes a cover
        done = 0
        while page := list(islice(told, PAGE)):
            known |= self._compare(seen, page)
            done += len(page)
            yield done
        self._note_unlisted(seen, known)
        if NOT_OURS in known:
            raise ConfigurationError("the catalogue names an object in a bucket that coverguard may not read")

    def _compare(self, seen: Row[Any], page: Sequence[CoverUploaded]) -> set[int]:
        """Return the ids of the cover versions that the page names, and learn those that are new."""
        with self.database.reading() as tx:
            rows = [covers.find(tx, event.cover) for event in page]
        known: set[int] = set()
        for event, row in zip(page, rows, strict=True):
            same = row is not None and row.uploader_id == seen.account_id and _lies_at(row, event)
            if row is None or not same:
                found = uncontended(partial(self._learn, seen, event), clock=self.clock)
                known.add(found)
            else:
                known.add(int(row.id))
        return known

    def _learn(self, seen: Row[Any], event: CoverUploaded) -> int:
        """Claim what only the catalogue knows, or knows otherwise, and return the cover version's id."""
        ref = event.object.ref()
        if any(place.bucket not in self.buckets for place in (event.object, *event.renditions)):
            return NOT_OURS
        with self.database.transaction() as tx:
            now = self.clock.now()
            row = covers.find(tx, event.cover)
            new = row is None
            if row is None:
                mode = self.modes[event.cover.surface]
                row = covers.announce(tx, event, mode=mode, sent_at=now, now=now)
                kind = "catalogue_only"
            else:
                covers.lock(tx, row.id)
                live = takedowns.lock_account_of(tx, seen)
                kind = "catalogue_only" if row.uploader_id == seen.account_id else "unattributed"
                if live.lifting_at is None and live.lifted_at is None:
                    darkening.claim_elsewhere(tx, live, row, ref, now=now)
            darkening.note_difference(tx, seen.id, ref, kind=kind, cover_version_id=row.id, now=now)
        if new:
            self.uploads.send([dump(event)])  # to be screened like any other
        return int(row.id)

    def _note_unlisted(self, seen: Row[Any], known: set[int]) -> None:
        """Remember what the ledger has of the account and the catalogue did not name."""
        after = 0
        while True:
            with self.database.reading() as tx:
                ids = darkening.covers_after(tx, seen.account_id, after=after, limit=PAGE)
            if not ids:
                return
            with self.database.transaction() as tx:
                for one in set(ids) - known:
                    cover = covers.by_id(tx, one)
                    if cover.deleted_at is None:
                        ref = ref_of(cover)
                        darkening.note_difference(
                            tx, seen.id, ref, kind="ledger_only", cover_version_id=one, now=self.clock.now()
                        )
            after = ids[-1]


def _lies_at(row: Row[Any], event: CoverUploaded) -> bool:
    said = event.object
    return (row.bucket, row.key, row.version_id) == (said.bucket, said.key, said.version_id)
