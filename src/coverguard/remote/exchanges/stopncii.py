"""StopNCII.org: every hash that somebody has asked platforms to keep an eye on, page by page.

A page leads to the next by a token; the last says from which moment to go on the next time. Of several such
moments the earliest counts: reading twice is harmless. After thirty days the exchange no longer says what
was withdrawn, so everything is read again, as a `whole` listing. A token that is refused makes the run
begin again; one that comes again is a fault, never an endless loop.

A page that stays broken, while the exchange is otherwise well, is asked for in smaller pieces down to one
record. That record is then a gap, and reading goes on past it. Where even that is impossible, it goes on
from a later moment, nearer and nearer to now. While there are gaps, each run begins where the first of them
began: that costs reading twice, and nothing vanishes.

A record's id is a keyed MAC that the caller makes: the exchange has none but the hash itself.
Stores nothing, gives no feedback, sends no keys but to the configured address.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final, Self
from urllib.parse import urlencode

from coverguard.errors import IntegrityFailure, TransientError
from coverguard.exchanges import RAW_BYTES, Batch, Faulty, Record
from coverguard.remote.exchanges import stopncii_json
from coverguard.remote.exchanges.stopncii_json import LAST_SECOND, KeyOf, Page
from coverguard.remote.exchanges.wire import Broken, NotTaken, Wire, printable_ascii, require_root

ROOT: Final = "https://api.stopncii.org/v1"
CREDENTIALS_FILE: Final = "keys/stopncii.credentials"
START: Final = 10  # seconds since 1970: the exchange's word for the beginning
STALE_AFTER: Final = 30 * 86_400  # seconds
PAGE_SIZES: Final = (800, 200, 50, 1)
MAX_PAGES: Final = 1_000_000
MAX_GAPS: Final = 100
RESTARTS: Final = 3


@dataclass(frozen=True, slots=True)
class Keys:
    function: str = field(repr=False)  # for FetchHashes
    subscription: str = field(repr=False)

    def __post_init__(self) -> None:
        if not all(printable_ascii(one) and "," not in one for one in (self.function, self.subscription)):
            raise ValueError("keys are function-key,subscription-key on one line")

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read `function-key,subscription-key`; raise ValueError, without them, for anything else."""
        function, _, subscription = line.strip().partition(",")
        return cls(function, subscription)


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    start: int = START  # where to go on
    at: int = 0  # when the run began that led there, by our clock
    gaps: int = 0

    def written(self) -> str:
        return json.dumps({"stopncii": self.start, "at": self.at, "gaps": self.gaps}, separators=(",", ":"))

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        if text is None:
            return None
        try:
            said = json.loads(text)
            start, at, gaps = said["stopncii"], said["at"], said["gaps"]
            valid = all(type(one) is int and 0 <= one <= LAST_SECOND for one in (start, at, gaps))
        except (ValueError, TypeError, KeyError, RecursionError):
            valid = False
        if not valid:
            raise IntegrityFailure("stopncii: the stored checkpoint is none of it") from None
        return cls(start, at, gaps)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopNciiExchange:
    """`exchanges.Exchange`. `key_of` makes an id of a hash that tells nobody else the hash."""

    credentials: Callable[[], Keys] = field(repr=False)  # asked once a run
    key_of: KeyOf = field(repr=False)
    wire: Wire
    url: str = ROOT
    page_sizes: tuple[int, ...] = PAGE_SIZES

    def __post_init__(self) -> None:
        require_root(self.url)

    @property
    def name(self) -> str:
        return "stopncii"

    def batches(self, checkpoint: str | None) -> Iterator[Batch]:
        begun = _Checkpoint.read(checkpoint)
        now = self.wire.clock.now() // 1_000_000
        if begun is not None and begun.at > now + 86_400:
            raise IntegrityFailure("stopncii: the stored checkpoint lies in the future: is the clock right?")
        stale = begun is None or now - begun.at > STALE_AFTER
        start = START if stale or begun is None else begun.start
        return _Run(self, headers=self._headers(), start=start, now=now).batches()

    def check(self) -> None:
        self.ask_little(self._headers())

    def ask_little(self, headers: Mapping[str, str]) -> None:
        """Ask for what has just changed: whether the exchange is well, and takes us."""
        now = self.wire.clock.now() // 1_000_000
        self.wire.get(self.address(now, size=1), headers=headers, read=_whole)

    def address(self, start: int, *, size: int, token: str | None = None) -> str:
        asked = {"startTimestamp": start, "pageSize": size} | ({"nextPageToken": token} if token else {})
        return f"{require_root(self.url)}/FetchHashes?{urlencode(asked)}"

    def _headers(self) -> dict[str, str]:
        keys = self.credentials()
        return {
            "x-functions-key": keys.function,
            "Ocp-Apim-Subscription-Key": keys.subscription,
            "Accept": "application/json",
        }


