"""What the use cases ask of the outside: one Protocol a seam, each with a shipped, contract-tested adapter.

Every verb may be called twice with the same result. Adapters raise only this package's errors:
`TransientError` when the same call may succeed later, `ObjectMissing`, `IntegrityFailure`. Not seams: SQL
(real SQLite is a truer double than a fake ledger), hashing, decoding, logging.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from coverguard.model import Micros, ObjectRef, Outcome


class Clock(Protocol):
    def now(self) -> Micros:
        """UTC microseconds; read once per operation and passed on."""

    def sleep(self, period: timedelta) -> None: ...


# ── queue ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One lease of one message. A redelivery has a new receipt and the same body."""

    queue: str
    body: str = field(repr=False)
    receipt: str
    attempt: int  # 1 on the first delivery; counts only deliveries that were never settled
    sent_at: Micros


class Queue(Protocol):
    def send(self, bodies: Sequence[str], *, delay: timedelta = timedelta()) -> None:
        """Enqueue all bodies, or none."""

    def receive(self, *, limit: int, wait: timedelta, lease: timedelta) -> Sequence[Delivery]:
        """Lease up to `limit` visible messages, waiting up to `wait` for the first.

        A message whose lease ran out `max_receive` times without being settled is dead-lettered.
        """

    def extend(self, delivery: Delivery, *, lease: timedelta) -> None:
        """Start the lease anew. Raises `LeaseLost` when it is no longer ours."""

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Done: delete. Retry: make it visible again after the delay, uncounted. Reject: dead-letter it.

        Raises `LeaseLost` when the receipt is stale; the message is then as it was.
        """

    def depth(self) -> Mapping[str, int]:
        """Counts by state: `visible`, `delayed`, `leased`, `dead`."""


# ── object store ───────────────────────────────────────────────────────────────────────────────────────────


class Presence(StrEnum):
    """What a public reader of a key gets, as the origin sees it."""

    CURRENT = "current"  # the given version, or a byte-identical one
    BLOCKED = "blocked"  # a delete marker of ours is on top
    REPLACED = "replaced"  # a newer, different version is on top
    ABSENT = "absent"  # nothing, or somebody else's delete marker


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    ref: ObjectRef
    size: int
    sha256: bytes = field(repr=False)
    content_type: str
    metadata: Mapping[str, str] = field(repr=False)


class ObjectStore(Protocol):
    """Versioned objects in allow-listed buckets; every verb raises `Refused` for any other bucket."""

    def read(self, ref: ObjectRef, *, limit: int) -> bytes:
        """Return exactly that version's bytes.

        Raises `ObjectMissing`; `ContentRejected(TOO_MANY_BYTES)` before reading more than `limit`;
        `TransientError`.
        """

    def walk(self, bucket: str, *, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the current version of every key under the prefix, in key order, but of no deleted key."""

    def presence(self, ref: ObjectRef) -> Presence:
        """Say what a public reader of `ref.key` would get now. Raises `ObjectMissing`."""

    def block(self, ref: ObjectRef, *, token: str) -> Presence:
        """Ensure that nobody is served that version or a byte-identical one; reversibly.

        Puts a delete marker carrying `token` on top where the version, or a byte-identical one, is current.
        Returns `BLOCKED`, or `REPLACED` / `ABSENT` where there was nothing to block. Raises `ObjectMissing`.
        """

    def unblock(self, ref: ObjectRef, *, token: str) -> Presence:
        """Ensure that our marker carrying `token` no longer hides the version, unless something is above it.

        Raises `IntegrityFailure`, and leaves it blocked, when the bytes are not the ones that were stored.

        Returns `CURRENT` when the bytes, content type, metadata and tags are served as before, else what is
        there (`REPLACED`, `ABSENT`, or `BLOCKED` by another token).
        """

    def keep(self, ref: ObjectRef, *, name: str) -> ObjectInfo:
        """Ensure a verified copy of the version in the vault under a legal hold, at vault key `name`.

        The copy has bytes, content type, metadata and tags; its digest was computed from the vault's bytes.
        Raises `ObjectMissing`, `IntegrityFailure` when an existing vault copy differs.
        """


class Reach(StrEnum):
    """What a URL answered when asked as a stranger."""

    GONE = "gone"  # 403, 404, 410 or the configured placeholder
    REACHABLE = "reachable"  # 200 with bytes
    REPLACED = "replaced"  # 200 with other bytes than the ones asked about
    UNKNOWN = "unknown"  # 5xx, time-out, no connection: never taken for gone


class UrlProbe(Protocol):
    def ask(self, url: str, *, sha256: bytes) -> Reach:
        """GET the URL as the public would, following nothing. Never raises for what a server does."""


class Cdn(Protocol):
    def invalidate(self, keys: Sequence[tuple[str, str]]) -> None:
        """Ensure that no cache serves these (bucket, key) any longer; returns when that is complete."""


# ── keys ───────────────────────────────────────────────────────────────────────────────────────────────────


class Keys(Protocol):
    """Encryption at rest. Purposes ("lists", "private") have separate keys."""

    def seal(self, purpose: str, plain: bytes, *, context: bytes) -> bytes:
        """Encrypt and authenticate; `context` must be given again to open."""

    def open(self, purpose: str, sealed: bytes, *, context: bytes) -> bytes:
        """Raises `IntegrityFailure` when key, context or bytes are not the ones sealed."""

    def mac(self, purpose: str, plain: bytes) -> bytes:
        """A keyed digest for uniqueness and look-up of what is stored encrypted; 32 bytes."""
