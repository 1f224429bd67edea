"""AVIF and HEIC from their own structure: boxes within boxes, each with its length and four letters.

Read are sizes (of the pictures, of the parts they are put together from, of the frames of a sequence) and
the number of frames. Nothing is dropped: items lie at offsets from the start of the file. Turning and
mirroring are the decoders' to apply or to tell, for they stand in properties that belong to one item.
"""

from __future__ import annotations

import struct

from coverguard.imaging.container import Container, Format

_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_MOST_BRANDS = 32

# boxes that hold boxes, and how many bytes of their own they have before them
_HOLDERS = {
    b"meta": 4,
    b"stsd": 8,
    **dict.fromkeys((b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl"), 0),
}
_DEEPEST = 8
_HEADER, _LONG_HEADER = 8, 16


def sniff(data: bytes) -> Format | None:
    """Return AVIF or HEIC for a file whose brands say so."""
    if data[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(data[:4]), _HEADER + 4 * _MOST_BRANDS)
    brands = {data[start : start + 4] for start in (8, *range(16, size, 4))}
    if brands & _AVIF_BRANDS:
        return Format.AVIF
    return Format.HEIC if brands & _HEIC_BRANDS else None


def walk(data: bytes, container: Container) -> None:
    container.kept.append(data)
    container.complete = True
    _walk_boxes(data, 0, len(data), container, depth=0)
    container.frames = max(container.frames, 1)


def _walk_boxes(data: bytes, position: int, end: int, container: Container, *, depth: int) -> None:
    """Look at the boxes between two places; one that reaches beyond is looked at as far as it goes."""
    while position + _HEADER <= end:
        size, kind = struct.unpack_from(">I4s", data, position)
        header = _HEADER
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + _HEADER)
            header = _LONG_HEADER
        elif size == 0:
            size = end - position
        container.count_block()
        stop = position + size
        if size < header or stop > end:
            container.complete = False
            stop = end
        start = position + header
        if kind in _HOLDERS and depth < _DEEPEST:
            _walk_boxes(data, start + _HOLDERS[kind], stop, container, depth=depth + 1)
        elif stop <= len(data):
            _claim(kind, data[start : min(stop, start + 100)], container)
        position = stop


def _claim(kind: bytes, payload: bytes, container: Container) -> None:
    """Take what a box says of sizes and frames."""
    if kind == b"ispe":  # of one picture, or of one tile of it
        container.claim(*struct.unpack_from(">II", payload, 4))
    elif kind == b"tkhd":  # of a sequence, in 65536ths
        width, height = struct.unpack_from(">II", payload, 88 if payload[:1] == b"\x01" else 76)
        container.claim(width >> 16, height >> 16)
    elif kind in (b"av01", b"hvc1", b"hev1"):
        container.claim(*struct.unpack_from(">HH", payload, 24))
    elif kind in (b"stsz", b"stz2"):  # of each track: the pictures, and their transparency
        (count,) = struct.unpack_from(">I", payload, 8)
        container.count_frame(max(count - container.frames, 0))
