"""A step of the keeper that fails slowly leaves the others their time."""

from __future__ import annotations

import pytest

from coverguard import keeper as module
from coverguard.errors import TransientError


class Watch:
    """A wall clock that goes on only when a step takes time."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch) -> Watch:
    made = Watch()
    monkeypatch.setattr(module, "time", made)
    return made


def test_what_fails_slowly_rests_as_long_as_it_took(world, watch):
    tried = []

    def black_hole() -> int:
        tried.append(watch.now)
        watch.now += 60
        raise TransientError("no answer")

    for _ in range(12):
        world.keeper._safely(black_hole)
        watch.now += 10
    assert tried == [1000.0, 1120.0]


def test_what_succeeds_or_fails_at_once_does_not_rest(world, watch):
    tried = []

    def slow_and_well() -> int:
        tried.append("well")
        watch.now += 60
        return 1

    def quick_and_ill() -> int:
        tried.append("ill")
        raise TransientError("no")

    for _ in range(2):
        world.keeper._safely(slow_and_well)
        world.keeper._safely(quick_and_ill)
    assert tried == ["well", "ill"] * 2
