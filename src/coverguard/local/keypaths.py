"""Object keys as directory names and back, so that no key can leave its bucket's directory.

Invariants: the encoding is injective also where file names ignore case; a name has at most 241 ASCII
characters and is never `.`, `..` or empty; a key's prefix up to a slash is a directory, so that a prefix can
be walked without reading its siblings. Each segment between the first 15 slashes becomes `=text`; a segment
longer than 80 bytes becomes `+text` directories ending in one `=text`. What belongs to a key itself lies in
`@` within its directory. Knows nothing of versions, and does no I/O but listing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

MAX_KEY_BYTES = 1024
"""S3's limit, in UTF-8 bytes."""

OWN = "@"
"""The directory in which a key's own files lie; no encoded name begins with it."""

_MAX_SPLITS = 15  # slashes after these are text: a key of 1024 slashes is deeper than `shutil.rmtree` can go
_CHUNK_BYTES = 80  # three characters each at worst: 240, within the 255 of every file system
_PLAIN = b"abcdefghijklmnopqrstuvwxyz0123456789_-."  # no capitals: some file systems cannot tell them apart
_ENCODED = tuple(chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in range(256))


def key_bytes(key: str) -> bytes | None:
    """Return the key in UTF-8, or None where no store could have it: empty, too long, or not Unicode."""
    try:
        encoded = key.encode()
    except UnicodeEncodeError:  # lone surrogates
        return None
    return encoded if 0 < len(encoded) <= MAX_KEY_BYTES else None


def directory_names(key: bytes) -> Iterator[str]:
    """Yield the names of the nested directories that stand for a key."""
    for segment in key.split(b"/", _MAX_SPLITS):
        rest = segment
        while len(rest) > _CHUNK_BYTES:
            yield "+" + _encode(rest[:_CHUNK_BYTES])
            rest = rest[_CHUNK_BYTES:]
        yield "=" + _encode(rest)


def keys_under(bucket_path: Path, prefix: str) -> list[str]:
    """List the keys below a bucket's directory that begin with the prefix, in the order of their UTF-8 bytes.

    Sorted as a whole, because a tree of segments is not in key order ("a" < "a!" < "a/b").
    """
    try:
        wanted = prefix.encode()
    except UnicodeEncodeError:
        return []
    found: list[bytes] = []
    start, begun = str(bucket_path), b""
    *segments, _ = wanted.split(b"/", _MAX_SPLITS)
    if segments:
        complete = b"/".join(segments)
        start, begun = str(bucket_path.joinpath(*directory_names(complete))), complete + b"/"
    pending: list[tuple[str, bytes | None, bytes]] = [(start, None, begun)]
    while pending:
        path, key, stem = pending.pop()
        for name in _names(path):
            if name == OWN:
                if key is not None:
                    found.append(key)
                continue
            text = stem + unquote_to_bytes(name[1:])
            if text.startswith(wanted) or wanted.startswith(text):
                whole = name.startswith("=")
                pending.append((f"{path}/{name}", text if whole else None, text + b"/" if whole else text))
    return [key.decode() for key in sorted(found) if key.startswith(wanted)]


def _encode(raw: bytes) -> str:
    return "".join(_ENCODED[byte] for byte in raw)


def _names(path: str) -> list[str]:
    try:
        with os.scandir(path) as found:
            return [entry.name for entry in found]
    except FileNotFoundError:
        return []
