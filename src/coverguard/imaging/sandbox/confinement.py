"""Takes from this process what decoding does not need: files, rights, processes, memory and time without end.

`settle` is for the launcher, before it has warmed anything; `confine` for each child, after that and before
it is given a file. Both work on this process and cannot be taken back. What the kernel has none of is left
out (`prctl` and capabilities are Linux's, seccomp is not everywhere), and `Confinement` says so.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coverguard.imaging.sandbox import seccomp
from coverguard.imaging.sandbox.seccomp import CHANNEL

LIFETIME_CPU: Final = 1800
"""Seconds of processor that a child has in all: the net under the limit of each cover."""

_MOST_DESCRIPTORS: Final = 1024
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITIES_VERSION: Final = 0x20080522  # linux/capability.h, version 3: header, then three words twice
_SECCOMP, _LINUX = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """How well a child is confined."""

    seccomp: bool  # only listed system calls
    linux: bool  # no capabilities, no new rights, gone with its parent

    @property
    def flags(self) -> int:
        return (_SECCOMP if self.seccomp else 0) | (_LINUX if self.linux else 0)

    @classmethod
    def of(cls, flags: int) -> Confinement:
        return cls(seccomp=bool(flags & _SECCOMP), linux=bool(flags & _LINUX))


def settle() -> None:
    """Of the launcher: deaf to terminals and service managers, and among the first to go if memory is short.

    It ends when its worker closes the channel, and so finishes what the worker finishes.
    """
    os.chdir("/")
    os.umask(0o077)
    for deaf in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(deaf, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(OSError):  # a wish: some hosts write-protect all of /proc
            Path("/proc/self/oom_score_adj").write_bytes(b"500")
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _prctl(_PR_SET_DUMPABLE, 0)
        _drop_capabilities()


def confine(*, parent: int, memory_bytes: int, threads: bool = False) -> Confinement:
    """Of a child just forked of this parent: so much memory and no more, and nothing it has no need of.

    With `threads` it may begin some, and still no process.

    Raises:
        OSError: the kernel refused something that it has.
    """
    linux = sys.platform == "linux"
    if linux:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before we asked to go with it
            os._exit(os.EX_TEMPFAIL)
    os.setpgid(0, 0)
    bounds = {
        resource.RLIMIT_AS: _address_space() + memory_bytes,
        resource.RLIMIT_CPU: LIFETIME_CPU,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if not threads:
        bounds[resource.RLIMIT_NPROC] = 0  # the kernel counts threads by it, too
    for what, most in bounds.items():
        hard = resource.getrlimit(what)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, bound))
    return Confinement(seccomp=seccomp.install(threads=threads), linux=linux)


def keep_only(channel: int) -> None:
    """Close every file descriptor but this one, and let it be `CHANNEL`."""
    if channel != CHANNEL:
        os.dup2(channel, CHANNEL, inheritable=False)
    os.closerange(0, CHANNEL)
    os.closerange(CHANNEL + 1, _MOST_DESCRIPTORS)


def _address_space() -> int:
    """Bytes that are mapped now; 0 where the kernel does not tell."""
    if sys.platform != "linux":
        return 0
    return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *(ctypes.c_ulong(one) for one in (value, 0, 0, 0))) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} refused")


def _drop_capabilities() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(ctypes.byref(header), ctypes.byref(nothing)) != 0:
        raise OSError(ctypes.get_errno(), "capset refused")
