"""The pages: report form, receipt, verification, thread, help. They work without script, by keyboard alone.

What somebody wrote is on the page again whenever it could not be taken in. Nothing is loaded from elsewhere.
The token of a thread is never part of an address.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib import resources
from typing import Any, Final

import jinja2
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

from coverguard import contacts
from coverguard.correspondence import ReportAddition
from coverguard.errors import BadMessage, CoverguardError
from coverguard.model import Surface
from coverguard.receipts import CATEGORIES, Verdict
from coverguard.web.answers import BROKEN, headers_of, http_problem, invalid, problem, says, status_of
from coverguard.web.fence import API, FORM
from coverguard.web.guard import ANYBODY, needs
from coverguard.web.public import forms
from coverguard.web.public.parts import Public, download, verified

CSS: Final = "report.css"
THREAD: Final = ("reference", "token")
ADDING: Final = (*THREAD, "text", "police_reference")
SURFACES: Final[Mapping[Surface, str]] = {
    Surface.PLAYLIST_COVER: "Covers of playlists",
    Surface.PROFILE_IMAGE: "Profile pictures",
    Surface.TRACK_ART: "Pictures of tracks",
}
ONE_OF: Final[Mapping[Surface, str]] = {
    Surface.PLAYLIST_COVER: "Cover of a playlist",
    Surface.PROFILE_IMAGE: "Profile picture",
    Surface.TRACK_ART: "Picture of a track",
}
VERDICTS: Final[Mapping[Verdict, tuple[str, str]]] = {
    Verdict.VALID: ("Valid", "We signed this document, and it has not been changed since."),
    Verdict.CHANGED: ("Changed", "This is not as we signed it: something in it was changed, or is missing."),
    Verdict.UNKNOWN_KEY: ("Unknown key", "This was signed with a key that is not one of ours."),
    Verdict.NOT_OURS: ("Not a receipt", "This is no receipt and no transcript of ours, or not all of it."),
}
NOTHING_ADDED: Final = "Please write something, or give a police reference."
ADDED: Final = "Thank you. What you added is on its way; it appears here within a minute or so."
NOT_NOW: Final = "We could not do this just now, and nothing was lost. Please try again in a minute."
WRONG_PAIR: Final = "Reference and token do not belong together. Please copy both from your receipt."

Handler = Callable[[Request, Mapping[str, str]], Response]


class Pages:
    """The pages of one public process."""

    def __init__(self, parts: Public) -> None:
        self._parts = parts
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("coverguard.web"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    # ── making pages ───────────────────────────────────────────────────────────────────────────────────────

    def page(
        self, name: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **told: object
    ) -> HTMLResponse:
        platform = self._parts.platform
        text = self._templates.get_template(name).render(platform=platform, **told)
        return HTMLResponse(text, status_code=status, headers=dict(headers or {}))

    def refuse(self, scope: Scope, status: HTTPStatus, sentence: str) -> Response:
        """What the fence answers: JSON to programs, a page to people."""
        if scope["path"].startswith(API):
            return problem(status, sentence)
        return self._sorry(status, sentence)

    def _sorry(self, status: int, sentence: str, *, headers: Mapping[str, str] | None = None) -> Response:
        help_ = contacts.of("").document()
        return self.page("error.html", status=status, headers=headers, says=sentence, help=help_)

    def form(
        self,
        filled: forms.Filled,
        *,
        status: int = 200,
        faults: Sequence[forms.FormFault] = (),
        alert: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        return self.page(
            "form.html",
            status=status,
            headers=headers,
            filled=filled,
            faults=faults,
            faulty={fault.field: fault.says for fault in faults},
            alert=alert,
            categories=CATEGORIES,
            surfaces=SURFACES,
            countries=contacts.countries(),
            help=contacts.of(filled["country"]).document() if alert else None,
        )

    # ── routes ─────────────────────────────────────────────────────────────────────────────────────────────

    def add_to(self, app: FastAPI) -> None:
        self._answer_errors(app)
        _show(app, "/", "page.form", self._empty_form)
        _show(app, "/thread", "page.thread_form", lambda _: self._thread_form())
        _show(app, "/receipts/verify", "page.verify_form", lambda _: self._verify_page("", None))
        _show(app, "/help", "page.help", self._help)
        _take(app, "/reports", "page.report", self._report, fields=forms.FIELDS, status=202)
        _take(app, "/receipts/verify", "page.verify", self._verify, fields=("text",))
        _take(app, "/receipts/download", "page.download", self._download, fields=("file",), gives="json")
        _take(app, "/thread", "page.thread", self._thread, fields=THREAD)
        _take(app, "/thread/additions", "page.addition", self._add, fields=ADDING, status=202)
        _take(app, "/thread/transcript", "page.transcript", self._transcript, fields=THREAD, gives="json")

        @app.get(f"/static/{CSS}", name="static", include_in_schema=False)
        @needs(ANYBODY)
        def style() -> Response:
            return Response(_css(), media_type="text/css", headers={"Cache-Control": "max-age=3600"})

    def _answer_errors(self, app: FastAPI) -> None:
        @app.exception_handler(CoverguardError)
        async def _ours(request: Request, error: CoverguardError) -> Response:
            status, sentence, headers = status_of(error), says(error), headers_of(error)
            if request.url.path.startswith(API):
                return problem(status, sentence, headers=headers)
            return self._sorry(status, sentence, headers=headers)

        @app.exception_handler(Exception)
        async def _bug(request: Request, _: Exception) -> Response:
            return self.refuse(request.scope, HTTPStatus.INTERNAL_SERVER_ERROR, BROKEN)

        @app.exception_handler(RequestValidationError)
        async def _invalid(_: Request, error: RequestValidationError) -> Response:
            return invalid(error)

        @app.exception_handler(HTTPException)
        async def _http(request: Request, error: HTTPException) -> Response:
            if request.url.path.startswith(API):
                return http_problem(error)
            phrase = HTTPStatus(error.status_code).phrase
            return self._sorry(error.status_code, f"{phrase}.", headers=error.headers)

    def _empty_form(self, request: Request) -> Response:
        return self.form(forms.prefilled(request.query_params.multi_items()))

    def _report(self, request: Request, told: Mapping[str, str]) -> Response:
        filled = forms.Filled(values=told)
        report, faults = forms.report_of(filled)
        if report is None:
            return self.form(filled, status=HTTPStatus.UNPROCESSABLE_ENTITY, faults=faults)
        try:
            receipted = self._parts.file(request, report)
        except CoverguardError as error:
            status, headers = status_of(error), headers_of(error)
            return self.form(filled, status=status, alert=says(error), headers=headers)
        kept = json.dumps(receipted.document(), ensure_ascii=False, separators=(",", ":"))
        return self.page(
            "receipt.html",
            status=HTTPStatus.ACCEPTED,
            receipt=receipted.envelope["document"],
            signature=receipted.envelope["signature"],
            token=receipted.token,
            file=base64.b64encode(kept.encode()).decode(),
            surfaces={surface.value: name for surface, name in ONE_OF.items()},
        )

    def _help(self, request: Request) -> Response:
        country = request.query_params.get("country", "")[:2]
        return self.page(
            "help.html",
            help=contacts.of(country).document(),
            countries=contacts.countries(),
            country=country.upper(),
        )

    # ── receipts ───────────────────────────────────────────────────────────────────────────────────────────

    def _verify(self, request: Request, told: Mapping[str, str]) -> Response:
        self._parts.require_patience(request)
        text = told.get("text", "")
        return self._verify_page(text, verified(text, self._parts.signatures))

    def _verify_page(self, text: str, found: Any) -> Response:  # noqa: ANN401 - `Verified`, or nothing
        verdict = VERDICTS[found.verdict] if found is not None else None
        return self.page("verify.html", text=text, found=found, verdict=verdict)

    def _download(self, _: Request, told: Mapping[str, str]) -> Response:
        """Give a receipt back as a file: only one of ours, so that nobody lets us hand out anything else."""
        try:
            text = base64.b64decode(told.get("file", ""), validate=True).decode()
        except ValueError:
            raise BadMessage(VERDICTS[Verdict.NOT_OURS][1]) from None
        found = verified(text, self._parts.signatures)
        if found.verdict is not Verdict.VALID:
            raise BadMessage(VERDICTS[found.verdict][1])
        return download(json.loads(text), f"receipt-{found.reference}.json")

    # ── threads ────────────────────────────────────────────────────────────────────────────────────────────

    def _thread_form(
        self, told: Mapping[str, str] | None = None, *, status: int = 200, alert: str = ""
    ) -> Response:
        told = told or {}
        return self.page(
            "thread_form.html", status=status, alert=alert, reference=told.get("reference", ""), token=""
        )

    def _thread(self, request: Request, told: Mapping[str, str]) -> Response:
        return self._shown(request, told)

    def _shown(
        self, request: Request, told: Mapping[str, str], *, status: int = 200, alert: str = "", text: str = ""
    ) -> Response:
        """The thread's page, or the form again where it cannot be shown."""
        self._parts.require_patience(request)
        reference, token = _pair(told)
        try:
            entries = self._parts.desk.thread(reference, token)
        except CoverguardError as error:
            code = status_of(error)
            sentence = WRONG_PAIR if code is HTTPStatus.NOT_FOUND else NOT_NOW
            return self._thread_form(told, status=code, alert=sentence)
        return self.page(
            "thread.html",
            status=status,
            reference=reference,
            token=token,
            entries=entries,
            alert=alert,
            text=text,
            police_reference=told.get("police_reference", "") if text else "",
        )

    def _add(self, request: Request, told: Mapping[str, str]) -> Response:
        reference, token = _pair(told)
        text, police = told.get("text", "").strip(), told.get("police_reference", "").strip()
        if not (text or police):
            return self._shown(request, told, status=HTTPStatus.UNPROCESSABLE_ENTITY, alert=NOTHING_ADDED)
        try:
            addition = ReportAddition(text=text, police_reference=police)
        except ValueError:
            sentence = f"{forms.SENTENCES['text']} Police reference: {forms.SENTENCES['police_reference']}"
            return self._shown(
                request, told, status=HTTPStatus.UNPROCESSABLE_ENTITY, alert=sentence, text=text
            )
        try:
            self._parts.desk.add(reference, token, addition)
        except CoverguardError as error:
            code = status_of(error)
            if code is HTTPStatus.NOT_FOUND:
                return self._thread_form(told, status=code, alert=WRONG_PAIR)
            return self._shown(request, told, status=code, alert=NOT_NOW, text=text)
        return self._shown(request, told, status=HTTPStatus.ACCEPTED, alert=ADDED)

    def _transcript(self, request: Request, told: Mapping[str, str]) -> Response:
        self._parts.require_patience(request)
        reference, token = _pair(told)
        return download(self._parts.desk.transcript(reference, token), f"transcript-{reference}.json")


