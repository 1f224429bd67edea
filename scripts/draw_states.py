#!/usr/bin/env python3
"""Draw docs/states.md from the transition tables, or `--check` that it is drawn from them.

What the tables say is all there is: no arrow is added, left out or explained here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from coverguard import lifecycle

TARGET: Final = Path(__file__).resolve().parents[1] / "docs" / "states.md"

Table = Mapping[Any, Mapping[Any, StrEnum]]  # keys of a Mapping are invariant: any enum's will do

MACHINES: Final[tuple[tuple[str, str, Table], ...]] = (
    ("Item", "One cover version in a case, waiting for a person's verdict.", lifecycle.ITEM),
    ("Quarantine", "One object version that was blocked or held.", lifecycle.QUARANTINE),
    ("Takedown", "Everything of one account going dark, and proof of it.", lifecycle.TAKEDOWN),
    ("Sweep", "A bounded re-screening of stored covers.", lifecycle.SWEEP),
)

OPENING: Final = """\
# States

Generated from `coverguard.lifecycle` by `scripts/draw_states.py`: change the tables, not this page. What is
not an arrow here raises `IllegalTransition` and changes nothing. A state without a way out is final.
"""


def page() -> str:
    return "\n".join([OPENING, *(section(*machine) for machine in MACHINES)])


def section(name: str, subject: str, table: Table) -> str:
    return "\n".join([f"## {name}", "", subject, "", *diagram(table), "", *rows(table), ""])


def diagram(table: Table) -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {next(iter(table))}"
    for state, event, following in arrows(table):
        yield f"    {state} --> {following}: {event}"
    for state, exits in table.items():
        if not exits:
            yield f"    {state} --> [*]"
    yield "```"


def rows(table: Table) -> Iterator[str]:
    yield "| from | event | to |"
    yield "|---|---|---|"
    for arrow in arrows(table):
        yield f"| {' | '.join(arrow)} |"
    final = [state.value for state, exits in table.items() if not exits]
    yield ""
    yield f"Final: {', '.join(final) or 'none'}."


def arrows(table: Table) -> Iterator[tuple[str, str, str]]:
    for state, exits in table.items():
        for event, following in exits.items():
            yield state.value, event.value, following.value


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if the page is out of date"
    )
    if not parser.parse_args(arguments).check:
        TARGET.write_text(page(), encoding="utf-8")
        return 0
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == page():
        return 0
    print(f"{TARGET.name} is out of date: run scripts/draw_states.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
