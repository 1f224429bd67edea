"""What the ledger and the buckets say of each cover, in words that two runs, and two profiles, can share.

A cover's story after a fault must be the story of its like in a run without one. Left out: references, row
ids and times (whether there is one is told); counts of attempts and of questions, which a fault may raise;
alarms that were closed; and what went before the end: a cover that could not be screened for a while may have
been withheld first, with one `NotScreened` told to the safety topic for it, and looked at again.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError
from sqlalchemy import select

from coverguard.aws import clients
from coverguard.local.keypaths import keys_under
from coverguard.local.stack import StoredVersion
from coverguard.store.schema import metadata

Row = dict[str, Any]
Story = list[str]

SCREENING = ("origin", "decision", "reason", "detail", "low_information", "budget_spent", "told")
QUARANTINE = ("rendition", "state", "level", "generation")
MATCH = ("algorithm", "view", "orientation", "distance", "action", "suppressed", "rule_version")
ITEM = ("state", "consequences", "two_people")


def stories(parts, objects) -> dict[str, Story]:
    """Return each cover's story by the platform's id; `objects` lists what lies where."""
    tables = _Tables(_tables(parts.database))
    lain = _Objects(parts.settings, objects)
    return {
        cover["cover_id"]: sorted(_Teller(tables, lain, cover).tell())
        for cover in tables.rows["cover_version"]
    }


def faults(parts) -> list[str]:
    """Return what no run may ever have: an event twice, a gap, one unsent, two of what must be one."""
    tables = _tables(parts.database)
    told, last = defaultdict(list), {row["ref"]: row["verdict_seq"] for row in tables["cover_version"]}
    found = [f"unsent: {row['idempotency_key']}" for row in tables["outbox"] if row["sent_at"] is None]
    for row in tables["outbox"]:
        if row["topic"] == "pipeline":
            body = json.loads(row["body"])
            told[row["idempotency_key"].rpartition(":")[0]].append((body["verdict_seq"], body["type"]))
    for ref, seq in last.items():
        if [one for one, _ in told[ref]] != list(range(1, seq + 1)):
            found.append(f"verdict_seq of {ref}: {told[ref]}, and the cover says {seq}")
        if any(kind != "cover.withheld" for _, kind in told[ref][:-1]):
            found.append(f"taken back: {ref}: {told[ref]}")
    screened = Counter((row["cover_version_id"], row["origin"]) for row in tables["screening"])
    found += [f"screened twice: {key}" for key, times in screened.items() if times > 1]
    open_cases = Counter(row["account_id"] for row in tables["case_file"] if row["closed_at"] is None)
    found += [f"two cases: account {key}" for key, times in open_cases.items() if times > 1]
    return found


def _tables(database) -> Mapping[str, list[Row]]:
    with database.reading() as tx:
        return {
            name.rpartition(".")[2]: [
                dict(row) for row in tx.execute(select(table).order_by(*table.primary_key.columns)).mappings()
            ]  # in the order of writing: PostgreSQL gives a row that was changed later
            for name, table in metadata.tables.items()
        }


class _Tables:
    """Every row, found by any column."""

    def __init__(self, rows: Mapping[str, list[Row]]) -> None:
        self.rows = rows
        self._by: dict[tuple[str, str], dict[object, list[Row]]] = {}
        for row in rows["outbox"]:  # an event about a cover has a key that begins with its reference
            row["about"] = row["idempotency_key"].partition(":")[0]

    def of(self, table: str, column: str, wanted: object) -> list[Row]:
        if (table, column) not in self._by:
            index = self._by[table, column] = defaultdict(list)
            for row in self.rows[table]:
                index[row[column]].append(row)
        return self._by[table, column].get(wanted, [])


class _Teller:
    """Tells of one cover."""

    def __init__(self, tables: _Tables, lain: _Objects, cover: Row) -> None:
        self.of, self.lain, self.cover = tables.of, lain, cover

    def tell(self) -> Iterator[str]:
        yield f"mode {self.cover['mode']}, deleted {self.cover['deleted_at'] is not None}"
        for row in self.of("screening", "cover_version_id", self.cover["id"]):
            said = {name: row[name] for name in SCREENING}
            done = row["settled_at"] is not None and row["retry_at"] is None
            yield f"answer {_words(said)}, done {done}"
            yield from self._matches(row)
        for row in self.of("fingerprint", "cover_version_id", self.cover["id"]):
            views = self.of("fingerprint_view", "fingerprint_id", row["id"])
            yield f"fingerprint of {sorted(view['name'] for view in views)}"
        for row in self.of("case_item", "cover_version_id", self.cover["id"]):
            yield from self._item(row)
        for row in self.of("quarantine", "cover_version_id", self.cover["id"]):
            yield from self._quarantine(row)
        yield from self._events()
        yield from self._audited(self.cover, "cover")
        yield from self.lain.at(self.cover)

    def _matches(self, screening: Row) -> Iterator[str]:
        for row in self.of("match", "screening_id", screening["id"]):
            yield f"match {_words({name: row[name] for name in MATCH})}"

    def _item(self, item: Row) -> Iterator[str]:
        (case,) = self.of("case_file", "id", item["case_id"])
        yield f"item {_words({name: item[name] for name in ITEM})}, case {case['category']}"
        for row in self.of("obligation", "item_id", item["id"]):
            yield f"owed {row['kind']}, met {row['met_at'] is not None}"
        yield from self._audited(item, "item")

    def _quarantine(self, row: Row) -> Iterator[str]:
        claims = self.of("quarantine_claim", "quarantine_id", row["id"])
        by = sorted("item" if one["item_id"] else "answer" for one in claims if one["dropped_at"] is None)
        facts = {name: row[name] is not None for name in ("blocked_at", "vaulted_at", "sha256", "gone_at")}
        yield f"quarantine {_words({name: row[name] for name in QUARANTINE} | facts)}, claimed by {by}"
        yield from self._audited(row, "quarantine")
        yield f"vault {self.lain.vault(row['ref'])}"

    def _events(self) -> Iterator[str]:
        mine = self.of("outbox", "about", self.cover["ref"])
        pipeline = [row for row in mine if row["topic"] == "pipeline"]
        for row in sorted(pipeline, key=lambda row: row["id"])[-1:]:
            body = json.loads(row["body"])
            named = body["type"] == "cover.withheld" or bool(body["sha256"])  # may be told before it was read
            yield f"told pipeline {body['type']}, its bytes named {named}"
        for row in mine:
            kind = json.loads(row["body"])["type"]
            if row["topic"] == "safety" and kind != "cover.not_screened":
                yield f"told safety {kind}"

    def _audited(self, row: Row, what: str) -> Iterator[str]:
        for one in self.of("audit", "subject", row["ref"]):
            yield f"audit of {what}: {one['verb']}"


class _Objects:
    """What lies in the buckets, by key."""

    def __init__(self, settings, objects) -> None:
        self.settings = settings
        self.found = {
            bucket: objects(bucket)
            for bucket in (settings.intake_bucket, settings.public_bucket, settings.vault_bucket)
        }

    def at(self, cover: Row) -> Iterator[str]:
        own = self.found[cover["bucket"]].get(cover["key"], ["nothing"])
        role = "intake" if cover["bucket"] == self.settings.intake_bucket else "public"
        yield f"{role} {own}"
        if role == "intake":
            place = f"covers/{cover['surface']}/{cover['cover_id']}/{cover['version']}/full.jpg"
            shown = self.found[self.settings.public_bucket].get(place, ["nothing"])
            yield f"published {shown[-1]}"

    def vault(self, ref: str) -> list[str]:
        found = self.found[self.settings.vault_bucket]
        return [entry for key, entries in found.items() if ref in key for entry in entries]


def folder_objects(store, root):
    """What lies in a bucket of the embedded profile: by key its entries, the oldest first."""

    def objects(bucket: str) -> dict[str, list[str]]:
        return {
            key: [
                "held bytes" if isinstance(entry, StoredVersion) and entry.legal_hold
                else "bytes" if isinstance(entry, StoredVersion) else "hidden"
                for entry in store.versions(bucket, key)
            ]
            for key in keys_under(root / bucket, "")
        }  # fmt: skip

    return objects


def s3_objects(client, *, locked: str):
    """The same of a bucket on S3."""

    def objects(bucket: str) -> dict[str, list[str]]:
        found: dict[str, list[tuple[Any, str]]] = defaultdict(list)
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for one in page.get("Versions", ()):
                word = _held(client, bucket, one) if bucket == locked else "bytes"
                found[one["Key"]].append((_age(one), word))
            for one in page.get("DeleteMarkers", ()):
                found[one["Key"]].append((_age(one), "hidden"))
        return {key: [word for _, word in sorted(entries)] for key, entries in found.items()}

    return objects


def _age(version) -> tuple[bool, Any]:
    return version["IsLatest"], version["LastModified"]


def _held(client, bucket: str, version) -> str:
    try:
        said = client.get_object_legal_hold(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    except ClientError as error:
        if clients.code_of(error) != "NoSuchObjectLegalHold":
            raise
        return "bytes"
    return "held bytes" if said["LegalHold"]["Status"] == "ON" else "bytes"


def _words(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True, default=str)
