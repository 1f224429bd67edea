"""The words of the trade as frozen values. No third-party import, no I/O, no clock.

A *decision* is the machine's, a *verdict* a person's; the two never share a name. A digest is always part of
a `Signal` or a mapping keyed by algorithm, never a bare string, and no value here prints a digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NewType

from coverguard.algorithms import Algorithm as Algorithm  # noqa: PLC0414 - a word of the trade like the others

Micros = NewType("Micros", int)
"""UTC microseconds since 1970: time as both databases store it."""

_MICROSECOND = timedelta(microseconds=1)


def later(moment: Micros, span: timedelta) -> Micros:
    """The moment that is `span` after (or, negative, before) another."""
    return Micros(moment + span // _MICROSECOND)


def between(earlier: Micros, moment: Micros) -> timedelta:
    return (moment - earlier) * _MICROSECOND


FINGERPRINT_VERSION = 2
"""Raised whenever the same bytes could get another fingerprint; part of a screening's key."""


class Surface(StrEnum):
    PLAYLIST_COVER = "playlist_cover"
    PROFILE_IMAGE = "profile_image"
    TRACK_ART = "track_art"


class Mode(StrEnum):
    GATE = "gate"  # the platform publishes after screening; new objects lie in a private intake
    WATCH = "watch"  # the object is public while it is screened


class Origin(StrEnum):
    """What made us look."""

    UPLOAD = "upload"
    SWEEP = "sweep"
    REPORT = "report"


class Tier(StrEnum):
    """In which net a match was found."""

    ENFORCE = "enforce"  # the industry's own thresholds: may hold, where everything else allows it
    REVIEW = "review"  # the wider net, and views of a removed picture's parts: a person looks


class Opinion(StrEnum):
    """What a source says of its own entry."""

    POSITIVE = "positive"
    SEED = "seed"  # worth a look, not vouched for
    NEGATIVE = "negative"  # the source says: not this
    DISPUTED = "disputed"  # of a match: the list has both words on this digest


class Category(StrEnum):
    CHILD_ABUSE = "child_abuse"
    INTIMATE_IMAGE = "intimate_image"
    TERRORISM = "terrorism"
    OTHER = "other"


class ListAction(StrEnum):
    """The most a list may do by itself. A new list starts as shadow."""

    SHADOW = "shadow"  # recorded, nothing else
    REFER = "refer"  # a person looks
    HOLD = "hold"  # blocked at once


class PartyRole(StrEnum):
    UPLOADER = "uploader"
    SUBJECT = "subject"
    VICTIM = "victim"
    REPORTER = "reporter"
    WITNESS = "witness"


class TakedownCause(StrEnum):
    """Why everything of an account goes dark. A takedown is lifted when none of its causes is left."""

    TERMINATION = "termination"  # the platform ended the account, for child safety or for a reason unknown
    VERDICT = "verdict"  # a person confirmed child abuse imagery
    REPORT = "report"  # the effects table said so for this reporter
    SUPPORT = "support"  # hidden until somebody looks
    PERSON = "person"  # somebody who may decided it


class ReporterKind(StrEnum):
    ANONYMOUS = "anonymous"  # anybody, with or without a name
    PLATFORM = "platform"  # sent by the platform's own report button, as a message
    SUPPORT = "support"
    TRUSTED_FLAGGER = "trusted_flagger"
    HOTLINE = "hotline"  # a signed request of a body that removes child abuse imagery


class TargetKind(StrEnum):
    COVER = "cover"
    PLAYLIST = "playlist"
    ACCOUNT = "account"


class TargetEffect(StrEnum):
    """What became of a named thing."""

    NONE = "none"  # not looked at yet
    HIDDEN = "hidden"
    CAPPED = "capped"  # not hidden by machine: a cap is spent, a person is told
    RESCREENED = "rescreened"
    UNKNOWN = "unknown"  # we have no such thing (yet)


