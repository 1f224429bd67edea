"""Commands about a list's life: vouch for it, switch it, let it do more or less, stop it, review it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from coverguard import bootstrap
from coverguard.cli.output import Commands, add_json, document, moment, person, say, table
from coverguard.governing import Governor
from coverguard.model import Actor, ListAction
from coverguard.settings import home_of
from coverguard.store import lists
from coverguard.store.lists import dead_letters, governance
from coverguard.store.schema.lists import ATTESTED, WEIGHED
from coverguard.telemetry import Log

MEANINGS: Final = {
    "organisation": "who makes the entries",
    "agreement": "what you agreed on with them, and where it is kept",
    "expertise": "why they know what they list",
    "permitted_use": "what the entries may be used for",
    "owner": "who of you answers for the list",
    "contact": "where to ask for corrections",
    "severity": "how grave the harm is that the list finds",
    "false_positives": "how many innocent covers it meets, and how that is known",
    "safeguards": "what catches those before anybody is hurt by it",
}
SHOWN: Final = 1000  # faults
_SPAN: Final = re.compile(r"(\d+)([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def add_acts(acts: Commands) -> None:
    command = _act(acts, "attest", _attest, "say who vouches for a list: all of it before it is enabled")
    _add_texts(command, ATTESTED, required=False)
    _act(acts, "enable", _enable, "have a list match: counts for every worker within two seconds")
    _act(acts, "disable", _disable, "have a list match nothing until it is enabled again")
    command = _act(acts, "promote", _promote, "let a list do more, by one step: shadow, refer, hold")
    _add_note(command)
    command = _act(acts, "demote", _demote, "let a list do less")
    command.add_argument(
        "--to", type=ListAction, choices=[ListAction.SHADOW, ListAction.REFER], required=True
    )
    _add_note(command)
    command = _act(acts, "stop", _stop, "kill switch, within two seconds: a list, one entry, a whole source")
    command.add_argument("--entry", type=int, metavar="NUMBER", help="only this entry, as alarms number it")
    command.add_argument("--source", action="store_true", help="all lists of this one's source")
    command.add_argument("--for", dest="lasting", type=span, metavar="TIME", help="such as 90m, 12h or 7d")
    _add_note(command)
    command = acts.add_parser("lift", help="end a stop before its time")
    command.add_argument("stop", help="its reference")
    command.set_defaults(run=_lift)
    command = acts.add_parser("stops", help="what is stopped, by whom, until when")
    add_json(command)
    command.set_defaults(run=_stops)
    command = _act(acts, "faults", _faults, "what of a list could not be read: where and why")
    command.add_argument("--settle", action="store_true", help="say that the source was told")
    add_json(command)
    command = _act(acts, "review", _review, "look at a list's rule and at what came of it, and say so")
    _add_texts(command, WEIGHED, required=True)


def _act(acts: Commands, name: str, run: object, help_text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = acts.add_parser(name, help=help_text)
    command.add_argument("name")
    command.set_defaults(run=run)
    return command


def _add_texts(command: argparse.ArgumentParser, names: tuple[str, ...], *, required: bool) -> None:
    for name in names:
        flag = f"--{name.replace('_', '-')}"
        command.add_argument(flag, metavar="TEXT", required=required, help=MEANINGS[name])


def _add_note(command: argparse.ArgumentParser) -> None:
    command.add_argument("--note", required=True, help="why, for the auditor")


def span(text: str) -> timedelta:
    """Read `90m`, `12h` or `7d`."""
    found = _SPAN.fullmatch(text)
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError("must be a number and m, h or d, such as 12h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@contextmanager
def governor(options: argparse.Namespace) -> Iterator[tuple[Governor, Actor]]:
    """The verbs, and who asks for them."""
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        yield parts.governor(), person(parts.settings)


def _attest(options: argparse.Namespace) -> int:
    said = {name: getattr(options, name) for name in ATTESTED if getattr(options, name)}
    with governor(options) as (verbs, actor):
        missing = verbs.attest(options.name, said, actor=actor)
    told = f"still to be said: {', '.join(missing).replace('_', ' ')}" if missing else "all is said"
    say(f"list {options.name}: {told}")
    return 0


def _enable(options: argparse.Namespace) -> int:
    with governor(options) as (verbs, actor):
        verbs.enable(options.name, actor=actor)
    say(f"list {options.name}: enabled")
    return 0


def _disable(options: argparse.Namespace) -> int:
    with governor(options) as (verbs, actor):
        verbs.disable(options.name, actor=actor)
    say(f"list {options.name}: disabled")
    return 0


def _promote(options: argparse.Namespace) -> int:
    with governor(options) as (verbs, actor):
        reached = verbs.promote(options.name, note=options.note, actor=actor)
    say(f"list {options.name}: may {reached.value} now")
    return 0


def _demote(options: argparse.Namespace) -> int:
    with governor(options) as (verbs, actor):
        verbs.demote(options.name, options.to, note=options.note, actor=actor)
    say(f"list {options.name}: may {options.to.value} now, and no more")
    return 0


def _stop(options: argparse.Namespace) -> int:
    if options.entry is not None and options.source:
        raise SystemExit("coverguard: --entry stops one entry, --source everything: choose")
    with governor(options) as (verbs, actor):
        ref = verbs.stop(
            options.name, note=options.note, actor=actor, entry_id=options.entry,
            whole_source=options.source, lasting=options.lasting,
        )  # fmt: skip
    say(f"stopped as {ref}; to end it: coverguard lists lift {ref}")
    return 0


def _lift(options: argparse.Namespace) -> int:
    with governor(options) as (verbs, actor):
        verbs.lift(options.stop, actor=actor)
    say(f"{options.stop}: lifted")
    return 0


def _stops(options: argparse.Namespace) -> int:
    with (
        bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts,
        parts.database.reading() as tx,
    ):
        rows = [
            {
                "stop": row.ref,
                "of": f"source {row.source}" if row.source else f"list {row.list_name}",
                "entry": row.entry_id or "-",
                "by": row.actor,
                "since": moment(row.stopped_at),
                "until": moment(row.until),
                "note": row.note,
            }
            for row in governance.standing_stops(tx)
        ]
    if options.json:
        document(rows)
    else:
        table(rows, empty="nothing is stopped")
    return 0


def _faults(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        if options.settle:
            settled = parts.governor().settle_faults(options.name, actor=person(parts.settings))
            say(f"list {options.name}: {settled} unread records are settled")
            return 0
        with parts.database.reading() as tx:
            found = dead_letters.unsettled_of(tx, lists.by_name(tx, options.name).id, most=SHOWN)
    rows = [
        {"seen": moment(row.seen_at), "place": row.place, "fault": row.fault, "times": row.times}
        for row in found
    ]
    if options.json:
        document(rows)
    else:
        table(rows, empty="everything could be read")
    return 0


def _review(options: argparse.Namespace) -> int:
    weighed = {name: getattr(options, name) for name in WEIGHED}
    with governor(options) as (verbs, actor):
        found = verbs.review(options.name, weighed, actor=actor)
    decided = found.confirmed + found.cleared
    share = (
        f"{found.confirmed} of {decided} decided items were confirmed" if decided else "no item is decided"
    )
    say(f"list {options.name}: reviewed; {share}")
    return 0
