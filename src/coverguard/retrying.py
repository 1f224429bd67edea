"""The two retry policies; the only home of tenacity.

`briefly` bridges a hiccup inside one call (three tries, jitter, a few seconds in all). Everything longer is
the queue's: a handler returns `Retry`. Nothing retries a retry, and nothing but `TransientError` is retried.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import tenacity

from coverguard.errors import LeaseLost, TransientError
from coverguard.ports import Clock

T = TypeVar("T")


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


def _worth_it(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not isinstance(error, LeaseLost)


def backoff(attempt: int) -> timedelta:
    """How long the queue waits before redelivery number `attempt` (1, 2, …): 2 s doubling to two minutes."""
    return timedelta(seconds=min(2**attempt, 120))
