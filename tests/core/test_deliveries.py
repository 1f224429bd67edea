"""A delivery's row is an entry for each hash we can compare; what we cannot is counted, never dropped."""

import hashlib
import io

import pytest

from coverguard.errors import BadListFile
from coverguard.hashlist import ListFile, ListFormat

MD5, SHA1, SHA256, PDQ = "ab" * 16, "cd" * 20, "0e" * 32, "0f" * 32
CANARY = "zxqcanaryqxz"
IWF = "ImageID,MD5,SHA1,SHA256,PhotoDNA,Category,GridImage,Age"
GIFCT = "ID,MD5,SHA256,PDQ,TMK,Label"


def opened(*lines, list_format=ListFormat.IWF, columns=None, derive=str):
    source = io.BytesIO("\n".join(lines).encode())
    return ListFile(source, list_format, columns=columns, derive=derive)


def read(*lines, **options):
    """Ids with their algorithms and digests, faults with their lines, and what was not read."""
    file = opened(*lines, **options)
    entries, faults = [], []
    for number, _, _, found, fault in file:
        entries += [(name, str(algorithm), digest.hex()) for name, algorithm, digest, _ in found]
        faults += [(number, fault)] if fault else []
    return entries, faults, file.unread


def facts(*lines, **options):
    return [entry[3] for _, _, _, entries, _ in opened(*lines, **options) for entry in entries]


def test_an_iwf_row_is_an_entry_a_hash_under_one_id():
    assert read(IWF, f"17,{MD5},{SHA1},{SHA256},x,A,,7-10") == (
        [("17/md5", "md5", MD5), ("17/sha1", "sha1", SHA1), ("17/sha256", "sha256", SHA256)],
        [],
        {"photodna": 1, "column 8": 1},
    )


def test_a_gifct_row_is_an_entry_a_hash_under_one_id():
    entries, faults, unread = read(GIFCT, f"g1,{MD5},,{PDQ},x,Imminent", list_format=ListFormat.GIFCT)
    assert entries == [("g1/md5", "md5", MD5), ("g1/pdq", "pdq", PDQ)]
    assert (faults, unread) == ([], {"tmk": 1})


@pytest.mark.parametrize("grid", ["1", "true", "Yes"])
def test_category_and_grid_are_facts_of_each_of_a_rows_entries(grid):
    found = facts(IWF, f"17,{MD5},{SHA1},,,A,{grid},", f"18,{MD5},,,,,0,")
    assert [(one.label, one.grid) for one in found] == [("A", True), ("A", True), (None, False)]


def test_names_are_found_without_case_blanks_dashes_and_underscores_in_any_order():
    assert read("sha-256,image_id,Grid Image", f"{SHA256},17,")[0] == [("17/sha256", "sha256", SHA256)]


def test_the_operator_names_columns():
    header, line = "Ref,HashMD5,P256,Cat", f"17,{MD5},{'00' * 32},B"
    entries, _, unread = read(header, line, columns={"id": "Ref", "md5": "HashMD5", "phash256": "p256"})
    assert entries == [("17/md5", "md5", MD5), ("17/phash256", "phash256", "00" * 32)]
    assert unread == {"column 4": 1}


def test_hashes_without_ids_get_derived_ones_that_are_keyed():
    def keyed(text):
        return hashlib.sha256(b"key" + text.encode()).hexdigest()[:32]

    lines = ("MD5,SHA1", f"{MD5},{SHA1}")
    plain = {name for name, *_ in read(*lines)[0]}
    mine = {name for name, *_ in read(*lines, derive=keyed)[0]}
    assert (len(plain), len(mine)) == (2, 2)
    assert not plain & mine


def test_of_a_row_with_a_broken_hash_the_others_count_and_the_row_is_a_fault():
    entries, faults, _ = read(IWF, f"17,{MD5},nothex,{SHA256},,,,")
    assert [name for name, *_ in entries] == ["17/md5", "17/sha256"]
    assert faults == [(2, "digest is not hex")]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("17,,,,,A,,", "the row has no hash"),
        (f"17,{MD5},,,,A,,,", "not as many cells as the header has"),
        (f"17,{MD5},,,,A,{CANARY},", "grid is neither true nor false"),
        (f"17,{MD5},,,,{CANARY * 9},,", "label is not 1 to 64 bytes of printable UTF-8"),
        (f",{MD5},,,,A,,", "id is not 1 to 200 bytes of printable UTF-8"),
        (f"{'x' * 197},{MD5},,,,A,,", "id is not 1 to 200 bytes of printable UTF-8"),
        (f'"{CANARY}', "the line is not CSV"),
    ],
)
def test_rows_that_are_none(line, fault):
    entries, faults, _ = read(IWF, line)
    assert (entries, faults) == ([], [(2, fault)])


def test_a_row_of_hashes_that_nobody_can_compare_is_counted_and_no_fault():
    assert read(IWF, "17,,,,zz,A,,") == ([], [], {"photodna": 1})


def test_only_cells_with_something_in_them_are_counted():
    assert read(IWF, f"17,{MD5},,,,,,", f"18,{MD5},,,y,,,old")[2] == {"photodna": 1, "column 8": 1}


@pytest.mark.parametrize(
    ("header", "columns", "message"),
    [
        ("ImageID,PhotoDNA", {}, "line 1: no column has a hash that coverguard can compare"),
        ("ImageID,MD5", {"sha1": CANARY}, "line 1: no column for sha1"),
        ("ImageID,MD5", {CANARY: "MD5"}, "a column can be: id, category"),
        ("ImageID,MD5", {"sha1": "MD5"}, "line 1: one column is named for two things"),
        (f"{CANARY},{CANARY}", {}, "line 1: a column appears twice"),
    ],
)
def test_a_header_that_makes_no_sense_refuses_the_whole_file(header, columns, message):
    with pytest.raises(BadListFile) as caught:
        opened(header, f"1,{MD5}", columns=columns)
    assert str(caught.value).startswith(message)
    assert CANARY not in str(caught.value)
