"""Disputes and dead letters of list files: they appear, they end, and neither tells what the file said."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from test_importing_properties import KEYS, Killed, Row, database, ledger  # noqa: F401 - fixtures
from world import EDITOR

from coverguard.errors import IntegrityFailure
from coverguard.hashlist import ListFormat
from coverguard.store.lists.dead_letters import open_dead_letter
from coverguard.store.schema import dead_letter, list_entry, metadata

CANARY = "zxqcanaryqxz"
GOOD = Row(name="a", algorithm="md5", number=1, opinion="positive", grid=False, label="")


def row(name, number=1, opinion="positive", algorithm="md5"):
    return Row(name=name, algorithm=algorithm, number=number, opinion=opinion, grid=False, label="")


@pytest.fixture
def listed(ledger):  # noqa: F811 - the fixture
    ledger.anew()
    return ledger


def marked(ledger):  # noqa: F811
    return ledger.live()[1]


# ── disputes ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("first", [True, False], ids=["first load", "later load"])
def test_what_a_list_names_and_denies_is_disputed(listed, first):
    if not first:
        listed.load([row("z", 3)])
    listed.load([row("a"), row("b", opinion="seed"), row("c", opinion="negative"), row("d", 2)])
    assert marked(listed) == {"a", "b", "c"}


def test_what_a_list_only_denies_is_not_disputed(listed):
    listed.load([row("a", opinion="negative"), row("b", opinion="negative"), row("c", 2)])
    assert marked(listed) == set()


def test_the_same_number_of_another_algorithm_is_another_digest(listed):
    listed.load([row("a"), row("b", opinion="negative", algorithm="sha256")])
    assert marked(listed) == set()


@pytest.mark.parametrize(
    "after",
    [
        [row("a"), row("x", 2)],  # who denied is gone
        [row("c", opinion="negative"), row("x", 2)],  # who named is gone
        [row("a"), row("c"), row("x", 2)],  # who denied names
        [row("a", opinion="negative"), row("c", opinion="negative"), row("x", 2)],
        [row("a"), row("c", 3, opinion="negative"), row("x", 2)],  # who denied denies something else
        [row("a"), row("c", opinion="negative", algorithm="sha256"), row("x", 2)],
    ],
)
def test_a_dispute_ends_with_what_made_it(listed, after):
    listed.load([row("a"), row("c", opinion="negative"), row("x", 2)])
    assert marked(listed) == {"a", "c"}
    listed.load(after)
    assert marked(listed) == set()


def test_a_dispute_that_ends_is_a_change_of_the_entries_that_stay(listed):
    """Their rows were not in the file's changes; readers find them by the number of the change."""
    listed.load([row("a"), row("c", opinion="negative")])
    before = listed.counted()[0]
    listed.load([row("a")])
    with listed.database.reading() as tx:
        wanted = select(list_entry.c.changed_seq).where(
            list_entry.c.list_id == listed.list_id, list_entry.c.source_entry_id == "a"
        )
        assert tx.execute(wanted).scalar_one() > before


def test_a_denial_that_comes_in_a_later_batch_disputes_what_was_written_before(listed):
    rows = [row(f"e{number}", number % 200) for number in range(1, 8)]
    listed.load([*rows, row("c", 2, opinion="negative")])
    assert marked(listed) == {"e2", "c"}


def test_lists_do_not_dispute_each_other(listed):
    listed.load([row("a")])
    one = listed.list_id
    listed.anew()
    listed.load([row("b", opinion="negative")])
    assert marked(listed) == set()
    listed.list_id = one
    assert marked(listed) == set()


# ── dead letters ───────────────────────────────────────────────────────────────────────────────────────────


def letters(ledger):  # noqa: F811
    wanted = select(dead_letter).where(dead_letter.c.list_id == ledger.list_id).order_by(dead_letter.c.id)
    with ledger.database.reading() as tx:
        return list(tx.execute(wanted))


def test_a_faulty_line_is_kept_sealed_and_opens_with_the_key(listed):
    listed.load([GOOD, f"{CANARY},md5,nothex,,,\n"])
    (letter,) = letters(listed)
    assert (letter.place, letter.fault, letter.times) == ("line 3", "digest is not hex", 1)
    assert open_dead_letter(KEYS, letter) == f"{CANARY},md5,nothex,,,\n".encode()
    assert CANARY.encode() not in letter.raw_sealed


