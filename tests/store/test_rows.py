"""Rows are written once, and moved only from the state they were read in."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from coverguard.errors import IllegalTransition, TransientError
from coverguard.lifecycle import ITEM, ItemEvent
from coverguard.model import Category, Micros
from coverguard.store import alarms, cases, covers, obligations
from coverguard.store.engine import Database
from coverguard.store.rows import insert_once, move, new_ref
from coverguard.store.schema import account, alarm, case_item

NOW = Micros(1_800_000_000_000_000)


def test_a_row_is_inserted_once(database):
    with database.transaction() as tx:
        first = insert_once(tx, account, {"platform_id": "a"}, {"seen_at": 1})
        again = insert_once(tx, account, {"platform_id": "a"}, {"seen_at": 2})
        other = insert_once(tx, account, {"platform_id": "b"}, {"seen_at": 3})
        kept = tx.execute(select(account.c.seen_at).where(account.c.platform_id == "a")).scalar_one()
    assert first == (first[0], True)
    assert again == (first[0], False)
    assert other[0] != first[0]
    assert kept == 1


def test_a_row_is_inserted_again_once_its_like_has_ended(database):
    with database.transaction() as tx:
        assert alarms.ring(tx, kind="unsettled", subject="s", now=NOW)
        assert not alarms.ring(tx, kind="unsettled", subject="s", now=Micros(NOW + 5))
        (row,) = alarms.ringing(tx)
        assert (row.count, row.raised_at, row.seen_at) == (2, NOW, NOW + 5)
        alarms.quiet(tx, kind="unsettled", subject="s", now=NOW)
        alarms.quiet(tx, kind="unsettled", subject="never", now=NOW)
        assert alarms.ringing(tx) == []
        assert alarms.ring(tx, kind="unsettled", subject="s", now=NOW)
        assert len(tx.execute(select(alarm)).all()) == 2


def test_another_unique_key_is_not_the_one_meant(database):
    """A clash of something else than the key is a bug, and no row that "exists already"."""
    with pytest.raises(IntegrityError), database.transaction() as tx:
        insert_once(tx, account, {"platform_id": "a"}, {"seen_at": None})


@pytest.fixture
def item(database):
    with database.transaction() as tx:
        owner = covers.know_account(tx, "account", now=NOW)
        file, _ = cases.open_case(tx, account_id=owner, category=Category.OTHER, now=NOW)
        tx.exec_driver_sql(
            "INSERT INTO cover_version (id, ref, surface, cover_id, version, mode, uploader_id, owner_id,"
            " bucket, key, version_id, renditions, event_id, sent_at, announced_at) VALUES"
            " (1, 'cover-1', 'track_art', 'c', 1, 'gate', 1, 1, 'b', 'k', 'v', '[]', 'e', 1, 1)"
        )
        return cases.add_item(
            tx, case_id=file.id, cover_version_id=1, consequences=True, two_people=False, now=NOW
        )[0]


def state(database, item):
    with database.reading() as tx:
        return cases.item_by_id(tx, item.id).state


CLAIM = {"claimed_by": "Ada", "lease_until": NOW}


def test_a_row_moves_by_its_table(database, item):
    with database.transaction() as tx:
        reached = move(tx, case_item, item, machine=ITEM, event=ItemEvent.CLAIM, values=CLAIM)
    assert reached.value == state(database, item) == "claimed"


def test_a_move_that_is_in_no_table_changes_nothing(database, item):
    with pytest.raises(IllegalTransition), database.transaction() as tx:
        move(tx, case_item, item, machine=ITEM, event=ItemEvent.CONFIRM, values={"decided_at": NOW})
    assert state(database, item) == "open"


def test_of_two_that_read_the_same_state_one_moves(database, item):
    with database.transaction() as tx:
        move(tx, case_item, item, machine=ITEM, event=ItemEvent.CLAIM, values=CLAIM)
    with pytest.raises(IllegalTransition, match="no longer open"), database.transaction() as tx:
        move(tx, case_item, item, machine=ITEM, event=ItemEvent.CLAIM, values=CLAIM | {"claimed_by": "Bea"})
    with database.reading() as tx:
        assert cases.item_by_id(tx, item.id).claimed_by == "Ada"


def test_an_error_takes_back_the_whole_transaction(database):
    def fail():
        with database.transaction() as tx:
            covers.know_account(tx, "a", now=NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.reading() as tx:
        assert tx.execute(select(account)).all() == []


def test_a_database_that_does_not_answer_is_transient(tmp_path):
    missing = Database(f"sqlite:///{tmp_path / 'no such folder' / 'x.db'}")
    for opened in (missing.transaction, missing.reading):
        with pytest.raises(TransientError, match="database: OperationalError"), opened():
            pass


def test_an_error_of_the_database_shows_no_values(database):
    with pytest.raises(IntegrityError) as caught, database.transaction() as tx:
        insert_once(tx, account, {"platform_id": "a private name"}, {"seen_at": None})
    assert "private name" not in f"{caught.value}{caught.value!r}{caught.value.__cause__!r}"


def test_references_do_not_count():
    refs = {new_ref("case") for _ in range(100)}
    assert len(refs) == 100
    assert all(ref.startswith("case-") and len(ref) == 21 for ref in refs)


# ── what several answers say of one item ───────────────────────────────────────────────────────────────────


def add(database, item, **flags):
    with database.transaction() as tx:
        return cases.add_item(tx, case_id=item.case_id, cover_version_id=1, now=NOW, **flags)


def test_an_item_is_added_once_and_only_gets_stricter(database, item):
    """What comes second may add the need of two people and consequences, and take neither away."""
    again, new = add(database, item, consequences=False, two_people=True)
    assert not new
    assert (again.id, again.two_people, again.consequences) == (item.id, True, True)
    again, _ = add(database, item, consequences=True, two_people=False)
    assert (again.two_people, again.consequences) == (True, True)


def test_a_capped_item_has_consequences_once_something_uncapped_speaks_against_it(database, item):
    with database.transaction() as tx:
        tx.exec_driver_sql("UPDATE case_item SET consequences = false")
    again, _ = add(database, item, consequences=True, two_people=False)
    assert again.consequences


def test_a_cleared_item_is_open_again_and_a_confirmed_one_stays(database, item):
    with database.transaction() as tx:
        cases.move_item(tx, item, ItemEvent.CLAIM, **CLAIM)
        cases.move_item(tx, cases.item_by_id(tx, item.id), ItemEvent.CLEAR, decided_at=NOW)
    again, new = add(database, item, consequences=True, two_people=False)
    assert (again.state, new) == ("open", False)
    with database.transaction() as tx:
        cases.move_item(tx, again, ItemEvent.CLAIM, **CLAIM)
        cases.move_item(tx, cases.item_by_id(tx, item.id), ItemEvent.CONFIRM, decided_at=NOW)
    again, _ = add(database, item, consequences=True, two_people=False)
    assert again.state == "confirmed"


def test_a_cases_category_only_gets_graver(database, item):
    told = []
    for category in (Category.TERRORISM, Category.OTHER, Category.CHILD_ABUSE, Category.INTIMATE_IMAGE):
        with database.transaction() as tx:
            file, new = cases.open_case(tx, account_id=1, category=category, now=NOW)
            assert (file.id, new) == (item.case_id, False)
            told.append(cases.case_by_id(tx, file.id).category)
    assert told == ["terrorism", "terrorism", "child_abuse", "child_abuse"]


# ── obligations ────────────────────────────────────────────────────────────────────────────────────────────


def owed(database):
    with database.reading() as tx:
        return [(row.kind, row.opened_at - NOW, row.due_at - NOW) for row in obligations.owed(tx)]


def owe(database, item, *, at=0, due):
    with database.transaction() as tx:
        obligations.owe(tx, kind="review", item_id=item.id, due_at=Micros(NOW + due), now=Micros(NOW + at))


def test_an_obligations_clock_is_not_moved_by_a_second_call(database, item):
    owe(database, item, due=10)
    owe(database, item, at=5, due=99)
    assert owed(database) == [("review", 0, 10)]


def test_an_obligation_that_was_met_can_arise_again(database, item):
    owe(database, item, due=10)
    with database.transaction() as tx:
        obligations.meet(tx, kind="review", item_id=item.id, now=NOW)
    assert owed(database) == []
    owe(database, item, at=50, due=70)
    assert owed(database) == [("review", 50, 70)]


def test_overdue_is_what_was_due_before(database, item):
    owe(database, item, due=10)
    with database.reading() as tx:
        assert len(obligations.owed(tx, due_before=Micros(NOW + 11))) == 1
        assert obligations.owed(tx, due_before=Micros(NOW + 10)) == []
