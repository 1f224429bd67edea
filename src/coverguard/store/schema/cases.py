"""Cases, items, parties, verdicts."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from coverguard.lifecycle import ItemState
from coverguard.model import Basis, Category, Channel, PartyRole, VerdictKind, VerdictOutcome
from coverguard.store.schema.columns import Id, metadata, moment, public_ref, refers, row_id, word

case_file = Table(
    "case_file",
    metadata,
    row_id(),
    public_ref(),
    refers("account_id", "account"),
    *word("category", Category),  # the gravest of its items
    moment("opened_at"),
    moment("closed_at", nullable=True),  # set when no item is open or claimed
    Index("uq_case_file_open", "account_id", unique=True, sqlite_where=text("closed_at IS NULL"),
          postgresql_where=text("closed_at IS NULL")),
)  # fmt: skip

batch = Table(  # covers that one breaker or spent budget caught: one look at them, not a thousand
    "batch",
    metadata,
    row_id(),
    public_ref(),
    Column("scope", String(80), nullable=False),  # entry:7, list:2, source:…, global
    moment("opened_at"),
    moment("closed_at", nullable=True),
    Index("uq_batch_open", "scope", unique=True, sqlite_where=text("closed_at IS NULL"),
          postgresql_where=text("closed_at IS NULL")),
)  # fmt: skip

party = Table(  # people of a case that cannot be derived from covers, collaborations and tags
    "party",
    metadata,
    row_id(),
    refers("case_id", "case_file"),
    refers("account_id", "account"),
    *word("role", PartyRole),
    Column("actor", String(100), nullable=False),
    moment("added_at"),
    UniqueConstraint("case_id", "account_id", "role"),
)

case_item = Table(
    "case_item",
    metadata,
    row_id(),
    public_ref(),
    refers("case_id", "case_file"),
    refers("cover_version_id", "cover_version"),
    *word("state", ItemState),
    Column("claimed_by", String(100)),
    moment("lease_until", nullable=True),
    Column("consequences", Boolean, nullable=False),  # false: a hold budget was spent, see screening
    Column("two_people", Boolean, nullable=False),  # clearing takes two: it rests on a known hash
    moment("opened_at"),
    moment("decided_at", nullable=True),
    Column("batch_id", Id),  # a `batch`: looked at together, since one thing seems to have gone wrong
    Column("spared", Boolean, nullable=False, server_default=text("false")),  # not drawn for review: no clock
    UniqueConstraint("case_id", "cover_version_id"),
    CheckConstraint(
        "(state = 'claimed') = (claimed_by IS NOT NULL AND lease_until IS NOT NULL)", name="claim_has_a_lease"
    ),
    CheckConstraint("(state IN ('confirmed', 'cleared')) = (decided_at IS NOT NULL)", name="decided"),
    Index(None, "state"),
    Index(None, "cover_version_id"),
    Index(None, "batch_id"),
)

verdict = Table(  # append-only
    "verdict",
    metadata,
    row_id(),
    public_ref(),
    refers("item_id", "case_item"),
    *word("kind", VerdictKind),
    *word("outcome", VerdictOutcome),
    *word("category", Category, nullable=True),
    Column("reason_sealed", LargeBinary, nullable=False),  # a person's words
    *word("basis", Basis),
    Column("actor", String(100), nullable=False),
    Column("role", String(32), nullable=False),
    *word("channel", (Channel.CLI.value, Channel.CONSOLE.value)),  # a person decides, no interface
    moment("given_at"),
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
