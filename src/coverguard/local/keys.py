"""Keys in files: AES-256-GCM at rest, HMAC-SHA256 for look-up, Ed25519 for signatures; a file a purpose.

Invariants: the directory is 0700 and each file 0600, owned by us, else nothing starts; a key once written is
never replaced, also when two processes make it at the same moment; the file's 32 bytes are used only to
derive one key for sealing and one for digests. Sealed bytes: format byte, 96-bit random nonce, ciphertext
with tag; purpose and context are authenticated. The public half of the signing key lies beside it as PEM, to
be handed to whoever checks. Does no rotation and no backup: a lost file is lost data.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from coverguard.errors import ConfigurationError, IntegrityFailure

PURPOSES = ("lists", "private")
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_FORMAT = b"\x01"
AUDIT, RECEIPT = "audit", "receipt"  # what is signed, each with a key of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class _Derived:
    """What is used of one purpose's key: never one key for two algorithms."""

    cipher: AESGCM = field(repr=False)
    mac_key: bytes = field(repr=False)


class LocalKeys:
    """`ports.Keys` on a directory of key files. Good for 2³² seals a purpose (random nonces)."""

    __slots__ = ("_derived",)

    def __init__(self, masters: Mapping[str, bytes]) -> None:
        """Use the given 32 bytes per purpose; `open_or_create` reads them from files."""
        if any(len(master) != _KEY_BYTES for master in masters.values()):
            raise ConfigurationError("a key has 32 bytes")
        self._derived = {purpose: _derive(purpose, master) for purpose, master in masters.items()}

    @classmethod
    def open_or_create(cls, path: Path, *, purposes: Iterable[str] = PURPOSES) -> Self:
        """Open the directory's keys for these purposes and no others, making what is missing.

        Raises `ConfigurationError` where others may read or own a file, or its length is wrong.
        """
        return cls({purpose: read_or_create(path, purpose) for purpose in purposes})

    def __repr__(self) -> str:
        return f"LocalKeys(purposes={sorted(self._derived)})"

    def seal(self, purpose: str, plain: bytes, *, context: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FORMAT + nonce + self._of(purpose).cipher.encrypt(nonce, plain, _FORMAT + context)

    def open(self, purpose: str, sealed: bytes, *, context: bytes) -> bytes:
        cipher = self._of(purpose).cipher
        body = 1 + _NONCE_BYTES
        if sealed[:1] != _FORMAT or len(sealed) < body + _TAG_BYTES:
            raise IntegrityFailure("sealed bytes have an unknown format")
        try:
            return cipher.decrypt(sealed[1:body], sealed[body:], _FORMAT + context)
        except InvalidTag as exc:
            raise IntegrityFailure("sealed bytes, key or context are not the ones sealed") from exc

    def mac(self, purpose: str, plain: bytes) -> bytes:
        return hmac.digest(self._of(purpose).mac_key, plain, "sha256")

    def _of(self, purpose: str) -> _Derived:
        if purpose not in self._derived:
            raise ConfigurationError("there is no key for this purpose")
        return self._derived[purpose]


class LocalSigner:
    """`ports.Signer` on a key file of 32 bytes."""

    __slots__ = ("_key", "key_id")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != _KEY_BYTES:
            raise ConfigurationError("a key has 32 bytes")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.key_id = _key_id(self._key.public_key())

    @classmethod
    def open_or_create(cls, path: Path, *, name: str = AUDIT) -> Self:
        """Open the signing key of this name, making what is missing; write its public half beside it.

        Raises `ConfigurationError` as `LocalKeys.open_or_create` does.
        """
        signer = cls(read_or_create(path, name))
        try:
            signer._export(path / f"{name}.pub")
        except OSError as exc:
            raise ConfigurationError("the key directory cannot be used") from exc
        return signer

    def __repr__(self) -> str:
        return f"LocalSigner(key_id={self.key_id})"

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def public_pem(self) -> bytes:
        return _pem(self._key.public_key())

    def _export(self, path: Path) -> None:
        """Write the public half, unless it is there. One of another key is left: `verify` will miss ours."""
        with suppress(FileExistsError), path.open("xb") as file:
            file.write(self.public_pem())


class PublicKeys:
    """`ports.SignatureCheck` on the keys that are trusted."""

    __slots__ = ("_keys",)

    def __init__(self, pems: Iterable[bytes]) -> None:
        """Raises `ConfigurationError` for what is no Ed25519 public key in PEM."""
        keys = [_public(pem) for pem in pems]
        self._keys = {_key_id(key): key for key in keys}

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Self:
        """Trust the keys in these files and no others."""
        try:
            return cls([path.read_bytes() for path in paths])
        except OSError as exc:
            raise ConfigurationError("a public key file cannot be read") from exc

    @classmethod
    def beside(cls, path: Path, *, name: str = AUDIT) -> Self:
        """Trust the public keys of that name in a key directory: the one in use and those retired."""
        retired = sorted(path.glob(f"{name}-*.pub"))  # public halves of keys that signed before
        return cls.read([one for one in (path / f"{name}.pub", *retired) if one.exists()])

    def pems(self) -> Mapping[str, bytes]:
        """The keys in PEM, by their id: they are public."""
        return {key_id: _pem(key) for key_id, key in self._keys.items()}

    def knows(self, key_id: str) -> bool:
        return key_id in self._keys

    def holds(self, key_id: str, data: bytes, *, signature: bytes) -> bool:
        key = self._keys.get(key_id)
        return key is not None and _holds(key, data, signature)


def signed_by(public_key: bytes, data: bytes, *, signature: bytes) -> bool:
    """Whether the owner of an Ed25519 key of 32 bytes signed these bytes; no for what is no such key."""
    try:
        return _holds(Ed25519PublicKey.from_public_bytes(public_key), data, signature)
    except ValueError:
        return False


def raw_public_key(pem: bytes) -> bytes:
    """The 32 bytes of an Ed25519 public key in PEM. Raises `ConfigurationError` for anything else."""
    return _public(pem).public_bytes(Encoding.Raw, PublicFormat.Raw)


def _holds(key: Ed25519PublicKey, data: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _public(pem: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ConfigurationError("a public key file holds no public key in PEM") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError("a public key is not of Ed25519")
    return key


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def _derive(purpose: str, master: bytes) -> _Derived:
    def key(use: str) -> bytes:
        info = f"coverguard/1/{purpose}/{use}".encode()
        return HKDFExpand(algorithm=hashes.SHA256(), length=_KEY_BYTES, info=info).derive(master)

    return _Derived(cipher=AESGCM(key("seal")), mac_key=key("mac"))


def read_or_create(path: Path, name: str) -> bytes:
    """The 32 bytes of one key file of a key directory, making what is missing.

    Raises `ConfigurationError` as `LocalKeys.open_or_create` does.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(path.stat(), wanted=stat.S_ISDIR)
        return _read_or_create(path / f"{name}.key")
    except OSError as exc:
        raise ConfigurationError("the key directory cannot be used") from exc


def _read_or_create(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        return _read(path)
    _create(path)
    return _read(path)


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        _check(os.fstat(descriptor), wanted=stat.S_ISREG)
        return file.read(_KEY_BYTES + 1)  # one more, so that a longer file is refused for its length


def _create(path: Path) -> None:
    """Write a new key whole, then link it to its name: the first link wins, and nobody sees half a key."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):  # another process was faster: its key is the key
            os.link(temporary, path)
    finally:
        temporary.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _check(found: os.stat_result, *, wanted: Callable[[int], bool]) -> None:
    if not wanted(found.st_mode):
        raise ConfigurationError("a key file or directory is something else")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigurationError("a key file or directory is open to group or others")
    if found.st_uid != os.geteuid():
        raise ConfigurationError("a key file or directory is somebody else's")
