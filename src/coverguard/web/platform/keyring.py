"""Whose key is it? The one place that looks at `Authorization`, anew for each request.

A key as its owner has it: `cgk_`, the reference's 16 hex digits, `_`, 32 random bytes in Base64 for URLs. The
prefix lets secret scanners find one that was published. Only a digest is compared, in the ledger; a key that
was revoked a moment ago lets nobody in.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from coverguard.model import Actor, Channel
from coverguard.ports import Clock
from coverguard.store import api_keys
from coverguard.store.engine import Database
from coverguard.web.answers import Unauthorised

_KEY: Final = re.compile(r"cgk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
NO_KEY: Final = "No valid key: send Authorization: Bearer and your key."


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHolder(Actor):
    """An actor with what their key says; `name` is the key's reference."""

    key_name: str
    secret: bytes
    public_key: bytes | None

    def __repr__(self) -> str:
        return f"KeyHolder(name={self.name!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    database: Database
    clock: Clock

    def holder(self, request: Request) -> KeyHolder:
        """Who sent this.

        Raises:
            Unauthorised: no key, or one that lets nobody in.
            TransientError: the ledger does not answer.
        """
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        found = _KEY.fullmatch(text.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise Unauthorised(NO_KEY)
        try:
            secret = base64.urlsafe_b64decode(f"{found[2]}=")
        except binascii.Error:
            raise Unauthorised(NO_KEY) from None
        with self.database.reading() as tx:
            row = api_keys.live(tx, secret=secret, now=self.clock.now())
        if row is None or row.ref != f"key-{found[1]}":
            raise Unauthorised(NO_KEY)
        return KeyHolder(
            name=row.ref,
            roles=frozenset({row.role}),
            channel=Channel.API,
            key_name=row.name,
            secret=secret,
            public_key=bytes(row.public_key) if row.public_key is not None else None,
        )


def written(ref: str, secret: bytes) -> str:
    """A key as its owner gets it, once."""
    return f"cgk_{ref.removeprefix('key-')}_{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"
