"""One deployment with its platform, list and uploads, its real processes, and a stranger who keeps asking.

`Town` is the same on the embedded profile and on real servers; what differs is its `Place`. Processes reach
their servers through proxies; the town itself, which is the platform and the judge, reaches them directly.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import stories
from sqlalchemy import text

from coverguard import bootstrap, preparing
from coverguard.hashlist import ListRow
from coverguard.imaging import fingerprint
from coverguard.model import Algorithm, Category, ListAction, Mode, Surface
from coverguard.policy import ListRule
from coverguard.ports import Reach
from coverguard.settings import DATABASE_VARIABLE
from coverguard.store import lists
from coverguard.telemetry import Log
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import Platform
from coverguard.testing.proxy import Proxy
from coverguard.testing.servers import Server
from coverguard.testing.stack import Servers, Stack
from coverguard.testing.vouching import vouch

DISTINCT = 16
LISTED = 2  # of the distinct pictures
SIDE = 128  # pixels
PATIENCE = 240  # seconds
LEASE = "5s"
CLI = (sys.executable, "-m", "coverguard.cli")
WRONG_CLOCK = "or a clock was wrong"
UNWELL = 5  # the exit code of a process that may be started again
SERVICES = ("sqs", "s3", "postgres")


# ── where it stands ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(kw_only=True)
class Place:
    """What the platform engineer made, and how processes get there."""

    parts: bootstrap.Deployment
    platform_store: object
    objects: object  # bucket → what lies in it
    environment: dict[str, str] = field(default_factory=dict)
    proxies: dict[str, Proxy] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)  # those that may be killed

    @property
    def home(self):
        return self.parts.settings.home


@contextlib.contextmanager
def embedded(home):
    """SQLite, a folder and its file server."""
    preparing.prepare(home)
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port = asking.getsockname()[1]
    (home / "coverguard.toml").write_text(f'file_server_port = {port}\nlease = "{LEASE}"\n', "utf-8")
    with bootstrap.deployment(home, log=Log(stream=None)) as parts:
        store = bootstrap.folder_store(parts.settings)
        place = Place(
            parts=parts,
            platform_store=store,
            objects=stories.folder_objects(store, home / "objects"),
        )
        with process(place, "files", "files"):
            yield place


@contextlib.contextmanager
def on_servers(home, monkeypatch, *, sqs, s3, postgres, lease=LEASE, more=""):
    """SQS, S3 and PostgreSQL, each behind a proxy for the processes."""
    stack = Stack(servers=Servers(sqs=sqs, s3=s3, postgres=postgres), home=home, lease=lease, more=more)
    stack.make()
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    preparing.prepare(home)
    with contextlib.ExitStack() as cleaning:
        ports = {"sqs": urlsplit(sqs.url).port, "s3": urlsplit(s3.url).port, "postgres": postgres.port}
        proxies = {name: cleaning.enter_context(Proxy(target=port)) for name, port in ports.items()}
        parts = cleaning.enter_context(bootstrap.deployment(home, log=Log(stream=None)))
        yield Place(
            parts=parts,
            platform_store=stack.buckets,
            objects=stories.s3_objects(stack.buckets.client, locked=stack.bucket("vault")),
            environment=dict(stack.environment)
            | {
                "AWS_ENDPOINT_URL_S3": proxies["s3"].url,
                "AWS_ENDPOINT_URL_SQS": proxies["sqs"].url,
                "AWS_ENDPOINT_URL_SNS": proxies["sqs"].url,
                DATABASE_VARIABLE: stack.database_url.replace(
                    f":{postgres.port}/", f":{proxies['postgres'].port}/"
                ),
            },
            proxies=proxies,
        )


# ── processes ──────────────────────────────────────────────────────────────────────────────────────────────


class Running:
    """A real process of the deployment, in a group of its own."""

    def __init__(self, place: Place, command, log: Path) -> None:
        self.command = tuple(map(str, command))
        self.environment = {**os.environ, **place.environment, "PYTHONFAULTHANDLER": "1"}
        self.log = log
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as stream:
            self.popen = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def kill(self) -> None:
        """As a power cut: no handler runs."""
        self.send(signal.SIGKILL)
        self.popen.wait()

    def autopsy(self) -> str:
        """End it, and return where each of its threads was: for one that hangs."""
        before = self.log.stat().st_size
        self.send(signal.SIGABRT)
        self.popen.wait()
        return self.log.read_bytes()[before:].decode(errors="replace")

    def again(self) -> None:
        self.kill()
        self._start()

    def look_after(self) -> None:
        """Start it again where it said that the outside was unwell, as whoever supervises it does."""
        if (code := self.popen.poll()) is not None:
            assert code == UNWELL, f"{self.log.stem} ended by itself ({code}): {self.log.read_text()[-500:]}"
            self._start()

    def lines(self) -> list[dict]:
        """Its log: lines of JSON, but for the last words of one that could not start."""
        lines = self.log.read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines if not line.startswith("coverguard: cannot ")]


@contextlib.contextmanager
def process(place: Place, verb: str, name: str, *, before=(), command=CLI):
    """Run a verb; `before` is what runs it, such as a tracer."""
    whole = (*before, *command, "--home", place.home, verb)
    running = Running(place, whole, place.home / f"{name}.log")
    try:
        yield running
    finally:
        running.kill()


def until(condition, *, patience=PATIENCE, pause=0.1, what="it did not come to an end"):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(pause)


# ── the town ───────────────────────────────────────────────────────────────────────────────────────────────


class Town:
    def __init__(self, place: Place, seed: int) -> None:
        self.place, self.parts = place, place.parts
        self.chance = random.Random(seed)
        self.platform = Platform(
            settings=self.parts.settings, store=place.platform_store, clock=self.parts.clock
        )
        pictures = [draw(Kind.SCENE, number, side=SIDE) for number in range(DISTINCT)]
        self.data = [encode(picture, "JPEG", quality=80) for picture in pictures]
        self._list(self.data[:LISTED])
        self.uploads = {}  # cover id → upload, and whether it is listed
        self.stranger = Stranger()

    def _list(self, listed):
        rule = ListRule(
            list_id=0, version=0, category=Category.CHILD_ABUSE, action=ListAction.HOLD,
            entry_accounts=10**6,  # a few pictures by many uploaders
        )  # fmt: skip
        rows = [
            ListRow(
                source_entry_id=f"entry-{number}",
                algorithm=Algorithm.PDQ,
                digest=fingerprint(data).views[0].signals["pdq"],
            )
            for number, data in enumerate(listed)
        ]
        with self.parts.database.transaction() as tx:
            now = self.parts.clock.now()
            list_id, _ = lists.create(
                tx, name="town", source="tests", rule=rule, actor="tests", note="-", now=now
            )
            vouch(tx, list_id, now=now)
            lists.write_entries(tx, self.parts.keys, list_id=list_id, rows=rows, now=now)

    def announce(self, count, *, times=1):
        """Upload covers of both modes, some of them listed, and announce them in any order."""
        bodies = []
        for number in range(len(self.uploads), len(self.uploads) + count):
            which = number // 2 % DISTINCT
            bodies += [self.upload(self.data[which], listed=which < LISTED).body] * times
        self.chance.shuffle(bodies)
        self.parts.queue(bootstrap.UPLOADS).send(bodies)

    def upload(self, data, *, listed):
        """Put one cover where the platform puts it; every other one is public at once."""
        number = len(self.uploads)
        made = self.platform.upload(
            data,
            cover_id=f"cover-{number}",
            uploader=f"account-{number % 23}",
            surface=(Surface.PLAYLIST_COVER, Surface.PROFILE_IMAGE)[number % 2],
        )
        self.uploads[f"cover-{number}"] = made, listed
        if listed:
            self.stranger.watch(made, self.platform.urls(made.key)[0])
        return made

    def heed(self):
        self.platform.consume(self.parts.queue("pipeline"))

    def drained(self):
        """Nothing waits on the queue, in the ledger or in the outbox."""
        self.heed()
        return not self.waiting() and not self.owed()

    def waiting(self):
        depth = self.parts.queue(bootstrap.UPLOADS).depth()
        return depth["visible"] + depth["leased"] + depth["delayed"]

    def owed(self):
        return (
            self.count(
                "SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL)"
                " + (SELECT count(*) FROM screening WHERE settled_at IS NULL OR retry_at IS NOT NULL)"
                " + (SELECT count(*) FROM quarantine WHERE state = 'requested'"
                " OR state = 'held' AND gone_at IS NULL)"
            )
            + len(self.uploads)
            - self.count("SELECT count(*) FROM cover_version")
        )

    def answered(self):
        return self.count("SELECT count(DISTINCT cover_version_id) FROM screening")

    def count(self, query):
        with self.parts.database.reading() as tx:
            return tx.execute(text(query)).scalar_one()

    # ── judging ────────────────────────────────────────────────────────────────────────────────────────────

    def judge(self, clean=None, *, clocks=True, besides=()):
        """Compare the world with the truth, and each cover's story with that of its like in a clean run.

        The stories of those `besides` are the test's own affair. Where `clocks` were wrong, times say little.
        """
        self.heed()
        self._judge_urls()
        assert self.stranger.complaints(self._settled_at() if clocks else {}) == []
        assert self.platform.shown == {one.key: not listed for one, listed in self.uploads.values()}
        listed = sum(one for _, one in self.uploads.values())
        assert self._counts() == {
            "cover_version": len(self.uploads),
            "screening": len(self.uploads),
            "fingerprint": len(self.uploads),
            "case_item": listed,
            "quarantine": listed,
        }
        found = stories.faults(self.parts)
        assert found == [], found
        assert self.parts.queue(bootstrap.UPLOADS).depth()["dead"] == 0
        broken = {one.check: list(one.found) for one in self.parts.verifier().run() if one.broken}
        if (
            not clocks
        ):  # the audit trail says so itself where a clock was wrong, and only that is as it must be
            told = [one for one in broken.pop("audit_unchanged", []) if not one.endswith(WRONG_CLOCK)]
            assert told == []
        assert broken == {}, broken
        if clean is not None:
            self._judge_stories(clean, besides)

    def _judge_urls(self):
        wrong = []
        for cover_id, (upload, listed) in self.uploads.items():
            wanted = Reach.GONE if listed else Reach.REPLACED  # other bytes than the none we name
            (url,) = self.platform.urls(upload.key)
            if (said := self.parts.probe.ask(url, sha256=b"")) is not wanted:
                wrong.append((cover_id, listed, said))
        assert wrong == []

    def _judge_stories(self, clean, besides):
        told = stories.stories(self.parts, self.place.objects)
        wrong = []
        for cover_id, (upload, listed) in self.uploads.items():
            one, other = Counter(told[cover_id]), Counter(clean[upload.mode, listed])
            if one != other and cover_id not in besides:
                wrong.append(
                    (cover_id, upload.mode, listed, {"more": [*(one - other)], "less": [*(other - one)]})
                )
        assert not wrong, "\n".join(map(str, [f"{len(wrong)} covers", *wrong[:4]]))

    def clean_stories(self):
        """What each kind of cover's story is; all of a kind have the same."""
        told = stories.stories(self.parts, self.place.objects)
        kinds = {}
        for cover_id, (upload, listed) in self.uploads.items():
            kinds.setdefault((upload.mode, listed), set()).add(tuple(told[cover_id]))
        assert len(kinds) == 4
        assert [kind for kind, said in kinds.items() if len(said) != 1] == [], "covers of a kind differ"
        return {kind: said.pop() for kind, said in kinds.items()}

    def _counts(self):
        names = ("cover_version", "screening", "fingerprint", "case_item", "quarantine")
        return {name: self.count(f"SELECT count(*) FROM {name}") for name in names}

    def _settled_at(self):
        with self.parts.database.reading() as tx:
            rows = tx.execute(text(
                "SELECT cover_id, max(settled_at) FROM screening JOIN cover_version"
                " ON cover_version.id = cover_version_id GROUP BY cover_id"
            )).all()  # fmt: skip
        return {cover_id: at / 1e6 for cover_id, at in rows}


