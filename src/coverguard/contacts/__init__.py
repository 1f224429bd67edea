"""Where people find help: emergency numbers, hotlines and helplines, by country; one TOML file a country.

Each file names who answers for it and until when that holds; `overdue` says whose review is late, which
breaks a promise that `verify` checks. An unknown country gets what works everywhere. Names and addresses are
the organisations' own; they are printed as text, and no page of ours loads anything from them.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Any, Final

from coverguard.errors import ConfigurationError

WORLD: Final = "world"
AUDIENCES: Final = ("emergency", "child", "adult", "anyone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    name: str
    audience: str  # one of AUDIENCES
    says: str  # what they do, in one sentence
    url: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Help:
    """What one country's people are pointed to."""

    country: str  # two letters, or `world`
    name: str
    owner: str
    reviewed_on: date
    review_by: date
    contacts: Sequence[Contact]

    def document(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        listed = [
            {"name": one.name, "for": one.audience, "says": one.says, "url": one.url, "phone": one.phone}
            for one in self.contacts
        ]
        return {
            "country": self.name,
            "owner": self.owner,
            "reviewed_on": self.reviewed_on.isoformat(),
            "contacts": listed,
        }


def of(country: str) -> Help:
    """The help of a country (two letters, in any case), followed by what works everywhere."""
    world = every()[WORLD]
    own = every().get(country.lower())
    if own is None or own is world:
        return world
    everywhere = [one for one in world.contacts if one.audience != "emergency"]
    have = {one.name for one in own.contacts}
    return Help(
        country=own.country,
        name=own.name,
        owner=own.owner,
        reviewed_on=min(own.reviewed_on, world.reviewed_on),
        review_by=min(own.review_by, world.review_by),
        contacts=[*own.contacts, *(one for one in everywhere if one.name not in have)],
    )


def countries() -> Sequence[tuple[str, str]]:
    """Code in capitals and name of each country that has help of its own, by name."""
    own = (one for code, one in every().items() if code != WORLD)
    return sorted(((one.country.upper(), one.name) for one in own), key=lambda pair: pair[1])


def overdue(today: date) -> Sequence[str]:
    """Whose review is late, since when, and who answers for it."""
    late = ((code, one) for code, one in every().items() if one.review_by < today)
    return [f"{code}: to be reviewed by {one.review_by}, by the {one.owner}" for code, one in late]


@functools.cache
def every() -> Mapping[str, Help]:
    """All files, by country.

    Raises:
        ConfigurationError: one of them is not as it should be.
    """
    files = sorted(resources.files(__name__).iterdir(), key=lambda file: file.name)
    found = {
        file.name.removesuffix(".toml"): _read(file.name.removesuffix(".toml"), file.read_text("utf-8"))
        for file in files
        if file.name.endswith(".toml")
    }
    if WORLD not in found:
        raise ConfigurationError("contacts: world.toml is missing")
    return found


def _read(country: str, text: str) -> Help:
    try:
        document = tomllib.loads(text)
        listed = [Contact(**one) for one in document.pop("contact")]
        help_ = Help(country=country, contacts=listed, **document)
    except (tomllib.TOMLDecodeError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"contacts: {country}.toml cannot be read: {type(error).__name__}"
        ) from error
    if not listed or any(one.audience not in AUDIENCES or not (one.url or one.phone) for one in listed):
        raise ConfigurationError(
            f"contacts: {country}.toml has a contact without audience, address or number"
        )
    return help_
