"""A deployment without a catalogue, and the key that one with a catalogue shows it.

Without a catalogue a takedown knows the ledger and the buckets only, and has to say so. The key is a file,
never a setting: private to us, one line of visible ASCII. It is read anew for each listing, so that a new key
needs no restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from coverguard.local.secretfile import read_secret
from coverguard.messages import CoverUploaded

TOKEN_FILE: Final = "catalogue.token"  # noqa: S105 - a file name


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
    return read_secret(folder / TOKEN_FILE, shown=f"keys/{TOKEN_FILE}")
