"""One deployment on SQS, S3 and PostgreSQL with its real processes, a simulated platform, and who uses both.

Each process is its own database role, and the two web processes have homes of their own with nothing but the
public half of the staff's box. The quarter itself is the platform, the strangers and the judge: it reads the
ledger with a right of its own, and believes nobody about what the public can see but the public's own URLs.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from sqlalchemy import text

from coverguard import bootstrap, preparing, receipts
from coverguard.local.keys import PublicKeys
from coverguard.messages import Cover
from coverguard.model import Surface
from coverguard.settings import DATABASE_VARIABLE, FILE, HOME_VARIABLE
from coverguard.telemetry import Log
from coverguard.testing.catalogue import TOKEN, CatalogueServer, Holdings
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import Platform, Upload
from coverguard.testing.servers import Ministack, Postgres, Seaweed
from coverguard.testing.stack import Servers, Stack

PATIENCE = 240.0  # seconds; another's work may have the processors
CLI = (sys.executable, "-m", "coverguard.cli")
RENDITIONS = ("small.jpg", "large.jpg")
ROLES = ("worker", "keeper", "operator", "public", "platform")
GONE = frozenset({403, 404})
UNWELL = 5  # the exit code of a process that may be started again
WORKERS = 2
ASKING = 8  # strangers at a time


def until(condition: Callable[[], object], *, what: str, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


# ── processes ──────────────────────────────────────────────────────────────────────────────────────────────


class Running:
    """A real process of the deployment, in a group of its own; started again where the outside was unwell."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        self._command, self._environment = [*CLI, *command], dict(environment)
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip

    def look_after(self) -> None:
        if (code := self._process.poll()) is not None:
            tail = self.log.read_text(errors="replace")[-1500:]
            assert code == UNWELL, f"{self.name} ended by itself ({code}): {tail}"
            self._start()

    def port(self) -> int | None:
        """Where a web process listens, once it says so."""
        for line in self.log.read_text("utf-8").splitlines():
            if line.startswith("{") and str((said := json.loads(line)).get("event")).startswith("web_"):
                return int(said["port"])
        return None

    def bugs(self) -> list[str]:
        """Where it met what nobody expected: such a line says `at`."""
        lines = self.log.read_text("utf-8").splitlines()
        return [line for line in lines if line.startswith("{") and "at" in json.loads(line)]

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


# ── who uses it ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a reporter takes home."""

    envelope: Mapping[str, Any]
    token: str = field(repr=False)

    @property
    def reference(self) -> str:
        return str(self.envelope["document"]["reference"])

    @property
    def document(self) -> Mapping[str, Any]:
        return self.envelope["document"]


class Reporter:
    """Somebody on some network, with a receipt or without one; has no account and gives no name."""

    def __init__(self, client: httpx.Client, address: str) -> None:
        self._client, self._headers = client, {"X-Forwarded-For": address}

    def report(self, **told: Any) -> Receipt:
        answer = self._post("/v1/reports", {"category": "child_abuse", **told}, wanted=202)
        token = answer.pop("token")
        return Receipt(envelope=answer, token=token)

    def add(self, mine: Receipt, **told: Any) -> Mapping[str, Any]:
        whole = {"token": mine.token, **told}
        return self._post(f"/v1/reports/{mine.reference}/additions", whole, wanted=202)

    def thread(self, mine: Receipt) -> Mapping[str, Any]:
        return self._post(f"/v1/reports/{mine.reference}/thread", {"token": mine.token}, wanted=200)

    def kinds(self, mine: Receipt) -> list[str]:
        return [entry["kind"] for entry in self.thread(mine)["entries"]]

    def transcript(self, mine: Receipt) -> Mapping[str, Any]:
        return self._post(f"/v1/reports/{mine.reference}/transcript", {"token": mine.token}, wanted=200)

    def _post(self, path: str, body: Mapping[str, Any], *, wanted: int) -> dict[str, Any]:
        answer = self._client.post(path, json=body, headers=self._headers)
        assert answer.status_code == wanted, (path, answer.status_code)
        return answer.json()


def pictures(count: int, *, first: int = 0) -> list[bytes]:
    """Generated scenes, small, each with other bytes."""
    return [encode(draw(Kind.SCENE, first + one, side=96), "JPEG", quality=80) for one in range(count)]


# ── the quarter ────────────────────────────────────────────────────────────────────────────────────────────


