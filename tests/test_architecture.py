"""The import graph is the architecture: imports point down, nothing goes round, each library has one home."""

import ast
import functools
import graphlib
import pathlib

import pytest

SOURCE = pathlib.Path(__file__).parents[1] / "src" / "coverguard"

# Bottom to top. A name may stand here before its module exists; a module without a layer fails.
LAYERS = (
    "errors algorithms",
    "model",
    (
        "lifecycle hashlist exchanges access policy messages correspondence notifications ports retrying"
        " trail receipts contacts"
    ),
    "imaging matching",
    "store aws local remote telemetry",
    "acting",
    (
        "screening review learning reporting takedown sweeping importing intake objects relaying sealing"
        " auditing governing grounds fetching"
    ),
    "worker keeper watching verifying web",
    "settings",
    "production adapters preparing",
    "bootstrap",
    "fronts",
    "testing",
    "cli",
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}

HOMES = {
    "PIL": {"imaging", "testing"},
    "alembic": {"store"},
    "boto3": {"aws"},
    "botocore": {"aws", "testing"},
    "cryptography": {"local"},
    "fastapi": {"web"},
    "jinja2": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "httpx": {"remote"},
    "imagehash": {"imaging", "testing"},
    "numba": {"matching"},
    "numpy": {"imaging", "matching", "testing"},
    "pdqhash": {"testing"},
    "pillow_heif": {"imaging"},
    "prometheus_client": {"telemetry"},
    "pydantic": {"messages", "correspondence", "web"},
    "sqlalchemy": {"store"},
    "tenacity": {"retrying"},
    "tqdm": {"cli"},
}
NOT_WHERE_PICTURES_ARE_DECODED = {"boto3", "botocore", "sqlalchemy", "httpx", "coverguard.settings"}
MAX_FUNCTION_LINES = 55
MAX_MODULE_LINES = 450
FROZEN = SOURCE / "store" / "migrations" / "versions"  # a release's tables, written out once and never edited


def modules():
    return [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


def home(path):
    """Name the module or package directly below coverguard that the file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@functools.cache
def nodes(path):
    return tuple(ast.walk(ast.parse(path.read_text("utf-8"))))


@functools.cache
def imported(path):
    """What a file imports, wherever in the file, by full name."""
    return tuple(_imported(path))


def _imported(path):
    package = ("coverguard", *path.relative_to(SOURCE).parts[:-1])
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else ()
            origin = ".".join([*start, *([node.module] if node.module else [])])
            yield origin
            if origin == "coverguard":
                yield from (f"coverguard.{alias.name}" for alias in node.names if alias.name != "__version__")


def inside(path):
    """Name the parts of coverguard that a file imports, other than its own."""
    names = (name.split(".") for name in imported(path))
    return {parts[1] for parts in names if parts[0] == "coverguard" and len(parts) > 1} - {home(path)}


def graph():
    edges = {}
    for path in modules():
        edges.setdefault(home(path), set()).update(inside(path))
    return edges


def test_every_module_has_a_layer():
    assert set(graph()) <= set(RANK), "give every module a layer"
    assert {target for targets in graph().values() for target in targets} <= set(RANK), "no such module"


def test_imports_point_down():
    assert not [
        f"{source} imports {target}"
        for source, targets in graph().items()
        for target in targets
        if RANK[target] > RANK[source]
    ]


def test_nothing_goes_round():
    graphlib.TopologicalSorter(graph()).prepare()  # raises CycleError


def test_what_is_shipped_for_tests_is_imported_by_the_demo_alone():
    importers = {path.relative_to(SOURCE).as_posix() for path in modules() if "testing" in inside(path)}
    assert importers <= {"cli/demo.py"}


def test_each_outside_library_has_one_home():
    assert not [
        f"{path.relative_to(SOURCE)} imports {library}"
        for path in modules()
        for library in {name.split(".")[0] for name in imported(path)} & set(HOMES)
        if home(path) not in HOMES[library]
    ]


def test_the_keys_are_the_only_user_of_cryptography():
    users = {
        path.stem for path in modules() if any(name.startswith("cryptography") for name in imported(path))
    }
    assert users <= {"keys", "boxes"}


def test_where_pictures_are_decoded_there_is_no_way_out():
    """The decoding child runs on hostile bytes; what it cannot import it cannot misuse. Transitively so."""
    reached, waiting = set(), ["imaging"]
    edges = graph()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(edges.get(name, ()))
    names = {name for path in modules() if home(path) in reached for name in imported(path)}
    parts = names | {name.split(".")[0] for name in names} | {f"coverguard.{name}" for name in reached}
    assert not parts & NOT_WHERE_PICTURES_ARE_DECODED


@pytest.mark.parametrize(
    "path",
    [path for path in modules() if FROZEN not in path.parents],
    ids=lambda path: path.relative_to(SOURCE).as_posix(),
)
def test_modules_and_functions_stay_small(path):
    text = path.read_text("utf-8")
    assert text.count("\n") <= MAX_MODULE_LINES
    assert not [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_every_module_says_what_it_is_for(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree) or not tree.body
