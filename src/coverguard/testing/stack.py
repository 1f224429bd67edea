"""A whole deployment on real servers: queues on SQS, objects on S3, the ledger on PostgreSQL.

Makes what a platform engineer would have made, and writes the settings that name it. Processes reach it by
`environment`; a proxy may stand before each server. For tests, benchmarks and demonstrations.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from coverguard import settings
from coverguard.aws import clients
from coverguard.settings import QUEUES, TOPICS
from coverguard.testing.buckets import S3Buckets
from coverguard.testing.servers import Endpoint, Postgres

MAX_RECEIVE: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Who serves what."""

    sqs: Endpoint
    s3: Endpoint
    postgres: Postgres


@dataclass(slots=True, kw_only=True)
class Stack:
    """One deployment's outside, with names of its own, so that many share the servers."""

    servers: Servers
    home: Path
    lease: str = "60s"
    more: str = ""  # further lines of coverguard.toml
    name: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}")
    buckets: S3Buckets = field(init=False)
    database_url: str = field(init=False)
    queue_urls: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.buckets = S3Buckets.at(self.servers.s3)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to be part of this deployment."""
        return {
            **self.servers.s3.environment(),
            "AWS_ENDPOINT_URL_S3": self.servers.s3.url,
            "AWS_ENDPOINT_URL_SQS": self.servers.sqs.url,
            "AWS_ENDPOINT_URL_SNS": self.servers.sqs.url,
            settings.HOME_VARIABLE: str(self.home),
        }

    def make(self) -> None:
        """Make database, buckets and queues, and write the settings; `coverguard migrate` does the rest."""
        self.database_url = self.servers.postgres.create_database(self.name)
        self.buckets.make(self.bucket("intake"))
        self.buckets.make(self.bucket("public"), public=True)
        self.buckets.make(self.bucket("vault"), locked=True)
        self.buckets.make(self.bucket("heads"), locked=True)
        for name in (*QUEUES, *TOPICS):
            self.queue_urls[name] = self._make_queue(name)
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.home / settings.FILE).write_text(self.toml(), encoding="utf-8")

    def bucket(self, name: str) -> str:
        return f"{self.name}-{name}"

    def toml(self) -> str:
        """The settings, as a platform engineer writes them down."""
        queues = "\n".join(f'{name} = "{self.queue_urls[name]}"' for name in QUEUES)
        topics = "\n".join(f'{name} = "{self.queue_urls[name]}"' for name in TOPICS)
        return f"""\
database = "{self.database_url}"
object_store = "s3"
intake_bucket = "{self.bucket("intake")}"
public_bucket = "{self.bucket("public")}"
vault_bucket = "{self.bucket("vault")}"
heads_bucket = "{self.bucket("heads")}"
public_url = "{self.servers.s3.url}/{{bucket}}/{{key}}"
renditions = ["{self.bucket("public")}:covers/{{surface}}/{{id}}/{{version}}/{{*}}"]
lease = "{self.lease}"
{self.more}
[queues]
{queues}
[topics]
{topics}
"""

    def _make_queue(self, name: str) -> str:
        sqs = clients.sqs(
            endpoint_url=self.servers.sqs.url,
            aws_access_key_id=self.servers.sqs.access_key,
            aws_secret_access_key=self.servers.sqs.secret_key,
            region_name=self.servers.sqs.region,
        )
        dead = sqs.create_queue(QueueName=f"{self.name}-{name}-dead")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": str(MAX_RECEIVE)})
        made = sqs.create_queue(QueueName=f"{self.name}-{name}", Attributes={"RedrivePolicy": redrive})
        return made["QueueUrl"]
