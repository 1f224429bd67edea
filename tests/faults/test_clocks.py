"""Processes whose clocks are hours wrong, or jump: late answers, perhaps, and no wrong ones."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest
import town as towns

pytestmark = [pytest.mark.process, pytest.mark.servers, pytest.mark.timeout(300)]

BENT = (sys.executable, str(Path(__file__).with_name("bent.py")))
HOURS = 6 * 3600


@pytest.mark.long
def test_clocks_that_are_hours_wrong_change_no_answer(settle, clean):
    wrong = {
        ("worker", "ahead"): ("--ahead", HOURS),
        ("worker", "behind"): ("--ahead", -HOURS),
        ("keeper", "jumping"): ("--jump", HOURS, "--after", 4),
        ("keeper", "falling"): ("--jump", -HOURS, "--after", 4),
    }
    with settle() as place, contextlib.ExitStack() as stack:
        town = towns.Town(place, 2)
        stack.enter_context(town.stranger)
        for (verb, name), bent in wrong.items():
            command = (*BENT, *map(str, bent), "--")
            running = stack.enter_context(towns.process(place, verb, name, command=command))
            towns.until(lambda running=running: "started" in running.log.read_text())
            town.announce(16)
        towns.until(town.drained)
        stack.pop_all().close()
        town.judge(clean, clocks=False)
