"""What the S3 store promises beyond the contract: deaths between calls, cuts, locks, rights."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

sys.path.append(str(Path(__file__).parents[1] / "contract"))
pytest.register_assert_rewrite("object_store", "s3_platform")

from object_store import BLUE, RED, Bench  # noqa: E402 - after the rewrite is registered
from s3_platform import S3Place, client_of  # noqa: E402 - as above

from coverguard.aws import clients  # noqa: E402 - as above
from coverguard.aws.s3_notes import PREFIX  # noqa: E402 - as above
from coverguard.errors import (  # noqa: E402 - as above
    ConfigurationError,
    ContentRejected,
    IntegrityFailure,
    ObjectMissing,
    Refused,
    TransientError,
)
from coverguard.ports import Presence  # noqa: E402 - as above
from coverguard.testing.faults import Death  # noqa: E402 - as above
from coverguard.testing.proxy import Fault, Kind, Proxy  # noqa: E402 - as above

pytestmark = pytest.mark.servers

KEY = "c/1.png"


@pytest.fixture(scope="module")
def ministack_place(ministack) -> S3Place:
    return S3Place(client_of(ministack.endpoint))


@pytest.fixture(scope="module")
def seaweed_place(seaweed) -> S3Place:
    return S3Place(client_of(seaweed.endpoint))


@pytest.fixture
def place(ministack_place) -> S3Place:
    return ministack_place


@pytest.fixture
def bench(place) -> Bench:
    return place.emptied()


@pytest.fixture
def locked(seaweed_place) -> Bench:
    return seaweed_place.emptied()


# ── deaths ─────────────────────────────────────────────────────────────────────────────────────────────────


class Mortal:
    """A client that dies before its n-th call from now; 0 is never."""

    def __init__(self, endpoint) -> None:
        self.client = client_of(endpoint)
        self.left = 0
        self.client.meta.events.register("before-call.s3", self._count)

    def _count(self, **_) -> None:
        self.left -= 1
        if self.left == 0:
            raise Death


@pytest.fixture(scope="module")
def mortal(ministack) -> Mortal:
    return Mortal(ministack.endpoint)


def each_call(mortal: Mortal, prepare, act):
    """Prepare anew, let `act` die before each of its calls in turn, and yield what was prepared each time.

    To die after a call, and before the next, is the same.
    """
    for number in itertools.count(1):
        prepared = prepare()
        mortal.left = number
        try:
            act(prepared)
        except Death:
            yield prepared
        else:
            mortal.left = 0
            assert number > 3  # it made calls, and died at each
            return


def test_a_block_that_died_anywhere_is_ended_by_the_next(place, bench, mortal) -> None:
    dying = place.store(mortal.client)
    keys = (f"d/{number}" for number in itertools.count())

    def prepare():
        bench.put(BLUE, key := next(keys))
        return bench.put(RED, key)

    for number, ref in enumerate(each_call(mortal, prepare, lambda ref: dying.block(ref, token="t1"))):
        token = "t1" if number % 2 else "t2"  # by the same road, or by somebody else's
        assert bench.store.block(ref, token=token) is Presence.BLOCKED
        assert bench.data(ref.key) is None
        bench.store.unblock(ref, token="t1")
        assert bench.store.unblock(ref, token="t2") is Presence.CURRENT
        assert bench.data(ref.key) == RED


def test_a_release_that_died_anywhere_is_ended_by_the_next(place, bench, mortal) -> None:
    dying = place.store(mortal.client)
    keys = (f"d/{number}" for number in itertools.count())

    def prepare():
        bench.put(BLUE, key := next(keys))
        ref = bench.put(RED, key)
        bench.store.block(ref, token="t1")
        return ref

    for number, ref in enumerate(each_call(mortal, prepare, lambda ref: dying.unblock(ref, token="t1"))):
        if number % 2:  # somebody wants it hidden again, before anybody ends the release
            assert bench.store.block(ref, token="t2") is Presence.BLOCKED
            assert bench.data(ref.key) is None
            assert bench.store.unblock(ref, token="t1") is Presence.BLOCKED
            assert bench.data(ref.key) is None
        bench.store.unblock(ref, token="t2")
        assert bench.store.unblock(ref, token="t1") is Presence.CURRENT
        assert bench.data(ref.key) == RED


def test_a_copy_that_died_anywhere_is_ended_by_the_next(place, bench, mortal) -> None:
    dying = place.store(mortal.client)
    ref = bench.put(RED)
    names = (f"q/{number}" for number in itertools.count())
    for name in each_call(mortal, lambda: next(names), lambda name: dying.keep(ref, name=name)):
        kept = bench.store.keep(ref, name=name)
        assert bench.platform.legal_hold(kept.ref)
        assert bench.store.keep(ref, name=name) == kept


def test_a_return_that_died_anywhere_is_ended_by_the_next(place, bench, mortal) -> None:
    dying = place.store(mortal.client)
    bench.store.keep(bench.put(RED), name="q/1")
    lost = (bench.nowhere(f"d/{number}") for number in itertools.count())
    for ref in each_call(mortal, lambda: next(lost), lambda ref: dying.restore(ref, name="q/1")):
        there = bench.store.restore(ref, name="q/1")
        assert bench.data(ref.key) == RED
        assert bench.store.presence(there) is Presence.CURRENT
        assert bench.walked(ref.key) == [there]


def test_a_marker_without_a_note_is_not_ours(place, bench) -> None:
    """What a platform deletes while an intent of nobody's is open, and long after, is the platform's."""
    ref = bench.put(RED)
    bench.store.block(ref, token="t1")
    bench.store.unblock(ref, token="t1")
    bench.platform.delete(ref.bucket, ref.key)
    assert bench.store.presence(ref) is Presence.ABSENT
    assert bench.store.block(ref, token="t1") is Presence.ABSENT
    assert bench.store.unblock(ref, token="t1") is Presence.ABSENT
    assert bench.data() is None


# ── somebody comes between ─────────────────────────────────────────────────────────────────────────────────


class Between:
    """A client at whose next call of one kind something happens first; it may be made careless."""

    def __init__(self, client) -> None:
        self.client = client

    def before(self, operation: str, act, *, careless: bool = False):
        def happen(params, **_):
            self.client.meta.events.unregister(f"before-call.s3.{operation}", happen)
            act()
            if careless:
                params["headers"].pop("If-Match", None)
                params["headers"].pop("If-None-Match", None)

        self.client.meta.events.register(f"before-call.s3.{operation}", happen)


@pytest.fixture(scope="module")
def between(ministack) -> Between:
    return Between(client_of(ministack.endpoint))


@pytest.mark.parametrize("careless", [False, True])
def test_a_newer_version_in_between_is_not_hidden(place, bench, between, careless) -> None:
    ref = bench.put(RED)
    between.before("DeleteObject", lambda: bench.put(BLUE), careless=careless)
    assert place.store(between.client).block(ref, token="t1") is Presence.REPLACED
    assert bench.data() == BLUE
    bench.platform.delete(ref.bucket, ref.key)
    assert bench.store.presence(ref) is Presence.ABSENT  # nothing of ours is left that could take it for ours


@pytest.mark.parametrize("careless", [False, True])
def test_the_same_bytes_in_between_are_hidden_as_well(place, bench, between, careless) -> None:
    ref = bench.put(RED)
    between.before("DeleteObject", lambda: bench.put(RED), careless=careless)
    assert place.store(between.client).block(ref, token="t1") is Presence.BLOCKED
    assert bench.data() is None
    assert bench.store.unblock(ref, token="t1") is Presence.CURRENT


def test_a_deletion_in_between_stays_the_platforms(place, bench, between) -> None:
    ref = bench.put(RED)
    between.before("DeleteObject", lambda: bench.platform.delete(ref.bucket, ref.key))
    assert place.store(between.client).block(ref, token="t1") is Presence.ABSENT
    assert bench.store.unblock(ref, token="t1") is Presence.ABSENT
    assert bench.data() is None


def test_nobody_joins_a_block_that_is_being_lifted(place, bench, between) -> None:
    ref = bench.put(RED)
    bench.store.block(ref, token="t1")
    between.before("DeleteObject", lambda: bench.store.block(ref, token="t2"))
    assert place.store(between.client).unblock(ref, token="t1") is Presence.BLOCKED
    assert bench.data() is None
    assert bench.store.unblock(ref, token="t2") is Presence.CURRENT


@pytest.mark.parametrize("careless", [False, True])
def test_a_block_that_was_released_before_its_marker_came_hides_nothing(
    place, bench, between, careless
) -> None:
    ref = bench.put(RED)
    between.before("DeleteObject", lambda: bench.store.unblock(ref, token="t1"), careless=careless)
    place.store(between.client).block(ref, token="t1")
    assert bench.store.presence(ref) is Presence.CURRENT
    assert bench.data() == RED


@pytest.mark.parametrize("come", ["version", "deletion"])
def test_nothing_is_put_back_over_what_came_in_between(place, bench, between, come) -> None:
    bench.store.keep(bench.put(RED, "c/0.png"), name="q/1")
    between.before(
        "PutObject",
        (lambda: bench.put(BLUE))
        if come == "version"
        else (lambda: bench.platform.delete(bench.bucket, KEY)),
        careless=True,
    )
    with pytest.raises(Refused):
        place.store(between.client).restore(bench.nowhere(), name="q/1")
    assert bench.data() == (BLUE if come == "version" else None)


# ── versions that are gone, or are not what they were ──────────────────────────────────────────────────────


def expire(bench: Bench, ref) -> None:
    bench.platform.client.delete_object(Bucket=ref.bucket, Key=ref.key, VersionId=ref.version_id)


def test_an_expired_version_comes_back_from_the_vault_and_nothing_older_does(bench) -> None:
    bench.put(BLUE)
    ref = bench.put(RED, tagged=False)
    bench.store.block(ref, token="t1")
    bench.store.block(ref, token="t2")
    bench.store.keep(ref, name="q/1")
    expire(bench, ref)
    for token in ("t1", "t2"):
        with pytest.raises(Refused):
            bench.store.restore(ref, name="q/1")
        for _ in range(2):
            with pytest.raises(ObjectMissing):
                bench.store.unblock(ref, token=token)
        assert bench.data() is None
    there = bench.store.restore(ref, name="q/1")
    assert bench.data() == RED
    assert bench.store.presence(there) is Presence.CURRENT


def test_a_release_of_an_expired_version_frees_the_same_bytes_in_its_place(bench) -> None:
    ref = bench.put(RED)
    bench.put(RED)
    bench.store.block(ref, token="t1")
    expire(bench, ref)
    assert bench.store.unblock(ref, token="t1") is Presence.CURRENT
    assert bench.data() == RED


def test_a_release_shows_nothing_older_when_the_hidden_version_is_gone(bench) -> None:
    ref = bench.put(RED)
    bench.put(BLUE)
    top = bench.put(RED)
    bench.store.block(ref, token="t1")
    expire(bench, top)
    assert bench.store.unblock(ref, token="t1") is Presence.BLOCKED
    assert bench.data() is None


def multipart(bench: Bench, data: bytes):
    client, named = bench.platform.client, {"Bucket": bench.bucket, "Key": KEY}
    upload = named | {"UploadId": client.create_multipart_upload(**named)["UploadId"]}
    part = client.upload_part(**upload, PartNumber=1, Body=data)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    done = client.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert "-1" in done["ETag"]
    return done["VersionId"]


def test_the_same_bytes_under_another_etag_are_the_same(bench) -> None:
    ref = bench.put(RED)
    multipart(bench, RED)
    assert bench.store.presence(ref) is Presence.CURRENT
    assert bench.store.block(ref, token="t1") is Presence.BLOCKED
    assert bench.data() is None
    assert bench.store.unblock(ref, token="t1") is Presence.CURRENT


def test_other_bytes_of_the_same_size_are_others(bench) -> None:
    ref = bench.put(RED)
    bench.put(b"?" * len(RED))
    assert bench.store.block(ref, token="t1") is Presence.REPLACED


def note_of(bench: Bench) -> dict:
    (entry,) = bench.platform.client.list_objects_v2(Bucket=bench.vault, Prefix=PREFIX)["Contents"]
    return {"Bucket": bench.vault, "Key": entry["Key"]}


@pytest.mark.parametrize("change", [(b'"size": 880', b'"size": 881'), (b'"etag": "', b'"etag": "0')])
def test_a_version_that_is_not_the_one_hidden_stays_so(bench, change) -> None:
    assert len(RED) == 880
    ref = bench.put(RED)
    bench.store.block(ref, token="t1")
    client, note = bench.platform.client, note_of(bench)
    document = client.get_object(**note)["Body"].read()
    assert change[0] in document
    client.put_object(**note, Body=document.replace(*change))
    with pytest.raises(IntegrityFailure):
        bench.store.unblock(ref, token="t1")
    assert bench.data() is None


@pytest.mark.parametrize("document", [b"", b"[]", b'{"format": 2}', b'{"format": 1, "blocks": [{}]}'])
def test_a_damaged_note_changes_nothing(bench, document) -> None:
    ref = bench.put(RED)
    bench.store.block(ref, token="t1")
    bench.platform.client.put_object(**note_of(bench), Body=document)
    for verb in (bench.store.unblock, bench.store.block):
        with pytest.raises(IntegrityFailure):
            verb(ref, token="t1")
    assert bench.data() is None


def test_notes_do_not_name_the_object(bench) -> None:
    ref = bench.put(RED)
    bench.store.block(ref, token="t1")
    note = note_of(bench)
    document = bench.platform.client.get_object(**note)["Body"].read().decode()
    assert KEY not in document + note["Key"]


# ── the wire ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def wire(seaweed, locked):
    with Proxy(target=seaweed.port) as proxy:
        yield proxy


def test_a_body_that_is_cut_is_tried_again(wire, seaweed, seaweed_place, locked) -> None:
    ref = locked.put(b"0123456789, generated" * 50_000)
    store = seaweed_place.store(client_of(seaweed.endpoint, endpoint_url=wire.url))
    with wire.during(Fault(kind=Kind.CUT, after=100_000)):
        with pytest.raises(TransientError):
            store.read(ref, limit=10_000_000)
        with pytest.raises(TransientError):
            store.keep(ref, name="q/1")
    assert wire.befell[Kind.CUT]
    assert store.keep(ref, name="q/1").size == 1_050_000
    with wire.during(Fault(kind=Kind.UNWELL)):
        for ask in (
            lambda: store.describe(ref),
            lambda: store.block(ref, token="t1"),
            lambda: list(store.walk(ref.bucket, prefix="")),
        ):
            with pytest.raises(TransientError):
                ask()
    assert store.presence(ref) is Presence.CURRENT


def test_no_more_is_read_than_the_limit(wire, seaweed, seaweed_place, locked) -> None:
    ref = locked.put(b"0123456789, generated" * 500_000)
    store = seaweed_place.store(client_of(seaweed.endpoint, endpoint_url=wire.url))
    whoever_reads_on = Fault(kind=Kind.CUT, after=9_000_000)
    with wire.during(whoever_reads_on), pytest.raises(ContentRejected):
        store.read(ref, limit=1000)
    assert not wire.befell[Kind.CUT]


def test_bytes_that_differ_from_their_checksum_are_never_handed_out(bench, between, place) -> None:
    ref = bench.put(RED)

    def spoil(parsed, **_):
        between.client.meta.events.unregister("after-call.s3.GetObject", spoil)
        parsed["Body"]._raw_stream = Spoilt(parsed["Body"]._raw_stream)

    between.client.meta.events.register("after-call.s3.GetObject", spoil)
    with pytest.raises(IntegrityFailure):
        place.store(between.client).read(ref, limit=len(RED))


class Spoilt:
    def __init__(self, stream) -> None:
        self._stream = stream

    def read(self, *arguments, **named) -> bytes:
        return self._stream.read(*arguments, **named).replace(b"red", b"rad")

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


# ── rights ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_secret_is_named_and_stops_the_start(seaweed, seaweed_place, locked) -> None:
    stranger = seaweed_place.store(client_of(seaweed.endpoint, aws_secret_access_key="wrong"))
    ref = locked.put(RED)
    with pytest.raises(ConfigurationError, match="SignatureDoesNotMatch"):
        stranger.check()
    with pytest.raises(TransientError, match="SignatureDoesNotMatch") as caught:
        stranger.read(ref, limit=1000)
    assert KEY not in str(caught.value)
    with pytest.raises(TransientError):  # not ObjectMissing: nobody has said that it is not there
        stranger.describe(ref)


def test_who_may_only_read_blocks_nothing_and_says_so(seaweed, seaweed_place, locked) -> None:
    reader = seaweed_place.store(client_of(seaweed.endpoint, **_caller(seaweed.reader)))
    ref = locked.put(RED)
    assert reader.read(ref, limit=1000) == RED
    for act in (lambda: reader.block(ref, token="t1"), lambda: reader.keep(ref, name="q/1")):
        with pytest.raises(TransientError, match="AccessDenied"):
            act()
    assert locked.data() == RED


def _caller(endpoint) -> dict[str, str]:
    return {"aws_access_key_id": endpoint.access_key, "aws_secret_access_key": endpoint.secret_key}


def test_evidence_cannot_be_destroyed(seaweed_place, locked) -> None:
    kept = locked.store.keep(locked.put(RED), name="q/1").ref
    client = locked.platform.client
    named = {"Bucket": kept.bucket, "Key": kept.key, "VersionId": kept.version_id}
    destroy = (
        lambda: client.delete_object(**named),
        lambda: client.delete_object(**named, BypassGovernanceRetention=True),  # the hold knows no bypass
    )
    for act in destroy:
        with pytest.raises(ClientError) as caught:
            act()
        assert clients.code_of(caught.value) == "AccessDenied"
    assert locked.store.read(kept, limit=1000) == RED
    client.put_object_legal_hold(**named, LegalHold={"Status": "OFF"})
    with pytest.raises(ClientError):  # the retention is the second lock
        client.delete_object(**named)
    assert client.get_object_retention(**named)["Retention"]["Mode"] == "GOVERNANCE"
    with pytest.raises(IntegrityFailure):
        locked.store.restore(locked.nowhere("c/9.png"), name="q/1")
    locked.store.keep(locked.put(RED), name="q/1")
    assert locked.platform.legal_hold(kept)


def test_a_delete_marker_over_evidence_hides_nothing_from_us(locked) -> None:
    ref = locked.put(RED)
    kept = locked.store.keep(ref, name="q/1")
    locked.platform.delete(locked.vault, "q/1")
    assert locked.store.keep(ref, name="q/1") == kept


def test_evidence_is_encrypted_with_the_vaults_key(seaweed_place) -> None:
    bench = seaweed_place.emptied(vault_kms_key="alias/evidence")
    ref = bench.put(RED)
    kept = bench.store.keep(ref, name="q/1")
    head = bench.platform.client.head_object(Bucket=bench.vault, Key="q/1", VersionId=kept.ref.version_id)
    assert head["ServerSideEncryption"] == "aws:kms"
    assert bench.store.read(kept.ref, limit=1000) == RED
    assert bench.store.block(ref, token="t1") is Presence.BLOCKED
    assert bench.store.unblock(ref, token="t1") is Presence.CURRENT


def test_evidence_and_notes_do_not_share_names(bench) -> None:
    ref = bench.put(RED)
    for name in ("", f"{PREFIX}x"):
        with pytest.raises(Refused):
            bench.store.keep(ref, name=name)
        with pytest.raises(ObjectMissing):
            bench.store.restore(ref, name=name)


# ── the start ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_fit_store_starts(place, locked) -> None:
    place.store().check()
    locked.store.check()


def test_buckets_without_versions_or_lock_stop_the_start(place, bench) -> None:
    client = place.client
    client.put_bucket_versioning(Bucket=bench.other_bucket, VersioningConfiguration={"Status": "Suspended"})
    with pytest.raises(ConfigurationError, match="versions"):
        bench.store.check()
    client.put_bucket_versioning(Bucket=bench.other_bucket, VersioningConfiguration={"Status": "Enabled"})
    unlocked = type(bench.store)(
        client, buckets=frozenset({bench.bucket}), vault=bench.other_bucket, clock=None
    )
    with pytest.raises(ConfigurationError, match="Object Lock"):
        unlocked.check()
    missing = type(bench.store)(client, buckets=frozenset({"no-such-bucket"}), vault=bench.vault, clock=None)
    with pytest.raises(ConfigurationError):
        missing.check()
