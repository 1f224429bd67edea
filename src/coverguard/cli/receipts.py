"""The command that checks a receipt or transcript, with nothing but the file and a public key."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from coverguard import receipts
from coverguard.cli.output import Commands, add_json, document, say
from coverguard.errors import BadMessage, ConfigurationError
from coverguard.local.keys import RECEIPT, PublicKeys
from coverguard.receipts import Verdict
from coverguard.settings import home_of

SAYS: Final = {
    Verdict.VALID: "valid: signed by us, and unchanged since",
    Verdict.CHANGED: "changed: not as it was signed",
    Verdict.UNKNOWN_KEY: "unknown key: signed with none of the keys that are trusted here",
    Verdict.NOT_OURS: "not ours: no receipt and no transcript, or not all of it",
}


def add_commands(verbs: Commands) -> None:
    receipt = verbs.add_parser("receipt", help="check what reporters were given")
    acts = receipt.add_subparsers(title="acts", metavar="ACT", required=True)
    command = acts.add_parser(
        "verify", help="is this receipt or transcript as it was signed? (exit code 1: no)"
    )
    command.add_argument("file", type=Path)
    command.add_argument(
        "--key", metavar="PEM", type=Path, action="append", default=[],
        help="trust this public key alone (may be given again; default: those of the deployment)",
    )  # fmt: skip
    add_json(command)
    command.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    own = home_of(options.home) / "keys"
    trusted = PublicKeys.read(options.key) if options.key else PublicKeys.beside(own, name=RECEIPT)
    if not trusted.pems():
        raise ConfigurationError("there is no public key to check with: name one with --key")
    envelope = receipts.read(_text(options.file))
    verdict = receipts.checked(envelope, trusted)
    if options.json:
        document({"verdict": verdict.value})
    else:
        say(SAYS[verdict])
    return 0 if verdict is Verdict.VALID else 1


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(receipts.MAX_DOCUMENT + 1).decode("utf-8")
    except OSError as error:
        raise BadMessage(f"the file cannot be read: {type(error).__name__}") from error
    except UnicodeDecodeError:
        return ""
