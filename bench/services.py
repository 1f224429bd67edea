"""The whole road on SQS, S3 and PostgreSQL: covers a second, time to unreachable, and a ratio to a bare loop.

Real servers on loopback (SQS: ministack, S3: SeaweedFS, PostgreSQL with fsync), real worker and keeper
processes. The peer runs in the same run on the same servers: one bare boto3 loop that makes the same calls
to SQS and S3 (receive, read; for a match all of a hold's; delete), fingerprints and compares as we do, and
writes one row and one event. It keeps no promise: no announcement, no intent before the act, no case, no
retry, no second look. Everything shares the machine's cores, the servers too. Read the ratios.

    python bench/services.py [--covers 240] [--workers 1,2,4] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from botocore.endpoint import Endpoint
from botocore.exceptions import ClientError
from sqlalchemy import event
from tqdm import tqdm

from coverguard import bootstrap, imaging
from coverguard.aws import clients
from coverguard.hashlist import ListRow
from coverguard.matching import HammingIndex
from coverguard.messages import CoverUploaded, StoredObject, parse
from coverguard.model import Algorithm, Category, ListAction, Surface
from coverguard.policy import ListRule
from coverguard.store import lists
from coverguard.telemetry import Log
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import Platform
from coverguard.testing.servers import Ministack, Postgres, Seaweed
from coverguard.testing.stack import Servers, Stack
from coverguard.worker import Heartbeat

SIDES = (640, 1000, 1500)
DISTINCT = 24
LISTED_EVERY = 12  # of the distinct pictures: far more than any platform has, so that acting shows
ENTRIES = 20_000
RADIUS = 31
PATIENCE = 600
PHASES = ("read", "fingerprint", "match", "record", "act")


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What every run needs: servers, pictures, a list."""

    servers: Servers
    data: Sequence[bytes]
    listed: Sequence[bytes]
    folder: Path


def pictures() -> list[bytes]:
    """Generated covers in the sizes that platforms see."""
    return [
        encode(draw(Kind.SCENE, seed, side=SIDES[seed % len(SIDES)]), "JPEG", quality=85)
        for seed in range(DISTINCT)
    ]


def digests(data: Sequence[bytes]) -> list[bytes]:
    """The listed pictures' PDQ, and as many random ones as make a list of a plausible size."""
    known = [imaging.fingerprint(one).views[0].signals["pdq"] for one in data[::LISTED_EVERY]]
    return [*known, *(os.urandom(32) for _ in range(ENTRIES - len(known)))]


@contextlib.contextmanager
def deployed(ground: Ground, name: str) -> Iterator[tuple[Stack, bootstrap.Deployment]]:
    """A new deployment on the servers, with the list in it; this process is part of it."""
    stack = Stack(
        servers=ground.servers, home=ground.folder / name, more='modes = { profile_image = "watch" }'
    )
    stack.make()
    os.environ.update(stack.environment)
    bootstrap.prepare(stack.home)
    with bootstrap.deployment(stack.home, log=Log(stream=None)) as parts:
        rule = ListRule(
            list_id=0, version=0, category=Category.OTHER, action=ListAction.HOLD, hold_budget=10**6
        )
        rows = [
            ListRow(source_entry_id=f"e{number}", algorithm=Algorithm.PDQ, digest=one)
            for number, one in enumerate(ground.listed)
        ]
        with parts.database.transaction() as tx:
            now = parts.clock.now()
            made, _ = lists.create(
                tx, name="bench", source="bench", rule=rule, actor="bench", note="-", now=now
            )
            lists.write_entries(tx, parts.keys, list_id=made, rows=rows, now=now)
        yield stack, parts


def upload(ground: Ground, stack: Stack, parts: bootstrap.Deployment, count: int) -> list[str]:
    """Put the covers where strangers see them; return the messages that announce them."""
    platform = Platform(settings=parts.settings, store=stack.buckets, clock=parts.clock)
    return [
        platform.upload(
            ground.data[number % DISTINCT],
            cover_id=f"bench-{number}",
            uploader=f"account-{number % 50}",
            surface=Surface.PROFILE_IMAGE,
        ).body
        for number in range(count)
    ]


