"""What reporters are told by machine says what they named and nothing that is not theirs to know."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from coverguard.algorithms import BUILT_IN
from coverguard.correspondence import NamedCover, ReportAddition, ReportDetails
from coverguard.model import (
    Category,
    ListAction,
    ReporterKind,
    Surface,
    TakedownCause,
    TargetEffect,
)
from coverguard.policy.reporting import Ground
from coverguard.reporting import texts
from coverguard.reporting.texts import Outcome

LEAKS = re.compile(
    r"hash|digest|fingerprint|distance|radius|quality|\blists?\b|\bmatch|entr(y|ies)\b|index|"
    r"sweep|screen|hotline|flagger|reporter|somebody else (has )?reported|another report|other reports?|"
    r"\bcases?\b|moderator|suspect|termina|network|cap\b|budget|[0-9a-f]{20}",
    re.IGNORECASE,
)
WORDS_OF_OURS = {
    *BUILT_IN, *ListAction, *ReporterKind, *(one.replace("_", " ") for one in TakedownCause),
    *Ground, *(set(TargetEffect) - {"hidden", "none"}),
}  # fmt: skip
ALL = {
    "received": texts.received("report-0123456789abcdef", target=timedelta(hours=4)),
    "hidden": texts.HIDDEN,
    "status": texts.STATUS_DECIDED,
    **{
        f"{word.value} {machine}": texts.outcome(word, hidden_by_machine=machine)
        for word in Outcome
        for machine in (True, False)
    },
    "follows on": texts.told(
        ReportDetails(category=Category.OTHER, earlier_reference="report-0123456789abcdef")
    ),
    **{f"as {category.value}": texts.told(ReportDetails(category=category)) for category in Category},
}


@pytest.mark.parametrize("name", ALL)
def test_nothing_leaks(name):
    text = ALL[name].replace("report-0123456789abcdef", "")
    assert not LEAKS.search(text)
    said = set(re.findall(r"[a-z_]+", text.lower()))
    assert not {word for word in WORDS_OF_OURS if word in said} - {"report", "person", "support"}


@pytest.mark.parametrize("word", Outcome)
def test_an_outcome_names_decision_automation_and_redress(word):
    by_people, with_machine = (texts.outcome(word, hidden_by_machine=one) for one in (False, True))
    assert by_people.startswith("Status: decided.")
    assert "by people" in by_people
    assert "automatically" not in by_people
    assert "automatically" in with_machine
    for text in (by_people, with_machine):
        assert "complain" in text
        assert "somebody else will decide" in text


def test_a_report_is_read_as_it_was_told():
    told = ReportDetails(
        category=Category.CHILD_ABUSE,
        covers=[
            NamedCover(id="c 1", surface=Surface.TRACK_ART, version=3),
            NamedCover(id="c2", surface=Surface.PROFILE_IMAGE),
        ],
        playlist_ids=["p1"],
        account_ids=["u1"],
        text="He asks for more.",
        police_reference="CR/7",
        earlier_reference="report-fedcba9876543210",
        contact="parent@example.org",
    )
    shown = texts.told(told).splitlines()
    assert shown[0] == "Reported as: sexual abuse or exploitation of a child"
    assert shown[1:] == [
        "Named: track picture c 1, version 3",
        "Named: profile picture c2",
        "Named: playlist p1",
        "Named: account u1, with everything it shows",
        "Follows on: report-fedcba9876543210",
        "Police reference: CR/7",
        "",
        "He asks for more.",
    ]
    assert texts.added(ReportAddition(text="more", police_reference="x")) == "Police reference: x\nmore"
    assert texts.added(ReportAddition()) == ""


def test_times_are_said_in_hours():
    assert "within 4 hours" in texts.received("r", target=timedelta(hours=4))
    assert "within 1 hours" not in texts.received("r", target=timedelta(hours=24))
