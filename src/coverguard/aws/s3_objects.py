"""Single calls to S3, in our words: what lies at a key, one version's bytes, a marker, a version.

Invariants: a version is always named; no body is read past what was asked for, and none is taken for whole
that was cut; "not there" is said only where S3 says so of the object, never of the bucket or of the caller's
rights. S3 checks the bytes it sends against its own checksum, and the library checks them again. Decides
nothing, and knows nothing of blocks.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from botocore.exceptions import ClientError, FlexibleChecksumError

from coverguard.aws.clients import FOREIGN, code_of, status_of, transient
from coverguard.errors import (
    ContentRejected,
    IntegrityFailure,
    ObjectMissing,
    RejectReason,
    TransientError,
)
from coverguard.model import ObjectRef
from coverguard.ports import ObjectDescription

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, HeadObjectOutputTypeDef

_MAX_KEY_BYTES: Final = 1024  # S3's limit, in UTF-8
LARGEST: Final = 256 * 1024 * 1024  # bytes that are held in memory on their way to the vault or back
_CHUNK: Final = 256 * 1024
_PAGE: Final = 100  # entries of one key at a time: all but the newest seldom matter
_BAD_REQUEST, _NOT_FOUND, _NOT_ALLOWED, _CONFLICT, _PRECONDITION = 400, 404, 405, 409, 412
_CONTENT_HEADERS: Final = (
    "ContentType",
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "Expires",
)
_NO_OBJECT: Final = frozenset({"NoSuchKey", "NoSuchVersion", "MethodNotAllowed"})  # the last: a delete marker


class Overtaken(Exception):
    """The condition of a conditional call did not hold: somebody else was faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    version_id: str
    size: int
    etag: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    version_id: str
    put_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """What lies at a key, in one answer of S3: the newest of it, never less than the newest version."""

    top: Version | Marker | None
    versions: tuple[Version, ...]  # newest first
    markers: tuple[Marker, ...]  # newest first
    asked_at: datetime  # by S3's clock, to the second

    @property
    def ids(self) -> frozenset[str]:
        named = (*(one.version_id for one in self.versions), *(one.version_id for one in self.markers))
        return frozenset(named)

    def version(self, version_id: str) -> Version | None:
        return next((one for one in self.versions if one.version_id == version_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A version's bytes with everything that is to survive being put elsewhere."""

    data: bytes = field(repr=False)
    sha256: bytes = field(repr=False)
    described: Mapping[str, Any] = field(
        repr=False
    )  # content type and headers, metadata, tags: as S3 takes them


class Objects:
    """Thread-safe; holds nothing but the client."""

    def __init__(self, client: S3Client) -> None:
        self.client = client

    # ── looking ────────────────────────────────────────────────────────────────────────────────────────────

    def describe(self, ref: ObjectRef) -> ObjectDescription:
        """Raises `ObjectMissing`."""
        head = self._head(ref)
        return ObjectDescription(
            ref=ref,
            size=head["ContentLength"],
            content_type=head.get("ContentType", "binary/octet-stream"),
            metadata=head["Metadata"],
        )

    def version(self, ref: ObjectRef) -> Version:
        """Raises `ObjectMissing`."""
        head = self._head(ref)
        return Version(version_id=ref.version_id, size=head["ContentLength"], etag=head["ETag"])

    def state(self, bucket: str, key: str) -> KeyState:
        """Say what lies at the key; nothing for a key that never was."""
        versions: list[Version] = []
        markers: list[Marker] = []
        top: Version | Marker | None = None
        asked_at: datetime | None = None
        for page in self._pages(bucket, key, size=_PAGE):
            asked_at = asked_at or _date(page)
            for entry in page.get("Versions", []):
                if entry["Key"] == key:
                    version = Version(version_id=entry["VersionId"], size=entry["Size"], etag=entry["ETag"])
                    versions.append(version)
                    top = version if entry["IsLatest"] else top
            for mark in page.get("DeleteMarkers", []):
                if mark["Key"] == key:
                    marker = Marker(version_id=mark["VersionId"], put_at=mark["LastModified"])
                    markers.append(marker)
                    top = marker if mark["IsLatest"] else top
            if versions or page.get("NextKeyMarker") != key:
                break
        assert asked_at is not None
        return KeyState(top=top, versions=tuple(versions), markers=tuple(markers), asked_at=asked_at)

    def current(self, bucket: str, prefix: str) -> Iterator[ObjectRef]:
        """Yield the current versions under a prefix, in the order in which S3 lists keys: by their bytes."""
        for page in self._pages(bucket, prefix, size=1000):
            for entry in page.get("Versions", []):
                if entry["IsLatest"]:
                    yield ObjectRef(bucket=bucket, key=entry["Key"], version_id=entry["VersionId"])

    # ── bytes ──────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, ref: ObjectRef, *, limit: int) -> bytes:
        """Raises `ObjectMissing`, `ContentRejected`, `IntegrityFailure`."""
        answer = self._get(ref)
        if answer["ContentLength"] > limit:
            answer["Body"].close()
            raise ContentRejected(RejectReason.TOO_MANY_BYTES)
        return b"".join(_chunks(answer))

    def sha256(self, ref: ObjectRef) -> bytes:
        """Read the version through and return its digest. Raises `ObjectMissing`, `IntegrityFailure`."""
        digest = hashlib.sha256()
        for chunk in _chunks(self._get(ref)):
            digest.update(chunk)
        return digest.digest()

    def whole(self, ref: ObjectRef) -> Whole:
        """Read a version with all that belongs to it. Raises as `read`."""
        answer = self._get(ref)
        if answer["ContentLength"] > LARGEST:
            answer["Body"].close()
            raise ContentRejected(RejectReason.TOO_MANY_BYTES)
        data = b"".join(_chunks(answer))
        described: dict[str, Any] = {name: answer[name] for name in _CONTENT_HEADERS if answer.get(name)}
        described["Metadata"] = answer["Metadata"]
        described["Tagging"] = urlencode(self._tags(ref, count=answer.get("TagCount", 0)))
        return Whole(data=data, sha256=hashlib.sha256(data).digest(), described=described)

    # ── changing ───────────────────────────────────────────────────────────────────────────────────────────

    def hide(self, bucket: str, key: str, *, over: Version) -> str:
        """Put a delete marker over that version and return the marker's id.

        Raises `Overtaken` where something else is on top; a store that ignores the condition hides that.
        """
        with transient("put a delete marker"):
            try:
                answer = self.client.delete_object(Bucket=bucket, Key=key, IfMatch=over.etag)
            except ClientError as exc:
                if overtaken(exc) or code_of(exc) == "NoSuchKey":  # a delete marker is no key to it
                    raise Overtaken from exc
                raise
        if "VersionId" not in answer:
            raise TransientError("the bucket keeps no versions: no marker can be put")
        return answer["VersionId"]

    def remove(self, bucket: str, key: str, version_id: str) -> None:
        """Take one marker or version of our own away; not being there is as good."""
        with _missing_as_error("remove a version of ours"):
            try:
                self.client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)
            except ClientError as exc:
                if code_of(exc) not in _NO_OBJECT:
                    raise

    def put(self, bucket: str, key: str, whole: Whole, *, options: Mapping[str, Any]) -> str:
        """Put bytes and all that belongs to them where nothing is served; return the new version id.

        S3 compares the bytes with their SHA-256 before it stores them. Raises `Overtaken`.
        """
        with transient("put a version"):
            try:
                answer = self.client.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=whole.data,
                    ChecksumSHA256=base64.b64encode(whole.sha256).decode(),
                    IfNoneMatch="*",
                    **whole.described,
                    **options,
                )
            except ClientError as exc:
                if overtaken(exc):
                    raise Overtaken from exc
                raise
        return answer["VersionId"]

    # ── inside ─────────────────────────────────────────────────────────────────────────────────────────────

    def _tags(self, ref: ObjectRef, *, count: int) -> Sequence[tuple[str, str]]:
        """Some stores have no word on tags of a version under a delete marker; then the count must be 0.

        Never `ObjectMissing`: the version was read a moment ago.
        """
        with transient("read a version's tags"):
            try:
                found = self.client.get_object_tagging(
                    Bucket=ref.bucket, Key=ref.key, VersionId=ref.version_id
                )
            except ClientError as exc:
                if code_of(exc) in _NO_OBJECT and count == 0:
                    return []
                raise
        return [(tag["Key"], tag["Value"]) for tag in found["TagSet"]]

    def _head(self, ref: ObjectRef) -> HeadObjectOutputTypeDef | GetObjectOutputTypeDef:
        _check(ref)
        with _missing_as_error("describe a version"):
            try:
                return self.client.head_object(Bucket=ref.bucket, Key=ref.key, VersionId=ref.version_id)
            except ClientError as exc:
                if status_of(exc) not in (_BAD_REQUEST, _NOT_FOUND, _NOT_ALLOWED):
                    raise
        answer = self._get(ref)  # an answer to HEAD has no body, and so no word of what is missing
        answer["Body"].close()
        return answer

    def _get(self, ref: ObjectRef) -> GetObjectOutputTypeDef:
        _check(ref)
        with _missing_as_error("read a version"):
            return self.client.get_object(
                Bucket=ref.bucket, Key=ref.key, VersionId=ref.version_id, ChecksumMode="ENABLED"
            )

    def _pages(self, bucket: str, prefix: str, *, size: int) -> Iterator[Any]:
        """Yield the pages of the bucket's versions; the library asks for keys in a form that holds all."""
        after: dict[str, Any] = {}
        while True:
            with transient("list versions"):
                page = self.client.list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=size, **after)
            yield page
            if not page.get("IsTruncated"):
                return
            after = {"KeyMarker": page["NextKeyMarker"]}
            if page.get("NextVersionIdMarker"):
                after["VersionIdMarker"] = page["NextVersionIdMarker"]


