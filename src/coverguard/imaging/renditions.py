"""A cover and the copy that the platform made of it, as one fingerprint.

Resized copies are cropped, padded, set on another ground. What strangers see is the copy, so what it shows
beyond the original is looked at, too. The copy is decoded by itself, within the same limits: one that cannot
be read takes nothing from the original's fingerprint, and what becomes of that is the caller's to decide.
"""

from __future__ import annotations

from dataclasses import replace

from coverguard.model import Fingerprint

_SAME_BITS = 4  # of PDQ: what resizing and re-encoding alone may change


def with_rendition(original: Fingerprint, rendition: Fingerprint) -> Fingerprint:
    """Add what the rendition shows, as views "rendition" and "rendition/…", if it is another look.

    Digests, format, size and everything else stay those of the original.
    """
    shown = rendition.views[0]
    known = [view.signals["pdq"] for view in original.views]
    if any(_apart(shown.signals["pdq"], pdq) <= _SAME_BITS for pdq in known):
        return original
    prefix = f"{shown.name}/"
    parts = [view for view in rendition.views if view.name.startswith(prefix)]
    further = [replace(view, name=f"rendition/{view.name.removeprefix(prefix)}") for view in parts]
    return replace(original, views=(*original.views, replace(shown, name="rendition"), *further))


def _apart(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()
