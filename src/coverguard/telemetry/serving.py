"""`/metrics`, `/livez` and `/readyz` of one process, for its own host or pod network; nothing else.

Answers name loops, parts and error classes, and no address, path or account. There is no authentication: it
listens on loopback unless settings say otherwise, and belongs behind a network policy there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Final, Self

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from coverguard.errors import ConfigurationError
from coverguard.telemetry.health import OK, Health
from coverguard.telemetry.metrics import Metrics

JSON: Final = "application/json"
SLOW_CLIENT: Final = 5.0  # seconds


class Monitor:
    """Serves while entered. `port` is the one it got, also where 0 was asked for."""

    def __init__(self, health: Health, metrics: Metrics, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Bind the address.

        Raises:
            ConfigurationError: it is taken, or not one of this host's.
        """
        self._health = health
        self._metrics = metrics
        try:
            self._server = _Server((host, port), _handler(self))
        except OSError as error:
            raise ConfigurationError(
                f"setting metrics_port: cannot listen on {host} port {port}: {type(error).__name__}"
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="monitor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """What a path answers: status, content type, body."""
        match path.partition("?")[0]:
            case "/livez":
                alive = self._health.alive()
                return _verdict({loop: OK if one else "stuck" for loop, one in alive.items()})
            case "/readyz":
                return _verdict(self._health.ready())
            case "/metrics":
                for loop, age in self._health.pulse.ages().items():
                    self._metrics.gauge("coverguard_loop_age_seconds", age, loop=loop)
                for part, said in self._health.ready().items():
                    self._metrics.gauge("coverguard_ready", said == OK, part=part)
                return HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, self._metrics.exposition()
            case _:
                return HTTPStatus.NOT_FOUND, JSON, b"{}\n"


def _verdict(said: Mapping[str, str]) -> tuple[HTTPStatus, str, bytes]:
    well = all(one == OK for one in said.values())
    status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
    return status, JSON, json.dumps(dict(said), sort_keys=True).encode() + b"\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a slow client must not keep the process from ending

    def server_bind(self) -> None:
        """Bind, and ask no name server what this host is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nobody's concern."""


def _handler(monitor: Monitor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SLOW_CLIENT
        server_version = "coverguard"
        sys_version = ""

        def do_GET(self) -> None:
            status, content_type, body = monitor.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Nothing: a look at our health is no event."""

    return Handler
