"""What the CloudFront adapter says and waits for; whether edges forget is the contract suite's."""

from __future__ import annotations

from datetime import timedelta

import pytest
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import Stubber

from coverguard.aws import clients
from coverguard.aws.cloudfront import CloudFrontCdn, paths_of
from coverguard.errors import TransientError
from coverguard.model import Micros

KEYS = [("covers", "c/1.png")]


class Clock:
    def __init__(self) -> None:
        self.time = 1_000_000
        self.slept: list[timedelta] = []

    def now(self) -> Micros:
        return Micros(self.time)

    def sleep(self, period: timedelta) -> None:
        self.slept.append(period)
        self.time += period // timedelta(microseconds=1)


@pytest.fixture(scope="module")
def client():
    return clients.cloudfront(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")


@pytest.fixture
def stub(client):
    with Stubber(client) as stub:
        yield stub
        stub.assert_no_pending_responses()


def cdn_of(client, clock: Clock) -> CloudFrontCdn:
    return CloudFrontCdn(client, distribution="D1", clock=clock, timeout=timedelta(seconds=10))


def answer(status: str) -> dict:
    batch = {"Paths": {"Quantity": 1, "Items": ["/c/1.png"]}, "CallerReference": "r"}
    return {"Invalidation": {"Id": "I1", "Status": status, "CreateTime": 0, "InvalidationBatch": batch}}


def test_it_returns_when_cloudfront_says_complete(client, stub) -> None:
    clock = Clock()
    stub.add_response("create_invalidation", answer("InProgress"))
    for status in ("InProgress", "InProgress", "Completed"):
        stub.add_response("get_invalidation", answer(status), {"DistributionId": "D1", "Id": "I1"})
    cdn_of(client, clock).invalidate(KEYS)
    assert len(clock.slept) == 2


def test_what_is_not_complete_in_time_is_tried_again(client, stub) -> None:
    clock = Clock()
    stub.add_response("create_invalidation", answer("InProgress"))
    for _ in range(7):
        stub.add_response("get_invalidation", answer("InProgress"))
    with pytest.raises(TransientError, match="in time"):
        cdn_of(client, clock).invalidate(KEYS)
    assert timedelta(seconds=10) < sum(clock.slept, timedelta()) < timedelta(seconds=20)


@pytest.mark.parametrize("code", ["TooManyInvalidationsInProgress", "AccessDenied", "NoSuchDistribution"])
def test_a_refusal_is_tried_again_and_says_its_code(client, stub, code) -> None:
    stub.add_client_error("create_invalidation", service_error_code=code, http_status_code=400)
    with pytest.raises(TransientError, match=code) as caught:
        cdn_of(client, Clock()).invalidate(KEYS)
    assert "c/1" not in str(caught.value)


@pytest.mark.thorough
def test_silence_is_tried_again(client) -> None:
    def time_out(**_):
        raise ConnectTimeoutError(endpoint_url="http://127.0.0.1")

    client.meta.events.register("before-call.cloudfront", time_out)
    try:
        with pytest.raises(TransientError, match="ConnectTimeoutError"):
            cdn_of(client, Clock()).invalidate(KEYS)
    finally:
        client.meta.events.unregister("before-call.cloudfront", time_out)


def test_each_call_begins_its_own_invalidation(client) -> None:
    """An edge may have fetched again since the last one, however long ago that was."""
    references = []

    def note(params, **_):
        references.append(params["body"].split(b"<CallerReference>")[1].split(b"<")[0])
        raise ConnectTimeoutError(endpoint_url="http://127.0.0.1")

    client.meta.events.register("before-call.cloudfront", note)
    clock = Clock()
    try:
        for moment in (1, 1, 2):
            clock.time = moment
            with pytest.raises(TransientError):
                cdn_of(client, clock).invalidate(KEYS)
    finally:
        client.meta.events.unregister("before-call.cloudfront", note)
    assert references[0] == references[1] != references[2]


@pytest.mark.parametrize(
    ("key", "paths"),
    [
        ("c/1.png", {"/c/1.png"}),
        ("c/a b.png", {"/c/a%20b.png"}),
        ("naïve/🦊", {"/na%C3%AFve/%F0%9F%A6%8A"}),
        ("~x[y]", {"/%7Ex%5By%5D"}),
        ("100%", {"/100%25"}),
        ("q?x#y", {"/q%3Fx%23y"}),
        ("a@b", {"/a%40b"}),
        ("a+b:c", {"/a+b:c", "/a%2Bb%3Ac"}),
        ("/a//b/", {"//a//b/"}),
        ("a*b*", {"/a*b*", "/a%2Ab%2A"}),
    ],
)
def test_paths_are_what_cloudfront_and_clients_take_them_for(key, paths) -> None:
    assert paths_of(key) == paths
