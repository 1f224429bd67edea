"""The CDN of a profile that has none: the loopback file server tells everybody not to store."""

from __future__ import annotations

from collections.abc import Sequence


class NoCdn:
    """`ports.Cdn` where nothing is cached, so that an invalidation is complete at once."""

    def invalidate(self, keys: Sequence[tuple[str, str]]) -> None:
        """Return: no cache lies between the store and a reader."""