def _pair(told: Mapping[str, str]) -> tuple[str, str]:
    return told.get("reference", "").strip().lower(), told.get("token", "").strip()


@functools.cache
def _css() -> bytes:
    return (resources.files("coverguard.web") / "static" / CSS).read_bytes()


# ── routes of pages ────────────────────────────────────────────────────────────────────────────────────────


def _show(app: FastAPI, path: str, name: str, make: Callable[[Request], Response]) -> None:
    """A page that is only looked at."""

    @needs(ANYBODY)
    def show(request: Request) -> Response:
        return make(request)

    app.add_api_route(
        path, show, methods=["GET"], name=name, response_class=HTMLResponse, responses=_pages(200)
    )


def _take(
    app: FastAPI,
    path: str,
    name: str,
    handle: Handler,
    *,
    fields: Iterable[str],
    status: int = 200,
    gives: str = "html",
) -> None:
    """A page that takes a form."""
    known = sorted(fields)

    @needs(ANYBODY)
    async def take(request: Request) -> Response:
        told = forms.fields_of(await request.body(), known=known)
        return await run_in_threadpool(handle, request, told)

    schema = {
        "type": "object",
        "properties": {field: {"type": "string"} for field in known},
        "additionalProperties": False,
    }
    responses = _pages(status, 403, 404, 408, 413, 415, 422, 429, 500, 503)
    if gives == "json":
        responses[status] = {"description": "A file", "content": {"application/json": {}}}
    app.add_api_route(
        path,
        take,
        methods=["POST"],
        name=name,
        status_code=status,
        response_class=JSONResponse if gives == "json" else HTMLResponse,
        responses=responses,
        openapi_extra={"requestBody": {"content": {FORM: {"schema": schema}}, "required": True}},
    )


def _pages(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {"text/html": {}}}
        for status in statuses
    }
