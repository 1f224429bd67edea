"""Settings wire a deployment; rules (radius, action, category) are versioned rows and not here.

One TOML file in the deployment's home, `coverguard.toml`; without it the embedded profile's defaults hold.
Unknown or malformed settings stop the start, naming the setting. Secrets are key files, never settings: a
database's password comes from libpq's own places, AWS credentials and endpoints from boto3's.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from coverguard.access import Role
from coverguard.acting.places import Places
from coverguard.errors import ConfigurationError
from coverguard.governing import GovernanceRules
from coverguard.imaging.limits import Limits
from coverguard.model import Mode, Surface
from coverguard.policy import Budgets
from coverguard.policy.reporting import ReportCaps, ReportRules

HOME_VARIABLE: Final = "COVERGUARD_HOME"
DATABASE_VARIABLE: Final = "COVERGUARD_DATABASE"  # so that each process can be a database role of its own
DEFAULT_HOME: Final = ".coverguard"
FILE: Final = "coverguard.toml"

DEFAULT_MODES: Final = {
    Surface.PLAYLIST_COVER: Mode.GATE,
    Surface.PROFILE_IMAGE: Mode.WATCH,
    Surface.TRACK_ART: Mode.GATE,
}
QUEUES: Final = ("uploads", "account-events", "reports", "sweep-shards")
TOPICS: Final = ("pipeline", "safety")
LOOPBACK: Final = ("127.0.0.1", "::1")  # not its name: what a name means is somebody else's word
DATABASES: Final = ("sqlite", "postgresql", "postgresql+psycopg")
_NUMBERS: Final = {
    "decoding_memory": (2**26, 2**36),
    "file_server_port": (1, 65_535),
    "hold_budget": (0, 10**9),
    "source_hold_budget": (0, 10**9),
    "max_bytes": (1, 2**30),
    "metrics_port": (0, 65_535),
    "report_hides_network": (0, 10**6),
    "report_hides_total": (0, 10**6),
    "report_reach_covers": (1, 10**9),
    "report_reach_links": (1, 10**9),
    "report_rate": (1, 10**6),
    "takedown_threads": (1, 64),
}
_WORDS: Final = {"object_store": ("folder", "s3")}
_TABLES: Final = {"queues": QUEUES, "topics": TOPICS}
_SPANS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    home: Path
    database: str = ""  # URL without a password; nothing: SQLite in the home
    object_store: str = "folder"  # or s3
    queues: Mapping[str, str] = field(default_factory=dict)  # SQS URLs of all four; nothing: in the database
    topics: Mapping[str, str] = field(default_factory=dict)  # SQS URL or SNS ARN; nothing: in the database
    modes: Mapping[Surface, Mode] = field(default_factory=lambda: dict(DEFAULT_MODES))
    intake_bucket: str = "intake"
    public_bucket: str = "public"
    vault_bucket: str = "vault"
    vault_kms_key: str = ""  # of the vault's copies; nothing: the bucket's own
    heads_bucket: str = ""  # locked, for the audit trail's signed heads; nothing: a folder in the home
    heads_prefix: str = "heads/"  # of this ledger's heads in that bucket, which nobody can empty
    trust_object_metadata: bool = False  # whether platform services alone write the objects' metadata
    catalogue_url: str = ""  # of the platform's own list of what an account has; nothing: it has none
    cloudfront_distribution: str = ""  # whose copies are invalidated; nothing: there is no CDN
    alarm_topic: str = ""  # SNS ARN to page people by; nothing: the log
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0  # of /metrics, /livez and /readyz; 0: not served
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
    list_review: timedelta = timedelta(days=180)  # until a list's rule is looked at again
    list_review_after_change: timedelta = timedelta(days=14)
    statement_retention: timedelta = timedelta(days=180)
    forget_after: timedelta = timedelta(days=30)  # fingerprints of covers that the platform deleted
    takedown_target: timedelta = timedelta(minutes=15)  # from request to verified gone, before it rings
    takedown_deadline: timedelta = timedelta(hours=1)  # after a confirmed child-abuse verdict
    takedown_threads: int = 8  # objects of one takedown acted on at a time
    report_review_target: timedelta = timedelta(hours=24)
    report_urgent_target: timedelta = timedelta(hours=4)  # a child in danger; a signed demand
    report_removal_target: timedelta = timedelta(hours=48)  # of an intimate image
    report_notice_target: timedelta = timedelta(hours=24)  # of what a hotline or trusted flagger demands
    report_contact_retention: timedelta = timedelta(days=180)  # what reporters tell of themselves
    report_network_retention: timedelta = timedelta(days=7)  # digests of their networks
    report_hides_network: int = 20  # covers an hour that reports of one network hide by machine
    report_hides_total: int = 500  # covers an hour that all of them hide
    report_reach_links: int = 50  # playlists and their sharers, from which a person is asked first
    report_reach_covers: int = 200  # public covers, from which a person is asked first
    hold_budget: int = 5000  # near-match holds an hour, all lists together
    source_hold_budget: int = 2000  # the same of all lists of one source
    max_bytes: int = 20 * 1024 * 1024
    decoding_cpu: timedelta = timedelta(seconds=10)  # processor time for one file
    decoding_time: timedelta = timedelta(seconds=30)  # until a decoding child has answered
    decoding_memory: int = 1024 * 1024 * 1024  # bytes for decoding one file
    list_buckets: tuple[str, ...] = ()  # that hash lists may be loaded from; nothing: from files alone
    signal_plugins: tuple[str, ...] = ()  # module:attribute of hashes beside ours, such as licensed ones
    verdict_on_cli: bool = False
    trust_sudo: bool = (
        False  # two people on one machine: sudo's caller is the person (sudoers decides who may)
    )
    platform_name: str = "this service"  # as the report pages call the platform
    report_rate: int = 60  # reports an hour and network; those about children are taken beyond it
    trusted_proxies: tuple[str, ...] = ()  # networks whose X-Forwarded-For is believed; nothing: nobody's
    people: Mapping[str, frozenset[str]] = field(default_factory=dict)  # operating-system user → roles

    @property
    def database_url(self) -> str:
        """SQLAlchemy's URL of the ledger."""
        return self.database or f"sqlite:///{self.home / 'ledger.db'}"

    @property
    def embedded(self) -> bool:
        """Whether anything that is not for production is part of it."""
        return self.database_url.startswith("sqlite") or self.object_store == "folder" or not self.queues

    @property
    def speaks_aws(self) -> bool:
        """Whether any part of it is asked in one of AWS's protocols."""
        named = (self.queues, self.topics, self.heads_bucket, self.alarm_topic, self.cloudfront_distribution)
        return self.object_store == "s3" or any(named)

    @property
    def readable_buckets(self) -> frozenset[str]:
        """Where a message may point; the vault is not among them."""
        return frozenset({self.intake_bucket, self.public_bucket})

    def report_rules(self) -> ReportRules:
        """The times and limits of reports."""
        caps = ReportCaps(
            network=self.report_hides_network,
            everywhere=self.report_hides_total,
            links=self.report_reach_links,
            covers=self.report_reach_covers,
        )
        return ReportRules(
            review_target=self.report_review_target,
            urgent_target=self.report_urgent_target,
            removal_target=self.report_removal_target,
            notice_target=self.report_notice_target,
            contact_retention=self.report_contact_retention,
            network_retention=self.report_network_retention,
            relist=self.relist,
            caps=caps,
        )

    def governance_rules(self) -> GovernanceRules:
        """When people look at lists again."""
        return GovernanceRules(
            review_every=self.list_review, review_after_change=self.list_review_after_change
        )

    def hold_budgets(self) -> Budgets:
        """Near-match holds an hour before consequences stop."""
        return Budgets(everywhere=self.hold_budget, a_source=self.source_hold_budget)

    def limits(self) -> Limits:
        """What of a file is decoded, how long, and in how much memory."""
        return Limits(
            max_bytes=self.max_bytes,
            cpu_seconds=self.decoding_cpu // timedelta(seconds=1),
            wall_seconds=self.decoding_time // timedelta(seconds=1),
            memory_bytes=self.decoding_memory,
        )

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


