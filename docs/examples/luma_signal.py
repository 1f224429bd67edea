"""A signal type to plug in, for an example: the mean brightness of a picture's 4 × 4 parts.

It is a toy. It finds next to nothing, and finds it in pictures that have nothing to do with each other; it
shows what a module for a hash that you have a licence for looks like. Install yours where coverguard is
installed and name it in `coverguard.toml`:

    signal_plugins = ["luma_signal:LUMA"]

What each part has to promise is in docs/plugins.md; `coverguard doctor` says whether it does.
"""

import numpy as np
from numpy.typing import NDArray

from coverguard.algorithms import Algorithm
from coverguard.imaging.raster import Box, Raster
from coverguard.imaging.signal_types import Golden

SIDE = 4
LEAST = 8  # pixels a side, below which there is nothing to say
WEIGHTS = np.array((0.299, 0.587, 0.114))


class Luma:
    """Sixteen bytes, row by row: the mean brightness of each part, 0 to 255."""

    # The name fixes the method: change anything about it, and it is luma-example.2.
    # hold_radius = -1: nobody vouches for what is near by this hash, so a person looks.
    algorithm = Algorithm("luma-example.1", size=SIDE * SIDE, perceptual=True, hold_radius=-1, max_radius=256)
    # Of the pictures that signal_types.painted() paints: written down once, checked everywhere.
    golden = (
        Golden(seed=1, digest=bytes.fromhex("8064807f617d928571958c748595706e"), within=8),
        Golden(seed=2, digest=bytes.fromhex("717079716b776f6371706974736d7a8d"), within=8),
    )

    def extract(self, raster: Raster, box: Box) -> bytes | None:
        """Cut the box out of the raster, whose pixels may be fewer than the picture's."""
        across, down = raster.pixels.shape[1] / raster.width, raster.pixels.shape[0] / raster.height
        rows = slice(round(box.top * down), round(box.bottom * down))
        columns = slice(round(box.left * across), round(box.right * across))
        luma = raster.pixels[rows, columns] @ WEIGHTS
        if min(luma.shape) < LEAST:
            return None
        parts = [
            part.mean() for row in np.array_split(luma, SIDE) for part in np.array_split(row, SIDE, axis=1)
        ]
        return bytes(round(mean) for mean in parts)

    def validate(self, digest: bytes) -> bool:
        """A licensed hash may have a checksum, or bytes that are never used; this one has neither."""
        return len(digest) == self.algorithm.size

    def distances(self, digest: bytes, listed: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Sum the differences, for all listed digests at once."""
        apart = np.abs(listed.astype(np.int64) - np.frombuffer(digest, np.uint8))
        return np.asarray(apart.sum(axis=1), np.int64)


LUMA = Luma()
