"""What the buckets hold of a cover, whatever ledger and catalogue say: all versions, by rendition templates.

Sees current objects only: what nobody is served (deleted, blocked) is not found. A place says which cover
version an object belongs to and not who uploaded it: what the ledger does not know of is nobody's, to be
shown and screened, and no account's guilt. Reads no bytes, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coverguard.acting.places import Places
from coverguard.model import ObjectRef
from coverguard.ports import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One object that the public is served, and the cover version whose place it lies at."""

    surface: str
    cover_id: str
    version: int
    ref: ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """One listing a template and cover, read page by page as it is consumed. Thread-safe, as the store is."""

    store: ObjectStore
    places: Places

    @property
    def complete(self) -> bool:
        """Whether it can find unknown versions by every template; else only by some (`Places.histories`)."""
        return self.places.can_list_versions

    def of_cover(self, *, surface: str, cover_id: str) -> Iterator[Found]:
        """Yield each object at a place of any version of that cover, in key order a template.

        Never one of another cover: an object under the prefix whose key does not match the whole template is
        left out. Also yields what the ledger knows: compare by version and `ref`.

        Raises:
            TransientError: the store did not answer; what was yielded before holds, and is not all.
            Refused: a template names a bucket that the store may not read.
        """
        for bucket, prefix in self.places.histories(surface=surface, cover_id=cover_id):
            for ref in self.store.walk(bucket, prefix=prefix):
                named = self.places.cover_of(ref)
                if named is not None and named[:2] == (surface, cover_id):
                    yield Found(surface=surface, cover_id=cover_id, version=named[2], ref=ref)
