"""What we owe and keep: obligations, events, alarms, the audit trail, the embedded profile's queues."""

from __future__ import annotations

from sqlalchemy import JSON, CheckConstraint, Column, Index, Integer, LargeBinary, String, Table, text

from coverguard.store.schema.columns import Id, exactly_one, metadata, moment, refers, row_id, word

OBLIGATIONS = (
    "review", "authority_report", "account_takedown", "preservation_end", "suppression_review",
    "report_review", "repeat_review", "removal_48h", "notice_24h",
)  # fmt: skip
UNMET = text("met_at IS NULL")


def _once(subject: str) -> Index:
    """A running clock is never doubled."""
    name = "uq_obligation_open" if subject == "item_id" else f"uq_obligation_open_{subject[:-3]}"
    return Index(name, "kind", subject, unique=True, sqlite_where=UNMET, postgresql_where=UNMET)


obligation = Table(
    "obligation",
    metadata,
    row_id(),
    *word("kind", OBLIGATIONS),
    refers("item_id", "case_item", nullable=True),
    refers("takedown_id", "takedown", nullable=True),
    refers("report_id", "report", nullable=True),
    moment("opened_at"),
    moment("due_at"),
    moment("met_at", nullable=True),
    Column("warned", Integer, nullable=False, server_default="0"),  # percent of its time: the last alarm's
    CheckConstraint(exactly_one("item_id", "takedown_id", "report_id"), name="one_subject"),
    Index(None, "due_at"),
    _once("item_id"),
    _once("takedown_id"),
    _once("report_id"),
)

outbox = Table(
    "outbox",
    metadata,
    row_id(),
    *word("topic", ("pipeline", "safety")),
    Column("idempotency_key", String(64), nullable=False, unique=True),
    Column("body", String, nullable=False),
    moment("created_at"),
    moment("sent_at", nullable=True),
    Index(None, "sent_at"),
)

alarm = Table(
    "alarm",
    metadata,
    row_id(),
    Column("kind", String(40), nullable=False),
    Column("subject", String(80), nullable=False),  # a ref, a list id, a queue name: never a title or digest
    moment("raised_at"),
    moment("seen_at"),
    Column("count", Integer, nullable=False),
    moment("closed_at", nullable=True),
    moment("paged_at", nullable=True),  # when somebody was last told
    Index(None, "closed_at"),
    Index("uq_alarm_open", "kind", "subject", unique=True, sqlite_where=text("closed_at IS NULL"),
          postgresql_where=text("closed_at IS NULL")),
)  # fmt: skip

audit = Table(  # append-only; rows carry their digest, a sealer chains them
    "audit",
    metadata,
    row_id(),
    moment("at"),
    Column("actor", String(100), nullable=False),
    Column("role", String(32), nullable=False),
    Column("verb", String(40), nullable=False),
    Column("subject", String(80), nullable=False),
    Column("facts", JSON, nullable=False),  # fixed words, numbers and refs only
    Column("digest", LargeBinary(32), nullable=False),
    Index(None, "subject"),
)

audit_chain = Table(  # append-only: each row's link; its order is the chain's, whatever order ids came in
    "audit_chain",
    metadata,
    Column("seq", Id, primary_key=True, autoincrement=False),
    Column("audit_id", Id, nullable=False, unique=True),  # no foreign key: a removed row has to leave a link
    Column("chain", LargeBinary(32), nullable=False),
)

audit_head = Table(  # what was signed of the chain, and whether a locked place has it
    "audit_head",
    metadata,
    Column("seq", Id, primary_key=True, autoincrement=False),  # the newest link it covers
    Column("chain", LargeBinary(32), nullable=False),
    Column("signature", LargeBinary(64), nullable=False),
    Column("key_id", String(64), nullable=False),
    moment("sealed_at"),
    moment("archived_at", nullable=True),
)

queue_message = Table(  # the embedded profile's queues
    "queue_message",
    metadata,
    row_id(),
    Column("queue", String(40), nullable=False),
    Column("body", String, nullable=False),
    moment("sent_at"),
    moment("visible_at"),
    Column("receipt", String(32)),
    Column("attempts", Integer, nullable=False),
    Column("fault", String(500)),  # why it was dead-lettered
    Index(None, "queue", "visible_at"),
)