class _Restart(Exception):
    """A token is refused: the run begins again."""


class _Run:
    """One call of `batches`: how far it has come."""

    def __init__(
        self, exchange: StopNciiExchange, *, headers: Mapping[str, str], start: int, now: int
    ) -> None:
        self._exchange = exchange
        self._headers = headers
        self._begun, self._start, self._now = start, start, now
        self._sizes = _Sizes(exchange.page_sizes)
        self._gaps = self._number = 0
        self._nexts: list[int] = []  # from where to go on, as each page has it

    def batches(self) -> Iterator[Batch]:
        for _ in range(RESTARTS + 1):
            self._start, self._gaps = self._begun, 0
            self._nexts.clear()
            try:
                yield from self._listing()
            except _Restart:
                self._sizes.stay()
            else:
                return
        raise TransientError("stopncii: tokens die before they can be followed")

    def _listing(self) -> Iterator[Batch]:
        token: str | None = None
        seen = set[str]()
        for self._number in range(1, MAX_PAGES + 1):
            faulty: tuple[Faulty, ...] = ()
            try:
                page = self._page(token, seen)
            except Broken as broken:
                self._exchange.ask_little(self._headers)
                page = stopncii_json.read(broken.body)
                if self._sizes.shrink():
                    yield self._told(page, salvaged=True)
                    continue
                faulty = (self._gap(broken),)
            self._sizes.passed(len(page.records))
            if page.next_start is not None:
                self._nexts.append(page.next_start)
            lost = bool(faulty) and not (page.leads_on and page.token not in seen)
            if lost:  # nothing says what follows: go on nearer to now, and come back for the rest
                self._start += max(1, (self._now - self._start) // 2)
            over = self._start >= self._now if lost else not page.more
            yield self._told(page, faulty, over=over)
            if over:
                return
            token = None if lost else page.token
            seen |= {token} if token else set()
        raise TransientError("stopncii: a listing has too many pages")

    def _page(self, token: str | None, seen: AbstractSet[str]) -> Page:
        address = self._exchange.address(self._start, size=self._sizes.now, token=token)
        try:
            return self._exchange.wire.get(address, headers=self._headers, read=partial(_whole, seen=seen))
        except NotTaken:
            if token is None:
                raise
            raise _Restart from None

    def _gap(self, broken: Broken) -> Faulty:
        self._gaps += 1
        if self._gaps > MAX_GAPS:
            raise TransientError("stopncii: there are too many gaps") from None
        return Faulty(place=f"page {self._number}", fault=str(broken), raw=broken.body[:RAW_BYTES])

    def _told(
        self, page: Page, faulty: tuple[Faulty, ...] = (), *, over: bool = False, salvaged: bool = False
    ) -> Batch:
        told = tuple(stopncii_json.records(page, number=self._number, key_of=self._exchange.key_of))
        unread = () if salvaged else tuple(one for one in told if isinstance(one, Faulty))
        return Batch(
            records=tuple(one for one in told if isinstance(one, Record)),
            faulty=faulty + unread,
            checkpoint=self._checkpoint().written() if over else None,
            gaps=self._gaps,
            position=f"{datetime.fromtimestamp(self._start, UTC):%Y-%m-%dT%H:%M:%SZ} …, page {self._number}",
            whole=self._begun == START,
        )

    def _checkpoint(self) -> _Checkpoint:
        """Where the next run begins: while there are gaps, where this one did."""
        further = min(self._nexts, default=self._begun)
        start = self._begun if self._gaps else max(self._begun, further)
        return _Checkpoint(start, self._now, self._gaps)


class _Sizes:
    """How many records to ask for: fewer where a page was broken, more again once that is passed."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._sizes = sizes
        self._left = [0] * len(sizes)  # records to pass before a larger size is tried again
        self._rung = 0
        self._stays = False

    @property
    def now(self) -> int:
        return self._sizes[self._rung]

    def shrink(self) -> bool:
        """Ask for fewer; False: there are no fewer."""
        if self._rung + 1 == len(self._sizes):
            return False
        self._rung += 1
        self._left[self._rung] = self._sizes[self._rung - 1]
        return True

    def passed(self, records: int) -> None:
        self._left = [left - max(1, records) for left in self._left]
        while self._rung and self._left[self._rung] <= 0 and not self._stays:
            self._rung -= 1

    def stay(self) -> None:
        """Change sizes no more than needed: perhaps a token is good for one size alone."""
        self._stays = True


def _whole(body: bytes, *, seen: AbstractSet[str] = frozenset()) -> Page:
    page = stopncii_json.read(body)
    fault = page.broken or ("the token came before" if page.more and page.token in seen else None)
    if fault:
        raise Broken(f"stopncii: {fault}", body=body)
    return page