# ── the road ───────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def processes(stack: Stack, *, workers: int) -> Iterator[list[Path]]:
    """Workers and a keeper; yields the workers' logs."""
    logs = [stack.home / f"worker-{number}.log" for number in range(workers)]
    verbs = [("worker", log) for log in logs] + [("keeper", stack.home / "keeper.log")]
    running = []
    for verb, log in verbs:
        with log.open("wb") as stream:
            command = [sys.executable, "-m", "coverguard.cli", "--home", str(stack.home), verb]
            running.append(
                subprocess.Popen(
                    command, stdout=stream, stderr=stream, env={**os.environ, **stack.environment}
                )
            )
    try:
        wait_until(lambda: all(b"_started" in log.read_bytes() for _, log in verbs), "processes to start")
        yield logs
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait(60)


def wait_until(done: Any, what: str) -> None:  # noqa: ANN401 - a bench
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.1)


def rows(parts: bootstrap.Deployment, query: str) -> list[tuple[int, ...]]:
    url = parts.settings.database_url.replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def settled(parts: bootstrap.Deployment) -> int:
    return rows(parts, "SELECT count(*) FROM screening WHERE settled_at IS NOT NULL")[0][0]


def throughput(ground: Ground, *, count: int, workers: int) -> Mapping[str, Any]:
    """Covers a second with a queue that is never empty, and where a cover's time goes."""
    with deployed(ground, f"through-{workers}") as (stack, parts):
        bodies = upload(ground, stack, parts, count)
        with processes(stack, workers=workers) as logs:
            begun = parts.clock.now()
            parts.queue("uploads").send(bodies)
            progress = tqdm(total=count, desc=f"{workers} workers", disable=not sys.stderr.isatty())
            while (done := settled(parts)) < count:
                progress.update(done - progress.n)
                time.sleep(0.25)
            progress.close()
        first, last = rows(parts, "SELECT min(decided_at), max(settled_at) FROM screening")[0]
        lines = [line for log in logs for line in canonical(log)]
    assert len(lines) >= count
    seconds = (last - begun) / 1e6
    phases = {
        name: round(statistics.mean(line.get(f"{name}_ms", 0.0) for line in lines), 2) for name in PHASES
    }
    return {
        "workers": workers,
        "covers a second": round(count / seconds, 1),
        "seconds a cover": seconds / count,
        "first decision after ms": round((first - begun) / 1e3),
        "milliseconds a cover": phases,
    }


def latency(ground: Ground, *, count: int, every: float) -> Mapping[str, float]:
    """Milliseconds from the message to verified unreachable, at a pace that one worker can keep."""
    with deployed(ground, "latency") as (stack, parts):
        bodies = upload(ground, stack, parts, count)
        with processes(stack, workers=1):
            queue = parts.queue("uploads")
            queue.send(bodies[:1])
            wait_until(lambda: settled(parts) == 1, "the first cover")
            begun = time.monotonic()
            for number, body in enumerate(bodies[1:], start=1):
                time.sleep(max(0.0, begun + number * every - time.monotonic()))
                queue.send([body])
            wait_until(lambda: settled(parts) == count, "the covers")
            query = "SELECT count(*) FROM quarantine WHERE gone_at IS NULL"
            wait_until(lambda: not rows(parts, query)[0][0], "verified gone")
        found = rows(
            parts,
            "SELECT quarantine.gone_at - cover_version.sent_at FROM quarantine"
            " JOIN cover_version ON cover_version.id = quarantine.cover_version_id",
        )
    taken = sorted(one / 1e3 for (one,) in found)
    return {
        "held": len(taken),
        "p50 ms": round(statistics.median(taken), 1),
        "p99 ms": round(taken[min(len(taken) - 1, int(len(taken) * 0.99))], 1),
    }


