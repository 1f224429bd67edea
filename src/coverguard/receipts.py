"""What a reporter takes home: receipts and transcripts as canonical JSON under an Ed25519 signature.

Canonical: keys sorted, no white space, UTF-8, only objects, arrays, strings, whole numbers, true, false and
null. Signed are the schema's name, a line feed and the canonical bytes, so that no document passes for one of
another kind. Beside the signed document stand its signature and, once, the token of the thread, which is not
signed: a receipt can be shown to others without it. A receipt says what was told to us and what we promise,
never what we know: no digest, distance, list, cause, and nothing of other reporters or of private covers.
Makes no reference and reads no clock.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from coverguard import contacts
from coverguard.correspondence import ReportDetails
from coverguard.messages import from_micros
from coverguard.model import Category, Micros, ReporterKind, TargetKind
from coverguard.ports import SignatureCheck, Signer

RECEIPT: Final = "coverguard.receipt/1"
ADDITION: Final = "coverguard.addition/1"
TRANSCRIPT: Final = "coverguard.transcript/1"
ALGORITHM: Final = "Ed25519"
MAX_DOCUMENT: Final = 4 * 1024 * 1024  # characters that are looked at
HOUR: Final = timedelta(hours=1)

HIDES: Final = frozenset({Category.CHILD_ABUSE, Category.INTIMATE_IMAGE})
CATEGORIES: Final[Mapping[Category, str]] = {
    Category.CHILD_ABUSE: "Sexual images or sexual abuse of a child",
    Category.INTIMATE_IMAGE: "An intimate image shown without consent",
    Category.TERRORISM: "Terrorism",
    Category.OTHER: "Something else that must not be there",
}
OUTCOMES: Final = (
    "It is removed: nobody can see it any more, and it is kept locked away where the law asks for that.",
    "More of the account is removed, up to everything in it.",
    "It is not removed, because a person found nothing against it. What was hidden meanwhile is shown again.",
)
REDRESS: Final = (
    "If you do not agree with the outcome, add to this report and say why: somebody else looks at it again."
    " You may also turn to the police, to a regulator or out-of-court body of your country, or to a court."
)
OPT_OUT: Final = (
    "You can ask not to be told the outcome: say so when you report, or add it to the report later."
    " The report's page still shows it to whoever has reference and token."
)
FOLLOWS_ON: Final = (
    "You told us that this follows on {reference}. Keep both receipts: each has a token of its own."
)
CONFIDENTIAL: Final = "The person you reported is never told who reported."


class Verdict(StrEnum):
    """What became of a document since we signed it."""

    VALID = "valid"
    CHANGED = "changed"
    UNKNOWN_KEY = "unknown_key"
    NOT_OURS = "not_ours"  # nothing that we could have signed


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """When a person has looked at a report, at the latest."""

    review: timedelta
    urgent: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """One report, as we took it in."""

    reference: str
    at: Micros
    source: ReporterKind
    told: ReportDetails
    public_covers: Mapping[str, int | None]  # by named account; None where nobody could count in time
    demanded: bool = False  # a removal, by a signed request
    notes: Sequence[str] = ()


def receipt(filing: Filing, targets: Targets) -> dict[str, Any]:
    """Build the receipt of a report."""
    told = filing.told
    return {
        "schema": RECEIPT,
        "reference": filing.reference,
        "received_at": from_micros(filing.at).isoformat(timespec="seconds"),
        "source": filing.source.value,
        "category": told.category.value,
        "category_text": CATEGORIES[told.category],
        "urgent": told.urgent,
        "named": named(told, filing.public_covers),
        "text_given": bool(told.text),
        "police_reference": told.police_reference,
        "earlier_reference": told.earlier_reference,  # as told: whether there is one, nobody has looked
        "earlier_reference_text": _follows_on(told.earlier_reference),
        "contact_given": bool(told.contact),
        "opted_out": told.opted_out,
        "notes": [*filing.notes],
        "next": next_steps(told, targets, urgent=told.urgent or filing.demanded),
        "outcomes": [*OUTCOMES],
        "redress": REDRESS,
        "opt_out": OPT_OUT,
        "confidential": CONFIDENTIAL,
        "help": contacts.of(told.country).document(),
    }


def addition(*, reference: str, at: Micros) -> dict[str, Any]:
    """Build the receipt of something added to a report."""
    moment = from_micros(at).isoformat(timespec="seconds")
    return {"schema": ADDITION, "reference": reference, "received_at": moment}


def named(told: ReportDetails, public_covers: Mapping[str, int | None]) -> list[dict[str, Any]]:
    """What was named, as told; of an account also how many covers everybody can see."""
    covers = [
        {
            "kind": TargetKind.COVER.value,
            "id": one.id,
            "surface": one.surface.value,
            "version": one.version,
        }
        for one in told.covers
    ]
    playlists = [{"kind": TargetKind.PLAYLIST.value, "id": one} for one in told.playlist_ids]
    accounts = [
        {"kind": TargetKind.ACCOUNT.value, "id": one, "public_covers": public_covers.get(one)}
        for one in told.account_ids
    ]
    return [*covers, *playlists, *accounts]


def next_steps(told: ReportDetails, targets: Targets, *, urgent: bool) -> list[dict[str, str]]:
    """What happens next, and by when."""
    looked = targets.urgent if urgent else targets.review
    steps = [("We take your report in and look again at everything of the account it is about.", "minutes")]
    if told.category in HIDES:
        steps.append(
            (
                "What you named is normally hidden until a person has decided; limits prevent misuse.",
                "minutes",
            )
        )
    steps.append(("A person looks at it and decides.", _within(looked)))
    if told.category is Category.INTIMATE_IMAGE:
        steps.append(("An intimate image shown without consent is removed.", _within(48 * HOUR)))
    said = "The outcome is on the report's page."
    steps.append((said if told.opted_out else f"{said} You are told once.", "when it is decided"))
    return [{"what": what, "within": within} for what, within in steps]


def _follows_on(reference: str) -> str:
    return FOLLOWS_ON.format(reference=reference) if reference else ""


def _within(span: timedelta) -> str:
    hours = max(1, round(span / HOUR))
    return "1 hour" if hours == 1 else f"{hours} hours"


# ── signatures ─────────────────────────────────────────────────────────────────────────────────────────────


def canonical(document: Mapping[str, Any]) -> bytes:
    """The one way to write a document down.

    Raises:
        ValueError: it holds what canonical JSON has no word for, such as 0.5.
    """
    _require_exact(document)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def signed(document: Mapping[str, Any], signer: Signer) -> dict[str, Any]:
    """Put a document under a signature."""
    signature = base64.b64encode(signer.sign(_bytes_to_sign(document))).decode()
    return {
        "document": dict(document),
        "signature": {"algorithm": ALGORITHM, "key_id": signer.key_id, "value": signature},
    }


def checked(envelope: object, signatures: SignatureCheck) -> Verdict:
    """Say whether a document is as it was signed; whatever stands beside it is not looked at."""
    match envelope:
        case {
            "document": {"schema": str()} as document,
            "signature": {"algorithm": "Ed25519", "key_id": str(key_id), "value": str(value)},
        }:
            pass
        case _:
            return Verdict.NOT_OURS
    if not signatures.knows(key_id):
        return Verdict.UNKNOWN_KEY
    try:
        signature = base64.b64decode(value, validate=True)
        holds = signatures.holds(key_id, _bytes_to_sign(document), signature=signature)
    except (ValueError, RecursionError, binascii.Error):
        return Verdict.CHANGED
    return Verdict.VALID if holds else Verdict.CHANGED


def read(text: str) -> object:
    """Return the JSON in a receipt's file, or None for what is none of ours.

    What two programs could read differently is none of ours: a key that comes twice, a fraction, NaN.
    """
    if len(text) > MAX_DOCUMENT:
        return None
    try:
        document: object = json.loads(
            text, object_pairs_hook=_once, parse_float=_never, parse_constant=_never
        )
    except (ValueError, RecursionError):
        return None
    return document


def _bytes_to_sign(document: Mapping[str, Any]) -> bytes:
    return str(document["schema"]).encode("utf-8") + b"\n" + canonical(document)


def _require_exact(value: object) -> None:
    match value:
        case None | bool() | int() | str():
            return
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise ValueError("a key is no text")
            for one in value.values():
                _require_exact(one)
        case list():
            for one in value:
                _require_exact(one)
        case _:
            raise ValueError("canonical JSON has no word for this")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _never(_: str) -> object:
    raise ValueError("no fractions")
