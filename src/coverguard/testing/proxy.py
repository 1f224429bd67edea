"""A TCP proxy that stands before one server on loopback and can be told to misbehave while it runs.

What may befall the traffic is a `Fault`; there is one at a time, for all connections, from the moment that
`switch` returns. `befell` counts how often each kind really bit, so that a test can say that its fault
happened. A connection that lost bytes in silence is never repaired: it stays silent until the fault is over
and is reset then, as by a router that forgot it. `UNWELL` reads HTTP, the others read nothing. For tests.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self, TypeVar

from coverguard.testing.servers import free_ports

T = TypeVar("T")

LOOPBACK: Final = "127.0.0.1"
CHUNK: Final = 65_536  # bytes
LAST_WORD: Final = 2.0  # seconds in which a refused caller may read why
REQUEST: Final = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) ")
RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)  # linger for no time
REASONS: Final = {500: ("InternalError", "Internal Server Error"), 503: ("SlowDown", "Slow Down")}


class Kind(StrEnum):
    PASS = "pass"  # noqa: S105 - not a password
    REFUSE = "refuse"  # nobody listens
    RESET = "reset"  # connections are accepted and reset
    SLOW = "slow"  # each chunk comes late
    SILENT = "silent"  # connections are accepted, and what is said is swallowed
    CUT = "cut"  # the connection is closed in the middle of an answer
    UNWELL = "unwell"  # HTTP: a request is answered with an error and goes nowhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    kind: Kind
    seconds: float = 0.3  # SLOW: how late
    after: int = 1_000  # CUT: bytes of answers on one connection until it is closed
    every: int = 1  # UNWELL: of so many requests the last one
    status: int = 503  # UNWELL: 503 with the code SlowDown, or 500 with InternalError


PASS: Final = Fault(kind=Kind.PASS)


@dataclass(slots=True, eq=False)
class _Link:
    """One client's connection and, where it came to that, ours to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    lost: bool = False  # bytes were swallowed: whatever came after them would be nonsense
    answered: int = 0  # bytes, since the fault began

    def reset(self) -> None:
        for writer in filter(None, (self.client, self.server)):
            taken: socket.socket = writer.get_extra_info("socket")
            with suppress(OSError):
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()

    def close(self) -> None:
        for writer in filter(None, (self.client, self.server)):
            writer.close()


