"""Secrets of others that we show them: each a file, private to us, of one line of visible ASCII."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from coverguard.errors import ConfigurationError

_MAX_BYTES: Final = 4096
_VISIBLE: Final = re.compile(rb"[!-~]+")


def read_secret(path: Path, *, shown: str) -> str:
    """Return the file's line without its end; `shown` is what errors call the file.

    Raises:
        ConfigurationError: it is missing, open to others, not ours, or not one line of visible ASCII.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            _require_private(os.fstat(descriptor), shown)
            secret = file.read(_MAX_BYTES + 1).rstrip(b"\r\n")
    except OSError as error:
        raise ConfigurationError(f"{shown} cannot be read: {type(error).__name__}") from error
    if len(secret) > _MAX_BYTES or not _VISIBLE.fullmatch(secret):
        raise ConfigurationError(f"{shown} must be one line of visible ASCII")
    return secret.decode("ascii")


def _require_private(found: os.stat_result, shown: str) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigurationError(f"{shown} must be a file of ours")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigurationError(f"{shown} is open to group or others")
