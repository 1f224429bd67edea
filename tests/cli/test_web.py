"""Keys on the command line, receipts checked with a file alone, and both web processes as real ones."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from coverguard.cli import main

ME = pwd.getpwuid(os.getuid()).pw_name
REPORT = {"category": "child_abuse", "account_ids": ["someone"]}

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    assert main(["--home", str(home), "migrate"]) == 0
    (home / "coverguard.toml").write_text(f'[people]\n{ME} = ["operator"]\n', "utf-8")
    return home


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["--home", str(home), *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run_


@pytest.mark.thorough
def test_a_key_is_made_shown_once_rotated_and_revoked(run: Run):
    code, said = run("keys", "add", "support desk", "--role", "support", "--days", 30)
    assert code == 0
    ref, key = said.partition(":")[0], said.split()[-1]
    assert key.startswith("cgk_" + ref.removeprefix("key-"))
    listed = json.loads(run("keys", "list", "--json")[1])
    assert [(one["key"], one["name"], one["state"]) for one in listed] == [(ref, "support desk", "live")]
    assert key.rpartition("_")[2] not in json.dumps(listed)
    code, said = run("keys", "rotate", ref, "--overlap", 0)
    assert code == 0
    new = said.partition(":")[0]
    states = {one["key"]: one["state"] for one in json.loads(run("keys", "list", "--json")[1])}
    assert states == {ref: "ended", new: "live"}
    assert run("keys", "revoke", new)[0] == 0
    assert run("keys", "rotate", new)[0] == 3
    assert run("keys", "revoke", "key-nothing")[0] == 4
    assert run("keys", "add", "support desk", "--role", "support")[0] == 3
    assert run("keys", "add", "x", "--role", "hotline", "--public-key", "/nothing")[0] == 2


@pytest.mark.thorough
def test_only_an_operator_makes_keys(run: Run, home: Path):
    (home / "coverguard.toml").write_text(f'[people]\n{ME} = ["moderator"]\n', "utf-8")
    for act in (("list",), ("add", "x", "--role", "support"), ("revoke", "x"), ("rotate", "x")):
        assert run("keys", *act)[0] == 3


@contextmanager
def serving(home: Path, interface: str) -> Iterator[str]:
    """A real process, until it has said its port; ended by SIGTERM."""
    command = [sys.executable, "-m", "coverguard.cli", "--home", str(home), "web", interface, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = json.loads(process.stderr.readline())
            assert line["event"] == f"web_{interface}_started"
            yield f"http://127.0.0.1:{line['port']}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
    assert process.returncode == 0


@pytest.mark.process
def test_a_receipt_of_a_real_process_is_checked_with_a_file_and_a_key_alone(
    run: Run, home: Path, tmp_path: Path
):
    with serving(home, "public") as address:
        answer = httpx.post(f"{address}/v1/reports", json=REPORT, trust_env=False)
    assert answer.status_code == 202
    file, key = tmp_path / "receipt.json", tmp_path / "receipt.pub"
    file.write_bytes(answer.content)
    shutil.copy(home / "keys" / "receipt.pub", key)
    assert run("receipt", "verify", file) == (0, "valid: signed by us, and unchanged since\n")
    assert json.loads(run("receipt", "verify", file, "--key", key, "--json")[1]) == {"verdict": "valid"}
    file.write_text(answer.text.replace("someone", "another"), "utf-8")
    assert run("receipt", "verify", file)[0] == 1
    assert run("receipt", "verify", tmp_path / "nothing")[0] == 2
    file.write_bytes(b"\xff")
    assert "not ours" in run("receipt", "verify", file)[1]


@pytest.mark.process
def test_a_key_opens_the_real_platform_interface_until_it_is_revoked(run: Run, home: Path):
    ref, key = (
        part for part in (run("keys", "add", "a hotline", "--role", "hotline")[1]).split("\n") if part
    )
    headers = {"Authorization": f"Bearer {key}"}
    with serving(home, "platform") as address, httpx.Client(base_url=address, trust_env=False) as client:
        assert client.post("/v1/reports", json=REPORT, headers=headers).status_code == 202
        assert run("keys", "revoke", ref.partition(":")[0])[0] == 0
        assert client.post("/v1/reports", json=REPORT, headers=headers).status_code == 401


@pytest.mark.process
def test_a_real_browser_shows_the_form_without_script_or_complaint(home: Path, tmp_path: Path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no browser on this machine")
    with serving(home, "public") as address:
        command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                   f"--user-data-dir={tmp_path}/b", "--dump-dom", f"{address}/?cover=c-9&surface=track_art",
                   ]  # fmt: skip
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "Report something that must not be there" in shown.stdout
    assert "c-9</textarea>" in shown.stdout
    assert "Refused to" not in shown.stderr  # by the page's own policy


@pytest.mark.process
def test_no_address_is_taken_twice(home: Path, run: Run):
    with serving(home, "public") as address:
        port = address.rpartition(":")[2]
        code, said = run("web", "public", "--port", port)
    assert code == 2
    assert "cannot listen" in said
