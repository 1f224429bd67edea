"""Lists with a life: attestations, reviews, stops, breakers' batches; whole lists on their way in; exchanges.

Code of 0003 goes on: it writes none of the new columns and reads no new word but in rows that it does not judge.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004from0003"
down_revision = "0003from0002"
CONTRACTS = "Rules of three tables are replaced by wider ones; nothing that code of 0003 writes is refused."

REASONS = (
    "reason IN ('list_refers', 'second_opinion_only', 'seed_only', 'disputed', 'low_diversity',"
    " 'review_tier_only', 'unreadable_content', 'object_missing', 'store_unreachable', 'decoder_unavailable',"
    " 'lists_stale', 'no_answer')"
)
OPINIONS = "opinion IN ('positive', 'seed', 'negative', 'disputed')"


def upgrade() -> None:
    _govern()
    _import()
    _exchange()
    _widen()


def _govern() -> None:
    op.create_table(
        "batch",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("scope", sa.String(length=80), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
        sa.UniqueConstraint("ref", name=op.f("uq_batch_ref")),
    )
    op.create_index(
        "uq_batch_open",
        "batch",
        ["scope"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "bookmark",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bookmark")),
        sa.UniqueConstraint("name", name=op.f("uq_bookmark_name")),
    )
    op.create_table(
        "list_attestation",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("list_id", _row_id(), nullable=False),
        sa.Column("organisation", sa.String(length=500), nullable=False),
        sa.Column("agreement", sa.String(length=500), nullable=False),
        sa.Column("expertise", sa.String(length=500), nullable=False),
        sa.Column("permitted_use", sa.String(length=500), nullable=False),
        sa.Column("owner", sa.String(length=500), nullable=False),
        sa.Column("contact", sa.String(length=500), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["list_id"], ["hash_list.id"], name=op.f("fk_list_attestation_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list_attestation")),
    )
    op.create_index(op.f("ix_list_attestation_list_id"), "list_attestation", ["list_id"], unique=False)
    op.create_table(
        "list_review",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("list_id", _row_id(), nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("severity", sa.String(length=1000), nullable=False),
        sa.Column("false_positives", sa.String(length=1000), nullable=False),
        sa.Column("safeguards", sa.String(length=1000), nullable=False),
        sa.Column("confirmed", sa.Integer(), nullable=False),
        sa.Column("cleared", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["list_id"], ["hash_list.id"], name=op.f("fk_list_review_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list_review")),
    )
    op.create_index(op.f("ix_list_review_list_id"), "list_review", ["list_id"], unique=False)
    op.create_table(
        "list_stop",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("list_id", _row_id(), nullable=True),
        sa.Column("source", sa.String(length=200), nullable=True),
        sa.Column("entry_id", _row_id(), nullable=True),
        sa.Column("note", sa.String(length=500), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("stopped_at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("lifted_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "CASE WHEN list_id IS NULL THEN 0 ELSE 1 END + CASE WHEN source IS NULL THEN 0 ELSE 1 END + CASE WHEN entry_id IS NULL THEN 0 ELSE 1 END = 1",
            name=op.f("ck_list_stop_one_subject"),
        ),
        sa.ForeignKeyConstraint(["entry_id"], ["list_entry.id"], name=op.f("fk_list_stop_entry_id")),
        sa.ForeignKeyConstraint(["list_id"], ["hash_list.id"], name=op.f("fk_list_stop_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list_stop")),
        sa.UniqueConstraint("ref", name=op.f("uq_list_stop_ref")),
    )
    op.create_index(op.f("ix_list_stop_lifted_at"), "list_stop", ["lifted_at"], unique=False)
    op.create_table(
        "lost_ground",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("item_id", _row_id(), nullable=False),
        sa.Column("entry_id", _row_id(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("outcome IN ('reopened', 'undecided')", name=op.f("ck_lost_ground_outcome")),
        sa.ForeignKeyConstraint(["entry_id"], ["list_entry.id"], name=op.f("fk_lost_ground_entry_id")),
        sa.ForeignKeyConstraint(["item_id"], ["case_item.id"], name=op.f("fk_lost_ground_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lost_ground")),
        sa.UniqueConstraint("item_id", "entry_id", "seq", name=op.f("uq_lost_ground_item_id_entry_id_seq")),
    )


def _import() -> None:
    op.create_table(
        "staged_entry",
        sa.Column("import_id", _row_id(), autoincrement=False, nullable=False),
        sa.Column("line", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source_entry_id", sa.String(length=200), nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("digest_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("row_mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("digest_mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("opinion", sa.String(length=32), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=True),
        sa.Column("grid", sa.Boolean(), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("import_id", "line", "part", name=op.f("pk_staged_entry")),
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("list_id", _row_id(), nullable=False),
        sa.Column("place", sa.String(length=100), nullable=False),
        sa.Column("fault", sa.String(length=200), nullable=False),
        sa.Column("raw_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("raw_mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["list_id"], ["hash_list.id"], name=op.f("fk_dead_letter_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter")),
        sa.UniqueConstraint("list_id", "raw_mac", name=op.f("uq_dead_letter_list_id_raw_mac")),
    )
    op.create_table(
        "list_import",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("list_id", _row_id(), nullable=False),
        sa.Column("content_mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("byte", sa.BigInteger(), nullable=False),
        sa.Column("staged", sa.BigInteger(), nullable=False),
        sa.Column("applied", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn", sa.BigInteger(), nullable=False),
        sa.Column("malformed", sa.BigInteger(), nullable=False),
        sa.Column("repeated", sa.BigInteger(), nullable=False),
        sa.Column("direct", sa.Boolean(), nullable=False),
        sa.Column("before", sa.BigInteger(), nullable=False),
        sa.Column("doubtful", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('reading', 'applying', 'finished', 'abandoned')", name=op.f("ck_list_import_state")
        ),
        sa.ForeignKeyConstraint(["list_id"], ["hash_list.id"], name=op.f("fk_list_import_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list_import")),
        sa.UniqueConstraint("ref", name=op.f("uq_list_import_ref")),
    )
    op.create_index(
        "uq_list_import_open",
        "list_import",
        ["list_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('reading', 'applying')"),
        postgresql_where=sa.text("state IN ('reading', 'applying')"),
    )


def _exchange() -> None:
    op.create_table(
        "exchange_record",
        sa.Column("list_id", _row_id(), autoincrement=False, nullable=False),
        sa.Column("record_id", sa.String(length=200), nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.Column("unsupported", sa.Integer(), nullable=False),
        sa.Column("run", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("list_id", "record_id", name=op.f("pk_exchange_record")),
    )
    op.create_table(
        "exchange",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("list_id", _row_id(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("place", sa.String(length=500), nullable=False),
        sa.Column("every", sa.BigInteger(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=True),
        sa.Column("position", sa.String(length=100), server_default="", nullable=False),
        sa.Column("holder", sa.String(length=100), nullable=True),
        sa.Column("held_until", sa.BigInteger(), nullable=True),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=True),
        sa.Column("caught_up_at", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fault", sa.String(length=200), nullable=True),
        sa.Column("gaps", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("kind IN ('ncmec', 'stopncii')", name=op.f("ck_exchange_kind")),
        sa.CheckConstraint(
            "(holder IS NULL) = (held_until IS NULL)", name=op.f("ck_exchange_held_until_some_time")
        ),
        sa.ForeignKeyConstraint(["list_id"], ["hash_list.id"], name=op.f("fk_exchange_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exchange")),
        sa.UniqueConstraint("name", name=op.f("uq_exchange_name")),
    )


def _widen() -> None:
    op.add_column("case_item", sa.Column("batch_id", _row_id(), nullable=True))
    op.add_column(
        "case_item", sa.Column("spared", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_index(op.f("ix_case_item_batch_id"), "case_item", ["batch_id"], unique=False)
    op.add_column("hash_list", sa.Column("refreshed_at", sa.BigInteger(), nullable=True))
    op.add_column("hash_list", sa.Column("review_due_at", sa.BigInteger(), nullable=True))
    op.add_column("list_entry", sa.Column("label", sa.String(length=64), nullable=True))
    op.add_column("list_entry", sa.Column("digest_mac", sa.LargeBinary(length=32), nullable=True))
    op.add_column(
        "list_entry", sa.Column("disputed", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_index(op.f("ix_list_entry_digest_mac"), "list_entry", ["digest_mac"], unique=False)
    op.create_index(
        "ix_list_entry_in_question",
        "list_entry",
        ["list_id", "digest_mac"],
        unique=False,
        sqlite_where=sa.text("withdrawn_at IS NULL AND (opinion = 'negative' OR disputed)"),
        postgresql_where=sa.text("withdrawn_at IS NULL AND (opinion = 'negative' OR disputed)"),
    )
    op.add_column("list_rule", sa.Column("floors", sa.Text(), server_default="{}", nullable=False))
    op.add_column("list_rule", sa.Column("labels", sa.Text(), server_default="{}", nullable=False))
    op.add_column("list_rule", sa.Column("review_share", sa.Integer(), server_default="100", nullable=False))
    op.add_column("list_rule", sa.Column("max_age", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column(
        "list_rule",
        sa.Column("withhold_stale", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column("list_rule", sa.Column("entry_accounts", sa.Integer(), server_default="20", nullable=False))
    if op.get_bind().dialect.name == "postgresql":  # on SQLite 0003 makes these tables anew, with these words
        for table, name, words in (
            ("screening", "reason", REASONS), ("list_entry", "opinion", OPINIONS), ("match", "opinion", OPINIONS),
        ):  # fmt: skip
            op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
            op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, words)


def _row_id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
