"""Hash lists at rest are sealed, in their place, in versions, and every change has its number."""

from __future__ import annotations

import base64
import itertools

import pytest
from sqlalchemy import select, update

from coverguard.algorithms import BUILT_IN
from coverguard.errors import IntegrityFailure, NotFound
from coverguard.hashlist import ListRow
from coverguard.local.keys import LocalKeys
from coverguard.model import Algorithm, Category, ListAction, Micros, Opinion
from coverguard.policy import ListRule
from coverguard.store import lists
from coverguard.store.schema import hash_list, list_entry

NOW = Micros(1_800_000_000_000_000)
RULE = ListRule(list_id=0, version=0, category=Category.OTHER, action=ListAction.HOLD, phash256_radius=10)


def stored_rows(tx, list_id):
    """What is listed now: source entry id to the row's MAC."""
    live = (list_entry.c.list_id == list_id, list_entry.c.withdrawn_at.is_(None))
    found = tx.execute(select(list_entry.c.source_entry_id, list_entry.c.row_mac).where(*live))
    return {row.source_entry_id: row.row_mac for row in found}


def digest(seed, algorithm):
    return bytes((seed * 37 + place * 11) % 256 for place in range(algorithm.size))


def row(name, *, algorithm=Algorithm.PDQ, seed=1, **facts):
    return ListRow(source_entry_id=name, algorithm=algorithm, digest=digest(seed, algorithm), **facts)


class Lists:
    """The verbs, each in a transaction of its own."""

    def __init__(self, database, keys):
        self.database, self.keys = database, keys

    def make(self, name="industry", rule=RULE):
        with self.database.transaction() as tx:
            return lists.create(tx, name=name, source="s", rule=rule, actor="Ada", note="n", now=NOW)[0]

    def write(self, list_id, *rows, **other):
        with self.database.transaction() as tx:
            return lists.write_entries(tx, self.keys, list_id=list_id, rows=rows, now=NOW, **other)

    def withdraw(self, list_id, *names):
        with self.database.transaction() as tx:
            return lists.withdraw(tx, list_id=list_id, source_entry_ids=names, now=NOW)

    def switch(self, list_id, *, enabled):
        with self.database.transaction() as tx:
            lists.switch(tx, list_id, enabled=enabled, now=NOW)

    def add_rule(self, list_id, rule):
        with self.database.transaction() as tx:
            return lists.add_rule(tx, list_id, rule, actor="Ada", note="n", now=NOW)

    def load(self, keys=None):
        with self.database.reading() as tx:
            return lists.load(tx, keys or self.keys)

    def listed(self):
        """What may match now."""
        return {(one.list_id, one.algorithm, one.digest) for one in self.load().digests}


@pytest.fixture
def made(database, keys):
    return Lists(database, keys)


# ── sealed ─────────────────────────────────────────────────────────────────────────────────────────────────


def forms(value):
    """Ways in which somebody could have written a digest down."""
    number = int.from_bytes(value)
    return [
        value, value[:8], value.hex().encode(), value.hex().upper().encode(), value.hex()[:16].encode(),
        base64.b64encode(value)[:-4], base64.urlsafe_b64encode(value)[:-4], str(number).encode(),
    ]  # fmt: skip


def test_no_digest_lies_in_the_file(ledger_file, reused, keys):
    made = Lists(reused[1], keys)
    rows = [row(f"entry {one.value}", algorithm=one, seed=n) for n, one in enumerate(BUILT_IN)]
    listed = made.make()
    made.write(listed, *rows)
    made.write(listed, *rows)  # replaced
    made.withdraw(listed, rows[0].source_entry_id)
    held = {path.name: path.read_bytes() for path in ledger_file.parent.iterdir()}
    assert "ledger.db-wal" in held
    assert any(b"entry sha256" in data for data in held.values()), "this would find what is there"
    found = [
        (name, one.algorithm)
        for one in rows
        for form in forms(one.digest)
        for name, data in held.items()
        if form in data
    ]
    assert not found
    assert sorted(made.listed()) == sorted((listed, one.algorithm, one.digest) for one in rows[1:])


def test_nothing_prints_a_digest(made):
    made.write(made.make(), row("a"))
    shown = repr(made.load())
    assert all(repr(form)[2:-1] not in shown for form in forms(digest(1, Algorithm.PDQ)))


