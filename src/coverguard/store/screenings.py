"""Answers: one screening a (cover version, origin, origin id, fingerprint version).

A real answer is final: recording it again, or a later failure, changes nothing. `not_screened` is the one
answer that a later attempt may replace. The index position an answer was judged at is a column, not a key.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, bindparam, delete, func, insert, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from coverguard import __version__
from coverguard.model import (
    FINGERPRINT_VERSION,
    Algorithm,
    Decision,
    Fingerprint,
    Hold,
    Match,
    Micros,
    Mode,
    NotScreened,
    Origin,
    Pass,
    Refer,
    VerdictKind,
    VerdictOutcome,
    View,
)
from coverguard.store.rows import insert_once, insert_row, lock_all
from coverguard.store.schema import (
    case_item,
    cover_version,
    fingerprint,
    fingerprint_view,
    match,
    quarantine,
    screening,
    verdict,
)

_OWN_COLUMNS: Final = (Algorithm.PDQ.value, Algorithm.PHASH256.value)
_BY_KEY: Final = select(screening).where(
    *(
        screening.c[name] == bindparam(name)
        for name in ("cover_version_id", "origin", "origin_id", "fingerprint_version")
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one look at a cover version came to."""

    cover_version_id: int
    origin: Origin
    origin_id: str
    decision: Decision
    matches: tuple[Match, ...]  # shadow and suppressed ones included
    fingerprint: Fingerprint | None  # None: not screened
    judged_seq: int | None
    failing_since: Micros | None = None  # of NotScreened: when it began, where that was before now


def get(tx: Connection, cover_version_id: int, origin: Origin, origin_id: str) -> Row[Any] | None:
    """The answer under the key, at this software's fingerprint version."""
    return tx.execute(_BY_KEY, _key(cover_version_id, origin, origin_id)).one_or_none()


def by_id(tx: Connection, screening_id: int) -> Row[Any]:
    return tx.execute(select(screening).where(screening.c.id == screening_id)).one()


def of_cover(tx: Connection, cover_version_id: int) -> Sequence[Row[Any]]:
    """Every answer about a cover version, oldest first."""
    mine = select(screening).where(screening.c.cover_version_id == cover_version_id).order_by(screening.c.id)
    return tx.execute(mine).all()


def record(
    tx: Connection, answer: Answer, *, budget_spent: str | None, retry_at: Micros | None, now: Micros
) -> tuple[Row[Any], bool]:
    """Write the answer down; return its row and whether this call changed it."""
    key = _key(answer.cover_version_id, answer.origin, answer.origin_id)
    values = _values(answer, budget_spent=budget_spent, retry_at=retry_at, now=now)
    row, new = insert_row(tx, screening, key, values)
    replaced = not new and _replace_failure(tx, row.id, answer.decision, values)
    if (new or replaced) and answer.fingerprint:
        _write_fingerprint(tx, answer, answer.fingerprint, now=now)
        if replaced:
            tx.execute(delete(match).where(match.c.screening_id == row.id))
        _write_matches(tx, row.id, answer)
    return (by_id(tx, row.id) if replaced else row), new or replaced


def _key(cover_version_id: int, origin: Origin, origin_id: str) -> Mapping[str, Any]:
    return {
        "cover_version_id": cover_version_id,
        "origin": origin.value,
        "origin_id": origin_id,
        "fingerprint_version": FINGERPRINT_VERSION,
    }


def _values(
    answer: Answer, *, budget_spent: str | None, retry_at: Micros | None, now: Micros
) -> dict[str, Any]:
    failed = isinstance(answer.decision, NotScreened)
    return {
        **_decided(answer.decision),
        "budget_spent": budget_spent,
        "judged_seq": answer.judged_seq,
        "software": __version__,
        "decided_at": now,
        "first_failed_at": (answer.failing_since or now) if failed else None,
        "retry_at": retry_at if failed else None,
    }


def _decided(decision: Decision) -> Mapping[str, Any]:
    match decision:
        case Pass(low_information=low):
            return {"decision": "pass", "reason": None, "detail": "", "low_information": low}
        case Refer(reason=reason):
            return {"decision": "refer", "reason": reason.value, "detail": "", "low_information": False}
        case Hold():
            return {"decision": "hold", "reason": None, "detail": "", "low_information": False}
        case NotScreened(reason=unknown, detail=detail):
            return {
                "decision": "not_screened",
                "reason": unknown.value,
                "detail": detail,
                "low_information": False,
            }


def _replace_failure(tx: Connection, row_id: int, decision: Decision, values: dict[str, Any]) -> bool:
    """Replace `not_screened`, and nothing else; the first failure's time stays while it goes on failing."""
    changes = {**values, "attempts": screening.c.attempts + 1, "settled_at": None}
    if isinstance(decision, NotScreened):
        del changes["first_failed_at"]
    failing = (screening.c.id == row_id, screening.c.decision == "not_screened")
    return tx.execute(update(screening).where(*failing).values(changes)).rowcount == 1


