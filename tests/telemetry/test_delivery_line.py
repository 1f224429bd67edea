"""One delivery, one line, with everything that happened to it."""

from __future__ import annotations

import io
import json
import threading
from datetime import timedelta

import pytest

from coverguard.errors import BadMessage, LeaseLost, TransientError
from coverguard.model import Done, Reject, Retry
from coverguard.ports import Delivery
from coverguard.telemetry import Log, Pulse
from coverguard.worker import BATCH, Heartbeat, Worker

LEASE = timedelta(seconds=60)


class ScriptedQueue:
    """Hands out what it was given, and raises what it was told to: only the worker is looked at here."""

    name = "uploads"

    def __init__(self, *bodies: str, settling: Exception | None = None, receiving: Exception | None = None):
        self.waiting = [
            Delivery(queue="uploads", body=body, receipt=f"{number}:r", attempt=1, sent_at=0)
            for number, body in enumerate(bodies)
        ]
        self.settling, self.receiving = settling, receiving
        self.settled, self.extended = [], []

    def receive(self, *, limit, wait, lease):
        if self.receiving is not None:
            raise self.receiving
        handed, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return handed

    def settle(self, delivery, outcome):
        if self.settling is not None:
            raise self.settling
        self.settled.append((delivery.body, outcome))

    def extend(self, delivery, *, lease):
        if self.settling is not None:
            raise self.settling
        self.extended.append(delivery.body)


class Bench:
    def __init__(self, handle, *queues):
        self.stream = io.StringIO()
        self.log = Log(self.stream)
        self.pulse = Pulse("worker", "heartbeat")
        self.worker = Worker(queues=queues, handle=handle, lease=LEASE, log=self.log, pulse=self.pulse)
        self.heartbeat = Heartbeat(lease=LEASE, log=self.log, pulse=self.pulse)
        self.stop = threading.Event()

    def serve(self):
        return self.worker.serve_once(self.heartbeat, self.stop)

    def lines(self):
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def line(self):
        (line,) = self.lines()
        assert line.pop("ts") > 0
        assert line.pop("total_ms") >= 0
        return line


def raising(error):
    def handle(_delivery):
        raise error

    return handle


HEAD = {"event": "delivery", "queue": "uploads", "attempt": 1}


def test_done():
    bench = Bench(lambda _: Done(note="pass"), ScriptedQueue("a"))
    assert bench.serve()
    assert bench.line() == HEAD | {"outcome": "done", "note": "pass", "lease": "kept"}


def test_what_the_handler_notes_joins_the_line():
    def handle(_delivery):
        bench.log.add(cover="cover-1", surface="track_art")
        bench.log.note("screened", decision="hold", read_ms=3.0)
        return Done()

    bench = Bench(handle, ScriptedQueue("a"))
    bench.serve()
    assert bench.line() == HEAD | {
        "cover": "cover-1", "surface": "track_art", "decision": "hold", "read_ms": 3.0, "outcome": "done",
        "lease": "kept",
    }  # fmt: skip
    assert bench.log.counters == {"delivery": 1, "screened": 1}


@pytest.mark.parametrize(
    ("error", "facts", "counted"),
    [
        (TransientError("the password"), {"outcome": "retry", "note": "transient", "error": "TransientError"},
         "transient"),
        (BadMessage("field cover.id: missing"), {"outcome": "rejected"}, "rejected"),
        (KeyError("a title"), {"outcome": "died", "error": "KeyError", "at": "test_delivery_line:80"}, "bug"),
    ],
    ids=["transient", "bad message", "bug"],
)  # fmt: skip
def test_what_the_handler_raises_is_in_the_same_line(error, facts, counted):
    bench = Bench(raising(error), ScriptedQueue("a"))
    bench.serve()
    line = bench.line()
    if "at" in facts:
        assert line.pop("at").startswith("test_delivery_line:")
        facts = {name: fact for name, fact in facts.items() if name != "at"}
    assert line == HEAD | facts | {"lease": "kept"}
    assert bench.log.counters[counted] == 1
    assert "password" not in bench.stream.getvalue()


@pytest.mark.parametrize(("error", "lease"), [(LeaseLost("x"), "lost"), (TransientError("x"), "not_settled")])
@pytest.mark.parametrize("handle", [lambda _: Done(), raising(KeyError("x"))], ids=["done", "died"])
def test_a_lease_that_was_lost_is_in_the_same_line(error, lease, handle):
    bench = Bench(handle, ScriptedQueue("a", settling=error))
    bench.serve()
    assert bench.line()["lease"] == lease


