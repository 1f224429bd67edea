"""What the sandbox costs: a cover in a child against the same call in this process, and a new child.

The peer is `imaging.fingerprint` itself, in the same run, turn by turn. A child is ended by a signal, as a
decoder's crash would end it; the time until the next cover is answered, less that of an ordinary answer, is
what a crash costs. The ratio travels, the milliseconds do not.

    python bench/sandbox.py [--rounds 200] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import time
from collections.abc import Callable

from coverguard.imaging import fingerprint
from coverguard.imaging.sandbox import Sandbox
from coverguard.testing.pictures import Kind, draw, encode

SIDES = (300, 640, 1500)
RESTARTS = 30


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def run(rounds: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with Sandbox() as sandbox:
        found["first_cover_ms"] = timed(
            lambda: sandbox.fingerprint(encode(draw(Kind.SCENE, 1, side=64), "PNG"))
        )
        for side in SIDES:
            data = encode(draw(Kind.SCENE, 3, side=side), "JPEG", quality=85)
            fingerprint(data)
            here, there = [], []
            for _ in range(rounds):
                here.append(timed(lambda data=data: fingerprint(data)))  # type: ignore[misc]
                there.append(timed(lambda data=data: sandbox.fingerprint(data)))  # type: ignore[misc]
            found[f"in_process_{side}_ms"] = statistics.median(here)
            found[f"in_a_child_{side}_ms"] = statistics.median(there)
            found[f"ratio_{side}"] = statistics.median(there) / statistics.median(here)
        found |= restarts(sandbox)
    return {name: round(value, 3) for name, value in found.items()}


def restarts(sandbox: Sandbox) -> dict[str, float]:
    data = encode(draw(Kind.SCENE, 5, side=300), "JPEG")
    usual, after = [], []
    for _ in range(RESTARTS):
        usual.append(timed(lambda: sandbox.fingerprint(data)))
        os.kill(sandbox.idle()[0], signal.SIGSEGV)
        time.sleep(0.01)
        after.append(timed(lambda: sandbox.fingerprint(data)))
    ordinary = statistics.median(usual)
    return {
        "restart_median_ms": statistics.median(after) - ordinary,
        "restart_most_ms": max(after) - ordinary,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = run(options.rounds)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:24} {value:9.3f}")


if __name__ == "__main__":
    main()
