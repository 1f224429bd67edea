"""What every `ports.Queue` must do: one suite, run on each adapter.

An adapter's test module subclasses `QueueContract` and gives a `bench` fixture: queues on one and the same
name, a way to let time pass, and a look at the dead letters.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from coverguard.errors import LeaseLost
from coverguard.model import Done, Outcome, Reject, Retry
from coverguard.ports import Delivery, Queue

LEASE = timedelta(seconds=30)
NOTHING = timedelta()
INSTANT = timedelta(microseconds=1)
MAX_RECEIVE = 3

OUTCOMES: Sequence[Outcome] = (
    Done(),
    Retry(after=NOTHING),
    Retry(after=timedelta(seconds=5)),
    Reject(reason="field x: missing"),
)


@dataclass(frozen=True, kw_only=True)
class Bench:
    make: Callable[[], Queue]  # another receiver of the same queue, at `MAX_RECEIVE`
    go_on: Callable[[timedelta], None]
    faults: Callable[[], Mapping[str, str]]  # body of a dead letter → why
    redrive: Callable[[], int]
    real: Callable[[], Queue]  # the same queue by the wall clock
    queue: Queue = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "queue", self.make())

    def receive(self, limit: int = 10, *, queue: Queue | None = None) -> Sequence[Delivery]:
        return (queue or self.queue).receive(limit=limit, wait=NOTHING, lease=LEASE)

    def one(self) -> Delivery:
        (delivery,) = self.receive()
        return delivery

    def depth(self) -> tuple[int, int, int, int]:
        """Visible, delayed, leased, dead."""
        found = self.queue.depth()
        assert set(found) == {"visible", "delayed", "leased", "dead"}
        return found["visible"], found["delayed"], found["leased"], found["dead"]


class QueueContract:
    # ── sending and receiving ──────────────────────────────────────────────────────────────────────────────

    def test_what_is_sent_is_received(self, bench: Bench) -> None:
        bodies = ["first", "second", '{"title": "naïve 🦊 \\u0000"}', " ", "x" * 250_000]
        bench.queue.send(bodies)
        received = bench.receive()
        assert [delivery.body for delivery in received] == bodies
        assert {delivery.attempt for delivery in received} == {1}
        assert len({delivery.receipt for delivery in received}) == len(bodies)

    def test_nothing_is_received_from_an_empty_queue(self, bench: Bench) -> None:
        bench.queue.send([])
        assert bench.receive() == ()
        assert bench.queue.receive(limit=1, wait=timedelta(seconds=1), lease=LEASE) == ()
        assert bench.depth() == (0, 0, 0, 0)

    def test_no_more_than_asked_for(self, bench: Bench) -> None:
        bench.queue.send([str(number) for number in range(5)])
        assert [delivery.body for delivery in bench.receive(2)] == ["0", "1"]
        assert [delivery.body for delivery in bench.receive(10)] == ["2", "3", "4"]

    def test_a_delayed_message_waits(self, bench: Bench) -> None:
        bench.queue.send(["late"], delay=timedelta(seconds=5))
        bench.go_on(timedelta(seconds=5) - INSTANT)
        assert bench.receive() == ()
        bench.go_on(INSTANT)
        assert bench.one().body == "late"

    def test_the_time_of_sending_stays(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        first = bench.one()
        bench.go_on(LEASE)
        assert bench.one().sent_at == first.sent_at

    def test_another_queue_is_another_queue(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        assert bench.receive(queue=bench.make())[0].body == "a"
        assert bench.receive() == ()

    # ── leases ─────────────────────────────────────────────────────────────────────────────────────────────

    def test_a_leased_message_is_nobody_elses(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        bench.one()
        bench.go_on(LEASE - INSTANT)
        assert bench.receive(queue=bench.make()) == ()

    def test_a_lease_that_ran_out_is_somebody_elses(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        first = bench.one()
        bench.go_on(LEASE)
        (second,) = bench.receive(queue=bench.make())
        assert (second.body, second.attempt) == ("a", 2)
        assert second.receipt != first.receipt

    def test_an_extended_lease_starts_anew(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        mine = bench.one()
        for _ in range(4):
            bench.go_on(LEASE - INSTANT)
            bench.queue.extend(mine, lease=LEASE)
        assert bench.receive() == ()
        bench.queue.settle(mine, Done())
        assert bench.depth() == (0, 0, 0, 0)

    def test_a_lease_can_be_made_shorter(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        bench.queue.extend(bench.one(), lease=timedelta(seconds=1))
        bench.go_on(timedelta(seconds=1))
        assert bench.one().attempt == 2

    def test_late_but_not_yet_given_away_is_still_ours(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        mine = bench.one()
        bench.go_on(2 * LEASE)
        bench.queue.settle(mine, Done())
        assert bench.receive() == ()

    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_a_stale_receipt_settles_nothing(self, bench: Bench, outcome: Outcome) -> None:
        bench.queue.send(["a"])
        stale = bench.one()
        bench.go_on(LEASE)
        newest = bench.one()
        with pytest.raises(LeaseLost):
            bench.queue.settle(stale, outcome)
        with pytest.raises(LeaseLost):
            bench.queue.extend(stale, lease=10 * LEASE)
        assert bench.depth() == (0, 0, 1, 0)
        bench.go_on(LEASE - INSTANT)
        assert bench.receive() == ()
        bench.queue.settle(newest, Done())
        assert bench.depth() == (0, 0, 0, 0)

    @pytest.mark.parametrize("first", OUTCOMES)
    @pytest.mark.parametrize("then", OUTCOMES)
    def test_a_delivery_is_settled_once(self, bench: Bench, first: Outcome, then: Outcome) -> None:
        bench.queue.send(["a"])
        mine = bench.one()
        bench.queue.settle(mine, first)
        after = bench.depth()
        with pytest.raises(LeaseLost):
            bench.queue.settle(mine, then)
        with pytest.raises(LeaseLost):
            bench.queue.extend(mine, lease=LEASE)
        assert bench.depth() == after

    # ── outcomes ───────────────────────────────────────────────────────────────────────────────────────────

    def test_done_is_gone(self, bench: Bench) -> None:
        bench.queue.send(["a", "b"])
        bench.queue.settle(bench.receive()[0], Done())
        bench.go_on(LEASE)
        assert [delivery.body for delivery in bench.receive()] == ["b"]

    def test_a_retry_comes_back_after_its_time_and_is_not_counted(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        for _ in range(3 * MAX_RECEIVE):
            mine = bench.one()
            assert mine.attempt == 1
            bench.queue.settle(mine, Retry(after=timedelta(seconds=7)))
            bench.go_on(timedelta(seconds=7) - INSTANT)
            assert bench.receive() == ()
            bench.go_on(INSTANT)

    def test_a_retry_does_not_forget_the_times_a_handler_died(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        bench.one()
        bench.go_on(LEASE)
        mine = bench.one()
        assert mine.attempt == 2
        bench.queue.settle(mine, Retry(after=NOTHING))
        assert bench.one().attempt == 2

    def test_a_rejected_message_is_dead_with_its_reason(self, bench: Bench) -> None:
        bench.queue.send(["bad", "good"])
        bad, good = bench.receive()
        bench.queue.settle(bad, Reject(reason="field cover.id: missing"))
        bench.queue.settle(good, Done())
        assert bench.faults() == {"bad": "field cover.id: missing"}
        bench.go_on(100 * LEASE)
        assert bench.receive() == ()
        assert bench.depth() == (0, 0, 0, 1)

    def test_what_keeps_killing_its_handler_is_dead(self, bench: Bench) -> None:
        bench.queue.send(["deadly"])
        for attempt in range(1, MAX_RECEIVE + 1):
            assert bench.one().attempt == attempt
            bench.go_on(LEASE)
        assert bench.receive() == ()
        assert bench.depth() == (0, 0, 0, 1)
        assert str(MAX_RECEIVE) in bench.faults()["deadly"]

    def test_a_dead_message_does_not_keep_others_from_coming(self, bench: Bench) -> None:
        bench.queue.send(["deadly"])
        for _ in range(MAX_RECEIVE):
            bench.one()
            bench.go_on(LEASE)
        bench.queue.send(["fine"])
        assert [delivery.body for delivery in bench.receive(1)] == ["fine"]

    def test_the_dead_come_back_when_a_person_says_so(self, bench: Bench) -> None:
        bench.queue.send(["bad", "worse", "good"])
        bad, worse, _ = bench.receive()
        for delivery in (bad, worse):
            bench.queue.settle(delivery, Reject(reason="field x: wrong"))
        assert bench.redrive() == 2
        assert bench.redrive() == 0
        back = bench.receive()
        assert {(delivery.body, delivery.attempt) for delivery in back} == {("bad", 1), ("worse", 1)}
        assert bench.faults() == {}
        with pytest.raises(LeaseLost):
            bench.queue.settle(bad, Done())

    def test_depth_tells_states_apart(self, bench: Bench) -> None:
        bench.queue.send(["a", "b", "c", "d"])
        bench.queue.send(["later"], delay=timedelta(hours=1))
        first, second, _ = bench.receive(3)
        assert bench.depth() == (1, 1, 3, 0)
        bench.queue.settle(first, Reject(reason="x"))
        bench.queue.settle(second, Retry(after=timedelta(hours=1)))
        assert bench.depth() == (1, 2, 1, 1)
        bench.go_on(LEASE)
        assert bench.depth() == (2, 2, 0, 1)

    # ── several at once ────────────────────────────────────────────────────────────────────────────────────

    def test_two_receivers_never_share_a_lease(self, bench: Bench) -> None:
        bodies = [str(number) for number in range(60)]
        bench.queue.send(bodies)
        got: list[list[str]] = [[], []]
        start = threading.Barrier(2)

        def take(mine: list[str]) -> None:
            queue = bench.make()
            start.wait(timeout=60)
            while deliveries := bench.receive(3, queue=queue):
                mine.extend(delivery.body for delivery in deliveries)

        threads = [threading.Thread(target=take, args=(mine,)) for mine in got]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert Counter(got[0] + got[1]) == Counter(bodies)

    def test_of_two_that_settle_one_wins(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        mine = bench.one()
        start, wins = threading.Barrier(2), []

        def settle(outcome: Outcome) -> None:
            queue = bench.make()
            start.wait(timeout=60)
            try:
                queue.settle(mine, outcome)
            except LeaseLost:
                return
            wins.append(outcome)

        threads = [
            threading.Thread(target=settle, args=(outcome,)) for outcome in (Done(), Retry(after=NOTHING))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert len(wins) == 1
        assert bench.depth() == ((0, 0, 0, 0) if wins == [Done()] else (1, 0, 0, 0))

    def test_one_who_waits_gets_what_comes(self, bench: Bench) -> None:
        queue, waiting, got = bench.real(), threading.Event(), []

        def wait() -> None:
            waiting.set()
            got.extend(queue.receive(limit=1, wait=timedelta(seconds=120), lease=LEASE))

        thread = threading.Thread(target=wait)
        thread.start()
        waiting.wait(timeout=60)
        bench.real().send(["at last"])
        thread.join(timeout=120)
        assert [delivery.body for delivery in got] == ["at last"]

    def test_a_delivery_does_not_show_its_body(self, bench: Bench) -> None:
        bench.queue.send(["private words"])
        assert "private words" not in repr(bench.one())
