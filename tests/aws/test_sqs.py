"""What only SQS has: batches, partial failures, copies, its own redrive policy; and what goes wrong there."""

from __future__ import annotations

import json
import secrets
import threading
from collections import Counter
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from sqs_place import Place, caller

from coverguard.aws import clients, sqs
from coverguard.aws.sqs import SqsQueue
from coverguard.errors import BadMessage, ConfigurationError, LeaseLost, TransientError
from coverguard.local.clock import SystemClock
from coverguard.model import Done, Reject, Retry, later

pytestmark = pytest.mark.servers

NOTHING = timedelta()
SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=30)
WAIT = timedelta(seconds=20)


class Between:
    """A real client with somebody in between who may spoil a call, before or after it was made."""

    def __init__(self, client, **spoil) -> None:
        self._client = client
        self._spoil = spoil
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name):
        real = getattr(self._client, name)
        if not callable(real):
            return real

        def call(**arguments):
            self.calls[name] += 1
            spoil = self._spoil.get(name)
            return spoil(real, self.calls[name], arguments) if spoil else real(**arguments)

        return call


def failing(*, times=99, after=False, error=None):
    """Spoil the first calls: lose the request, or do it and lose the answer."""

    def spoil(real, number, arguments):
        if number > times:
            return real(**arguments)
        if after:
            real(**arguments)
        raise error or EndpointConnectionError(endpoint_url="http://127.0.0.1")

    return spoil


def refused(code):
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {}}, "Call")


def take(queue, count=1, *, lease=LEASE):
    got = []
    while len(got) < count:
        some = queue.receive(limit=count - len(got), wait=WAIT, lease=lease)
        assert some, f"{len(got)} of {count} came"
        got.extend(some)
    return got


def bodies(place, url):
    return Counter(one["Body"] for one in place.peek(url))


# ── sending ────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_messages_go_in_batches_that_sqs_takes(place):
    batches = []

    def watched(real, number, arguments):
        batches.append([len(one["MessageBody"]) for one in arguments["Entries"]])
        return real(**arguments)

    queue = place.queue(Between(place.client, send_message_batch=watched))
    sent = [f"{number:02d}" + "x" * (number % 3) * 60_000 for number in range(25)]
    queue.send(sent)
    queue.send([f"small {number}" for number in range(25)])
    assert bodies(place, place.url) == Counter(sent + [f"small {number}" for number in range(25)])
    assert [len(batch) for batch in batches[-3:]] == [10, 10, 5]
    assert max(sum(batch) for batch in batches) <= sqs.BATCH_BYTES


