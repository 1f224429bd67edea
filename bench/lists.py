"""What a list change costs: coming to know it with a list of a million entries, against reading all anew.

Invented digests, of which three in four are PDQ and the others SHA-256. First in memory alone: of each size
of change the median of several, and its share of a rebuild that was measured in the same run; memory is what
the new index holds that the old one does not, and the most that was held while it was made. Then how long one
fingerprint waits for its candidates with nothing outside of the base, and with 10 000 changes there. Then
through the store, on SQLite, with fewer (writing them takes its time): what a worker's poll takes, which also
reads the rows and opens them.

    python bench/lists.py [--entries 1000000] [--searches 300] [--stored 200000] [--seed 1] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from coverguard.hashlist import ListRow
from coverguard.local.keys import PURPOSES, LocalKeys
from coverguard.matching import FactsBuilder, FactsById, ListedDigest, ListIndex, PackedDigests
from coverguard.model import Algorithm, Category, Fingerprint, Micros, View
from coverguard.policy import ListRule
from coverguard.screening import KnowledgeCache
from coverguard.store import lists
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate

CHANGES = (1, 100, 10_000)
TIMES = 7
EXACT = 4  # one of so many is a SHA-256
RADIUS = {Algorithm.PDQ: 31, Algorithm.PHASH256: 31}
MIB = 2**20


def entry(entry_id: int, chance: np.random.Generator) -> ListedDigest:
    algorithm = Algorithm.SHA256 if entry_id % EXACT == 0 else Algorithm.PDQ
    return ListedDigest(entry_id=entry_id, list_id=1, algorithm=algorithm, digest=chance.bytes(32))


def packed(count: int, chance: np.random.Generator) -> PackedDigests:
    return PackedDigests(entry(n, chance) for n in range(count))


def facts(ids: range | list[int]) -> FactsById[int, int]:
    builder: FactsBuilder[int, int] = FactsBuilder(lambda entry_id, _: entry_id)
    for entry_id in ids:
        builder.add(entry_id, entry_id % 20)
    return builder.built()


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    made = act()
    return (time.perf_counter() - begun) * 1000, made


def held(act: Callable[[], Any]) -> tuple[float, float]:
    """MiB that are held after it, and at most while it was done."""
    tracemalloc.start()
    made = act()
    after, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del made
    return after / MIB, most / MIB


def changed(
    index: ListIndex, known: FactsById[int, int], *, count: int, total: int, chance: np.random.Generator
) -> Callable[[], tuple[ListIndex, FactsById[int, int]]]:
    """So many changes: half are entries with other digests, a quarter new ones, a quarter withdrawn."""
    ids = chance.choice(total, count, replace=False).tolist()
    removed, others = ids[: count // 4], ids[count // 4 :]
    new = [total + n for n in range(count // 4)]
    upserts = PackedDigests(entry(n, chance) for n in [*others[: len(others) - len(new)], *new])
    told = facts(sorted(one.entry_id for one in upserts))
    return lambda: (
        index.changed(upserts=upserts, removed=removed, seq=index.seq + 1),
        known.changed(told, removed=removed),
    )


def shown(chance: np.random.Generator) -> Fingerprint:
    views = tuple(
        View(name=name, quality=90, signals={"pdq": chance.bytes(32), "phash256": chance.bytes(32)})
        for name in ("displayed", "raw")
    )
    digests = {"md5": chance.bytes(16), "sha1": chance.bytes(20), "sha256": chance.bytes(32)}
    return Fingerprint(digests=digests, views=views, format="PNG", width=64, height=64)


def waited(index: ListIndex, searched: list[Fingerprint]) -> list[float]:
    return [timed(partial(index.candidates, one, radius=RADIUS, complement=True))[0] for one in searched]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--stored", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chance = np.random.default_rng(options.seed)
    said = measured(options.entries, searches=options.searches, chance=chance)
    if options.stored:
        with tempfile.TemporaryDirectory() as folder:
            said |= polled(Path(folder), options.stored, chance=chance)
    if options.json:
        print(json.dumps(said, indent=2))
        return
    for name, figures in said.items():
        print(f"{name:24}" + "  ".join(f"{what} {figure:,.4g}" for what, figure in figures.items()))


def measured(total: int, *, searches: int, chance: np.random.Generator) -> dict[str, dict[str, float]]:
    entries = packed(total, chance)
    known = facts(range(total))
    rebuilt, index = timed(lambda: ListIndex(entries, seq=1))
    rebuilt = median([rebuilt, *(timed(lambda: ListIndex(entries, seq=1))[0] for _ in range(2))])
    after, most = held(lambda: ListIndex(entries, seq=1))
    said = {"rebuild": {"ms": rebuilt, "held_mib": after, "most_mib": most}}
    of_facts = held(lambda: facts(range(total)))
    said["facts"] = {"held_mib": of_facts[0], "most_mib": of_facts[1]}
    delta = index
    for count in CHANGES:
        acts = [changed(index, known, count=count, total=total, chance=chance) for _ in range(TIMES)]
        spent = median(timed(act)[0] for act in acts)
        after, most = held(acts[0])
        said[f"{count} changes"] = {
            "ms": spent, "share": spent / rebuilt, "held_mib": after, "most_mib": most,
        }  # fmt: skip
        delta = acts[0]()[0]
    whole = changed(index, known, count=total // 4, total=total, chance=chance)  # more than may lie outside
    spent, _ = timed(whole)
    after, most = held(whole)
    said["made anew by a change"] = {
        "ms": spent, "share": spent / rebuilt, "held_mib": after, "most_mib": most,
    }  # fmt: skip
    searched = [shown(chance) for _ in range(searches)]
    pairs = [(waited(index, [one])[0], waited(delta, [one])[0]) for one in searched]
    for name, which in (("candidates, base alone", 0), ("candidates, with delta", 1)):
        spent_each = [pair[which] for pair in pairs]
        said[name] = {f"p{n}_ms": float(np.percentile(spent_each, n)) for n in (50, 99)}
    said["delta costs"] = {
        f"p{n}_share": said["candidates, with delta"][f"p{n}_ms"] / said["candidates, base alone"][f"p{n}_ms"]
        for n in (50, 99)
    }
    return said


# ── through the store ──────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """Goes on by a second whenever it is asked, so that every asking polls."""

    def __init__(self) -> None:
        self._now = 1_800_000_000_000_000

    def now(self) -> Micros:
        self._now += 1_000_000
        return Micros(self._now)

    def sleep(self, period: timedelta) -> None:
        raise NotImplementedError


def rows(first: int, count: int, chance: np.random.Generator) -> list[ListRow]:
    return [
        ListRow(
            source_entry_id=f"entry {n}",
            algorithm=Algorithm.SHA256 if n % EXACT == 0 else Algorithm.PDQ,
            digest=chance.bytes(32),
        )
        for n in range(first, first + count)
    ]


def polled(home: Path, total: int, *, chance: np.random.Generator) -> dict[str, dict[str, float]]:
    database = Database(f"sqlite:///{home / 'ledger.db'}", durable=False)
    migrate(database)
    keys, clock = LocalKeys({name: bytes([n]) * 32 for n, name in enumerate(PURPOSES)}), Clock()
    rule = ListRule(list_id=0, version=0, category=Category.OTHER)
    with database.transaction() as tx:
        list_id, _ = lists.create(
            tx, name="bench", source="s", rule=rule, actor="bench", note="n", now=clock.now()
        )

    def write(some: list[ListRow]) -> None:
        with database.transaction() as tx:
            lists.write_entries(tx, keys, list_id=list_id, rows=some, now=clock.now())

    for first in range(0, total, 10_000):
        write(rows(first, min(10_000, total - first), chance))
    cache = KnowledgeCache(database, keys, clock=clock)
    whole, _ = timed(cache.current)
    said = {"poll, everything": {"ms": whole}}
    said["poll, nothing new"] = {"ms": median(timed(cache.current)[0] for _ in range(TIMES))}
    for count in CHANGES:
        spent = []
        for _ in range(TIMES):
            write(rows(int(chance.integers(max(1, total - count))), count, chance))
            spent.append(timed(cache.current)[0])
        said[f"poll, {count} changes"] = {"ms": median(spent), "share": median(spent) / whole}
    database.close()
    return said


if __name__ == "__main__":
    main()
