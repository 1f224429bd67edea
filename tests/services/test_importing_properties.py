"""Whatever files come one after the other, wherever an import dies: the list says what the rules say it does.

The truth is kept beside the ledger, by the rules in docs/lists.md: the first line of an id counts; a mere
repeat casts no doubt, anything else that is no row does; in doubt nothing is withdrawn.
"""

from __future__ import annotations

import io
import itertools
import json
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from world import EDITOR, StandingClock

from coverguard.hashlist import LABEL_BYTES, OURS, ListFile, ListFormat, ListRow
from coverguard.importing import Importer
from coverguard.importing.seen import Seen
from coverguard.local.keys import PURPOSES, LocalKeys
from coverguard.model import Category
from coverguard.policy import ListRule
from coverguard.store import lists
from coverguard.store.engine import Database
from coverguard.store.lists import comparing
from coverguard.store.lists.entries import PURPOSE, place
from coverguard.store.migrate import migrate
from coverguard.store.schema import dead_letter, hash_list, list_entry, list_import, staged_entry

pytestmark = pytest.mark.thorough

KEYS = LocalKeys({name: bytes([number + 1]) * 32 for number, name in enumerate(PURPOSES)})
BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)]
SMALL = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
SIZES = {"md5": 16, "sha256": 32}
SECOND = timedelta(seconds=1)
NAMES = itertools.count()
HEADER = "id,algorithm,digest,opinion,grid,label\n"


class Killed(BaseException):
    """The process is gone between two batches."""


# ── files ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    algorithm: str
    number: int  # few, so that entries share digests
    opinion: str
    grid: bool
    label: str

    @property
    def digest(self):
        return bytes([self.number]) * SIZES[self.algorithm]

    @property
    def said(self):
        return self.algorithm, self.digest, self.opinion, self.grid, self.label or None

    def line(self):
        grid = "true" if self.grid else ""
        return f"{self.name},{self.algorithm},{self.digest.hex()},{self.opinion},{grid},{self.label}\n"


FAULTY = ("a,md5,nothex,,,\n", "a\n", "b,md4,00,,,\n", ",md5," + "00" * 16 + ",,,\n", "c,md5,00,,,\n")
ROW = st.builds(
    Row,
    name=st.sampled_from("abcdefgh"),
    algorithm=st.sampled_from(["md5", "sha256"]),
    number=st.integers(1, 3),
    opinion=st.sampled_from(["positive", "positive", "negative", "seed"]),
    grid=st.booleans(),
    label=st.sampled_from(["", "A1", "B"]),
)
# mostly rows, now and then the very same once more, now and then what cannot be read
LINES = st.lists(ROW | ROW | st.sampled_from(FAULTY), max_size=10).flatmap(
    lambda lines: st.lists(st.sampled_from(lines), max_size=2).map(lambda again: [*lines, *again])
    if lines else st.just(lines)
)  # fmt: skip
CLEAN = st.dictionaries(st.sampled_from("abcdefgh"), ROW, max_size=8).map(
    lambda rows: [replace(row, name=name) for name, row in rows.items()]
)
STEP = st.tuples(
    LINES | CLEAN,
    st.none() | st.none() | st.integers(1, 9),  # dies before so many more batches
    st.sampled_from(["same", "same", "another"]),  # what comes after it died
    st.booleans(),  # a dry run first
)


def text_of(lines):
    return HEADER + "".join(one if isinstance(one, str) else one.line() for one in lines)


def read(lines):
    """What the file says: rows by id, how many lines are faulty, and whether that casts doubt."""
    said, faulty, doubt = {}, 0, False
    for one in lines:
        if isinstance(one, str):
            faulty, doubt = faulty + 1, True
        elif one.name not in said:
            said[one.name] = one.said
        else:
            faulty, doubt = faulty + 1, doubt or said[one.name] != one.said
    return said, faulty, doubt


