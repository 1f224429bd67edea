"""The platform's catalogue over HTTP: what does an account have? Asked page by page, believed field by field.

Invariants: a listing either ends or raises, so that nothing is ever taken for "nothing"; each page has limits
on bytes, covers and total time, however slowly a server drips; no redirect is followed, no proxy or cookie
used; the key is shown to the configured address alone; a cursor that comes again is a fault, never an endless
loop; a cover of somebody else is a fault, never somebody else's takedown. No value of an answer and no
account id is in an error. Keeps no connection between pages. See docs/messages.md for the contract.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final
from urllib.parse import quote

import httpx

from coverguard.errors import BadMessage, Refused, TransientError
from coverguard.messages import MAX_PAGE_COVERS, CataloguePage, CoverUploaded, parse_catalogue_page
from coverguard.ports import Clock
from coverguard.remote.clients import client
from coverguard.retrying import briefly

TIMEOUT: Final = timedelta(seconds=30)
MAX_PAGE_BYTES: Final = 16 * 1024 * 1024  # 500 covers with 100 renditions each are 8 MiB
MAX_PAGES: Final = 20_000  # of one listing; nobody has ten million covers
_NOBODY: Final = "coverguard-doctor"  # an account that no platform has


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCatalogue:
    """`ports.Catalogue`. Any number of threads may ask, but none in which an event loop runs."""

    url: str
    token: Callable[[], str] = field(repr=False)  # asked once a listing
    clock: Clock
    timeout: timedelta = TIMEOUT  # of one try at one page, in all
    page_covers: int = MAX_PAGE_COVERS
    max_page_bytes: int = MAX_PAGE_BYTES
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)

    @property
    def exists(self) -> bool:
        return True

    def covers_of(self, account_id: str) -> Iterator[CoverUploaded]:
        token, cursor, seen = self.token(), None, set[bytes]()
        for _ in range(MAX_PAGES):
            ask = partial(self._page, account_id, cursor=cursor, token=token)
            page = briefly(ask, clock=self.clock)
            yield from page.covers
            if page.next is None:
                return
            cursor = page.next
            digest = hashlib.sha256(cursor.encode(errors="surrogatepass")).digest()
            if digest in seen:
                raise TransientError("catalogue: the same cursor came again")
            seen.add(digest)
        raise TransientError("catalogue: a listing has too many pages")

    def check(self) -> None:
        """Ask for an account that cannot be, which has nothing."""
        self._page(_NOBODY, cursor=None, token=self.token())

    def _page(self, account_id: str, *, cursor: str | None, token: str) -> CataloguePage:
        """Return one page whose covers are all the account's."""
        body = asyncio.run(self._ask(account_id, cursor=cursor, token=token))
        try:
            page = parse_catalogue_page(body)
        except BadMessage as error:
            raise TransientError(f"catalogue: {error}") from None
        if len(page.covers) > self.page_covers:
            raise TransientError("catalogue: field covers: more than were asked for")
        if any(cover.uploader_id != account_id for cover in page.covers):
            raise TransientError("catalogue: field covers.uploader_id: is not the account asked about")
        return page

    async def _ask(self, account_id: str, *, cursor: str | None, token: str) -> bytes:
        headers = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
        asked = {"limit": str(self.page_covers)} | ({} if cursor is None else {"cursor": cursor})
        try:
            address = httpx.URL(f"{self.url}/accounts/{_segment(account_id)}/covers", params=asked)
            async with (
                asyncio.timeout(self.timeout.total_seconds()),
                client(headers, trust=self.trust) as asking,
                asking.stream("GET", address) as response,
            ):
                _require_answer(response)
                return await self._body(response)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError) as error:
            # ValueError: a host name that IDNA cannot encode. From None: its words have the account in them.
            raise TransientError(f"catalogue: no whole answer: {type(error).__name__}") from None

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > self.max_page_bytes:
                raise TransientError("catalogue: a page has too many bytes")
        return bytes(body)


def _require_answer(response: httpx.Response) -> None:
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise Refused("catalogue: does not take the key in keys/catalogue.token")
    if response.status_code != httpx.codes.OK:
        raise TransientError(f"catalogue: answered {response.status_code}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise TransientError("catalogue: answered in an encoding that was not asked for")


def _segment(account_id: str) -> str:
    """An id as one path segment that no client or server takes for `.` or `..`."""
    return quote(account_id, safe="").replace(".", "%2E")
