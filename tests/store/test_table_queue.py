"""The queue contract on tables, and what only they have."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("queue_contract")

from queue_contract import LEASE, MAX_RECEIVE, Bench, QueueContract  # noqa: E402 - after the rewrite is registered
from sqlalchemy import select  # noqa: E402 - as above

from coverguard.errors import LeaseLost  # noqa: E402 - as above
from coverguard.local.clock import SystemClock  # noqa: E402 - as above
from coverguard.model import Done, Reject  # noqa: E402 - as above
from coverguard.store.queue import TableQueue, dead_letters  # noqa: E402 - as above
from coverguard.store.schema import queue_message  # noqa: E402 - as above

NAME = "uploads"


def faults(database, name=NAME):
    dead = select(queue_message).where(queue_message.c.queue == dead_letters(name))
    with database.reading() as tx:
        return {row.body: row.fault for row in tx.execute(dead)}


@pytest.fixture
def bench(database, clock) -> Bench:
    return Bench(
        make=lambda: TableQueue(database, NAME, clock=clock, max_receive=MAX_RECEIVE),
        go_on=clock.go_on,
        faults=lambda: faults(database),
        real=lambda: TableQueue(database, NAME, clock=SystemClock()),
    )


class TestTableQueue(QueueContract):
    def test_queues_in_one_table_are_apart(self, bench, database, clock):
        other = TableQueue(database, "reports", clock=clock, max_receive=MAX_RECEIVE)
        other.send(["theirs"])
        bench.queue.send(["ours"])
        ours = bench.one()
        assert ours.body == "ours"
        (theirs,) = bench.receive(queue=other)
        other.settle(theirs, Reject(reason="no"))
        assert bench.depth() == (0, 0, 1, 0)
        assert bench.queue.redrive() == 0
        assert faults(database, "reports") == {"theirs": "no"}

    def test_a_receipt_of_another_queue_settles_nothing(self, bench, database, clock):
        bench.queue.send(["ours"])
        ours = bench.one()
        stolen = type(ours)(
            queue="reports", body=ours.body, receipt=ours.receipt, attempt=1, sent_at=ours.sent_at
        )
        with pytest.raises(LeaseLost):
            bench.queue.settle(stolen, Done())

    def test_what_came_first_goes_first(self, bench):
        bench.queue.send([str(number) for number in range(5)])
        assert [one.body for one in bench.receive(2)] == ["0", "1"]
        assert [one.body for one in bench.receive(10)] == ["2", "3", "4"]

    def test_a_long_reason_is_cut(self, bench):
        bench.queue.send(["a"])
        bench.queue.settle(bench.one(), Reject(reason="x" * 10_000))
        assert bench.faults() == {"a": "x" * 500}

    def test_messages_outlive_the_process(self, bench, database, clock):
        bench.queue.send(["a"])
        bench.one()
        database.close()
        clock.go_on(LEASE)
        assert bench.one().attempt == 2
