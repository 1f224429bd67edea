"""Takedowns of accounts: why, how far, and what ledger and catalogue do not agree on."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from coverguard.lifecycle import TakedownState
from coverguard.model import TakedownCause
from coverguard.store.schema.columns import metadata, moment, public_ref, refers, row_id, word

LEVELS = ("block", "hold")

takedown = Table(
    "takedown",
    metadata,
    row_id(),
    public_ref(),
    refers("account_id", "account"),
    *word("state", TakedownState),
    *word("level", LEVELS),  # the highest of its causes
    moment("requested_at"),
    Column("cursor", BigInteger, nullable=False, server_default="0"),  # newest cover version listed
    moment("walked_at", nullable=True),  # when the catalogue was last walked to its end
    moment("enumerated_at", nullable=True),
    moment("dark_at", nullable=True),
    moment("verified_at", nullable=True),
    moment("look_at"),  # when somebody has to look at it next
    moment("lifting_at", nullable=True),  # its last cause was withdrawn
    moment("lifted_at", nullable=True),
    Column("objects", Integer, nullable=False, server_default="0"),  # seen gone at the last verification
    Column("reopened", Integer, nullable=False, server_default="0"),  # how often one reappeared
    CheckConstraint("(state = 'lifted') = (lifted_at IS NOT NULL)", name="lifted"),
    Index("uq_takedown_live", "account_id", unique=True, sqlite_where=text("lifted_at IS NULL"),
          postgresql_where=text("lifted_at IS NULL")),
    Index(None, "look_at"),
    Index(None, "state"),
)  # fmt: skip

takedown_cause = Table(  # lifted only when every cause is withdrawn
    "takedown_cause",
    metadata,
    row_id(),
    refers("takedown_id", "takedown"),
    *word("kind", TakedownCause),
    Column("origin", String(80), nullable=False),  # a reference of ours: item, report, event row
    *word("level", LEVELS),
    Column("actor", String(100), nullable=False),
    Column("role", String(32), nullable=False),
    moment("added_at"),
    moment("withdrawn_at", nullable=True),
    Column("withdrawn_by", String(100)),
    Column("reason_sealed", LargeBinary),  # a person's words
    Column("withdrawn_reason_sealed", LargeBinary),
    UniqueConstraint("takedown_id", "kind", "origin"),
    Index(None, "origin"),
)

takedown_difference = Table(  # what one of the two knows and the other does not
    "takedown_difference",
    metadata,
    row_id(),
    refers("takedown_id", "takedown"),
    *word("kind", ("ledger_only", "catalogue_only", "unattributed")),
    refers("cover_version_id", "cover_version", nullable=True),
    Column("bucket", String(63), nullable=False),
    Column("key", String(1024), nullable=False),
    Column("version_id", String(1024), nullable=False),
    moment("found_at"),
    moment("settled_at", nullable=True),
    UniqueConstraint("takedown_id", "bucket", "key", "version_id"),
)
