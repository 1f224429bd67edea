"""Which clocks warn, when, and how much of their time is over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard.model import Micros, Severity
from coverguard.policy.alarms import ALARMS
from coverguard.policy.clocks import DUTIES, MARKS, WARNING, WARNINGS, passed, percent
from coverguard.store.schema.owed import OBLIGATIONS

HOUR = 3_600_000_000
moments = st.integers(0, 2**52)


def test_every_kind_of_obligation_is_a_duty_with_an_alarm():
    assert set(DUTIES) == set(OBLIGATIONS)
    assert {f"overdue_{kind}" for kind in OBLIGATIONS} == {kind for kind in ALARMS if kind[:8] == "overdue_"}


def test_dates_warn_of_nothing_and_duties_do():
    silent = set(DUTIES) - WARNING
    assert silent == {"preservation_end", "suppression_review", "repeat_review"}
    assert ALARMS["report_overdue_repeated"].severity is Severity.PAGE, (
        "rings as long as `repeat_review` runs"
    )
    assert ALARMS["overdue_repeat_review"].severity is Severity.TICKET


def test_the_last_warning_wakes_somebody():
    assert {kind: ALARMS[kind].severity for kind in WARNINGS.values()} == {
        "clock_half_over": Severity.TICKET,
        "clock_three_quarters_over": Severity.TICKET,
        "clock_nearly_over": Severity.PAGE,
    }


@pytest.mark.parametrize(
    ("hours", "share", "mark"),
    [
        (0, 0, 0),
        (23.99, 49, 0),
        (24, 50, 50),
        (35.99, 74, 50),
        (36, 75, 75),
        (43.19, 89, 75),
        (43.2, 90, 90),
        (47.99, 99, 90),
        (48, 100, 100),
        (96, 200, 100),
    ],
)
def test_the_marks_of_forty_eight_hours(hours, share, mark):
    """As the laws on intimate images ask: 24, 36 and 43.2 hours."""
    now = Micros(int(hours * HOUR))
    assert percent(opened_at=Micros(0), due_at=Micros(48 * HOUR), now=now) == share
    assert passed(share) == mark


def test_what_is_due_at_once_has_no_time_left():
    assert percent(opened_at=Micros(5), due_at=Micros(5), now=Micros(5)) == 100
    assert percent(opened_at=Micros(5), due_at=Micros(4), now=Micros(0)) == 100


@given(opened=moments, span=st.integers(1, 2**52), one=moments, other=moments)
def test_time_only_goes_on(opened, span, one, other):
    shares = [
        percent(opened_at=Micros(opened), due_at=Micros(opened + span), now=Micros(now))
        for now in sorted((one, other))
    ]
    assert 0 <= shares[0] <= shares[1]
    assert passed(shares[0]) <= passed(shares[1])


@given(opened=moments, span=st.integers(1, 2**52), mark=st.sampled_from(MARKS))
def test_a_mark_is_passed_at_its_share_of_the_time_and_not_before(opened, span, mark):
    def at(now):
        return passed(percent(opened_at=Micros(opened), due_at=Micros(opened + span), now=Micros(now)))

    first = opened - (-span * mark // 100)
    assert at(first) >= mark
    assert at(first - 1) < mark
