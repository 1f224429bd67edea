"""One request to a hash exchange: a page, whole and understood, or an error that says what to do next.

Invariants: a page has limits on bytes and on total time, however slowly a server drips; no redirect is
followed, no proxy, cookie or netrc used; credentials leave in headers alone, over TLS unless the server is
on this host. No address, header or part of an answer is in an error, but what came of a page is in
`Broken.body`.

It knows no exchange's format and keeps no connection between pages.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from ipaddress import ip_address
from typing import Final, TypeVar
from urllib.parse import urlsplit

import httpx

from coverguard.errors import CoverguardError, Refused, TransientError
from coverguard.exchanges import ExchangeBusy
from coverguard.ports import Clock
from coverguard.remote.clients import client
from coverguard.retrying import briefly

TIMEOUT: Final = timedelta(seconds=60)
MAX_PAGE_BYTES: Final = 32 * 1024 * 1024
WORTH_WAITING: Final = timedelta(seconds=30)  # inline, at most this long and at most `_WAITS` times a page
_WAITS: Final = 2
_LONGEST: Final = timedelta(days=1)  # that anybody may ask us to stay away
_USUAL: Final = timedelta(minutes=1)  # where a 429 does not say how long
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_OK, _REQUEST_TIMEOUT, _TOO_MANY, _UNAVAILABLE = 200, 408, 429, 503

T = TypeVar("T")


class Broken(TransientError):
    """An answer that is not whole or makes no sense, perhaps because of one record in it."""

    def __init__(self, message: str, *, body: bytes = b"") -> None:
        super().__init__(message)
        self.body = body  # what came of it: as secret as a digest


class NotTaken(TransientError):
    """The exchange does not take this request; the same one again cannot help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back."""

    status: int  # 0: nothing did
    headers: Mapping[str, str] = field(repr=False)  # names in lower case
    body: bytes = field(repr=False, default=b"")  # of a 200
    cut: str | None = None  # why the body is not all of it, as a fixed word


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Asks one exchange. Any number of threads may, but none in which an event loop runs."""

    name: str  # of the exchange: the first word of every error
    credentials_file: str  # that a person looks at if we are refused
    clock: Clock
    timeout: timedelta = TIMEOUT  # of one try at one page, in all
    max_page_bytes: int = MAX_PAGE_BYTES
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)

    def get(self, address: str, *, headers: Mapping[str, str], read: Callable[[bytes], T]) -> T:
        """Return what `read` makes of the answer, after three tries; it raises `Broken` where it cannot.

        Raises:
            Broken: the answer never was a whole one.
            NotTaken: the exchange does not take this address (any more).
            ExchangeBusy, Refused, TransientError: as `exchanges.Exchange` has it.
        """
        attempt = partial(self._attempt, address, headers=headers, read=read)
        got: T | CoverguardError
        for waits_left in reversed(range(_WAITS + 1)):
            got = briefly(attempt, clock=self.clock)
            if not (waits_left and isinstance(got, ExchangeBusy) and got.after <= WORTH_WAITING):
                break
            self.clock.sleep(got.after)
        if isinstance(got, CoverguardError):
            raise got
        return got

    def once(self, address: str, *, headers: Mapping[str, str]) -> Reply:
        """Ask once."""
        return asyncio.run(self._ask(address, headers))

    def _attempt(
        self, address: str, *, headers: Mapping[str, str], read: Callable[[bytes], T]
    ) -> T | CoverguardError:
        """Return what is final, and raise what may be tried again at once."""
        reply = self.once(address, headers=headers)
        if reply.status != _OK:
            return self._refusal(reply)
        if reply.headers.get("content-encoding", "identity") != "identity":
            raise Broken(f"{self.name}: answered in an encoding that was not asked for")
        if reply.cut:
            raise Broken(f"{self.name}: no whole answer: {reply.cut}", body=reply.body)
        return read(reply.body)

    def _refusal(self, reply: Reply) -> CoverguardError:
        status = reply.status
        if status == 0:
            raise Broken(f"{self.name}: no answer: {reply.cut}")
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return Refused(f"{self.name}: does not take what is in {self.credentials_file}")
        if status in (_TOO_MANY, _UNAVAILABLE):
            after = self._asked_to_wait(reply.headers.get("retry-after", ""))
            if after is not None or status == _TOO_MANY:
                return ExchangeBusy(
                    f"{self.name}: answered {status}", after=_USUAL if after is None else after
                )
        if status == _REQUEST_TIMEOUT or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Broken(f"{self.name}: answered {status}")
        if status >= httpx.codes.BAD_REQUEST:
            return NotTaken(f"{self.name}: answered {status}")
        return TransientError(f"{self.name}: answered {status}")  # a redirect, or nothing to read

    def _asked_to_wait(self, said: str) -> timedelta | None:
        """Read a Retry-After, which is in seconds or a date."""
        if _SECONDS.fullmatch(said):
            return min(timedelta(seconds=int(said)), _LONGEST)
        try:
            until = parsedate_to_datetime(said).timestamp()
        except (ValueError, OverflowError, OSError):
            return None
        return min(
            max(timedelta(seconds=until) - timedelta(microseconds=self.clock.now()), timedelta()), _LONGEST
        )

    async def _ask(self, address: str, headers: Mapping[str, str]) -> Reply:
        status, received, body = 0, dict[str, str](), bytearray()
        cut: str | None = None
        try:
            async with (
                asyncio.timeout(self.timeout.total_seconds()),
                client(headers, trust=self.trust) as asking,
                asking.stream("GET", httpx.URL(address)) as response,
            ):
                status, received = response.status_code, {**response.headers}
                if status == _OK:
                    cut = await self._fill(body, response)
        except (httpx.ConnectError, httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
            # ValueError: a host name that IDNA cannot encode. From None: its words may have the address.
            raise TransientError(f"{self.name}: cannot be reached: {type(error).__name__}") from None
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            cut = type(error).__name__
        return Reply(status=status, headers=received, body=bytes(body), cut=cut)

    async def _fill(self, body: bytearray, response: httpx.Response) -> str | None:
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > self.max_page_bytes:
                del body[self.max_page_bytes :]
                return "too many bytes"
        return None


def require_root(url: str) -> str:
    """Return the address under which an exchange lies; raise ValueError for one that gets no credentials."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and _on_this_host(host)):
        raise ValueError("an exchange's address is https://, or http:// on a loopback address")
    if not host or "@" in parts.netloc or parts.query or parts.fragment or not url.isprintable():
        raise ValueError("an exchange's address is a host and a path, without user, query and fragment")
    return url.rstrip("/")


def printable_ascii(text: str) -> bool:
    """Say whether a credential can be sent in a header as it is."""
    return bool(text) and text.isascii() and text.isprintable() and text == text.strip()


def _on_this_host(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
