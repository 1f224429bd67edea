"""The drop-in opens the network to units that have none, and changes nothing else about them."""

import configparser
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "infra" / "systemd"


def read(path):
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(path, encoding="utf-8")
    return unit


def test_it_opens_the_network_and_nothing_else():
    service = read(FOLDER / "production.conf")["Service"]
    assert {*service} == {"EnvironmentFile", "IPAddressDeny", "IPAddressAllow"}
    # an empty list takes the unit's own away
    assert (service["IPAddressDeny"], service["IPAddressAllow"]) == ("", "")


def test_each_process_has_an_environment_of_its_own():
    """%p is the unit's name without its instance: two workers share a file, the keeper has another."""
    assert read(FOLDER / "production.conf")["Service"]["EnvironmentFile"] == "/etc/coverguard/%p.env"


def test_families_of_addresses_are_the_units_own_affair():
    for path in FOLDER.glob("*.service"):
        assert "AF_INET" in read(path)["Service"]["RestrictAddressFamilies"].split()