class Stranger:
    """Asks the URLs of listed covers all the time, and remembers when each was last seen and first gone."""

    PAUSE = 0.03

    def __init__(self) -> None:
        self._urls = {}
        self._gated = set()
        self.seen, self.gone, self.back = {}, {}, []
        self.asked = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="stranger", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def watch(self, upload, url) -> None:
        with self._lock:
            self._urls[upload.event.cover.id] = url
            if upload.mode is Mode.GATE:
                self._gated.add(upload.event.cover.id)

    def _run(self) -> None:
        while not self._stop.wait(self.PAUSE):
            with self._lock:
                urls = list(self._urls.items())
            for cover_id, url in urls:
                if self._stop.wait(self.PAUSE):
                    return
                self._ask(cover_id, url)

    def _ask(self, cover_id, url) -> None:
        parts, began = urlsplit(url), time.time()
        connection = http.client.HTTPConnection(parts.netloc, timeout=5)
        try:
            connection.request("HEAD", parts.path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return  # nobody can say
        finally:
            connection.close()
        self.asked += 1
        if status == 200:
            self.seen[cover_id] = began
            if cover_id in self.gone:
                self.back.append(cover_id)
        elif status in {403, 404, 410}:
            self.gone.setdefault(cover_id, time.time())

    def complaints(self, settled_at) -> list[str]:
        """What a stranger saw and nobody ever should have; `settled_at` is when the ledger called it done."""
        return (
            [f"came back: {cover_id}" for cover_id in sorted({*self.back})]
            + [f"gated, and public: {cover_id}" for cover_id in sorted(self._gated & self.seen.keys())]
            + [
                f"public after it was settled: {cover_id}"
                for cover_id, at in self.seen.items()
                if at > settled_at.get(cover_id, at)
            ]
        )

    def longest(self, since) -> float:
        """Seconds from `since` until the last listed cover was seen for the last time; 0 if all before."""
        return max((at - since for at in self.seen.values()), default=0.0)
