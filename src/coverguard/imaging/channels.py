"""A decoder's picture in whatever mode → 8-bit colours and, where any pixel is not opaque, alpha.

Palettes, grey, CMYK and 16 bits become RGB; colour profiles and gamma are ignored, as no viewer's screen is
known. Whatever a file says that its mode does not allow is left to the decoder's exceptions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coverguard.imaging.raster import Pixels

Alpha = NDArray[np.uint8]
"""Shape (height, width), 0 transparent to 255."""

WHITE, BLACK = 255, 0


def channels(image: Image.Image, depth: int) -> tuple[Pixels, Alpha | None]:
    """Return colours (h, w, 3) as stored, and alpha or None where everything is opaque.

    `depth` is that of the file in bits, which PNG's transparent colour is given in.
    """
    rgb: Pixels
    alpha: Alpha | None
    key = image.info.get("transparency")
    if image.mode == "RGB" and key is None:
        return np.asarray(image), None
    if image.mode in ("RGBA", "LA", "PA") or (image.mode == "P" and key is not None):
        rgba = np.asarray(image.convert("RGBA"))
        rgb, alpha = rgba[:, :, :3], rgba[:, :, 3]
    elif image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64).clip(0, 0xFFFF)
        rgb = np.repeat(((values + 128) // 257).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)
        alpha = _keyed(values[:, :, np.newaxis], key)
    else:
        plain = image.copy()
        plain.info = {}
        rgb = np.asarray(plain.convert("RGB"))
        alpha = _keyed(rgb, _key_in_8_bits(key, mode=image.mode, depth=depth))
    return rgb, None if alpha is None or alpha.min() == WHITE else alpha


def over(rgb: Pixels, alpha: Alpha | None, ground: int) -> Pixels:
    """Composite over a grey ground, 0 to 255."""
    if alpha is None:
        return rgb
    weight = alpha[:, :, np.newaxis].astype(np.uint16)  # 255 · 255 + 127 fit
    blended = rgb * weight + (ground * (255 - weight) + 127)
    return (blended // 255).astype(np.uint8)


def _keyed(values: NDArray[np.generic], key: object) -> Alpha | None:
    """Return alpha 0 where the pixel has exactly the key's value, 255 elsewhere."""
    if key is None:
        return None
    return np.where((values == np.asarray(key)).all(axis=2), 0, 255).astype(np.uint8)


def _key_in_8_bits(key: object, *, mode: str, depth: int) -> object:
    """A PNG names its transparent colour in its own bit depth, while the decoder scales the pixels to 8."""
    if isinstance(key, tuple):
        return tuple(int(value) >> 8 if depth > 8 else int(value) for value in key)  # noqa: PLR2004 - bits a byte
    if isinstance(key, int) and mode == "L" and depth in (2, 4):
        return key * (0xFF // (2**depth - 1))
    return key
