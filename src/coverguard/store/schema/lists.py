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
    listed,
    metadata,
    moment,
    refers,
    row_id,
    word,
)

hash_list = Table(
    "hash_list",
    metadata,
    row_id(),
    Column("name", String(100), nullable=False, unique=True),
    Column("source", String(200), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("own", Boolean, nullable=False),  # learnt from our own confirmed removals
    moment("created_at"),
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
    UniqueConstraint("list_id", "version"),
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
    UniqueConstraint("list_id", "source_entry_id", "algorithm"),
    CheckConstraint(f"category IN ({listed(Category)})", name="category"),
    Index(None, "changed_seq"),
    Index(None, "item_id"),
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