def _write_fingerprint(tx: Connection, answer: Answer, made: Fingerprint, *, now: Micros) -> None:
    key = {"cover_version_id": answer.cover_version_id, "fingerprint_version": made.version}
    values = {
        **{name: made.digests[name] for name in ("md5", "sha1", "sha256")},
        "format": made.format,
        "width": made.width,
        "height": made.height,
        "judged_seq": answer.judged_seq,
        "created_at": now,
    }
    row_id, new = insert_once(tx, fingerprint, key, values)
    seen = (*made.views, *made.parts)
    if not new:
        judged = {"judged_seq": answer.judged_seq}
        tx.execute(update(fingerprint).where(fingerprint.c.id == row_id).values(judged))
        known = {view.name for view in views(tx, row_id)}  # crops are asked for when they are needed
        seen = tuple(view for view in made.parts if view.name not in known)
    if seen:
        tx.execute(insert(fingerprint_view), [_view(row_id, view) for view in seen])


def _view(fingerprint_id: int, view: View) -> Mapping[str, Any]:
    return {
        "fingerprint_id": fingerprint_id,
        "name": view.name,
        "quality": view.quality,
        "low_diversity": view.low_diversity,
        **{name: view.signals[name] for name in _OWN_COLUMNS},
        "plugged_in": _plugged_in(view),
    }


def _plugged_in(view: View) -> str:
    """What plug-ins said of the view, by algorithm."""
    said = {name: digest.hex() for name, digest in view.signals.items() if name not in _OWN_COLUMNS}
    return json.dumps(said, sort_keys=True)


def _write_matches(tx: Connection, screening_id: int, answer: Answer) -> None:
    if not answer.matches:
        return
    rows = [
        {
            "screening_id": screening_id,
            "entry_id": one.entry_id,
            "list_id": one.list_id,
            "rule_version": one.rule_version,
            "category": one.category.value,
            "opinion": one.opinion.value,
            "algorithm": one.algorithm.value,
            "view": one.view,
            "orientation": one.orientation,
            "distance": one.distance,
            "quality": one.quality,
            "action": one.action.value,
            "suppressed": one.suppressed,
            "tier": one.tier.value,
            "complement": one.complement,
            "low_diversity": one.low_diversity,
            "judged_seq": answer.judged_seq,
        }
        for one in answer.matches
    ]
    tx.execute(insert(match), rows)


def follow_up(tx: Connection, row: Row[Any], *, told: str | None, settled_at: Micros | None) -> Row[Any]:
    """Note what the pipeline is owed for this answer, and whether every act it calls for is done."""
    return tx.execute(_following_up(), {"row_id": row.id, "told": told, "settled_at": settled_at}).one()


@functools.cache
def _following_up() -> ReturningUpdate[Any]:
    mine = update(screening).where(screening.c.id == bindparam("row_id"))
    noted = mine.values(told=bindparam("told"), settled_at=bindparam("settled_at"))
    return noted.returning(*screening.c)


def settle(tx: Connection, cover_version_id: int, *, now: Micros) -> None:
    """Every act that this cover version's answers called for is done."""
    unsettled = (screening.c.cover_version_id == cover_version_id, screening.c.settled_at.is_(None))
    tx.execute(update(screening).where(*unsettled).values(settled_at=now))


def may_be_shown(tx: Connection, cover: Row[Any]) -> bool:
    """Whether the public may have a cover that nothing blocks any more.

    What was published before it was answered goes back to where it was. What waits at the gate needs the
    answer that nothing was found, or a person's that it was nothing; an appeal against that decides nothing.
    """
    if cover.mode != Mode.GATE.value:
        return True
    answers = select(screening.c.decision).where(
        screening.c.cover_version_id == cover.id, screening.c.origin == Origin.UPLOAD.value
    )
    newest = tx.execute(answers.order_by(screening.c.id.desc()).limit(1)).scalar_one_or_none()
    if newest == "pass":
        return True
    return newest is not None and _last_decision(tx, cover.id) == VerdictOutcome.CLEAR.value


def _last_decision(tx: Connection, cover_version_id: int) -> str | None:
    """What a person, or the second of two, said last of any item of the cover."""
    decisions = (VerdictKind.DECISION.value, VerdictKind.SECOND.value)
    outcomes = (VerdictOutcome.CONFIRM.value, VerdictOutcome.CLEAR.value)
    said = (
        select(verdict.c.outcome)
        .join(case_item, case_item.c.id == verdict.c.item_id)
        .where(
            case_item.c.cover_version_id == cover_version_id,
            verdict.c.kind.in_(decisions),
            verdict.c.outcome.in_(outcomes),
        )
        .order_by(verdict.c.id.desc())
        .limit(1)
    )
    return tx.execute(said).scalar_one_or_none()


