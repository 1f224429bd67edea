"""Settings wire a deployment; rules (radius, action, category) are versioned rows and not here.

One TOML file in the deployment's home, `coverguard.toml`; without it the embedded profile's defaults hold.
Unknown or malformed settings stop the start, naming the setting. Secrets are key files, never settings.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from coverguard.access import Role
from coverguard.acting.places import Places
from coverguard.errors import ConfigurationError
from coverguard.model import Mode, Surface

HOME_VARIABLE: Final = "COVERGUARD_HOME"
DEFAULT_HOME: Final = ".coverguard"
FILE: Final = "coverguard.toml"

DEFAULT_MODES: Final = {
    Surface.PLAYLIST_COVER: Mode.GATE,
    Surface.PROFILE_IMAGE: Mode.WATCH,
    Surface.TRACK_ART: Mode.GATE,
}
_NUMBERS: Final = {"file_server_port": (1, 65_535), "hold_budget": (0, 10**9), "max_bytes": (1, 2**30)}
_SPANS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    home: Path
    modes: Mapping[Surface, Mode] = field(default_factory=lambda: dict(DEFAULT_MODES))
    intake_bucket: str = "intake"
    public_bucket: str = "public"
    vault_bucket: str = "vault"
    public_url: str = "http://127.0.0.1:{port}/{bucket}/{key}"  # how the public asks for an object
    file_server_port: int = 8765  # of the loopback file server
    renditions: tuple[str, ...] = ("public:covers/{surface}/{id}/{version}/{*}",)
    grace: timedelta = timedelta(minutes=10)  # how long a public cover may stay without an answer
    lease: timedelta = timedelta(seconds=60)
    relist: timedelta = timedelta(minutes=15)
    review_target: timedelta = timedelta(hours=24)
    claim_lease: timedelta = timedelta(minutes=30)
    report_target: timedelta = timedelta(hours=24)
    preservation: timedelta = timedelta(days=365)  # of confirmed evidence
    cleared_retention: timedelta = timedelta(days=90)
    suppression_review: timedelta = timedelta(days=180)
    statement_retention: timedelta = timedelta(days=180)
    forget_after: timedelta = timedelta(days=30)  # fingerprints of covers that the platform deleted
    hold_budget: int = 5000  # near-match holds an hour, all lists together
    max_bytes: int = 20 * 1024 * 1024
    verdict_on_cli: bool = False
    trust_sudo: bool = (
        False  # two people on one machine: sudo's caller is the person (sudoers decides who may)
    )
    people: Mapping[str, frozenset[str]] = field(default_factory=dict)  # operating-system user → roles

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.home / 'ledger.db'}"

    @property
    def readable_buckets(self) -> frozenset[str]:
        """Where a message may point; the vault is not among them."""
        return frozenset({self.intake_bucket, self.public_bucket})

    def places(self) -> Places:
        """Where public bytes may be.

        Raises:
            ConfigurationError: a rendition template is malformed, or two may meet.
        """
        url = self.public_url.replace("{port}", str(self.file_server_port))
        return Places(
            urls={self.public_bucket: url}, renditions=self.renditions, buckets=self.readable_buckets
        )


STARTER: Final = """\
# Settings of this coverguard deployment; what is commented out is the default. Rules of lists are not here:
# see `coverguard lists`. Nobody has a role until you give it: deny by default.

# modes = { playlist_cover = "gate", profile_image = "watch", track_art = "gate" }
# grace = "10m"            # how long a public cover may stay without an answer
# review_target = "24h"
# verdict_on_cli = false   # allow `coverguard verdict`

# [people]                 # operating-system user = roles
# alice = ["moderator", "list_editor", "list_reader", "operator"]
"""


def home_of(option: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """The deployment's folder: the option, else the environment's, else `.coverguard` here."""
    return Path(option or environment.get(HOME_VARIABLE) or DEFAULT_HOME).absolute()


def load(home: Path) -> Settings:
    """Read the settings of the deployment in this folder.

    Raises:
        ConfigurationError: the file is not TOML, or a setting is unknown or malformed; the message names it.
    """
    path = home / FILE
    if not path.exists():
        return Settings(home=home)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{FILE} cannot be read: {type(error).__name__}") from error
    known = {one.name for one in fields(Settings)} - {"home"}
    unknown = sorted(set(document) - known)
    if unknown:
        raise ConfigurationError(
            f"{FILE}: unknown setting {unknown[0]}; known are: {', '.join(sorted(known))}"
        )
    read = Settings(home=home, **{name: _value(name, value) for name, value in document.items()})
    if read.vault_bucket in read.readable_buckets:
        raise ConfigurationError(f"{FILE}: setting vault_bucket: must be a bucket of its own")
    read.places()
    return read


def _value(name: str, value: Any) -> Any:  # noqa: ANN401 - whatever TOML holds
    default = getattr(Settings(home=Path()), name)
    try:
        match name:
            case "modes":
                return DEFAULT_MODES | {Surface(key): Mode(word) for key, word in value.items()}
            case "people":
                return {
                    str(user): frozenset(Role(role).value for role in roles) for user, roles in value.items()
                }
            case "renditions":
                return tuple(str(template) for template in value)
        if isinstance(default, timedelta):
            return _span(value)
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        raise ConfigurationError(f"{FILE}: setting {name}: {error}") from error
    if type(value) is not type(default):
        raise ConfigurationError(f"{FILE}: setting {name}: expected {type(default).__name__}")
    bounds = _NUMBERS.get(name)
    if bounds and not bounds[0] <= value <= bounds[1]:
        raise ConfigurationError(f"{FILE}: setting {name}: must be {bounds[0]} to {bounds[1]}")
    return value


def _span(value: str) -> timedelta:
    """A time such as 90s, 10m, 24h, 365d."""
    span = timedelta(seconds=int(value[:-1]) * _SPANS[value[-1]])
    if span <= timedelta():
        raise ValueError("must be longer than nothing")
    return span
