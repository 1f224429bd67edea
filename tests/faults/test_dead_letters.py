"""A message that kills its handler each time: it dead-letters, its cover is NotScreened, and comes back."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import pytest
import town as towns

from coverguard import bootstrap
from coverguard.ports import Reach
from coverguard.testing.stack import MAX_RECEIVE

pytestmark = [pytest.mark.process, pytest.mark.servers, pytest.mark.timeout(300)]

BENT = (sys.executable, str(Path(__file__).with_name("bent.py")))


@pytest.mark.long
def test_a_deadly_cover_is_dead_lettered_withheld_and_redriven(settle, clean):
    with settle(lease="1s", more='grace = "6s"') as place:
        town = towns.Town(place, 1)
        queue = place.parts.queue(bootstrap.UPLOADS)
        town.announce(7)
        deadly = town.data[0] + b"deadly"  # after the picture's end: other bytes, the same picture
        bent = (*BENT, "--deadly", hashlib.sha256(deadly).hexdigest(), "--")
        with town.stranger, towns.process(place, "keeper", "keeper"):
            with towns.process(place, "worker", "worker", command=bent) as worker:
                upload = town.upload(deadly, listed=True)
                queue.send([upload.body])
                end, deaths = time.monotonic() + 200, 0
                while not (queue.depth()["dead"] and town.answered() == len(town.uploads)):
                    assert time.monotonic() < end, (
                        f"{queue.depth()}, {deaths} deaths, {town.answered()} answers"
                    )
                    if worker.popen.poll() is not None:
                        deaths += 1
                        worker.again()
                    time.sleep(0.1)
            assert deaths >= MAX_RECEIVE
            assert queue.depth()["dead"] == 1, "it took others with it"
            assert town.count("SELECT count(*) FROM screening WHERE decision = 'not_screened'") == 1
            towns.until(lambda: gone(town, upload), what="it stayed public")
            with towns.process(place, "worker", "healed"):
                assert queue.redrive() == 1
                towns.until(town.drained)
        # it was blocked without a case first, and that is part of its story
        town.judge(clean, besides={upload.event.cover.id})


def gone(town, upload):
    (url,) = town.platform.urls(upload.key)
    return town.parts.probe.ask(url, sha256=b"") is Reach.GONE
