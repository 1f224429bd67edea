"""The files of one key: its stack document, its versions' bytes, its lock.

Invariants: `versions.json` is the only truth, and it is replaced by rename, so a reader without the lock sees
one whole stack; what it does not name does not exist, so a writer killed at any point leaves no half version;
bytes are written before the document that names them and never changed after. Readers take no lock; writers
hold `locked()` around load and save. File system faults leave as `TransientError` without the path, because
the path is the key. Decides nothing about versions.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coverguard.errors import IntegrityFailure, ObjectMissing, TransientError
from coverguard.local.keypaths import OWN, directory_names
from coverguard.local.stack import Stack, StoredVersion, from_json, to_json

_DOCUMENT = "versions.json"
_LOCK = "lock"  # never removed: a lock on an unlinked file excludes nobody
_TEMPORARY = ".tmp"
_LOCK_SECONDS = 10.0  # verbs hold it for milliseconds; a stopped process must not stop everybody
_LOCK_POLL_SECONDS = 0.001


@contextmanager
def file_faults() -> Iterator[None]:
    """Turn any OSError into a `TransientError` whose cause keeps the number and drops the path."""
    try:
        yield
    except OSError as exc:
        number = exc.errno or errno.EIO
        fault = OSError(number, os.strerror(number))
        raise TransientError(f"the folder store failed: {errno.errorcode.get(number, 'EIO')}") from fault


class KeyFolder:
    """One key of one bucket. Cheap to make; holds no file open between calls."""

    def __init__(self, bucket_path: Path, key: bytes, *, durable: bool) -> None:
        self._bucket_path = bucket_path
        self._path = bucket_path.joinpath(*directory_names(key), OWN)
        self._durable = durable

    # ── reading, without the lock ──────────────────────────────────────────────────────────────────────────

    def load(self) -> Stack:
        """Return the stack. Raises `ObjectMissing` for a key that never had a version."""
        with file_faults():
            try:
                document = (self._path / _DOCUMENT).read_bytes()
            except FileNotFoundError:
                # without a cause: its message is the path, and the path is the key
                raise ObjectMissing("the bucket has no such key") from None
        return from_json(document)

    def load_or_new(self) -> Stack:
        try:
            return self.load()
        except ObjectMissing:
            return Stack()

    def read(self, version: StoredVersion) -> bytes:
        """Return the version's bytes, checked. Raises `IntegrityFailure` also where the file is gone."""
        return self._read_checked(self._path / version.version_id, version)

    def reread(self, version: StoredVersion) -> None:
        """Check the version's bytes as they lie on the disk, not as the page cache remembers them."""
        path = self._path / version.version_id
        self._forget_cached(path)
        self._read_checked(path, version)

    def _read_checked(self, path: Path, version: StoredVersion) -> bytes:
        with file_faults():
            try:
                with path.open("rb", buffering=0) as file:
                    data = _read_up_to(file.fileno(), version.size + 1)
            except FileNotFoundError:
                raise IntegrityFailure("the version's bytes are gone from the disk") from None
        if hashlib.sha256(data).digest() != version.sha256:
            raise IntegrityFailure("the version's bytes differ from their recorded digest")
        return data

    def _forget_cached(self, path: Path) -> None:
        if not self._durable or not hasattr(os, "posix_fadvise"):  # macOS has none
            return
        with file_faults(), suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    # ── writing ────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def locked(self, *, create: bool = False) -> Iterator[None]:
        """Exclude every other writer of this key, thread or process.

        Raises `ObjectMissing` for an unknown key unless told to create it, `TransientError` when it stays
        locked. A killed holder's lock is freed by the kernel.
        """
        with file_faults():
            if create:
                self._make_directories()
            try:
                descriptor = os.open(self._path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:
                raise ObjectMissing("the bucket has no such key") from None
        try:
            with file_faults():
                _lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def save(self, stack: Stack) -> None:
        """Replace the stack document; on return it has reached the disk."""
        with file_faults():
            self._drop_leftovers()
            self._write(to_json(stack)).rename(self._path / _DOCUMENT)
            self._sync_path()

    def settle(self) -> None:
        """Sync what is there already: who wrote it may have died between the rename and the sync."""
        with file_faults():
            self._sync_path()

    def add(self, stack: Stack, version: StoredVersion, data: bytes, *, verify: bool = False) -> None:
        """Write the version's bytes, then put it on top of the stack.

        With `verify` the bytes are read back from the disk before the stack names them.
        """
        with file_faults():
            self._drop_leftovers()
            content = self._write(data)
            if verify:
                self._forget_cached(content)
                self._read_checked(content, version)
            document = self._write(to_json(stack.with_entry(version)))
            # Two renames in one directory reach the journal in this order. A file system that swaps them at a
            # power cut leaves a version without bytes, which reads as IntegrityFailure and never as others.
            content.rename(self._path / version.version_id)
            document.rename(self._path / _DOCUMENT)
            self._sync_path()

    def _write(self, data: bytes) -> Path:
        path = self._path / f"{secrets.token_hex(8)}{_TEMPORARY}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if self._durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return path

    def _drop_leftovers(self) -> None:
        """Remove what killed writers left; under the lock nothing temporary is anybody's work in progress."""
        with os.scandir(self._path) as found:
            leftovers = [entry.name for entry in found if entry.name.endswith(_TEMPORARY)]
        for name in leftovers:
            (self._path / name).unlink()

    def _make_directories(self) -> None:
        missing = []
        path = self._path
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for directory in reversed(missing):
            with suppress(FileExistsError):  # another writer was faster
                directory.mkdir(0o700)

    def _sync_path(self) -> None:
        """Sync every directory up to the bucket, whoever made it: its maker may have died before doing so."""
        path = self._path
        while path != self._bucket_path:
            self._sync(path)
            path = path.parent
        self._sync(path)

    def _sync(self, directory: Path) -> None:
        if not self._durable:
            return
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_up_to(descriptor: int, limit: int) -> bytes:
    pieces = []
    while limit > 0 and (piece := os.read(descriptor, limit)):
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)


def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TransientError("the key stays locked by another writer") from None
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return
