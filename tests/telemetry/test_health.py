"""Lives and is ready are two questions: one is failed by a loop that hangs, one by a silent part."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from datetime import timedelta

import pytest

from coverguard.errors import ConfigurationError, TransientError
from coverguard.telemetry import Health, Metrics, Monitor, Pulse

SECOND = timedelta(seconds=1)


class Seconds:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds():
    return Seconds()


def ask(port: int, path: str) -> tuple[int, dict[str, str]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


# ── lives ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_loop_that_makes_no_progress_is_not_alive(seconds):
    pulse = Pulse("worker", "heartbeat", tick=seconds)
    health = Health(pulse=pulse, stuck_after=timedelta(minutes=5))
    seconds.now += 299
    pulse.beat("heartbeat")
    assert health.alive() == {"worker": True, "heartbeat": True}
    seconds.now += 2
    assert health.alive() == {"worker": False, "heartbeat": True}
    pulse.beat("worker")
    assert health.alive() == {"worker": True, "heartbeat": True}


def test_a_loop_that_never_begins_is_stuck_too(seconds):
    health = Health(pulse=Pulse("keeper", tick=seconds), stuck_after=SECOND)
    seconds.now += 2
    assert health.alive() == {"keeper": False}


# ── ready ──────────────────────────────────────────────────────────────────────────────────────────────────


def fail(error: Exception) -> None:
    raise error


def test_each_part_answers_for_itself():
    caused = TransientError("a message that is nobody's business")
    caused.__cause__ = ConnectionRefusedError()
    checks = {"database": lambda: None, "store": lambda: fail(caused), "lists": lambda: fail(KeyError("x"))}
    health = Health(pulse=Pulse(), checks=checks)
    assert health.ready() == {"database": "ok", "store": "ConnectionRefusedError", "lists": "KeyError"}


def test_a_part_that_hangs_is_asked_once_and_waited_for_no_longer_than_the_limit():
    hangs, asked = threading.Event(), []

    def hang() -> None:
        asked.append(1)
        hangs.wait(30)

    health = Health(
        pulse=Pulse(), checks={"store": hang}, limit=timedelta(milliseconds=20), cached=timedelta()
    )
    assert [health.ready() for _ in range(3)] == [{"store": "no_answer"}] * 3
    assert len(asked) == 1
    hangs.set()
    while health.ready()["store"] != "ok":
        pass
    assert len(asked) >= 1


def test_an_answer_is_good_for_some_seconds(seconds):
    asked = []
    health = Health(pulse=Pulse(), checks={"queue": lambda: asked.append(1)}, cached=5 * SECOND, tick=seconds)
    for _ in range(3):
        health.ready()
    assert len(asked) == 1
    seconds.now += 5
    health.ready()
    assert len(asked) == 2


# ── over HTTP ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_process_that_lives_need_not_be_ready(seconds):
    well = []
    pulse = Pulse("worker", tick=seconds)
    health = Health(
        pulse=pulse,
        checks={"store": lambda: None if well else fail(TransientError("no"))},
        cached=timedelta(),
    )
    with Monitor(health, Metrics()) as monitor:
        assert ask(monitor.port, "/livez") == (200, {"worker": "ok"})
        assert ask(monitor.port, "/readyz") == (503, {"store": "TransientError"})
        well.append(1)
        assert ask(monitor.port, "/readyz") == (200, {"store": "ok"})
        seconds.now += 301
        assert ask(monitor.port, "/livez") == (503, {"worker": "stuck"})
        assert ask(monitor.port, "/readyz") == (200, {"store": "ok"})


def test_metrics_say_what_health_says(seconds):
    pulse = Pulse("keeper", tick=seconds)
    checks = {"store": lambda: fail(TransientError("no")), "database": lambda: None}
    with Monitor(Health(pulse=pulse, checks=checks), Metrics()) as monitor:
        seconds.now += 7
        with urllib.request.urlopen(f"http://127.0.0.1:{monitor.port}/metrics", timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            lines = answer.read().decode().splitlines()
    assert 'coverguard_loop_age_seconds{loop="keeper"} 7.0' in lines
    assert 'coverguard_ready{part="store"} 0.0' in lines
    assert 'coverguard_ready{part="database"} 1.0' in lines


@pytest.mark.thorough
@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc", "/livez2"])
def test_there_is_nothing_else(path):
    with Monitor(Health(pulse=Pulse()), Metrics()) as monitor:
        assert ask(monitor.port, path) == (404, {})


@pytest.mark.thorough
def test_a_client_that_says_nothing_keeps_nobody_waiting():
    with (
        Monitor(Health(pulse=Pulse("worker")), Metrics()) as monitor,
        socket.create_connection(("127.0.0.1", monitor.port)) as silent,
    ):
        assert ask(monitor.port, "/livez")[0] == 200
        silent.sendall(b"GET")


def test_a_port_that_is_taken_stops_the_start():
    with (
        Monitor(Health(pulse=Pulse()), Metrics()) as monitor,
        pytest.raises(ConfigurationError, match=r"metrics_port: cannot listen on 127\.0\.0\.1 port"),
    ):
        Monitor(Health(pulse=Pulse()), Metrics(), port=monitor.port)
