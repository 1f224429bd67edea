"""The receive-settle loop: leases messages, hands them to `intake`, settles them by outcome.

Nothing is settled before its handler returned an outcome, and nothing is acknowledged by leaving a block. A
message whose handler raises something unexpected is left to its lease, so that one that keeps killing its
handler reaches the dead-letter queue. One heartbeat thread a process keeps the leases of what is in hand.
Uploads come before everything else. No decision is made here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

from coverguard.errors import BadMessage, LeaseLost, TransientError
from coverguard.model import Outcome, Reject, Retry
from coverguard.ports import Delivery, Queue
from coverguard.retrying import backoff
from coverguard.telemetry import Log

BATCH: Final = 4
IDLE_WAIT: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    queues: Sequence[Queue]  # in the order they are served
    handle: Callable[[Delivery], Outcome]
    lease: timedelta
    log: Log

    def run(self, stop: threading.Event) -> None:
        """Serve until told to stop; then finish what is in hand and give back the rest."""
        with Heartbeat(lease=self.lease, log=self.log) as heartbeat:
            while not stop.is_set():
                try:
                    self.serve_once(heartbeat, stop)
                except TransientError as error:
                    self.log.line("unwell", error=type(error.__cause__ or error).__name__)
                    stop.wait(1)

    def serve_once(self, heartbeat: Heartbeat, stop: threading.Event) -> bool:
        """Serve the first queue that has something; wait on the first one otherwise."""
        for queue in self.queues:
            if self._serve(queue, heartbeat, stop, wait=timedelta()):
                return True
        return self._serve(self.queues[0], heartbeat, stop, wait=IDLE_WAIT)

    def _serve(self, queue: Queue, heartbeat: Heartbeat, stop: threading.Event, *, wait: timedelta) -> bool:
        deliveries = queue.receive(limit=BATCH, wait=wait, lease=self.lease)
        heartbeat.take(queue, deliveries)
        for delivery in deliveries:
            if stop.is_set():
                outcome: Outcome | None = Retry(after=timedelta(), note="stopping")
            else:
                outcome = self.outcome_of(delivery)
            heartbeat.drop(delivery)
            self._settle(queue, delivery, outcome)
        return bool(deliveries)

    def outcome_of(self, delivery: Delivery) -> Outcome | None:
        """What becomes of the message; None when the handler died on it and the lease shall run out."""
        try:
            return self.handle(delivery)
        except BadMessage as error:
            return Reject(reason=str(error))
        except TransientError as error:
            self.log.line("transient", error=type(error.__cause__ or error).__name__)
            return Retry(after=backoff(delivery.attempt), note="transient")
        except Exception as error:  # noqa: BLE001 - whatever it is, the message must not be lost by it
            self.log.bug(error)
            return None

    def _settle(self, queue: Queue, delivery: Delivery, outcome: Outcome | None) -> None:
        try:
            if outcome is None:
                queue.extend(delivery, lease=backoff(delivery.attempt))
            else:
                queue.settle(delivery, outcome)
        except LeaseLost:
            self.log.line("lease_lost", queue=delivery.queue, attempt=delivery.attempt)
            return
        except TransientError:  # its lease runs out, and whoever gets it next finds it done; the others go on
            self.log.line("not_settled", queue=delivery.queue, attempt=delivery.attempt)
            return
        if isinstance(outcome, Reject):
            self.log.line("rejected", queue=delivery.queue, attempt=delivery.attempt)


class Heartbeat:
    """Extends the leases of everything in hand, thrice per lease, from one thread."""

    def __init__(self, *, lease: timedelta, log: Log) -> None:
        self._lease = lease
        self._log = log
        self._in_hand: dict[str, tuple[Queue, Delivery]] = {}
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

    def drop(self, delivery: Delivery) -> None:
        with self._lock:
            self._in_hand.pop(delivery.receipt, None)

    def _beat(self) -> None:
        while not self._stop.wait(self._lease.total_seconds() / 3):
            with self._lock:
                in_hand = list(self._in_hand.values())
            for queue, delivery in in_hand:
                try:
                    queue.extend(delivery, lease=self._lease)
                except TransientError:  # lost, or unwell: either way the settling call will tell
                    self._log.line("not_extended", queue=delivery.queue, attempt=delivery.attempt)