@dataclass(slots=True, kw_only=True)
class Proxy:
    """A context manager: entered it listens on `port`, left it is gone with its connections."""

    target: int  # port on loopback
    port: int = field(default_factory=lambda: free_ports(1)[0])
    befell: Counter[Kind] = field(default_factory=Counter)
    requests: int = 0  # HTTP requests seen while unwell
    _fault: Fault = PASS
    _links: set[_Link] = field(default_factory=set)
    _listening: asyncio.Server | None = None
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def fault(self) -> Fault:
        return self._fault

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, name="proxy", daemon=True).start()
        self._wait(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def switch(self, fault: Fault) -> None:
        """Let this befall all traffic from now on, and nothing else."""
        self._wait(self._switch(fault))

    @contextmanager
    def during(self, fault: Fault) -> Iterator[None]:
        """The fault lasts as long as the block, and then everything passes again."""
        self.switch(fault)
        try:
            yield
        finally:
            self.switch(PASS)

    # ── the loop's own thread ──────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)

    async def _listen(self) -> None:
        self._listening = await asyncio.start_server(
            self._accept, LOOPBACK, self.port, reuse_address=True, backlog=512
        )

    async def _switch(self, fault: Fault) -> None:
        for link in [*self._links]:
            link.answered = 0
            if link.lost or fault.kind in {Kind.RESET, Kind.REFUSE}:
                self.befell[fault.kind] += not link.lost
                link.reset()
        self._fault = fault
        if fault.kind is Kind.REFUSE:
            if self._listening is not None:
                self._listening.close()
            self._listening = None
        elif self._listening is None:
            await self._listen()

    async def _end(self) -> None:
        await self._switch(Fault(kind=Kind.REFUSE))
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            await self._carry(link, reader)
        except OSError:  # either side reset its connection: so do we, on the other
            link.reset()
        except asyncio.CancelledError:  # the proxy ends
            link.reset()
        finally:
            self._links.discard(link)
            link.close()

    async def _carry(self, link: _Link, reader: asyncio.StreamReader) -> None:
        if self._fault.kind in {Kind.RESET, Kind.REFUSE}:
            self.befell[self._fault.kind] += 1
            link.reset()
            return
        if self._fault.kind is Kind.SILENT:
            link.lost = True
            self.befell[Kind.SILENT] += 1
            while await reader.read(CHUNK):
                pass
            return
        answers, link.server = await asyncio.open_connection(LOOPBACK, self.target)
        pumps = [
            asyncio.ensure_future(self._pump_requests(link, reader, link.server)),
            asyncio.ensure_future(self._pump_answers(link, answers)),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()

    async def _pump_requests(
        self, link: _Link, reader: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(CHUNK):
            if self._is_refused(chunk):
                await self._answer_ourselves(link, reader, chunk)
                return
            if await self._passes(link):
                server.write(chunk)
                await server.drain()
        with suppress(OSError, RuntimeError):  # the server may have closed already
            server.write_eof()

    async def _pump_answers(self, link: _Link, answers: asyncio.StreamReader) -> None:
        while chunk := await answers.read(CHUNK):
            if not await self._passes(link):
                continue
            if self._fault.kind is Kind.CUT:
                left = max(self._fault.after - link.answered, 0)
                link.answered += len(chunk)
                if len(chunk) >= left:
                    self.befell[Kind.CUT] += 1
                    link.client.write(chunk[:left])
                    link.close()
                    return
            link.client.write(chunk)
            await link.client.drain()
        with suppress(OSError, RuntimeError):  # the client may have closed already
            link.client.write_eof()

    async def _passes(self, link: _Link) -> bool:
        """Whether a chunk goes on, after it was held up for as long as the fault says."""
        if self._fault.kind is Kind.SLOW:
            self.befell[Kind.SLOW] += 1
            await asyncio.sleep(self._fault.seconds)
        if self._fault.kind is Kind.SILENT:
            self.befell[Kind.SILENT] += not link.lost
            link.lost = True
        return not link.lost

    # ── HTTP ───────────────────────────────────────────────────────────────────────────────────────────────

    def _is_refused(self, chunk: bytes) -> bool:
        if self._fault.kind is not Kind.UNWELL or not REQUEST.match(chunk):
            return False
        self.requests += 1
        return self.requests % self._fault.every == 0

    async def _answer_ourselves(self, link: _Link, reader: asyncio.StreamReader, head: bytes) -> None:
        """Say no, and hear the request out: closing on an unread body would reset our answer away."""
        self.befell[Kind.UNWELL] += 1
        link.client.write(_refusal(head, self._fault.status))
        link.client.write_eof()
        if link.server is not None:
            link.server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD):
                while await reader.read(CHUNK):
                    pass
        link.close()


def _refusal(head: bytes, status: int) -> bytes:
    """An answer in the words of the protocol that the request is in: S3's XML or SQS's JSON."""
    code, phrase = REASONS[status]
    if b"x-amz-json" in head:
        form, body = "application/x-amz-json-1.0", f'{{"__type": "{code}", "message": "{phrase}"}}'
    else:
        form, body = "application/xml", f"<Error><Code>{code}</Code><Message>{phrase}</Message></Error>"
    said = "" if head.startswith(b"HEAD ") else body
    lines = (
        f"HTTP/1.1 {status} {phrase}", f"Content-Type: {form}", f"Content-Length: {len(body)}",
        "Connection: close", "", said,
    )  # fmt: skip
    return "\r\n".join(lines).encode()
