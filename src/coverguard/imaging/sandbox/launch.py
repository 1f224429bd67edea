"""The program that a worker starts for its decoding children: `python -I -B launch.py LIMIT=NUMBER…`.

Run by its path, in an interpreter that takes nothing from the environment, it finds the very package that it
lies in. Its standard input is the channel to the worker; a failure to start is told there, by its cause.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]


def adopt(package: Path) -> None:
    """Make this folder the package `coverguard`, whatever else may be installed under that name."""
    spec = importlib.util.spec_from_file_location(
        package.name, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[package.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    adopt(PACKAGE)
    from coverguard.imaging.sandbox import launcher

    sys.exit(launcher.main(sys.argv[1:]))
