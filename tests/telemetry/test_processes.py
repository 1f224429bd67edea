"""Worker and keeper as processes: what their ports say, and what one line a delivery is in the end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from coverguard import bootstrap, preparing
from coverguard.model import Surface
from coverguard.telemetry import Log
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import Platform
from coverguard.testing.servers import free_ports

pytestmark = pytest.mark.process

PATIENCE = 60.0


class Process:
    """One coverguard process and its monitor."""

    def __init__(self, home, verb, port):
        self.log = home / f"{verb}.log"
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "coverguard.cli", "--home", str(home), verb]
        with self.log.open("ab") as stream:
            self.running = subprocess.Popen(
                [*command, "--metrics-port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )

    def ask(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def value(self, name, **labels):
        status, body = self.ask("/metrics")
        families = text_string_to_metric_families(body) if status == 200 else ()
        for family in families:
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None

    def lines(self):
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]


@contextmanager
def process(home, verb, port):
    made = Process(home, verb, port)
    try:
        yield made
    finally:
        made.running.kill()
        made.running.wait()


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


@pytest.fixture
def parts(tmp_path):
    home = tmp_path / "home"
    preparing.prepare(home)
    with bootstrap.deployment(home, log=Log(None)) as parts:
        yield parts


def announce(parts, number):
    store = bootstrap.folder_store(parts.settings)
    platform = Platform(settings=parts.settings, store=store, clock=parts.clock)
    data = encode(draw(Kind.SCENE, number, side=64), "PNG")
    made = platform.upload(
        data, cover_id=f"cover-{number}", uploader="somebody", surface=Surface.PLAYLIST_COVER
    )
    parts.queue(bootstrap.UPLOADS).send([made.body, "no message at all"])


def test_they_live_are_ready_or_not_and_count(parts):
    ports = free_ports(2)
    with ExitStack() as stack:
        worker, keeper = (
            stack.enter_context(process(parts.settings.home, verb, port))
            for verb, port in zip(("worker", "keeper"), ports, strict=True)
        )
        until(lambda: worker.ask("/readyz")[0] == keeper.ask("/readyz")[0] == 200)
        parts_of = {"database", "store", "queue-uploads", "queue-account-events", "queue-reports"}
        assert set(json.loads(worker.ask("/readyz")[1])) == parts_of | {"lists", "decoder"}
        assert set(json.loads(keeper.ask("/readyz")[1])) == parts_of
        assert worker.ask("/livez") == (200, '{"heartbeat": "ok", "worker": "ok"}\n')
        assert keeper.ask("/livez") == (200, '{"keeper": "ok", "takedowns": "ok"}\n')

        announce(parts, 1)
        done = {"queue": "uploads", "outcome": "done"}
        until(lambda: worker.value("coverguard_deliveries_total", **done) == 1)
        assert worker.value("coverguard_deliveries_total", queue="uploads", outcome="rejected") == 1
        assert worker.value("coverguard_covers_total", decision="pass", mode="gate") == 1
        until(lambda: keeper.value("coverguard_alarms_ringing", kind="dead_letters") == 1)
        assert keeper.value("coverguard_queue_messages", queue="uploads", state="dead") == 1

        _take_a_bucket_away(parts)
        until(lambda: worker.ask("/readyz")[0] == 503)
        assert json.loads(worker.ask("/readyz")[1])["store"] == "NotADirectoryError"
        assert worker.ask("/livez")[0] == keeper.ask("/livez")[0] == 200, "a restart would not help"

        for one in (worker, keeper):
            one.running.terminate()
            assert one.running.wait(timeout=30) == 0

    told = [line for line in worker.lines() if line["event"] == "delivery"]
    assert sorted(line["outcome"] for line in told) == ["done", "rejected"]
    assert all(line["lease"] == "kept" and line["total_ms"] > 0 for line in told)
    (answered,) = (line for line in told if "decision" in line)
    assert answered["cover"].startswith("cover-")
    assert {"read_ms", "fingerprint_ms", "match_ms", "record_ms", "wait_ms"} <= set(answered)
    paged = [line for line in keeper.lines() if line["event"] == "page"]
    assert ("dead_letters", "ringing") in {(line["kind"], line["state"]) for line in paged}


def _take_a_bucket_away(parts):
    bucket = parts.settings.home / "objects" / parts.settings.intake_bucket
    bucket.rename(bucket.with_name("away"))
    bucket.write_bytes(b"")


def test_a_port_that_is_taken_stops_the_start(parts):
    (port,) = free_ports(1)
    with process(parts.settings.home, "keeper", port) as first:
        until(lambda: first.ask("/livez")[0] == 200)
        with process(parts.settings.home, "worker", port) as second:
            assert second.running.wait(timeout=PATIENCE) == 2
            assert "metrics_port" in second.log.read_text("utf-8")


def test_no_port_no_server(parts):
    assert parts.settings.metrics_port == 0
    with parts.monitor(parts.keeper()) as port:
        assert port is None
