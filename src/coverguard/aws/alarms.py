"""Pages by SNS: the topic's subscribers (a pager, a mailbox) are told what rings.

A page names a kind, what it means, how many and a few references of ours; no platform id, list name or text.
At least once: whoever gets the same `key` twice got the same news. On a FIFO topic the key is the
deduplication id, and a kind's pages stay in order.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from coverguard.aws.clients import transient
from coverguard.messages import from_micros
from coverguard.ports import Page

if TYPE_CHECKING:
    from mypy_boto3_sns.client import SNSClient

SCHEMA: Final = "coverguard.alarm/1"


class SnsPager:
    """Tells one topic."""

    def __init__(self, client: SNSClient, *, topic: str) -> None:
        self._client = client
        self._topic = topic

    def page(self, page: Page) -> None:
        """As the port says."""
        request: dict[str, Any] = {
            "TopicArn": self._topic,
            "Subject": f"coverguard {page.severity.value}: {page.kind} {page.state.value}"[:100],
            "Message": json.dumps(_message(page), indent=1),
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value}
                for name, value in _attributes(page).items()
            },
        }
        if self._topic.endswith(".fifo"):
            request |= {"MessageGroupId": page.kind, "MessageDeduplicationId": page.key[:128]}
        with transient("publish to SNS"):
            self._client.publish(**request)


def _attributes(page: Page) -> dict[str, str]:
    """What a subscription filters by."""
    return {
        "kind": page.kind,
        "severity": page.severity.value,
        "state": page.state.value,
        "key": page.key,
    }


def _message(page: Page) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        **_attributes(page),
        "meaning": page.meaning,
        "subjects": list(page.subjects),
        "count": page.count,
        "raised_at": from_micros(page.raised_at).isoformat(),
        "runbook": f"docs/runbooks/{page.kind}.md",
    }
