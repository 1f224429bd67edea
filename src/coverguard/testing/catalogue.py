"""A simulated platform's catalogue: in memory, and served over HTTP on loopback, with faults on demand.

`Holdings` is what the platform has; `FakeCatalogue` and `CatalogueServer` tell the same of it, page by page.
A page's cursor is opaque to whoever asks. A fault befalls every page from the second on, or, where there is
none, the first: so that something was always told before a listing broke off. For tests and demonstrations.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, cast
from urllib.parse import parse_qs, unquote, urlsplit

from coverguard.errors import Refused, TransientError
from coverguard.messages import MAX_PAGE_COVERS, CoverUploaded, dump
from coverguard.testing.loopback import LoopbackHttp, LoopbackServer

TOKEN: Final = "for-tests-only"  # noqa: S105 - of a simulation
_PATIENCE: Final = 60.0  # seconds until a silent answer ends by itself


class Kind(StrEnum):
    """What may befall a listing."""

    NONE = "none"
    UNWELL = "unwell"  # 503
    SILENT = "silent"  # a page that does not come while the server runs
    CUT = "cut"  # half a page, and the connection is closed
    NONSENSE = "nonsense"  # 200 with a page that is not JSON
    MALFORMED = "malformed"  # a cover without its object
    FOREIGN = "foreign"  # a cover of somebody else
    LOOP = "loop"  # a cursor that leads back
    SHUT = "shut"  # 401: the key was taken away


class Holdings:
    """Every cover version that a platform stores, by who uploaded it. Thread-safe."""

    def __init__(self) -> None:
        self._covers: defaultdict[str, dict[tuple[str, str, int], CoverUploaded]] = defaultdict(dict)
        self._guard = threading.Lock()
        self.fault = Kind.NONE
        self.befell = Counter[Kind]()

    def put(self, cover: CoverUploaded) -> None:
        """Have a cover version; the same one again replaces it."""
        with self._guard:
            self._covers[cover.uploader_id][_name(cover)] = cover

    def forget(self, cover: CoverUploaded) -> None:
        with self._guard:
            self._covers[cover.uploader_id].pop(_name(cover), None)

    def page(self, account_id: str, *, start: int, limit: int) -> tuple[list[CoverUploaded], int | None]:
        """Return so many covers from that place on, and the place of the next ones, if there are any."""
        with self._guard:
            held = list(self._covers.get(account_id, {}).values())
        end = start + limit
        return held[start:end], end if end < len(held) else None

    def strikes(self, *, start: int, following: int | None) -> Kind:
        """The fault that befalls this page."""
        struck = self.fault if start or following is None else Kind.NONE
        self.befell[struck] += 1
        return struck


class FakeCatalogue:
    """`ports.Catalogue` without HTTP, over what a simulated platform has."""

    exists: Final = True

    def __init__(self, holdings: Holdings, *, page_covers: int = MAX_PAGE_COVERS) -> None:
        self.holdings = holdings
        self.page_covers = page_covers

    def covers_of(self, account_id: str) -> Iterator[CoverUploaded]:
        start: int | None = 0
        while start is not None:
            covers, following = self.holdings.page(account_id, start=start, limit=self.page_covers)
            struck = self.holdings.strikes(start=start, following=following)
            if struck is Kind.SHUT:
                raise Refused("catalogue: does not take the key")
            if struck is not Kind.NONE:
                raise TransientError(f"catalogue: {struck}")
            yield from covers
            start = following

    def check(self) -> None:
        list(self.covers_of("nobody"))


class CatalogueServer(LoopbackServer):
    """The same over HTTP, as docs/messages.md has it. Use it as a context manager."""

    def __init__(self, holdings: Holdings, *, token: str = TOKEN) -> None:
        self.holdings = holdings
        self.requests: list[str] = []  # the path and query of each, as they came
        super().__init__(_Http(self, token), name="catalogue")
        self.url = f"{self.origin}/catalogue"


class _Http(LoopbackHttp):
    def __init__(self, catalogue: CatalogueServer, token: str) -> None:
        self.catalogue = catalogue
        self.token = token
        super().__init__(_Handler)


class _Handler(BaseHTTPRequestHandler):
    wbufsize = -1
    timeout = _PATIENCE

    def do_GET(self) -> None:
        server = cast("_Http", self.server)
        catalogue = server.catalogue
        catalogue.requests.append(self.path)
        parts = urlsplit(self.path)
        segments, asked = parts.path.split("/"), parse_qs(parts.query)
        if self.headers.get("Authorization") != f"Bearer {server.token}":
            self._answer(401, b"{}")
            return
        if len(segments) != len(("", "catalogue", "accounts", "id", "covers")) or segments[4] != "covers":
            self._answer(404, b"{}")
            return
        start = int(asked["cursor"][0].removeprefix("c-")) if "cursor" in asked else 0
        account_id, limit = unquote(segments[3]), int(asked["limit"][0])
        covers, following = catalogue.holdings.page(account_id, start=start, limit=limit)
        struck = catalogue.holdings.strikes(start=start, following=following)
        documents = [json.loads(dump(cover)) for cover in covers]
        if struck is Kind.LOOP:
            following = start or limit
        self._told(struck, {"covers": documents, "next": None if following is None else f"c-{following}"})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the stdlib's signature
        """Say nothing: the request line has an account in it."""

    def _told(self, struck: Kind, page: dict[str, Any]) -> None:
        if struck is Kind.SILENT:
            cast("_Http", self.server).over.wait(_PATIENCE)
            return
        covers = page["covers"]
        if struck is Kind.MALFORMED:
            page = page | {"covers": [{**cover, "object": None} for cover in covers] or [{}]}
        if struck is Kind.FOREIGN:
            page = page | {"covers": [{**cover, "uploader_id": "somebody-else"} for cover in covers]}
        body = b"<html>sorry</html>" if struck is Kind.NONSENSE else json.dumps(page).encode()
        status = {Kind.UNWELL: 503, Kind.SHUT: 401}.get(struck, 200)
        self._answer(status, body, cut=struck is Kind.CUT)

    def _answer(self, status: int, body: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # whoever asked may have gone
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.wfile.flush()


def _name(cover: CoverUploaded) -> tuple[str, str, int]:
    return cover.cover.surface.value, cover.cover.id, cover.cover.version
