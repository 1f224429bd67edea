"""Pages by SNS: what a subscriber gets, and what it never gets."""

from __future__ import annotations

import json
from dataclasses import replace
from secrets import token_hex

import pytest
from sqs_place import caller

from coverguard.aws import clients
from coverguard.aws.alarms import SnsPager
from coverguard.errors import TransientError
from coverguard.model import Micros, Severity
from coverguard.ports import Page, PageState

pytestmark = pytest.mark.servers

PAGE = Page(
    key="dead_letters:queue:uploads:1800000000000000:ringing:1800000000000000",
    kind="dead_letters",
    severity=Severity.PAGE,
    state=PageState.RINGING,
    meaning="Messages that nobody will handle.",
    subjects=["queue:uploads"],
    count=1,
    raised_at=Micros(1_800_000_000_000_000),
)


class Desk:
    """A topic and somebody who listens to it."""

    def __init__(self, endpoint, *, fifo: bool = False) -> None:
        self.sns = clients.sns(**caller(endpoint))
        self.sqs = clients.sqs(**caller(endpoint))
        name = f"alarms-{token_hex(6)}{'.fifo' if fifo else ''}"
        kind = {"FifoQueue": "true"} if fifo else {}
        topic_kind = {"FifoTopic": "true"} if fifo else {}
        self.topic = self.sns.create_topic(Name=name, Attributes=topic_kind)["TopicArn"]
        self.url = self.sqs.create_queue(QueueName=name, Attributes=kind)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        self.sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"])

    def pager(self) -> SnsPager:
        return SnsPager(self.sns, topic=self.topic)

    def got(self) -> list[dict]:
        told = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        return [json.loads(one["Body"]) for one in told.get("Messages", [])]


@pytest.fixture(params=["ministack", "moto"])
def endpoint(request):
    return request.getfixturevalue(request.param).endpoint


def test_a_page_arrives_with_what_a_person_needs(endpoint):
    desk = Desk(endpoint)
    desk.pager().page(PAGE)
    (envelope,) = desk.got()
    assert envelope["Subject"] == "coverguard page: dead_letters ringing"
    assert json.loads(envelope["Message"]) == {
        "schema": "coverguard.alarm/1",
        "kind": "dead_letters",
        "severity": "page",
        "state": "ringing",
        "key": PAGE.key,
        "meaning": "Messages that nobody will handle.",
        "subjects": ["queue:uploads"],
        "count": 1,
        "raised_at": "2027-01-15T08:00:00+00:00",
        "runbook": "docs/runbooks/dead_letters.md",
    }
    attributes = {name: one["Value"] for name, one in envelope["MessageAttributes"].items()}
    assert attributes == {"kind": "dead_letters", "severity": "page", "state": "ringing", "key": PAGE.key}


def test_on_a_fifo_topic_the_same_news_arrives_once(endpoint):
    desk = Desk(endpoint, fifo=True)
    desk.pager().page(PAGE)
    desk.pager().page(PAGE)
    desk.pager().page(replace(PAGE, key=f"{PAGE.key}-again", state=PageState.ENDED))
    assert [json.loads(one["Message"])["state"] for one in desk.got()] == ["ringing", "ended"]


def test_a_topic_that_is_not_there_is_tried_again_later(endpoint):
    desk = Desk(endpoint)
    gone = SnsPager(desk.sns, topic=f"{desk.topic}-gone")
    with pytest.raises(TransientError, match="cannot publish to SNS: NotFound"):
        gone.page(PAGE)


def test_a_topic_that_cannot_be_reached_is_tried_again_later():
    client = clients.sns(
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    with pytest.raises(TransientError, match="EndpointConnectionError"):
        SnsPager(client, topic="arn:aws:sns:us-east-1:000000000000:alarms").page(PAGE)
