"""Bytes → fingerprint: everything matching needs to know of an upload, or the named reason why there is none.

Total: any bytes end in a `Fingerprint` or in `ContentRejected`; nothing else is raised and nothing is logged.
PIL, imagehash and pdqhash are used here and in `testing` only. Not here: thresholds, lists, a sandbox.
Decoders' warnings are silenced for the time of a call, which Python does for all threads at once: concurrent
calls in one process may leave them silenced. The first call loads scipy, 0.3 s.
"""

from __future__ import annotations

import warnings

from PIL import Image

from coverguard.errors import ContentRejected, RejectReason
from coverguard.imaging import decoding, signals, sniff
from coverguard.imaging.limits import Limits
from coverguard.model import Fingerprint, View

__all__ = ["Limits", "fingerprint"]

_DEFAULT_LIMITS = Limits()


def fingerprint(data: bytes, *, limits: Limits = _DEFAULT_LIMITS) -> Fingerprint:
    """Return the digests of the bytes as given and the signals of each view, the picture as displayed first.

    Raises:
        ContentRejected: with the `RejectReason` that names the limit or the fault; never for a picture that
            merely carries little information (its quality says so).
    """
    container = sniff.admit(data, limits)
    try:
        views = _views(container)
    except MemoryError as error:
        raise ContentRejected(RejectReason.OUT_OF_MEMORY) from error
    except Image.DecompressionBombError as error:
        raise ContentRejected(RejectReason.TOO_MANY_PIXELS) from error
    except Exception as error:  # decoders raise OSError, ValueError, TypeError, IndexError, SyntaxError, …
        cut = not container.complete or "truncated" in str(error)
        raise ContentRejected(RejectReason.TRUNCATED if cut else RejectReason.UNREADABLE) from error
    width, height = decoding.displayed_size(container)
    return Fingerprint(
        digests=signals.exact(data), views=views, format=container.format.value, width=width, height=height
    )


def _views(container: sniff.Container) -> tuple[View, ...]:
    views = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a hostile file makes a decoder say belongs in no log
        for name, pixels in decoding.looks(container):
            quality, digests, dihedral = signals.perceptual(pixels)
            views.append(View(name=name, quality=quality, signals=digests, dihedral=dihedral))
    return tuple(views)
