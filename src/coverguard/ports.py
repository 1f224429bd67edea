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
from typing import TYPE_CHECKING, Protocol

from coverguard.model import Micros, ObjectRef, Outcome, Severity

if TYPE_CHECKING:
    from coverguard.messages import CoverUploaded


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
    """Messages under leases, each delivered at least once; two adapters, one contract suite.

    Every error of `extend` and `settle` is a `TransientError`: the lease runs out and the message comes
    again, so whatever was done for it must bear being done twice.
    """

    def send(self, bodies: Sequence[str], *, delay: timedelta = timedelta()) -> None:
        """Enqueue all bodies, each at least once. After an error some may be enqueued: repeat all.

        Raises:
            BadMessage: the queue will never take one of them.
            TransientError: not all could be enqueued.
        """

    def receive(self, *, limit: int, wait: timedelta, lease: timedelta) -> Sequence[Delivery]:
        """Lease up to `limit` visible messages (some queues: at most 10), waiting up to `wait` for the first.

        A message whose lease ran out `max_receive` times without being settled is dead-lettered.
        """

    def extend(self, delivery: Delivery, *, lease: timedelta) -> None:
        """Start the lease anew. Raises `LeaseLost` when it is no longer ours, or nobody can tell."""

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Done: delete. Retry: make it visible again after the delay, uncounted. Reject: dead-letter it.

        Raises:
            LeaseLost: the receipt is stale, and the queue can tell (SQS itself cannot always); the message is
                then as it was, or was given back twice.
            TransientError: the outcome could not be stored; the lease runs out.
        """

    def depth(self) -> Mapping[str, int]:
        """Counts by state: `visible`, `delayed`, `leased`, `dead`; some queues count roughly."""

    def redrive(self, *, limit: int | None = None) -> int:
        """Put dead letters back with a fresh count, each at least once; return how many.

        At most `limit` of them; without one, as many as were dead when it began.
        """


# ── topics ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingEvent:
    """One event that we owe. Nothing but `body` may hold what a platform calls its things."""

    key: str  # the idempotency key: the same event has the same key, however often it comes
    group: str  # what it is about, by our reference; events of one group are sent in order
    type: str
    schema: str
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What became of events, by key. What is in neither set is not known to have arrived: send it again."""

    confirmed: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()  # no repetition makes it acceptable as it is
    fault: str = ""  # the class or code of what went wrong with the rest; never a value


class Topic(Protocol):
    def publish(self, events: Sequence[OutgoingEvent]) -> Published:
        """Send the events, each group in the order given, at least once.

        An event that is not confirmed stops its own group and no other; one that is refused stops nothing,
        because what comes later about the same thing has a higher number. Never raises for what the outside
        does: what was confirmed before that would be forgotten.
        """


# ── object store ───────────────────────────────────────────────────────────────────────────────────────────


class Presence(StrEnum):
    """What a public reader of a key gets, as the origin sees it."""

    CURRENT = "current"  # the given version, or a byte-identical one
    BLOCKED = "blocked"  # a delete marker of ours is on top
    REPLACED = "replaced"  # a newer, different version is on top
    ABSENT = "absent"  # nothing, or somebody else's delete marker


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDescription:
    """What the store says of a version without its bytes being read; `metadata` is the uploader's own."""

    ref: ObjectRef
    size: int
    content_type: str
    metadata: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo(ObjectDescription):
    """The same of bytes that were read; 32 bytes of digest."""

    sha256: bytes = field(repr=False)


class ObjectStore(Protocol):
    """Versioned objects in allow-listed buckets; every verb raises `Refused` for any other bucket."""

    def read(self, ref: ObjectRef, *, limit: int) -> bytes:
        """Return exactly that version's bytes.

        Raises `ObjectMissing`; `ContentRejected(TOO_MANY_BYTES)` before reading more than `limit`;
        `TransientError`.
        """

    def describe(self, ref: ObjectRef) -> ObjectDescription:
        """Return size, content type and metadata of exactly that version. Raises `ObjectMissing`."""

    def walk(self, bucket: str, *, prefix: str) -> Iterator[ObjectRef]:
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

        Returns `CURRENT` when the bytes, content type, content headers, metadata and tags are served as
        before, else what is there (`REPLACED`, `ABSENT`, or `BLOCKED` by another token).
        """

    def keep(self, ref: ObjectRef, *, name: str) -> ObjectInfo:
        """Ensure a verified copy of the version in the vault under a legal hold, at vault key `name`.

        The copy has bytes, content type, content headers, metadata and tags; its digest was computed from
        the vault's bytes. Raises `ObjectMissing`, `IntegrityFailure` when an existing vault copy differs.
        """

    def restore(self, ref: ObjectRef, *, name: str) -> ObjectRef:
        """Ensure that the vault's copy `name` is served under that bucket and key; return as which version.

        For a version that the bucket no longer has (`unblock` raised `ObjectMissing`): puts bytes, content
        type, content headers, metadata and tags back as a new version. A byte-identical version that is
        served already is the answer. Raises `ObjectMissing` where the vault has no such copy,
        `IntegrityFailure` where it is not under a legal hold or its bytes are not the ones kept, and
        `Refused`, having changed nothing, where other bytes are served, somebody else deleted the key, or a
        block's token still holds.
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
        """Ensure that no cache serves these (bucket, key) any longer; returns when that is complete.

        Raises `TransientError` when it could not be asked for, or was not complete in time.
        """


