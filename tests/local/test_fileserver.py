"""The loopback origin over real sockets: what strangers get, and what they never get."""

from __future__ import annotations

import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from coverguard.errors import ConfigurationError
from coverguard.local.fileserver import Server, run, serve
from coverguard.local.folder import FolderStore

pytestmark = pytest.mark.process

RED = b"red, generated" * 5000
KEYS = ("c/1.png", "a", "a/b", "..", "%2F/100%", "🦊/é?#.png", "/lead", "a//b", "trail/", "tab\t\n")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    buckets = frozenset({"covers", "intake"})
    return FolderStore(root=tmp_path / "store", buckets=buckets, vault="vault", durable=False)


@pytest.fixture
def server(store: FolderStore) -> Iterator[Server]:
    with serve(store, public=frozenset({"covers"}), port=0) as running:
        yield running


@pytest.fixture
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    yield made
    made.close()


def ask(
    connection: http.client.HTTPConnection, path: str, method: str = "GET"
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection.request(method, path)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_serves_the_current_version(store: FolderStore, connection: http.client.HTTPConnection) -> None:
    store.put("covers", "c/1.png", b"old", content_type="image/gif")
    ref = store.put("covers", "c/1.png", RED, content_type="image/webp")
    status, headers, body = ask(connection, "/covers/c/1.png?cache=buster")
    assert (status, body) == (200, RED)
    assert headers["Content-Type"] == "image/webp"
    assert headers["Content-Length"] == str(len(RED))
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert "Python" not in headers["Server"]
    kept_alive = connection.sock
    store.block(ref, token="t1")
    status, headers, body = ask(connection, "/covers/c/1.png")
    assert (status, body, headers["Cache-Control"]) == (404, b"", "no-store")
    store.unblock(ref, token="t1")
    assert ask(connection, "/covers/c/1.png")[0] == 200
    store.delete("covers", "c/1.png")
    assert ask(connection, "/covers/c/1.png")[0] == 404
    assert connection.sock is kept_alive


def test_head_has_everything_but_the_body(store: FolderStore, connection: http.client.HTTPConnection) -> None:
    store.put("covers", "c/1.png", RED, content_type="image/webp")
    status, headers, body = ask(connection, "/covers/c/1.png", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(RED)))
    assert ask(connection, "/covers/none", "HEAD")[0] == 404
    assert ask(connection, "/covers/c/1.png")[2] == RED


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_its_url(store: FolderStore, connection: http.client.HTTPConnection, key: str) -> None:
    for each in KEYS:
        store.put("covers", each, each.encode(), content_type="image/png")
    assert ask(connection, f"/covers/{quote(key, safe='')}")[2] == key.encode()
    assert ask(connection, f"/covers/{quote(key)}")[2] == key.encode()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/covers",
        "/covers/",
        "/covers/c/",
        "/intake/c/1.png",
        "/vault/q/1",
        "/covers/../vault/q/1",
        "/covers/..%2fvault/q/1",
        "/covers%2F..%2Fvault/q/1",
        "//vault/q/1",
        "/covers/%ff%fe",
        "/covers/" + "x" * 1025,
        "/covers/=c/=1.png/@/versions.json",
        "/COVERS/c/1.png",
        "*",
    ],
)
def test_nothing_else_is_served(
    store: FolderStore, connection: http.client.HTTPConnection, path: str
) -> None:
    store.keep(store.put("covers", "c/1.png", RED, content_type="image/png"), name="q/1")
    store.put("intake", "c/1.png", RED, content_type="image/png")
    status, _, body = ask(connection, path)
    assert (status, body) == (404, b"")
    assert ask(connection, f"http://127.0.0.1/vault{path}")[0] == 404


def test_damaged_bytes_are_a_server_error(
    store: FolderStore, connection: http.client.HTTPConnection, tmp_path: Path
) -> None:
    ref = store.put("covers", "c/1.png", RED, content_type="image/png")
    file = next(tmp_path.rglob(ref.version_id))
    file.write_bytes(b"other")
    assert ask(connection, "/covers/c/1.png")[::2] == (500, b"")
    file.unlink()
    file.mkdir()
    assert ask(connection, "/covers/c/1.png")[::2] == (503, b"")


def test_only_get_and_head(store: FolderStore, connection: http.client.HTTPConnection) -> None:
    store.put("covers", "c/1.png", RED, content_type="image/png")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(connection, "/covers/c/1.png", method)[0] == 501
    assert ask(connection, "/covers/c/1.png")[0] == 200


def test_a_body_is_not_the_next_request(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        smuggled = b"GET /covers/x HTTP/1.1\r\nHost: a\r\n\r\n"
        raw.sendall(
            b"GET /covers/y HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled
        )
        answer = b""
        with_rest = True
        while with_rest:
            try:
                piece = raw.recv(65536)
            except ConnectionResetError:
                break
            answer += piece
            with_rest = bool(piece)
    assert answer.count(b"HTTP/1.1 404") == 1


def test_keys_are_not_logged(
    store: FolderStore,
    connection: http.client.HTTPConnection,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    store.put("covers", "secret-looking.png", RED, content_type="image/png")
    for path in ("/covers/secret-looking.png", "/covers/secret-looking.none"):
        ask(connection, path)
    ask(connection, "/covers/secret-looking.png", "POST")
    out, err = capfd.readouterr()
    assert "secret-looking" not in caplog.text + out + err


def test_a_client_that_leaves_harms_nobody(
    store: FolderStore,
    server: Server,
    connection: http.client.HTTPConnection,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store.put("covers", "big", b"x" * 8_000_000, content_type="image/png")
    for _ in range(3):
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        raw.sendall(b"GET /covers/big HTTP/1.1\r\nHost: a\r\n\r\n")
        raw.recv(10)
        raw.close()
    assert ask(connection, "/covers/big")[0] == 200
    assert capfd.readouterr().err == ""


def test_close_ends_connections_and_threads(store: FolderStore) -> None:
    before = threading.active_count()
    server = serve(store, public=frozenset({"covers"}), port=0)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    ask(connection, "/covers/x")
    server.close()
    server.close()
    connection.close()
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=10)


def test_configuration_is_checked(store: FolderStore, server: Server) -> None:
    for public in (frozenset({"vault"}), frozenset({"unknown"})):
        with pytest.raises(ConfigurationError):
            serve(store, public=public, port=0)
    with pytest.raises(ConfigurationError):
        serve(store, public=frozenset(), port=server.port)


def test_run_stops_on_sigterm_and_restores_handlers(store: FolderStore) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ports: list[int] = []

    def ready(port: int) -> None:
        ports.append(port)
        os.kill(os.getpid(), signal.SIGTERM)

    run(store, public=frozenset({"covers"}), port=0, ready=ready)
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]), timeout=10)


@pytest.mark.process
def test_run_in_a_process_of_its_own(store: FolderStore, tmp_path: Path) -> None:
    store.put("covers", "c/1.png", RED, content_type="image/png")
    program = """
import sys
from pathlib import Path
from coverguard.local.fileserver import run
from coverguard.local.folder import FolderStore
store = FolderStore(root=Path(sys.argv[1]), buckets=frozenset({"covers", "intake"}), vault="vault")
run(store, public=frozenset({"covers"}), port=0, ready=lambda port: print(port, flush=True))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "store")], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(process.stdout.readline()), timeout=10)
        assert ask(connection, "/covers/c/1.png")[2] == RED
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        connection.close()
