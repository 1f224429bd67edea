"""What a file is and what it claims, read from its own structure before any decoder runs.

`admit` sniffs the format from magic bytes (names and content types lie), walks the container by its own
lengths, checks every named limit, and hands on only what is needed to draw the picture: text, comments,
profiles, XMP, thumbnails, second pictures and whatever follows the end are dropped, so that no parser for
them is ever reached. The walks are as lenient as browsers are, cost time linear in the file, and decide
nothing about the pixels; a walk that runs off the end yields what there is, marked incomplete.
"""

from __future__ import annotations

import re
import struct

from coverguard.errors import ContentRejected, RejectReason
from coverguard.imaging import boxes
from coverguard.imaging.container import Container, Format
from coverguard.imaging.limits import Limits

__all__ = ["Container", "Format", "admit", "orientation", "sniff"]


def sniff(data: bytes) -> Format | None:
    """Return the format that the first bytes name, or None for anything not on the list."""
    if data.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Format.GIF
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Format.WEBP
    return boxes.sniff(data)


def admit(data: bytes, limits: Limits) -> Container:
    """Walk the file and return it stripped to the picture.

    Raises:
        ContentRejected: EMPTY, TOO_MANY_BYTES, UNSUPPORTED_FORMAT, or the limit that its structure exceeds.
            TRUNCATED when the file ends before it says how large it is.
    """
    if not data:
        raise ContentRejected(RejectReason.EMPTY)
    if len(data) > limits.max_bytes:
        raise ContentRejected(RejectReason.TOO_MANY_BYTES)
    kind = sniff(data)
    if kind is None:
        raise ContentRejected(RejectReason.UNSUPPORTED_FORMAT)
    container = Container(format=kind, limits=limits)
    walks = {
        Format.JPEG: _walk_jpeg,
        Format.PNG: _walk_png,
        Format.GIF: _walk_gif,
        Format.WEBP: _walk_webp,
        Format.AVIF: boxes.walk,
        Format.HEIC: boxes.walk,
    }
    try:
        walks[kind](data, container)
    except (struct.error, IndexError):
        container.complete = False  # a length or a header reaches past the end
    if kind is Format.JPEG and not container.complete:
        container.kept.append(_END_OF_JPEG)  # as browsers do; the decoder then draws what there is
    _check_size(container)
    return container


def _check_size(container: Container) -> None:
    width, height, limits = container.width, container.height, container.limits
    if width < 1 or height < 1:
        raise ContentRejected(RejectReason.UNREADABLE if container.complete else RejectReason.TRUNCATED)
    if max(width, height) > limits.max_side:
        raise ContentRejected(RejectReason.SIDE_TOO_LONG)
    if width * height > limits.max_pixels:
        raise ContentRejected(RejectReason.TOO_MANY_PIXELS)
    if container.scans * width * height > limits.max_scan_pixels:
        raise ContentRejected(RejectReason.TOO_MANY_SCANS)
    if container.frames > 1 and container.frames * width * height > limits.max_frame_pixels:
        raise ContentRejected(RejectReason.TOO_MANY_FRAMES)


# ── JPEG ───────────────────────────────────────────────────────────────────────────────────────────────────

_MARKER = re.compile(rb"\xff([^\x00\xff])")
_MARKER_AFTER_SCAN = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # restart markers belong to the scan
_EOI, _SOS, _COM, _APP0, _APP1, _APP14, _APP15 = 0xD9, 0xDA, 0xFE, 0xE0, 0xE1, 0xEE, 0xEF
_END_OF_JPEG = b"\xff\xd9"
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _walk_jpeg(data: bytes, container: Container) -> None:
    """Keep tables, frame and scans; of the APPn segments only APP14, which says how colours are stored."""
    container.frames = 1
    container.kept.append(data[:2])
    marker = _MARKER.search(data, 2)
    while marker is not None:
        code = marker[1][0]
        if code == _EOI:
            container.kept.append(_END_OF_JPEG)
            container.complete = True
            return
        if code in _STANDALONE:
            marker = _MARKER.search(data, marker.end())
            continue
        container.count_block()
        start = marker.end() - 2
        end = marker.end() + int(struct.unpack_from(">H", data, marker.end())[0])
        marker = (_MARKER_AFTER_SCAN if code == _SOS else _MARKER).search(data, end)
        if code == _SOS:
            container.count_scan()
            end = marker.start() if marker is not None else len(data)
        _jpeg_segment(container, code, data[start:end])


def _jpeg_segment(container: Container, code: int, segment: bytes) -> None:
    if code in _FRAME_HEADERS:
        height, width = struct.unpack_from(">HH", segment, 5)
        container.claim(width, height)
    elif code == _COM:
        container.count_text(len(segment))
        return
    elif code == _APP1 and not container.exif and segment[4:10] == b"Exif\0\0":
        container.exif = segment[10:]
    if not _APP0 <= code <= _APP15 or code == _APP14:
        container.kept.append(segment)


# ── PNG ────────────────────────────────────────────────────────────────────────────────────────────────────

