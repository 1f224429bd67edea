"""The only module that wires: settings in, running parts out. Nothing is constructed at import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from coverguard import imaging, settings
from coverguard.acting import Enforcer
from coverguard.errors import ConfigurationError
from coverguard.importing import Importer
from coverguard.intake import Intake
from coverguard.keeper import Keeper
from coverguard.local.cdn import NoCdn
from coverguard.local.clock import SystemClock
from coverguard.local.folder import FolderStore
from coverguard.local.keys import LocalKeys
from coverguard.ports import Clock, Keys, ObjectStore, UrlProbe
from coverguard.remote.probe import HttpProbe
from coverguard.review import Review, ReviewRules
from coverguard.screening import AnswerRecorder, KnowledgeCache, RecordingRules, Screener
from coverguard.settings import Settings
from coverguard.store import lists
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate, require_migrated
from coverguard.store.queue import TableQueue
from coverguard.telemetry import Log
from coverguard.verifying import Verifier
from coverguard.worker import Worker

UPLOADS: Final = "uploads"
ACCOUNT_EVENTS: Final = "account-events"
REPORTS: Final = "reports"
SWEEP_SHARDS: Final = "sweep-shards"
INCOMING: Final = (UPLOADS, ACCOUNT_EVENTS, REPORTS)
TOPICS: Final = ("pipeline", "safety")
PROBE_TIMEOUT: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The parts of one process. Tests put other parts in; everything else is derived."""

    settings: Settings
    database: Database
    store: ObjectStore
    keys: Keys
    probe: UrlProbe
    clock: Clock
    log: Log

    def queue(self, name: str) -> TableQueue:
        return TableQueue(self.database, name, clock=self.clock)

    def enforcer(self) -> Enforcer:
        return Enforcer(
            database=self.database,
            store=self.store,
            probe=self.probe,
            cdn=NoCdn(),
            clock=self.clock,
            places=self.settings.places(),
            cleared_retention=self.settings.cleared_retention // timedelta(microseconds=1),
        )

    def recorder(self) -> AnswerRecorder:
        rules = RecordingRules(
            grace=self.settings.grace,
            relist=self.settings.relist,
            review_target=self.settings.review_target,
            hold_budget=self.settings.hold_budget,
        )
        return AnswerRecorder(rules=rules)

    def screener(self) -> Screener:
        limits = imaging.Limits(max_bytes=self.settings.max_bytes)
        return Screener(
            database=self.database,
            store=self.store,
            knowledge=self.knowledge(),
            fingerprint=partial(imaging.fingerprint, limits=limits),
            recorder=self.recorder(),
            enforcer=self.enforcer(),
            clock=self.clock,
            log=self.log,
            modes=self.settings.modes,
            buckets=self.settings.readable_buckets,
            max_bytes=self.settings.max_bytes,
        )

    def intake(self) -> Intake:
        return Intake(
            database=self.database,
            screener=self.screener(),
            keys=self.keys,
            clock=self.clock,
            statement_retention=self.settings.statement_retention,
        )

    def worker(self) -> Worker:
        return Worker(
            queues=[self.queue(name) for name in INCOMING],
            handle=self.intake().handle,
            lease=self.settings.lease,
            log=self.log,
        )

    def keeper(self) -> Keeper:
        return Keeper(
            database=self.database,
            enforcer=self.enforcer(),
            recorder=self.recorder(),
            uploads=self.queue(UPLOADS),
            incoming={name: self.queue(name) for name in INCOMING},
            topics={name: self.queue(name) for name in TOPICS},
            clock=self.clock,
            grace=self.settings.grace,
            forget_after=self.settings.forget_after,
            log=self.log,
        )

    def review(self) -> Review:
        rules = ReviewRules(
            claim_lease=self.settings.claim_lease,
            review_target=self.settings.review_target,
            preservation=self.settings.preservation,
            cleared_retention=self.settings.cleared_retention,
            report_target=self.settings.report_target,
            suppression_review=self.settings.suppression_review,
            relist=self.settings.relist,
        )
        return Review(
            database=self.database, keys=self.keys, enforcer=self.enforcer(), clock=self.clock, rules=rules
        )

    def knowledge(self) -> KnowledgeCache:
        return KnowledgeCache(self.database, self.keys, clock=self.clock)

    def verifier(self) -> Verifier:
        return Verifier(
            database=self.database,
            enforcer=self.enforcer(),
            keys=self.keys,
            clock=self.clock,
            queues={name: self.queue(name) for name in INCOMING},
            grace=self.settings.grace,
        )

    def importer(self) -> Importer:
        return Importer(database=self.database, keys=self.keys, clock=self.clock)


@contextmanager
def deployment(home: Path, *, log: Log, migrated: bool = True) -> Iterator[Deployment]:
    """Open the deployment in this folder and close it again.

    Raises:
        ConfigurationError: the settings make no safe system, or the schema is not this release's.
    """
    read = settings.load(home)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(read.database_url)
    probe = HttpProbe(timeout=PROBE_TIMEOUT, limit=read.max_bytes)
    try:
        if migrated:
            require_migrated(database)
            _require_keys(home, database)
        yield Deployment(
            settings=read,
            database=database,
            store=folder_store(read),
            keys=LocalKeys.open_or_create(home / "keys"),
            probe=probe,
            clock=SystemClock(),
            log=log,
        )
    finally:
        probe.close()
        database.close()


def _require_keys(home: Path, database: Database) -> None:
    """New keys are for a new deployment: beside sealed rows they would hide that the old ones are lost."""
    if (home / "keys").exists():
        return
    with database.reading() as tx:
        if lists.anything_sealed(tx):
            raise ConfigurationError(
                f"{home / 'keys'} is missing and sealed rows need it; restore it from a backup"
            )


def folder_store(read: Settings) -> FolderStore:
    """The embedded profile's object store, for its processes and its file server."""
    return FolderStore(root=read.home / "objects", buckets=read.readable_buckets, vault=read.vault_bucket)


def prepare(home: Path) -> str:
    """Create or migrate the deployment's database; return the revision reached."""
    read = settings.load(home)
    if home.exists() and home.stat().st_mode & 0o077:
        raise ConfigurationError(f"{home} can be read by other users; run: chmod 700 {home}")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    starter = home / settings.FILE
    if not starter.exists():
        starter.write_text(settings.STARTER, encoding="utf-8")
    database = Database(read.database_url)
    try:
        return migrate(database)
    finally:
        database.close()
