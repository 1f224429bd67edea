"""Two transactions on the same rows on PostgreSQL, step by step: whoever waits sees what was done.

`first` runs until it has done its part and is not committed; `second` begins and has to wait for it, or,
where the test says so, does not have to; then `first` commits. No chance, no pauses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Connection, select, text

from coverguard.errors import Contention, TransientError
from coverguard.hashlist import ListRow
from coverguard.lifecycle import ItemEvent, QuarantineEvent
from coverguard.local.clock import SystemClock
from coverguard.messages import Cover, CoverUploaded, StoredObject, from_micros
from coverguard.model import (
    Algorithm,
    Category,
    Fingerprint,
    Hold,
    ListAction,
    Match,
    Micros,
    Mode,
    NotScreened,
    NotScreenedReason,
    ObjectRef,
    Opinion,
    Origin,
    Pass,
    View,
)
from coverguard.policy import Budgets, ListRule
from coverguard.retrying import TURNS, uncontended
from coverguard.screening import AnswerRecorder, RecordingRules
from coverguard.screening.recording import request_hold
from coverguard.store import alarms, cases, covers, lists, outbox, quarantines, rows, schema, screenings
from coverguard.store.engine import Database
from coverguard.store.quarantines import Claimant
from coverguard.store.queue import TableQueue
from coverguard.store.screenings import Answer

pytestmark = pytest.mark.servers

NOW = Micros(1_800_000_000_000_000)
HOUR = timedelta(hours=1)
SOON = 30  # seconds that anything may take on a busy machine
WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Crossing:
    """Runs transactions in threads and knows who waits for whom."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._pool = ThreadPoolExecutor(12)

    def close(self) -> None:
        self._pool.shutdown()

    @contextmanager
    def under_way(self, act: Callable[[Connection], object]) -> Iterator[Callable[[], object]]:
        """What was done and not committed; it commits when the block is left, or the yielded is called."""
        done, go_on = threading.Event(), threading.Event()

        def run() -> object:
            with self.database.transaction() as tx:
                try:
                    result = act(tx)
                finally:
                    done.set()
                assert go_on.wait(SOON)
                return result

        future = self._pool.submit(run)
        assert done.wait(SOON)

        def commit() -> object:
            go_on.set()
            return future.result(SOON)

        try:
            yield commit
        finally:
            commit()

    def start(self, act: Callable[[Connection], object]) -> Future[object]:
        """Begin another transaction, which commits by itself."""

        def run() -> object:
            with self.database.transaction() as tx:
                return act(tx)

        return self._pool.submit(run)

    def waits(self, future: Future[object]) -> bool:
        """Whether it waits for a lock; otherwise it has ended."""
        deadline = time.monotonic() + SOON
        while time.monotonic() < deadline:
            with self.database.reading() as tx:
                if tx.execute(WAITING).scalar_one():
                    return True
            if future.done():
                return False
            time.sleep(0.005)
        raise AssertionError("neither waits nor ends")

    def one_after_the_other(
        self, first: Callable[[Connection], object], second: Callable[[Connection], object]
    ):
        """Let the second meet the first, and return both results."""
        with self.under_way(first) as commit:
            met = self.start(second)
            assert self.waits(met), "the second did not wait for the first"
            one = commit()
            return one, met.result(SOON)


@pytest.fixture
def crossing(on_postgresql: Database) -> Iterator[Crossing]:
    made = Crossing(on_postgresql)
    yield made
    made.close()


@pytest.fixture
def database(on_postgresql: Database) -> Database:
    return on_postgresql


# ── a world of rows ────────────────────────────────────────────────────────────────────────────────────────


def announce(tx, cover_id="c", *, uploader="u"):
    event = CoverUploaded(
        event_id=f"event {cover_id}",
        occurred_at=from_micros(NOW),
        cover=Cover(id=cover_id, version=1, surface="profile_image"),
        uploader_id=uploader,
        owner_id=uploader,
        object=StoredObject(bucket="public", key=cover_id, version_id="v"),
    )
    return covers.announce(tx, event, mode=Mode.WATCH, sent_at=NOW, now=NOW)


@pytest.fixture
def cover(database):
    with database.transaction() as tx:
        return announce(tx)


