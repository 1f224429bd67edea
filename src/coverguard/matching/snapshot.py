"""The file of a Hamming index: one flat uint64 `.npy`, mapped and never unpickled.

    word 0      magic
    word 1      format
    word 2      words of a digest (1 or 4)
    word 3      entries n
    word 4…7    SHA-256 of words 0 to 3 and all that follows
    then        n ids, then n words for each word of a digest

A file is written beside its place with mode 0600 and renamed into it, so that a reader has the old or the new
one. `read` checks shape and digest before it returns: an index with one bit gone would pass what it should
hold. The digest is no signature: it finds accidents, not an attacker who may write there.

Byte order is the machine's; a file does not leave the host it was made on. It does not encrypt.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from coverguard.errors import ConfigurationError, IntegrityFailure, TransientError

Words = NDArray[np.uint64]

_MAGIC: Final = int.from_bytes(b"covguard", "little")
_FORMAT: Final = 1
_STATED: Final = 4  # words the header states
_HEADER: Final = 8  # with their digest
_DIGEST_WORDS: Final = (1, 4)
_NPY_BYTES: Final = 128  # numpy pads its header to this, whatever the length


def write(path: str | os.PathLike[str], *, ids: Words, columns: Sequence[Words]) -> None:
    """Put the file in its place, whole or not at all.

    Raises:
        TransientError: it could not be written; what was there before still is.
    """
    target = Path(path)
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".index-", suffix=".tmp")  # is 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                _write(file, ids, columns)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync(target.parent)
    except OSError as error:
        raise TransientError("the index file could not be written") from error


def read(path: str | os.PathLike[str]) -> Words:
    """Map the file read-only as uint64[1 + words, n]: row 0 the ids, then the words.

    Raises:
        ConfigurationError: there is no readable file.
        IntegrityFailure: it is not, or no longer, what `write` wrote.
    """
    try:
        with Path(path).open("rb") as file:
            flat = _mapped(file)
    except OSError as error:
        raise ConfigurationError("the index file cannot be opened") from error
    magic, version, words, entries = (int(word) for word in flat[:_STATED])
    if (magic, version) != (_MAGIC, _FORMAT) or words not in _DIGEST_WORDS:
        raise IntegrityFailure("the index file is of another kind or format")
    body = flat[_HEADER:]
    if len(body) != (1 + words) * entries:
        raise IntegrityFailure("the index file has not as many entries as it says")
    if _digest(flat[:_STATED], [body]) != flat[_STATED:_HEADER].tobytes():
        raise IntegrityFailure("the index file is not what was written")
    return np.asarray(body).reshape(1 + words, entries)


def _mapped(file: IO[bytes]) -> Words:
    """Map the words of a file that has exactly the `.npy` header of its size, so that none need be parsed."""
    length, odd = divmod(os.fstat(file.fileno()).st_size - _NPY_BYTES, 8)
    if length < _HEADER or odd or file.read(_NPY_BYTES) != _npy_header(length):
        raise IntegrityFailure("the index file is truncated or not one of ours")
    return np.memmap(file, dtype=np.uint64, mode="r", offset=_NPY_BYTES, shape=(length,))


def _npy_header(length: int) -> bytes:
    described = io.BytesIO()
    descr = npy.dtype_to_descr(np.dtype(np.uint64))
    npy.write_array_header_1_0(described, {"descr": descr, "fortran_order": False, "shape": (length,)})
    assert described.tell() == _NPY_BYTES
    return described.getvalue()


def _write(file: IO[bytes], ids: Words, columns: Sequence[Words]) -> None:
    stated = np.array([_MAGIC, _FORMAT, len(columns), len(ids)], dtype=np.uint64)
    parts = [ids, *columns]
    file.write(_npy_header(_HEADER + len(parts) * len(ids)))
    file.write(stated.tobytes() + _digest(stated, parts))
    for part in parts:
        file.write(_octets(part))


def _digest(stated: Words, parts: Sequence[Words]) -> bytes:
    digest = hashlib.sha256(_octets(stated))
    for part in parts:
        digest.update(_octets(part))
    return digest.digest()


def _octets(part: Words) -> memoryview:
    return np.ascontiguousarray(part).data


def _sync(folder: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
