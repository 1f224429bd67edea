"""Reports: what somebody told us, what it named, what became of it; and who may tell us with a key.

What reporters wrote and who they are is in `private`, sealed; their own mailboxes there can be opened with
the token on their receipt alone.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from coverguard.lifecycle import ReportState
from coverguard.model import Category, ReporterKind, Surface, TargetEffect, TargetKind, ThreadAuthor
from coverguard.store.schema.columns import (
    PLATFORM_ID,
    Id,
    metadata,
    moment,
    public_ref,
    refers,
    row_id,
    word,
)

report = Table(
    "report",
    metadata,
    row_id(),
    public_ref(),  # made by whoever gave the receipt
    *word("source", ReporterKind),
    *word("state", ReportState),
    *word("category", Category),
    Column("urgent", Boolean, nullable=False),  # a child, or a danger that is near
    Column("event_id", String(PLATFORM_ID), nullable=False, unique=True),
    Column("network", LargeBinary(32)),  # keyed digest, for caps; erased with `expire_networks`
    refers("api_key_id", "api_key", nullable=True),
    Column("mailbox", LargeBinary(32)),  # the reporter's X25519 public key; None where they have no thread
    Column("country", String(2)),
    Column("language", String(8)),
    Column("opted_out", Boolean, nullable=False),
    Column("earlier_ref", String(32)),  # what it follows on, by its reporter's word: a hint, perhaps wrong
    refers("repeats_id", "report", nullable=True),  # the first that named the same
    Column("repeats", Integer, nullable=False, server_default="0"),  # how often this one was repeated
    Column("priority", Integer, nullable=False, server_default="0"),
    moment("received_at"),
    moment("hidden_at", nullable=True),
    moment("decided_at", nullable=True),
    moment("told_at", nullable=True),  # the outcome was told, once
    Index(None, "network", "received_at"),
    Index(None, "state"),
    Index(None, "repeats_id"),
)

report_target = Table(
    "report_target",
    metadata,
    row_id(),
    refers("report_id", "report"),
    *word("kind", TargetKind),
    *word("surface", Surface, nullable=True),
    Column(
        "named_id", String(PLATFORM_ID), nullable=False
    ),  # the platform's id of the cover, playlist, account
    Column("version", BigInteger),  # of a cover; None: all of them
    *word("effect", TargetEffect),
    refers("account_id", "account", nullable=True),
    moment("effected_at", nullable=True),
    moment("decided_at", nullable=True),
    Column("outcome", String(32)),
    # Each thing once a report, in three keys: to both databases one NULL is unlike another.
    UniqueConstraint("report_id", "kind", "surface", "named_id", "version"),
    Index("uq_report_target_all_versions", "report_id", "kind", "surface", "named_id", unique=True,
          sqlite_where=text("version IS NULL"), postgresql_where=text("version IS NULL")),
    Index("uq_report_target_whole", "report_id", "kind", "named_id", unique=True,
          sqlite_where=text("surface IS NULL"), postgresql_where=text("surface IS NULL")),
    Index(None, "kind", "named_id"),
    Index(None, "account_id"),
)  # fmt: skip

report_item = Table(  # which case items a report is about
    "report_item",
    metadata,
    row_id(),
    refers("report_id", "report"),
    refers("item_id", "case_item"),
    Column("named", Boolean, nullable=False),  # or only of the same account
    moment("added_at"),
    UniqueConstraint("report_id", "item_id"),
    Index(None, "item_id"),
)

thread_entry = Table(  # append-only: the whole correspondence, as staff reads it
    "thread_entry",
    metadata,
    row_id(),
    Column("report_id", Id, nullable=False),  # SQLite can state no reference into another schema
    Column("seq", Integer, nullable=False),
    Column("entry_id", String(PLATFORM_ID), nullable=False, unique=True),
    *word("author", ThreadAuthor),
    Column("kind", String(32), nullable=False),
    Column("text_sealed", LargeBinary, nullable=False),
    moment("said_at"),
    UniqueConstraint("report_id", "seq"),
    schema="private",
)

thread_mail = Table(  # append-only: the same for the reporter, sealed to the token on the receipt
    "thread_mail",
    metadata,
    row_id(),
    Column("mailbox", LargeBinary(32), nullable=False),  # SHA-256 of the public key
    Column("seq", Integer, nullable=False),
    Column("body_sealed", LargeBinary, nullable=False),
    UniqueConstraint("mailbox", "seq"),
    schema="private",
)

reporter = Table(  # only of those who gave it
    "reporter",
    metadata,
    row_id(),
    Column("report_id", Id, nullable=False, unique=True),
    Column("contact_sealed", LargeBinary, nullable=False),
    moment("expires_at"),
    schema="private",
)

api_key = Table(
    "api_key",
    metadata,
    row_id(),
    public_ref(),
    Column("name", String(100), nullable=False),
    Column("role", String(32), nullable=False),
    Column("secret_sha256", LargeBinary(32), nullable=False, unique=True),
    Column("public_key", LargeBinary(32)),  # Ed25519, of who signs requests
    Column("created_by", String(100), nullable=False),
    moment("created_at"),
    moment("expires_at"),
    moment("revoked_at", nullable=True),
)
