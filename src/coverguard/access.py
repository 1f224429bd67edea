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
    LIST_READER = "list_reader"
    LIST_EDITOR = "list_editor"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class Verb(StrEnum):
    READ_CASES = "read cases"
    DECIDE = "decide an item"
    REOPEN = "reopen an item"
    HIDE_ACCOUNT = "hide an account"
    READ_LISTS = "match against lists"
    EDIT_LISTS = "change lists and rules"
    OPERATE = "operate the service"
    READ_AUDIT = "read the audit trail"


TABLE: Final[Mapping[Role, frozenset[Verb]]] = {
    Role.MODERATOR: frozenset({Verb.READ_CASES, Verb.DECIDE}),
    Role.SENIOR_MODERATOR: frozenset({Verb.READ_CASES, Verb.DECIDE, Verb.REOPEN}),
    Role.SUPPORT: frozenset({Verb.HIDE_ACCOUNT}),
    Role.LIST_READER: frozenset({Verb.READ_LISTS}),
    Role.LIST_EDITOR: frozenset({Verb.EDIT_LISTS}),
    Role.OPERATOR: frozenset({Verb.OPERATE}),
    Role.AUDITOR: frozenset({Verb.READ_CASES, Verb.READ_AUDIT}),
}


def allows(actor: Actor, verb: Verb) -> bool:
    return any(verb in TABLE[Role(role)] for role in actor.roles if role in Role.__members__.values())


def require(actor: Actor, verb: Verb) -> None:
    """Let the actor pass, or raise `Refused` naming the verb and the roles that have it."""
    if not allows(actor, verb):
        having = ", ".join(sorted(role.value for role, verbs in TABLE.items() if verb in verbs))
        raise Refused(f"{actor.name} may not {verb.value}; it takes one of: {having}")
