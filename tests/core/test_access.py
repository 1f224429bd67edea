"""Deny by default: every role × verb against the table, written out again."""

import itertools

import pytest

from coverguard.access import TABLE, Role, Verb, allows, require
from coverguard.errors import Refused
from coverguard.model import Actor, Channel

GRANTED = {
    ("moderator", "read cases"),
    ("moderator", "decide an item"),
    ("moderator", "hide an account"),
    ("moderator", "take an account down"),
    ("moderator", "read reports"),
    ("moderator", "answer reports"),
    ("moderator", "read clocks"),
    ("senior_moderator", "read cases"),
    ("senior_moderator", "decide an item"),
    ("senior_moderator", "reopen an item"),
    ("senior_moderator", "hide an account"),
    ("senior_moderator", "take an account down"),
    ("senior_moderator", "lift a takedown"),
    ("senior_moderator", "read reports"),
    ("senior_moderator", "answer reports"),
    ("senior_moderator", "read clocks"),
    ("support", "hide an account"),
    ("support", "file a report"),
    ("trusted_flagger", "file a report"),
    ("hotline", "file a report"),
    ("hotline", "demand a removal"),
    ("list_reader", "see which lists there are"),
    ("list_reader", "match against lists"),
    ("list_editor", "see which lists there are"),
    ("list_editor", "change lists and rules"),
    ("operator", "operate the service"),
    ("operator", "read clocks"),
    ("operator", "manage keys of the platform's interface"),
    ("auditor", "read cases"),
    ("auditor", "read the audit trail"),
    ("auditor", "read clocks"),
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


@pytest.mark.parametrize("role", ["support", "trusted_flagger", "hotline"])
def test_who_tells_us_sees_nothing_and_shows_nothing_again(role):
    telling = {Verb.FILE_REPORT, Verb.HIDE_ACCOUNT, Verb.DEMAND_REMOVAL}
    assert TABLE[Role(role)] <= telling


def test_who_brings_an_account_back_is_more_than_who_takes_it_down():
    having = {verb: {role for role, verbs in TABLE.items() if verb in verbs} for verb in Verb}
    assert having[Verb.LIFT_TAKEDOWN] < having[Verb.TAKE_DOWN]
