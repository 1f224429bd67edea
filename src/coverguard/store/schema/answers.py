"""Fingerprints and the answers they led to."""

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

from coverguard.model import NotScreenedReason, Origin, ReferReason
from coverguard.store.schema.columns import PLATFORM_ID, listed, metadata, moment, refers, row_id, word

fingerprint = Table(
    "fingerprint",
    metadata,
    row_id(),
    refers("cover_version_id", "cover_version"),
    Column("fingerprint_version", Integer, nullable=False),
    Column("md5", LargeBinary(16), nullable=False),
    Column("sha1", LargeBinary(20), nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("format", String(16), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("judged_seq", BigInteger, nullable=False),  # the newest list change these signals were judged at
    moment("created_at"),
    UniqueConstraint("cover_version_id", "fingerprint_version"),
    Index(None, "judged_seq"),
    Index(None, "sha256"),
)

fingerprint_view = Table(
    "fingerprint_view",
    metadata,
    row_id(),
    refers("fingerprint_id", "fingerprint"),
    Column("name", String(32), nullable=False),
    Column("quality", Integer, nullable=False),
    Column("pdq", LargeBinary(32), nullable=False),
    Column("phash256", LargeBinary(32), nullable=False),
    Column("low_diversity", Boolean, nullable=False, server_default=text("false")),
    Column("plugged_in", Text, nullable=False, server_default="{}"),  # JSON, algorithm to hex digest
    UniqueConstraint("fingerprint_id", "name"),
    CheckConstraint("quality BETWEEN 0 AND 100", name="quality"),
)

DECISIONS = ("pass", "refer", "hold", "not_screened")

screening = Table(
    "screening",
    metadata,
    row_id(),
    refers("cover_version_id", "cover_version"),
    *word("origin", Origin),
    Column("origin_id", String(PLATFORM_ID), nullable=False, server_default=""),
    Column("fingerprint_version", Integer, nullable=False),
    *word("decision", DECISIONS),
    Column("reason", String(40)),  # of Refer and NotScreened
    Column("detail", String(40), nullable=False, server_default=""),
    Column("low_information", Boolean, nullable=False, server_default=text("false")),
    Column("budget_spent", String(40)),  # the scope whose hold budget stopped consequences
    Column("judged_seq", BigInteger),
    Column("software", String(40), nullable=False),
    moment("decided_at"),
    Column("attempts", Integer, nullable=False, server_default="1"),
    moment("first_failed_at", nullable=True),
    moment("retry_at", nullable=True),
    Column("told", String(32)),  # the pipeline event last owed for this answer
    moment("settled_at", nullable=True),  # every act this answer called for is done
    UniqueConstraint("cover_version_id", "origin", "origin_id", "fingerprint_version"),
    CheckConstraint(
        "(decision = 'not_screened') = (first_failed_at IS NOT NULL)", name="failure_has_a_start"
    ),
    CheckConstraint("retry_at IS NULL OR decision = 'not_screened'", name="only_failures_retry"),
    CheckConstraint(f"reason IN ({listed((*ReferReason, *NotScreenedReason))})", name="reason"),
    Index(None, "settled_at"),
    Index(None, "retry_at"),
)