def shares(ground: Ground, *, count: int) -> Mapping[str, float]:
    """What part of a cover's time a worker in this process waits for each service and for its own work."""
    spent: defaultdict[str, float] = defaultdict(float)
    with deployed(ground, "shares") as (stack, parts), timed_calls(parts, spent):
        bodies = upload(ground, stack, parts, count)
        parts.queue("uploads").send(bodies)
        worker, stop = parts.worker(), threading.Event()
        with Heartbeat(lease=timedelta(seconds=60), log=parts.log) as heartbeat:
            worker.serve_once(heartbeat, stop)  # loads what is loaded once
            spent.clear()
            begun = time.perf_counter()
            while settled(parts) < count:
                worker.serve_once(heartbeat, stop)
            whole = time.perf_counter() - begun
    named = {name: round(seconds / whole, 2) for name, seconds in sorted(spent.items())}
    return named | {"own work and the rest": round(1 - sum(named.values()), 2)}


@contextlib.contextmanager
def timed_calls(parts: bootstrap.Deployment, spent: defaultdict[str, float]) -> Iterator[None]:
    """Add up the seconds that this process waits for SQL, S3 and SQS."""
    request = Endpoint.make_request

    def timed_request(self: Any, *args: Any) -> Any:  # noqa: ANN401 - botocore's
        begun = time.perf_counter()
        try:
            return request(self, *args)
        finally:
            spent[self._endpoint_prefix] += time.perf_counter() - begun

    def begin(*given: Any) -> None:  # noqa: ANN401 - SQLAlchemy's; the fifth is the execution's context
        given[4].bench_begun = time.perf_counter()

    def end(*given: Any) -> None:  # noqa: ANN401 - the same
        spent["postgresql"] += time.perf_counter() - given[4].bench_begun

    engine = parts.database.engine
    listeners = (("before_cursor_execute", begin), ("after_cursor_execute", end))
    Endpoint.make_request = timed_request  # type: ignore[method-assign, assignment]
    for name, listener in listeners:
        event.listen(engine, name, listener)
    try:
        yield
    finally:
        Endpoint.make_request = request  # type: ignore[method-assign]
        for name, listener in listeners:
            event.remove(engine, name, listener)