def add_item(tx, cover, *, category=Category.OTHER):
    file, _ = cases.open_case(tx, account_id=cover.uploader_id, category=category, now=NOW)
    item, _ = cases.add_item(
        tx, case_id=file.id, cover_version_id=cover.id, consequences=True, two_people=False, now=NOW
    )
    return item


@pytest.fixture
def item(database, cover):
    with database.transaction() as tx:
        return add_item(tx, cover)


@pytest.fixture
def held(database, cover, item):
    """A quarantine row that is held, and that only the item wants held."""
    with database.transaction() as tx:
        request(tx, cover, Claimant(item_id=item.id))
        (row,) = quarantines.of_cover(tx, cover.id)
        assert quarantines.hold(tx, row, vaulted=False, sha256=None, gone=True, now=NOW)
        return quarantines.by_id(tx, row.id)


def request(tx, cover, claimant, *, level="block"):
    request_hold(tx, cover, level=level, claimant=claimant, relist_until=NOW, now=NOW)


def drop(tx, item):
    quarantines.drop_claims(tx, Claimant(item_id=item.id), now=NOW)


def end(tx, row):
    return quarantines.end(tx, row, QuarantineEvent.RELEASE, retain_until=None, now=NOW)


def live(database, cover):
    with database.reading() as tx:
        return quarantines.of_cover(tx, cover.id)


def count(database, table):
    with database.reading() as tx:
        return len(tx.execute(select(table)).all())


# ── claims and releases ────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_that_meets_the_beginning_of_a_release_blocks_anew(crossing, database, cover, item, held):
    with database.transaction() as tx:
        drop(tx, item)
    begun, _ = crossing.one_after_the_other(
        lambda tx: quarantines.start_release(tx, held, now=NOW),
        lambda tx: request(tx, cover, Claimant(item_id=item.id)),
    )
    assert begun is True
    (row,) = live(database, cover)
    assert (row.state, row.generation, row.releasing_at, row.wanted) == ("requested", 2, None, True)
    with database.transaction() as tx:
        assert not end(tx, held), "the release knew of the first generation only"


def test_a_release_that_meets_a_claim_does_not_begin(crossing, database, cover, item, held):
    with database.transaction() as tx:
        drop(tx, item)
    _, begun = crossing.one_after_the_other(
        lambda tx: request(tx, cover, Claimant(item_id=item.id)),
        lambda tx: quarantines.start_release(tx, held, now=NOW),
    )
    assert begun is False
    (row,) = live(database, cover)
    assert (row.state, row.releasing_at, row.wanted) == ("held", None, True)


def test_a_claim_that_meets_the_end_of_a_release_gets_a_row_of_its_own(crossing, database, cover, item, held):
    with database.transaction() as tx:
        drop(tx, item)
        assert quarantines.start_release(tx, held, now=NOW)
    ended, _ = crossing.one_after_the_other(
        lambda tx: end(tx, held), lambda tx: request(tx, cover, Claimant(item_id=item.id))
    )
    assert ended is True
    (row,) = live(database, cover)
    assert (row.state, row.wanted) == ("requested", True)
    assert row.id != held.id


def test_a_release_that_meets_a_claim_does_not_end(crossing, database, cover, item, held):
    with database.transaction() as tx:
        drop(tx, item)
        assert quarantines.start_release(tx, held, now=NOW)
    _, ended = crossing.one_after_the_other(
        lambda tx: request(tx, cover, Claimant(item_id=item.id)), lambda tx: end(tx, held)
    )
    assert ended is False
    (row,) = live(database, cover)
    assert (row.state, row.generation, row.wanted) == ("requested", 2, True)


def test_two_claims_of_one_object_share_a_row(crossing, database, cover, item):
    with database.transaction() as tx:
        other = announce(tx, "d", uploader="somebody else")
        theirs = add_item(tx, other)
    ref = ObjectRef(bucket="public", key="shared", version_id="v")

    def claim(who, cover_version_id):
        return lambda tx: quarantines.request(
            tx, cover_version_id=cover_version_id, ref=ref, level="block", claimant=who, rendition=True,
            relist_until=None, now=NOW,
        )  # fmt: skip

    one, two = crossing.one_after_the_other(
        claim(Claimant(item_id=item.id), cover.id), claim(Claimant(item_id=theirs.id), other.id)
    )
    assert one == two
    with database.reading() as tx:
        assert {who.item_id for who in quarantines.claimants(tx, one)} == {item.id, theirs.id}


