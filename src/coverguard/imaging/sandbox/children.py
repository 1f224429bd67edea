"""The worker's handles of what decodes for it: the launcher's process, and each child's channel.

Neither is believed: what comes from a child is read with a limit and a deadline and parsed by `frames`.
Processor time is read from the kernel's own clock of the child, so that a child cannot hide it, and a busy
machine is not taken for a costly file. Not here: who gets which child, what becomes of the cover.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import coverguard
from coverguard.errors import DecoderUnavailable
from coverguard.imaging.limits import Limits
from coverguard.imaging.sandbox import frames, launch
from coverguard.imaging.sandbox.confinement import Confinement
from coverguard.imaging.sandbox.frames import (
    GREETING,
    HEADER,
    Answer,
    Greeting,
    Kind,
    Malformed,
    Request,
    Signals,
)
from coverguard.imaging.sandbox.orders import END, ORDER, PROVE, SPAWN
from coverguard.model import FINGERPRINT_VERSION

START_SECONDS: Final = 60.0  # an interpreter with all codecs takes one; a loaded machine ten
SPAWN_SECONDS: Final = 20.0
_SHORTEST_WAIT: Final = 0.005


class Ending(StrEnum):
    """Why a child came to its end."""

    WORN = "worn"  # it served its number of covers
    GROWN = "grown"  # its memory did not come back
    CPU_LIMIT = "cpu_limit"  # one cover took more processor time than it may
    TIME_LIMIT = "time_limit"  # no answer in time, and not for want of effort: a slow machine, or it hung
    CRASHED = "crashed"  # a signal such as SIGSEGV, or our own code
    KILLED = "killed"  # SIGKILL, and not by us: memory ran short, or a person
    FORBIDDEN_CALL = "forbidden_call"  # SIGSYS: it tried what decoding never needs
    OUT_OF_MEMORY = "out_of_memory"
    MALFORMED = "malformed"  # it wrote what no sound child writes
    NOT_STARTED = "not_started"  # it never came up


class ChildFailed(Exception):
    """No answer; the child is of no more use."""

    def __init__(self, why: Ending | None = None) -> None:
        super().__init__(why.value if why else "the child hung up")
        self.why = why  # None: it hung up, and only its end can tell


def default_program() -> tuple[str, ...]:
    """The command of a launcher.

    `-I`: nothing from the environment, the user's folder or the working directory is imported. `-B`: it
    writes no file. Raises DecoderUnavailable where this interpreter does not know its own path.
    """
    if not sys.executable:
        raise DecoderUnavailable("cannot start decoding children: this interpreter has no path")
    return (sys.executable, "-I", "-B", str(Path(launch.__file__)))


_ENVIRONMENT: Final[Mapping[str, str]] = {
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",  # a child may start no thread, and one core is one child's share
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""All that a launcher is told of the world."""


