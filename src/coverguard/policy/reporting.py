"""The effects of a report on what it names and on the whole account. One table, every cell tested.

| reporter                       | what it names           | the rest of the account                     |
|--------------------------------|-------------------------|---------------------------------------------|
| anybody, the platform's button | hidden, within the caps | looked at again; hidden only on a ground    |
| trusted flagger, hotline       | hidden                  | hidden; above the reach a person is asked   |
| support                        | hidden                  | hidden                                      |

That is for child abuse. Intimate images: what is named is hidden in the same way; of the rest, support alone
hides. Other categories hide nothing by machine. What a person has cleared is hidden again only for who has a
key; for others a person looks once more, and it stays as it is meanwhile.

Grounds on which anybody's report hides a whole account: the platform terminated it for child safety, a person
confirmed one of its covers, one of its covers matches a list, or two independent reporters agree. All who are
anonymous count as one reporter: networks are as many as somebody wants, so that they show no independence.
Above the reach threshold a machine's ground is not enough, and a person is paged first.

Pure: knows no clock and no store. Every hide it calls for is a block, without vault copy and without strike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from coverguard.model import Category, ReporterKind, TargetEffect

DAY: Final = timedelta(days=1)
HIDING: Final = frozenset({Category.CHILD_ABUSE, Category.INTIMATE_IMAGE})
KEYED: Final = frozenset({ReporterKind.SUPPORT, ReporterKind.TRUSTED_FLAGGER, ReporterKind.HOTLINE})
ENOUGH_REPORTERS: Final = 2

URGENT: Final = 50
REPEATED: Final = 1
_BY_SOURCE: Final = {
    ReporterKind.HOTLINE: 9,
    ReporterKind.TRUSTED_FLAGGER: 6,
    ReporterKind.SUPPORT: 6,
    ReporterKind.PLATFORM: 1,
    ReporterKind.ANONYMOUS: 1,
}
_BY_CATEGORY: Final = {
    Category.CHILD_ABUSE: 40,
    Category.INTIMATE_IMAGE: 30,
    Category.TERRORISM: 20,
    Category.OTHER: 0,
}


class Whole(StrEnum):
    """What becomes of everything else that the account has."""

    HIDE = "hide"
    ASK = "ask"  # a person is paged, and decides
    RESCREEN = "rescreen"


class Ground(StrEnum):
    """Why a whole account goes dark on a report. For people of ours alone, never for a reporter."""

    SUPPORT = "support"
    TERMINATED = "terminated"
    CONFIRMED = "confirmed"
    HOTLINE = "hotline"
    TRUSTED_FLAGGER = "trusted_flagger"
    MATCHED = "matched"
    AGREED = "agreed"


DECIDED_BY_PEOPLE: Final = frozenset({Ground.SUPPORT, Ground.TERMINATED, Ground.CONFIRMED})
"""Grounds that need not ask anybody first, however far the account reaches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of the account that a report is about."""

    terminated: bool = False  # by the platform, for child safety
    confirmed: bool = False  # a person confirmed one of its covers
    matched: bool = False  # one of its covers matches a list, and nobody has cleared it
    reporters: int = 1  # who named it in open reports, as far as they are independent; this one included
    links: int = 0  # playlists that show its covers, and accounts that share those
    covers: int = 0  # public covers


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCaps:
    """How much reports may hide by machine, and how far an account may reach for that."""

    network: int = 20  # covers an hour, for one network
    everywhere: int = 500  # covers an hour
    links: int = 50
    covers: int = 200

    def above_reach(self, standing: Standing) -> bool:
        return standing.links >= self.links or standing.covers >= self.covers


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRules:
    """The times and limits of reports, as settings give them."""

    review_target: timedelta = DAY
    urgent_target: timedelta = timedelta(hours=4)
    removal_target: timedelta = 2 * DAY  # of an intimate image
    notice_target: timedelta = DAY  # of who demands a removal
    contact_retention: timedelta = 180 * DAY
    network_retention: timedelta = 7 * DAY
    relist: timedelta = timedelta(minutes=15)
    caps: ReportCaps = field(default_factory=ReportCaps)

    def target(self, *, urgent: bool) -> timedelta:
        """Within what time a person has to look."""
        return self.urgent_target if urgent else self.review_target


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportEffects:
    named: TargetEffect
    whole: Whole
    ground: Ground | None = None


def effects_of_report(
    source: ReporterKind,
    category: Category,
    *,
    standing: Standing,
    caps: ReportCaps,
    hides_left: int,
    cleared: bool = False,
) -> ReportEffects:
    """Look up what a report calls for, for one named cover and the account behind it.

    `hides_left` is what the caps leave to this reporter; `cleared` says that a person has cleared the cover.
    """
    ground = _ground(source, category, standing)
    whole = Whole.RESCREEN
    if ground is not None:
        asked = ground not in DECIDED_BY_PEOPLE and caps.above_reach(standing)
        whole = Whole.ASK if asked else Whole.HIDE
    named = _named(source, category, hides_left=hides_left, cleared=cleared)
    return ReportEffects(named=named, whole=whole, ground=ground)


def _named(source: ReporterKind, category: Category, *, hides_left: int, cleared: bool) -> TargetEffect:
    if category not in HIDING:
        return TargetEffect.RESCREENED
    if source in KEYED:
        return TargetEffect.HIDDEN
    if cleared:
        return TargetEffect.RESCREENED
    return TargetEffect.HIDDEN if hides_left > 0 else TargetEffect.CAPPED


def _ground(source: ReporterKind, category: Category, standing: Standing) -> Ground | None:
    if source is ReporterKind.SUPPORT and category in HIDING:
        return Ground.SUPPORT
    if category is not Category.CHILD_ABUSE:
        return None
    found = (
        (standing.terminated, Ground.TERMINATED),
        (standing.confirmed, Ground.CONFIRMED),
        (source is ReporterKind.HOTLINE, Ground.HOTLINE),
        (source is ReporterKind.TRUSTED_FLAGGER, Ground.TRUSTED_FLAGGER),
        (standing.matched, Ground.MATCHED),
        (standing.reporters >= ENOUGH_REPORTERS, Ground.AGREED),
    )
    return next((ground for holds, ground in found if holds), None)


def priority(source: ReporterKind, category: Category, *, urgent: bool) -> int:
    """How soon a person should look; higher is sooner. A repeat raises it by `REPEATED`."""
    return _BY_CATEGORY[category] + _BY_SOURCE[source] + (URGENT if urgent else 0)
