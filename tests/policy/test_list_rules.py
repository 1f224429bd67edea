"""Rules of lists are checked when they are made; budgets stop consequences, and only of near matches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard.model import Algorithm, Category, Hold, ListAction, Match, Opinion
from coverguard.policy import (
    HOLD_RADIUS,
    QUALITY_FLOOR,
    REVIEW_RADIUS,
    Budgets,
    BudgetUse,
    ListRule,
    reach,
    spent_budget,
)

EXACT = (Algorithm.SHA256, Algorithm.SHA1, Algorithm.MD5)


def rule(list_id=1, **values):
    return ListRule(list_id=list_id, version=1, category=Category.CHILD_ABUSE, **values)


def match(list_id=1, algorithm=Algorithm.PDQ, action=ListAction.HOLD):
    return Match(
        entry_id=1, list_id=list_id, rule_version=1, category=Category.CHILD_ABUSE, opinion=Opinion.POSITIVE,
        algorithm=algorithm, view="displayed", orientation="upright", distance=0, quality=100, action=action,
    )  # fmt: skip


def spent(*matches, everywhere=0, by_list=None, rules=None, cap=100):
    rules = rules or [rule(1, hold_budget=10), rule(2, hold_budget=5)]
    return spent_budget(
        Hold(matches=matches),
        rules={one.list_id: one for one in rules},
        use=BudgetUse(everywhere=everywhere, by_list=by_list or {}),
        budgets=Budgets(everywhere=cap, a_source=cap),
    )


def test_defaults_are_the_fields():
    assert (HOLD_RADIUS, QUALITY_FLOOR) == (31, 50)
    fresh = rule()
    assert (fresh.action, fresh.pdq_radius, fresh.phash256_radius) == (ListAction.SHADOW, 31, -1)
    assert (fresh.quality_floor, fresh.known) == (50, True)


@pytest.mark.parametrize(
    ("field", "refused", "allowed"),
    [
        ("pdq_radius", (-2, 91), (-1, 0, 90)),
        ("phash256_radius", (-2, 91), (-1, 0, 90)),
        ("quality_floor", (-1, 101), (0, 100)),
        ("hold_budget", (-1,), (0, 10**9)),
    ],
)
def test_a_rule_out_of_range_is_refused_by_name(field, refused, allowed):
    for value in refused:
        with pytest.raises(ValueError, match=field):
            rule(**{field: value})
    for value in allowed:
        assert getattr(rule(**{field: value}), field) == value


@pytest.mark.parametrize("algorithm", EXACT)
def test_a_digest_has_no_radius(algorithm):
    assert rule(pdq_radius=-1, phash256_radius=-1).radius(algorithm) == 0


def test_the_search_is_as_wide_as_the_widest_list():
    both = [rule(1, pdq_radius=10, phash256_radius=-1), rule(2, pdq_radius=40, phash256_radius=7)]
    assert reach(both).radius == {Algorithm.PDQ: 40, Algorithm.PHASH256: 7}
    assert reach(both[:1]).radius == {Algorithm.PDQ: 10}
    assert reach([rule(pdq_radius=-1)]).radius == {}
    assert reach([]).radius == {}


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ([], False),
        ([{"complement": False}], False),
        ([{"complement": False}, {}], True),
        ([{"pdq_radius": -1}], False),
    ],
)
def test_negatives_are_looked_up_if_any_list_wants_them(rules, wanted):
    assert reach([rule(**one) for one in rules]).complement is wanted


def test_a_plug_in_is_off_unless_the_rule_names_it():
    luma = Algorithm("luma.1", size=9, perceptual=True, hold_radius=-1, max_radius=500)
    assert rule().radius(luma) == -1
    assert rule(radii={"luma.1": 300}).radius(luma) == 300
    found = reach([rule(radii={"luma.1": 300}), rule()], algorithms=[Algorithm.PDQ, luma])
    assert found.radius == {Algorithm.PDQ: 31, luma: 300}
    with pytest.raises(ValueError, match="radii"):
        rule(radii={"luma.1": -2})


@pytest.mark.parametrize(
    ("values", "wide"),
    [({}, False), ({"pdq_radius": REVIEW_RADIUS}, True), ({"pdq_radius": -1, "phash256_radius": 32}, True)],
)
def test_a_wide_rule_asks_for_more_than_may_hold(values, wide):
    assert rule(**values).wide is wide


# ── budgets ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("used", "scope"), [(0, None), (9, None), (10, "list:1"), (11, "list:1")])
def test_a_lists_budget(used, scope):
    assert spent(match(1), by_list={1: used}) == scope


@pytest.mark.parametrize(("used", "scope"), [(99, None), (100, "global"), (101, "global")])
def test_the_budget_of_all_lists(used, scope):
    assert spent(match(1), everywhere=used) == scope


def test_a_hold_on_two_lists_is_spent_when_both_are():
    assert spent(match(1), match(2), by_list={1: 10}) is None
    assert spent(match(1), match(2), by_list={2: 5}) is None
    assert spent(match(1), match(2), by_list={1: 10, 2: 5}) == "list:1"


def test_only_matches_that_hold_count():
    assert spent(match(1), match(2, action=ListAction.REFER), by_list={1: 10}) == "list:1"
    assert spent(match(1), match(2, Algorithm.SHA256, ListAction.REFER), by_list={1: 10}) == "list:1"


def test_a_budget_of_nothing_is_spent_from_the_start():
    assert spent(match(1), rules=[rule(1, hold_budget=0)]) == "list:1"


@given(
    algorithm=st.sampled_from(EXACT),
    others=st.lists(st.builds(match, st.sampled_from([1, 2])), max_size=3),
    everywhere=st.integers(0, 10**6),
    used=st.integers(0, 10**6),
)
def test_an_exact_digest_is_never_capped(algorithm, others, everywhere, used):
    assert spent(*others, match(1, algorithm), everywhere=everywhere, by_list={1: used, 2: used}) is None


def test_a_list_that_was_switched_off_meanwhile_has_no_budget():
    """Its match still blocks; without a rule nothing follows from it for the account."""
    assert spent(match(3)) == "list:3"
    assert spent(match(3), match(1)) is None
