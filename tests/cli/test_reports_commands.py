"""Reports on the command line: listed, shown and audited, answered, closed; none is shown to support."""

from __future__ import annotations

import json
import os
import pwd

import pytest

from coverguard import bootstrap
from coverguard.cli import main
from coverguard.ports import Delivery
from coverguard.telemetry import Log

ME = pwd.getpwuid(os.getuid()).pw_name


class Machine:
    def __init__(self, home, capsys):
        self.home, self._capsys = home, capsys

    def __call__(self, *arguments, code=0):
        found = main(["--home", str(self.home), *arguments])
        printed = self._capsys.readouterr()
        assert found == code, printed
        return printed.out if code in (0, 1) else printed.err

    def i_am(self, *roles):
        text = f"[people]\n{ME} = {json.dumps(roles)}\n"
        (self.home / "coverguard.toml").write_text(text, encoding="utf-8")

    def report(self, **fields):
        """What the platform's button sends, served at once."""
        head = {"schema": "coverguard.event/1", "type": "content.reported", "event_id": "e-1"}
        body = json.dumps(head | {"occurred_at": "2026-01-31T12:00:00Z", "report_id": "r-1"} | fields)
        with bootstrap.deployment(self.home, log=Log(stream=None)) as parts:
            delivery = Delivery(
                queue="reports", body=body, receipt="1:x", attempt=1, sent_at=parts.clock.now()
            )
            parts.intake().handle(delivery)

    def rows(self, verb):
        with (
            bootstrap.deployment(self.home, log=Log(stream=None)) as parts,
            parts.database.reading() as tx,
        ):
            return tx.exec_driver_sql(f"SELECT subject FROM audit WHERE verb = '{verb}'").scalars().all()


@pytest.fixture
def machine(tmp_path, capsys):
    made = Machine(tmp_path / "home", capsys)
    made("migrate")
    made.i_am("moderator")
    return made


@pytest.mark.process
def test_from_the_list_to_the_end(machine):
    assert machine("reports") == "no report waits\n"
    cover = {"id": "c-unknown", "version": 1, "surface": "track_art"}
    machine.report(covers=[cover], text="look at this")
    (row,) = json.loads(machine("reports", "--json"))
    assert (row["state"], row["from"], row["category"], row["names"]) == (
        "received", "platform", "child_abuse", 1,
    )  # fmt: skip
    ref = row["report"]
    assert ref in machine("reports", "list")
    shown = machine("reports", "show", ref)
    assert "look at this" in shown
    assert "unknown" in shown
    assert machine.rows("read report") == [ref]
    assert "answered" in machine("reports", "reply", ref, "--text", "Where did you see it?")
    thread = json.loads(machine("reports", "show", ref, "--json"))["thread"]
    assert [one["kind"] for one in thread] == ["report", "receipt", "reply"]
    assert "decided" in machine("reports", "close", ref)
    assert machine("reports") == "no report waits\n"
    assert ref in machine("reports", "list", "--decided")
    assert "no report has that reference" in machine("reports", "show", "report-0000000000000000", code=4)


@pytest.mark.process
def test_staff_is_told_what_an_earlier_reference_is(machine):
    cover = {"id": "c-unknown", "version": 1, "surface": "track_art"}
    machine.report(covers=[cover])
    (first,) = json.loads(machine("reports", "--json"))
    assert json.loads(machine("reports", "show", first["report"], "--json"))["follows_on"] is None
    assert "follows on" not in machine("reports", "show", first["report"])
    told = {
        first["report"]: ("same_account", "a report about the same account"),
        "report-0000000000000000": ("unknown", "no report that we have"),
    }
    known = {first["report"]}
    for number, (named, (word, words)) in enumerate(told.items()):
        machine.report(event_id=f"e-{number + 2}", covers=[cover], earlier_reference=named)
        (newest,) = {one["report"] for one in json.loads(machine("reports", "--json"))} - known
        known.add(newest)
        shown = machine("reports", "show", newest)
        assert f"follows on {named}, as the reporter says: {words}\n" in shown
        as_json = json.loads(machine("reports", "show", newest, "--json"))
        assert as_json["follows_on"] == {"report": named, "is": word}


@pytest.mark.process
@pytest.mark.parametrize("role", ["support", "trusted_flagger", "hotline", "operator", "auditor"])
def test_whom_no_report_is_shown(machine, role):
    machine.i_am(role)
    for words in (["reports"], ["reports", "list"], ["reports", "show", "x"], ["reports", "close", "x"],
                  ["reports", "reply", "x", "--text", "y"]):  # fmt: skip
        assert "may not" in machine(*words, code=3)
