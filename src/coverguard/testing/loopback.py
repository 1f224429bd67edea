"""Simulated services over HTTP on loopback: a server in a thread, quiet, closed with all its connections."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Final, Self

_POLL_SECONDS: Final = 0.05


class LoopbackHttp(ThreadingHTTPServer):
    """Listens on a free port; `over` is set when it ends, for answers that never come."""

    daemon_threads = False  # so that server_close() waits for them

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.over = threading.Event()
        super().__init__(("127.0.0.1", 0), handler)

    def server_bind(self) -> None:
        """Bind as a plain TCP server: the HTTP one would look up the host's name, which asks a resolver."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the stdlib's types
        """Say nothing: whoever asked has gone, as a fault makes them."""


class LoopbackServer:
    """Serves from the beginning until the block ends. Use it as a context manager."""

    def __init__(self, http: LoopbackHttp, *, name: str) -> None:
        self._http = http
        self.origin = f"http://127.0.0.1:{http.server_port}"
        self._thread = threading.Thread(
            target=http.serve_forever, args=(_POLL_SECONDS,), name=name, daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.over.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
