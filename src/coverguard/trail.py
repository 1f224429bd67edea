"""The arithmetic of the sealed audit trail: what a link is, what a head signs, how one is written down.

    link n = SHA-256(link n-1 ‖ id of the row ‖ digest of the row), link 0 = 32 zero bytes
    head   = (n, link n, time, key), signed

Whoever knows these lines, a public key and the rows can check the trail without this program. Pure; knows no
ledger, no key and no place.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from coverguard.model import Micros
from coverguard.ports import SealedHead

START: Final = bytes(32)
"""What stands before the first link."""

_SCHEMA: Final = "coverguard.audit-head/1"


def link(previous: bytes, audit_id: int, digest: bytes) -> bytes:
    """The value of the link that follows `previous`: 32 bytes. The id is 8 bytes, most significant first."""
    return hashlib.sha256(previous + audit_id.to_bytes(8, "big") + digest).digest()


def signed_bytes(head: SealedHead) -> bytes:
    """What the signature of a head is made of: everything else in it."""
    return json.dumps(_fields(head), sort_keys=True, separators=(",", ":")).encode()


def to_document(head: SealedHead) -> bytes:
    """A head as an archive keeps it: one line of JSON."""
    return json.dumps({**_fields(head), "signature": head.signature.hex()}, sort_keys=True).encode()


def from_document(document: bytes) -> SealedHead | None:
    """Return the head in a document, or None where it is none of ours."""
    try:
        fields = json.loads(document)
        if fields["schema"] != _SCHEMA:
            return None
        return SealedHead(
            seq=int(fields["seq"]),
            chain=bytes.fromhex(fields["chain"]),
            sealed_at=Micros(int(fields["sealed_at"])),
            key_id=str(fields["key_id"]),
            signature=bytes.fromhex(fields["signature"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _fields(head: SealedHead) -> dict[str, str | int]:
    return {
        "schema": _SCHEMA,
        "seq": head.seq,
        "chain": head.chain.hex(),
        "sealed_at": head.sealed_at,
        "key_id": head.key_id,
    }
