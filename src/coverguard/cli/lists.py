"""Commands about hash lists: add, load, rule, show, and those of `list_life`. None ever prints a digest."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tqdm import tqdm

from coverguard import bootstrap
from coverguard.access import Verb, require
from coverguard.bootstrap import Deployment
from coverguard.cli import list_life
from coverguard.cli.output import Commands, add_json, document, moment, person, say, table
from coverguard.cli.rule_options import add_rule_options, changed
from coverguard.errors import BadListFile
from coverguard.hashlist import COLUMNS, ListFormat
from coverguard.importing import ImportReport
from coverguard.model import Actor
from coverguard.policy import ListRule
from coverguard.settings import home_of
from coverguard.store import lists as stored
from coverguard.telemetry import Log

SHOWN_FAULTS: Final = 20


def add_commands(verbs: Commands) -> None:
    lists = verbs.add_parser("lists", help="hash lists and their rules (role: list_editor)")
    acts = lists.add_subparsers(title="acts", metavar="ACT", required=True)
    command = acts.add_parser("add", help="create a list: switched off, and in shadow")
    command.add_argument("name")
    command.add_argument("--source", required=True, help="who vouches for the entries")
    add_rule_options(command, required=("category",))
    command.set_defaults(run=_add)
    command = acts.add_parser("load", help="make a list say what a file says: upserts and withdrawals")
    command.add_argument("name")
    command.add_argument("file", help="a path, or s3://bucket/key of a bucket in list_buckets")
    command.add_argument(
        "--format", type=ListFormat, choices=list(ListFormat), help="default: by the file's ending"
    )
    command.add_argument(
        "--columns", metavar="WORD=NAME,…", default="",
        help="what a delivery's columns are called, for --format iwf and gifct: md5=HashMD5,category=Cat",
    )  # fmt: skip
    command.add_argument("--algorithm", metavar="NAME", help="pdq, sha256, …: for --format hex only")
    command.add_argument("--dry-run", action="store_true", help="say what would change and change nothing")
    command.add_argument("--confirm-shrink", action="store_true", help="yes, it may lose more than a fifth")
    add_json(command)
    command.set_defaults(run=_load)
    command = acts.add_parser("rule", help="append a new version of a list's rule; what is not named stays")
    command.add_argument("name")
    add_rule_options(command, required=())
    command.add_argument("--note", required=True, help="why, for the auditor")
    command.set_defaults(run=_rule)
    command = acts.add_parser("show", help="every list with its rule in force and its number of entries")
    add_json(command)
    command.set_defaults(run=_show)
    list_life.add_acts(acts)


def _editor(parts: Deployment) -> Actor:
    actor = person(parts.settings)
    require(actor, Verb.EDIT_LISTS)
    return actor


def _add(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        rule = changed(ListRule(list_id=0, version=0, category=options.category), options, parts)
        new = parts.governor().add(options.name, rule, source=options.source, actor=_editor(parts))
    say(f"list {options.name}: {'created' if new else 'exists already, nothing changed'}")
    return 0


def _load(options: argparse.Namespace) -> int:
    list_format = options.format or _format_of(Path(options.file))
    columns = _columns(options.columns, list_format)
    if (options.algorithm is None) is (list_format is ListFormat.HEX):
        raise BadListFile("--algorithm is for plain hex files, and needed there (see --format)")
    with (
        bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts,
        tqdm(unit="B", unit_scale=True, desc=options.name, disable=None, leave=False) as bar,
    ):

        def progress(read: int, in_all: int) -> None:
            bar.total = in_all
            bar.update(read - bar.n)

        report = parts.importer().load_file(
            options.name,
            options.file,
            list_format=list_format,
            algorithm=options.algorithm,
            columns=columns,
            actor=_editor(parts),
            dry_run=options.dry_run,
            confirm_shrink=options.confirm_shrink,
            progress=progress,
        )
    _tell(options, report)
    return 1 if report.faulty else 0


def _tell(options: argparse.Namespace, report: ImportReport) -> None:
    faults = [{"line": fault.line, "fault": fault.fault} for fault in report.faults]
    counts = {
        "entries before": report.entries_before,
        "new or changed": report.upserts,
        "withdrawn": report.withdrawals,
        "kept in doubt": report.doubtful,
        "faulty lines": report.faulty,
    }
    if options.json:
        told = {"went_on_at_line": report.resumed_at, "not_read": report.unread, "faults": faults}
        named = {"list": options.name, "dry_run": options.dry_run}
        document({**named, **counts, "not_fresh": report.not_fresh, **told})
        return
    if report.resumed_at is not None:
        say(f"an earlier load of this file did not end; it went on behind line {report.resumed_at}")
    table([counts], empty="")
    for what, cells in sorted(report.unread.items()):
        say(f"  not read: {what}, in {cells} rows")
    for fault in faults[:SHOWN_FAULTS]:
        say(f"  line {fault['line']}: {fault['fault']}")
    if report.faulty > SHOWN_FAULTS:
        say(f"  … and {report.faulty - SHOWN_FAULTS} more; --json prints the first {len(faults)}")
    if report.not_fresh:
        would = "would not make" if options.dry_run else "did not make"
        say(f"this load {would} the list fresh, as it has faulty lines: its max_age runs on")


def _columns(said: str, list_format: ListFormat) -> Mapping[str, str]:
    pairs = [pair.partition("=") for pair in said.split(",") if pair]
    if pairs and list_format not in COLUMNS:
        raise BadListFile("--columns is for --format iwf and gifct")
    if any(not word or not name for word, _, name in pairs):
        raise BadListFile("--columns: must be WORD=NAME,WORD=NAME; see docs/lists.md")
    return {word: name for word, _, name in pairs}


def _format_of(path: Path) -> ListFormat:
    return {".csv": ListFormat.CSV, ".jsonl": ListFormat.JSONL}.get(path.suffix.lower(), ListFormat.HEX)


def _rule(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        version = parts.governor().change_rule(
            options.name, lambda rule: changed(rule, options, parts), note=options.note, actor=_editor(parts)
        )
    say(f"list {options.name}: rule version {version} is in force")
    return 0


def _show(options: argparse.Namespace) -> int:
    with (
        bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts,
        parts.database.reading() as tx,
    ):
        rows = [
            {
                "list": row.name,
                "source": row.source,
                "entries": row.entries,
                "enabled": "yes" if row.enabled else "no",
                "category": row.category,
                "action": row.action,
                "pdq": row.pdq_radius,
                "phash256": row.phash256_radius,
                "negatives": "yes" if row.complement else "no",
                "plug-ins": _told_radii(row.radii),
                "quality": row.quality_floor,
                "rule": row.version,
                "says all since": moment(row.refreshed_at),
                "review due": moment(row.review_due_at),
            }
            for row in stored.counts(tx)
        ]
    if options.json:
        document(rows)
    else:
        table(rows, empty="no lists yet; see: coverguard lists add --help")
    return 0


def _told_radii(stored_radii: str) -> str:
    radii = json.loads(stored_radii)
    return " ".join(f"{name}={radius}" for name, radius in sorted(radii.items())) or "-"