_PNG_PICTURE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"})
_PNG_TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})


def _walk_png(data: bytes, container: Container) -> None:
    """Keep the chunks that draw; a cut-off chunk is kept as far as it goes."""
    container.kept.append(data[:8])
    position = 8
    picture_seen = False
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        container.count_block()
        start, position = position, position + 12 + length
        if kind in _PNG_PICTURE:
            container.kept.append(data[start:position])
        elif kind in _PNG_TEXT:
            container.count_text(length)
        if kind == b"IHDR":
            width, height, container.depth = struct.unpack_from(">IIB", data, start + 8)
            container.claim(width, height)
        elif kind == b"IDAT" and not picture_seen:
            picture_seen = True
            if not container.frames:  # the picture comes before the animation and is no part of it
                container.count_frame()
        elif kind == b"fcTL":
            container.count_frame()
        elif kind == b"eXIf":
            container.exif = data[start + 8 : position - 4]
        elif kind == b"IEND":
            container.complete = position <= len(data)
            return


# ── GIF ────────────────────────────────────────────────────────────────────────────────────────────────────

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL, _COMMENT, _PLAIN_TEXT = 0xF9, 0xFE, 0x01


def _walk_gif(data: bytes, container: Container) -> None:
    """Keep the screen, its palette and the images with their graphic control; drop every other extension.

    The decoder joins comments block by block, which takes minutes for a comment of 20 MB.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    container.claim(width, height)
    position = 13 + _palette_bytes(flags)
    container.kept.append(data[:position])
    while data[position] != _TRAILER:
        start = position
        container.count_block()
        if data[start] == _EXTENSION:
            label = data[start + 1]
            position = _skip_sub_blocks(data, start + 2, container)
            if label == _GRAPHIC_CONTROL:
                container.kept.append(data[start:position])
            elif label in (_COMMENT, _PLAIN_TEXT):
                container.count_text(position - start)
        elif data[start] == _IMAGE:
            position = _gif_image(data, start, container)
        else:
            position += 1  # a stray byte between blocks; decoders skip it, too
    container.kept.append(b"\x3b")
    container.complete = True


def _gif_image(data: bytes, start: int, container: Container) -> int:
    """Keep one image and return the position after it. A frame that reaches beyond the screen enlarges it."""
    left, top, width, height, flags = struct.unpack_from("<HHHHB", data, start + 1)
    container.claim(left + width, top + height)
    container.count_frame()
    try:
        end = _skip_sub_blocks(data, start + 11 + _palette_bytes(flags), container)
    except IndexError:
        container.kept.append(data[start:])  # cut off: the decoder shall say how much of it is missing
        raise
    container.kept.append(data[start:end])
    return end


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_sub_blocks(data: bytes, position: int, container: Container) -> int:
    while size := data[position]:
        container.count_block()
        position += size + 1
    return position + 1


# ── WebP ───────────────────────────────────────────────────────────────────────────────────────────────────


def _walk_webp(data: bytes, container: Container) -> None:
    """Keep the RIFF file as it is, for its metadata chunks are copied by the decoder, never read.

    Of one that is cut off, keep the whole chunks: the decoder takes no other, browsers show more.
    """
    end = 8 + int(struct.unpack_from("<I", data, 4)[0])
    container.complete = end <= len(data)
    position = 12
    while position + 8 <= min(end, len(data)):
        kind, length = struct.unpack_from("<4sI", data, position)
        after = position + 8 + length + (length & 1)
        if after > len(data):
            container.complete = False
            break
        container.count_block()
        _webp_chunk(container, kind, data[position + 8 : position + 8 + min(length, 2**16)])
        position = after
    container.frames = max(container.frames, 1)
    if container.complete:
        container.kept.append(data[:end])
    else:
        container.kept.append(b"RIFF" + struct.pack("<I", position - 8) + data[8:position])


def _webp_chunk(container: Container, kind: bytes, payload: bytes) -> None:
    if kind == b"VP8X":
        container.claim(
            1 + int.from_bytes(payload[4:7], "little"), 1 + int.from_bytes(payload[7:10], "little")
        )
    elif kind == b"VP8 " and payload[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", payload, 6)
        container.claim(width & 0x3FFF, height & 0x3FFF)
    elif kind == b"VP8L" and payload[:1] == b"\x2f":
        bits = int(struct.unpack_from("<I", payload, 1)[0])
        container.claim(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    elif kind == b"ANMF":
        container.count_frame()
    elif kind == b"EXIF" and not container.exif:
        container.exif = payload.removeprefix(b"Exif\0\0")


# ── EXIF ───────────────────────────────────────────────────────────────────────────────────────────────────

_ORIENTATION_TAG, _SHORT, _MOST_ENTRIES = 0x0112, 3, 1_000


def orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, of a TIFF block; 1 for anything malformed, as browsers do.

    Reads the first directory only and follows no other pointer.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, offset)
        for entry in range(min(count, _MOST_ENTRIES)):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, offset + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return value if kind == _SHORT and value in range(1, 9) else 1
    except struct.error:
        pass
    return 1
