"""The state machines: every transition of every stored state is in one of these tables.

States are adjectives, events are verbs. `advance` is the only reader; what is not in a table raises and
changes nothing. The database restates each machine (CHECKs, partial UNIQUEs) and every move names the state
it leaves. `docs/states.md` is drawn from here by `scripts/draw_states.py`. This module knows no clock, no
store and no reason why: use cases do.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from coverguard.errors import IllegalTransition


class ItemState(StrEnum):
    OPEN = "open"  # waits for a person
    CLAIMED = "claimed"  # one person has it, for the length of a lease
    CONFIRMED = "confirmed"  # a person said: it is
    CLEARED = "cleared"  # a person said: it is not


class ItemEvent(StrEnum):
    CLAIM = "claim"
    CONFIRM = "confirm"
    CLEAR = "clear"
    UNSURE = "unsure"
    PROPOSE = "propose"  # first of two people; waits for the second
    LAPSE = "lapse"
    REOPEN = "reopen"


ITEM: Final[Mapping[ItemState, Mapping[ItemEvent, ItemState]]] = {
    ItemState.OPEN: {ItemEvent.CLAIM: ItemState.CLAIMED},
    ItemState.CLAIMED: {
        ItemEvent.CONFIRM: ItemState.CONFIRMED,
        ItemEvent.CLEAR: ItemState.CLEARED,
        ItemEvent.UNSURE: ItemState.OPEN,
        ItemEvent.PROPOSE: ItemState.OPEN,
        ItemEvent.LAPSE: ItemState.OPEN,
    },
    ItemState.CONFIRMED: {ItemEvent.REOPEN: ItemState.OPEN},
    ItemState.CLEARED: {ItemEvent.REOPEN: ItemState.OPEN},
}


class QuarantineState(StrEnum):
    REQUESTED = "requested"  # intent recorded; the object may still be public
    HELD = "held"  # the object is unreachable, and in the vault where the level says so
    RELEASED = "released"  # reachable again, byte for byte
    SUPERSEDED = "superseded"  # something newer is in its place; nothing was put back
    DESTROYED = "destroyed"  # vault bytes gone for ever
    ABANDONED = "abandoned"  # there was nothing (left) to hold


class QuarantineEvent(StrEnum):
    HOLD = "hold"
    RENEW = "renew"  # more is owed: a vault copy, or the block anew
    RELEASE = "release"
    SUPERSEDE = "supersede"
    DESTROY = "destroy"
    ABANDON = "abandon"


QUARANTINE: Final[Mapping[QuarantineState, Mapping[QuarantineEvent, QuarantineState]]] = {
    QuarantineState.REQUESTED: {
        QuarantineEvent.HOLD: QuarantineState.HELD,
        QuarantineEvent.ABANDON: QuarantineState.ABANDONED,
    },
    QuarantineState.HELD: {
        QuarantineEvent.RENEW: QuarantineState.REQUESTED,
        QuarantineEvent.RELEASE: QuarantineState.RELEASED,
        QuarantineEvent.SUPERSEDE: QuarantineState.SUPERSEDED,
        QuarantineEvent.DESTROY: QuarantineState.DESTROYED,
    },
    QuarantineState.RELEASED: {},
    QuarantineState.SUPERSEDED: {},
    QuarantineState.DESTROYED: {},
    QuarantineState.ABANDONED: {},
}


class TakedownState(StrEnum):
    REQUESTED = "requested"
    ENUMERATED = "enumerated"  # every object of the account is listed
    DARK = "dark"  # every listed object is blocked
    VERIFIED_GONE = "verified_gone"  # asked, and nothing answered
    LIFTED = "lifted"


class TakedownEvent(StrEnum):
    ENUMERATE = "enumerate"
    DARKEN = "darken"
    VERIFY = "verify"
    REAPPEAR = "reappear"  # one public object was found
    LIFT = "lift"


TAKEDOWN: Final[Mapping[TakedownState, Mapping[TakedownEvent, TakedownState]]] = {
    TakedownState.REQUESTED: {
        TakedownEvent.ENUMERATE: TakedownState.ENUMERATED,
        TakedownEvent.LIFT: TakedownState.LIFTED,
    },
    TakedownState.ENUMERATED: {
        TakedownEvent.DARKEN: TakedownState.DARK,
        TakedownEvent.REAPPEAR: TakedownState.ENUMERATED,
        TakedownEvent.LIFT: TakedownState.LIFTED,
    },
    TakedownState.DARK: {
        TakedownEvent.VERIFY: TakedownState.VERIFIED_GONE,
        TakedownEvent.REAPPEAR: TakedownState.ENUMERATED,
        TakedownEvent.LIFT: TakedownState.LIFTED,
    },
    TakedownState.VERIFIED_GONE: {
        TakedownEvent.REAPPEAR: TakedownState.ENUMERATED,
        TakedownEvent.LIFT: TakedownState.LIFTED,
    },
    TakedownState.LIFTED: {},
}


class ReportState(StrEnum):
    RECEIVED = "received"
    HIDDEN = "hidden"  # something of what it names is unreachable, until a person decides
    DECIDED = "decided"  # people have decided on all of it


class ReportEvent(StrEnum):
    HIDE = "hide"
    DECIDE = "decide"
    REOPEN = "reopen"  # an appeal, or something new


REPORT: Final[Mapping[ReportState, Mapping[ReportEvent, ReportState]]] = {
    ReportState.RECEIVED: {
        ReportEvent.HIDE: ReportState.HIDDEN,
        ReportEvent.DECIDE: ReportState.DECIDED,
    },
    ReportState.HIDDEN: {ReportEvent.DECIDE: ReportState.DECIDED},
    ReportState.DECIDED: {ReportEvent.REOPEN: ReportState.RECEIVED},
}


class SweepState(StrEnum):
    PLANNED = "planned"
    RUNNING = "running"
    STOPPED = "stopped"
    FINISHED = "finished"


class SweepEvent(StrEnum):
    START = "start"
    STOP = "stop"
    FINISH = "finish"


SWEEP: Final[Mapping[SweepState, Mapping[SweepEvent, SweepState]]] = {
    SweepState.PLANNED: {SweepEvent.START: SweepState.RUNNING},
    SweepState.RUNNING: {SweepEvent.FINISH: SweepState.FINISHED, SweepEvent.STOP: SweepState.STOPPED},
    SweepState.STOPPED: {SweepEvent.START: SweepState.RUNNING},
    SweepState.FINISHED: {},
}

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


def advance(table: Mapping[S, Mapping[E, S]], state: S, event: E) -> S:
    """Return the state that follows.

    Raises:
        IllegalTransition: the table has no such move; nothing was changed.
    """
    try:
        return table[state][event]
    except KeyError:
        raise IllegalTransition(f"cannot {event.value} what is {state.value}") from None
