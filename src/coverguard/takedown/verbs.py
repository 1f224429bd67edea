"""What people may ask of takedowns: take an account down, hide it, lift what somebody else asked for.

Who may take down holds and keeps everything; support only hides, sees nothing by it and shows nothing again.
What an event or a verdict called for is not lifted here: a reinstatement and a decision do that. Reasons are
a person's words, kept sealed. Nothing is done to an object here: the driver does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from coverguard import access
from coverguard.access import Verb
from coverguard.errors import NotFound, Refused
from coverguard.model import Actor, TakedownCause
from coverguard.ports import Clock, Keys
from coverguard.retrying import again_if_contended
from coverguard.store import Connection, Row, covers, takedowns
from coverguard.store.engine import Database
from coverguard.store.rows import new_ref

MAX_REASON: Final = 2000
ASKED_FOR: Final = (TakedownCause.PERSON, TakedownCause.SUPPORT, TakedownCause.REPORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakedownVerbs:
    database: Database
    keys: Keys
    clock: Clock

    @again_if_contended
    def take_down(self, platform_id: str, *, actor: Actor, reason: str) -> Row[Any]:
        """Take everything of the account dark; who may only hide accounts hides it. Again: nothing changes.

        An account that the ledger never heard of is taken down like any other: the catalogue may know it.

        Raises:
            Refused: the actor may do neither, or gave no reason.
        """
        may_hold = access.allows(actor, Verb.TAKE_DOWN)
        if not may_hold:
            access.require(actor, Verb.HIDE_ACCOUNT)
        _reasoned(reason)
        cause = TakedownCause.PERSON if may_hold else TakedownCause.SUPPORT
        with self.database.transaction() as tx:
            now = self.clock.now()
            account_id = covers.know_account(tx, platform_id, now=now)
            origin = _asked_before(tx, account_id, cause, actor) or new_ref("request")
            return takedowns.request(
                tx, account_id=account_id, cause=cause, origin=origin,
                level="hold" if may_hold else "block", actor=actor.name, role=actor.role, now=now,
                reason_sealed=self.keys.seal("private", reason.encode(), context=origin.encode()),
            )  # fmt: skip

    @again_if_contended
    def lift(self, platform_id: str, *, actor: Actor, reason: str) -> Row[Any]:
        """Withdraw what people and reports asked for; the takedown lifts if nothing else calls for it.

        Raises:
            Refused: the actor may not lift, asked for one of them, or gave no reason; or nothing but
                terminations and verdicts keeps the account dark.
            NotFound: no such account is dark.
        """
        access.require(actor, Verb.LIFT_TAKEDOWN)
        _reasoned(reason)
        with self.database.transaction() as tx:
            now = self.clock.now()
            row = takedowns.live_of(tx, platform_id)
            if row is None:
                raise NotFound("no takedown of that account is live; see: coverguard takedowns")
            row = takedowns.lock_account_of(tx, row)
            asked = [one for one in takedowns.causes(tx, row.id) if TakedownCause(one.kind) in ASKED_FOR]
            if any(one.actor == actor.name for one in asked):
                raise Refused("somebody else has to lift what you asked for")
            if not asked:
                raise Refused("a termination or a verdict keeps it dark: reinstate it, or decide again")
            for one in asked:
                takedowns.withdraw(
                    tx, cause=TakedownCause(one.kind), origin=one.origin, actor=actor.name, role=actor.role,
                    now=now, reason_sealed=self.keys.seal(
                        "private", reason.encode(), context=f"{one.origin}:lift".encode()
                    ),
                )  # fmt: skip
            return takedowns.by_id(tx, row.id)


def _asked_before(tx: Connection, account_id: int, cause: TakedownCause, actor: Actor) -> str | None:
    """Where the same person's same request stands, it is not asked for twice."""
    row = takedowns.live(tx, account_id)
    standing = takedowns.causes(tx, row.id) if row is not None else ()
    return next((one.origin for one in standing if (one.kind, one.actor) == (cause.value, actor.name)), None)


def _reasoned(reason: str) -> None:
    if not reason.strip() or len(reason) > MAX_REASON:
        raise Refused(f"a takedown gives its reason, in 1 to {MAX_REASON} characters")
