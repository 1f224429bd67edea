"""What may not be in the tree: lists, pictures, host names of registries, and some names and habits."""

import ast
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
GENERATED = (".venv", ".git", "__pycache__", ".ruff_cache", ".mypy_cache", ".pytest_cache", ".hypothesis")

# In pieces, so that this file does not say what it looks for.
REGISTRIES = re.compile(
    "|".join([r"pypi\." + "org", "python" + "hosted", "npm" + "js", r"deb\.debian\." + "org"]), re.IGNORECASE
)
PICTURES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".heic",
    ".avif",
    ".jxl",
    ".ico",
}
PICTURE_STARTS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM6", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
DIGEST = re.compile(r"(?<![0-9a-fA-F])(?:[0-9a-fA-F]{64}|[0-9a-fA-F]{40}|[0-9a-fA-F]{32})(?![0-9a-fA-F])")
GOLDEN = "tests/content/golden.json"  # fingerprints of generated pictures
FEW = 8  # digests that a file may have before it looks like a list
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "marshal", "shelve", "multiprocessing"}


def tracked():
    """List the files that git knows or would take; without git, all that nobody generated."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if listing.returncode == 0:
        paths = [ROOT / os.fsdecode(name) for name in listing.stdout.split(b"\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not set(GENERATED) & set(path.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file()]


FILES = tracked()
NAMES = {path: path.relative_to(ROOT).as_posix() for path in FILES}
TEXTS = {path: path.read_bytes().decode("utf-8", errors="replace") for path in FILES}
SOURCES = [path for path, name in NAMES.items() if name.startswith("src/") and name.endswith(".py")]


def test_the_tree_was_found():
    assert ROOT / "pyproject.toml" in FILES
    assert SOURCES


def test_no_file_names_a_registry():
    assert not [NAMES[path] for path, text in TEXTS.items() if REGISTRIES.search(text)]


def test_no_file_is_a_picture():
    assert not [
        NAMES[path]
        for path in FILES
        if path.suffix.lower() in PICTURES or path.read_bytes()[:16].startswith(PICTURE_STARTS)
    ]


def test_no_file_is_a_hash_list():
    lists = {NAMES[path] for path, text in TEXTS.items() if len(set(DIGEST.findall(text))) > FEW}
    assert lists <= {GOLDEN} | {name for name in lists if re.fullmatch(r"requirements/\w+\.txt", name)}


def test_every_requirement_is_pinned_with_hashes():
    for name in ("runtime", "dev", "build"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        assert lines
        assert not [
            line.split()[0] for line in lines if "==" not in line.split()[0] or "--hash=sha256:" not in line
        ]


def test_no_module_has_a_name_that_says_nothing():
    assert not [NAMES[path] for path in SOURCES if {path.stem, path.parent.name} & FORBIDDEN_NAMES]


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_no_bare_except_and_nothing_that_unpickles(path):
    for node in ast.walk(ast.parse(TEXTS[path])):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), (
            f"bare except, line {node.lineno}"
        )
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").split(".")[0]}
        else:
            continue
        assert not names & FORBIDDEN_IMPORTS, f"line {node.lineno}"
        assert "concurrent.futures.process" not in ast.unparse(node), f"line {node.lineno}"


@pytest.mark.parametrize("name", ["scripts/demo", "scripts/test"])
def test_the_two_commands_of_the_readme_exist(name):
    assert os.access(ROOT / name, os.X_OK), "missing or not executable"
    assert name in (ROOT / "README.md").read_text("utf-8")


def test_decisions_are_numbered_once():
    names = [path.name for path in (ROOT / "docs" / "adr").glob("*.md") if path.name != "README.md"]
    assert not [name for name in names if not re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name)]
    numbers = [name[:4] for name in names]
    assert len(set(numbers)) == len(numbers)


def test_the_licence_is_whole():
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
