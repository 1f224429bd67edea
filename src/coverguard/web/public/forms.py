"""The report form's fields: read from a body, checked as the JSON interface checks them, kept for later.

Strict: every field is known and comes once, text is UTF-8. People paste links where we ask for ids: of a link
the last part of its path is taken. What they wrote is kept so that no error makes them write it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import ValidationError

from coverguard.errors import BadMessage
from coverguard.messages import MAX_ID_BYTES
from coverguard.model import Surface
from coverguard.web.bodies import ReportBody, faults

MAX_FIELDS: Final = 40
NAMED: Final = ("account_ids", "playlist_ids", *(surface.value for surface in Surface))
TEXTS: Final = ("category", "text", "earlier_reference", "police_reference", "contact", "country")
SWITCHES: Final = ("urgent", "opted_out")
FIELDS: Final = frozenset({*NAMED, *TEXTS, *SWITCHES})
LABELS: Final[Mapping[str, str]] = {
    "account_ids": "Accounts",
    "playlist_ids": "Playlists",
    "playlist_cover": "Covers of playlists",
    "profile_image": "Profile pictures",
    "track_art": "Pictures of tracks",
    "covers": "Single pictures",
    "category": "What is it?",
    "text": "What happened?",
    "earlier_reference": "Reference of an earlier report",
    "police_reference": "Police reference",
    "contact": "How can we reach you?",
    "country": "Your country",
}
SENTENCES: Final[Mapping[str, str]] = {
    "category": "Please choose what it is.",
    "account_ids": f"At most 20, one a line, each of at most {MAX_ID_BYTES} characters.",
    "playlist_ids": f"At most 100, one a line, each of at most {MAX_ID_BYTES} characters.",
    "covers": f"At most 100 in all, one a line, each of at most {MAX_ID_BYTES} characters.",
    "text": "At most 10 000 characters.",
    "earlier_reference": "As on your receipt: report- and 16 letters and digits. Or leave it empty.",
    "police_reference": "At most 200 characters.",
    "contact": "At most 320 characters.",
    "country": "Please choose a country of the list, or none.",
    "report": "Please name at least one account, playlist or picture, or say in words what it is about.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormFault:
    """One fault, for the person: which field, and what to do."""

    field: str
    label: str
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What somebody wrote, as they wrote it."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    def on(self, name: str) -> bool:
        return bool(self.values.get(name))


def fields_of(body: bytes, *, known: Iterable[str]) -> Mapping[str, str]:
    """The fields of a form.

    Raises:
        BadMessage: not UTF-8, too many, a field that is unknown or comes twice.
    """
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except (ValueError, UnicodeError):
        raise BadMessage("The form could not be read.") from None
    found = dict(pairs)
    if len(found) != len(pairs) or not set(found) <= set(known):
        raise BadMessage("The form has a field that is not known here, or has one twice.")
    return {name: value.replace("\r\n", "\n") for name, value in found.items()}


def prefilled(query: Iterable[tuple[str, str]]) -> Filled:
    """What a link to the form fills in: `cover` with `surface`, `playlist`, `account`, `category`, `country`.

    Anything else is left out: a wrong link still has to lead to a form.
    """
    told = {name: value for name, value in query if len(value.encode(errors="replace")) <= MAX_ID_BYTES}
    surface = told.get("surface", Surface.PLAYLIST_COVER.value)
    places = {
        "cover": surface if surface in {one.value for one in Surface} else Surface.PLAYLIST_COVER.value,
        "playlist": "playlist_ids",
        "account": "account_ids",
        "category": "category",
        "country": "country",
    }
    return Filled(values={places[name]: value for name, value in told.items() if name in places})


def report_of(filled: Filled) -> tuple[ReportBody | None, Sequence[FormFault]]:
    """The report that somebody wrote, or what is wrong with it."""
    document: dict[str, Any] = {
        "category": filled["category"],
        "account_ids": _ids(filled["account_ids"]),
        "playlist_ids": _ids(filled["playlist_ids"]),
        "covers": [
            {"id": one, "surface": surface.value}
            for surface in Surface
            for one in _ids(filled[surface.value])
        ],
        "text": filled["text"].strip(),
        "earlier_reference": filled["earlier_reference"].strip().lower(),
        "police_reference": filled["police_reference"].strip(),
        "contact": filled["contact"].strip(),
        "country": filled["country"].strip().upper(),
        "language": "en",
        **{name: filled.on(name) for name in SWITCHES},
    }
    try:
        return ReportBody.model_validate(document), ()
    except ValidationError as error:
        named = {fault.field.partition(".")[0] for fault in faults(error.errors())}
        if not any(document[name] for name in ("account_ids", "playlist_ids", "covers", "text")):
            named.add("body")  # told at once with the rest, and not only after it
        return None, [
            _fault(name) for name in SENTENCES if name in named or (name == "report" and "body" in named)
        ]


def _fault(name: str) -> FormFault:
    field_ = {"covers": Surface.PLAYLIST_COVER.value, "report": "account_ids"}.get(name, name)
    return FormFault(field=field_, label=LABELS.get(name, "The report"), says=SENTENCES[name])


def _ids(text: str) -> list[str]:
    """One id a line, each once."""
    return list(dict.fromkeys(_id(line.strip()) for line in text.splitlines() if line.strip()))


def _id(line: str) -> str:
    """What a line names: of a link the last part of its path."""
    if not line.startswith(("https://", "http://")):
        return line
    try:
        parts = [part for part in urlsplit(line).path.split("/") if part]
    except ValueError:
        return line
    return unquote(parts[-1]) if parts else line
