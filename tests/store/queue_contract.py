"""What every `ports.Queue` must do: one suite, run on each adapter.

An adapter's test module subclasses `QueueContract` and gives a fixture `bench` that returns a `Bench`: queues
of one and the same name, new for each test, at `MAX_RECEIVE`, a way to let time pass, and a look at the dead.
Tables live by a clock that stands still and tell exact moments. Servers live by the wall clock:
`Bench.of_server` makes leases that shall run out one second long, and waits for what shall come. No test says
how long anything takes; what must not come too early is looked at only while the time has not passed.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from coverguard.errors import LeaseLost
from coverguard.model import Done, Outcome, Reject, Retry
from coverguard.ports import Delivery, Queue

LEASE = timedelta(seconds=30)
NOTHING = timedelta()
INSTANT = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
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
    faults: Callable[[], Mapping[str, str]]  # body of a dead letter → why; empty where the server buried it
    real: Callable[[], Queue]  # the same queue by the wall clock
    brief: timedelta = LEASE  # a lease that shall run out
    pause: timedelta = 7 * SECOND  # a delay that shall pass
    patience: timedelta = NOTHING  # how long to wait for what must be there
    on_server: bool = (
        False  # real time; order and counts are promised by nobody; settling takes several calls
    )
    tells_stale: bool = True  # whether deleting by a stale receipt is an error
    queue: Queue = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "queue", self.make())

    @classmethod
    def of_server(cls, make: Callable[[], Queue], **more: Any) -> Bench:
        return cls(
            make=make,
            real=make,
            go_on=lambda period: time.sleep(period.total_seconds() + 0.1),
            brief=SECOND,
            pause=SECOND,
            patience=20 * SECOND,
            on_server=True,
            **more,
        )

    def receive(
        self,
        limit: int = 10,
        *,
        queue: Queue | None = None,
        lease: timedelta = LEASE,
        wait: timedelta = NOTHING,
    ) -> Sequence[Delivery]:
        return (queue or self.queue).receive(limit=limit, wait=wait, lease=lease)

    def one(self, *, queue: Queue | None = None, brief: bool = False) -> Delivery:
        """The one message that must be there, leased for long or briefly."""
        lease = self.brief if brief else LEASE
        (delivery,) = self.receive(queue=queue, lease=lease, wait=self.patience)
        return delivery

    def all_of(self, count: int) -> list[Delivery]:
        """As many messages as must be there: a server may give them in several goes and any order."""
        got: list[Delivery] = []
        while len(got) < count:
            some = self.receive(count - len(got), wait=self.patience)
            assert some, f"{len(got)} of {count} came"
            got.extend(some)
        return sorted(got, key=lambda one: one.body) if self.on_server else got

    def one_after(self, period: timedelta, act: Callable[[], object]) -> Delivery:
        """The message that comes when the period is over after the act, and not before."""
        begun = time.monotonic()
        act()
        self.go_on(NOTHING if self.on_server else period - INSTANT)
        early = self.receive()
        if not self.on_server or time.monotonic() - begun < period.total_seconds():
            assert early == ()
        elif early:
            return early[0]
        self.go_on(INSTANT)
        return self.one()

    def depth(self) -> tuple[int, int, int, int]:
        """Visible, delayed, leased, dead."""
        found = self.queue.depth()
        assert set(found) == {"visible", "delayed", "leased", "dead"}
        return found["visible"], found["delayed"], found["leased"], found["dead"]

    def deletes_nothing(self) -> Any:
        """A deletion that must change nothing, and is an error where the server can tell."""
        return pytest.raises(LeaseLost) if self.tells_stale else nullcontext()


class QueueContract:
    # ── sending and receiving ──────────────────────────────────────────────────────────────────────────────

    def test_what_is_sent_is_received(self, bench: Bench) -> None:
        bodies = ["first", "second", '{"title": "naïve 🦊 \\u0000"}', " ", "x" * 250_000]
        bench.queue.send(bodies)
        received = bench.all_of(len(bodies))
        assert Counter(delivery.body for delivery in received) == Counter(bodies)
        assert {delivery.attempt for delivery in received} == {1}
        assert len({delivery.receipt for delivery in received}) == len(bodies)

    def test_nothing_is_received_from_an_empty_queue(self, bench: Bench) -> None:
        bench.queue.send([])
        assert bench.receive() == ()
        assert bench.queue.receive(limit=1, wait=timedelta(seconds=1), lease=LEASE) == ()
        assert bench.depth() == (0, 0, 0, 0)

    def test_no_more_than_asked_for(self, bench: Bench) -> None:
        bench.queue.send([str(number) for number in range(5)])
        some = bench.receive(2, wait=bench.patience)
        assert 1 <= len(some) <= 2
        rest = bench.all_of(5 - len(some))
        assert {delivery.body for delivery in (*some, *rest)} == {"0", "1", "2", "3", "4"}

    def test_a_delayed_message_waits(self, bench: Bench) -> None:
        late = bench.one_after(bench.pause, lambda: bench.queue.send(["late"], delay=bench.pause))
        assert (late.body, late.attempt) == ("late", 1)

    def test_the_time_of_sending_stays(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        first = bench.one(brief=True)
        bench.go_on(bench.brief)
        second = bench.one()
        assert second.sent_at == first.sent_at
        bench.queue.settle(second, Retry(after=NOTHING))
        assert bench.one().sent_at == first.sent_at

    def test_another_queue_is_another_queue(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        assert bench.one(queue=bench.make()).body == "a"
        assert bench.receive() == ()

    # ── leases ─────────────────────────────────────────────────────────────────────────────────────────────

    def test_a_leased_message_is_nobody_elses(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        bench.one()
        bench.go_on(NOTHING if bench.on_server else LEASE - INSTANT)
        assert bench.receive(queue=bench.make()) == ()

    def test_a_lease_that_ran_out_is_somebody_elses(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        first = bench.one(brief=True)
        bench.go_on(bench.brief)
        second = bench.one(queue=bench.make())
        assert (second.body, second.attempt) == ("a", 2)
        assert second.receipt != first.receipt

    def test_an_extended_lease_starts_anew(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        mine = bench.one(brief=True)
        for _ in range(4):
            bench.go_on(NOTHING if bench.on_server else LEASE - INSTANT)
            bench.queue.extend(mine, lease=LEASE)
        bench.go_on(bench.brief - INSTANT)
        assert bench.receive() == ()
        bench.queue.settle(mine, Done())
        assert bench.depth() == (0, 0, 0, 0)

    def test_a_lease_can_be_made_shorter(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        bench.queue.extend(bench.one(), lease=SECOND)
        bench.go_on(SECOND)
        assert bench.one().attempt == 2

    def test_late_but_not_yet_given_away_is_still_ours(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        mine = bench.one(brief=True)
        bench.go_on(bench.brief if bench.on_server else 2 * LEASE)
        bench.queue.settle(mine, Done())
        assert bench.receive() == ()

    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_a_stale_receipt_settles_nothing(self, bench: Bench, outcome: Outcome) -> None:
        bench.queue.send(["a"])
        stale = bench.one(brief=True)
        bench.go_on(bench.brief)
        newest = bench.one()
        with pytest.raises(LeaseLost):
            bench.queue.settle(stale, outcome)
        with pytest.raises(LeaseLost):
            bench.queue.extend(stale, lease=10 * LEASE)
        assert bench.depth() == (0, 0, 1, 0)
        bench.go_on(NOTHING if bench.on_server else LEASE - INSTANT)
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
        with bench.deletes_nothing() if isinstance(then, Done) else pytest.raises(LeaseLost):
            bench.queue.settle(mine, then)
        with pytest.raises(LeaseLost):
            bench.queue.extend(mine, lease=LEASE)
        assert bench.depth() == after

    # ── outcomes ───────────────────────────────────────────────────────────────────────────────────────────

    def test_done_is_gone(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        bench.queue.settle(bench.one(brief=True), Done())
        bench.queue.send(["b"])
        bench.go_on(bench.brief)
        assert bench.one().body == "b"

    def test_a_retry_comes_back_after_its_time_and_is_not_counted(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        mine = bench.one()
        for _ in range(2 if bench.on_server else 3 * MAX_RECEIVE):
            again = Retry(after=bench.pause)
            mine = bench.one_after(bench.pause, lambda: bench.queue.settle(mine, again))  # noqa: B023
            assert (mine.body, mine.attempt) == ("a", 1)

    def test_a_retry_at_once_is_there_at_once(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        for _ in range(3 * MAX_RECEIVE):
            mine = bench.one()
            assert mine.attempt == 1
            bench.queue.settle(mine, Retry(after=NOTHING))
        assert bench.depth() == (1, 0, 0, 0)

    def test_a_retry_does_not_forget_the_times_a_handler_died(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        for attempt in range(1, MAX_RECEIVE):
            assert bench.one(brief=True).attempt == attempt
            bench.go_on(bench.brief)
        mine = bench.one()
        assert mine.attempt == MAX_RECEIVE
        bench.queue.settle(mine, Retry(after=NOTHING))
        assert bench.one(brief=True).attempt == MAX_RECEIVE
        bench.go_on(bench.brief)
        assert bench.receive() == ()
        assert bench.depth() == (0, 0, 0, 1)
        assert bench.faults() == {"a": f"leased {MAX_RECEIVE} times and never settled"}

    def test_a_rejected_message_is_dead_with_its_reason(self, bench: Bench) -> None:
        bench.queue.send(["bad", "good"])
        bad, good = sorted(bench.all_of(2), key=lambda one: one.body)
        bench.queue.settle(bad, Reject(reason="field cover.id: missing"))
        bench.queue.settle(good, Done())
        assert bench.faults() == {"bad": "field cover.id: missing"}
        if not bench.on_server:
            bench.go_on(100 * LEASE)
        assert bench.receive() == ()
        assert bench.depth() == (0, 0, 0, 1)

    def test_what_keeps_killing_its_handler_is_dead(self, bench: Bench) -> None:
        bench.queue.send(["deadly"])
        for attempt in range(1, MAX_RECEIVE + 1):
            assert bench.one(brief=True).attempt == attempt
            bench.go_on(bench.brief)
        bench.queue.send(["fine"])
        # It does not keep others from coming, either.
        assert [delivery.body for delivery in bench.receive(1, wait=bench.patience)] == ["fine"]
        assert bench.receive() == ()
        assert bench.depth() == (0, 0, 1, 1)
        assert bench.faults()["deadly"] in {f"leased {MAX_RECEIVE} times and never settled", ""}
        assert bench.on_server or bench.faults()["deadly"]

    def test_the_dead_come_back_when_a_person_says_so(self, bench: Bench) -> None:
        bench.queue.send(["bad", "good", "worse"])
        bad, _, worse = sorted(bench.all_of(3), key=lambda one: one.body)
        for delivery in (bad, worse):
            bench.queue.settle(delivery, Reject(reason="field x: wrong"))
        assert bench.queue.redrive() == 2
        assert bench.queue.redrive() == 0
        back = bench.all_of(2)
        assert {(delivery.body, delivery.attempt) for delivery in back} == {("bad", 1), ("worse", 1)}
        assert {delivery.sent_at for delivery in back} == {bad.sent_at, worse.sent_at}
        assert bench.faults() == {}
        with bench.deletes_nothing():
            bench.queue.settle(bad, Done())
        assert bench.depth() == (0, 0, 3, 0)

    def test_as_many_of_the_dead_come_back_as_a_person_says(self, bench: Bench) -> None:
        bodies = [str(number) for number in range(13)]
        bench.queue.send(bodies)
        for delivery in bench.all_of(13):
            bench.queue.settle(delivery, Reject(reason="field x: wrong"))
        assert bench.queue.redrive(limit=11) == 11
        assert bench.depth() == (11, 0, 0, 2)
        assert bench.queue.redrive(limit=100) == 2
        assert Counter(one.body for one in bench.all_of(13)) == Counter(bodies)

    def test_what_is_redriven_has_all_its_lives_again(self, bench: Bench) -> None:
        bench.queue.send(["a"])
        bench.one(brief=True)
        bench.go_on(bench.brief)
        mine = bench.one()
        assert mine.attempt == 2
        bench.queue.settle(mine, Reject(reason="field x: wrong"))
        bench.queue.redrive()
        assert bench.one().attempt == 1

    def test_depth_tells_states_apart(self, bench: Bench) -> None:
        bench.queue.send(["a", "b", "c", "d"])
        bench.queue.send(["later"], delay=timedelta(hours=1))
        first, second = bench.all_of(2)
        (third,) = bench.receive(1)
        assert bench.depth() == (1, 1, 3, 0)
        bench.queue.settle(first, Reject(reason="x"))
        bench.queue.settle(second, Retry(after=timedelta(hours=1)))
        assert bench.depth() == (1, 2, 1, 1)
        bench.queue.extend(third, lease=SECOND)
        bench.go_on(SECOND)
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
        if bench.on_server:  # standard queues promise at least once, and moto's threads use that
            assert {*got[0], *got[1]} == {*bodies}
        else:
            assert Counter(got[0] + got[1]) == Counter(bodies)

    def test_of_two_that_settle_one_wins(self, bench: Bench) -> None:
        if bench.on_server:
            pytest.skip("copying and deleting are two calls: both may happen, and the message comes again")
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
