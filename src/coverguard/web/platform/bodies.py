"""What the platform's interface gives beside receipts: states, references, and nothing to be seen."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, Field

from coverguard.lifecycle import ReportState, TakedownState
from coverguard.messages import MAX_ID_BYTES

_BAD_ID: Final = f"must be 1 to {MAX_ID_BYTES} bytes of printable UTF-8"


def _platform_id(value: str) -> str:
    if not value or len(value.encode()) > MAX_ID_BYTES or not value.isprintable():
        raise ValueError(_BAD_ID)
    return value


AccountInPath = Annotated[str, AfterValidator(_platform_id)]


class Hidden(BaseModel):
    """Everything of the account is going dark until a person has looked; only people can show it again."""

    takedown: str
    state: TakedownState
    covers: Annotated[int, Field(ge=0)]  # how many cover versions of the account are known so far
    says: str


class ReportStatus(BaseModel):
    """What became of a report of yours; times in UTC."""

    reference: str
    status: ReportState
    received_at: str
    hidden_at: str | None
    decided_at: str | None
