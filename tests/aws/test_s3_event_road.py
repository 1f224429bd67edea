"""From a bucket's own event to a cover that nobody gets any more: S3, SQS and PostgreSQL as they are."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import text

from coverguard import bootstrap, preparing
from coverguard.aws import clients
from coverguard.hashlist import ListRow
from coverguard.imaging import fingerprint
from coverguard.model import Algorithm, Category, ListAction
from coverguard.policy import ListRule
from coverguard.ports import Reach
from coverguard.store import lists
from coverguard.telemetry import Log
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.stack import Servers, Stack
from coverguard.testing.vouching import vouch
from coverguard.worker import Heartbeat

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

LISTED = encode(draw(Kind.SCENE, 11, side=128), "PNG")
OTHER = encode(draw(Kind.SCENE, 12, side=128), "PNG")
IDS = {
    "coverguard-cover-id": "c%C3%A9",
    "coverguard-cover-version": "3",
    "coverguard-surface": "profile_image",
    "coverguard-uploader-id": "uploader-1",
}


@pytest.fixture
def stack(tmp_path, ministack, postgres, monkeypatch):
    servers = Servers(sqs=ministack.endpoint, s3=ministack.endpoint, postgres=postgres)
    made = Stack(servers=servers, home=tmp_path / "home", more="trust_object_metadata = true")
    made.make()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    sqs = clients.sqs()
    asked = sqs.get_queue_attributes(QueueUrl=made.queue_urls["uploads"], AttributeNames=["QueueArn"])
    to = {"QueueArn": asked["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    made.buckets.client.put_bucket_notification_configuration(
        Bucket=made.bucket("public"), NotificationConfiguration={"QueueConfigurations": [to]}
    )
    preparing.prepare(made.home)
    yield made
    postgres.drop_database(made.name)


def put_on_a_list(parts, data):
    digest = fingerprint(data).views[0].signals["pdq"]
    rule = ListRule(list_id=0, version=0, category=Category.CHILD_ABUSE, action=ListAction.HOLD)
    row = ListRow(source_entry_id="entry", algorithm=Algorithm.PDQ, digest=digest)
    with parts.database.transaction() as tx:
        now = parts.clock.now()
        list_id, _ = lists.create(tx, name="l", source="tests", rule=rule, actor="tests", note="-", now=now)
        vouch(tx, list_id, now=now)
        lists.write_entries(tx, parts.keys, list_id=list_id, rows=[row], now=now)


def test_an_object_that_only_the_store_announces_is_held(stack):
    with bootstrap.deployment(stack.home, log=Log(stream=None)) as parts:
        put_on_a_list(parts, LISTED)
        public = stack.bucket("public")
        listed = stack.buckets.put(public, "d é/a+b.png", LISTED, content_type="image/png", metadata=IDS)
        other = stack.buckets.put(
            public, "c.png", OTHER, content_type="image/png", metadata=IDS | {"coverguard-cover-id": "d"}
        )
        worker, queue = parts.worker(), parts.queue(bootstrap.UPLOADS)
        heartbeat, end = Heartbeat(lease=worker.lease, log=parts.log), time.monotonic() + 120
        while worker.serve_once(heartbeat, threading.Event()) or sum(queue.depth().values()):
            assert time.monotonic() < end, "it did not come to an end"
        places = parts.settings.places()
        reached = [parts.probe.ask(places.url(public, ref.key), sha256=b"") for ref in (listed, other)]
        with parts.database.reading() as tx:
            rows = tx.execute(
                text("SELECT cover_id, version, bucket, key, version_id, mode FROM cover_version")
            )
            found = {tuple(row) for row in rows}
            told = sorted(tx.execute(text("SELECT topic FROM outbox")).scalars())
    assert found == {
        ("cé", 3, public, listed.key, listed.version_id, "watch"),
        ("d", 3, public, other.key, other.version_id, "watch"),
    }
    assert reached[0] is Reach.GONE
    assert reached[1] is not Reach.GONE
    assert told == ["pipeline", "pipeline", "safety", "safety"]