class ThreadAuthor(StrEnum):
    REPORTER = "reporter"
    STAFF = "staff"
    AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """One version of one object. Never a URL."""

    bucket: str
    key: str
    version_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    algorithm: Algorithm
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One way of looking at the same bytes, hashed in one orientation.

    `signals["pdq"]` and `signals["phash256"]` are 32 bytes, most significant bit first; `quality` is PDQ's,
    0 to 100, and gates every perceptual signal of the view. A plug-in's signals stand there under its name.
    """

    name: str
    quality: int
    signals: Mapping[str, bytes] = field(repr=False)
    dihedral: tuple[bytes, ...] = field(default=(), repr=False)  # exact, where the pixels were at hand
    low_diversity: bool = False  # text, flags, flat shapes: many innocent pictures look alike to a hash

    def orientations(self) -> tuple[bytes, ...]:
        """The eight dihedral PDQs: as is, then turned and mirrored (see `DIHEDRAL`), 32 bytes each."""
        return self.dihedral or turned(self.signals["pdq"])


DIHEDRAL = (
    "upright",
    "mirrored",
    "flipped",
    "rotated180",
    "transposed",
    "rotated90",
    "rotated270",
    "transversed",
)


# A PDQ as a big-endian number is the 16 × 16 bits of a DCT: bit 16·r + c, counted from the least significant,
# says whether the coefficient of vertical frequency r + 1 and horizontal frequency c + 1 is above the median.


def _positions(row_bit: int, column_bit: int) -> int:
    """The bits whose row has `row_bit` clear and whose column has `column_bit` set, as a 256-bit number."""
    return sum(1 << 16 * r + c for r in range(16) for c in range(16) if not r & row_bit and c & column_bit)


_ODD_VERTICAL = sum(0xFFFF << 16 * row for row in range(0, 16, 2))  # frequencies 1, 3, 5 … are rows 0, 2, 4 …
_ODD_HORIZONTAL = sum(0x5555 << 16 * row for row in range(16))
_SWAPS = tuple((15 * width, _positions(width, width)) for width in (8, 4, 2, 1))


def _transposed(bits: int) -> int:
    """Swap the off-diagonal quarters, then those of each quarter, and so on: four steps for 16 × 16."""
    for shift, upper_right in _SWAPS:
        differing = (bits >> shift ^ bits) & upper_right
        bits ^= differing ^ differing << shift
    return bits


def turned(pdq: bytes) -> tuple[bytes, ...]:
    """Return the eight orientations of a PDQ, in the order of `DIHEDRAL`, computed from its bits alone.

    Mirroring a picture left to right negates the odd horizontal frequencies of its DCT, flipping it top to
    bottom the odd vertical ones, and transposing it transposes them; rotations are counter-clockwise, as in
    PDQ's reference. Bits compare with the median, which is near but not at zero, so a result is a few bits
    from the PDQ that the reference gives for that orientation: on 236 generated pictures of quality 50 and
    more the worst of the eight is 10 bits off in the median, 16 in nine of ten, 42 at most. Upright and
    transposed are exact.
    """
    upright = int.from_bytes(pdq, "big")
    across = _transposed(upright)
    both = _ODD_VERTICAL ^ _ODD_HORIZONTAL
    values = (
        upright,
        upright ^ _ODD_HORIZONTAL,
        upright ^ _ODD_VERTICAL,
        upright ^ both,
        across,
        across ^ _ODD_VERTICAL,
        across ^ _ODD_HORIZONTAL,
        across ^ both,
    )
    return tuple(value.to_bytes(32, "big") for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Everything matching needs to know of some bytes.

    `digests` maps `md5`, `sha1`, `sha256` to those of the bytes as given; `views` starts with the picture as
    displayed.
    """

    digests: Mapping[str, bytes] = field(repr=False)
    views: tuple[View, ...]
    format: str
    width: int
    height: int
    version: int = FINGERPRINT_VERSION
    truncated: bool = False  # cut off or broken: looked at as far as browsers show it
    parts: tuple[View, ...] = ()  # crops, where they were asked for: for our own lists, never looked up


