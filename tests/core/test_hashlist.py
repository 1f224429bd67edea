"""Every line is a row or a fault, no fault says what the line said, and a broken file withdraws nothing."""

import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard.algorithms import BUILT_IN
from coverguard.errors import BadListFile
from coverguard.hashlist import (
    FIELDS,
    Delta,
    ListFormat,
    ListLimits,
    ListRow,
    Malformed,
    delta,
    parse,
    shrinks_too_much,
)
from coverguard.model import Algorithm, Category, Opinion

CANARY = "zxqcanaryqxz"
PDQ = "0f" * 32
HEADER = "id,algorithm,digest,opinion,category,grid"


def read(text, list_format=ListFormat.CSV, **options):
    return list(parse(text.splitlines(keepends=True), list_format, **options))


def row(entry_id="a", digest=PDQ, algorithm=Algorithm.PDQ, **more):
    return ListRow(source_entry_id=entry_id, algorithm=algorithm, digest=bytes.fromhex(digest), **more)


def faults(parsed):
    return [(one.line, one.fault) for one in parsed if isinstance(one, Malformed)]


# ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_csv_rows():
    text = f"""{HEADER}
a,pdq,{PDQ},,,
"b, 2nd",md5,{"AB" * 16},seed,terrorism,TRUE

c,sha256,{PDQ},negative,child_abuse,0
"""
    assert read(text) == [
        row(),
        row("b, 2nd", "ab" * 16, Algorithm.MD5, opinion=Opinion.SEED, category=Category.TERRORISM, grid=True),
        row("c", PDQ, Algorithm.SHA256, opinion=Opinion.NEGATIVE, category=Category.CHILD_ABUSE),
    ]


def test_csv_columns_come_in_any_order_and_optional_ones_may_be_missing():
    assert read(f"digest,id , algorithm\r\n{PDQ},a,pdq\r\n") == [row()]


def test_json_rows():
    lines = [
        {"id": "a", "algorithm": "pdq", "digest": PDQ, "category": None},
        {"grid": True, "opinion": "seed", "digest": "00" * 20, "algorithm": "sha1", "id": "ü"},
    ]
    assert read("\n".join(map(json.dumps, lines)), ListFormat.JSONL) == [
        row(),
        row("ü", "00" * 20, Algorithm.SHA1, opinion=Opinion.SEED, grid=True),
    ]


def test_plain_hex_rows_have_stable_ids_of_their_own():
    first, second = read(f"{PDQ.upper()}\n  {'11' * 32}\r\n", ListFormat.HEX, algorithm=Algorithm.PDQ)
    assert first == row(hashlib.sha256(f"pdq:{PDQ}".encode()).hexdigest()[:32])
    assert second.digest == bytes.fromhex("11" * 32)
    (other,) = read(PDQ, ListFormat.HEX, algorithm=Algorithm.SHA256)
    assert other.source_entry_id != first.source_entry_id


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_bytes_and_text_read_alike(start):
    text = f"{start}{HEADER}\na,pdq,{PDQ},,,\nb,nope,{PDQ},,,\n\nä,pdq,{PDQ},,,"
    assert list(parse(io.BytesIO(text.encode()), ListFormat.CSV)) == read(text)
    assert list(parse(io.StringIO(text), ListFormat.CSV)) == read(text)
    assert len(read(text)) == 3


def test_an_id_of_200_bytes_is_the_longest():
    for entry_id, fine in (("a" * 200, True), ("a" * 201, False), ("ä" * 100, True), ("ä" * 101, False)):
        (parsed,) = read(f"id,algorithm,digest\n{entry_id},pdq,{PDQ}")
        assert isinstance(parsed, ListRow) is fine


