"""Exchanges into lists: what is told is listed, what is taken back is gone, and nothing comes twice."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from world import EDITOR, near, picture

from coverguard.adapters import EXCHANGE_KEYS
from coverguard.errors import LeaseLost, TransientError
from coverguard.exchanges import Batch, ExchangeBusy, Faulty, Record
from coverguard.hashlist import ListRow
from coverguard.model import Algorithm, Micros, Opinion, later
from coverguard.store import fetches, lists
from coverguard.store.lists import governance

HOUR = timedelta(hours=1)


class Scripted:
    """An exchange that tells batches by hand."""

    name = "scripted"

    def __init__(self, *batches, fault=None):
        self.told, self.fault, self.asked = list(batches), fault, []

    def batches(self, checkpoint):
        self.asked.append(checkpoint)
        yield from self.told
        if self.fault is not None:
            raise self.fault

    def check(self):
        """Always well."""


def digest(seed):
    return random.Random(seed).randbytes(32)


def record(name, *seeds, stamp=1, gone=False, algorithm=Algorithm.PDQ, **facts):
    rows = tuple(
        ListRow(source_entry_id=name, algorithm=algorithm, digest=digest(seed), **facts) for seed in seeds
    )
    return Record(record_id=name, stamp=stamp, rows=rows, gone=gone)


def batch(*records, checkpoint=None, **other):
    return Batch(records=records, checkpoint=checkpoint, position="somewhere", **other)


class Place:
    """One list, one exchange of it."""

    def __init__(self, world):
        self.world = world
        self.list_id = world.list_of(name="l")
        with world.database.transaction() as tx:
            fetches.create(
                tx, name="x", list_id=self.list_id, kind="ncmec", place="test-industry",
                every=HOUR // timedelta(microseconds=1), now=world.clock.now(),
            )  # fmt: skip

    def fetcher(self, exchange, holder="me"):
        return replace(self.world.parts.fetcher(), exchange_of=lambda _row: exchange, holder=holder)

    def fetch(self, *batches, fault=None, **how):
        self.exchange = Scripted(*batches, fault=fault)
        return self.fetcher(self.exchange).fetch("x", **how)

    @property
    def row(self):
        (row,) = self.world.rows("exchange")
        return row

    def listed(self):
        with self.world.database.reading() as tx:
            return sorted(one.digest for one in lists.load(tx, self.world.keys).digests)


@pytest.fixture
def place(world):
    return Place(world)


def test_what_is_told_is_listed_and_the_checkpoint_comes_with_it(place):
    report = place.fetch(batch(record("a", 1)), batch(record("b", 2, 3), checkpoint="one"))
    assert (report.records, report.upserts, report.caught_up, report.fault) == (2, 3, True, None)
    assert place.listed() == sorted(map(digest, (1, 2, 3)))
    assert (place.row.checkpoint, place.row.failures, place.row.holder) == ("one", 0, None)
    place.fetch()
    assert place.exchange.asked == ["one"]


def test_an_older_word_that_comes_later_changes_nothing(place):
    place.fetch(batch(record("a", 1, stamp=5), record("b", stamp=5, gone=True)))
    place.fetch(batch(record("a", 2, stamp=4), record("b", 3, stamp=4)))
    assert place.listed() == [digest(1)]
    place.fetch(batch(record("a", stamp=6, gone=True)))
    assert place.listed() == []
    place.fetch(batch(record("a", 4, stamp=5)))
    assert place.listed() == [], "what is gone stays gone for whatever is older"


def test_a_record_replaces_all_that_it_said(place):
    place.fetch(batch(record("a", 1, 2, stamp=1)))
    place.fetch(batch(record("a", 2, stamp=2)))
    assert place.listed() == [digest(2)]


def test_reading_the_same_again_changes_nothing(place):
    place.fetch(batch(record("a", 1), record("b", 2)))
    with place.world.database.reading() as tx:
        before = lists.newest_seq(tx)
    report = place.fetch(batch(record("a", 1), record("b", 2)))
    with place.world.database.reading() as tx:
        assert lists.newest_seq(tx) == before
    assert (report.upserts, report.withdrawals) == (0, 0)


def test_a_fault_is_on_record_and_the_next_run_waits_longer_each_time(place):
    waits = []
    for _ in range(3):
        report = place.fetch(batch(record("a", 1), checkpoint="one"), fault=TransientError("no whole answer"))
        assert report.fault == "no whole answer"
        waits.append(place.row.next_at - place.world.clock.now())
    assert waits == sorted(waits)
    assert (place.row.failures, place.row.fault, place.row.checkpoint) == (3, "no whole answer", "one")
    assert place.world.keeper.watch.ring_lists() == 1
    assert ("exchange_failing", f"exchange:{place.row.id}") in place.world.alarms()
    place.fetch()
    assert (place.row.failures, place.row.fault) == (0, None)


def test_an_exchange_that_is_busy_is_asked_when_it_says(place):
    place.fetch(fault=ExchangeBusy("asks for a pause", after=HOUR))
    wait = timedelta(microseconds=place.row.next_at - place.world.clock.now())
    assert 0.85 * HOUR <= wait <= 1.15 * HOUR
    assert place.row.failures == 0


def test_what_cannot_be_read_is_kept_and_counted_and_the_rest_is_listed(place):
    bad = Faulty(place="page 1, record 2", fault="digest is not hex", raw=b"canary")
    report = place.fetch(batch(record("a", 1), faulty=(bad,), checkpoint="one"))
    place.fetch(batch(faulty=(bad,), checkpoint="two"))
    assert (report.unread, report.caught_up) == (1, True)
    (letter,) = place.world.rows("dead_letter")
    assert (letter.place, letter.fault, letter.times) == (bad.place, bad.fault, 2)
    assert b"canary" not in letter.raw_sealed
    place.world.keeper.watch.ring_lists()
    assert ("list_records_unreadable", f"list:{place.list_id}") in place.world.alarms()
    place.world.parts.governor().settle_faults("l", actor=EDITOR)
    place.world.keeper.watch.ring_lists()
    assert place.world.alarms() == []


# ── whole listings ─────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_whole_listing_does_not_name_is_withdrawn_at_its_end(place):
    many = [record(f"r{n}", n) for n in range(10)]
    place.fetch(batch(*many, whole=True, checkpoint="one"))
    report = place.fetch(batch(*many[:5], whole=True), batch(*many[5:9], whole=True, checkpoint="two"))
    assert report.withdrawals == 1
    assert place.listed() == sorted(digest(n) for n in range(9))
    place.fetch(batch(replace(many[9], stamp=2)))
    assert len(place.listed()) == 10, "and comes back with a newer word"


@pytest.mark.parametrize("spoilt", ["faulty", "gap", "cut"])
def test_a_listing_that_was_not_read_whole_withdraws_nothing(place, spoilt):
    many = [record(f"r{n}", n) for n in range(10)]
    place.fetch(batch(*many, whole=True, checkpoint="one"))
    bad = (Faulty(place="p", fault="f", raw=b"x"),) if spoilt == "faulty" else ()
    one = batch(*many[:9], whole=True, faulty=bad, gaps=int(spoilt == "gap"))
    assert not bad or bad[0].record_id is None
    if spoilt == "cut":
        place.fetch(one, fault=TransientError("cut"))
    else:
        place.fetch(one, batch(whole=True, checkpoint="two", gaps=int(spoilt == "gap")))
    assert len(place.listed()) == 10


def test_a_record_of_which_only_the_id_could_be_read_is_not_withdrawn_and_others_are(place):
    many = [record(f"r{n}", n) for n in range(10)]
    place.fetch(batch(*many, whole=True, checkpoint="one"))
    bad = Faulty(place="p", fault="f", raw=b"x", record_id="r9")
    place.fetch(batch(*many[:8], whole=True, faulty=(bad,), checkpoint="two"))
    assert place.listed() == sorted(digest(n) for n in (0, 1, 2, 3, 4, 5, 6, 7, 9))


def test_a_listing_that_leaves_out_too_much_needs_a_persons_word(place):
    many = [record(f"r{n}", n) for n in range(10)]
    place.fetch(batch(*many, whole=True, checkpoint="one"))
    few = batch(*many[:5], whole=True, checkpoint="two")
    report = place.fetch(few)
    assert "leaves out 5 of 10" in report.fault
    assert (len(place.listed()), place.row.failures) == (10, 1)
    assert place.fetch(few, confirm_shrink=True).withdrawals == 5
    assert len(place.listed()) == 5


# ── one at a time ──────────────────────────────────────────────────────────────────────────────────────────


def test_two_fetchers_do_not_fetch_one_exchange(place):
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Scripted):
        def batches(self, checkpoint):
            inside.set()
            assert go_on.wait(30)
            yield batch(record("a", 1), checkpoint="one")

    slow = threading.Thread(target=place.fetcher(Slow()).fetch, args=("x",))
    slow.start()
    assert inside.wait(30)
    assert place.fetcher(Scripted(), holder="another").fetch("x") is None
    with place.world.database.reading() as tx:
        assert fetches.due(tx, now=place.world.clock.now()) == []
    go_on.set()
    slow.join()
    assert place.row.checkpoint == "one"


def test_who_lost_the_lease_stores_nothing_more(place):
    world = place.world

    class Frozen(Scripted):
        def batches(self, checkpoint):
            yield batch(record("a", 1), checkpoint="one")
            world.clock.go_on(HOUR)  # longer than the lease
            place.fetcher(Scripted(batch(record("b", 2), checkpoint="theirs")), holder="another").fetch("x")
            yield batch(record("c", 3), checkpoint="two")

    report = place.fetcher(Frozen()).fetch("x")
    assert report.fault == "somebody else fetches it by now"
    assert place.row.checkpoint == "theirs"
    assert place.listed() == sorted((digest(1), digest(2)))
    with world.database.transaction() as tx, pytest.raises(LeaseLost):
        fetches.keep(tx, place.row, holder="me", until=Micros(later(world.clock.now(), HOUR)))


def test_a_dry_run_says_what_would_change_and_changes_nothing(place):
    place.fetch(batch(record("a", 1), checkpoint="one"))
    before = place.world.everything()
    told = batch(record("a", 2, stamp=2), record("b", 3), checkpoint="two")
    report = place.fetcher(Scripted(told)).preview("x")
    assert (report.records, report.upserts, report.caught_up) == (2, 2, True)
    assert place.world.everything() == before


# ── freshness and what follows ─────────────────────────────────────────────────────────────────────────────


def test_a_list_is_fresh_when_a_run_caught_up_without_gaps(place):
    def refreshed():
        with place.world.database.reading() as tx:
            return governance.refreshed(tx)[place.list_id]

    begun = refreshed()
    place.world.clock.go_on(HOUR)
    place.fetch(batch(record("a", 1), gaps=1))
    assert refreshed() == begun
    place.fetch(batch(record("a", 1)))
    assert refreshed() == place.world.clock.now()
    spread = timedelta(microseconds=place.row.next_at - place.world.clock.now())
    assert 0.9 * HOUR <= spread <= 1.1 * HOUR


def test_a_source_that_has_both_words_on_a_digest_is_asked_about(world):
    place = Place(world)
    row = near(picture(1))
    yes = Record(record_id="a", stamp=1, rows=(replace(row, source_entry_id="a"),))
    no = Record(record_id="b", stamp=1, rows=(replace(row, source_entry_id="b", opinion=Opinion.NEGATIVE),))
    place.fetch(batch(yes, no))
    upload = world.upload(picture(1), "c1")
    assert (world.answer(upload).decision, world.answer(upload).reason) == ("refer", "disputed")
    place.fetch(batch(replace(no, stamp=2, rows=(), gone=True)))
    assert world.answer(world.upload(picture(1), "c2")).decision == "hold"


def test_credentials_are_a_private_file_of_the_exchanges_name(place):
    world = place.world
    report = world.parts.fetcher().fetch("x")
    assert f"keys/{EXCHANGE_KEYS}/x cannot be read" in report.fault
    folder = world.home / "keys" / EXCHANGE_KEYS
    folder.mkdir(mode=0o700)
    file = folder / "x"
    file.write_text("no login\n", encoding="utf-8")
    file.chmod(0o600)
    assert "must be one line" in world.parts.fetcher().fetch("x").fault
