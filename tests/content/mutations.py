"""Files broken in ways that reach deep: what a fuzzer without feedback can do that knows the containers."""

import random
import struct
import zlib

EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """One to four changes; checksums of a PNG are made to fit again, mostly, or no decoder would look."""
    for _ in range(chance.randrange(1, 5)):
        data = chance.choice(CHANGES)(data, others, chance) or data[:1] or b"\0"
    if data.startswith(b"\x89PNG\r\n\x1a\n") and chance.random() < 0.8:
        data = with_checksums(data)
    return data


def _flip(data, _, chance):
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 20))):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _overwrite(data, _, chance):
    at = chance.randrange(len(data))
    patch = chance.randbytes(chance.randrange(1, 30))
    return data[:at] + patch + data[at + len(patch) :]


def _cut(data, _, chance):
    return data[: chance.randrange(1, len(data) + 1)]


def _remove(data, _, chance):
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.randrange(1, 200) :]


def _insert(data, _, chance):
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(chance.randrange(1, 100)) + data[at:]


def _repeat(data, _, chance):
    start = chance.randrange(len(data))
    part = data[start : start + chance.randrange(1, 400)]
    return data[:start] + part * chance.randrange(2, 6) + data[start:]


def _splice(data, others, chance):
    other = chance.choice(others)
    return data[: chance.randrange(1, len(data) + 1)] + other[chance.randrange(len(other)) :]


def _number(data, _, chance):
    """Something that may be a length, a size or a count becomes an extreme, or a little more or less."""
    form = chance.choice((">H", "<H", ">I", "<I", "<B"))
    size = struct.calcsize(form)
    if len(data) <= size:
        return data
    at = chance.randrange(min(len(data), 4096) - size)
    (old,) = struct.unpack_from(form, data, at)
    new = chance.choice((*EXTREMES, old + 1, old - 1, old * 2)) & (256**size - 1)
    return data[:at] + struct.pack(form, new) + data[at + size :]


def _shuffle(data, others, chance):
    """Pieces in another order, one of them twice, or one of another file's."""
    pieces = parts(data)
    if len(pieces) < 3:
        return _flip(data, others, chance)
    first, second = sorted(chance.sample(range(1, len(pieces)), 2))
    match chance.randrange(3):
        case 0:
            pieces[first], pieces[second] = pieces[second], pieces[first]
        case 1:
            pieces.insert(second, pieces[first])
        case _:
            pieces[first] = chance.choice(parts(chance.choice(others)))
    return b"".join(pieces)


CHANGES = (_flip, _overwrite, _cut, _remove, _insert, _repeat, _splice, _number, _number, _shuffle, _shuffle)


def parts(data: bytes) -> list[bytes]:
    """The file cut where its container does: chunks, segments, blocks. Nothing is lost."""
    if data.startswith(b"\x89PNG"):
        return _by_length(data, 8, ">I", before=0, around=12)
    if data.startswith(b"RIFF"):
        return _by_length(data, 12, "<I", before=4, around=8)
    if data.startswith(b"\xff\xd8"):
        return _before_each(data, b"\xff", (0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xE0, 0xE1, 0xEE, 0xFE, 0xD9))
    if data.startswith(b"GIF8"):
        return _before_each(data, b"", (0x21, 0x2C))
    return _by_length(data, 0, ">I", before=0, around=0)


def _by_length(data, start, form, *, before, around):
    pieces, at = [data[:start]] if start else [], start
    while at < len(data):
        try:
            (length,) = struct.unpack_from(form, data, at + before)
        except struct.error:
            length = len(data)
        end = min(at + max(length + around, 1), len(data))
        pieces.append(data[at:end])
        at = end
    return pieces


def _before_each(data, lead, codes):
    pieces, last = [], 0
    for at in range(1, len(data) - 1):
        if data[at : at + len(lead)] == lead and data[at + len(lead)] in codes:
            pieces.append(data[last:at])
            last = at
    return [*pieces, data[last:]]


def with_checksums(data: bytes) -> bytes:
    return data[:8] + b"".join(
        chunk[:-4] + struct.pack(">I", zlib.crc32(chunk[4:-4])) if len(chunk) >= 12 else chunk
        for chunk in parts(data)[1:]
    )
