"""Letter boxes: bytes that anybody can seal and only the holder of one X25519 key can open.

Sealing makes a new key pair for each letter, so the sealer cannot open it afterwards either. Sealed bytes:
format byte, 32 bytes of the letter's public key, ciphertext with tag; key and nonce of AES-256-GCM come by
HKDF-SHA256 from the agreement, bound to both public keys, and the context is authenticated. A letter does not
prove who wrote it. A lost key is lost mail: there is no second way in.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from coverguard.errors import BadMessage, ConfigurationError, IntegrityFailure
from coverguard.local import keys

TOKEN_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
STAFF: Final = "letters"  # the staff's box: letters.key, and letters.pub for who may only seal
_FORMAT: Final = b"\x01"
_HEAD: Final = len(_FORMAT) + PUBLIC_KEY_BYTES
_TAG_BYTES: Final = 16
_KEY_BYTES, _NONCE_BYTES = 32, 12


def seal(public_key: bytes, plain: bytes, *, context: bytes) -> bytes:
    """Seal for the holder of that key (32 bytes); `context` must be given again to open.

    Raises:
        BadMessage: these 32 bytes are not a key that anything could be sealed for.
    """
    letter = X25519PrivateKey.generate()
    own = _raw(letter.public_key())
    try:
        shared = letter.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError as exc:  # wrong length, or a point on which every agreement is the same
        raise BadMessage("the public key of a letter box cannot be used") from exc
    cipher, nonce = _derived(shared, own + public_key)
    return _FORMAT + own + cipher.encrypt(nonce, plain, _FORMAT + context)


class Box:
    """One key pair, and what was sealed for it."""

    __slots__ = ("_key", "public_key")

    def __init__(self, private: bytes) -> None:
        """Use these 32 bytes as the private key."""
        if len(private) != _KEY_BYTES:
            raise ConfigurationError("a key has 32 bytes")
        self._key = X25519PrivateKey.from_private_bytes(private)
        self.public_key = _raw(self._key.public_key())

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def address(self) -> bytes:
        """The SHA-256 of the public key: where its mail lies."""
        return address_of(self.public_key)

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Raises `IntegrityFailure` when box, context or bytes are not the ones sealed."""
        if sealed[:1] != _FORMAT or len(sealed) < _HEAD + _TAG_BYTES:
            raise IntegrityFailure("a letter has an unknown format")
        letter = sealed[1:_HEAD]
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(letter))
            cipher, nonce = _derived(shared, letter + self.public_key)
            return cipher.decrypt(nonce, sealed[_HEAD:], _FORMAT + context)
        except (InvalidTag, ValueError) as exc:
            raise IntegrityFailure("letter, box or context are not the ones sealed") from exc


class Mailbox(Box):
    """A reporter's box. It is made of the token on the receipt, and of nothing that anybody keeps."""

    __slots__ = ()

    @classmethod
    def of(cls, token: bytes) -> Self:
        """The box of a token of 32 random bytes, always the same one.

        Raises:
            BadMessage: a token has 32 bytes.
        """
        if len(token) != TOKEN_BYTES:
            raise BadMessage("a token has 32 bytes")
        return cls(_hkdf(token, salt=b"", info=b"coverguard/1/mailbox", length=_KEY_BYTES))


class StaffBox(Box):
    """`ports.Letterbox` on a key file: what the internet-facing process seals, a worker opens."""

    __slots__ = ()

    @classmethod
    def existing(cls, path: Path) -> Self:
        """Open the box of a key directory, where mail may be waiting that a new key would never open.

        Raises `ConfigurationError` as `open_or_create` does, and where there is no key.
        """
        if not (path / f"{STAFF}.key").exists():
            raise ConfigurationError(
                f"{STAFF}.key is missing in the key directory, and reports may be sealed for it; copy it "
                "from another worker's host or a backup (the first one is made by: coverguard migrate)"
            )
        return cls.open_or_create(path)

    @classmethod
    def open_or_create(cls, path: Path) -> Self:
        """Open the box of a key directory, making what is missing; write its public half beside it.

        Raises `ConfigurationError` as `LocalKeys.open_or_create` does, and where only the public half
        is left.
        """
        if (path / f"{STAFF}.pub").exists() and not (path / f"{STAFF}.key").exists():
            raise ConfigurationError(f"{STAFF}.key is missing beside {STAFF}.pub; restore it from a backup")
        box = cls(keys.read_or_create(path, STAFF))
        pem = X25519PublicKey.from_public_bytes(box.public_key).public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        try:
            with suppress(FileExistsError), (path / f"{STAFF}.pub").open("xb") as file:
                file.write(pem)
            exported = (path / f"{STAFF}.pub").read_bytes()
        except OSError as exc:
            raise ConfigurationError("the key directory cannot be used") from exc
        if exported and exported != pem:  # empty: another process is just writing it
            raise ConfigurationError(
                f"{STAFF}.pub is not of {STAFF}.key: what is sealed for it could never be opened"
            )
        return box

    def seal(self, public_key: bytes, plain: bytes, *, context: bytes) -> bytes:
        return seal(public_key, plain, context=context)


def staff_public_key(path: Path) -> bytes:
    """The public half of the staff's box in a key directory: all that the public process has of it.

    Raises:
        ConfigurationError: it is not there, or holds no X25519 public key.
    """
    try:
        key = load_pem_public_key((path / f"{STAFF}.pub").read_bytes())
    except OSError as exc:
        raise ConfigurationError(
            f"{STAFF}.pub is missing in the key directory; a worker's start writes it, copy it from there"
        ) from exc
    except ValueError as exc:
        raise ConfigurationError(f"{STAFF}.pub holds no public key in PEM") from exc
    if not isinstance(key, X25519PublicKey):
        raise ConfigurationError(f"{STAFF}.pub is not of X25519")
    return _raw(key)


def address_of(public_key: bytes) -> bytes:
    """Where the mail of a public key lies; 32 bytes."""
    return hashlib.sha256(public_key).digest()


def _raw(key: X25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _derived(shared: bytes, both: bytes) -> tuple[AESGCM, bytes]:
    """Cipher and nonce of one letter; its key is used once, so the nonce need not be random."""
    made = _hkdf(shared, salt=both, info=b"coverguard/1/letter", length=_KEY_BYTES + _NONCE_BYTES)
    return AESGCM(made[:_KEY_BYTES]), made[_KEY_BYTES:]


def _hkdf(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)
