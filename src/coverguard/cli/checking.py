"""Commands that ask whether all is well: verify and doctor."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from coverguard import bootstrap, settings
from coverguard.adapters import EXCHANGE_KEYS
from coverguard.cli.output import Commands, add_json, document, say, table
from coverguard.errors import ConfigurationError, CoverguardError
from coverguard.exchanges import Exchange
from coverguard.imaging import signal_types
from coverguard.policy import HOLD_RADIUS, WIDE_ENTRIES
from coverguard.settings import home_of
from coverguard.store import Row, fetches, lists
from coverguard.telemetry import Log
from coverguard.verifying import Finding
from coverguard.watching import ask_store

FREE_BYTES: Final = 2 * 1024**3
SHOWN: Final = 10


def add_commands(verbs: Commands) -> None:
    command = verbs.add_parser("verify", help="check every promise this release can check")
    command.add_argument("what", nargs="?", choices=["audit"], help="the whole audit trail alone")
    command.add_argument(
        "--public-key", metavar="FILE", type=Path, action="append", default=[],
        help="with audit: trust heads signed with this key alone (may be given again)",
    )  # fmt: skip
    add_json(command)
    command.set_defaults(run=_verify)
    command = verbs.add_parser("doctor", help="is this machine fit to run it, and what is missing?")
    add_json(command)
    command.set_defaults(run=_doctor)


def _verify(options: argparse.Namespace) -> int:
    if options.what == "audit":
        return _verify_audit(options)
    if options.public_key:
        raise ConfigurationError("--public-key belongs to: coverguard verify audit")
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        verifier = parts.verifier()
        findings = verifier.run()
        ringing = verifier.ringing()
    broken = [one for one in findings if one.broken]
    if options.json:
        checks = [
            {
                "check": f.check,
                "promise": f.promise,
                "state": _state(f),
                "found": f.found,
            }
            for f in findings
        ]
        document({"kept": not broken, "checks": checks, "alarms": [list(one) for one in ringing]})
        return 1 if broken else 0
    for finding in findings:
        say(f"{_state(finding):7}{finding.check}: {finding.promise}")
        for one in finding.found[:SHOWN]:
            say(f"         {one}")
        if len(finding.found) > SHOWN:
            say(f"         … and {len(finding.found) - SHOWN} more")
    for kind, subject, count in ringing:
        say(f"alarm  {kind} {subject} (rang {count} times)")
    say("every promise is kept" if not broken else f"{len(broken)} promises are broken")
    return 1 if broken else 0


def _verify_audit(options: argparse.Namespace) -> int:
    """Recompute every link and signature, and name what is not as it was written."""
    with (
        bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts,
        tqdm(unit=" rows", desc="audit", disable=True if options.json else None, leave=False) as bar,
    ):

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = parts.auditor(public_keys=options.public_key).run(progress=show)
    if options.json:
        flaws = [{"kind": f.kind.value, "row": f.row, "link": f.seq, "text": f.text} for f in report.flaws]
        counts = {"links": report.links, "heads": report.heads, "archived": report.archived}
        document({"kept": not report.count, **counts, "found": flaws, "count": report.count})
        return 1 if report.count else 0
    for flaw in report.flaws:
        say(f"BROKEN {flaw.kind.value}: {flaw.text}")
    if report.count > len(report.flaws):
        say(f"       … and {report.count - len(report.flaws)} more")
    say(f"{report.links} rows, {report.heads} signed heads, {report.archived} of them found in the archive")
    say("the audit trail is as it was written" if not report.count else f"{report.count} flaws")
    return 1 if report.count else 0


def _state(finding: Finding) -> str:
    return "BROKEN" if finding.broken else "kept"


Check = tuple[str, str, str]  # state, name, what to know or to do


def _doctor(options: argparse.Namespace) -> int:
    home = home_of(options.home)
    checks = list(_checks(home))
    if options.json:
        document([{"state": state, "check": name, "note": note} for state, name, note in checks])
    else:
        table([{"state": s, "check": n, "note": note} for s, n, note in checks], empty="")
    return 1 if any(state == "BAD" for state, _, _ in checks) else 0


def _checks(home: Path) -> Iterator[Check]:
    yield _check("python", sys.version_info >= (3, 11), f"{sys.version.split()[0]} (3.11 or newer)")
    yield _check("sqlite", sqlite3.sqlite_version_info >= (3, 35), f"{sqlite3.sqlite_version} (3.35)")
    yield _check("home", home.is_dir(), f"{home}; if it is missing run: coverguard migrate")
    if not home.is_dir():
        return
    private = home.stat().st_mode & 0o077 == 0
    yield _check("home is private", private, f"chmod 700 {home} keeps other users out")
    free = shutil.disk_usage(home).free
    yield _check("disk", free > FREE_BYTES, f"{free / 1024**3:.1f} GiB free; 2 GiB are needed")
    try:
        read = settings.load(home)
    except CoverguardError as error:
        yield ("BAD", "settings", str(error))
        return
    yield ("ok", "settings", "coverguard.toml is understood")
    yield from _deployment_checks(home)
    if read.object_store == "folder":
        yield _check("file server", _listens(read.file_server_port), "to ask URLs run: coverguard files")
    roles = "; ".join(f"{user}: {', '.join(sorted(has))}" for user, has in sorted(read.people.items()))
    yield _check(
        "people", bool(read.people), roles or "nobody has a role; see [people] in the settings", soft=True
    )
    if read.embedded:
        yield (
            "note",
            "profile",
            "embedded in part or whole: one machine, at most 4 workers; not for production",
        )


def _deployment_checks(home: Path) -> Iterator[Check]:
    try:
        with bootstrap.deployment(home, log=Log(stream=None)) as parts:
            yield ("ok", "database", "migrated to this release")
            yield _decoding(parts)
            yield from _signal_checks(parts)
            yield from _outside_checks(parts)
            yield from _exchange_checks(parts)
            with parts.database.reading() as tx:
                snapshot = lists.load(tx, parts.keys, algorithms=parts.signal_types.algorithms)
            yield ("ok", "list key", "every sealed list row opens")
            holding = sum(rule.action.value == "hold" for rule in snapshot.rules.values())
            note = f"{len(snapshot.rules)} lists, {len(snapshot.entries)} entries, {holding} lists may hold"
            yield _check("lists", holding > 0, note, soft=True)
            yield from _long_lists(parts)
    except CoverguardError as error:
        yield ("BAD", "deployment", str(error))


def _outside_checks(parts: bootstrap.Deployment) -> Iterator[Check]:
    """Whether the outside answers us, with the credentials that we have here."""
    for name in bootstrap.INCOMING:
        yield _answers(f"queue {name}", parts.queue(name).depth)
    buckets = parts.settings.readable_buckets
    yield _answers("object store", lambda: ask_store(parts.store, buckets))
    yield _answers("buckets", parts.require_safe_store)
    yield _answers("dead-letter queues", parts.require_sound_queues)
    yield _answers("audit heads", parts.require_locked_heads)
    if parts.catalogue.exists:
        yield _answers("platform's catalogue", parts.catalogue.check)
    else:
        note = "none: takedowns know the ledger and the buckets only; see catalogue_url"
        yield "note", "platform's catalogue", note
    if not parts.inventory().complete:
        note = "a template has {version} or {*} before {surface} or {id}: unknown versions are not found"
        yield "note", "renditions", note


def _exchange_checks(parts: bootstrap.Deployment) -> Iterator[Check]:
    """Whether each exchange takes our credentials, where this host has them: most hosts do not need any."""
    try:
        with parts.database.reading() as tx:
            enabled = fetches.enabled(tx)
    except ConfigurationError:
        yield (
            "note",
            "exchanges",
            "this process's role may not look at them; those of people and importer may",
        )
        return
    ask = parts.fetcher().exchange_of
    for row in enabled:
        name, shown = f"exchange {row.name}", f"keys/{EXCHANGE_KEYS}/{row.name}"
        if (parts.settings.home / shown).exists():
            yield _answers(name, partial(_ask_exchange, ask, row))
        else:
            yield "note", name, f"not asked: this host has no {shown}; the importer's needs it"


def _ask_exchange(client_of: Callable[[Row[Any]], Exchange], row: Row[Any]) -> None:
    client_of(row).check()


def _decoding(parts: bootstrap.Deployment) -> Check:
    """Start a decoding child, which shows that it reads every format, and ask how well it is confined."""
    assert parts.sandbox is not None
    try:
        confined = parts.sandbox.confinement()
    except CoverguardError as error:
        return "BAD", "decoding", str(error)
    if confined.seccomp:
        return "ok", "decoding", "in a child with limits that may make few system calls (seccomp)"
    note = (
        "in a child with limits, but it may make any system call: this kernel or container has no seccomp"
        " filters, or this processor is neither x86-64 nor AArch64. Run workers where there are"
    )
    return ("note" if parts.settings.embedded else "BAD"), "decoding", note


def _signal_checks(parts: bootstrap.Deployment) -> Iterator[Check]:
    """Whether every hash of pictures gives here what it gave where it was written down."""
    for name, one in parts.signal_types.items():
        wrong = next(signal_types.faults(one), None)
        yield _check(f"signal {name}", wrong is None, wrong or f"{len(one.golden)} golden vectors are right")


def _long_lists(parts: bootstrap.Deployment) -> Iterator[Check]:
    """Our own lists grow by verdicts, which nobody refuses; a person may narrow their rules."""
    with parts.database.reading() as tx:
        rules, found = lists.rules(tx), lists.counts(tx)
    for row in found:
        rule = rules.get(row.list_id)
        if rule is not None and rule.wide and row.entries > WIDE_ENTRIES:
            note = (
                f"{row.entries} entries are searched within more than {HOLD_RADIUS} bits; every cover waits"
                f" for it; run: coverguard lists rule {row.name} --pdq-radius {HOLD_RADIUS} --note …"
            )
            yield "note", f"list {row.name}", note


def _answers(name: str, ask: Callable[[], object]) -> Check:
    try:
        ask()
    except CoverguardError as error:
        return "BAD", name, str(error)
    return "ok", name, "answers"


def _check(name: str, well: bool, note: str, *, soft: bool = False) -> Check:  # noqa: FBT001 - the check's result
    if well:
        return "ok", name, note
    return ("note" if soft else "BAD"), name, note


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        asking.settimeout(1)
        return asking.connect_ex(("127.0.0.1", port)) == os.EX_OK
