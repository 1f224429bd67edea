"""Where a list file comes from: a path, or one version of an object in a bucket that is allow-listed.

What comes from a bucket lies in a file that has no name any more before a byte is in it, 0600 in a folder of
the deployment's own: nothing is left behind, whoever dies. Every fault is told without a name.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from coverguard.errors import BadListFile, ContentRejected, NotFound, Refused
from coverguard.ports import ObjectStore

CHUNK: Final = 1 << 20
LARGEST: Final = 1 << 30  # bytes of an object; a file may be longer
BLANK: Final = b" \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Where lists may lie."""

    store: ObjectStore
    allowed: frozenset[str]
    scratch: Path
    largest: int = LARGEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What tells a file from another, and how much there is of it."""

    sha256: bytes
    size: int
    lines: int  # at most
    blank: bool


def content_of(source: IO[bytes]) -> Content:
    """Read the whole stream, and put it back to its beginning."""
    source.seek(0)
    digest, size, lines, blank = hashlib.sha256(), 0, 1, True
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
        lines += chunk.count(b"\n")
        blank = blank and not chunk.strip(BLANK)
    source.seek(0)
    return Content(sha256=digest.digest(), size=size, lines=lines, blank=blank)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Raises `BadListFile` where the file cannot be read."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise BadListFile(f"the file cannot be read: {type(error).__name__}") from error
    with stream:
        yield stream


@contextmanager
def fetched(buckets: Buckets, place: str) -> Iterator[IO[bytes]]:
    """The newest version of `bucket/key`, in a file without a name.

    Raises:
        Refused: the bucket is none of `list_buckets`.
        NotFound: there is no such object.
        BadListFile: it is too large.
    """
    bucket, _, key = place.partition("/")
    if not bucket or not key:
        raise BadListFile("an object is s3://bucket/key")
    if bucket not in buckets.allowed:
        raise none_allowed()
    found = next((ref for ref in buckets.store.walk(bucket, prefix=key) if ref.key == key), None)
    if found is None:
        raise NotFound("no object has that key")
    try:
        data = buckets.store.read(found, limit=buckets.largest)
    except ContentRejected as error:
        raise BadListFile(f"the object has more than {buckets.largest} bytes") from error
    with tempfile.TemporaryFile(dir=buckets.scratch) as stream:  # 0600, and no name
        stream.write(data)
        del data
        stream.seek(0)
        yield stream


def require_same(source: IO[bytes], content: Content) -> None:
    """Raises `BadListFile` where somebody wrote to the file since it was looked at."""
    if content_of(source) != content:
        raise BadListFile("the file changed while it was read; load it again")


def none_allowed() -> Refused:
    return Refused("lists may not be loaded from that bucket; see list_buckets in the settings")
