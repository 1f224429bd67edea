"""The only module that wires: settings in, running parts out. Nothing is constructed at import."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coverguard import imaging, settings
from coverguard.acting import Enforcer
from coverguard.acting.inventory import Inventory
from coverguard.adapters import (
    aws_of,
    catalogue_of,
    fetcher_of,
    folder_store,
    list_buckets_of,
    sandbox_of,
)
from coverguard.auditing import Auditor
from coverguard.fetching import Fetcher
from coverguard.governing import Governor
from coverguard.grounds import Grounds
from coverguard.imaging.sandbox import Sandbox
from coverguard.imaging.signal_types import SignalTypes, load
from coverguard.importing import Importer
from coverguard.intake import Intake
from coverguard.keeper import Keeper
from coverguard.local.boxes import StaffBox
from coverguard.local.catalogue import NoCatalogue
from coverguard.local.cdn import NoCdn
from coverguard.local.clock import SystemClock
from coverguard.local.heads import FolderHeads
from coverguard.local.keys import LocalKeys, LocalSigner, PublicKeys
from coverguard.model import ObjectRef
from coverguard.objects import ObjectEvents
from coverguard.ports import (
    Catalogue,
    Cdn,
    Clock,
    HeadArchive,
    Keys,
    ObjectStore,
    Pager,
    Queue,
    Topic,
    UrlProbe,
)
from coverguard.preparing import require_keys
from coverguard.relaying import Relay
from coverguard.remote.probe import HttpProbe
from coverguard.reporting import Reporting
from coverguard.review import Review, ReviewRules
from coverguard.screening import AnswerRecorder, Eyes, Fingerprinter, KnowledgeCache, RecordingRules, Screener
from coverguard.screening.knowledge import unread
from coverguard.sealing import Sealer
from coverguard.settings import Settings
from coverguard.store import lists
from coverguard.store.engine import Database
from coverguard.store.migrate import require_migrated
from coverguard.store.queue import TableQueue
from coverguard.store.topics import QueueTopic
from coverguard.takedown import TakedownDriver, TakedownRules, TakedownVerbs
from coverguard.telemetry import Health, Log, LogPager, Monitor
from coverguard.verifying import Verifier
from coverguard.watching import Watch, ask_store
from coverguard.worker import Worker

if TYPE_CHECKING:
    from coverguard.production import Aws

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
    cdn: Cdn = field(default_factory=NoCdn)
    catalogue: Catalogue = field(default_factory=NoCatalogue)
    aws: Aws | None = None  # None: queues, topics and heads are the embedded ones, and alarms are lines
    signal_types: SignalTypes = field(default_factory=SignalTypes)
    sandbox: Sandbox | None = None  # None: covers are decoded in this very process, which is for tests alone

    def queue(self, name: str) -> Queue:
        """An incoming queue, or the end of a topic that is one."""
        url = self.settings.queues.get(name) or self.settings.topics.get(name)
        if self.aws is None or url is None:
            return TableQueue(self.database, name, clock=self.clock)
        return self.aws.queue(name, url)

    def enforcer(self) -> Enforcer:
        return Enforcer(
            database=self.database,
            store=self.store,
            probe=self.probe,
            cdn=self.cdn,
            clock=self.clock,
            places=self.settings.places(),
            cleared_retention=self.settings.cleared_retention // timedelta(microseconds=1),
        )

    def inventory(self) -> Inventory:
        return Inventory(store=self.store, places=self.settings.places())

    def recorder(self) -> AnswerRecorder:
        rules = RecordingRules(
            grace=self.settings.grace,
            relist=self.settings.relist,
            review_target=self.settings.review_target,
            budgets=self.settings.hold_budgets(),
        )
        return AnswerRecorder(rules=rules)

    @property
    def fingerprint(self) -> Fingerprinter:
        if self.sandbox is None:
            plugged_in = self.signal_types.plugged_in
            return partial(imaging.fingerprint, limits=self.settings.limits(), plugged_in=plugged_in)
        return self.sandbox.fingerprint

    def screener(self) -> Screener:
        return Screener(
            database=self.database,
            eyes=self.eyes(),
            knowledge=self.knowledge(),
            recorder=self.recorder(),
            enforcer=self.enforcer(),
            clock=self.clock,
            log=self.log,
            modes=self.settings.modes,
            buckets=self.settings.readable_buckets,
        )

    def eyes(self) -> Eyes:
        return Eyes(
            store=self.store,
            fingerprint=self.fingerprint,
            clock=self.clock,
            log=self.log,
            max_bytes=self.settings.max_bytes,
        )

    def intake(self) -> Intake:
        screener = self.screener()
        return Intake(
            database=self.database,
            screener=screener,
            objects=self.object_events(screener),
            reporting=self.reporting(screener),
            send_again=self.queue(UPLOADS).send,
            keys=self.keys,
            clock=self.clock,
            statement_retention=self.settings.statement_retention,
        )

    def reporting(self, screener: Screener | None = None) -> Reporting:
        """The use cases of reports; covers that they have looked at again wait with the uploads."""
        mine = screener or self.screener()
        open_box = StaffBox.open_or_create if self.settings.embedded else StaffBox.existing
        letters = open_box(self.settings.home / "keys")
        send, rules = self.queue(UPLOADS).send, self.settings.report_rules()
        return Reporting.beside(mine, keys=self.keys, letters=letters, send=send, rules=rules)

    def object_events(self, screener: Screener) -> ObjectEvents:
        return ObjectEvents(
            database=self.database,
            store=self.store,
            screener=screener,
            enforcer=screener.enforcer,
            places=self.settings.places(),
            clock=self.clock,
            modes=self.settings.modes,
            buckets=self.settings.readable_buckets,
            trust_metadata=self.settings.trust_object_metadata,
        )

    def worker(self) -> Worker:
        intake = self.intake()
        knowledge = intake.screener.knowledge
        prepare: list[Callable[[], object]] = [knowledge.current]
        checks: dict[str, Callable[[], object]] = {"lists": knowledge.require_loaded}
        if self.sandbox is not None:
            prepare.insert(0, self.sandbox.start)  # it warms while the lists are read
            checks["decoder"] = self.sandbox.require_ready
        return Worker(
            queues=[self.queue(name) for name in INCOMING],
            handle=intake.handle,
            lease=self.settings.lease,
            log=self.log,
            prepare=lambda: [part() for part in prepare],
            checks=checks,
            may_receive=[knowledge.require_fresh],
            beside=[partial(knowledge.polling, partial(unread, self.log))],
        )

    def upload(self, bucket: str, key: str, data: bytes, *, content_type: str) -> ObjectRef:
        """Put an object as the platform would; to try a deployment."""
        if self.aws is not None and self.settings.object_store == "s3":
            return self.aws.upload(bucket, key, data, content_type=content_type)
        return folder_store(self.settings).put(bucket, key, data, content_type=content_type)

    def require_safe_store(self) -> None:
        """Ask once, at the start, whether what we hide can be shown again.

        Raises:
            ConfigurationError: a bucket keeps no versions, or the vault cannot be locked.
            TransientError: the store does not answer.
        """
        if self.aws is not None and self.settings.object_store == "s3":
            self.aws.store().check()

    def require_locked_heads(self) -> None:
        """Ask once, at the start, whether what was archived of the audit trail stays as it is.

        Raises:
            ConfigurationError: the bucket is not there, or locks nothing.
            TransientError: the store does not answer.
        """
        if self.aws is not None and self.settings.heads_bucket:
            self.aws.heads().check()

    def require_sound_queues(self) -> None:
        """Ask once, at the start, whether the incoming queues neither lose a message nor repeat one for ever.

        Raises:
            ConfigurationError: one does not exist, may not be looked at, or has no dead-letter queue.
            TransientError: they do not answer.
        """
        for name in INCOMING:
            if self.aws is not None and (url := self.settings.queues.get(name)):
                self.aws.queue(name, url).require_sound()

    def topic(self, name: str) -> Topic:
        address = self.settings.topics.get(name)
        if self.aws is None or address is None:
            return QueueTopic(TableQueue(self.database, name, clock=self.clock))
        return self.aws.topic(address)

    def heads(self) -> HeadArchive:
        if self.aws is None or not self.settings.heads_bucket:
            return FolderHeads(self.settings.home / "heads")
        return self.aws.heads()

    def pager(self) -> Pager:
        if self.aws is None or not self.settings.alarm_topic:
            return LogPager(self.log)
        return self.aws.pager()

    def relay(self) -> Relay:
        topics = {name: self.topic(name) for name in TOPICS}
        return Relay(database=self.database, topics=topics, clock=self.clock, log=self.log)

    def sealer(self) -> Sealer:
        return Sealer(
            database=self.database,
            signer=LocalSigner.open_or_create(self.settings.home / "keys"),
            archive=self.heads(),
            clock=self.clock,
        )

    def auditor(self, *, public_keys: Sequence[Path] = ()) -> Auditor:
        """The checker of the audit trail; trusts these keys alone, or else those of the deployment."""
        own = PublicKeys.beside(self.settings.home / "keys")
        return Auditor(
            database=self.database,
            archive=self.heads(),
            signatures=PublicKeys.read(public_keys) if public_keys else own,
            clock=self.clock,
        )

    def keeper(self) -> Keeper:
        relay, sealer = self.relay(), self.sealer()
        return Keeper(
            database=self.database,
            enforcer=self.enforcer(),
            recorder=self.recorder(),
            uploads=self.queue(UPLOADS),
            watch=self.watch(relay, sealer),
            outgoing=relay,
            sealer=sealer,
            takedowns=self.takedown_driver(),
            reporting=self.reporting(),
            grounds=Grounds(
                database=self.database, clock=self.clock, review_target=self.settings.review_target
            ),
            clock=self.clock,
            grace=self.settings.grace,
            forget_after=self.settings.forget_after,
            log=self.log,
        )

    def takedown_driver(self) -> TakedownDriver:
        read = self.settings
        rules = TakedownRules(
            target=read.takedown_target, review_target=read.review_target, threads=read.takedown_threads
        )
        return TakedownDriver(
            database=self.database, enforcer=self.enforcer(), catalogue=self.catalogue, clock=self.clock,
            inventory=self.inventory(),
            uploads=self.queue(UPLOADS), log=self.log, rules=rules, modes=read.modes,
            buckets=read.readable_buckets,
        )  # fmt: skip

    def takedown_verbs(self) -> TakedownVerbs:
        return TakedownVerbs(database=self.database, keys=self.keys, clock=self.clock)

    def watch(self, relay: Relay, sealer: Sealer) -> Watch:
        home = self.settings.home
        return Watch(
            database=self.database,
            store=self.store,
            buckets=self.settings.readable_buckets,
            incoming={name: self.queue(name) for name in INCOMING},
            clock=self.clock,
            pager=self.pager(),
            log=self.log,
            free_disk=lambda: shutil.disk_usage(home).free,
            not_sent=relay.not_sent,
            heads_behind=sealer.is_behind,
        )

    @contextmanager
    def monitor(self, process: Worker | Keeper, *, port: int | None = None) -> Iterator[int | None]:
        """Serve a process's metrics and health, at this port or the setting's; yield the port, if any.

        Raises:
            ConfigurationError: the port is taken.
        """
        chosen = self.settings.metrics_port if port is None else port
        if not chosen:
            yield None
            return
        checks: dict[str, Callable[[], object]] = {
            "database": self._ask_database,
            "store": lambda: ask_store(self.store, self.settings.readable_buckets),
            **{f"queue-{name}": self.queue(name).depth for name in INCOMING},
            **(process.checks if isinstance(process, Worker) else {}),
        }
        health = Health(pulse=process.pulse, checks=checks)
        host = self.settings.metrics_host
        with Monitor(health, self.log.metrics, host=host, port=chosen) as monitor:
            yield monitor.port

    def _ask_database(self) -> None:
        with self.database.reading() as tx:
            lists.newest_seq(tx)

    def review(self) -> Review:
        rules = ReviewRules(
            claim_lease=self.settings.claim_lease,
            review_target=self.settings.review_target,
            preservation=self.settings.preservation,
            cleared_retention=self.settings.cleared_retention,
            report_target=self.settings.report_target,
            suppression_review=self.settings.suppression_review,
            relist=self.settings.relist,
            takedown_deadline=self.settings.takedown_deadline,
        )
        return Review(
            database=self.database, keys=self.keys, enforcer=self.enforcer(), clock=self.clock, rules=rules
        )

    def knowledge(self) -> KnowledgeCache:
        return KnowledgeCache(self.database, self.keys, clock=self.clock, types=self.signal_types)

    def verifier(self) -> Verifier:
        return Verifier(
            database=self.database, enforcer=self.enforcer(), auditor=self.auditor(), keys=self.keys,
            clock=self.clock, algorithms=self.signal_types.algorithms,
            queues={name: self.queue(name) for name in INCOMING},
            grace=self.settings.grace, takedown_target=self.settings.takedown_target,
        )  # fmt: skip

    def governor(self) -> Governor:
        return Governor(database=self.database, clock=self.clock, rules=self.settings.governance_rules())

    def fetcher(self) -> Fetcher:
        home = self.settings.home
        return fetcher_of(home, database=self.database, keys=self.keys, clock=self.clock, log=self.log)

    def importer(self) -> Importer:
        return Importer(
            database=self.database, keys=self.keys, clock=self.clock, types=self.signal_types,
            buckets=list_buckets_of(self.settings, self.aws),
        )  # fmt: skip


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
    clock = SystemClock()
    types = load(read.signal_plugins)
    sandbox = sandbox_of(read, types, log)
    try:
        if migrated:
            require_migrated(database)
            require_keys(home, database)
        aws = aws_of(read, clock)
        yield Deployment(
            settings=read,
            database=database,
            store=aws.store() if aws and read.object_store == "s3" else folder_store(read),
            keys=LocalKeys.open_or_create(home / "keys"),
            probe=probe,
            clock=clock,
            log=log,
            cdn=aws.cdn() if aws and read.cloudfront_distribution else NoCdn(),
            catalogue=catalogue_of(read, clock) if read.catalogue_url else NoCatalogue(),
            aws=aws,
            signal_types=types,
            sandbox=sandbox,
        )
    finally:
        sandbox.close()
        probe.close()
        database.close()
