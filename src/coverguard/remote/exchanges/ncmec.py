"""NCMEC Hash Sharing, version 2: everything since a moment, range by range of time.

Entries come in no order of time, so that nothing can be said before a range is exhausted: only then is
there a checkpoint. A page's link to the next one is short-lived and good for its own range alone; it is
never stored, and one that is refused, or older than it may be, makes the range begin again. Ranges shrink
where they have too many entries and grow where they have few; one of a second is always exhausted, whatever
its size.

A range whose page stays broken, while the exchange is otherwise well, is halved down to the second. That
second is then a gap: its readable part is told, the rest is asked for by every later run until it can be
read.

A range begins after its first second and ends with its last one, as was observed; ranges follow each other
without a hole. The last one ends some seconds before now, so that its last second is complete: the host's
clock must be right to within these seconds.

Stores nothing, gives no feedback, sends no credentials but to the configured address.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final, Self
from urllib.parse import parse_qs, urlencode

from coverguard.errors import IntegrityFailure, TransientError
from coverguard.exchanges import CHECKPOINT_CHARACTERS, RAW_BYTES, Batch, Faulty, Record
from coverguard.model import between
from coverguard.remote.exchanges import ncmec_xml
from coverguard.remote.exchanges.wire import Broken, NotTaken, Wire, printable_ascii, require_root

CREDENTIALS_FILE: Final = "keys/ncmec.credentials"
LAG: Final = 10  # seconds
FIRST_RANGE: Final = 86_400  # seconds
LONGEST_RANGE: Final = 10 * 366 * 86_400
RANGE_ENTRIES: Final = 10_000  # more are too many, unless all are of one second
MAX_PAGES: Final = 100_000  # of one second
MAX_GAPS: Final = 100
LINK_LIFE: Final = timedelta(hours=11)  # an hour less than the exchange says
RESTARTS: Final = 3
_SHRINK: Final = 4
_AFTER_A_GAP: Final = 60  # seconds: broken ones are often neighbours
_MAX_LINK: Final = 2000
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999


class Environment(StrEnum):
    """Which of NCMEC's lists: each has members and accounts of its own. See `ROOTS` for where it lies."""

    INDUSTRY = "industry"
    INDUSTRY_EXPLOITATIVE = "industry-exploitative"
    NGO = "ngo"  # the hashes of Take It Down are a member's in this one
    NGO_EXPLOITATIVE = "ngo-exploitative"
    GENERATIVE_AI = "generative-ai"
    GENERATIVE_AI_EXPLOITATIVE = "generative-ai-exploitative"
    LAW_ENFORCEMENT = "law-enforcement"
    TEST_INDUSTRY = "test-industry"
    TEST_INDUSTRY_EXPLOITATIVE = "test-industry-exploitative"
    TEST_NGO = "test-ngo"
    TEST_NGO_EXPLOITATIVE = "test-ngo-exploitative"
    TEST_GENERATIVE_AI = "test-generative-ai"
    TEST_GENERATIVE_AI_EXPLOITATIVE = "test-generative-ai-exploitative"
    TEST_LAW_ENFORCEMENT = "test-law-enforcement"


ROOTS: Final[Mapping[Environment, str]] = {
    Environment.INDUSTRY: "https://report.cybertip.org/hashsharing",
    Environment.INDUSTRY_EXPLOITATIVE: "https://report.cybertip.org/exploitative-hashsharing",
    Environment.NGO: "https://hashsharing.ncmec.org/npo",
    Environment.NGO_EXPLOITATIVE: "https://hashsharing.ncmec.org/exploitative",
    Environment.GENERATIVE_AI: "https://hashsharing.ncmec.org/generative-ai-csam",
    Environment.GENERATIVE_AI_EXPLOITATIVE: "https://hashsharing.ncmec.org/generative-ai-exploitative",
    Environment.LAW_ENFORCEMENT: "https://lesp.ncmec.org/csam-hashsharing",
    Environment.TEST_INDUSTRY: "https://exttest.cybertip.org/hashsharing",
    Environment.TEST_INDUSTRY_EXPLOITATIVE: "https://exttest.cybertip.org/exploitative-hashsharing",
    Environment.TEST_NGO: "https://hashsharing-test.ncmec.org/npo",
    Environment.TEST_NGO_EXPLOITATIVE: "https://hashsharing-test.ncmec.org/exploitative",
    Environment.TEST_GENERATIVE_AI: "https://hashsharing-test.ncmec.org/generative-ai-csam",
    Environment.TEST_GENERATIVE_AI_EXPLOITATIVE: "https://hashsharing-test.ncmec.org/generative-ai-exploitative",
    Environment.TEST_LAW_ENFORCEMENT: "https://betalesp.ncmec.org/csam-hashsharing",
}


