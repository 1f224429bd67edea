"""Support hides an account: one call, which sees nothing, shows nothing again, and wakes the owners.

It goes straight to the ledger, because whoever calls must know that it was taken. The same key's same wish is
one cause, however often it is sent. A person with the right to it decides what becomes of it; the keeper
pages them as long as nobody has (alarm `hidden_by_support`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from coverguard.model import Actor, TakedownCause
from coverguard.ports import Clock
from coverguard.retrying import again_if_contended
from coverguard.store import Connection, Row, covers, takedowns
from coverguard.store.engine import Database
from coverguard.store.rows import new_ref

CAUSE: Final = TakedownCause.SUPPORT


class Going(NamedTuple):
    """The account's takedown as it is now, and how many cover versions of it are known."""

    ref: str
    state: str
    covers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hiding:
    database: Database
    clock: Clock

    @again_if_contended
    def hide(self, platform_id: str, *, actor: Actor) -> Going:
        """Ensure that everything of the account goes dark, also of one that nobody has heard of yet.

        Raises:
            TransientError: the ledger does not answer, or gave up; ask again.
        """
        with self.database.transaction() as tx:
            now = self.clock.now()
            account_id = covers.know_account(tx, platform_id, now=now)
            row = takedowns.request(
                tx,
                account_id=account_id,
                cause=CAUSE,
                origin=_standing(tx, account_id, actor) or new_ref("request"),
                level="block",
                actor=actor.name,
                role=actor.role,
                now=now,
            )
            return Going(ref=row.ref, state=row.state, covers=covers.count_of_uploader(tx, account_id))


def _standing(tx: Connection, account_id: int, actor: Actor) -> str | None:
    """The origin under which the same key asked for the same, where that still stands."""
    row: Row[Any] | None = takedowns.live(tx, account_id)
    causes = takedowns.causes(tx, row.id) if row is not None else ()
    return next((one.origin for one in causes if (one.kind, one.actor) == (CAUSE.value, actor.name)), None)