@pytest.mark.parametrize("first", [True, False], ids=["first load", "later load"])
def test_no_column_of_the_ledger_and_no_report_has_a_word_of_a_faulty_line(listed, first):
    if not first:
        listed.load([row("z", 3)])
    report = listed.load([
        GOOD, f"{CANARY},md5,nothex,,,\n", f"{CANARY}\n", f'"{CANARY}\n', f"b,md5,{CANARY},,,\n",
        f"c,md5,{'00' * 16},{CANARY},,\n", f"d,{CANARY},{'00' * 16},,,\n", f"e,md5,{'00' * 16},,{CANARY},\n",
    ])  # fmt: skip
    assert report.faulty == 7
    assert CANARY not in repr(report)
    with listed.database.reading() as tx:
        for table in metadata.sorted_tables:
            if table.schema is None:
                said = repr([tuple(one) for one in tx.execute(select(table))])
                assert CANARY not in said, table.name


def test_the_same_faulty_line_is_counted_and_not_kept_twice(listed):
    listed.load([GOOD, "a\n", "a\n"])
    listed.load([row("b", 2), "a\n"])
    (letter,) = letters(listed)
    assert (letter.times, letter.place) == (3, "line 3")


def test_what_contradicts_an_earlier_line_is_a_letter_without_its_bytes(listed):
    for _ in range(2):
        listed.load([GOOD, row("a", 2)])
    (letter,) = letters(listed)
    assert (letter.raw_sealed, letter.fault) == (None, "the id was on an earlier line, for something else")
    assert open_dead_letter(KEYS, letter) is None


def test_a_mere_repeat_is_no_letter(listed):
    assert listed.load([GOOD, GOOD]).faulty == 1
    assert letters(listed) == []


def test_a_clean_load_settles_letters_and_a_faulty_one_opens_them_again(listed):
    listed.load([GOOD, "a\n"])
    listed.load([GOOD, row("b", 2), "b\n"])
    assert [letter.settled_at for letter in letters(listed)] == [None, None]
    listed.load([GOOD, row("b", 2)])
    assert [letter.settled_at for letter in letters(listed)] == [listed.clock.now()] * 2
    listed.load([GOOD, "a\n"])
    assert [letter.settled_at is None for letter in letters(listed)] == [True, False]


def test_a_letter_does_not_open_in_another_place(listed):
    listed.load([GOOD, "a\n"])
    (letter,) = letters(listed)
    elsewhere = SimpleNamespace(**{**letter._mapping, "list_id": letter.list_id + 1})
    with pytest.raises(IntegrityFailure):
        open_dead_letter(KEYS, elsewhere)


def test_a_dry_run_keeps_no_letter(listed):
    assert listed.load([GOOD, "a\n"], dry_run=True).faulty == 1
    assert letters(listed) == []


# ── what is fresh, and where a load went on ────────────────────────────────────────────────────────────────


def test_only_a_clean_load_makes_a_list_fresh_and_mere_repeats_are_clean(listed):
    listed.load([GOOD, "a\n"])
    assert listed.counted()[1] is None
    listed.load([GOOD, GOOD])
    assert listed.counted()[1] == listed.clock.now()


def test_a_load_that_goes_on_tells_the_faults_of_the_lines_before(listed):
    lines = ["a\n", GOOD, row("b", 2), row("c", 3), "b\n", row("d", 1)]
    with pytest.raises(Killed):
        listed.load(lines, dies=1)
    report = listed.load(lines)
    assert report.resumed_at is not None
    assert report.resumed_at >= 3
    assert [fault.line for fault in report.faults] == [2, 6]
    assert report.faulty == 2


def test_a_file_with_other_options_is_another_file(listed):
    with pytest.raises(Killed):
        listed.load([GOOD, row("b", 2), row("c", 3)], dies=1)
    said = {"id": "a", "algorithm": "md5", "digest": "01" * 16}
    listed.path.write_text(json.dumps(said))
    report = listed.importer.load_file(
        listed.name, listed.path, list_format=ListFormat.JSONL, actor=EDITOR, confirm_shrink=True
    )
    assert report.resumed_at is None
    assert {*listed.live()[0]} == {"a"}
