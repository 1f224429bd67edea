"""A versioned object store in a folder, with S3's semantics: the embedded profile's `ObjectStore`.

Invariants: only allow-listed buckets exist; every put is a new immutable version, and nothing here destroys
one; the vault is written by `keep` alone, and what lies under a legal hold is neither overwritten nor hidden;
bytes are never handed out unless they have the digest recorded for them. Safe among threads and processes of
one host (locks are per key); not over network file systems, whose locks differ. Layout:
`root/bucket/=segment/…/@/{versions.json, lock, <version id>}`. Does no retention, no access control between
callers, and serves nobody: `fileserver` does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from coverguard.errors import (
    ConfigurationError,
    ContentRejected,
    IntegrityFailure,
    ObjectMissing,
    Refused,
    RejectReason,
)
from coverguard.local.keyfolder import KeyFolder, file_faults
from coverguard.local.keypaths import key_bytes, keys_under
from coverguard.local.stack import CONTENT_HEADERS, DeleteMarker, Entry, Stack, StoredVersion
from coverguard.model import ObjectRef
from coverguard.ports import ObjectDescription, ObjectInfo, Presence

_ROOT_CHARACTERS = 800  # 1024 key bytes become up to 3100 characters, and a path ends at 4096
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # S3's rule, and safe as a directory name
_HEADER = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")  # no line can be smuggled in


class FolderStore:
    """`ports.ObjectStore`, and the platform's own verbs `put`, `delete`, `versions`, `current`."""

    def __init__(self, *, root: Path, buckets: frozenset[str], vault: str, durable: bool = True) -> None:
        """Open or make the store. `durable=False` leaves out every fsync: for tests only.

        Raises `ConfigurationError` for a bucket name that S3 would not take, or a root that cannot be used.
        """
        if len(str(root.absolute())) > _ROOT_CHARACTERS:
            raise ConfigurationError("the folder store's root is too long a path for the longest key")
        self.buckets = buckets | {vault}
        self.vault = vault
        self._root = root.absolute()
        self._durable = durable
        for bucket in self.buckets:
            if not _BUCKET.fullmatch(bucket):
                raise ConfigurationError("a bucket's name has 3 to 63 of a-z, 0-9, dot and hyphen")
            try:
                (self._root / bucket).mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as exc:
                raise ConfigurationError("the folder store's root cannot be used") from exc

    def __repr__(self) -> str:
        return f"FolderStore(buckets={len(self.buckets)}, durable={self._durable})"

    # ── the port ───────────────────────────────────────────────────────────────────────────────────────────

    def read(self, ref: ObjectRef, *, limit: int) -> bytes:
        folder = self._folder(ref.bucket, ref.key)
        version = folder.load().find(ref.version_id)
        if version.size > limit:
            raise ContentRejected(RejectReason.TOO_MANY_BYTES)
        return folder.read(version)

    def describe(self, ref: ObjectRef) -> ObjectDescription:
        version = self._folder(ref.bucket, ref.key).load().find(ref.version_id)
        return ObjectDescription(
            ref=ref, size=version.size, content_type=version.content_type, metadata=version.metadata
        )

    def walk(self, bucket: str, *, prefix: str) -> Iterator[ObjectRef]:
        """Yield current versions in key order; keys put after the call has begun may be missing."""
        path = self._bucket_path(bucket)  # here, not in the generator: refused when called, not when used
        return self._walk(bucket, path, prefix)

    def presence(self, ref: ObjectRef) -> Presence:
        stack = self._folder(ref.bucket, ref.key).load()
        return stack.presence(stack.find(ref.version_id))

    def block(self, ref: ObjectRef, *, token: str) -> Presence:
        if not token:
            raise Refused("a block needs a token")
        folder = self._folder(ref.bucket, ref.key)
        with folder.locked():
            before = folder.load()
            version = before.find(ref.version_id)
            _refuse_held(before)
            after = before.blocked(version, token=token)
            if after is before:
                folder.settle()
            else:
                folder.save(after)
        return after.presence(version)

    def unblock(self, ref: ObjectRef, *, token: str) -> Presence:
        """As the port says. Raises `IntegrityFailure`, and stays blocked, where the bytes are damaged."""
        folder = self._folder(ref.bucket, ref.key)
        with folder.locked():
            before = folder.load()
            version = before.find(ref.version_id)
            after = before.unblocked(version, token=token)
            if after is before:
                folder.settle()
            else:
                if after.current is not None:
                    folder.read(after.current)
                folder.save(after)
        return after.presence(version)

    def keep(self, ref: ObjectRef, *, name: str) -> ObjectInfo:
        source = self._folder(ref.bucket, ref.key)
        version = source.load().find(ref.version_id)
        data = source.read(version)
        folder = self._new_folder(self.vault, name)
        with folder.locked(create=True):
            stack = folder.load_or_new()
            kept = stack.current
            if kept is None:
                kept = replace(version, version_id=stack.new_id(), legal_hold=True)
                folder.add(stack, kept, data, verify=True)
            elif kept.sha256 != version.sha256 or not kept.legal_hold:
                raise IntegrityFailure("the vault holds something else under this name")
            else:
                folder.reread(kept)
                folder.settle()
        return self._info(self.vault, name, kept)

    def restore(self, ref: ObjectRef, *, name: str) -> ObjectRef:
        folder = self._folder(ref.bucket, ref.key)
        if ref.bucket == self.vault:
            raise Refused("only `keep` writes to the vault")
        source = self._folder(self.vault, name)
        kept = source.load().current
        if kept is None or not kept.legal_hold:
            raise IntegrityFailure("the vault holds no evidence under this name")
        data = source.read(kept)
        with folder.locked(create=True):
            stack = folder.load_or_new()
            version = stack.current
            if stack.top is None:
                version = replace(kept, version_id=stack.new_id(), legal_hold=False)
                folder.add(stack, version, data)
            elif version is None or version.sha256 != kept.sha256:
                raise Refused("the key has something newer, or is blocked")
            else:
                folder.settle()
        return ObjectRef(bucket=ref.bucket, key=ref.key, version_id=version.version_id)

    # ── the platform's side ────────────────────────────────────────────────────────────────────────────────

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ObjectRef:
        """Add a version on top of whatever is there. Raises `Refused` for the vault and unusable names.

        `headers` are `CONTENT_HEADERS`, by name.
        """
        if bucket == self.vault:
            raise Refused("only `keep` writes to the vault")
        _check_headers({"Content-Type": content_type} | dict(headers or {}))
        folder = self._new_folder(bucket, key)
        with folder.locked(create=True):
            stack = folder.load_or_new()
            version = StoredVersion(
                version_id=stack.new_id(),
                size=len(data),
                sha256=hashlib.sha256(data).digest(),
                content_type=content_type,
                metadata=dict(metadata or {}),
                tags=dict(tags or {}),
                headers=dict(headers or {}),
            )
            folder.add(stack, version, data)
        return ObjectRef(bucket=bucket, key=key, version_id=version.version_id)

    def delete(self, bucket: str, key: str) -> None:
        """Put somebody else's delete marker on top. A key that never was stays so."""
        try:
            folder = self._folder(bucket, key)
            with folder.locked():
                stack = folder.load()
                _refuse_held(stack)
                folder.save(stack.with_entry(DeleteMarker(version_id=stack.new_id())))
        except ObjectMissing:
            return

    def versions(self, bucket: str, key: str) -> tuple[Entry, ...]:
        """Return the key's versions and delete markers, oldest first; none for an unknown key."""
        try:
            return self._folder(bucket, key).load().entries
        except ObjectMissing:
            return ()

    def current(self, bucket: str, key: str) -> ObjectInfo | None:
        """Return what a public reader would get, if anything."""
        try:
            version = self._folder(bucket, key).load().current
        except ObjectMissing:
            return None
        return None if version is None else self._info(bucket, key, version)

    # ── inside ─────────────────────────────────────────────────────────────────────────────────────────────

    def _bucket_path(self, bucket: str) -> Path:
        if bucket not in self.buckets:
            raise Refused("bucket is not allow-listed")
        return self._root / bucket

    def _folder(self, bucket: str, key: str) -> KeyFolder:
        path = self._bucket_path(bucket)
        encoded = key_bytes(key)
        if encoded is None:
            raise ObjectMissing("no object can have such a key")
        return KeyFolder(path, encoded, durable=self._durable)

    def _new_folder(self, bucket: str, key: str) -> KeyFolder:
        try:
            return self._folder(bucket, key)
        except ObjectMissing as exc:
            raise Refused("a key has 1 to 1024 bytes of UTF-8") from exc

    def _walk(self, bucket: str, path: Path, prefix: str) -> Iterator[ObjectRef]:
        with file_faults():
            keys = keys_under(path, prefix)
        for key in keys:
            info = self.current(bucket, key)
            if info is not None:
                yield info.ref

    @staticmethod
    def _info(bucket: str, key: str, version: StoredVersion) -> ObjectInfo:
        return ObjectInfo(
            ref=ObjectRef(bucket=bucket, key=key, version_id=version.version_id),
            size=version.size,
            sha256=version.sha256,
            content_type=version.content_type,
            metadata=version.metadata,
        )


def _check_headers(headers: Mapping[str, str]) -> None:
    if not set(headers) <= CONTENT_HEADERS | {"Content-Type"}:
        raise Refused("a version has no such header")
    if not all(_HEADER.fullmatch(value) for value in headers.values()):
        raise Refused("a header is not a short line of printable ASCII")


def _refuse_held(stack: Stack) -> None:
    if stack.held:
        raise Refused("the object is under a legal hold")
