"""The URL probe against real loopback servers, good and bad: gone is only what is surely gone."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from coverguard.local.fileserver import serve
from coverguard.local.folder import FolderStore
from coverguard.ports import Reach
from coverguard.remote.probe import HttpProbe

pytestmark = pytest.mark.process

RED = b"red, generated" * 1000
BLUE = b"blue, generated" * 1000
PLACEHOLDER = b"a grey square, generated"


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.fixture(scope="module")
def probe() -> Iterator[HttpProbe]:
    with HttpProbe(
        timeout=timedelta(seconds=5),
        limit=100_000,
        placeholders=frozenset({sha256(PLACEHOLDER)}),
        placeholder_urls=frozenset({"https://cdn.example/placeholder.png"}),
    ) as made:
        yield made


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """Serve each connection with `answer`, after reading its request; yield the URL and the requests."""
    requests: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def loop() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.settimeout(10)
                    requests.append(connection.recv(65536))
                    answer(connection)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/cover", requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def response(status: str, body: bytes = b"", *headers: str) -> Callable[[socket.socket], None]:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return lambda connection: connection.sendall("\r\n".join(lines).encode() + body)


def reach(probe: HttpProbe, answer: Callable[[socket.socket], None], asked: bytes = RED) -> Reach:
    with answering(answer) as (url, _):
        return probe.ask(url, sha256=sha256(asked))


# ── with the file server ───────────────────────────────────────────────────────────────────────────────────


def test_probe_and_file_server_agree(probe: HttpProbe, tmp_path: Path) -> None:
    store = FolderStore(root=tmp_path, buckets=frozenset({"covers"}), vault="vault", durable=False)
    ref = store.put("covers", "c/1.png", RED, content_type="image/png")
    with serve(store, public=frozenset({"covers"}), port=0) as server:
        url = f"http://127.0.0.1:{server.port}/covers/c/1.png"
        assert probe.ask(url, sha256=sha256(RED)) is Reach.REACHABLE
        store.block(ref, token="t1")
        assert probe.ask(url, sha256=sha256(RED)) is Reach.GONE
        store.unblock(ref, token="t1")
        assert probe.ask(url, sha256=sha256(RED)) is Reach.REACHABLE
        store.put("covers", "c/1.png", BLUE, content_type="image/png")
        assert probe.ask(url, sha256=sha256(RED)) is Reach.REPLACED
        store.put("covers", "c/1.png", PLACEHOLDER, content_type="image/png")
        assert probe.ask(url, sha256=sha256(RED)) is Reach.GONE
    assert probe.ask(url, sha256=sha256(RED)) is Reach.UNKNOWN


def test_many_threads_may_ask_at_once(probe: HttpProbe, tmp_path: Path) -> None:
    store = FolderStore(root=tmp_path, buckets=frozenset({"covers"}), vault="vault", durable=False)
    for number in range(20):
        store.put("covers", str(number), b"%d" % number, content_type="image/png")
    with serve(store, public=frozenset({"covers"}), port=0) as server, ThreadPoolExecutor(8) as pool:

        def ask(number: int) -> Reach:
            url = f"http://127.0.0.1:{server.port}/covers/{number}"
            return probe.ask(url, sha256=sha256(b"%d" % number))

        assert set(pool.map(ask, range(20))) == {Reach.REACHABLE}


# ── with any server ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("403 Forbidden", Reach.GONE),
        ("404 Not Found", Reach.GONE),
        ("410 Gone", Reach.GONE),
        ("204 No Content", Reach.UNKNOWN),
        ("206 Partial Content", Reach.UNKNOWN),
        ("304 Not Modified", Reach.UNKNOWN),
        ("401 Unauthorized", Reach.UNKNOWN),
        ("429 Too Many Requests", Reach.UNKNOWN),
        ("500 Internal Server Error", Reach.UNKNOWN),
        ("503 Service Unavailable", Reach.UNKNOWN),
        ("999 What", Reach.UNKNOWN),
    ],
)
def test_statuses(probe: HttpProbe, status: str, expected: Reach) -> None:
    assert reach(probe, response(status)) is expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://cdn.example/placeholder.png", Reach.GONE),
        ("//cdn.example/placeholder.png", Reach.UNKNOWN),  # http, as asked: not the configured address
        ("https://cdn.example/other.png", Reach.UNKNOWN),
        ("/cover", Reach.UNKNOWN),
        ("http://[broken", Reach.UNKNOWN),
        ("http://x:99999999/", Reach.UNKNOWN),
    ],
)
def test_redirects_are_not_followed(probe: HttpProbe, location: str, expected: Reach) -> None:
    with answering(response("302 Found", b"", f"Location: {location}")) as (url, requests):
        assert probe.ask(url, sha256=sha256(RED)) is expected
    assert len(requests) == 1


def test_bodies(probe: HttpProbe) -> None:
    assert reach(probe, response("200 OK", RED)) is Reach.REACHABLE
    assert reach(probe, response("200 OK", BLUE)) is Reach.REPLACED
    assert reach(probe, response("200 OK", PLACEHOLDER)) is Reach.GONE
    assert reach(probe, response("200 OK", PLACEHOLDER), asked=PLACEHOLDER) is Reach.REACHABLE


def test_an_encoded_body_is_not_taken_for_another_picture(probe: HttpProbe) -> None:
    packed = response("200 OK", gzip.compress(RED), "Content-Encoding: gzip")
    assert reach(probe, packed) is Reach.UNKNOWN
    assert reach(probe, response("200 OK", RED, "Content-Encoding: identity")) is Reach.REACHABLE


def test_the_body_is_read_up_to_the_limit(probe: HttpProbe) -> None:
    assert reach(probe, response("200 OK", b"x" * 100_000)) is Reach.REPLACED
    assert reach(probe, response("200 OK", b"x" * 100_001)) is Reach.UNKNOWN


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")


def test_an_endless_body_ends_at_the_limit(probe: HttpProbe) -> None:
    assert reach(probe, endless) is Reach.UNKNOWN


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"this is no HTTP\r\n\r\n",
        b"HTTP/1.1 404\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n",
        b"\x00" * 1000,
    ],
)
def test_broken_servers_are_unknown(probe: HttpProbe, raw: bytes) -> None:
    assert reach(probe, lambda connection: connection.sendall(raw)) is Reach.UNKNOWN


@pytest.mark.parametrize(
    "dripped", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
def test_a_dripping_server_meets_the_total_limit(dripped: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(dripped)
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    with HttpProbe(timeout=timedelta(seconds=0.3), limit=100_000) as probe:
        begun = time.monotonic()
        assert reach(probe, drip) is Reach.UNKNOWN
        assert time.monotonic() - begun < 3


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/relative",
        "ftp://127.0.0.1/x",
        "file:///etc/hostname",
        "http://",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:1/",
        "http://" + "a" * 70 + ".invalid/",
        "http://a..b/",
        "http://\ud800/",
        "http://127.0.0.1:1/\x00",
        "http://127.0.0.1:1/" + "x" * 70_000,
    ],
)
def test_no_url_raises(probe: HttpProbe, url: str) -> None:
    assert probe.ask(url, sha256=sha256(RED)) is Reach.UNKNOWN


def test_each_question_comes_from_a_stranger(probe: HttpProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with (
        HttpProbe(timeout=timedelta(seconds=5), limit=100_000) as fresh,
        answering(response("404 Not Found", b"", "Set-Cookie: session=1; Path=/")) as (url, requests),
    ):
        for _ in range(2):
            assert fresh.ask(url, sha256=sha256(RED)) is Reach.GONE
    assert len(requests) == 2
    for request in requests:
        lowered = request.lower()
        assert b"cookie" not in lowered
        assert b"authorization" not in lowered
        assert b"python-httpx" not in lowered
        assert b"accept-encoding: identity" in lowered


def test_close_twice_and_no_thread_is_left() -> None:
    before = threading.active_count()
    probe = HttpProbe(timeout=timedelta(seconds=1), limit=10)
    probe.ask("http://127.0.0.1:1/", sha256=sha256(RED))
    probe.close()
    probe.close()
    assert threading.active_count() == before
