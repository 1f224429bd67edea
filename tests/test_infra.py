"""The units start commands that exist, as a user that is not root, with nothing but loopback."""

import configparser
import pathlib
import shlex

import pytest

from coverguard.cli import parser
from coverguard.fronts import LISTS, NETWORKS
from coverguard.local.boxes import STAFF
from coverguard.local.catalogue import TOKEN_FILE
from coverguard.local.keys import AUDIT, PURPOSES, RECEIPT

HOME = "/var/lib/coverguard/home"
OPENS_SOMETHING = {*(f"{name}.key" for name in (*PURPOSES, STAFF, AUDIT)), TOKEN_FILE}
UNITS = sorted((pathlib.Path(__file__).parents[1] / "infra" / "systemd").glob("*.service"))


def read(path):
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(path, encoding="utf-8")
    return unit


def test_there_is_a_unit_for_every_process():
    assert [path.name for path in UNITS] == [
        "coverguard-files.service",
        "coverguard-importer.service",
        "coverguard-keeper.service",
        "coverguard-web-platform.service",
        "coverguard-web-public.service",
        "coverguard-worker@.service",
    ]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_the_command_is_one_of_ours(path):
    program, *arguments = shlex.split(read(path)["Service"]["ExecStart"])
    assert program == "/opt/coverguard/bin/coverguard"
    options = parser().parse_args(arguments)
    assert callable(options.run)
    assert options.home == HOME


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_it_can_do_little_else(path):
    service = read(path)["Service"]
    assert service["User"] == "coverguard"
    assert service["LimitCORE"] == "0"
    assert service["NoNewPrivileges"] == "yes"
    assert (service["IPAddressDeny"], service["IPAddressAllow"]) == ("any", "localhost")
    assert service["ProtectSystem"] == "strict"
    assert service["ReadWritePaths"] == "/var/lib/coverguard"


# ── the web processes ────────────────────────────────────────────────────────────────────────────────────


def unit_of(kind):
    return next(path for path in UNITS if path.name == f"coverguard-web-{kind}.service")


def options_of(kind):
    """What its command is started with, where nobody said otherwise."""
    service = read(unit_of(kind))["Service"]
    name, _, value = service["Environment"].partition("=")
    return parser().parse_args(shlex.split(service["ExecStart"].replace(f"${{{name}}}", value))[1:])


def hidden_from(kind):
    lines = unit_of(kind).read_text("utf-8").splitlines()
    found = [line.partition("=")[2] for line in lines if line.startswith("InaccessiblePaths=")]
    assert all(one.startswith("-") for one in found)  # on a host of its own there is nothing to hide
    return {one.removeprefix("-").removeprefix(f"{HOME}/") for one in found}


@pytest.mark.parametrize("kind", ["public", "platform"])
def test_a_web_process_listens_on_loopback_where_nobody_said_otherwise(kind):
    options = options_of(kind)
    default = parser().parse_args(["web", kind])
    assert (options.interface, options.host, options.port) == (kind, "127.0.0.1", default.port)


def test_the_web_processes_have_a_port_each():
    assert options_of("public").port != options_of("platform").port


@pytest.mark.parametrize("kind", ["public", "platform"])
def test_a_web_process_cannot_see_what_opens_anything(kind):
    """Should it run where workers do: it seals, signs and counts, and has to open nothing."""
    hidden = hidden_from(kind)
    assert hidden >= {*(f"keys/{name}" for name in OPENS_SOMETHING), "objects", "heads"}
    assert not hidden & {f"keys/{RECEIPT}.key", f"keys/{RECEIPT}.pub", f"keys/{STAFF}.pub", "coverguard.toml"}
    assert (f"keys/{NETWORKS}.key" in hidden) == (kind == "platform")  # the public one tells networks apart


def test_the_importer_sees_of_all_keys_that_of_lists_and_the_exchanges_credentials():
    unit = next(path for path in UNITS if path.name == "coverguard-importer.service")
    lines = unit.read_text("utf-8").splitlines()
    hidden = {line.partition("=-")[2] for line in lines if line.startswith("InaccessiblePaths=")}
    needs = {f"{LISTS}.key"}
    signs = {f"{RECEIPT}.key", f"{NETWORKS}.key"}
    assert hidden == {
        *(f"{HOME}/keys/{name}" for name in (OPENS_SOMETHING | signs) - needs),
        f"{HOME}/objects",
        f"{HOME}/heads",
    }
    mine, web = ({**read(path)["Service"]} for path in (unit, unit_of("public")))
    own = {"Environment", "ExecStart", "MemoryMax", "InaccessiblePaths"}
    assert {name: mine.get(name) for name in web if name not in own} == {
        name: value for name, value in web.items() if name not in own
    }


@pytest.mark.parametrize("kind", ["public", "platform"])
def test_a_web_process_is_held_as_tightly_as_a_worker_at_least(kind):
    worker = next(path for path in UNITS if "worker" in path.name)
    own = {"Environment", "ExecStart", "MemoryMax"}
    mine, theirs = ({**read(path)["Service"]} for path in (unit_of(kind), worker))
    assert {name: mine.get(name) for name in theirs if name not in own} == {
        name: value for name, value in theirs.items() if name not in own
    }
    assert mine["MemoryDenyWriteExecute"] == "yes"  # nothing of it makes code while it runs
    assert mine["SystemCallFilter"] == "@system-service"
