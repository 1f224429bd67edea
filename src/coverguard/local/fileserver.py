"""The embedded profile's public origin: serves current versions of public buckets on loopback.

So that canonical URLs can be asked there as anywhere else. Invariants: binds 127.0.0.1 only; a bucket not
named public answers as if it did not exist, so intake and vault are never served, nor is anything that lies
under a delete marker; no listing; answers are never stored by a cache; no key, path or address is logged.
Does no TLS, no ranges, no conditional requests: it is not for production.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import FrameType, TracebackType
from typing import Any, Self, cast
from urllib.parse import unquote

from coverguard.errors import ConfigurationError, CoverguardError, TransientError
from coverguard.local.folder import FolderStore
from coverguard.ports import ObjectInfo

_HOST = "127.0.0.1"
_IDLE_SECONDS = 30.0  # how long a silent connection keeps its thread
_POLL_SECONDS = 0.05  # how long a stop may wait
_log = logging.getLogger(__name__)


class Server:
    """A running file server. Use it as a context manager; leaving it closes every connection."""

    def __init__(self, store: FolderStore, *, public: frozenset[str], port: int) -> None:
        if store.vault in public or not public <= store.buckets:
            raise ConfigurationError("public buckets are buckets of the store, and never the vault")
        try:
            self._http = _Http(store, public=public, port=port)
        except OSError as exc:
            raise ConfigurationError("the file server's port cannot be used") from exc
        self.port = int(self._http.server_address[1])
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_POLL_SECONDS,), name="file-server", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop and wait until no thread of ours is left. May be called twice."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.close_connections()
        self._http.server_close()


def serve(store: FolderStore, *, public: frozenset[str], port: int) -> Server:
    """Start serving in a thread; port 0 takes a free one.

    Raises `ConfigurationError` where the port is taken or a public bucket is the vault or unknown.
    """
    return Server(store, public=public, port=port)


def run(
    store: FolderStore, *, public: frozenset[str], port: int, ready: Callable[[int], None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT. Main thread only; `ready` is told the port once it is served."""
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with serve(store, public=public, port=port) as server:
            if ready is not None:
                ready(server.port)
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Http(ThreadingHTTPServer):
    """The listening socket and its connections, which `shutdown` alone would leave open."""

    daemon_threads = False  # so that server_close() waits for them

    def __init__(self, store: FolderStore, *, public: frozenset[str], port: int) -> None:
        self.store = store
        self.public = public
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__((_HOST, port), _Handler)

    def server_bind(self) -> None:
        """Bind as a plain TCP server: the HTTP one would look up the host's name, which asks a resolver."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = _HOST, int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the stdlib's types
        with self._guard:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - the stdlib's types
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Wake every thread that waits for a next request on a connection kept alive."""
        with self._guard:
            for connection in self._connections:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - the stdlib's types
        """Log the kind of a fault only; the standard traceback would tell the path."""
        fault = sys.exc_info()[0]
        if fault is not None and not issubclass(fault, ConnectionError):
            _log.error("file server request failed: %s", fault.__name__)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "coverguard"
    sys_version = ""
    timeout = _IDLE_SECONDS
    wbufsize = -1  # headers and body in one segment: two cost a delayed ACK, 40 ms
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the stdlib's signature
        """Say nothing: the request line is a key."""

    def _answer(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body we do not read must not be taken for the next request
        store = cast("_Http", self.server).store
        data = b""
        try:
            found = self._found()
            if found is not None:
                data = store.read(found.ref, limit=found.size)
        except TransientError:
            self._head(HTTPStatus.SERVICE_UNAVAILABLE, None)
        except CoverguardError:
            self._head(HTTPStatus.INTERNAL_SERVER_ERROR, None)
        else:
            self._head(HTTPStatus.NOT_FOUND if found is None else HTTPStatus.OK, found)
            if self.command == "GET":
                self.wfile.write(data)

    def _found(self) -> ObjectInfo | None:
        server = cast("_Http", self.server)
        path = self.path.partition("?")[0]
        bucket, _, quoted = path.removeprefix("/").partition("/")
        if not path.startswith("/") or bucket not in server.public:
            return None
        try:
            return server.store.current(bucket, unquote(quoted, errors="strict"))
        except UnicodeDecodeError:
            return None

    def _head(self, status: HTTPStatus, info: ObjectInfo | None) -> None:
        self.send_response(status)
        if info is not None:
            self.send_header("Content-Type", info.content_type)
        self.send_header("Content-Length", str(info.size if info is not None else 0))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        # an uploaded "image" may be HTML or SVG with script in it
        self.send_header("Content-Security-Policy", "default-src 'none'; sandbox")
        self.end_headers()
