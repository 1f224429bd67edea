"""Clocks: which obligations warn before they run out, when, and how much of their time is over. Pure.

A warning rings once for each mark that a clock passes: a ticket at half, a ticket at three quarters, a page
at nine tenths of its time. Who slept through several is told of the last alone. What is past its time is not
warned of: it rings as overdue. Dates at which something may end, or is looked at again, warn of nothing, nor
does a clock for which somebody is paged as long as it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from coverguard.model import Micros

HALF, THREE_QUARTERS, NEARLY, WHOLE = 50, 75, 90, 100  # percent of the time from owing to the deadline
WARNINGS: Final[Mapping[int, str]] = {
    HALF: "clock_half_over",
    THREE_QUARTERS: "clock_three_quarters_over",
    NEARLY: "clock_nearly_over",
}
MARKS: Final = (*WARNINGS, WHOLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What is owed, and whether its clock warns before it has run out."""

    meaning: str
    warns: bool


DUTIES: Final[Mapping[str, Duty]] = {
    "review": Duty(meaning="a person decides an item", warns=True),
    "authority_report": Duty(meaning="an authority is told of a confirmed item", warns=True),
    "account_takedown": Duty(meaning="nothing of the account is public", warns=True),
    "report_review": Duty(meaning="people decide on all that a report names", warns=True),
    "removal_48h": Duty(meaning="an intimate image and its copies are removed", warns=True),
    "notice_24h": Duty(meaning="what an authority or a hotline demands is removed", warns=True),
    # A supervisor is paged when it begins, and again each hour until it ends: `report_overdue_repeated`.
    "repeat_review": Duty(meaning="a supervisor looks at what was reported again", warns=False),
    # A date from which evidence need not be kept, a year away: nothing is late before it, and nobody can do
    # anything earlier.
    "preservation_end": Duty(meaning="evidence has been kept as long as it must be", warns=False),
    # Months for a look that takes minutes and in which nothing is public that people have not judged.
    "suppression_review": Duty(meaning="a silenced false positive is looked at again", warns=False),
}
WARNING: Final = frozenset(kind for kind, duty in DUTIES.items() if duty.warns)


def percent(*, opened_at: Micros, due_at: Micros, now: Micros) -> int:
    """How much of the time is over, in whole percent; 0 before it began, 100 and more from the deadline on.

    What is due at once has all of its time behind it.
    """
    span = due_at - opened_at
    if span <= 0:
        return WHOLE
    return max(0, (now - opened_at) * 100 // span)


def passed(share: int) -> int:
    """The last mark that a clock with so many percent behind it has passed; 0 where it has passed none."""
    return max((mark for mark in MARKS if share >= mark), default=0)


def subject(kind: str, ref: str) -> str:
    """What a warning is about: the clock's kind, and the item, takedown or report."""
    return f"{kind}:{ref}"
