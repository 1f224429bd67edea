"""The relay sends everything that is owed, in order within a cover version, whatever the topics do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text

from coverguard.errors import TransientError
from coverguard.messages import SCHEMA
from coverguard.model import Micros
from coverguard.ports import OutgoingEvent, Published
from coverguard.relaying import NAMED, OVERDUE_AFTER, REFUSED_AGAIN, Relay
from coverguard.store import outbox
from coverguard.store.schema import outbox as table
from coverguard.telemetry import Log

SECOND = timedelta(seconds=1)


class Scripted:
    """A topic that keeps the port's promises, and fails or refuses what it is told to."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.failing: set[str] = set()
        self.refusing: set[str] = set()
        self.asked = 0

    def publish(self, events: Sequence[OutgoingEvent]) -> Published:
        self.asked += 1
        confirmed, refused, stuck = set(), set(), set()
        for event in events:
            if event.group in stuck:
                continue
            if event.key in self.refusing:
                refused.add(event.key)
            elif event.key in self.failing:
                stuck.add(event.group)
            else:
                confirmed.add(event.key)
                self.arrived.append(event.key)
        fault = "InternalError" if stuck else ""
        return Published(confirmed=frozenset(confirmed), refused=frozenset(refused), fault=fault)


class Office:
    """An outbox, its two topics and the relay."""

    def __init__(self, database, clock) -> None:
        self.database, self.clock = database, clock
        self.pipeline, self.safety, self.log = Scripted(), Scripted(), Log(stream=None)
        self.relay = self.another()

    def another(self) -> Relay:
        topics = {"pipeline": self.pipeline, "safety": self.safety}
        return Relay(database=self.database, topics=topics, clock=self.clock, log=self.log)

    def owe(self, *keys: str, topic: str = "pipeline") -> None:
        body = f'{{"schema":"{SCHEMA}","type":"cover.withheld"}}'
        rows = [
            {"topic": topic, "idempotency_key": key, "body": body, "created_at": self.clock.now()}
            for key in keys
        ]
        with self.database.transaction() as tx:
            tx.execute(insert(table), rows)

    def owed(self) -> list[str]:
        with self.database.reading() as tx:
            return [row.idempotency_key for row in outbox.unsent(tx, limit=10_000)]

    def run(self, times: int = 1) -> None:
        for _ in range(times):
            try:
                self.relay.relay()
            except TransientError:
                continue


@pytest.fixture
def office(database, clock) -> Office:
    return Office(database, clock)


def test_what_is_owed_is_sent_once_in_order_to_its_topic(office):
    office.owe("cover-a:1", "cover-b:1", "cover-a:2")
    office.owe("case-a:flagged", topic="safety")
    assert office.relay.relay() == 4
    assert office.relay.relay() == 0
    assert office.pipeline.arrived == ["cover-a:1", "cover-b:1", "cover-a:2"]
    assert office.safety.arrived == ["case-a:flagged"]
    assert office.owed() == []
    assert office.pipeline.asked == 1


def test_a_topic_that_fails_keeps_only_its_own_and_says_so(office):
    office.owe("cover-a:1", "cover-b:1", "cover-a:2")
    office.owe("case-a:flagged", topic="safety")
    office.pipeline.failing = {"cover-a:1"}
    with pytest.raises(TransientError, match="InternalError"):
        office.relay.relay()
    assert office.safety.arrived == ["case-a:flagged"]
    assert office.owed() == ["cover-a:1", "cover-a:2"]
    office.pipeline.failing = set()
    office.run()
    assert office.pipeline.arrived == ["cover-b:1", "cover-a:1", "cover-a:2"]


def test_what_was_sent_and_not_marked_goes_out_again(office):
    office.owe("cover-a:1")
    office.run()
    with office.database.transaction() as tx:
        tx.execute(text("UPDATE outbox SET sent_at = NULL"))
    office.run()
    assert office.pipeline.arrived == ["cover-a:1"] * 2