def test_a_delivery_that_is_given_back_says_so():
    queue = ScriptedQueue("a")
    bench = Bench(lambda _: Done(), queue)
    bench.stop.set()
    bench.serve()
    assert bench.line() == HEAD | {"outcome": "given_back", "note": "stopping", "lease": "kept"}
    assert queue.settled == [("a", Retry(after=timedelta(), note="stopping"))]


def test_a_batch_is_as_many_lines():
    bench = Bench(lambda one: Reject(reason="field x") if one.body == "b" else Done(), ScriptedQueue(*"abc"))
    bench.serve()
    assert [line["outcome"] for line in bench.lines()] == ["done", "rejected", "done"]
    assert len("abc") <= BATCH


def test_extensions_that_failed_are_told_with_the_delivery():
    def handle(delivery):
        for _ in range(2):
            bench.heartbeat._extend(queue, delivery)
        return Done()

    queue = ScriptedQueue("a", settling=TransientError("x"))
    bench = Bench(handle, queue)
    bench.serve()
    assert bench.line()["not_extended"] == 2


def test_an_extension_that_comes_after_the_settling_is_no_failure():
    queue = ScriptedQueue("a")
    bench = Bench(lambda _: Done(), queue)
    (delivery,) = queue.waiting
    bench.serve()
    queue.settling = LeaseLost("it is gone")
    bench.heartbeat._extend(queue, delivery)
    bench.heartbeat.take(queue, [delivery])
    assert bench.heartbeat.drop(delivery) == 0


def test_whatever_an_extension_raises_the_heart_goes_on():
    queue = ScriptedQueue("a", settling=RuntimeError("not translated"))
    bench = Bench(lambda _: Done(), queue)
    (delivery,) = queue.waiting
    bench.heartbeat.take(queue, [delivery])
    bench.heartbeat._extend(queue, delivery)
    assert bench.heartbeat.drop(delivery) == 1
    assert bench.lines()[0]["event"] == "bug"


def test_a_note_of_another_thread_is_a_line_of_its_own():
    def handle(_delivery):
        other = threading.Thread(target=lambda: bench.log.note("unwell", error="OSError"))
        other.start()
        other.join()
        return Done()

    bench = Bench(handle, ScriptedQueue("a"))
    bench.serve()
    assert [line["event"] for line in bench.lines()] == ["unwell", "delivery"]
    assert "error" not in bench.lines()[1]


def test_a_death_leaves_no_line_and_nothing_for_the_next():
    class Death(BaseException):
        pass

    def handle(delivery):
        bench.log.add(cover=f"cover-{delivery.body}")
        if delivery.body == "a":
            raise Death
        return Done()

    class OneByOne(ScriptedQueue):
        def receive(self, *, limit, wait, lease):
            return super().receive(limit=1, wait=wait, lease=lease)

    bench = Bench(handle, OneByOne("a", "b"))
    with pytest.raises(Death):
        bench.serve()
    bench.serve()
    assert bench.line()["cover"] == "cover-b"


# ── loops ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_queue_that_does_not_answer_keeps_nobody_from_the_others():
    silent, other = ScriptedQueue(receiving=TransientError("x")), ScriptedQueue("a")
    bench = Bench(lambda _: Done(), silent, other)
    assert bench.serve()
    assert len(other.settled) == 1
    with pytest.raises(TransientError):
        bench.serve()


class Once(threading.Event):
    """Set as soon as it was looked at a few times."""

    looks = 5

    def is_set(self):
        self.looks -= 1
        return self.looks < 0

    def wait(self, timeout=None):
        return True


def test_a_worker_makes_progress_also_while_the_outside_is_unwell():
    bench = Bench(lambda _: Done(), ScriptedQueue(receiving=TransientError("x")))
    beats = []
    bench.pulse.beat = beats.append
    bench.worker.run(Once())
    assert beats.count("worker") == 5
    assert bench.log.counters["unwell"] == 5


def test_a_worker_that_hangs_in_a_handler_makes_none():
    """Which is what `/livez` has to find out."""
    ages, now = [], [0.0]

    def handle(_delivery):
        now[0] += 400
        ages.append(bench.pulse.ages()["worker"])
        return Done()

    bench = Bench(handle, ScriptedQueue("a"))
    bench.pulse = Pulse("worker", tick=lambda: now[0])
    object.__setattr__(bench.worker, "pulse", bench.pulse)
    bench.worker.run(Once())
    assert ages == [400]


def test_what_cannot_be_prepared_is_said_and_tried_by_the_deliveries():
    queue = ScriptedQueue("a")
    bench = Bench(lambda _: Done(), queue)
    object.__setattr__(bench.worker, "prepare", lambda: raising(TransientError("x"))(None))
    bench.worker.run(Once())
    assert bench.log.counters["unprepared"] == 1
    assert len(queue.settled) == 1
