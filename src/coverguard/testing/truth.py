"""The truth by another road: every picture against every listed hash, with `pdqhash` and brute force alone.

Run as a process of its own (`python -m coverguard.testing.truth LIST.csv FOLDER`), it shares no code with
what it judges: no decoder, signal, index or policy of coverguard. Prints JSON: file name → bits to the
nearest listed hash over the eight orientations, and quality; null for what cannot be read.
"""

from __future__ import annotations

import csv
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pdqhash
from PIL import Image, ImageOps


def nearest(path: Path, listed: list[int]) -> dict[str, int] | None:
    """Bits to the nearest listed PDQ, and the picture's quality."""
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            shown = np.ascontiguousarray(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))
    except (OSError, ValueError):
        return None
    turned, quality = pdqhash.compute_dihedral(shown)
    asked = [int.from_bytes(np.packbits(one.astype(np.uint8)).tobytes(), "big") for one in turned]
    return {"bits": min((a ^ b).bit_count() for a in asked for b in listed), "quality": int(quality)}


def main() -> None:
    """Compare every file of the folder with the list."""
    with Path(sys.argv[1]).open(encoding="utf-8", newline="") as stream:
        listed = [int(row["digest"], 16) for row in csv.DictReader(stream)]
    files = sorted(Path(sys.argv[2]).iterdir())
    print(json.dumps({path.name: nearest(path, listed) for path in files}))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
