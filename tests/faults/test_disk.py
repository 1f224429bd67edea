"""A worker of the embedded profile whose disk is full, or does not keep what it was given.

The kernel's answers are changed by strace, which attaches to the running worker and lets go of it again.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess

import pytest
import town as towns

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

EACH = 12  # covers
BITES = 4
INJECTIONS = (
    "fsync,fdatasync:error=EIO:when=3+4",
    "pwrite64:error=ENOSPC:when=5+9",  # SQLite's writes
    "openat:error=ENOSPC:when=20+25",  # the folder store's new files, among others
    "rename:error=EIO:when=2+5",  # what makes a version of the folder store visible
    "fsync,fdatasync:error=ENOSPC:when=1+2",
)


def tracing_is_allowed():
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return tried.returncode == 0


@contextlib.contextmanager
def injected(pid, what, told):
    """The process's system calls fail as told while inside; yields a count of those that did."""
    calls = what.partition(":")[0]
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", told, "-e", f"trace={calls}", "-e", f"inject={what}", "-p", str(pid)],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield lambda: told.read_text("utf-8").count("(INJECTED)") if told.exists() else 0
    finally:
        tracer.send_signal(signal.SIGINT)  # it lets go, and the process runs on
        try:
            tracer.wait(20)
        finally:
            tracer.kill()
            tracer.stderr.close()


@pytest.mark.skipif(not tracing_is_allowed(), reason="strace is missing, or ptrace is not allowed here")
def test_a_disk_that_fails_delays_and_loses_nothing(tmp_path, clean):
    with towns.embedded(tmp_path / "home") as place:
        town = towns.Town(place, 0)
        with (
            town.stranger,
            towns.process(place, "keeper", "keeper"),
            towns.process(place, "worker", "worker") as worker,
        ):
            towns.until(lambda: "worker_started" in worker.log.read_text())
            for number, what in enumerate(INJECTIONS):
                with injected(worker.popen.pid, what, tmp_path / f"told-{number}") as bites:
                    town.announce(EACH)
                    towns.until(lambda: bites() >= BITES, patience=60, what=f"{what} never bit")
                assert worker.popen.poll() is None, f"the worker died of {what}"
            towns.until(town.drained)
            said = worker.log.read_text()
            assert re.search(r'"error":"(OSError|OperationalError)"', said), "the worker noticed nothing"
            assert '"event":"bug"' not in said, "a full disk is no bug"
        town.judge(clean)
