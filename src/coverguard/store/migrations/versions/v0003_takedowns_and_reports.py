"""Takedowns, reports with their threads, keys of the interface, clocks of more than items; tiers, plug-ins.

Code of 0002 goes on: it writes none of the new columns, and reads a claim of a takedown or a report as what it
is, something that keeps an object held.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003from0002"
down_revision = "0002"
CONTRACTS = (
    "Rules of two tables are replaced by wider ones. Code of 0001 would answer for an account that is dark as"
    " if it were not."
)

ONE_CLAIMANT = "CASE WHEN item_id IS NULL THEN 0 ELSE 1 END + CASE WHEN screening_id IS NULL THEN 0 ELSE 1 END + CASE WHEN takedown_id IS NULL THEN 0 ELSE 1 END + CASE WHEN report_id IS NULL THEN 0 ELSE 1 END = 1"
ONE_SUBJECT = "CASE WHEN item_id IS NULL THEN 0 ELSE 1 END + CASE WHEN takedown_id IS NULL THEN 0 ELSE 1 END + CASE WHEN report_id IS NULL THEN 0 ELSE 1 END = 1"
FOR_A_COVER = "(takedown_id IS NULL AND report_id IS NULL) = (cover_version_id IS NULL)"
KINDS = (
    "kind IN ('review', 'authority_report', 'account_takedown', 'preservation_end', 'suppression_review',"
    " 'report_review', 'repeat_review', 'removal_48h', 'notice_24h')"
)
REASONS = (
    "reason IN ('list_refers', 'second_opinion_only', 'seed_only', 'disputed', 'low_diversity', 'review_tier_only',"
    " 'unreadable_content', 'object_missing', 'store_unreachable', 'decoder_unavailable', 'lists_stale', 'no_answer')"
)
ALGORITHM = "algorithm <> ''"
TIERS = "tier IN ('enforce', 'review')"
CATEGORIES = "category IN ('child_abuse', 'intimate_image', 'terrorism', 'other')"
OPINIONS = "opinion IN ('positive', 'seed', 'negative', 'disputed')"
ACTIONS = "IN ('shadow', 'refer', 'hold')"


def upgrade() -> None:
    op.add_column("account", sa.Column("takedown_id", _row_id(), nullable=True))
    _create_tables()
    if op.get_bind().dialect.name == "postgresql":
        _widen()
    else:  # SQLite changes no constraint of a table that is there
        _make_anew(
            screening=_screening, list_entry=_list_entry, match=_match, suppression=_suppression,
            quarantine_claim=_quarantine_claim, obligation=_obligation,
        )  # fmt: skip
    for table, columns in (("list_rule", _of_rules()), ("fingerprint_view", _of_views())):
        for column in columns:
            op.add_column(table, column)
    _create_indexes()


def _create_tables() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(length=32), nullable=True),
        sa.Column("created_by", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("ref", name=op.f("uq_api_key_ref")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_api_key_secret_sha256")),
    )
    op.create_table(
        "reporter",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("report_id", _row_id(), nullable=False),
        sa.Column("contact_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reporter")),
        sa.UniqueConstraint("report_id", name=op.f("uq_reporter_report_id")),
        schema="private",
    )
    op.create_table(
        "thread_entry",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("report_id", _row_id(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("entry_id", sa.String(length=200), nullable=False),
        sa.Column("author", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("text_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("said_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "author IN ('reporter', 'staff', 'automatic')", name=op.f("ck_thread_entry_author")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_thread_entry")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_thread_entry_entry_id")),
        sa.UniqueConstraint("report_id", "seq", name=op.f("uq_thread_entry_report_id_seq")),
        schema="private",
    )
    op.create_table(
        "thread_mail",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("mailbox", sa.LargeBinary(length=32), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("body_sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_thread_mail")),
        sa.UniqueConstraint("mailbox", "seq", name=op.f("uq_thread_mail_mailbox_seq")),
        schema="private",
    )
    op.create_table(
        "report",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=False),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("event_id", sa.String(length=200), nullable=False),
        sa.Column("network", sa.LargeBinary(length=32), nullable=True),
        sa.Column("api_key_id", _row_id(), nullable=True),
        sa.Column("mailbox", sa.LargeBinary(length=32), nullable=True),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("language", sa.String(length=8), nullable=True),
        sa.Column("opted_out", sa.Boolean(), nullable=False),
        sa.Column("earlier_ref", sa.String(length=32), nullable=True),
        sa.Column("repeats_id", _row_id(), nullable=True),
        sa.Column("repeats", sa.Integer(), server_default="0", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("hidden_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("told_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "category IN ('child_abuse', 'intimate_image', 'terrorism', 'other')",
            name=op.f("ck_report_category"),
        ),
        sa.CheckConstraint(
            "source IN ('anonymous', 'platform', 'support', 'trusted_flagger', 'hotline')",
            name=op.f("ck_report_source"),
        ),
        sa.CheckConstraint("state IN ('received', 'hidden', 'decided')", name=op.f("ck_report_state")),
        sa.ForeignKeyConstraint(["api_key_id"], ["api_key.id"], name=op.f("fk_report_api_key_id")),
        sa.ForeignKeyConstraint(["repeats_id"], ["report.id"], name=op.f("fk_report_repeats_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint("event_id", name=op.f("uq_report_event_id")),
        sa.UniqueConstraint("ref", name=op.f("uq_report_ref")),
    )
    op.create_index(
        op.f("ix_report_network_report_received_at"), "report", ["network", "received_at"], unique=False
    )
    op.create_index(op.f("ix_report_repeats_id"), "report", ["repeats_id"], unique=False)
    op.create_index(op.f("ix_report_state"), "report", ["state"], unique=False)
    op.create_table(
        "takedown",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("ref", sa.String(length=32), nullable=False),
        sa.Column("account_id", _row_id(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("level", sa.String(length=32), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("walked_at", sa.BigInteger(), nullable=True),
        sa.Column("enumerated_at", sa.BigInteger(), nullable=True),
        sa.Column("dark_at", sa.BigInteger(), nullable=True),
        sa.Column("verified_at", sa.BigInteger(), nullable=True),
        sa.Column("look_at", sa.BigInteger(), nullable=False),
        sa.Column("lifting_at", sa.BigInteger(), nullable=True),
        sa.Column("lifted_at", sa.BigInteger(), nullable=True),
        sa.Column("objects", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reopened", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("(state = 'lifted') = (lifted_at IS NOT NULL)", name=op.f("ck_takedown_lifted")),
        sa.CheckConstraint("level IN ('block', 'hold')", name=op.f("ck_takedown_level")),
        sa.CheckConstraint(
            "state IN ('requested', 'enumerated', 'dark', 'verified_gone', 'lifted')",
            name=op.f("ck_takedown_state"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_takedown_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_takedown")),
        sa.UniqueConstraint("ref", name=op.f("uq_takedown_ref")),
    )
    op.create_index(op.f("ix_takedown_look_at"), "takedown", ["look_at"], unique=False)
    op.create_index(op.f("ix_takedown_state"), "takedown", ["state"], unique=False)
    op.create_index(
        "uq_takedown_live",
        "takedown",
        ["account_id"],
        unique=True,
        sqlite_where=sa.text("lifted_at IS NULL"),
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_table(
        "report_target",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("report_id", _row_id(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("surface", sa.String(length=32), nullable=True),
        sa.Column("named_id", sa.String(length=200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("effect", sa.String(length=32), nullable=False),
        sa.Column("account_id", _row_id(), nullable=True),
        sa.Column("effected_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(length=32), nullable=True),
        sa.CheckConstraint(
            "effect IN ('none', 'hidden', 'capped', 'rescreened', 'unknown')",
            name=op.f("ck_report_target_effect"),
        ),
        sa.CheckConstraint("kind IN ('cover', 'playlist', 'account')", name=op.f("ck_report_target_kind")),
        sa.CheckConstraint(
            "surface IN ('playlist_cover', 'profile_image', 'track_art')",
            name=op.f("ck_report_target_surface"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_report_target_account_id")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_target_report_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_target")),
        sa.UniqueConstraint(
            "report_id",
            "kind",
            "surface",
            "named_id",
            "version",
            name=op.f("uq_report_target_report_id_kind_surface_named_id_version"),
        ),
    )
    op.create_index(op.f("ix_report_target_account_id"), "report_target", ["account_id"], unique=False)
    op.create_index(
        op.f("ix_report_target_kind_report_target_named_id"),
        "report_target",
        ["kind", "named_id"],
        unique=False,
    )
    _once_where_null("uq_report_target_all_versions", "version", ["report_id", "kind", "surface", "named_id"])
    _once_where_null("uq_report_target_whole", "surface", ["report_id", "kind", "named_id"])
    op.create_table(
        "takedown_cause",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("takedown_id", _row_id(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("origin", sa.String(length=80), nullable=False),
        sa.Column("level", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn_by", sa.String(length=100), nullable=True),
        sa.Column("reason_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("withdrawn_reason_sealed", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('termination', 'verdict', 'report', 'support', 'person')",
            name=op.f("ck_takedown_cause_kind"),
        ),
        sa.CheckConstraint("level IN ('block', 'hold')", name=op.f("ck_takedown_cause_level")),
        sa.ForeignKeyConstraint(["takedown_id"], ["takedown.id"], name=op.f("fk_takedown_cause_takedown_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_takedown_cause")),
        sa.UniqueConstraint(
            "takedown_id", "kind", "origin", name=op.f("uq_takedown_cause_takedown_id_kind_origin")
        ),
    )
    op.create_index(op.f("ix_takedown_cause_origin"), "takedown_cause", ["origin"], unique=False)
    op.create_table(
        "takedown_difference",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("takedown_id", _row_id(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("cover_version_id", _row_id(), nullable=True),
        sa.Column("bucket", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("version_id", sa.String(length=1024), nullable=False),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('ledger_only', 'catalogue_only', 'unattributed')",
            name=op.f("ck_takedown_difference_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["cover_version_id"], ["cover_version.id"], name=op.f("fk_takedown_difference_cover_version_id")
        ),
        sa.ForeignKeyConstraint(
            ["takedown_id"], ["takedown.id"], name=op.f("fk_takedown_difference_takedown_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_takedown_difference")),
        sa.UniqueConstraint(
            "takedown_id",
            "bucket",
            "key",
            "version_id",
            name=op.f("uq_takedown_difference_takedown_id_bucket_key_version_id"),
        ),
    )
    op.create_table(
        "report_item",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("report_id", _row_id(), nullable=False),
        sa.Column("item_id", _row_id(), nullable=False),
        sa.Column("named", sa.Boolean(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["case_item.id"], name=op.f("fk_report_item_item_id")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_item_report_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_item")),
        sa.UniqueConstraint("report_id", "item_id", name=op.f("uq_report_item_report_id_item_id")),
    )
    op.create_index(op.f("ix_report_item_item_id"), "report_item", ["item_id"], unique=False)


def _widen() -> None:
    for table, names in (
        ("quarantine_claim", ("takedown", "report", "cover_version")),
        ("obligation", ("takedown", "report")),
    ):
        for name in names:
            op.add_column(table, sa.Column(f"{name}_id", _row_id(), nullable=True))
            op.create_foreign_key(op.f(f"fk_{table}_{name}_id"), table, name, [f"{name}_id"], ["id"])
    op.drop_constraint(op.f("ck_quarantine_claim_one_claimant"), "quarantine_claim")
    op.create_check_constraint(op.f("ck_quarantine_claim_one_claimant"), "quarantine_claim", ONE_CLAIMANT)
    op.create_check_constraint(op.f("ck_quarantine_claim_for_a_cover"), "quarantine_claim", FOR_A_COVER)
    for claimant in ("takedown_id", "report_id"):
        key = ["quarantine_id", claimant, "cover_version_id"]
        op.create_unique_constraint(op.f(f"uq_quarantine_claim_{'_'.join(key)}"), "quarantine_claim", key)
    op.add_column("obligation", sa.Column("warned", sa.Integer(), server_default="0", nullable=False))
    op.alter_column("obligation", "item_id", existing_type=sa.BigInteger(), nullable=True)
    op.drop_constraint(op.f("ck_obligation_kind"), "obligation")
    op.create_check_constraint(op.f("ck_obligation_kind"), "obligation", KINDS)
    op.create_check_constraint(op.f("ck_obligation_one_subject"), "obligation", ONE_SUBJECT)
    for table, columns in (("list_entry", _of_entries()), ("match", _of_matches())):
        for column in columns:
            op.add_column(table, column)
        op.drop_constraint(op.f(f"ck_{table}_algorithm"), table)
        op.create_check_constraint(op.f(f"ck_{table}_algorithm_named"), table, ALGORITHM)
    op.create_check_constraint(op.f("ck_match_tier"), "match", TIERS)
    op.drop_constraint(op.f("ck_screening_reason"), "screening")
    op.create_check_constraint(op.f("ck_screening_reason"), "screening", REASONS)


def _make_anew(**tables: Callable[[], None]) -> None:
    """Under the same name, with the same rows; what is referred to comes before what refers to it."""
    inspected, columns = sa.inspect(op.get_bind()), {}
    for table in tables:
        columns[table] = ", ".join(str(column["name"]) for column in inspected.get_columns(table))
        for index in inspected.get_indexes(table):
            op.drop_index(str(index["name"]), table)
        op.rename_table(table, f"{table}_0002")  # who refers to it follows, and is made anew below
    for table, create in tables.items():
        create()
        names = columns[table]
        op.execute(f'INSERT INTO "{table}" ({names}) SELECT {names} FROM {table}_0002')  # noqa: S608 - our own names
    for table in reversed(tables):
        op.drop_table(f"{table}_0002")


def _quarantine_claim() -> None:
    op.create_table(
        "quarantine_claim",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("quarantine_id", _row_id(), nullable=False),
        sa.Column("item_id", _row_id(), nullable=True),
        sa.Column("screening_id", _row_id(), nullable=True),
        sa.Column("takedown_id", _row_id(), nullable=True),
        sa.Column("report_id", _row_id(), nullable=True),
        sa.Column("cover_version_id", _row_id(), nullable=True),
        sa.Column("claimed_at", sa.BigInteger(), nullable=False),
        sa.Column("dropped_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(ONE_CLAIMANT, name=op.f("ck_quarantine_claim_one_claimant")),
        sa.CheckConstraint(FOR_A_COVER, name=op.f("ck_quarantine_claim_for_a_cover")),
        *_references("quarantine_claim", "quarantine", "screening", "takedown", "report", "cover_version"),
        sa.ForeignKeyConstraint(["item_id"], ["case_item.id"], name=op.f("fk_quarantine_claim_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine_claim")),
        *_keys(["item_id"], ["screening_id"]),
        *_keys(["takedown_id", "cover_version_id"], ["report_id", "cover_version_id"]),
    )


def _obligation() -> None:
    op.create_table(
        "obligation",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("item_id", _row_id(), nullable=True),
        sa.Column("takedown_id", _row_id(), nullable=True),
        sa.Column("report_id", _row_id(), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("met_at", sa.BigInteger(), nullable=True),
        sa.Column("warned", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(KINDS, name=op.f("ck_obligation_kind")),
        sa.CheckConstraint(ONE_SUBJECT, name=op.f("ck_obligation_one_subject")),
        *_references("obligation", "takedown", "report"),
        sa.ForeignKeyConstraint(["item_id"], ["case_item.id"], name=op.f("fk_obligation_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_obligation")),
    )


def _of_rules() -> list[sa.Column[Any]]:
    return [sa.Column("radii", sa.Text(), server_default="{}", nullable=False), _flag("complement")]


def _of_views() -> list[sa.Column[Any]]:
    return [_flag("low_diversity"), sa.Column("plugged_in", sa.Text(), server_default="{}", nullable=False)]


def _of_entries() -> list[sa.Column[Any]]:
    return [_flag("part")]


def _of_matches() -> list[sa.Column[Any]]:
    tier = sa.Column("tier", sa.String(length=32), server_default="enforce", nullable=False)
    return [tier, _flag("complement"), _flag("low_diversity")]


def _flag(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False)


def _screening() -> None:
    op.create_table(
        "screening",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("cover_version_id", _row_id(), nullable=False),
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
        sa.CheckConstraint(REASONS, name=op.f("ck_screening_reason")),
        sa.CheckConstraint(
            "retry_at IS NULL OR decision = 'not_screened'", name=op.f("ck_screening_only_failures_retry")
        ),
        *_references("screening", "cover_version"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screening")),
        sa.UniqueConstraint(
            "cover_version_id",
            "origin",
            "origin_id",
            "fingerprint_version",
            name=op.f("uq_screening_cover_version_id_origin_origin_id_fingerprint_version"),
        ),
    )
    for name in ("retry_at", "settled_at"):
        op.create_index(op.f(f"ix_screening_{name}"), "screening", [name], unique=False)


def _list_entry() -> None:
    op.create_table(
        "list_entry",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("list_id", _row_id(), nullable=False),
        sa.Column("source_entry_id", sa.String(length=200), nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("digest_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("row_mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("opinion", sa.String(length=32), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=True),
        sa.Column("grid", sa.Boolean(), nullable=False),
        sa.Column("cap", sa.String(length=32), nullable=False),
        sa.Column("item_id", _row_id(), nullable=True),
        sa.Column("changed_seq", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        *_of_entries(),
        sa.CheckConstraint(ALGORITHM, name=op.f("ck_list_entry_algorithm_named")),
        sa.CheckConstraint(f"cap {ACTIONS}", name=op.f("ck_list_entry_cap")),
        sa.CheckConstraint(CATEGORIES, name=op.f("ck_list_entry_category")),
        sa.CheckConstraint(OPINIONS, name=op.f("ck_list_entry_opinion")),
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
    for name in ("changed_seq", "item_id"):
        op.create_index(op.f(f"ix_list_entry_{name}"), "list_entry", [name], unique=False)


def _match() -> None:
    op.create_table(
        "match",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("screening_id", _row_id(), nullable=False),
        sa.Column("entry_id", _row_id(), nullable=False),
        sa.Column("list_id", _row_id(), nullable=False),
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
        *_of_matches(),
        sa.CheckConstraint(f"action {ACTIONS}", name=op.f("ck_match_action")),
        sa.CheckConstraint(ALGORITHM, name=op.f("ck_match_algorithm_named")),
        sa.CheckConstraint(CATEGORIES, name=op.f("ck_match_category")),
        sa.CheckConstraint(OPINIONS, name=op.f("ck_match_opinion")),
        sa.CheckConstraint(TIERS, name=op.f("ck_match_tier")),
        *_references("match", "screening"),
        sa.ForeignKeyConstraint(["entry_id"], ["list_entry.id"], name=op.f("fk_match_entry_id")),
        sa.ForeignKeyConstraint(["list_id"], ["hash_list.id"], name=op.f("fk_match_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_match")),
        sa.UniqueConstraint(
            "screening_id", "entry_id", "algorithm", name=op.f("uq_match_screening_id_entry_id_algorithm")
        ),
    )
    op.create_index(op.f("ix_match_entry_id"), "match", ["entry_id"], unique=False)


def _suppression() -> None:
    op.create_table(
        "suppression",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("entry_id", _row_id(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("digest_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("digest_mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("verdict_id", _row_id(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("review_at", sa.BigInteger(), nullable=False),
        sa.Column("lifted_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('sha256', 'pdq')", name=op.f("ck_suppression_kind")),
        sa.ForeignKeyConstraint(["entry_id"], ["list_entry.id"], name=op.f("fk_suppression_entry_id")),
        *_references("suppression", "verdict"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppression")),
        sa.UniqueConstraint(
            "entry_id", "kind", "digest_mac", name=op.f("uq_suppression_entry_id_kind_digest_mac")
        ),
    )


def _references(table: str, *others: str) -> list[sa.ForeignKeyConstraint]:
    return [
        sa.ForeignKeyConstraint([f"{one}_id"], [f"{one}.id"], name=op.f(f"fk_{table}_{one}_id"))
        for one in others
    ]


def _keys(*keys: list[str]) -> list[sa.UniqueConstraint]:
    whole = [["quarantine_id", *key] for key in keys]
    return [sa.UniqueConstraint(*key, name=op.f(f"uq_quarantine_claim_{'_'.join(key)}")) for key in whole]


def _create_indexes() -> None:
    for name in ("takedown_id", "report_id", "cover_version_id"):
        op.create_index(op.f(f"ix_quarantine_claim_{name}"), "quarantine_claim", [name], unique=False)
    by_report = sa.text("report_id IS NOT NULL")
    op.create_index(
        "ix_quarantine_claim_by_report",
        "quarantine_claim",
        ["claimed_at"],
        unique=False,
        sqlite_where=by_report,
        postgresql_where=by_report,
    )
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(op.f("ix_obligation_due_at"), "obligation", ["due_at"], unique=False)
        _open_once("item_id", "uq_obligation_open")
    _open_once("takedown_id", "uq_obligation_open_takedown")
    _open_once("report_id", "uq_obligation_open_report")


def _open_once(subject: str, name: str) -> None:
    unmet = sa.text("met_at IS NULL")
    op.create_index(
        name, "obligation", ["kind", subject], unique=True, sqlite_where=unmet, postgresql_where=unmet
    )


def _once_where_null(name: str, column: str, key: list[str]) -> None:
    absent = sa.text(f"{column} IS NULL")
    op.create_index(name, "report_target", key, unique=True, sqlite_where=absent, postgresql_where=absent)


def _row_id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
