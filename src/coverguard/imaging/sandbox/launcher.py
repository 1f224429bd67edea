"""The launcher: warms an interpreter once, and forks a decoding child of it whenever the worker asks.

It never sees a file. Its standard input is a socket to the worker. Over it come `SPAWN` with a descriptor,
which becomes the new child's channel and is answered by the child's number, and `END`, which ends a child and
is answered by how it ended. So a child that hangs costs no more than a fork, and a process number is never
used after it was given up. When the worker closes the socket, or dies, the launcher ends, and its children
with it.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence

import coverguard
from coverguard.imaging.limits import Limits
from coverguard.imaging.sandbox import child, confinement, seccomp
from coverguard.imaging.sandbox.frames import Greeting, Kind
from coverguard.imaging.sandbox.orders import END, ORDER, PROVE, SPAWN
from coverguard.model import FINGERPRINT_VERSION


def main(
    arguments: Sequence[str], *, make: Callable[[Limits, Sequence[str]], child.Work] = child.decoder
) -> int:
    """Serve the worker at the other end of the standard input until it hangs up."""
    control = socket.socket(fileno=0)
    try:
        confinement.settle()
        limits, plugins = _read(arguments)
        work = make(limits, plugins)
        proofs = child.warm()
        seccomp.architecture()
    except Exception as error:  # noqa: BLE001 - whatever it is, who waits for us shall know
        text = f"{type(error).__name__}: {error}"[:240]
        control.sendall(Greeting(kind=Kind.FAILED, text=text).pack())
        return os.EX_UNAVAILABLE
    gc.collect()
    gc.freeze()  # the collector of a child shall not write to pages that all share
    ready = Greeting(kind=Kind.READY, fingerprint_version=FINGERPRINT_VERSION, text=coverguard.__version__)
    control.sendall(ready.pack())
    _serve(control, child.Task(limits=limits, work=work, proofs=proofs))
    return os.EX_OK


def _read(arguments: Sequence[str]) -> tuple[Limits, Sequence[str]]:
    """`name=number` of a limit, `plugin=module:attribute` of a signal type: the worker's own words."""
    pairs = [argument.split("=", 1) for argument in arguments]
    limits = Limits(**{name: int(value) for name, value in pairs if name != "plugin"})
    return limits, [value for name, value in pairs if name == "plugin"]


def _serve(control: socket.socket, task: child.Task) -> None:
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, ORDER.size, 1)
        if not order:
            return
        verb, number = ORDER.unpack(order)
        if verb == SPAWN:
            (channel,) = descriptors
            control.sendall(ORDER.pack(SPAWN, _spawn(channel, task, proving=bool(number & PROVE))))
        elif verb == END:
            control.sendall(ORDER.pack(END, _end(number)))
        else:
            return


def _spawn(channel: int, task: child.Task, *, proving: bool) -> int:
    launcher = os.getpid()
    pid = os.fork()
    if pid:
        os.close(channel)
        return pid
    status = os.EX_SOFTWARE
    try:
        status = child.run(channel, task, parent=launcher, proving=proving)
    finally:
        os._exit(status)  # whatever was raised: nothing of the launcher's may run in a child


def _end(pid: int) -> int:
    """End a child if it has not ended by itself; return its wait status. It is ours until we have waited."""
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
