"""The decoding child: takes a file, decodes and hashes it, answers, until it is ended.

Forked warm from the launcher, then confined for good, then given files. A fault in a decoder, even one that
lets a file run code, finds no other file, no network, no key, no other process: it can lie about its own
cover and the few that the child still gets, and it can die. Raises nothing; what it cannot say it dies of.
"""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from PIL import AvifImagePlugin, Image, features

from coverguard.errors import ContentRejected, RejectReason
from coverguard.imaging import fingerprint, heic
from coverguard.imaging.limits import Limits
from coverguard.imaging.sandbox import frames
from coverguard.imaging.sandbox.confinement import confine, keep_only
from coverguard.imaging.sandbox.frames import Answer, Fault, Greeting, Kind, Rejected, Request
from coverguard.imaging.sandbox.seccomp import CHANNEL
from coverguard.imaging.signal_types import load, painted
from coverguard.imaging.sniff import sniff
from coverguard.model import FINGERPRINT_VERSION, Fingerprint

THREADS: Final = heic.READ
"""Whether decoding begins threads: HEIC's decoder does nothing without."""

Work = Callable[[bytes, bool], Fingerprint]
"""Of a file's bytes, and whether a list is to remember it."""
_PROOF_SIDE: Final = 64  # pixels
_FORMATS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a child is for."""

    limits: Limits
    work: Work
    proofs: Sequence[bytes]  # small harmless pictures, one of each format and kind


def decoder(limits: Limits, plugins: Sequence[str] = ()) -> Work:
    """The child's work: fingerprints without digests, which the worker makes itself and believes nobody.

    `plugins` are the signal types beside ours, as `signal_types.load` takes them.
    """
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a child may start no thread
    types = load(plugins)
    for one in types.plugged_in:
        for golden in one.golden:  # loads what it loads late
            one.extract(painted(golden.seed), painted(golden.seed).whole)

    def work(data: bytes, for_lists: bool) -> Fingerprint:  # noqa: FBT001 - the request's
        plugged_in = types.plugged_in
        return fingerprint(data, limits=limits, digests={}, plugged_in=plugged_in, for_lists=for_lists)

    return work


def warm() -> Sequence[bytes]:
    """Load everything that any picture may need, and return pictures that need all of it.

    Raises:
        Exception: whatever a decoder raises that cannot read what its own encoder wrote.
    """
    warnings.simplefilter("ignore")  # what a file makes a decoder say belongs nowhere
    proofs = _proofs()
    prove(proofs)
    for data in proofs[:_FORMATS]:
        with contextlib.suppress(ContentRejected):
            fingerprint(data[: len(data) * 2 // 3])  # so that nothing is loaded late by what is broken
    return proofs


def prove(proofs: Sequence[bytes]) -> None:
    """Decode all of these, within the usual limits whatever the operator's are. Raises as `warm`."""
    for data in proofs:
        fingerprint(data)


def _proofs() -> Sequence[bytes]:
    """Begin with a still picture of each format."""
    side = _PROOF_SIDE
    ramp = Image.linear_gradient("L").resize((side, side))
    colour = Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180)))
    veiled = colour.copy()
    veiled.putalpha(ramp)
    shorts = Image.frombytes("I;16", (side, side), bytes(2 * side * side))
    still = {"JPEG": colour, "PNG": veiled, "GIF": colour, "WEBP": veiled}
    moving = ["PNG", "GIF", "WEBP"]
    if features.check("avif"):
        still["AVIF"] = colour
    made = [_encoded(image, form) for form, image in still.items()]
    if heic.READ:
        made.append(heic.encoded(colour))
    made += [_encoded(colour.convert("CMYK"), "JPEG"), _encoded(colour, "JPEG", progressive=True)]
    made += [_encoded(colour.quantize(16), "PNG", transparency=1), _encoded(shorts, "PNG")]
    turned = [colour.rotate(90), colour.rotate(180)]
    made += [_encoded(colour, form, save_all=True, append_images=turned) for form in moving]
    return [data for data in made if sniff(data) is not None]


def _encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def run(channel: int, task: Task, *, parent: int, proving: bool) -> int:
    """Confine this process and serve until the worker hangs up; return the exit status."""
    keep_only(channel)
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=CHANNEL)
    try:
        confined = confine(parent=parent, memory_bytes=task.limits.memory_bytes, threads=THREADS)
        if proving:
            prove(task.proofs)
    except Exception as error:  # noqa: BLE001 - whatever it is, who waits for us shall know
        text = f"{type(error).__name__}: {error}"[:240]
        line.sendall(Greeting(kind=Kind.FAILED, text=text).pack())
        return os.EX_UNAVAILABLE
    greeting = Greeting(kind=Kind.READY, fingerprint_version=FINGERPRINT_VERSION, flags=confined.flags)
    line.sendall(greeting.pack())
    header = bytearray(frames.HEADER.size)
    while _filled(line, header):
        request = Request.parse(bytes(header), limit=task.limits.max_bytes)
        body = bytearray(request.size)
        if not _filled(line, body):
            break
        line.sendall(_answer(task.work, bytes(body), request))
    return os.EX_OK


def _filled(line: socket.socket, wanted: bytearray) -> bool:
    """Read until it is full; False where the worker hung up."""
    rest = memoryview(wanted)
    while rest:
        got = line.recv_into(rest)
        if not got:
            return False
        rest = rest[got:]
    return True


def _answer(work: Work, data: bytes, request: Request) -> bytes:
    answer: Answer
    try:
        answer = work(data, request.for_lists)
        return frames.pack(answer, number=request.number)
    except ContentRejected as error:
        answer = Rejected(reason=error.reason)
    except MemoryError:
        answer = Rejected(reason=RejectReason.OUT_OF_MEMORY)
    except Exception as error:  # noqa: BLE001 - a bug of ours; the worker tells of it
        answer = Fault(error=type(error).__name__, at=_place(error))
    return frames.pack(answer, number=request.number)


def _place(error: BaseException) -> str:
    """Module and line of where it was raised; nothing of what it says."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_globals.get('__name__', '_')}:{frame.tb_lineno}" if frame else "_:0"
