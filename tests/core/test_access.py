"""Deny by default: every role × verb against the table, written out again."""

import itertools

import pytest

from coverguard.access import TABLE, Role, Verb, allows, require
from coverguard.errors import Refused
from coverguard.model import Actor, Channel

GRANTED = {
    ("moderator", "read cases"),
    ("moderator", "decide an item"),
    ("senior_moderator", "read cases"),
    ("senior_moderator", "decide an item"),
    ("senior_moderator", "reopen an item"),
    ("support", "hide an account"),
    ("list_reader", "match against lists"),
    ("list_editor", "change lists and rules"),
    ("operator", "operate the service"),
    ("auditor", "read cases"),
    ("auditor", "read the audit trail"),
}


def actor(*roles):
    return Actor(name="Robin", roles=frozenset(roles), channel=Channel.CLI)


@pytest.mark.parametrize(("role", "verb"), list(itertools.product(Role, Verb)))
def test_a_role_has_the_verbs_of_the_table(role, verb):
    granted = (role.value, verb.value) in GRANTED
    assert allows(actor(role.value), verb) is granted
    if granted:
        require(actor(role.value), verb)
    else:
        with pytest.raises(Refused, match="Robin may not"):
            require(actor(role.value), verb)


@pytest.mark.parametrize("verb", list(Verb))
@pytest.mark.parametrize("roles", [(), ("admin",), ("MODERATOR",), ("",), ("moderator ",)])
def test_unknown_roles_and_none_deny(roles, verb):
    assert not allows(actor(*roles), verb)
    with pytest.raises(Refused):
        require(actor(*roles), verb)


def test_an_unknown_role_takes_nothing_from_a_known_one():
    assert allows(actor("admin", "support"), Verb.HIDE_ACCOUNT)


def test_refusal_names_who_may():
    with pytest.raises(Refused, match="it takes one of: auditor, moderator, senior_moderator"):
        require(actor("support"), Verb.READ_CASES)


def test_every_role_has_a_row_and_every_verb_a_hand():
    assert set(TABLE) == set(Role)
    assert set().union(*TABLE.values()) == set(Verb)


def test_an_actor_has_a_name():
    with pytest.raises(ValueError):
        Actor(name=" ", roles=frozenset(), channel=Channel.CONSOLE)