def test_a_refused_event_rings_blocks_nothing_and_stays_owed(office):
    office.owe("cover-a:1", "cover-b:1", "cover-a:2")
    office.pipeline.refusing = {"cover-a:1"}
    assert office.relay.relay() == 2  # and raises nothing: the topic is well
    assert office.pipeline.arrived == ["cover-b:1", "cover-a:2"]
    assert office.owed() == ["cover-a:1"]
    assert office.relay.not_sent() == {"cover-a"}
    asked = office.pipeline.asked
    office.run(5)
    assert office.pipeline.asked == asked, "not again at once"
    office.clock.go_on(REFUSED_AGAIN)
    office.run()
    assert office.pipeline.asked == asked + 1
    assert office.log.counters["event_refused"] == 1
    office.pipeline.refusing = set()
    office.clock.go_on(REFUSED_AGAIN)
    assert office.relay.relay() == 1
    assert office.owed() == []
    assert office.relay.not_sent() == frozenset()


def test_thousands_that_are_refused_do_not_keep_one_that_is_not(office):
    office.owe(*(f"cover-{number}:1" for number in range(450)), "cover-x:1")
    office.pipeline.refusing = {f"cover-{number}:1" for number in range(450)}
    office.run()
    assert office.pipeline.arrived == ["cover-x:1"]
    assert office.relay.not_sent() == {"queue:pipeline"}, "one alarm will do"
    office.owe("cover-y:1")
    office.run()
    assert office.pipeline.arrived == ["cover-x:1", "cover-y:1"]
    assert len(office.owed()) == 450 > NAMED


def test_what_is_overdue_rings_for_its_topic_until_it_is_sent(office):
    office.owe("cover-a:1")
    office.pipeline.failing = {"cover-a:1"}
    office.run()
    office.clock.go_on(OVERDUE_AFTER)
    assert office.relay.not_sent() == frozenset()
    office.clock.go_on(SECOND)
    assert office.relay.not_sent() == {"queue:pipeline"}
    office.pipeline.failing = set()
    office.run()
    assert office.relay.not_sent() == frozenset()


def test_a_new_process_finds_the_refused_event_anew(office):
    office.owe("cover-a:1")
    office.pipeline.refusing = {"cover-a:1"}
    office.run()
    office.relay = office.another()
    assert office.relay.not_sent() == frozenset()
    office.run()
    assert office.relay.not_sent() == {"cover-a"}


@pytest.mark.thorough
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(data=st.data())
def test_everything_arrives_and_each_group_in_order(office, data):
    """Whatever fails on the way, with a second keeper and with deaths before the marking."""
    keys = [f"cover-{group}:{number}" for number in range(1, 4) for group in "abc"]
    office.pipeline.arrived.clear()
    with office.database.transaction() as tx:
        tx.execute(table.delete())
    office.owe(*keys)
    for _ in range(data.draw(st.integers(1, 4))):
        office.pipeline.failing = data.draw(st.sets(st.sampled_from(keys), max_size=3))
        office.run()
        if data.draw(st.booleans()):
            office.relay = office.another()
    office.pipeline.failing = set()
    office.run()
    assert office.owed() == []
    for group in "abc":
        mine = [key for key in office.pipeline.arrived if key.startswith(f"cover-{group}:")]
        assert mine == [f"cover-{group}:{number}" for number in range(1, 4)]


def test_the_time_of_sending_is_noted_once(office):
    office.owe("cover-a:1")
    office.run()
    first = office.clock.now()
    office.clock.go_on(SECOND)
    with office.database.transaction() as tx:
        ids = tx.execute(text("SELECT id FROM outbox")).scalars().all()
        outbox.mark_sent(tx, ids, now=office.clock.now())
        assert tx.execute(text("SELECT sent_at FROM outbox")).scalar_one() == Micros(first)
