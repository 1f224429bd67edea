"""The decoding children: what they may not do, what becomes of the cover, and that the next one is served."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import heic
import pytest

from coverguard.errors import ContentRejected, DecoderUnavailable, RejectReason
from coverguard.imaging import Limits, fingerprint
from coverguard.imaging.sandbox import Ended, Ending, Sandbox, children, frames, launch, pool
from coverguard.imaging.sandbox.child import THREADS
from coverguard.imaging.sandbox.confinement import Confinement
from coverguard.imaging.signals import exact
from coverguard.testing.pictures import Kind, animation, draw, encode

pytestmark = pytest.mark.process

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="processes are asked by /proc")
BENT = (sys.executable, "-I", "-B", str(Path(__file__).with_name("bent_child.py")), launch.__file__)
SMALL = Limits(cpu_seconds=1, wall_seconds=200, memory_bytes=2**29)  # a test machine may be very busy
HASTY = replace(SMALL, wall_seconds=1)
PICTURE = encode(draw(Kind.SCENE, 7, side=64), "PNG")


class Told(list):
    """Hears of the children that ended."""

    @property
    def reasons(self):
        return [one.why for one in self]


@pytest.fixture(scope="module")
def shared():
    told = Told()
    with Sandbox(SMALL, program=BENT, told=told.append) as sandbox:
        if not sandbox.confinement().seccomp:
            pytest.skip("this kernel has no seccomp filters")
        yield sandbox, told


@pytest.fixture
def bent(shared):
    sandbox, told = shared
    told.clear()
    yield sandbox
    assert sandbox.fingerprint(PICTURE) == fingerprint(PICTURE), "the next cover was not served"


@pytest.fixture
def told(shared):
    return shared[1]


def rejected(sandbox, data):
    with pytest.raises(ContentRejected) as caught:
        sandbox.fingerprint(data)
    return caught.value.reason


def descriptors():
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def children_of(pid):
    """Its children, zombies among them."""
    return [
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdigit() and _parent(path) == pid
    ]  # fmt: skip


def _parent(process):
    with contextlib.suppress(OSError):
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return None


# ── the same answers ───────────────────────────────────────────────────────────────────────────────────────


def formats():
    image = draw(Kind.SCENE, 41, side=120)
    turned = image.rotate(90)
    return {
        "jpeg": encode(image, "JPEG"),
        "progressive": encode(image, "JPEG", progressive=True),
        "cmyk": encode(image.convert("CMYK"), "JPEG"),
        "png": encode(image.convert("RGBA"), "PNG"),
        "palette": encode(image.convert("P"), "PNG", transparency=3),
        "apng": animation([image, turned, image], "PNG"),
        "gif": animation([image, turned, image], "GIF"),
        "webp": encode(image, "WEBP", lossless=True),
        "animated_webp": animation([image, turned], "WEBP"),
        "avif": encode(image, "AVIF"),
    }


FORMATS = formats()


@pytest.fixture(scope="module")
def plain():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", FORMATS)
def test_a_child_answers_as_this_process_would(plain, name):
    assert answer(plain.fingerprint, FORMATS[name]) == answer(fingerprint, FORMATS[name])


def answer(look, data):
    try:
        return look(data)
    except ContentRejected as error:
        return error.reason


def test_what_a_list_shall_remember_is_made_in_a_child_too(plain):
    photograph = encode(draw(Kind.SCENE, 41, side=300), "JPEG")
    asked = plain.fingerprint(photograph, for_lists=True)
    assert asked == fingerprint(photograph, for_lists=True)
    assert asked.parts
    assert not plain.fingerprint(photograph).parts


@pytest.mark.parametrize("data", [b"", b"no picture", PICTURE[:90]], ids=["empty", "text", "cut"])
def test_a_child_rejects_as_this_process_would(plain, data):
    assert answer(plain.fingerprint, data) == answer(fingerprint, data)


def test_what_is_too_large_never_reaches_a_child():
    with Sandbox(Limits(max_bytes=10), program=("/nowhere",)) as sandbox:
        assert rejected(sandbox, bytes(11)) is RejectReason.TOO_MANY_BYTES


def test_every_limit_reaches_the_child():
    with Sandbox(Limits(max_pixels=64 * 64 - 1, max_side=64)) as sandbox:
        assert rejected(sandbox, PICTURE) is RejectReason.TOO_MANY_PIXELS


# ── what it may not do ─────────────────────────────────────────────────────────────────────────────────────

FORBIDDEN = [
    "open", "list", "socket", "pair", "fork", "exec", "kill", "sleep", "duplicate", "other",
    "executable", "late_memory", "limits", *([] if THREADS else ["thread"]),
]  # fmt: skip


@pytest.mark.parametrize("act", FORBIDDEN)
def test_a_forbidden_call_ends_the_child_at_once(bent, told, act):
    assert rejected(bent, act.encode() + b"\n") is RejectReason.FORBIDDEN_CALL
    assert told.reasons == [Ending.FORBIDDEN_CALL]


@pytest.mark.skipif(not heic.READ, reason="the extra that reads it is not installed")
def test_a_decoder_that_needs_a_thread_has_one_and_has_no_process(bent, told):
    picture = heic.heic(draw(Kind.SCENE, 7, side=64))
    assert bent.fingerprint(picture) == fingerprint(picture)
    assert bent.fingerprint(b"thread\n").views
    assert rejected(bent, b"fork\n") is RejectReason.FORBIDDEN_CALL


def test_nothing_worth_stealing_is_in_reach(bent, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for children")
    assert bent.fingerprint(b"nothing_in_reach\n").views
    with Sandbox(SMALL, program=BENT) as late:
        assert late.fingerprint(b"nothing_in_reach\n").views


@LINUX
def test_a_child_has_its_channel_and_nothing_else():
    """Of a process that only lets go of what it has: a confined one may not be looked at, not even by us."""
    script = (
        "import os, socket, sys\n"
        "from coverguard.imaging.sandbox.confinement import keep_only\n"
        "ours, theirs = socket.socketpair()\n"
        "kept = [os.open('/', os.O_RDONLY) for _ in range(20)]\n"
        "keep_only(theirs.fileno())\n"
        "os.write(3, ','.join(sorted(os.listdir('/proc/self/fd'))).encode())\n"
        "os._exit(0)\n"
    ).replace("ours, theirs = socket.socketpair()", "theirs = socket.socket(fileno=int(sys.argv[1]))")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", script, str(theirs.fileno())]
        subprocess.run(command, pass_fds=[theirs.fileno()], check=True, timeout=60)
        assert set(ours.recv(100).decode().split(",")) <= {"0", "3"}  # 0 is the listing's own


@LINUX
def test_limits_and_rights_are_the_kernels_word(plain):
    plain.fingerprint(PICTURE)
    child = plain._idle[0]
    status = dict(line.split(":", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines())
    assert status["NoNewPrivs"].strip() == "1"
    assert status["CapEff"].strip("0 \t") == ""
    assert status["Threads"].strip() == "1"
    if child.confinement.seccomp:
        assert status["Seccomp"].strip() == "2"
    limits = Path(f"/proc/{child.pid}/limits").read_text()
    none = ["Max file size", "Max core file size", "Max open files"]
    for name in none if THREADS else [*none, "Max processes"]:
        (line,) = [line for line in limits.splitlines() if line.startswith(name)]
        assert line.removeprefix(name).split()[:2] == ["0", "0"]
    assert os.getpgid(child.pid) == child.pid


# ── what becomes of a cover whose child ends ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("act", ["crash", "abort", "exit"])
def test_a_crash_is_tried_once_more_and_is_then_the_files(bent, told, act):
    assert rejected(bent, act.encode() + b"\n") is RejectReason.DECODER_CRASHED
    assert told.reasons == [Ending.CRASHED, Ending.CRASHED]


def test_a_bug_of_ours_is_told_by_its_place_and_not_by_its_words(bent, told):
    assert rejected(bent, b"bug\nsecret of an uploader") is RejectReason.DECODER_CRASHED
    assert {one.error for one in told} == {"KeyError"}
    assert all(one.at.startswith("__main__:") for one in told)


def test_processor_time_is_the_files(bent, told):
    assert rejected(bent, b"spin\n") is RejectReason.CPU_LIMIT
    assert told.reasons == [Ending.CPU_LIMIT]


def test_a_child_that_does_nothing_says_nothing_of_the_file():
    told = Told()
    with Sandbox(HASTY, program=BENT, told=told.append) as sandbox:
        with pytest.raises(DecoderUnavailable, match="time_limit"):
            sandbox.fingerprint(b"hang\n")
        assert told.reasons == [Ending.TIME_LIMIT]
        sandbox.fingerprint(PICTURE)
        threading.Timer(0.2, os.kill, (sandbox.idle()[0], signal.SIGKILL)).start()
        with pytest.raises(DecoderUnavailable, match="time_limit"):
            sandbox.fingerprint(b"hang\n")
        assert told.reasons[1:] == [Ending.KILLED, Ending.TIME_LIMIT]


def test_a_memory_bomb_is_the_files(bent, told):
    assert rejected(bent, b"bomb\n") is RejectReason.OUT_OF_MEMORY
    assert told.reasons == [Ending.OUT_OF_MEMORY, Ending.OUT_OF_MEMORY]


@pytest.mark.parametrize(
    "answer",
    [
        b"junk" * 8,
        frames.HEADER.pack(b"CGA1", frames.Kind.FINGERPRINT, 1, 2**32 - 1),
        frames.HEADER.pack(b"CGA1", frames.Kind.FINGERPRINT, 1, 4) + bytes(4),
        frames.HEADER.pack(b"CGA1", frames.Kind.REJECTED, 1, 6) + b"\x05clean",
        frames.HEADER.pack(b"CGA1", frames.Kind.READY, 1, 0),
    ],
    ids=["junk", "endless", "empty", "invented", "another"],
)
def test_a_child_that_lies_is_not_believed(bent, told, answer):
    bent._idle.pop().end()  # so that the request is the first
    assert rejected(bent, b"say\n" + answer) is RejectReason.DECODER_CRASHED
    assert told.reasons == [Ending.MALFORMED, Ending.MALFORMED]


def test_exact_digests_are_not_the_childs_word(bent):
    forged = b"say\n" + frames.pack(replace(fingerprint(PICTURE), digests={"sha256": bytes(32)}), number=1)
    bent._idle.pop().end()
    assert bent.fingerprint(forged).digests == exact(forged)


@pytest.mark.parametrize("seen", [False, True])
def test_what_it_says_unasked_is_never_the_next_covers(bent, told, seen):
    """A second answer, there before the next cover is sent or after."""
    bent._idle.pop().end()
    assert bent.fingerprint(b"say\n" + frames.pack(fingerprint(PICTURE), number=1)).views
    if seen:
        assert until(lambda: not bent._idle[0].sound)
    other = encode(draw(Kind.SCENE, 8, side=64), "PNG")
    assert bent.fingerprint(other) == fingerprint(other)
    assert told.reasons in ([Ending.KILLED], [Ending.MALFORMED])


def test_a_child_killed_from_outside_is_replaced(bent, told):
    bent.fingerprint(PICTURE)
    os.kill(bent.idle()[0], signal.SIGKILL)
    assert bent.fingerprint(PICTURE) == fingerprint(PICTURE)
    assert told.reasons == [Ending.KILLED]


@LINUX
def test_a_launcher_that_is_killed_takes_its_children_along_and_is_replaced():
    with Sandbox(SMALL) as sandbox:
        sandbox.fingerprint(PICTURE)
        old, child = sandbox._launcher._process, sandbox.idle()[0]
        old.kill()
        assert until(lambda: not Path(f"/proc/{child}").exists())
        assert sandbox.fingerprint(PICTURE) == fingerprint(PICTURE)
        assert sandbox._launcher._process.pid != old.pid


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


# ── wear ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_child_serves_so_many_covers():
    told = Told()
    with Sandbox(covers=3, told=told.append) as sandbox:
        for _ in range(7):
            sandbox.fingerprint(PICTURE)
        assert told.reasons == [Ending.WORN, Ending.WORN]


@LINUX
def test_a_child_that_keeps_memory_is_replaced(bent, told, monkeypatch):
    monkeypatch.setattr(pool, "GROWTH", 50 * 2**20)
    bent.fingerprint(PICTURE)
    bent.fingerprint(b"hoard\n%d" % (100 * 2**20))
    assert told.reasons == [Ending.GROWN]


def test_after_some_crashes_children_lie_elsewhere_in_memory(monkeypatch):
    monkeypatch.setattr(pool, "CRASHES", 4)
    with Sandbox(SMALL, program=BENT) as sandbox:
        sandbox.fingerprint(PICTURE)
        old = sandbox._launcher
        rejected(sandbox, b"crash\n")
        sandbox.fingerprint(PICTURE)
        assert sandbox._launcher is old
        rejected(sandbox, b"crash\n")
        sandbox.fingerprint(PICTURE)
        assert sandbox._launcher is not old
        assert not old.alive


# ── threads, forks, the end ────────────────────────────────────────────────────────────────────────────────


def test_threads_share_the_children():
    pictures = [encode(draw(Kind.SCENE, seed, side=48), "PNG") for seed in range(12)]
    found = {}
    with Sandbox(SMALL, children=3, program=BENT) as sandbox:

        def serve(mine):
            for number in mine:
                if number % 4 == 3:
                    with contextlib.suppress(ContentRejected):
                        sandbox.fingerprint(b"crash\n")
                found[number] = sandbox.fingerprint(pictures[number])

        threads = [threading.Thread(target=serve, args=(range(n, 12, 5),)) for n in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(sandbox.idle()) <= 3
    assert found == {number: fingerprint(data) for number, data in enumerate(pictures)}


@LINUX
def test_nothing_is_left_open_and_nobody_unburied():
    before = descriptors()
    with Sandbox(SMALL, program=BENT) as sandbox:
        sandbox.fingerprint(PICTURE)
        during = descriptors()
        for act in (b"crash\n", b"open\n", b"bug\n", b"say\njunkjunkjunk"):
            rejected(sandbox, act)
        sandbox.fingerprint(PICTURE)
        assert len(descriptors()) == len(during)
        launcher = sandbox._launcher._process.pid
        assert len(children_of(launcher)) == 1
    assert descriptors() == before
    assert not Path(f"/proc/{launcher}").exists()


@LINUX
def test_nobody_survives_the_worker():
    script = (
        "import sys; from coverguard.imaging.sandbox import Sandbox\n"
        "s = Sandbox(); s.confinement(); print(s._launcher._process.pid, s.idle()[0], flush=True)\n"
        "sys.stdin.read()\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with worker:
        pids = worker.stdout.readline().split()
        assert len(pids) == 2
        worker.kill()
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@LINUX
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_of_the_worker_gets_children_of_its_own(plain):
    plain.fingerprint(PICTURE)
    wanted = fingerprint(PICTURE)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if plain.fingerprint(PICTURE) == wanted else 1
            plain.close()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert plain.fingerprint(PICTURE) == wanted


def test_a_closed_sandbox_says_so():
    sandbox = Sandbox()
    sandbox.close()
    sandbox.close()
    with pytest.raises(DecoderUnavailable, match="closed"):
        sandbox.fingerprint(PICTURE)


def test_closing_waits_for_nobody_and_spoils_nothing():
    made = []
    sandbox = Sandbox(SMALL, program=BENT)
    sandbox.confinement()
    big = encode(draw(Kind.SCENE, 3, side=900), "PNG")
    thread = threading.Thread(target=lambda: made.append(sandbox.fingerprint(big)))
    thread.start()
    until(lambda: sandbox._out)
    sandbox.close()
    thread.join()
    assert made == [fingerprint(big)]
    assert not sandbox.idle()


# ── a machine that cannot ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (("/nowhere/python",), "cannot start the launcher"),
        ((sys.executable, "-c", "raise SystemExit(1)"), "did not come up"),
        (
            (*BENT[:3], "-c", "import socket; socket.socket(fileno=0).send(b'x' * 10)"),
            "did not come up",
        ),
    ],
    ids=["missing", "silent", "babbling"],
)
def test_without_children_the_fault_is_named_and_is_nobodys_cover(program, words):
    with Sandbox(program=program) as sandbox:
        for _ in range(2):
            with pytest.raises(DecoderUnavailable, match=words):
                sandbox.fingerprint(PICTURE)
        with pytest.raises(DecoderUnavailable, match=words):
            sandbox.require_ready()


def test_a_launcher_that_cannot_warm_says_why():
    with (
        Sandbox(program=(*BENT, "no_such_limit=1")) as sandbox,
        pytest.raises(DecoderUnavailable, match="no_such_limit"),
    ):
        sandbox.fingerprint(PICTURE)


LAUNCHER = (
    "import importlib.util as u, sys\n"
    "spec = u.spec_from_file_location('launch', sys.argv[1])\n"
    "launch = u.module_from_spec(spec)\n"
    "spec.loader.exec_module(launch)\n"
    "launch.adopt(launch.PACKAGE)\n"
    "from coverguard.imaging.sandbox import child, launcher\n"
    "def fail(**_): raise OSError(1, 'rlimit refused')\n"
    "{patch}\n"
    "sys.exit(launcher.main(sys.argv[2:]))\n"
)


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ("child.confine = fail", "did not come up: PermissionError: .*rlimit refused"),
        (
            "child.prove = lambda _: child.os.open('/', 0) if child.os.getpid() != PID else None",
            "forbidden_call",
        ),
    ],
    ids=["refused", "one call too few"],
)
def test_a_child_that_cannot_be_confined_or_decode_so_says_why(shared, patch, words):
    script = LAUNCHER.format(patch=f"PID = child.os.getpid()\n{patch}")
    with (
        Sandbox(program=(*BENT[:3], "-c", script, launch.__file__)) as sandbox,
        pytest.raises(DecoderUnavailable, match=words),
    ):
        sandbox.fingerprint(PICTURE)


def test_another_release_under_a_running_worker_is_noticed(monkeypatch):
    monkeypatch.setattr(children, "FINGERPRINT_VERSION", 999)
    with Sandbox() as sandbox, pytest.raises(DecoderUnavailable, match="start it again"):
        sandbox.fingerprint(PICTURE)


def test_ready_while_it_works_and_not_when_broken(bent):
    bent.require_ready()
    assert isinstance(bent.confinement(), Confinement)
    assert Ended(why=Ending.WORN).error == ""