def stored_fingerprint(tx: Connection, cover_version_id: int) -> Row[Any] | None:
    newest = (
        select(fingerprint)
        .where(fingerprint.c.cover_version_id == cover_version_id)
        .order_by(fingerprint.c.fingerprint_version.desc())
        .limit(1)
    )
    return tx.execute(newest).one_or_none()


def views(tx: Connection, fingerprint_id: int) -> Sequence[Row[Any]]:
    """All that is stored of a picture's looks, crops for our own lists (`list/…`) among them."""
    of_it = fingerprint_view.c.fingerprint_id == fingerprint_id
    return tx.execute(select(fingerprint_view).where(of_it).order_by(fingerprint_view.c.id)).all()


def matches_of_cover(tx: Connection, cover_version_id: int) -> Sequence[Row[Any]]:
    """Every match any answer about this cover version rests on."""
    found = (
        select(match)
        .join(screening, screening.c.id == match.c.screening_id)
        .where(screening.c.cover_version_id == cover_version_id)
        .order_by(match.c.id)
    )
    return tx.execute(found).all()


def forgettable(tx: Connection, *, deleted_before: Micros, limit: int) -> Sequence[int]:
    """Ids of fingerprints of deleted covers that no case, hold or match needs."""
    return [int(one) for one in tx.execute(_forgettable(deleted_before).limit(limit)).scalars()]


def _forgettable(deleted_before: Micros) -> Select[Any]:
    evidence = (
        select(case_item.c.cover_version_id),
        select(quarantine.c.cover_version_id),
        select(screening.c.cover_version_id).join(match, match.c.screening_id == screening.c.id),
    )
    return (
        select(fingerprint.c.id)
        .join(cover_version, cover_version.c.id == fingerprint.c.cover_version_id)
        .where(
            cover_version.c.deleted_at < deleted_before,
            *(cover_version.c.id.not_in(kept.scalar_subquery()) for kept in evidence),
        )
    )


def forget(tx: Connection, fingerprint_ids: Sequence[int], *, deleted_before: Micros) -> int:
    """Delete those of these fingerprints, with their views, that nothing needs by now; return how many."""
    named = fingerprint.c.id.in_(fingerprint_ids)
    lock_all(tx, cover_version, tx.execute(select(fingerprint.c.cover_version_id).where(named)).scalars())
    still = list(tx.execute(_forgettable(deleted_before).where(named)).scalars())
    tx.execute(delete(fingerprint_view).where(fingerprint_view.c.fingerprint_id.in_(still)))
    tx.execute(delete(fingerprint).where(fingerprint.c.id.in_(still)))
    return len(still)


# ── what the keeper looks for ──────────────────────────────────────────────────────────────────────────────


def unanswered(
    tx: Connection, *, announced_before: Micros, limit: int, announced_after: Micros | None = None
) -> Sequence[Row[Any]]:
    """Cover versions announced in that time that have no answer at all."""
    answered = select(screening.c.id).where(screening.c.cover_version_id == cover_version.c.id).exists()
    silent = (
        select(cover_version)
        .where(
            cover_version.c.announced_at < announced_before,
            cover_version.c.announced_at >= (announced_after or 0),
            ~answered,
        )
        .order_by(cover_version.c.id)
        .limit(limit)
    )
    return tx.execute(silent).all()


def failing_since(tx: Connection, *, before: Micros, limit: int) -> Sequence[Row[Any]]:
    """Upload answers that are still `not_screened`, failing since before then, with the pipeline not told."""
    found = (
        select(screening)
        .where(
            screening.c.decision == "not_screened",
            screening.c.origin == Origin.UPLOAD.value,
            screening.c.first_failed_at < before,
            screening.c.told.is_(None),
        )
        .order_by(screening.c.id)
        .limit(limit)
    )
    return tx.execute(found).all()


def overdue_retries(tx: Connection, *, due_before: Micros, limit: int) -> Sequence[Row[Any]]:
    """Answers whose retry should long have come: its message was lost."""
    found = (
        select(screening).where(screening.c.retry_at < due_before).order_by(screening.c.retry_at).limit(limit)
    )
    return tx.execute(found).all()


def postpone(tx: Connection, row: Row[Any], *, retry_at: Micros) -> bool:
    """Note that a retry was sent again; False where somebody else did, or the answer came meanwhile."""
    still = (screening.c.id == row.id, screening.c.retry_at == row.retry_at)
    return tx.execute(update(screening).where(*still).values(retry_at=retry_at)).rowcount == 1


def unsettled(tx: Connection, *, decided_before: Micros, limit: int) -> Sequence[int]:
    """Cover versions with an answer whose acts are not all done."""
    found = (
        select(screening.c.cover_version_id)
        .where(screening.c.settled_at.is_(None), screening.c.decided_at < decided_before)
        .distinct()
        .limit(limit)
    )
    return [int(one) for one in tx.execute(found).scalars()]


def decision_counts(tx: Connection) -> Mapping[str, int]:
    counted = select(screening.c.decision, func.count()).group_by(screening.c.decision)
    return {str(name): int(count) for name, count in tx.execute(counted)}
