"""The command line: `coverguard VERB`. It parses, calls one use case, prints; it decides nothing.

Exit codes: 0 done; 1 done, and something is wrong (`verify`, `doctor`, `clocks` with something overdue,
`lists load` with faulty lines);
2 the call or the settings make no sense; 3 refused by a rule; 4 not found; 5 the outside is unwell.
Errors go to standard error as one sentence that says what to do. With `--json` a command prints JSON only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from coverguard import __version__
from coverguard.cli import (
    admission,
    checking,
    clocks,
    demo,
    exchanging,
    keys,
    lists,
    looking,
    receipts,
    reports,
    reviewing,
    serving,
    takedowns,
    web,
)
from coverguard.cli.output import say
from coverguard.errors import (
    BadListFile,
    BadMessage,
    ConfigurationError,
    ContentRejected,
    CoverguardError,
    IllegalTransition,
    NotFound,
    Refused,
    TransientError,
)
from coverguard.settings import DEFAULT_HOME, HOME_VARIABLE

EXIT_CODES: Final[Sequence[tuple[type[CoverguardError], int]]] = (
    (Refused, 3),
    (IllegalTransition, 3),
    (NotFound, 4),
    (TransientError, 5),
    (ConfigurationError, 2),
    (BadListFile, 2),
    (BadMessage, 2),
    (ContentRejected, 1),
)

GROUPS: Final = (
    serving, web, keys, receipts, lists, exchanging, looking, reviewing, takedowns, reports, clocks, checking,
    demo,
)  # fmt: skip

EPILOG: Final = f"""\
first steps on the embedded profile (one machine, not for production):
  coverguard migrate                       create the deployment in ./{DEFAULT_HOME}
                                           (give yourself roles in its coverguard.toml, under [people])
  coverguard lists add demo --source "my own tests" --category child_abuse
  coverguard lists load demo hashes.csv    id,algorithm,digest in the header
  coverguard lists attest demo --help      who vouches for it? then lists enable demo: it matches, in shadow
  coverguard lists promote demo --note …   to refer; after lists review demo to hold
  coverguard files &                       serve the public bucket on loopback
  coverguard worker & coverguard keeper &  screen, and keep promises
  coverguard emit picture.jpg --surface playlist_cover --uploader u1
  coverguard cases                         what waits for a person
  coverguard verify                        is every promise kept?

The deployment's folder is --home, else ${HOME_VARIABLE}, else ./{DEFAULT_HOME}; its settings
are coverguard.toml in it.
exit codes: 0 done · 1 done, something is wrong · 2 the call or settings make no sense · 3 refused by a rule ·
            4 not found · 5 the outside is unwell, try again
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="coverguard",
        description="Keeps known abuse imagery off a platform whose users upload custom cover art.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"coverguard {__version__}")
    top.add_argument("--home", metavar="FOLDER", help="the deployment's folder")
    verbs = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in GROUPS:
        group.add_commands(verbs)
    admission.name_commands(top)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        admission.admit(options)
        return int(options.run(options))
    except CoverguardError as error:
        say(f"coverguard: {error}", stream=sys.stderr)
        return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)
    except BrokenPipeError:
        return 0  # whoever read our output has read enough
    except KeyboardInterrupt:
        return 130
