"""The platform's side of an S3 server in the contract suite, and buckets for one test after the other."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime
from uuid import uuid4

from botocore.exceptions import ClientError
from object_store import Bench, Served

from coverguard.aws import clients
from coverguard.aws.s3 import S3Store
from coverguard.local.clock import SystemClock
from coverguard.model import ObjectRef
from coverguard.testing.buckets import PARAMETERS, S3Buckets
from coverguard.testing.servers import Endpoint

MISSING = {"NoSuchKey", "NoSuchObjectLockConfiguration", "NoSuchObjectLegalHold"}


def client_of(endpoint: Endpoint, **changed):
    caller = {
        "endpoint_url": endpoint.url,
        "aws_access_key_id": endpoint.access_key,
        "aws_secret_access_key": endpoint.secret_key,
        "region_name": endpoint.region,
    }
    return clients.s3(**(caller | changed))


class S3Platform(S3Buckets):
    """What the contract asks of it besides."""

    def served(self, bucket: str, key: str) -> Served | None:
        try:
            answer = self.client.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if clients.code_of(error) in MISSING:
                return None
            raise
        tags = self.client.get_object_tagging(Bucket=bucket, Key=key, VersionId=answer["VersionId"])["TagSet"]
        found = {name: answer[parameter] for name, parameter in PARAMETERS.items() if parameter in answer}
        return Served(
            data=answer["Body"].read(),
            content_type=answer["ContentType"],
            metadata=answer["Metadata"],
            tags={tag["Key"]: tag["Value"] for tag in tags},
            headers={name: _text(value) for name, value in found.items()},
        )

    def legal_hold(self, ref: ObjectRef) -> bool:
        try:
            answer = self.client.get_object_legal_hold(
                Bucket=ref.bucket, Key=ref.key, VersionId=ref.version_id
            )
        except ClientError as error:
            if clients.code_of(error) in {*MISSING, "InvalidRequest", "ObjectLockConfigurationNotFoundError"}:
                return False
            raise
        return answer["LegalHold"]["Status"] == "ON"


class S3Place:
    """Buckets of one's own on a server, for one test after the other: a new bucket is dear to some."""

    def __init__(self, client) -> None:
        self.client = client
        self.name = f"t{uuid4().hex[:12]}"
        for bucket in self.buckets:
            client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=bucket == self.vault)
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    @property
    def vault(self) -> str:
        return f"{self.name}-vault"

    @property
    def buckets(self) -> tuple[str, ...]:
        return f"{self.name}-covers", f"{self.name}-renditions", self.vault

    def emptied(self, **chosen) -> Bench:
        """A store on these buckets, with nothing left of what was before."""
        for bucket in self.buckets:
            self._empty(bucket)
        covers, renditions, vault = self.buckets
        store = self.store(**chosen)
        platform = S3Platform(self.client)
        return Bench(store=store, platform=platform, bucket=covers, other_bucket=renditions, vault=vault)

    def store(self, client=None, **chosen) -> S3Store:
        """Another one on the same buckets, as another process would have it."""
        buckets = frozenset(self.buckets)
        chosen = {"clock": SystemClock()} | chosen
        return S3Store(client or self.client, buckets=buckets, vault=self.vault, **chosen)

    def _empty(self, bucket: str) -> None:
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for entry in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
                named = {"Bucket": bucket, "Key": entry["Key"], "VersionId": entry["VersionId"]}
                if bucket == self.vault and "ETag" in entry and not entry["Key"].startswith("blocks/"):
                    self.client.put_object_legal_hold(**named, LegalHold={"Status": "OFF"})
                    named["BypassGovernanceRetention"] = True
                self.client.delete_object(**named)


def _text(value: object) -> str:
    if isinstance(value, dt.datetime):
        return format_datetime(value.astimezone(dt.UTC), usegmt=True)
    return str(value)
