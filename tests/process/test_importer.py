"""Real `import serve` processes against both simulated exchanges over loopback: killed, frozen, told to stop.

What is believed is the ledger's rows, opened with the list's key, against what the simulator has. A lease is
fifteen minutes; where a test cannot wait for its end, it ends it in the ledger, as the clock would.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import closing, contextmanager

import psycopg
import pytest
from sqlalchemy import text

from coverguard import preparing
from coverguard.errors import ConfigurationError
from coverguard.local.clock import SystemClock
from coverguard.local.keys import LocalKeys
from coverguard.model import Category, ListAction
from coverguard.policy import ListRule
from coverguard.settings import DATABASE_VARIABLE
from coverguard.store import fetches, lists
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.store.roles import apply_roles
from coverguard.testing.exchanges import ncmec, stopncii
from coverguard.testing.exchanges.ncmec import NcmecSimulation
from coverguard.testing.exchanges.serving import Server, Trouble
from coverguard.testing.exchanges.stopncii import StopNciiSimulation
from coverguard.testing.servers import free_ports
from coverguard.testing.vouching import vouch

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

PATIENCE = 60.0
MANY = 3000
KILLS = 3
MINUTE = 60_000_000
HOUR = 60 * MINUTE
COMPARED = ("md5", "sha1", "pdq")
KINDS = ("ncmec", "stopncii")


def until(condition, *, patience=PATIENCE):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


class Place:
    """One exchange, its simulator, its list, and processes that fetch it."""

    def __init__(self, home, database, kind, server, simulation, *, login=None):
        self.home, self.database, self.kind, self.simulation = home, database, kind, simulation
        self.login = (
            login  # the URL with which the process reaches the ledger, unless it is the settings' own
        )
        self.keys = LocalKeys.open_or_create(home / "keys", purposes=("lists",))
        self._credentials()
        place = f"test-industry={server.url}" if kind == "ncmec" else server.url
        rule = ListRule(list_id=0, version=0, category=Category.OTHER, action=ListAction.REFER)
        with database.transaction() as tx:
            now = SystemClock().now()
            self.list_id, _ = lists.create(
                tx, name="l", source="tests", rule=rule, actor="tests", note="-", now=now
            )
            vouch(tx, self.list_id, now=now)
            fetches.create(tx, name="x", list_id=self.list_id, kind=kind, place=place, every=HOUR, now=now)

    def _credentials(self):
        folder = self.home / "keys" / "exchanges"
        folder.mkdir(mode=0o700)
        said = {
            "ncmec": f"{ncmec.USER}:{ncmec.PASSWORD}",
            "stopncii": f"{stopncii.FUNCTION_KEY},{stopncii.SUBSCRIPTION_KEY}",
        }
        descriptor = os.open(folder / "x", os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(said[self.kind] + "\n")

    # ── what the exchange has ──────────────────────────────────────────────────────────────────────────────

    def publish(self, count, *, ago=30):
        """NCMEC is read up to ten seconds before now: what is to be found at once is older."""
        now = int(time.time())
        made = []
        for _ in range(count):
            if self.kind == "ncmec":
                made.append(self.simulation.publish(f"e{secrets.token_hex(6)}", at=now - ago))
            else:
                made.append(self.simulation.publish(at=now - ago))
        return made

    def withdraw(self, one, *, ago=20):
        now = int(time.time())
        if self.kind == "ncmec":
            self.simulation.delete(one, at=now - ago)
        else:
            self.simulation.publish(one.value, at=now - ago, status="Withdrawn")

    def truth(self):
        if self.kind == "ncmec":
            return sorted(
                bytes.fromhex(said)
                for one in self.simulation.entries.values() if not one.deleted
                for name, said in one.fingerprints if name in COMPARED
            )  # fmt: skip
        return sorted(
            bytes.fromhex(one.value) for one in self.simulation.listed.values() if one.status == "Active"
        )

    # ── what the ledger has ────────────────────────────────────────────────────────────────────────────────

    @property
    def row(self):
        with self.database.reading() as tx:
            return fetches.by_name(tx, "x")

    def count(self, table="exchange_record"):
        with self.database.reading() as tx:
            return tx.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()

    def listed(self):
        with self.database.reading() as tx:
            return sorted(one.digest for one in lists.load(tx, self.keys).digests)

    def has_it_all(self):
        return self.row.caught_up_at is not None and self.row.holder is None and self.listed() == self.truth()

    def is_held(self):
        return (self.row.held_until or 0) > SystemClock().now()

    def change(self, what):
        with self.database.transaction() as tx:
            tx.execute(text(f"UPDATE exchange SET {what}"))

    def lease_ends(self):
        self.change("held_until = 0 WHERE holder IS NOT NULL")

    def due_now(self):
        self.change("next_at = 0")

    # ── processes ──────────────────────────────────────────────────────────────────────────────────────────

    def command(self, *arguments):
        return [sys.executable, "-m", "coverguard.cli", "--home", str(self.home), *arguments]

    def environment(self):
        return {**os.environ, **({DATABASE_VARIABLE: self.login} if self.login else {})}

    @contextmanager
    def serving(self, name="importer", port=None):
        with (self.home.parent / f"{name}.log").open("ab") as stream:
            running = subprocess.Popen(
                self.command("import", "serve", *(("--metrics-port", str(port)) if port else ())),
                env=self.environment(), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            )  # fmt: skip
        try:
            yield running
        finally:
            running.send_signal(signal.SIGCONT)
            running.kill()
            running.wait()

    def lines(self, name="importer"):
        return [json.loads(one) for one in (self.home.parent / f"{name}.log").read_text().splitlines()]

    def trouble(self, name="importer"):
        return [one for one in self.lines(name) if one["event"] in {"bug", "unwell"}]


@contextmanager
def place_of(kind, home, database, *, login=None):
    clock = SystemClock()
    simulation = (
        NcmecSimulation(clock, page_size=500) if kind == "ncmec" else StopNciiSimulation(clock, most=500)
    )
    with Server(simulation) as server:
        yield Place(home, database, kind, server, simulation, login=login)


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    home = tmp_path / "home"
    preparing.prepare(home)
    with (
        closing(Database(f"sqlite:///{home / 'ledger.db'}", durable=False)) as database,
        place_of(request.param, home, database) as made,
    ):
        yield made


def follows(place):
    """A first load, a publication and a withdrawal, as they come; return the trouble that was told."""
    first = place.publish(20)
    with place.serving():
        until(place.has_it_all)
        wait = place.row.next_at - place.row.caught_up_at
        assert 0.9 * HOUR <= wait <= 1.1 * HOUR
        place.publish(1, ago=0)
        place.withdraw(first[0], ago=0)
        until(lambda: place.has_it_all() or place.due_now())  # NCMEC is read up to ten seconds before now
    assert len(place.truth()) == 20 * (3 if place.kind == "ncmec" else 1)
    return place.trouble()


def test_a_first_load_a_publication_and_a_withdrawal_arrive_at_their_time(place):
    assert follows(place) == []


def test_killed_in_a_first_load_at_random_it_goes_on_and_nothing_is_lost(place):
    seed = secrets.randbelow(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    place.publish(MANY)
    for kill in range(KILLS):
        known = place.count()
        with place.serving() as running:
            # somewhere: before the first page, or after some of them
            enough = known + chance.choice((0, 1, 500, 1000))
            until(lambda enough=enough: place.is_held() and place.count() >= min(enough, MANY))
            time.sleep(chance.random() / 4)
            running.send_signal(signal.SIGKILL)
            running.wait()
        assert place.count() >= known, "what was stored is stored"
        if place.is_held():
            with place.database.reading() as tx:
                assert fetches.due(tx, now=SystemClock().now()) == [], "nobody goes on before the lease ends"
        place.lease_ends()
        if kill == 1:
            place.withdraw(_all(place)[0], ago=15)
    place.due_now()
    with place.serving():
        until(place.has_it_all, patience=120)
    assert place.count("exchange_record") == MANY
    assert place.count("dead_letter") == 0
    assert place.row.gaps == 0


def _all(place):
    return list(
        place.simulation.entries.values() if place.kind == "ncmec" else place.simulation.listed.values()
    )


def freeze_between_writes(place, process):
    """Stop the process while it does not have SQLite's one write lock, which nobody else would get then."""
    while True:
        process.send_signal(signal.SIGSTOP)
        ledger = sqlite3.connect(place.home / "ledger.db", timeout=0.5, isolation_level=None)
        try:
            ledger.execute("BEGIN IMMEDIATE")
            ledger.execute("ROLLBACK")
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            time.sleep(0.01)
        else:
            return
        finally:
            ledger.close()


