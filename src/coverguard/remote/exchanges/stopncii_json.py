"""StopNCII's pages as JSON, read as far as they go, and what a record means for us.

Invariants: what was complete before a fault is kept, and the page says that it is broken; a record's status
is read from `hashStatus` and from nothing else; a status that is not known is a fault, never a guess.

What a record means: Active is a positive row. Received is what somebody submitted and nobody looked at: a
row with opinion `seed`, which can never hold a picture by itself. So is a record that a platform has
answered NotBlocked, or whose own answer was withdrawn or deleted, or whose answers cannot be read.
Withdrawn and Deleted records are gone. Signals that are no picture's PDQ are counted as unsupported.
Answers of unknown kinds are no disagreement. Case numbers, regions and tags are not looked at: they are
about people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from json import JSONDecoder
from typing import Any, Final

from coverguard.exchanges import RAW_BYTES, Faulty, Record
from coverguard.hashlist import ListRow
from coverguard.model import Algorithm, Opinion

RECORDS: Final = "hashRecords"
MAX_RECORDS: Final = 20_000
MAX_TOKEN: Final = 4000
LAST_SECOND: Final = 253_402_300_799  # of the year 9999
_WHITE: Final = re.compile(r"[ \t\r\n]*")
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_OPINIONS: Final = {"Active": Opinion.POSITIVE, "Received": Opinion.SEED}
_GONE: Final = frozenset({"Withdrawn", "Deleted"})
_DOUBTING: Final = frozenset({"NotBlocked", "Withdrawn", "Deleted"})
_UNSUPPORTED: Final = {"VideoMD5": "VIDEO_MD5", "VideoTMK": "TMK_PDQF", "Text": "TEXT", "URL": "URL"}
_MAX_VALUE: Final = 1_000_000  # characters of a signal, which may be somebody's text

KeyOf = Callable[[bytes], str]


class Twice(dict[str, Any]):
    """An object that said a name twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    header: dict[str, Any] = field(repr=False)  # everything but the records
    records: tuple[tuple[Any, str], ...] = field(repr=False)  # each with its own text
    broken: str | None  # why the rest could not be read, or the page contradicts itself

    @property
    def more(self) -> bool | None:
        """Whether there is another page; None: it does not say."""
        said = self.header.get("hasMoreRecords")
        return said if isinstance(said, bool) else None

    @property
    def token(self) -> str | None:
        said = self.header.get("nextPageToken")
        return said if isinstance(said, str) and 0 < len(said) <= MAX_TOKEN else None

    @property
    def next_start(self) -> int | None:
        said = self.header.get("nextSetTimestamp")
        return said if type(said) is int and 0 <= said <= LAST_SECOND else None

    @property
    def leads_on(self) -> bool:
        """Whether it is known what comes after this page, even where not all of it could be read."""
        return self.next_start is not None and (
            self.more is False or (self.more is True and self.token is not None)
        )


def read(body: bytes) -> Page:
    """Read a page as far as it goes."""
    broken = None
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text, broken = body[: error.start].decode("utf-8-sig"), "the page is not UTF-8"
    reader = _Reader(text)
    try:
        reader.run()
    except (ValueError, RecursionError):
        broken = broken or "the page is not JSON"
    page = Page(header=reader.header, records=tuple(reader.records), broken=broken)
    return page if broken else Page(header=page.header, records=page.records, broken=_contradiction(page))


def _contradiction(page: Page) -> str | None:
    if not page.leads_on:
        return "the page does not say what follows it"
    if page.header.get("count") != len(page.records):
        return "the page has another number of records than it says"
    return None


