"""The wiring of what is not embedded: S3, SQS, SNS, CloudFront, each where the settings name it.

Apart from `bootstrap`, because boto3 takes a second to load and the embedded profile needs none of it.
Clients are made once and shared by all threads of the process; nothing is called before it is used.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from coverguard.aws import clients
from coverguard.aws.alarms import SnsPager
from coverguard.aws.cloudfront import CloudFrontCdn
from coverguard.aws.heads import S3Heads
from coverguard.aws.s3 import S3Store
from coverguard.aws.sqs import SqsQueue
from coverguard.aws.topics import SnsTopic, SqsTopic
from coverguard.errors import ConfigurationError
from coverguard.model import ObjectRef
from coverguard.ports import Cdn, Clock, Pager, Topic
from coverguard.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sqs.client import SQSClient


class Aws:
    """The adapters of one process."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    @cached_property
    def _s3(self) -> S3Client:
        return clients.s3()

    @cached_property
    def _sqs(self) -> SQSClient:
        return clients.sqs()

    @cached_property
    def _sns(self) -> SNSClient:
        return clients.sns()

    def store(self) -> S3Store:
        read = self._settings
        return S3Store(
            self._s3,
            buckets=read.readable_buckets,
            vault=read.vault_bucket,
            vault_kms_key=read.vault_kms_key,
            clock=self._clock,
        )

    def list_store(self) -> S3Store:
        """Where hash lists lie that are loaded from a bucket."""
        read = self._settings
        allowed = frozenset(read.list_buckets)
        return S3Store(self._s3, buckets=allowed, vault=read.vault_bucket, clock=self._clock)

    def upload(self, bucket: str, key: str, data: bytes, *, content_type: str) -> ObjectRef:
        """Put an object as the platform would; for `coverguard emit`, whose caller needs the right to."""
        with clients.transient("upload to S3"):
            put = self._s3.put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type)
        if "VersionId" not in put:
            raise ConfigurationError("the bucket keeps no versions; switch versioning on")
        return ObjectRef(bucket=bucket, key=key, version_id=put["VersionId"])

    def queue(self, name: str, url: str) -> SqsQueue:
        return SqsQueue(self._sqs, url=url, name=name, clock=self._clock)

    def topic(self, address: str) -> Topic:
        """An SQS queue by its URL, an SNS topic by its ARN."""
        if address.startswith("arn:"):
            return SnsTopic(self._sns, arn=address)
        return SqsTopic(self._sqs, url=address)

    def cdn(self) -> Cdn:
        distribution = self._settings.cloudfront_distribution
        return CloudFrontCdn(clients.cloudfront(), distribution=distribution, clock=self._clock)

    def heads(self) -> S3Heads:
        return S3Heads(self._s3, bucket=self._settings.heads_bucket, prefix=self._settings.heads_prefix)

    def pager(self) -> Pager:
        return SnsPager(self._sns, topic=self._settings.alarm_topic)