def test_of_two_claims_one_is_dropped_and_the_object_stays_held(crossing, database, cover, item, held):
    """The last claim goes while another comes: a release may see both, one, but never none."""
    with database.transaction() as tx:
        row = answer(tx, cover)
    crossing.one_after_the_other(
        lambda tx: quarantines._claim(tx, quarantines.lock(tx, held.id).id, row, now=NOW),
        lambda tx: drop(tx, item),
    )
    with database.transaction() as tx:
        assert not quarantines.start_release(tx, held, now=NOW)


def answer(tx, cover):
    failed = Answer(
        cover_version_id=cover.id, origin=Origin.UPLOAD, origin_id="", matches=(), fingerprint=None,
        judged_seq=None, decision=NotScreened(reason=NotScreenedReason.OBJECT_MISSING),
    )  # fmt: skip
    row, _ = screenings.record(tx, failed, budget_spent=None, retry_at=NOW, now=NOW)
    return Claimant(screening_id=row.id)


def test_a_claim_copied_to_a_rendition_is_dropped_with_the_one_it_was_copied_from(
    crossing, database, cover, item, held
):
    """Renditions get the claims of the cover's object; an item cleared at that moment has no claim left."""

    def copy(tx):
        covers.lock(tx, cover.id)
        main = quarantines.lock(tx, held.id)
        for claimant in quarantines.claimants(tx, main.id):
            quarantines.request(
                tx, cover_version_id=cover.id, ref=ObjectRef(bucket="public", key="small", version_id="v"),
                level="block", claimant=claimant, rendition=True, relist_until=None, now=NOW,
            )  # fmt: skip

    crossing.one_after_the_other(copy, lambda tx: drop(tx, item))
    assert [(row.rendition, row.wanted) for row in live(database, cover)] == [(False, False), (True, False)]


def test_a_hold_that_was_claimed_higher_meanwhile_is_not_done(crossing, database, cover, item):
    with database.transaction() as tx:
        request(tx, cover, Claimant(item_id=item.id))
        (row,) = quarantines.of_cover(tx, cover.id)
    _, done = crossing.one_after_the_other(
        lambda tx: request(tx, cover, Claimant(item_id=item.id), level="hold"),
        lambda tx: quarantines.hold(tx, row, vaulted=False, sha256=None, gone=True, now=NOW),
    )
    assert done is False
    (row,) = live(database, cover)
    assert (row.state, row.level) == ("requested", "hold")


# ── answers ────────────────────────────────────────────────────────────────────────────────────────────────

BUDGET = 1
AMPLE = Budgets(everywhere=10**6, a_source=10**6)
RECORDER = AnswerRecorder(rules=RecordingRules(grace=HOUR, relist=HOUR, review_target=HOUR, budgets=AMPLE))
MADE = Fingerprint(
    digests={"md5": b"m" * 16, "sha1": b"s" * 20, "sha256": b"S" * 32},
    views=(View(name="displayed", quality=100, signals={"pdq": b"p" * 32, "phash256": b"h" * 32}),),
    format="PNG",
    width=1,
    height=1,
)


@pytest.fixture
def entry(database, keys):
    """A list with a budget of one near-match hold an hour, and its entry."""
    rule = ListRule(list_id=0, version=0, category=Category.OTHER, action=ListAction.HOLD, hold_budget=BUDGET)
    listed = ListRow(source_entry_id="e", algorithm=Algorithm.PDQ, digest=b"p" * 32)
    with database.transaction() as tx:
        list_id, _ = lists.create(tx, name="l", source="s", rule=rule, actor="a", note="n", now=NOW)
        lists.write_entries(tx, keys, list_id=list_id, rows=[listed], now=NOW)
        return tx.execute(select(schema.list_entry)).one()


