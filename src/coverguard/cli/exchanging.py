"""Commands about exchanges: import add, status, run, enable, disable, serve. None ever prints a digest."""

from __future__ import annotations

import argparse
import os
from datetime import timedelta
from typing import Final

from tqdm import tqdm

from coverguard import bootstrap
from coverguard.access import Verb, require
from coverguard.cli.list_life import span
from coverguard.cli.output import Commands, add_json, document, moment, person, say, table
from coverguard.cli.serving import add_metrics_port, until_told
from coverguard.errors import Refused
from coverguard.fetching import Report
from coverguard.settings import home_of
from coverguard.store import audit, fetches, lists
from coverguard.telemetry import Log

KINDS: Final = ("ncmec", "stopncii")
BUSY: Final = 5  # the exit code of what is to be tried again
MICROSECOND: Final = timedelta(microseconds=1)


def add_commands(verbs: Commands) -> None:
    verb = verbs.add_parser("import", help="lists that come from exchanges by themselves")
    acts = verb.add_subparsers(title="acts", metavar="ACT", required=True)
    command = acts.add_parser("add", help="have a list come from an exchange")
    command.add_argument("name", help="of the exchange; its credentials are keys/exchanges/NAME in the home")
    command.add_argument("--list", required=True, help="the list that it fills; see: coverguard lists add")
    command.add_argument("--kind", choices=KINDS, required=True)
    command.add_argument(
        "--place", default="",
        help="ncmec: an environment such as industry or test-industry, or ENVIRONMENT=URL; stopncii: a URL, "
        "or nothing for production",
    )  # fmt: skip
    command.add_argument("--every", type=span, default=timedelta(hours=4), metavar="TIME", help="default 4h")
    command.set_defaults(run=_add)
    command = acts.add_parser("status", help="every exchange: how far it came, and what is wrong")
    add_json(command)
    command.set_defaults(run=_status)
    command = acts.add_parser("run", help="fetch now, as `import serve` does at its time")
    command.add_argument("name")
    command.add_argument("--dry-run", action="store_true", help="say what would change and change nothing")
    command.add_argument("--whole", action="store_true", help="ask for everything again, from the beginning")
    command.add_argument("--confirm-shrink", action="store_true", help="yes, it may lose more than a fifth")
    add_json(command)
    command.set_defaults(run=_run)
    for word, wanted in (("enable", True), ("disable", False)):
        command = acts.add_parser(word, help=f"{word} an exchange; its list stays as it is")
        command.add_argument("name")
        command.set_defaults(run=_switch, enabled=wanted)
    command = acts.add_parser("serve", help="fetch each exchange at its time, until SIGTERM")
    add_metrics_port(command)
    command.set_defaults(run=_serve)


def _add(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = person(parts.settings)
        require(actor, Verb.EDIT_LISTS)
        with parts.database.transaction() as tx:
            now = parts.clock.now()
            row = lists.by_name(tx, options.list)
            if row.own:
                raise Refused("that list is learnt from verdicts here")
            new = fetches.create(
                tx, name=options.name, list_id=row.id, kind=options.kind, place=options.place,
                every=options.every // MICROSECOND, now=now,
            )  # fmt: skip
            parts.fetcher().exchange_of(fetches.by_name(tx, options.name))  # a wrong place is told now
            if new:
                audit.write(
                    tx, now=now, verb="add exchange", subject=f"list:{row.id}", actor=actor.name,
                    role=actor.role, facts={"kind": options.kind},
                )  # fmt: skip
    say(f"exchange {options.name}: {'added' if new else 'exists already, nothing changed'}")
    return 0


def _status(options: argparse.Namespace) -> int:
    with (
        bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts,
        parts.database.reading() as tx,
    ):
        rows = [
            {
                "exchange": row.name,
                "list": row.list_name,
                "enabled": "yes" if row.enabled else "no",
                "records": row.records,
                "unsupported": row.unsupported,
                "unread": row.unread,
                "gaps": row.gaps,
                "caught up": moment(row.caught_up_at),
                "next": "now" if row.holder else moment(row.next_at),
                "position": row.position or "-",
                "fault": row.fault or "-",
            }
            for row in fetches.status(tx)
        ]
    if options.json:
        document(rows)
    else:
        table(rows, empty="no exchanges yet; see: coverguard import add --help")
    return 0


def _run(options: argparse.Namespace) -> int:
    with (
        bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts,
        tqdm(unit=" records", desc=options.name, disable=None, leave=False) as bar,
    ):
        require(person(parts.settings), Verb.EDIT_LISTS)

        def shown(report: Report) -> None:
            bar.update(report.records - bar.n)
            bar.set_postfix_str(report.position)

        fetcher = parts.fetcher()
        report = (
            fetcher.preview(options.name, whole=options.whole, progress=shown)
            if options.dry_run
            else fetcher.fetch(
                options.name, whole=options.whole, confirm_shrink=options.confirm_shrink, progress=shown
            )
        )
    if report is None:
        say("somebody else fetches it at this moment; see: coverguard import status")
        return BUSY
    told = {
        "records": report.records,
        "new or changed": report.upserts,
        "withdrawn": report.withdrawals,
        "unsupported": report.unsupported,
        "unread": report.unread,
        "gaps": report.gaps,
        "caught up": "yes" if report.caught_up else "no",
    }
    if options.json:
        document({"exchange": options.name, "dry_run": options.dry_run, **told, "fault": report.fault})
    else:
        table([told], empty="")
        if report.fault:
            say(f"  {report.fault}")
    return 1 if report.fault or report.unread or report.gaps else 0


def _switch(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = person(parts.settings)
        require(actor, Verb.EDIT_LISTS)
        with parts.database.transaction() as tx:
            row = fetches.by_name(tx, options.name)
            fetches.switch(tx, options.name, enabled=options.enabled)
            audit.write(
                tx, now=parts.clock.now(), verb=f"{'en' if options.enabled else 'dis'}able exchange",
                subject=f"list:{row.list_id}", actor=actor.name, role=actor.role,
            )  # fmt: skip
    say(f"exchange {options.name}: {'enabled' if options.enabled else 'disabled'}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    log = Log()
    with bootstrap.deployment(home_of(options.home), log=log) as parts:
        fetcher = parts.fetcher()
        with parts.monitor(fetcher, port=options.metrics_port) as port:
            log.line("importer_started", pid=os.getpid(), port=port)
            return until_told(fetcher.run)
