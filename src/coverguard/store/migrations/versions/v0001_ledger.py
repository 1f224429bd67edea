"""The ledger of release 0.1.0.

Verdicts and audit rows are append-only: triggers refuse to change or remove one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY = ("verdict", "audit")


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE SCHEMA IF NOT EXISTS private")

    op.create_table(
        "account",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("platform_id", sa.String(length=200), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("platform_id", name=op.f("uq_account_platform_id")),
    )
    op.create_table(
        "alarm",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("raised_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
    )
    op.create_index(
        "uq_alarm_open",
        "alarm",
        ["kind", "subject"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "audit",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("verb", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"], unique=False)
    op.create_table(
        "hash_list",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hash_list")),
        sa.UniqueConstraint("name", name=op.f("uq_hash_list_name")),
    )
    op.create_table(
        "outbox",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("topic", sa.String(length=32), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("topic IN ('pipeline', 'safety')", name=op.f("ck_outbox_topic")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_outbox_idempotency_key")),
    )
    op.create_index(op.f("ix_outbox_sent_at"), "outbox", ["sent_at"], unique=False)
    op.create_table(
        "queue_message",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("queue", sa.String(length=40), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("visible_at", sa.BigInteger(), nullable=False),
        sa.Column("receipt", sa.String(length=32), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fault", sa.String(length=500), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue_message")),
    )
    op.create_index(
        op.f("ix_queue_message_queue_queue_message_visible_at"),
        "queue_message",
        ["queue", "visible_at"],
        unique=False,
    )
    op.create_table(
        "case_file",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "category IN ('child_abuse', 'intimate_image', 'terrorism', 'other')",
            name=op.f("ck_case_file_category"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_case_file_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_file")),
        sa.UniqueConstraint("ref", name=op.f("uq_case_file_ref")),
    )
    op.create_index(
        "uq_case_file_open",
        "case_file",
        ["account_id"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "collaboration",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("playlist_id", sa.String(length=200), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_collaboration_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collaboration")),
        sa.UniqueConstraint(
            "playlist_id", "account_id", name=op.f("uq_collaboration_playlist_id_account_id")
        ),
    )
    op.create_index(op.f("ix_collaboration_account_id"), "collaboration", ["account_id"], unique=False)
    op.create_table(
        "cover_version",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("surface", sa.String(length=32), nullable=False),
        sa.Column("cover_id", sa.String(length=200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.String(length=32), nullable=False),
        sa.Column("uploader_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("owner_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("playlist_id", sa.String(length=200), nullable=True),
        sa.Column("bucket", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("version_id", sa.String(length=1024), nullable=False),
        sa.Column("renditions", sa.JSON(), nullable=False),
        sa.Column("event_id", sa.String(length=200), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("announced_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("verdict_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("mode IN ('gate', 'watch')", name=op.f("ck_cover_version_mode")),
        sa.CheckConstraint(
            "surface IN ('playlist_cover', 'profile_image', 'track_art')",
            name=op.f("ck_cover_version_surface"),
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["account.id"], name=op.f("fk_cover_version_owner_id")),
        sa.ForeignKeyConstraint(["uploader_id"], ["account.id"], name=op.f("fk_cover_version_uploader_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cover_version")),
        sa.UniqueConstraint("ref", name=op.f("uq_cover_version_ref")),
        sa.UniqueConstraint(
            "surface", "cover_id", "version", name=op.f("uq_cover_version_surface_cover_id_version")
        ),
    )
    op.create_index(op.f("ix_cover_version_playlist_id"), "cover_version", ["playlist_id"], unique=False)
    op.create_index(op.f("ix_cover_version_uploader_id"), "cover_version", ["uploader_id"], unique=False)
    op.create_table(
        "list_change",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("list_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["list_id"], ["hash_list.id"], name=op.f("fk_list_change_list_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_list_change")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "list_rule",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("list_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("pdq_radius", sa.Integer(), nullable=False),
        sa.Column("phash256_radius", sa.Integer(), nullable=False),
        sa.Column("quality_floor", sa.Integer(), nullable=False),
        sa.Column("hold_budget", sa.Integer(), nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("note", sa.String(length=500), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("action IN ('shadow', 'refer', 'hold')", name=op.f("ck_list_rule_action")),
        sa.CheckConstraint(
            "category IN ('child_abuse', 'intimate_image', 'terrorism', 'other')",
            name=op.f("ck_list_rule_category"),
        ),
        sa.ForeignKeyConstraint(["list_id"], ["hash_list.id"], name=op.f("fk_list_rule_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list_rule")),
        sa.UniqueConstraint("list_id", "version", name=op.f("uq_list_rule_list_id_version")),
    )
    op.create_table(
        "platform_event",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("event_id", sa.String(length=200), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("playlist_id", sa.String(length=200), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("served_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_platform_event_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_platform_event")),
        sa.UniqueConstraint("event_id", name=op.f("uq_platform_event_event_id")),
    )
    op.create_index(op.f("ix_platform_event_playlist_id"), "platform_event", ["playlist_id"], unique=False)
    op.create_index(
        op.f("ix_platform_event_type_platform_event_served_at"),
        "platform_event",
        ["type", "served_at"],
        unique=False,
    )
    op.create_table(
        "statement",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("event_id", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("playlist_id", sa.String(length=200), nullable=True),
        sa.Column("text_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("said_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_statement_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_statement")),
        sa.UniqueConstraint("event_id", name=op.f("uq_statement_event_id")),
        schema="private",
    )
    op.create_index(
        op.f("ix_private_statement_expires_at"), "statement", ["expires_at"], unique=False, schema="private"
    )
    op.create_index(
        op.f("ix_private_statement_playlist_id"), "statement", ["playlist_id"], unique=False, schema="private"
    )
    op.create_table(
        "case_item",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cover_version_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("claimed_by", sa.String(length=100), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("consequences", sa.Boolean(), nullable=False),
        sa.Column("two_people", sa.Boolean(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(state = 'claimed') = (claimed_by IS NOT NULL AND lease_until IS NOT NULL)",
            name=op.f("ck_case_item_claim_has_a_lease"),
        ),
        sa.CheckConstraint(
            "(state IN ('confirmed', 'cleared')) = (decided_at IS NOT NULL)",
            name=op.f("ck_case_item_decided"),
        ),
        sa.CheckConstraint(
            "state IN ('open', 'claimed', 'confirmed', 'cleared')", name=op.f("ck_case_item_state")
        ),
        sa.ForeignKeyConstraint(["case_id"], ["case_file.id"], name=op.f("fk_case_item_case_id")),
        sa.ForeignKeyConstraint(
            ["cover_version_id"], ["cover_version.id"], name=op.f("fk_case_item_cover_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_item")),
        sa.UniqueConstraint(
            "case_id", "cover_version_id", name=op.f("uq_case_item_case_id_cover_version_id")
        ),
        sa.UniqueConstraint("ref", name=op.f("uq_case_item_ref")),
    )
    op.create_index(op.f("ix_case_item_cover_version_id"), "case_item", ["cover_version_id"], unique=False)
    op.create_index(op.f("ix_case_item_state"), "case_item", ["state"], unique=False)
    op.create_table(
        "fingerprint",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("cover_version_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("fingerprint_version", sa.Integer(), nullable=False),
        sa.Column("md5", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sha1", sa.LargeBinary(length=20), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("judged_seq", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cover_version_id"], ["cover_version.id"], name=op.f("fk_fingerprint_cover_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fingerprint")),
        sa.UniqueConstraint(
            "cover_version_id",
            "fingerprint_version",
            name=op.f("uq_fingerprint_cover_version_id_fingerprint_version"),
        ),
    )
    op.create_index(op.f("ix_fingerprint_judged_seq"), "fingerprint", ["judged_seq"], unique=False)
    op.create_index(op.f("ix_fingerprint_sha256"), "fingerprint", ["sha256"], unique=False)
    op.create_table(
        "party",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "role IN ('uploader', 'subject', 'victim', 'reporter', 'witness')", name=op.f("ck_party_role")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_party_account_id")),
        sa.ForeignKeyConstraint(["case_id"], ["case_file.id"], name=op.f("fk_party_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_party")),
        sa.UniqueConstraint("case_id", "account_id", "role", name=op.f("uq_party_case_id_account_id_role")),
    )
    op.create_table(
        "quarantine",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("cover_version_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("bucket", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("version_id", sa.String(length=1024), nullable=False),
        sa.Column("rendition", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("level", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.Integer(), server_default="1", nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("blocked_at", sa.BigInteger(), nullable=True),
        sa.Column("vaulted_at", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=True),
        sa.Column("releasing_at", sa.BigInteger(), nullable=True),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.Column("relist_until", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("retain_until", sa.BigInteger(), nullable=True),
        sa.Column("checked_at", sa.BigInteger(), nullable=True),
        sa.Column("probes", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "(state IN ('requested', 'held')) = (ended_at IS NULL)", name=op.f("ck_quarantine_ended")
        ),
        sa.CheckConstraint("level IN ('block', 'hold')", name=op.f("ck_quarantine_level")),
        sa.CheckConstraint(
            "state <> 'held' OR blocked_at IS NOT NULL", name=op.f("ck_quarantine_held_is_blocked")
        ),
        sa.CheckConstraint(
            "state <> 'held' OR level = 'block' OR vaulted_at IS NOT NULL",
            name=op.f("ck_quarantine_hold_is_vaulted"),
        ),
        sa.CheckConstraint(
            "state IN ('requested', 'held', 'released', 'superseded', 'destroyed', 'abandoned')",
            name=op.f("ck_quarantine_state"),
        ),
        sa.ForeignKeyConstraint(
            ["cover_version_id"], ["cover_version.id"], name=op.f("fk_quarantine_cover_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("ref", name=op.f("uq_quarantine_ref")),
    )
    op.create_index(op.f("ix_quarantine_cover_version_id"), "quarantine", ["cover_version_id"], unique=False)
    op.create_index(op.f("ix_quarantine_state"), "quarantine", ["state"], unique=False)
    op.create_index(
        "uq_quarantine_live",
        "quarantine",
        ["bucket", "key", "version_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "screening",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("cover_version_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("origin", sa.String(length=32), nullable=False),
        sa.Column("origin_id", sa.String(length=200), server_default="", nullable=False),
        sa.Column("fingerprint_version", sa.Integer(), nullable=False),
        sa.Column("decision", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=True),
        sa.Column("detail", sa.String(length=40), server_default="", nullable=False),
        sa.Column("low_information", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("budget_spent", sa.String(length=40), nullable=True),
        sa.Column("judged_seq", sa.BigInteger(), nullable=True),
        sa.Column("software", sa.String(length=40), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="1", nullable=False),
        sa.Column("first_failed_at", sa.BigInteger(), nullable=True),
        sa.Column("retry_at", sa.BigInteger(), nullable=True),
        sa.Column("told", sa.String(length=32), nullable=True),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(decision = 'not_screened') = (first_failed_at IS NOT NULL)",
            name=op.f("ck_screening_failure_has_a_start"),
        ),
        sa.CheckConstraint(
            "decision IN ('pass', 'refer', 'hold', 'not_screened')", name=op.f("ck_screening_decision")
        ),
        sa.CheckConstraint("origin IN ('upload', 'sweep', 'report')", name=op.f("ck_screening_origin")),
        sa.CheckConstraint(
            "reason IN ('list_refers', 'second_opinion_only', 'seed_only', 'unreadable_content', 'object_missing', 'store_unreachable', 'no_answer')",
            name=op.f("ck_screening_reason"),
        ),
        sa.CheckConstraint(
            "retry_at IS NULL OR decision = 'not_screened'", name=op.f("ck_screening_only_failures_retry")
        ),
        sa.ForeignKeyConstraint(
            ["cover_version_id"], ["cover_version.id"], name=op.f("fk_screening_cover_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screening")),
        sa.UniqueConstraint(
            "cover_version_id",
            "origin",
            "origin_id",
            "fingerprint_version",
            name=op.f("uq_screening_cover_version_id_origin_origin_id_fingerprint_version"),
        ),
    )
    op.create_index(op.f("ix_screening_retry_at"), "screening", ["retry_at"], unique=False)
    op.create_index(op.f("ix_screening_settled_at"), "screening", ["settled_at"], unique=False)
    op.create_table(
        "fingerprint_view",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("fingerprint_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("quality", sa.Integer(), nullable=False),
        sa.Column("pdq", sa.LargeBinary(length=32), nullable=False),
        sa.Column("phash256", sa.LargeBinary(length=32), nullable=False),
        sa.CheckConstraint("quality BETWEEN 0 AND 100", name=op.f("ck_fingerprint_view_quality")),
        sa.ForeignKeyConstraint(
            ["fingerprint_id"], ["fingerprint.id"], name=op.f("fk_fingerprint_view_fingerprint_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fingerprint_view")),
        sa.UniqueConstraint("fingerprint_id", "name", name=op.f("uq_fingerprint_view_fingerprint_id_name")),
    )
    op.create_table(
        "list_entry",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("list_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source_entry_id", sa.String(length=200), nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("digest_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("row_mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("opinion", sa.String(length=32), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=True),
        sa.Column("grid", sa.Boolean(), nullable=False),
        sa.Column("cap", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("changed_seq", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "algorithm IN ('pdq', 'phash256', 'sha256', 'sha1', 'md5')", name=op.f("ck_list_entry_algorithm")
        ),
        sa.CheckConstraint("cap IN ('shadow', 'refer', 'hold')", name=op.f("ck_list_entry_cap")),
        sa.CheckConstraint(
            "category IN ('child_abuse', 'intimate_image', 'terrorism', 'other')",
            name=op.f("ck_list_entry_category"),
        ),
        sa.CheckConstraint("opinion IN ('positive', 'seed', 'negative')", name=op.f("ck_list_entry_opinion")),
        sa.ForeignKeyConstraint(["item_id"], ["case_item.id"], name=op.f("fk_list_entry_item_id")),
        sa.ForeignKeyConstraint(["list_id"], ["hash_list.id"], name=op.f("fk_list_entry_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list_entry")),
        sa.UniqueConstraint(
            "list_id",
            "source_entry_id",
            "algorithm",
            name=op.f("uq_list_entry_list_id_source_entry_id_algorithm"),
        ),
    )
    op.create_index(op.f("ix_list_entry_changed_seq"), "list_entry", ["changed_seq"], unique=False)
    op.create_index(op.f("ix_list_entry_item_id"), "list_entry", ["item_id"], unique=False)
    op.create_table(
        "obligation",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("met_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('review', 'authority_report', 'account_takedown', 'preservation_end', 'suppression_review')",
            name=op.f("ck_obligation_kind"),
        ),
        sa.ForeignKeyConstraint(["item_id"], ["case_item.id"], name=op.f("fk_obligation_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_obligation")),
    )
    op.create_index(op.f("ix_obligation_due_at"), "obligation", ["due_at"], unique=False)
    op.create_index(
        "uq_obligation_open",
        "obligation",
        ["kind", "item_id"],
        unique=True,
        sqlite_where=sa.text("met_at IS NULL"),
        postgresql_where=sa.text("met_at IS NULL"),
    )
    op.create_table(
        "quarantine_claim",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("quarantine_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("screening_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("claimed_at", sa.BigInteger(), nullable=False),
        sa.Column("dropped_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(item_id IS NULL) <> (screening_id IS NULL)", name=op.f("ck_quarantine_claim_one_claimant")
        ),
        sa.ForeignKeyConstraint(["item_id"], ["case_item.id"], name=op.f("fk_quarantine_claim_item_id")),
        sa.ForeignKeyConstraint(
            ["quarantine_id"], ["quarantine.id"], name=op.f("fk_quarantine_claim_quarantine_id")
        ),
        sa.ForeignKeyConstraint(
            ["screening_id"], ["screening.id"], name=op.f("fk_quarantine_claim_screening_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine_claim")),
        sa.UniqueConstraint(
            "quarantine_id", "item_id", name=op.f("uq_quarantine_claim_quarantine_id_item_id")
        ),
        sa.UniqueConstraint(
            "quarantine_id", "screening_id", name=op.f("uq_quarantine_claim_quarantine_id_screening_id")
        ),
    )
    op.create_table(
        "verdict",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=True),
        sa.Column("reason_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("basis", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("given_at", sa.BigInteger(), nullable=False),
        sa.Column("proposal_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("proposal_actor", sa.String(length=100), nullable=True),
        sa.CheckConstraint(
            "(kind = 'second') = (proposal_id IS NOT NULL)", name=op.f("ck_verdict_second_names_a_proposal")
        ),
        sa.CheckConstraint(
            "basis IN ('viewed', 'match_record', 'prior_verdict')", name=op.f("ck_verdict_basis")
        ),
        sa.CheckConstraint(
            "category IN ('child_abuse', 'intimate_image', 'terrorism', 'other')",
            name=op.f("ck_verdict_category"),
        ),
        sa.CheckConstraint("channel IN ('cli', 'console')", name=op.f("ck_verdict_channel")),
        sa.CheckConstraint(
            "kind IN ('proposal', 'decision', 'second', 'appeal')", name=op.f("ck_verdict_kind")
        ),
        sa.CheckConstraint(
            "outcome IN ('confirm', 'clear', 'unsure', 'reopen')", name=op.f("ck_verdict_outcome")
        ),
        sa.CheckConstraint(
            "(proposal_id IS NULL) = (proposal_actor IS NULL)", name=op.f("ck_verdict_proposal_has_an_actor")
        ),
        sa.CheckConstraint(
            "proposal_actor IS NULL OR proposal_actor <> actor", name=op.f("ck_verdict_two_different_people")
        ),
        sa.ForeignKeyConstraint(["item_id"], ["case_item.id"], name=op.f("fk_verdict_item_id")),
        sa.ForeignKeyConstraint(
            ["proposal_id", "proposal_actor"], ["verdict.id", "verdict.actor"], name="fk_verdict_proposal"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
        sa.UniqueConstraint("id", "actor", name=op.f("uq_verdict_id_actor")),
        sa.UniqueConstraint("proposal_id", name=op.f("uq_verdict_proposal_id")),
        sa.UniqueConstraint("ref", name=op.f("uq_verdict_ref")),
    )
    op.create_index(op.f("ix_verdict_item_id"), "verdict", ["item_id"], unique=False)
    op.create_table(
        "match",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("screening_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("list_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=False),
        sa.Column("opinion", sa.String(length=32), nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("view", sa.String(length=32), nullable=False),
        sa.Column("orientation", sa.String(length=16), nullable=False),
        sa.Column("distance", sa.Integer(), nullable=False),
        sa.Column("quality", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("suppressed", sa.Boolean(), nullable=False),
        sa.Column("judged_seq", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("action IN ('shadow', 'refer', 'hold')", name=op.f("ck_match_action")),
        sa.CheckConstraint(
            "algorithm IN ('pdq', 'phash256', 'sha256', 'sha1', 'md5')", name=op.f("ck_match_algorithm")
        ),
        sa.CheckConstraint(
            "category IN ('child_abuse', 'intimate_image', 'terrorism', 'other')",
            name=op.f("ck_match_category"),
        ),
        sa.CheckConstraint("opinion IN ('positive', 'seed', 'negative')", name=op.f("ck_match_opinion")),
        sa.ForeignKeyConstraint(["entry_id"], ["list_entry.id"], name=op.f("fk_match_entry_id")),
        sa.ForeignKeyConstraint(["list_id"], ["hash_list.id"], name=op.f("fk_match_list_id")),
        sa.ForeignKeyConstraint(["screening_id"], ["screening.id"], name=op.f("fk_match_screening_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_match")),
        sa.UniqueConstraint(
            "screening_id", "entry_id", "algorithm", name=op.f("uq_match_screening_id_entry_id_algorithm")
        ),
    )
    op.create_index(op.f("ix_match_entry_id"), "match", ["entry_id"], unique=False)
    op.create_table(
        "suppression",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("digest_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("digest_mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("verdict_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("review_at", sa.BigInteger(), nullable=False),
        sa.Column("lifted_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('sha256', 'pdq')", name=op.f("ck_suppression_kind")),
        sa.ForeignKeyConstraint(["entry_id"], ["list_entry.id"], name=op.f("fk_suppression_entry_id")),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdict.id"], name=op.f("fk_suppression_verdict_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppression")),
        sa.UniqueConstraint(
            "entry_id", "kind", "digest_mac", name=op.f("uq_suppression_entry_id_kind_digest_mac")
        ),
    )

    for table in APPEND_ONLY:
        _refuse_changes(table)


def _refuse_changes(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION '{table} is append-only'; END$$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()"
    )
