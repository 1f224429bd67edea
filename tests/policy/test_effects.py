"""The effects table, cell by cell: decision × mode × origin × grace, written out again by hand."""

import itertools

import pytest

from coverguard.model import (
    Algorithm,
    Category,
    Hold,
    ListAction,
    Match,
    Mode,
    NotScreened,
    NotScreenedReason,
    Opinion,
    Origin,
    Pass,
    Refer,
    ReferReason,
)
from coverguard.policy import BLOCKED_ON_REFER, effects

# Letters: C cleared, W withheld, b block, v vault, i case item, r retried, a alarm. "-" is nothing at all.
UPLOAD = {
    # decision                gate   gate, grace over   watch   watch, grace over
    "pass": ("C", "C", "C", "C"),
    "pass low information": ("C", "C", "C", "C"),
    "refer child_abuse": ("Wi", "Wi", "Wbi", "Wbi"),
    "refer intimate_image": ("Wi", "Wi", "Wbi", "Wbi"),
    "refer terrorism": ("Wi", "Wi", "i", "i"),
    "refer other": ("Wi", "Wi", "i", "i"),
    "refer terrorism and child_abuse": ("Wi", "Wi", "Wbi", "Wbi"),
    "hold child_abuse": ("Wbvi", "Wbvi", "Wbvi", "Wbvi"),
    "hold other": ("Wbvi", "Wbvi", "Wbvi", "Wbvi"),
    "not_screened unreadable_content": ("Wa", "Wa", "Wba", "Wba"),
    "not_screened object_missing": ("Wra", "Wra", "r", "Wbra"),
    "not_screened store_unreachable": ("Wra", "Wra", "r", "Wbra"),
    "not_screened decoder_unavailable": ("Wra", "Wra", "r", "Wbra"),
    "not_screened lists_stale": ("Wra", "Wra", "r", "Wbra"),
    "not_screened no_answer": ("Wra", "Wra", "r", "Wbra"),
}
# Sweeps and reports look at what is public already, so that the mode of the surface no longer matters.
AGAIN = {
    "pass": "-",
    "pass low information": "-",
    "refer child_abuse": "Wbi",
    "refer intimate_image": "Wbi",
    "refer terrorism": "i",
    "refer other": "i",
    "refer terrorism and child_abuse": "Wbi",
    "hold child_abuse": "Wbvi",
    "hold other": "Wbvi",
    "not_screened unreadable_content": "a",
    "not_screened object_missing": "a",
    "not_screened store_unreachable": "a",
    "not_screened decoder_unavailable": "a",
    "not_screened lists_stale": "a",
    "not_screened no_answer": "a",
}
CELLS = [
    *(
        (decision, mode, Origin.UPLOAD, over, row[2 * (mode is Mode.WATCH) + over])
        for decision, row in UPLOAD.items()
        for mode in Mode
        for over in (False, True)
    ),
    *(
        (decision, mode, origin, over, cell)
        for decision, cell in AGAIN.items()
        for mode in Mode
        for origin in (Origin.SWEEP, Origin.REPORT)
        for over in (False, True)
    ),
]


def match(category):
    return Match(
        entry_id=1, list_id=1, rule_version=1, category=Category(category), opinion=Opinion.POSITIVE,
        algorithm=Algorithm.PDQ, view="displayed", orientation="upright", distance=3, quality=90,
        action=ListAction.REFER,
    )  # fmt: skip


def decision_of(text):
    kind, _, rest = text.partition(" ")
    match kind:
        case "pass":
            return Pass(low_information=bool(rest))
        case "refer":
            found = tuple(match(word) for word in rest.split(" and "))
            return Refer(reason=ReferReason.LIST_REFERS, matches=found)
        case "hold":
            return Hold(matches=(match(rest),))
        case "not_screened":
            return NotScreened(reason=NotScreenedReason(rest))


def letters(found):
    told = {None: "", "cover.cleared": "C", "cover.withheld": "W"}[found.event]
    flags = (
        ("b", found.block),
        ("v", found.vault),
        ("i", found.case),
        ("r", found.retry),
        ("a", found.alarm),
    )
    return told + "".join(letter for letter, on in flags if on) or "-"


@pytest.mark.parametrize(("decision", "mode", "origin", "over", "cell"), CELLS)
def test_a_cell_of_the_table(decision, mode, origin, over, cell):
    assert letters(effects(decision_of(decision), mode=mode, origin=origin, grace_over=over)) == cell


def test_the_table_above_has_every_cell():
    assert len(CELLS) == len(UPLOAD) * len(Mode) * len(Origin) * 2
    assert set(UPLOAD) == set(AGAIN)
    assert {f"not_screened {reason.value}" for reason in NotScreenedReason} <= set(UPLOAD)
    assert {f"refer {category.value}" for category in Category} <= set(UPLOAD)


def test_the_categories_that_are_blocked_before_a_person_looked():
    assert frozenset({Category.CHILD_ABUSE, Category.INTIMATE_IMAGE}) == BLOCKED_ON_REFER


@pytest.mark.parametrize(("mode", "origin", "over"), list(itertools.product(Mode, Origin, (False, True))))
def test_a_vault_copy_is_never_made_of_what_is_not_blocked(mode, origin, over):
    for text in UPLOAD:
        found = effects(decision_of(text), mode=mode, origin=origin, grace_over=over)
        assert found.block or not found.vault
        assert found.event == "cover.withheld" or not found.block
