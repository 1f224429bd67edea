"""Looks at a cover: its object as it was announced, and the largest of the platform's own copies of it.

What strangers are served is a copy, cropped or padded or on another ground, so it is a further view of the
cover. The original decides alone whether bytes can be screened at all: what the platform made of them and
wrote in a form that we do not read takes nothing from that answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from coverguard.acting.enforcer import ref_of
from coverguard.errors import ContentRejected, DecoderUnavailable, ObjectMissing
from coverguard.imaging.renditions import with_rendition
from coverguard.model import Fingerprint, ObjectRef
from coverguard.policy import QUALITY_FLOOR
from coverguard.ports import Clock, ObjectDescription, ObjectStore
from coverguard.retrying import briefly
from coverguard.store import Row
from coverguard.store.quarantines import named_renditions
from coverguard.telemetry import Log, Stopwatch

COPIES = 16
"""Named renditions among which the largest is looked for: each is a question to the store."""


class Fingerprinter(Protocol):
    """`imaging.fingerprint`, or what does the same in a child."""

    def __call__(self, data: bytes, /, *, for_lists: bool = False) -> Fingerprint: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """Reads and fingerprints. For what may pass every verb raises `TransientError`, `DecoderUnavailable`."""

    store: ObjectStore
    fingerprint: Fingerprinter
    clock: Clock
    log: Log
    max_bytes: int

    def original(self, cover: Row[Any], watch: Stopwatch) -> tuple[bytes, Fingerprint]:
        """Return the announced bytes and their fingerprint.

        Raises: `ContentRejected`, `ObjectMissing`, `IntegrityFailure`.
        """
        with watch.phase("read"):
            data = self._read(ref_of(cover))
        with watch.phase("fingerprint"):
            return data, self.fingerprint(data)

    def with_copy(self, cover: Row[Any], seen: Fingerprint, watch: Stopwatch) -> Fingerprint:
        """Add what the largest named rendition shows beyond the original, if it can be read."""
        with watch.phase("read"):
            largest = max(self._copies(cover), key=lambda one: one.size, default=None)
            if largest is None:
                return seen
            try:
                data = self._read(largest.ref)
            except (ObjectMissing, ContentRejected) as error:
                self.log.note("copy_not_seen", error=type(error).__name__)
                return seen
        with watch.phase("fingerprint"):
            try:
                return with_rendition(seen, self.fingerprint(data))
            except ContentRejected as error:
                self.log.note("copy_not_seen", error=type(error).__name__)
                return seen

    def with_parts(self, data: bytes, seen: Fingerprint, watch: Stopwatch) -> Fingerprint:
        """Add the crops that our own lists would have. What was seen stands also where nobody can now."""
        if not _like_a_photograph(seen):
            return seen
        with watch.phase("fingerprint"):
            try:
                return replace(seen, parts=self.fingerprint(data, for_lists=True).parts)
            except (ContentRejected, DecoderUnavailable) as error:
                self.log.note("no_crops", error=type(error).__name__)
                return seen

    def _copies(self, cover: Row[Any]) -> Iterator[ObjectDescription]:
        for ref in named_renditions(cover)[:COPIES]:
            try:
                yield briefly(lambda ref=ref: self.store.describe(ref), clock=self.clock)  # type: ignore[misc]
            except ObjectMissing:
                continue  # nobody is shown it any more

    def _read(self, ref: ObjectRef) -> bytes:
        return briefly(lambda: self.store.read(ref, limit=self.max_bytes), clock=self.clock)


def _like_a_photograph(seen: Fingerprint) -> bool:
    """Whether there may be crops of it: as displayed, or of what is left without a border."""
    displayed = (view for view in seen.views if view.name.startswith("displayed"))
    return any(view.quality >= QUALITY_FLOOR and not view.low_diversity for view in displayed)
