"""Errors as answers: each of this package's errors has one status, one word and one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from coverguard import contacts
from coverguard.errors import (
    BadMessage,
    ConfigurationError,
    CoverguardError,
    IllegalTransition,
    IntegrityFailure,
    NotFound,
    Refused,
    TransientError,
)
from coverguard.web.bodies import Fault, Problem, faults

RETRY_SECONDS: Final = 30
BROKEN: Final = "Something went wrong on our side. It was noted. Please try again."


class Unauthorised(CoverguardError):
    """No key, or one that lets nobody in: unknown, revoked, run out. Which of them is not told."""


class TooMany(CoverguardError):
    """More than the limit for one network."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__("Too many reports from your network. Reports about children are taken in any case.")
        self.wait_seconds = wait_seconds


STATUS: Final[Mapping[type[CoverguardError], HTTPStatus]] = {
    Unauthorised: HTTPStatus.UNAUTHORIZED,
    TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    Refused: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    IllegalTransition: HTTPStatus.CONFLICT,
    BadMessage: HTTPStatus.UNPROCESSABLE_ENTITY,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
    IntegrityFailure: HTTPStatus.SERVICE_UNAVAILABLE,
    ConfigurationError: HTTPStatus.SERVICE_UNAVAILABLE,
}
NOT_TAKEN: Final = (
    "We could not take this in just now: nothing was stored and nothing was receipted. Please try again in a"
    " minute. If somebody is in danger, do not wait for us."
)
WORDS: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: "not_json",
    HTTPStatus.UNAUTHORIZED: "no_valid_key",
    HTTPStatus.FORBIDDEN: "refused",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "no_such_method",
    HTTPStatus.REQUEST_TIMEOUT: "too_slow",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "wrong_content_type",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid",
    HTTPStatus.TOO_MANY_REQUESTS: "too_many",
    HTTPStatus.INTERNAL_SERVER_ERROR: "our_fault",
    HTTPStatus.SERVICE_UNAVAILABLE: "try_again",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route's description says of these answers; the fence's own are among them always."""
    always = (400, 403, 408, 413, 415, 422, 500)
    return {
        int(status): {"model": Problem, "description": HTTPStatus(status).phrase}
        for status in sorted({*always, *statuses})
    }


def status_of(error: CoverguardError) -> HTTPStatus:
    found = (status for kind, status in STATUS.items() if isinstance(error, kind))
    return next(found, HTTPStatus.INTERNAL_SERVER_ERROR)


def says(error: CoverguardError) -> str:
    """The sentence for whoever asked; of what is our own trouble only that there is some."""
    status = status_of(error)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        return NOT_TAKEN
    return str(error) if status < HTTPStatus.INTERNAL_SERVER_ERROR else BROKEN


def headers_of(error: CoverguardError) -> dict[str, str]:
    match error:
        case TooMany():
            return {"Retry-After": str(error.wait_seconds)}
        case Unauthorised():
            return {"WWW-Authenticate": "Bearer"}
        case _ if status_of(error) is HTTPStatus.SERVICE_UNAVAILABLE:
            return {"Retry-After": str(RETRY_SECONDS)}
        case _:
            return {}


def problem(
    status: int,
    sentence: str,
    *,
    fields: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One problem as JSON; where it is ours, with where else to find help."""
    known = HTTPStatus(status)
    found = Problem(error=WORDS.get(known, "error"), says=sentence, fields=list(fields))
    if known is HTTPStatus.SERVICE_UNAVAILABLE:
        found.help = contacts.of("").document()
    return JSONResponse(found.model_dump(), status_code=status, headers=dict(headers or {}))


def refuse(_: Scope, status: HTTPStatus, sentence: str) -> Response:
    """What the fence of a JSON interface answers."""
    return problem(status, sentence)


def answer_errors(app: FastAPI) -> None:
    """Let the application answer all errors as JSON."""

    @app.exception_handler(CoverguardError)
    async def _ours(_: Request, error: CoverguardError) -> Response:
        return problem(status_of(error), says(error), headers=headers_of(error))

    @app.exception_handler(Exception)
    async def _bug(_: Request, __: Exception) -> Response:
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, BROKEN)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        return invalid(error)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        return http_problem(error)


def invalid(error: RequestValidationError) -> JSONResponse:
    found = faults(error.errors())
    status = HTTPStatus.BAD_REQUEST if _not_json(error) else HTTPStatus.UNPROCESSABLE_ENTITY
    return problem(status, "The request is not as it has to be.", fields=found)


def http_problem(error: HTTPException) -> JSONResponse:
    return problem(error.status_code, HTTPStatus(error.status_code).phrase, headers=error.headers)


def _not_json(error: RequestValidationError) -> bool:
    return any(one["type"] == "json_invalid" for one in error.errors())
