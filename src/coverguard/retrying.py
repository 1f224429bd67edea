"""The retry policies; the only home of tenacity.

`briefly` bridges a hiccup inside one call (three tries, jitter, a few seconds in all). `uncontended` runs a
whole verb again whose transaction the database gave up, within about a second. Everything longer is the
queue's: a handler returns `Retry`. Nothing retries a retry, and nothing but `TransientError` is retried.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial, wraps
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar, cast

import tenacity

from coverguard.errors import Contention, LeaseLost, TransientError
from coverguard.ports import Clock

P = ParamSpec("P")
T = TypeVar("T")

TURNS: Final = 6


class Timed(Protocol):
    """Whatever has a clock."""

    @property
    def clock(self) -> Clock: ...


S = TypeVar("S", bound=Timed)


def briefly(call: Callable[[], T], *, clock: Clock) -> T:
    """Run the call up to three times; the last `TransientError` is raised as it is."""
    retryer = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
        retry=tenacity.retry_if_exception(_worth_it),
        sleep=lambda seconds: clock.sleep(timedelta(seconds=seconds)),
        reraise=True,
    )
    return retryer(call)


def uncontended(call: Callable[[], T], *, clock: Clock) -> T:
    """Run the call, and again where another transaction was in its way: it must bear being run twice.

    Raises:
        TransientError: it was so every time; not a `Contention`, so that nobody starts all over at once.
    """
    retryer = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(TURNS),
        wait=tenacity.wait_random_exponential(multiplier=0.02, max=0.5),
        retry=tenacity.retry_if_exception_type(Contention),
        sleep=lambda seconds: clock.sleep(timedelta(seconds=seconds)),
        reraise=True,
    )
    try:
        return retryer(call)
    except Contention as error:
        raise TransientError("database: others were in the way every time") from error


def again_if_contended(verb: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Make a method of something with a clock an `uncontended` call."""

    @wraps(verb)
    def whole(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        return uncontended(partial(verb, self, *args, **kwargs), clock=self.clock)

    return cast(Callable[Concatenate[S, P], T], whole)  # `self` is given by position


def _worth_it(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not isinstance(error, LeaseLost)


def backoff(attempt: int) -> timedelta:
    """How long the queue waits before redelivery number `attempt` (1, 2, …): 2 s doubling to two minutes."""
    return timedelta(seconds=min(2**attempt, 120))
