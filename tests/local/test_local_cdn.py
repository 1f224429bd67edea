"""Gone is more than a refusing origin: a cache serves what it has until its invalidation is complete."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from coverguard.errors import TransientError
from coverguard.local.cdn import LocalCdn
from coverguard.local.fileserver import Server
from coverguard.local.folder import FolderStore
from coverguard.ports import Presence, Reach
from coverguard.remote.probe import HttpProbe

RED = b"red, generated" * 100
SHA256 = hashlib.sha256(RED).digest()


def test_a_blocked_object_is_reachable_until_the_edge_forgets_it(tmp_path: Path) -> None:
    store = FolderStore(root=tmp_path / "store", buckets=frozenset({"covers"}), vault="vault", durable=False)
    with (
        HttpProbe(timeout=timedelta(seconds=10), limit=100_000) as probe,
        Server(store, public=frozenset({"covers"}), port=0) as origin,
        LocalCdn(f"http://127.0.0.1:{origin.port}") as cdn,
    ):
        url, behind = f"{cdn.url}/covers/c/1.png", f"http://127.0.0.1:{origin.port}/covers/c/1.png"
        ref = store.put("covers", "c/1.png", RED, content_type="image/png")
        assert probe.ask(url, sha256=SHA256) is Reach.REACHABLE
        assert store.block(ref, token="t1") is Presence.BLOCKED
        assert probe.ask(behind, sha256=SHA256) is Reach.GONE
        assert probe.ask(url, sha256=SHA256) is Reach.REACHABLE
        cdn.stuck = True
        with pytest.raises(TransientError):
            cdn.invalidate([("covers", "c/1.png")])
        assert probe.ask(url, sha256=SHA256) is Reach.REACHABLE
        cdn.stuck = False
        cdn.invalidate([("covers", "c/1.png")])
        assert probe.ask(url, sha256=SHA256) is Reach.GONE
        store.unblock(ref, token="t1")
        assert probe.ask(url, sha256=SHA256) is Reach.REACHABLE  # that it was gone is not remembered


def test_what_was_fetched_before_an_invalidation_is_not_stored_after_it() -> None:
    asked, go_on = threading.Event(), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.set()
            go_on.wait(10)
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"red")

        def log_message(self, *_):
            pass

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Slow) as origin,
        LocalCdn(f"http://127.0.0.1:{origin.server_port}") as cdn,
    ):
        thread = threading.Thread(target=origin.serve_forever, args=(0.02,))
        thread.start()
        reader = threading.Thread(target=cdn.answer, args=("/covers/c/1.png",))
        reader.start()
        assert asked.wait(10)
        cdn.invalidate([("covers", "c/1.png")])
        go_on.set()
        reader.join()
        asked.clear()
        assert cdn.answer("/covers/c/1.png").body == b"red"
        assert asked.is_set()  # it had to ask again
        origin.shutdown()
        thread.join()


def test_an_origin_that_is_away_is_no_answer_to_keep() -> None:
    with LocalCdn("http://127.0.0.1:1") as cdn:
        assert cdn.answer("/covers/c/1.png").status == 502
