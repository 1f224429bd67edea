"""What verdicts teach: removals are found again, false positives are not, and neither goes any further.

A confirmed removal joins the list of things removed here. Its exact digests hold at once. Its looks (PDQ,
pHash 256) refer, and its PDQ holds once a second person has agreed, if it is like a photograph. Crops of it
refer and never do more. A cleared near match is suppressed for exactly that entry and those bytes, and around
them once two people agreed. All of it is taken back with the verdict (`store.lists`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from coverguard.errors import Refused
from coverguard.hashlist import ListRow
from coverguard.imaging.listing import PREFIX
from coverguard.model import BYTES_VIEW, Algorithm, Category, ListAction, Micros
from coverguard.policy import QUALITY_FLOOR, own_rule
from coverguard.ports import Keys
from coverguard.store import Connection, Row, audit, lists, obligations, screenings

REMOVED_HERE: Final = "removed-here"
PHOTO_VIEW: Final = "displayed"
PARTS: Final = (PREFIX, f"{PHOTO_VIEW}/trimmed")  # crops, and what is left without a border


def learn(tx: Connection, keys: Keys, item: Row[Any], category: Category, *, now: Micros) -> None:
    """Remember what was removed: exact digests hold, near signals refer until a second person agreed."""
    stored = screenings.stored_fingerprint(tx, item.cover_version_id)
    if stored is None:
        return
    rule, name = own_rule(category), f"{REMOVED_HERE}/{category.value}"
    list_id, _ = lists.create(
        tx, name=name, source="confirmed removals here", rule=rule,
        actor=audit.MACHINE, note="learnt from verdicts", own=True, now=now,
    )  # fmt: skip
    digests = (Algorithm.SHA256, Algorithm.SHA1, Algorithm.MD5)
    exact = [_learnt(item, algorithm, getattr(stored, algorithm.value)) for algorithm in digests]
    lists.write_entries(tx, keys, list_id=list_id, rows=exact, item_id=item.id, now=now)
    seen = [view for view in screenings.views(tx, stored.id) if view.quality >= QUALITY_FLOOR]
    near = [row for view in seen if view.name == PHOTO_VIEW for row in _looks(item, view)]
    parts = [
        _learnt(item, Algorithm.PDQ, view.pdq, suffix=view.name)
        for view in seen
        if view.name.startswith(PARTS) and not view.low_diversity
    ]
    for rows, part in ((near, False), (parts, True)):
        if rows:
            lists.write_entries(
                tx, keys, list_id=list_id, rows=rows, item_id=item.id, now=now,
                cap=ListAction.REFER, part=part,
            )  # fmt: skip


def suppress(
    tx: Connection,
    keys: Keys,
    item: Row[Any],
    verdict: Row[Any],
    *,
    two_people: bool,
    review_at: Micros,
    now: Micros,
) -> None:
    """Forget near matches of these bytes; exact digests are the source's to withdraw."""
    stored = screenings.stored_fingerprint(tx, item.cover_version_id)
    if stored is None:
        return
    pdqs = {view.name: bytes(view.pdq) for view in screenings.views(tx, stored.id)}
    near = [
        match for match in screenings.matches_of_cover(tx, item.cover_version_id) if match.view != BYTES_VIEW
    ]
    if near:
        obligations.owe(tx, kind="suppression_review", item_id=item.id, due_at=review_at, now=now)
    for match in near:
        kinds = [(Algorithm.SHA256, bytes(stored.sha256))]
        if two_people and match.view in pdqs:
            kinds.append((Algorithm.PDQ, pdqs[match.view]))
        for kind, digest in kinds:
            lists.suppress(
                tx, keys, entry_id=match.entry_id, kind=kind, digest=digest,
                verdict_id=verdict.id, now=now, review_at=review_at,
            )  # fmt: skip


def require_photograph(tx: Connection, item: Row[Any]) -> None:
    """Refuse to let near copies hold of what thousands of innocent pictures look like."""
    stored = screenings.stored_fingerprint(tx, item.cover_version_id)
    seen = screenings.views(tx, stored.id) if stored is not None else ()
    if any(view.name == PHOTO_VIEW and view.low_diversity for view in seen):
        raise Refused(
            "it is text, a flag or flat shapes, which look alike to a hash: near copies go on to be"
            " referred; its own bytes are held already"
        )


def _learnt(item: Row[Any], algorithm: Algorithm, digest: bytes, *, suffix: str = "") -> ListRow:
    name = f"{item.ref}/{suffix}" if suffix else item.ref
    return ListRow(source_entry_id=name, algorithm=algorithm, digest=bytes(digest))


def _looks(item: Row[Any], view: Row[Any]) -> Iterator[ListRow]:
    """What a view is remembered by: its PDQ, and the second opinion where it can tell anything."""
    yield _learnt(item, Algorithm.PDQ, view.pdq)
    if not view.low_diversity:
        yield _learnt(item, Algorithm.PHASH256, view.phash256)