class Launcher:
    """A launcher's process. Threads may share it."""

    def __init__(
        self, limits: Limits, *, program: Sequence[str], signals: Signals, plugins: Sequence[str]
    ) -> None:
        """Start it; it is warm some time later, and whoever needs it first waits for that.

        Raises:
            DecoderUnavailable: the interpreter could not be started.
        """
        self._limits = limits
        self._signals = signals
        self._lock = threading.Lock()
        self._warm = False
        self._proven = False
        self._retired = False  # it forks no more; it ends with the last of its children
        self._closed = False
        self._living = 0
        ours, theirs = socket.socketpair()
        arguments = [f"{name}={value}" for name, value in asdict(limits).items()]
        arguments += [f"plugin={name}" for name in plugins]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter with our own arguments
                [*program, *arguments],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(_ENVIRONMENT),
                cwd="/",
                close_fds=True,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise DecoderUnavailable("cannot start the launcher of decoding children") from error
        finally:
            theirs.close()
        self._control = ours

    def spawn(self) -> Child:
        """Fork a child and wait until it is ready.

        Raises:
            DecoderUnavailable: the launcher or the child could not start; the message says why.
        """
        ours, theirs = socket.socketpair()
        try:
            with self._lock:
                self._wait_until_warm()
                pid = self._ordered(SPAWN, 0 if self._proven else PROVE, descriptor=theirs.fileno())
                self._living += 1
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        child = Child(self, ours, pid, self._limits, self._signals)
        try:
            child.greeted()
        except DecoderUnavailable as error:
            cause = child.end()
            raise DecoderUnavailable(f"{error} ({cause.value if cause else 'unknown'})") from error
        self._proven = True
        return child

    def end(self, pid: int) -> int | None:
        """End a child of it and return its wait status; None where the launcher cannot be asked any more."""
        with self._lock:
            self._living -= 1
            last = self._retired and not self._living
            try:
                status: int | None = self._ordered(END, pid)
            except DecoderUnavailable:
                status = None  # it is gone or stuck, and its children go with it
        if last:
            self.close()
        return status

    def retire(self) -> None:
        """Fork no more, and end with the last child."""
        with self._lock:
            self._retired = True
            last = not self._living
        if last:
            self.close()

    @property
    def retired(self) -> bool:
        return self._retired

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _wait_until_warm(self) -> None:
        if self._warm:
            return
        greeting = _greeting(self._control, START_SECONDS)
        if (greeting.fingerprint_version, greeting.text) != (FINGERPRINT_VERSION, coverguard.__version__):
            raise DecoderUnavailable("the software was changed under this process: start it again")
        self._warm = True

    def _ordered(self, verb: bytes, number: int, *, descriptor: int | None = None) -> int:
        order = ORDER.pack(verb, number)
        try:
            self._control.settimeout(SPAWN_SECONDS)
            if descriptor is None:
                self._control.sendall(order)
            else:
                socket.send_fds(self._control, [order], [descriptor])
            said, value = ORDER.unpack(_exactly(self._control, ORDER.size, SPAWN_SECONDS))
        except (OSError, EOFError) as error:
            raise DecoderUnavailable("the launcher of decoding children does not answer") from error
        if said != verb:
            raise DecoderUnavailable("the launcher of decoding children speaks out of turn")
        return int(value)

    def close(self) -> None:
        """End it, and its children with it; it has nothing that could be lost."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._control.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """In a fork of the process that started it: let go of what is the other's."""
        self._control.close()
        self._process.returncode = 0  # not our child: nothing to wait for, and nothing to warn of


