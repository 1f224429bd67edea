"""What people wrote and are called: sealed, in a schema of its own, with expiry."""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, String, Table

from coverguard.store.schema.columns import PLATFORM_ID, metadata, moment, refers, row_id

statement = Table(
    "statement",
    metadata,
    row_id(),
    Column("event_id", String(PLATFORM_ID), nullable=False, unique=True),
    Column("kind", String(40), nullable=False),  # title, description, track_title, name, report
    refers("account_id", "account", nullable=True),
    Column("playlist_id", String(PLATFORM_ID)),
    Column("text_sealed", LargeBinary, nullable=False),
    moment("said_at"),
    moment("expires_at", nullable=True),  # unless frozen into a case
    Index(None, "playlist_id"),
    Index(None, "expires_at"),
    schema="private",
)
