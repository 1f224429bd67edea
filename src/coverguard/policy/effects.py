"""The effects table: what a decision does in this mode and origin. One table; every cell is tested.

| decision    | gate                            | watch                                | sweep, report    |
|-------------|---------------------------------|--------------------------------------|------------------|
| Pass        | cover.cleared                   | cover.cleared                        | nothing          |
| Refer       | stays in intake                 | blocked for child-abuse and intimate | as watch         |
|             |                                 | lists, else public under a clock     |                  |
| Hold        | vault, intake emptied           | block + vault                        | as watch         |
| NotScreened | stays in intake, retried, alarm | blocked after `grace` of retries     | changes nothing  |

Grace is for reasons that a retry can cure. Content that can never be read is blocked at once in watch mode:
waiting would give every malformed upload ten public minutes (docs/adr/0001).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from coverguard.model import Category, Decision, Hold, Match, Mode, NotScreened, Origin, Pass, Refer

BLOCKED_ON_REFER: Final = frozenset({Category.CHILD_ABUSE, Category.INTIMATE_IMAGE})

PipelineEventType = Literal["cover.cleared", "cover.withheld"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    event: PipelineEventType | None = None  # what the platform's pipeline is told, without cause
    block: bool = False  # the object becomes unreachable for the public
    vault: bool = False  # and a verified copy goes to the vault, under legal hold
    case: bool = False  # the uploader's case is opened or extended, under a review clock
    retry: bool = False  # screened again later
    alarm: bool = False  # a person is told that there is no answer


NOTHING: Final = Effects()


def effects(decision: Decision, *, mode: Mode, origin: Origin, grace_over: bool = False) -> Effects:
    """Look up the cell. `grace_over` matters to NotScreened in watch mode only."""
    as_upload = origin is Origin.UPLOAD
    gated = mode is Mode.GATE and as_upload
    match decision:
        case Pass():
            return Effects(event="cover.cleared") if as_upload else NOTHING
        case Refer(matches=matches):
            block = not gated and _blocked_on_refer(matches)
            return Effects(event="cover.withheld" if gated or block else None, block=block, case=True)
        case Hold():
            return Effects(event="cover.withheld", block=True, vault=True, case=True)
        case NotScreened() as unknown:
            if not as_upload:
                return Effects(alarm=True)
            block = not gated and (grace_over or not unknown.curable)
            withheld = gated or block
            return Effects(
                event="cover.withheld" if withheld else None,
                block=block,
                retry=unknown.curable,
                alarm=withheld,
            )
        case _ as never:
            assert_never(never)


def _blocked_on_refer(matches: Iterable[Match]) -> bool:
    return any(match.category in BLOCKED_ON_REFER for match in matches)
