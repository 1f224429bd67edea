"""The receive-settle loop: leases messages, hands them to `intake`, settles them by outcome.

Nothing is settled before its handler returned an outcome, and nothing is acknowledged by leaving a block. A
message whose handler raises something unexpected is left to its lease, so that one that keeps killing its
handler reaches the dead-letter queue. One heartbeat thread a process keeps the leases of what is in hand.
Uploads come before everything else. Nothing is received while one of `may_receive` says no: messages stay on
the queue for others. Each delivery is one line of the log. No decision is made here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Self, assert_never

from coverguard.errors import BadMessage, CoverguardError, LeaseLost, TransientError
from coverguard.model import Done, Outcome, Reject, Retry
from coverguard.ports import Delivery, Queue
from coverguard.retrying import backoff
from coverguard.telemetry import Log, Pulse

BATCH: Final = 4
IDLE_WAIT: Final = timedelta(seconds=1)
STOPPING: Final = "stopping"
ONE_AT_A_TIME: Final = "one_at_a_time"
LOOP, HEARTBEAT = "worker", "heartbeat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    queues: Sequence[Queue]  # in the order they are served
    handle: Callable[[Delivery], Outcome]
    lease: timedelta
    log: Log
    prepare: Callable[[], object] | None = None  # what the first delivery would have to wait for
    checks: Mapping[str, Callable[[], object]] = field(
        default_factory=dict
    )  # of readiness; raise if not ready
    may_receive: Sequence[Callable[[], object]] = ()  # raise TransientError if not now
    beside: Sequence[Callable[[], AbstractContextManager[object]]] = ()  # what goes on as long as it runs
    pulse: Pulse = field(default_factory=lambda: Pulse(LOOP, HEARTBEAT))

    def run(self, stop: threading.Event) -> None:
        """Serve until told to stop; then finish what is in hand and give back the rest."""
        receiving = True
        with ExitStack() as beside, Heartbeat(lease=self.lease, log=self.log, pulse=self.pulse) as heartbeat:
            for begin in self.beside:
                beside.enter_context(begin())
            self._prepare()
            while not stop.is_set():
                self.pulse.beat(LOOP)
                receiving = self._may_receive(before=receiving)
                if not receiving:
                    stop.wait(1)
                    continue
                try:
                    self.serve_once(heartbeat, stop)
                except TransientError as error:
                    self.log.line("unwell", error=type(error.__cause__ or error).__name__)
                    stop.wait(1)

    def _may_receive(self, *, before: bool) -> bool:
        """Whether to receive now; says so where it is not as it was before."""
        try:
            for ask in self.may_receive:
                ask()
        except TransientError as error:
            if before:
                self.log.line("not_receiving", error=type(error.__cause__ or error).__name__)
            return False
        if not before:
            self.log.line("receiving")
        return True

    def _prepare(self) -> None:
        try:
            if self.prepare is not None:
                self.prepare()
        except CoverguardError as error:  # each delivery tries again, and answers for its cover if it fails
            self.log.line("unprepared", error=type(error.__cause__ or error).__name__)

    def serve_once(self, heartbeat: Heartbeat, stop: threading.Event) -> bool:
        """Serve the first queue that has something; wait on the first one otherwise.

        Raises:
            TransientError: a queue does not answer; the others were looked at nevertheless.
        """
        silent: TransientError | None = None
        for queue in self.queues:
            try:
                if self._serve(queue, heartbeat, stop, wait=timedelta()):
                    return True
            except TransientError as error:
                silent = silent or error
        if silent is not None:
            raise silent
        return self._serve(self.queues[0], heartbeat, stop, wait=IDLE_WAIT)

    def _serve(self, queue: Queue, heartbeat: Heartbeat, stop: threading.Event, *, wait: timedelta) -> bool:
        deliveries = queue.receive(limit=BATCH, wait=wait, lease=self.lease)
        heartbeat.take(queue, deliveries)
        for delivery, alone in _suspects_apart(deliveries):
            with self.log.delivery(queue=delivery.queue, attempt=delivery.attempt):
                if stop.is_set() or not alone:
                    note = STOPPING if stop.is_set() else ONE_AT_A_TIME
                    outcome: Outcome | None = Retry(after=timedelta(), note=note)
                else:
                    outcome = self.outcome_of(delivery)
                self.log.add(outcome=_named(outcome), note=getattr(outcome, "note", None) or None)
                if failed := heartbeat.drop(delivery):
                    self.log.note("not_extended", not_extended=failed)
                self.log.add(lease=self._settle(queue, delivery, outcome))
            self.pulse.beat(LOOP)
        return bool(deliveries)

    def outcome_of(self, delivery: Delivery) -> Outcome | None:
        """What becomes of the message; None when the handler died on it and the lease shall run out."""
        try:
            return self.handle(delivery)
        except BadMessage as error:
            return Reject(reason=str(error))
        except TransientError as error:
            self.log.note("transient", error=type(error.__cause__ or error).__name__)
            return Retry(after=backoff(delivery.attempt), note="transient")
        except Exception as error:  # noqa: BLE001 - whatever it is, the message must not be lost by it
            self.log.bug(error)
            return None

    def _settle(self, queue: Queue, delivery: Delivery, outcome: Outcome | None) -> str:
        """Settle the delivery, or leave it to its lease; say whether the lease was still ours."""
        try:
            if outcome is None:
                queue.extend(delivery, lease=backoff(delivery.attempt))
            else:
                queue.settle(delivery, outcome)
        except LeaseLost:
            self.log.note("lease_lost")
            return "lost"
        except TransientError:  # its lease runs out, and whoever gets it next finds it done; the others go on
            self.log.note("not_settled")
            return "not_settled"
        if isinstance(outcome, Reject):
            self.log.note("rejected")
        return "kept"


def _suspects_apart(deliveries: Sequence[Delivery]) -> Iterator[tuple[Delivery, bool]]:
    """Order a batch, and say which of it to serve: of those that may have killed their handler only one.

    It comes last, when the others were given back: else it would take them down with it each time, and what
    was only near it would be dead-lettered without ever having been announced.
    """
    ordered = sorted(deliveries, key=lambda one: one.attempt)
    for place, delivery in enumerate(ordered, start=1):
        yield delivery, delivery.attempt == 1 or place == len(ordered)


def _named(outcome: Outcome | None) -> str:
    """The outcome as a word of the log and of the metrics."""
    match outcome:
        case None:
            return "died"
        case Done():
            return "done"
        case Retry(note=note):
            return "given_back" if note in {STOPPING, ONE_AT_A_TIME} else "retry"
        case Reject():
            return "rejected"
        case _:
            assert_never(outcome)


class Heartbeat:
    """Extends the leases of everything in hand, thrice per lease, from one thread."""

    def __init__(self, *, lease: timedelta, log: Log, pulse: Pulse | None = None) -> None:
        self._lease = lease
        self._log = log
        self._pulse = pulse or Pulse()
        self._in_hand: dict[str, tuple[Queue, Delivery]] = {}
        self._failed: dict[str, int] = {}  # extensions, of what is in hand
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def take(self, queue: Queue, deliveries: Sequence[Delivery]) -> None:
        with self._lock:
            self._in_hand |= {delivery.receipt: (queue, delivery) for delivery in deliveries}

    def drop(self, delivery: Delivery) -> int:
        """Let go of the delivery; return how often its lease could not be extended."""
        with self._lock:
            self._in_hand.pop(delivery.receipt, None)
            return self._failed.pop(delivery.receipt, 0)

    def _beat(self) -> None:
        while not self._stop.wait(self._lease.total_seconds() / 3):
            self._pulse.beat(HEARTBEAT)
            with self._lock:
                in_hand = list(self._in_hand.values())
            for queue, delivery in in_hand:
                self._extend(queue, delivery)

    def _extend(self, queue: Queue, delivery: Delivery) -> None:
        try:
            queue.extend(delivery, lease=self._lease)
        except TransientError:  # lost, or unwell: either way the settling call will tell
            self._note_failure(delivery)
        except Exception as error:  # noqa: BLE001 - without this thread every lease in hand would run out
            self._log.bug(error)
            self._note_failure(delivery)
        self._pulse.beat(HEARTBEAT)

    def _note_failure(self, delivery: Delivery) -> None:
        with self._lock:
            if delivery.receipt in self._in_hand:  # else it was settled meanwhile, and that is no failure
                self._failed[delivery.receipt] = self._failed.get(delivery.receipt, 0) + 1
