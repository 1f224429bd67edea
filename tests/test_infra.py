"""The units start commands that exist, as a user that is not root, with nothing but loopback."""

import configparser
import pathlib
import shlex

import pytest

from coverguard.cli import parser

UNITS = sorted((pathlib.Path(__file__).parents[1] / "infra" / "systemd").glob("*.service"))


def read(path):
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(path, encoding="utf-8")
    return unit


def test_there_is_a_unit_for_every_process():
    assert [path.name for path in UNITS] == [
        "coverguard-files.service",
        "coverguard-keeper.service",
        "coverguard-worker@.service",
    ]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_the_command_is_one_of_ours(path):
    program, *arguments = shlex.split(read(path)["Service"]["ExecStart"])
    assert program == "/opt/coverguard/bin/coverguard"
    options = parser().parse_args(arguments)
    assert callable(options.run)
    assert options.home.startswith("/var/lib/coverguard/")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_it_can_do_little_else(path):
    service = read(path)["Service"]
    assert service["User"] == "coverguard"
    assert service["LimitCORE"] == "0"
    assert service["NoNewPrivileges"] == "yes"
    assert (service["IPAddressDeny"], service["IPAddressAllow"]) == ("any", "localhost")
    assert service["ProtectSystem"] == "strict"
    assert service["ReadWritePaths"] == "/var/lib/coverguard"
