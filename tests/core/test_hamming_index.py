"""The index equals brute force, and a file that is not whole is refused."""

import mmap
import random
import stat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard.errors import ConfigurationError, CoverguardError, IntegrityFailure, TransientError
from coverguard.matching import HammingIndex
from coverguard.matching.hamming import _BLOCK

WIDTHS = st.sampled_from([8, 32])


def rows(digests, width):
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), width)


def index_of(digests, ids, width):
    return HammingIndex.build(rows(digests, width), np.array(ids, dtype=np.uint64))


def brute_force(digests, ids, queries, *, radius):
    hits = [
        (number, distance, entry)
        for number, query in enumerate(queries)
        for digest, entry in zip(digests, ids, strict=True)
        if (distance := (int.from_bytes(digest) ^ int.from_bytes(query)).bit_count()) <= radius
    ]
    return sorted(hits)


def found(index, queries, radius, *, width):
    query, ids, distance = index.search(rows(queries, width), radius)
    assert (query.dtype, ids.dtype, distance.dtype) == (np.int64, np.int64, np.uint16)
    return list(zip(query.tolist(), distance.tolist(), ids.tolist(), strict=True))


def flipped(digest, bits):
    value = int.from_bytes(digest)
    for bit in bits:
        value ^= 1 << bit
    return value.to_bytes(len(digest))


@st.composite
def planted(draw):
    """Entries and queries, some of the queries a chosen number of bits from an entry."""
    width = draw(WIDTHS)
    digest = st.binary(min_size=width, max_size=width)
    entries = draw(st.lists(digest, max_size=12))
    queries = draw(st.lists(digest, max_size=3))
    bits = st.sets(st.integers(0, width * 8 - 1), max_size=33)
    for entry in draw(st.lists(st.sampled_from(entries), max_size=4)) if entries else ():
        queries.append(flipped(entry, draw(bits)))
    ids = draw(st.lists(st.integers(0, 2**63 - 1), min_size=len(entries), max_size=len(entries)))
    return width, entries, ids, queries


@given(planted(), st.data())
def test_search_equals_brute_force(case, data):
    width, entries, ids, queries = case
    radius = data.draw(st.one_of(st.integers(0, 33), st.integers(0, width * 8)))
    expected = brute_force(entries, ids, queries, radius=radius)
    assert found(index_of(entries, ids, width), queries, radius, width=width) == expected


@given(WIDTHS.flatmap(lambda width: st.binary(min_size=width, max_size=width)), st.integers(0))
def test_every_distance_about_the_radius_is_told_exactly(entry, seed):
    chosen = random.Random(seed)
    width = len(entry)
    index = index_of([entry], [7], width)
    for distance in range(33):
        bits = chosen.sample(range(width * 8), distance)
        expected = [(0, distance, 7)] if distance <= 31 else []
        assert found(index, [flipped(entry, bits)], 31, width=width) == expected


def test_matches_are_found_across_blocks_in_order():
    rng = np.random.default_rng(20)
    size = 2 * _BLOCK + 17
    digests = rng.integers(0, 256, (size, 32), dtype=np.uint8)
    ids = rng.permutation(size).astype(np.uint64)
    at = [0, _BLOCK - 1, _BLOCK, 2 * _BLOCK, size - 1]
    centre = rng.integers(0, 256, 32, dtype=np.uint8)
    digests[at] = centre
    digests[at[2], 31] ^= 1
    query, found_ids, distance = HammingIndex.build(digests, ids).search(
        np.stack([centre, ~centre, centre]), 31
    )
    exact = sorted(int(ids[place]) for place in at if place != at[2])
    assert query.tolist() == [0] * 5 + [2] * 5
    assert found_ids.tolist() == [*exact, int(ids[at[2]])] * 2
    assert distance.tolist() == [0, 0, 0, 0, 1] * 2


def test_ids_may_repeat_and_reach_the_largest():
    digest = bytes(range(8))
    index = index_of([digest] * 3, [2**63 - 1, 5, 5], 8)
    assert found(index, [digest], 0, width=8) == [(0, 0, 5), (0, 0, 5), (0, 0, 2**63 - 1)]


@pytest.mark.parametrize("width", [8, 32])
def test_nothing_to_look_in_or_for_finds_nothing(width):
    empty = index_of([], [], width)
    assert len(empty) == 0
    assert found(empty, [bytes(width)], width * 8, width=width) == []
    assert found(index_of([bytes(width)], [1], width), [], 31, width=width) == []


def test_later_changes_of_the_arrays_do_not_reach_the_index():
    digests, ids = np.zeros((1, 32), np.uint8), np.array([3], np.uint64)
    index = HammingIndex.build(digests, ids)
    digests[:], ids[:] = 255, 4
    assert found(index, [bytes(32)], 0, width=32) == [(0, 0, 3)]


