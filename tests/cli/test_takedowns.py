"""The takedown commands: what people type, what they are told, how they end."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from coverguard import bootstrap
from coverguard.cli import main
from coverguard.local import fileserver
from coverguard.telemetry import Log
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.worker import Heartbeat

pytestmark = pytest.mark.process  # a file server, and many opened deployments

ME = pwd.getpwuid(os.getuid()).pw_name
OTHER = next(one for one in pwd.getpwall() if one.pw_uid != os.getuid())


class Machine:
    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str], port: int) -> None:
        self.home, self._capsys, self._port = home, capsys, port

    def roles(self, mine: str, others: str = "senior_moderator") -> None:
        people = f'{ME} = ["{mine}"]\n{OTHER.pw_name} = ["{others}"]\n'
        settings = f"file_server_port = {self._port}\ntrust_sudo = true\n[people]\n{people}"
        (self.home / "coverguard.toml").write_text(settings, encoding="utf-8")

    def __call__(self, *arguments: str, code: int = 0) -> str:
        found = main(["--home", str(self.home), *arguments])
        printed = self._capsys.readouterr()
        assert found == code, printed
        return printed.out if code in (0, 1) else printed.err

    def upload(self, count: int, file: Path) -> None:
        for number in range(count):
            file.write_bytes(encode(draw(Kind.SCENE, number, side=64), "PNG"))
            self("emit", str(file), "--uploader", "her", "--surface", "profile_image")
        with bootstrap.deployment(self.home, log=Log(stream=None)) as parts:
            worker = parts.worker()
            with Heartbeat(lease=parts.settings.lease, log=parts.log) as heartbeat:
                while worker.serve_once(heartbeat, Never()):
                    pass

    def public(self) -> int:
        store = bootstrap.folder_store(bootstrap.settings.load(self.home))
        return sum(1 for _ in store.walk("public", prefix=""))


class Never:
    def is_set(self) -> bool:
        return False


@pytest.fixture
def machine(tmp_path, capsys):
    home = tmp_path / "home"
    assert main(["--home", str(home), "migrate"]) == 0
    capsys.readouterr()
    store = bootstrap.folder_store(bootstrap.settings.load(home))
    with fileserver.serve(store, public=frozenset({"public"}), port=0) as server:
        made = Machine(home, capsys, server.port)
        made.roles("moderator")
        yield made


def test_an_account_is_taken_down_listed_and_lifted_by_somebody_else(machine, tmp_path, monkeypatch):
    machine.upload(3, tmp_path / "picture.png")
    assert machine.public() == 3
    assert "no account is dark" in machine("takedowns")
    lines = machine("takedown", "her", "--reason", "a parent called", "--wait", "--json").splitlines()
    steps = [json.loads(line) for line in lines]
    assert [step["phase"] for step in steps[:-1]] == ["list", "block", "catalogue", "verify"]
    assert [(step["done"], step["total"]) for step in steps[:-1]] == [(3, 3)] * 4
    assert (steps[-1]["state"], steps[-1]["objects"], steps[-1]["causes"]) == ("verified_gone", 3, ["person"])
    assert machine.public() == 0
    (row,) = json.loads(machine("takedowns", "--json"))
    assert (row["account"], row["covers"], row["claimed"], row["state"]) == ("her", 3, 3, "verified_gone")
    machine.roles("senior_moderator")
    assert "somebody else" in machine("takedown", "her", "--lift", "--reason", "r", code=3)
    monkeypatch.setenv("SUDO_UID", str(OTHER.pw_uid))
    assert "lifted" in machine("takedown", "her", "--lift", "--reason", "r", "--wait")
    assert machine.public() == 3
    assert "lifted" in machine("takedowns", "--lifted")


def test_support_hides_sees_nothing_and_shows_nothing_again(machine, tmp_path):
    machine.upload(1, tmp_path / "picture.png")
    machine.roles("support")
    assert "the keeper goes on" in machine("takedown", "her", "--reason", "r")
    assert machine.public() == 1, "nothing is done without the keeper, or --wait"
    assert "may not" in machine("takedowns", code=3)
    assert "may not" in machine("takedown", "her", "--lift", "--reason", "r", code=3)
    machine("takedown", "her", "--reason", "r", "--wait")
    assert machine.public() == 0


def test_what_cannot_be_verified_ends_with_one(machine, tmp_path):
    machine.upload(1, tmp_path / "picture.png")
    settings = (machine.home / "coverguard.toml").read_text(encoding="utf-8")
    down = "\n".join(line for line in settings.splitlines() if not line.startswith("file_server_port"))
    (machine.home / "coverguard.toml").write_text(f"file_server_port = 1\n{down}", encoding="utf-8")
    assert "dark" in machine("takedown", "her", "--reason", "r", "--wait", code=1)