# ── faults ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (f",pdq,{PDQ},,,", "id is not 1 to 200 bytes of printable UTF-8"),
        (f"a\tb,pdq,{PDQ},,,", "id is not 1 to 200 bytes of printable UTF-8"),
        (f"a,{CANARY},{PDQ},,,", "algorithm is not a word coverguard knows"),
        (f"a,,{PDQ},,,", "algorithm is not a word coverguard knows"),
        (f"a,PDQ,{PDQ},,,", "algorithm is not a word coverguard knows"),
        ("a,pdq,,,,", "digest is not hex"),
        (f"a,pdq,{PDQ[:-1]},,,", "digest is not hex"),
        (f"a,pdq,{PDQ[:-2]} f,,,", "digest is not hex"),
        (f"a,pdq,{PDQ[:-2]},,,", "digest has not the 32 bytes of pdq"),
        (f"a,md5,{PDQ},,,", "digest has not the 16 bytes of md5"),
        (f"a,pdq,{PDQ},{CANARY},,", "opinion is not a word coverguard knows"),
        (f"a,pdq,{PDQ},,{CANARY},", "category is not a word coverguard knows"),
        (f"a,pdq,{PDQ},,,{CANARY}", "grid is neither true nor false"),
        (f"a,pdq,{PDQ}", "not as many cells as the header has"),
        (f"a,pdq,{PDQ},,,,{CANARY}", "not as many cells as the header has"),
        (f'"{CANARY}', "the line is not CSV"),
        (f"{CANARY}\0", "the line has a NUL character"),
        (f"{CANARY * 400}", "the line is too long"),
        (f"{CANARY}\ud800", "the line is not UTF-8"),
    ],
)
def test_csv_faults(line, fault):
    good = f"z,pdq,{PDQ},,,"
    parsed = list(parse([HEADER, good, line], ListFormat.CSV))
    assert parsed == [row("z"), Malformed(line=3, fault=fault)]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (CANARY, "the line is not JSON"),
        ("[" * 3000, "the line is not JSON"),
        ("1" * 4000, "the line is not a JSON object"),
        (f'["{CANARY}"]', "the line is not a JSON object"),
        (f'{{"{CANARY}": 1}}', "the object has an unknown field"),
        ('{"id": "a", "id": "b"}', "the object has a field twice"),
        ("{}", "algorithm is not a word coverguard knows"),
    ],
)
def test_lines_that_are_no_json_rows(line, fault):
    assert list(parse([line], ListFormat.JSONL)) == [Malformed(line=1, fault=fault)]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"id": 1}, "id is not 1 to 200 bytes of printable UTF-8"),
        ({"id": "\ud800"}, "id is not 1 to 200 bytes of printable UTF-8"),
        ({"algorithm": ["pdq"]}, "algorithm is not a word coverguard knows"),
        ({"algorithm": None}, "algorithm is not a word coverguard knows"),
        ({"digest": 1}, "digest is not hex"),
        ({"digest": None}, "digest is not hex"),
        ({"opinion": CANARY}, "opinion is not a word coverguard knows"),
        ({"category": {"a": CANARY}}, "category is not a word coverguard knows"),
        ({"grid": CANARY}, "grid is neither true nor false"),
        ({"grid": 1}, "grid is neither true nor false"),
    ],
)
def test_json_faults(change, fault):
    line = json.dumps({"id": "a", "algorithm": "pdq", "digest": PDQ} | change)
    assert list(parse([line], ListFormat.JSONL)) == [Malformed(line=1, fault=fault)]


def test_the_later_line_of_an_id_is_malformed():
    lines = [HEADER, f"a,pdq,{PDQ},,,", f"a,pdq,{PDQ},,,", f"a,pdq,{PDQ},seed,,"]
    assert list(parse(lines, ListFormat.CSV)) == [
        row(),
        Malformed(line=3, fault="the row was on an earlier line", repeat=True),
        Malformed(line=4, fault="the id was on an earlier line, for something else"),
    ]


def test_a_malformed_line_does_not_take_the_id():
    lines = [HEADER, "a,pdq,nothex,,,", f"a,pdq,{PDQ},,,"]
    assert list(parse(lines, ListFormat.CSV))[1] == row()


