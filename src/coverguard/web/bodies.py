"""What the JSON interfaces take and give, field by field; unknown fields are refused.

A fault is named by field and kind. What somebody sent never comes back in an answer about faults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from coverguard.correspondence import MAX_COVERS, NamedCover, ReportAddition, ReportDetails
from coverguard.messages import ReportRef
from coverguard.receipts import Verdict

Token = Annotated[str, Field(min_length=40, max_length=48, pattern="^[A-Za-z0-9_=-]+$")]
NOTHING_NAMED: Final = "name at least one cover, playlist or account, or say in words what it is about"
NOTHING_ADDED: Final = "say something, or give a police reference"


class CoverBody(NamedCover):
    model_config = ConfigDict(extra="forbid", title="NamedCover")


class ReportBody(ReportDetails):
    """A report. No name is needed, and no picture has a place in it."""

    model_config = ConfigDict(extra="forbid", title="Report")

    covers: Annotated[list[CoverBody], Field(max_length=MAX_COVERS, default_factory=list)]  # type: ignore[assignment]

    @model_validator(mode="after")
    def _about_something(self) -> Self:
        if not (self.covers or self.playlist_ids or self.account_ids or self.text.strip()):
            raise ValueError(NOTHING_NAMED)
        return self


class KeyBody(BaseModel):
    """The token of a thread. It travels in bodies alone, never in an address."""

    model_config = ConfigDict(extra="forbid", title="Token", strict=True, hide_input_in_errors=True)

    token: Token


class AdditionBody(ReportAddition):
    """Something to add to a report."""

    model_config = ConfigDict(extra="forbid", title="Addition")

    token: Token

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.text.strip() or self.police_reference.strip()):
            raise ValueError(NOTHING_ADDED)
        return self


class ToVerify(BaseModel):
    """A receipt or transcript as it was downloaded, as one text."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    text: Annotated[str, Field(max_length=60_000)]


# ── answers ────────────────────────────────────────────────────────────────────────────────────────────────


class Signature(BaseModel):
    algorithm: Literal["Ed25519"]
    key_id: str
    value: str


class SignedReceipt(BaseModel):
    """`document` under a signature; `token` opens the report's thread and is shown this once."""

    document: dict[str, Any]
    signature: Signature
    token: str


class SignedDocument(BaseModel):
    document: dict[str, Any]
    signature: Signature


class Entry(BaseModel):
    seq: int
    at: str
    author: Literal["reporter", "staff", "automatic"]
    kind: str
    text: str


class Thread(BaseModel):
    """Everything that was said; `taken_in` is false until a report that was sent has been taken in."""

    reference: ReportRef
    taken_in: bool
    entries: list[Entry]


class Verified(BaseModel):
    """What a document is; kind and reference only of one that is as we signed it."""

    verdict: Verdict
    kind: str | None = None  # its schema
    reference: str | None = None


class Keys(BaseModel):
    """Public keys in PEM by their id, to check receipts without us."""

    keys: dict[str, str]


class Fault(BaseModel):
    field: str
    fault: str


class Problem(BaseModel):
    """Why a request was not served, and what to do."""

    error: str
    says: str
    fields: list[Fault] = []
    help: dict[str, Any] | None = None


class Healthy(BaseModel):
    status: Literal["ok"] = "ok"


def faults(errors: Iterable[Mapping[str, Any]]) -> Sequence[Fault]:
    """Pydantic's errors as field and fault, without what was sent."""
    return [Fault(field=_field(error), fault=_fault(error)) for error in list(errors)[:20]]


def _field(error: Mapping[str, Any]) -> str:
    path = [str(part) for part in error["loc"] if part != "body"]
    if error["type"] == "extra_forbidden":  # its name is the sender's own word
        path[-1:] = ["?"]
    if error["type"] == "json_invalid":
        path = []
    return ".".join(path) or "body"


def _fault(error: Mapping[str, Any]) -> str:
    return str(error["msg"]).removeprefix("Value error, ")