def near_hold(entry):
    match = Match(
        entry_id=entry.id, list_id=entry.list_id, rule_version=1, category=Category.OTHER,
        opinion=Opinion.POSITIVE, algorithm=Algorithm.PDQ, view="displayed", orientation="upright",
        distance=3, quality=100, action=ListAction.HOLD,
    )  # fmt: skip
    return Hold(matches=(match,))


def record(cover, decision, *, fingerprint=MADE):
    found = Answer(
        cover_version_id=cover.id, origin=Origin.UPLOAD, origin_id="", decision=decision,
        matches=getattr(decision, "matches", ()), fingerprint=fingerprint, judged_seq=1,
    )  # fmt: skip
    return lambda tx: RECORDER.record(tx, found, known_lists={}, now=NOW)


def test_two_that_answer_the_same_cover_give_one_answer(crossing, database, cover, entry):
    one, two = crossing.one_after_the_other(*[record(cover, near_hold(entry))] * 2)
    assert one == two
    tables = (schema.screening, schema.match, schema.case_file, schema.case_item, schema.quarantine)
    assert {table.name: count(database, table) for table in tables} == {table.name: 1 for table in tables}
    with database.reading() as tx:
        told = tx.execute(select(schema.outbox.c.idempotency_key)).scalars().all()
    assert len(told) == len(set(told)) == 3


def test_of_two_different_answers_the_first_stands(crossing, database, cover, entry):
    one, two = crossing.one_after_the_other(
        record(cover, near_hold(entry)), record(cover, Pass(low_information=False))
    )
    assert (one.decision, two.decision) == ("hold", "hold")


def test_a_budget_is_spent_by_one_and_not_by_two_at_once(crossing, database, entry):
    """Of different covers, of different accounts: they meet nowhere but in the budget."""
    with database.transaction() as tx:
        pair = [announce(tx, name, uploader=name) for name in ("a", "b")]
    one, two = crossing.one_after_the_other(*(record(cover, near_hold(entry)) for cover in pair))
    assert (one.budget_spent, two.budget_spent) == (None, f"list:{entry.list_id}")


def test_an_answer_waits_for_whoever_settles_the_cover(crossing, database, cover):
    """Even one that tells nobody: it would be taken for settled with those before it."""
    failed = NotScreened(reason=NotScreenedReason.STORE_UNREACHABLE)

    def settle(tx):
        covers.lock(tx, cover.id)
        screenings.settle(tx, cover.id, now=NOW)

    _, row = crossing.one_after_the_other(settle, record(cover, failed, fingerprint=None))
    assert row.decision == "not_screened"


def test_answers_for_different_covers_do_not_wait_for_each_other(crossing, database, entry):
    with database.transaction() as tx:
        pair = [announce(tx, name, uploader=name) for name in ("a", "b")]
    clean = Pass(low_information=False)
    with crossing.under_way(record(pair[0], near_hold(entry))):
        assert not crossing.waits(crossing.start(record(pair[1], clean)))


def test_a_retry_is_sent_again_by_one(crossing, database, cover):
    with database.transaction() as tx:
        row = screenings.by_id(tx, answer(tx, cover).screening_id)
    again = Micros(NOW + 1)

    def postpone(tx):
        return screenings.postpone(tx, row, retry_at=again)

    assert crossing.one_after_the_other(postpone, postpone) == (True, False)


def test_a_retry_is_not_noted_for_what_was_answered_meanwhile(crossing, database, cover):
    with database.transaction() as tx:
        row = screenings.by_id(tx, answer(tx, cover).screening_id)
    _, ours = crossing.one_after_the_other(
        record(cover, Pass(low_information=False)),
        lambda tx: screenings.postpone(tx, row, retry_at=Micros(NOW + 1)),
    )
    assert ours is False


def test_a_fingerprint_that_becomes_evidence_is_not_forgotten(crossing, database, cover, entry):
    with database.transaction() as tx:
        answer(tx, cover)
        made = {"cover_version_id": cover.id, "fingerprint_version": MADE.version, "judged_seq": 1}
        known = {"format": "PNG", "width": 1, "height": 1, "created_at": NOW} | dict(MADE.digests)
        tx.execute(schema.fingerprint.insert().values(**made, **known))
        covers.mark_deleted(tx, cover, now=NOW)
    later = Micros(NOW + 1)
    with database.reading() as tx:
        due = screenings.forgettable(tx, deleted_before=later, limit=10)
    assert len(due) == 1
    _, forgotten = crossing.one_after_the_other(
        record(cover, near_hold(entry)), lambda tx: screenings.forget(tx, due, deleted_before=later)
    )
    assert forgotten == 0
    assert count(database, schema.fingerprint) == 1


