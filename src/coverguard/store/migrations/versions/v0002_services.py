"""SQS, S3 and PostgreSQL: own writes, audit seals, pages. Expands only."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("alarm", sa.Column("paged_at", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_alarm_closed_at"), "alarm", ["closed_at"], unique=False)
    op.create_index(op.f("ix_cover_version_announced_at"), "cover_version", ["announced_at"], unique=False)
    # whose object an event of the store is about
    op.create_index(op.f("ix_cover_version_version_id"), "cover_version", ["version_id"], unique=False)
    op.create_table(
        "audit_chain",
        sa.Column("seq", _row_id(), autoincrement=False, nullable=False),
        sa.Column("audit_id", _row_id(), nullable=False),
        sa.Column("chain", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_chain")),
        sa.UniqueConstraint("audit_id", name=op.f("uq_audit_chain_audit_id")),
    )
    op.create_table(
        "audit_head",
        sa.Column("seq", _row_id(), autoincrement=False, nullable=False),
        sa.Column("chain", sa.LargeBinary(length=32), nullable=False),
        sa.Column("signature", sa.LargeBinary(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "own_write",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("quarantine_id", _row_id(), nullable=False),
        sa.Column("bucket", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.String(length=1024), nullable=True),
        sa.ForeignKeyConstraint(
            ["quarantine_id"], ["quarantine.id"], name=op.f("fk_own_write_quarantine_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_own_write")),
        sa.UniqueConstraint("quarantine_id", name=op.f("uq_own_write_quarantine_id")),
    )
    op.create_index(op.f("ix_own_write_bucket_own_write_key"), "own_write", ["bucket", "key"], unique=False)


def _row_id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
