"""Cases, items, parties and verdicts: one open case an account, one item a cover version.

An item's state is moved only through `lifecycle.ITEM`, and every move by a person appends a verdict. A case
closes by itself when nothing in it waits for a person, and opens again with its item. A case is locked by its
account's row: an account has at most one open case, and one that opens anew has no row yet to be locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, case, func, insert, select, update

from coverguard.errors import IllegalTransition, NotFound
from coverguard.lifecycle import ITEM, ItemEvent, ItemState
from coverguard.model import Category, Micros, PartyRole
from coverguard.store import audit, takedowns
from coverguard.store.rows import ensure, insert_once, lock, move, new_ref
from coverguard.store.schema import (
    account,
    case_file,
    case_item,
    collaboration,
    cover_version,
    match,
    obligation,
    party,
    report_item,
    screening,
    verdict,
)

OPEN: Final = case_file.c.closed_at.is_(None)
GRAVEST_FIRST: Final = (Category.CHILD_ABUSE, Category.INTIMATE_IMAGE, Category.TERRORISM, Category.OTHER)


def open_case(tx: Connection, *, account_id: int, category: Category, now: Micros) -> tuple[Row[Any], bool]:
    """Return the account's open case, opening one where there is none; its category only gets graver."""
    lock(tx, account, account_id)
    values = {"ref": new_ref("case"), "category": category.value, "opened_at": now}
    row, new = ensure(tx, case_file, {"account_id": account_id}, values, where=OPEN)
    if new:
        add_party(tx, case_id=row.id, account_id=account_id, role=PartyRole.UPLOADER, now=now)
        audit.write(tx, now=now, verb="open case", subject=row.ref, facts={"category": category.value})
        takedowns.judge_termination(tx, account_id, now=now)  # one for an unknown reason now has a reason
    elif GRAVEST_FIRST.index(category) < GRAVEST_FIRST.index(Category(row.category)):
        tx.execute(update(case_file).where(case_file.c.id == row.id).values(category=category.value))
    return row, new


def add_party(
    tx: Connection, *, case_id: int, account_id: int, role: PartyRole, now: Micros, actor: str = audit.MACHINE
) -> None:
    key = {"case_id": case_id, "account_id": account_id, "role": role.value}
    insert_once(tx, party, key, {"actor": actor, "added_at": now})


def add_item(
    tx: Connection,
    *,
    case_id: int,
    cover_version_id: int,
    consequences: bool,
    two_people: bool,
    now: Micros,
    batch_id: int | None = None,
    spared: bool = False,
) -> tuple[Row[Any], bool]:
    """Ensure that the cover version is an item of the case; return it and whether it is new.

    A cleared item is open again: something new speaks against it. A confirmed one stays confirmed.
    """
    values = {
        "ref": new_ref("item"),
        "state": ItemState.OPEN.value,
        "consequences": consequences,
        "two_people": two_people,
        "opened_at": now,
        "batch_id": batch_id,
        "spared": spared,
    }
    key = {"case_id": case_id, "cover_version_id": cover_version_id}
    row, new = ensure(tx, case_item, key, values)
    if not new:
        stricter = {
            "two_people": row.two_people or two_people,
            "consequences": row.consequences or consequences,
            "spared": row.spared and spared,
        }
        tx.execute(update(case_item).where(case_item.c.id == row.id).values(stricter))
        if row.state == ItemState.CLEARED.value:
            move_item(tx, row, ItemEvent.REOPEN)
            audit.write(tx, now=now, verb="reopen item", subject=row.ref)
        row = item_by_id(tx, row.id)
    return row, new


def case_by_id(tx: Connection, case_id: int) -> Row[Any]:
    return tx.execute(select(case_file).where(case_file.c.id == case_id)).one()


def item_by_id(tx: Connection, item_id: int) -> Row[Any]:
    return tx.execute(select(case_item).where(case_item.c.id == item_id)).one()


def case_by_ref(tx: Connection, ref: str) -> Row[Any]:
    return _named(tx.execute(select(case_file).where(case_file.c.ref == ref)).one_or_none(), "case")


def item_by_ref(tx: Connection, ref: str) -> Row[Any]:
    return _named(tx.execute(select(case_item).where(case_item.c.ref == ref)).one_or_none(), "item")


def lock_item(tx: Connection, ref: str, *, now: Micros) -> Row[Any]:
    """Lock an item for a verdict, after its cover version and its account; a claim that lapsed is given back.

    Raises:
        NotFound: no item has that reference.
    """
    named = item_by_ref(tx, ref)
    lock(tx, cover_version, named.cover_version_id)
    lock(tx, account, case_by_id(tx, named.case_id).account_id)
    item = lock(tx, case_item, named.id)
    if item.state == ItemState.CLAIMED.value and item.lease_until < now:
        move_item(tx, item, ItemEvent.LAPSE)
        item = item_by_id(tx, item.id)
    return item


