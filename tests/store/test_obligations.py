"""Clocks that run out: each subject, each mark once, two keepers at once; on both databases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from coverguard.model import Category, Mode, Surface, later
from coverguard.policy.clocks import DUTIES, WARNING
from coverguard.store import alarms, cases, covers, obligations
from coverguard.store.engine import Database
from coverguard.store.rows import new_ref
from coverguard.store.schema import alarm as alarm_table
from coverguard.store.schema import cover_version, report, report_item, takedown
from coverguard.telemetry import Log
from coverguard.telemetry.lines import LogPager
from coverguard.watching import Watch

HOUR = timedelta(hours=1)
TWO_DAYS = 48 * HOUR
SUBJECTS = ("item_id", "takedown_id", "report_id")


class Office:
    """One account with an item, a takedown and a report, and a keeper's eyes on its clocks."""

    def __init__(self, database: Database, clock: Any) -> None:
        self.database, self.clock = database, clock
        self.ids: dict[str, int] = {}
        self.refs: dict[str, str] = {}
        with database.transaction() as tx:
            self.case_ref = self._furnish(tx)
        self.watch = self.keeper()

    def keeper(self) -> Watch:
        log = Log(stream=None)
        parts: Any = {"store": None, "buckets": (), "incoming": {}}
        return Watch(database=self.database, clock=self.clock, pager=LogPager(log), log=log, **parts)

    def _furnish(self, tx: Any) -> str:
        now = self.clock.now()
        account_id = covers.know_account(tx, "account", now=now)
        file, _ = cases.open_case(tx, account_id=account_id, category=Category.INTIMATE_IMAGE, now=now)
        item, _ = cases.add_item(
            tx, case_id=file.id, cover_version_id=_cover(tx, account_id, now), consequences=True,
            two_people=False, now=now,
        )  # fmt: skip
        taken = insert(takedown).values(
            ref=new_ref("takedown"), account_id=account_id, state="requested", level="block",
            requested_at=now, look_at=now,
        )  # fmt: skip
        told = insert(report).values(
            ref=new_ref("report"), source="anonymous", state="received", category="intimate_image",
            urgent=False, event_id="e", opted_out=False, received_at=now,
        )  # fmt: skip
        rows = {
            "item_id": item,
            "takedown_id": tx.execute(taken.returning(takedown)).one(),
            "report_id": tx.execute(told.returning(report)).one(),
        }
        self.ids = {name: int(row.id) for name, row in rows.items()}
        self.refs = {name: row.ref for name, row in rows.items()}
        named = {"report_id": self.ids["report_id"], "item_id": self.ids["item_id"]}
        tx.execute(insert(report_item).values(**named, named=True, added_at=now))
        return str(file.ref)

    def owe(self, kind: str, subject: str, *, within: timedelta = TWO_DAYS) -> str:
        """Start a clock; return what its warnings are about."""
        now = self.clock.now()
        about: Any = {subject: self.ids[subject]}
        with self.database.transaction() as tx:
            obligations.owe(tx, kind=kind, due_at=later(now, within), now=now, **about)
        return f"{kind}:{self.refs[subject]}"

    def meet(self, kind: str, subject: str) -> None:
        about: Any = {subject: self.ids[subject]}
        with self.database.transaction() as tx:
            obligations.meet(tx, kind=kind, now=self.clock.now(), **about)

    def owed(self) -> list[Any]:
        with self.database.reading() as tx:
            return list(obligations.owed(tx))

    def look(self, after: timedelta = timedelta()) -> list[tuple[str, str]]:
        """Let time pass and look twice; return what rings, oldest first."""
        self.clock.go_on(after)
        for _ in range(2):
            self.watch.warn_of_clocks()
            self.watch.ring_overdue()
        with self.database.reading() as tx:
            return [(row.kind, row.subject) for row in alarms.ringing(tx)]

    def rung(self) -> list[tuple[str, int]]:
        """Every alarm there was, with how often it rang."""
        named = select(alarm_table, alarm_table.c.count.label("times")).order_by(alarm_table.c.id)
        with self.database.reading() as tx:
            return [(row.kind, row.times) for row in tx.execute(named)]