BYTES_VIEW = "bytes"
"""The view of an exact digest: the bytes as given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The nearest a fingerprint came to an entry by one algorithm, before any rule."""

    entry_id: int
    algorithm: Algorithm
    view: str  # name of the view, "bytes" for a digest
    orientation: str  # one of DIHEDRAL
    distance: int  # in the algorithm's own measure, bits for most; 0 for a digest
    quality: int  # of the view; 100 for a digest
    complement: bool = False  # of the picture's negative
    low_diversity: bool = False  # the view is


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An entry within its list's radius of a signal: evidence, not a verdict."""

    entry_id: int
    list_id: int
    rule_version: int
    category: Category
    opinion: Opinion
    algorithm: Algorithm
    view: str  # name of the view, "bytes" for a digest of the uploaded bytes
    orientation: str  # one of DIHEDRAL
    distance: int  # in the algorithm's own measure, bits for most; 0 for a digest
    quality: int  # of the view; 100 for a digest
    action: ListAction  # the most this match may do, after rule, entry cap, opinion, tier and diversity
    tier: Tier = Tier.ENFORCE
    complement: bool = False  # of the picture's negative
    low_diversity: bool = False  # for nothing but this it refers instead of holding
    suppressed: bool = False  # a known false positive: this entry for these bytes

    @property
    def exact(self) -> bool:
        return not self.algorithm.perceptual


# ── the machine's decision ─────────────────────────────────────────────────────────────────────────────────


class ReferReason(StrEnum):
    LIST_REFERS = "list_refers"  # every match is on a list or entry that may only refer
    SECOND_OPINION_ONLY = "second_opinion_only"  # pHash alone matched
    SEED_ONLY = "seed_only"  # the source itself does not vouch for the entry
    DISPUTED = "disputed"  # the list itself has both words on what matched
    LOW_DIVERSITY = "low_diversity"  # text, a flag, a flat shape: too many look alike to a hash
    REVIEW_TIER_ONLY = "review_tier_only"  # found by the wider net alone


class NotScreenedReason(StrEnum):
    """Why there is no answer. `transient` ones are worth a retry with the same software."""

    UNREADABLE_CONTENT = "unreadable_content"  # ContentRejected: the detail column names the limit
    OBJECT_MISSING = "object_missing"
    STORE_UNREACHABLE = "store_unreachable"
    DECODER_UNAVAILABLE = "decoder_unavailable"  # nobody decodes for us, or was killed at it: not its fault
    LISTS_STALE = "lists_stale"  # a list that must be fresh for a pass is not
    NO_ANSWER = "no_answer"  # announced, then silence: the worker died on it, or the message was lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    low_information: bool = False  # below the quality gate: only exact digests could have matched


@dataclass(frozen=True, slots=True, kw_only=True)
class Refer:
    reason: ReferReason
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotScreened:
    reason: NotScreenedReason
    detail: str = ""  # a `RejectReason`, or empty

    @property
    def curable(self) -> bool:
        """Whether the same software may get an answer later."""
        return self.reason is not NotScreenedReason.UNREADABLE_CONTENT


Decision = Pass | Refer | Hold | NotScreened


# ── a message's outcome ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    note: str = ""  # for the canonical log line; a fixed word


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    after: timedelta
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    reason: str  # a sentence that names the field and the fault, never a value


Outcome = Done | Retry | Reject


# ── alarms ─────────────────────────────────────────────────────────────────────────────────────────────────


class Severity(StrEnum):
    """How soon a person must know of an alarm."""

    PAGE = "page"  # now, at night too
    TICKET = "ticket"  # in working hours


# ── people ─────────────────────────────────────────────────────────────────────────────────────────────────


class VerdictKind(StrEnum):
    PROPOSAL = "proposal"  # the first of two people
    DECISION = "decision"  # one person where one suffices
    SECOND = "second"  # the second of two people; names the proposal
    APPEAL = "appeal"  # reopens; never by who decided


class VerdictOutcome(StrEnum):
    CONFIRM = "confirm"
    CLEAR = "clear"
    UNSURE = "unsure"
    REOPEN = "reopen"


class Basis(StrEnum):
    """What the person had in front of them."""

    VIEWED = "viewed"
    MATCH_RECORD = "match_record"
    PRIOR_VERDICT = "prior_verdict"


class Channel(StrEnum):
    CLI = "cli"
    CONSOLE = "console"
    API = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A person or a component; never empty, never anonymous."""

    name: str
    roles: frozenset[str]
    channel: Channel

    @property
    def role(self) -> str:
        """All roles as one short text, for rows that say in what role somebody acted."""
        return ",".join(sorted(self.roles))[:32]

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("an actor has a name")


Matches = Sequence[Match]