def test_of_two_processes_one_fetches_and_who_was_frozen_too_long_stores_nothing_more(place):
    place.publish(MANY)
    with place.serving("one") as one:
        until(lambda: place.count() >= 500)
        freeze_between_writes(place, one)
        holder = place.row.holder
        with place.serving("two"):
            time.sleep(2)
            assert place.row.holder == holder, "the other stays out for as long as the lease holds"
            if holder is None:
                pytest.skip("it was over before it could be frozen")
            place.lease_ends()
            until(place.has_it_all)
            place.change("next_at = next_at + 1")  # the row is as the second process left it, and marked
            before = place.row
            one.send_signal(signal.SIGCONT)
            until(lambda: any(line["event"] == "fetched" for line in place.lines("one")))
            assert place.row == before
    assert [line["outcome"] for line in place.lines("one") if line["event"] == "fetched"] == ["failed"]
    assert place.has_it_all()


@pytest.mark.parametrize("when", ["idle", "in_a_page_that_never_ends"])
def test_told_to_stop_it_ends_within_seconds_and_gives_its_lease_back(place, when):
    place.publish(2)
    if when != "idle":
        place.simulation.befall(Trouble.DRIP)
    with place.serving() as running:
        until(lambda: bool(place.simulation.requests) and (when != "idle" or place.has_it_all()))
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=20) == 0
    assert place.row.holder is None
    place.simulation.recover()
    if when != "idle":
        with place.serving():
            until(place.has_it_all)
    assert place.trouble() == []


