"""The routes of `coverguard web platform`.

Reports and removal demands travel as those of the public do, with the key's reference and role; only hiding
goes to the ledger at once. No route shows a cover, a case or anybody's words.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Request
from fastapi.concurrency import run_in_threadpool

from coverguard import __version__
from coverguard.access import Role, Verb
from coverguard.errors import NotFound
from coverguard.lifecycle import TakedownState
from coverguard.messages import ReportRef, from_micros
from coverguard.model import Micros, ReporterKind
from coverguard.ports import Clock
from coverguard.store import api_keys
from coverguard.store.engine import Database
from coverguard.telemetry import Log
from coverguard.web import answers
from coverguard.web.answers import documented
from coverguard.web.bodies import ReportBody, SignedReceipt
from coverguard.web.desk import Caller, Desk
from coverguard.web.fence import Fence
from coverguard.web.guard import add_health, guarded_app, needs, routes_and_verbs
from coverguard.web.platform.bodies import AccountInPath, Hidden, ReportStatus
from coverguard.web.platform.hiding import Hiding
from coverguard.web.platform.keyring import KeyHolder, Keyring
from coverguard.web.platform.signatures import NotSigned, check

DESCRIPTION: Final = """\
For support, trusted flaggers and hotlines. Every call sends `Authorization: Bearer cgk_…`. Nothing here shows
a cover, a case, or what anybody else reported."""
HIDDEN: Final = "Everything of this account is going dark. Only a person who decides on it can show it again."
NOT_AS_DEMAND: Final = "Taken in as an ordinary report and not as a removal demand: {why}."
NO_SUCH_REPORT: Final = "No report of yours has this reference, or it was not taken in yet."
SOURCES: Final = {
    Role.SUPPORT: ReporterKind.SUPPORT,
    Role.TRUSTED_FLAGGER: ReporterKind.TRUSTED_FLAGGER,
    Role.HOTLINE: ReporterKind.HOTLINE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The parts of the process."""

    desk: Desk
    database: Database
    clock: Clock
    log: Log


def create(parts: Platform) -> Fence:
    """Make the application.

    Raises:
        ConfigurationError: a route does not say who may call it.
    """
    app = guarded_app(title="coverguard platform interface", description=DESCRIPTION, version=__version__)
    app.state.gate = Keyring(database=parts.database, clock=parts.clock).holder
    answers.answer_errors(app)
    _add_reports(app, parts)
    _add_removals(app, parts)
    _add_hiding(app, parts)
    add_health(app)
    routes_and_verbs(app)
    return Fence(app, log=parts.log, refuse=answers.refuse)


def _add_reports(app: FastAPI, parts: Platform) -> None:
    @app.post(
        "/v1/reports",
        name="platform.report",
        status_code=HTTPStatus.ACCEPTED,
        response_model=SignedReceipt,
        responses=documented(401, 503),
    )
    @needs(Verb.FILE_REPORT)
    def file_report(request: Request, told: ReportBody) -> dict[str, Any]:
        """Report covers, playlists or accounts, in the role of your key."""
        return parts.desk.file(told, caller=_as(request.state.caller)).document()

    @app.get(
        "/v1/reports/{reference}",
        name="platform.report_status",
        response_model=ReportStatus,
        responses=documented(401, 404, 503),
    )
    @needs(Verb.FILE_REPORT)
    def report_status(request: Request, reference: Annotated[ReportRef, Path()]) -> ReportStatus:
        """What became of a report that you made."""
        caller: KeyHolder = request.state.caller
        with parts.database.reading() as tx:
            row = api_keys.report_of(tx, key_name=caller.key_name, reference=reference)
        if row is None:
            raise NotFound(NO_SUCH_REPORT)
        return ReportStatus(
            reference=row.ref,
            status=row.state,
            received_at=_moment(row.received_at) or "",
            hidden_at=_moment(row.hidden_at),
            decided_at=_moment(row.decided_at),
        )


def _add_removals(app: FastAPI, parts: Platform) -> None:
    @app.post(
        "/v1/removals",
        name="platform.removal",
        status_code=HTTPStatus.ACCEPTED,
        response_model=SignedReceipt,
        responses=documented(401, 503),
    )
    @needs(Verb.DEMAND_REMOVAL)
    async def demand_removal(request: Request, told: ReportBody) -> dict[str, Any]:
        """Demand a removal, by a signed request (see docs/web.md); its clock is its own.

        Without a signature that holds it is taken in as an ordinary report, and the receipt says why.
        """
        body = await request.body()
        return await run_in_threadpool(_demanded, parts, request, told, body)


def _demanded(parts: Platform, request: Request, told: ReportBody, body: bytes) -> dict[str, Any]:
    caller: KeyHolder = request.state.caller
    signed = check(
        {name.lower(): value for name, value in request.headers.items()},
        method=request.method,
        path=request.url.path,
        body=body,
        key_ref=caller.name,
        public_key=caller.public_key,
        now=parts.clock.now(),
    )
    if isinstance(signed, NotSigned):
        note = NOT_AS_DEMAND.format(why=signed.why)
        return parts.desk.file(told, caller=_as(caller, notes=(note,))).document()
    token = hmac.digest(caller.secret, b"coverguard/1/removal\n" + signed.base, hashlib.sha256)
    return parts.desk.file(told, caller=_as(caller, removal=signed.event_id, token=token)).document()


def _add_hiding(app: FastAPI, parts: Platform) -> None:
    hiding = Hiding(database=parts.database, clock=parts.clock)

    @app.post(
        "/v1/accounts/{account_id:path}/hide",
        name="platform.hide",
        status_code=HTTPStatus.ACCEPTED,
        response_model=Hidden,
        responses=documented(401, 404, 503),
    )
    @needs(Verb.HIDE_ACCOUNT)
    def hide_account(request: Request, account_id: Annotated[AccountInPath, Path()]) -> Hidden:
        """Hide everything of an account until a person has looked. You cannot show it again."""
        going = hiding.hide(account_id, actor=request.state.caller)
        return Hidden(takedown=going.ref, state=TakedownState(going.state), covers=going.covers, says=HIDDEN)


def _as(
    holder: KeyHolder, *, notes: tuple[str, ...] = (), removal: str | None = None, token: bytes | None = None
) -> Caller:
    source = SOURCES[Role(next(iter(holder.roles)))]
    return Caller(source=source, api_key=holder.name, notes=notes, removal=removal, token=token)


def _moment(at: Micros | None) -> str | None:
    return from_micros(at).isoformat(timespec="seconds") if at is not None else None
