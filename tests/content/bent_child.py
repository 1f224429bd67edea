"""A launcher whose children do what a file says that they should: `bent_child.py LAUNCH LIMIT=NUMBER…`.

A file that begins with the name of an act and a line feed makes the child do it, after it was confined; any
other is decoded as always. It stands for a file that made a decoder run its own code.
"""

import ctypes
import importlib.util
import mmap
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

spec = importlib.util.spec_from_file_location("launch", sys.argv[1])
launch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launch)
launch.adopt(launch.PACKAGE)

from coverguard.imaging.sandbox import child, launcher, seccomp  # noqa: E402

REACH = (
    "boto3",
    "botocore",
    "sqlalchemy",
    "httpx",
    "coverguard.settings",
    "coverguard.store",
    "multiprocessing",
)
KEPT = []
LIBC = ctypes.CDLL(None)


def spin(_):
    while True:
        pass


def hang(_):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def bomb(_):
    KEPT.append(bytearray(8 * 2**30))


def hoard(rest):
    KEPT.append(bytearray(b"x") * int(rest))


def say(rest):
    """Write these bytes for an answer, then go on as if nothing were amiss, and answer again."""
    LIBC.send(seccomp.CHANNEL, rest, len(rest), 0)


def bug(rest):
    raise KeyError(rest)


def nothing_in_reach(_):
    assert not [name for name in REACH if name in sys.modules], "what it has imported it can misuse"
    assert not {name for name in os.environ if "AWS" in name or "HOME" in name or "PYTHON" in name}
    assert len(os.environ) < 10


def late_memory(_):
    """Executable memory, by another way than asking for it at once."""
    block = mmap.mmap(-1, 4096)
    LIBC.mprotect(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(block))), 4096, 5)


ACTS = {
    "open": lambda _: Path("/etc/hostname").read_bytes(),
    "list": lambda _: list(Path("/").iterdir()),
    "socket": lambda _: socket.socket(socket.AF_INET),
    "pair": lambda _: socket.socketpair(),
    "fork": lambda _: os.fork(),
    "exec": lambda _: os.execv("/bin/true", ["true"]),
    "thread": lambda _: threading.Thread(target=time.monotonic).start(),
    "kill": lambda _: os.kill(os.getppid(), signal.SIGKILL),
    "sleep": lambda _: time.sleep(60),
    "duplicate": lambda _: os.dup(seccomp.CHANNEL),
    "other": lambda _: LIBC.recv(0, bytes(8), 8, 0),
    "executable": lambda _: mmap.mmap(-1, 4096, prot=7),
    "late_memory": late_memory,
    "limits": lambda _: child.confine(parent=os.getppid(), memory_bytes=2**40),
    "crash": lambda _: ctypes.string_at(0),
    "abort": lambda _: os.abort(),
    "exit": lambda _: os._exit(0),
    "spin": spin,
    "hang": hang,
    "bomb": bomb,
    "hoard": hoard,
    "say": say,
    "bug": bug,
    "nothing_in_reach": nothing_in_reach,
}  # fmt: skip


def bent(limits, plugins):
    decode = child.decoder(limits, plugins)
    usual = child.warm()[0]

    def work(data, for_lists):
        name, feed, rest = data.partition(b"\n")
        act = ACTS.get(name.decode("ascii", "replace")) if feed else None
        if act is None:
            return decode(data, for_lists)
        act(rest)
        return decode(usual, False)

    return work


if __name__ == "__main__":
    sys.exit(launcher.main(sys.argv[2:], make=bent))
