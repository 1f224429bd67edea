"""Queues on the SQS servers, each of a test's own, with a look at what really lies in them."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

from coverguard.aws.sqs import FAULT, SqsQueue
from coverguard.local.clock import SystemClock
from coverguard.testing.servers import Endpoint

MAX_RECEIVE = 3


def caller(endpoint: Endpoint) -> dict[str, str]:
    return {
        "endpoint_url": endpoint.url,
        "aws_access_key_id": endpoint.access_key,
        "aws_secret_access_key": endpoint.secret_key,
        "region_name": endpoint.region,
    }


@dataclass(frozen=True)
class Place:
    """A queue and its dead-letter queue on a server, as they really are."""

    client: Any
    url: str
    dead_url: str
    name: str

    def queue(self, client: Any = None, **more: Any) -> SqsQueue:
        return SqsQueue(client or self.client, url=self.url, name="uploads", clock=SystemClock(), **more)

    def peek(self, url: str) -> list[dict[str, Any]]:
        """What lies on a queue now, left as it is."""
        got: dict[str, dict[str, Any]] = {}
        while messages := self.client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=60,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages"):
            got |= {one["ReceiptHandle"]: one for one in messages}
        for receipt in got:
            self.client.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
        return list(got.values())

    def faults(self) -> dict[str, str]:
        """Body of a dead letter to the reason it carries: none where the server buried it itself."""
        return {
            one["Body"]: one.get("MessageAttributes", {}).get(FAULT, {}).get("StringValue", "")
            for one in self.peek(self.dead_url)
        }


def make_place(client: Any, *, max_receive: int = MAX_RECEIVE) -> Place:
    name = f"q-{secrets.token_hex(6)}"
    dead_url = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    asked = client.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": asked["Attributes"]["QueueArn"], "maxReceiveCount": str(max_receive)}
    made = client.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)})
    return Place(client, made["QueueUrl"], dead_url, name)
