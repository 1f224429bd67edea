"""What commands print, and who is asking: tables for people, one JSON document for programs."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

from coverguard.errors import Refused
from coverguard.messages import from_micros
from coverguard.model import Actor, Channel, Micros
from coverguard.settings import Settings

Commands = Any  # argparse keeps the type of `add_subparsers()` private
UNNAMED: Final = "no roles"


def say(text: str, *, stream: TextIO | None = None) -> None:
    """Print one line; characters the terminal cannot show are escaped, control characters always."""
    shown = "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
    out = stream or sys.stdout
    encoding = out.encoding or "utf-8"
    print(shown.encode(encoding, "backslashreplace").decode(encoding), file=out, flush=True)


def document(value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    say(json.dumps(value, indent=2, ensure_ascii=False))


def table(rows: Sequence[Mapping[str, object]], *, empty: str) -> None:
    """Print rows under their column names, or a sentence where there are none."""
    if not rows:
        say(empty)
        return
    names = list(rows[0])
    cells = [[str(row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    for line in (names, *cells):
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def moment(value: Micros | None) -> str:
    """UTC to the second, or a dash."""
    return from_micros(value).strftime("%Y-%m-%d %H:%M:%SZ") if value is not None else "-"


def person(settings: Settings) -> Actor:
    """The operating-system user, with the roles that the settings give them.

    Raises:
        Refused: the settings give this user no role; deny by default.
    """
    user = _user(settings)
    roles = settings.people.get(user)
    if not roles:
        raise Refused(f'user {user} has {UNNAMED}; add to coverguard.toml: [people] {user} = ["…"]')
    return Actor(name=user, roles=roles, channel=Channel.CLI)


def _user(settings: Settings) -> str:
    """Who runs this process, by the kernel's word: environment variables can say anything.

    Where the settings trust sudo, who called it: sudoers then decides who may run coverguard as its own user.
    """
    caller = os.environ.get("SUDO_UID", "") if settings.trust_sudo else ""
    try:
        return pwd.getpwuid(int(caller) if caller.isdecimal() else os.getuid()).pw_name
    except KeyError:
        raise Refused("this user id has no name on this machine") from None


def add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
