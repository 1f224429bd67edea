"""Makes a deployment's home and database, or brings them to this release. Opens nothing for use."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from coverguard import settings
from coverguard.errors import ConfigurationError
from coverguard.local.boxes import StaffBox
from coverguard.local.keys import PURPOSES
from coverguard.store import lists
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.store.roles import apply_roles


class Prepared(NamedTuple):
    """What `prepare` came to: the schema's revision, and database roles that somebody else has to make."""

    revision: str
    missing_roles: Sequence[str]


def prepare(home: Path) -> Prepared:
    """Create or migrate the deployment's database, and give each database role its rights."""
    read = settings.load(home)
    if home.exists() and home.stat().st_mode & 0o077:
        raise ConfigurationError(f"{home} can be read by other users; run: chmod 700 {home}")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (starter := home / settings.FILE).exists():
        starter.write_text(settings.STARTER, encoding="utf-8")
    with closing(Database(read.database_url)) as database:
        prepared = Prepared(revision=migrate(database), missing_roles=apply_roles(database))
    StaffBox.open_or_create(home / "keys")  # once: on several hosts each worker would make its own
    return prepared


def require_keys(home: Path, database: Database) -> None:
    """New keys are for a new deployment: beside sealed rows they would hide that the old ones are lost."""
    if all((home / "keys" / f"{purpose}.key").exists() for purpose in PURPOSES):
        return
    with database.reading() as tx:
        if lists.anything_sealed(tx):
            raise ConfigurationError(
                f"{home / 'keys'} is missing and sealed rows need it; restore it from a backup"
            )
