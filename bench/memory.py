"""What covers leave behind in memory: in the worker, and in a decoding child that is never replaced.

Whole and broken files of every format, mixed. The resident memory of both processes is taken a thousand
times; the growth a cover is the slope through the medians of twenty stretches of each quarter, with its 95 %
confidence interval. Memory is handed out in pages and kept in caches, which fill ever slower and are full one
day, while a leak goes on: so that the last quarter is what is judged, over many covers.

    python bench/memory.py [--covers 100000] [--seed 1] [--json]
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import time
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from coverguard.errors import ContentRejected
from coverguard.imaging.sandbox import Ended, Sandbox
from coverguard.testing.pictures import Kind, animation, draw, encode

SAMPLES = 1_000
QUARTERS = 4
STRETCHES = 20  # of a quarter
T_95 = 2.101  # Student's t, 18 degrees of freedom, two-sided


def files(chance: random.Random) -> list[bytes]:
    """Sixty whole files, and as many with flipped bits or cut off."""
    whole = []
    for seed in range(10):
        image = draw(Kind.SCENE, seed, side=chance.choice((64, 200, 400)))
        whole += [encode(image, form) for form in ("JPEG", "PNG", "WEBP", "GIF")]
        whole.append(
            encode(image, "AVIF") if features.check("avif") else encode(image, "JPEG", progressive=True)
        )
        whole.append(animation([image, image.transpose(Image.Transpose.ROTATE_90)], "WEBP"))
    return [*whole, *(broken(one, chance) for one in whole)]


def broken(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data[: chance.randrange(len(data) // 3, len(data))])
    for _ in range(chance.randrange(4)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def resident(process: object) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def growth(sizes: NDArray[np.float64], covers: int) -> list[tuple[float, float]]:
    """Bytes a cover in each quarter, and half the width of its interval."""
    return [_slope(quarter, covers / QUARTERS) for quarter in np.array_split(sizes, QUARTERS)]


def _slope(sizes: NDArray[np.float64], covers: float) -> tuple[float, float]:
    medians = np.array([np.median(one) for one in np.array_split(sizes, STRETCHES)])
    (slope, _), covariance = np.polyfit(np.linspace(0, covers, STRETCHES), medians, 1, cov=True)
    return float(slope), float(T_95 * np.sqrt(covariance[0, 0]))


def run(covers: int, seed: int) -> dict[str, object]:
    chance = random.Random(seed)
    pool, every = files(chance), max(covers // SAMPLES, 1)
    taken = range(0, covers, every)
    # room for every sample before the first is taken: a list that grows would be measured with the rest
    sizes = {name: np.ones(len(taken)) for name in ("worker", "child")}
    ends: list[Ended] = []
    rejected, began = 0, time.perf_counter()
    with Sandbox(covers=covers + 1, told=ends.append) as sandbox:
        for number in range(covers):
            try:
                sandbox.fingerprint(chance.choice(pool))
            except ContentRejected:
                rejected += 1
            if number % every == 0:
                sizes["worker"][number // every] = resident("self")
                (sizes["child"][number // every],) = map(resident, sandbox.idle())
    spent = time.perf_counter() - began
    grown = {name: growth(each, covers) for name, each in sizes.items()}
    return {
        "covers": covers,
        "rejected": rejected,
        "children_replaced": len(ends),
        "seconds": round(spent, 1),
        **{
            f"{name}_bytes_a_cover": [(round(slope, 2), round(half, 2)) for slope, half in quarters]
            for name, quarters in grown.items()
        },
        **{f"{name}_mib": round(each[-1] / 2**20, 1) for name, each in sizes.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--covers", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = run(options.covers, options.seed)
    if options.json:
        print(json.dumps(found))
        return
    text = io.StringIO()
    for name in ("worker", "child"):
        quarters = cast("list[tuple[float, float]]", found[f"{name}_bytes_a_cover"])
        told = ", ".join(f"{slope:+.2f} ± {half:.2f}" for slope, half in quarters)
        verdict = "it grows" if quarters[-1][0] > quarters[-1][1] else "no growth that differs from zero"
        text.write(f"{name:7} {told} bytes a cover by quarters: {verdict}; {found[f'{name}_mib']} MiB\n")
    print(f"{found['covers']} covers, {found['rejected']} of them rejected, in {found['seconds']} s")
    print(text.getvalue(), end="")


if __name__ == "__main__":
    main()
