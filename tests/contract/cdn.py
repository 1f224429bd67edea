"""What every `ports.Cdn` must do: one suite, run on each adapter.

A bench says what is still served from a cache of what was published there; where a server has no caches, what
it was told to forget, and whether it says that it has.
"""

from __future__ import annotations

from typing import Protocol

import pytest

from coverguard.ports import Cdn

KEYS = ("c/1.png", "c/with space+plus&more.png", "naïve/🦊.png", "a/b/~x@y*.png", "100%.png", "q?x=1#y")


class CdnBench(Protocol):
    cdn: Cdn
    bucket: str

    def cache(self, key: str) -> None:
        """Make an edge hold the key."""

    def cached(self, key: str) -> bool:
        """Whether an edge still serves it, though it is gone from the origin."""


class CdnContract:
    @pytest.fixture
    def bench(self, request: pytest.FixtureRequest) -> CdnBench:
        raise NotImplementedError

    @pytest.mark.parametrize("key", KEYS)
    def test_what_was_invalidated_is_served_no_longer(self, bench: CdnBench, key: str) -> None:
        bench.cache(key)
        assert bench.cached(key)
        bench.cdn.invalidate([(bench.bucket, key)])
        assert not bench.cached(key)

    def test_nothing_else_is_forgotten(self, bench: CdnBench) -> None:
        for key in ("c/1.png", "c/12.png"):
            bench.cache(key)
        bench.cdn.invalidate([(bench.bucket, "c/1.png")])
        assert not bench.cached("c/1.png")
        assert bench.cached("c/12.png")

    def test_many_at_once_and_each_twice(self, bench: CdnBench) -> None:
        bench.cache("c/1.png")
        keys = [(bench.bucket, f"c/{number}.png") for number in range(1200)]
        bench.cdn.invalidate(keys)
        bench.cdn.invalidate(keys[:2] * 2)
        assert not bench.cached("c/1.png")

    def test_nothing_is_done_for_nothing(self, bench: CdnBench) -> None:
        bench.cache("c/1.png")
        bench.cdn.invalidate([])
        assert bench.cached("c/1.png")
