"""What may have killed its handler is served alone; what was only near it is not counted against."""

import io
import threading
from datetime import timedelta

from coverguard.model import Done, Retry
from coverguard.ports import Delivery
from coverguard.telemetry import Log
from coverguard.worker import Heartbeat, Worker


class OneBatch:
    """A queue that hands out these attempts once, and remembers what was said of each, in order."""

    name = "uploads"

    def __init__(self, attempts):
        self.batch = [
            Delivery(
                queue=self.name, body=str(number), receipt=f"receipt-{number}", attempt=attempt, sent_at=0
            )
            for number, attempt in enumerate(attempts)
        ]
        self.said = []

    def receive(self, *, limit, wait, lease):
        batch, self.batch = self.batch, []
        return batch

    def settle(self, delivery, outcome):
        self.said.append((delivery.attempt, type(outcome)))


def served(*attempts):
    queue, log = OneBatch(attempts), Log(io.StringIO())
    lease = timedelta(seconds=60)
    worker = Worker(queues=[queue], handle=lambda _: Done(note="pass"), lease=lease, log=log)
    with Heartbeat(lease=lease, log=log) as heartbeat:
        assert worker.serve_once(heartbeat, threading.Event())
    return queue.said


def test_a_fresh_batch_is_served_whole():
    assert served(1, 1, 1, 1) == [(1, Done)] * 4


def test_of_several_suspects_one_is_served_after_the_others_were_given_back():
    assert served(3, 1, 2, 3) == [(1, Done), (2, Retry), (3, Retry), (3, Done)]


def test_a_lone_suspect_is_served_last():
    assert served(2, 1) == [(1, Done), (2, Done)]
