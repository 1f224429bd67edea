"""The takedown of an account with thousands of covers on S3 and PostgreSQL, and a ratio to a bare loop.

Real servers on loopback (S3: SeaweedFS, PostgreSQL with fsync, a simulated catalogue over HTTP), the real
driver. First one account with one cover is taken down while every call to S3 and every stranger's request is
written down. The peer makes exactly these calls again for each of many covers of the same sizes, one cover
after the other in one boto3 loop, and nothing else: no ledger, no intent, no catalogue, no retry, no second
look. Ours takes an account down, from the request to verified gone, with one thread and with several. Each
run counts its calls, so that all can be seen to make the same ones. The peer runs half before and half after
ours, because machines are noisy. Everything shares the machine's cores, the servers too. Read the ratio.

    python bench/takedown.py [--covers 1000] [--peer-covers 250] [--threads 1,4] [--level hold] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from tqdm import tqdm

from coverguard import bootstrap, preparing
from coverguard.aws import clients
from coverguard.lifecycle import TakedownState
from coverguard.messages import Cover, CoverUploaded, StoredObject, from_micros
from coverguard.model import Mode, ObjectRef, Surface, TakedownCause
from coverguard.ports import Reach
from coverguard.store import covers, takedowns
from coverguard.telemetry import Log
from coverguard.testing.catalogue import TOKEN, CatalogueServer, Holdings
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.servers import Ministack, Postgres, Seaweed
from coverguard.testing.stack import Servers, Stack

SIDES = {"full.jpg": 640, "w300.jpg": 300, "w64.jpg": 64}  # a cover and two renditions
DRIVES = 20  # of one takedown; more, and it does not get there
UPLOADERS = 8
BATCH = 200


@dataclass(frozen=True, kw_only=True)
class Ground:
    """One deployment on the servers, and what is uploaded to it."""

    stack: Stack
    parts: bootstrap.Deployment
    holdings: Holdings
    files: Mapping[str, bytes]
    versions: dict[tuple[str, str], str] = field(default_factory=dict)  # of each bucket and key

    def upload(self, account: str, count: int) -> list[CoverUploaded]:
        """Put covers where everybody sees them; ledger and catalogue have them."""
        with ThreadPoolExecutor(UPLOADERS) as pool:
            events = list(pool.map(lambda number: self._put(account, number), range(count)))
        for start in range(0, count, BATCH):
            with self.parts.database.transaction() as tx:
                now = self.parts.clock.now()
                for event in events[start : start + BATCH]:
                    covers.announce(tx, event, mode=Mode.WATCH, sent_at=now, now=now)
                    self.holdings.put(event)
        return events

    def _put(self, account: str, number: int) -> CoverUploaded:
        cover = Cover(id=f"{account}-{number}", version=1, surface=Surface.PROFILE_IMAGE)
        refs = [self._put_file(cover, name) for name in self.files]
        objects = [StoredObject(bucket=ref.bucket, key=ref.key, version_id=ref.version_id) for ref in refs]
        return CoverUploaded(
            event_id=f"event-{cover.id}", occurred_at=from_micros(self.parts.clock.now()), cover=cover,
            uploader_id=account, owner_id=account, object=objects[0],
        )  # fmt: skip

    def _put_file(self, cover: Cover, name: str) -> ObjectRef:
        key = f"covers/{cover.surface.value}/{cover.id}/{cover.version}/{name}"
        bucket, data = self.parts.settings.public_bucket, self.files[name]
        ref = self.stack.buckets.put(bucket, key, data, content_type="image/jpeg", metadata={"by": "bench"})
        self.versions[bucket, key] = ref.version_id
        return ref


@contextlib.contextmanager
def deployed(servers: Servers, folder: Path) -> Iterator[Ground]:
    holdings = Holdings()
    with CatalogueServer(holdings) as catalogue:
        more = f'catalogue_url = "{catalogue.url}"\nmodes = {{ profile_image = "watch" }}'
        stack = Stack(servers=servers, home=folder / "home", more=more)
        stack.make()
        os.environ.update(stack.environment)
        preparing.prepare(stack.home)
        keys = stack.home / "keys"
        with bootstrap.deployment(stack.home, log=Log(stream=None)) as parts:
            (keys / "catalogue.token").touch(mode=0o600)
            (keys / "catalogue.token").write_text(TOKEN, encoding="ascii")
            files = {
                name: encode(draw(Kind.SCENE, 1, side=side), "JPEG", quality=85)
                for name, side in SIDES.items()
            }
            yield Ground(stack=stack, parts=parts, holdings=holdings, files=files)


# ── what is asked of the outside ───────────────────────────────────────────────────────────────────────────


@dataclass
class Asked:
    """Every call to S3 and every stranger's request of this process, in order; `kept` says whether whole."""

    kept: bool
    counts: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)  # refused by S3, as for what is not there
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def note(self, name: str, parameters: Mapping[str, Any]) -> None:
        with self._guard:
            self.counts[name] += 1
            if self.kept:
                self.calls.append((name, dict(parameters)))


