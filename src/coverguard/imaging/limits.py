"""The named limits that untrusted bytes meet, before any decoder sees them and while one does.

Every limit on the file is inclusive: one exactly at a limit is decoded, one unit over it is rejected with the
reason named here. Those on time and memory are the sandbox's, and hold there only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a picture we are ready to decode. All defaults are far above what a cover needs."""

    max_bytes: int = 20 * 2**20
    """Bytes of the file (`TOO_MANY_BYTES`)."""

    max_pixels: int = 50_000_000
    """Width × height of one frame as the header claims it (`TOO_MANY_PIXELS`); 4 bytes each when decoded."""

    max_side: int = 16_384
    """Pixels of the longer side (`SIDE_TOO_LONG`)."""

    max_frames: int = 1_000
    """Frames of an animation (`TOO_MANY_FRAMES`); even a frame of one pixel costs some 50 µs."""

    max_frame_pixels: int = 200_000_000
    """Frames × width × height of an animation (`TOO_MANY_FRAMES`): to see the last frame is to decode all."""

    max_scans: int = 100
    """Scans of a JPEG (`TOO_MANY_SCANS`): a thousand scans in 120 kB take 17 s; encoders write about ten."""

    max_scan_pixels: int = 600_000_000
    """Scans × width × height of a JPEG (`TOO_MANY_SCANS`): every scan may visit every pixel again."""

    max_text_bytes: int = 4 * 2**20
    """Bytes of text and comments (`TOO_MUCH_TEXT`), as stored: text is dropped, never inflated or read."""

    max_blocks: int = 100_000
    """Pieces a file is cut into: JPEG segments, PNG and WebP chunks, GIF sub-blocks (`UNREADABLE`).

    20 MiB in the usual pieces are 83 000 GIF sub-blocks; only a file made to cost time has more.
    """

    cpu_seconds: int = 10
    """Processor time for one file (`CPU_LIMIT`); the slowest picture within the other limits takes five."""

    wall_seconds: int = 30
    """Time until an answer. Longer without as much work is no fault of the file's: the machine is busy."""

    memory_bytes: int = 2**30
    """Address space on top of what a warm child has (`OUT_OF_MEMORY`)."""
