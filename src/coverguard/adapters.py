"""Settings in, adapters out: those of `bootstrap`'s parts that depend on what a deployment has."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from coverguard.errors import ConfigurationError
from coverguard.exchanges import Exchange
from coverguard.fetching import Fetcher
from coverguard.imaging.sandbox import Ended, Sandbox
from coverguard.imaging.signal_types import SignalTypes
from coverguard.importing import Buckets
from coverguard.local.catalogue import read_token
from coverguard.local.folder import FolderStore
from coverguard.local.secretfile import read_secret
from coverguard.ports import Clock, Keys, ObjectStore
from coverguard.remote.catalogue import HttpCatalogue
from coverguard.remote.exchanges.ncmec import Environment, Login, NcmecExchange
from coverguard.remote.exchanges.stopncii import ROOT as STOPNCII
from coverguard.remote.exchanges.stopncii import Keys as StopNciiKeys
from coverguard.remote.exchanges.stopncii import StopNciiExchange
from coverguard.remote.exchanges.wire import Wire
from coverguard.settings import Settings
from coverguard.store import Row
from coverguard.store.engine import Database
from coverguard.telemetry import Log

if TYPE_CHECKING:
    from coverguard.production import Aws

EXCHANGE_KEYS: Final = "exchanges"  # the folder of their credentials, among the keys
T = TypeVar("T")


def sandbox_of(read: Settings, types: SignalTypes, log: Log) -> Sandbox:
    """Where covers are decoded; nothing is started before the first."""

    def told(ended: Ended) -> None:
        log.line("decoder_ended", reason=ended.why, error=ended.error or None, at=ended.at or None)

    return Sandbox(read.limits(), told=told, plugins=read.signal_plugins, signals=types.sizes)


def aws_of(read: Settings, clock: Clock) -> Aws | None:
    """The adapters on AWS's protocols, where the settings name anything of them."""
    if not read.speaks_aws:
        return None
    from coverguard.production import Aws  # noqa: PLC0415 - boto3 takes a second to load

    return Aws(read, clock=clock)


def catalogue_of(read: Settings, clock: Clock) -> HttpCatalogue:
    token = partial(read_token, read.home / "keys")
    return HttpCatalogue(url=read.catalogue_url, token=token, clock=clock)


def folder_store(read: Settings) -> FolderStore:
    """The embedded profile's object store, for its processes and its file server."""
    return FolderStore(root=read.home / "objects", buckets=read.readable_buckets, vault=read.vault_bucket)


def list_buckets_of(read: Settings, aws: Aws | None) -> Buckets | None:
    """Where hash lists may be loaded from, if anywhere: buckets that no cover lies in."""
    if not read.list_buckets:
        return None
    allowed = frozenset(read.list_buckets)
    if aws is not None and read.object_store == "s3":
        store: ObjectStore = aws.list_store()
    else:
        store = FolderStore(root=read.home / "objects", buckets=allowed, vault=read.vault_bucket)
    return Buckets(store=store, allowed=allowed, scratch=read.home)


def fetcher_of(home: Path, *, database: Database, keys: Keys, clock: Clock, log: Log) -> Fetcher:
    """What fetches exchanges, under a name that no other process has."""
    return Fetcher(
        database=database, keys=keys, clock=clock, log=log,
        holder=f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}",
        exchange_of=partial(exchange_of, home=home, keys=keys, clock=clock),
    )  # fmt: skip


def exchange_of(row: Row[Any], *, home: Path, keys: Keys, clock: Clock) -> Exchange:
    """The client of an exchange, as its row says; its credentials are read when it is first asked.

    Raises:
        ConfigurationError: there is no such place.
    """
    shown = f"keys/{EXCHANGE_KEYS}/{row.name}"
    line = partial(read_secret, home / "keys" / EXCHANGE_KEYS / row.name, shown=shown)
    wire = Wire(name=row.kind, credentials_file=shown, clock=clock)
    try:
        if row.kind == "ncmec":
            environment, _, url = row.place.partition("=")
            return NcmecExchange(
                environment=Environment(environment), url=url or None, wire=wire,
                credentials=lambda: _parsed(Login.parse, line(), shown),
            )  # fmt: skip
        return StopNciiExchange(
            url=row.place or STOPNCII, wire=wire, key_of=lambda value: keys.mac("lists", value).hex()[:32],
            credentials=lambda: _parsed(StopNciiKeys.parse, line(), shown),
        )  # fmt: skip
    except ValueError as error:
        raise ConfigurationError(f"exchange {row.name}: there is no such place; {error}") from error


def _parsed(parse: Callable[[str], T], line: str, shown: str) -> T:
    try:
        return parse(line)
    except ValueError as error:
        raise ConfigurationError(f"{shown}: {error}") from error