@dataclass(frozen=True, slots=True)
class Login:
    user: str = field(repr=False)
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        shown = self.user and self.password and (self.user + self.password).isprintable()
        if not shown or ":" in self.user:
            raise ValueError("a login is user:password on one line")

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read `user:password`; raise ValueError, without it, for anything else."""
        user, _, password = line.strip().partition(":")
        return cls(user, password)


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """Everything up to the end of second `to` was read, but for the seconds that are gaps."""

    to: int  # seconds since 1970
    gaps: tuple[int, ...] = ()  # each the last second of a range of one

    def written(self, environment: str) -> str:
        text = json.dumps({"ncmec": environment, "to": self.to, "gaps": self.gaps}, separators=(",", ":"))
        assert len(text) <= CHECKPOINT_CHARACTERS
        return text

    @classmethod
    def read(cls, text: str | None, environment: str) -> Self:
        if text is None:
            return cls(0)
        try:
            said = json.loads(text[: CHECKPOINT_CHARACTERS + 1])
            to, gaps = said["to"], tuple(said["gaps"])
            ours = said["ncmec"] == environment and len(gaps) <= MAX_GAPS
            moments = all(type(one) is int and 0 <= one <= _LAST_SECOND for one in (to, *gaps))
        except (ValueError, TypeError, KeyError, RecursionError):
            ours = moments = False
        if not (ours and moments):
            raise IntegrityFailure(f"ncmec: the stored checkpoint is none of {environment}") from None
        return cls(to, gaps)


@dataclass(frozen=True, slots=True, kw_only=True)
class NcmecExchange:
    """`exchanges.Exchange`. The wire names the login's file; `url` stands in for the environment's root."""

    environment: Environment
    credentials: Callable[[], Login] = field(repr=False)  # asked once a run
    wire: Wire
    url: str | None = None
    range_entries: int = RANGE_ENTRIES

    def __post_init__(self) -> None:
        require_root(self.url or ROOTS[self.environment])

    @property
    def name(self) -> str:
        return f"ncmec {self.environment}"

    @property
    def root(self) -> str:
        return require_root(self.url or ROOTS[self.environment])

    def batches(self, checkpoint: str | None) -> Iterator[Batch]:
        begun = _Checkpoint.read(checkpoint, self.environment)
        now = self.wire.clock.now() // 1_000_000
        if begun.to > now + FIRST_RANGE:
            raise IntegrityFailure("ncmec: the stored checkpoint lies in the future: is the clock right?")
        run = _Run(self, headers=self._headers(), begun=begun)
        return run.batches(until=now - LAG)

    def check(self) -> None:
        self.ask_status(self._headers())

    def ask_status(self, headers: Mapping[str, str]) -> None:
        """Ask who we are: whether the exchange is well, and takes us."""
        self.wire.get(f"{self.root}/v2/status", headers=headers, read=partial(_whole, root="status"))

    def _headers(self) -> dict[str, str]:
        login = self.credentials()
        pair = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}", "Accept": "application/xml"}


class _Stale(Exception):
    """A link is refused, or too old: its range begins again."""


@dataclass(frozen=True, slots=True)
class _Page:
    found: ncmec_xml.Page
    number: int
    next: str | None = field(repr=False)  # a whole address, which was looked at


class _Run:
    """One call of `batches`: how far it has come."""

    def __init__(self, exchange: NcmecExchange, *, headers: Mapping[str, str], begun: _Checkpoint) -> None:
        self._exchange = exchange
        self._wire = exchange.wire
        self._headers = headers
        self._done = begun.to
        self._gaps = list(begun.gaps)
        self._size = FIRST_RANGE
        self._broken_until = 0  # somewhere up to there is what broke a range
        self._crowded_until = 0  # … is what made one too large

    def batches(self, *, until: int) -> Iterator[Batch]:
        for gap in tuple(self._gaps):
            yield from self._again(gap)
        restarts = 0
        while self._done < until:
            start, end = self._done, self._following(until)
            try:
                yield from self._range(start, end)
            except Broken as broken:
                yield from self._after(broken, start, end)
            except _Stale:
                restarts += 1
                if restarts > RESTARTS:
                    raise TransientError("ncmec: links die before they can be followed") from None
            if self._done > start:
                restarts = 0

    def _following(self, until: int) -> int:
        """Where the next range ends: within one that is known to be broken, in its middle."""
        if self._done < self._broken_until:
            return self._done + max(1, (self._broken_until - self._done) // 2)
        return min(self._done + self._size, until)

    def _range(self, start: int, end: int) -> Iterator[Batch]:
        """Tell a range to its end, or until it proves too large, which makes the next ones smaller."""
        entries = 0
        for page in self._pages(start, end):
            entries += len(page.found.entries)
            if page.next is None:
                self._done = end
                self._grow(entries)
            yield self._batch(page, start, end=end, done=page.next is None)
            if page.next is not None and entries > self._exchange.range_entries and end - start > 1:
                self._size = max(1, (end - start) // _SHRINK)
                self._broken_until, self._crowded_until = 0, end
                return

    def _grow(self, entries: int) -> None:
        if self._done >= self._crowded_until and entries * _SHRINK <= self._exchange.range_entries:
            self._size = min(self._size * (2 if entries else _SHRINK), LONGEST_RANGE)

    def _after(self, broken: Broken, start: int, end: int) -> Iterator[Batch]:
        """Narrow a broken range down, unless the exchange itself is unwell; go on past a broken second."""
        self._exchange.ask_status(self._headers)
        yield self._salvaged(broken, start, end)
        self._broken_until = end
        if end - start > 1:
            return
        if len(self._gaps) >= MAX_GAPS:
            raise TransientError("ncmec: there are too many gaps") from None
        self._gaps.append(end)
        self._done, self._size = end, _AFTER_A_GAP
        faulty = Faulty(place=_position(start, end), fault=str(broken), raw=broken.body[:RAW_BYTES])
        yield self._told((faulty,), _position(start, end), done=True)

    def _again(self, gap: int) -> Iterator[Batch]:
        """Ask for a second that could not be read."""
        try:
            for page in self._pages(gap - 1, gap):
                if page.next is None:
                    self._gaps.remove(gap)
                yield self._batch(page, gap - 1, end=gap, done=page.next is None)
        except Broken as broken:
            yield self._salvaged(broken, gap - 1, gap)
        except _Stale:
            return  # the next run asks again

    # ── pages ──────────────────────────────────────────────────────────────────────────────────────────────

    def _pages(self, start: int, end: int) -> Iterator[_Page]:
        query = urlencode({"from": _moment(start), "to": _moment(end)})
        address = f"{self._exchange.root}/v2/entries?{query}"
        begun, seen = self._wire.clock.now(), set[str]()
        for number in range(1, MAX_PAGES + 1):
            if number > 1 and between(begun, self._wire.clock.now()) > LINK_LIFE:
                raise _Stale
            read = partial(self._read, start=start, end=end, number=number, seen=seen)
            try:
                page = self._wire.get(address, headers=self._headers, read=read)
            except NotTaken:
                if number == 1:
                    raise
                raise _Stale from None
            yield page
            if page.next is None:
                return
            seen.add(address := page.next)
        raise TransientError("ncmec: a range has too many pages")

    def _read(self, body: bytes, *, start: int, end: int, number: int, seen: AbstractSet[str]) -> _Page:
        found = _whole(body, root="queryResult")
        if found.next is None:
            return _Page(found, number, next=None)
        address = _followed(self._exchange.root, found.next, start=start, end=end)
        if address is None or address in seen:
            fault = "leads elsewhere" if address is None else "came before"
            raise Broken(f"ncmec: a page's link to the next one {fault}", body=body)
        return _Page(found, number, next=address)

    def _batch(self, page: _Page, start: int, *, end: int, done: bool) -> Batch:
        told = tuple(ncmec_xml.records(page.found, number=page.number))
        return self._told(told, f"{_position(start, end)}, page {page.number}", done=done)

    def _salvaged(self, broken: Broken, start: int, end: int) -> Batch:
        """What was complete of a broken page; its faults are told when the page is whole, or a gap."""
        found = ncmec_xml.read(broken.body)
        told = tuple(one for one in ncmec_xml.records(found, number=0) if isinstance(one, Record))
        return self._told(told, f"{_position(start, end)}, a broken page", done=False)

    def _told(self, told: tuple[Record | Faulty, ...], position: str, *, done: bool) -> Batch:
        checkpoint = _Checkpoint(self._done, tuple(self._gaps))
        return Batch(
            records=tuple(one for one in told if isinstance(one, Record)),
            faulty=tuple(one for one in told if isinstance(one, Faulty)),
            checkpoint=checkpoint.written(self._exchange.environment) if done else None,
            gaps=len(self._gaps),
            position=position,
        )


# ── words of the wire ──────────────────────────────────────────────────────────────────────────────────────


def _whole(body: bytes, *, root: str) -> ncmec_xml.Page:
    found = ncmec_xml.read(body, root=root)
    if found.broken:
        raise Broken(f"ncmec: {found.broken}", body=body)
    return found


def _followed(root: str, link: str, *, start: int, end: int) -> str | None:
    """Return the whole address of a link, which is below the root; None if it leads anywhere else.

    Elsewhere is: another server, another path, another range.
    """
    if len(link) > _MAX_LINK or not printable_ascii(link):
        return None
    entries = f"{root}/v2/entries?"
    address = root + link if link.startswith("/v2/") else link
    if not address.startswith(entries) or "#" in address:
        return None
    asked = parse_qs(address.removeprefix(entries))
    for name, second in (("from", start), ("to", end)):
        said = asked.get(name, [])
        if len(said) != 1 or ncmec_xml.moment_of(said[0]) != second * 1_000_000:
            return None
    return address


def _moment(seconds: int) -> str:
    """UTC, whatever the host's zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _position(start: int, end: int) -> str:
    return f"{_moment(start)} … +{timedelta(seconds=end - start)}"
