"""`ports.Topic` on SQS and SNS, standard and FIFO.

A batch has at most ten events, and of each group one: then a partial failure cannot let a later event of a
group pass an earlier one. Confirmed is what the server names as successful, nothing else. An error of the
whole request for what is in it is found out event by event. Key, type and schema travel as message attributes
too, so that a consumer can filter and drop repeats without reading; FIFO destinations get the key to drop
repeats by and the group to keep order by. No title, name or digest is in an attribute.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from coverguard.aws import clients
from coverguard.ports import OutgoingEvent, Published

if TYPE_CHECKING:
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sqs.client import SQSClient

BATCH: Final = 10  # entries a request; the limit of both services
BATCH_BYTES: Final = 256 * 1024  # of all entries together, where nobody raised it; a larger event goes alone
ATTRIBUTES_BYTES: Final = 512  # at most what ours add to an event
FIFO: Final = ".fifo"

# What the event is at fault for, by the services' codes; whatever is not named here may pass by itself.
_REFUSING: Final = frozenset(
    {
        "BatchRequestTooLong",
        "InvalidMessageContents",
        "InvalidParameter",
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "MessageTooLong",
        "MissingParameter",
        "ParameterValueInvalid",
    }
)
_UNSPEAKABLE: Final = re.compile("[\ufffe\uffff]")  # the services refuse them; JSON can write them otherwise


class _BatchTopic(ABC):
    """What both services have in common."""

    def publish(self, events: Sequence[OutgoingEvent]) -> Published:
        confirmed: set[str] = set()
        refused: set[str] = set()
        stuck: set[str] = set()
        fault = ""
        waiting = list(events)
        while waiting:
            batch = _next_batch(waiting)
            became = self._send(batch)
            confirmed |= became.confirmed
            refused |= became.refused
            fault = fault or became.fault
            if not became.confirmed and not became.refused:
                break  # the topic is unwell, and so would be the next request
            settled = became.confirmed | became.refused
            stuck |= {event.group for event in batch if event.key not in settled}
            tried = {event.key for event in batch}
            waiting = [one for one in waiting if one.key not in tried and one.group not in stuck]
        return Published(confirmed=frozenset(confirmed), refused=frozenset(refused), fault=fault)

    def _send(self, batch: Sequence[OutgoingEvent]) -> Published:
        try:
            answer = self._request([self._entry(str(number), event) for number, event in enumerate(batch)])
        except clients.FOREIGN as error:
            code = _short(clients.code_of(error))
            if code not in _REFUSING:
                return Published(fault=code or type(error).__name__)
            if len(batch) == 1:
                return Published(refused=frozenset({batch[0].key}))
            return _together([self._send([event]) for event in batch])
        keys = {str(number): event.key for number, event in enumerate(batch)}
        failed = {keys[one["Id"]]: _short(one.get("Code", "")) for one in answer.get("Failed", [])}
        return Published(
            confirmed=frozenset(keys[one["Id"]] for one in answer.get("Successful", [])),
            refused=frozenset(key for key, code in failed.items() if code in _REFUSING),
            fault=next((code or "unnamed" for code in failed.values() if code not in _REFUSING), ""),
        )

    @abstractmethod
    def _entry(self, number: str, event: OutgoingEvent) -> dict[str, Any]:
        """One entry of a request."""

    @abstractmethod
    def _request(self, entries: Sequence[Any]) -> Any:  # noqa: ANN401 - two services' types of one shape
        """Send the entries. Returns the answer with `Successful` and `Failed`."""


class SqsTopic(_BatchTopic):
    """An SQS queue that somebody else empties."""

    def __init__(self, client: SQSClient, *, url: str) -> None:
        self._client = client
        self._url = url
        self._fifo = url.endswith(FIFO)

    def _entry(self, number: str, event: OutgoingEvent) -> dict[str, Any]:
        attributes = _attributes(event)
        return {"Id": number, "MessageBody": _speakable(event.body), "MessageAttributes": attributes} | (
            _ordering(event) if self._fifo else {}
        )

    def _request(self, entries: Sequence[Any]) -> Any:  # noqa: ANN401 - as above
        return self._client.send_message_batch(QueueUrl=self._url, Entries=list(entries))


class SnsTopic(_BatchTopic):
    """An SNS topic. Subscribe queues with raw message delivery, or else unwrap `Message`."""

    def __init__(self, client: SNSClient, *, arn: str) -> None:
        self._client = client
        self._arn = arn
        self._fifo = arn.endswith(FIFO)

    def _entry(self, number: str, event: OutgoingEvent) -> dict[str, Any]:
        attributes = _attributes(event)
        return {"Id": number, "Message": _speakable(event.body), "MessageAttributes": attributes} | (
            _ordering(event) if self._fifo else {}
        )

    def _request(self, entries: Sequence[Any]) -> Any:  # noqa: ANN401 - as above
        return self._client.publish_batch(TopicArn=self._arn, PublishBatchRequestEntries=list(entries))


def _next_batch(waiting: Sequence[OutgoingEvent]) -> Sequence[OutgoingEvent]:
    """The first events that fit into one request, each the first of its group."""
    batch: list[OutgoingEvent] = []
    groups: set[str] = set()
    space = BATCH_BYTES
    for event in waiting:
        size = len(event.body.encode()) + ATTRIBUTES_BYTES
        if event.group not in groups and (size <= space or not batch):
            batch.append(event)
            space -= size
        groups.add(event.group)  # also where it did not fit: nothing of its group may pass it
        if len(batch) == BATCH:
            break
    return batch


def _attributes(event: OutgoingEvent) -> dict[str, dict[str, str]]:
    named = {"type": event.type, "schema": event.schema, "idempotency_key": event.key}
    return {name: {"DataType": "String", "StringValue": value} for name, value in named.items()}


def _ordering(event: OutgoingEvent) -> dict[str, str]:
    return {"MessageGroupId": event.group, "MessageDeduplicationId": event.key}


def _together(parts: Sequence[Published]) -> Published:
    return Published(
        confirmed=frozenset().union(*(part.confirmed for part in parts)),
        refused=frozenset().union(*(part.refused for part in parts)),
        fault=next((part.fault for part in parts if part.fault), ""),
    )


def _speakable(body: str) -> str:
    """The same JSON without the characters that the services refuse; outside of strings JSON has none."""
    return _UNSPEAKABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", body)


def _short(code: str) -> str:
    """`AWS.SimpleQueueService.BatchRequestTooLong` and `BatchRequestTooLong` are one code."""
    return code.rpartition(".")[2]
