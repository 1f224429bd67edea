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


def test_it_says_of_every_unit_but_the_embedded_profiles_own_where_it_belongs():
    said = (FOLDER / "production.conf").read_text("utf-8")
    for path in FOLDER.glob("*.service"):
        belongs = f"#   /etc/systemd/system/{path.name}.d/production.conf\n" in said
        assert belongs == (path.name != "coverguard-files.service"), path.name


def test_where_a_web_process_listens_is_a_variable_that_its_environment_file_goes_before():
    """The file of the drop-in overrides the unit's own `Environment`, so hosts need no unit of their own."""
    for kind in ("public", "platform"):
        service = read(FOLDER / f"coverguard-web-{kind}.service")["Service"]
        assert service["Environment"] == "LISTEN_ON=127.0.0.1"
        assert "--host ${LISTEN_ON} " in service["ExecStart"]


def test_families_of_addresses_are_the_units_own_affair():
    for path in FOLDER.glob("*.service"):
        assert "AF_INET" in read(path)["Service"]["RestrictAddressFamilies"].split()
