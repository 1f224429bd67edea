"""Audit heads in a bucket that lets nobody change or remove them.

Not on moto: it leaves out the first version behind a listing's marker, and answers 500 to GetObjectRetention.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sqs_place import caller

from coverguard.auditing import Auditor
from coverguard.aws import clients
from coverguard.aws.heads import S3Heads
from coverguard.errors import ConfigurationError, IntegrityFailure, TransientError
from coverguard.local.clock import SystemClock
from coverguard.local.heads import FolderHeads
from coverguard.local.keys import LocalSigner, PublicKeys
from coverguard.model import Micros
from coverguard.ports import HeadArchive, SealedHead
from coverguard.sealing import Sealer
from coverguard.store import audit
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.trail import from_document, signed_bytes, to_document

SIGNER = LocalSigner(b"\x01" * 32)
HOUR = timedelta(hours=1)
SERVERS = ["seaweed", "ministack"]
SERVED = [pytest.param(name, marks=pytest.mark.servers) for name in SERVERS]


def head(seq: int, *, chain: bytes = b"c" * 32) -> SealedHead:
    at = SystemClock().now()
    unsigned = SealedHead(seq=seq, chain=chain, sealed_at=at, key_id=SIGNER.key_id, signature=b"")
    return replace(unsigned, signature=SIGNER.sign(signed_bytes(unsigned)))


class Bucket:
    """A bucket with Object Lock, and what its owner can do to it."""

    def __init__(self, server: Any) -> None:
        self.client = clients.s3(**caller(server.endpoint))
        self.name = f"heads-{secrets.token_hex(6)}"
        self.client.create_bucket(Bucket=self.name, ObjectLockEnabledForBucket=True)

    def archive(self) -> S3Heads:
        return S3Heads(self.client, bucket=self.name, retention=HOUR, mode="GOVERNANCE")

    def versions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.list_object_versions(Bucket=self.name).get("Versions", [])
        return found


@pytest.fixture(params=SERVED)
def bucket(request) -> Bucket:
    return Bucket(request.getfixturevalue(request.param))


@pytest.fixture(params=["folder", *SERVED])
def archive(request, tmp_path) -> HeadArchive:
    if request.param == "folder":
        return FolderHeads(tmp_path / "heads")
    return Bucket(request.getfixturevalue(request.param)).archive()


# ── every archive ──────────────────────────────────────────────────────────────────────────────────────────


def test_heads_come_back_in_order(archive):
    put = [head(seq) for seq in (9, 10, 100, 2)]
    for one in put:
        archive.put(one)
    assert [one.head for one in archive.walk(after=0)] == sorted(put, key=lambda one: one.seq)
    assert [one.head.seq for one in archive.walk(after=9)] == [10, 100]
    assert list(archive.walk(after=100)) == []


def test_an_empty_archive_has_nothing(archive):
    assert list(archive.walk(after=0)) == []


def test_putting_twice_is_putting_once(archive):
    one = head(5)
    archive.put(one)
    archive.put(one)
    assert [found.head for found in archive.walk(after=0)] == [one]


def test_another_head_does_not_take_the_place(archive):
    one = head(5)
    archive.put(one)
    with pytest.raises(IntegrityFailure):
        archive.put(head(5, chain=b"d" * 32))
    assert [found.head for found in archive.walk(after=0)] == [one]


def test_a_document_says_the_whole_head():
    one = head(7)
    assert from_document(to_document(one)) == one
    assert from_document(to_document(one).replace(b"head/1", b"head/2")) is None


# ── the lock ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_archived_head_cannot_be_removed(bucket):
    bucket.archive().check()
    bucket.archive().put(head(5))
    (version,) = bucket.versions()
    with pytest.raises(ClientError) as refused:
        bucket.client.delete_object(Bucket=bucket.name, Key=version["Key"], VersionId=version["VersionId"])
    assert clients.status_of(refused.value) == 403
    kept = bucket.client.get_object_retention(Bucket=bucket.name, Key=version["Key"])["Retention"]
    assert kept["Mode"] == "GOVERNANCE"


def test_what_is_put_on_top_hides_nothing(bucket):
    """Who may write to the bucket can hide an object from a plain listing; not from this one."""
    archive, one, forged = bucket.archive(), head(5), head(5, chain=b"d" * 32)
    archive.put(one)
    archive.put(head(6))
    key = min(version["Key"] for version in bucket.versions())
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=to_document(forged))
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"no head")
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    found = list(archive.walk(after=0))
    assert [one.head and one.head.chain[:1] for one in found] == [b"c", b"d", None, b"c"]
    assert [one.head.seq for one in archive.walk(after=5)] == [6]


def test_a_true_head_in_a_false_place_is_none(bucket):
    archive = bucket.archive()
    archive.put(head(5))
    key = bucket.versions()[0]["Key"]
    copied = bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
    bucket.client.put_object(Bucket=bucket.name, Key=key.replace("5.json", "6.json"), Body=copied)
    assert [one.head and one.head.seq for one in archive.walk(after=0)] == [5, None]


@pytest.mark.servers
def test_pages_of_a_listing_are_put_together(ministack, monkeypatch):
    """Pages that end between the versions of one head."""
    bucket = Bucket(ministack)
    archive = bucket.archive()
    for seq in range(1, 8):
        archive.put(head(seq))
    key = max(version["Key"] for version in bucket.versions())
    for _ in range(2):
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"no head")
    events = bucket.client.meta.events
    events.register(
        "provide-client-params.s3.ListObjectVersions", lambda params, **_: params | {"MaxKeys": 2}
    )
    assert [one.head.seq if one.head else None for one in archive.walk(after=1)] == [
        2,
        3,
        4,
        5,
        6,
        7,
        None,
        None,
    ]


@pytest.mark.servers
def test_a_bucket_without_a_lock_is_refused_at_the_start(ministack):
    client = clients.s3(**caller(ministack.endpoint))
    name = f"plain-{secrets.token_hex(6)}"
    client.create_bucket(Bucket=name)
    with pytest.raises(ConfigurationError, match="no Object Lock"):
        S3Heads(client, bucket=name).check()
    with pytest.raises(ConfigurationError):
        S3Heads(client, bucket=f"{name}-none").check()
    with pytest.raises(ConfigurationError):
        S3Heads(client, bucket=name, mode="NONE")


@pytest.mark.servers
def test_a_server_that_is_not_there_is_tried_again(ministack):
    far = clients.s3(**{**caller(ministack.endpoint), "endpoint_url": "http://127.0.0.1:9"})
    archive = S3Heads(far, bucket="heads")
    with pytest.raises(TransientError):
        archive.put(head(1))
    with pytest.raises(TransientError):
        list(archive.walk(after=0))


def test_the_whole_trail_in_a_locked_bucket(bucket, tmp_path):
    """Sealed, archived, checked, cut, and found out."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False)
    migrate(database)
    clock, archive = SystemClock(), bucket.archive()
    sealer = Sealer(database=database, signer=SIGNER, archive=archive, clock=clock, archive_links=1)
    for number in range(3):
        with database.transaction() as tx:
            audit.write(tx, now=clock.now(), verb="decide", subject="item-1", facts={"matches": number})
        sealer.seal()
        sealer.archive_heads()
    keys = PublicKeys([SIGNER.public_pem()])
    auditor = Auditor(database=database, archive=archive, signatures=keys, clock=clock)
    assert (auditor.run().archived, auditor.run().flaws) == (3, [])
    with database.transaction() as tx:
        tx.exec_driver_sql("DROP TRIGGER audit_no_delete")
        for table, column in (("audit", "id"), ("audit_chain", "seq"), ("audit_head", "seq")):
            tx.exec_driver_sql(f"DELETE FROM {table} WHERE {column} > 1")
    (flaw,) = auditor.run(whole=False).flaws
    assert (flaw.kind.value, flaw.seq) == ("cut_tail", 2)
    database.close()


def test_a_retention_is_counted_from_the_sealing(bucket):
    one = replace(head(5), sealed_at=Micros(SystemClock().now() + 60_000_000))
    bucket.archive().put(one)
    until = bucket.client.get_object_retention(Bucket=bucket.name, Key=bucket.versions()[0]["Key"])[
        "Retention"
    ]
    assert abs(until["RetainUntilDate"].timestamp() - (one.sealed_at / 1e6 + HOUR.total_seconds())) < 2
