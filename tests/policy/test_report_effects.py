"""Every cell of the effects of reports, restated by hand; and what no reporter can reach."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard.model import Category, ReporterKind, TargetEffect
from coverguard.policy.reporting import (
    Ground,
    ReportCaps,
    ReportEffects,
    Standing,
    Whole,
    effects_of_report,
    priority,
)

ANYBODY = (ReporterKind.ANONYMOUS, ReporterKind.PLATFORM)
KEYED = (ReporterKind.SUPPORT, ReporterKind.TRUSTED_FLAGGER, ReporterKind.HOTLINE)
ABUSE, INTIMATE = Category.CHILD_ABUSE, Category.INTIMATE_IMAGE
HARMLESS = (Category.TERRORISM, Category.OTHER)
HIDDEN, CAPPED, RESCREENED = TargetEffect.HIDDEN, TargetEffect.CAPPED, TargetEffect.RESCREENED
QUIET = Standing()
CAPS = ReportCaps()
FAR = (Standing(links=CAPS.links), Standing(covers=CAPS.covers))
FACTS = {
    "terminated": Ground.TERMINATED,
    "confirmed": Ground.CONFIRMED,
    "matched": Ground.MATCHED,
    "agreed": Ground.AGREED,
}


def called_for(source, category, standing=QUIET, *, left=1, cleared=False) -> ReportEffects:
    return effects_of_report(source, category, standing=standing, caps=CAPS, hides_left=left, cleared=cleared)


def standing(fact: str, base: Standing = QUIET) -> Standing:
    return replace(base, reporters=2) if fact == "agreed" else replace(base, **{fact: True})


# ── what is named ──────────────────────────────────────────────────────────────────────────────────────────

NAMED = {
    # source × category × (left, cleared)
    **{(s, c, 1, False): HIDDEN for s, c in product(ANYBODY, (ABUSE, INTIMATE))},
    **{(s, c, 0, False): CAPPED for s, c in product(ANYBODY, (ABUSE, INTIMATE))},
    **{(s, c, -5, False): CAPPED for s, c in product(ANYBODY, (ABUSE, INTIMATE))},
    **{(s, c, left, True): RESCREENED for s, c, left in product(ANYBODY, (ABUSE, INTIMATE), (0, 1))},
    **dict.fromkeys(product(KEYED, (ABUSE, INTIMATE), (0, 1), (False, True)), HIDDEN),
    **dict.fromkeys(product(ReporterKind, HARMLESS, (0, 1), (False, True)), RESCREENED),
}


@pytest.mark.parametrize("cell", NAMED, ids=str)
def test_what_is_named(cell):
    source, category, left, cleared = cell
    assert called_for(source, category, left=left, cleared=cleared).named is NAMED[cell]


def test_the_table_has_every_cell():
    assert {(s, c) for s, c, *_ in NAMED} == set(product(ReporterKind, Category))


# ── the rest of the account ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("source", ANYBODY)
@pytest.mark.parametrize("category", Category)
def test_anybodys_report_hides_no_whole_account_without_a_ground(source, category):
    assert called_for(source, category).whole is Whole.RESCREEN
    assert called_for(source, category).ground is None


@pytest.mark.parametrize("source", ANYBODY)
@pytest.mark.parametrize("fact", FACTS)
def test_a_ground_hides_for_child_abuse_alone(source, fact):
    known = standing(fact)
    assert called_for(source, ABUSE, known).whole is Whole.HIDE
    assert called_for(source, ABUSE, known).ground is FACTS[fact]
    for category in set(Category) - {ABUSE}:
        assert called_for(source, category, known).whole is Whole.RESCREEN


@pytest.mark.parametrize("source", KEYED)
def test_who_has_a_key_is_a_ground(source):
    assert called_for(source, ABUSE).whole is Whole.HIDE
    support = source is ReporterKind.SUPPORT
    assert called_for(source, INTIMATE).whole is (Whole.HIDE if support else Whole.RESCREEN)
    for category in HARMLESS:
        assert called_for(source, category).whole is Whole.RESCREEN


@pytest.mark.parametrize("far", FAR)
def test_above_the_reach_people_have_decided_or_a_person_is_asked(far):
    assert called_for(ReporterKind.SUPPORT, ABUSE, far).whole is Whole.HIDE
    assert called_for(ReporterKind.ANONYMOUS, ABUSE, far).whole is Whole.RESCREEN
    for source in (ReporterKind.HOTLINE, ReporterKind.TRUSTED_FLAGGER):
        assert called_for(source, ABUSE, far).whole is Whole.ASK
    asked = {fact: called_for(ReporterKind.ANONYMOUS, ABUSE, standing(fact, far)).whole for fact in FACTS}
    assert asked == {
        "terminated": Whole.HIDE,
        "confirmed": Whole.HIDE,
        "matched": Whole.ASK,
        "agreed": Whole.ASK,
    }


def test_just_below_the_reach_nobody_is_asked():
    near = Standing(links=CAPS.links - 1, covers=CAPS.covers - 1, matched=True)
    assert called_for(ReporterKind.ANONYMOUS, ABUSE, near).whole is Whole.HIDE


# ── whatever comes ─────────────────────────────────────────────────────────────────────────────────────────

STANDINGS = st.builds(
    Standing,
    terminated=st.booleans(),
    confirmed=st.booleans(),
    matched=st.booleans(),
    reporters=st.integers(0, 3),
    links=st.integers(0, 100),
    covers=st.integers(0, 400),
)


@given(st.sampled_from(ReporterKind), st.sampled_from(Category), STANDINGS, st.integers(-3, 3), st.booleans())
def test_what_always_holds(source, category, known, left, cleared):
    found = called_for(source, category, known, left=left, cleared=cleared)
    assert (found.ground is None) == (found.whole is Whole.RESCREEN)
    if source in ANYBODY and found.named is HIDDEN:
        assert left > 0
        assert not cleared
    if category in HARMLESS:
        assert found == ReportEffects(named=RESCREENED, whole=Whole.RESCREEN)
    if found.whole is Whole.HIDE and CAPS.above_reach(known):
        assert known.terminated or known.confirmed or source is ReporterKind.SUPPORT


def test_what_is_urgent_comes_first_then_children_then_who_vouches():
    lowest = priority(ReporterKind.ANONYMOUS, Category.OTHER, urgent=True)
    assert lowest > priority(ReporterKind.HOTLINE, ABUSE, urgent=False)
    ordered = [priority(ReporterKind.ANONYMOUS, one, urgent=False) for one in Category]
    assert ordered == sorted(ordered, reverse=True)
    assert priority(ReporterKind.HOTLINE, ABUSE, urgent=False) > priority(
        ReporterKind.ANONYMOUS, ABUSE, urgent=False
    )