# ── the platform's catalogue ───────────────────────────────────────────────────────────────────────────────


class Catalogue(Protocol):
    """What the platform says that an account has. Never the last word: ledger and buckets are asked, too."""

    @property
    def exists(self) -> bool:
        """Whether this deployment has one. Without one `covers_of` yields nothing, and that means nothing."""

    def covers_of(self, account_id: str) -> Iterator[CoverUploaded]:
        """Yield every stored cover version that the account uploaded, as the platform would announce each.

        Also earlier versions, those on other people's playlists, and those it deleted that are still stored.
        Asked page by page while it is consumed; in no order; one may come twice. `uploader_id` is always
        `account_id`: an answer that names somebody else is a fault. An account that the platform does not
        know has none. Only an iteration that ended without an error was all of them; what was yielded
        before an error holds.

        Raises:
            TransientError: no answer, none in time, one cut off, without sense, or without an end.
            Refused: the catalogue does not take our key.
            ConfigurationError: there is no usable key to show it.
        """

    def check(self) -> None:
        """Ask whether it would answer. Raises what `covers_of` does."""


# ── keys ───────────────────────────────────────────────────────────────────────────────────────────────────


class Keys(Protocol):
    """Encryption at rest. Purposes ("lists", "private") have separate keys."""

    def seal(self, purpose: str, plain: bytes, *, context: bytes) -> bytes:
        """Encrypt and authenticate; `context` must be given again to open."""

    def open(self, purpose: str, sealed: bytes, *, context: bytes) -> bytes:
        """Raises `IntegrityFailure` when key, context or bytes are not the ones sealed."""

    def mac(self, purpose: str, plain: bytes) -> bytes:
        """A keyed digest for uniqueness and look-up of what is stored encrypted; 32 bytes."""


class Letterbox(Protocol):
    """The staff's letter box: what is sealed for its public key, only we can open.

    The internet-facing process has the public key alone, so that it cannot read what was told to it before.
    """

    @property
    def public_key(self) -> bytes:
        """X25519, 32 bytes."""

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Raises `IntegrityFailure` when box, context or bytes are not the ones sealed."""

    def seal(self, public_key: bytes, plain: bytes, *, context: bytes) -> bytes:
        """Seal for the holder of another public key; we cannot open it again.

        Raises `BadMessage` where these bytes are no key that anything could be sealed for.
        """


# ── audit seals ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedHead:
    """A signed word on the audit chain: link `seq` had this value at that time."""

    seq: int
    chain: bytes = field(repr=False)  # 32 bytes
    sealed_at: Micros
    key_id: str
    signature: bytes = field(repr=False)  # 64 bytes, Ed25519


class Signer(Protocol):
    @property
    def key_id(self) -> str:
        """The SHA-256 of the raw public key, in hex."""

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature, 64 bytes."""


class SignatureCheck(Protocol):
    def knows(self, key_id: str) -> bool:
        """Whether the key is one of those that are trusted."""

    def holds(self, key_id: str, data: bytes, *, signature: bytes) -> bool:
        """Whether the trusted key made this signature of these bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedHead:
    """What lies in the archive under one name; `head` is None where it cannot be understood."""

    name: str
    head: SealedHead | None


class HeadArchive(Protocol):
    """A place for heads where nothing can be changed or removed, not even by us, for a set time."""

    def put(self, head: SealedHead) -> None:
        """Ensure that the head is there.

        Raises `IntegrityFailure` where another head has its place, `TransientError`.
        """

    def walk(self, *, after: int) -> Iterator[ArchivedHead]:
        """Yield everything ever put with a higher `seq`, in the order of `seq`, the first put first.

        Also what something newer hides. Raises `TransientError`.
        """


# ── people on call ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a person is told of the alarms of one kind: that they ring, still ring, or have ended."""

    key: str  # the same for the same news, so that whoever gets it twice can tell
    kind: str
    severity: Severity
    state: PageState
    meaning: str  # one sentence for whoever does not know the kind
    subjects: Sequence[str]  # references of ours, the oldest first; a few of them
    count: int  # how many alarms this is about
    raised_at: Micros  # when the oldest of them began


class PageState(StrEnum):
    RINGING = "ringing"
    STILL = "still_ringing"
    ENDED = "ended"


class Pager(Protocol):
    def page(self, page: Page) -> None:
        """Tell somebody, at least once. Raises `TransientError`, and then it is told again later."""
