"""The example consumer behind a real queue: what comes late or twice never shows a cover again."""

from __future__ import annotations

import secrets
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_consumer import SHOWN, TYPES, cover_of, picture, platform, verdict

from coverguard.aws import clients
from coverguard.aws.topics import SqsTopic
from coverguard.local.clock import SystemClock
from coverguard.messages import Cover, CoverUploaded, StoredObject, from_micros, parse_outgoing
from coverguard.model import Mode
from coverguard.relaying import Relay, event_of
from coverguard.store import covers, outbox
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.telemetry import Log

pytestmark = pytest.mark.servers


class Pipeline:
    """A queue of the platform's, and the platform that empties it: acknowledged is what was carried out."""

    def __init__(self, server) -> None:
        endpoint = server.endpoint
        self.client = clients.sqs(
            endpoint_url=endpoint.url,
            region_name=endpoint.region,
            aws_access_key_id=endpoint.access_key,
            aws_secret_access_key=endpoint.secret_key,
        )
        self.renew()

    def renew(self) -> Pipeline:
        """Another queue, another platform."""
        self.url = self.client.create_queue(QueueName=f"pipeline-{secrets.token_hex(6)}")["QueueUrl"]
        self.topic = SqsTopic(self.client, url=self.url)
        self.platform = platform()
        self.consumer = self.platform.consumer()
        return self

    def publish(self, body: str) -> None:
        key = parse_outgoing(body).event_id
        row = SimpleNamespace(idempotency_key=key, body=body)
        assert self.topic.publish([event_of(row)]).confirmed == {key}

    def consume(self, *, acknowledge: bool = True) -> list[str]:
        became = []
        while messages := self.client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, VisibilityTimeout=600
        ).get("Messages"):
            for one in messages:
                became.append(self.consumer.handle(one["Body"]))
                receipt = {"QueueUrl": self.url, "ReceiptHandle": one["ReceiptHandle"]}
                if acknowledge:
                    self.client.delete_message(**receipt)
                else:
                    self.client.change_message_visibility(**receipt, VisibilityTimeout=0)
            if not acknowledge:
                break
        return became


@pytest.fixture(scope="module")
def shared(ministack) -> Pipeline:
    return Pipeline(ministack)


@pytest.fixture
def pipeline(shared) -> Pipeline:
    return shared.renew()


@pytest.mark.parametrize("hiding", ["cover.withheld", "cover.removed"])
def test_a_late_and_repeated_cleared_does_not_show_a_hidden_cover(pipeline, hiding):
    late = verdict("cover.cleared", 1)
    pipeline.publish(verdict(hiding, 2))
    assert pipeline.consume() == ["done"]
    pipeline.publish(late)
    pipeline.publish(late)
    assert pipeline.consume() == ["late", "late"]
    assert not pipeline.platform.shown


def test_a_message_that_is_redelivered_is_obeyed_once(pipeline):
    pipeline.publish(verdict("cover.cleared", 1))
    assert pipeline.consume(acknowledge=False) == ["done"]
    assert pipeline.platform.shown == {cover_of(): picture("c", 1)}
    pipeline.publish(verdict("cover.withheld", 2))
    assert sorted(pipeline.consume()) == ["done", "repeated"]
    assert not pipeline.platform.shown


histories = st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(history=histories, data=st.data())
def test_a_whole_history_in_any_order_and_more_than_once(shared, history, data):
    pipeline = shared.renew()
    numbered = list(enumerate(history, start=1))
    again = data.draw(st.lists(st.sampled_from(numbered), max_size=4))
    for seq, kind in data.draw(st.permutations(numbered + again)):
        pipeline.publish(verdict(kind, seq))
        if data.draw(st.booleans()):
            pipeline.consume()
    pipeline.consume()
    assert bool(pipeline.platform.shown) is (history[-1] in SHOWN)


def test_what_the_relay_sends_twice_is_obeyed_once(pipeline, tmp_path):
    """From the ledger; the keeper dies before it notes either event, and the next one sends both again."""
    database, clock = Database(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False), SystemClock()
    migrate(database)
    named = StoredObject(bucket="intake", key="c/1", version_id="v1")
    event = CoverUploaded(
        event_id="e",
        occurred_at=from_micros(clock.now()),
        cover=Cover(id="c", version=1, surface="playlist_cover"),
        uploader_id="u",
        owner_id="u",
        object=named,
    )
    with database.transaction() as tx:
        cover = covers.announce(tx, event, mode=Mode.GATE, sent_at=clock.now(), now=clock.now())
        for kind in ("cover.withheld", "cover.removed"):
            outbox.tell_pipeline(tx, cover=cover, event=kind, now=clock.now())
    topics, log = {"pipeline": pipeline.topic}, Log(stream=None)
    relay = Relay(database=database, topics=topics, clock=clock, log=log)
    assert relay.relay() == 2
    with database.transaction() as tx:
        tx.exec_driver_sql("UPDATE outbox SET sent_at = NULL")
    assert replace(relay).relay() == 2
    became = pipeline.consume()
    assert became.count("done") <= 2
    assert len(became) == 4
    assert not pipeline.platform.shown
    pipeline.publish(verdict("cover.cleared", 1))
    assert pipeline.consume() == ["late"]
    assert not pipeline.platform.shown
    database.close()