class Quarter:
    def __init__(self, stack: Stack, parts: bootstrap.Deployment, holdings: Holdings, folder: Path) -> None:
        self.stack, self.parts, self.holdings, self.folder = stack, parts, holdings, folder
        self.platform = Platform(settings=parts.settings, store=stack.buckets, clock=parts.clock)
        self.running: list[Running] = []
        self.overdue: list[str] = []  # what a test made late
        self._clients = contextlib.ExitStack()

    # ── processes ──────────────────────────────────────────────────────────────────────────────────────────

    def environment(self, role: str, home: Path) -> Mapping[str, str]:
        url = self.stack.servers.postgres.url(self.stack.name, user=f"{self.stack.name}_{role}")
        return {**os.environ, **self.stack.environment, DATABASE_VARIABLE: url, HOME_VARIABLE: str(home)}

    def start(self, role: str, *command: str, home: Path | None = None) -> Running:
        number = len(self.running)
        environment = self.environment(role, home or self.parts.settings.home)
        made = Running(role, command or (role,), environment, self.folder / f"{role}-{number}.log")
        self.running.append(made)
        return made

    def start_front(self, kind: str) -> Running:
        """Start a web process in a home of its own."""
        home = self.folder / kind
        (home / "keys").mkdir(mode=0o700, parents=True)
        home.chmod(0o700)
        own = self.parts.settings.home
        shutil.copy(own / FILE, home)
        shutil.copy(own / "keys" / "letters.pub", home / "keys")
        return self.start(kind, "web", kind, "--port", "0", home=home)

    def client_of(self, running: Running) -> httpx.Client:
        """A client of a web process, once that serves."""
        until(
            lambda: self.look_after() or running.port() is not None, what=f"web {running.name} does not start"
        )
        client = httpx.Client(base_url=f"http://127.0.0.1:{running.port()}", trust_env=False, timeout=60)
        return self._clients.enter_context(client)

    def staff(self, *command: str, home: Path | None = None) -> str:
        """What a command of people of ours prints."""
        environment = self.environment("operator", home or self.parts.settings.home)
        done = subprocess.run([*CLI, *command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command[:2], done.returncode, done.stderr[-800:])
        return done.stdout

    def look_after(self) -> None:
        """As whoever supervises the processes does, and the platform its own end of the pipeline."""
        for one in self.running:
            one.look_after()

    def wait(self, condition: Callable[[], object], *, what: str, patience: float = PATIENCE) -> None:
        until(lambda: self.look_after() or condition(), what=what, patience=patience)

    def close(self) -> None:
        self._clients.close()
        for one in self.running:
            one.kill()

    def bugs(self) -> list[str]:
        """What any process said of a fault of its own."""
        return [line for one in self.running for line in one.bugs()]

    # ── the ledger, read by the judge ──────────────────────────────────────────────────────────────────────

    def count(self, query: str, **given: Any) -> int:
        return int(self.rows(query, **given)[0][0])

    def rows(self, query: str, **given: Any) -> Sequence[Any]:
        with self.parts.database.reading() as tx:
            return tx.execute(text(query), given).all()

    def change(self, statement: str, **given: Any) -> None:
        """Change the ledger behind everybody's back: where time has to have passed."""
        with self.parts.database.transaction() as tx:
            tx.execute(text(statement), given)

    # ── the platform ───────────────────────────────────────────────────────────────────────────────────────

    def upload(
        self,
        data: bytes,
        cover_id: str,
        *,
        uploader: str,
        surface: Surface = Surface.PROFILE_IMAGE,
        version: int = 1,
        playlist: str | None = None,
        owner: str | None = None,
    ) -> Upload:
        """Store a cover as the platform does; it has it in its catalogue from now on."""
        made = self.platform.upload(
            data, cover_id=cover_id, uploader=uploader, surface=surface, version=version
        )
        more = {"playlist_id": playlist, "owner_id": owner or uploader}
        made = replace(made, event=made.event.model_copy(update=more))
        self.holdings.put(made.event)
        return made

    def announce(self, uploads: Sequence[Upload]) -> None:
        """Announce the uploads, and see them screened and published, with two renditions each."""
        self.send(bootstrap.UPLOADS, [one.body for one in uploads])
        self.wait(lambda: self.screened(uploads), what="uploads are not screened")
        self.wait(lambda: self.heed() or self._published(uploads), what="covers are not published")

    def screened(self, uploads: Sequence[Upload]) -> bool:
        """Whether all that follows from looking at them is done."""
        answered = self.rows(
            "SELECT surface, cover_id, version FROM cover_version JOIN screening"
            " ON cover_version_id = cover_version.id WHERE settled_at IS NOT NULL"
        )
        return {one.key for one in uploads} <= {tuple(row) for row in answered}

    def send(self, queue: str, bodies: Sequence[str]) -> None:
        for start in range(0, len(bodies), 10):
            self.parts.queue(queue).send(bodies[start : start + 10])

    def heed(self) -> None:
        self.platform.consume(self.parts.queue("pipeline"))

    def _published(self, uploads: Sequence[Upload]) -> bool:
        return all(self.platform.shown.get(one.key) for one in uploads)

    def resize(self, uploads: Sequence[Upload]) -> None:
        for one in uploads:
            cover = Cover(
                id=one.event.cover.id, version=one.event.cover.version, surface=one.event.cover.surface
            )
            for name in RENDITIONS:
                self.platform.resize(cover, one.data, name)

    # ── strangers ──────────────────────────────────────────────────────────────────────────────────────────

    def urls(self, uploads: Sequence[Upload]) -> list[str]:
        """Every URL of every object of these covers."""
        return [url for one in uploads for url in self.platform.urls(one.key)]

    def served(self, urls: Sequence[str]) -> list[str]:
        """Those that somebody without any right is served. Each has to answer yes or no."""
        with httpx.Client(trust_env=False, timeout=60) as client, ThreadPoolExecutor(ASKING) as pool:
            answers = dict(zip(urls, pool.map(lambda url: client.get(url).status_code, urls), strict=True))
        unclear = {status for status in answers.values() if status != 200 and status not in GONE}
        assert not unclear, f"a stranger could not tell: {unclear}"
        return [url for url, status in answers.items() if status == 200]

    def versions(self, uploads: Sequence[Upload]) -> list[str]:
        """The same objects by each version that the store keeps, as somebody tries who knows S3."""
        bucket, client = self.stack.bucket("public"), self.stack.buckets.client
        found = []
        for surface, cover_id, version in {one.key for one in uploads}:
            prefix = f"covers/{surface}/{cover_id}/{version}/"
            listed = client.list_object_versions(Bucket=bucket, Prefix=prefix)
            for one in [*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())]:
                url = self.parts.settings.places().url(bucket, one["Key"])
                found.append(f"{url}?versionId={quote(one['VersionId'])}")
        return found

    def holds(self, envelope: Mapping[str, Any]) -> bool:
        """Whether the signature of a receipt or transcript verifies, with the public process's public key."""
        trusted = PublicKeys.read([self.folder / "public" / "keys" / "receipt.pub"])
        return receipts.checked(json.loads(json.dumps(envelope)), trusted) is receipts.Verdict.VALID


