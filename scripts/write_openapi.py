#!/usr/bin/env python3
"""Write docs/openapi/*.json from the routes of the web processes, or `--check` that they are up to date."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from coverguard.bootstrap import REPORTS
from coverguard.fronts import Front
from coverguard.local.boxes import StaffBox
from coverguard.local.clock import SystemClock
from coverguard.settings import Settings
from coverguard.store.engine import Database
from coverguard.store.queue import TableQueue
from coverguard.telemetry import Log

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "openapi"


def documents() -> dict[str, dict[str, Any]]:
    """What each process says of itself; made by real ones, of a deployment that is thrown away."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home, clock = Path(folder), SystemClock()
        StaffBox.open_or_create(home / "keys")
        database = Database("sqlite://")
        stack.callback(database.close)
        front = Front(
            settings=Settings(home=home),
            database=database,
            queue=TableQueue(database, REPORTS, clock=clock),
            clock=clock,
            log=Log(stream=None),
        )
        public, platform = stack.enter_context(front.public()), stack.enter_context(front.platform())
        made = {"public": public.app.openapi(), "platform": platform.app.openapi()}
    for document in made.values():
        document["info"]["version"] = "1"  # of the interface; the release's would change with every release
    return made


def files() -> dict[str, str]:
    return {
        f"{name}.json": json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        for name, document in documents().items()
    }


def stale(wanted: dict[str, str]) -> list[str]:
    """Names of files that are missing, out of date or not wanted."""
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    options = parser.parse_args(arguments)
    wanted = files()
    if options.check:
        for name in (old := stale(wanted)):
            print(f"docs/openapi/{name} is out of date: run scripts/write_openapi.py", file=sys.stderr)
        return 1 if old else 0
    FOLDER.mkdir(exist_ok=True)
    for name in stale(wanted):
        if name in wanted:
            (FOLDER / name).write_text(wanted[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
