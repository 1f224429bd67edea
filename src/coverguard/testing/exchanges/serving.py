"""What simulated exchanges have in common: troubles on demand, and a server on loopback.

A simulation answers a path with headers by a value, `Answer`, so that it can be asked without a socket; a
`Server` gives the same answers over HTTP. For tests and demonstrations.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

from coverguard.ports import Clock
from coverguard.testing.loopback import LoopbackHttp, LoopbackServer

ELSEWHERE: Final = "https://elsewhere.example"
HUGE: Final = 33 * 1024 * 1024  # more than a client takes
_DRIP_SECONDS: Final = 0.01
_PATIENCE: Final = 60.0  # seconds until a silent answer ends by itself


class Trouble(StrEnum):
    """What may befall an answer."""

    DRIP = "drip"  # byte by byte, for ever
    CUT = "cut"  # half of it, and the connection is closed
    SHORT = "short"  # a length that is half the true one
    GARBLED = "garbled"  # nonsense in its middle
    NONSENSE = "nonsense"  # 200 with a page for people
    HUGE = "huge"  # more bytes than anybody wants
    ENCODED = "encoded"  # an encoding that was not asked for
    BUSY = "busy"  # 429 with Retry-After in seconds
    UNWELL = "unwell"  # 503 with Retry-After as a date
    ERROR = "error"  # 500
    SHUT = "shut"  # 401
    MOVED = "moved"  # 302 to another host
    GONE = "gone"  # 404, as of a link that is too old
    LOOP = "loop"  # what leads to the next page leads back
    HOSTILE = "hostile"  # … leads to another host
    MISCOUNT = "miscount"  # a record more is stated than is there
    BOMB = "bomb"  # an entity that would fill all memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    path: str  # without the query
    query: Mapping[str, str]
    number: int  # of the request, from 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None  # as stated, where that is not the body's
    trouble: Trouble | None = None  # what whoever sends it must do: DRIP or CUT


@dataclass(slots=True, kw_only=True)
class _Plan:
    trouble: Trouble
    left: int | None  # how many times; None: always
    when: Callable[[Asked], bool]


class Simulation(ABC):
    """An exchange in memory. Thread-safe."""

    root: str  # the path below which it lies

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.requests: list[str] = []  # the path and query of each, as they came
        self.retry_after = 120  # seconds, of BUSY and UNWELL
        self.huge = HUGE  # bytes too many
        self._plans: list[_Plan] = []
        self._guard = threading.RLock()

    def befall(
        self, trouble: Trouble, *, times: int | None = None, when: Callable[[Asked], bool] = lambda _: True
    ) -> None:
        """From now on let this happen, so many times, to such requests."""
        with self._guard:
            self._plans.append(_Plan(trouble=trouble, left=times, when=when))

    def recover(self) -> None:
        """Let nothing more befall anybody."""
        with self._guard:
            self._plans.clear()

    def answer(self, address: str, headers: Mapping[str, str]) -> Answer:
        """Answer a path with its query; the names of headers are in lower case."""
        parts = urlsplit(address)
        with self._guard:
            self.requests.append(address)
            query = {name: said[-1] for name, said in parse_qs(parts.query).items()}
            asked = Asked(path=parts.path, query=query, number=len(self.requests))
            trouble = self._strikes(asked)
            if trouble is Trouble.SHUT or not self.admits(headers):
                return Answer(status=401)
            return self._spoilt(self.page(asked, trouble), trouble)

    @abstractmethod
    def admits(self, headers: Mapping[str, str]) -> bool:
        """Say whether these credentials are taken."""

    @abstractmethod
    def page(self, asked: Asked, trouble: Trouble | None) -> Answer:
        """Return the true page, or one with a trouble that only this exchange can have."""

    def _strikes(self, asked: Asked) -> Trouble | None:
        for plan in self._plans:
            if plan.left != 0 and plan.when(asked):
                plan.left = None if plan.left is None else plan.left - 1
                return plan.trouble
        return None

    def _spoilt(self, answer: Answer, trouble: Trouble | None) -> Answer:
        body, half = answer.body, len(answer.body) // 2
        spoilt = {
            Trouble.BUSY: Answer(status=429, headers={"retry-after": str(self.retry_after)}),
            Trouble.UNWELL: Answer(status=503, headers={"retry-after": self._until()}),
            Trouble.ERROR: Answer(status=500, body=b"sorry"),
            Trouble.GONE: Answer(status=404),
            Trouble.MOVED: Answer(status=302, headers={"location": ELSEWHERE}),
            Trouble.NONSENSE: replace(answer, body=b"<html><body>Back soon</body></html>"),
            Trouble.ENCODED: replace(answer, headers={**answer.headers, "content-encoding": "gzip"}),
            Trouble.GARBLED: replace(answer, body=body[:half] + b"\xff<{" + body[half:]),
            Trouble.SHORT: replace(answer, length=half),
            Trouble.DRIP: replace(answer, trouble=trouble),
            Trouble.CUT: replace(answer, trouble=trouble),
        }
        if trouble is Trouble.HUGE:
            return replace(answer, body=body + b" " * self.huge)
        return answer if trouble is None else spoilt.get(trouble, answer)

    def _until(self) -> str:
        return formatdate(self.clock.now() // 1_000_000 + self.retry_after, usegmt=True)


class Server(LoopbackServer):
    """A simulation over HTTP on loopback. Use it as a context manager."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(_Http(simulation), name="exchange")
        self.url = f"{self.origin}{simulation.root}"


class _Http(LoopbackHttp):
    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        super().__init__(_Handler)


class _Handler(BaseHTTPRequestHandler):
    wbufsize = -1
    timeout = _PATIENCE

    def do_GET(self) -> None:
        server = cast("_Http", self.server)
        headers = {name.lower(): said for name, said in self.headers.items()}
        answer = server.simulation.answer(self.path, headers)
        self.send_response(answer.status)
        for name, said in answer.headers.items():
            self.send_header(name, said)
        self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
        self.end_headers()
        with suppress(OSError):  # whoever asked may have gone
            if answer.trouble is Trouble.DRIP:
                self._drip(answer.body, server.over)
                return
            cut = answer.trouble is Trouble.CUT
            self.wfile.write(answer.body[: len(answer.body) // 2] if cut else answer.body)
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the stdlib's signature
        """Say nothing: the request line has a token in it."""

    def _drip(self, body: bytes, over: threading.Event) -> None:
        for place in range(len(body) - 1):  # the last byte never comes
            self.wfile.write(body[place : place + 1])
            self.wfile.flush()
            if over.wait(_DRIP_SECONDS):
                return
        over.wait(_PATIENCE)
