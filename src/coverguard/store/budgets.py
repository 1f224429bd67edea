"""How much was held by looks alone in the last hour, and the batches of what came when that was too much."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, case, func, select, update

from coverguard.model import BYTES_VIEW, ListAction, Micros
from coverguard.policy import BudgetUse
from coverguard.store.rows import insert_once, new_ref, take_turn
from coverguard.store.schema import batch, case_item, cover_version, hash_list, match, screening

WINDOW: Final = 3600 * 1_000_000
OPEN: Final = batch.c.closed_at.is_(None)


def use(tx: Connection, *, entries: Collection[int], uploader_id: int, now: Micros) -> BudgetUse:
    """Near-match holds of the last hour: those that rest on no exact digest. Holds are counted in turn.

    Of the entries that a hold rests on it says how many uploaders they have met, the hold's own among them.
    """
    take_turn(tx, "hold budget")
    exact = (
        select(match.c.screening_id)
        .where(match.c.action == ListAction.HOLD.value, match.c.view == BYTES_VIEW)
        .scalar_subquery()
    )
    recent = (
        screening.c.decision == "hold",
        screening.c.decided_at > now - WINDOW,
        screening.c.id.not_in(exact),
    )
    everywhere = tx.execute(select(func.count()).select_from(screening).where(*recent)).scalar_one()
    by_list = (
        select(match.c.list_id, func.count(match.c.screening_id.distinct()))
        .join(screening, screening.c.id == match.c.screening_id)
        .where(*recent, match.c.action == ListAction.HOLD.value)
        .group_by(match.c.list_id)
    )
    by_source = (
        select(hash_list.c.source, func.count(match.c.screening_id.distinct()))
        .join(match, match.c.list_id == hash_list.c.id)
        .join(screening, screening.c.id == match.c.screening_id)
        .where(*recent, match.c.action == ListAction.HOLD.value)
        .group_by(hash_list.c.source)
    )
    return BudgetUse(
        everywhere=int(everywhere),
        by_list={int(list_id): int(count) for list_id, count in tx.execute(by_list)},
        by_source={str(source): int(count) for source, count in tx.execute(by_source)},
        accounts=_accounts(tx, recent, entries, uploader_id=uploader_id),
    )


def _accounts(
    tx: Connection, recent: Sequence[ColumnElement[bool]], entries: Collection[int], *, uploader_id: int
) -> Mapping[int, int]:
    """How many uploaders each of these entries has met by its looks, with this one."""
    met = (
        select(match.c.entry_id, cover_version.c.uploader_id)
        .join(screening, screening.c.id == match.c.screening_id)
        .join(cover_version, cover_version.c.id == screening.c.cover_version_id)
        .where(*recent, match.c.action == ListAction.HOLD.value, match.c.entry_id.in_(entries))
        .distinct()
    )
    uploaders: dict[int, set[int]] = {entry_id: {uploader_id} for entry_id in entries}
    for entry_id, uploader in tx.execute(met):
        uploaders[entry_id].add(uploader)
    return {entry_id: len(whose) for entry_id, whose in uploaders.items()}


def spent(tx: Connection, *, now: Micros) -> frozenset[str]:
    """The scopes whose hold budget stopped consequences within the last hour."""
    recent = (screening.c.budget_spent.is_not(None), screening.c.decided_at > now - WINDOW)
    return frozenset(tx.execute(select(screening.c.budget_spent).where(*recent).distinct()).scalars())


# ── batches ────────────────────────────────────────────────────────────────────────────────────────────────


def open_batch(tx: Connection, *, scope: str, now: Micros) -> int:
    """Ensure the open batch of what this scope's spent budget caught; return its id."""
    values = {"ref": new_ref("batch"), "opened_at": now}
    batch_id, _ = insert_once(tx, batch, {"scope": scope}, values, where=OPEN)
    return batch_id


def any_decided(tx: Connection) -> bool:
    """Whether some open batch has nothing that waits for a person."""
    return tx.execute(select(batch.c.id).where(*_decided()).limit(1)).first() is not None


def close_decided(tx: Connection, *, now: Micros) -> int:
    """Close the batches in which nothing waits for a person any more; return how many."""
    return tx.execute(update(batch).where(*_decided()).values(closed_at=now)).rowcount


def _decided() -> tuple[ColumnElement[bool], ...]:
    waiting = select(case_item.c.batch_id).where(
        case_item.c.state.in_(["open", "claimed"]), case_item.c.batch_id.is_not(None)
    )
    return (OPEN, batch.c.id.not_in(waiting.scalar_subquery()))


def batches(tx: Connection) -> Sequence[Row[Any]]:
    """Open batches, oldest first, with their numbers of items, of those that wait, and of uploaders."""
    waits = func.sum(case((case_item.c.state.in_(["open", "claimed"]), 1), else_=0))
    found = (
        select(
            batch,
            func.count(case_item.c.id).label("items"),
            waits.label("waiting"),
            func.count(cover_version.c.uploader_id.distinct()).label("uploaders"),
        )
        .join(case_item, case_item.c.batch_id == batch.c.id)
        .join(cover_version, cover_version.c.id == case_item.c.cover_version_id)
        .where(OPEN)
        .group_by(batch.c.id)
        .order_by(batch.c.id)
    )
    return tx.execute(found).all()


def refs(tx: Connection, batch_ids: Collection[int]) -> Mapping[int, str]:
    """The references of these batches."""
    found = tx.execute(select(batch.c.id, batch.c.ref).where(batch.c.id.in_(batch_ids)))
    return {row.id: row.ref for row in found}
