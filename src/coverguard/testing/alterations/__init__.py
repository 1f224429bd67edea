"""More than a hundred ways in which a known picture comes back altered, each with parameters from a seed.

An alteration takes an RGB picture and dice, and returns a file, or a picture that `apply` stores as a JPEG of
good quality. What detection finds of each is measured by `bench/recall.py`; nothing in `imaging` may know a
name or a parameter of these. Pillow and NumPy only; other pictures that appear beside are generated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image

from coverguard.testing.alterations import combinations, cuts, frames, overlays, recodings, screens, tones
from coverguard.testing.alterations.dice import Dice
from coverguard.testing.pictures import encode

__all__ = ["ALTERATIONS", "FAMILIES", "apply", "family"]

FAMILIES: Mapping[str, Mapping[str, Callable[[Image.Image, Dice], Image.Image | bytes]]] = {
    "other bytes": recodings.RECODE,
    "other size": recodings.RESIZE,
    "alpha": recodings.ALPHA,
    "animation": recodings.ANIMATE,
    "tone and colour": tones.TONE,
    "blur and noise": tones.DETAIL,
    "negative": tones.NEGATE,
    "overlay": overlays.OVERLAY,
    "border": frames.BORDER,
    "padding and bars": frames.PADDING,
    "crop": cuts.CROP,
    "turned and mirrored": cuts.TURN,
    "tilt and perspective": cuts.TILT,
    "screenshot": screens.SCREEN,
    "collage and inset": screens.COMPOSE,
    "several at once": combinations.COMBINE,
}
"""Alterations by family and name."""

ALTERATIONS = tuple(name for members in FAMILIES.values() for name in members)


def family(name: str) -> str:
    """Return the family an alteration belongs to."""
    return next(title for title, members in FAMILIES.items() if name in members)


def apply(name: str, image: Image.Image, *, seed: int) -> bytes:
    """Return the file that an RGB picture becomes; the same seed draws the same parameters.

    Raises:
        KeyError: there is no such alteration.
    """
    dice = Dice(seed, name)
    made = {key: alter for members in FAMILIES.values() for key, alter in members.items()}[name](image, dice)
    return made if isinstance(made, bytes) else encode(made, "JPEG", quality=dice.whole(78, 95))