@pytest.mark.parametrize("what", ["digest_sealed", "list_id", "algorithm", "source_entry_id"])
def test_a_row_moved_to_another_place_does_not_open(made, database, what):
    listed, other = made.make(), made.make("other")
    made.write(listed, row("a", seed=1), row("b", seed=2))
    values = {
        "list_id": other,
        "algorithm": "phash256",
        "source_entry_id": "c",
        "digest_sealed": select(list_entry.c.digest_sealed)
        .where(list_entry.c.source_entry_id == "b")
        .scalar_subquery(),
    }
    with database.transaction() as tx:
        tx.execute(update(list_entry).where(list_entry.c.source_entry_id == "a").values({what: values[what]}))
    with pytest.raises(IntegrityFailure):
        made.load()


def test_another_deployments_keys_open_nothing(made):
    made.write(made.make(), row("a"))
    with pytest.raises(IntegrityFailure):
        made.load(LocalKeys({"lists": b"x" * 32, "private": b"y" * 32}))


def test_what_tells_a_changed_row_is_keyed(made, database, keys):
    listed = made.make()
    made.write(listed, row("a"))
    with database.reading() as tx:
        stored = stored_rows(tx, listed)
    assert stored == {"a": lists.row_mac(keys, row("a"))}
    facts = [{}, {"opinion": Opinion.SEED}, {"category": Category.OTHER}, {"grid": True}]
    macs = {lists.row_mac(keys, row("a", **one)) for one in facts} | {lists.row_mac(keys, row("a", seed=2))}
    assert len(macs) == 5
    assert lists.row_mac(LocalKeys({"lists": b"x" * 32}), row("a")) not in macs


# ── what may match ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_entry_is_loaded_with_its_facts(made):
    listed = made.make()
    made.write(listed, row("a", opinion=Opinion.SEED, category=Category.TERRORISM, grid=True),
               cap=ListAction.REFER)  # fmt: skip
    (facts,) = made.load().entries.values()
    assert (facts.list_id, facts.opinion, facts.category) == (listed, Opinion.SEED, Category.TERRORISM)
    assert (facts.grid, facts.cap) == (True, ListAction.REFER)


def test_a_withdrawn_entry_is_gone_and_may_come_back(made):
    listed = made.make()
    made.write(listed, row("a", seed=1), row("b", seed=2))
    made.withdraw(listed, "a")
    assert {one[2] for one in made.listed()} == {digest(2, Algorithm.PDQ)}
    made.write(listed, row("a", seed=3))
    assert {one[2] for one in made.listed()} == {digest(2, Algorithm.PDQ), digest(3, Algorithm.PDQ)}


def test_withdrawing_is_of_one_list(made):
    one, other = made.make(), made.make("other")
    made.write(one, row("a"))
    made.write(other, row("a"))
    made.withdraw(one, "a")
    assert {found[0] for found in made.listed()} == {other}


def test_many_entries_are_withdrawn_at_once(made):
    listed = made.make()
    names = [f"entry {number}" for number in range(1201)]
    made.write(listed, *(row(name, algorithm=Algorithm.MD5) for name in names))
    made.withdraw(listed, *names[1:])
    assert len(made.listed()) == 1


def test_a_switched_off_list_matches_nothing_and_keeps_its_entries(made):
    listed = made.make()
    made.write(listed, row("a"))
    made.switch(listed, enabled=False)
    off = made.load()
    assert (off.rules, off.entries, list(off.digests)) == ({}, {}, [])
    made.switch(listed, enabled=True)
    assert len(made.listed()) == 1


def test_an_algorithm_switched_off_by_the_rule_is_not_loaded(made):
    listed = made.make()
    made.write(listed, row("a"), row("b", algorithm=Algorithm.PHASH256), row("c", algorithm=Algorithm.MD5))
    rule = ListRule(list_id=0, version=0, category=Category.OTHER, pdq_radius=-1, phash256_radius=-1)
    made.add_rule(listed, rule)
    assert {one[1] for one in made.listed()} == {Algorithm.MD5}
    assert len(made.load().entries) == 1