def canonical(log: Path) -> list[dict[str, Any]]:
    """The lines of covers that were screened."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if "decision" in line]


# ── the peer ───────────────────────────────────────────────────────────────────────────────────────────────


class Bare:
    """One loop, in this process: does the job and keeps no promise."""

    def __init__(self, ground: Ground, stack: Stack, parts: bootstrap.Deployment) -> None:
        self.s3 = clients.s3()
        self.sqs = clients.sqs()
        self.vault = parts.settings.vault_bucket
        self.urls = parts.settings.places()
        self.queue = stack.queue_urls["uploads"]
        self.events = stack.queue_urls["pipeline"]
        known = np.frombuffer(b"".join(ground.listed), dtype=np.uint8).reshape(-1, 32)
        self.index = HammingIndex.build(known, np.arange(len(known), dtype=np.uint64))
        self.database = psycopg.connect(parts.settings.database_url.replace("+psycopg", ""))
        self.database.execute("CREATE TABLE bare (cover text, hit boolean)")
        self.database.commit()

    def run(self, count: int) -> float:
        """Serve so many; return the seconds a cover."""
        begun, served = time.perf_counter(), 0
        while served < count:
            received = self.sqs.receive_message(
                QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1
            )
            for message in received.get("Messages", []):
                self._serve(message["Body"])
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
                served += 1
        return (time.perf_counter() - begun) / count

    def _serve(self, body: str) -> None:
        event = parse(body)
        assert isinstance(event, CoverUploaded)
        place = event.object
        data = self.s3.get_object(Bucket=place.bucket, Key=place.key, VersionId=place.version_id)[
            "Body"
        ].read()
        views = imaging.fingerprint(data).views
        turned = [one for view in views for one in view.orientations()]
        asked = np.frombuffer(b"".join(turned), dtype=np.uint8).reshape(-1, 32)
        hit = len(self.index.search(asked, RADIUS)[0]) > 0
        if hit:
            self._hide(place)
        self.database.execute("INSERT INTO bare VALUES (%s, %s)", (event.cover.id, hit))
        self.database.commit()
        self.sqs.send_message(QueueUrl=self.events, MessageBody=json.dumps({"cover": event.cover.id}))

    def _hide(self, place: StoredObject) -> None:
        """The calls that our hold of one object without renditions makes, one for one, and a stranger's."""
        s3, bucket, key = self.s3, place.bucket, place.key
        folder, note, name = key.rpartition("/")[0], f"bare-note/{key}", f"bare/{key}"
        for prefix in (folder, key):
            s3.list_object_versions(Bucket=bucket, Prefix=prefix)
        self._look(note)
        s3.put_object(Bucket=self.vault, Key=note, Body=b"to be hidden")
        s3.delete_object(Bucket=bucket, Key=key)
        s3.list_object_versions(Bucket=bucket, Prefix=key)
        self._look(note)
        s3.put_object(Bucket=self.vault, Key=note, Body=b"hidden")
        data = s3.get_object(Bucket=bucket, Key=key, VersionId=place.version_id)["Body"].read()
        s3.get_object_tagging(Bucket=bucket, Key=key, VersionId=place.version_id)
        s3.list_object_versions(Bucket=self.vault, Prefix=name)
        until = datetime.now(UTC) + timedelta(minutes=1)
        s3.put_object(
            Bucket=self.vault, Key=name, Body=data, ObjectLockLegalHoldStatus="ON",
            ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until,
        )  # fmt: skip
        s3.get_object(Bucket=self.vault, Key=name)["Body"].read()
        s3.get_object_legal_hold(Bucket=self.vault, Key=name)
        s3.get_object_retention(Bucket=self.vault, Key=name)
        s3.head_object(Bucket=self.vault, Key=name)
        s3.list_object_versions(Bucket=bucket, Prefix=key)
        self._look(note)
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(str(self.urls.url(bucket, key)), timeout=5).close()

    def _look(self, note: str) -> None:
        with contextlib.suppress(ClientError):
            self.s3.get_object(Bucket=self.vault, Key=note)["Body"].read()


def bare(ground: Ground, *, count: int) -> float:
    with deployed(ground, "bare") as (stack, parts):
        parts.queue("uploads").send(upload(ground, stack, parts, count))
        return Bare(ground, stack, parts).run(count)


# ── all of it ──────────────────────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--covers", type=int, default=240)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with Ministack() as sqs, Seaweed() as s3, Postgres(durable=True) as postgres, \
            tempfile.TemporaryDirectory() as folder:  # fmt: skip
        data = pictures()
        ground = Ground(
            servers=Servers(sqs=sqs.endpoint, s3=s3.endpoint, postgres=postgres),
            data=data,
            listed=digests(data),
            folder=Path(folder),
        )
        peer = bare(ground, count=options.covers)
        counts = [int(one) for one in options.workers.split(",")]
        runs = {workers: throughput(ground, count=options.covers, workers=workers) for workers in counts}
        pace = 2 * runs[counts[0]]["seconds a cover"]
        waits = shares(ground, count=options.covers // 2)
        slow = latency(ground, count=options.covers // 2, every=pace)
    one = runs[counts[0]]
    spent = sum(one["milliseconds a cover"].values())
    result = {
        "covers": options.covers,
        "cpu count": os.cpu_count(),
        "bare loop, covers a second": round(1 / peer, 1),
        "runs": list(runs.values()),
        "time a cover, ratio to the bare loop": round(one["seconds a cover"] / peer, 2),
        "linear": {
            workers: round(one["seconds a cover"] / run["seconds a cover"] / workers * counts[0], 2)
            for workers, run in runs.items()
        },
        "share of a cover's time, by step": {
            name: round(value / spent, 2) for name, value in one["milliseconds a cover"].items()
        },
        "share of a cover's time, by who is waited for": waits,
        "message to unreachable": slow,
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