class Endless(io.RawIOBase):
    """A stream of one line that never ends until it is asked too often."""

    def __init__(self, pieces):
        self.pieces = pieces

    def readline(self, size=-1):
        assert 0 < size < 10_000, "a line is read whole"
        self.pieces -= 1
        return b"x" * size if self.pieces > 0 else b"x\n" if self.pieces == 0 else b""


def test_a_line_is_never_held_beyond_the_limit():
    parsed = list(parse(Endless(1000), ListFormat.JSONL))
    assert parsed == [Malformed(line=1, fault="the line is too long")]


def test_lines_are_counted_on_after_a_long_one():
    text = f"{HEADER}\n{'x' * 9000}\na,pdq,nothex,,,\n".encode()
    assert faults(parse(io.BytesIO(text), ListFormat.CSV)) == [
        (2, "the line is too long"),
        (3, "digest is not hex"),
    ]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_line_limit_is_exact_however_it_is_read(end, over):
    line = f"{PDQ}{end}"
    limits = ListLimits(line_bytes=len(line) - over)
    options = {"algorithm": Algorithm.PDQ, "limits": limits}
    parsed = [
        list(parse(source, ListFormat.HEX, **options))
        for source in ([line], io.BytesIO(line.encode()), io.StringIO(line, newline=""))
    ]
    assert parsed[0] == parsed[1] == parsed[2]
    assert isinstance(parsed[0][0], ListRow) is (over <= 0)


# ── whole files ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n \r\n", "the file is empty"),
        (f"\n{CANARY}", "line 2: not a known column at position 1"),
        (f"id,algorithm,digest,{CANARY}", "line 1: not a known column at position 4"),
        ("id,algorithm", "line 1: no column digest"),
        ("digest", "line 1: no column algorithm, id"),
        ("id,algorithm,digest,id", "line 1: a column appears twice"),
        (f'"{CANARY}', "line 1: the line is not CSV"),
        (f"{CANARY * 400}", "line 1: the line is too long"),
        (f"{CANARY}\0", "line 1: the line has a NUL character"),
    ],
)
def test_a_csv_file_without_a_valid_header_is_refused(text, message):
    with pytest.raises(BadListFile) as caught:
        read(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("list_format", "algorithm"), [(ListFormat.JSONL, None), (ListFormat.HEX, Algorithm.MD5)]
)
def test_an_empty_file_is_refused(list_format, algorithm):
    with pytest.raises(BadListFile, match="the file is empty"):
        list(parse(io.BytesIO(b"\n\n"), list_format, algorithm=algorithm))


def test_a_header_alone_is_an_empty_list():
    assert read(HEADER) == []


def test_too_many_rows_are_refused():
    lines = [f"{n:064x}" for n in range(4)]
    options = {"algorithm": Algorithm.SHA256, "limits": ListLimits(rows=3)}
    assert len(list(parse(lines[:3], ListFormat.HEX, **options))) == 3
    with pytest.raises(BadListFile, match="line 4: more than 3 rows"):
        list(parse(lines, ListFormat.HEX, **options))


def test_only_plain_hex_is_given_an_algorithm():
    with pytest.raises(ValueError):
        parse([PDQ], ListFormat.HEX)
    with pytest.raises(ValueError):
        parse([HEADER], ListFormat.CSV, algorithm=Algorithm.PDQ)


# ── anything ───────────────────────────────────────────────────────────────────────────────────────────────

FORMATS = st.sampled_from([(ListFormat.CSV, None), (ListFormat.JSONL, None), (ListFormat.HEX, Algorithm.PDQ)])
WORDS = st.sampled_from(
    [*FIELDS, *BUILT_IN, *Opinion, PDQ, CANARY, "true", ",", '"', "{", "}", ":", "\r", "\x1c", "é"]
)
LINES = st.one_of(
    st.text(),
    st.lists(WORDS).map("".join),
    st.lists(WORDS, min_size=6, max_size=6).map(",".join),
    st.dictionaries(st.sampled_from(FIELDS), WORDS | st.none() | st.booleans() | st.integers()).map(
        json.dumps
    ),
)


