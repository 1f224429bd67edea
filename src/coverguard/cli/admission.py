"""Who may use which command: one entry for each, asked before it runs. What has no entry runs for nobody.

The use cases behind the commands ask again: this is the outer door. What a program on this machine can do
with the deployment's files and keys anyway is the host operator's, and asks for no role.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

from coverguard import settings
from coverguard.access import Verb, require
from coverguard.cli.output import person
from coverguard.errors import Refused


class Roleless(StrEnum):
    """Commands that ask for no role, and why."""

    HOST = "whoever may run processes as the deployment's user has its files and keys already"
    ANYONE = "touches no deployment but one that it makes itself, and no list"


COMMANDS: Final[Mapping[str, Verb | Roleless]] = {
    "migrate": Roleless.HOST,
    "worker": Roleless.HOST,
    "keeper": Roleless.HOST,
    "files": Roleless.HOST,
    "emit": Roleless.HOST,  # as the platform's services do: by the right to write to queue and buckets
    "queue stats": Roleless.HOST,  # counts
    "queue redrive": Verb.OPERATE,
    "lists add": Verb.EDIT_LISTS,
    "lists load": Verb.EDIT_LISTS,
    "lists rule": Verb.EDIT_LISTS,
    "lists enable": Verb.EDIT_LISTS,
    "lists disable": Verb.EDIT_LISTS,
    "lists attest": Verb.EDIT_LISTS,
    "lists promote": Verb.EDIT_LISTS,
    "lists demote": Verb.EDIT_LISTS,
    "lists stop": Verb.EDIT_LISTS,
    "lists lift": Verb.EDIT_LISTS,
    "lists review": Verb.EDIT_LISTS,
    "lists stops": Verb.SHOW_LISTS,
    "lists faults": Verb.SHOW_LISTS,  # settling them is asked for inside
    "lists show": Verb.SHOW_LISTS,
    "import add": Verb.EDIT_LISTS,
    "import run": Verb.EDIT_LISTS,
    "import enable": Verb.EDIT_LISTS,
    "import disable": Verb.EDIT_LISTS,
    "import status": Verb.SHOW_LISTS,
    "import serve": Roleless.HOST,
    "fingerprint": Roleless.ANYONE,
    "match": Verb.READ_LISTS,
    "explain": Verb.READ_LISTS,
    "cases": Verb.READ_CASES,
    "verdict claim": Verb.DECIDE,
    "verdict confirm": Verb.DECIDE,
    "verdict clear": Verb.DECIDE,
    "verdict unsure": Verb.DECIDE,
    "verdict agree": Verb.DECIDE,
    "verdict reopen": Verb.REOPEN,
    "takedown": Verb.HIDE_ACCOUNT,  # what it comes to, and lifting, is asked for inside
    "takedowns": Verb.READ_CASES,
    "clocks": Verb.READ_CLOCKS,
    "reports list": Verb.READ_REPORTS,
    "reports show": Verb.READ_REPORTS,
    "reports reply": Verb.ANSWER_REPORTS,
    "reports close": Verb.ANSWER_REPORTS,
    "web public": Roleless.HOST,
    "web platform": Roleless.HOST,
    "keys add": Verb.MANAGE_KEYS,
    "keys list": Verb.MANAGE_KEYS,
    "keys rotate": Verb.MANAGE_KEYS,
    "keys revoke": Verb.MANAGE_KEYS,
    "receipt verify": Roleless.ANYONE,  # reads one file, and public keys
    "verify": Roleless.HOST,  # references and counts; the trail is checked by whoever may read the ledger
    "doctor": Roleless.HOST,
    "demo": Roleless.ANYONE,
}


def leaves(parser: argparse.ArgumentParser, *above: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that can be run, with its words."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]  # noqa: SLF001
    if not groups:
        yield " ".join(above), parser
    for group in groups:
        for word, below in group.choices.items():
            yield from leaves(below, *above, word)


def name_commands(parser: argparse.ArgumentParser) -> None:
    """Let each command's options say which command it is, for `admit`."""
    for words, leaf in leaves(parser):
        leaf.set_defaults(command=words)


def admit(options: argparse.Namespace) -> None:
    """Let the person who asks use this command.

    Raises:
        Refused: their roles do not allow it, or no entry says who may use it.
        ConfigurationError: the settings that name the people cannot be read.
    """
    needed = COMMANDS.get(options.command)
    if needed is None:
        raise Refused(f"nobody may use this command: {options.command} has no entry in cli.admission")
    if isinstance(needed, Verb):
        require(person(settings.load(settings.home_of(options.home))), needed)