# ── cases ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_account_has_one_open_case_whoever_opens_it(crossing, database):
    with database.transaction() as tx:
        pair = [announce(tx, name) for name in ("a", "b")]
    one, two = crossing.one_after_the_other(
        lambda tx: add_item(tx, pair[0]), lambda tx: add_item(tx, pair[1], category=Category.CHILD_ABUSE)
    )
    assert one.case_id == two.case_id
    with database.reading() as tx:
        assert cases.case_by_id(tx, one.case_id).category == "child_abuse"


def claim(database, item):
    with database.transaction() as tx:
        locked = cases.lock_item(tx, item.ref, now=NOW)
        cases.move_item(tx, locked, ItemEvent.CLAIM, claimed_by="Ada", lease_until=Micros(NOW + 1))


def clear(item):
    def decide(tx):
        locked = cases.lock_item(tx, item.ref, now=NOW)
        cases.move_item(tx, locked, ItemEvent.CLEAR, decided_at=NOW)
        return cases.close_if_decided(tx, locked.case_id, now=NOW)

    return decide


def test_nothing_is_added_to_a_case_that_is_being_closed(crossing, database, cover, item):
    claim(database, item)
    with database.transaction() as tx:
        other = announce(tx, "d")
    closed, added = crossing.one_after_the_other(clear(item), lambda tx: add_item(tx, other))
    assert closed is True
    assert added.case_id != item.case_id


def test_a_case_that_gets_another_item_is_not_closed(crossing, database, cover, item):
    claim(database, item)
    with database.transaction() as tx:
        other = announce(tx, "d")
    added, closed = crossing.one_after_the_other(lambda tx: add_item(tx, other), clear(item))
    assert closed is False
    assert added.case_id == item.case_id


def reopen(item):
    def appeal(tx):
        locked = cases.lock_item(tx, item.ref, now=NOW)
        file = cases.join_open_case(tx, locked, now=NOW)
        cases.move_item(tx, locked, ItemEvent.REOPEN)
        return file.id

    return appeal


@pytest.fixture
def cleared(database, item):
    claim(database, item)
    with database.transaction() as tx:
        assert clear(item)(tx)
    return item


def test_a_case_that_opens_again_is_the_one_that_others_find(crossing, database, cleared):
    with database.transaction() as tx:
        other = announce(tx, "d")
    reopened, added = crossing.one_after_the_other(reopen(cleared), lambda tx: add_item(tx, other))
    assert added.case_id == reopened == cleared.case_id


def test_an_item_that_opens_again_joins_the_case_that_others_opened(crossing, database, cleared):
    with database.transaction() as tx:
        other = announce(tx, "d")
    added, reopened = crossing.one_after_the_other(lambda tx: add_item(tx, other), reopen(cleared))
    assert added.case_id == reopened != cleared.case_id


def test_something_new_against_an_item_waits_for_the_verdict(crossing, database, cover, item):
    """Cleared, and a moment later matched again: it is open."""
    with database.transaction() as tx:
        add_item(tx, announce(tx, "d"))  # which keeps the case open
    claim(database, item)
    _, again = crossing.one_after_the_other(clear(item), lambda tx: add_item(tx, cover))
    assert (again.id, again.state) == (item.id, "open")


def test_the_keeper_does_not_take_a_claim_from_under_a_verdict(crossing, database, item):
    claim(database, item)
    late = Micros(NOW + 10**9)
    with crossing.under_way(clear(item)):
        lapse = crossing.start(lambda tx: cases.lapse(tx, now=late))
        assert not crossing.waits(lapse)
        assert lapse.result() == 0
    with database.reading() as tx:
        assert cases.item_by_id(tx, item.id).state == "cleared"


# ── numbers in the order of their commits ──────────────────────────────────────────────────────────────────


