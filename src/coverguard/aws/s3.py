"""Versioned S3 buckets as the `ObjectStore`: blocks are delete markers, evidence lies in a locked vault.

Invariants: every verb names a version and an allow-listed bucket; the vault is written by `keep` and by the
notes of who wants what hidden, and nothing in it is hidden or put back over. AccessDenied is a
`TransientError` like any other trouble of the outside: what could not be read is not screened, what could not
be blocked is tried again and rings, and nothing is dropped until somebody has mended the rights. Needs
buckets with versions, and Object Lock on the vault; `check` says so at the start. Serves nobody, keeps no
retention clock, and does not copy ACLs: buckets are to have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from coverguard.aws.clients import at_start, code_of
from coverguard.aws.s3_blocks import Blocks
from coverguard.aws.s3_notes import Notes
from coverguard.aws.s3_objects import Objects
from coverguard.aws.s3_vault import Vault
from coverguard.errors import ConfigurationError, Refused
from coverguard.model import ObjectRef
from coverguard.ports import Clock, ObjectDescription, ObjectInfo, Presence

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

VAULT_RETENTION: Final = timedelta(days=90)


class S3Store:
    """`ports.ObjectStore`. Thread-safe, as its client is."""

    def __init__(
        self,
        client: S3Client,
        *,
        buckets: frozenset[str],
        vault: str,
        clock: Clock,
        vault_kms_key: str = "",
        vault_retention: timedelta = VAULT_RETENTION,
    ) -> None:
        """`vault_retention` of 0 leaves evidence to its legal hold alone.

        `vault_kms_key` is a key id, ARN or alias; without one the vault's own default encryption holds.
        """
        self.buckets = buckets | {vault}
        self.vault = vault
        self._client = client
        self._objects = Objects(client)
        encryption = _encryption(vault_kms_key)
        notes = Notes(client, vault=vault, encryption=encryption)
        self._blocks = Blocks(objects=self._objects, notes=notes, clock=clock)
        self._evidence = Vault(
            client=client,
            objects=self._objects,
            blocks=self._blocks,
            clock=clock,
            bucket=vault,
            retention=vault_retention,
            encryption=encryption,
        )

    def __repr__(self) -> str:
        return f"S3Store(buckets={len(self.buckets)})"

    def check(self) -> None:
        """Raise `ConfigurationError` where a bucket keeps no versions, or the vault cannot be locked."""
        for bucket in sorted(self.buckets):
            with at_start("ask whether a bucket keeps versions"):
                status = self._client.get_bucket_versioning(Bucket=bucket).get("Status")
            if status != "Enabled":
                raise ConfigurationError("a bucket keeps no versions: a block would destroy what it hides")
        if not self._has_lock():
            raise ConfigurationError("the vault has no Object Lock")

    def _has_lock(self) -> bool:
        with at_start("ask whether the vault has Object Lock"):
            try:
                found = self._client.get_object_lock_configuration(Bucket=self.vault)
            except ClientError as exc:
                if code_of(exc) == "ObjectLockConfigurationNotFoundError":
                    return False
                raise
        return found["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled"

    # ── the port ───────────────────────────────────────────────────────────────────────────────────────────

    def read(self, ref: ObjectRef, *, limit: int) -> bytes:
        self._allow(ref.bucket)
        return self._objects.read(ref, limit=limit)

    def describe(self, ref: ObjectRef) -> ObjectDescription:
        self._allow(ref.bucket)
        return self._objects.describe(ref)

    def walk(self, bucket: str, *, prefix: str) -> Iterator[ObjectRef]:
        self._allow(bucket)  # here, not in the generator: refused when called, not when used
        return self._objects.current(bucket, prefix)

    def presence(self, ref: ObjectRef) -> Presence:
        self._allow(ref.bucket)
        return self._blocks.presence(ref)

    def block(self, ref: ObjectRef, *, token: str) -> Presence:
        self._allow_change(ref.bucket)
        if not token:
            raise Refused("a block needs a token")
        return self._blocks.block(ref, token=token)

    def unblock(self, ref: ObjectRef, *, token: str) -> Presence:
        self._allow_change(ref.bucket)
        return self._blocks.unblock(ref, token=token)

    def keep(self, ref: ObjectRef, *, name: str) -> ObjectInfo:
        self._allow(ref.bucket)
        return self._evidence.keep(ref, name=name)

    def restore(self, ref: ObjectRef, *, name: str) -> ObjectRef:
        self._allow_change(ref.bucket)
        return self._evidence.restore(ref, name=name)

    # ── inside ─────────────────────────────────────────────────────────────────────────────────────────────

    def _allow(self, bucket: str) -> None:
        if bucket not in self.buckets:
            raise Refused("bucket is not allow-listed")

    def _allow_change(self, bucket: str) -> None:
        self._allow(bucket)
        if bucket == self.vault:
            raise Refused("the vault is neither hidden nor written over")


def _encryption(key: str) -> Mapping[str, Any]:
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}
