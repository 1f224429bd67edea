"""What a deployment's folder says, in words that two runs can share: random references become natural names.

`dump` is compared between a run with a fault and a run without. What is left out of it, and why, is in
`LEFT_OUT`, `MOMENT` and `reworded`; everything else of every table has to be the same.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from coverguard.local.folder import FolderStore
from coverguard.local.keypaths import keys_under
from coverguard.local.stack import StoredVersion
from coverguard.store.schema import metadata

LEFT_OUT: Mapping[str, Mapping[str, str]] = {
    "*": {
        "id": "counted by the database; rows are told apart by their natural names",
        "ref": "random; wherever one is used it is compared as the name of what it refers to",
    },
    "screening": {"attempts": "counts looks that failed, and a fault may cost one more"},
    "quarantine": {"probes": "counts questions to the public URL, and a fault may cost one more"},
    "alarm": {"count": "counts how often it was raised again"},
    "audit": {"digest": "of the row, its time among it"},
    "audit_chain": {"audit_id": "counted by the database", "chain": "of digests, each with a time in it"},
    "list_entry": {"digest_sealed": "random nonce; row_mac says whether the digest is the same"},
    "suppression": {"digest_sealed": "random nonce; digest_mac says whether the digest is the same"},
    "verdict": {"reason_sealed": "random nonce"},
    "statement": {"text_sealed": "random nonce"},
    "thread_entry": {"text_sealed": "random nonce", "entry_id": "has the time of a line of ours in it"},
    "thread_mail": {"body_sealed": "random nonce"},
    "takedown": {"cursor": "covers that a dark account announced are claimed then, and not listed again"},
    "queue_message": {
        "receipt": "random",
        "attempts": "counts leases, and a death costs one",
    },
}
LEFT_OUT_TABLES = {"audit_head": "signed whenever we came to it; what it is worth, the auditor says"}
LEFT_OUT_FACTS = {"gone": "audit of a hold: whether the first question saw it gone; asked again until it is"}
RANDOM_HALF = re.compile(r"(?<=[0-9a-f]{8})-[0-9a-f]{16}")  # of version ids; the half that counts is compared
ENDED = "gone_at of a quarantine that ended: asked for until it is gone, or until it is put back"
MOMENT = re.compile(r"(_at|_until|^at)$")  # compared as whether there is one: the time is when we came to it
CLOSED_ALARMS = "an alarm that rang and was quieted is history of the fault, not of the covers"

REF = re.compile(r"(?:cover|case|item|hold|verdict|takedown|report)-[0-9a-f]{16}")
ROW_IN_KEY = re.compile(r"(:match:\w+:|:not_screened:)\d+")  # idempotency keys count rows
TOLD_AT = re.compile(r'"occurred_at":"[^"]*",?')  # in bodies: a moment, too

Row = dict[str, object]


def dump(home: Path) -> dict[str, list[str]]:
    """Return every table's and every bucket's lines, sorted."""
    with closing(sqlite3.connect(f"file:{home / 'ledger.db'}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        tables = {
            name.rpartition(".")[2]: [dict(row) for row in connection.execute(f"SELECT * FROM {table.name}")]
            for name, table in metadata.tables.items()
        }
    names = Names(tables)
    said = {
        table: sorted(names.line(table, row) for row in rows)
        for table, rows in tables.items()
        if table not in LEFT_OUT_TABLES
    }
    return said | objects(home, names)


class Names:
    """Natural names of rows and references."""

    def __init__(self, tables: Mapping[str, list[Row]]) -> None:
        self.of: dict[tuple[str, object], str] = {}
        self.refs: dict[str, str] = {}
        self.open_alarms = {row["id"] for row in tables["alarm"] if row["closed_at"] is None}
        name = self._namer(tables)
        name("account", "{platform_id}")
        name("cover_version", "{surface}/{cover_id}/{version}")
        name("hash_list", "{name}")
        name("screening", "{cover_version_id}/{origin}/{origin_id}")
        name("case_file", "case/{account_id}")
        name("case_item", "{case_id}/{cover_version_id}")
        name("verdict", "{item_id}/{kind}/{outcome}/{actor}")
        name("list_entry", "{list_id}/{source_entry_id}/{algorithm}")
        name("fingerprint", "{cover_version_id}")
        name("takedown", "takedown/{account_id}")
        name("report", "report/{event_id}")
        name("quarantine", "{cover_version_id}:{bucket}/{key}")

    def _namer(self, tables):
        def name(table, form):
            seen = Counter()
            for row in sorted(tables[table], key=lambda row: row["id"]):
                named = form.format(**{column: self.value(table, column, row) for column in row})
                seen[named] += 1
                named += f"#{seen[named]}" if seen[named] > 1 else ""
                self.of[table, row["id"]] = named
                if "ref" in row:
                    self.refs[row["ref"]] = named

        return name

    def value(self, table: str, column: str, row: Row) -> object:
        value = row[column]
        target = TARGETS.get((table, column))
        if target is not None:
            return self.of.get((target, value))
        if isinstance(value, bytes):
            return value.hex()
        if table == "quarantine" and column == "gone_at" and row["ended_at"] is not None:
            return ENDED
        return self.reworded(value) if isinstance(value, str) else value

    def reworded(self, text: str) -> str:
        """References as names; ids of rows in idempotency keys, and moments in bodies, left out."""
        named = REF.sub(lambda found: self.refs.get(found[0], "?"), text)
        named = RANDOM_HALF.sub("", named)
        return ROW_IN_KEY.sub(r"\1", TOLD_AT.sub("", named))

    def line(self, table: str, row: Row) -> str:
        if table == "alarm" and row["id"] not in self.open_alarms:
            return CLOSED_ALARMS
        skipped = {*LEFT_OUT["*"], *LEFT_OUT.get(table, {})}
        said = {}
        for column in row:
            if column in skipped:
                continue
            value = self.value(table, column, row)
            if column == "facts":
                facts = json.loads(str(value))
                value = {key: fact for key, fact in facts.items() if key not in LEFT_OUT_FACTS}
            said[column] = value is not None if MOMENT.search(column) else value
        return json.dumps(said, sort_keys=True)


TARGETS = {
    (name.rpartition(".")[2], column.name): key.column.table.name
    for name, table in metadata.tables.items()
    for column in table.columns
    for key in column.foreign_keys
    if key.column.name == "id"
}


def objects(home: Path, names: Names) -> dict[str, list[str]]:
    """Return what lies in each bucket: every version, marker and vault copy, and what the public gets."""
    store = FolderStore(
        root=home / "objects", buckets=frozenset({"intake", "public"}), vault="vault", durable=False
    )
    return {
        f"objects in {bucket}": [
            json.dumps([names.reworded(key), *entries(store, bucket, key)])
            for key in keys_under(home / "objects" / bucket, "")
        ]
        for bucket in ("intake", "public")
    } | {
        "objects in vault": sorted(
            json.dumps([names.reworded(key), *entries(store, "vault", key)])
            for key in keys_under(home / "objects" / "vault", "")
        )
    }


def entries(store: FolderStore, bucket: str, key: str) -> Iterator[object]:
    for entry in store.versions(bucket, key):
        if isinstance(entry, StoredVersion):
            yield [
                entry.sha256.hex(),
                entry.content_type,
                dict(entry.metadata),
                dict(entry.tags),
                entry.legal_hold,
            ]
        else:
            yield ["hidden by", sorted("us" for _ in entry.tokens)]
    current = store.current(bucket, key)
    yield current.sha256.hex() if current else None


def difference(clean: dict[str, list[str]], faulty: dict[str, list[str]]) -> list[str]:
    """Return the lines that only one of two dumps has; closed alarms apart."""
    found = []
    for part in sorted(clean.keys() | faulty.keys()):
        one, other = (Counter(dump.get(part, ())) for dump in (clean, faulty))
        one.pop(CLOSED_ALARMS, None)
        other.pop(CLOSED_ALARMS, None)
        found += [f"{part}: only without the fault: {line}" for line in (one - other).elements()]
        found += [f"{part}: only with the fault: {line}" for line in (other - one).elements()]
    return found


def outbox_faults(home: Path) -> list[str]:
    """Return what is wrong with the outbox by itself: order, gaps, repeats, and what was not sent."""
    with closing(sqlite3.connect(f"file:{home / 'ledger.db'}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT topic, idempotency_key, body, sent_at FROM outbox ORDER BY id"
        ).fetchall()
        final = dict(connection.execute("SELECT ref, verdict_seq FROM cover_version"))
    faults = [f"not sent: {key}" for _, key, _, sent_at in rows if sent_at is None]
    faults += [f"twice: {key}" for key, times in Counter(key for _, key, _, _ in rows).items() if times > 1]
    told = defaultdict(list)
    for topic, key, body, _ in rows:
        event = json.loads(body)
        if event["event_id"] != key:
            faults.append(f"another key in the body: {key}")
        if topic == "pipeline":
            told[key.rpartition(":")[0]].append(event["verdict_seq"])
    for ref, last in final.items():
        if told[ref] != list(range(1, last + 1)):
            faults.append(f"verdict_seq of {ref}: {told[ref]}, and the cover says {last}")
    return faults
