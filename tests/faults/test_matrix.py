"""Each service × each fault, while covers keep coming: nothing lost, nothing twice, no matched cover public.

One town, two workers and a keeper, real servers. The schedule is shuffled by a seed that is printed;
`COVERGUARD_FAULT_SEED` plays one again. Each cell waits until its fault really bit.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections import Counter

import pytest
import town as towns

from coverguard.testing.proxy import Fault, Kind

pytestmark = [pytest.mark.process, pytest.mark.servers]

MESSAGES = 500
MANY = 10_000
BITES_WITHIN = 20  # seconds
PARTS = 16

BY_WIRE = (
    Fault(kind=Kind.RESET),
    Fault(kind=Kind.REFUSE),
    Fault(kind=Kind.SLOW, seconds=0.1),
    Fault(kind=Kind.SILENT),
)
BY_HTTP = (Fault(kind=Kind.UNWELL, every=2), Fault(kind=Kind.UNWELL, every=3, status=500))
CUT_AFTER = {"s3": 2_000, "sqs": 700, "postgres": 900}  # bytes: in the middle of a picture, a batch, a row
PROXIED = [
    (service, fault)
    for service in towns.SERVICES
    for fault in (
        *BY_WIRE,
        Fault(kind=Kind.CUT, after=CUT_AFTER[service]),
        *(BY_HTTP if service != "postgres" else ()),
    )
]
KILLED = ("worker", "keeper", "postgres", "s3")


class Storm:
    """Lets one cell after the other befall a town at work."""

    def __init__(self, town, processes, servers, length):
        self.town, self.processes, self.servers, self.length = town, processes, servers, length
        self.bitten = Counter()

    def look_after(self):
        for one in self.processes.values():
            one.look_after()

    def drained(self):
        self.look_after()
        return self.town.drained()

    def befall(self, cell):
        self.town.heed()
        self.look_after()
        match cell:
            case str() as victim:
                self._kill(victim)
                self.bitten["kill", victim] += 1
            case service, fault:
                self._misbehave(service, fault)
                self.bitten[service, fault] += 1

    def _misbehave(self, service, fault):
        proxy = self.town.place.proxies[service]
        before = proxy.befell[fault.kind]
        with proxy.during(fault):
            time.sleep(self.length)
            # a closed port counts nothing that knocks
            bit = (
                (lambda: fault.kind is Kind.REFUSE)
                if fault.kind is Kind.REFUSE
                else (lambda: proxy.befell[fault.kind] > before)
            )
            print(f"{time.time():.1f} {service} {fault}")
            # who had just started when the last fault came may be gone since, and nobody would meet this one
            met = lambda: self.look_after() or bit()  # noqa: E731
            towns.until(met, patience=BITES_WITHIN, what=f"{fault} of {service} never bit")

    def _kill(self, victim):
        print(f"{time.time():.1f} kill {victim}")
        if victim in self.servers:
            server = self.servers[victim]
            server.kill()
            time.sleep(self.length / 2)
            server.start()
            return
        for name, running in self.processes.items():
            if name.startswith(victim) and (name == "keeper" or self.town.chance.random() < 0.6):
                running.again()


@contextlib.contextmanager
def running(place):
    with contextlib.ExitStack() as stack:
        made = {
            name: stack.enter_context(towns.process(place, name.partition("-")[0], name))
            for name in ("worker-0", "worker-1", "keeper")
        }
        try:
            yield made
        except BaseException:
            for name, one in made.items():
                print(name, one.autopsy(), sep="\n")
            raise


@pytest.fixture
def place(settle):
    with settle() as made:
        yield made


def seed():
    chosen = int(os.environ.get("COVERGUARD_FAULT_SEED") or secrets.randbelow(10**6))
    print(f"seed {chosen} (COVERGUARD_FAULT_SEED)")
    return chosen


@pytest.mark.timeout(420)
def test_every_service_and_every_fault_with_covers_coming(place, clean):
    weather(place, clean, covers=MESSAGES, length=0.7)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_ten_thousand_covers_in_parts(place, clean, part):
    """Longer faults, another order each time; in parts, so that a spent budget shows how far it came."""
    weather(place, clean, covers=MANY // PARTS, length=3.0)


def weather(place, clean, *, covers, length):
    """Let every cell befall a town in which so many covers come in slices, one slice a cell."""
    town = towns.Town(place, seed())
    cells = [*PROXIED, *KILLED]
    town.chance.shuffle(cells)
    with town.stranger, running(place) as processes:
        storm = Storm(town, processes, place.servers, length)
        for number, cell in enumerate(cells):
            town.announce(covers * (number + 1) // len(cells) - len(town.uploads))
            storm.befall(cell)
        over = time.time()
        towns.until(storm.drained, pause=1)
    print(f"last seen {town.stranger.longest(over):.1f} s after the last fault; asked {town.stranger.asked}")
    assert len(storm.bitten) == len(cells)
    assert len(town.uploads) == covers
    town.judge(clean)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_frozen_worker_that_comes_back_changes_nothing(place, clean):
    """Its leases ran out and others did its work; then it goes on where it was."""
    town = towns.Town(place, seed())
    with (
        town.stranger,
        towns.process(place, "keeper", "keeper"),
        towns.process(place, "worker", "frozen") as frozen,
    ):
        towns.until(lambda: "worker_started" in frozen.log.read_text())
        town.announce(48)
        towns.until(lambda: town.answered() >= 3)
        frozen.send(signal.SIGSTOP)
        with towns.process(place, "worker", "other") as other:
            towns.until(
                lambda: any(line.get("attempt", 1) > 1 for line in other.lines()),
                what="nothing was taken over",
            )
            said = len(frozen.lines())
            frozen.send(signal.SIGCONT)
            towns.until(lambda: len(frozen.lines()) > said, what="it never came back")
            towns.until(town.drained)
    town.judge(clean)