def test_list_changes_are_numbered_as_they_are_seen(crossing, database, entry):
    def change(tx):
        return lists.note_change(tx, list_id=entry.list_id, kind="entries", entries=0, now=NOW)

    def newest():
        with database.reading() as tx:
            return lists.newest_seq(tx)

    before = newest()
    with crossing.under_way(change) as commit:
        second = crossing.start(change)
        assert crossing.waits(second), "it could commit first, and a reader would skip the other"
        assert newest() == before
        assert commit() < second.result(SOON) == newest()


def test_every_change_of_what_may_match_waits_for_its_turn(crossing, keys, item, entry):
    database = crossing.database
    rule = ListRule(list_id=0, version=0, category=Category.OTHER, action=ListAction.HOLD)
    row = ListRow(source_entry_id="f", algorithm=Algorithm.PDQ, digest=b"q" * 32)
    one = {"list_id": entry.list_id, "now": NOW}
    changes = [
        lambda tx: lists.create(tx, name="m", source="s", rule=rule, actor="a", note="n", now=NOW),
        lambda tx: lists.add_rule(tx, entry.list_id, rule, actor="a", note="n", now=NOW),
        lambda tx: lists.switch(tx, entry.list_id, enabled=False, now=NOW),
        lambda tx: lists.write_entries(tx, keys, rows=[row], **one),
        lambda tx: lists.withdraw(tx, source_entry_ids=["e"], **one),
        lambda tx: lists.withdraw_other_algorithms(tx, entry.list_id, {"f": "pdq"}, now=NOW),
        lambda tx: lists.withdraw_learnt(tx, item_id=item.id, now=NOW),
        lambda tx: lists.raise_cap(tx, item_id=item.id, now=NOW),
        lambda tx: lists.lift_suppressions(tx, item_id=item.id, now=NOW),
    ]
    with crossing.under_way(lambda tx: lists.switch(tx, entry.list_id, enabled=True, now=NOW)) as commit:
        waiting = [crossing.start(change) for change in changes]
        deadline = time.monotonic() + SOON
        while time.monotonic() < deadline:
            with database.reading() as tx:
                if tx.execute(WAITING).scalar_one() == len(waiting):
                    break
        else:
            pytest.fail("not every change waits")
        commit()
        for one_of_them in waiting:
            one_of_them.result(SOON)


def test_the_events_of_a_cover_are_owed_in_the_order_of_their_numbers(crossing, database, cover):
    def tell(event):
        return lambda tx: outbox.tell_pipeline(tx, cover=cover, event=event, now=NOW)

    def owed():
        with database.reading() as tx:
            return [row.idempotency_key for row in outbox.unsent(tx, limit=10)]

    with crossing.under_way(tell("cover.withheld")) as commit:
        second = crossing.start(tell("cover.removed"))
        assert crossing.waits(second)
        assert owed() == []
        commit()
        second.result(SOON)
    assert owed() == [f"{cover.ref}:1", f"{cover.ref}:2"]


def test_an_event_that_commits_late_is_not_skipped(crossing, database):
    """Its number is lower than that of one which was seen, and sent, before."""
    with database.transaction() as tx:
        late, early = (announce(tx, name) for name in ("late", "early"))
    with crossing.under_way(lambda tx: outbox.tell_pipeline(tx, cover=late, event="cover.withheld", now=NOW)):
        with database.transaction() as tx:
            outbox.tell_pipeline(tx, cover=early, event="cover.withheld", now=NOW)
        with database.transaction() as tx:
            (seen,) = outbox.unsent(tx, limit=10)
            outbox.mark_sent(tx, [seen.id], now=NOW)
    with database.reading() as tx:
        (left,) = outbox.unsent(tx, limit=10)
    assert left.id < seen.id


def test_an_alarm_that_is_quieted_while_it_rings_again_is_a_new_one(crossing, database):
    ring = {"kind": "not_screened", "subject": "cover-1", "now": NOW}
    with database.transaction() as tx:
        assert alarms.ring(tx, **ring)
    _, new = crossing.one_after_the_other(
        lambda tx: alarms.quiet(tx, **ring), lambda tx: alarms.ring(tx, **ring)
    )
    assert new is True
    with database.reading() as tx:
        assert len(alarms.ringing(tx)) == 1