def _cover(tx: Any, account_id: int, now: Any) -> int:
    made = insert(cover_version).values(
        ref=new_ref("cover"), surface=Surface.PLAYLIST_COVER.value, cover_id="c", version=1,
        mode=Mode.GATE.value, uploader_id=account_id, owner_id=account_id, bucket="b", key="k",
        version_id="v", renditions=[], event_id="e", sent_at=now, announced_at=now,
    )  # fmt: skip
    return int(tx.execute(made.returning(cover_version.c.id)).scalar_one())


@pytest.fixture
def office(database: Database, clock: Any) -> Office:
    return Office(database, clock)


# ── owing ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("subject", SUBJECTS)
def test_what_is_owed_says_about_what_and_in_which_case(office, subject):
    office.owe("removal_48h", subject)
    (row,) = office.owed()
    assert row.ref == office.refs[subject]
    assert row.case_ref == office.case_ref
    assert {name: getattr(row, name.replace("_id", "_ref")) for name in SUBJECTS} == {
        name: office.refs[name] if name == subject else None for name in SUBJECTS
    }


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_repeat_moves_a_clock(office, subject):
    office.owe("repeat_review", subject)
    (before,) = office.owed()
    for within in (timedelta(), HOUR, 1000 * HOUR):
        office.clock.go_on(HOUR)
        office.owe("repeat_review", subject, within=within)
    assert office.owed() == [before]
    office.meet("repeat_review", subject)
    assert office.owed() == []
    office.owe("repeat_review", subject)
    (again,) = office.owed()
    assert (again.opened_at, again.warned) == (office.clock.now(), 0)


def test_clocks_of_different_subjects_do_not_touch(office):
    for subject in SUBJECTS:
        office.owe("review", subject)
    office.meet("review", "report_id")
    assert {row.ref for row in office.owed()} == {office.refs["item_id"], office.refs["takedown_id"]}


@pytest.mark.parametrize("about", [{}, {"item_id": 1, "report_id": 1}, dict.fromkeys(SUBJECTS, 1)])
def test_an_obligation_is_about_one_thing(database, clock, about):
    now = clock.now()
    with database.transaction() as tx:
        for act in (
            lambda: obligations.owe(tx, kind="review", due_at=now, now=now, **about),
            lambda: obligations.meet(tx, kind="review", now=now, **about),
            lambda: obligations.waive(tx, kinds=["review"], now=now, **about),
        ):
            with pytest.raises(ValueError, match="one item, one takedown or one report"):
                act()


# ── warning ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_clock_rings_at_each_mark_once_and_until_it_is_met(office, subject):
    about = office.owe("removal_48h", subject)
    assert office.look(24 * HOUR - timedelta(seconds=1)) == []
    half, three = ("clock_half_over", about), ("clock_three_quarters_over", about)
    nearly, overdue = ("clock_nearly_over", about), ("overdue_removal_48h", office.refs[subject])
    assert office.look(timedelta(seconds=1)) == [half]
    assert office.look(12 * HOUR) == [half, three]
    assert office.look(7 * HOUR) == [half, three]
    assert office.look(HOUR) == [half, three, nearly]
    assert office.look(4 * HOUR) == [half, three, nearly]
    assert office.look(HOUR) == [half, three, nearly, overdue]
    assert office.rung() == [(kind, 1) for kind, _ in (half, three, nearly, overdue)]
    office.meet("removal_48h", subject)
    assert office.look() == []
    assert office.look(1000 * HOUR) == []


def test_what_is_met_in_time_never_rings(office):
    office.owe("review", "item_id")
    office.look(23 * HOUR)
    office.meet("review", "item_id")
    office.look(100 * HOUR)
    assert office.rung() == []


