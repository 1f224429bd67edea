"""Serving an application on one address until told to stop; the only home of uvicorn.

No access log (the fence writes our line), no server name, no header of proxies believed here. What is in hand
when the signal comes is finished.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Final

import uvicorn

from coverguard.errors import ConfigurationError
from coverguard.web.fence import Fence

AT_ONCE: Final = 200  # requests; more are answered 503 at once
BACKLOG: Final = 1024  # calls that wait to be taken
KEEP_ALIVE: Final = 10  # seconds
GRACE: Final = 15  # seconds for what is in hand
HEADER_BYTES: Final = 32 * 1024


def bind(host: str, port: int) -> socket.socket:
    """Take the address and listen: from here on whoever calls is kept waiting, not refused. Port 0 takes any.

    Raises:
        ConfigurationError: it is taken, or not one of this host's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        made.close()
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {type(error).__name__}; see --host and --port"
        ) from error
    return made


def serve(application: Fence, listening: socket.socket, *, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is told the port just before."""
    running = server(application)

    def stop(*_: object) -> None:
        running.should_exit = True

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)  # uvicorn has its own meanwhile, and raises the signal again afterwards
    ready(int(listening.getsockname()[1]))
    running.run(sockets=[listening])


def server(application: Fence) -> uvicorn.Server:
    """The server of an application, with our limits."""
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        limit_concurrency=AT_ONCE,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=HEADER_BYTES,
        http="h11",
        ws="none",
    )
    return uvicorn.Server(config)
