"""The messages that platforms send and receive: schema `coverguard.event/1`; the only home of pydantic.

`parse` turns a queue body into one frozen event or raises `BadMessage` naming the field and the fault, never
the value. Unknown fields are ignored (an additive change needs no new version); unknown types are refused.
Platform ids are opaque text of at most 200 bytes. `json_schemas` is what `docs/schemas/` is generated from.
This module does not know where messages come from or go to.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from coverguard.errors import BadMessage
from coverguard.model import Category, Micros, ObjectRef, ReporterKind, Surface

SCHEMA: Final = "coverguard.event/1"
MAX_BODY_BYTES: Final = 256 * 1024
MAX_ID_BYTES: Final = 200
MAX_PAGE_COVERS: Final = 500
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def _platform_id(value: str) -> str:
    if not value or len(value.encode()) > MAX_ID_BYTES or not value.isprintable():
        raise ValueError(f"must be 1 to {MAX_ID_BYTES} bytes of printable UTF-8")
    return value


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain NUL")
    return value


def _timestamp(value: object) -> object:
    if not isinstance(value, datetime | str) or (isinstance(value, str) and not _RFC3339.match(value)):
        raise ValueError("must be a date and time such as 2026-01-31T12:00:00Z")
    return value


Timestamp = Annotated[AwareDatetime, BeforeValidator(_timestamp), Field(strict=False)]
PlatformId = Annotated[str, AfterValidator(_platform_id), Field(min_length=1, max_length=MAX_ID_BYTES)]
Text = Annotated[str, Field(max_length=10_000)]
ReportRef = Annotated[str, Field(pattern=r"^report-[0-9a-f]{16}$")]
Octets32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # 32 bytes in hex
Sealed = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+=*$", max_length=240_000)]  # sealed bytes in Base64


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, hide_input_in_errors=True)


class Cover(_Frozen):
    """One cover version: the platform's id, its rising version, and where the picture is shown."""

    id: PlatformId
    version: Annotated[int, Field(ge=0, lt=2**63)]
    surface: Annotated[Surface, Field(strict=False)]


class StoredObject(_Frozen):
    """One version of one object in an allow-listed bucket. Never a URL."""

    bucket: Annotated[str, AfterValidator(_storable), Field(min_length=1, max_length=63)]
    key: Annotated[str, AfterValidator(_storable), Field(min_length=1, max_length=1024)]
    version_id: Annotated[str, AfterValidator(_storable), Field(min_length=1, max_length=1024)]

    def ref(self) -> ObjectRef:
        return ObjectRef(bucket=self.bucket, key=self.key, version_id=self.version_id)


class _Event(_Frozen):
    schema_: Annotated[Literal["coverguard.event/1"], Field(alias="schema")] = SCHEMA
    event_id: PlatformId
    occurred_at: Timestamp

    def occurred(self) -> Micros:
        return to_micros(self.occurred_at)


# ── in ─────────────────────────────────────────────────────────────────────────────────────────────────────


class CoverUploaded(_Event):
    type: Literal["cover.uploaded"] = "cover.uploaded"
    cover: Cover
    uploader_id: PlatformId
    owner_id: PlatformId
    playlist_id: PlatformId | None = None
    object: StoredObject
    renditions: Annotated[list[StoredObject], Field(max_length=100)] = []


class CoverDeleted(_Event):
    """A tombstone: held evidence stays, other fingerprints go after a grace."""

    type: Literal["cover.deleted"] = "cover.deleted"
    cover: Cover


class PlaylistEdited(_Event):
    """Titles of shared playlists have been used as chat; the timeline is kept, encrypted, for a set time."""

    type: Literal["playlist.edited"] = "playlist.edited"
    playlist_id: PlatformId
    editor_id: PlatformId
    field: Literal["title", "description", "track_title"]
    text: Text


class PlaylistDeleted(_Event):
    type: Literal["playlist.deleted"] = "playlist.deleted"
    playlist_id: PlatformId


class CollaboratorAdded(_Event):
    type: Literal["collaborator.added"] = "collaborator.added"
    playlist_id: PlatformId
    account_id: PlatformId


class CollaboratorRemoved(_Event):
    type: Literal["collaborator.removed"] = "collaborator.removed"
    playlist_id: PlatformId
    account_id: PlatformId


class AccountTerminated(_Event):
    type: Literal["account.terminated"] = "account.terminated"
    account_id: PlatformId
    reason: Literal["child_safety", "other_violation", "user_request", "unknown"]


class AccountReinstated(_Event):
    type: Literal["account.reinstated"] = "account.reinstated"
    account_id: PlatformId


