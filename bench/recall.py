"""What is found again of altered pictures, by alteration and tier, beside plain `pdqhash` of the same files.

Parameters of the alterations come from the seed, and each picture draws its own. Pictures are generated, or
those of a folder (nothing of them is kept or shown). Recall on generated pictures says which alterations are
seen at all; shares on yours are others, so try a folder of your own.

    python bench/recall.py [--per-kind 4] [--folder FOLDER] [--seed N] [--only WORD] [--json] [--write]
    python bench/recall.py --false-pairs 10000 [--seed N]      photograph-like × photograph-like

`--write` renews docs/recall.md, on the default seed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from coverguard.imaging import fingerprint
from coverguard.model import Fingerprint
from coverguard.testing import alterations
from coverguard.testing.pictures import chance, draw, encode
from coverguard.testing.recall import (
    PHOTO_LIKE,
    FalsePairs,
    Known,
    Outcome,
    at_most,
    drawn,
    known,
    listed,
    look_up,
    outcome,
    wilson,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recall.md"
LONGEST = 1_200  # pixels a side that pictures of a folder are shrunk to
SMALL = 160  # pixels a side of the pictures that false pairs are counted on
BATCH = 500
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # one core is what is measured
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one alteration."""

    name: str
    outcomes: Sequence[Outcome]

    def found(self, tier: str) -> int:
        return sum(getattr(one, tier) for one in self.outcomes)

    def share(self, tier: str) -> float:
        return self.found(tier) / len(self.outcomes)