def possible(key: str) -> bool:
    """Whether a store could have such a key: 1 to 1024 bytes of UTF-8."""
    try:
        return 0 < len(key.encode()) <= _MAX_KEY_BYTES
    except UnicodeEncodeError:  # lone surrogates
        return False


def overtaken(error: ClientError) -> bool:
    """Whether S3 says that a conditional call's condition does not hold, or that another one is under way."""
    return status_of(error) in (_CONFLICT, _PRECONDITION)


def _check(ref: ObjectRef) -> None:
    """An empty version id would mean the current version, and one with a slash is nobody's."""
    if not ref.version_id or "/" in ref.version_id or not possible(ref.key):
        raise ObjectMissing("no object can have such a name")


@contextmanager
def _missing_as_error(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as exc:
        if _says_missing(exc):
            raise ObjectMissing("the bucket has no such version") from exc
        raise TransientError(f"cannot {what}: {code_of(exc)}") from exc
    except FOREIGN as exc:
        raise TransientError(f"cannot {what}: {type(exc).__name__}") from exc


def _says_missing(error: ClientError) -> bool:
    """Whether S3 says that there is no such version; a version id that it could not have made is none."""
    if code_of(error) in _NO_OBJECT:
        return True
    message = str(error.response.get("Error", {}).get("Message", ""))
    return status_of(error) == _BAD_REQUEST and "version" in message.lower()


def _chunks(answer: GetObjectOutputTypeDef) -> Iterator[bytes]:
    """Yield a body to its end; the library compares length and checksum there."""
    with closing(answer["Body"]) as body:
        try:
            yield from body.iter_chunks(_CHUNK)
        except FlexibleChecksumError as exc:
            raise IntegrityFailure("a version's bytes differ from the store's checksum") from exc
        except FOREIGN as exc:
            raise TransientError(f"cannot read a version to its end: {type(exc).__name__}") from exc


def _date(answer: Any) -> datetime:  # noqa: ANN401 - any answer of the library
    """S3's clock when it answered."""
    stated = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        return parsedate_to_datetime(stated)
    except ValueError as exc:
        raise TransientError("the store does not say what time it is") from exc