def checked(parsed):
    known = set()
    for one in parsed:
        assert isinstance(one, ListRow | Malformed)
        assert PDQ not in repr(one)
        if isinstance(one, ListRow):
            assert len(one.digest) == one.algorithm.size
            known.add(one.source_entry_id)
        else:
            assert CANARY not in repr(one)
    return known


@given(FORMATS, st.lists(LINES))
def test_any_lines_are_rows_or_faults(how, lines):
    list_format, algorithm = how
    header = [HEADER] if list_format is ListFormat.CSV else []
    said = sum(bool(line.strip(" \t\r\n")) for line in lines)
    if not said and not header:
        with pytest.raises(BadListFile, match="the file is empty"):
            list(parse(lines, list_format, algorithm=algorithm))
        return
    parsed = list(parse([*header, *lines], list_format, algorithm=algorithm))
    assert len(checked(parsed)) == sum(isinstance(one, ListRow) for one in parsed)
    assert len(parsed) == said


@given(FORMATS, st.lists(st.binary() | LINES.map(lambda line: line.encode(errors="surrogatepass"))))
def test_any_bytes_are_rows_or_faults_or_a_refused_file(how, pieces):
    list_format, algorithm = how
    refusal = ""
    try:
        checked(parse(io.BytesIO(b"\n".join(pieces)), list_format, algorithm=algorithm))
    except BadListFile as error:
        refusal = str(error)
    assert CANARY not in refusal


# ── what a whole list changes ──────────────────────────────────────────────────────────────────────────────


def stored(*rows):
    return {one.source_entry_id: one.canonical() for one in rows}


def compared(current, rows):
    return delta(current, rows, key=ListRow.canonical)


def test_delta_upserts_what_is_new_or_changed_and_withdraws_what_vanished():
    current = stored(row("same"), row("changed"), row("gone"), row("away"))
    changed, new = row("changed", category=Category.OTHER), row("new")
    assert compared(current, [new, row("same"), changed]) == Delta(
        upserts=(new, changed), withdrawals=("away", "gone"), doubtful=(), malformed=()
    )


@pytest.mark.parametrize(
    "changed",
    [
        row(digest="0e" * 32),
        row(algorithm=Algorithm.SHA256),
        row(opinion=Opinion.NEGATIVE),
        row(category=Category.CHILD_ABUSE),
        row(grid=True),
    ],
)
def test_each_part_of_a_row_counts_as_a_change(changed):
    assert compared(stored(row()), [changed]).upserts == (changed,)


def test_a_file_with_malformed_rows_withdraws_nothing():
    fault = Malformed(line=7, fault="digest is not hex")
    assert compared(stored(row("a"), row("b")), [row("a"), fault]) == Delta(
        upserts=(), withdrawals=(), doubtful=("b",), malformed=(fault,)
    )


def test_repeats_cast_no_doubt():
    repeat = Malformed(line=7, fault="the row was on an earlier line", repeat=True)
    assert compared(stored(row("a"), row("b")), [row("a"), repeat]).withdrawals == ("b",)


ROWS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([PDQ, "11" * 32])).map(
    lambda known: [row(entry_id, digest) for entry_id, digest in known.items()]
)


@given(ROWS, ROWS)
def test_applying_a_delta_gives_the_new_list(before, after):
    change = compared(stored(*before), after)
    result = stored(*before) | stored(*change.upserts)
    for entry_id in change.withdrawals:
        del result[entry_id]
    assert result == stored(*after)
    assert compared(result, after) == Delta(upserts=(), withdrawals=(), doubtful=(), malformed=())


@pytest.mark.parametrize(
    ("before", "after", "too_much"),
    [
        (0, 0, False),
        (0, 9, False),
        (10, 8, False),
        (10, 7, True),
        (1, 0, True),
        (5, 5, False),
        (5, 50, False),
    ],
)
def test_a_list_that_loses_more_than_a_fifth_is_stopped(before, after, too_much):
    assert shrinks_too_much(before, after) is too_much


def test_the_share_is_a_choice():
    assert shrinks_too_much(100, 89, share=0.1)
    assert not shrinks_too_much(100, 51, share=0.5)
