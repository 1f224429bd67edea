"""Blocks and holds, and what keeps them."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
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

from coverguard.lifecycle import QuarantineState
from coverguard.store.schema.columns import exactly_one, metadata, moment, public_ref, refers, row_id, word

ONE_CLAIMANT = exactly_one("item_id", "screening_id", "takedown_id", "report_id")

quarantine = Table(
    "quarantine",
    metadata,
    row_id(),
    public_ref(),
    refers("cover_version_id", "cover_version"),
    Column("bucket", String(63), nullable=False),
    Column("key", String(1024), nullable=False),
    Column("version_id", String(1024), nullable=False),
    Column("rendition", Boolean, nullable=False),
    *word("state", QuarantineState),
    *word("level", ("block", "hold")),  # hold = block + verified vault copy
    Column("generation", Integer, nullable=False, server_default="1"),  # raised whenever it is blocked anew
    moment("requested_at"),
    moment("blocked_at", nullable=True),
    moment("vaulted_at", nullable=True),
    Column("sha256", LargeBinary(32)),  # of the vault's bytes
    moment("releasing_at", nullable=True),  # no claim wants it held any more; a new claim takes this back
    moment("gone_at", nullable=True),  # a URL probe saw nothing
    moment("relist_until", nullable=True),  # look again for renditions until then
    moment("ended_at", nullable=True),
    moment("retain_until", nullable=True),
    moment("checked_at", nullable=True),  # when somebody last asked
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
    row_id(),
    refers("quarantine_id", "quarantine"),
    refers("item_id", "case_item", nullable=True),
    refers("screening_id", "screening", nullable=True),  # a NotScreened block accuses nobody: no case item
    refers("takedown_id", "takedown", nullable=True),
    refers("report_id", "report", nullable=True),
    refers("cover_version_id", "cover_version", nullable=True),  # for whom a takedown or report wants it
    moment("claimed_at"),
    moment("dropped_at", nullable=True),
    CheckConstraint(ONE_CLAIMANT, name="one_claimant"),
    CheckConstraint(
        "(takedown_id IS NULL AND report_id IS NULL) = (cover_version_id IS NULL)", name="for_a_cover"
    ),
    UniqueConstraint("quarantine_id", "item_id"),
    UniqueConstraint("quarantine_id", "screening_id"),
    UniqueConstraint("quarantine_id", "takedown_id", "cover_version_id"),
    UniqueConstraint("quarantine_id", "report_id", "cover_version_id"),
    Index(None, "takedown_id"),
    Index(None, "report_id"),
    Index(None, "cover_version_id"),
    Index("ix_quarantine_claim_by_report", "claimed_at",  # what reports hid lately, for their caps
          sqlite_where=text("report_id IS NOT NULL"), postgresql_where=text("report_id IS NOT NULL")),
)  # fmt: skip

own_write = Table(  # versions that we put into the platform's buckets, recorded before: their events are ours
    "own_write",
    metadata,
    row_id(),
    refers("quarantine_id", "quarantine"),
    Column("bucket", String(63), nullable=False),
    Column("key", String(1024), nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    moment("recorded_at"),
    Column("version_id", String(1024)),  # known once it is written
    UniqueConstraint("quarantine_id"),
    Index(None, "bucket", "key"),
)