@pytest.mark.parametrize(
    ("digests", "ids"),
    [
        (np.zeros((1, 32), np.int8), np.zeros(1, np.uint64)),
        (np.zeros((1, 16), np.uint8), np.zeros(1, np.uint64)),
        (np.zeros(32, np.uint8), np.zeros(1, np.uint64)),
        ([bytes(32)], np.zeros(1, np.uint64)),
        (np.zeros((1, 32), np.uint8), np.zeros(1, np.int64)),
        (np.zeros((1, 32), np.uint8), np.zeros(2, np.uint64)),
        (np.zeros((1, 32), np.uint8), np.zeros((1, 1), np.uint64)),
        (np.zeros((1, 32), np.uint8), np.array([2**63], np.uint64)),
    ],
)
def test_wrong_arrays_are_refused(digests, ids):
    with pytest.raises(ValueError):
        HammingIndex.build(digests, ids)


@pytest.mark.parametrize(
    ("digests", "radius"),
    [
        (np.zeros((1, 8), np.uint8), 31),
        (np.zeros((1, 32), np.float64), 31),
        (np.zeros((1, 32), np.uint8), -1),
        (np.zeros((1, 32), np.uint8), 257),
    ],
)
def test_wrong_searches_are_refused(digests, radius):
    with pytest.raises(ValueError):
        index_of([bytes(32)], [1], 32).search(digests, radius)


def test_neither_repr_nor_errors_show_a_digest():
    index = index_of([b"\xab" * 32], [77], 32)
    assert "ab" * 2 not in repr(index)
    assert repr(index) == "<HammingIndex: 1 entries of 256 bits>"


# ── the file ───────────────────────────────────────────────────────────────────────────────────────────────


@given(planted())
def test_a_loaded_index_answers_alike(tmp_path_factory, case):
    width, entries, ids, queries = case
    built = index_of(entries, ids, width)
    path = tmp_path_factory.mktemp("index") / "list.npy"
    built.save(path)
    loaded = HammingIndex.load(path)
    assert len(loaded) == len(built)
    assert found(loaded, queries, 31, width=width) == found(built, queries, 31, width=width)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "list.npy"
    index_of([bytes([n]) * 32 for n in range(5)], range(5), 32).save(path)
    return path


def test_the_file_is_mapped_private_and_alone(saved):
    index = HammingIndex.load(saved)
    base = index._ids
    assert not base.flags.writeable
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, mmap.mmap)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert list(saved.parent.iterdir()) == [saved]


def test_a_new_file_takes_the_place_of_the_old_while_that_is_in_use(saved):
    old = HammingIndex.load(saved)
    index_of([bytes(32)], [9], 32).save(saved)
    assert (len(old), len(HammingIndex.load(saved))) == (5, 1)
    assert found(old, [bytes([4]) * 32], 0, width=32) == [(0, 0, 4)]


def test_a_file_cut_anywhere_is_refused(saved):
    whole = saved.read_bytes()
    for size in range(len(whole)):
        saved.write_bytes(whole[:size])
        with pytest.raises((ConfigurationError, IntegrityFailure)):
            HammingIndex.load(saved)


def test_a_changed_byte_is_found(saved):
    whole = saved.read_bytes()
    for place, byte in enumerate(whole):
        saved.write_bytes(whole[:place] + bytes([byte ^ 0x11]) + whole[place + 1 :])
        with pytest.raises(IntegrityFailure):
            HammingIndex.load(saved)


def test_a_longer_file_is_refused(saved):
    whole = saved.read_bytes()
    for more in (b"\0", bytes(8), whole):
        saved.write_bytes(whole + more)
        with pytest.raises(IntegrityFailure):
            HammingIndex.load(saved)


def test_numpy_reads_the_file_too(saved):
    assert len(np.load(saved, mmap_mode="r", allow_pickle=False)) == 8 + 5 * 5


def test_what_is_no_index_is_refused(tmp_path):
    path = tmp_path / "list.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(IntegrityFailure):
        HammingIndex.load(path)
    np.save(path, np.zeros(40, dtype=np.uint64))
    with pytest.raises(IntegrityFailure):
        HammingIndex.load(path)
    with path.open("wb") as file:
        np.savez(file, np.zeros(3))
    with pytest.raises(IntegrityFailure):
        HammingIndex.load(path)
    with pytest.raises(ConfigurationError):
        HammingIndex.load(tmp_path / "none.npy")
    with pytest.raises(ConfigurationError):
        HammingIndex.load(tmp_path)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_name(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("index") / "list.npy"
    path.write_bytes(content)
    with pytest.raises(CoverguardError):
        HammingIndex.load(path)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(TransientError):
        index_of([], [], 32).save(tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
