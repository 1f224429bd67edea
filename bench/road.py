"""Covers a second and core from message to verdict, where the time goes, and a ratio against a naive peer.

One process, one core, the embedded profile with its default durability. The peer does in the same run what a
first script would do: decode with Pillow at full size, PDQ of all pixels, Python's integers against every
listed hash; no ledger, no store, no verdict. Machines are noisy: read the ratio, not the milliseconds.

    python bench/road.py [--covers 200] [--entries 20000] [--json]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pdqhash
from PIL import Image

from coverguard import adapters, bootstrap, preparing
from coverguard.hashlist import ListRow
from coverguard.model import Algorithm, Category, ListAction
from coverguard.policy import ListRule
from coverguard.store import lists
from coverguard.telemetry import Log
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import InProcessProbe, Platform
from coverguard.testing.vouching import vouch
from coverguard.worker import Heartbeat

SIDES = (640, 1000, 1500)
LISTED_EVERY = 4


def pictures(count: int) -> list[bytes]:
    """Generated covers in the sizes that platforms see."""
    drawn = [
        encode(draw(Kind.SCENE, seed, side=SIDES[seed % len(SIDES)]), "JPEG", quality=85)
        for seed in range(24)
    ]
    return [drawn[number % len(drawn)] for number in range(count)]


def pdq(data: bytes) -> int:
    """PDQ the naive way: all pixels."""
    with Image.open(io.BytesIO(data)) as image:
        vector, _ = pdqhash.compute(np.ascontiguousarray(np.asarray(image.convert("RGB"))))
    return int.from_bytes(np.packbits(vector.astype(np.uint8)).tobytes(), "big")


def naive(covers: Sequence[bytes], listed: Sequence[int]) -> float:
    """Seconds that the peer takes."""
    begun = time.process_time()
    for data in covers:
        found = pdq(data)
        min((found ^ one).bit_count() for one in listed)
    return time.process_time() - begun


def road(covers: Sequence[bytes], listed: Sequence[int], home: Path) -> tuple[float, float, dict[str, float]]:
    """Wall seconds, processor seconds and milliseconds by phase of the whole road."""
    preparing.prepare(home)
    stream = io.StringIO()
    with bootstrap.deployment(home, log=Log(stream=stream)) as opened:
        store = adapters.folder_store(opened.settings)
        probe = InProcessProbe(settings=opened.settings, store=store)
        parts = bootstrap.Deployment(
            settings=opened.settings, database=opened.database, store=store, keys=opened.keys,
            probe=probe, clock=opened.clock, log=opened.log, sandbox=opened.sandbox,
        )  # fmt: skip
        _load(parts, listed)
        platform = Platform(settings=parts.settings, store=store, clock=parts.clock)
        uploads = [
            platform.upload(data, cover_id=f"bench-{number}", uploader=f"account-{number % 50}")
            for number, data in enumerate(covers)
        ]
        parts.queue(bootstrap.UPLOADS).send([upload.body for upload in uploads])
        worker, stop = parts.worker(), threading.Event()
        wall, cpu = time.perf_counter(), time.process_time()
        with Heartbeat(lease=timedelta(seconds=60), log=parts.log) as heartbeat:
            while worker.serve_once(heartbeat, stop):
                pass
        spent = time.perf_counter() - wall - 1, time.process_time() - cpu  # the last look waits a second
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    answered = [line for line in lines if "decision" in line]
    assert len(answered) == len(covers)
    names = ("read_ms", "fingerprint_ms", "match_ms", "record_ms", "act_ms", "total_ms")
    phases = {name: sum(line.get(name, 0.0) for line in answered) / len(answered) for name in names}
    return *spent, phases


def _load(parts: bootstrap.Deployment, listed: Sequence[int]) -> None:
    rule = ListRule(
        list_id=0, version=0, category=Category.OTHER, action=ListAction.HOLD,
        hold_budget=10**6, entry_accounts=10**6,
    )  # fmt: skip
    rows = [
        ListRow(source_entry_id=f"e{number}", algorithm=Algorithm.PDQ, digest=one.to_bytes(32, "big"))
        for number, one in enumerate(listed)
    ]
    with parts.database.transaction() as tx:
        now = parts.clock.now()
        list_id, _ = lists.create(
            tx, name="bench", source="bench", rule=rule, actor="bench", note="bench", now=now
        )
        vouch(tx, list_id, now=now)
        lists.write_entries(tx, parts.keys, list_id=list_id, rows=rows, now=now)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--covers", type=int, default=200)
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    covers = pictures(options.covers)
    known = [pdq(data) for data in covers[:24:LISTED_EVERY]]
    listed = [*known, *(secrets.randbits(256) for _ in range(options.entries - len(known)))]
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu, phases = road(covers, listed, Path(folder) / "home")
    peer = naive(covers, listed)
    result = {
        "covers": len(covers),
        "entries": len(listed),
        "cpu count": os.cpu_count(),
        "covers a second (wall)": round(len(covers) / wall, 1),
        "covers a second and core (processor time)": round(len(covers) / cpu, 1),
        "naive peer, covers a second and core": round(len(covers) / peer, 1),
        "ratio to the peer": round(peer / cpu, 2),
        "milliseconds a cover": {name.removesuffix("_ms"): round(value, 2) for name, value in phases.items()},
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
