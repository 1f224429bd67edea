"""Hash lists, their rules, their entries, and what matched them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from coverguard.model import Category, ListAction, Opinion, Tier
from coverguard.store.schema.columns import (
    PLATFORM_ID,
    Id,
    algorithm,
    exactly_one,
    listed,
    metadata,
    moment,
    public_ref,
    refers,
    row_id,
    word,
)

ATTESTED = ("organisation", "agreement", "expertise", "permitted_use", "owner", "contact")
WEIGHED = ("severity", "false_positives", "safeguards")
UNFINISHED = text("state IN ('reading', 'applying')")
IN_QUESTION = text("withdrawn_at IS NULL AND (opinion = 'negative' OR disputed)")

hash_list = Table(
    "hash_list",
    metadata,
    row_id(),
    Column("name", String(100), nullable=False, unique=True),
    Column("source", String(200), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("own", Boolean, nullable=False),  # learnt from our own confirmed removals
    moment("created_at"),
    moment("refreshed_at", nullable=True),  # when it was last known to say all that its source says
    moment("review_due_at", nullable=True),  # of its rule, by a person
)

list_rule = Table(  # append-only versions; the highest is in force
    "list_rule",
    metadata,
    row_id(),
    refers("list_id", "hash_list"),
    Column("version", Integer, nullable=False),
    *word("category", Category),
    *word("action", ListAction),
    Column("pdq_radius", Integer, nullable=False),
    Column("phash256_radius", Integer, nullable=False),
    Column("quality_floor", Integer, nullable=False),
    Column("hold_budget", Integer, nullable=False),
    Column("known", Boolean, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("note", String(500), nullable=False),
    moment("created_at"),
    Column("radii", Text, nullable=False, server_default="{}"),  # of plug-ins: JSON, algorithm to number
    Column("complement", Boolean, nullable=False, server_default=text("false")),
    Column("floors", Text, nullable=False, server_default="{}"),  # JSON, algorithm to quality
    Column("labels", Text, nullable=False, server_default="{}"),  # JSON, the source's word to ours
    Column("review_share", Integer, nullable=False, server_default="100"),  # percent
    Column("max_age", BigInteger, nullable=False, server_default="0"),  # microseconds; 0: never stale
    Column("withhold_stale", Boolean, nullable=False, server_default=text("false")),
    Column("entry_accounts", Integer, nullable=False, server_default="20"),  # an entry's breaker
    UniqueConstraint("list_id", "version"),
)

list_attestation = Table(  # append-only; the newest counts
    "list_attestation",
    metadata,
    row_id(),
    refers("list_id", "hash_list"),
    *(Column(name, String(500), nullable=False) for name in ATTESTED),
    Column("actor", String(100), nullable=False),
    moment("created_at"),
    Index(None, "list_id"),
)

list_review = Table(  # append-only: a person looked at a list's rule and at what came of it
    "list_review",
    metadata,
    row_id(),
    refers("list_id", "hash_list"),
    Column("rule_version", Integer, nullable=False),
    *(Column(name, String(1000), nullable=False) for name in WEIGHED),
    Column("confirmed", Integer, nullable=False),  # of the items it brought, as counted then
    Column("cleared", Integer, nullable=False),
    Column("actor", String(100), nullable=False),
    moment("created_at"),
    Index(None, "list_id"),
)

list_stop = Table(  # a kill switch: of a list, of all lists of a source, or of one entry
    "list_stop",
    metadata,
    row_id(),
    public_ref(),
    refers("list_id", "hash_list", nullable=True),
    Column("source", String(200)),
    refers("entry_id", "list_entry", nullable=True),
    Column("note", String(500), nullable=False),
    Column("actor", String(100), nullable=False),
    moment("stopped_at"),
    moment("until", nullable=True),  # over by itself then; none: until a person lifts it
    moment("lifted_at", nullable=True),
    CheckConstraint(exactly_one("list_id", "source", "entry_id"), name="one_subject"),
    Index(None, "lifted_at"),
)

list_entry = Table(
    "list_entry",
    metadata,
    row_id(),
    refers("list_id", "hash_list"),
    Column("source_entry_id", String(PLATFORM_ID), nullable=False),
    *algorithm(),
    Column("digest_sealed", LargeBinary, nullable=False),
    Column("row_mac", LargeBinary(32), nullable=False),  # keyed: tells a changed row without opening it
    *word("opinion", Opinion),
    Column("category", String(32)),
    Column("grid", Boolean, nullable=False),
    *word("cap", ListAction),
    refers("item_id", "case_item", nullable=True),  # own lists: the confirmed removal it was learnt from
    Column("changed_seq", BigInteger, nullable=False),
    moment("withdrawn_at", nullable=True),
    Column("part", Boolean, nullable=False, server_default=text("false")),  # own lists: a crop of the picture
    Column("label", String(64)),  # the source's own word for what it is
    Column("digest_mac", LargeBinary(32)),  # keyed: tells entries of the same digest
    Column("disputed", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("list_id", "source_entry_id", "algorithm"),
    CheckConstraint(f"category IN ({listed(Category)})", name="category"),
    Index(None, "changed_seq"),
    Index(None, "item_id"),
    Index(None, "digest_mac"),
    Index("ix_list_entry_in_question", "list_id", "digest_mac", sqlite_where=IN_QUESTION,
          postgresql_where=IN_QUESTION),
)  # fmt: skip

dead_letter = Table(  # what a source sent and nobody could read: counted, kept sealed, looked at by a person
    "dead_letter",
    metadata,
    row_id(),
    refers("list_id", "hash_list"),
    Column("place", String(100), nullable=False),
    Column("fault", String(200), nullable=False),
    Column("raw_sealed", LargeBinary),
    Column("raw_mac", LargeBinary(32), nullable=False),  # keyed: the same again is counted, not kept again
    Column("times", Integer, nullable=False),
    moment("seen_at"),
    moment("settled_at", nullable=True),
    UniqueConstraint("list_id", "raw_mac"),
)

list_import = Table(  # a whole list on its way in: read to where, applied to where
    "list_import",
    metadata,
    row_id(),
    public_ref(),
    refers("list_id", "hash_list"),
    Column("content_mac", LargeBinary(32), nullable=False),  # keyed: the same file goes on, another begins
    *word("state", ("reading", "applying", "finished", "abandoned")),
    Column("line", BigInteger, nullable=False),  # read so far
    Column("byte", BigInteger, nullable=False),
    Column("staged", BigInteger, nullable=False),
    Column("applied", BigInteger, nullable=False),
    Column("withdrawn", BigInteger, nullable=False),
    Column("malformed", BigInteger, nullable=False),
    Column("repeated", BigInteger, nullable=False),
    Column("direct", Boolean, nullable=False),  # a first load: nothing to compare with, written as it is read
    Column("before", BigInteger, nullable=False),  # entries that were listed when it was compared
    Column("doubtful", BigInteger, nullable=False),  # that vanished from a file with malformed rows
    Column("actor", String(100), nullable=False),
    moment("started_at"),
    moment("finished_at", nullable=True),
    Index("uq_list_import_open", "list_id", unique=True, sqlite_where=UNFINISHED,
          postgresql_where=UNFINISHED),
)  # fmt: skip

staged_entry = Table(  # rows that were read and are not compared yet
    "staged_entry",
    metadata,
    Column("import_id", Id, primary_key=True, autoincrement=False),
    Column("line", BigInteger, primary_key=True, autoincrement=False),  # negative: -id of one that vanished
    Column("part", Integer, primary_key=True, autoincrement=False),  # of a line with several hashes
    Column("source_entry_id", String(PLATFORM_ID), nullable=False),
    Column("algorithm", String(32), nullable=False),
    Column("digest_sealed", LargeBinary, nullable=False),
    Column("row_mac", LargeBinary(32), nullable=False),
    Column("digest_mac", LargeBinary(32), nullable=False),
    Column("opinion", String(32), nullable=False),
    Column("category", String(32)),
    Column("grid", Boolean, nullable=False),
    Column("label", String(64)),
)

exchange = Table(  # where a list comes from by itself, and how far it has come
    "exchange",
    metadata,
    row_id(),
    Column("name", String(100), nullable=False, unique=True),
    refers("list_id", "hash_list"),
    *word("kind", ("ncmec", "stopncii")),
    Column("place", String(500), nullable=False),  # an environment's name, or an address
    Column("every", BigInteger, nullable=False),  # microseconds
    Column("enabled", Boolean, nullable=False),
    Column("checkpoint", Text),
    Column("position", String(100), nullable=False, server_default=""),
    Column("holder", String(100)),  # who fetches now
    moment("held_until", nullable=True),
    moment("next_at"),
    moment("began_at", nullable=True),
    moment("caught_up_at", nullable=True),
    Column("failures", Integer, nullable=False, server_default="0"),  # in a row
    Column("fault", String(200)),
    Column("gaps", Integer, nullable=False, server_default="0"),
    CheckConstraint("(holder IS NULL) = (held_until IS NULL)", name="held_until_some_time"),
)

exchange_record = Table(  # the newest word on each record, also on those that are gone
    "exchange_record",
    metadata,
    Column("list_id", Id, primary_key=True, autoincrement=False),
    Column("record_id", String(PLATFORM_ID), primary_key=True),
    Column("stamp", BigInteger, nullable=False),  # the source's
    Column("gone", Boolean, nullable=False),
    Column("unsupported", Integer, nullable=False),
    Column("run", BigInteger),
)

lost_ground = Table(  # a decision rested on this entry alone, and the entry was withdrawn
    "lost_ground",
    metadata,
    row_id(),
    refers("item_id", "case_item"),
    refers("entry_id", "list_entry"),
    Column("seq", BigInteger, nullable=False),
    *word("outcome", ("reopened", "undecided")),
    moment("found_at"),
    UniqueConstraint("item_id", "entry_id", "seq"),
)

bookmark = Table(  # how far a walk over numbered rows has come
    "bookmark",
    metadata,
    row_id(),
    Column("name", String(40), nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
)

list_change = Table(  # one row a change of what may match: the sequence that `judged_seq` refers to
    "list_change",
    metadata,
    Column("seq", Id, primary_key=True, autoincrement=True),
    refers("list_id", "hash_list"),
    Column("kind", String(16), nullable=False),  # entries, rule, enabled, suppression
    Column("entries", Integer, nullable=False),
    moment("at"),
    sqlite_autoincrement=True,
)

match = Table(
    "match",
    metadata,
    row_id(),
    refers("screening_id", "screening"),
    refers("entry_id", "list_entry"),
    refers("list_id", "hash_list"),
    Column("rule_version", Integer, nullable=False),
    *word("category", Category),
    *word("opinion", Opinion),
    *algorithm(),
    Column("view", String(32), nullable=False),
    Column("orientation", String(16), nullable=False),
    Column("distance", Integer, nullable=False),
    Column("quality", Integer, nullable=False),
    *word("action", ListAction),
    Column("suppressed", Boolean, nullable=False),
    Column("judged_seq", BigInteger, nullable=False),
    *word("tier", Tier, default=Tier.ENFORCE),
    Column("complement", Boolean, nullable=False, server_default=text("false")),
    Column("low_diversity", Boolean, nullable=False, server_default=text("false")),  # why it refers
    UniqueConstraint("screening_id", "entry_id", "algorithm"),
    Index(None, "entry_id"),
)

suppression = Table(  # a known false positive: never an exact digest, never another entry
    "suppression",
    metadata,
    row_id(),
    refers("entry_id", "list_entry"),
    *word("kind", ("sha256", "pdq")),
    Column("digest_sealed", LargeBinary, nullable=False),
    Column("digest_mac", LargeBinary(32), nullable=False),
    refers("verdict_id", "verdict"),
    moment("created_at"),
    moment("review_at"),
    moment("lifted_at", nullable=True),
    UniqueConstraint("entry_id", "kind", "digest_mac"),
)