def _named(row: Row[Any] | None, what: str) -> Row[Any]:
    if row is None:
        raise NotFound(f"no {what} has that reference; see: coverguard cases")
    return row


def move_item(tx: Connection, item: Row[Any], event: ItemEvent, **values: Any) -> ItemState:  # noqa: ANN401
    """Move an item; what is decided gets its time, what is open loses its claim."""
    cleared: dict[str, Any] = {"claimed_by": None, "lease_until": None, "decided_at": None}
    return move(tx, case_item, item, machine=ITEM, event=event, values=cleared | values)


def extend_claim(tx: Connection, item: Row[Any], *, until: Micros) -> Row[Any]:
    """Start the lease of one's own claim anew."""
    mine = (case_item.c.id == item.id, case_item.c.state == ItemState.CLAIMED.value)
    tx.execute(update(case_item).where(*mine).values(lease_until=until))
    return item_by_id(tx, item.id)


def has_lapsed(tx: Connection, *, now: Micros) -> bool:
    return tx.execute(_lapsed(now).limit(1)).first() is not None


def _lapsed(now: Micros) -> Select[Any]:
    return select(case_item).where(
        case_item.c.state == ItemState.CLAIMED.value, case_item.c.lease_until < now
    )


def lapse(tx: Connection, *, now: Micros) -> int:
    """Give back items whose reviewer's lease ran out."""
    free = _lapsed(now).order_by(case_item.c.id).with_for_update(key_share=True, skip_locked=True)
    lapsed = tx.execute(free).all()  # whoever has one of the others is about to decide it
    for item in lapsed:
        move_item(tx, item, ItemEvent.LAPSE)
    return len(lapsed)


def close_if_decided(tx: Connection, case_id: int, *, now: Micros) -> bool:
    """Close the case when none of its items waits for a person."""
    waiting = (case_item.c.case_id == case_id, case_item.c.state.in_([ItemState.OPEN, ItemState.CLAIMED]))
    if tx.execute(select(case_item.c.id).where(*waiting).limit(1)).first():
        return False
    still = (case_file.c.id == case_id, OPEN)
    return tx.execute(update(case_file).where(*still).values(closed_at=now)).rowcount == 1


def close_if_only_listed(tx: Connection, account_id: int, *, now: Micros) -> None:
    """Close the account's open case where nothing in it was matched or reported: it was only listed.

    What waits for a person for a reason of its own has a clock of its own, or a report.
    """
    theirs = (case_file.c.account_id == account_id, OPEN)
    case_id = tx.execute(select(case_file.c.id).where(*theirs)).scalar_one_or_none()
    waits = (case_item.c.case_id == case_id, case_item.c.state.in_([ItemState.OPEN, ItemState.CLAIMED]))
    clocks = select(obligation.c.id).join(case_item, case_item.c.id == obligation.c.item_id)
    reports = select(report_item.c.report_id).join(case_item, case_item.c.id == report_item.c.item_id)
    reasons = (clocks.where(*waits, obligation.c.met_at.is_(None)), reports.where(*waits))
    if any(tx.execute(one.limit(1)).first() for one in reasons):
        return
    tx.execute(update(case_file).where(case_file.c.id == case_id).values(closed_at=now))


def confirmed_items(tx: Connection, account_id: int) -> Sequence[int]:
    """Ids of the items of the account's cases that a person has confirmed."""
    found = (
        select(case_item.c.id)
        .join(case_file, case_file.c.id == case_item.c.case_id)
        .where(case_file.c.account_id == account_id, case_item.c.state == ItemState.CONFIRMED.value)
    )
    return [int(one) for one in tx.execute(found).scalars()]


def join_open_case(tx: Connection, item: Row[Any], *, now: Micros) -> Row[Any]:
    """Put a reopened item where the account's open business is; return that case."""
    file = case_by_id(tx, item.case_id)
    if file.closed_at is None:
        return file
    current = tx.execute(
        select(case_file).where(case_file.c.account_id == file.account_id, OPEN)
    ).one_or_none()
    if current is None:
        tx.execute(update(case_file).where(case_file.c.id == file.id).values(closed_at=None))
        return case_by_id(tx, file.id)
    twin = (case_item.c.case_id == current.id, case_item.c.cover_version_id == item.cover_version_id)
    if tx.execute(select(case_item.c.id).where(*twin)).first():
        raise IllegalTransition(f"this cover is an item of the open case {current.ref} already")
    tx.execute(update(case_item).where(case_item.c.id == item.id).values(case_id=current.id))
    audit.write(tx, now=now, verb="move item", subject=item.ref, facts={"case": current.ref})
    return current