class Open(Quarter):
    """With its processes, and clients of both web processes."""

    def run(self, *, workers: int) -> None:
        for role in ("keeper", *["worker"] * workers):
            self.start(role)
        fronts = [self.start_front(kind) for kind in ("public", "platform")]
        self.public, self.front_line = [self.client_of(one) for one in fronts]


@contextlib.contextmanager
def opened(
    folder: Path, *, sqs: Ministack, s3: Seaweed, postgres: Postgres, more: str = ""
) -> Iterator[Open]:
    """Make a deployment of its own on the servers, and run its processes."""
    home, holdings = folder / "home", Holdings()
    user = pwd.getpwuid(os.getuid()).pw_name
    with contextlib.ExitStack() as cleaning:
        catalogue = cleaning.enter_context(CatalogueServer(holdings))
        lines = (
            f'catalogue_url = "{catalogue.url}"',
            'trusted_proxies = ["127.0.0.1/32"]',
            f'people = {{ {user} = ["moderator", "operator"] }}',
            more,
        )
        servers = Servers(sqs=sqs.endpoint, s3=s3.endpoint, postgres=postgres)
        stack = Stack(servers=servers, home=home, lease="30s", more="\n".join(lines))
        stack.make()
        for name, value in stack.environment.items():
            cleaning.enter_context(_variable(name, value))
        preparing.prepare(home)
        (home / "keys").mkdir(mode=0o700, exist_ok=True)
        token = home / "keys" / "catalogue.token"
        token.touch(mode=0o600)
        token.write_text(TOKEN)
        parts = cleaning.enter_context(bootstrap.deployment(home, log=Log(stream=None)))
        parts.reporting()  # so that the staff's box is there for the web processes to seal to
        with parts.database.transaction() as tx:
            for role in ROLES:
                tx.execute(text(f"CREATE ROLE {stack.name}_{role} LOGIN IN ROLE coverguard_{role}"))
        quarter = Open(stack, parts, holdings, folder)
        cleaning.callback(quarter.close)
        quarter.run(workers=WORKERS)
        yield quarter


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
