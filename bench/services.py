"""The whole road on SQS, S3 and PostgreSQL: covers a second, time to unreachable, and a ratio to a bare loop.

Real servers on loopback (SQS: ministack, S3: SeaweedFS, PostgreSQL with fsync), real worker and keeper
processes. The peer runs in the same run on the same servers: one bare boto3 loop that makes the same calls
to SQS and S3 (receive, read; for a match all of a hold's; delete), fingerprints and compares as we do, and
writes one row and one event. It keeps no promise: no announcement, no intent before the act, no case, no
retry, no second look. Everything shares the machine's cores, the servers too. Read the ratios.

How it is measured: every worker has served some covers before the first one counts, so that no start, no list
and no first connection is in the figures; the bare loop is warmed up in the same way. The clock runs from the
first decision about a cover that counts to the last of them settled, both by the ledger, with the queue full
until the end; the bare loop's from one deletion to another. Each of several rounds measures the bare loop and
each number of workers, one after the other, so that a neighbour's load does not meet one of them alone.
Ratios are within a round, and the result is the round in the middle. CPU milliseconds are of the workers' and
of the keeper's processes while the same covers were served, by the system's account.

    python bench/services.py [--covers 240] [--rounds 3] [--workers 1,2,4] [--json]
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

from coverguard import bootstrap, imaging, preparing
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
from coverguard.testing.vouching import vouch
from coverguard.worker import Heartbeat

SIDES = (640, 1000, 1500)
DISTINCT = 24
LISTED_EVERY = 12  # of the distinct pictures: far more than any platform has, so that acting shows
ENTRIES = 20_000
RADIUS = 31
WARM = 8  # covers a worker, at least, that do not count
PATIENCE = 600
COUNTED = (
    "SELECT min(decided_at), max(settled_at) FROM"
    " (SELECT decided_at, settled_at FROM screening ORDER BY decided_at OFFSET {}) AS counted"
)
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
    preparing.prepare(stack.home)
    with bootstrap.deployment(stack.home, log=Log(stream=None)) as parts:
        rule = ListRule(
            list_id=0,
            version=0,
            category=Category.OTHER,
            action=ListAction.HOLD,
            hold_budget=10**6,
            entry_accounts=10**6,
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
            vouch(tx, made, now=now)
            lists.write_entries(tx, parts.keys, list_id=made, rows=rows, now=now)
        yield stack, parts


def upload(
    ground: Ground, stack: Stack, parts: bootstrap.Deployment, count: int, *, first: int = 0
) -> list[str]:
    """Put the covers where strangers see them; return the messages that announce them."""
    platform = Platform(settings=parts.settings, store=stack.buckets, clock=parts.clock)
    return [
        platform.upload(
            ground.data[number % DISTINCT],
            cover_id=f"bench-{number}",
            uploader=f"account-{number % 50}",
            surface=Surface.PROFILE_IMAGE,
        ).body
        for number in range(first, first + count)
    ]


# ── the road ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Running:
    """Processes of a deployment, and where each of them writes its log: the keeper is the last."""

    processes: Sequence[subprocess.Popen[bytes]]
    logs: Sequence[Path]

    def cpu(self) -> tuple[float, float]:
        """Seconds of CPU that the workers and the keeper have used until now."""
        *workers, keeper = (cpu_of(one.pid) for one in self.processes)
        return sum(workers), keeper

    def lines(self) -> list[list[dict[str, Any]]]:
        """Of each worker the lines of the covers that it screened."""
        return [canonical(log) for log in self.logs[:-1]]

    def served(self) -> int:
        return sum(len(lines) for lines in self.lines())


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def processes(stack: Stack, *, workers: int) -> Iterator[Running]:
    """Workers and a keeper."""
    logs = [stack.home / f"worker-{number}.log" for number in range(workers)]
    verbs = [("worker", log) for log in logs] + [("keeper", stack.home / "keeper.log")]
    running: list[subprocess.Popen[bytes]] = []
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
        yield Running(processes=running, logs=[log for _, log in verbs])
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


def throughput(ground: Ground, name: str, *, count: int, workers: int) -> dict[str, Any]:
    """Covers a second with a queue that is never empty, and where a cover's time goes."""
    with deployed(ground, name) as (stack, parts), processes(stack, workers=workers) as running:
        warm = warm_up(ground, stack, parts, running)
        bodies = upload(ground, stack, parts, count, first=warm)
        served, cpu = [len(lines) for lines in running.lines()], running.cpu()
        parts.queue("uploads").send(bodies)
        progress = tqdm(total=count, desc=f"{workers} workers", disable=not sys.stderr.isatty())
        while (done := settled(parts) - warm) < count:
            progress.update(done - progress.n)
            time.sleep(1)  # the ledger says when: looking more often would only cost
        progress.close()
        used = [after - before for before, after in zip(cpu, running.cpu(), strict=True)]
        wait_until(lambda: running.served() >= warm + count, "the last line")  # it follows the settling
        logged = list(zip(served, running.lines(), strict=True))
        begun, ended = rows(parts, COUNTED.format(warm))[0]
    lines = [line for before, found in logged for line in found[before:]]
    seconds = (ended - begun) / 1e6
    phases = {
        name: round(statistics.mean(line.get(f"{name}_ms", 0.0) for line in lines), 2) for name in PHASES
    }
    return {
        "workers": workers,
        "covers a second": round((count - 1) / seconds, 1),
        "seconds a cover": seconds / (count - 1),
        "covers by worker": [len(found) - before for before, found in logged],
        "milliseconds a cover": phases,
        "CPU milliseconds a cover": {
            name: round(1000 * one / count, 1) for name, one in zip(("workers", "keeper"), used, strict=True)
        },
    }