@pytest.mark.thorough
def test_what_arises_anew_warns_anew(office):
    about = office.owe("review", "item_id")
    assert office.look(43 * HOUR) == [("clock_three_quarters_over", about)]
    office.meet("review", "item_id")
    office.owe("review", "item_id")
    assert office.look() == [], "the old clock's warning is over, although another one runs"
    assert office.look(24 * HOUR) == [("clock_half_over", about)]


def test_who_slept_is_told_of_the_last_mark_alone(office):
    about = office.owe("review", "item_id")
    assert office.look(47 * HOUR) == [("clock_nearly_over", about)]


def test_what_is_over_when_somebody_looks_is_overdue_and_nothing_else(office):
    office.owe("review", "item_id", within=timedelta())
    assert office.look(HOUR) == [("overdue_review", office.refs["item_id"])]


@pytest.mark.thorough
@pytest.mark.parametrize("kind", sorted(DUTIES))
def test_every_kind_rings_in_the_end_and_those_that_warn_before(office, kind):
    office.owe(kind, "report_id")
    ringing = [one for one, _ in office.look(46 * HOUR)]
    assert ringing == (["clock_nearly_over"] if kind in WARNING else [])
    ringing = [one for one, _ in office.look(3 * HOUR)]
    assert ringing[-1] == f"overdue_{kind}"


@pytest.mark.thorough
def test_a_clock_that_is_set_back_takes_no_warning_back_and_gives_none_twice(office):
    about = office.owe("review", "item_id")
    office.look(25 * HOUR)
    assert office.look(-5 * HOUR) == [("clock_half_over", about)]
    office.look(6 * HOUR)
    assert office.rung() == [("clock_half_over", 1)]


@pytest.mark.thorough
def test_many_clocks_are_warned_of_look_by_look(office, monkeypatch):
    monkeypatch.setattr("coverguard.watching.SOME", 2)
    for kind in sorted(WARNING):
        office.owe(kind, "report_id")
    office.clock.go_on(25 * HOUR)
    looks = [office.watch.warn_of_clocks() for _ in range(len(WARNING) // 2 + 2)]
    assert looks[-1] == 0
    assert sum(looks) == len(WARNING)
    assert office.rung() == [("clock_half_over", 1)] * len(WARNING)


@pytest.mark.thorough
def test_two_keepers_at_once_ring_once(office):
    kinds = sorted(WARNING)
    for kind in kinds:
        for subject in SUBJECTS:
            office.owe(kind, subject)
    keepers = [office.keeper() for _ in range(3)]
    together = threading.Barrier(len(keepers))

    def look(keeper: Watch) -> None:
        together.wait(timeout=30)
        for _ in range(3):
            keeper.warn_of_clocks()

    with ThreadPoolExecutor(len(keepers)) as pool:
        for share in (24, 12, 8):
            office.clock.go_on(share * HOUR)
            for done in [pool.submit(look, keeper) for keeper in keepers]:
                done.result(timeout=60)
    expected = [(kind, 1) for kind in ("clock_half_over", "clock_three_quarters_over", "clock_nearly_over")]
    assert sorted(office.rung()) == sorted(expected * len(kinds) * len(SUBJECTS))
    with office.database.reading() as tx:
        assert len(alarms.ringing(tx)) == 3 * len(kinds) * len(SUBJECTS), "and none was ended by another"


@pytest.mark.thorough
def test_one_keeper_warns_while_the_clock_is_met(office):
    """Whoever is first: nothing goes on ringing."""
    together = threading.Barrier(2)

    def meet() -> None:
        together.wait(timeout=30)
        office.meet("review", "item_id")

    def look() -> None:
        together.wait(timeout=30)
        office.watch.warn_of_clocks()

    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            office.owe("review", "item_id")
            office.clock.go_on(25 * HOUR)
            for done in [pool.submit(meet), pool.submit(look)]:
                done.result(timeout=60)
            office.watch.warn_of_clocks()
            with office.database.reading() as tx:
                assert alarms.ringing(tx) == []
