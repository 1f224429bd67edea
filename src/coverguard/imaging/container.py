"""What the walk over a file leaves of it: what it claims, what it holds, and the part that draws.

Counting is here, so that every walk meets the same limits; walks are in `sniff` and `boxes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from coverguard.errors import ContentRejected, RejectReason
from coverguard.imaging.limits import Limits


class Format(StrEnum):
    JPEG = "jpeg"
    PNG = "png"
    GIF = "gif"
    WEBP = "webp"
    AVIF = "avif"
    HEIC = "heic"  # where its decoder is installed


@dataclass(slots=True, kw_only=True)
class Container:
    """One file as its structure describes it; filled while it is walked."""

    format: Format
    limits: Limits
    width: int = 0  # pixels, the largest that any part of the file claims
    height: int = 0
    depth: int = 8  # bits a channel; only PNG has others
    frames: int = 0  # pictures the file really holds
    scans: int = 0
    blocks: int = 0
    text_bytes: int = 0
    complete: bool = False  # the end of the picture was seen, and the decoder did not give up before it
    exif: bytes = field(default=b"", repr=False)
    kept: list[bytes] = field(default_factory=list, repr=False)

    @property
    def body(self) -> bytes:
        """The file without anything that does not change the picture."""
        return b"".join(self.kept)

    def claim(self, width: int, height: int) -> None:
        self.width = max(self.width, width)
        self.height = max(self.height, height)

    def count_block(self) -> None:
        self.blocks += 1
        if self.blocks > self.limits.max_blocks:
            raise ContentRejected(RejectReason.UNREADABLE)

    def count_frame(self, more: int = 1) -> None:
        self.frames += more
        if self.frames > self.limits.max_frames:
            raise ContentRejected(RejectReason.TOO_MANY_FRAMES)

    def count_scan(self) -> None:
        self.scans += 1
        if self.scans > self.limits.max_scans:
            raise ContentRejected(RejectReason.TOO_MANY_SCANS)

    def count_text(self, size: int) -> None:
        self.text_bytes += size
        if self.text_bytes > self.limits.max_text_bytes:
            raise ContentRejected(RejectReason.TOO_MUCH_TEXT)
