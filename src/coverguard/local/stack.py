"""The versions and delete markers of one key as a frozen value: what a verb changes, without any I/O.

Invariants: entries lie oldest first, and the last one is what the public gets; versions are only ever added;
a marker of ours (it has tokens) lies directly on a version and is removed only from the top, when its last
token goes; a marker without tokens is somebody else's and never touched. A verb that has nothing to do
returns the very same stack. Does not hold bytes, read files or know keys.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from coverguard.errors import IntegrityFailure, ObjectMissing
from coverguard.ports import Presence

_FORMAT = 2  # of the JSON document; raised with every change that an older reader would misread
_WITHOUT_HEADERS = 1  # of release 0.1.0, which would lose content headers when it writes a stack back
_READABLE = frozenset({_WITHOUT_HEADERS, _FORMAT})

CONTENT_HEADERS = frozenset(
    {"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires"}
)
"""What is kept of how a version is served, beside its content type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """One immutable version. Its bytes lie beside the stack, under `version_id`."""

    version_id: str
    size: int
    sha256: bytes = field(repr=False)
    content_type: str
    metadata: Mapping[str, str] = field(repr=False)
    tags: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # some of `CONTENT_HEADERS`
    legal_hold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteMarker:
    version_id: str
    tokens: frozenset[str] = frozenset()  # who of us wants it hidden; empty: somebody else's marker


Entry = StoredVersion | DeleteMarker


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    entries: tuple[Entry, ...] = ()
    next_number: int = 1

    @property
    def top(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    @property
    def current(self) -> StoredVersion | None:
        """What the public gets, if anything."""
        return self.top if isinstance(self.top, StoredVersion) else None

    @property
    def held(self) -> bool:
        """Whether any version is under a legal hold."""
        return any(isinstance(entry, StoredVersion) and entry.legal_hold for entry in self.entries)

    def find(self, version_id: str) -> StoredVersion:
        """Return the version. Raises `ObjectMissing`, also for a marker's id."""
        for entry in reversed(self.entries):
            if entry.version_id == version_id and isinstance(entry, StoredVersion):
                return entry
        raise ObjectMissing("the object has no such version")

    def new_id(self) -> str:
        """Return an opaque version id: rising within the key, and not to be guessed."""
        return f"{self.next_number:08x}-{secrets.token_hex(8)}"

    def presence(self, version: StoredVersion) -> Presence:
        match self.top:
            case StoredVersion() as current:
                return Presence.CURRENT if current.sha256 == version.sha256 else Presence.REPLACED
            case DeleteMarker(tokens=tokens) if tokens:
                return Presence.BLOCKED
        return Presence.ABSENT

    def with_entry(self, entry: Entry) -> Stack:
        return Stack(entries=(*self.entries, entry), next_number=self.next_number + 1)

    def blocked(self, version: StoredVersion, *, token: str) -> Stack:
        """Hide the version with a marker, or add the token to ours that hides it already.

        Where our marker hides other bytes the token is not added: it would keep those hidden for ever.
        """
        marker = self._marker_on(version)
        if marker is not None:
            return self if token in marker.tokens else self._with_tokens(marker, marker.tokens | {token})
        if self.presence(version) is not Presence.CURRENT:
            return self
        return self.with_entry(DeleteMarker(version_id=self.new_id(), tokens=frozenset({token})))

    def unblocked(self, version: StoredVersion, *, token: str) -> Stack:
        """Take the token off the marker that hides the version, and the marker with its last token."""
        marker = self._marker_on(version)
        if marker is None or token not in marker.tokens:
            return self
        remaining = marker.tokens - {token}
        return self._with_tokens(marker, remaining) if remaining else replace(self, entries=self.entries[:-1])

    def _marker_on(self, version: StoredVersion) -> DeleteMarker | None:
        """Our marker, where it is on top and hides this version or a byte-identical one."""
        if not isinstance(self.top, DeleteMarker) or not self.top.tokens:
            return None
        below = self.entries[-2]
        same = isinstance(below, StoredVersion) and below.sha256 == version.sha256
        return self.top if same else None

    def _with_tokens(self, marker: DeleteMarker, tokens: frozenset[str]) -> Stack:
        return replace(self, entries=(*self.entries[:-1], replace(marker, tokens=tokens)))


def to_json(stack: Stack) -> bytes:
    """Return the stack as the document that lies on disk, in the oldest format that loses nothing of it.

    So workers of the release before can go on during an upgrade.
    """
    entries = [_as_document(entry) for entry in stack.entries]
    version = _FORMAT if any(entry.get("headers") for entry in entries) else _WITHOUT_HEADERS
    return json.dumps({"format": version, "next": stack.next_number, "entries": entries}).encode()


def from_json(document: bytes) -> Stack:
    """Read a stack. Raises `IntegrityFailure` for anything that `to_json` did not write."""
    try:
        fields = json.loads(document)
        if fields["format"] not in _READABLE:
            raise IntegrityFailure("the version record has an unknown format")
        entries = tuple(_as_entry(entry) for entry in fields["entries"])
        stack = Stack(entries=entries, next_number=int(fields["next"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        # without a cause: the parser's message would quote the record
        raise IntegrityFailure("the version record is unreadable") from None
    for below, above in zip((None, *entries), entries, strict=False):
        if isinstance(above, DeleteMarker) and above.tokens and not isinstance(below, StoredVersion):
            raise IntegrityFailure("the version record has a block that blocks nothing")
    return stack


def _as_document(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, DeleteMarker):
        return {"id": entry.version_id, "tokens": sorted(entry.tokens)}
    return {
        "id": entry.version_id,
        "size": entry.size,
        "sha256": entry.sha256.hex(),
        "content_type": entry.content_type,
        "metadata": dict(entry.metadata),
        "tags": dict(entry.tags),
        "headers": dict(entry.headers),
        "legal_hold": entry.legal_hold,
    }


def _as_entry(document: dict[str, Any]) -> Entry:
    if "tokens" in document:
        return DeleteMarker(version_id=document["id"], tokens=frozenset(document["tokens"]))
    return StoredVersion(
        version_id=document["id"],
        size=int(document["size"]),
        sha256=bytes.fromhex(document["sha256"]),
        content_type=document["content_type"],
        metadata=document["metadata"],
        tags=document["tags"],
        headers=document.get("headers", {}),
        legal_hold=bool(document["legal_hold"]),
    )