def of_folder(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Yield the pictures of a folder and below, each its own kind: "picture"."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURES:
            with Image.open(path) as image:
                image.thumbnail((LONGEST, LONGEST))
                yield "picture", image.convert("RGB")


def measure(pictures: Sequence[Known], names: Sequence[str], *, seed: int) -> list[Row]:
    """Alter each picture in every way, and look for it."""
    rows: dict[str, list[Outcome]] = {name: [] for name in names}
    with tqdm(total=len(pictures) * len(names), disable=not sys.stderr.isatty(), unit="file") as bar:
        for number, picture in enumerate(pictures):
            for name in names:
                data = alterations.apply(name, picture.image, seed=seed * 1_000_003 + number)
                rows[name].append(outcome(picture, data))
                bar.update()
    return [Row(name, outcomes) for name, outcomes in rows.items()]


def false_pairs(side: int, *, seed: int) -> FalsePairs:
    """Look up `side` photograph-like pictures in a list of as many others."""
    numbers = chance(seed, 31_337, 2 * side)
    index = listed(_small(numbers[:side]))
    total = FalsePairs(pairs=0, enforce=0, review=0, queries=0)
    for start in range(side, 2 * side, BATCH):
        total = total.plus(look_up(index, list(_small(numbers[start : start + BATCH]))))
    return total


def _small(numbers: np.ndarray[tuple[int, ...], np.dtype[np.uint32]]) -> Iterator[Fingerprint]:
    for place, number in enumerate(tqdm(numbers.tolist(), disable=not sys.stderr.isatty(), unit="picture")):
        image = draw(PHOTO_LIKE[place % len(PHOTO_LIKE)], number >> 2, side=SMALL)
        yield fingerprint(encode(image, "PNG", compress_level=1), digests={})


def unrelated(pictures: Sequence[Known]) -> FalsePairs:
    """Look up each known picture among the others."""
    made = [fingerprint(encode(one.image, "PNG", compress_level=1), digests={}) for one in pictures]
    total = FalsePairs(pairs=0, enforce=0, review=0, queries=0)
    for number, one in enumerate(made):
        total = total.plus(look_up(listed(made[:number] + made[number + 1 :]), [one]))
    return total


# ── telling ────────────────────────────────────────────────────────────────────────────────────────────────


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _cells(row: Row) -> list[str]:
    low, high = wilson(row.found("enforce"), len(row.outcomes))
    return [
        row.name.replace("_", " "),
        _percent(row.share("plain")),
        f"{_percent(row.share('enforce'))} ({_percent(low)}–{_percent(high)})",
        _percent(row.share("review")),
        f"{np.mean([one.views for one in row.outcomes]):.1f}",
    ]


HEAD = ("alteration", "plain pdqhash", "enforce (95 %)", "review", "views")


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """Yield Markdown, one table a family."""
    for title, members in alterations.FAMILIES.items():
        own = [row for row in rows if row.name in members]
        if own:
            yield f"\n### {title.capitalize()}\n\n| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD)
            yield from ("| " + " | ".join(_cells(row)) + " |" for row in own)


def _mean(rows: Iterable[Row], tier: str) -> float:
    return float(np.mean([row.share(tier) for row in rows]))


def summary(rows: Sequence[Row], pictures: Sequence[Known], false: FalsePairs) -> dict[str, object]:
    outcomes = [one for row in rows for one in row.outcomes]
    return {
        "pictures": len(pictures),
        "alterations": len(rows),
        "mean recall, plain pdqhash": round(_mean(rows, "plain"), 3),
        "mean recall, enforce": round(_mean(rows, "enforce"), 3),
        "mean recall, review": round(_mean(rows, "review"), 3),
        "alterations found less often than by plain pdqhash in either tier": [
            row.name for row in rows if row.found("review") < row.found("plain")
        ],
        "views a file": round(float(np.mean([one.views for one in outcomes])), 1),
        "processor time relative to plain pdqhash": round(
            sum(one.seconds for one in outcomes) / sum(one.plain_seconds for one in outcomes), 2
        ),
        "false pairs within 31 bits": false.enforce,
        "false pairs in either tier": false.review,
        "pairs of unrelated pictures": false.pairs,
        "false pairs within 31 bits, at most (95 %)": at_most(false.enforce, false.pairs),
    }


INTRODUCTION = """# Recall

Generated by `python bench/recall.py --write`; do not edit. What is found again of {pictures} generated
pictures ({kinds}), each altered in {alterations} ways with parameters drawn from seed {seed}.

- **plain pdqhash**: Pillow decodes all of the file, `pdqhash` hashes it; within 31 bits, upright.
- **enforce**: a view of the file, in any of eight orientations, is within 31 bits at quality 50 and more.
  Such a match may hold.
- **review**: or a list of our own removals matches it at all: within 53 bits, by the negative, by pHash 256,
  or within 31 bits at a quality of 15 and more. Such a match goes to a person.
- A graphic that many innocent ones resemble counts as found where it matches; it never holds by its looks.
- **views**: how many pictures of the file were hashed, on average.

Shares are of one hundred; in brackets where the share lies with 95 % certainty (Wilson), had we more such
pictures. Generated pictures have no faces, and graphics are nearly half of them. Shares on other pictures
differ: run it on a folder of your own. What this page is for is which alterations are seen at all, and which
are not.

## Sums

| | |
|---|---|
{sums}

## Not found

In neither tier more than one time in ten: {missed}.

## By alteration
"""


def page(rows: Sequence[Row], pictures: Sequence[Known], told: dict[str, object], *, seed: int) -> str:
    told = {name: value for name, value in told.items() if not isinstance(value, list)}
    missed = [row.name.replace("_", " ") for row in rows if row.share("review") <= 0.1]
    head = INTRODUCTION.format(
        pictures=len(pictures),
        alterations=len(rows),
        kinds=", ".join(sorted({one.label for one in pictures})),
        seed=seed,
        missed=", ".join(missed) or "nothing",
        sums="\n".join(f"| {name} | {_shown(value)} |" for name, value in told.items()),
    )
    return head + "\n".join(tables(rows)).rstrip() + "\n"


def _shown(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) and value < 0.01 else str(value)


def main() -> None:
    """Measure and tell."""
    options = _options()
    if any(os.environ.get(name) != "1" for name in THREADS):  # numpy reads them once, when it is imported
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **dict.fromkeys(THREADS, "1")})
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    if options.false_pairs:
        _tell_false_pairs(false_pairs(options.false_pairs, seed=seed), seed, as_json=options.json)
        return
    given = of_folder(options.folder) if options.folder else drawn(options.per_kind, seed=seed)
    pictures = [one for one in (known(label, image) for label, image in given) if one]
    names = [
        name
        for name in alterations.ALTERATIONS
        if options.only in name or options.only in alterations.family(name)
    ]
    rows = measure(pictures, names, seed=seed)
    told = summary(rows, pictures, unrelated(pictures))
    if options.write:
        PAGE.write_text(page(rows, pictures, told, seed=seed), "utf-8")
    if options.json:
        by_name = {
            row.name: {tier: row.share(tier) for tier in ("plain", "enforce", "review")} for row in rows
        }
        print(json.dumps({"seed": seed, **told, "recall": by_name}))
        return
    print("\n".join(tables(rows)))
    print(f"\nseed: {seed} (Python {platform.python_version()})")
    for name, value in told.items():
        print(f"{name}: {value}")


def _tell_false_pairs(false: FalsePairs, seed: int, *, as_json: bool) -> None:
    told = {
        "seed": seed,
        "pairs": false.pairs,
        "within 31 bits": false.enforce,
        "within 31 bits, at most a pair (95 %)": at_most(false.enforce, false.pairs),
        "in either tier": false.review,
        "PDQs looked up": false.queries,
    }
    print(json.dumps(told) if as_json else "\n".join(f"{name}: {value}" for name, value in told.items()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--per-kind", type=int, default=4, help="generated pictures of each kind")
    parser.add_argument("--folder", type=Path, help="measure on the pictures in this folder")
    parser.add_argument("--seed", type=int, help="of pictures and parameters (default: random, printed)")
    parser.add_argument("--only", default="", help="alterations with this in their or their family's name")
    parser.add_argument("--false-pairs", type=int, help="count false pairs of so many times as many pictures")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="renew docs/recall.md (on seed 1 unless given)")
    options = parser.parse_args()
    if options.write and options.seed is None:
        options.seed = 1
    return options


if __name__ == "__main__":
    main()
