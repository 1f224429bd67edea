"""Every kind of alarm there is: how soon somebody must know, and what it means; and who is told when.

A kind that is not here cannot ring. One open alarm a (kind, subject) is a row of the ledger; what a person is
told is grouped by kind, since a store that is down for a minute rings for every cover. Runbooks are
`docs/runbooks/<kind>.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from typing import Final, Protocol

from coverguard.model import Micros, Severity, between
from coverguard.ports import Page, PageState

PAGE, TICKET = Severity.PAGE, Severity.TICKET

AGAIN: Final[Mapping[Severity, timedelta]] = {PAGE: timedelta(hours=1), TICKET: timedelta(hours=24)}
TOGETHER: Final = timedelta(minutes=5)  # what rings so soon after its kind was told is told with the next
SHOWN: Final = 5  # subjects a page names


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmKind:
    severity: Severity
    meaning: str
    subject: str  # what its subjects are: cover, item, report, clock, list, queue, part
    patience: timedelta = timedelta()  # how long it has to ring before anybody is told


def _kind(severity: Severity, subject: str, *, meaning: str, patience: timedelta = timedelta()) -> AlarmKind:
    return AlarmKind(severity=severity, meaning=meaning, subject=subject, patience=patience)


SOON: Final = timedelta(minutes=1)

ALARMS: Final[Mapping[str, AlarmKind]] = {
    "not_screened": _kind(TICKET, "cover", meaning="A cover is withheld because it could not be screened."),
    "held_not_verified_gone": _kind(
        PAGE, "cover", meaning="A blocked cover was not seen to be unreachable.", patience=SOON
    ),
    "unsettled": _kind(
        PAGE, "cover", meaning="A block, hold or release could not be finished.", patience=SOON
    ),
    "hold_budget_spent": _kind(
        PAGE, "list", meaning="More near matches in an hour than expected: consequences have stopped."
    ),
    "dead_letters": _kind(
        PAGE, "queue", meaning="Messages that nobody will handle; a cover among them may be public."
    ),
    "overdue_review": _kind(TICKET, "item", meaning="Nobody has decided an item in time."),
    "overdue_authority_report": _kind(PAGE, "item", meaning="A report to an authority is due."),
    "overdue_account_takedown": _kind(
        PAGE, "item", meaning="An account with confirmed child abuse imagery is not taken down."
    ),
    "takedown_stuck": _kind(
        PAGE, "takedown", meaning="An account is not verified dark, or not lifted, in time."
    ),
    "takedown_reopened": _kind(
        PAGE, "takedown", meaning="Something of an account that was verified dark has appeared again."
    ),
    "hidden_by_support": _kind(
        PAGE, "takedown", meaning="Support has hidden a whole account, and nobody has decided on it yet."
    ),
    "overdue_preservation_end": _kind(TICKET, "item", meaning="The time to preserve evidence is over."),
    "overdue_suppression_review": _kind(
        TICKET, "item", meaning="A silenced false positive is to be looked at again."
    ),
    "report_hides_capped": _kind(
        PAGE, "part", meaning="Reports name more than may be hidden by machine: covers wait for a person."
    ),
    "report_reach": _kind(
        PAGE, "report", meaning="A report calls for hiding an account that reaches far: a person decides."
    ),
    "report_overdue_repeated": _kind(
        PAGE, "report", meaning="It was reported again after the time in which we had to look."
    ),
    "overdue_report_review": _kind(PAGE, "report", meaning="Nobody has decided on a report in time."),
    # `report_overdue_repeated` has paged for it since the repeat, and goes on: one thing, one page.
    "overdue_repeat_review": _kind(
        TICKET, "report", meaning="It was reported again, and no supervisor has looked at it in time."
    ),
    "overdue_removal_48h": _kind(
        PAGE, "report", meaning="An intimate image was reported two days ago, and nobody said it is removed."
    ),
    "overdue_notice_24h": _kind(
        PAGE, "report", meaning="An authority or hotline demanded a removal a day ago, and it is not done."
    ),
    "clock_half_over": _kind(TICKET, "clock", meaning="Half of the time for something we owe is over."),
    "clock_three_quarters_over": _kind(
        TICKET, "clock", meaning="Three quarters of the time for something we owe are over."
    ),
    "clock_nearly_over": _kind(
        PAGE, "clock", meaning="Nine tenths of the time for something we owe are over, and it is not done."
    ),
    "queue_unserved": _kind(PAGE, "queue", meaning="Messages wait and no worker takes them."),
    "queue_unreachable": _kind(PAGE, "queue", meaning="A queue does not answer the keeper."),
    "store_unreachable": _kind(PAGE, "part", meaning="The object store does not answer the keeper."),
    "lists_unreadable": _kind(
        PAGE, "part", meaning="The hash lists cannot be opened: nothing is screened until they can."
    ),
    "list_stale": _kind(
        PAGE, "list", meaning="A list has not said for too long what its source says; covers may be withheld."
    ),
    "list_review_due": _kind(TICKET, "list", meaning="Nobody has looked at a list's rule for too long."),
    "list_not_attested": _kind(
        TICKET, "list", meaning="A list matches, and nobody has said who vouches for it."
    ),
    "list_records_unreadable": _kind(
        TICKET, "list", meaning="A source sends records that cannot be read: something listed may be missing."
    ),
    "exchange_failing": _kind(
        PAGE, "exchange", meaning="An exchange of hashes does not answer as it should: its list is not kept."
    ),
    "disk_nearly_full": _kind(PAGE, "part", meaning="The home's file system is nearly full."),
    "clock_jumped": _kind(
        PAGE, "part", meaning="The ledger has rows from the future: a clock was set back, or was ahead."
    ),
    "event_not_sent": _kind(
        PAGE, "queue", meaning="An event is owed and not sent: the platform may not know a verdict."
    ),
    "audit_heads_behind": _kind(
        TICKET, "part", meaning="The audit trail is not sealed or not locked away: it could be rewritten."
    ),
    "pages_not_delivered": _kind(PAGE, "part", meaning="Alarms ring that nobody could be told of."),
}


class Ringing(Protocol):
    """An alarm's row, as far as it matters here."""

    id: int
    kind: str
    subject: str
    raised_at: Micros
    closed_at: Micros | None
    paged_at: Micros | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A page, and the alarms that are told by it."""

    page: Page
    alarm_ids: Sequence[int]


def due_pages(rows: Sequence[Ringing], *, now: Micros) -> Sequence[Told]:
    """Say what people are to be told now of these alarms: open ones, and ended ones still untold. Pure.

    An alarm that ended before anybody was told of it is not worth a page.
    """
    told: list[Told] = []
    for kind, alarms in groupby(sorted(rows, key=attrgetter("kind", "raised_at", "id")), attrgetter("kind")):
        known = ALARMS.get(kind)
        if known is not None:  # else a later release's, whose keeper tells of it
            told += _of_one_kind(known, kind, rows=list(alarms), now=now)
    return told


def _of_one_kind(known: AlarmKind, kind: str, *, rows: Sequence[Ringing], now: Micros) -> Sequence[Told]:
    ringing = [row for row in rows if row.closed_at is None]
    spoken = [row.paged_at for row in ringing if row.paged_at is not None]
    new = [row for row in ringing if row.paged_at is None and between(row.raised_at, now) >= known.patience]
    if spoken and between(max(spoken), now) < TOGETHER:
        new = []
    still = [
        row
        for row in ringing
        if row.paged_at is not None and between(row.paged_at, now) >= AGAIN[known.severity]
    ]
    ended = [row for row in rows if row.closed_at is not None and row.paged_at is not None]
    groups = ((new, PageState.RINGING), (still, PageState.STILL), (ended, PageState.ENDED))
    return [
        Told(
            page=_page(known, kind, rows=group, state=state),
            alarm_ids=[row.id for row in group],
        )
        for group, state in groups
        if group
    ]


def _page(known: AlarmKind, kind: str, *, rows: Sequence[Ringing], state: PageState) -> Page:
    oldest = rows[0]
    since = oldest.paged_at if state is PageState.STILL else oldest.raised_at
    return Page(
        key=f"{kind}:{oldest.subject}:{oldest.raised_at}:{state.value}:{since}",
        kind=kind,
        severity=known.severity,
        state=state,
        meaning=known.meaning,
        subjects=[row.subject for row in rows[:SHOWN]],
        count=len(rows),
        raised_at=oldest.raised_at,
    )