class AccountRenamed(_Event):
    type: Literal["account.renamed"] = "account.renamed"
    account_id: PlatformId
    new_name: Annotated[str, Field(max_length=1000)]


class AccountTagged(_Event):
    """Somebody tagged an account, in a playlist say: a party by link, never guilty by link."""

    type: Literal["account.tagged"] = "account.tagged"
    account_id: PlatformId
    by_account_id: PlatformId
    playlist_id: PlatformId | None = None


class ContentReported(_Event):
    type: Literal["content.reported"] = "content.reported"
    report_id: PlatformId
    reporter_id: PlatformId | None = None  # of who pressed the button; never told to anybody
    account_id: PlatformId | None = None
    category: Annotated[Category, Field(strict=False)] = Category.CHILD_ABUSE
    urgent: bool = False  # a child is in danger, or it is happening now
    covers: Annotated[list[Cover], Field(max_length=100)] = []
    playlist_ids: Annotated[list[PlatformId], Field(max_length=100)] = []
    text: Text = ""
    earlier_reference: Annotated[str, Field(max_length=MAX_ID_BYTES)] = ""  # no reference of ours: left out


# ── reports, between coverguard's own processes ────────────────────────────────────────────────────────────


class ReportFiled(_Event):
    """A report through the web: `details` are sealed `correspondence.ReportDetails`.

    Any source but `anonymous` needs the reference of a live API key of that role. Without one, whoever may
    send to the queue could speak in a hotline's name: it is then taken as anybody's.
    """

    type: Literal["report.filed"] = "report.filed"
    reference: ReportRef
    source: Annotated[ReporterKind, Field(strict=False)] = ReporterKind.ANONYMOUS
    api_key: Annotated[str, Field(pattern=r"^[a-z]+-[0-9a-f]{16}$")] | None = None
    removal: bool = False  # a removal is demanded, and the demand was signed by the key's owner
    mailbox: Octets32 | None = None  # the reporter's X25519 public key
    network: Octets32 | None = None  # keyed digest
    details: Sealed

    def sealed(self) -> bytes:
        return _octets(self.details)


class ReportAdded(_Event):
    """An addition to a report: `addition` is a sealed `correspondence.ReportAddition`."""

    type: Literal["report.added"] = "report.added"
    reference: ReportRef
    mailbox: Octets32  # the same as of the report
    addition: Sealed

    def sealed(self) -> bytes:
        return _octets(self.addition)


class ReportRescreen(_Event):
    """A stretch of an account's covers to be looked at again; the ledger's own numbers, sent by workers."""

    type: Literal["report.rescreen"] = "report.rescreen"
    reference: ReportRef
    account: Annotated[int, Field(ge=1, lt=2**63)]
    after: Annotated[int, Field(ge=0, lt=2**63)] = 0  # cover versions up to this one are done


Incoming = (
    CoverUploaded | CoverDeleted | PlaylistEdited | PlaylistDeleted | CollaboratorAdded | CollaboratorRemoved
    | AccountTerminated | AccountReinstated | AccountRenamed | AccountTagged | ContentReported
    | ReportFiled | ReportAdded | ReportRescreen
)  # fmt: skip


# ── out ────────────────────────────────────────────────────────────────────────────────────────────────────


class _Verdict(_Event):
    """What the pipeline may do with exactly these bytes; a lower `verdict_seq` than one seen is ignored."""

    cover: Cover
    object: StoredObject
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]  # empty where the bytes could not be read
    verdict_seq: Annotated[int, Field(ge=1)]


class CoverCleared(_Verdict):
    """Screened, nothing found: publish exactly these bytes."""

    type: Literal["cover.cleared"] = "cover.cleared"


class CoverWithheld(_Verdict):
    """Do not show; the cause is not told."""

    type: Literal["cover.withheld"] = "cover.withheld"


class CoverReleased(_Verdict):
    """Withheld before, reachable again: publish exactly these bytes."""

    type: Literal["cover.released"] = "cover.released"


class CoverRemoved(_Verdict):
    """A person confirmed: take it away for good."""

    type: Literal["cover.removed"] = "cover.removed"


class MatchFound(_Event):
    """For the safety topic: no list name, digest or distance."""

    type: Literal["match.found"] = "match.found"
    case_ref: str
    cover: Cover
    category: str
    match_type: Literal["exact", "near"]
    decision: Literal["hold", "refer"]


class AccountFlagged(_Event):
    type: Literal["account.flagged"] = "account.flagged"
    case_ref: str
    account_id: PlatformId
    category: str