# ── the list ───────────────────────────────────────────────────────────────────────────────────────────────


class Fuse:
    """Lets so many batches pass, read or applied."""

    def __init__(self):
        self.left = None

    def burn(self, *_):
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                raise Killed

    def before(self, verb):
        def burning(*given, **named):
            self.burn()
            return verb(*given, **named)

        return burning


class Ledger:
    def __init__(self, database, path, fuse):
        self.database, self.path, self.fuse = database, path, fuse
        self.clock = StandingClock()
        self.importer = Importer(database=database, keys=KEYS, clock=self.clock, batch=2)
        self.name = ""
        self.list_id = 0

    def anew(self):
        """Another list, so that examples do not need another database."""
        self.name, rule = f"list-{next(NAMES)}", ListRule(list_id=0, version=0, category=Category.OTHER)
        with self.database.transaction() as tx:
            now = self.clock.now()
            made = lists.create(tx, name=self.name, source="s", rule=rule, actor="t", note="-", now=now)
        self.list_id = made[0]

    def load(self, lines, *, dies=None, **options):
        self.path.write_text(text_of(lines))
        self.fuse.left = dies
        try:
            return self.importer.load_file(
                self.name, self.path, list_format=ListFormat.CSV, actor=EDITOR, confirm_shrink=True,
                progress=self.fuse.burn, **options,
            )  # fmt: skip
        finally:
            self.fuse.left = None

    def live(self):
        """Id to what is said of it; and the ids that are marked as disputed."""
        of_list = (list_entry.c.list_id == self.list_id, list_entry.c.withdrawn_at.is_(None))
        with self.database.reading() as tx:
            rows = tx.execute(select(list_entry).where(*of_list)).all()
        assert len(rows) == len({row.source_entry_id for row in rows}), "an id has one row"
        return {row.source_entry_id: self._said(row) for row in rows}, {
            row.source_entry_id for row in rows if row.disputed
        }

    def _said(self, row):
        at = place(list_id=self.list_id, source_entry_id=row.source_entry_id, algorithm=row.algorithm)
        digest = KEYS.open(PURPOSE, row.digest_sealed, context=at)
        return row.algorithm, digest, row.opinion, row.grid, row.label

    def leftovers(self):
        with self.database.reading() as tx:
            mine = select(list_import.c.id).where(list_import.c.list_id == self.list_id)
            rows = select(func.count()).select_from(staged_entry)
            staged = tx.execute(rows.where(staged_entry.c.import_id.in_(mine))).scalar_one()
            open_ones = tx.execute(mine.where(list_import.c.finished_at.is_(None))).all()
            return staged, [*open_ones]

    def counted(self):
        """What a load that changes nothing must leave alone: the newest change, fresh since, open letters."""
        letters = (dead_letter.c.list_id == self.list_id, dead_letter.c.settled_at.is_(None))
        with self.database.reading() as tx:
            fresh = tx.execute(select(hash_list.c.refreshed_at).where(hash_list.c.id == self.list_id))
            return (
                lists.newest_seq(tx),
                fresh.scalar_one(),
                tx.execute(select(func.count()).select_from(dead_letter).where(*letters)).scalar_one(),
            )


@pytest.fixture(scope="module", params=BOTH)
def database(request, tmp_path_factory):
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("properties") / "ledger.db"
        shutil.copy(request.getfixturevalue("migrated_ledger"), path)
        made = Database(f"sqlite:///{path}", durable=False)
        yield made
        made.close()
        return
    postgres, name = request.getfixturevalue("postgres"), f"importing_{uuid.uuid4().hex}"
    made = Database(postgres.create_database(name), durable=False)
    migrate(made)
    yield made
    made.close()
    postgres.drop_database(name)


@pytest.fixture
def ledger(database, tmp_path, monkeypatch):
    fuse = Fuse()
    for verb in ("apply_some", "withdraw_some"):
        monkeypatch.setattr(comparing, verb, fuse.before(getattr(comparing, verb)))
    return Ledger(database, tmp_path / "list.csv", fuse)


