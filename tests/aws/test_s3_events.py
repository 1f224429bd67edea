"""A bucket's own notifications, as ministack really sends them, on their way through SQS.

Not on moto: its notifications name no version.
"""

from __future__ import annotations

import json
import secrets
from datetime import timedelta

import pytest
from sqs_place import Place, caller

from coverguard.aws import clients
from coverguard.errors import BadMessage
from coverguard.model import Done, ObjectRef
from coverguard.notifications import Happening, ObjectEvent, event_of, records_of, unwrapped

pytestmark = pytest.mark.servers

WAIT = timedelta(seconds=20)
LEASE = timedelta(seconds=60)
PART = 5 * 1024 * 1024
KEYS = ["plain.png", "d é/a+b.jpg", "100% sure?/#1&2=3.png", "🦊/naïve~*'().png", "a//b/../c.png"]


@pytest.fixture(scope="module")
def s3(ministack):
    return clients.s3(**caller(ministack.endpoint))


@pytest.fixture
def sns(ministack):
    return clients.sns(**caller(ministack.endpoint))


def arn_of(place: Place) -> str:
    asked = place.client.get_queue_attributes(QueueUrl=place.url, AttributeNames=["QueueArn"])
    return asked["Attributes"]["QueueArn"]


def make_bucket(s3, *, versioned: bool = True) -> str:
    bucket = f"b-{secrets.token_hex(6)}"
    s3.create_bucket(Bucket=bucket)
    if versioned:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


def notify(s3, bucket: str, **where: object) -> None:
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=where)


@pytest.fixture
def bucket(s3, place) -> str:
    bucket = make_bucket(s3)
    events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    notify(s3, bucket, QueueConfigurations=[{"QueueArn": arn_of(place), "Events": events}])
    return bucket


def events(place: Place, count: int) -> list[ObjectEvent]:
    """So many events as they come; test events are settled and not counted."""
    queue, got = place.queue(), []
    while len(got) < count:
        deliveries = queue.receive(limit=10, wait=WAIT, lease=LEASE)
        assert deliveries, f"{len(got)} of {count} came"
        for delivery in deliveries:
            got += [event_of(record) for record in records_of(unwrapped(delivery.body))]
            queue.settle(delivery, Done())
    return got


def put(s3, bucket: str, key: str, data: bytes = b"generated") -> ObjectRef:
    made = s3.put_object(Bucket=bucket, Key=key, Body=data)
    return ObjectRef(bucket=bucket, key=key, version_id=made["VersionId"])


def created(ref: ObjectRef) -> ObjectEvent:
    return ObjectEvent(happening=Happening.CREATED, ref=ref)


def test_a_new_configuration_is_tried_with_a_test_event(place, bucket):
    (delivery,) = place.queue().receive(limit=10, wait=WAIT, lease=LEASE)
    assert json.loads(delivery.body)["Event"] == "s3:TestEvent"
    assert records_of(unwrapped(delivery.body)) == ()


def test_every_key_comes_as_it_is(s3, place, bucket):
    put_there = [put(s3, bucket, key) for key in KEYS]
    got = events(place, len(KEYS))
    assert {event.ref for event in got} == set(put_there)
    assert {event.happening for event in got} == {Happening.CREATED}
    for ref in put_there:
        s3.head_object(Bucket=ref.bucket, Key=ref.key, VersionId=ref.version_id)


def test_each_way_to_make_an_object_names_the_version_it_made(s3, place, bucket):
    first = put(s3, bucket, "a")
    again = put(s3, bucket, "a", b"other bytes")
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a"})
    begun = s3.create_multipart_upload(Bucket=bucket, Key="parts")
    named = {"Bucket": bucket, "Key": "parts", "UploadId": begun["UploadId"]}
    part = s3.upload_part(**named, PartNumber=1, Body=b"x" * PART)
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    whole = s3.complete_multipart_upload(**named, MultipartUpload=parts)
    wanted = {
        first,
        again,
        ObjectRef(bucket=bucket, key="copy", version_id=copied["VersionId"]),
        ObjectRef(bucket=bucket, key="parts", version_id=whole["VersionId"]),
    }
    assert {event.ref for event in events(place, 4)} == wanted


def test_deletions_are_told_apart_from_uploads(s3, place, bucket):
    ref = put(s3, bucket, "a")
    s3.delete_object(Bucket=bucket, Key="a")
    s3.delete_object(Bucket=bucket, Key="a", VersionId=ref.version_id)
    got = events(place, 3)
    assert created(ref) in got
    assert [event.happening for event in got].count(Happening.DELETED) == 2


def test_a_notification_through_sns_is_the_same(s3, sns, place):
    topic = sns.create_topic(Name=f"t-{secrets.token_hex(6)}")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn_of(place))
    bucket = make_bucket(s3)
    notify(s3, bucket, TopicConfigurations=[{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}])
    ref = put(s3, bucket, "d é/a+b.jpg")
    assert events(place, 1) == [created(ref)]


def test_a_bucket_without_versions_is_refused(s3, place):
    bucket = make_bucket(s3, versioned=False)
    configured = [{"QueueArn": arn_of(place), "Events": ["s3:ObjectCreated:*"]}]
    notify(s3, bucket, QueueConfigurations=configured)
    s3.put_object(Bucket=bucket, Key="a", Body=b"generated")
    with pytest.raises(BadMessage, match="bucket must be versioned"):
        events(place, 1)
