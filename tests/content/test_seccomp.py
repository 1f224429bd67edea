"""The filter, run by a small machine of our own: what is in the table passes, everything else kills."""

import ctypes
import errno
import os
import struct

import pytest

from coverguard.imaging.sandbox import seccomp
from coverguard.imaging.sandbox.seccomp import CALLS, CHANNEL, program

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
PID = 4242
I386 = 0x40000003


def judged(machine, number, *arguments, architecture=None, threads=True):
    """Run the filter on one call, as the kernel does."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number, architecture or MACHINES[machine], 0, *padded)
    lines, at, accumulator = program(machine, pid=PID, threads=threads), 0, 0
    while True:
        code, yes, no, operand = lines[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x15:
                at += yes if accumulator == operand else no
            case 0x45:
                at += yes if accumulator & operand else no
            case 0x06:
                return operand
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


def good(call):
    values = [0] * 6
    for argument, value in call.equal:
        values[argument] = PID if value < 0 else value
    return values


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_what_is_in_the_table_passes_with_its_arguments_and_with_no_others(machine, call):
    number = getattr(call, machine)
    assert judged(machine, number, *good(call)) == (ERRNO | call.refused if call.refused else ALLOW)
    for argument, _ in call.equal:
        for wrong in (CHANNEL + 1, 0, 2**32 - 1):
            values = good(call)
            values[argument] = wrong
            assert judged(machine, number, *values) == KILL
    for argument, bits in call.without:
        values = good(call)
        values[argument] = bits | 3
        assert judged(machine, number, *values) == KILL
    assert call.reason


@pytest.mark.parametrize("machine", MACHINES)
def test_everything_else_kills(machine):
    known = {getattr(call, machine) for call in CALLS}
    assert len(known) == len(CALLS)
    others = set(range(1_000)) - known | {2**31 - 1, -1, 0x40000000, *(0x40000000 | one for one in known)}
    assert {judged(machine, number, CHANNEL) for number in others} == {KILL}


@pytest.mark.parametrize("machine", MACHINES)
def test_threads_are_for_those_who_need_them_and_processes_for_nobody(machine):
    named = {call.name: call for call in CALLS if call.threads}
    for call in named.values():
        assert judged(machine, getattr(call, machine), *good(call), threads=False) == KILL
    assert named["clone3"].refused, "what it asks for cannot be seen"
    begin = getattr(named["clone"], machine)
    assert judged(machine, begin, *good(named["clone"])) == ALLOW
    for flags in (0x11, 0x4111, 0x003D0F00 & ~0x00010000, 0x103D0F00):  # processes; a new namespace
        assert judged(machine, begin, flags) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_of_another_architecture_are_other_calls(machine):
    other = next(value for name, value in MACHINES.items() if name != machine)
    for architecture in (other, I386, 0):
        assert {
            judged(machine, getattr(call, machine), *good(call), architecture=architecture or 1)
            for call in CALLS
        } == {KILL}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_kernel_could_take_it(machine):
    lines = program(machine, pid=PID)
    assert len(lines) <= 4096
    for at, (code, yes, no, operand) in enumerate(lines):
        assert at + 1 + max(yes, no) < len(lines) or code == 0x06
        assert 0 <= operand < 2**32
    assert lines[-1] == (0x06, 0, 0, KILL)


@pytest.mark.skipif(seccomp.architecture() is None, reason="no table for this machine")
def test_the_numbers_of_this_machine_are_the_kernels():
    """The kernel says ENOSYS to a number that it does not know; and some can be tried with harm to nobody."""
    machine = seccomp.architecture()
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = {call.name: getattr(call, machine) for call in CALLS}
    assert libc.syscall(numbers["getpid"]) == os.getpid()
    assert libc.syscall(numbers["munmap"], 1, 0) == -1
    assert ctypes.get_errno() == errno.EINVAL
    for name in ("recvfrom", "sendto", "writev", "write"):
        assert libc.syscall(numbers[name], -1, 0, 0, 0, 0, 0) == -1
        assert ctypes.get_errno() == errno.EBADF, name
