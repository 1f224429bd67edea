"""The HTTP client for services that are shown a key: nothing of the environment, no redirect, no encoding."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import httpx


def client(headers: Mapping[str, str], *, trust: ssl.SSLContext) -> httpx.AsyncClient:
    """Make a client that follows no redirect and takes no proxy, netrc or cookie from elsewhere.

    It has no time-out of its own, which would start anew with each byte: whoever asks limits the whole time.
    """
    return httpx.AsyncClient(
        headers={"Accept-Encoding": "identity", "User-Agent": "coverguard", **headers},
        timeout=None,  # noqa: S113 - see above
        follow_redirects=False,
        trust_env=False,  # no proxy and no netrc from the environment
        verify=trust,
    )
