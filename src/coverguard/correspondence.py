"""What is told under seal: the contents of reports and additions, and the entries of a thread.

On their way these are bytes that only the staff's key, or the token on the receipt, opens: `to_seal` writes
them, `unsealed` reads them, and each is bound to its place by a context. Whatever is wrong with one is named
by field, never by value. Knows no key and no store.
"""

from __future__ import annotations

import base64
import re
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from coverguard.errors import BadMessage
from coverguard.messages import PlatformId, ReportRef, Timestamp
from coverguard.model import Category, Surface

MAX_COVERS = 100
MAX_ACCOUNTS = 20
MAX_TEXT = 10_000
_REFERENCE: Final = re.compile(r"report-[0-9a-f]{16}")


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain NUL")
    value.encode()  # a lone surrogate can be stored nowhere
    return value


Words = Annotated[str, AfterValidator(_storable), Field(max_length=MAX_TEXT)]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, hide_input_in_errors=True)


class NamedCover(_Told):
    """A cover as a reporter names it; without a version, all of them."""

    id: PlatformId
    surface: Annotated[Surface, Field(strict=False)]
    version: Annotated[int, Field(ge=0, lt=2**63)] | None = None


class ReportDetails(_Told):
    """What somebody told us. No name, address or picture is needed, and no picture has a place here."""

    category: Annotated[Category, Field(strict=False)]
    covers: Annotated[list[NamedCover], Field(max_length=MAX_COVERS)] = []
    playlist_ids: Annotated[list[PlatformId], Field(max_length=MAX_COVERS)] = []
    account_ids: Annotated[list[PlatformId], Field(max_length=MAX_ACCOUNTS)] = []
    text: Words = ""
    police_reference: Annotated[str, AfterValidator(_storable), Field(max_length=200)] = ""
    earlier_reference: Annotated[str, Field(pattern="^(report-[0-9a-f]{16})?$")] = ""  # a hint, perhaps wrong
    contact: Annotated[str, AfterValidator(_storable), Field(max_length=320)] = ""
    urgent: bool = False  # a child is in danger, or it is happening now
    opted_out: bool = False  # wants no message about the outcome; the thread still shows the status
    country: Annotated[str, Field(pattern="^([A-Z]{2})?$")] = ""
    language: Annotated[str, Field(pattern="^([a-z]{2,3}(-[A-Z]{2})?)?$", max_length=8)] = ""


class ReportAddition(_Told):
    """What a reporter added later."""

    text: Words = ""
    police_reference: Annotated[str, AfterValidator(_storable), Field(max_length=200)] = ""


class Mail(_Told):
    """One entry of a thread, as it is sealed to the reporter's mailbox."""

    reference: ReportRef
    seq: Annotated[int, Field(ge=1)]
    at: Timestamp
    author: Literal["reporter", "staff", "automatic"]
    kind: Annotated[str, Field(max_length=32)]
    text: Annotated[str, Field(max_length=20_000)]


T = TypeVar("T", bound=_Told)


def reference_in(text: str) -> str:
    """The reference that somebody wrote down, or nothing where it has not the form of one."""
    written = text.strip().lower()
    return written if _REFERENCE.fullmatch(written) else ""


def to_seal(told: _Told) -> bytes:
    """Return what is to be sealed."""
    return told.model_dump_json().encode()


def unsealed(kind: type[T], plain: bytes) -> T:
    """Return what was sealed.

    Raises:
        BadMessage: it is not of that kind; the message names the field, never the value.
    """
    try:
        return kind.model_validate_json(plain)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        named = sorted({str(fault["loc"][0]) for fault in faults if fault["loc"]} & {*kind.model_fields})
        raise BadMessage(f"sealed content: wrong: {', '.join(named) or 'all of it'}") from None


def sealed_text(sealed: bytes) -> str:
    """Return sealed bytes as the fields of `messages.ReportFiled` and `ReportAdded` carry them."""
    return base64.b64encode(sealed).decode()


def filed_context(reference: str) -> bytes:
    """What the details of a report are bound to when they are sealed."""
    return f"report.filed:{reference}".encode()


def added_context(reference: str) -> bytes:
    """What an addition to a report is bound to when it is sealed."""
    return f"report.added:{reference}".encode()


def mail_context(reference: str, seq: int) -> bytes:
    """What an entry of a thread is bound to when it is sealed to the reporter's mailbox."""
    return f"report.mail:{reference}:{seq}".encode()
