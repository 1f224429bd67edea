"""What reporters are told by machine: every sentence, in one place, so that a test can look for leaks.

None of them says who else reported, what was compared with what, why a machine did something, or anything of
the person who was reported. They name what the reporter named, what happens, by when, and what can be done
about it. Plain words: whoever reads this may be a child, or afraid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Final

from coverguard.correspondence import NamedCover, ReportAddition, ReportDetails
from coverguard.model import Category, Surface

HOUR: Final = timedelta(hours=1)


class Outcome(StrEnum):
    """What people decided on what a report named."""

    REMOVED = "removed"
    KEPT = "kept"
    BOTH = "both"  # some of it removed, some not
    NOT_FOUND = "not_found"  # there was nothing of that name
    CLOSED = "closed"  # a person closed it without a picture to decide on


CATEGORIES: Final[Mapping[Category, str]] = {
    Category.CHILD_ABUSE: "sexual abuse or exploitation of a child",
    Category.INTIMATE_IMAGE: "intimate image shared without consent",
    Category.TERRORISM: "terrorism or violent extremism",
    Category.OTHER: "something else",
}
SURFACES: Final[Mapping[Surface, str]] = {
    Surface.PLAYLIST_COVER: "playlist cover",
    Surface.PROFILE_IMAGE: "profile picture",
    Surface.TRACK_ART: "track picture",
}

RECEIVED: Final = (
    "We have received your report. Its reference is {reference}. You need not report the same again. A person"
    " looks at everything that you named within {hours} hours. You can add to this report at any time, and"
    " you can always read here what has become of it."
)
URGENT: Final = (
    " If somebody is in danger now, call your local emergency number. Please do not send us any pictures, and"
    " do not share them with anybody."
)
HIDDEN: Final = (
    "Status: hidden. What you named, or a part of it, can no longer be seen by the public. It stays hidden"
    " until a person has decided."
)
DECIDED: Final[Mapping[Outcome, str]] = {
    Outcome.REMOVED: "Status: decided. What you named has been removed.",
    Outcome.KEPT: (
        "Status: decided. A person has looked at what you named and found that it does not break the rules"
        " that you reported it for. It has not been removed."
    ),
    Outcome.BOTH: (
        "Status: decided. A part of what you named has been removed. The rest was found not to break the"
        " rules that you reported it for."
    ),
    Outcome.NOT_FOUND: "Status: decided. We have found nothing under the name that you gave us.",
    Outcome.CLOSED: "Status: decided. A person has dealt with what you told us.",
}
BY_PEOPLE: Final = " The decision was made by people."
FIRST_BY_MACHINE: Final = " It was hidden automatically at first; the decision was made by people."
REDRESS: Final = (
    " If you think that this is wrong, answer here and ask for another look: somebody else will decide then."
    " You can also complain to the supervisory authority of your country, or go to court."
)
STATUS_DECIDED: Final = "Status: decided."


def received(reference: str, *, target: timedelta) -> str:
    return RECEIVED.format(reference=reference, hours=max(1, target // HOUR)) + URGENT


def outcome(word: Outcome, *, hidden_by_machine: bool) -> str:
    """The decision, whether automation had a part in it, and what can be done about it."""
    how = FIRST_BY_MACHINE if hidden_by_machine else BY_PEOPLE
    return DECIDED[word] + how + REDRESS


def told(details: ReportDetails) -> str:
    """A report as its reporter reads it again: what they named and said, and nothing else."""
    lines = [f"Reported as: {CATEGORIES[details.category]}", *_named(details)]
    if details.earlier_reference:
        lines.append(f"Follows on: {details.earlier_reference}")
    if details.police_reference:
        lines.append(f"Police reference: {details.police_reference}")
    if details.text:
        lines += ["", details.text]
    return "\n".join(lines)


def added(addition: ReportAddition) -> str:
    lines = [f"Police reference: {addition.police_reference}"] if addition.police_reference else []
    return "\n".join([*lines, addition.text]) if addition.text else "\n".join(lines)


def _named(details: ReportDetails) -> Sequence[str]:
    return [
        *(_cover(one) for one in details.covers),
        *(f"Named: playlist {one}" for one in details.playlist_ids),
        *(f"Named: account {one}, with everything it shows" for one in details.account_ids),
    ]


def _cover(named: NamedCover) -> str:
    version = f", version {named.version}" if named.version is not None else ""
    return f"Named: {SURFACES[named.surface]} {named.id}{version}"