def ask(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_it_lives_and_is_ready_also_while_an_exchange_does_not_answer(place):
    place.publish(2)
    place.simulation.befall(Trouble.ERROR)
    (port,) = free_ports(1)
    with place.serving(port=port):
        until(lambda: ask(port, "/readyz")[0] == 200)
        until(lambda: place.row.failures > 0)
        assert ask(port, "/livez") == (200, '{"importer": "ok"}\n')
        assert json.loads(ask(port, "/readyz")[1]) == {"database": "ok"}
        assert 'coverguard_events_total{event="fetched"}' in ask(port, "/metrics")[1]
        assert place.row.fault
        place.simulation.recover()
        place.due_now()
        until(place.has_it_all)


def test_it_opens_no_key_but_that_of_lists_and_starts_with_no_other(place):
    kept = {"lists.key", "exchanges"}
    for path in (place.home / "keys").iterdir():
        if path.name not in kept:
            path.unlink()
    place.publish(3)
    with place.serving():
        until(place.has_it_all)
    assert {path.name for path in (place.home / "keys").iterdir()} == kept, "nor does it make one"
    (place.home / "keys" / "lists.key").unlink()
    with place.serving("keyless") as running:
        assert running.wait(timeout=PATIENCE) == 2
    assert "keys/lists.key is missing" in (place.home.parent / "keyless.log").read_text()
    assert not (place.home / "keys" / "lists.key").exists()


# ── PostgreSQL, under the role ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def ledger(postgres):
    number = uuid.uuid4().hex
    name, user = f"importing_{number}", f"importer_{number}"
    with closing(Database(postgres.create_database(name), durable=False)) as owner:
        migrate(owner)
        assert apply_roles(owner) == ()
        with psycopg.connect(postgres.url().replace("+psycopg", ""), autocommit=True) as server:
            server.execute(f"CREATE ROLE {user} LOGIN IN ROLE coverguard_importer")
            yield owner, postgres.url(name, user=user)
            owner.close()
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
            server.execute(f"DROP ROLE {user}")


@pytest.mark.servers
@pytest.mark.parametrize("kind", KINDS)
def test_on_postgresql_its_role_is_enough(ledger, kind, tmp_path):
    owner, login = ledger
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with place_of(kind, home, owner, login=login) as place:
        assert follows(place) == []
        if kind == "ncmec":
            place.simulation.publish("bad", fingerprints=(("pdq", "no digest"),))
        else:
            place.simulation.publish(extra={"hashStatus": "Unheard"})
        with place.serving():
            until(lambda: place.count("dead_letter") == 1 or place.due_now())
        assert place.trouble() == []


@pytest.mark.servers
@pytest.mark.parametrize(
    "table",
    ["verdict", "match", "case_file", "fingerprint", "suppression", "report", "api_key", "queue_message"],
)
def test_on_postgresql_it_reads_nothing_of_cases_and_reports(ledger, table):
    with (
        closing(Database(ledger[1], durable=False)) as mine,
        pytest.raises(ConfigurationError, match="no right"),
        mine.reading() as tx,
    ):
        tx.execute(text(f"SELECT 1 FROM {table} LIMIT 1"))


@pytest.mark.servers
def test_on_postgresql_it_neither_makes_lists_nor_says_what_they_may_do(ledger):
    for statement in (
        "UPDATE hash_list SET source = 'x'",
        "INSERT INTO hash_list (name) VALUES ('x')",
        "INSERT INTO list_rule (list_id) VALUES (1)",
        "INSERT INTO exchange (name) VALUES ('x')",
        "DELETE FROM list_entry",
        "DELETE FROM dead_letter",
    ):
        with (
            closing(Database(ledger[1], durable=False)) as mine,
            pytest.raises(ConfigurationError, match="no right"),
            mine.transaction() as tx,
        ):
            tx.execute(text(statement))
