from __future__ import annotations

import time
from datetime import timedelta

from coverguard.local.cdn import NoCdn
from coverguard.local.clock import SystemClock


def test_the_clock_tells_microseconds_of_now() -> None:
    before = time.time_ns() // 1000
    now = SystemClock().now()
    assert before <= now <= time.time_ns() // 1000


def test_the_clock_sleeps_about_as_told() -> None:
    begun = time.monotonic()
    SystemClock().sleep(timedelta(milliseconds=20))
    assert time.monotonic() - begun >= 0.02
    SystemClock().sleep(timedelta(seconds=-5))


def test_without_a_cdn_an_invalidation_is_complete() -> None:
    NoCdn().invalidate([("covers", "a")])
