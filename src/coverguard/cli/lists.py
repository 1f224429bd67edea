"""Commands about hash lists: add, load, rule, show, enable, disable. No command ever prints a digest."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from tqdm import tqdm

from coverguard import bootstrap
from coverguard.access import Verb, require
from coverguard.bootstrap import Deployment
from coverguard.cli.output import Commands, add_json, document, person, say, table
from coverguard.errors import BadListFile, ConfigurationError
from coverguard.hashlist import ListFormat
from coverguard.model import Actor, Category, ListAction, Micros
from coverguard.policy import ListRule, require_searchable
from coverguard.settings import home_of
from coverguard.store import Connection, audit
from coverguard.store import lists as stored
from coverguard.telemetry import Log

RULE_OPTIONS: Final = (
    "known",
    "category",
    "action",
    "pdq_radius",
    "phash256_radius",
    "radii",
    "complement",
    "quality_floor",
    "hold_budget",
)
SHOWN_FAULTS: Final = 20


def add_commands(verbs: Commands) -> None:
    lists = verbs.add_parser("lists", help="hash lists and their rules (role: list_editor)")
    acts = lists.add_subparsers(title="acts", metavar="ACT", required=True)
    command = acts.add_parser("add", help="create a list; it starts in shadow unless --action says otherwise")
    command.add_argument("name")
    command.add_argument("--source", required=True, help="who vouches for the entries")
    _add_rule_options(command, required=("category",))
    command.set_defaults(run=_add)
    command = acts.add_parser("load", help="make a list say what a file says: upserts and withdrawals")
    command.add_argument("name")
    command.add_argument("file", type=Path)
    command.add_argument(
        "--format", type=ListFormat, choices=list(ListFormat), help="default: by the file's ending"
    )
    command.add_argument("--algorithm", metavar="NAME", help="pdq, sha256, …: for --format hex only")
    command.add_argument("--dry-run", action="store_true", help="say what would change and change nothing")
    command.add_argument("--confirm-shrink", action="store_true", help="yes, it may lose more than a fifth")
    add_json(command)
    command.set_defaults(run=_load)
    command = acts.add_parser("rule", help="append a new version of a list's rule; what is not named stays")
    command.add_argument("name")
    _add_rule_options(command, required=())
    command.add_argument("--note", required=True, help="why, for the auditor")
    command.set_defaults(run=_rule)
    command = acts.add_parser("show", help="every list with its rule in force and its number of entries")
    add_json(command)
    command.set_defaults(run=_show)
    for name, wanted in (("enable", True), ("disable", False)):
        command = acts.add_parser(name, help=f"{name} a list: counts for every worker within two seconds")
        command.add_argument("name")
        command.set_defaults(run=_switch, enabled=wanted)


def _add_rule_options(command: argparse.ArgumentParser, *, required: tuple[str, ...]) -> None:
    command.add_argument("--category", type=Category, choices=list(Category), required="category" in required)
    command.add_argument(
        "--action", type=ListAction, choices=list(ListAction), help="the most the list may do"
    )
    command.add_argument(
        "--pdq-radius", type=int,
        help="bits of 256 (default 31; -1 switches PDQ off); beyond 31 only for small lists, and only refers",
    )  # fmt: skip
    command.add_argument(
        "--phash256-radius", type=int, help="bits of 256 (default -1, off); only ever refers"
    )
    command.add_argument(
        "--radius", dest="radii", action=_PlugInRadius, metavar="ALGORITHM=NUMBER",
        help="how far a plug-in's algorithm matches, in its own measure (default off; may be given again)",
    )  # fmt: skip
    command.add_argument(
        "--complement", action=argparse.BooleanOptionalAction, default=None,
        help="look pictures up as negatives, too (default yes); only ever refers",
    )  # fmt: skip
    command.add_argument(
        "--quality-floor", type=int, help="no near match below this PDQ quality (default 50)"
    )
    command.add_argument(
        "--known",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="entries are verified by experts: clearing a match takes two people (default yes)",
    )
    command.add_argument("--hold-budget", type=int, help="near-match holds an hour before consequences stop")


class _PlugInRadius(argparse.Action):
    """Gathers `name=number` pairs."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object,
                 option_string: str | None = None) -> None:  # fmt: skip
        name, _, number = str(values).partition("=")
        if not name or not number.lstrip("-").isdigit():
            parser.error(f"{option_string}: must be ALGORITHM=NUMBER, such as luma.1=40")
        gathered = getattr(namespace, self.dest) or {}
        setattr(namespace, self.dest, gathered | {name: int(number)})


def _chosen(options: argparse.Namespace) -> dict[str, object]:
    return {name: getattr(options, name) for name in RULE_OPTIONS if getattr(options, name) is not None}


