"""A simulated NCMEC hash sharing exchange: what it has, and its pages as XML, out of order.

A range is answered from a copy made when its first page was asked for; links to its next pages live for some
hours. Every digest is drawn from a seeded generator: none is of anything. For tests and demonstrations.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

from coverguard.ports import Clock
from coverguard.testing.exchanges.serving import ELSEWHERE, Answer, Asked, Simulation, Trouble

USER: Final = "simulated"
PASSWORD: Final = "for-tests-only"  # noqa: S105 - of a simulation
NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
LINK_LIFE: Final = 12 * 3600  # seconds
_BYTES: Final = {"md5": 16, "sha1": 20, "pdq": 32, "pdna": 144}
_OPENING: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_BOMB: Final = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The present version of one entry."""

    entry_id: str
    member: int = 42
    kind: str = "image"  # or "video"
    at: int  # seconds since 1970
    deleted: bool = False
    classification: str | None = "A1"
    fingerprints: tuple[tuple[str, str], ...] = ()  # element name and text
    disputed: tuple[str, ...] = ()  # types with negative feedback, as feedback writes them: "Sha1"

    @property
    def key(self) -> tuple[int, str, str]:
        return self.member, self.kind, self.entry_id


class NcmecSimulation(Simulation):
    """Everything that one environment has."""

    root = "/hashsharing"

    def __init__(self, clock: Clock, *, page_size: int = 1000, seed: int = 7) -> None:
        super().__init__(clock)
        self.page_size = page_size
        self.entries: dict[tuple[int, str, str], Entry] = {}
        self.poisoned = set[str]()  # ids of entries at which a page breaks off
        self._random = random.Random(seed)
        self._copies: dict[tuple[str, str], tuple[int, list[Entry]]] = {}  # by range: when made, and what

    def digest(self, name: str) -> str:
        """Invent a fingerprint, in hex."""
        return self._random.randbytes(_BYTES[name]).hex()

    def publish(
        self,
        entry_id: str,
        *,
        at: int | None = None,
        types: tuple[str, ...] = ("md5", "sha1", "pdq"),
        **facts: object,
    ) -> Entry:
        """Have an entry, with invented fingerprints unless they are given; the same id again replaces it."""
        with self._guard:
            made = tuple((name, self.digest(name)) for name in types)
            entry = Entry(entry_id=entry_id, at=self._now() if at is None else at, fingerprints=made)
            entry = replace(entry, **facts)  # type: ignore[arg-type]
            self.entries[entry.key] = entry
            return entry

    def delete(self, entry: Entry, *, at: int | None = None) -> Entry:
        """Leave nothing of an entry but that it was deleted."""
        with self._guard:
            gone = replace(entry, at=self._now() if at is None else at, deleted=True, fingerprints=())
            self.entries[entry.key] = gone
            return gone

    def admits(self, headers: Mapping[str, str]) -> bool:
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return headers.get("authorization") == f"Basic {pair}"

    def page(self, asked: Asked, trouble: Trouble | None) -> Answer:
        if asked.path == f"{self.root}/v2/status":
            return _xml(f'<status xmlns="{NAMESPACE}"><member id="1">Simulated</member></status>')
        if asked.path != f"{self.root}/v2/entries" or not {"from", "to"} <= asked.query.keys():
            return Answer(status=404)
        wanted = asked.query["from"], asked.query["to"]
        start = int(asked.query.get("start", "1"))
        if start == 1:
            self._copies[wanted] = self._now(), self._copy(*wanted)
        made, entries = self._copies.get(wanted, (0, []))
        if self._now() - made > LINK_LIFE:
            return Answer(status=404)
        held = entries[start - 1 : start - 1 + self.page_size]
        return _xml(self._written(held, self._link(wanted, start, entries, trouble), trouble), trouble)

    def _copy(self, begin: str, end: str) -> list[Entry]:
        first, last = _seconds(begin), _seconds(end)
        found = [one for one in self.entries.values() if first < one.at <= last]
        self._random.shuffle(found)
        return found

    def _link(
        self, wanted: tuple[str, str], start: int, entries: list[Entry], trouble: Trouble | None
    ) -> str | None:
        following = start + self.page_size
        if trouble is Trouble.LOOP:
            following = start
        elif following > len(entries) and trouble is not Trouble.HOSTILE:
            return None
        facts = {"from": wanted[0], "to": wanted[1], "start": following, "size": self.page_size}
        link = f"/v2/entries?{urlencode(facts | {'max': following + self.page_size - 1})}"
        return f"{ELSEWHERE}{self.root}{link}" if trouble is Trouble.HOSTILE else link

    def _written(self, held: list[Entry], link: str | None, trouble: Trouble | None) -> str:
        parts = [f'<queryResult xmlns="{NAMESPACE}">']
        for kind in ("image", "video"):
            ours = [one for one in held if one.kind == kind]
            count = len(ours) + (trouble is Trouble.MISCOUNT and kind == "image")
            latest = f' maxTimestamp="{_moment(max(one.at for one in ours))}"' if ours else ""
            parts.append(f'<{kind}s count="{count}"{latest}>')
            for one in ours:
                if one.entry_id in self.poisoned:
                    return "\n".join([*parts, "<image><member"])
                parts.append(written(one))
            parts.append(f"</{kind}s>")
        if link is not None:
            parts.append(f"<paging><next>{escape(link)}</next></paging>")
        return "\n".join([*parts, "</queryResult>"])

    def _now(self) -> int:
        return self.clock.now() // 1_000_000


def written(entry: Entry) -> str:
    """Write an entry as the exchange does."""
    name = f"deleted{entry.kind.title()}" if entry.deleted else entry.kind
    parts = [
        f'<{name}><member id="{entry.member}">Simulated Member</member>',
        f"<timestamp>{_moment(entry.at)}</timestamp><id>{escape(entry.entry_id)}</id>",
    ]
    if not entry.deleted:
        if entry.classification is not None:
            parts.append(f"<classification>{escape(entry.classification)}</classification>")
        prints = (f"<{kind}>{escape(said)}</{kind}>" for kind, said in entry.fingerprints)
        parts.append(f"<fingerprints>{''.join(prints)}</fingerprints>")
        parts.append(f"<feedback>{''.join(_disputed(one) for one in entry.disputed)}</feedback>")
    return "".join([*parts, f"</{name}>"])


def _disputed(kind: str) -> str:
    """Write negative feedback on a type of fingerprint."""
    return (
        f"<negativeFeedback type={quoteattr(kind)}><reasons>"
        f'<reason guid="01234567-abcd-0123-4567-012345678900" name="Simulated" type={quoteattr(kind)}/>'
        '<members><member id="43">Another Member</member></members></reasons></negativeFeedback>'
    )


def _xml(text: str, trouble: Trouble | None = None) -> Answer:
    opening = _OPENING + (_BOMB if trouble is Trouble.BOMB else "")
    if trouble is Trouble.BOMB:
        text = text.replace("Simulated Member", "&b;")
    return Answer(headers={"content-type": "application/xml"}, body=(opening + text).encode())


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())
