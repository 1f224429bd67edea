#!/usr/bin/env python3
"""Write docs/schemas/*.json from the message models, or `--check` that they are written from them.

The one thing added: `schema` and `type` are required. In the code they have defaults, so that nobody need
repeat them when making an event; on the wire they are always there, and `parse` refuses a message without.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from coverguard import messages

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ALWAYS: Final = ("schema", "type")


def files() -> dict[Path, str]:
    """Return what each file should say."""
    return {
        FOLDER / f"{direction}.schema.json": json.dumps(published(schema, direction), indent=2) + "\n"
        for direction, schema in messages.json_schemas().items()
    }


def published(schema: dict[str, Any], direction: str) -> dict[str, Any]:
    for definition in schema["$defs"].values():
        if all(name in definition.get("properties", {}) for name in ALWAYS):
            others = [name for name in definition.get("required", ()) if name not in ALWAYS]
            definition["required"] = [*ALWAYS, *others]
    return {"$schema": DIALECT, "title": f"{messages.SCHEMA} {direction}", **schema}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    wanted = files()
    if not parser.parse_args(arguments).check:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [
        path.name for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text
    ]
    stale += [path.name for path in FOLDER.glob("*") if path not in wanted]
    if stale:
        print(f"out of date: {', '.join(sorted(stale))}; run scripts/write_schemas.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
