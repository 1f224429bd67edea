"""From candidates to matches to a decision: limits at their edges, and what no input may bring about."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard.model import (
    DIHEDRAL,
    Algorithm,
    Candidate,
    Category,
    Fingerprint,
    Hold,
    ListAction,
    Opinion,
    Pass,
    Refer,
    ReferReason,
    Tier,
    View,
    turned,
)
from coverguard.policy import EntryFacts, ListRule, Suppressions, decide, judge, own_rule

PDQ = bytes(range(32))
SHA256 = bytes(range(100, 132))
EXACT = (Algorithm.SHA256, Algorithm.SHA1, Algorithm.MD5)


def off_by(value, bits):
    return (int.from_bytes(value) ^ ((1 << bits) - 1)).to_bytes(len(value))


def view(name="displayed", *, pdq=PDQ, quality=90):
    return View(name=name, quality=quality, signals={"pdq": pdq, "phash256": bytes(32)})


def fingerprint(*views, sha256=SHA256):
    digests = {"md5": bytes(16), "sha1": bytes(20), "sha256": sha256}
    return Fingerprint(digests=digests, views=views or (view(),), format="PNG", width=64, height=64)


def near(entry_id=1, *, distance=10, quality=90, algorithm=Algorithm.PDQ, seen="displayed", **more):
    return Candidate(
        entry_id=entry_id, algorithm=algorithm, view=seen, orientation="upright", distance=distance,
        quality=quality, **more,
    )  # fmt: skip


def exact(entry_id=1, algorithm=Algorithm.SHA256):
    return near(entry_id, distance=0, quality=100, algorithm=algorithm, seen="bytes")


def entry(entry_id=1, *, list_id=1, **facts):
    return EntryFacts(entry_id=entry_id, list_id=list_id, **({"opinion": Opinion.POSITIVE} | facts))


def rule(list_id=1, **values):
    settled = {"category": Category.CHILD_ABUSE, "action": ListAction.HOLD} | values
    return ListRule(list_id=list_id, version=3, **settled)


def judged(*candidates, entries=None, rules=None, suppressions=None, shown=None):
    return judge(
        candidates,
        shown or fingerprint(),
        entries={one.entry_id: one for one in (entries if entries is not None else [entry()])},
        rules={one.list_id: one for one in (rules if rules is not None else [rule()])},
        suppressions=suppressions or Suppressions(),
    )


def actions(matches):
    return [match.action for match in matches]


# ── the edges ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("quality", "matches"), [(0, 0), (49, 0), (50, 1), (100, 1)])
def test_the_quality_floor(quality, matches):
    assert len(judged(near(quality=quality))) == matches
    assert len(judged(near(quality=quality, algorithm=Algorithm.PHASH256),
                      rules=[rule(phash256_radius=20)])) == matches  # fmt: skip


@pytest.mark.parametrize(
    ("floor", "quality", "matches"), [(0, 0, 1), (100, 99, 0), (100, 100, 1), (51, 50, 0)]
)
def test_the_quality_floor_is_the_lists_own(floor, quality, matches):
    assert len(judged(near(quality=quality), rules=[rule(quality_floor=floor)])) == matches


@pytest.mark.parametrize(("distance", "found"), [(0, ["hold"]), (31, ["hold"]), (32, [])])
def test_the_radius(distance, found):
    assert actions(judged(near(distance=distance))) == found


@pytest.mark.parametrize(("distance", "found"), [(31, ["hold"]), (32, ["refer"]), (60, ["refer"]), (61, [])])
def test_a_wider_radius_only_refers_beyond_31(distance, found):
    assert actions(judged(near(distance=distance), rules=[rule(pdq_radius=60)])) == found


def test_beyond_the_industrys_threshold_a_view_needs_its_quality():
    ours = replace(own_rule(Category.CHILD_ABUSE), list_id=1, version=1)
    for distance, quality, matches in ((31, 15, 1), (31, 14, 0), (32, 49, 0), (32, 50, 1), (53, 50, 1)):
        found = judged(near(distance=distance, quality=quality), rules=[ours])
        assert len(found) == matches, (distance, quality)
        firm = distance <= 31 and quality >= 50
        assert {one.tier for one in found} <= {Tier.ENFORCE if firm else Tier.REVIEW}


@pytest.mark.parametrize(("quality", "found"), [(49, ["refer"]), (50, ["hold"])])
def test_a_lower_floor_of_a_list_lets_no_poorer_view_hold(quality, found):
    assert actions(judged(near(quality=quality), rules=[rule(quality_floor=0)])) == found


TIERS = [
    (near(), {}, Tier.ENFORCE),
    (exact(), {"part": True}, Tier.ENFORCE),
    (near(distance=31), {}, Tier.ENFORCE),
    (near(distance=32), {}, Tier.REVIEW),
    (near(complement=True), {}, Tier.REVIEW),
    (near(algorithm=Algorithm.PHASH256), {}, Tier.REVIEW),
    (near(quality=49), {}, Tier.REVIEW),
    (near(), {"part": True}, Tier.REVIEW),
    (near(), {"grid": True}, Tier.ENFORCE),
    (near(low_diversity=True), {}, Tier.ENFORCE),
]


@pytest.mark.parametrize(("one", "facts", "tier"), TIERS)
def test_a_match_says_in_which_net_it_was_found(one, facts, tier):
    widest = rule(pdq_radius=53, phash256_radius=53, quality_floor=0)
    (found,) = judged(one, entries=[entry(**facts)], rules=[widest])
    assert found.tier is tier
    assert found.action is ListAction.REFER or tier is Tier.ENFORCE
    assert found.complement is one.complement


def test_low_diversity_is_told_only_where_it_made_the_difference():
    told = [judged(one, rules=[rule(action=action)])[0].low_diversity
            for action in ListAction for one in (near(low_diversity=True), near(), exact())]  # fmt: skip
    assert told == [False] * 6 + [True, False, False]


PLUGGED = Algorithm("luma.1", size=9, perceptual=True, hold_radius=50, max_radius=500)


@pytest.mark.parametrize(("distance", "found"), [(50, ["hold"]), (51, ["refer"]), (301, [])])
def test_a_plug_in_has_its_own_bounds(distance, found):
    one = near(distance=distance, algorithm=PLUGGED)
    assert actions(judged(one, rules=[rule(radii={"luma.1": 300})])) == found


@pytest.mark.parametrize("radius", [-1, 0])
def test_a_radius_of_nothing(radius):
    assert actions(judged(near(distance=0), rules=[rule(pdq_radius=radius)])) == (
        ["hold"] if not radius else []
    )
    assert not judged(near(distance=1), rules=[rule(pdq_radius=radius)])


def test_phash_is_off_unless_a_list_asks_for_it():
    one = near(distance=0, algorithm=Algorithm.PHASH256)
    assert not judged(one)
    assert actions(judged(one, rules=[rule(phash256_radius=0)])) == ["refer"]


@pytest.mark.parametrize("algorithm", EXACT)
def test_a_digest_meets_neither_radius_nor_quality(algorithm):
    never = rule(pdq_radius=-1, phash256_radius=-1, quality_floor=100)
    one = replace(exact(algorithm=algorithm), quality=0)
    assert actions(judged(one, rules=[never])) == ["hold"]


# ── what is no match, or less of one ───────────────────────────────────────────────────────────────────────


def test_a_withdrawn_entry_or_a_switched_off_list_matches_nothing():
    assert not judged(near(), exact(), entries=[])
    assert not judged(near(), exact(), rules=[])
    assert not judged(near(), exact(), rules=[rule(list_id=2)])


@pytest.mark.parametrize("one", [near(distance=0), exact()], ids=["near", "exact"])
def test_a_negative_entry_never_matches(one):
    assert not judged(one, entries=[entry(opinion=Opinion.NEGATIVE)])


LESS = [
    # what speaks against holding          near      exact
    ({"opinion": Opinion.SEED}, "refer", "refer"),
    ({"cap": ListAction.REFER}, "refer", "refer"),
    ({"cap": ListAction.SHADOW}, "shadow", "shadow"),
    ({"grid": True}, "refer", "hold"),
    ({"part": True}, "refer", "hold"),
    ({}, "hold", "hold"),
]


@pytest.mark.parametrize(("facts", "if_near", "if_exact"), LESS)
def test_what_keeps_an_entry_from_holding(facts, if_near, if_exact):
    assert actions(judged(near(), entries=[entry(**facts)])) == [if_near]
    assert actions(judged(exact(), entries=[entry(**facts)])) == [if_exact]


@pytest.mark.parametrize("action", list(ListAction))
def test_a_list_bounds_its_entries(action):
    assert actions(judged(near(), exact(), rules=[rule(action=action)])) == [action, action]


def test_a_match_says_what_it_rests_on():
    (found,) = judged(near(7, distance=12, quality=77), entries=[entry(7, list_id=4)], rules=[rule(4)])
    assert (found.entry_id, found.list_id, found.rule_version) == (7, 4, 3)
    assert (found.distance, found.quality, found.view) == (12, 77, "displayed")
    assert found.category is Category.CHILD_ABUSE
    assert not found.exact


def test_an_entrys_own_category_goes_before_its_lists():
    (found,) = judged(near(), entries=[entry(category=Category.TERRORISM)])
    assert found.category is Category.TERRORISM


def test_of_several_views_the_one_that_may_do_most_counts():
    """A nearer view that may do less must not stand before one that holds."""
    wide = [rule(pdq_radius=60)]
    far, close = near(distance=40), near(distance=30, seen="raw")
    poor = near(distance=1, quality=10, seen="frame_3")
    for order in ((far, close, poor), (poor, close, far), (close, poor, far)):
        (found,) = judged(*order, rules=wide)
        assert (found.action, found.view) == (ListAction.HOLD, "raw")


def test_a_cleared_first_frame_does_not_cover_for_another():
    """A known false positive in one view says nothing of a match in another."""
    cleared = Suppressions(near={1: (PDQ,)})
    shown = fingerprint(view(), view("frame_1", pdq=off_by(PDQ, 200)))
    (found,) = judged(near(distance=2), near(distance=20, seen="frame_1"), shown=shown, suppressions=cleared)
    assert (found.action, found.view, found.suppressed) == (ListAction.HOLD, "frame_1", False)


def test_the_strongest_comes_first():
    entries = [entry(1, cap=ListAction.REFER), entry(2), entry(3), entry(4)]
    found = judged(near(1, distance=0), near(2, distance=9), exact(3), near(4, distance=2), entries=entries)
    assert [match.entry_id for match in found] == [3, 4, 2, 1]


# ── known false positives ──────────────────────────────────────────────────────────────────────────────────

PAIR = Suppressions(pairs=frozenset({(1, SHA256)}))


@pytest.mark.parametrize("algorithm", [Algorithm.PDQ, Algorithm.PHASH256])
def test_a_pair_is_suppressed_and_stays_on_record(algorithm):
    rules = [rule(phash256_radius=31)]
    (found,) = judged(near(algorithm=algorithm), suppressions=PAIR, rules=rules)
    assert found.suppressed
    assert found.action is ListAction.SHADOW


def test_a_pair_is_of_these_bytes_and_this_entry_only():
    (other_bytes,) = judged(near(), suppressions=PAIR, shown=fingerprint(sha256=bytes(32)))
    (other_entry,) = judged(near(2), entries=[entry(2)], suppressions=PAIR)
    assert not other_bytes.suppressed
    assert not other_entry.suppressed
    assert actions([other_bytes, other_entry]) == ["hold", "hold"]


@pytest.mark.parametrize("algorithm", EXACT)
def test_an_exact_digest_is_never_suppressed(algorithm):
    both = Suppressions(pairs=PAIR.pairs, near={1: (PDQ,)})
    (found,) = judged(exact(algorithm=algorithm), suppressions=both)
    assert not found.suppressed
    assert found.action is ListAction.HOLD


@pytest.mark.parametrize(("bits", "suppressed"), [(0, True), (4, True), (5, False), (31, False)])
def test_around_cleared_bytes_four_bits(bits, suppressed):
    (found,) = judged(near(), suppressions=Suppressions(near={1: (off_by(PDQ, bits),)}))
    assert found.suppressed is suppressed


@pytest.mark.parametrize("turn", range(8))
def test_around_cleared_bytes_in_any_orientation(turn):
    cleared = Suppressions(near={1: (bytes(32), off_by(turned(PDQ)[turn], 4))})
    (found,) = judged(near(), suppressions=cleared)
    assert found.suppressed, DIHEDRAL[turn]


def test_around_cleared_bytes_the_exact_orientations_count_where_they_are_known():
    mirrored = bytes(reversed(range(7, 39)))
    shown = replace(view(), dihedral=(PDQ, mirrored, *turned(PDQ)[2:]))
    (found,) = judged(near(), suppressions=Suppressions(near={1: (mirrored,)}), shown=fingerprint(shown))
    assert found.suppressed


def test_around_cleared_bytes_for_that_entry_only():
    (found,) = judged(near(2), entries=[entry(2)], suppressions=Suppressions(near={1: (PDQ,)}))
    assert not found.suppressed


# ── the decision ───────────────────────────────────────────────────────────────────────────────────────────

PHASH = near(2, algorithm=Algorithm.PHASH256)
TABLE = [
    # candidates, facts of both entries, rule          decision
    ([], {}, {}, "pass"),
    ([near()], {}, {}, "hold"),
    ([exact()], {}, {}, "hold"),
    ([near()], {}, {"action": ListAction.SHADOW}, "pass"),
    ([near()], {}, {"action": ListAction.REFER}, "refer list_refers"),
    ([near(), PHASH], {}, {"action": ListAction.REFER}, "refer list_refers"),
    ([PHASH], {}, {}, "refer second_opinion_only"),
    ([PHASH], {"opinion": Opinion.SEED}, {}, "refer second_opinion_only"),
    ([near(), PHASH], {"opinion": Opinion.SEED}, {}, "refer seed_only"),
    ([near()], {"opinion": Opinion.SEED}, {}, "refer seed_only"),
    ([near()], {"grid": True}, {}, "refer list_refers"),
    ([near(), PHASH], {}, {}, "hold"),
    ([near(), exact(2)], {"grid": True}, {}, "hold"),
    ([near(distance=40)], {}, {"pdq_radius": 53}, "refer review_tier_only"),
    ([near(distance=40), near(2)], {}, {"pdq_radius": 53}, "hold"),
    ([near(distance=40), near(2)], {"grid": True}, {"pdq_radius": 53}, "refer list_refers"),
    ([near(complement=True)], {}, {}, "refer review_tier_only"),
    ([near(complement=True), PHASH], {}, {}, "refer review_tier_only"),
    ([near(complement=True)], {}, {"complement": False}, "pass"),
    ([near(), near(2)], {"part": True}, {}, "refer review_tier_only"),
    ([near(low_diversity=True)], {}, {}, "refer low_diversity"),
    ([near(low_diversity=True), PHASH], {}, {}, "refer low_diversity"),
    ([near(low_diversity=True)], {}, {"action": ListAction.REFER}, "refer list_refers"),
    ([near(low_diversity=True)], {"opinion": Opinion.SEED}, {}, "refer seed_only"),
    ([near(low_diversity=True), near(2)], {}, {}, "hold"),
    ([near(low_diversity=True), exact(2)], {}, {}, "hold"),
    ([near(low_diversity=True, distance=42)], {}, {"pdq_radius": 53}, "pass"),
    ([near(low_diversity=True, distance=41)], {}, {"pdq_radius": 53}, "refer review_tier_only"),
    ([near(low_diversity=True, distance=41)], {}, {}, "pass"),
    ([near(low_diversity=True, distance=41, quality=49)], {}, {"pdq_radius": 53, "quality_floor": 0}, "pass"),
    ([near(low_diversity=True, complement=True)], {}, {}, "pass"),
    ([replace(PHASH, low_diversity=True)], {}, {}, "pass"),
]


@pytest.mark.parametrize(("candidates", "facts", "rules", "decision"), TABLE)
def test_decisions(candidates, facts, rules, decision):
    shown = fingerprint()
    found = decide(
        judged(
            *candidates,
            entries=[entry(1, **facts), entry(2, **facts)],
            rules=[rule(phash256_radius=31, **rules)],
        ),
        shown,
    )
    reason = f" {found.reason.value}" if isinstance(found, Refer) else ""
    assert type(found).__name__.lower() + reason == decision


@pytest.mark.parametrize(
    ("qualities", "low"), [((90,), False), ((49,), True), ((49, 50), False), ((0, 10), True)]
)
def test_a_pass_says_when_nothing_near_could_have_matched(qualities, low):
    shown = fingerprint(*(view(str(number), quality=quality) for number, quality in enumerate(qualities)))
    assert decide((), shown) == Pass(low_information=low)


def test_the_decision_carries_what_counts_and_nothing_else():
    shadow, held = rule(1, action=ListAction.SHADOW), rule(2)
    found = judged(near(1), near(2), entries=[entry(1), entry(2, list_id=2)], rules=[shadow, held])
    assert len(found) == 2
    decision = decide(found, fingerprint())
    assert isinstance(decision, Hold)
    assert [match.entry_id for match in decision.matches] == [2]


# ── what no input may bring about ──────────────────────────────────────────────────────────────────────────

ENTRIES = st.lists(
    st.builds(
        EntryFacts,
        entry_id=st.integers(1, 6),
        list_id=st.integers(1, 3),
        opinion=st.sampled_from(Opinion),
        category=st.none() | st.sampled_from(Category),
        grid=st.booleans(),
        cap=st.sampled_from(ListAction),
        part=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda one: one.entry_id,
)
RULES = st.lists(
    st.builds(
        ListRule,
        list_id=st.integers(1, 3),
        version=st.just(1),
        category=st.sampled_from(Category),
        action=st.sampled_from(ListAction),
        pdq_radius=st.integers(-1, 90),
        phash256_radius=st.integers(-1, 90),
        quality_floor=st.integers(0, 100),
        complement=st.booleans(),
    ),
    max_size=3,
    unique_by=lambda one: one.list_id,
)
VIEWS = ("displayed", "raw")
NEAR = st.builds(
    Candidate,
    entry_id=st.integers(1, 6),
    algorithm=st.sampled_from([Algorithm.PDQ, Algorithm.PHASH256]),
    view=st.sampled_from(VIEWS),
    orientation=st.sampled_from(DIHEDRAL),
    distance=st.integers(0, 90),
    quality=st.integers(0, 100),
    complement=st.booleans(),
    low_diversity=st.booleans(),
)
ANY = NEAR | st.builds(exact, st.integers(1, 6), st.sampled_from(EXACT))
CANDIDATES = st.lists(ANY, max_size=6)
SUPPRESSIONS = st.builds(
    Suppressions,
    pairs=st.frozensets(st.tuples(st.integers(1, 6), st.just(SHA256)), max_size=2),
    near=st.dictionaries(st.integers(1, 6), st.just((PDQ,)), max_size=2),
)
SHOWN = fingerprint(view(), view("raw", pdq=off_by(PDQ, 100)))


def whole(candidates, entries, rules, suppressions):
    found = judged(*candidates, entries=entries, rules=rules, suppressions=suppressions, shown=SHOWN)
    return found, decide(found, SHOWN)


@given(CANDIDATES, ENTRIES, RULES, SUPPRESSIONS)
def test_what_may_hold(candidates, entries, rules, suppressions):
    found, decision = whole(candidates, entries, rules, suppressions)
    facts = {one.entry_id: one for one in entries}
    for match in found:
        assert match.opinion is not Opinion.NEGATIVE
        assert match.suppressed is (match.suppressed and not match.exact)
        if match.action is ListAction.HOLD:
            known = facts[match.entry_id]
            assert match.exact or (match.algorithm == Algorithm.PDQ and match.distance <= 31)
            assert match.exact or not (known.grid or known.part or match.complement or match.quality < 50)
            assert match.tier is Tier.ENFORCE
            assert not match.low_diversity
            assert (known.opinion, known.cap, match.suppressed) == (Opinion.POSITIVE, ListAction.HOLD, False)
            assert next(one for one in rules if one.list_id == match.list_id).action is ListAction.HOLD
    holds = any(match.action is ListAction.HOLD for match in found)
    assert isinstance(decision, Hold) is holds
    assert isinstance(decision, Pass) is all(match.action is ListAction.SHADOW for match in found)
    if isinstance(decision, Hold | Refer):
        assert all(match.action is not ListAction.SHADOW for match in decision.matches)


@given(CANDIDATES, ANY, ENTRIES, RULES, SUPPRESSIONS)
def test_one_more_match_never_weakens_the_decision(candidates, more, entries, rules, suppressions):
    strength = {Pass: 0, Refer: 1, Hold: 2}
    _, before = whole(candidates, entries, rules, suppressions)
    _, after = whole([*candidates, more], entries, rules, suppressions)
    assert strength[type(after)] >= strength[type(before)]


@given(st.permutations([near(1), near(2, distance=3), exact(3), PHASH, near(1, seen="raw", distance=2)]))
def test_the_order_of_candidates_changes_nothing(candidates):
    entries, rules = [entry(1), entry(2), entry(3)], [rule(phash256_radius=40)]
    assert whole(candidates, entries, rules, Suppressions()) == whole(
        sorted(candidates, key=repr), entries, rules, Suppressions()
    )


@given(st.lists(NEAR, min_size=1, max_size=6), ENTRIES, RULES)
def test_phash_alone_never_holds(candidates, entries, rules):
    only = [replace(one, algorithm=Algorithm.PHASH256) for one in candidates]
    _, decision = whole(only, entries, rules, Suppressions())
    assert not isinstance(decision, Hold)
    if isinstance(decision, Refer):
        assert decision.reason is ReferReason.SECOND_OPINION_ONLY