def load(home: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings of the deployment in this folder; the environment may name another database.

    Raises:
        ConfigurationError: the file is not TOML, or a setting is unknown or malformed; the message names it.
    """
    path = home / FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{FILE} cannot be read: {type(error).__name__}") from error
    known = {one.name for one in fields(Settings)} - {"home"}
    unknown = sorted(set(document) - known)
    if unknown:
        raise ConfigurationError(
            f"{FILE}: unknown setting {unknown[0]}; known are: {', '.join(sorted(known))}"
        )
    if environment.get(DATABASE_VARIABLE):
        document["database"] = environment[DATABASE_VARIABLE]
    read = Settings(home=home, **{name: _value(name, value) for name, value in document.items()})
    _require_sense(read)
    return read


def _require_sense(read: Settings) -> None:
    """What no setting can say for itself."""
    if read.vault_bucket in read.readable_buckets:
        raise ConfigurationError(f"{FILE}: setting vault_bucket: must be a bucket of its own")
    if read.decoding_cpu > read.decoding_time:
        raise ConfigurationError(f"{FILE}: setting decoding_time: must not be shorter than decoding_cpu")
    if read.heads_bucket in {*read.readable_buckets, read.vault_bucket}:
        raise ConfigurationError(f"{FILE}: setting heads_bucket: must be a bucket of its own")
    if {*read.list_buckets} & {*read.readable_buckets, read.vault_bucket, read.heads_bucket}:
        raise ConfigurationError(f"{FILE}: setting list_buckets: must be buckets of their own")
    if not re.fullmatch(r"(?:[A-Za-z0-9_-]+/)+", read.heads_prefix):
        raise ConfigurationError(f"{FILE}: setting heads_prefix: must be a folder's name such as heads/")
    if read.object_store == "s3" and "{port}" in read.public_url:
        raise ConfigurationError(f"{FILE}: setting public_url: how does the public ask for an object on S3?")
    _require_database(read.database_url)
    _require_catalogue(read.catalogue_url)
    _require_networks(read.trusted_proxies)
    read.places()


def _require_database(url: str) -> None:
    """Refuse what is no URL of a database that we serve, and a secret in a file that is none."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"{FILE}: setting database: not a URL") from error
    if parts.scheme not in DATABASES:
        raise ConfigurationError(f"{FILE}: setting database: must start with {' or '.join(DATABASES)}")
    if parts.password is not None or "password" in parts.query:
        raise ConfigurationError(
            f"{FILE}: setting database: the password belongs into PGPASSFILE, not into the URL"
        )


def _require_networks(named: Sequence[str]) -> None:
    try:
        for one in named:
            ip_network(one)
    except ValueError as error:
        raise ConfigurationError(
            f"{FILE}: setting trusted_proxies: must be networks such as 10.0.0.0/8"
        ) from error


def _require_catalogue(url: str) -> None:
    """Refuse an address to which our key would go in the clear, or that is more than a place."""
    if not url:
        return
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port  # raises where the port is no port
    except ValueError as error:
        raise ConfigurationError(f"{FILE}: setting catalogue_url: not a URL") from error
    named = f"{parts.scheme}://{parts.netloc}{parts.path}" == url and url.isascii() and url.isprintable()
    if not host or port == 0 or not named or "@" in parts.netloc or " " in url or url.endswith("/"):
        raise ConfigurationError(
            f"{FILE}: setting catalogue_url: must be scheme, host and path, without a slash at the end"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        raise ConfigurationError(f"{FILE}: setting catalogue_url: must be https, or http on this host alone")


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
            case "queues" | "topics":
                return _addresses(value, all_of=_TABLES[name])
            case "renditions" | "trusted_proxies" | "signal_plugins" | "list_buckets":
                return tuple(str(one) for one in value)
        if isinstance(default, timedelta):
            return _span(value)
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        raise ConfigurationError(f"{FILE}: setting {name}: {error}") from error
    if type(value) is not type(default):
        raise ConfigurationError(f"{FILE}: setting {name}: expected {type(default).__name__}")
    bounds = _NUMBERS.get(name)
    if bounds and not bounds[0] <= value <= bounds[1]:
        raise ConfigurationError(f"{FILE}: setting {name}: must be {bounds[0]} to {bounds[1]}")
    words = _WORDS.get(name)
    if words and value not in words:
        raise ConfigurationError(f"{FILE}: setting {name}: must be {' or '.join(words)}")
    return value


def _addresses(value: Mapping[str, object], *, all_of: Sequence[str]) -> Mapping[str, str]:
    """All of them or none: half on SQS and half in a table is nobody's intention."""
    found = {str(name): str(address) for name, address in value.items()}
    if found and set(found) != set(all_of):
        raise ValueError(f"must name all of {', '.join(all_of)}, and nothing else")
    for name, address in found.items():
        if not re.fullmatch(r"https?://\S+|arn:aws[a-z-]*:sns:\S+", address):
            raise ValueError(f"{name} must be a queue URL or a topic's ARN")
    return found


def _span(value: str) -> timedelta:
    """A time such as 90s, 10m, 24h, 365d."""
    span = timedelta(seconds=int(value[:-1]) * _SPANS[value[-1]])
    if span <= timedelta():
        raise ValueError("must be longer than nothing")
    return span
