"""Commands that ask whether all is well: verify and doctor."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from coverguard import bootstrap, settings
from coverguard.cli.output import Commands, add_json, document, say, table
from coverguard.errors import CoverguardError
from coverguard.settings import home_of
from coverguard.store import lists
from coverguard.telemetry import Log
from coverguard.verifying import Finding

FREE_BYTES: Final = 2 * 1024**3
SHOWN: Final = 10


def add_commands(verbs: Commands) -> None:
    command = verbs.add_parser("verify", help="check every promise this release can check")
    add_json(command)
    command.set_defaults(run=_verify)
    command = verbs.add_parser("doctor", help="is this machine fit to run it, and what is missing?")
    add_json(command)
    command.set_defaults(run=_doctor)


def _verify(options: argparse.Namespace) -> int:
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


def _state(finding: Finding) -> str:
    if finding.broken:
        return "BROKEN"
    return "owed" if finding.found else "kept"


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
    yield _check("file server", _listens(read.file_server_port), "to ask URLs run: coverguard files")
    roles = "; ".join(f"{user}: {', '.join(sorted(has))}" for user, has in sorted(read.people.items()))
    yield _check(
        "people", bool(read.people), roles or "nobody has a role; see [people] in the settings", soft=True
    )
    yield ("note", "profile", "embedded: one machine, at most 4 workers; not for production")


def _deployment_checks(home: Path) -> Iterator[Check]:
    try:
        with bootstrap.deployment(home, log=Log(stream=None)) as parts:
            yield ("ok", "database", "migrated to this release")
            with parts.database.reading() as tx:
                snapshot = lists.load(tx, parts.keys)
            yield ("ok", "list key", "every sealed list row opens")
            holding = sum(rule.action.value == "hold" for rule in snapshot.rules.values())
            note = f"{len(snapshot.rules)} lists, {len(snapshot.entries)} entries, {holding} lists may hold"
            yield _check("lists", holding > 0, note, soft=True)
    except CoverguardError as error:
        yield ("BAD", "deployment", str(error))


def _check(name: str, well: bool, note: str, *, soft: bool = False) -> Check:  # noqa: FBT001 - the check's result
    if well:
        return "ok", name, note
    return ("note" if soft else "BAD"), name, note


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        asking.settimeout(1)
        return asking.connect_ex(("127.0.0.1", port)) == os.EX_OK
