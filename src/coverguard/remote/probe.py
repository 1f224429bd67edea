"""Ask a URL as a stranger would, and say what came back in one of four words.

Invariants: only 403, 404, 410 and the configured placeholder count as gone; whatever cannot be judged (other
statuses, redirects, encodings, faults, slowness, too many bytes) is UNKNOWN; no redirect is followed, no
cookie, proxy or credential is sent; one total time limit covers name look-up, connection, head and body,
however slowly a server drips. Does not choose URLs: they come from templates in settings, never a message.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Coroutine
from datetime import timedelta
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from coverguard.ports import Reach

Answer = TypeVar("Answer")

_GONE = frozenset({403, 404, 410})
_CONNECTIONS = 8
_LAST_PORT = 65535  # the client takes higher ones, and fails in its own depths


class HttpProbe:
    """`ports.UrlProbe` with one keep-alive client. Any number of threads may ask; close it in the end."""

    def __init__(
        self,
        *,
        timeout: timedelta,
        limit: int,
        placeholders: frozenset[bytes] = frozenset(),
        placeholder_urls: frozenset[str] = frozenset(),
        user_agent: str = "Mozilla/5.0 (compatible; coverguard)",
    ) -> None:
        """Start the probe's thread.

        `limit` is the most body bytes read of one answer; `placeholders` are SHA-256 of the pictures shown
        for a removed cover, `placeholder_urls` the exact addresses that a redirect to such a picture names.
        """
        self._timeout = timeout.total_seconds()
        self._limit = limit
        self._placeholders = placeholders
        self._placeholder_urls = placeholder_urls
        self._client = _stranger(user_agent)
        # A loop of its own: a blocking client has no total limit, its time-outs start anew with each byte.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="url-probe", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and thread. May be called twice."""
        if self._loop.is_closed():
            return
        self._wait(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ask(self, url: str, *, sha256: bytes) -> Reach:
        return self._wait(self._ask(url, sha256))

    def _wait(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _ask(self, url: str, sha256: bytes) -> Reach:
        try:
            address = httpx.URL(url)
            if (address.port or 0) > _LAST_PORT:
                return Reach.UNKNOWN
            async with asyncio.timeout(self._timeout), self._client.stream("GET", address) as response:
                return await self._judge(response, sha256)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError):
            # ValueError: a host name that IDNA cannot encode
            return Reach.UNKNOWN

    async def _judge(self, response: httpx.Response, sha256: bytes) -> Reach:
        if response.status_code in _GONE or self._shows_placeholder(response):
            return Reach.GONE
        # Under an encoding that we did not ask for, the same picture would seem to be another one.
        if (
            response.status_code != httpx.codes.OK
            or response.headers.get("Content-Encoding", "identity") != "identity"
        ):
            return Reach.UNKNOWN
        digest = await self._digest(response)
        if digest is None:
            return Reach.UNKNOWN
        if digest == sha256:
            return Reach.REACHABLE
        return Reach.GONE if digest in self._placeholders else Reach.REPLACED

    def _shows_placeholder(self, response: httpx.Response) -> bool:
        if not response.has_redirect_location:
            return False
        return str(response.url.join(response.headers["Location"])) in self._placeholder_urls

    async def _digest(self, response: httpx.Response) -> bytes | None:
        """Return the body's SHA-256, or None when it is longer than the limit."""
        digest = hashlib.sha256()
        size = 0
        async for piece in response.aiter_raw():
            size += len(piece)
            if size > self._limit:
                return None
            digest.update(piece)
        return digest.digest()


def _stranger(user_agent: str) -> httpx.AsyncClient:
    client = httpx.AsyncClient(
        headers={"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"},
        timeout=None,  # noqa: S113 - the total limit of each question holds instead
        follow_redirects=False,
        trust_env=False,  # no proxy and no netrc from the environment
        limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
    )
    client.cookies.jar.set_policy(
        DefaultCookiePolicy(allowed_domains=[])
    )  # each question comes from a stranger
    return client
