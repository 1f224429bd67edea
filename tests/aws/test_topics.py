"""What every `ports.Topic` must do, on SQS and SNS by two makers, standard and FIFO, and on the table."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from sqs_place import caller

from coverguard.aws import clients
from coverguard.aws.topics import BATCH, SnsTopic, SqsTopic
from coverguard.local.clock import SystemClock
from coverguard.messages import SCHEMA
from coverguard.ports import OutgoingEvent, Topic
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.store.queue import TableQueue
from coverguard.store.topics import QueueTopic
from coverguard.testing.servers import Endpoint

Message = tuple[str, Mapping[str, str]]  # body, attributes


@dataclass(frozen=True)
class Bench:
    topic: Topic
    receive: Callable[[], list[Message]]
    with_client: Callable[[Callable[[Any], Any]], Topic] | None  # the same topic, its client wrapped
    fifo: bool = False
    attributes: bool = True


def event(number: int, *, group: str = "", body: str | None = None) -> OutgoingEvent:
    group = group or f"cover-{number:016x}"
    key = f"{group}:{number}"
    text = json.dumps({"schema": SCHEMA, "type": "cover.withheld", "event_id": key}) if body is None else body
    return OutgoingEvent(key=key, group=group, type="cover.withheld", schema=SCHEMA, body=text)


def emptied(client: Any, url: str) -> list[Message]:
    """Take everything off a queue. What was confirmed is there at once, as these servers work."""
    got: list[Message] = []
    silent = 0
    while silent < 2:
        answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        messages = answer.get("Messages", [])
        silent = 0 if messages else silent + 1
        for one in messages:
            attributes = {n: a["StringValue"] for n, a in one.get("MessageAttributes", {}).items()}
            got.append((one["Body"], attributes))
            client.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
    return got


def made_queue(client: Any, *, fifo: bool) -> str:
    name = f"t-{secrets.token_hex(6)}" + (".fifo" if fifo else "")
    url: str = client.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if fifo else {})[
        "QueueUrl"
    ]
    return url


@cache
def client_of(service: str, url: str) -> Any:
    return getattr(clients, service)(**caller(Endpoint(url=url, access_key="test", secret_key="test")))


def sqs_bench(server: Any, *, fifo: bool) -> Bench:
    client = client_of("sqs", server.endpoint.url)
    url = made_queue(client, fifo=fifo)
    return Bench(
        topic=SqsTopic(client, url=url),
        receive=lambda: emptied(client, url),
        with_client=lambda wrap: SqsTopic(wrap(client), url=url),
        fifo=fifo,
    )


def sns_bench(server: Any, *, fifo: bool) -> Bench:
    sqs, sns = client_of("sqs", server.endpoint.url), client_of("sns", server.endpoint.url)
    url = made_queue(sqs, fifo=fifo)
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    name = url.rpartition("/")[2]
    topic = sns.create_topic(Name=name, Attributes={"FifoTopic": "true"} if fifo else {})["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    return Bench(
        topic=SnsTopic(sns, arn=topic),
        receive=lambda: emptied(sqs, url),
        with_client=lambda wrap: SnsTopic(wrap(sns), arn=topic),
        fifo=fifo,
    )


def table_bench(folder: Any) -> Bench:
    database = Database(f"sqlite:///{folder / 'ledger.db'}", durable=False)
    migrate(database)
    queue = TableQueue(database, "pipeline", clock=SystemClock())

    def receive() -> list[Message]:
        got = queue.receive(limit=100, wait=timedelta(), lease=timedelta(hours=1))
        return [(one.body, {}) for one in got]

    return Bench(topic=QueueTopic(queue), receive=receive, with_client=None, attributes=False)


MAKERS = {"sqs": sqs_bench, "sns": sns_bench}
SERVICES = [
    pytest.param(
        (server, kind, fifo), marks=pytest.mark.servers, id=f"{kind}-{server}{'-fifo' if fifo else ''}"
    )
    for server in ("ministack", "moto")
    for kind in MAKERS
    for fifo in (False, True)
]


def made(request: pytest.FixtureRequest) -> Bench:
    server, kind, fifo = request.param
    return MAKERS[kind](request.getfixturevalue(server), fifo=fifo)


@pytest.fixture(params=[*SERVICES, "table"])
def bench(request, tmp_path) -> Bench:
    return table_bench(tmp_path) if request.param == "table" else made(request)


@pytest.fixture(params=[one for one in SERVICES if one.id != "sns-moto-fifo"])
def service(request) -> Bench:
    return made(request)


# ── every topic ────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_confirmed_has_arrived(bench):
    events = [event(number) for number in range(BATCH + 3)]
    became = bench.topic.publish(events)
    assert became.confirmed == {one.key for one in events}
    assert (became.refused, became.fault) == (frozenset(), "")
    arrived = bench.receive()
    assert sorted(body for body, _ in arrived) == sorted(one.body for one in events)
    if bench.attributes:
        for body, attributes in arrived:
            key = json.loads(body)["event_id"]
            assert attributes == {"type": "cover.withheld", "schema": SCHEMA, "idempotency_key": key}


def test_nothing_is_no_request(bench):
    assert bench.topic.publish([]).confirmed == frozenset()
    assert bench.receive() == []


def test_a_group_keeps_its_order(bench):
    group = "cover-00000000000000aa"
    events = [event(number, group=group) for number in range(4)] + [event(number) for number in range(3)]
    assert len(bench.topic.publish(events).confirmed) == 7
    mine = [body for body, _ in bench.receive() if group in body]
    if bench.fifo or not bench.attributes:
        assert mine == [one.body for one in events[:4]]
    else:  # a standard queue promises no order; `verdict_seq` is for that
        assert sorted(mine) == sorted(one.body for one in events[:4])


def test_any_text_arrives_as_the_same_json(bench):
    said = 'naïve 🦊 \ufffe \uffff \x7f " \\ '
    body = json.dumps({"type": "cover.withheld", "said": said}, ensure_ascii=False)
    assert len(bench.topic.publish([event(1, body=body)]).confirmed) == 1
    ((arrived, _),) = bench.receive()
    assert json.loads(arrived)["said"] == said


# ── services ───────────────────────────────────────────────────────────────────────────────────────────────


class Unwell:
    """A client that leaves out some entries, as a server does that has a bad moment."""

    def __init__(self, client: Any, *, fails: Callable[[str], bool], fault: str = "InternalError") -> None:
        self._client, self._fails, self._fault = client, fails, fault
        self.requests: list[list[str]] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:  # noqa: N803 - boto3's
        return self._some(
            Entries, lambda well: self._client.send_message_batch(QueueUrl=QueueUrl, Entries=well)
        )

    def publish_batch(self, *, TopicArn: str, PublishBatchRequestEntries: Sequence[Any]) -> Any:  # noqa: N803
        return self._some(
            PublishBatchRequestEntries,
            lambda well: self._client.publish_batch(TopicArn=TopicArn, PublishBatchRequestEntries=well),
        )

    def _some(self, entries: Sequence[Any], send: Callable[[list[Any]], Any]) -> Any:
        keys = {one["Id"]: one["MessageAttributes"]["idempotency_key"]["StringValue"] for one in entries}
        self.requests.append([*keys.values()])
        well = [one for one in entries if not self._fails(keys[one["Id"]])]
        answer = send(well) if well else {"Successful": []}
        ill = [one["Id"] for one in entries if self._fails(keys[one["Id"]])]
        failed = [{"Id": one, "Code": self._fault, "SenderFault": False} for one in ill]
        return {"Successful": answer.get("Successful", []), "Failed": [*answer.get("Failed", []), *failed]}


def test_an_event_that_fails_stops_its_group_and_no_other(service):
    group, other = "cover-00000000000000aa", "cover-00000000000000bb"
    events = [event(number, group=one) for number in range(3) for one in (group, other)]
    unwell: list[Unwell] = []

    def wrap(client: Any) -> Unwell:
        unwell.append(Unwell(client, fails=lambda key: key == f"{group}:1"))
        return unwell[0]

    became = service.with_client(wrap).publish(events)
    assert became.confirmed == {f"{group}:0", *(f"{other}:{number}" for number in range(3))}
    assert (became.refused, became.fault) == (frozenset(), "InternalError")
    assert all(len({key.partition(":")[0] for key in one}) == len(one) for one in unwell[0].requests)
    assert {json.loads(body)["event_id"] for body, _ in service.receive()} == became.confirmed


def test_a_refused_event_stops_nothing(service):
    group = "cover-00000000000000aa"
    events = [event(number, group=group) for number in range(3)]
    refusing = service.with_client(
        lambda client: Unwell(client, fails=lambda key: key.endswith(":1"), fault="InvalidMessageContents")
    )
    became = refusing.publish(events)
    assert became.refused == {f"{group}:1"}
    assert became.confirmed == {f"{group}:0", f"{group}:2"}
    assert became.fault == ""


def test_an_event_that_the_server_cannot_take_is_found_and_the_rest_goes(service):
    """Too large for everybody; the server says so itself."""
    huge = event(5, body=json.dumps({"event_id": "huge", "said": "x" * (2 * 1024 * 1024)}))
    empty = event(6, body="")
    events = [event(1), huge, event(2), empty, event(3)]
    became = service.topic.publish(events)
    assert {event(number).key for number in (1, 2, 3)} <= became.confirmed
    took = {json.loads(body)["event_id"] for body, _ in service.receive() if body}
    assert (huge.key in became.refused) is ("huge" not in took)
    assert became.fault == ""
    assert {huge.key, empty.key} <= became.confirmed | became.refused


def test_a_topic_that_is_not_there_confirms_and_refuses_nothing(service):
    gone = service.with_client(lambda client: client)
    for name in ("_url", "_arn"):
        if hasattr(gone, name):
            setattr(gone, name, getattr(gone, name).replace("t-", "gone-"))
    became = gone.publish([event(1), event(2)])
    assert (became.confirmed, became.refused) == (frozenset(), frozenset())
    assert became.fault


@pytest.mark.servers
@pytest.mark.parametrize("make", [SqsTopic, SnsTopic])
def test_a_server_that_is_not_there_confirms_nothing(make):
    nowhere = {
        "endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1",
        "aws_access_key_id": "test", "aws_secret_access_key": "test",
    }  # fmt: skip
    topic = (
        SqsTopic(clients.sqs(**nowhere), url="http://127.0.0.1:9/1/q")
        if make is SqsTopic
        else SnsTopic(clients.sns(**nowhere), arn="arn:aws:sns:us-east-1:1:t")
    )
    became = topic.publish([event(1)])
    assert became.confirmed == became.refused == frozenset()
    assert became.fault == "EndpointConnectionError"


def test_what_comes_twice_to_a_fifo_is_one(service):
    service.topic.publish([event(1), event(2)])
    assert len(service.topic.publish([event(1)]).confirmed) == 1
    assert len(service.receive()) == (2 if service.fifo else 3)
