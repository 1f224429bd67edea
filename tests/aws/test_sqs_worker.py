"""Workers on SQS: told to stop, and killed by a message. The ledger is a file: only the queues are new."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqs_place import caller, make_place

from coverguard import bootstrap, preparing
from coverguard.aws import clients
from coverguard.settings import FILE, QUEUES
from coverguard.telemetry import Log
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import Platform
from coverguard.worker import Heartbeat

pytestmark = [pytest.mark.servers, pytest.mark.process, pytest.mark.timeout(300)]

MESSAGES = 16
LEASE = timedelta(seconds=30)
NOTHING = timedelta()


class Deadly:
    """An object store on whose bytes the process dies."""

    class Death(BaseException):
        pass

    def __init__(self, store) -> None:
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def read(self, ref, *, limit):
        raise self.Death


class Town:
    def __init__(self, parts, places) -> None:
        self.parts = parts
        self.places = places
        self.queue = parts.queue(bootstrap.UPLOADS)
        store = bootstrap.folder_store(parts.settings)
        self.platform = Platform(settings=parts.settings, store=store, clock=parts.clock)

    def announce(self, count: int) -> None:
        data = encode(draw(Kind.SCENE, 7, side=64), "PNG")
        self.queue.send(
            [self.platform.upload(data, cover_id=f"c{number}", uploader="u").body for number in range(count)]
        )

    def count(self, query: str) -> int:
        with self.parts.database.reading() as tx:
            return tx.execute(text(query)).scalar_one()

    def answered(self) -> int:
        return self.count("SELECT count(*) FROM screening")

    def depth(self) -> dict[str, int]:
        return dict(self.queue.depth())


@pytest.fixture
def make_town(tmp_path, ministack, monkeypatch):
    """A deployment with its queues on SQS, which processes find where boto3 looks."""
    for name, value in ministack.endpoint.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", ministack.endpoint.url)
    opened = []

    def make(*lines: str) -> Town:
        client = clients.sqs(**caller(ministack.endpoint))
        places = {name: make_place(client) for name in QUEUES}
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        addresses = [f'{name} = "{place.url}"' for name, place in places.items()]
        (home / FILE).write_text("\n".join([*lines, "[queues]", *addresses]))
        preparing.prepare(home)
        opened.append(bootstrap.deployment(home, log=Log(stream=None)))
        return Town(opened[0].__enter__(), places)

    yield make
    for one in opened:
        one.__exit__(None, None, None)


def worker(town) -> subprocess.Popen[bytes]:
    home = town.parts.settings.home
    with (home / "log").open("ab") as log:
        command = [sys.executable, "-m", "coverguard.cli", "--home", str(home), "worker"]
        return subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))


def until(condition) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it did not come to an end"
        time.sleep(0.05)


def test_a_worker_told_to_stop_gives_back_what_it_has_not_begun_uncounted(make_town):
    town = make_town()
    town.announce(MESSAGES)
    running = worker(town)
    try:
        until(lambda: town.answered() >= 2)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 0
    finally:
        running.kill()
    done = town.answered()
    assert town.depth() == {"visible": MESSAGES - done, "delayed": 0, "leased": 0, "dead": 0}
    left = []
    while some := town.queue.receive(limit=10, wait=NOTHING, lease=LEASE):
        left += some
    assert {delivery.attempt for delivery in left} <= {1}
    for delivery in left:
        town.queue.extend(delivery, lease=NOTHING)
    running = worker(town)
    try:
        until(lambda: town.answered() == MESSAGES and not sum(town.depth().values()))
    finally:
        running.terminate()
        assert running.wait(timeout=60) == 0
    assert town.count("SELECT count(*) FROM cover_version") == MESSAGES
    assert town.count("SELECT count(*) FROM outbox WHERE topic = 'pipeline'") == MESSAGES


def test_a_cover_that_kills_its_handlers_is_dead_lettered_and_not_screened(make_town):
    """SQS's own policy buries it, and the keeper answers for the cover that it announced."""
    town = make_town('lease = "1s"', 'grace = "3s"')
    town.announce(1)
    deadly = dataclasses.replace(town.parts, store=Deadly(town.parts.store)).worker()
    heartbeat = Heartbeat(lease=deadly.lease, log=town.parts.log)
    deaths = 0
    while town.depth()["dead"] == 0:
        try:
            deadly.serve_once(heartbeat, threading.Event())
        except Deadly.Death:
            deaths += 1
        time.sleep(0.3)
    assert deaths == 3
    assert town.depth() == {"visible": 0, "delayed": 0, "leased": 0, "dead": 1}
    keeper = town.parts.keeper()
    until(lambda: keeper.answer_for_the_silent() == 1)
    assert town.count("SELECT count(*) FROM screening WHERE decision = 'not_screened'") == 1
    assert town.count("SELECT count(*) FROM outbox WHERE body LIKE '%cover.withheld%'") == 1
    # It was sent again, too; this time nobody dies of it, and a person may redrive the dead letter.
    assert town.depth()["visible"] == 1
    assert town.queue.redrive() == 1
    whole = town.parts.worker()
    until(lambda: not whole.serve_once(heartbeat, threading.Event()) and not sum(town.depth().values()))
    assert town.count("SELECT count(*) FROM screening WHERE decision = 'pass'") == town.answered() == 1
