"""`ports.Queue` on SQS standard queues: the lease is the visibility timeout, and the dead lie in a queue too.

A retry is a copy sent with a delay, then the deletion of the original; a rejection is the same into the
dead-letter queue. Send first, delete second: a crash between the two duplicates and never loses. The lease is
proved before a copy is sent, so one who lost it adds nothing where the server can tell. Copies carry as
message attributes what must survive them: the first time of sending, how often handlers died, the time before
which nobody shall see it (SQS's own delay ends at 15 minutes), and why it is dead. Other attributes do not
survive; nothing here reads them.

SQS delivers at least once, in any order, and counts roughly. FIFO queues know no delay of one message and are
refused. Bodies are text and are not read here. May be used from several threads.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from coverguard.aws import clients
from coverguard.errors import BadMessage, ConfigurationError, LeaseLost, TransientError
from coverguard.model import Done, Micros, Outcome, Reject, Retry, between, later
from coverguard.ports import Clock, Delivery
from coverguard.retrying import backoff

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import (
        MessageAttributeValueTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

BATCH: Final = 10  # messages a call; SQS's limit
BATCH_BYTES: Final = 256 * 1024  # what every server takes at once; a larger body travels alone
BODY_BYTES: Final = 1024 * 1024 - 1024  # SQS's limit, less our attributes
ATTRIBUTE_BYTES: Final = 1024  # at most what ours add to a message
LONGEST_DELAY: Final = timedelta(minutes=15)
LONGEST_LEASE: Final = timedelta(hours=12)
PROVING: Final = timedelta(seconds=60)  # long enough for a copy and a deletion
SENDING_ROUNDS: Final = 3
REASON: Final = 500  # characters

SENT_AT: Final = "coverguard.sent-at"  # microseconds: when the first copy was sent
DIED: Final = "coverguard.died"  # how often a handler of earlier copies died
NOT_BEFORE: Final = "coverguard.not-before"  # microseconds
FAULT: Final = "coverguard.fault"  # why it is dead
_OURS: Final = [SENT_AT, DIED, NOT_BEFORE, FAULT]

# Entries that no repetition makes acceptable.
_REFUSED: Final = frozenset({"InvalidMessageContents", "InvalidParameterValue", "MissingParameter"})
_UNSENDABLE: Final = re.compile("[\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class _DeadLetters:
    url: str
    max_receive: int


class SqsQueue:
    """One standard queue and its dead-letter queue. Makes no call until it is used."""

    def __init__(
        self,
        client: SQSClient,
        *,
        url: str,
        name: str,
        clock: Clock,
        dead_letter_url: str | None = None,
        max_receive: int = 5,
    ) -> None:
        """Without `dead_letter_url` the queue's own redrive policy says where the dead go, and when."""
        self.name = name
        self._client = client
        self._url = url
        self._clock = clock
        self._given = _DeadLetters(dead_letter_url, max_receive) if dead_letter_url else None

    def require_sound(self) -> None:
        """Refuse to start on a queue on which messages could be lost, or come for ever.

        Raises:
            ConfigurationError: it does not exist, may not be looked at, is FIFO or has no dead-letter queue.
            TransientError: the service does not answer.
        """
        if self._url.endswith(".fifo"):
            raise ConfigurationError(f"queue {self.name}: must be a standard queue, not FIFO")
        with clients.at_start(f"look at queue {self.name}"):
            self._counted(self._url)
            if self._dead is None:
                raise ConfigurationError(f"queue {self.name}: has no redrive policy, so nothing dead-letters")
            self._counted(self._dead.url)

    # ── the port ───────────────────────────────────────────────────────────────────────────────────────────

    def send(self, bodies: Sequence[str], *, delay: timedelta = timedelta()) -> None:
        """Enqueue all bodies, each at least once; after an error some may be enqueued, and a repeat is safe.

        Raises:
            BadMessage: SQS will never take one of them; those of its batch that it does take are enqueued.
            TransientError: not all could be enqueued.
        """
        attributes: dict[str, int | str] = {}
        if delay > LONGEST_DELAY:
            attributes[NOT_BEFORE] = later(self._clock.now(), delay)
        self._send(self._url, [_entry(body, attributes, delay=delay) for body in bodies])

    def receive(self, *, limit: int, wait: timedelta, lease: timedelta) -> Sequence[Delivery]:
        """Lease up to `limit` visible messages, at most ten, waiting up to `wait` for the first."""
        deadline = later(self._clock.now(), wait)
        while True:
            left = max(between(self._clock.now(), deadline), timedelta())
            with clients.transient(f"receive from queue {self.name}"):
                answer = self._client.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=min(limit, BATCH),
                    WaitTimeSeconds=min(_seconds(left), clients.LONGEST_POLL),
                    VisibilityTimeout=_seconds(min(lease, LONGEST_LEASE)),
                    MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                    MessageAttributeNames=_OURS,
                )
            leased = [one for one in answer.get("Messages", ()) if self._is_due(one)]
            if leased or self._clock.now() >= deadline:
                return tuple(self._delivery(one) for one in leased)

    def extend(self, delivery: Delivery, *, lease: timedelta) -> None:
        """Start the lease anew; SQS ends it 12 hours after the receipt, whatever is asked.

        Raises:
            LeaseLost: whatever SQS says against it; who cannot extend must not count on the lease.
        """
        with _lost(f"extend a lease on queue {self.name}"):
            self._client.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=delivery.receipt,
                VisibilityTimeout=_seconds(min(lease, LONGEST_LEASE)),
            )

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Delete, or copy and delete. What was settled may come once more: SQS promises no less.

        Raises:
            LeaseLost: the receipt is stale and the server can tell. AWS deletes silently nothing for a stale
                receipt; the message then comes again, which must be harmless anyway.
            TransientError: the copy could not be sent; the lease runs out.
        """
        match outcome:
            case Retry(after=after):
                self._put_back(delivery, after)
            case Reject(reason=reason):
                self._bury(delivery, reason)
            case Done():
                self._delete(self._url, delivery.receipt)

    def depth(self) -> Mapping[str, int]:
        """Approximate counts by state, up to a minute old."""
        with clients.transient(f"count queue {self.name}"):
            visible, delayed, leased = self._counted(self._url)
            dead = sum(self._counted(self._dead.url)) if self._dead else 0
        return {"visible": visible, "delayed": delayed, "leased": leased, "dead": dead}

    def redrive(self, *, limit: int | None = None) -> int:
        """Put dead letters back with a fresh count, at least once each; return how many.

        Without `limit` as many as were dead at the beginning: what dies again meanwhile stays dead.
        """
        dead = self._dead_letters()
        waiting = self.depth()["dead"] if limit is None else limit
        moved = 0
        while moved < waiting:
            with clients.transient(f"receive the dead letters of queue {self.name}"):
                answer = self._client.receive_message(
                    QueueUrl=dead.url,
                    MaxNumberOfMessages=min(waiting - moved, BATCH),
                    WaitTimeSeconds=1,  # asks every server, not some
                    VisibilityTimeout=_seconds(PROVING),
                    MessageSystemAttributeNames=["SentTimestamp"],
                    MessageAttributeNames=[SENT_AT],
                )
            messages = answer.get("Messages", ())
            if not messages:
                break
            self._send(self._url, [_entry(_body(one), {SENT_AT: _sent_at(one)}) for one in messages])
            for one in messages:
                self._delete(dead.url, one["ReceiptHandle"])
            moved += len(messages)
        return moved

    # ── what one delivery becomes ──────────────────────────────────────────────────────────────────────────

    def _is_due(self, message: MessageTypeDef) -> bool:
        """Whether a handler may see it; what is early waits on, and what killed too many is buried."""
        try:
            early = between(self._clock.now(), Micros(_number(message, NOT_BEFORE)))
            if early > timedelta():
                self._put_back(self._delivery(message), early)
                return False
            # Only copies hide receipts from SQS's own count.
            if _number(message, DIED) and _attempt(message) > (most := self._dead_letters().max_receive):
                self._bury(self._delivery(message), f"leased {most} times and never settled")
                return False
        except TransientError:  # its lease runs out, and whoever gets it next does this
            return False
        return True

    def _delivery(self, message: MessageTypeDef) -> Delivery:
        return Delivery(
            queue=self.name,
            body=_body(message),
            receipt=message["ReceiptHandle"],
            attempt=_attempt(message),
            sent_at=_sent_at(message),
        )

    def _put_back(self, delivery: Delivery, after: timedelta) -> None:
        """A copy that nobody sees before its time, and that this receipt does not count against."""
        self.extend(delivery, lease=PROVING)
        attributes: dict[str, int | str] = {SENT_AT: delivery.sent_at}
        if delivery.attempt > 1:
            attributes[DIED] = delivery.attempt - 1
        if after > LONGEST_DELAY:
            attributes[NOT_BEFORE] = later(self._clock.now(), after)
        self._copy(self._url, _entry(delivery.body, attributes, delay=after))
        self._delete(self._url, delivery.receipt)

    def _bury(self, delivery: Delivery, reason: str) -> None:
        dead = self._dead_letters()
        self.extend(delivery, lease=PROVING)
        attributes: dict[str, int | str] = {SENT_AT: delivery.sent_at, FAULT: reason[:REASON] or "rejected"}
        self._copy(dead.url, _entry(delivery.body, attributes))
        self._delete(self._url, delivery.receipt)

    def _copy(self, url: str, entry: SendMessageBatchRequestEntryTypeDef) -> None:
        try:
            self._send(url, [entry])
        except BadMessage as error:  # too large for our attributes: its own queue's policy will bury it
            raise TransientError(f"cannot copy a message of queue {self.name}") from error

    def _delete(self, url: str, receipt: str) -> None:
        with _lost(f"remove what is settled on queue {self.name}"):
            self._client.delete_message(QueueUrl=url, ReceiptHandle=receipt)

    # ── sending ────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, url: str, entries: Sequence[SendMessageBatchRequestEntryTypeDef]) -> None:
        if any(_size(one) > BODY_BYTES for one in entries):
            raise BadMessage(f"a message is larger than the {BODY_BYTES} bytes that SQS takes")
        for batch in _batches(entries):
            self._send_batch(url, batch)

    def _send_batch(self, url: str, batch: list[SendMessageBatchRequestEntryTypeDef]) -> None:
        """Send until nothing is left over; a failure of the whole call was retried by the client already."""
        refused = ""
        for number in range(1, SENDING_ROUNDS + 1):
            with clients.transient(f"send to queue {self.name}"):
                answer = self._client.send_message_batch(QueueUrl=url, Entries=batch)
            failed = {one["Id"]: one["Code"] for one in answer.get("Failed", ())}
            refused = next((code for code in failed.values() if code in _REFUSED), refused)
            sent = {one["Id"] for one in answer.get("Successful", ())}
            batch = [one for one in batch if one["Id"] not in sent and failed.get(one["Id"]) not in _REFUSED]
            if not batch:
                break
            if number == SENDING_ROUNDS:
                raise TransientError(f"cannot send to queue {self.name}: {failed.get(batch[0]['Id'], '')}")
            self._clock.sleep(backoff(number) / 20)
        if refused:
            raise BadMessage(f"queue {self.name} takes no such message: {refused}")

    # ── the queue itself ───────────────────────────────────────────────────────────────────────────────────

    def _dead_letters(self) -> _DeadLetters:
        with clients.transient(f"look up the dead letters of queue {self.name}"):
            found = self._dead
        if found is None:
            raise TransientError(f"queue {self.name} has no dead-letter queue")
        return found

    @cached_property
    def _dead(self) -> _DeadLetters | None:
        """Where the dead go, by what we were given or the queue's own policy. Raises the client's errors."""
        if self._given:
            return self._given
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=["RedrivePolicy"])
        policy = json.loads(answer.get("Attributes", {}).get("RedrivePolicy") or "{}")
        if not policy:
            return None
        _, _, _, _, account, name = policy["deadLetterTargetArn"].split(":")
        found = self._client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
        return _DeadLetters(found["QueueUrl"], int(policy["maxReceiveCount"]))

    def _counted(self, url: str) -> tuple[int, int, int]:
        """Visible, delayed, leased."""
        answer = self._client.get_queue_attributes(
            QueueUrl=url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesDelayed",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )
        found = answer.get("Attributes", {})
        return (
            int(found.get("ApproximateNumberOfMessages", 0)),
            int(found.get("ApproximateNumberOfMessagesDelayed", 0)),
            int(found.get("ApproximateNumberOfMessagesNotVisible", 0)),
        )


@contextmanager
def _lost(what: str) -> Iterator[None]:
    """Each server has its own codes for a stale receipt, so every error means that the lease may be lost."""
    try:
        yield
    except clients.FOREIGN as error:
        raise LeaseLost(f"cannot {what}: {clients.code_of(error) or type(error).__name__}") from error


def _entry(
    body: str, attributes: Mapping[str, int | str], *, delay: timedelta = timedelta()
) -> SendMessageBatchRequestEntryTypeDef:
    """One entry of a batch; its id is set by `_batches`."""
    return {
        "Id": "",
        # Messages are JSON, where the escape is the same word; SQS takes neither of these characters itself.
        "MessageBody": _UNSENDABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", body),
        "DelaySeconds": _seconds(min(delay, LONGEST_DELAY)),
        "MessageAttributes": {name: _attribute(value) for name, value in attributes.items()},
    }


def _attribute(value: int | str) -> MessageAttributeValueTypeDef:
    return {"DataType": "Number" if isinstance(value, int) else "String", "StringValue": str(value)}


def _size(entry: SendMessageBatchRequestEntryTypeDef) -> int:
    return len(entry["MessageBody"].encode())


def _batches(
    entries: Sequence[SendMessageBatchRequestEntryTypeDef],
) -> Iterator[list[SendMessageBatchRequestEntryTypeDef]]:
    """Cut into what SQS takes at once, in order, numbering each batch's entries."""
    batch: list[SendMessageBatchRequestEntryTypeDef] = []
    size = 0
    for entry in entries:
        own = _size(entry) + ATTRIBUTE_BYTES
        if batch and (len(batch) == BATCH or size + own > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append({**entry, "Id": str(len(batch))})
        size += own
    if batch:
        yield batch


def _seconds(span: timedelta) -> int:
    """Whole seconds, never fewer than asked for."""
    return math.ceil(max(span.total_seconds(), 0))


def _body(message: MessageTypeDef) -> str:
    return message.get("Body", "")


def _number(message: MessageTypeDef, name: str) -> int:
    attribute = message.get("MessageAttributes", {}).get(name)
    value = attribute.get("StringValue", "") if attribute else ""
    return int(value) if value.isdecimal() else 0


def _attempt(message: MessageTypeDef) -> int:
    return int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)) + _number(message, DIED)


def _sent_at(message: MessageTypeDef) -> Micros:
    milliseconds = int(message.get("Attributes", {}).get("SentTimestamp", 0))
    return Micros(_number(message, SENT_AT) or milliseconds * 1000)
