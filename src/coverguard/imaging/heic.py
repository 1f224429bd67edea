"""HEIC, where the package's extra is installed that reads it: the only home of pillow_heif."""

from __future__ import annotations

from io import BytesIO
from typing import Final

from PIL import Image

try:
    import pillow_heif
except ImportError:  # an extra of the package
    pillow_heif = None  # type: ignore[assignment]

READ: Final = pillow_heif is not None


def opened(file: BytesIO) -> Image.Image:
    """Read the header. Raises whatever the decoder raises."""
    image: Image.Image = pillow_heif.HeifImageFile(file)  # type: ignore[no-untyped-call]
    return image


def encoded(image: Image.Image) -> bytes:
    """Write a file that the decoder can be tried on."""
    file = BytesIO()
    pillow_heif.from_pillow(image).save(file)
    return file.getvalue()
