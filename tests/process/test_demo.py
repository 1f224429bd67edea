"""The demo keeps what it promises, from its first picture to its last word."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(300)]


def test_the_demo_keeps_its_promises(tmp_path):
    command = [sys.executable, "-m", "coverguard.cli", "--home", str(tmp_path / "home"), "demo", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    told = json.loads(done.stdout)
    assert (told["kept"], done.returncode) == (True, 0), told
    assert told["of them unreachable"] == 1.0
    assert told["decisions"]["not_screened"] == 3
