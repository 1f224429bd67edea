"""Whether this process lives, and whether it is ready: two questions with two answers.

It *lives* while each of its loops makes progress; one that hangs does not, and only a restart helps. It is
*ready* when the parts it needs answer; one that is not must not be restarted for it, since that would help
nobody. Neither is ever asked on the road of a delivery.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

OK: Final = "ok"
NO_ANSWER: Final = "no_answer"
# Longer than anything that ends by itself: three tries of every call of a delivery, each with its time-out.
STUCK_AFTER: Final = timedelta(minutes=5)

Tick = Callable[[], float]


class Pulse:
    """When each loop of this process last made progress, by a clock that nobody sets."""

    def __init__(self, *loops: str, tick: Tick = time.monotonic) -> None:
        self._tick = tick
        self._beats = dict.fromkeys(loops, tick())  # a loop that never begins is stuck, too

    def beat(self, loop: str) -> None:
        """Say that the loop makes progress; cheap."""
        self._beats[loop] = self._tick()

    def ages(self) -> Mapping[str, float]:
        """Seconds since each loop's last progress."""
        now = self._tick()
        return {loop: now - then for loop, then in [*self._beats.items()]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Answers both questions. Safe to ask from several threads.

    `checks` are cheap calls that raise when their part does not answer. Each runs in a thread of its own for
    at most `limit`; one that still hangs from the last time is not started again.
    """

    pulse: Pulse
    checks: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    stuck_after: timedelta = STUCK_AFTER
    limit: timedelta = timedelta(seconds=3)
    cached: timedelta = timedelta(seconds=5)
    tick: Tick = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asked: dict[str, _Question] = field(default_factory=dict)

    def alive(self) -> Mapping[str, bool]:
        """Whether each loop made progress lately."""
        return {loop: age <= self.stuck_after.total_seconds() for loop, age in self.pulse.ages().items()}

    def ready(self) -> Mapping[str, str]:
        """What each part says: `ok`, `no_answer`, or the class of the error."""
        with self._lock:
            for name, check in self.checks.items():
                last = self._asked.get(name)
                if last is None or (last.answer and self.tick() - last.at >= self.cached.total_seconds()):
                    self._asked[name] = _Question(check, at=self.tick())
            waited_until = self.tick() + self.limit.total_seconds()
            return {
                name: question.wait(max(waited_until - self.tick(), 0.0))
                for name, question in self._asked.items()
            }


class _Question:
    """One call of a check, in a thread that may outlast us."""

    def __init__(self, check: Callable[[], object], *, at: float) -> None:
        self.at = at
        self.answer = ""
        self._done = threading.Event()
        threading.Thread(target=self._ask, args=(check,), name="readiness", daemon=True).start()

    def wait(self, seconds: float) -> str:
        self._done.wait(seconds)
        return self.answer or NO_ANSWER

    def _ask(self, check: Callable[[], object]) -> None:
        answer = OK
        try:
            check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the part does not answer as it should
            answer = type(error.__cause__ or error).__name__
        self.answer = answer
        self._done.set()
