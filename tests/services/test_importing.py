"""A list file becomes upserts and withdrawals: all of it, only it, and without a word of what it says."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import EDITOR, WATCHED, fingerprint, picture

from coverguard.algorithms import Algorithms
from coverguard.errors import BadListFile, NotFound, Refused
from coverguard.hashlist import ListFormat, ListRow, parse
from coverguard.model import Algorithm, Category, ListAction
from coverguard.policy import ListRule
from coverguard.store import lists


def hexed(number, algorithm="sha256"):
    return bytes((number * 7 + place) % 256 for place in range(Algorithms()[algorithm].size)).hex()


def rows_of(*ids, algorithm="sha256", shift=0):
    return [
        {"id": f"entry-{one}", "algorithm": algorithm, "digest": hexed(one + shift, algorithm)} for one in ids
    ]


def csv_of(rows):
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["id", "algorithm", "digest"]
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class Industry:
    """One list, and files for it."""

    def __init__(self, world, path):
        self.world, self.path = world, path
        self.list_id = world.list_of()

    def load(self, text, *, name="industry", list_format=ListFormat.CSV, **options):
        self.path.write_text(text, encoding="utf-8")
        return self.world.importer.load_file(
            name, self.path, list_format=list_format, actor=EDITOR, **options
        )

    def listed(self):
        with self.world.database.reading() as tx:
            snapshot = lists.load(tx, self.world.keys)
        return {one.digest.hex() for one in snapshot.digests}

    @property
    def seq(self):
        with self.world.database.reading() as tx:
            return lists.newest_seq(tx)


@pytest.fixture
def industry(world, tmp_path):
    return Industry(world, tmp_path / "list.csv")


def counts(report):
    return report.entries_before, report.upserts, report.withdrawals, report.doubtful, len(report.faults)


def test_a_first_file_is_all_new(industry):
    assert counts(industry.load(csv_of(rows_of(1, 2, 3)))) == (0, 3, 0, 0, 0)
    assert industry.listed() == {hexed(1), hexed(2), hexed(3)}


def test_the_next_file_is_what_changed(industry):
    industry.load(csv_of(rows_of(*range(10))))
    changed = [*rows_of(*range(8)), *rows_of(8, shift=100), *rows_of(20)]
    assert counts(industry.load(csv_of(changed))) == (10, 2, 1, 0, 0)
    assert industry.listed() == {*(hexed(n) for n in range(8)), hexed(108), hexed(20)}


def test_the_same_file_again_changes_nothing(industry):
    text = csv_of(rows_of(*range(10)))
    industry.load(text)
    before, seq = industry.world.rows("list_entry"), industry.seq
    assert counts(industry.load(text)) == (10, 0, 0, 0, 0)
    assert industry.world.rows("list_entry") == before
    assert industry.seq == seq


@pytest.mark.parametrize("column", ["opinion", "category", "grid"])
def test_a_changed_fact_is_a_change(industry, column):
    word = {"opinion": "seed", "category": "terrorism", "grid": "true"}[column]
    industry.load(csv_of(rows_of(1, 2)))
    changed = [rows_of(1)[0] | {column: word}, rows_of(2)[0] | {column: ""}]
    assert counts(industry.load(csv_of(changed)))[:3] == (2, 1, 0)
    assert counts(industry.load(csv_of(changed)))[:3] == (2, 0, 0)


def test_an_entry_that_comes_back_is_live_again(industry):
    industry.load(csv_of(rows_of(*range(10))))
    industry.load(csv_of(rows_of(*range(9))))
    assert hexed(9) not in industry.listed()
    assert counts(industry.load(csv_of(rows_of(*range(10)))))[:3] == (9, 1, 0)
    assert hexed(9) in industry.listed()


def test_an_entry_that_changes_its_algorithm_is_one_entry(industry):
    industry.load(csv_of(rows_of(1, 2, algorithm="md5")))
    changed = csv_of([*rows_of(1), *rows_of(2, algorithm="md5")])
    assert counts(industry.load(changed))[:3] == (2, 1, 0)
    assert industry.listed() == {hexed(1), hexed(2, "md5")}
    assert counts(industry.load(changed))[:3] == (2, 0, 0)


def test_who_screens_notices_that_an_old_algorithm_is_withdrawn(industry):
    """The withdrawal is a change of its own: nobody may go on matching what the file no longer says."""
    world = industry.world
    md5 = fingerprint(picture(1)).digests["md5"].hex()
    industry.load(csv_of([{"id": "a", "algorithm": "md5", "digest": md5}]))
    assert world.answer(world.upload(picture(1), "c1", surface=WATCHED)).decision == "hold"
    industry.load(csv_of([{"id": "a", "algorithm": "sha256", "digest": hexed(5)}]))
    newest = {row.changed_seq for row in world.rows("list_entry")}
    assert max(newest) == industry.seq
    assert len(newest) == 2
    assert world.answer(world.upload(picture(1), "c2", surface=WATCHED)).decision == "pass"


@pytest.mark.thorough
def test_an_import_that_died_between_batches_is_taken_up(industry):
    """Nothing depends on its last step: the next import of the same file ends the same."""
    old = [{"id": f"e{n}", "algorithm": "md5", "digest": f"{n:032x}"} for n in range(1500)]
    new = [{"id": f"e{n}", "algorithm": "sha1", "digest": f"{n:040x}"} for n in range(1500)]
    industry.load(csv_of(old))

    def die(_read, _in_all):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        industry.load(csv_of(new), progress=die)
    assert len(industry.listed()) == 1500
    industry.load(csv_of(new))
    assert industry.listed() == {row["digest"] for row in new}


@pytest.mark.parametrize(("left", "refused"), [(8, False), (7, True), (0, True)])
def test_a_list_that_shrinks_by_more_than_a_fifth_needs_a_persons_word(industry, left, refused):
    industry.load(csv_of(rows_of(*range(10))))
    before, smaller = industry.listed(), csv_of(rows_of(*range(left)))
    if refused:
        for dry_run in (True, False):
            with pytest.raises(Refused, match=f"from 10 to {left} entries"):
                industry.load(smaller, dry_run=dry_run)
        assert industry.listed() == before
    assert counts(industry.load(smaller, confirm_shrink=refused))[:3] == (10, 0, 10 - left)
    assert len(industry.listed()) == left


def test_swapping_every_entry_is_no_shrinking(industry):
    """The guard counts entries; who replaces a whole list at once is told the numbers."""
    industry.load(csv_of(rows_of(*range(10))))
    assert counts(industry.load(csv_of(rows_of(*range(100, 110)))))[:3] == (10, 10, 10)


def test_a_dry_run_says_what_it_would_do_and_does_nothing(industry):
    industry.load(csv_of(rows_of(*range(10))))
    before = industry.world.everything()
    assert counts(industry.load(csv_of(rows_of(*range(9), 50)), dry_run=True))[:3] == (10, 1, 1)
    assert industry.world.everything() == before


def test_malformed_rows_are_counted_and_withdraw_nothing(industry):
    industry.load(csv_of(rows_of(*range(10))))
    text = csv_of(rows_of(*range(8))) + "entry-8,sha256,nothex\nentry-9\n"
    report = industry.load(text)
    assert counts(report) == (10, 0, 0, 2, 2)
    assert [fault.line for fault in report.faults] == [10, 11]
    assert len(industry.listed()) == 10


def test_faults_say_nothing_of_what_the_file_said(industry):
    text = csv_of(rows_of(1)) + f"canary,sha256,{hexed(2)}zz\ncanary-id,canaryalgorithm,{hexed(3)}\n"
    report = industry.load(text)
    assert len(report.faults) == 2
    assert not any(word in repr(report) for word in ("canary", hexed(1), hexed(2), hexed(3)))


@pytest.mark.parametrize("text", ["", "id,algorithm\n", "canary,algorithm,digest\n", "id,id,digest\n"])
def test_a_file_that_makes_no_sense_is_refused_whole(industry, text):
    industry.load(csv_of(rows_of(1)))
    with pytest.raises(BadListFile) as caught:
        industry.load(text)
    assert "canary" not in str(caught.value)
    assert industry.listed() == {hexed(1)}


def test_a_file_that_is_not_there(industry, tmp_path):
    with pytest.raises(BadListFile, match="FileNotFoundError") as caught:
        industry.world.importer.load_file(
            "industry", tmp_path / "secret name.csv", list_format=ListFormat.CSV, actor=EDITOR
        )
    assert "secret" not in str(caught.value)


def test_a_list_that_nobody_made(industry):
    with pytest.raises(NotFound):
        industry.load(csv_of(rows_of(1)), name="unknown")


def test_plain_hex_and_json_lines(industry):
    plain = "\n".join(hexed(number) for number in (1, 2))
    assert counts(industry.load(plain, list_format=ListFormat.HEX, algorithm=Algorithm.SHA256))[:2] == (0, 2)
    assert counts(industry.load(plain, list_format=ListFormat.HEX, algorithm=Algorithm.SHA256))[:2] == (2, 0)
    world = industry.world
    world.list_of(name="lines")
    line = '{"id": "a", "algorithm": "pdq", "digest": "' + hexed(3, "pdq") + '", "grid": true}'
    assert counts(industry.load(line, name="lines", list_format=ListFormat.JSONL))[:2] == (0, 1)
    assert industry.listed() == {hexed(1), hexed(2), hexed(3, "pdq")}


def test_ids_of_a_plain_hex_file_do_not_tell_what_is_listed(industry):
    """Whoever has the ledger without its keys must not be able to ask it for a picture they have."""
    plain = "\n".join([hexed(1), "nothex", hexed(2)])
    assert counts(industry.load(plain, list_format=ListFormat.HEX, algorithm=Algorithm.SHA256))[1:] == (
        2,
        0,
        0,
        1,
    )
    derived = {
        row.source_entry_id
        for row in parse(plain.splitlines(), ListFormat.HEX, algorithm=Algorithm.SHA256)
        if isinstance(row, ListRow)
    }
    stored = {row.source_entry_id for row in industry.world.rows("list_entry")}
    assert (len(stored), len(derived)) == (2, 2)
    assert not stored & derived


@pytest.mark.thorough
def test_many_entries_come_in_batches(industry):
    seen = []
    rows = [{"id": f"e{n}", "algorithm": "md5", "digest": f"{n:032x}"} for n in range(2300)]
    industry.world.importer = replace(industry.world.importer, batch=1000)
    report = industry.load(csv_of(rows), progress=lambda read, in_all: seen.append((read, in_all)))
    assert report.upserts == 2300
    size = industry.path.stat().st_size
    assert len(seen) == 3
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)
    gone = industry.load(csv_of(rows[:10]), confirm_shrink=True)
    assert gone.withdrawals == 2290
    assert len(industry.listed()) == 10


def test_an_import_is_on_record(industry):
    industry.load(csv_of(rows_of(1, 2)))
    (row,) = [one for one in industry.world.rows("audit") if one.verb == "import list"]
    assert (row.actor, row.role, row.subject) == ("Edda", "list_editor", f"list:{industry.list_id}")
    assert row.facts == {"upserts": 2, "withdrawals": 0}


def test_what_was_imported_matches(industry):
    world = industry.world
    pdq = fingerprint(picture(1)).views[0].signals["pdq"].hex()
    industry.load(csv_of([{"id": "a", "algorithm": "pdq", "digest": pdq, "category": "terrorism"}]))
    upload = world.upload(picture(1), surface=WATCHED)
    assert world.answer(upload).decision == "hold"
    assert world.rows("case_file")[0].category == "terrorism"
    assert world.rows("match")[0].action == ListAction.HOLD.value
    assert Category.TERRORISM.value == world.rows("match")[0].category


FILES = st.dictionaries(
    st.integers(0, 8),
    st.tuples(st.sampled_from(["sha256", "md5", "pdq"]), st.integers(0, 20)),
    max_size=6,
)


@pytest.mark.thorough
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(FILES, min_size=1, max_size=4))
def test_the_list_is_always_what_the_last_file_says(industry, files):
    for file in files:
        rows = [
            {"id": f"entry-{one}", "algorithm": algorithm, "digest": hexed(number, algorithm)}
            for one, (algorithm, number) in file.items()
        ]
        industry.load(csv_of(rows), confirm_shrink=True)
        assert industry.listed() == {row["digest"] for row in rows}
        again = industry.load(csv_of(rows), confirm_shrink=True)
        assert (again.upserts, again.withdrawals) == (0, 0)


def test_a_list_learnt_here_takes_no_file(world, industry):
    rule = ListRule(list_id=0, version=0, category=Category.OTHER)
    own = {"name": "removed-here/other", "source": "here", "rule": rule, "actor": "tests", "note": "learnt"}
    with world.database.transaction() as tx:
        lists.create(tx, **own, own=True, now=world.clock.now())
    with pytest.raises(Refused, match="learnt from verdicts"):
        industry.load(csv_of(rows_of(1)), name="removed-here/other")


def test_a_list_with_a_wide_radius_does_not_grow_long(world, tmp_path, monkeypatch):
    wide = Industry(world, tmp_path / "list.csv")
    world.list_of(name="wide", pdq_radius=53)
    monkeypatch.setattr("coverguard.policy.rules.WIDE_ENTRIES", 2)
    assert counts(wide.load(csv_of(rows_of(1, 2)), name="wide"))[1] == 2
    with pytest.raises(Refused, match="split the list"):
        wide.load(csv_of(rows_of(1, 2, 3)), name="wide")
    assert counts(wide.load(csv_of(rows_of(1, 2, 3))))[1] == 3


def test_only_known_algorithms_are_read(industry):
    with pytest.raises(BadListFile, match="no such algorithm; known are: pdq"):
        industry.load("00", list_format=ListFormat.HEX, algorithm="luma.1")
