"""What every request passes before anybody reads it, and every answer before it leaves.

Limits on the body's size, time and kind come before any parser; the public is never asked for pictures, so a
file is refused with guidance. Answers carry a policy under which a page can run no script, load nothing from
elsewhere and be framed by nobody, and no cookie is ever set. One log line a request: route, status, time;
never an address, a path, an id, a body. What nobody expected is a 500 that says nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coverguard.telemetry import Log
from coverguard.web.answers import BROKEN

MAX_BODY: Final = 64 * 1024  # bytes
BODY_SECONDS: Final = 15.0  # for all of it
API: Final = "/v1/"
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Robots-Tag": "noindex",
}

Refuse = Callable[[Scope, HTTPStatus, str], Response]
"""Make the answer to what the fence does not let in: scope, status, one sentence."""


class _NotLetIn(Exception):
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(status)
        self.status = status
        self.why = why


NO_PICTURES: Final = (
    "Please never send us a picture, not even as proof: tell us in words where it is. For images of children"
    " a hotline of your country can help, too; the contacts are on the report page."
)
TOO_LARGE: Final = f"That is more than {MAX_BODY // 1024} KiB."
TOO_SLOW: Final = "The request did not arrive in time."
WRONG_KIND: Final = "This content type is not read here."
ELSEWHERE: Final = "A form of another site cannot be sent here. Open the page itself and report there."


class Fence:
    """An ASGI application around another one, which is `app`."""

    def __init__(self, app: FastAPI, *, log: Log, refuse: Refuse) -> None:
        self.app = app
        self._inner: ASGIApp = app
        self._log = log
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        begun = time.perf_counter()
        answer = _Answer(send)
        try:
            _require_kind(scope)
            body = await _read(scope, receive)
            await self._inner(scope, _replay(body, receive), answer.send)
        except _NotLetIn as no:
            await self._refuse(scope, no.status, no.why)(scope, receive, answer.send)
        except Exception as error:  # noqa: BLE001 - nothing may pass: what it says could be somebody's words
            self._log.bug(error)
            if not answer.status:
                status = HTTPStatus.INTERNAL_SERVER_ERROR
                await self._refuse(scope, status, BROKEN)(scope, receive, answer.send)
        finally:
            spent = (time.perf_counter() - begun) * 1000
            route = getattr(scope.get("route"), "name", "none")
            self._log.line("request", route=route, status=answer.status, total_ms=spent)


class _Answer:
    """Adds the headers on the way out, and remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)


def _require_kind(scope: Scope) -> None:
    headers = Headers(scope=scope)
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith(("multipart/", "image/", "video/")) or kind == "application/octet-stream":
        raise _NotLetIn(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, NO_PICTURES)
    wanted = JSON if scope["path"].startswith(API) else FORM
    if kind != wanted and (kind or headers.get("content-length", "0") != "0"):
        raise _NotLetIn(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, WRONG_KIND)
    # A page of somebody else must not report in its visitors' names, from as many networks as they have.
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise _NotLetIn(HTTPStatus.FORBIDDEN, ELSEWHERE)


async def _read(scope: Scope, receive: Receive) -> bytes:
    """The whole body, or as much of it as shows that it is too large."""
    length = Headers(scope=scope).get("content-length", "0")
    if length.isdecimal() and int(length[:19]) > MAX_BODY:
        raise _NotLetIn(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise _NotLetIn(HTTPStatus.REQUEST_TIMEOUT, TOO_SLOW)
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MAX_BODY:
                    raise _NotLetIn(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise _NotLetIn(HTTPStatus.REQUEST_TIMEOUT, TOO_SLOW) from None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once, and then whatever comes."""
    waiting: Sequence[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": False},
    ]
    given = iter(waiting)

    async def replayed() -> Message:
        for message in given:
            return message
        return await receive()

    return replayed
