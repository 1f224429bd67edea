"""Real processes on one home, killed at random: nothing lost, nothing twice, no matched cover public.

The ledger is not believed: the end is judged by asking URLs over HTTP and by counting rows.
"""

import json
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import text

from coverguard import bootstrap, preparing
from coverguard.hashlist import ListRow
from coverguard.imaging import fingerprint
from coverguard.model import Algorithm, Category, ListAction, Surface
from coverguard.policy import ListRule
from coverguard.ports import Reach
from coverguard.store import lists
from coverguard.telemetry import Log
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import Platform
from coverguard.testing.vouching import vouch

pytestmark = [pytest.mark.process, pytest.mark.timeout(420)]

MESSAGES = 500
DISTINCT = 40
LISTED = 10
KILLS = 10
PATIENCE = 240


@contextmanager
def process(home, verb, name):
    log = home / f"{name}.log"
    with log.open("ab") as stream:
        command = [sys.executable, "-m", "coverguard.cli", "--home", str(home), verb]
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def until(condition, *, patience=PATIENCE):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not come to an end"
        time.sleep(0.1)


class Town:
    """One deployment with its platform, its list and its uploads."""

    def __init__(self, parts, seed):
        self.parts = parts
        self.chance = random.Random(seed)
        store = bootstrap.folder_store(parts.settings)
        self.platform = Platform(settings=parts.settings, store=store, clock=parts.clock)
        pictures = [draw(Kind.SCENE, seed % 1000 * 100 + number, side=128) for number in range(DISTINCT)]
        self.data = [encode(image, "JPEG", quality=80) for image in pictures]
        self._list(self.data[:LISTED])
        self.uploads = {}

    def _list(self, listed):
        digests = [fingerprint(data).views[0].signals["pdq"] for data in listed]
        rule = ListRule(
            list_id=0, version=0, category=Category.CHILD_ABUSE, action=ListAction.HOLD,
            entry_accounts=10**6,  # a few pictures by many uploaders
        )  # fmt: skip
        rows = [
            ListRow(source_entry_id=f"entry-{number}", algorithm=Algorithm.PDQ, digest=digest)
            for number, digest in enumerate(digests)
        ]
        with self.parts.database.transaction() as tx:
            now = self.parts.clock.now()
            list_id, _ = lists.create(
                tx, name="town", source="tests", rule=rule, actor="tests", note="-", now=now
            )
            vouch(tx, list_id, now=now)
            lists.write_entries(tx, self.parts.keys, list_id=list_id, rows=rows, now=now)

    def announce(self, count, *, repeats=()):
        """Upload covers of both modes, and announce them in any order, some of them several times."""
        for number in range(count):
            which = number % DISTINCT
            surface = self.chance.choice([Surface.PLAYLIST_COVER, Surface.PROFILE_IMAGE])
            made = self.platform.upload(
                self.data[which],
                cover_id=f"cover-{number}",
                uploader=f"account-{number % 23}",
                surface=surface,
            )
            self.uploads[number] = (made, which < LISTED)
        bodies = [upload.body for upload, _ in self.uploads.values()]
        bodies += [self.uploads[number][0].body for number in repeats for _ in range(9)]
        self.chance.shuffle(bodies)
        self.parts.queue(bootstrap.UPLOADS).send(bodies)

    def heed(self):
        self.platform.consume(self.parts.queue("pipeline"))

    def drained(self):
        """Nothing waits on the queue, in the ledger or in the outbox."""
        self.heed()
        depth = self.parts.queue(bootstrap.UPLOADS).depth()
        waiting = depth["visible"] + depth["leased"] + depth["delayed"]
        return not waiting and not self.count(
            "SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL)"
            " + (SELECT count(*) FROM screening WHERE settled_at IS NULL)"
            " + (SELECT count(*) FROM quarantine WHERE state = 'requested')"
        )

    def answered(self):
        return self.count("SELECT count(DISTINCT cover_version_id) FROM screening")

    def count(self, query):
        with self.parts.database.reading() as tx:
            return tx.execute(text(query)).scalar_one()

    def judge(self):
        """Compare the world with the truth."""
        self.heed()
        public, private = [], []
        for upload, is_listed in self.uploads.values():
            reached = [self.parts.probe.ask(url, sha256=b"") for url in self.platform.urls(upload.key)]
            assert Reach.UNKNOWN not in reached
            gone = all(one is Reach.GONE for one in reached)
            (private if gone else public).append(is_listed)
        assert Counter(public) == {False: sum(not one for _, one in self.uploads.values())}
        assert Counter(private) == {True: sum(one for _, one in self.uploads.values())}
        assert self.count("SELECT count(*) FROM cover_version") == len(self.uploads)
        assert self.count("SELECT count(*) FROM screening") == len(self.uploads)
        listed = sum(one for _, one in self.uploads.values())
        assert self.count("SELECT count(*) FROM screening WHERE decision = 'hold'") == listed
        assert self.count("SELECT count(*) FROM case_item") == listed
        assert self.count("SELECT count(*) FROM quarantine WHERE state = 'held'") == listed
        assert self.count("SELECT count(*) FROM quarantine") == listed
        assert self.count("SELECT count(*) FROM case_file") == self.count(
            "SELECT count(DISTINCT uploader_id) FROM cover_version"
            " JOIN case_item ON cover_version_id = cover_version.id"
        )
        assert self.count("SELECT count(*) FROM outbox WHERE topic = 'pipeline'") == len(self.uploads)
        assert self.parts.queue(bootstrap.UPLOADS).depth()["dead"] == 0
        assert [one.check for one in self.parts.verifier().run() if one.broken] == []


