"""Commands for takedowns: take an account down or lift it, drive it here and now, see how far all are."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tqdm import tqdm

from coverguard import bootstrap
from coverguard.access import Verb, require
from coverguard.bootstrap import Deployment
from coverguard.cli.output import Commands, add_json, document, moment, person, say, table
from coverguard.lifecycle import TakedownState
from coverguard.settings import home_of
from coverguard.store import Row, audit, darkening, takedowns
from coverguard.takedown import Progress
from coverguard.telemetry import Log

PHASES: Final[Mapping[str, str]] = {
    "list": "list what the ledger knows",
    "catalogue": "ask the catalogue",
    "block": "block",
    "verify": "ask whether it is gone",
    "lift": "put back",
}


def add_commands(verbs: Commands) -> None:
    command = verbs.add_parser(
        "takedown", help="take everything of an account dark, or lift what others asked for"
    )
    command.add_argument("account", help="the platform's account id")
    command.add_argument("--reason", required=True, help="why, in your words; kept sealed")
    command.add_argument("--lift", action="store_true", help="lift it (role: senior_moderator; not your own)")
    command.add_argument(
        "--wait",
        action="store_true",
        help="do it here, with a progress bar, and leave nothing to the keeper",
    )
    add_json(command)
    command.set_defaults(run=_takedown)
    command = verbs.add_parser("takedowns", help="accounts that are dark, or being lifted (role: moderator)")
    command.add_argument("--lifted", action="store_true", help="lifted ones instead of live ones")
    add_json(command)
    command.set_defaults(run=_takedowns)


def _takedown(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = person(parts.settings)
        ask = parts.takedown_verbs().lift if options.lift else parts.takedown_verbs().take_down
        row = ask(options.account, actor=actor, reason=options.reason)
        if options.wait:
            _drive(parts, row.id, as_json=options.json)
        with parts.database.reading() as tx:
            row = takedowns.by_id(tx, row.id)
            left = [one.kind for one in takedowns.causes(tx, row.id)]
    if options.json:
        say(json.dumps({"takedown": row.ref, "state": row.state, "objects": row.objects, "causes": left}))
    else:
        say(_said(row, left))
    reached = TakedownState.LIFTED if options.lift and not left else TakedownState.VERIFIED_GONE
    return 1 if options.wait and row.state != reached.value else 0


def _said(row: Row[Any], left: list[str]) -> str:
    if row.state == TakedownState.LIFTED.value:
        return f"{row.ref}: lifted; everything that nothing else hides is back"
    if row.state == TakedownState.VERIFIED_GONE.value and left:
        return f"{row.ref}: {row.objects} objects, each seen gone ({', '.join(left)})"
    if not left:
        return f"{row.ref}: is being lifted; see: coverguard takedowns"
    return f"{row.ref}: {row.state}, {', '.join(left)}; the keeper goes on, see: coverguard takedowns"


def _drive(parts: Deployment, takedown_id: int, *, as_json: bool) -> None:
    """Go as far as it gets now. A keeper that does the same beside us does no harm."""
    bars = _Bars(silent=as_json)
    for step in _steps(parts, takedown_id):
        if as_json:
            counts = {"done": step.done, "total": step.total}
            say(json.dumps({"takedown": step.ref, "state": step.state, "phase": step.phase, **counts}))
        bars.show(step)
    bars.close()


def _steps(parts: Deployment, takedown_id: int) -> Iterator[Progress]:
    yield from parts.takedown_driver().drive(takedown_id)


class _Bars:
    """One progress bar a phase, with the rate in covers."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._phase = ""
        self._bar: tqdm[Any] | None = None

    def show(self, step: Progress) -> None:
        if step.phase != self._phase:
            self.close()
            self._phase = step.phase
            hidden = True if self._silent else None  # None: where there is no terminal
            self._bar = tqdm(
                total=step.total, unit=" covers", desc=PHASES[step.phase], disable=hidden, leave=False
            )
        if self._bar is not None:
            self._bar.total = step.total
            self._bar.update(step.done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._phase = ""


def _takedowns(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = person(parts.settings)
        require(actor, Verb.READ_CASES)
        with parts.database.transaction() as tx:
            now = parts.clock.now()
            audit.write(tx, now=now, verb="read", subject="takedowns", actor=actor.name, role=actor.role)
        with parts.database.reading() as tx:
            rows = []
            for row in takedowns.listing(tx, lifted=options.lifted):
                of_account, claimed = darkening.counts(tx, row)
                rows.append(
                    {
                        "takedown": row.ref,
                        "account": row.platform_id,
                        "state": "lifting" if row.lifting_at and not row.lifted_at else row.state,
                        "level": row.level,
                        "causes": ", ".join(one.kind for one in takedowns.causes(tx, row.id)) or "-",
                        "covers": of_account,
                        "claimed": claimed,
                        "objects": row.objects,
                        "reopened": row.reopened,
                        "differences": _differences(darkening.differences(tx, row.id)),
                        "requested": moment(row.requested_at),
                        "verified": moment(row.verified_at),
                    }
                )
    if options.json:
        document(rows)
    else:
        table(rows, empty="no account was lifted" if options.lifted else "no account is dark")
    return 0


def _differences(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(found.items())) or "none"
