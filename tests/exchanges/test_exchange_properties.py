"""Whatever is published, deleted and fetched, in any order, with any faults: the truth in the end."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.register_assert_rewrite("exchanging")

from exchanging import (  # noqa: E402 - after the rewrite
    NOW,
    Caller,
    clock_at,
    ncmec_client,
    ncmec_truth,
    stopncii_client,
    stopncii_truth,
)

from coverguard.errors import TransientError  # noqa: E402 - as above
from coverguard.testing.exchanges.ncmec import NcmecSimulation  # noqa: E402 - as above
from coverguard.testing.exchanges.serving import Trouble  # noqa: E402 - as above
from coverguard.testing.exchanges.stopncii import StopNciiSimulation  # noqa: E402 - as above

pytestmark = pytest.mark.thorough

FAULTS = (
    Trouble.CUT, Trouble.SHORT, Trouble.GARBLED, Trouble.NONSENSE, Trouble.ERROR, Trouble.BUSY,
    Trouble.UNWELL, Trouble.LOOP, Trouble.HOSTILE, Trouble.BOMB,
)  # fmt: skip

waits = st.integers(0, 100_000)
names = st.integers(0, 5)
fetches = st.tuples(
    st.just("fetch"),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 0.4, 0.8]),
    st.none() | st.integers(1, 4),
)
changes = st.tuples(st.just("publish"), names, st.sampled_from(["A1", "B2", None]), st.booleans())
deletions = st.tuples(st.just("delete"), names)
poisons = st.tuples(st.just("poison"), names)
steps = st.lists(st.tuples(waits, changes | changes | deletions | poisons | fetches), max_size=25)


def fetched(caller, simulation, seed, share, batches):
    """Fetch with such a share of faults, and break off after so many batches."""
    chance = random.Random(seed)
    for trouble in FAULTS:
        simulation.befall(trouble, when=lambda _: chance.random() < share / len(FAULTS))
    before = caller.checkpoint
    with suppress(TransientError):
        caller.run(batches=batches)
    simulation.recover()
    assert caller.checkpoint is not None or before is None


def healed(caller, simulation):
    """Fetch until nothing is left to be told."""
    simulation.poisoned.clear()
    simulation.clock.sleep(timedelta(minutes=1))
    caller.run()
    assert caller.gaps == 0
    return caller.rows


@given(steps)
def test_ncmec(wanted):
    simulation = NcmecSimulation(clock_at(), page_size=2)
    begun = json.dumps({"ncmec": "test-industry", "to": NOW - 1, "gaps": []})
    caller = Caller(ncmec_client(simulation, range_entries=4), checkpoint=begun)
    caller_checked = []
    for wait, step in wanted:
        simulation.clock.sleep(timedelta(seconds=wait))
        match step:
            case "publish", name, word, disputed:
                simulation.publish(f"e{name}", classification=word, disputed=("Sha1",) if disputed else ())
            case "delete", name:
                for entry in [one for one in simulation.entries.values() if one.entry_id == f"e{name}"]:
                    simulation.delete(entry)
            case "poison", name:
                simulation.poisoned ^= {f"e{name}"}
            case "fetch", seed, share, batches:
                fetched(caller, simulation, seed, share, batches)
                caller_checked.append(json.loads(caller.checkpoint)["to"])
    assert caller_checked == sorted(caller_checked)
    assert healed(caller, simulation) == ncmec_truth(simulation)


@given(steps)
def test_stopncii(wanted):
    simulation = StopNciiSimulation(clock_at(), most=2)
    values = [simulation.digest() for _ in range(6)]
    caller = Caller(stopncii_client(simulation, page_sizes=(4, 2, 1)))
    for wait, step in wanted:
        simulation.clock.sleep(timedelta(seconds=wait * 20))  # up to 23 days
        simulation.forget()
        match step:
            case "publish", name, word, disputed:
                status = "Received" if word is None else "Active"
                simulation.publish(values[name], status=status, feedback=("NotBlocked",) if disputed else ())
            case "delete", name:
                simulation.publish(values[name], status="Withdrawn")
            case "poison", name:
                simulation.mute = bool(name % 2)
                simulation.poisoned ^= {values[name]}
            case "fetch", seed, share, batches:
                fetched(caller, simulation, seed, share, batches)
    assert healed(caller, simulation) == stopncii_truth(simulation)
