"""The tables: every invariant that a database can state is stated here, for SQLite and PostgreSQL alike.

Keys: a cover version is (surface, cover id, version); a screening is unique by (cover version, origin, origin
id, fingerprint version), and the index position it was judged at is a column; one live quarantine per
(bucket, key, version id); one open case per account. Ids are internal BIGINTs, `ref` is what people see. Time
is UTC microseconds. Verdicts and audit rows are append-only (triggers, see the first migration). What people
wrote or are called is in the `private` schema, encrypted under its own key. State CHECKs are generated from
`lifecycle`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

from coverguard.lifecycle import ItemState, QuarantineState
from coverguard.model import (
    Algorithm,
    Basis,
    Category,
    Channel,
    ListAction,
    Mode,
    NotScreenedReason,
    Opinion,
    Origin,
    PartyRole,
    ReferReason,
    Surface,
    VerdictKind,
    VerdictOutcome,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite fills in only INTEGER primary keys
PLATFORM_ID = 200


def _id() -> Column[int]:
    return Column("id", Id, primary_key=True, autoincrement=True)


def _ref() -> Column[str]:
    return Column("ref", String(32), nullable=False, unique=True)


def _fk(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, Id, ForeignKey(f"{target}.id"), nullable=nullable)


def _at(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _word(name: str, words: Iterable[str], *, nullable: bool = False) -> tuple[Column[str], CheckConstraint]:
    """A short text column that can hold only these words."""
    check = CheckConstraint(f"{name} IN ({_listed(words)})", name=name)
    return Column(name, String(32), nullable=nullable), check


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


# ── what the platform told us ──────────────────────────────────────────────────────────────────────────────

account = Table(
    "account",
    metadata,
    _id(),
    Column("platform_id", String(PLATFORM_ID), nullable=False, unique=True),
    _at("seen_at"),
)

cover_version = Table(
    "cover_version",
    metadata,
    _id(),
    _ref(),
    *_word("surface", Surface),
    Column("cover_id", String(PLATFORM_ID), nullable=False),
    Column("version", BigInteger, nullable=False),
    *_word("mode", Mode),  # the surface's mode when it was announced
    _fk("uploader_id", "account"),
    _fk("owner_id", "account"),
    Column("playlist_id", String(PLATFORM_ID)),
    Column("bucket", String(63), nullable=False),
    Column("key", String(1024), nullable=False),
    Column("version_id", String(1024), nullable=False),
    Column("renditions", JSON, nullable=False),
    Column("event_id", String(PLATFORM_ID), nullable=False),
    _at("sent_at"),  # when the message entered the queue
    _at("announced_at"),
    _at("deleted_at", nullable=True),  # the platform's tombstone
    Column("verdict_seq", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("surface", "cover_id", "version"),
    Index(None, "uploader_id"),
    Index(None, "playlist_id"),
)

platform_event = (
    Table(  # told, stored, and not yet acted on: shown as unserved until a later release serves them
        "platform_event",
        metadata,
        _id(),
        Column("event_id", String(PLATFORM_ID), nullable=False, unique=True),
        Column("type", String(40), nullable=False),
        _fk("account_id", "account", nullable=True),
        Column("playlist_id", String(PLATFORM_ID)),
        Column("facts", JSON, nullable=False),  # ids and fixed words only; text is in private.statement
        _at("occurred_at"),
        _at("received_at"),
        _at("served_at", nullable=True),
        Index(None, "type", "served_at"),
        Index(None, "playlist_id"),
    )
)

collaboration = Table(
    "collaboration",
    metadata,
    _id(),
    Column("playlist_id", String(PLATFORM_ID), nullable=False),
    _fk("account_id", "account"),
    _at("changed_at"),  # of the newest event seen; an older one arriving late changes nothing
    Column("active", Boolean, nullable=False),
    UniqueConstraint("playlist_id", "account_id"),
    Index(None, "account_id"),
)

# ── fingerprints and answers ───────────────────────────────────────────────────────────────────────────────

fingerprint = Table(
    "fingerprint",
    metadata,
    _id(),
    _fk("cover_version_id", "cover_version"),
    Column("fingerprint_version", Integer, nullable=False),
    Column("md5", LargeBinary(16), nullable=False),
    Column("sha1", LargeBinary(20), nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("format", String(16), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("judged_seq", BigInteger, nullable=False),  # the newest list change these signals were judged at
    _at("created_at"),
    UniqueConstraint("cover_version_id", "fingerprint_version"),
    Index(None, "judged_seq"),
    Index(None, "sha256"),
)

fingerprint_view = Table(
    "fingerprint_view",
    metadata,
    _id(),
    _fk("fingerprint_id", "fingerprint"),
    Column("name", String(32), nullable=False),
    Column("quality", Integer, nullable=False),
    Column("pdq", LargeBinary(32), nullable=False),
    Column("phash256", LargeBinary(32), nullable=False),
    UniqueConstraint("fingerprint_id", "name"),
    CheckConstraint("quality BETWEEN 0 AND 100", name="quality"),
)

DECISIONS = ("pass", "refer", "hold", "not_screened")

screening = Table(
    "screening",
    metadata,
    _id(),
    _fk("cover_version_id", "cover_version"),
    *_word("origin", Origin),
    Column("origin_id", String(PLATFORM_ID), nullable=False, server_default=""),
    Column("fingerprint_version", Integer, nullable=False),
    *_word("decision", DECISIONS),
    Column("reason", String(40)),  # of Refer and NotScreened
    Column("detail", String(40), nullable=False, server_default=""),
    Column("low_information", Boolean, nullable=False, server_default=text("false")),
    Column("budget_spent", String(40)),  # the scope whose hold budget stopped consequences
    Column("judged_seq", BigInteger),
    Column("software", String(40), nullable=False),
    _at("decided_at"),
    Column("attempts", Integer, nullable=False, server_default="1"),
    _at("first_failed_at", nullable=True),
    _at("retry_at", nullable=True),
    Column("told", String(32)),  # the pipeline event last owed for this answer
    _at("settled_at", nullable=True),  # every act this answer called for is done
    UniqueConstraint("cover_version_id", "origin", "origin_id", "fingerprint_version"),
    CheckConstraint(
        "(decision = 'not_screened') = (first_failed_at IS NOT NULL)", name="failure_has_a_start"
    ),
    CheckConstraint("retry_at IS NULL OR decision = 'not_screened'", name="only_failures_retry"),
    CheckConstraint(f"reason IN ({_listed((*ReferReason, *NotScreenedReason))})", name="reason"),
    Index(None, "settled_at"),
    Index(None, "retry_at"),
)

# ── lists ──────────────────────────────────────────────────────────────────────────────────────────────────

hash_list = Table(
    "hash_list",
    metadata,
    _id(),
    Column("name", String(100), nullable=False, unique=True),
    Column("source", String(200), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("own", Boolean, nullable=False),  # learnt from our own confirmed removals
    _at("created_at"),
)

list_rule = Table(  # append-only versions; the highest is in force
    "list_rule",
    metadata,
    _id(),
    _fk("list_id", "hash_list"),
    Column("version", Integer, nullable=False),
    *_word("category", Category),
    *_word("action", ListAction),
    Column("pdq_radius", Integer, nullable=False),
    Column("phash256_radius", Integer, nullable=False),
    Column("quality_floor", Integer, nullable=False),
    Column("hold_budget", Integer, nullable=False),
    Column("known", Boolean, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("note", String(500), nullable=False),
    _at("created_at"),
    UniqueConstraint("list_id", "version"),
)

list_entry = Table(
    "list_entry",
    metadata,
    _id(),
    _fk("list_id", "hash_list"),
    Column("source_entry_id", String(PLATFORM_ID), nullable=False),
    *_word("algorithm", Algorithm),
    Column("digest_sealed", LargeBinary, nullable=False),
    Column("row_mac", LargeBinary(32), nullable=False),  # keyed: tells a changed row without opening it
    *_word("opinion", Opinion),
    Column("category", String(32)),
    Column("grid", Boolean, nullable=False),
    *_word("cap", ListAction),
    _fk("item_id", "case_item", nullable=True),  # own lists: the confirmed removal it was learnt from
    Column("changed_seq", BigInteger, nullable=False),
    _at("withdrawn_at", nullable=True),
    UniqueConstraint("list_id", "source_entry_id", "algorithm"),
    CheckConstraint(f"category IN ({_listed(Category)})", name="category"),
    Index(None, "changed_seq"),
    Index(None, "item_id"),
)

list_change = Table(  # one row a change of what may match: the sequence that `judged_seq` refers to
    "list_change",
    metadata,
    Column("seq", Id, primary_key=True, autoincrement=True),
    _fk("list_id", "hash_list"),
    Column("kind", String(16), nullable=False),  # entries, rule, enabled, suppression
    Column("entries", Integer, nullable=False),
    _at("at"),
    sqlite_autoincrement=True,
)

match = Table(
    "match",
    metadata,
    _id(),
    _fk("screening_id", "screening"),
    _fk("entry_id", "list_entry"),
    _fk("list_id", "hash_list"),
    Column("rule_version", Integer, nullable=False),
    *_word("category", Category),
    *_word("opinion", Opinion),
    *_word("algorithm", Algorithm),
    Column("view", String(32), nullable=False),
    Column("orientation", String(16), nullable=False),
    Column("distance", Integer, nullable=False),
    Column("quality", Integer, nullable=False),
    *_word("action", ListAction),
    Column("suppressed", Boolean, nullable=False),
    Column("judged_seq", BigInteger, nullable=False),
    UniqueConstraint("screening_id", "entry_id", "algorithm"),
    Index(None, "entry_id"),
)

suppression = Table(  # a known false positive: never an exact digest, never another entry
    "suppression",
    metadata,
    _id(),
    _fk("entry_id", "list_entry"),
    *_word("kind", ("sha256", "pdq")),
    Column("digest_sealed", LargeBinary, nullable=False),
    Column("digest_mac", LargeBinary(32), nullable=False),
    _fk("verdict_id", "verdict"),
    _at("created_at"),
    _at("review_at"),
    _at("lifted_at", nullable=True),
    UniqueConstraint("entry_id", "kind", "digest_mac"),
)

# ── cases ──────────────────────────────────────────────────────────────────────────────────────────────────

case_file = Table(
    "case_file",
    metadata,
    _id(),
    _ref(),
    _fk("account_id", "account"),
    *_word("category", Category),  # the gravest of its items
    _at("opened_at"),
    _at("closed_at", nullable=True),  # set when no item is open or claimed
    Index("uq_case_file_open", "account_id", unique=True, sqlite_where=text("closed_at IS NULL"),
          postgresql_where=text("closed_at IS NULL")),
)  # fmt: skip

party = Table(  # people of a case that cannot be derived from covers, collaborations and tags
    "party",
    metadata,
    _id(),
    _fk("case_id", "case_file"),
    _fk("account_id", "account"),
    *_word("role", PartyRole),
    Column("actor", String(100), nullable=False),
    _at("added_at"),
    UniqueConstraint("case_id", "account_id", "role"),
)

case_item = Table(
    "case_item",
    metadata,
    _id(),
    _ref(),
    _fk("case_id", "case_file"),
    _fk("cover_version_id", "cover_version"),
    *_word("state", ItemState),
    Column("claimed_by", String(100)),
    _at("lease_until", nullable=True),
    Column("consequences", Boolean, nullable=False),  # false: a hold budget was spent, see screening
    Column("two_people", Boolean, nullable=False),  # clearing takes two: it rests on a known hash
    _at("opened_at"),
    _at("decided_at", nullable=True),
    UniqueConstraint("case_id", "cover_version_id"),
    CheckConstraint(
        "(state = 'claimed') = (claimed_by IS NOT NULL AND lease_until IS NOT NULL)", name="claim_has_a_lease"
    ),
    CheckConstraint("(state IN ('confirmed', 'cleared')) = (decided_at IS NOT NULL)", name="decided"),
    Index(None, "state"),
    Index(None, "cover_version_id"),
)

verdict = Table(  # append-only
    "verdict",
    metadata,
    _id(),
    _ref(),
    _fk("item_id", "case_item"),
    *_word("kind", VerdictKind),
    *_word("outcome", VerdictOutcome),
    *_word("category", Category, nullable=True),
    Column("reason_sealed", LargeBinary, nullable=False),  # a person's words
    *_word("basis", Basis),
    Column("actor", String(100), nullable=False),
    Column("role", String(32), nullable=False),
    *_word("channel", Channel),
    _at("given_at"),
    Column("proposal_id", Id),
    Column("proposal_actor", String(100)),
    UniqueConstraint("id", "actor"),
    UniqueConstraint("proposal_id"),  # one second a proposal: of two racing, one wins
    CheckConstraint("(kind = 'second') = (proposal_id IS NOT NULL)", name="second_names_a_proposal"),
    CheckConstraint("proposal_actor IS NULL OR proposal_actor <> actor", name="two_different_people"),
    CheckConstraint("(proposal_id IS NULL) = (proposal_actor IS NULL)", name="proposal_has_an_actor"),
    Index(None, "item_id"),
)
verdict.append_constraint(
    ForeignKeyConstraint(
        ["proposal_id", "proposal_actor"], ["verdict.id", "verdict.actor"], name="fk_verdict_proposal"
    )
)

# ── blocks and holds ───────────────────────────────────────────────────────────────────────────────────────

quarantine = Table(
    "quarantine",
    metadata,
    _id(),
    _ref(),
    _fk("cover_version_id", "cover_version"),
    Column("bucket", String(63), nullable=False),
    Column("key", String(1024), nullable=False),
    Column("version_id", String(1024), nullable=False),
    Column("rendition", Boolean, nullable=False),
    *_word("state", QuarantineState),
    *_word("level", ("block", "hold")),  # hold = block + verified vault copy
    _at("requested_at"),
    _at("blocked_at", nullable=True),
    _at("vaulted_at", nullable=True),
    Column("sha256", LargeBinary(32)),  # of the vault's bytes
    _at("releasing_at", nullable=True),  # no claim wants it held any more; a new claim takes this back
    _at("gone_at", nullable=True),  # a URL probe saw nothing
    _at("relist_until", nullable=True),  # look again for renditions until then
    _at("ended_at", nullable=True),
    _at("retain_until", nullable=True),
    Column("probes", Integer, nullable=False, server_default="0"),
    CheckConstraint("(state IN ('requested', 'held')) = (ended_at IS NULL)", name="ended"),
    CheckConstraint("state <> 'held' OR blocked_at IS NOT NULL", name="held_is_blocked"),
    CheckConstraint("state <> 'held' OR level = 'block' OR vaulted_at IS NOT NULL", name="hold_is_vaulted"),
    Index("uq_quarantine_live", "bucket", "key", "version_id", unique=True,
          sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL")),
    Index(None, "cover_version_id"),
    Index(None, "state"),
)  # fmt: skip

quarantine_claim = Table(  # released only when no claim wants it held
    "quarantine_claim",
    metadata,
    _id(),
    _fk("quarantine_id", "quarantine"),
    _fk("item_id", "case_item", nullable=True),
    _fk("screening_id", "screening", nullable=True),  # a NotScreened block accuses nobody: no case item
    _at("claimed_at"),
    _at("dropped_at", nullable=True),
    CheckConstraint("(item_id IS NULL) <> (screening_id IS NULL)", name="one_claimant"),
    UniqueConstraint("quarantine_id", "item_id"),
    UniqueConstraint("quarantine_id", "screening_id"),
)

# ── what we owe ────────────────────────────────────────────────────────────────────────────────────────────

OBLIGATIONS = ("review", "authority_report", "account_takedown", "preservation_end", "suppression_review")

obligation = Table(
    "obligation",
    metadata,
    _id(),
    *_word("kind", OBLIGATIONS),
    _fk("item_id", "case_item"),
    _at("opened_at"),
    _at("due_at"),
    _at("met_at", nullable=True),
    UniqueConstraint("kind", "item_id"),
    Index(None, "due_at"),
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    *_word("topic", ("pipeline", "safety")),
    Column("idempotency_key", String(64), nullable=False, unique=True),
    Column("body", String, nullable=False),
    _at("created_at"),
    _at("sent_at", nullable=True),
    Index(None, "sent_at"),
)

alarm = Table(
    "alarm",
    metadata,
    _id(),
    Column("kind", String(40), nullable=False),
    Column("subject", String(80), nullable=False),  # a ref, a list id, a queue name: never a title or digest
    _at("raised_at"),
    _at("seen_at"),
    Column("count", Integer, nullable=False),
    _at("closed_at", nullable=True),
    Index("uq_alarm_open", "kind", "subject", unique=True, sqlite_where=text("closed_at IS NULL"),
          postgresql_where=text("closed_at IS NULL")),
)  # fmt: skip

audit = Table(  # append-only; rows carry their digest, a sealer chains them
    "audit",
    metadata,
    _id(),
    _at("at"),
    Column("actor", String(100), nullable=False),
    Column("role", String(32), nullable=False),
    Column("verb", String(40), nullable=False),
    Column("subject", String(80), nullable=False),
    Column("facts", JSON, nullable=False),  # fixed words, numbers and refs only
    Column("digest", LargeBinary(32), nullable=False),
    Index(None, "subject"),
)

queue_message = Table(  # the embedded profile's queues
    "queue_message",
    metadata,
    _id(),
    Column("queue", String(40), nullable=False),
    Column("body", String, nullable=False),
    _at("sent_at"),
    _at("visible_at"),
    Column("receipt", String(32)),
    Column("attempts", Integer, nullable=False),
    Column("fault", String(500)),  # why it was dead-lettered
    Index(None, "queue", "visible_at"),
)

# ── what people wrote and are called ───────────────────────────────────────────────────────────────────────

statement = Table(
    "statement",
    metadata,
    _id(),
    Column("event_id", String(PLATFORM_ID), nullable=False, unique=True),
    Column("kind", String(40), nullable=False),  # title, description, track_title, name, report
    _fk("account_id", "account", nullable=True),
    Column("playlist_id", String(PLATFORM_ID)),
    Column("text_sealed", LargeBinary, nullable=False),
    _at("said_at"),
    _at("expires_at", nullable=True),  # unless frozen into a case
    Index(None, "playlist_id"),
    Index(None, "expires_at"),
    schema="private",
)
