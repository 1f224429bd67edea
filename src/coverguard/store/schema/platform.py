"""What the platform told us."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, String, Table, UniqueConstraint

from coverguard.model import Mode, Surface
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

account = Table(
    "account",
    metadata,
    row_id(),
    Column("platform_id", String(PLATFORM_ID), nullable=False, unique=True),
    moment("seen_at"),
    Column(
        "takedown_id", Id
    ),  # the one that is live: read under this row's lock by whoever announces a cover
)

cover_version = Table(
    "cover_version",
    metadata,
    row_id(),
    public_ref(),
    *word("surface", Surface),
    Column("cover_id", String(PLATFORM_ID), nullable=False),
    Column("version", BigInteger, nullable=False),
    *word("mode", Mode),  # the surface's mode when it was announced
    refers("uploader_id", "account"),
    refers("owner_id", "account"),
    Column("playlist_id", String(PLATFORM_ID)),
    Column("bucket", String(63), nullable=False),
    Column("key", String(1024), nullable=False),
    Column("version_id", String(1024), nullable=False),
    Column("renditions", JSON, nullable=False),
    Column("event_id", String(PLATFORM_ID), nullable=False),
    moment("sent_at"),  # when the message entered the queue
    moment("announced_at"),
    moment("deleted_at", nullable=True),  # the platform's tombstone
    Column("verdict_seq", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("surface", "cover_id", "version"),
    Index(None, "uploader_id"),
    Index(None, "playlist_id"),
    Index(None, "version_id"),
    Index(None, "announced_at"),
)

platform_event = Table(  # shown as unserved until a later release acts on it
    "platform_event",
    metadata,
    row_id(),
    Column("event_id", String(PLATFORM_ID), nullable=False, unique=True),
    Column("type", String(40), nullable=False),
    refers("account_id", "account", nullable=True),
    Column("playlist_id", String(PLATFORM_ID)),
    Column("facts", JSON, nullable=False),  # ids and fixed words only; text is in private.statement
    moment("occurred_at"),
    moment("received_at"),
    moment("served_at", nullable=True),
    Index(None, "type", "served_at"),
    Index(None, "playlist_id"),
)

collaboration = Table(
    "collaboration",
    metadata,
    row_id(),
    Column("playlist_id", String(PLATFORM_ID), nullable=False),
    refers("account_id", "account"),
    moment("changed_at"),  # of the newest event seen; an older one arriving late changes nothing
    Column("active", Boolean, nullable=False),
    UniqueConstraint("playlist_id", "account_id"),
    Index(None, "account_id"),
)
