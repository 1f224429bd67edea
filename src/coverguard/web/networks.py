"""From which network somebody writes, and how often: as a keyed digest, never as an address.

The prefix (/24 of IPv4, /48 of IPv6) is what independent reports are told apart by, and caps counted by. An
address in a header counts only where the settings name the proxies that write it, read from the nearest proxy
outwards. The digest's key is the public process's own and does not change by itself: with a new key every day
one person on two days would look like two. The ledger forgets digests after a time.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.requests import Request

from coverguard.model import Micros

PREFIX_4, PREFIX_6 = 24, 48
REMEMBERED: Final = 50_000
FORWARDED: Final = "x-forwarded-for"

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class Networks:
    """Tells networks apart. `mac` is a keyed digest of 32 bytes."""

    def __init__(self, *, mac: Callable[[bytes], bytes], proxies: Sequence[Network] = ()) -> None:
        self._mac = mac
        self._proxies = proxies

    def digest(self, request: Request) -> bytes:
        """The digest of whoever asks; of all whose address is unknown the same."""
        address = self._client(request)
        if address is None:
            return self._mac(b"unknown")
        prefix = PREFIX_4 if isinstance(address, IPv4Address) else PREFIX_6
        return self._mac(str(ip_network((address, prefix), strict=False)).encode())

    def _client(self, request: Request) -> Address | None:
        told = request.headers.getlist(FORWARDED)
        hops = [part for line in told for part in line.split(",")]
        address = _address(request.client.host if request.client else "")
        while hops and address is not None and any(address in proxy for proxy in self._proxies):
            address = _address(hops.pop())
        return address


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class Buckets:
    """So many at once a network, and so many an hour; in memory, for this process alone."""

    def __init__(self, *, at_once: int, an_hour: int) -> None:
        self._size = at_once
        self._refill = an_hour / 3_600_000_000  # a microsecond
        self._lock = threading.Lock()
        self._left: OrderedDict[bytes, tuple[float, int]] = OrderedDict()

    def take(self, network: bytes, *, now: Micros) -> timedelta:
        """Take one; return how long to wait for the next, nothing where there was one left."""
        with self._lock:
            left, at = self._left.pop(network, (float(self._size), int(now)))
            left = min(float(self._size), left + max(0, now - at) * self._refill)
            enough = left >= 1
            self._left[network] = (left - enough, now)
            if len(self._left) > REMEMBERED:
                self._left.popitem(last=False)
        if enough:
            return timedelta()
        return timedelta(seconds=max(1, math.ceil((1 - left) / self._refill / 1_000_000)))
