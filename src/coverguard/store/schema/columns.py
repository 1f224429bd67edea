"""The kinds of columns, and the metadata that every table belongs to."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Integer, MetaData, String

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite fills in only INTEGER primary keys
PLATFORM_ID = 200


def row_id() -> Column[int]:
    return Column("id", Id, primary_key=True, autoincrement=True)


def public_ref() -> Column[str]:
    return Column("ref", String(32), nullable=False, unique=True)


def refers(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, Id, ForeignKey(f"{target}.id"), nullable=nullable)


def moment(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def word(
    name: str, words: Iterable[str], *, nullable: bool = False, default: str | None = None
) -> tuple[Column[str], CheckConstraint]:
    """A short text column that can hold only these words."""
    check = CheckConstraint(f"{name} IN ({listed(words)})", name=name)
    return Column(name, String(32), nullable=nullable, server_default=default), check


def algorithm() -> tuple[Column[str], CheckConstraint]:
    """A hash's name: one of ours, or of a plug-in that this deployment has."""
    check = CheckConstraint("algorithm <> ''", name="algorithm_named")
    return Column("algorithm", String(32), nullable=False), check


def exactly_one(*columns: str) -> str:
    """The condition that one of these columns says something and the others do not."""
    return " + ".join(f"CASE WHEN {name} IS NULL THEN 0 ELSE 1 END" for name in columns) + " = 1"


def listed(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)