# ── verdicts ───────────────────────────────────────────────────────────────────────────────────────────────


def append_verdict(tx: Connection, **values: Any) -> Row[Any]:  # noqa: ANN401 - the columns of the table
    made = insert(verdict).values(ref=new_ref("verdict"), **values).returning(verdict)
    return tx.execute(made).one()


def verdicts(tx: Connection, item_id: int) -> Sequence[Row[Any]]:
    return tx.execute(select(verdict).where(verdict.c.item_id == item_id).order_by(verdict.c.id)).all()


def pending_proposal(tx: Connection, item_id: int) -> Row[Any] | None:
    """The newest verdict of the item, where it is a proposal that waits for its second."""
    given = verdicts(tx, item_id)
    return given[-1] if given and given[-1].kind == "proposal" else None


# ── looking ────────────────────────────────────────────────────────────────────────────────────────────────


def cases(tx: Connection, *, closed: bool = False) -> Sequence[Row[Any]]:
    """Cases with their numbers of items by waiting and decided, gravest and oldest first."""
    waiting = func.sum(case((case_item.c.state.in_(["open", "claimed"]), 1), else_=0)).label("waiting")
    found = (
        select(case_file, account.c.platform_id, func.count(case_item.c.id).label("items"), waiting)
        .join(account, account.c.id == case_file.c.account_id)
        .join(case_item, case_item.c.case_id == case_file.c.id)
        .where(case_file.c.closed_at.is_not(None) if closed else OPEN)
        .group_by(case_file.c.id, account.c.platform_id)
        .order_by(case_file.c.opened_at, case_file.c.id)
    )
    rows = tx.execute(found).all()
    return sorted(rows, key=lambda row: GRAVEST_FIRST.index(Category(row.category)))


def items(tx: Connection, case_id: int) -> Sequence[Row[Any]]:
    found = (
        select(case_item, cover_version.c.ref.label("cover_ref"), cover_version.c.surface)
        .join(cover_version, cover_version.c.id == case_item.c.cover_version_id)
        .where(case_item.c.case_id == case_id)
        .order_by(case_item.c.id)
    )
    return tx.execute(found).all()


def parties(tx: Connection, case_id: int) -> Sequence[Row[Any]]:
    found = (
        select(party, account.c.platform_id)
        .join(account, account.c.id == party.c.account_id)
        .where(party.c.case_id == case_id)
        .order_by(party.c.id)
    )
    return tx.execute(found).all()


def linked_accounts(tx: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Accounts that share a playlist with an item's cover: parties by link, never guilty by link."""
    file = case_by_id(tx, case_id)
    found = (
        select(account.c.platform_id, func.count(collaboration.c.playlist_id.distinct()).label("playlists"))
        .join(collaboration, collaboration.c.account_id == account.c.id)
        .join(cover_version, cover_version.c.playlist_id == collaboration.c.playlist_id)
        .join(case_item, case_item.c.cover_version_id == cover_version.c.id)
        .where(case_item.c.case_id == case_id, account.c.id != file.account_id)
        .group_by(account.c.platform_id)
        .order_by(account.c.platform_id)
    )
    return tx.execute(found).all()


def case_group(tx: Connection, case_id: int) -> Sequence[str]:
    """References of the cases seen as one network with this one: covers that match the same entry."""
    by_entry = (
        select(case_item.c.case_id, match.c.entry_id)
        .join(screening, screening.c.cover_version_id == case_item.c.cover_version_id)
        .join(match, match.c.screening_id == screening.c.id)
        .where(match.c.action != "shadow")
        .distinct()
        .cte("by_entry")
    )
    other = by_entry.alias("other")
    network = (
        select(by_entry.c.case_id)
        .where(by_entry.c.case_id == case_id)
        .distinct()
        .cte("network", recursive=True)
    )
    mine = by_entry.alias("mine")
    network = network.union(
        select(other.c.case_id)
        .join(mine, mine.c.entry_id == other.c.entry_id)
        .join(network, network.c.case_id == mine.c.case_id)
    )
    found = (
        select(case_file.c.ref)
        .where(case_file.c.id.in_(select(network.c.case_id)), case_file.c.id != case_id)
        .order_by(case_file.c.id)
    )
    return list(tx.execute(found).scalars())
