"""Who may do what: role × verb, and nothing that is not in the table.

Deny by default: an unknown role has no verbs, an actor without roles may do nothing. Two-person rules live
in `review`; this table only says which hands exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from coverguard.errors import Refused
from coverguard.model import Actor


class Role(StrEnum):
    MODERATOR = "moderator"
    SENIOR_MODERATOR = "senior_moderator"
    SUPPORT = "support"
    TRUSTED_FLAGGER = "trusted_flagger"
    HOTLINE = "hotline"
    LIST_READER = "list_reader"
    LIST_EDITOR = "list_editor"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class Verb(StrEnum):
    READ_CASES = "read cases"
    DECIDE = "decide an item"
    REOPEN = "reopen an item"
    HIDE_ACCOUNT = "hide an account"
    TAKE_DOWN = "take an account down"
    LIFT_TAKEDOWN = "lift a takedown"
    FILE_REPORT = "file a report"
    DEMAND_REMOVAL = "demand a removal"
    READ_REPORTS = "read reports"
    ANSWER_REPORTS = "answer reports"
    READ_CLOCKS = "read clocks"
    MANAGE_KEYS = "manage keys of the platform's interface"
    SHOW_LISTS = "see which lists there are"
    READ_LISTS = "match against lists"
    EDIT_LISTS = "change lists and rules"
    OPERATE = "operate the service"
    READ_AUDIT = "read the audit trail"


MODERATING: Final = frozenset(
    {Verb.READ_CASES, Verb.DECIDE, Verb.READ_REPORTS, Verb.ANSWER_REPORTS, Verb.READ_CLOCKS}
)
TABLE: Final[Mapping[Role, frozenset[Verb]]] = {
    Role.MODERATOR: MODERATING | {Verb.HIDE_ACCOUNT, Verb.TAKE_DOWN},
    Role.SENIOR_MODERATOR: MODERATING | {Verb.HIDE_ACCOUNT, Verb.TAKE_DOWN, Verb.REOPEN, Verb.LIFT_TAKEDOWN},
    Role.SUPPORT: frozenset({Verb.HIDE_ACCOUNT, Verb.FILE_REPORT}),  # sees nothing, shows nothing again
    Role.TRUSTED_FLAGGER: frozenset({Verb.FILE_REPORT}),
    Role.HOTLINE: frozenset({Verb.FILE_REPORT, Verb.DEMAND_REMOVAL}),
    Role.LIST_READER: frozenset({Verb.SHOW_LISTS, Verb.READ_LISTS}),
    Role.LIST_EDITOR: frozenset({Verb.SHOW_LISTS, Verb.EDIT_LISTS}),
    Role.OPERATOR: frozenset({Verb.OPERATE, Verb.READ_CLOCKS, Verb.MANAGE_KEYS}),
    Role.AUDITOR: frozenset({Verb.READ_CASES, Verb.READ_AUDIT, Verb.READ_CLOCKS}),
}


def allows(actor: Actor, verb: Verb) -> bool:
    return any(verb in TABLE[Role(role)] for role in actor.roles if role in Role.__members__.values())


def require(actor: Actor, verb: Verb) -> None:
    """Let the actor pass, or raise `Refused` naming the verb and the roles that have it."""
    if not allows(actor, verb):
        having = ", ".join(sorted(role.value for role, verbs in TABLE.items() if verb in verbs))
        raise Refused(f"{actor.name} may not {verb.value}; it takes one of: {having}")
