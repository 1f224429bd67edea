"""Who and what plays in the demo: invented accounts, playlists and generated covers, from one seed.

Some of the originals are listed, as an industry source would list them; copies of the listed ones are altered
as re-uploaders alter them. Everything is harmless and drawn here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pdqhash
from PIL import Image

from coverguard.model import Surface
from coverguard.testing.pictures import Alteration, Kind, alter, draw, encode, hostile, titles

SIDE: Final = 480
LISTED: Final = {Kind.SCENE: 10, Kind.COLLAGE: 3, Kind.TYPOGRAPHY: 1}
UNLISTED: Final = {Kind.SCENE: 24, Kind.COLLAGE: 6, Kind.TYPOGRAPHY: 6, Kind.SHAPES: 4, Kind.GRADIENT: 4}
PROMISED: Final = (  # what the first version promises to find
    Alteration.JPEG_Q92,
    Alteration.JPEG_Q70,
    Alteration.JPEG_Q50,
    Alteration.WEBP_Q80,
    Alteration.RESIZED_300,
    Alteration.RESIZED_400,
)
BESIDES: Final = (Alteration.MIRRORED, Alteration.GIF, Alteration.CMYK_JPEG)
BROKEN: Final = ("truncated_webp", "html", "empty")
REFERRED: Final = 2
UPLOADERS: Final = 12
SURFACES: Final = tuple(Surface)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One cover to be uploaded."""

    name: str  # unique, safe as a file name and as a cover id
    data: bytes = field(repr=False)
    surface: Surface
    uploader: str
    playlist: str
    copy_of: str | None = None  # the listed picture it was made from
    how: str = "original"
    promised: bool = False  # finding it is promised
    readable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    seed: int
    parts: tuple[Part, ...]
    listed: dict[str, str] = field(repr=False)  # name → hexadecimal PDQ, as a source would deliver it
    referred: frozenset[str] = field(repr=False)  # those on a list that may only refer
    collaborators: tuple[tuple[str, str], ...]  # (playlist, account)
    titles: tuple[tuple[str, str, str], ...] = field(repr=False)  # (playlist, editor, title)


def cast(seed: int) -> Cast:
    """Draw everything that plays under this seed."""
    listed: dict[str, str] = {}
    drawn = [*_listed_parts(seed, listed), *_other_parts(seed), *_broken_parts(seed)]
    order = np.random.default_rng(seed).permutation(len(drawn))
    parts = tuple(drawn[at] for at in order)
    playlists = sorted({part.playlist for part in parts})
    words = titles(seed, len(playlists))
    return Cast(
        seed=seed,
        parts=parts,
        listed=listed,
        referred=frozenset(sorted(listed)[-REFERRED:]),
        collaborators=tuple(
            (playlist, f"account-{seed}-{n % UPLOADERS}") for n, playlist in enumerate(playlists)
        ),
        titles=tuple(
            (playlist, f"account-{seed}-{n % UPLOADERS}", title)
            for n, (playlist, title) in enumerate(zip(playlists, words, strict=True))
        ),
    )


def _originals(seed: int, counts: dict[Kind, int], *, offset: int) -> Iterator[tuple[str, Image.Image]]:
    for kind, count in counts.items():
        for n in range(count):
            yield f"{kind.value}-{seed}-{offset + n}", draw(kind, seed * 1000 + offset + n, side=SIDE)


def _listed_parts(seed: int, listed: dict[str, str]) -> Iterator[Part]:
    for number, (name, image) in enumerate(_originals(seed, LISTED, offset=0)):
        vector, _ = pdqhash.compute(np.ascontiguousarray(np.asarray(image.convert("RGB"))))
        listed[name] = np.packbits(vector.astype(np.uint8)).tobytes().hex()
        extra = BESIDES[number % len(BESIDES)]
        for how in (*PROMISED, extra):
            yield _part(
                seed,
                f"{name}-{how.value}",
                alter(image, how),
                copy_of=name,
                how=how.value,
                promised=how in PROMISED,
            )


def _other_parts(seed: int) -> Iterator[Part]:
    for name, image in _originals(seed, UNLISTED, offset=500):
        yield _part(seed, name, encode(image, "JPEG", quality=88))


def _broken_parts(seed: int) -> Iterator[Part]:
    files = hostile()
    for name in BROKEN:
        yield _part(seed, f"broken-{seed}-{name}", files[name], how=name, readable=False)


def _part(
    seed: int,
    name: str,
    data: bytes,
    *,
    copy_of: str | None = None,
    how: str = "original",
    promised: bool = False,
    readable: bool = True,
) -> Part:
    pick = int.from_bytes(name.encode()[-6:], "big") + len(name)
    return Part(
        name=name,
        data=data,
        surface=SURFACES[pick % len(SURFACES)],
        uploader=f"account-{seed}-{pick % UPLOADERS}",
        playlist=f"playlist-{seed}-{pick % (UPLOADERS + 5)}",
        copy_of=copy_of,
        how=how,
        promised=promised,
        readable=readable,
    )