def warm_up(ground: Ground, stack: Stack, parts: bootstrap.Deployment, running: Running) -> int:
    """Send covers until every worker has served some; return how many were sent, and are settled."""
    sent, share = 0, WARM * (len(running.logs) - 1)
    while not sent or min(len(lines) for lines in running.lines()) < WARM:
        parts.queue("uploads").send(upload(ground, stack, parts, share, first=sent))
        sent += share
        wait_until(lambda so_far=sent: running.served() >= so_far == settled(parts), "the first covers")
    return sent


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
    whole = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    lines = [json.loads(line) for line in whole if line.startswith("{")]
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

    def run(self, count: int, *, warm: int) -> float:
        """Serve so many, after some that do not count; return the seconds a cover."""
        begun, served = 0.0, 0
        while served < warm + count:
            received = self.sqs.receive_message(
                QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1
            )
            for message in received.get("Messages", []):
                self._serve(message["Body"])
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
                served += 1
                if served == warm:
                    begun = time.perf_counter()
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


def bare(ground: Ground, name: str, *, count: int) -> float:
    with deployed(ground, name) as (stack, parts):
        parts.queue("uploads").send(upload(ground, stack, parts, WARM + count))
        return Bare(ground, stack, parts).run(count, warm=WARM)


# ── all of it ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Round:
    """The bare loop's seconds a cover, and each number of workers', one after the other."""

    peer: float
    runs: Mapping[int, dict[str, Any]]

    def linear(self, workers: int) -> float:
        """How much of a proportional gain so many workers have over the fewest."""
        fewest = min(self.runs)
        return self._seconds(fewest) / self._seconds(workers) / workers * fewest

    def ratio(self) -> float:
        """A cover's time with the fewest workers, by the bare loop's."""
        return self._seconds(min(self.runs)) / self.peer

    def _seconds(self, workers: int) -> float:
        return float(self.runs[workers]["seconds a cover"])


def measured(ground: Ground, number: int, *, count: int, workers: Sequence[int]) -> Round:
    return Round(
        peer=bare(ground, f"bare-{number}", count=count),
        runs={
            one: throughput(ground, f"through-{number}-{one}", count=count, workers=one) for one in workers
        },
    )


def middle(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return sorted(runs, key=lambda run: float(run["seconds a cover"]))[len(runs) // 2]


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """What all rounds say together; the ratios of each are there, too, to tell how steady they are."""
    counts = list(rounds[0].runs)
    runs = {workers: middle([one.runs[workers] for one in rounds]) for workers in counts}
    phases = runs[min(counts)]["milliseconds a cover"]
    ratios = [round(one.ratio(), 2) for one in rounds]
    linear = {workers: [round(one.linear(workers), 2) for one in rounds] for workers in counts}
    return {
        "bare loop, covers a second": round(1 / statistics.median(one.peer for one in rounds), 1),
        "runs": list(runs.values()),
        "time a cover, ratio to the bare loop": statistics.median(ratios),
        "the same, by round": ratios,
        "linear": {workers: statistics.median(found) for workers, found in linear.items()},
        "linear, by round": linear,
        "share of a cover's time, by step": {
            name: round(value / sum(phases.values()), 2) for name, value in phases.items()
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--covers", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--scaling-only", action="store_true", help="leave out latency and waits")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    counts = sorted(int(one) for one in options.workers.split(","))
    with Ministack() as sqs, Seaweed() as s3, Postgres(durable=True) as postgres, \
            tempfile.TemporaryDirectory() as folder:  # fmt: skip
        data = pictures()
        ground = Ground(
            servers=Servers(sqs=sqs.endpoint, s3=s3.endpoint, postgres=postgres),
            data=data,
            listed=digests(data),
            folder=Path(folder),
        )
        rounds = [
            measured(ground, number, count=options.covers, workers=counts) for number in range(options.rounds)
        ]
        result = {"covers": options.covers, "cpu count": os.cpu_count(), **summary(rounds)}
        if not options.scaling_only:
            pace = 2 * float(result["runs"][0]["seconds a cover"])
            result["share of a cover's time, by who is waited for"] = shares(
                ground, count=options.covers // 2
            )
            result["message to unreachable"] = latency(ground, count=options.covers // 2, every=pace)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