class Child:
    """One decoding child; used by one thread at a time."""

    def __init__(
        self, launcher: Launcher, line: socket.socket, pid: int, limits: Limits, signals: Signals
    ) -> None:
        self.launcher = launcher
        self.pid = pid
        self.covers = 0  # answered so far
        self.confinement = Confinement(seccomp=False, linux=False)
        self._line = line
        self._limits = limits
        self._signals = signals
        self._first_rss: int | None = None
        self._number = 0  # of the last request

    def greeted(self) -> None:
        """Wait for its greeting. Raises DecoderUnavailable."""
        self.confinement = Confinement.of(_greeting(self._line, SPAWN_SECONDS).flags)

    @property
    def cpu(self) -> float | None:
        """Seconds of processor time that it has used in all; None where nobody counts them."""
        return cpu_seconds(self.pid)

    @property
    def sound(self) -> bool:
        """Whether it still waits for a cover, and has said nothing without being asked."""
        self._line.settimeout(0)
        try:
            self._line.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def send(self, data: bytes, *, for_lists: bool = False) -> _Turn:
        """Give it a cover.

        Raises:
            ChildFailed: it hung up, or did not take it in time.
        """
        self._number += 1
        turn = _Turn(pid=self.pid, began=time.monotonic(), cpu=cpu_seconds(self.pid), limits=self._limits)
        try:
            self._line.settimeout(self._limits.wall_seconds)
            request = Request(number=self._number, size=len(data), for_lists=for_lists)
            self._line.sendall(request.pack())
            self._line.settimeout(self._limits.wall_seconds)
            self._line.sendall(data)
        except TimeoutError as error:
            raise ChildFailed(turn.overrun() or Ending.TIME_LIMIT) from error
        except OSError as error:
            raise ChildFailed from error
        return turn

    def receive(self, turn: _Turn, digests: Mapping[str, bytes]) -> Answer:
        """Its answer, within the limits of the turn.

        Raises:
            ChildFailed: it hung up, a limit was reached, or the answer makes no sense.
        """
        try:
            kind, size = frames.answer_of(self._within(turn, HEADER.size), number=self._number)
            answer = frames.parse(kind, self._within(turn, size), digests=digests, signals=self._signals)
        except Malformed as error:
            raise ChildFailed(Ending.MALFORMED) from error
        self.covers += 1
        return answer

    def _within(self, turn: _Turn, size: int) -> bytes:
        """So many bytes, before the turn is over."""
        data = bytearray(size)
        rest = memoryview(data)
        while rest:
            self._line.settimeout(turn.next_look())
            try:
                got = self._line.recv_into(rest)
            except TimeoutError as error:
                if over := turn.overrun():
                    raise ChildFailed(over) from error
                continue
            except OSError as error:
                raise ChildFailed from error
            if not got:
                raise ChildFailed
            rest = rest[got:]
        return bytes(data)

    def growth(self) -> int:
        """Bytes by which its resident memory exceeds what it was after its first cover."""
        rss = _resident(self.pid)
        if self._first_rss is None:
            self._first_rss = rss
        return rss - self._first_rss

    def end(self) -> Ending | None:
        """End it for good; return why it had ended already, KILLED if it had not, None where nobody knows."""
        status = self.launcher.end(self.pid)  # before it could notice that we hang up, and end by that
        self._line.close()
        return None if status is None else _cause(status)

    def forget(self) -> None:
        """In a fork of the process that started it: let go of what is the other's."""
        self._line.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One cover's time."""

    pid: int
    began: float
    cpu: float | None  # seconds that the child had used before; None where nobody counts them
    limits: Limits

    def next_look(self) -> float:
        """Seconds until a limit could be reached at the earliest: nobody uses more than time passes."""
        left = self.began + self.limits.wall_seconds - time.monotonic()
        if (used := self._used()) is not None:
            left = min(left, self.limits.cpu_seconds - used)
        return max(left, _SHORTEST_WAIT)

    def overrun(self) -> Ending | None:
        """The limit that is reached, if any."""
        if (used := self._used()) is not None and used >= self.limits.cpu_seconds:
            return Ending.CPU_LIMIT
        if time.monotonic() - self.began >= self.limits.wall_seconds:
            return Ending.TIME_LIMIT
        return None

    def _used(self) -> float | None:
        now = cpu_seconds(self.pid)
        return None if now is None or self.cpu is None else now - self.cpu


def cpu_seconds(pid: int) -> float | None:
    """Processor time of another process so far; None where the kernel does not tell it."""
    if sys.platform != "linux":
        return None
    try:
        return time.clock_gettime(~pid << 3 | 2)  # the clock of a process: clock_getcpuclockid(3)
    except OSError:  # it has ended
        return None


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 where the kernel does not tell it."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * resource.getpagesize()
    return 0


def _cause(status: int) -> Ending | None:
    """What a wait status says of the end of a child that nobody had asked to end."""
    if not os.WIFSIGNALED(status):
        return Ending.CRASHED
    return {
        signal.SIGSYS: Ending.FORBIDDEN_CALL,
        signal.SIGXCPU: Ending.CPU_LIMIT,
        signal.SIGKILL: Ending.KILLED,
    }.get(signal.Signals(os.WTERMSIG(status)), Ending.CRASHED)


def _greeting(line: socket.socket, seconds: float) -> Greeting:
    """Raises DecoderUnavailable where none comes, or one that says no."""
    try:
        greeting = Greeting.parse(_exactly(line, GREETING.size, seconds))
    except (OSError, EOFError, Malformed) as error:
        raise DecoderUnavailable(
            "a decoding child did not come up: it ended before its greeting. Run: coverguard doctor"
        ) from error
    if greeting.kind is not Kind.READY:
        raise DecoderUnavailable(f"a decoding child did not come up: {greeting.text}")
    return greeting


def _exactly(line: socket.socket, size: int, seconds: float) -> bytes:
    """Raises OSError (TimeoutError among them) and EOFError."""
    end = time.monotonic() + seconds
    data = b""
    while len(data) < size:
        line.settimeout(max(end - time.monotonic(), _SHORTEST_WAIT))
        got = line.recv(size - len(data))
        if not got:
            raise EOFError
        data += got
    return data
