"""Every command × every role: let through or refused, as its entry says; and no command without an entry.

The commands are those of the parser, their arguments made up from what the parser demands. So a new command
is tried here without anybody's having thought of it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from coverguard import preparing
from coverguard.access import TABLE, Role, Verb
from coverguard.cli import main, parser
from coverguard.cli.admission import COMMANDS, Roleless, leaves
from coverguard.cli.output import UNNAMED

pytestmark = pytest.mark.thorough  # a deployment is opened for each

ME = pwd.getpwuid(os.getuid()).pw_name
REFUSED = 3
LEAVES = dict(leaves(parser()))
# run until they are told to stop, or for minutes
SERVING = {"worker", "keeper", "files", "import serve", "web public", "web platform", "demo"}
NAMED = {"queue redrive": ["uploads"]}  # what is already there, where anything else would be no test
UNTYPED = "item-0000000000000000"


def made_up(action: argparse.Action, file: Path) -> str:
    """Something that the parser takes."""
    if action.choices:
        one: Any = next(iter(action.choices))
        return str(getattr(one, "value", one))
    if action.type is Path:
        return str(file)
    for text in (UNTYPED, "1", "2030-01-01", "GB"):
        with contextlib.suppress(ValueError, TypeError, argparse.ArgumentTypeError):
            if action.type is not None:
                action.type(text)
            return text
    raise AssertionError(f"tell this test what {action.dest} takes")


def call(words: str, file: Path) -> list[str]:
    """The shortest call of a command that makes sense to the parser."""
    if words in NAMED:
        return [*words.split(), *NAMED[words]]
    leaf = LEAVES[words]
    ways = [group for group in leaf._mutually_exclusive_groups if group.required]
    first = [next(iter(group._group_actions)) for group in ways]
    said: list[str] = []
    for action in leaf._actions:
        needed = action.required or action in first
        if not needed or isinstance(action, argparse._HelpAction):
            continue
        if action.option_strings:
            said.append(action.option_strings[0])
        if action.nargs != 0:
            said.append(made_up(action, file))
    return [*words.split(), *said]


class Host:
    """One deployment, on which somebody else may be anybody."""

    def __init__(self, home: Path, file: Path) -> None:
        self.home, self.file = home, file

    def roles(self, *roles: str) -> None:
        people = f"[people]\n{ME} = {json.dumps(roles)}\n" if roles else ""
        (self.home / "coverguard.toml").write_text(f"verdict_on_cli = true\n{people}", encoding="utf-8")

    def __call__(self, *words: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it said on standard error."""
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            code = main(["--home", str(self.home), *words])
        return code, said.getvalue()

    def lets(self, *words: str) -> bool:
        """Whether the person is let through, however the command ends after that."""
        code, said = self(*words)
        refused = "may not" in said or UNNAMED in said or "nobody may use" in said
        by_a_rule = "nobody vouches for it yet" in said or "it may only" in said
        assert (code == REFUSED) == (refused or by_a_rule), (words, code, said)
        return not refused


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    folder = tmp_path_factory.mktemp("host")
    file = folder / "file.csv"
    file.write_text("id,algorithm,digest\n", encoding="utf-8")
    made = Host(folder / "home", file)
    preparing.prepare(made.home)
    return made


def guarded() -> Sequence[tuple[str, Verb]]:
    return [(words, needed) for words, needed in COMMANDS.items() if isinstance(needed, Verb)]


def test_every_command_says_who_may_use_it_and_no_entry_is_left_over():
    assert set(COMMANDS) == set(LEAVES)


def test_a_command_without_an_entry_runs_for_nobody(host, monkeypatch):
    monkeypatch.delitem(COMMANDS, "doctor")
    host.roles(*Role)
    code, said = host("doctor")
    assert (code, "nobody may use this command" in said) == (REFUSED, True)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("words", [words for words, _ in guarded()])
def test_a_role_is_let_through_where_it_has_the_verb(host, words, role):
    host.roles(role)
    assert host.lets(*call(words, host.file)) == (COMMANDS[words] in TABLE[role])


@pytest.mark.parametrize("words", [words for words, _ in guarded()])
def test_all_other_roles_together_are_not_enough(host, words):
    others = [role for role in Role if COMMANDS[words] not in TABLE[role]]
    host.roles(*others)
    assert not host.lets(*call(words, host.file))


@pytest.mark.parametrize("words", [words for words, _ in guarded()])
def test_nobody_is_let_through(host, words):
    host.roles()
    code, said = host(*call(words, host.file))
    assert (code, UNNAMED in said) == (REFUSED, True)


@pytest.mark.parametrize("words", [w for w, v in COMMANDS.items() if isinstance(v, Roleless)])
def test_what_asks_for_no_role_asks_for_none(host, words):
    if words in SERVING:
        return
    host.roles()
    assert host.lets(*call(words, host.file))


FURTHER = {  # options that ask for more than the command does
    ("takedown", "account-of-nobody", "--reason", "an appeal", "--lift"): Verb.LIFT_TAKEDOWN,
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("words", list(FURTHER))
def test_an_option_may_ask_for_more(host, words, role):
    host.roles(role)
    assert host.lets(*words) == (FURTHER[words] in TABLE[role])


def test_every_verb_guards_something():
    """Those that are left guard routes of the platform's interface, or deepen what another verb lets in."""
    unused = set(Verb) - {verb for _, verb in guarded()} - set(FURTHER.values())
    assert unused == {Verb.FILE_REPORT, Verb.DEMAND_REMOVAL, Verb.READ_AUDIT, Verb.TAKE_DOWN}
