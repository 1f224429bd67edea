"""The vault: evidence copies under a legal hold, and the way back from them.

Invariants: a name stands for one copy, the oldest version under it; a copy counts only once its bytes, read
back from the vault, have the digest of what was to be kept, and a legal hold is on it; a copy that differs is
never replaced. Governance retention is a second lock with an end: who may lift a legal hold still cannot
destroy before that. What is put back goes on top of nothing and nobody. Destroys nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from coverguard.aws.clients import code_of, transient
from coverguard.aws.s3_blocks import Blocks, Scene
from coverguard.aws.s3_notes import PREFIX
from coverguard.aws.s3_objects import Marker, Objects, Overtaken, Version, Whole, possible
from coverguard.errors import IntegrityFailure, ObjectMissing, Refused, TransientError
from coverguard.model import ObjectRef
from coverguard.ports import Clock, ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_UNLOCKED: Final = frozenset(
    {"NoSuchObjectLockConfiguration", "NoSuchObjectLegalHold", "ObjectLockConfigurationNotFoundError"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """`keep` and `restore` of `ports.ObjectStore`. Thread-safe."""

    client: S3Client
    objects: Objects
    blocks: Blocks
    clock: Clock
    bucket: str
    retention: timedelta
    encryption: Mapping[str, Any]

    # ── in ─────────────────────────────────────────────────────────────────────────────────────────────────

    def keep(self, ref: ObjectRef, *, name: str) -> ObjectInfo:
        if not possible(name) or name.startswith(PREFIX):
            raise Refused("evidence cannot have such a name")
        whole = self.objects.whole(ref)
        kept = self._oldest(name) or self._put_in(whole, name)
        digest = self.objects.sha256(kept)
        if digest != whole.sha256:
            raise IntegrityFailure("the vault holds something else under this name")
        self._lock(kept)
        found = self.objects.describe(kept)
        return ObjectInfo(
            ref=kept,
            size=found.size,
            content_type=found.content_type,
            metadata=found.metadata,
            sha256=digest,
        )

    def _oldest(self, name: str) -> ObjectRef | None:
        versions = self.objects.state(self.bucket, name).versions
        return self._at(name, versions[-1].version_id) if versions else None

    def _put_in(self, whole: Whole, name: str) -> ObjectRef:
        options: dict[str, Any] = {"ObjectLockLegalHoldStatus": "ON"}
        if self.retention:
            options |= {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": self._until()}
        try:
            version_id = self.objects.put(self.bucket, name, whole, options={**options, **self.encryption})
        except Overtaken as exc:
            kept = self._oldest(name)
            if kept is None:
                raise TransientError("the vault would not take a copy, and has none") from exc
            return kept
        return self._at(name, version_id)

    def _lock(self, kept: ObjectRef) -> None:
        """Ensure what was put with the copy: somebody may have lifted it."""
        named: Any = {"Bucket": kept.bucket, "Key": kept.key, "VersionId": kept.version_id}
        with transient("lock evidence"):
            if not self._held(kept):
                self.client.put_object_legal_hold(**named, LegalHold={"Status": "ON"})
            if self.retention and not self._retained(kept):
                until: Any = {"Mode": "GOVERNANCE", "RetainUntilDate": self._until()}
                self.client.put_object_retention(**named, Retention=until)

    def _held(self, kept: ObjectRef) -> bool:
        with transient("read a legal hold"):
            try:
                answer = self.client.get_object_legal_hold(
                    Bucket=kept.bucket, Key=kept.key, VersionId=kept.version_id
                )
            except ClientError as exc:
                if code_of(exc) in _UNLOCKED:
                    return False
                raise
        return answer["LegalHold"].get("Status") == "ON"

    def _retained(self, kept: ObjectRef) -> bool:
        with transient("read a retention"):
            try:
                answer = self.client.get_object_retention(
                    Bucket=kept.bucket, Key=kept.key, VersionId=kept.version_id
                )
            except ClientError as exc:
                if code_of(exc) in _UNLOCKED:
                    return False
                raise
        return "RetainUntilDate" in answer["Retention"]

    def _until(self) -> datetime:
        now = datetime.fromtimestamp(self.clock.now() // 1_000_000, tz=UTC)
        return now + self.retention

    def _at(self, name: str, version_id: str) -> ObjectRef:
        return ObjectRef(bucket=self.bucket, key=name, version_id=version_id)

    # ── out ────────────────────────────────────────────────────────────────────────────────────────────────

    def restore(self, ref: ObjectRef, *, name: str) -> ObjectRef:
        kept = self._oldest(name) if possible(name) and not name.startswith(PREFIX) else None
        if kept is None or not possible(ref.key):
            raise ObjectMissing("the vault has no such copy, or no object can have such a name")
        if not self._held(kept):
            raise IntegrityFailure("what the vault has under this name is under no legal hold")
        whole = self.objects.whole(kept)
        return self.blocks.until_settled(lambda: self._put_back(ref, whole))

    def _put_back(self, ref: ObjectRef, whole: Whole) -> ObjectRef:
        """Raises `Refused`, `Overtaken`."""
        scene = self.blocks.scene(ref)
        if isinstance(scene.state.top, Version):
            return self._served_already(ref, scene.state.top, whole)
        _check_room(scene)
        there = replace(ref, version_id=self.objects.put(ref.bucket, ref.key, whole, options={}))
        if self._went_over_something(there, scene):
            self.objects.remove(there.bucket, there.key, there.version_id)
            raise Overtaken
        return there

    def _served_already(self, ref: ObjectRef, top: Version, whole: Whole) -> ObjectRef:
        there = replace(ref, version_id=top.version_id)
        try:
            same = top.size == len(whole.data) and self.objects.sha256(there) == whole.sha256
        except ObjectMissing as exc:  # it was there a moment ago
            raise Overtaken from exc
        if not same:
            raise Refused("something newer is served under this key")
        return there

    def _went_over_something(self, there: ObjectRef, scene: Scene) -> bool:
        """Whether anything came in between: a delete marker does not fail the condition of a put."""
        now = self.objects.state(there.bucket, there.key)
        return bool(now.ids - scene.state.ids - {there.version_id})


def _check_room(scene: Scene) -> None:
    if not isinstance(scene.state.top, Marker):
        return
    if scene.ours is None:
        raise Refused("somebody else deleted this key")
    if scene.ours.tokens:
        raise Refused("a block holds this key")
