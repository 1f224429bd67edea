"""Who wants which version hidden: the notes in the vault that S3's delete markers have no room for.

One note a key, because one key has one top: `blocks/<bucket>/<SHA-256 of the key>`, a JSON document that is
only ever replaced by compare-and-swap. Invariants: a marker is put only after an intent to put it was noted;
a token is in the note before the caller hears of a block; a block whose last token is gone is first noted as
lifting, and from then on nobody joins it. Knows nothing of what lies at the key, and never sees its name
leave: the note's own name is a digest. Pure but for `Notes`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from coverguard.aws.clients import code_of, transient
from coverguard.aws.s3_objects import Marker, Overtaken, Version, overtaken
from coverguard.errors import IntegrityFailure

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

PREFIX: Final = "blocks/"
ADOPTED_WITHIN: Final = timedelta(minutes=5)  # longer than any call of ours can be under way
_TICK: Final = timedelta(seconds=1)  # S3 tells the time in whole seconds
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Somebody is about to put a marker."""

    token: str
    at: datetime  # by S3's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Our markers over one version, and who wants them there."""

    version_id: str
    size: int
    etag: str = field(repr=False)  # with the size: what was stored when it was hidden
    tokens: frozenset[str] = frozenset()
    markers: frozenset[str] = frozenset()
    intents: Mapping[str, Intent] = field(default_factory=dict)  # markers that may be about to be put
    lifting: bool = False  # nobody wants it any longer, and its markers are being taken away

    @property
    def version(self) -> Version:
        return Version(version_id=self.version_id, size=self.size, etag=self.etag)

    def intends(self, name: str, intent: Intent) -> Block:
        return replace(self, tokens=self.tokens | {intent.token}, intents={**self.intents, name: intent})

    def gave_up(self, name: str) -> Block:
        """That marker was not put. Its token goes, unless a marker is there, or to come, that it may hold."""
        others = {other: intent for other, intent in self.intents.items() if other != name}
        token = self.intents[name].token
        shared = self.markers or token in {intent.token for intent in others.values()}
        return replace(self, intents=others, tokens=self.tokens if shared else self.tokens - {token})

    def joined(self, token: str) -> Block:
        return replace(self, tokens=self.tokens | {token})

    def without(self, token: str) -> Block:
        return replace(self, tokens=self.tokens - {token})

    def with_marker(self, marker_id: str) -> Block:
        """The marker is there. Every other intent finds something else on top than it was to hide."""
        return replace(self, markers=self.markers | {marker_id}, intents={})

    def may_have_put(self, marker: Marker) -> bool:
        """Whether a marker that no note names can be one of whoever died after an intent."""
        begun = [intent.at for intent in self.intents.values()]
        return any(at - _TICK <= marker.put_at <= at + ADOPTED_WITHIN for at in begun)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    blocks: tuple[Block, ...] = ()

    @property
    def lifting(self) -> Block | None:
        return next((block for block in self.blocks if block.lifting), None)

    @property
    def tokens(self) -> frozenset[str]:
        return frozenset(token for block in self.blocks for token in block.tokens)

    def of_version(self, version: Version) -> Block:
        """The version's block, or a new one that nobody wants yet."""
        for block in self.blocks:
            if block.version_id == version.version_id:
                return block
        return Block(version_id=version.version_id, size=version.size, etag=version.etag)

    def of_marker(self, marker_id: str) -> Block | None:
        return next((block for block in self.blocks if marker_id in block.markers), None)

    def with_block(self, block: Block) -> Note:
        others = tuple(one for one in self.blocks if one.version_id != block.version_id)
        return replace(self, blocks=tuple(sorted((*others, block), key=lambda one: one.version_id)))

    def without_block(self, version_id: str) -> Note:
        return replace(self, blocks=tuple(one for one in self.blocks if one.version_id != version_id))

    def without_token(self, token: str) -> Note:
        """Drop the token where it holds no marker (yet)."""
        dropped = (one if one.markers else one.without(token) for one in self.blocks)
        return replace(self, blocks=tuple(dropped))

    def tidied(self, *, now: datetime) -> Note:
        """Leave out what nobody wants, that has no marker, and whose last intent is too old to be one."""
        return replace(self, blocks=tuple(one for one in self.blocks if not _spent(one, now=now)))


def _spent(block: Block, *, now: datetime) -> bool:
    fresh = any(now <= intent.at + ADOPTED_WITHIN + _TICK for intent in block.intents.values())
    return not (block.tokens or block.markers or fresh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A note as it was read; `etag` is empty where there is none."""

    note: Note
    etag: str = field(repr=False)


class Notes:
    """The notes of one vault. Thread-safe."""

    def __init__(self, client: S3Client, *, vault: str, encryption: Mapping[str, Any]) -> None:
        self._client = client
        self._vault = vault
        self._encryption = encryption

    def load(self, bucket: str, key: str) -> Stored:
        """Raises `IntegrityFailure` for what `save` did not write, `TransientError`."""
        with transient("read a note"):
            try:
                answer = self._client.get_object(Bucket=self._vault, Key=_name(bucket, key))
            except ClientError as exc:
                if code_of(exc) != "NoSuchKey":
                    raise
                return Stored(note=Note(), etag="")
            document = answer["Body"].read()
        return Stored(note=from_json(document), etag=answer["ETag"])

    def save(self, bucket: str, key: str, note: Note, *, over: Stored) -> None:
        """Replace exactly the note that was read.

        Raises `Overtaken`, having changed nothing, where somebody else has replaced it, `TransientError`.
        """
        condition: Any = {"IfMatch": over.etag} if over.etag else {"IfNoneMatch": "*"}
        with transient("write a note"):
            try:
                self._client.put_object(
                    Bucket=self._vault,
                    Key=_name(bucket, key),
                    Body=to_json(note),
                    ContentType="application/json",
                    **condition,
                    **self._encryption,
                )
            except ClientError as exc:
                if overtaken(exc) or code_of(exc) == "NoSuchKey":
                    raise Overtaken from exc
                raise


def _name(bucket: str, key: str) -> str:
    return f"{PREFIX}{bucket}/{hashlib.sha256(key.encode()).hexdigest()}"


def to_json(note: Note) -> bytes:
    return json.dumps({"format": _FORMAT, "blocks": [_as_document(one) for one in note.blocks]}).encode()


def from_json(document: bytes) -> Note:
    """Raises `IntegrityFailure` for anything that `to_json` did not write."""
    try:
        fields = json.loads(document)
        if fields["format"] != _FORMAT:
            raise IntegrityFailure("a block's note has an unknown format")
        return Note(blocks=tuple(_as_block(one) for one in fields["blocks"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        # without a cause: the parser's message would quote the note
        raise IntegrityFailure("a block's note is unreadable") from None


def _as_document(block: Block) -> dict[str, Any]:
    return {
        "version_id": block.version_id,
        "size": block.size,
        "etag": block.etag,
        "tokens": sorted(block.tokens),
        "markers": sorted(block.markers),
        "intents": {name: [one.token, one.at.isoformat()] for name, one in block.intents.items()},
        "lifting": block.lifting,
    }


def _as_block(document: Mapping[str, Any]) -> Block:
    return Block(
        version_id=str(document["version_id"]),
        size=int(document["size"]),
        etag=str(document["etag"]),
        tokens=frozenset(document["tokens"]),
        markers=frozenset(document["markers"]),
        intents={
            name: Intent(token=str(token), at=datetime.fromisoformat(at))
            for name, (token, at) in document["intents"].items()
        },
        lifting=bool(document["lifting"]),
    )
