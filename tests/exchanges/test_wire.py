"""One request over a real socket: its limits, and what its errors say."""

from __future__ import annotations

import re
import traceback
from datetime import timedelta
from email.utils import formatdate

import pytest

pytest.register_assert_rewrite("exchanging")

from exchanging import (  # noqa: E402 - after the rewrite
    NOW,
    TRUST,
    Caller,
    clock_at,
    ncmec_client,
    ncmec_truth,
    over_http,
    stopncii_client,
    stopncii_truth,
)

from coverguard.errors import Refused, TransientError  # noqa: E402 - as above
from coverguard.exchanges import ExchangeBusy  # noqa: E402 - as above
from coverguard.remote.exchanges import ncmec, stopncii  # noqa: E402 - as above
from coverguard.remote.exchanges.wire import Broken, NotTaken, Reply, Wire, require_root  # noqa: E402 - as above
from coverguard.testing.exchanges.ncmec import NcmecSimulation  # noqa: E402 - as above
from coverguard.testing.exchanges.serving import Server, Trouble  # noqa: E402 - as above
from coverguard.testing.exchanges.stopncii import StopNciiSimulation  # noqa: E402 - as above

HASTE = timedelta(milliseconds=200)


@pytest.fixture
def lists():
    simulation = NcmecSimulation(clock_at(), page_size=10)
    for number in range(25):
        simulation.publish(f"e{number}", at=NOW - 60)
    return simulation


@pytest.fixture
def victims():
    simulation = StopNciiSimulation(clock_at(), most=10)
    for _ in range(25):
        simulation.publish(at=NOW - 60)
    return simulation


@pytest.mark.process
def test_ncmec_over_http(lists):
    with Server(lists) as server:
        client = ncmec_client(lists, wire=over_http(lists, ncmec.CREDENTIALS_FILE), url=server.url)
        client.check()
        assert Caller(client).run().rows == ncmec_truth(lists)


@pytest.mark.process
def test_stopncii_over_http(victims):
    with Server(victims) as server:
        client = stopncii_client(victims, wire=over_http(victims, stopncii.CREDENTIALS_FILE), url=server.url)
        client.check()
        assert Caller(client).run().rows == stopncii_truth(victims)


TROUBLES = {
    Trouble.CUT: (Broken, "no whole answer: RemoteProtocolError"),
    Trouble.DRIP: (Broken, "no whole answer: TimeoutError"),
    Trouble.HUGE: (Broken, "no whole answer: too many bytes"),
    Trouble.SHORT: (Broken, "not well-formed"),
    Trouble.GARBLED: (Broken, "not well-formed"),
    Trouble.NONSENSE: (Broken, "none of hash sharing"),
    Trouble.ENCODED: (Broken, "an encoding"),
    Trouble.ERROR: (Broken, "answered 500"),
    Trouble.BUSY: (ExchangeBusy, "answered 429"),
    Trouble.UNWELL: (ExchangeBusy, "answered 503"),
    Trouble.SHUT: (Refused, "keys/ncmec.credentials"),
    Trouble.MOVED: (TransientError, "answered 302"),
    Trouble.GONE: (NotTaken, "answered 404"),
}


@pytest.mark.process
@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_trouble_has_its_error_which_tells_no_secret(lists, trouble, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    kind, words = TROUBLES[trouble]
    lists.befall(trouble)
    with Server(lists) as server:
        haste = HASTE if trouble is Trouble.DRIP else timedelta(seconds=20)
        wire = over_http(lists, ncmec.CREDENTIALS_FILE, timeout=haste, max_page_bytes=50_000)
        with pytest.raises(kind, match=re.escape(words)) as caught:
            ncmec_client(lists, wire=wire, url=server.url).check()
    told = "".join(traceback.format_exception(caught.value))
    for secret in ("for-tests-only", "Basic", "127.0.0.1", "elsewhere", "v2/status?"):
        assert secret not in told


@pytest.mark.process
def test_what_came_of_a_page_that_was_cut_is_kept(victims):
    victims.befall(Trouble.CUT)
    with Server(victims) as server:
        client = stopncii_client(victims, wire=over_http(victims, stopncii.CREDENTIALS_FILE), url=server.url)
        with pytest.raises(Broken) as caught:
            client.check()
    assert caught.value.body.startswith(b'{"count": 0')
    assert "count" not in repr(caught.value)


@pytest.mark.process
@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1/x"])
def test_nobody_there_is_an_error_and_no_gap(lists, url):
    client = ncmec_client(lists, wire=over_http(lists, ncmec.CREDENTIALS_FILE), url=url)
    with pytest.raises(TransientError, match="cannot be reached") as caught:
        Caller(client).run()
    assert caught.value.__suppress_context__


class Answering(Wire):
    """Answers what it is told to."""

    __slots__ = ()
    replies: list[Reply] = []  # noqa: RUF012 - each test sets its own

    def once(self, address, *, headers):
        return self.replies.pop(0)


def waited(said, *, status=503, clock=None, count=1):
    clock = clock or clock_at()
    wire = Answering(name="x", credentials_file="f", clock=clock, trust=TRUST)
    Answering.replies = [Reply(status=status, headers={"retry-after": said})] * count + [
        Reply(status=200, headers={}, body=b"ok")
    ]
    got = wire.get("https://example.org", headers={}, read=bytes)
    assert got == b"ok"
    return clock.now() - NOW * 1_000_000


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        ("30", 30),
        (formatdate(NOW + 20, usegmt=True), 20),
        (formatdate(NOW - 20, usegmt=True), 0),
    ],
)
def test_a_short_retry_after_is_waited_for(said, seconds):
    assert waited(said) == seconds * 1_000_000


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("31", 31), ("999999999", 86_400), (formatdate(NOW + 3600, usegmt=True), 3600)],
)
def test_a_long_one_is_said(said, seconds):
    with pytest.raises(ExchangeBusy) as caught:
        waited(said)
    assert caught.value.after == timedelta(seconds=seconds)


def test_it_is_waited_for_twice_a_page():
    assert waited("10", count=2) == 20_000_000
    with pytest.raises(ExchangeBusy):
        waited("10", count=3)


def test_too_many_requests_without_a_word_are_a_minute():
    with pytest.raises(ExchangeBusy) as caught:
        waited("", status=429)
    assert caught.value.after == timedelta(minutes=1)


@pytest.mark.parametrize("said", ["", "soon", "-5", "9" * 5000, "Wed, 99 Nov 2026 00:00:00 GMT", "²"])
def test_a_retry_after_that_is_none_is_a_hiccup(said):
    assert waited(said) < 10_000_000  # what the retry policy waits


@pytest.mark.parametrize("status", [201, 204, 206, 301, 304, 307])
def test_only_200_is_an_answer(status):
    with pytest.raises(TransientError, match=str(status)):
        waited("", status=status)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "http://example.org", "http://128.0.0.1/", "file:///etc/passwd", "https://",
        "https://u@example.org", "https://example.org?x", "https://example.org#x", "https://example.org/\n",
        "http://localhost.example.org", "http://127.0.0.1.example.org/",
    ],
)  # fmt: skip
def test_what_gets_no_credentials(url):
    with pytest.raises(ValueError, match="address"):
        require_root(url)
