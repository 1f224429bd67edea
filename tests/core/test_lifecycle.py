"""Every state × event: in the table, or it raises and changes nothing."""

import itertools

import pytest

from coverguard import lifecycle
from coverguard.errors import IllegalTransition
from coverguard.lifecycle import advance

MACHINES = {
    "item": (lifecycle.ITEM, lifecycle.ItemState, lifecycle.ItemEvent),
    "quarantine": (lifecycle.QUARANTINE, lifecycle.QuarantineState, lifecycle.QuarantineEvent),
    "takedown": (lifecycle.TAKEDOWN, lifecycle.TakedownState, lifecycle.TakedownEvent),
    "report": (lifecycle.REPORT, lifecycle.ReportState, lifecycle.ReportEvent),
    "sweep": (lifecycle.SWEEP, lifecycle.SweepState, lifecycle.SweepEvent),
}
FINAL = {
    "item": set(),
    "quarantine": {"released", "superseded", "destroyed", "abandoned"},
    "takedown": {"lifted"},
    "report": set(),
    "sweep": {"finished"},
}
CELLS = [
    pytest.param(table, state, event, id=f"{name}-{state}-{event}")
    for name, (table, states, events) in MACHINES.items()
    for state, event in itertools.product(states, events)
]


@pytest.mark.parametrize(("table", "state", "event"), CELLS)
def test_a_move_is_in_the_table_or_raises(table, state, event):
    before = {known: dict(exits) for known, exits in table.items()}
    if event in table[state]:
        assert advance(table, state, event) is table[state][event]
    else:
        with pytest.raises(IllegalTransition) as caught:
            advance(table, state, event)
        assert str(caught.value) == f"cannot {event.value} what is {state.value}"
        assert caught.value.__cause__ is None
    assert {known: dict(exits) for known, exits in table.items()} == before


@pytest.mark.parametrize("name", MACHINES)
def test_tables_are_total(name):
    table, states, events = MACHINES[name]
    assert set(table) == set(states)
    assert {event for exits in table.values() for event in exits} == set(events)
    assert all(isinstance(following, states) for exits in table.values() for following in exits.values())


@pytest.mark.parametrize("name", MACHINES)
def test_only_final_states_have_no_way_out(name):
    assert {state.value for state, exits in MACHINES[name][0].items() if not exits} == FINAL[name]


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_is_reached_from_the_first(name):
    table, states, _ = MACHINES[name]
    reached, waiting = set(), [next(iter(states))]
    while waiting:
        state = waiting.pop()
        if state not in reached:
            reached.add(state)
            waiting.extend(table[state].values())
    assert reached == set(states)


def test_one_public_object_sends_a_takedown_back():
    for state in (lifecycle.TakedownState.DARK, lifecycle.TakedownState.VERIFIED_GONE):
        event = lifecycle.TakedownEvent.REAPPEAR
        assert advance(lifecycle.TAKEDOWN, state, event) is lifecycle.TakedownState.ENUMERATED


@pytest.mark.parametrize("state", list(lifecycle.TakedownState))
def test_a_takedown_is_lifted_from_wherever_it_is(state):
    """An account that is innocent does not wait for its takedown to be complete."""
    lift = lifecycle.TakedownEvent.LIFT
    if state is lifecycle.TakedownState.LIFTED:
        with pytest.raises(IllegalTransition):
            advance(lifecycle.TAKEDOWN, state, lift)
    else:
        assert advance(lifecycle.TAKEDOWN, state, lift) is lifecycle.TakedownState.LIFTED


def test_a_report_is_decided_without_having_hidden_anything_and_can_be_taken_up_again():
    received, _, decided = lifecycle.ReportState
    assert advance(lifecycle.REPORT, received, lifecycle.ReportEvent.DECIDE) is decided
    assert advance(lifecycle.REPORT, decided, lifecycle.ReportEvent.REOPEN) is received
