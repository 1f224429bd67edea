"""The system calls that a decoding child may make once it is warm, and the filter that allows no other.

Everything is loaded and every table is built before the filter goes up; what is left to do for a child is to
take a cover, think, and answer. So there is no open, no socket, no clone, no exec, no ioctl, no prctl, no
kill of others in the table, and of what is in it the arguments are bound where they matter. Threads may be
begun only where a decoder is installed that does nothing without (HEIC's). Whatever is not in the table ends
the process with SIGSYS. Linux on x86-64 and AArch64; elsewhere `install` says that it could
not, and the resource limits stand alone.

The numbers are those of the kernel's tables: arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CHANNEL: Final = 3
"""The one file descriptor that a child has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One system call that is let through, and why."""

    name: str
    x86_64: int
    aarch64: int
    reason: str
    equal: tuple[tuple[int, int], ...] = ()  # (argument, value that its low 32 bits must have)
    without: tuple[tuple[int, int], ...] = ()  # (argument, bits that must not be set)
    refused: int = 0  # the error that it is answered with instead
    threads: bool = False  # only where a decoder needs threads


_PROT_EXEC: Final = 4
_THREAD: Final = 0x003D0F00
"""What the C library begins a thread with: it shares memory, files, handlers and the process."""
_OWN_PID: Final = -1  # stands for the process's own number, which is known when the filter is built

CALLS: Final[Sequence[Call]] = (
    Call(name="recvfrom", x86_64=45, aarch64=207, equal=((0, CHANNEL),), reason="takes the next cover"),
    Call(name="sendto", x86_64=44, aarch64=206, equal=((0, CHANNEL),), reason="gives the answer"),
    Call(
        name="mmap", x86_64=9, aarch64=222, without=((2, _PROT_EXEC),),
        reason="memory of the allocators; never to be run",
    ),
    Call(name="munmap", x86_64=11, aarch64=215, reason="gives it back"),
    Call(name="mremap", x86_64=25, aarch64=216, reason="realloc of large blocks"),
    Call(name="brk", x86_64=12, aarch64=214, reason="memory of malloc"),
    Call(name="madvise", x86_64=28, aarch64=233, reason="free of large blocks; numpy's huge pages"),
    Call(
        name="mprotect", x86_64=10, aarch64=226, without=((2, _PROT_EXEC),),
        reason="malloc grows its heaps by it; never to be run",
    ),
    Call(name="futex", x86_64=202, aarch64=98, reason="Python's lock, locks of the codecs"),
    Call(name="clock_gettime", x86_64=228, aarch64=113, reason="where the clock is not read without a call"),
    Call(name="rt_sigreturn", x86_64=15, aarch64=139, reason="return from a signal's handler"),
    Call(name="rt_sigprocmask", x86_64=14, aarch64=135, reason="abort, so that it is seen as what it is"),
    Call(name="getpid", x86_64=39, aarch64=172, reason="abort"),
    Call(name="gettid", x86_64=186, aarch64=178, reason="abort"),
    Call(
        name="tgkill", x86_64=234, aarch64=131, equal=((0, _OWN_PID), (2, signal.SIGABRT)),
        reason="abort: itself, with SIGABRT",
    ),
    Call(
        name="writev", x86_64=20, aarch64=66, refused=errno.EBADF,
        reason="malloc says there why it aborts; nobody listens",
    ),
    Call(
        name="write", x86_64=1, aarch64=64, refused=errno.EBADF,
        reason="codecs that warn there; nobody listens",
    ),
    Call(name="exit_group", x86_64=231, aarch64=94, reason="the end"),
    Call(
        name="clone3", x86_64=435, aarch64=435, refused=errno.ENOSYS, threads=True,
        reason="what it asks for lies in memory; the C library then asks by clone",
    ),
    Call(
        name="clone", x86_64=56, aarch64=220, equal=((0, _THREAD),), threads=True,
        reason="HEVC's decoder works in a thread, never in none; no process can be begun by it",
    ),
    Call(name="set_robust_list", x86_64=273, aarch64=99, threads=True, reason="a thread begins"),
    Call(name="rseq", x86_64=334, aarch64=293, threads=True, reason="a thread begins"),
    Call(name="exit", x86_64=60, aarch64=93, threads=True, reason="a thread ends"),
)  # fmt: skip

_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_… of linux/audit.h
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

# linux/bpf_common.h, linux/seccomp.h; the offsets are those of struct seccomp_data
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_INSTRUCTION: Final = struct.Struct("=HBBI")

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def architecture() -> str | None:
    """The machine's name where there is a table for it, else None."""
    if sys.platform != "linux" or sys.maxsize < 2**32:  # a 32-bit process has other numbers
        return None
    machine = platform.machine()
    return machine if machine in _ARCHITECTURES else None


def calls(*, threads: bool) -> Sequence[Call]:
    """What a child may ask for that needs threads, or none."""
    return [call for call in CALLS if threads or not call.threads]


def program(machine: str, *, pid: int, threads: bool = False) -> list[Instruction]:
    """The filter for a process of this number, as (code, jump if true, jump if false, operand)."""
    built: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),  # first: the same number is another call elsewhere
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for call in calls(threads=threads):
        verdict = _judged(call, pid)
        number = call.x86_64 if machine == "x86_64" else call.aarch64
        built += [(_EQUAL, 0, len(verdict), number), *verdict]
    return [*built, (_RETURN, 0, 0, _KILL)]


def _judged(call: Call, pid: int) -> list[Instruction]:
    """What follows once the number fits: each argument bound, then the verdict. Ends in a return always."""
    checks: list[Instruction] = []
    for argument, value in call.equal:
        wanted = pid if value == _OWN_PID else value
        checks += [(_LOAD, 0, 0, _low_half(argument)), (_EQUAL, 1, 0, wanted), (_RETURN, 0, 0, _KILL)]
    for argument, bits in call.without:
        checks += [(_LOAD, 0, 0, _low_half(argument)), (_ANY_BIT, 0, 1, bits), (_RETURN, 0, 0, _KILL)]
    return [*checks, (_RETURN, 0, 0, _ERRNO | call.refused if call.refused else _ALLOW)]


def _low_half(argument: int) -> int:
    """Where the low 32 bits lie, on machines that are little-endian; the kernel reads no more of these."""
    return _ARGUMENTS + 8 * argument


def install(*, threads: bool = False) -> bool:
    """Put the filter on this process, for good; say whether that could be done. Needs no_new_privs.

    Raises:
        OSError: the kernel has such filters and refused this one.
    """
    machine = architecture()
    if machine is None:
        return False
    lines = program(machine, pid=os.getpid(), threads=threads)
    code = b"".join(_INSTRUCTION.pack(*line) for line in lines)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    asked = _Program(len(lines), code)
    unused = ctypes.c_ulong(0)
    if prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(asked), unused, unused) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOSYS):  # a kernel without, or a host that hides it
        return False
    raise OSError(ctypes.get_errno(), "seccomp filter refused")
