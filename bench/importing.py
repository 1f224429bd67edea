"""A first load of a whole list into PostgreSQL, beside a bare COPY of the same rows; and its memory.

The peer gets its rows sealed, in memory, and copies them in binary, in one statement and transaction, into
a table like `list_entry` with the same indexes and no references. The importer gets the file: it hashes it,
parses, seals, looks ids up, writes batches with their place, and keeps what disputes up to date. Both have a
process and a database of their own on one server, one after the other. Hashes are invented.

    python bench/importing.py [--entries 1000000] [--again] [--json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from coverguard.hashlist import Entry, Facts, ListFormat
from coverguard.importing import Importer
from coverguard.local.clock import SystemClock
from coverguard.local.keys import LocalKeys
from coverguard.model import Actor, Algorithm, Category, Channel
from coverguard.policy import ListRule
from coverguard.store import lists
from coverguard.store.engine import Database
from coverguard.store.lists.entries import SEALED, sealing
from coverguard.store.migrate import migrate
from coverguard.testing.servers import Postgres

KEYS = {"lists": b"a benchmark's key, and of no use", "private": b"another one, and as little of use"[:32]}
TYPES = ("text", "text", "bytea", "bytea", "bytea", "text", "text", "bool", "text", "int8", "text", "int8",
         "bool", "bool")  # fmt: skip
COLUMNS = (*SEALED, "list_id", "cap", "changed_seq", "part", "disputed")
EDITOR = Actor(name="bench", roles=frozenset({"list_editor"}), channel=Channel.CLI)


def invented(number: int) -> bytes:
    return hashlib.sha256(b"invented %d" % number).digest()


def write_file(path: Path, entries: int) -> None:
    with path.open("w", encoding="ascii") as file:
        file.write("id,algorithm,digest,category\n")
        for number in range(entries):
            file.write(f"entry-{number:09d},sha256,{invented(number).hex()},child_abuse\n")


def prepared(entries: int) -> Iterator[tuple[object, ...]]:
    seal = sealing(LocalKeys(KEYS), 1)
    facts = Facts(category=Category.CHILD_ABUSE)
    for number in range(entries):
        entry: Entry = (f"entry-{number:09d}", Algorithm.SHA256, invented(number), facts)
        yield (*seal(entry), 1, "hold", 1, False, False)


def copied(url: str, entries: int) -> float:
    """Seconds of the bare COPY."""
    rows = list(prepared(entries))
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute("CREATE TABLE bare (LIKE list_entry INCLUDING ALL)")
        began = time.perf_counter()
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY bare ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)".encode()) as copy,
        ):
            copy.set_types(TYPES)
            for row in rows:
                copy.write_row(row)
        return time.perf_counter() - began


def imported(url: str, path: Path) -> float:
    """Seconds of the import."""
    database, keys = Database(url), LocalKeys(KEYS)
    importer = Importer(database=database, keys=keys, clock=SystemClock())
    began = time.perf_counter()
    importer.load_file("bench", path, list_format=ListFormat.CSV, actor=EDITOR)
    spent = time.perf_counter() - began
    database.close()
    return spent


def ledger(server: Postgres, name: str) -> str:
    url = server.create_database(name)
    database = Database(url)
    migrate(database)
    rule = ListRule(list_id=0, version=0, category=Category.CHILD_ABUSE)
    with database.transaction() as tx:
        now = SystemClock().now()
        lists.create(tx, name="bench", source="invented", rule=rule, actor="bench", note="-", now=now)
    database.close()
    return url


def in_a_process(verb: str, url: str, argument: object) -> tuple[float, float]:
    """Seconds, and MiB at the most."""
    command = [sys.executable, __file__, "--verb", verb, "--url", url, "--argument", str(argument)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    spent, peak = json.loads(done.stdout)
    return spent, peak


def run(entries: int, *, again: bool) -> dict[str, object]:
    found: dict[str, object] = {"entries": entries}
    with tempfile.TemporaryDirectory() as folder, Postgres() as server:
        small, whole = Path(folder) / "small.csv", Path(folder) / "whole.csv"
        write_file(small, entries // 10)
        write_file(whole, entries)
        _, few = in_a_process("import", ledger(server, "few"), small)
        bare, _ = in_a_process("copy", ledger(server, "bare"), entries)
        url = ledger(server, "whole")
        load, many = in_a_process("import", url, whole)
        found |= {
            "copy_rows_a_second": round(entries / bare),
            "import_rows_a_second": round(entries / load),
            "ratio": round(bare / load, 3),
            "peak_mib_of_a_tenth": round(few, 1),
            "peak_mib": round(many, 1),
        }
        if again:
            spent, peak = in_a_process("import", url, whole)
            found |= {
                "same_again_rows_a_second": round(entries / spent),
                "same_again_peak_mib": round(peak, 1),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--again", action="store_true", help="load the same file a second time, too")
    parser.add_argument("--json", action="store_true")
    for name in ("--verb", "--url", "--argument"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.verb:
        path = Path(options.argument)
        spent = (
            imported(options.url, path) if options.verb == "import" else copied(options.url, int(path.name))
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([spent, peak]))
        return
    found = run(options.entries, again=options.again)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name.replace('_', ' '):26} {value}")


if __name__ == "__main__":
    main()
