"""The application of `coverguard web public`: JSON routes, and the pages of `pages`.

Everything a person can do on a page can be done in JSON, too. Reference and token of a thread travel in
bodies alone. Over the limit of one network nothing about children is turned away.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Request
from starlette.responses import JSONResponse

from coverguard import __version__
from coverguard.correspondence import ReportAddition
from coverguard.messages import ReportRef
from coverguard.web.answers import documented
from coverguard.web.bodies import (
    AdditionBody,
    KeyBody,
    Keys,
    ReportBody,
    SignedDocument,
    SignedReceipt,
    Thread,
    ToVerify,
    Verified,
)
from coverguard.web.fence import Fence
from coverguard.web.guard import ANYBODY, add_health, guarded_app, needs, routes_and_verbs
from coverguard.web.public.pages import Pages
from coverguard.web.public.parts import Public, download, verified

DESCRIPTION: Final = """\
Anybody may report, without an account and without a name. Never send a picture: name where it is. Each report
is answered with a signed receipt, whose token opens the report's thread."""
Reference = Annotated[ReportRef, Path()]


def create(parts: Public) -> Fence:
    """Make the application.

    Raises:
        ConfigurationError: a route does not say who may call it.
    """
    app = guarded_app(title="coverguard report interface", description=DESCRIPTION, version=__version__)
    _add_reports(app, parts)
    _add_threads(app, parts)
    _add_receipts(app, parts)
    add_health(app)
    _add_description(app)
    made = Pages(parts)
    made.add_to(app)
    routes_and_verbs(app)
    return Fence(app, log=parts.log, refuse=made.refuse)


def _add_reports(app: FastAPI, parts: Public) -> None:
    @app.post(
        "/v1/reports",
        name="public.report",
        status_code=HTTPStatus.ACCEPTED,
        response_model=SignedReceipt,
        responses=documented(429, 503),
    )
    @needs(ANYBODY)
    def file_report(request: Request, told: ReportBody) -> dict[str, Any]:
        """Report covers, playlists or accounts; answered with a signed receipt and its thread's token."""
        return parts.file(request, told).document()

    @app.post(
        "/v1/reports/{reference}/additions",
        name="public.addition",
        status_code=HTTPStatus.ACCEPTED,
        response_model=SignedDocument,
        responses=documented(404, 429, 503),
    )
    @needs(ANYBODY)
    def add(request: Request, reference: Reference, told: AdditionBody) -> Mapping[str, Any]:
        """Add words or a police reference to a report of yours."""
        parts.require_patience(request)
        addition = ReportAddition(text=told.text, police_reference=told.police_reference)
        return parts.desk.add(reference, told.token, addition)


def _add_threads(app: FastAPI, parts: Public) -> None:
    @app.post(
        "/v1/reports/{reference}/thread",
        name="public.thread",
        response_model=Thread,
        responses=documented(404, 429, 503),
    )
    @needs(ANYBODY)
    def thread(request: Request, reference: Reference, key: KeyBody) -> dict[str, Any]:
        """Everything that was said about a report of yours."""
        parts.require_patience(request)
        entries = parts.desk.thread(reference, key.token)
        return {"reference": reference, "taken_in": bool(entries), "entries": entries}

    @app.post(
        "/v1/reports/{reference}/transcript",
        name="public.transcript",
        response_model=SignedDocument,
        responses=documented(404, 429, 503),
    )
    @needs(ANYBODY)
    def transcript(request: Request, reference: Reference, key: KeyBody) -> JSONResponse:
        """The same as a signed document, to keep or to hand to the police."""
        parts.require_patience(request)
        return download(parts.desk.transcript(reference, key.token), f"transcript-{reference}.json")


def _add_receipts(app: FastAPI, parts: Public) -> None:
    @app.post(
        "/v1/receipts/verify",
        name="public.verify",
        response_model=Verified,
        responses=documented(429),
    )
    @needs(ANYBODY)
    def verify(request: Request, given: ToVerify) -> Verified:
        """Whether a receipt or transcript is as we signed it."""
        parts.require_patience(request)
        return verified(given.text, parts.signatures)

    @app.get("/v1/receipts/keys", name="public.keys", response_model=Keys)
    @needs(ANYBODY)
    def keys() -> Keys:
        """The public keys that receipts are signed with, to check them without us."""
        return Keys(keys={key_id: pem.decode() for key_id, pem in parts.public_keys.items()})


def _add_description(app: FastAPI) -> None:
    @app.get("/v1/openapi.json", name="openapi", include_in_schema=False)
    @needs(ANYBODY)
    def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())