def _changed(rule: ListRule, options: argparse.Namespace, parts: Deployment) -> ListRule:
    chosen = _chosen(options)
    if (radii := chosen.get("radii")) is not None:
        assert isinstance(radii, dict)
        _require_plugged_in(radii, parts)
        chosen["radii"] = {**rule.radii, **radii}
    try:
        return replace(rule, **chosen)  # type: ignore[arg-type]  # argparse has typed each of them
    except ValueError as error:
        raise SystemExit(f"coverguard: {error}") from error


def _require_plugged_in(radii: Mapping[str, int], parts: Deployment) -> None:
    for name, radius in radii.items():
        known = parts.signal_types.get(name)
        if known is None:
            raise ConfigurationError(
                f"--radius: no plug-in brings {name}; see signal_plugins in the settings"
            )
        if radius > known.algorithm.max_radius:
            raise SystemExit(f"coverguard: --radius {name} must be -1 (off) to {known.algorithm.max_radius}")


def _editor(parts: Deployment) -> Actor:
    actor = person(parts.settings)
    require(actor, Verb.EDIT_LISTS)
    return actor


def _add(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = _editor(parts)
        rule = _changed(ListRule(list_id=0, version=0, category=options.category), options, parts)
        with parts.database.transaction() as tx:
            now = parts.clock.now()
            list_id, new = stored.create(
                tx,
                name=options.name,
                source=options.source,
                rule=rule,
                actor=actor.name,
                note="created",
                now=now,
            )
            if new:
                facts = {"action": rule.action.value, "category": rule.category.value}
                _audit(tx, "add list", list_id, actor=actor, now=now, facts=facts)
    say(f"list {options.name}: {'created' if new else 'exists already, nothing changed'}")
    return 0


def _audit(
    tx: Connection, verb: str, list_id: int, *, actor: Actor, now: Micros, facts: Mapping[str, audit.Fact]
) -> None:
    audit.write(
        tx,
        now=now,
        verb=verb,
        subject=f"list:{list_id}",
        actor=actor.name,
        role=actor.role,
        facts=facts,
    )


def _load(options: argparse.Namespace) -> int:
    list_format = options.format or _format_of(options.file)
    if (options.algorithm is None) is (list_format is ListFormat.HEX):
        raise BadListFile("--algorithm is for plain hex files, and needed there (see --format)")
    with (
        bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts,
        tqdm(unit=" entries", desc=options.name, disable=None, leave=False) as bar,
    ):
        report = parts.importer().load_file(
            options.name,
            options.file,
            list_format=list_format,
            algorithm=options.algorithm,
            actor=_editor(parts),
            dry_run=options.dry_run,
            confirm_shrink=options.confirm_shrink,
            progress=bar.update,
        )
    faults = [{"line": fault.line, "fault": fault.fault} for fault in report.faults]
    counts = {
        "entries before": report.entries_before,
        "new or changed": report.upserts,
        "withdrawn": report.withdrawals,
        "kept in doubt": report.doubtful,
        "faulty lines": len(faults),
    }
    if options.json:
        document({"list": options.name, "dry_run": options.dry_run, **counts, "faults": faults})
    else:
        table([counts], empty="")
        for fault in faults[:SHOWN_FAULTS]:
            say(f"  line {fault['line']}: {fault['fault']}")
        if len(faults) > SHOWN_FAULTS:
            say(f"  … and {len(faults) - SHOWN_FAULTS} more; --json prints all")
    return 1 if faults else 0


def _format_of(path: Path) -> ListFormat:
    return {".csv": ListFormat.CSV, ".jsonl": ListFormat.JSONL}.get(path.suffix.lower(), ListFormat.HEX)


def _rule(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = _editor(parts)
        with parts.database.transaction() as tx:
            now = parts.clock.now()
            row = stored.by_name(tx, options.name)
            rule = _changed(stored.rule_of(tx, row.id), options, parts)
            require_searchable(rule, entries=stored.length(tx, row.id))
            version = stored.add_rule(tx, row.id, rule, actor=actor.name, note=options.note, now=now)
            facts = {"version": version, "action": rule.action.value, "pdq_radius": rule.pdq_radius}
            _audit(tx, "change rule", row.id, actor=actor, now=now, facts=facts)
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


def _switch(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = _editor(parts)
        with parts.database.transaction() as tx:
            now = parts.clock.now()
            row = stored.by_name(tx, options.name)
            stored.switch(tx, row.id, enabled=options.enabled, now=now)
            _audit(
                tx,
                "enable list" if options.enabled else "disable list",
                row.id,
                actor=actor,
                now=now,
                facts={},
            )
    say(f"list {options.name}: {'enabled' if options.enabled else 'disabled'}")
    return 0
