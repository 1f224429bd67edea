"""Signed audit heads in a folder: the embedded profile's `HeadArchive`.

Invariants: a head's file is linked to its name whole and never again, and is read-only (0400). That stops
mistakes, and nobody who is this user: what has to stop them is another place (`aws.heads`), or a copy of this
folder that is taken where they cannot write. Checks no signature.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from coverguard.errors import IntegrityFailure
from coverguard.local.keyfolder import file_faults
from coverguard.ports import ArchivedHead, SealedHead
from coverguard.trail import from_document, to_document

_SUFFIX: Final = ".json"
_DIGITS: Final = 20


class FolderHeads:
    """One folder, one file a head."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, head: SealedHead) -> None:
        document, name = to_document(head), self._path / f"{head.seq:0{_DIGITS}d}{_SUFFIX}"
        with file_faults():
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._create(name, document)
            except FileExistsError:
                if name.read_bytes() != document:
                    raise IntegrityFailure("the archive has another head in its place") from None

    def walk(self, *, after: int) -> Iterator[ArchivedHead]:
        with file_faults():
            names = sorted(one.name for one in self._path.iterdir()) if self._path.exists() else []
        for name in names:
            number = name.removesuffix(_SUFFIX)
            if not name.endswith(_SUFFIX) or not number.isdecimal() or int(number) <= after:
                continue
            with file_faults():
                document = (self._path / name).read_bytes()
            yield ArchivedHead(name=name, head=from_document(document))

    def _create(self, name: Path, document: bytes) -> None:
        temporary = name.with_name(f".{name.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(document)
                file.flush()
                os.fsync(descriptor)
            os.link(temporary, name)  # the first wins, and nobody sees half of it
        finally:
            temporary.unlink()
        directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
