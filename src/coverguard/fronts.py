"""The wiring of processes that talk to strangers, apart from `bootstrap`, because each may hold so little.

`public` has the ledger (to count public covers and fetch sealed mail), the way into one queue, the key that
signs receipts, the key that digests networks, and the public half of the staff's box. It opens neither the
keys of lists and private texts nor any object store. `platform` has the same without networks, and may hide
accounts. What they need of the key directory is made by `coverguard migrate`, or copied to their hosts. The
importer has the ledger, the key of lists and no other, and the credentials of exchanges when they are asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final

from coverguard import adapters, bootstrap, settings
from coverguard.errors import ConfigurationError, TransientError
from coverguard.fetching import Fetcher
from coverguard.local.boxes import staff_public_key
from coverguard.local.clock import SystemClock
from coverguard.local.keys import RECEIPT, LocalKeys, LocalSigner, PublicKeys
from coverguard.ports import Clock, Queue
from coverguard.receipts import Targets
from coverguard.settings import Settings
from coverguard.store import lists, reports
from coverguard.store.engine import Database
from coverguard.store.migrate import require_migrated
from coverguard.store.queue import TableQueue
from coverguard.telemetry import Log
from coverguard.web.desk import Counting, Desk
from coverguard.web.fence import Fence
from coverguard.web.networks import Buckets, Networks
from coverguard.web.platform.app import Platform
from coverguard.web.platform.app import create as create_platform
from coverguard.web.public.app import create as create_public
from coverguard.web.public.parts import Public

LISTS: Final = lists.PURPOSE  # the only key that the importer opens
NETWORKS: Final = "networks"  # the public process's own key
READS_AN_HOUR: Final = 600
READS_AT_ONCE: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What both processes have. Tests put other parts in."""

    settings: Settings
    database: Database
    queue: Queue
    clock: Clock
    log: Log

    @property
    def keys(self) -> Path:
        return self.settings.home / "keys"

    @contextmanager
    def public(self) -> Iterator[Fence]:
        """The application of `coverguard web public`.

        Raises:
            ConfigurationError: a key is missing, or open to others.
        """
        networks = LocalKeys.open_or_create(self.keys, purposes=(NETWORKS,))
        rate = self.settings.report_rate
        with self._desk() as desk:
            trusted = PublicKeys.beside(self.keys, name=RECEIPT)
            parts = Public(
                desk=desk,
                networks=Networks(mac=lambda one: networks.mac(NETWORKS, one), proxies=self._proxies()),
                reports=Buckets(at_once=max(1, rate // 3), an_hour=rate),
                reads=Buckets(at_once=READS_AT_ONCE, an_hour=READS_AN_HOUR),
                signatures=trusted,
                public_keys=trusted.pems(),
                platform=self.settings.platform_name,
                log=self.log,
            )
            yield create_public(parts)

    @contextmanager
    def platform(self) -> Iterator[Fence]:
        """The application of `coverguard web platform`. Raises as `public` does."""
        with self._desk() as desk:
            parts = Platform(desk=desk, database=self.database, clock=self.clock, log=self.log)
            yield create_platform(parts)

    @contextmanager
    def _desk(self) -> Iterator[Desk]:
        signer = self._signer()
        counting = Counting(self._count)
        try:
            yield Desk(
                queue=self.queue,
                database=self.database,
                signer=signer,
                staff_key=staff_public_key(self.keys),
                clock=self.clock,
                counting=counting,
                targets=Targets(
                    review=self.settings.report_review_target, urgent=self.settings.report_urgent_target
                ),
            )
        finally:
            counting.close()

    def _signer(self) -> LocalSigner:
        signer = LocalSigner.open_or_create(self.keys, name=RECEIPT)
        if not PublicKeys.beside(self.keys, name=RECEIPT).knows(signer.key_id):
            raise ConfigurationError(
                f"{RECEIPT}.pub is not of {RECEIPT}.key, and nobody could verify a receipt; keep the old "
                f"one as {RECEIPT}-YEAR-MONTH.pub, of when it was retired"
            )
        return signer

    def _count(self, account_ids: Sequence[str]) -> Mapping[str, int]:
        with self.database.reading() as tx:
            return {account_id: reports.public_covers(tx, account_id) for account_id in account_ids}

    def _proxies(self) -> Sequence[IPv4Network | IPv6Network]:
        return [ip_network(one) for one in self.settings.trusted_proxies]


@contextmanager
def front(home: Path, *, log: Log) -> Iterator[Front]:
    """Open what the web processes need of the deployment in this folder, and close it again.

    Raises:
        ConfigurationError: the settings make no safe system, or the schema is not this release's.
    """
    read = settings.load(home)
    database = Database(read.database_url)
    clock = SystemClock()
    try:
        try:
            require_migrated(database)
        except TransientError:
            log.line("started_without_ledger")  # reports are taken in all the same: they go to the queue
        url = read.queues.get(bootstrap.REPORTS)
        aws = adapters.aws_of(read, clock) if url else None
        queue = (
            aws.queue(bootstrap.REPORTS, url)
            if aws and url
            else TableQueue(database, bootstrap.REPORTS, clock=clock)
        )
        yield Front(settings=read, database=database, queue=queue, clock=clock, log=log)
    finally:
        database.close()


@contextmanager
def importer(home: Path, *, log: Log) -> Iterator[tuple[Settings, Fetcher]]:
    """Open what `coverguard import serve` needs of the deployment in this folder, and close it again.

    Raises:
        ConfigurationError: there is no key of lists: what a new one seals, no worker could open.
    """
    read = settings.load(home)
    database = Database(read.database_url)
    try:
        require_migrated(database)
        if not (home / "keys" / f"{LISTS}.key").exists():
            raise ConfigurationError(f"keys/{LISTS}.key is missing; copy it from a host of workers")
        keys = LocalKeys.open_or_create(home / "keys", purposes=(LISTS,))
        yield read, adapters.fetcher_of(home, database=database, keys=keys, clock=SystemClock(), log=log)
    finally:
        database.close()
