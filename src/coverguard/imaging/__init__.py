"""Bytes → fingerprint: everything matching needs to know of an upload, or the named reason why there is none.

Total: any bytes end in a `Fingerprint` or in `ContentRejected`; nothing else is raised and nothing is logged.
PIL and imagehash are used here and in `testing` only. Not here: thresholds, lists, a sandbox.
Decoders' warnings are silenced for the time of a call, which Python does for all threads at once: concurrent
calls in one process may leave them silenced. The first call loads scipy, 0.3 s.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from PIL import Image

from coverguard.errors import ContentRejected, RejectReason
from coverguard.imaging import decoding, diversity, listing, signals, sniff, views
from coverguard.imaging.container import Container
from coverguard.imaging.limits import Limits
from coverguard.imaging.raster import Box, Raster
from coverguard.imaging.signal_types import SignalType
from coverguard.model import Fingerprint, View

__all__ = ["Limits", "fingerprint"]

_DEFAULT_LIMITS = Limits()
_MOST_REGIONS = 40
"""Places within looks that are hashed, of one file; looks are at most 48, all of which are."""


def fingerprint(
    data: bytes,
    *,
    limits: Limits = _DEFAULT_LIMITS,
    digests: Mapping[str, bytes] | None = None,
    plugged_in: Sequence[SignalType] = (),
    for_lists: bool = False,
) -> Fingerprint:
    """Return the digests of the bytes as given and the signals of each view, the picture as displayed first.

    `digests` are those of the bytes where the caller has them already, or wants none. Plug-ins are asked of
    every view. With `for_lists` a picture like a photograph has its crops as `parts` (see `listing`).

    Raises:
        ContentRejected: with the `RejectReason` that names the limit or the fault; never for a picture that
            merely carries little information (its quality says so).
    """
    container = sniff.admit(data, limits)
    try:
        seen, crops = _views(container, plugged_in, for_lists=for_lists)
    except ContentRejected:
        raise
    except MemoryError as error:
        raise ContentRejected(RejectReason.OUT_OF_MEMORY) from error
    except Image.DecompressionBombError as error:
        raise ContentRejected(RejectReason.TOO_MANY_PIXELS) from error
    except Exception as error:  # decoders raise OSError, ValueError, TypeError, IndexError, SyntaxError, …
        cut = not container.complete or "truncated" in str(error)
        raise ContentRejected(RejectReason.TRUNCATED if cut else RejectReason.UNREADABLE) from error
    width, height = decoding.displayed_size(container)
    return Fingerprint(
        digests=signals.exact(data) if digests is None else digests,
        views=seen,
        format=container.format.value,
        width=width,
        height=height,
        truncated=not container.complete,
        parts=crops,
    )


def _views(
    container: Container, plugged_in: Sequence[SignalType], *, for_lists: bool
) -> tuple[tuple[View, ...], tuple[View, ...]]:
    """Return the whole looks, then places within them, each as soon as it is decoded to keep no pixels.

    Crops of what is displayed come apart.
    """
    wholes: list[View] = []
    parts: list[View] = []
    crops: tuple[View, ...] = ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a hostile file makes a decoder say belongs in no log
        for name, raster in decoding.looks(container):
            eye = _Eye(raster, plugged_in)
            wholes.append(eye.view(name, raster.whole))
            parts.extend(islice(_parts(name, eye), _MOST_REGIONS - len(parts)))
            if for_lists and len(wholes) == 1:
                crops = tuple(_crops(eye))
    return (*wholes, *parts), crops


class _Eye:
    """Looks at boxes of one raster, and makes views of them."""

    def __init__(self, raster: Raster, plugged_in: Sequence[SignalType]) -> None:
        self.raster = raster
        self._hasher = signals.Hasher(raster)
        self._plugged_in = plugged_in

    def view(self, name: str, box: Box) -> View:
        hashed = self._hasher.hash(box)
        said = {one.algorithm.value: one.extract(self.raster, box) for one in self._plugged_in}
        more = {algorithm: digest for algorithm, digest in said.items() if digest is not None}
        return View(
            name=name,
            quality=hashed.quality,
            signals={**hashed.digests, **more},
            dihedral=hashed.dihedral,
            low_diversity=diversity.is_low(self.raster, box),
        )

    def at(self, raster: Raster) -> _Eye:
        """The same for another raster of the same picture."""
        return self if raster is self.raster else _Eye(raster, self._plugged_in)


def _parts(look: str, eye: _Eye) -> Iterator[View]:
    for name, raster, box in views.regions(eye.raster):
        yield eye.at(raster).view(f"{look}/{name}", box)


def _crops(eye: _Eye) -> Iterator[View]:
    """Crops of a photograph, within its border if it has one; of a graphic there are none worth keeping."""
    trimmed = (
        box
        for name, raster, box in views.regions(eye.raster)
        if raster is eye.raster and name.startswith("trimmed")
    )
    inside = next(trimmed, eye.raster.whole)
    if not diversity.is_low(eye.raster, inside):
        for name, box in listing.views_for_lists(eye.raster, within=inside):
            yield eye.view(name, box)
