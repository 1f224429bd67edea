"""The command that shows what we owe and how much time is left: clocks. It changes nothing.

It shows references only. Who the account or the reporter is stays in the case and in the report.
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any, Final

from coverguard import bootstrap
from coverguard.access import Verb, require
from coverguard.cli.output import Commands, add_json, document, person, table
from coverguard.messages import from_micros
from coverguard.model import Micros, between
from coverguard.policy.clocks import WHOLE, percent
from coverguard.settings import home_of
from coverguard.store import Row, audit, obligations
from coverguard.telemetry import Log

WIDTH: Final = 10  # characters of a bar
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def add_commands(verbs: Commands) -> None:
    command = verbs.add_parser("clocks", help="what we owe by when, soonest first (role: moderator)")
    command.add_argument("--overdue", action="store_true", help="only what is past its time")
    add_json(command)
    command.set_defaults(run=_clocks)


def _clocks(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = person(parts.settings)
        require(actor, Verb.READ_CLOCKS)
        now = parts.clock.now()
        with parts.database.transaction() as tx:
            audit.write(tx, now=now, verb="read", subject="clocks", actor=actor.name, role=actor.role)
        with parts.database.reading() as tx:
            owed = obligations.owed(tx, due_before=now if options.overdue else None)
    clocks = [_clock(row, now=now) for row in owed]
    if options.json:
        document({"now": _when(now), "clocks": clocks})
    else:
        nothing = "nothing is overdue" if options.overdue else "nothing is owed"
        table([_shown(one) for one in clocks], empty=nothing)
    return 1 if any(one["overdue"] for one in clocks) else 0


def _clock(row: Row[Any], *, now: Micros) -> dict[str, Any]:
    left = between(now, row.due_at)
    return {
        "kind": row.kind,
        "about": row.ref,
        "case": row.case_ref,
        "opened": _when(row.opened_at),
        "due": _when(row.due_at),
        "seconds_left": left // timedelta(seconds=1),
        "percent": percent(opened_at=row.opened_at, due_at=row.due_at, now=now),
        "warned": row.warned,
        "overdue": left < timedelta(),
    }


def _shown(one: dict[str, Any]) -> dict[str, object]:
    return {
        "kind": one["kind"],
        "about": one["about"],
        "case": one["case"] or "-",
        "due": one["due"],
        "left": _span(timedelta(seconds=one["seconds_left"])),
        "time": _bar(one["percent"]),
    }


def _when(moment: Micros) -> str:
    """To the second, with the offset: a deadline that says where it counts."""
    return from_micros(moment).isoformat(timespec="seconds")


def _span(left: timedelta) -> str:
    """In its two largest units, and what is past its time as such."""
    over, left = left < timedelta(), abs(left)
    days, rest = divmod(left, DAY)
    hours, rest = divmod(rest, HOUR)
    minutes, seconds = rest // MINUTE, (rest % MINUTE).seconds
    units = [f"{days} d", f"{hours} h", f"{minutes} min", f"{seconds} s"]
    first = next((place for place, amount in enumerate((days, hours, minutes)) if amount), 2)
    said = " ".join(units[first : first + 2])
    return f"overdue by {said}" if over else said


def _bar(share: int) -> str:
    full = min(share, WHOLE) * WIDTH // WHOLE
    return f"[{'#' * full}{'.' * (WIDTH - full)}] {share} %"
