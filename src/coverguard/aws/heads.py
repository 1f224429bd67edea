"""Signed audit heads in an S3 bucket with Object Lock: the `HeadArchive` that nobody can rewrite.

One object a head, named by its zero-padded link so that a listing is in order; written only if there is none
(`If-None-Match`), with a checksum, and retained until a date. Whoever may write can still put a newer version
or a delete marker on top: `walk` therefore reads *versions*, the first put first, and is not impressed by
markers. The lock is the bucket's and needs versioning; `check` says so before the first head is due. Nobody
needs a right to delete here, nor to bypass the retention. Checks no signature.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from coverguard.aws import clients
from coverguard.errors import ConfigurationError, IntegrityFailure
from coverguard.messages import from_micros
from coverguard.model import later
from coverguard.ports import ArchivedHead, SealedHead
from coverguard.trail import from_document, to_document

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

RETENTION: Final = timedelta(days=3653)  # ten years
PREFIX: Final = "heads/"
MODES: Final = ("COMPLIANCE", "GOVERNANCE")
_DIGITS: Final = 20
_SUFFIX: Final = ".json"
_LARGEST: Final = 4096  # bytes; a head has about 400
_READERS: Final = 8
_TAKEN: Final = frozenset({"PreconditionFailed", "412"})


class S3Heads:
    """The heads of one deployment: a bucket, or a prefix of one, of its own."""

    def __init__(
        self,
        client: S3Client,
        *,
        bucket: str,
        prefix: str = PREFIX,
        retention: timedelta = RETENTION,
        mode: str = "COMPLIANCE",
    ) -> None:
        """`COMPLIANCE` binds the account's root too; `GOVERNANCE` is for trying it out."""
        if mode not in MODES:
            raise ConfigurationError("a retention is COMPLIANCE or GOVERNANCE")
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._retention = retention
        self._mode: Any = mode

    def check(self) -> None:
        """Raises `ConfigurationError` where the bucket is not there or locks nothing, `TransientError`."""
        with clients.at_start("read the lock of the heads' bucket"):
            try:
                answer = self._client.get_object_lock_configuration(Bucket=self._bucket)
            except ClientError as error:
                if clients.code_of(error) != "ObjectLockConfigurationNotFoundError":
                    raise
                raise ConfigurationError("the heads' bucket has no Object Lock") from error
        if answer["ObjectLockConfiguration"].get("ObjectLockEnabled") != "Enabled":
            raise ConfigurationError("the heads' bucket has no Object Lock")

    def put(self, head: SealedHead) -> None:
        document, key = to_document(head), self._key(head.seq)
        with clients.transient("archive an audit head"):
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=document,
                    ContentType="application/json",
                    ChecksumAlgorithm="SHA256",
                    IfNoneMatch="*",
                    ObjectLockMode=self._mode,
                    ObjectLockRetainUntilDate=from_micros(later(head.sealed_at, self._retention)),
                )
            except ClientError as error:
                if clients.code_of(error) not in _TAKEN:
                    raise
                if not any(one.head == head for one in self._versions(key, after="")):
                    raise IntegrityFailure("the archive has another head in its place") from error

    def walk(self, *, after: int) -> Iterator[ArchivedHead]:
        with clients.transient("read the archived audit heads"):
            yield from self._versions(self._prefix, after=self._key(after))

    def _versions(self, prefix: str, *, after: str) -> Iterator[ArchivedHead]:
        """Every version of the keys that begin so and come after that one."""
        listing = self._client.get_paginator("list_object_versions")
        found: list[tuple[str, str]] = []
        where: Any = {"Bucket": self._bucket, "Prefix": prefix, "KeyMarker": after}  # the stubs lack the last
        for page in listing.paginate(**where):
            found += [
                (one["Key"], one["VersionId"]) for one in page.get("Versions", []) if one["Key"] > after
            ]
            # The last key's older versions may be on the next page; S3 lists a key's newest version first.
            unsure = found[-1][0] if found and page["IsTruncated"] else None
            yield from self._read_all(_oldest_first([one for one in found if one[0] != unsure]))
            found = [one for one in found if one[0] == unsure]

    def _read_all(self, found: list[tuple[str, str]]) -> Iterator[ArchivedHead]:
        with ThreadPoolExecutor(_READERS) as readers:
            yield from readers.map(self._read, found)

    def _read(self, found: tuple[str, str]) -> ArchivedHead:
        key, version_id = found
        with clients.transient("read an archived audit head"):
            answer = self._client.get_object(Bucket=self._bucket, Key=key, VersionId=version_id)
            document = answer["Body"].read(_LARGEST + 1)
        head = from_document(document) if len(document) <= _LARGEST else None
        if head is not None and key != self._key(head.seq):
            head = None  # a true copy in a false place says nothing
        return ArchivedHead(name=key, head=head)

    def _key(self, seq: int) -> str:
        return f"{self._prefix}{seq:0{_DIGITS}d}{_SUFFIX}"


def _oldest_first(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Reverse the versions of each key, and leave the keys in order."""
    turned: list[tuple[str, str]] = []
    place = 0
    for number, one in enumerate(found):
        if number and found[number - 1][0] != one[0]:
            place = number
        turned.insert(place, one)
    return turned