def test_the_newest_rule_is_in_force_and_the_old_ones_stay(made, database):
    listed = made.make()
    assert made.load().rules[listed].version == 1
    rule = ListRule(
        list_id=0, version=0, category=Category.TERRORISM, action=ListAction.REFER, pdq_radius=7,
        phash256_radius=8, quality_floor=60, hold_budget=9, known=False,
    )  # fmt: skip
    assert made.add_rule(listed, rule) == 2
    in_force = made.load().rules[listed]
    assert in_force == ListRule(
        list_id=listed, version=2, category=Category.TERRORISM, action=ListAction.REFER, pdq_radius=7,
        phash256_radius=8, quality_floor=60, hold_budget=9, known=False, source="s",
    )  # fmt: skip
    with database.reading() as tx:
        kept = tx.exec_driver_sql("SELECT version, actor FROM list_rule ORDER BY version").all()
    assert kept == [(1, "Ada"), (2, "Ada")]


def test_a_list_is_made_once(made, database):
    assert made.make() == made.make(rule=ListRule(list_id=0, version=0, category=Category.TERRORISM))
    (rule,) = made.load().rules.values()
    assert (rule.version, rule.category) == (1, Category.OTHER)
    with database.reading() as tx:
        assert lists.by_name(tx, "industry").enabled
        with pytest.raises(NotFound) as caught:
            lists.by_name(tx, "a secret name")
    assert "secret" not in str(caught.value)


def test_lists_are_counted(made, database):
    listed = made.make()
    made.make("empty")
    made.write(listed, row("a"), row("b", seed=2))
    made.withdraw(listed, "a")
    with database.reading() as tx:
        counted = [(one.name, one.entries, one.action) for one in lists.counts(tx)]
    assert counted == [("empty", 0, "hold"), ("industry", 1, "hold")]


# ── numbers of changes ─────────────────────────────────────────────────────────────────────────────────────


def test_every_change_of_what_may_match_has_a_higher_number(made, database):
    seen = [made.load().seq]
    assert seen == [0]
    listed = made.make()
    changes = [
        lambda: made.write(listed, row("a")),
        lambda: made.write(listed, row("a", seed=2)),
        lambda: made.withdraw(listed, "a"),
        lambda: made.add_rule(listed, RULE),
        lambda: made.switch(listed, enabled=False),
        lambda: made.switch(listed, enabled=True),
    ]
    for change in changes:
        seen.append(made.load().seq)
        change()
    seen.append(made.load().seq)
    assert all(before < after for before, after in itertools.pairwise(seen))
    with database.reading() as tx:
        assert lists.newest_seq(tx) == seen[-1]


def test_an_entry_has_the_number_of_its_last_change(made, database):
    listed = made.make()
    first = made.write(listed, row("a"), row("b", seed=2))
    second = made.withdraw(listed, "b")
    with database.reading() as tx:
        numbers = dict(tx.execute(select(list_entry.c.source_entry_id, list_entry.c.changed_seq)).all())
    assert numbers == {"a": first, "b": second}
    assert first < second


def test_a_number_is_never_given_twice(made, database):
    """Also when the newest change is gone: `judged_seq` of old answers refers to it."""
    listed = made.make()
    newest = made.write(listed, row("a"))
    with database.transaction() as tx:
        tx.exec_driver_sql("DELETE FROM list_change WHERE seq = (SELECT max(seq) FROM list_change)")
    assert made.write(listed, row("b")) > newest


def test_a_list_row_that_is_gone_takes_its_entries_out_of_matching(made, database):
    listed = made.make()
    made.write(listed, row("a"))
    with database.transaction() as tx:
        tx.execute(update(hash_list).values(enabled=False))
    assert made.load().entries == {}


# ── one id, one digest ─────────────────────────────────────────────────────────────────────────────────────


def test_an_entry_that_changes_its_algorithm_is_not_listed_twice(made, database, keys):
    """The old digest of that id is no longer in the source's list."""
    listed = made.make()
    made.write(listed, row("a", algorithm=Algorithm.MD5), row("b", seed=2))
    changed = row("a", algorithm=Algorithm.SHA256)
    with database.transaction() as tx:
        lists.write_entries(tx, keys, list_id=listed, rows=[changed], now=NOW)
        lists.withdraw_other_algorithms(tx, listed, {"a": "sha256"}, now=NOW)
    assert {one[1] for one in made.listed()} == {Algorithm.SHA256, Algorithm.PDQ}
    with database.reading() as tx:
        assert stored_rows(tx, listed)["a"] == lists.row_mac(keys, changed)