@contextlib.contextmanager
def listening(parts: bootstrap.Deployment, asked: Asked) -> Iterator[bootstrap.Deployment]:
    """Note what is asked, of all clients of S3 in this process; yields the parts with a probe that notes."""
    call = BaseClient._make_api_call  # type: ignore[attr-defined]  # noqa: SLF001 - no hook has the parameters

    def noted(self: Any, name: str, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 - botocore's
        if self.meta.service_model.service_name == "s3":
            asked.note(name, parameters)
        try:
            return call(self, name, parameters)
        except ClientError:
            asked.failed[name] += 1
            raise

    class NotingProbe:
        def ask(self, url: str, *, sha256: bytes) -> Reach:
            asked.note("GET", {"url": url})
            return parts.probe.ask(url, sha256=sha256)

    BaseClient._make_api_call = noted  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    try:
        yield replace(parts, probe=NotingProbe())
    finally:
        BaseClient._make_api_call = call  # type: ignore[attr-defined]  # noqa: SLF001 - as above


# ── ours ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a takedown took."""

    seconds: float
    phases: Mapping[str, float]
    objects: int
    drives: int


def take_down(parts: bootstrap.Deployment, account: str, *, level: Any, threads: int) -> Taken:  # noqa: ANN401
    """Take the account down to verified gone."""
    driver = parts.takedown_driver()
    driver = replace(driver, rules=replace(driver.rules, threads=threads))
    phases: defaultdict[str, float] = defaultdict(float)
    begun = before = time.perf_counter()
    with parts.database.transaction() as tx:
        now = parts.clock.now()
        row = takedowns.request(
            tx, account_id=covers.know_account(tx, account, now=now), cause=TakedownCause.PERSON,
            origin="bench", level=level, actor="bench", role="bench", now=now,
        )  # fmt: skip
    with tqdm(desc="takedown", unit=" covers", disable=not sys.stderr.isatty(), leave=False) as bar:
        for drives in range(1, DRIVES + 1):
            for one in driver.drive(row.id):
                phases[one.phase] += time.perf_counter() - before
                before = time.perf_counter()
                bar.set_postfix_str(one.phase)
                bar.total = one.total
                bar.update(one.done - bar.n)
            with parts.database.reading() as tx:
                ended = takedowns.by_id(tx, row.id)
            if ended.state == TakedownState.VERIFIED_GONE.value:
                spent = {name: round(seconds, 2) for name, seconds in phases.items()}
                whole = time.perf_counter() - begun
                return Taken(seconds=whole, phases=spent, objects=ended.objects, drives=drives)
    raise SystemExit(f"the takedown stays {ended.state}")


# ── the peer ───────────────────────────────────────────────────────────────────────────────────────────────


class Bare:
    """One loop that makes the recorded calls again, each about another cover."""

    def __init__(
        self, ground: Ground, recorded: Sequence[tuple[str, dict[str, Any]]], example: CoverUploaded
    ) -> None:
        self.s3 = clients.s3()
        self.recorded = recorded
        self.example = example
        self.public = example.object.bucket
        self.failed: Counter[str] = Counter()
        # What S3 last said of a place: conditions and versions of the recording are of another one.
        self._versions = ground.versions
        self._etags: dict[tuple[str, str], str] = {}

    def run(self, events: Sequence[CoverUploaded]) -> float:
        """Return the seconds that it took."""
        begun = time.perf_counter()
        for event in tqdm(events, desc="bare loop", disable=not sys.stderr.isatty(), leave=False):
            data = b""
            for name, parameters in self.recorded:
                data = self._again(name, parameters, event, data)
        return time.perf_counter() - begun

    def _again(self, name: str, recorded: Mapping[str, Any], event: CoverUploaded, data: bytes) -> bytes:
        """Make one call; return the bytes last read, which are what is put into the vault."""
        if name == "GET":
            url = recorded["url"].replace(self.example.cover.id, event.cover.id)
            with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(url, timeout=5) as found:
                found.read()
            return data
        given = self._of(recorded, event, data)
        place = (given["Bucket"], given.get("Key", ""))
        try:
            answer = getattr(self.s3, xform_name(name))(**given)
        except ClientError:  # no note there yet, as in the recording
            self.failed[name] += 1
            return data
        if name == "PutObject":
            self._versions[place] = answer["VersionId"]
        self._etags[place] = answer.get("ETag", "")
        return answer["Body"].read() if name == "GetObject" else data

    def _of(self, recorded: Mapping[str, Any], event: CoverUploaded, data: bytes) -> dict[str, Any]:
        """The parameters about this cover: its keys in the public bucket, keys of its own in the vault."""
        given = dict(recorded)
        for name in ("Key", "Prefix"):
            if name in given:
                given[name] = self._named(given["Bucket"], given[name], event)
        place = (given["Bucket"], given.get("Key", ""))
        if "VersionId" in given:
            given["VersionId"] = self._versions[place]
        if "IfMatch" in given:
            given["IfMatch"] = self._etags.get(place, "")
        if "ObjectLockLegalHoldStatus" in given:
            given["Body"] = data
        return given

    def _named(self, bucket: str, key: str, event: CoverUploaded) -> str:
        if bucket == self.public:
            return key.replace(self.example.cover.id, event.cover.id)
        return f"bare/{event.cover.id}/{key}"


# ── all of it ──────────────────────────────────────────────────────────────────────────────────────────────


def measured(ground: Ground, options: argparse.Namespace) -> Mapping[str, Any]:
    """One recording, the peer, ours."""
    once = Asked(kept=True)
    (example,) = ground.upload("account-one", 1)
    with listening(ground.parts, once) as parts:
        take_down(parts, "account-one", level=options.level, threads=1)
    bare = Bare(ground, once.calls, example)
    count = max(2, min(options.peer_covers, options.covers)) // 2 * 2
    events = ground.upload("account-peer", count)
    spent = [bare.run(events[: count // 2])]
    runs = [ours(ground, options, int(one)) for one in options.threads.split(",")]
    spent.append(bare.run(events[count // 2 :]))
    peer = sum(spent) / count
    for run in runs:
        run["time a cover, ratio to the bare loop"] = round(run["seconds"] / options.covers / peer, 2)
    return {
        "covers": options.covers,
        "level": options.level,
        "cpu count": os.cpu_count(),
        "bare loop": {
            "covers": count,
            "covers a second": round(1 / peer, 2),
            "before and after ours": [round(count / 2 / one, 2) for one in spent],
            "calls a cover": dict(sorted(once.counts.items())),
            "of them refused": {name: round(one / count, 2) for name, one in sorted(bare.failed.items())},
        },
        "ours": runs,
    }


def ours(ground: Ground, options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Take an account of its own down."""
    account, count = f"account-{threads}-threads", options.covers
    ground.upload(account, count)
    asked, before = Asked(kept=False), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with listening(ground.parts, asked) as parts:
        taken = take_down(parts, account, level=options.level, threads=threads)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {
        "threads": threads,
        "objects verified gone": taken.objects,
        "seconds": round(taken.seconds, 1),
        "covers a second": round(count / taken.seconds, 2),
        "seconds by phase": taken.phases,
        "drives": taken.drives,
        "peak memory grew by MiB": round(grown),
        "calls a cover": {name: round(one / count, 2) for name, one in sorted(asked.counts.items())},
        "of them refused": {name: round(one / count, 2) for name, one in sorted(asked.failed.items())},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--covers", type=int, default=1000, help="of ours, each with two renditions")
    parser.add_argument("--peer-covers", type=int, default=250, help="that the bare loop does, at most")
    parser.add_argument("--threads", default="1,4", help="of ours, a run each; the bare loop has one")
    parser.add_argument("--level", choices=["hold", "block"], default="hold")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with Ministack() as sqs, Seaweed() as s3, Postgres(durable=True) as postgres, \
            tempfile.TemporaryDirectory() as folder:  # fmt: skip
        servers = Servers(sqs=sqs.endpoint, s3=s3.endpoint, postgres=postgres)
        with deployed(servers, Path(folder)) as ground:
            result = measured(ground, options)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
