"""Commands about exchanges: import add, status, run, enable, disable, serve. None ever prints a digest.

`import serve` opens less than any other command: the ledger, the key of lists and no other, the credentials
of exchanges when they are asked. So it can run on a host that has nothing else.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from tqdm import tqdm

from coverguard import bootstrap, fronts
from coverguard.access import Verb, require
from coverguard.cli.list_life import span
from coverguard.cli.output import Commands, add_json, document, moment, person, say, table
from coverguard.cli.serving import add_metrics_port, until_told
from coverguard.errors import Refused
from coverguard.fetching import Fetcher, Report
from coverguard.settings import Settings, home_of
from coverguard.store import audit, fetches, lists
from coverguard.telemetry import Health, Log, Monitor

KINDS: Final = ("ncmec", "stopncii")
BUSY: Final = 5  # the exit code of what is to be tried again
MICROSECOND: Final = timedelta(microseconds=1)
PLACE_CHARACTERS: Final = 500
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def add_commands(verbs: Commands) -> None:
    verb = verbs.add_parser("import", help="lists that come from exchanges by themselves")
    acts = verb.add_subparsers(title="acts", metavar="ACT", required=True)
    command = acts.add_parser("add", help="have a list come from an exchange")
    command.add_argument(
        "name", type=_name, help="of the exchange; its credentials are keys/exchanges/NAME in the home"
    )
    command.add_argument("--list", required=True, help="the list that it fills; see: coverguard lists add")
    command.add_argument("--kind", choices=KINDS, required=True)
    command.add_argument(
        "--place", default="", type=_place,
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


def _name(text: str) -> str:
    """It becomes a file's name."""
    if _NAME.fullmatch(text) is None:
        raise argparse.ArgumentTypeError("must be 1 to 63 of a-z, 0-9 and -, such as ncmec-industry")
    return text


def _place(text: str) -> str:
    if len(text) > PLACE_CHARACTERS:
        raise argparse.ArgumentTypeError(f"must have at most {PLACE_CHARACTERS} characters")
    return text


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
    with (
        fronts.importer(home_of(options.home), log=log) as (read, fetcher),
        _monitor(read, fetcher, options) as port,
    ):
        log.line("importer_started", pid=os.getpid(), port=port)
        return until_told(fetcher.run)


@contextmanager
def _monitor(read: Settings, fetcher: Fetcher, options: argparse.Namespace) -> Iterator[int | None]:
    """Serve metrics and health, at this port or the setting's. It is ready when the ledger answers."""
    port = read.metrics_port if options.metrics_port is None else options.metrics_port
    if not port:
        yield None
        return

    def ask() -> None:
        with fetcher.database.reading() as tx:
            fetches.due(tx, now=fetcher.clock.now())

    health = Health(pulse=fetcher.pulse, checks={"database": ask})
    with Monitor(health, fetcher.log.metrics, host=read.metrics_host, port=port) as monitor:
        yield monitor.port
