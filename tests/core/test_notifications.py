"""What object stores say, raw and wrapped, as pure values; the shapes are those that AWS documents."""

from __future__ import annotations

import json

import pytest

from coverguard.errors import BadMessage
from coverguard.model import ObjectRef
from coverguard.notifications import (
    Happening,
    alone,
    event_of,
    is_nobody,
    nobody,
    records_of,
    unannounced,
    unwrapped,
)


def record(key="covers/a.png", *, name="ObjectCreated:Put", version="v1", bucket="public", **changed):
    stored = {"key": key, "size": 5, "eTag": "0", "versionId": version, "sequencer": "0055AED6DCD90281E5"}
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-01-31T12:00:00.000Z",
        "eventName": name,
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": bucket}, "object": stored},
    } | changed


def raw(*records):
    return json.dumps({"Records": records})


def in_sns(body, kind="Notification"):
    head = {
        "Type": kind,
        "MessageId": "m",
        "TopicArn": "arn:aws:sns:us-east-1:000000000000:t",
        "Subject": "s",
    }
    return json.dumps(head | {"Message": body, "Timestamp": "2026-01-31T12:00:00.000Z", "Signature": "x"})


def bridged(kind="Object Created", key="covers/a.png", version="v1", **detail):
    stored = {"key": key, "size": 5, "etag": "0", "sequencer": "0"} | (
        {"version-id": version} if version else {}
    )
    return json.dumps(
        {
            "version": "0",
            "id": "1",
            "detail-type": kind,
            "source": "aws.s3",
            "account": "000000000000",
            "detail": {"version": "0", "bucket": {"name": "public"}, "object": stored} | detail,
        }
    )


def ref(key="covers/a.png", version="v1"):
    return ObjectRef(bucket="public", key=key, version_id=version)


def only(body):
    (one,) = records_of(unwrapped(body))
    return event_of(one)


CREATED = ["Put", "Post", "Copy", "CompleteMultipartUpload"]


@pytest.mark.parametrize("how", CREATED)
@pytest.mark.parametrize("prefix", ["", "s3:"])
def test_every_way_to_make_an_object_is_one(how, prefix):
    event = only(raw(record(name=f"{prefix}ObjectCreated:{how}")))
    assert (event.happening, event.ref) == (Happening.CREATED, ref())


@pytest.mark.parametrize(
    ("name", "happening"),
    [
        ("ObjectRemoved:Delete", Happening.DELETED),
        ("ObjectRemoved:DeleteMarkerCreated", Happening.DELETED),
        ("ObjectTagging:Put", Happening.OTHER),
        ("LifecycleExpiration:Delete", Happening.OTHER),
        ("ObjectCreatedLater:Put", Happening.OTHER),
    ],
)
def test_other_things_happen_too(name, happening):
    assert only(raw(record(name=name))).happening is happening


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("d+%C3%A9/a%2Bb.jpg", "d é/a+b.jpg"),
        ("d%20%C3%A9%2Fa%2Bb.jpg", "d é/a+b.jpg"),
        ("100%25+sure%3F.png", "100% sure?.png"),
        ("plain/key.png", "plain/key.png"),
        ("%F0%9F%A6%8A", "🦊"),
    ],
)
def test_s3_encodes_a_key_as_a_form_does(said, key):
    assert only(raw(record(said))).ref.key == key


def test_eventbridge_gives_a_key_as_it_is():
    assert only(bridged(key="d é/a+b%20.jpg")).ref == ref("d é/a+b%20.jpg")


@pytest.mark.parametrize(
    ("kind", "happening"),
    [
        ("Object Created", Happening.CREATED),
        ("Object Deleted", Happening.DELETED),
        ("Object Tags Added", Happening.OTHER),
    ],
)
def test_eventbridge_tells_what_happened(kind, happening):
    assert only(bridged(kind)).happening is happening


@pytest.mark.parametrize("body", [raw(record()), bridged()])
def test_what_sns_delivered_is_unwrapped(body):
    assert only(in_sns(body)) == only(body)


def test_a_platforms_own_event_comes_through_sns_as_well():
    body = '{"schema": "coverguard.event/1", "type": "x", "TopicArn": "no envelope"}'
    assert unwrapped(in_sns(body)) == body
    assert unwrapped(body) == body
    assert records_of(body) is None


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_a_subscription_is_not_ours_to_confirm(kind):
    with pytest.raises(BadMessage, match="field Type"):
        unwrapped(in_sns("x", kind))


def test_a_test_event_has_no_records():
    body = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "public", "HostId": "x"})
    assert records_of(body) == ()
    assert records_of(unwrapped(in_sns(body))) == ()


def test_several_records_become_a_message_each():
    several = [record("a"), {"eventSource": "nonsense"}, record("b")]
    parts = [alone(one) for one in records_of(raw(*several))]
    assert [json.loads(part) for part in parts] == [{"Records": [one]} for one in several]
    assert only(parts[2]).ref.key == "b"
    assert records_of(parts[1]) is None


@pytest.mark.parametrize(
    "body", ["[]", "1", '"x"', "{}", '{"Records": []}', '{"Records": [1]}', '{"Records": 1}']
)
def test_other_json_is_no_notification(body):
    assert records_of(unwrapped(body)) is None


@pytest.mark.parametrize("body", ["", "not json", '{"Records": ' + '"x"' * 100_000])
def test_what_is_no_json_is_refused(body):
    with pytest.raises(BadMessage):
        records_of(body)


@pytest.mark.parametrize(
    "body",
    [raw(record(version=None)), raw(record(version="null")), raw(record(version="")), bridged(version=None)],
)
def test_a_bucket_without_versions_is_refused_and_named(body):
    with pytest.raises(BadMessage, match="bucket must be versioned"):
        only(body)


def test_a_deletion_need_not_name_a_version():
    assert only(raw(record(name="ObjectRemoved:Delete", version=None))).happening is Happening.DELETED


def without(*path):
    made = record()
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return made


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (without("eventName"), "eventName"),
        (without("s3"), "s3.object.key"),
        (without("s3", "object"), "s3.object.key"),
        (without("s3", "object", "key"), "s3.object.key"),
        (without("s3", "bucket"), "s3.bucket.name"),
        (record(s3=[]), "s3.object.key"),
        (record(""), "s3.object.key"),
        (record("secret%FF"), "s3.object.key"),
        (record(version=7), "versionId"),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named_and_its_value_is_not(made, field):
    with pytest.raises(BadMessage) as raised:
        event_of(made)
    assert f"field {field}" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_an_object_of_nobody_has_stable_names_that_tell_nothing():
    one = unannounced(ref("secret"))
    assert one == unannounced(ref("secret"))
    assert len({one, unannounced(ref("secret", "v2")), unannounced(ref("secre", "tv1"))}) == 3
    assert "secret" not in one
    assert is_nobody(nobody(one), cover_id=one)


def test_an_account_cannot_become_nobody_by_its_name():
    one, other = unannounced(ref("a")), unannounced(ref("b"))
    assert not is_nobody(nobody(other), cover_id=one)
    assert not is_nobody(nobody("c1"), cover_id="c1")
    assert not is_nobody("uploader-1", cover_id=one)
