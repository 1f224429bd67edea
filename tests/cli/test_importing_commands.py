"""`coverguard import …` as a person types it, against both simulated exchanges over loopback."""

from __future__ import annotations

import os
import pwd
import time

import pytest
from test_commands import Machine

from coverguard import bootstrap
from coverguard.local.clock import SystemClock
from coverguard.store import fetches
from coverguard.telemetry import Log
from coverguard.testing.exchanges import ncmec, stopncii
from coverguard.testing.exchanges.ncmec import NcmecSimulation
from coverguard.testing.exchanges.serving import Server, Trouble
from coverguard.testing.exchanges.stopncii import StopNciiSimulation

pytestmark = pytest.mark.process

ME = pwd.getpwuid(os.getuid()).pw_name
LINES = {
    "ncmec": f"{ncmec.USER}:{ncmec.PASSWORD}",
    "stopncii": f"{stopncii.FUNCTION_KEY},{stopncii.SUBSCRIPTION_KEY}",
}
SECRETS = (ncmec.PASSWORD, stopncii.FUNCTION_KEY, stopncii.SUBSCRIPTION_KEY)


@pytest.fixture
def machine(tmp_path, capsys):
    made = Machine(tmp_path / "home", capsys)
    made("migrate")
    made.settings(f'[people]\n{ME} = ["list_editor"]\n')
    made("lists", "add", "theirs", "--source", "tests", "--category", "child_abuse")
    return made


class There:
    """An exchange that a person has been let into."""

    def __init__(self, machine, kind, server, simulation):
        self.machine, self.kind, self.simulation = machine, kind, simulation
        self.place = f"test-industry={server.url}" if kind == "ncmec" else server.url

    def add(self, *more, name="x", code=0):
        which = ("--list", "theirs", "--kind", self.kind, "--place", self.place)
        return self.machine("import", "add", name, *which, *more, code=code)

    def credentials(self, line=None, mode=0o600):
        folder = self.machine.home / "keys" / "exchanges"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "x").write_text((line or LINES[self.kind]) + "\n", "utf-8")
        (folder / "x").chmod(mode)

    def status(self):
        (row,) = self.machine.json("import", "status")
        return row


@pytest.fixture(params=LINES)
def there(request, machine):
    clock = SystemClock()
    simulation = NcmecSimulation(clock) if request.param == "ncmec" else StopNciiSimulation(clock)
    for number in range(5):
        how = (f"e{number}",) if request.param == "ncmec" else ()
        simulation.publish(*how, at=int(time.time()) - 60)
    with Server(simulation) as server:
        yield There(machine, request.param, server, simulation)


def test_from_adding_an_exchange_to_a_list_that_has_its_records(there):
    machine = there.machine
    assert machine("import", "status").startswith("no exchanges yet")
    assert there.add("--every", "1m") == "exchange x: added\n"
    assert there.add() == "exchange x: exists already, nothing changed\n"
    there.credentials()
    tried = machine.json("import", "run", "x", "--dry-run")
    rows = 15 if there.kind == "ncmec" else 5
    assert (tried["records"], tried["new or changed"], tried["dry_run"]) == (5, rows, True)
    assert (there.status()["records"], there.status()["caught up"]) == (0, "-")
    ran = machine.json("import", "run", "x")
    assert (ran["records"], ran["new or changed"], ran["caught up"], ran["fault"]) == (5, rows, "yes", None)
    row = there.status()
    assert (row["records"], row["enabled"], row["fault"], row["unread"], row["gaps"]) == (5, "yes", "-", 0, 0)
    assert machine.json("lists", "show")[0]["entries"] == rows
    assert machine("import", "disable", "x") == "exchange x: disabled\n"
    assert there.status()["enabled"] == "no"
    assert machine("import", "enable", "x") == "exchange x: enabled\n"
    assert "caught up" in machine("import", "run", "x")


