"""`Sandbox`: the same call as `imaging.fingerprint`, decoded where a hostile file can do no harm.

A few children are kept warm. Each cover goes to one; whatever becomes of it there, the cover gets an answer
and the next cover a sound child. What is the content's fault and what is ours is decided here:

- too much processor time, or a system call that decoding never needs: the content's, at once.
- a crash, an answer that makes no sense, too little memory: tried once more by a child that has seen nothing
  yet, so that it is this file and not what came before it; then the content's.
- killed from outside, no answer in time without having worked for it, no child to be had: ours. Nothing is
  said of the content; the same call may succeed later.

Digests of the bytes are made here, in the worker, while the child decodes: exact matches do not hang on it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from coverguard.errors import ContentRejected, DecoderUnavailable, RejectReason
from coverguard.imaging import signals
from coverguard.imaging.limits import Limits
from coverguard.imaging.sandbox.children import Child, ChildFailed, Ending, Launcher, default_program
from coverguard.imaging.sandbox.confinement import LIFETIME_CPU, Confinement
from coverguard.imaging.sandbox.frames import REQUIRED, Fault, Rejected, Signals
from coverguard.model import Fingerprint

COVERS: Final = 256
"""Covers that a child serves: what a file could make it do to the answers of others ends there."""

GROWTH: Final = 256 * 2**20
"""Bytes that a child may keep of what it had for its covers."""

CRASHES: Final = 8
"""Children of one launcher that may crash: all that are forked of it lie alike in memory."""

_DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """News of a child that will not be used again."""

    why: Ending
    error: str = ""  # class of what our own code raised, where it did
    at: str = ""  # module and line of it


class Sandbox:
    """Decodes in children. Threads may share it; use it as a context, or close it."""

    def __init__(
        self,
        limits: Limits = _DEFAULT_LIMITS,
        *,
        children: int = 1,
        covers: int = COVERS,
        told: Callable[[Ended], None] | None = None,
        plugins: Sequence[str] = (),
        signals: Signals = REQUIRED,
        program: Sequence[str] | None = None,
    ) -> None:
        """Start nothing yet.

        At most so many `children`, each for so many `covers`. `told` hears of each child's end, in the thread
        that met it. `plugins` are the signal types beside ours, as `signal_types.load` takes them, and
        `signals` all that a view may have, with their length. `program` is the launcher's command, for tests.
        """
        self._limits = limits
        self._most = children
        self._covers = covers
        self._told = told
        self._signals = signals
        self._plugins = tuple(plugins)
        self._program = program
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._changed = threading.Condition()
        self._idle: list[Child] = []
        self._out = 0  # children in use
        self._closed = False
        self._launcher: Launcher | None = None
        self._crashes = 0
        self._broken = False  # no child came up when one was last asked for

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to warm a launcher, so that the first cover waits less; does not wait for it.

        Raises:
            DecoderUnavailable: it could not be started.
        """
        self._renew_after_fork()
        with self._changed:
            self._launch()

    def confinement(self) -> Confinement:
        """How well the children are confined here; starts one if there is none.

        Raises:
            DecoderUnavailable: none can be started; the message says why.
        """
        child = self._take()
        found = child.confinement
        self._give_back(child)
        return found

    def idle(self) -> tuple[int, ...]:
        """The process numbers of the children that wait for a cover, for whoever wants to look at them."""
        with self._changed:
            return tuple(child.pid for child in self._idle)

    def require_ready(self) -> None:
        """Raise DecoderUnavailable where no child can be had; does not wait for one that is at work."""
        with self._changed:
            well = not self._broken and (self._out or self._idle)
        if not well:
            self.confinement()

    def fingerprint(self, data: bytes, *, for_lists: bool = False) -> Fingerprint:
        """As `imaging.fingerprint`.

        Raises:
            ContentRejected: with the named reason; besides those of `imaging.fingerprint` CPU_LIMIT,
                DECODER_CRASHED and FORBIDDEN_CALL.
            DecoderUnavailable: the fault is not the content's: no child can be started, or it was killed, or
                the machine did not get to it in time.
        """
        if len(data) > self._limits.max_bytes:
            raise ContentRejected(RejectReason.TOO_MANY_BYTES)
        why = self._attempt(data, for_lists=for_lists)
        if isinstance(why, Ending) and why in _WORTH_ANOTHER:
            why = self._attempt(data, for_lists=for_lists, fresh=True)
        if isinstance(why, Fingerprint):
            return why
        if reason := _REASONS.get(why):
            raise ContentRejected(reason)
        raise DecoderUnavailable(f"the decoding child did not answer: {why.value}")

    def _attempt(self, data: bytes, *, for_lists: bool, fresh: bool = False) -> Fingerprint | Ending:
        """One child's answer, or how it ended instead. Raises ContentRejected where that is the answer."""
        child = self._take(fresh=fresh)
        try:
            turn = child.send(data, for_lists=for_lists)
            answer = child.receive(turn, signals.exact(data))
        except ChildFailed as failure:
            return self._drop(child, failure.why)
        except BaseException:
            self._drop(child, Ending.KILLED)  # an interrupt: half an answer may still be on its way
            raise
        match answer:
            case Fault(error=error, at=at):
                return self._drop(child, Ending.CRASHED, error=error, at=at)
            case Rejected(reason=RejectReason.OUT_OF_MEMORY):
                return self._drop(child, Ending.OUT_OF_MEMORY)
            case Rejected(reason=reason):
                self._give_back(child)
                raise ContentRejected(reason)
        self._give_back(child)
        return answer

    # ── who has which child ────────────────────────────────────────────────────────────────────────────────

    def _take(self, *, fresh: bool = False) -> Child:
        """An idle child, or a new one; waits while all are in use. Raises DecoderUnavailable."""
        self._renew_after_fork()
        with self._changed:
            while self._out >= self._most:
                self._changed.wait()
            self._out += 1
            kept = self._idle.pop() if self._idle else None
        try:
            if kept is not None and not fresh and kept.sound:
                return kept
            if kept is not None:
                self._tell(kept.end() or Ending.KILLED)
            return self._spawned()
        except BaseException:
            self._release()
            raise

    def _spawned(self) -> Child:
        with self._changed:
            launcher = self._launch()
        try:
            child = launcher.spawn()
        except DecoderUnavailable:
            with self._changed:
                self._broken = True
                if launcher is self._launcher:
                    self._launcher = None  # the next call begins anew
            launcher.close()
            self._tell(Ending.NOT_STARTED)
            raise
        self._broken = False
        return child

    def _launch(self) -> Launcher:
        """The launcher in use, or a new one; call it with the lock."""
        if self._closed:
            raise DecoderUnavailable("the sandbox is closed")
        if self._launcher is not None and not self._launcher.alive:
            self._launcher.close()
            self._launcher = None
        if self._launcher is None:
            program = self._program or default_program()
            self._launcher = Launcher(
                self._limits, program=program, signals=self._signals, plugins=self._plugins
            )
            self._crashes = 0
        return self._launcher

    def _give_back(self, child: Child) -> None:
        why = self._wear(child)
        if why is not None:
            self._drop(child, why)
            return
        with self._changed:
            stays = not self._closed and not child.launcher.retired
            if stays:
                self._idle.append(child)
        if not stays:
            child.end()
        self._release()

    def _wear(self, child: Child) -> Ending | None:
        """Why it has served long enough, if it has."""
        used = child.cpu
        if child.covers >= self._covers or (used is not None and used > LIFETIME_CPU / 2):
            return Ending.WORN
        return Ending.GROWN if child.growth() > GROWTH else None

    def _drop(self, child: Child, why: Ending | None, *, error: str = "", at: str = "") -> Ending:
        """End a child and tell of it. Without a reason its end says what it was."""
        ended = child.end()
        found = why or ended or Ending.KILLED
        if found in _SUSPICIOUS:
            self._count_crash()
        self._release()
        self._tell(found, error=error, at=at)
        return found

    def _tell(self, why: Ending, *, error: str = "", at: str = "") -> None:
        if self._told is not None:
            self._told(Ended(why=why, error=error, at=at))

    def _count_crash(self) -> None:
        """Warm a launcher that lies elsewhere in memory once somebody may have learnt where this one is."""
        with self._changed:
            self._crashes += 1
            if self._crashes < CRASHES or self._launcher is None:
                return
            old, self._launcher = self._launcher, None
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()
        old.retire()

    def _release(self) -> None:
        with self._changed:
            self._out -= 1
            self._changed.notify()

    def _renew_after_fork(self) -> None:
        """A fork of this process has no children of its own, and must not talk to those of the other."""
        if self._owner == os.getpid():
            return
        idle, launcher = self._idle, self._launcher
        self._reset()
        for child in idle:
            child.forget()
        if launcher is not None:
            launcher.forget()

    def close(self) -> None:
        """End the children. One that is in use ends with its cover."""
        self._renew_after_fork()
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            launcher, self._launcher = self._launcher, None
        for child in idle:
            child.end()
        if launcher is not None:
            launcher.retire()


_WORTH_ANOTHER: Final = frozenset(
    {Ending.CRASHED, Ending.MALFORMED, Ending.OUT_OF_MEMORY, Ending.KILLED},
)
_SUSPICIOUS: Final = frozenset({Ending.CRASHED, Ending.MALFORMED, Ending.FORBIDDEN_CALL})
_REASONS: Final = {
    Ending.CPU_LIMIT: RejectReason.CPU_LIMIT,
    Ending.FORBIDDEN_CALL: RejectReason.FORBIDDEN_CALL,
    Ending.CRASHED: RejectReason.DECODER_CRASHED,
    Ending.MALFORMED: RejectReason.DECODER_CRASHED,
    Ending.OUT_OF_MEMORY: RejectReason.OUT_OF_MEMORY,
}
