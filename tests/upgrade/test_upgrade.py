"""From the release before to this one with everything running: real processes, one home, nothing lost.

`coverguard-0.1.0.tar.gz` is that release's source, as it was tagged.
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from coverguard import __version__, bootstrap
from coverguard.imaging import fingerprint
from coverguard.model import Surface
from coverguard.ports import Reach
from coverguard.store.migrate import newest_revision
from coverguard.telemetry import Log
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import Platform

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

BEFORE = "0.1.0"
ARCHIVE = Path(__file__).parent / f"coverguard-{BEFORE}.tar.gz"
SOME = 16  # uploads at a time, every fourth of a listed picture
PATIENCE = 100


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source folder of the release before."""
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def command(home: Path, *words: str) -> Sequence[str]:
    return [sys.executable, "-m", "coverguard.cli", "--home", str(home), *words]


def environment(source: Path | None) -> dict[str, str]:
    return dict(os.environ) | ({"PYTHONPATH": str(source)} if source else {})


def run(home: Path, *words: str, source: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(home, *words), env=environment(source), capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=PATIENCE,
    )  # fmt: skip


@contextmanager
def process(home: Path, verb: str, *, source: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with (home / f"{verb}.log").open("ab") as stream:
        running = subprocess.Popen(
            command(home, verb),
            env=environment(source),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def stop(running: subprocess.Popen[bytes]) -> None:
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=30) == 0


def started(home: Path, verb: str) -> int:
    """How often a process has said that it is there."""
    return (home / f"{verb}.log").read_text().count(f"{verb}_started")


def until(condition: Callable[[], bool], *processes: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come to an end"
        assert [one.poll() for one in processes] == [None] * len(processes), "a process ended"
        time.sleep(0.1)


class Town:
    """A deployment of the release before, its platform and its uploads."""

    def __init__(self, parts: bootstrap.Deployment) -> None:
        self.parts = parts
        self.platform = Platform(
            settings=parts.settings, store=bootstrap.folder_store(parts.settings), clock=parts.clock
        )
        self.data = [encode(draw(Kind.SCENE, number, side=128), "JPEG", quality=80) for number in range(4)]
        self.uploads: list[tuple[object, bool]] = []

    def announce(self) -> None:
        bodies = []
        for _ in range(SOME):
            number = len(self.uploads)
            surface = (Surface.PLAYLIST_COVER, Surface.PROFILE_IMAGE)[number // 4 % 2]
            made = self.platform.upload(
                self.data[number % 4], cover_id=f"cover-{number}", uploader=f"u-{number % 5}", surface=surface
            )
            self.uploads.append((made, number % 4 == 0))
            bodies.append(made.body)
        self.parts.queue(bootstrap.UPLOADS).send(bodies)

    def count(self, query: str) -> int:
        with self.parts.database.reading() as tx:
            return int(tx.execute(text(query)).scalar_one())

    def answered(self, by: str = "%") -> int:
        return self.count(f"SELECT count(*) FROM screening WHERE software LIKE '{by}'")

    def drained(self) -> bool:
        self.platform.consume(self.parts.queue("pipeline"))
        depth = self.parts.queue(bootstrap.UPLOADS).depth()
        return not (depth["visible"] + depth["leased"] + depth["delayed"]) and not self.count(
            "SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL)"
            " + (SELECT count(*) FROM screening WHERE settled_at IS NULL)"
            " + (SELECT count(*) FROM quarantine WHERE state = 'requested')"
        )

    def judge(self) -> None:
        """Nothing lost, nothing twice, and strangers are served what was not listed and nothing else."""
        self.platform.consume(self.parts.queue("pipeline"))
        for upload, is_listed in self.uploads:
            reached = {self.parts.probe.ask(url, sha256=b"") for url in self.platform.urls(upload.key)}
            assert Reach.UNKNOWN not in reached
            assert (reached == {Reach.GONE}) == is_listed
        listed = sum(one for _, one in self.uploads)
        assert self.answered() == self.count("SELECT count(*) FROM cover_version") == len(self.uploads)
        assert self.count("SELECT count(*) FROM quarantine WHERE state = 'held'") == listed
        assert self.count("SELECT count(*) FROM case_item") == listed
        assert self.count("SELECT count(*) FROM outbox WHERE topic = 'pipeline'") == len(self.uploads)
        assert self.parts.queue(bootstrap.UPLOADS).depth()["dead"] == 0


@pytest.fixture
def town(tmp_path: Path, before: Path) -> Iterator[Town]:
    home = tmp_path / "home"
    made = run(home, "migrate", source=before)
    assert made.returncode == 0, made.stderr
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port = asking.getsockname()[1]
    me = pwd.getpwuid(os.getuid()).pw_name
    settings = f'file_server_port = {port}\n[people]\n{me} = ["list_editor"]\n'
    (home / "coverguard.toml").write_text(settings, encoding="utf-8")
    with bootstrap.deployment(home, log=Log(stream=None), migrated=False) as parts:
        made = Town(parts)
        put_on_a_list(home, made.data[0], source=before)
        yield made


def put_on_a_list(home: Path, data: bytes, *, source: Path) -> None:
    """By the release before, whose tables are not ours."""
    (home / "l.hex").write_text(fingerprint(data).views[0].signals["pdq"].hex() + "\n", encoding="utf-8")
    rule = ("--source", "s", "--category", "child_abuse", "--action", "hold")
    for words in (("add", "l", *rule), ("load", "l", str(home / "l.hex"), "--algorithm", "pdq")):
        done = run(home, "lists", *words, source=source)
        assert done.returncode == 0, done.stderr


def test_the_release_before_is_the_one_that_is_meant(before: Path) -> None:
    asked = [sys.executable, "-c", "import coverguard; print(coverguard.__version__, coverguard.__file__)"]
    said = subprocess.run(asked, env=environment(before), capture_output=True, text=True, check=True).stdout
    assert said.split() == [BEFORE, str(before / "coverguard" / "__init__.py")]
    assert __version__ != BEFORE


def test_workers_of_the_release_before_go_on_and_ours_take_over(town: Town, before: Path) -> None:
    home = town.parts.settings.home
    with ExitStack() as stack:
        files = stack.enter_context(process(home, "files", source=before))
        old = [stack.enter_context(process(home, verb, source=before)) for verb in ("worker", "keeper")]
        until(lambda: started(home, "files") == 1, files)
        town.announce()
        until(lambda: town.answered() >= SOME // 4, *old)

        town.announce()
        migrated = run(home, "migrate")  # while they are at it
        assert migrated.returncode == 0, migrated.stderr
        reached = town.count("SELECT CAST(substr(version_num, 1, 4) AS INTEGER) FROM alembic_version")
        assert reached == int(newest_revision()[:4])

        town.announce()
        until(lambda: town.answered() == len(town.uploads) and town.drained(), files, *old)
        assert town.answered(by=BEFORE) == len(town.uploads), "the release before does the work"
        town.judge()

        ours = stack.enter_context(process(home, "worker"))  # beside the others
        until(lambda: started(home, "worker") == 2, ours, *old)
        town.announce()
        until(lambda: town.answered() == len(town.uploads), ours, *old)
        for one in (*old, files):
            stop(one)
        files = stack.enter_context(process(home, "files"))
        until(lambda: started(home, "files") == 2, files)
        keeper = stack.enter_context(process(home, "keeper"))
        town.announce()
        until(lambda: town.answered() == len(town.uploads) and town.drained(), ours, keeper)
        assert town.answered(by=__version__) >= SOME
        town.judge()

        said = run(home, "verify")
        assert said.returncode == 0, said.stdout + said.stderr
    bugs = [line for path in home.glob("*.log") for line in path.read_text().splitlines() if '"bug"' in line]
    assert bugs == []


def test_the_release_before_does_not_start_on_our_schema(town: Town, before: Path) -> None:
    """It is older than the rule that would let it: what runs goes on, what starts is this release."""
    home = town.parts.settings.home
    assert run(home, "migrate").returncode == 0
    refused = run(home, "worker", source=before)
    assert refused.returncode != 0
    assert "not migrated to this release" in refused.stderr