def disputed(live):
    negative = {(kind, digest) for kind, digest, opinion, *_ in live.values() if opinion == "negative"}
    named = {(kind, digest) for kind, digest, opinion, *_ in live.values() if opinion != "negative"}
    return {name for name, said in live.items() if said[:2] in negative & named}


def require_truth(ledger, truth):
    live, marked = ledger.live()
    assert live == truth
    assert marked == disputed(truth)
    assert ledger.leftovers() == (0, [])


def loaded(ledger, lines, truth, *, dry_run, resumed=False):
    """Load to the end; return what the list says then."""
    said, faulty, doubt = read(lines)
    after = {**truth, **said} if doubt else said
    tried = None
    if dry_run:
        before = ledger.live(), ledger.counted(), ledger.leftovers()
        tried = ledger.load(lines, dry_run=True)
        assert (ledger.live(), ledger.counted(), ledger.leftovers()) == before
    done = ledger.load(lines)
    assert done.faulty == faulty
    assert len(done.faults) <= faulty
    if not resumed:
        changed = sum(1 for name, one in said.items() if truth.get(name) != one)
        gone = len(set(truth) - set(said))
        counts = (len(truth), changed, 0 if doubt else gone, gone if doubt else 0)
        assert (done.entries_before, done.upserts, done.withdrawals, done.doubtful) == counts
        assert len(done.faults) == faulty
        assert tried is None or tried == done
    require_truth(ledger, after)
    _, fresh, letters = ledger.counted()
    assert (letters > 0) is doubt
    if not doubt:
        assert (fresh, letters) == (ledger.clock.now(), 0)
    return after


def the_same_again(ledger, lines, truth):
    before = ledger.counted()
    assert ledger.load(lines).upserts == 0
    assert ledger.counted()[0] == before[0], "nothing is a change"
    require_truth(ledger, truth)


@SMALL
@given(st.lists(STEP, min_size=1, max_size=4))
@example([([], None, "same", False)])
def test_the_list_says_what_the_rules_say_whatever_comes_and_wherever_it_dies(ledger, steps):
    ledger.anew()
    truth, died = {}, None
    for lines, dies, then, dry_run in steps:
        ledger.clock.sleep(SECOND)
        resumed, died = lines == died, None
        if dies is not None:
            try:
                ledger.load(lines, dies=dies)
            except Killed:
                resumed, died = True, lines
                known = {*truth.items(), *read(lines)[0].items()}
                truth_now = ledger.live()[0]
                assert {*truth_now.items()} <= known, "only what one of the files said"
                if then == "another":
                    truth = truth_now
                    continue
            else:
                said, _, doubt = read(lines)
                truth = {**truth, **said} if doubt else said
                resumed = False
        truth = loaded(ledger, lines, truth, dry_run=dry_run and not resumed, resumed=resumed)
        died = None
        if not resumed:
            the_same_again(ledger, lines, truth)


@SMALL
@given(CLEAN, CLEAN.filter(bool), st.integers(1, 3))
def test_another_file_after_one_that_died_counts_alone(ledger, first, second, dies):
    ledger.anew()
    assume(first != second)
    with suppress(Killed):
        ledger.load(first, dies=dies)
    report = ledger.load(second)
    assert report.resumed_at is None
    require_truth(ledger, read(second)[0])


# ── the short way of a line and the long one ───────────────────────────────────────────────────────────────