class TakedownVerified(_Event):
    type: Literal["account.takedown_verified"] = "account.takedown_verified"
    account_id: PlatformId
    objects: int


class ReportReceipted(_Event):
    type: Literal["report.receipted"] = "report.receipted"
    report_id: PlatformId
    reference: str


class NotScreenedAlarm(_Event):
    """For the safety topic: a cover has no answer and is withheld (gate) or blocked (watch)."""

    type: Literal["cover.not_screened"] = "cover.not_screened"
    cover: Cover
    reason: str


PipelineEvent = CoverCleared | CoverWithheld | CoverReleased | CoverRemoved
SafetyEvent = MatchFound | AccountFlagged | TakedownVerified | ReportReceipted | NotScreenedAlarm
Outgoing = PipelineEvent | SafetyEvent

# ── the platform's catalogue ───────────────────────────────────────────────────────────────────────────────


def _announced(value: object) -> object:
    if isinstance(value, dict) and not {"schema", "type"} <= value.keys():
        raise ValueError("needs schema and type, as every announcement")
    return value


class CataloguePage(_Frozen):
    """One page of what an account has uploaded, and where the next one begins."""

    covers: Annotated[
        list[Annotated[CoverUploaded, BeforeValidator(_announced)]], Field(max_length=MAX_PAGE_COVERS)
    ]
    next: Annotated[str, Field(min_length=1, max_length=1000)] | None


T = TypeVar("T")

_INCOMING: Final[TypeAdapter[Incoming]] = TypeAdapter(Annotated[Incoming, Field(discriminator="type")])
_OUTGOING: Final[TypeAdapter[Outgoing]] = TypeAdapter(Annotated[Outgoing, Field(discriminator="type")])
_CATALOGUE: Final = TypeAdapter(CataloguePage)


def parse(body: str) -> Incoming:
    """Return the event in a queue body.

    Raises:
        BadMessage: too large, not JSON, another schema, or a field is missing or wrong; the message names it.
    """
    return _parse(_INCOMING, body)


def parse_outgoing(body: str) -> Outgoing:
    """Return an event that coverguard sent: for consumers and tests."""
    return _parse(_OUTGOING, body)


def parse_catalogue_page(body: bytes) -> CataloguePage:
    """Return one page of the platform's catalogue; how large it may be is the caller's business.

    Raises:
        BadMessage: not JSON, or a field is missing or wrong; the message names it.
    """
    try:
        return _CATALOGUE.validate_python(json.loads(body))
    except ValidationError as error:
        raise BadMessage(_faults(error, named_from=0)) from None  # its repr would carry the values
    except (ValueError, RecursionError):
        raise BadMessage("catalogue page is not JSON") from None


def dump(event: _Event) -> str:
    """Serialise an event as one line of JSON."""
    return event.model_dump_json(by_alias=True)


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadMessage("sealed content: not Base64") from None


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schemas `incoming`, `outgoing` and `catalogue`, as published in the docs."""
    return {
        "catalogue": _CATALOGUE.json_schema(by_alias=True),
        "incoming": _INCOMING.json_schema(by_alias=True),
        "outgoing": _OUTGOING.json_schema(by_alias=True),
    }


def to_micros(moment: datetime) -> Micros:
    """Convert an aware datetime without going through a float."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return Micros((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds)


def from_micros(moment: Micros) -> datetime:
    seconds, micros = divmod(moment, 1_000_000)
    return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=micros)


def document_of(body: str) -> object:
    """Return the JSON document in a queue body.

    Raises:
        BadMessage: too large, or not JSON.
    """
    if len(body.encode(errors="surrogatepass")) > MAX_BODY_BYTES:
        raise BadMessage(f"message is larger than {MAX_BODY_BYTES} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadMessage("message is not JSON") from None


def _parse(adapter: TypeAdapter[T], body: str) -> T:
    document = document_of(body)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise BadMessage(f"field schema: must be {SCHEMA}")
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        raise BadMessage(_faults(error)) from None  # its repr would carry the values


def _faults(error: ValidationError, *, named_from: int = 1) -> str:
    """Each field's path and fault; the first part of an event's path is its type, empty for a bad type."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"field {_named(fault['loc'][named_from:])}: {_said(fault)}" for fault in faults[:5])


def _named(path: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in path) or "type"


def _said(fault: Any) -> str:  # noqa: ANN401 - a pydantic TypedDict
    if fault["type"].startswith("union_tag"):
        return "is not a type coverguard knows"
    return str(fault["msg"])
