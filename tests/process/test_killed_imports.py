"""Real `lists load` processes, killed at random in every part of an import: nothing is lost, doubled or left.

What is believed is the ledger's rows, opened with the list's key, against the file. Hashes are invented.
"""

import hashlib
import os
import pwd
import random
import secrets
import signal
import subprocess
import sys
import time
import uuid
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import select, text

from coverguard import preparing
from coverguard.local.clock import SystemClock
from coverguard.local.keys import LocalKeys
from coverguard.model import Category
from coverguard.policy import ListRule
from coverguard.settings import DATABASE_VARIABLE
from coverguard.store import lists
from coverguard.store.engine import Database
from coverguard.store.lists.entries import PURPOSE, place
from coverguard.store.migrate import migrate
from coverguard.store.schema import list_entry

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

BOTH = ["sqlite", pytest.param("postgresql", marks=[pytest.mark.servers, pytest.mark.long])]
MANY = 100_000
KILLS = 2
STOCK = 24_000  # of the list that is loaded anew
CHANGED = 12_000
GONE = 12_000
PATIENCE = 60.0
WENT_ON = "an earlier load of this file did not end; it went on behind line "


def invented(number):
    return hashlib.sha256(b"invented %d" % number).digest()


def write_file(path, entries):
    with path.open("w", encoding="ascii") as file:
        file.write("id,algorithm,digest\n")
        file.writelines(f"entry-{name},sha256,{digest.hex()}\n" for name, digest in entries.items())


class Town:
    """One deployment, one list, and processes that load files into it."""

    def __init__(self, home, database, *, url=None):
        self.home, self.database = home, database
        self.environment = {**os.environ, **({DATABASE_VARIABLE: url} if url else {})}
        self.keys = LocalKeys.open_or_create(home / "keys", purposes=("lists",))
        self.file = home.parent / "list.csv"
        me = pwd.getpwuid(os.getuid()).pw_name
        (home / "coverguard.toml").write_text(f'[people]\n{me} = ["list_editor"]\n', encoding="utf-8")
        rule = ListRule(list_id=0, version=0, category=Category.OTHER)
        with database.transaction() as tx:
            now = SystemClock().now()
            self.list_id, _ = lists.create(
                tx, name="l", source="tests", rule=rule, actor="tests", note="-", now=now
            )

    def _command(self, *options):
        return [
            sys.executable, "-m", "coverguard.cli", "--home", str(self.home), "lists", "load", "l",
            str(self.file), *options,
        ]  # fmt: skip

    def killed_when(self, condition, *options):
        """Kill a load as soon as that is so; it must not have ended before."""
        running = subprocess.Popen(
            self._command(*options), env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            end = time.monotonic() + PATIENCE
            while not condition(self.progress):
                assert running.poll() is None, "it ended before it could be killed"
                assert time.monotonic() < end, "it did not come to that"
                time.sleep(0.01)
        finally:
            running.send_signal(signal.SIGKILL)
            running.wait()

    def ended(self, *options):
        """What a load says that is let be."""
        done = subprocess.run(
            self._command(*options), env=self.environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @property
    def progress(self):
        with self.database.reading() as tx:
            found = tx.execute(text("SELECT * FROM list_import ORDER BY id DESC LIMIT 1")).first()
        return Nothing if found is None else found

    def listed(self):
        live = (list_entry.c.list_id == self.list_id, list_entry.c.withdrawn_at.is_(None))
        with self.database.reading() as tx:
            rows = tx.execute(select(list_entry).where(*live)).all()
        opened = {row.source_entry_id.removeprefix("entry-"): self._digest(row) for row in rows}
        assert len(opened) == len(rows), "an id has one row"
        return opened

    def _digest(self, row):
        at = place(list_id=self.list_id, source_entry_id=row.source_entry_id, algorithm=row.algorithm)
        return self.keys.open(PURPOSE, row.digest_sealed, context=at)

    def require(self, entries):
        assert self.listed() == entries
        with self.database.reading() as tx:
            assert tx.execute(text("SELECT count(*) FROM staged_entry")).scalar_one() == 0
            assert tx.execute(text("SELECT count(*) FROM dead_letter")).scalar_one() == 0
            open_ones = "SELECT count(*) FROM list_import WHERE state IN ('reading', 'applying')"
            assert tx.execute(text(open_ones)).scalar_one() == 0


class Nothing:
    state, line, staged, applied, withdrawn = "", 0, 0, 0, 0


@contextmanager
def on_postgresql(postgres):
    name = f"killed_{uuid.uuid4().hex}"
    url = postgres.create_database(name)
    with closing(Database(url, durable=False)) as database:
        migrate(database)
        yield database, url
    postgres.drop_database(name)


@pytest.fixture(params=BOTH)
def town(request, tmp_path):
    home = tmp_path / "home"
    preparing.prepare(home)
    if request.param == "postgresql":
        with on_postgresql(request.getfixturevalue("postgres")) as (database, url):
            yield Town(home, database, url=url)
        return
    with closing(Database(f"sqlite:///{home / 'ledger.db'}", durable=False)) as database:
        yield Town(home, database)


@pytest.fixture
def chance():
    seed = secrets.randbelow(10**6)
    print(f"seed {seed}")
    return random.Random(seed)


def test_a_first_load_that_is_killed_at_random_goes_on_until_the_list_is_the_file(town, chance):
    entries = {str(number): invented(number) for number in range(MANY)}
    write_file(town.file, entries)
    places = sorted(chance.sample(range(1, MANY - 20_000), KILLS))
    reached = 0
    for here in places:
        least = max(here, reached + 1)
        town.killed_when(lambda at, least=least: at.line >= least)
        assert town.progress.state == "reading"
        assert town.progress.line > reached, "what was written is written"
        reached = town.progress.line
        assert len(town.listed()) == reached - 1, "rows and place are one"
    assert f"{WENT_ON}{reached}\n" in town.ended()
    town.require(entries)


def test_a_large_change_that_is_killed_while_it_reads_applies_and_withdraws_ends_all_the_same(town, chance):
    write_file(town.file, {str(number): invented(number) for number in range(STOCK)})
    town.ended()
    before = town.listed()
    entries = {str(number): invented(number) for number in range(GONE, STOCK)}
    entries |= {str(number): invented(-number) for number in range(STOCK - CHANGED, STOCK, 2)}
    entries |= {f"new {number}": invented(number) for number in range(CHANGED)}
    write_file(town.file, entries)
    killed = chance.randrange(1, CHANGED)
    town.killed_when(lambda at: at.state == "reading" and at.line >= killed, "--confirm-shrink")
    assert town.listed() == before, "nothing counts before all was compared"
    town.killed_when(lambda at: at.state == "applying" and at.applied > 0, "--confirm-shrink")
    assert town.progress.withdrawn == 0
    town.killed_when(lambda at: at.state == "applying" and at.withdrawn > 0, "--confirm-shrink")
    said = town.ended("--confirm-shrink")
    assert WENT_ON in said
    town.require(entries)
    assert (town.progress.applied, town.progress.withdrawn) == (CHANGED // 2 + CHANGED, GONE)
    assert WENT_ON not in town.ended(), "the same again is no load that did not end"
    assert (town.progress.applied, town.progress.withdrawn) == (0, 0)
    town.require(entries)