def test_credentials_that_are_missing_open_or_wrong_are_named_and_never_shown(there):
    machine = there.machine
    there.add()
    said = [machine("import", "run", "x", code=1)]
    assert "keys/exchanges/x cannot be read" in said[-1]
    for line, mode, words in (
        (None, 0o640, "keys/exchanges/x is open to group or others"),
        ("nonsense", 0o600, "keys/exchanges/x: "),
        (
            "who:wrong" if there.kind == "ncmec" else "who,wrong",
            0o600,
            "does not take what is in keys/exchanges/x",
        ),
    ):
        there.credentials(line, mode)
        said.append(machine("import", "run", "x", code=1))
        assert words in said[-1]
    assert "does not take" in there.status()["fault"]
    for secret in (*SECRETS, "who:wrong", "who,wrong", "nonsense"):
        assert not [one for one in said if secret in one]


def test_a_place_that_is_none_adds_nothing(there):
    machine = there.machine
    base = ("import", "add", "x", "--list", "theirs", "--kind", there.kind, "--place")
    assert "there is no such place" in machine(*base, "http://elsewhere.example/", code=2)
    bad = "industry=http://10.0.0.1/" if there.kind == "ncmec" else "https://me:secret@exchange.example/"
    said = machine(*base, bad, code=2)
    assert "there is no such place" in said
    assert "secret" not in said
    assert machine.json("import", "status") == []
    there.place = "x" * 501
    with pytest.raises(SystemExit):
        there.add()


@pytest.mark.parametrize("name", ["../lists", "/etc/passwd", "A", "-x", "x" * 64, "", "a/b", "a.b"])
def test_a_name_becomes_a_file_of_credentials_and_never_another_one(machine, name):
    with pytest.raises(SystemExit) as ended:
        machine("import", "add", "--list", "theirs", "--kind", "ncmec", "--place", "industry", "--", name)
    assert ended.value.code == 2


@pytest.mark.parametrize("every", ["30s", "0m", "soon"])
def test_how_often_is_a_minute_at_least(there, every):
    with pytest.raises(SystemExit):
        there.add("--every", every)


def test_what_is_not_there_is_not_found(there):
    machine = there.machine
    for arguments in (("run", "y"), ("run", "y", "--dry-run"), ("enable", "y"), ("disable", "y")):
        machine("import", *arguments, code=4)
    machine("import", "add", "x", "--list", "nowhere", "--kind", "ncmec", "--place", "industry", code=4)


def test_a_list_has_one_exchange(there):
    there.add()
    assert "another exchange" in there.add(name="y", code=3)


def test_while_somebody_else_fetches_it_a_person_is_told_to_wait(there):
    there.add()
    with (
        bootstrap.deployment(there.machine.home, log=Log(stream=None)) as parts,
        parts.database.transaction() as tx,
    ):
        now = parts.clock.now()
        assert fetches.take(tx, "x", holder="another", until=now + 60_000_000, now=now)
    there.machine("import", "run", "x", code=5)
    assert there.status()["next"] == "now"


def test_an_exchange_that_is_unwell_is_a_fault_and_exit_code_1(there):
    there.add()
    there.credentials()
    there.simulation.befall(Trouble.ERROR)
    ran = there.machine.json("import", "run", "x", code=1)
    assert "answered 500" in ran["fault"]
    assert there.status()["fault"] == ran["fault"]
    there.simulation.recover()
    assert there.machine.json("import", "run", "x")["caught up"] == "yes"
    assert there.status()["fault"] == "-"


def test_serving_needs_the_lists_key_and_does_not_make_one(machine):
    (machine.home / "keys" / "lists.key").unlink()
    assert "keys/lists.key is missing" in machine("import", "serve", code=2)
    assert not (machine.home / "keys" / "lists.key").exists()


def test_doctor_asks_each_exchange_whose_credentials_it_has(there):
    def checked(code):
        found = {one["check"]: one for one in there.machine.json("doctor", code=code)}
        return found.get("exchange x")

    assert checked(1) is None  # 1: no file server runs here
    there.add()
    assert checked(1)["state"] == "note"
    assert "keys/exchanges/x" in checked(1)["note"]
    there.credentials()
    assert checked(1)["state"] == "ok"
    there.credentials("who:wrong" if there.kind == "ncmec" else "who,wrong")
    assert checked(1)["state"] == "BAD"
    shown = str(checked(1))
    assert "wrong" not in shown
    assert "127.0.0.1" not in shown
    there.machine("import", "disable", "x")
    assert checked(1) is None