class _Reader:
    """The outermost object, member by member, and its records one by one: a fault costs what follows."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._decoder = JSONDecoder(object_pairs_hook=_object)
        self.header: dict[str, Any] = {}
        self.records: list[tuple[Any, str]] = []

    def run(self) -> None:
        self._take("{")
        more = not self._takes("}")
        while more:
            name, _ = self._value()
            if not isinstance(name, str) or name in self.header or (name == RECORDS and self.records):
                raise ValueError
            self._take(":")
            if name == RECORDS and self._takes("["):
                self._all_records()
            else:
                self.header[name], _ = self._value()
            more = self._takes(",")
            if not more:
                self._take("}")
        self._white()
        if self._at != len(self._text):
            raise ValueError

    def _all_records(self) -> None:
        more = not self._takes("]")
        while more:
            if len(self.records) >= MAX_RECORDS:
                raise ValueError
            self.records.append(self._value())
            more = self._takes(",")
            if not more:
                self._take("]")

    def _value(self) -> tuple[Any, str]:
        self._white()
        start = self._at
        value, self._at = self._decoder.raw_decode(self._text, start)
        return value, self._text[start : self._at]

    def _take(self, sign: str) -> None:
        if not self._takes(sign):
            raise ValueError

    def _takes(self, sign: str) -> bool:
        self._white()
        found = self._text.startswith(sign, self._at)
        self._at += found
        return found

    def _white(self) -> None:
        found = _WHITE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else Twice(made)


# ── what it means ──────────────────────────────────────────────────────────────────────────────────────────


class _Fault(Exception):
    """Why something is no record. Never leaves this module."""


def records(page: Page, *, number: int, key_of: KeyOf) -> Iterator[Record | Faulty]:
    """Yield what the records of a page mean; `number` is the page's, for places."""
    for place, (said, text) in enumerate(page.records, start=1):
        faults = list[str]()
        try:
            yield _record(said, faults, key_of=key_of)
        except _Fault as fault:
            faults.append(str(fault))
        for words in faults:
            raw = text[:RAW_BYTES].encode(errors="surrogatepass")[:RAW_BYTES]
            record_id = _known_id(said, key_of)
            yield Faulty(place=f"page {number}, record {place}", fault=words, raw=raw, record_id=record_id)


def _record(said: Any, faults: list[str], *, key_of: KeyOf) -> Record:  # noqa: ANN401 - as JSON has it
    if not isinstance(said, dict) or isinstance(said, Twice):
        raise _Fault("the record is no object, or has a field twice")
    moment = said.get("lastModtimestamp")
    if type(moment) is not int or not 0 <= moment <= LAST_SECOND:
        raise _Fault("lastModtimestamp is no moment in seconds")
    status = said.get("hashStatus")
    if not isinstance(status, str) or (status not in _GONE and status not in _OPINIONS):
        raise _Fault("hashStatus is not a word coverguard knows")
    kind, value = _signal(said)
    digest = _digest(value) if kind == "ImagePDQ" else None
    record_id, stamp = _record_id(kind, value, key_of), moment * 1_000_000
    if status in _GONE:
        return Record(record_id=record_id, stamp=stamp, gone=True)
    if digest is None:
        return Record(record_id=record_id, stamp=stamp, unsupported=(_UNSUPPORTED.get(kind, "OTHER"),))
    opinion = Opinion.SEED if _doubted(said.get("CSPFeedbacks"), faults) else _OPINIONS[status]
    row = ListRow(source_entry_id=record_id, algorithm=Algorithm.PDQ, digest=digest, opinion=opinion)
    return Record(record_id=record_id, stamp=stamp, rows=(row,))


def _signal(said: dict[str, Any]) -> tuple[str, str]:
    kind, value = said.get("signalType"), said.get("hashValue")
    if not isinstance(kind, str) or not isinstance(value, str) or not 0 < len(value) <= _MAX_VALUE:
        raise _Fault("signalType or hashValue is no text")
    return kind, value


def _record_id(kind: str, value: str, key_of: KeyOf) -> str:
    """Type and hash name a record; a PDQ is the same however its hex is spelt."""
    named = value.lower() if kind == "ImagePDQ" else value
    return key_of(f"{kind}:{named}".encode(errors="surrogatepass"))


def _known_id(said: Any, key_of: KeyOf) -> str | None:  # noqa: ANN401 - as JSON has it
    try:
        return _record_id(*_signal(said), key_of) if type(said) is dict else None
    except _Fault:
        return None


def _digest(value: str) -> bytes:
    if not _HEX.fullmatch(value) or len(value) != 2 * Algorithm.PDQ.size:
        raise _Fault("hashValue has not the 32 bytes of pdq in hex")
    digest = bytes.fromhex(value)
    if not any(digest):
        raise _Fault("hashValue is nothing but zeros")
    return digest


def _doubted(said: Any, faults: list[str]) -> bool:  # noqa: ANN401 - as JSON has it
    """Whether a platform that looked does not agree, or it cannot be said whether one did."""
    if said is None:
        return False
    answers = said if isinstance(said, list) else [said]
    if not all(isinstance(one, dict) and isinstance(one.get("feedbackValue"), str) for one in answers):
        faults.append("CSPFeedbacks cannot be read")
        return True
    return any(one["feedbackValue"] in _DOUBTING for one in answers)