@pytest.fixture
def town(tmp_path):
    seed = secrets.randbelow(10**6)
    print(f"seed {seed}")
    home = tmp_path / "home"
    preparing.prepare(home)
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port = asking.getsockname()[1]
    (home / "coverguard.toml").write_text(f'file_server_port = {port}\nlease = "5s"\n', encoding="utf-8")
    with bootstrap.deployment(home, log=Log(stream=None)) as parts, process(home, "files", "files"):
        made = Town(parts, seed)
        made.home = home
        yield made


def lines(home, name):
    """The log of a process; every line of it is JSON."""
    return [json.loads(line) for line in (home / f"{name}.log").read_text("utf-8").splitlines()]


def test_workers_killed_at_random_lose_nothing_and_do_nothing_twice(town):
    town.announce(MESSAGES, repeats=range(0, MESSAGES, 100))
    with ExitStack() as stack:
        stack.enter_context(process(town.home, "keeper", "keeper"))
        workers = [stack.enter_context(process(town.home, "worker", f"worker-{n}")) for n in range(2)]
        for kill in range(KILLS):
            target = (kill + 1) * MESSAGES // (KILLS + 2)
            until(lambda target=target: town.heed() or town.answered() >= target)
            time.sleep(town.chance.random() / 20)
            victim = town.chance.randrange(2)
            workers[victim].send_signal(signal.SIGKILL)
            workers[victim].wait()
            workers[victim] = stack.enter_context(process(town.home, "worker", f"worker-{victim}"))
        until(town.drained)
        assert town.answered() == MESSAGES
    town.judge()


@pytest.mark.long
def test_four_workers_never_answer_that_the_database_is_locked(town):
    town.announce(MESSAGES)
    with ExitStack() as stack:
        stack.enter_context(process(town.home, "keeper", "keeper"))
        for number in range(4):
            stack.enter_context(process(town.home, "worker", f"worker-{number}"))
        until(town.drained)
    told = [
        line for name in ("keeper", *(f"worker-{n}" for n in range(4))) for line in lines(town.home, name)
    ]
    assert sum("decision" in line for line in told) >= MESSAGES
    assert [line for line in told if line["event"] in {"unwell", "bug"} or "error" in line] == []
    assert {line["lease"] for line in told if line["event"] == "delivery"} == {"kept"}
    town.judge()


def test_a_worker_told_to_stop_gives_back_what_it_has_not_begun(town):
    town.announce(60)
    with process(town.home, "worker", "worker") as worker:
        until(lambda: town.answered() >= 10)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=20) == 0
    depth = town.parts.queue(bootstrap.UPLOADS).depth()
    assert depth["leased"] == 0
    assert depth["visible"] == 60 - town.answered()
    with process(town.home, "worker", "worker"), process(town.home, "keeper", "keeper"):
        until(town.drained)
    town.judge()
