"""Covers a second and core of one fingerprint, against two peers and the floor that the format sets.

The peers do less: one PDQ of the picture as stored, in one orientation, of the first frame; no pHash, no
digest, no other view. *File hashing* is python-threatexchange's (1.2): Pillow's full decode, `pdqhash` of all
pixels. *Thumbnail* is the same after `Image.thumbnail((512, 512))`, as PDQ's Python example does. The *floor*
is a decode of the same JPEG at an eighth and in grey, which has to read every coefficient and computes next
to nothing from them: nothing that looks at the whole file can be faster with this decoder.

"Displayed" is the part of our work that the peers and the floor compare with: limits, decode, PDQ in eight
orientations and its quality. "All" is what a worker gets: the same, pHash, digests, and further views with
the same for each. Ratios are of one run; milliseconds are of this machine.

    python bench/fingerprint.py [--seeds 3] [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

import numpy as np
import pdqhash
from PIL import Image

from coverguard.imaging import Limits, decoding, fingerprint, sniff
from coverguard.imaging.pdq import hash_box
from coverguard.testing.pictures import Kind, draw, encode

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # one core is what is measured
SIDES = (640, 1500, 3000)
FORMS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "jpeg": ("JPEG", {"quality": 90}),
    "progressive jpeg": ("JPEG", {"quality": 90, "progressive": True}),
    "png": ("PNG", {"compress_level": 6}),
    "webp": ("WEBP", {"quality": 85}),
}
KINDS = (Kind.SCENE, Kind.LEAVES)

Work = Callable[[bytes], object]


def whole_file(data: bytes) -> object:
    return pdqhash.compute(np.ascontiguousarray(np.asarray(Image.open(BytesIO(data)))))


def thumbnail(data: bytes) -> object:
    image = Image.open(BytesIO(data))
    image.thumbnail((512, 512))
    return pdqhash.compute(np.ascontiguousarray(np.asarray(image)))


def floor(data: bytes) -> object:
    image = Image.open(BytesIO(data))
    image.draft("L", (image.width // 8, image.height // 8))
    return image.load()


def displayed(data: bytes) -> object:
    _, raster = next(decoding.looks(sniff.admit(data, Limits())))
    return hash_box(raster, raster.whole)


WORK: Mapping[str, Work] = {
    "all": fingerprint,
    "displayed": displayed,
    "file hashing": whole_file,
    "thumbnail": thumbnail,
    "floor": floor,
}


def seconds(work: Mapping[str, Work], files: Sequence[bytes], rounds: int) -> dict[str, float]:
    """Processor seconds for all files, of each kind of work the least of some rounds, taken in turns."""
    least = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, one in work.items():
            begun = time.process_time()
            for data in files:
                one(data)
            least[name] = min(least[name], time.process_time() - begun)
    return least


def measure(form: str, side: int, options: argparse.Namespace) -> dict[str, object]:
    """One row of the table."""
    name, how = FORMS[form]
    pictures = [draw(kind, seed, side=side) for kind in KINDS for seed in range(options.seeds)]
    files = [encode(picture, name, **how) for picture in pictures]
    work = {key: one for key, one in WORK.items() if key != "floor" or name == "JPEG"}
    spent = seconds(work, files, options.rounds if side < SIDES[-1] else max(2, options.rounds // 3))
    views = sum(len(fingerprint(data).views) for data in files) / len(files)
    row: dict[str, object] = {
        "form": form,
        "side": side,
        "kB": round(sum(map(len, files)) / len(files) / 1000),
        "views": round(views, 1),
        **{f"{key} ms": round(value / len(files) * 1000, 2) for key, value in spent.items()},
    }
    for ours in ("displayed", "all"):
        for peer in ("file hashing", "thumbnail", "floor"):
            if peer in spent:
                row[f"{ours} : {peer}"] = round(spent[peer] / spent[ours], 2)
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="pictures of each kind and size")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in THREADS):  # numpy reads them once, when it is imported
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **dict.fromkeys(THREADS, "1")})
    rows = []
    for form in FORMS:
        for side in SIDES:
            rows.append(measure(form, side, options))
            if not options.json:
                print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if options.json:
        print(json.dumps({"cpu count": os.cpu_count(), "rows": rows}))


if __name__ == "__main__":
    main()
