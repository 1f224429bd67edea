#!/usr/bin/env python3
"""Turn the outputs of the stack (infra/coverguard.yaml) into coverguard.toml.

Reads what `aws cloudformation describe-stacks --stack-name NAME` prints and writes TOML. An output's name is
the setting's: VaultBucket is vault_bucket, QueueAccountEvents is account-events of queues. Roles and policies
are no settings and are left out; anything else that is no setting is an error, and so is a setting that is
missing. What it prints was read back as settings first.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from coverguard import settings
from coverguard.errors import ConfigurationError

TABLES: Final = {"Queue": "queues", "Topic": "topics"}
NO_SETTING: Final = ("Role", "Policy")
NEEDED: Final = (
    "intake_bucket",
    "public_bucket",
    "vault_bucket",
    "heads_bucket",
    "vault_kms_key",
    "public_url",
)
RENDITIONS: Final = ("covers/{surface}/{id}/{version}/{*}",)


def outputs_of(text: str) -> Mapping[str, str]:
    """Read the outputs of the one stack that was described.

    Raises:
        ConfigurationError: it is not that command's answer, or not about one stack.
    """
    try:
        (stack,) = json.loads(text)["Stacks"]
        return {str(one["OutputKey"]): str(one["OutputValue"]) for one in stack["Outputs"]}
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigurationError("this is not what describe-stacks says of one stack") from error


def document(outputs: Mapping[str, str], *, renditions: Sequence[str] = RENDITIONS) -> str:
    """Write the settings that a stack's outputs make; renditions are paths in its public bucket.

    Raises:
        ConfigurationError: an output is no setting, one is missing, or they make no sense together.
    """
    plain: dict[str, str] = {}
    tables: dict[str, dict[str, str]] = {"queues": {}, "topics": {}}
    for name, value in outputs.items():
        table = next((one for one in TABLES if re.match(f"{one}[A-Z]", name)), None)
        if table:
            tables[TABLES[table]][_words(name.removeprefix(table), "-")] = value
        elif not name.endswith(NO_SETTING):
            plain[_words(name, "_")] = value
    missing = [name for name in NEEDED if not plain.get(name)]
    if missing:
        raise ConfigurationError(f"the stack has no output for {missing[0]}")
    lines = ['object_store = "s3"', *(f"{name} = {_quoted(value)}" for name, value in sorted(plain.items()))]
    where = [f"{plain['public_bucket']}:{path}" for path in renditions]
    lines.append(f"renditions = [{', '.join(_quoted(one) for one in where)}]")
    for table, entries in tables.items():
        lines += ["", f"[{table}]", *(f"{name} = {_quoted(value)}" for name, value in entries.items())]
    text = "\n".join(lines) + "\n"
    _require_sense(text)
    return text


def _words(name: str, sign: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", sign, name).lower()


def _quoted(value: str) -> str:
    return json.dumps(value)  # a string of JSON is one of TOML, too


def _require_sense(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / settings.FILE).write_text(text, encoding="utf-8")
        settings.load(Path(folder))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description="Turn a stack's outputs into coverguard.toml.",
        epilog="aws cloudformation describe-stacks --stack-name coverguard | scripts/stack_settings.py",
    )
    parser.add_argument(
        "--rendition",
        action="append",
        metavar="PATH",
        help=f"where resized copies lie in the public bucket; may be repeated (default: {RENDITIONS[0]})",
    )
    options = parser.parse_args(arguments)
    try:
        print(document(outputs_of(sys.stdin.read()), renditions=options.rendition or RENDITIONS), end="")
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
