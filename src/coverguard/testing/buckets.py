"""The platform's side of S3: makes buckets, uploads, deletes, looks, and lets a life-cycle rule bite.

For tests, benchmarks and demonstrations; what coverguard itself does on S3 is in `coverguard.aws`. The public
bucket can be read by anybody, so that a stranger's URL can be asked; the vault has Object Lock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from botocore.exceptions import ClientError

from coverguard.aws import clients
from coverguard.model import ObjectRef
from coverguard.ports import ObjectInfo
from coverguard.testing.servers import Endpoint

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

PARAMETERS: Final = {
    name: name.replace("-", "")
    for name in ("Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires")
}
"""Content headers and what boto3 calls them."""

MISSING: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404", "405", "MethodNotAllowed"})


class S3Buckets:
    """What `testing.platform.Platform` asks of a store, on a real S3 server."""

    def __init__(self, client: S3Client) -> None:
        self.client = client

    @classmethod
    def at(cls, endpoint: Endpoint) -> Self:
        """The buckets of a server."""
        return cls(
            clients.s3(
                endpoint_url=endpoint.url,
                aws_access_key_id=endpoint.access_key,
                aws_secret_access_key=endpoint.secret_key,
                region_name=endpoint.region,
            )
        )

    def make(self, name: str, *, public: bool = False, locked: bool = False) -> None:
        """Make a versioned bucket."""
        self.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
        self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        if public:
            anybody = {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{name}/*",
            }
            policy = {"Version": "2012-10-17", "Statement": [anybody]}
            self.client.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))

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
        """Put a version; `headers` are content headers by their names in HTTP."""
        given: dict[str, Any] = {PARAMETERS[name]: value for name, value in (headers or {}).items()}
        tagging = "&".join(f"{quote(name)}={quote(value)}" for name, value in (tags or {}).items())
        put = self.client.put_object(
            Bucket=bucket,
            Key=key,
            Body=data,
            ContentType=content_type,
            Metadata=dict(metadata or {}),
            Tagging=tagging,
            **given,
        )
        return ObjectRef(bucket=bucket, key=key, version_id=put["VersionId"])

    def delete(self, bucket: str, key: str) -> None:
        self.client.delete_object(Bucket=bucket, Key=key)

    def expire(self, ref: ObjectRef) -> None:
        """Remove one version for good, as a life-cycle rule does."""
        self.client.delete_object(Bucket=ref.bucket, Key=ref.key, VersionId=ref.version_id)

    def current(self, bucket: str, key: str) -> ObjectInfo | None:
        """What a reader gets now."""
        try:
            found = self.client.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if clients.code_of(error) in MISSING:
                return None
            raise
        data = found["Body"].read()
        return ObjectInfo(
            ref=ObjectRef(bucket=bucket, key=key, version_id=found["VersionId"]),
            size=len(data),
            sha256=hashlib.sha256(data).digest(),
            content_type=found["ContentType"],
            metadata=found["Metadata"],
        )

    def read(self, ref: ObjectRef, *, limit: int) -> bytes:
        found = self.client.get_object(Bucket=ref.bucket, Key=ref.key, VersionId=ref.version_id)
        return found["Body"].read(limit)
