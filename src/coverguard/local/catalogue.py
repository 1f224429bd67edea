"""A deployment without a catalogue, and the key that one with a catalogue shows it.

Without a catalogue a takedown knows the ledger and the buckets only, and has to say so. The key is a file,
never a setting: private to us, one line of visible ASCII. It is read anew for each listing, so that a new key
needs no restart.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from coverguard.errors import ConfigurationError
from coverguard.messages import CoverUploaded

TOKEN_FILE: Final = "catalogue.token"  # noqa: S105 - a file name
_MAX_TOKEN_BYTES: Final = 4096
_VISIBLE: Final = re.compile(rb"[!-~]+")


class NoCatalogue:
    """`ports.Catalogue` of a deployment that has none: it knows nothing, and says that it is not there."""

    exists: Final = False

    def covers_of(self, account_id: str) -> Iterator[CoverUploaded]:  # noqa: ARG002 - the port's
        return iter(())

    def check(self) -> None:
        """There is nobody who could fail to answer."""


def read_token(folder: Path) -> str:
    """Return the key from the folder's `catalogue.token`, without the line's end.

    Raises:
        ConfigurationError: it is missing, open to others, not ours, or not one line of visible ASCII.
    """
    try:
        descriptor = os.open(folder / TOKEN_FILE, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            _require_private(os.fstat(descriptor))
            token = file.read(_MAX_TOKEN_BYTES + 1).rstrip(b"\r\n")
    except OSError as error:
        raise ConfigurationError(f"keys/{TOKEN_FILE} cannot be read: {type(error).__name__}") from error
    if len(token) > _MAX_TOKEN_BYTES or not _VISIBLE.fullmatch(token):
        raise ConfigurationError(f"keys/{TOKEN_FILE} must be one line of visible ASCII")
    return token.decode("ascii")


def _require_private(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigurationError(f"keys/{TOKEN_FILE} must be a file of ours")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigurationError(f"keys/{TOKEN_FILE} is open to group or others")
