"""CloudFront: no edge serves what was blocked, once its invalidation is complete.

Invariants: returning means "complete", as CloudFront itself says; a call never leans on an invalidation that
began before it, because what an edge fetched in between would stay. The library's own repeats of one request
carry the same reference and so make one invalidation. Assumes that a key's path below the distribution is the
key, whatever bucket it lies in. Says nothing of other caches: the URL probe asks as the public would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from coverguard.aws.clients import transient
from coverguard.errors import TransientError
from coverguard.model import Micros
from coverguard.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_cloudfront.client import CloudFrontClient

COMPLETE_WITHIN: Final = timedelta(minutes=2)
_BATCH: Final = 1000  # paths; CloudFront has 3000 under way at most
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(milliseconds=200), timedelta(seconds=5)
_SAFE: Final = "/!$&'()*+,;:=-._"  # what RFC 1738 does not call unsafe; `@` is known to be refused


class CloudFrontCdn:
    """`ports.Cdn` for one distribution. Thread-safe."""

    def __init__(
        self,
        client: CloudFrontClient,
        *,
        distribution: str,
        clock: Clock,
        timeout: timedelta = COMPLETE_WITHIN,
    ) -> None:
        self._client = client
        self._distribution = distribution
        self._clock = clock
        self._timeout = timeout

    def invalidate(self, keys: Sequence[tuple[str, str]]) -> None:
        paths = sorted({path for _, key in keys for path in paths_of(key)})
        began = self._clock.now()
        batches = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]
        for name in [self._begin(batch, began) for batch in batches]:
            self._wait(name, began)

    def _begin(self, paths: Sequence[str], began: Micros) -> str:
        with transient("begin an invalidation"):
            answer = self._client.create_invalidation(
                DistributionId=self._distribution,
                InvalidationBatch={
                    "Paths": {"Quantity": len(paths), "Items": list(paths)},
                    "CallerReference": _reference(paths, began),
                },
            )
        return answer["Invalidation"]["Id"]

    def _wait(self, name: str, began: Micros) -> None:
        """Raises `TransientError` when it is not complete in time; the next call begins another."""
        for pause in _pauses():
            with transient("ask for an invalidation"):
                answer = self._client.get_invalidation(DistributionId=self._distribution, Id=name)
            if answer["Invalidation"]["Status"] == "Completed":
                return
            if self._clock.now() - began > self._timeout // timedelta(microseconds=1):
                raise TransientError("an invalidation was not complete in time")
            self._clock.sleep(pause)


def paths_of(key: str) -> frozenset[str]:
    """Return the paths under which edges may have cached the key.

    CloudFront takes paths literally, and clients differ in what they encode: the one that encodes only what
    must be, and the one that encodes all that may be. A `*` at the end takes more than the key, never less.
    """
    return frozenset("/" + quote(key, safe=safe).replace("~", "%7E") for safe in (_SAFE, "/"))


def _reference(paths: Sequence[str], began: Micros) -> str:
    return hashlib.sha256("\n".join([str(began), *paths]).encode()).hexdigest()


def _pauses() -> Iterator[timedelta]:
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, _LONGEST_PAUSE)