def test_the_largest_message_that_may_be_is_sent_and_settled(place):
    queue, largest = place.queue(), "é" * (sqs.BODY_BYTES // 2)
    queue.send(["small", largest])
    for delivery in take(queue, 2):
        queue.settle(delivery, Retry(after=NOTHING))
    for delivery in take(queue, 2):
        queue.settle(delivery, Reject(reason="field x: wrong"))
    assert bodies(place, place.dead_url) == Counter(["small", largest])


def test_too_large_a_message_is_refused_before_anything_is_sent(place):
    with pytest.raises(BadMessage):
        place.queue().send(["small", "x" * (sqs.BODY_BYTES + 1)])
    assert not bodies(place, place.url)


def test_what_sqs_failed_to_take_is_sent_again_and_nothing_else(place):
    batches = []

    def partly(real, number, arguments):
        entries = arguments["Entries"]
        batches.append([one["MessageBody"] for one in entries])
        if number > 2:
            return real(QueueUrl=arguments["QueueUrl"], Entries=entries)
        answer = real(QueueUrl=arguments["QueueUrl"], Entries=entries[:1])
        failed = [
            {"Id": one["Id"], "Code": "ServiceUnavailable", "SenderFault": False} for one in entries[1:]
        ]
        return answer | {"Failed": failed}

    place.queue(Between(place.client, send_message_batch=partly)).send(["a", "b", "c"])
    assert batches == [["a", "b", "c"], ["b", "c"], ["c"]]
    assert bodies(place, place.url) == Counter("abc")


def test_what_sqs_keeps_failing_to_take_is_an_error(place):
    def never(real, number, arguments):
        failed = [
            {"Id": one["Id"], "Code": "InternalError", "SenderFault": False} for one in arguments["Entries"]
        ]
        return {"Failed": failed}

    client = Between(place.client, send_message_batch=never)
    with pytest.raises(TransientError, match="InternalError"):
        place.queue(client).send(["a", "b"])
    assert client.calls == {"send_message_batch": sqs.SENDING_ROUNDS}


def test_what_sqs_will_never_take_keeps_nothing_else_from_going(place):
    with pytest.raises(BadMessage, match="InvalidMessageContents"):
        place.queue().send(["a", "\x00", "b"])
    assert bodies(place, place.url) == Counter("ab")


def test_json_that_sqs_cannot_carry_arrives_as_the_same_json(place):
    words = "\ufffe and \uffff, naïve 🦊, \ud800"
    place.queue().send([f'{{"title": "{words}"}}'])
    (delivery,) = take(place.queue())
    assert json.loads(delivery.body) == {"title": words}


def test_a_delay_longer_than_sqs_knows_is_waited_out(place):
    """SQS hides a message for 15 minutes at most; whoever gets it before its time hides it again."""
    queue, begun = place.queue(), SystemClock().now()
    queue.send(["late"], delay=timedelta(hours=2))
    assert queue.depth() == {"visible": 0, "delayed": 1, "leased": 0, "dead": 0}
    early = str(begun + 4_000_000)
    place.client.send_message(
        QueueUrl=place.url,
        MessageBody="early",
        MessageAttributes={
            sqs.NOT_BEFORE: {"DataType": "Number", "StringValue": early},
            sqs.SENT_AT: {"DataType": "Number", "StringValue": "1800000000000000"},
        },
    )
    got = queue.receive(limit=10, wait=NOTHING, lease=LEASE)
    if SystemClock().now() < begun + 4_000_000:
        assert got == ()
        assert queue.depth()["delayed"] == 2
    (delivery,) = got or take(queue)
    assert SystemClock().now() >= begun + 4_000_000
    assert (delivery.body, delivery.attempt, delivery.sent_at) == ("early", 1, 1_800_000_000_000_000)


def test_a_delay_longer_than_sqs_knows_is_written_on_the_message(place):
    entries = []

    def watched(real, number, arguments):
        entries.extend(arguments["Entries"])
        return real(**arguments)

    queue = place.queue(Between(place.client, send_message_batch=watched))
    hours, begun = timedelta(hours=2), SystemClock().now()
    place.queue().send(["retried"])
    queue.settle(take(place.queue())[0], Retry(after=hours))
    queue.send(["sent"], delay=hours)
    queue.send(["soon"], delay=timedelta(minutes=15))
    assert [one["DelaySeconds"] for one in entries] == [900, 900, 900]
    first, second, soon = (one["MessageAttributes"] for one in entries)
    for attributes in (first, second):
        due = int(attributes[sqs.NOT_BEFORE]["StringValue"])
        assert later(begun, hours) <= due <= later(SystemClock().now(), hours)
    assert sqs.NOT_BEFORE not in soon


# ── copies: send first, delete second ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("outcome", [Retry(after=NOTHING), Reject(reason="field x: wrong")])
def test_a_copy_that_cannot_be_sent_leaves_the_original(place, outcome):
    queue = place.queue(
        Between(place.client, send_message_batch=failing(error=refused("ServiceUnavailable")))
    )
    place.queue().send(["a"])
    (mine,) = take(queue)
    with pytest.raises(TransientError):
        queue.settle(mine, outcome)
    assert place.queue().depth() == {"visible": 0, "delayed": 0, "leased": 1, "dead": 0}
    place.queue().settle(mine, outcome)
    assert sum(place.queue().depth().values()) == 1


@pytest.mark.parametrize("outcome", [Retry(after=NOTHING), Reject(reason="field x: wrong")])
def test_a_crash_between_copy_and_deletion_duplicates_and_never_loses(place, outcome):
    queue = place.queue(Between(place.client, delete_message=failing()))
    place.queue().send(["a"])
    (mine,) = take(queue)
    with pytest.raises(LeaseLost):
        queue.settle(mine, outcome)
    place.queue().extend(mine, lease=NOTHING)
    assert bodies(place, place.url) + bodies(place, place.dead_url) == Counter({"a": 2})


def test_one_who_lost_the_lease_sends_no_copy(place):
    queue = place.queue()
    queue.send(["a"])
    (stale,) = take(queue, lease=SECOND)
    (newest,) = take(queue)
    for outcome in (Retry(after=NOTHING), Reject(reason="x")):
        with pytest.raises(LeaseLost):
            queue.settle(stale, outcome)
    queue.settle(newest, Done())
    assert not sum(queue.depth().values())


@pytest.mark.parametrize(
    "code", ["ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight", "AccessDenied"]
)
def test_every_error_of_a_lease_means_that_it_is_lost(place, code):
    spoil = failing(error=refused(code))
    queue = place.queue(Between(place.client, change_message_visibility=spoil, delete_message=spoil))
    queue.send(["a"])
    (mine,) = take(queue)
    for act in (
        lambda: queue.extend(mine, lease=LEASE),
        lambda: queue.settle(mine, Done()),
        lambda: queue.settle(mine, Retry(after=NOTHING)),
    ):
        with pytest.raises(LeaseLost, match=code) as raised:
            act()
        assert isinstance(raised.value.__cause__, ClientError)
    assert queue.depth()["leased"] == 1


def test_a_lease_is_never_asked_for_longer_than_sqs_grants(place):
    queue = place.queue()
    queue.send(["a"])
    (mine,) = take(queue, lease=timedelta(days=3))
    queue.extend(mine, lease=timedelta(days=3))
    assert queue.depth()["leased"] == 1


def test_what_died_before_and_after_a_retry_is_buried_with_its_reason(place):
    """Only copies hide receipts from SQS's own count, so only they are counted by us."""
    queue = place.queue()
    queue.send(["deadly", "fine"])
    for delivery in take(queue, 2):
        if delivery.body == "fine":
            queue.settle(delivery, Done())
        else:
            queue.extend(delivery, lease=NOTHING)
    (mine,) = take(queue)
    queue.settle(mine, Retry(after=NOTHING))
    for attempt in (2, 3):
        (mine,) = take(queue)
        assert mine.attempt == attempt
        queue.extend(mine, lease=NOTHING)
    assert queue.receive(limit=10, wait=SECOND, lease=LEASE) == ()
    assert place.faults() == {"deadly": "leased 3 times and never settled"}


def test_a_message_that_cannot_be_put_off_is_not_handled_early(place):
    attributes = {sqs.NOT_BEFORE: {"DataType": "Number", "StringValue": str(SystemClock().now() * 2)}}
    place.client.send_message(QueueUrl=place.url, MessageBody="a", MessageAttributes=attributes)
    queue = place.queue(Between(place.client, send_message_batch=failing()))
    assert queue.receive(limit=10, wait=NOTHING, lease=LEASE) == ()
    assert queue.depth()["leased"] == 1


def test_a_message_of_a_stranger_is_read_as_it_is(place):
    attributes = {
        sqs.SENT_AT: {"DataType": "String", "StringValue": "yesterday"},
        sqs.DIED: {"DataType": "Binary", "BinaryValue": b"1"},
        "theirs": {"DataType": "String", "StringValue": "x"},
    }
    begun = SystemClock().now()
    place.client.send_message(QueueUrl=place.url, MessageBody="a", MessageAttributes=attributes)
    (mine,) = take(place.queue())
    assert (mine.body, mine.attempt, mine.queue) == ("a", 1, "uploads")
    assert begun // 1_000_000 <= mine.sent_at // 1_000_000 <= SystemClock().now() // 1_000_000


# ── dead letters ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_redrive_that_is_cut_off_loses_nothing(place):
    sent = [str(number) for number in range(12)]
    queue = place.queue()
    queue.send(sent)
    for delivery in take(queue, 12):
        queue.settle(delivery, Reject(reason="field x: wrong"))
    with pytest.raises(LeaseLost):
        place.queue(Between(place.client, delete_message=failing(times=1))).redrive()
    assert queue.depth()["dead"] == 12
    assert queue.depth()["visible"] == 10


def test_a_long_reason_is_cut(place):
    queue = place.queue()
    queue.send(["a", "b"])
    first, second = take(queue, 2)
    queue.settle(first, Reject(reason="x" * 10_000))
    queue.settle(second, Reject(reason=""))
    assert set(place.faults().values()) == {"x" * 500, "rejected"}


# ── the queue itself ───────────────────────────────────────────────────────────────────────────────────────


def test_a_sound_queue_is_sound(place):
    place.queue().require_sound()


def unsound(place: Place, which: str) -> str:
    if which == "absent":
        return place.url + "-not"
    if which == "without dead letters":
        return place.client.create_queue(QueueName=f"q-{secrets.token_hex(6)}")["QueueUrl"]
    return place.url + ".fifo"


@pytest.mark.parametrize("which", ["absent", "without dead letters", "fifo"])
def test_an_unsound_queue_is_refused_at_the_start_and_endured_later(place, which):
    queue = SqsQueue(place.client, url=unsound(place, which), name="uploads", clock=SystemClock())
    with pytest.raises(ConfigurationError, match="queue uploads"):
        queue.require_sound()
    if which == "absent":
        with pytest.raises(TransientError):
            queue.receive(limit=1, wait=NOTHING, lease=LEASE)
        with pytest.raises(TransientError):
            queue.depth()
    if which != "fifo":
        with pytest.raises(TransientError):
            queue.redrive()


@pytest.mark.parametrize("code", ["AccessDenied", "AWS.SimpleQueueService.NonExistentQueue"])
def test_no_access_is_a_matter_of_configuration_at_the_start_alone(place, code):
    queue = place.queue(Between(place.client, get_queue_attributes=failing(error=refused(code))))
    with pytest.raises(ConfigurationError, match=code):
        queue.require_sound()
    with pytest.raises(TransientError, match=code):
        queue.depth()


def test_a_server_that_is_not_there_is_a_passing_trouble(place, ministack):
    nowhere = clients.sqs(**caller(ministack.endpoint) | {"endpoint_url": "http://127.0.0.1:9"})
    queue = place.queue(nowhere)
    for act in (
        lambda: queue.send(["secret words"]),
        lambda: queue.receive(limit=1, wait=NOTHING, lease=LEASE),
        queue.depth,
        queue.require_sound,
    ):
        with pytest.raises(TransientError) as raised:
            act()
        assert "secret" not in str(raised.value)


def test_dead_letters_may_be_named_by_hand(place):
    url = place.client.create_queue(QueueName=f"q-{secrets.token_hex(6)}")["QueueUrl"]
    queue = SqsQueue(
        place.client,
        url=url,
        name="uploads",
        clock=SystemClock(),
        dead_letter_url=place.dead_url,
        max_receive=2,
    )
    queue.require_sound()
    queue.send(["a"])
    queue.settle(take(queue)[0], Reject(reason="field x: wrong"))
    assert place.faults() == {"a": "field x: wrong"}
    assert queue.redrive() == 1


def test_one_queue_serves_several_threads(place):
    """The heartbeat extends leases with the client that the worker settles with."""
    queue, errors = place.queue(), []
    queue.send([str(number) for number in range(40)])

    def work():
        try:
            while deliveries := queue.receive(limit=5, wait=SECOND, lease=LEASE):
                for delivery in deliveries:
                    queue.extend(delivery, lease=LEASE)
                    queue.settle(delivery, Done())
        except TransientError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not errors
    assert not sum(queue.depth().values())