CELL = st.one_of(
    st.sampled_from(
        ["", " ", "a", "é" * 99, "𝄞" * 51, "x" * 200, "x" * 201, "\u2028", "\ufeff", '"a"', "a b"]
    ),
    st.text(max_size=6),
)
DIGEST = st.one_of(
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.binary(min_size=16, max_size=16).map(lambda said: said.hex().upper()),
    st.sampled_from(
        ["00" * 15, "0 " * 16, " " + "00" * 16, "0" * 31 + "\u0660", "00 " * 16, "zz" * 16, "00" * 32]
    ),
)
CELLS = st.tuples(
    CELL,
    st.sampled_from(["md5", "md5", "sha256", "MD5", ""]),
    DIGEST,
    st.sampled_from(["", "positive", "negative", "disputed", "x"]),
    st.sampled_from(["", "true", "no", " yes ", "2"]),
    st.one_of(st.sampled_from(["", "A1", "x" * LABEL_BYTES, "x" * (LABEL_BYTES + 1), "\t"]), CELL),
)


def parsed(*lines):
    source = io.BytesIO("".join([HEADER, *lines]).encode(errors="surrogatepass"))
    return [(entries, fault) for _, _, _, entries, fault in ListFile(source, ListFormat.CSV)]


@given(st.lists(CELLS, max_size=12))
def test_a_line_says_the_same_on_the_short_way_as_on_the_long_one(rows):
    """The first line with some facts goes the long way, the later ones the short one."""
    lines = [",".join(cells).replace("\n", "").replace("\r", "") + "\n" for cells in rows]
    alone = [[(list(entries), fault) for entries, fault in parsed(line)] for line in lines]
    together = [(list(entries), fault) for entries, fault in parsed(*lines, *lines)]
    assert together == [*itertools.chain(*alone, *alone)]


@given(CLEAN)
def test_csv_and_json_lines_say_the_same(rows):
    said = [
        {"id": row.name, "algorithm": row.algorithm, "digest": row.digest.hex(), "opinion": row.opinion,
         "grid": row.grid, **({"label": row.label} if row.label else {})}
        for row in rows
    ]  # fmt: skip
    if not said:
        return
    source = io.BytesIO("\n".join(map(json.dumps, said)).encode())
    as_json = [(list(one[3]), one[4]) for one in ListFile(source, ListFormat.JSONL)]
    assert as_json == [(list(entries), fault) for entries, fault in parsed(*(row.line() for row in rows))]


# ── what was seen ──────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.text(max_size=5)), st.integers(0, 10**9))
def test_what_was_seen_is_never_new(ids, most):
    seen = Seen(min(most, 1000))
    seen.add(ids)
    assert seen.maybe(ids) == ids


def test_few_that_were_not_seen_are_asked_for():
    seen = Seen(50_000)
    seen.add([f"entry-{number}" for number in range(50_000)])
    asked = seen.maybe([f"other-{number}" for number in range(50_000)])
    assert len(asked) < 5_000


def test_a_first_load_that_somebody_else_crosses_says_so_and_goes_on(ledger):
    """Entries that were not there when it began: their ids were never looked up."""
    ledger.anew()
    row = Row(name="b", algorithm="md5", number=1, opinion="positive", grid=False, label="")
    lines = [replace(row, name=name) for name in "abcd"]

    def cross(_read, _in_all):
        missing = [name for name in "cd" if name not in ledger.live()[0]]
        others = [listed_as(replace(row, name=name, number=2 if name == "c" else 1)) for name in missing]
        if others:
            with ledger.database.transaction() as tx:
                now = ledger.clock.now()
                lists.write_entries(tx, KEYS, list_id=ledger.list_id, rows=others, now=now)

    ledger.path.write_text(text_of(lines))
    importer = replace(ledger.importer, batch=1)
    report = importer.load_file(
        ledger.name, ledger.path, list_format=ListFormat.CSV, actor=EDITOR, progress=cross
    )
    assert report.upserts + report.faulty == 4
    assert {*ledger.live()[0]} == {*"abcd"}
    assert ledger.leftovers() == (0, [])


def listed_as(row):
    return ListRow(source_entry_id=row.name, algorithm=OURS[row.algorithm], digest=row.digest)
