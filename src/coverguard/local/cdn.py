"""The CDN of a profile that has none, and a small real one on loopback.

`NoCdn` fits the file server, which tells everybody not to store. `LocalCdn` is a cache in front of any HTTP
origin that really serves stale bytes until they are invalidated, whatever the origin says of storing: so that
"gone" can be tested as it is meant, origin and edges both. Invariants: only answers of 200 are stored; an
answer fetched before an invalidation is not stored after it. For tests and demonstrations: no TLS, no limits
on what it stores, nothing expires.
"""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import quote, unquote

from coverguard.errors import TransientError

_HOST: Final = "127.0.0.1"
_ORIGIN_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05  # how long a stop may wait


class NoCdn:
    """`ports.Cdn` where nothing is cached, so that an invalidation is complete at once."""

    def invalidate(self, keys: Sequence[tuple[str, str]]) -> None:
        """Return: no cache lies between the store and a reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    content_type: str
    body: bytes = field(repr=False)


class LocalCdn:
    """`ports.Cdn`, and the edge it speaks for, at `url`. A context manager: entered it listens.

    A key's path is `/bucket/key`, as at the file server.
    """

    def __init__(self, origin: str) -> None:
        """`origin` is the origin's URL without a path."""
        self.stuck = False  # an invalidation is never complete
        self._origin = origin
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._stored: dict[str, _Answer] = {}
        self._forgotten = 0  # rises with each invalidation
        self._lock = threading.Lock()
        self._http = _Http(self)
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_POLL_SECONDS,), name="local-cdn", daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def invalidate(self, keys: Sequence[tuple[str, str]]) -> None:
        if self.stuck:
            raise TransientError("an invalidation was not complete in time")
        with self._lock:
            self._forgotten += 1
            for bucket, key in keys:
                self._stored.pop(f"/{bucket}/{key}", None)

    def answer(self, path: str) -> _Answer:
        """What the edge says to a path as it was sent."""
        place = unquote(path.partition("?")[0])
        with self._lock:
            stored, before = self._stored.get(place), self._forgotten
        if stored is not None:
            return stored
        fetched = self._fetch(quote(place))
        with self._lock:
            if fetched.status == HTTPStatus.OK and before == self._forgotten:
                self._stored[place] = fetched
        return fetched

    def _fetch(self, path: str) -> _Answer:
        try:
            with self._opener.open(self._origin + path, timeout=_ORIGIN_SECONDS) as found:
                content_type = found.headers.get("Content-Type", "application/octet-stream")
                return _Answer(status=found.status, content_type=content_type, body=found.read())
        except urllib.error.HTTPError as error:
            with error:
                return _Answer(status=error.code, content_type="text/plain", body=b"")
        except OSError:
            return _Answer(status=HTTPStatus.BAD_GATEWAY, content_type="text/plain", body=b"")


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, cdn: LocalCdn) -> None:
        self.cdn = cdn
        super().__init__((_HOST, 0), _Handler)

    def server_bind(self) -> None:
        """Bind as a plain TCP server: the HTTP one would look up the host's name, which asks a resolver."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = _HOST, int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = cast("_Http", self.server).cdn.answer(self.path)
        self.send_response(found.status)
        self.send_header("Content-Type", found.content_type)
        self.send_header("Content-Length", str(len(found.body)))
        self.end_headers()
        self.wfile.write(found.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the stdlib's signature
        """Say nothing: the request line is a key."""