# ── in each other's way ────────────────────────────────────────────────────────────────────────────────────


def locking_both(database, first, second, barrier):
    def verb():
        with database.transaction() as tx:
            rows.lock(tx, schema.account, first)
            if barrier is not None:
                barrier.wait(SOON)
            rows.lock(tx, schema.account, second)
            return "done"

    return verb


@pytest.fixture
def accounts(database):
    with database.transaction() as tx:
        return [covers.know_account(tx, name, now=NOW) for name in ("a", "b")]


def test_of_two_that_wait_for_each_other_one_is_given_up(database, accounts):
    one, two = accounts
    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        pair = [pool.submit(locking_both(database, *ids, barrier)) for ids in ((one, two), (two, one))]
        ends = [future.exception(SOON) for future in pair]
    assert sorted(type(end).__name__ for end in ends) == ["Contention", "NoneType"]


def test_what_was_given_up_is_run_again(database, accounts):
    one, two = accounts
    barrier = threading.Barrier(2)
    tries: list[object] = []

    def again(ids):
        def verb():
            tries.append(ids)
            first = tries.count(ids) == 1
            return locking_both(database, *ids, barrier if first else None)()

        return lambda: uncontended(verb, clock=SystemClock())

    with ThreadPoolExecutor(2) as pool:
        pair = [pool.submit(again(ids)) for ids in ((one, two), (two, one))]
        assert [future.result(SOON) for future in pair] == ["done", "done"]
    assert len(tries) == 3


def test_many_locked_at_once_are_locked_in_one_order(database, accounts):
    """Whoever names them in whatever order: nobody is given up."""

    def verb(ids):
        for _ in range(50):
            with database.transaction() as tx:
                assert [row.id for row in rows.lock_all(tx, schema.account, ids)] == sorted(ids)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(verb, ids) for ids in (accounts, accounts[::-1]) * 2]:
            future.result(SOON)


# ── queues ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_two_lease_the_same_message(database):
    sent = [str(number) for number in range(500)]
    queue = TableQueue(database, "uploads", clock=SystemClock())
    queue.send(sent)

    def take():
        mine = TableQueue(database, "uploads", clock=SystemClock())
        bodies = []
        while leased := mine.receive(limit=7, wait=timedelta(), lease=HOUR):
            assert len(leased) <= 7
            bodies += [delivery.body for delivery in leased]
        return bodies

    with ThreadPoolExecutor(4) as pool:
        taken = [future.result(SOON) for future in [pool.submit(take) for _ in range(4)]]
    assert sorted(body for bodies in taken for body in bodies) == sorted(sent)


def test_who_leases_does_not_wait_for_who_is_leasing(crossing, database):
    clock = SystemClock()
    queue = TableQueue(database, "uploads", clock=clock)
    queue.send(["a", "b"])

    def lease(tx):
        now = clock.now()
        return queue._lease(tx, limit=1, until=now + 10**9, now=now)

    with crossing.under_way(lease) as commit:
        (theirs,) = queue.receive(limit=10, wait=timedelta(), lease=HOUR)
        (ours,) = commit()
    assert {ours.body, theirs.body} == {"a", "b"}


@pytest.mark.parametrize("failures", [0, 1, TURNS - 1, TURNS])
def test_a_verb_is_run_again_a_few_times_and_then_it_is_somebody_elses_turn_to_retry(failures, clock):
    """The last error is no contention any more, or each caller up the road would begin all over."""
    left = [Contention("given up")] * failures
    tries = []

    def verb():
        tries.append(None)
        if left:
            raise left.pop()
        return "done"

    if failures < TURNS:
        assert uncontended(verb, clock=clock) == "done"
        assert len(tries) == failures + 1
    else:
        with pytest.raises(TransientError) as caught:
            uncontended(verb, clock=clock)
        assert type(caught.value) is TransientError
        assert len(tries) == TURNS


def test_nothing_else_is_run_again_at_once(clock):
    tries = []

    def verb():
        tries.append(None)
        raise TransientError("the server is gone")

    with pytest.raises(TransientError, match="gone"):
        uncontended(verb, clock=clock)
    assert len(tries) == 1
