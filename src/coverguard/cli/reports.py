"""Commands for who answers reports: list, show (an audited read), reply, close.

Support, flaggers and hotlines file reports and are shown none. What a reporter wrote is printed for who may
read it and nowhere else; who they are is not part of a thread.
"""

from __future__ import annotations

import argparse
from typing import Any, Final

from coverguard import bootstrap
from coverguard.access import Verb, require
from coverguard.bootstrap import Deployment
from coverguard.cli.output import Commands, add_json, document, moment, person, say, table
from coverguard.reporting import Entry
from coverguard.settings import home_of
from coverguard.store import Row, reports
from coverguard.store.reports import Earlier
from coverguard.telemetry import Log

FOLLOWS_ON: Final = {
    Earlier.SAME_ACCOUNT: "a report about the same account",
    Earlier.SOMETHING_ELSE: "a report about something else",
    Earlier.UNKNOWN: "no report that we have",
}


def add_commands(verbs: Commands) -> None:
    group = verbs.add_parser("reports", help="what people told us, and our answers (role: moderator)")
    add_json(group)
    group.set_defaults(run=_list, decided=False, command="reports list")
    acts = group.add_subparsers(title="what to do (else: list)", metavar="ACT")
    command = acts.add_parser("list", help="open reports, the most pressing first")
    command.add_argument("--decided", action="store_true", help="those that are decided instead")
    add_json(command)
    command.set_defaults(run=_list)
    command = acts.add_parser("show", help="one report with its whole thread; reading it is audited")
    command.add_argument("report", metavar="REF", help="the reference, such as report-0123456789abcdef")
    add_json(command)
    command.set_defaults(run=_show)
    command = acts.add_parser("reply", help="answer the reporter, who reads it with the receipt's token")
    command.add_argument("report", metavar="REF")
    command.add_argument("--text", required=True, help="what to tell them; never who else is concerned")
    command.set_defaults(run=_reply)
    command = acts.add_parser("close", help="decide a report that no verdict on a picture will decide")
    command.add_argument("report", metavar="REF")
    command.set_defaults(run=_close)


def _deployment(options: argparse.Namespace) -> Any:  # noqa: ANN401 - a context manager
    return bootstrap.deployment(home_of(options.home), log=Log(stream=None))


def _list(options: argparse.Namespace) -> int:
    with _deployment(options) as parts:
        require(person(parts.settings), Verb.READ_REPORTS)
        with parts.database.reading() as tx:
            rows = [_line(row) for row in reports.listing(tx, decided=options.decided)]
    if options.json:
        document(rows)
    else:
        table(rows, empty="no report waits")
    return 0


def _line(row: Row[Any]) -> dict[str, object]:
    return {
        "report": row.ref,
        "priority": row.priority,
        "urgent": "yes" if row.urgent else "no",
        "state": row.state,
        "category": row.category,
        "from": row.source,
        "names": row.named,
        "repeats": row.first_ref or "-",
        "repeated": row.repeats,
        "received": moment(row.received_at),
    }


def _show(options: argparse.Namespace) -> int:
    with _deployment(options) as parts:
        entries = parts.reporting().transcript(options.report, actor=person(parts.settings))
        shown = _described(parts, options.report)
    thread = [_entry(one) for one in entries]
    if options.json:
        document({**shown, "thread": thread})
        return 0
    where = ", ".join(shown["cases"]) or "no case"
    say(f"{shown['report']}: {shown['state']}, {shown['category']}, in {where}")
    if (earlier := shown["follows_on"]) is not None:
        say(f"follows on {earlier['report']}, as the reporter says: {FOLLOWS_ON[earlier['is']]}")
    table(shown["targets"], empty="it names nothing")
    for one in thread:
        say(f"\n{one['seq']}. {one['author']}, {one['kind']}, {one['at']}")
        say(str(one["text"]))
    return 0


def _described(parts: Deployment, ref: str) -> dict[str, Any]:
    with parts.database.reading() as tx:
        row = reports.by_ref(tx, ref)
        targets = reports.targets(tx, row.id)
        cases = list(reports.cases_of(tx, row.id))
        earlier = reports.earlier(tx, row)
    named = [
        {
            "kind": one.kind,
            "id": one.named_id,
            "surface": one.surface or "-",
            "version": one.version if one.version is not None else "all",
            "effect": one.effect,
            "outcome": one.outcome or "-",
        }
        for one in targets
    ]
    facts = {"report": row.ref, "state": row.state, "category": row.category, "priority": row.priority}
    follows_on = {"report": row.earlier_ref, "is": earlier} if earlier is not None else None
    return {**facts, "follows_on": follows_on, "cases": cases, "targets": named}


def _entry(one: Entry) -> dict[str, object]:
    return {
        "seq": one.seq,
        "at": moment(one.at),
        "author": one.author.value,
        "kind": one.kind,
        "text": one.text,
    }


def _reply(options: argparse.Namespace) -> int:
    with _deployment(options) as parts:
        parts.reporting().reply(options.report, options.text, actor=person(parts.settings))
    say("answered; the reporter reads it with the token on their receipt")
    return 0


def _close(options: argparse.Namespace) -> int:
    with _deployment(options) as parts:
        parts.reporting().close(options.report, actor=person(parts.settings))
    say(f"{options.report}: decided")
    return 0
