"""Signed requests: one narrow profile of HTTP message signatures (RFC 9421) with Ed25519.

A signature covers method, path and the body's digest (RFC 9530, `sha-256`) and says when it was made and with
whose key, in exactly this form and no other:

    Content-Digest: sha-256=:BASE64:
    Signature-Input: sig1=("@method" "@path" "content-digest");created=UNIX;keyid="key-…";alg="ed25519"
    Signature: sig1=:BASE64:

It holds for five minutes before and after. What it signs has a name of its own (`Signed.event_id`), under
which the ledger takes it in once. A pure check: knows no store and reads no clock.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from coverguard.local.keys import signed_by
from coverguard.model import Micros

WINDOW: Final = timedelta(minutes=5)
_INPUT: Final = re.compile(
    r'sig1=(\("@method" "@path" "content-digest"\)'
    r';created=([0-9]{1,11});keyid="(key-[0-9a-f]{16})";alg="ed25519")'
)
_SIGNATURE: Final = re.compile(r"sig1=:([A-Za-z0-9+/]{86}==):")
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A request whose signature holds; `base` is what was signed, the same whenever it is sent again."""

    base: bytes

    @property
    def event_id(self) -> str:
        return f"removal-{hashlib.sha256(self.base).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSigned:
    """Why a request does not count as signed: a sentence for whoever sent it."""

    why: str


def check(  # noqa: PLR0911 - one for each reason
    headers: Mapping[str, str],
    *,
    method: str,
    path: str,
    body: bytes,
    key_ref: str,
    public_key: bytes | None,
    now: Micros,
) -> Signed | NotSigned:
    """Say whether the owner of this key signed this request, lately; `headers` by lower-case names."""
    said, made = _INPUT.fullmatch(headers.get("signature-input", "")), headers.get("signature", "")
    if public_key is None:
        return NotSigned(why="no public key is registered for your key")
    if said is None or (value := _SIGNATURE.fullmatch(made)) is None:
        return NotSigned(why="the request has no signature of the documented form")
    if said[3] != key_ref:
        return NotSigned(why="the signature names another key")
    if abs(int(said[2]) * 1_000_000 - now) > WINDOW // timedelta(microseconds=1):
        return NotSigned(why="the signature was not made within five minutes of now")
    if not _digest_holds(headers.get("content-digest", ""), body):
        return NotSigned(why="the content digest is not that of the body")
    base = signature_base(
        method=method, path=path, content_digest=headers["content-digest"], parameters=said[1]
    )
    if not signed_by(public_key, base, signature=base64.b64decode(value[1])):
        return NotSigned(why="the signature is not of the registered key")
    return Signed(base=base)


def signature_base(*, method: str, path: str, content_digest: str, parameters: str) -> bytes:
    """The bytes that are signed."""
    lines = (
        f'"@method": {method}',
        f'"@path": {path}',
        f'"content-digest": {content_digest}',
        f'"@signature-params": {parameters}',
    )
    return "\n".join(lines).encode()


def content_digest(body: bytes) -> str:
    """The header of that name."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def _digest_holds(header: str, body: bytes) -> bool:
    found = _DIGEST.fullmatch(header)
    if found is None:
        return False
    try:
        told = base64.b64decode(found[1], validate=True)
    except binascii.Error:
        return False
    return hmac.compare_digest(told, hashlib.sha256(body).digest())
