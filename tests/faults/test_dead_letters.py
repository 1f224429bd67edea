"""A message that kills its handler each time: it dead-letters, its cover is NotScreened, and comes back."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import pytest
import town as towns

from coverguard import bootstrap
from coverguard.cli import main
from coverguard.ports import Reach
from coverguard.testing.stack import MAX_RECEIVE

pytestmark = [pytest.mark.process, pytest.mark.servers, pytest.mark.timeout(300)]

BENT = (sys.executable, str(Path(__file__).with_name("bent.py")))


def test_a_deadly_cover_is_dead_lettered_withheld_and_redriven(settle, clean):
    with settle(lease="1s", more='grace = "6s"') as place:
        town = towns.Town(place, 1)
        queue = place.parts.queue(bootstrap.UPLOADS)
        deadly = hashlib.sha256(town.data[0]).hexdigest()
        bent = (*BENT, "--deadly", deadly, "--")
        with town.stranger, towns.process(place, "keeper", "keeper"):
            with towns.process(place, "worker", "worker", command=bent) as worker:
                town.announce(8)  # of them the first two, one of each mode, have the deadly bytes
                end, deaths = time.monotonic() + towns.PATIENCE, 0
                while queue.depth()["dead"] < 2 or town.waiting():
                    assert time.monotonic() < end, "it never dead-lettered"
                    if worker.popen.poll() is not None:
                        deaths += 1
                        worker.again()
                    time.sleep(0.1)
            assert deaths >= MAX_RECEIVE
            towns.until(lambda: town.answered() == len(town.uploads), what="it never was NotScreened")
            reached = town.count("SELECT count(*) FROM screening WHERE reason = 'no_answer'")
            assert reached == 2
            for upload, _ in [*town.uploads.values()][:2]:
                towns.until(lambda upload=upload: gone(town, upload), what="it stayed public")
            with towns.process(place, "worker", "healed"):
                assert main(["--home", str(place.home), "queue", "redrive", "uploads"]) == 0
                towns.until(town.drained)
        town.judge(clean)


def gone(town, upload):
    (url,) = town.platform.urls(upload.key)
    return town.parts.probe.ask(url, sha256=b"") is Reach.GONE
