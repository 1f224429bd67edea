"""The snapshot asks every view every way, and tells of each entry the nearest."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from coverguard.algorithms import BUILT_IN, PERCEPTUAL
from coverguard.matching import FactsBuilder, ListedDigest, ListIndex, PackedDigests, facts, layers
from coverguard.model import DIHEDRAL, Algorithm, Fingerprint, View, turned

RADIUS = {Algorithm.PDQ: 31, Algorithm.PHASH256: 20}
NAMES = ("displayed", "raw", "trimmed")


def digest(seed, size=32):
    return np.random.default_rng(seed).bytes(size)


def off_by(value, bits):
    return (int.from_bytes(value) ^ ((1 << bits) - 1)).to_bytes(len(value))


def view(name="displayed", *, pdq=None, phash=None, quality=80):
    return View(name=name, quality=quality, signals={"pdq": pdq or digest(1), "phash256": phash or digest(2)})


def fingerprint(*views, seed=3):
    digests = {"md5": digest(seed, 16), "sha1": digest(seed, 20), "sha256": digest(seed, 32)}
    return Fingerprint(digests=digests, views=views, format="PNG", width=64, height=64)


def listed(entry_id, algorithm, value, list_id=1):
    return ListedDigest(entry_id=entry_id, list_id=list_id, algorithm=algorithm, digest=value)


def told(candidates):
    return [(c.entry_id, c.algorithm, c.view, c.orientation, c.distance, c.quality) for c in candidates]


def test_digests_match_the_bytes_as_given():
    shown = fingerprint(view())
    entries = [listed(n, algorithm, shown.digests[algorithm]) for n, algorithm in
               enumerate((Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256))]  # fmt: skip
    entries.append(listed(9, Algorithm.SHA256, off_by(shown.digests["sha256"], 1)))
    assert told(ListIndex(entries, seq=1).candidates(shown, radius={})) == [
        (0, Algorithm.MD5, "bytes", "upright", 0, 100),
        (1, Algorithm.SHA1, "bytes", "upright", 0, 100),
        (2, Algorithm.SHA256, "bytes", "upright", 0, 100),
    ]


@pytest.mark.parametrize("turn", range(8))
def test_pdq_is_looked_up_in_eight_orientations(turn):
    upright = digest(4)
    index = ListIndex([listed(5, Algorithm.PDQ, off_by(turned(upright)[turn], 7))], seq=1)
    (candidate,) = index.candidates(fingerprint(view(pdq=upright)), radius=RADIUS)
    assert told([candidate]) == [(5, Algorithm.PDQ, "displayed", DIHEDRAL[turn], 7, 80)]


def test_phash_is_looked_up_upright_only():
    value = digest(4)
    entries = [listed(n, Algorithm.PHASH256, turn) for n, turn in enumerate(turned(value))]
    found = ListIndex(entries, seq=1).candidates(fingerprint(view(phash=value)), radius=RADIUS)
    assert told(found) == [(0, Algorithm.PHASH256, "displayed", "upright", 0, 80)]


def test_each_algorithm_has_its_own_radius():
    shown = fingerprint(view(pdq=digest(4), phash=digest(5)))
    entries = [
        listed(1, Algorithm.PDQ, off_by(digest(4), 31)),
        listed(2, Algorithm.PDQ, off_by(digest(4), 32)),
        listed(3, Algorithm.PHASH256, off_by(digest(5), 20)),
        listed(4, Algorithm.PHASH256, off_by(digest(5), 21)),
    ]
    assert [c.entry_id for c in ListIndex(entries, seq=1).candidates(shown, radius=RADIUS)] == [1, 3]


def test_an_entry_is_told_once_an_algorithm_and_view():
    near = digest(4)
    shown = fingerprint(view("displayed", pdq=off_by(near, 9)), view("raw", pdq=off_by(near, 2), quality=60))
    entries = [listed(1, Algorithm.PDQ, near), listed(1, Algorithm.PHASH256, digest(2))]
    assert told(ListIndex(entries, seq=1).candidates(shown, radius=RADIUS)) == [
        (1, Algorithm.PDQ, "displayed", "upright", 9, 80),
        (1, Algorithm.PDQ, "raw", "upright", 2, 60),
        (1, Algorithm.PHASH256, "displayed", "upright", 0, 80),
        (1, Algorithm.PHASH256, "raw", "upright", 0, 60),
    ]


def test_a_poor_view_does_not_stand_for_a_good_one():
    near = digest(4)
    shown = fingerprint(view("displayed", pdq=near, quality=10), view("raw", pdq=off_by(near, 8), quality=90))
    index = ListIndex([listed(1, Algorithm.PDQ, near)], seq=1)
    assert told(index.candidates(shown, radius=RADIUS)) == [
        (1, Algorithm.PDQ, "displayed", "upright", 0, 10),
        (1, Algorithm.PDQ, "raw", "upright", 8, 90),
    ]


def test_two_entries_may_have_one_digest():
    shown = fingerprint(view())
    entries = [listed(n, algorithm, value, list_id=n) for n, (algorithm, value) in itertools.product(
        (1, 2), ((Algorithm.SHA256, shown.digests["sha256"]), (Algorithm.PDQ, digest(1))))]  # fmt: skip
    found = ListIndex(entries, seq=1).candidates(shown, radius=RADIUS)
    assert [(c.entry_id, c.algorithm) for c in found] == [
        (1, Algorithm.PDQ), (1, Algorithm.SHA256), (2, Algorithm.PDQ), (2, Algorithm.SHA256),
    ]  # fmt: skip


@given(st.data())
def test_candidates_equal_brute_force(data):
    seeds = st.integers(0, 3)
    values = seeds.flatmap(lambda seed: st.integers(0, 40).map(lambda bits: off_by(digest(seed), bits)))
    views = data.draw(st.lists(st.builds(lambda *args: args, values, values), max_size=3))
    shown = fingerprint(*(view(NAMES[n], pdq=p, phash=h) for n, (p, h) in enumerate(views)))
    entries = [
        listed(data.draw(st.integers(0, 4)), algorithm, data.draw(values))
        for algorithm in data.draw(st.lists(st.sampled_from(sorted(PERCEPTUAL)), max_size=6))
    ]
    nearest = {}
    for entry, one in itertools.product(entries, shown.views):
        asked = one.orientations() if entry.algorithm == Algorithm.PDQ else [one.signals[entry.algorithm]]
        distance = min((int.from_bytes(entry.digest) ^ int.from_bytes(a)).bit_count() for a in asked)
        if distance <= RADIUS[entry.algorithm]:
            key = (entry.entry_id, entry.algorithm, one.name)
            nearest[key] = min(distance, nearest.get(key, 256))
    found = ListIndex(entries, seq=1).candidates(shown, radius=RADIUS)
    assert {(c.entry_id, c.algorithm, c.view): c.distance for c in found} == nearest
    assert len(found) == len(nearest)


def test_an_empty_snapshot_and_a_fingerprint_without_views_match_nothing():
    assert ListIndex([], seq=0).candidates(fingerprint(view()), radius={}) == ()
    assert (
        ListIndex([listed(1, Algorithm.PDQ, digest(1))], seq=0).candidates(fingerprint(), radius=RADIUS) == ()
    )


@pytest.mark.parametrize("radius", [{}, {Algorithm.PHASH256: 31}, {Algorithm.PDQ: -1}, {Algorithm.PDQ: 257}])
def test_entries_are_never_skipped_for_want_of_a_radius(radius):
    with pytest.raises(ValueError):
        ListIndex([listed(1, Algorithm.PDQ, digest(1))], seq=1).candidates(fingerprint(view()), radius=radius)


@pytest.mark.parametrize("entry_id", [-1, 2**63])
def test_ids_out_of_range_are_refused(entry_id):
    with pytest.raises(ValueError):
        ListIndex([listed(entry_id, Algorithm.MD5, bytes(16))], seq=1)


@pytest.mark.parametrize("algorithm", BUILT_IN)
def test_digests_of_another_length_are_refused_unshown(algorithm):
    with pytest.raises(ValueError) as caught:
        ListIndex([listed(1, algorithm, b"\xab" * (algorithm.size - 1))], seq=1)
    assert "ab" * 2 not in str(caught.value)
    assert "xab" not in str(caught.value)


def test_what_is_shown_has_no_digest():
    entry = listed(1, Algorithm.PDQ, b"\xab" * 32, list_id=6)
    index = ListIndex([entry, listed(1, Algorithm.MD5, b"\xab" * 16, list_id=6)], seq=8)
    assert repr(index) == "<ListIndex: 2 digests at seq 8>"
    assert index.sizes == {(6, Algorithm.PDQ): 1, (6, Algorithm.MD5): 1}
    assert "xab" not in repr(entry)
    assert (index.seq, len(index)) == (8, 2)


# ── negatives ──────────────────────────────────────────────────────────────────────────────────────────────


def negative(value):
    return bytes(255 - one for one in value)


@pytest.mark.parametrize("turn", range(8))
def test_a_negative_is_looked_up_where_it_is_wanted(turn):
    shown = fingerprint(view(pdq=digest(4)))
    index = ListIndex([listed(5, Algorithm.PDQ, off_by(negative(turned(digest(4))[turn]), 7))], seq=1)
    assert index.candidates(shown, radius=RADIUS) == ()
    (candidate,) = index.candidates(shown, radius=RADIUS, complement=True)
    assert told([candidate]) == [(5, Algorithm.PDQ, "displayed", DIHEDRAL[turn], 7, 80)]
    assert candidate.complement


def test_a_near_negative_stands_for_no_picture():
    """A picture whose mirror image is nearly its negative: both are told, and only one of them may hold."""
    upright = digest(4)
    shown = View(
        name="displayed", quality=80, signals={"pdq": upright, "phash256": digest(2)},
        dihedral=(upright, off_by(negative(upright), 3), *turned(upright)[2:]),
    )  # fmt: skip
    index = ListIndex([listed(1, Algorithm.PDQ, off_by(upright, 20))], seq=1)
    found = index.candidates(fingerprint(shown), radius=RADIUS, complement=True)
    assert sorted((one.complement, one.distance) for one in found) == [(False, 20), (True, 17)]


def test_phash_has_no_negative():
    shown = fingerprint(view(phash=digest(5)))
    index = ListIndex([listed(1, Algorithm.PHASH256, negative(digest(5)))], seq=1)
    assert index.candidates(shown, radius=RADIUS, complement=True) == ()


# ── lists apart, and plug-ins ──────────────────────────────────────────────────────────────────────────────


def test_only_lists_that_lie_apart_are_searched_wide():
    shown = fingerprint(view(pdq=digest(4)))
    entries = [listed(n, Algorithm.PDQ, off_by(digest(4), 40), list_id=n) for n in (1, 2)]
    index = ListIndex(entries, seq=1, wide={2})
    assert [c.entry_id for c in index.candidates(shown, radius=RADIUS, wide={Algorithm.PDQ: 53})] == [2]
    assert index.candidates(shown, radius=RADIUS) == ()
    with pytest.raises(ValueError, match="pdq"):
        index.candidates(shown, radius=RADIUS, wide={})


LUMA = Algorithm("luma.1", size=4, perceptual=True, hold_radius=3, max_radius=100)


def apart(one, many):
    return np.abs(many.astype(np.int64) - np.frombuffer(one, np.uint8)).sum(axis=1)


def test_a_plug_in_measures_its_own_entries():
    entries = [listed(n, LUMA, bytes((n, 0, 0, 0))) for n in (1, 5, 9)]
    index = ListIndex(entries, seq=1, measures={LUMA: apart})
    assert index.perceptual == {LUMA}
    seen = View(
        name="displayed", quality=80, signals={"pdq": digest(1), "phash256": digest(2), "luma.1": bytes(4)},
        low_diversity=True,
    )  # fmt: skip
    found = index.candidates(fingerprint(seen, view("raw")), radius={LUMA: 5}, complement=True)
    assert told(found) == [(1, LUMA, "displayed", "upright", 1, 80), (5, LUMA, "displayed", "upright", 5, 80)]
    assert all(one.low_diversity and not one.complement for one in found)
    assert index.candidates(fingerprint(view("raw")), radius={LUMA: 5}) == ()
    with pytest.raises(ValueError):
        index.candidates(fingerprint(seen), radius={LUMA: -1})


def test_what_nobody_can_measure_is_refused():
    with pytest.raises(ValueError, match="measure"):
        ListIndex([listed(1, LUMA, bytes(4))], seq=1)


# ── changes ────────────────────────────────────────────────────────────────────────────────────────────────


LISTS = st.integers(1, 3)
ENTRIES = st.integers(0, 12)
KINDS = (Algorithm.PDQ, Algorithm.PHASH256, Algorithm.SHA256, Algorithm.MD5, LUMA)
WIDE = {Algorithm.PDQ: 53, Algorithm.PHASH256: 53, LUMA: 60}
NARROW = {Algorithm.PDQ: 31, Algorithm.PHASH256: 20, LUMA: 5}


def looked_like(seed):
    """A picture that shows the near digests of that seed."""
    signals = {"pdq": digest(seed), "phash256": digest(seed), "luma.1": bytes((seed, 0, 0, 0))}
    return fingerprint(View(name="displayed", quality=80, signals=signals), seed=seed)


SHOWN = [looked_like(seed) for seed in range(3)]


def value_of(algorithm, seed, bits):
    if algorithm == LUMA:
        return bytes((seed, bits, 0, 0))
    if algorithm.perceptual:
        return off_by(digest(seed), bits)
    return off_by(digest(seed, algorithm.size), bits % 2)


def brute_force(entries, shown, wide):
    """Which entries are near, and how far: by the definition."""
    found = {}
    for entry in entries:
        if not entry.algorithm.perceptual:
            if entry.digest == shown.digests[entry.algorithm]:
                found[entry.entry_id, entry.algorithm, "bytes", False] = 0
            continue
        (one,) = shown.views
        own = one.signals[entry.algorithm]
        asked = one.orientations() if entry.algorithm == Algorithm.PDQ else [own]
        asked = [(other, False) for other in asked]
        if entry.algorithm == Algorithm.PDQ:
            asked += [(negative(other), True) for other, _ in asked]
        for other, negated in asked:
            if entry.algorithm == LUMA:
                distance = sum(abs(a - b) for a, b in zip(other, entry.digest, strict=True))
            else:
                distance = (int.from_bytes(entry.digest) ^ int.from_bytes(other)).bit_count()
            if distance <= (WIDE if entry.list_id in wide else NARROW)[entry.algorithm]:
                key = (entry.entry_id, entry.algorithm, one.name, negated)
                found[key] = min(distance, found.get(key, 999))
    return found


class Changing(RuleBasedStateMachine):
    """An index that changes finds what one made from scratch finds, and what the definition says."""

    def __init__(self):
        super().__init__()
        self.entries, self.wide, self.seq = {}, frozenset(), 0
        self.list_of = {}  # an entry stays in its list
        self.index = ListIndex((), seq=0, measures={LUMA: apart})
        self.earlier = []

    def drawn(self, data, entry_id):
        list_id = self.list_of.setdefault(entry_id, data.draw(LISTS))
        return [
            listed(entry_id, algorithm, value_of(algorithm, *data.draw(NEARBY)), list_id=list_id)
            for algorithm in data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
        ]

    def change(self, *, upserts=(), removed=(), wide=None, dropped=()):
        self.earlier = [(self.index, self.found(self.index, self.wide), self.wide)]
        self.seq += 1
        self.index = self.index.changed(
            upserts=upserts, removed=removed, seq=self.seq, wide=wide, dropped=dropped
        )

    @rule(data=st.data(), some=st.sets(ENTRIES, min_size=1), packed=st.booleans())
    def upsert(self, data, some, packed):
        for entry_id in some:
            self.entries[entry_id] = self.drawn(data, entry_id)
        upserts = [one for entry_id in some for one in self.entries[entry_id]]
        self.change(upserts=PackedDigests(upserts) if packed else upserts)

    @rule(some=st.sets(ENTRIES))
    def remove(self, some):
        for entry_id in some:
            self.entries.pop(entry_id, None)
        self.change(removed=some)

    @rule(data=st.data(), some=st.sets(ENTRIES), others=st.sets(ENTRIES), wide=st.sets(LISTS))
    def all_at_once(self, data, some, others, wide):
        (dropped,) = data.draw(st.tuples(st.sets(st.tuples(LISTS, st.sampled_from(KINDS)), max_size=3)))
        self.drop_from_truth(dropped)
        for entry_id in some:
            self.entries[entry_id] = self.drawn(data, entry_id)
        for entry_id in others - some:
            self.entries.pop(entry_id, None)
        self.wide = frozenset(wide)
        upserts = [one for entry_id in some for one in self.entries[entry_id]]
        self.change(upserts=upserts, removed=others - some, wide=wide, dropped=dropped)

    def drop_from_truth(self, dropped):
        for entry_id, several in list(self.entries.items()):
            self.entries[entry_id] = [one for one in several if (one.list_id, one.algorithm) not in dropped]

    @rule(wide=st.sets(LISTS))
    def look_as_far(self, wide):
        self.change(wide=wide)
        self.wide = frozenset(wide)

    @rule(dropped=st.sets(st.tuples(LISTS, st.sampled_from(KINDS)), min_size=1))
    def drop(self, dropped):
        self.drop_from_truth(dropped)
        self.change(dropped=dropped)

    @rule()
    @precondition(lambda self: self.seq)
    def load_whole(self):
        self.index = self.fresh()

    def fresh(self):
        return ListIndex(self.listed(), seq=self.seq, wide=self.wide, measures={LUMA: apart})

    def listed(self):
        return [one for several in self.entries.values() for one in several]

    def found(self, index, wide):
        return [
            index.candidates(shown, radius=NARROW, wide=WIDE if wide else NARROW, complement=True)
            for shown in SHOWN
        ]

    @invariant()
    def equals_one_from_scratch_and_the_definition(self):
        fresh = self.fresh()
        assert self.index.sizes == fresh.sizes
        assert (self.index.seq, len(self.index)) == (fresh.seq, len(fresh))
        assert self.index.perceptual == fresh.perceptual
        found = self.found(self.index, self.wide)
        assert found == self.found(fresh, self.wide)
        for shown, candidates in zip(SHOWN, found, strict=True):
            told_of = {(c.entry_id, c.algorithm, c.view, c.complement): c.distance for c in candidates}
            assert told_of == brute_force(self.listed(), shown, self.wide)
            assert len(told_of) == len(candidates)

    @invariant()
    def earlier_ones_stay_as_they_were(self):
        for index, found, wide in self.earlier:
            assert self.found(index, wide) == found


NEARBY = st.tuples(st.integers(0, 2), st.integers(0, 60))


@pytest.mark.parametrize(("least", "share"), [(4096, 8), (3, 2)])  # as it is, and made anew all the time
def test_a_changed_index_equals_one_from_scratch(monkeypatch, least, share):
    monkeypatch.setattr(layers, "LEAST", least)
    monkeypatch.setattr(layers, "SHARE", share)
    few = settings(max_examples=max(8, settings().max_examples // 3), stateful_step_count=12)
    run_state_machine_as_test(Changing, settings=few)


def test_a_change_shares_the_arrays_with_what_was_before_until_they_are_made_anew():
    entries = [listed(n, Algorithm.PDQ, digest(n)) for n in range(3 * layers.LEAST)]
    index = ListIndex(entries, seq=1)
    changed = index.changed(upserts=[listed(1, Algorithm.PDQ, digest(9))], removed=[2], seq=2)
    before, after = (one._places[Algorithm.PDQ, False] for one in (index, changed))
    assert after.base is before.base
    assert (len(after.delta), after.gone_rows, len(changed)) == (1, 2, len(index) - 1)
    anew = changed.changed(upserts=(), removed=range(layers.LEAST + 1), seq=3)._places[Algorithm.PDQ, False]
    assert (len(anew.base), len(anew.delta), anew.gone_rows) == (2 * layers.LEAST - 1, 0, 0)


def test_a_change_that_cannot_be_made_changes_nothing():
    index = ListIndex([listed(1, Algorithm.PDQ, digest(1))], seq=1)
    with pytest.raises(ValueError, match="measure"):
        index.changed(upserts=[listed(2, LUMA, bytes(4))], removed=[1], seq=2)
    with pytest.raises(ValueError):
        index.changed(upserts=[listed(2, Algorithm.MD5, bytes(4))], removed=[1], seq=2)
    assert told(index.candidates(fingerprint(view(pdq=digest(1))), radius=RADIUS)) == [
        (1, Algorithm.PDQ, "displayed", "upright", 0, 80)
    ]


# ── facts ──────────────────────────────────────────────────────────────────────────────────────────────────


FACTS = st.dictionaries(ENTRIES, st.integers(0, 5))
STEPS = st.lists(st.tuples(FACTS, st.sets(ENTRIES), st.none() | st.sets(st.integers(0, 5))))


def built(known):
    builder = FactsBuilder(lambda entry_id, fact: (entry_id, fact))
    for entry_id, fact in known.items():
        builder.add(entry_id, fact)
    return builder.built()


@pytest.mark.parametrize(("least", "share"), [(4096, 8), (3, 2)])
@given(first=FACTS, steps=STEPS)
def test_facts_that_change_are_what_a_dict_would_say(least, share, first, steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts, "LEAST", least)
        patch.setattr(facts, "SHARE", share)
        made, truth = built(first), dict(first)
        for upserts, removed, dropped in steps:
            before, said = made, dict(made)
            made = made.changed(
                built(upserts), removed=removed, dropped=None if dropped is None else dropped.__contains__
            )
            truth = {
                n: fact for n, fact in truth.items() if n not in removed and fact not in (dropped or ())
            } | upserts
            assert dict(made) == {n: (n, fact) for n, fact in truth.items()}
            assert len(made) == len(truth)
            assert [made.get(n) for n in range(14)] == [
                (n, truth[n]) if n in truth else None for n in range(14)
            ]
            assert dict(before) == said
