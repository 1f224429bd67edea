"""NCMEC's hash sharing, version 2, as XML: pages of entries, and what an entry means for us.

Invariants: a document type declaration is refused, so that no entity is ever expanded; depth, entries,
elements an entry and characters a text have limits; what was complete before a fault is kept, and the page
says that it is broken. The kind of an entry is its own element's name, whatever section it lies in.
Elements that are not known are ignored, unless they look like an entry: then they are faulty, since they
may be one.

What an entry means: image fingerprints MD5, SHA1 and PDQ become rows. A fingerprint that another member has
given negative feedback on becomes a row with opinion `seed`, which can never hold a picture by itself;
whose feedback that is and why is not weighed. Videos and other fingerprints are counted as unsupported. The
large ones are only links, which are neither followed nor stored. A record of which nothing valid is left is
no record: an unreadable version does not erase a readable one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from xml.parsers import expat

from coverguard.exchanges import RAW_BYTES, Faulty, Record
from coverguard.hashlist import ListRow
from coverguard.model import Algorithm, Opinion

NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
MAX_DEPTH: Final = 16
MAX_ENTRIES: Final = 20_000  # twenty times a page
MAX_ELEMENTS: Final = 5_000  # of one entry: feedback names every member that gave it
MAX_TEXT: Final = 16_384  # characters
LABEL_BYTES: Final = 64
_CHUNK: Final = 64 * 1024
_ENTRY_DEPTH: Final = 3  # queryResult, images, image

_ALGORITHMS: Final = {"MD5": Algorithm.MD5, "SHA1": Algorithm.SHA1, "PDQ": Algorithm.PDQ}
_UNSUPPORTED: Final = frozenset(
    {"PDNA", "NETCLEAN", "VIDENTIFIER", "TMK_PDQF", "SSVH_PDNA", "SSVH_SAFER_HASH"}
)
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_MEMBER: Final = re.compile(r"[0-9]{1,20}")
_ID_BYTES: Final = 160  # with the member's it stays below the 200 of a row's id


@dataclass(slots=True)
class Node:
    """An element of an entry."""

    name: str
    attributes: dict[str, str] = field(repr=False)
    text: str = field(default="", repr=False)
    children: list[Node] = field(default_factory=list)

    def child(self, name: str) -> Node | None:
        return next((one for one in self.children if one.name == name), None)

    def said(self, name: str) -> str:
        """The text of a child, or nothing."""
        found = self.child(name)
        return found.text.strip() if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    node: Node
    raw: bytes = field(repr=False)  # its beginning
    oversized: bool  # a limit was met, and what lay beyond it is not in the node


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    entries: tuple[Entry, ...]
    stated: int | None  # how many entries the page says that it has
    next: str | None = field(repr=False)
    broken: str | None  # why the rest could not be read


class _Stop(Exception):
    """The rest of the document is not to be read."""


def read(body: bytes, *, root: str = "queryResult") -> Page:
    """Read a page as far as it goes; `root` is the name that its outermost element must have."""
    return _Reader(body, root).page()


class _Reader:
    """The state of one reading."""

    def __init__(self, body: bytes, root: str) -> None:
        self._body = body
        self._root = root
        # UTF-8 whatever the document says, so that no codec is chosen by a stranger.
        self._parser = expat.ParserCreate("UTF-8", " ")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.buffer_text = True
        self._names: dict[str, str] = {}
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse
        self._section = ""
        self._depth = self._elements = self._entry_at = 0
        self._oversized = False
        self._open: list[Node] = []
        self._entries: list[Entry] = []
        self._stated: int | None = None
        self._next: str | None = None

    def page(self) -> Page:
        broken = None
        try:
            for start in range(0, len(self._body), _CHUNK):
                self._parser.Parse(self._body[start : start + _CHUNK], False)
            self._parser.Parse(b"", True)
        except expat.ExpatError:
            broken = "the page is not well-formed XML"
        except _Stop as stop:
            broken = str(stop)
        return Page(
            entries=tuple(self._entries),
            stated=self._stated,
            next=self._next,
            broken=broken,
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Stop("the page is nested too deeply")
        if name in self._names:
            name = self._names[name]
        else:
            name = self._names[name] = _local(name)
        if self._depth == 1:
            if name != self._root:
                raise _Stop("the page is none of hash sharing")
        elif self._depth < _ENTRY_DEPTH:
            self._section = name
            if re.fullmatch(r"[0-9]{1,9}", count := attributes.get("count", "")):
                self._stated = (self._stated or 0) + int(count)
        else:
            self._open_node(Node(name, attributes))

    def _open_node(self, node: Node) -> None:
        if self._depth == _ENTRY_DEPTH:
            self._entry_at, self._elements, self._oversized = self._parser.CurrentByteIndex, 0, False
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            self._oversized = True
        elif self._depth > _ENTRY_DEPTH:
            self._open[-1].children.append(node)
        self._open.append(node)

    def _text(self, text: str) -> None:
        if not self._open:
            return
        node = self._open[-1]
        if len(node.text) + len(text) > MAX_TEXT:
            self._oversized = True
        else:
            node.text += text

    def _end(self, _name: str) -> None:
        self._depth -= 1
        if not self._open:
            return
        node = self._open.pop()
        if self._open:
            return
        if self._section == "paging":
            if node.name == "next":
                self._next = node.text.strip() or None
            return
        if len(self._entries) >= MAX_ENTRIES:
            raise _Stop("the page has too many entries")
        end = self._body.find(b">", self._parser.CurrentByteIndex) + 1
        raw = self._body[self._entry_at : min(end, self._entry_at + RAW_BYTES)]
        self._entries.append(Entry(node=node, raw=raw, oversized=self._oversized))

    def _refuse(self, *_: object) -> None:
        raise _Stop("the page has a document type declaration")


def _local(name: str) -> str:
    space, _, local = name.rpartition(" ")
    return local if space in ("", NAMESPACE) else f"?{local}"  # a foreign element is none that we know


# ── what it means ──────────────────────────────────────────────────────────────────────────────────────────


class _Fault(Exception):
    """Why an entry is no record. Never leaves this module."""


def records(page: Page, *, number: int) -> Iterator[Record | Faulty]:
    """Yield what the entries of a page mean; `number` is the page's, for places."""
    for place, entry in enumerate(page.entries, start=1):
        faults = list[str]()
        try:
            record = _record(entry, faults)
        except _Fault as fault:
            record = None
            faults.append(str(fault))
        if record is not None:
            yield record
        for said in faults:
            yield Faulty(
                place=f"page {number}, record {place}",
                fault=said,
                raw=entry.raw,
                record_id=_known_id(entry.node),
            )
    if page.stated is not None and page.stated != len(page.entries) and not page.broken:
        raw = b"%d stated" % page.stated
        yield Faulty(place=f"page {number}", fault="not as many records as the page says", raw=raw)


def _record(entry: Entry, faults: list[str]) -> Record | None:
    """Return the record, and append what of it could not be read."""
    node = entry.node
    deleted = node.name in ("deletedImage", "deletedVideo")
    if not deleted and node.name not in ("image", "video"):
        if any(node.child(name) for name in ("id", "member", "fingerprints")):
            raise _Fault("an entry of an unknown kind")
        return None
    if entry.oversized:
        raise _Fault("the entry is too large")
    record_id, stamp = _record_id(node), _stamp(node)
    if deleted:
        return Record(record_id=record_id, stamp=stamp, gone=True)
    if node.name == "video":
        return Record(record_id=record_id, stamp=stamp, unsupported=("VIDEO",))
    return _image(node, faults, record_id=record_id, stamp=stamp)


def _image(node: Node, faults: list[str], *, record_id: str, stamp: int) -> Record | None:
    label = _label(node, faults)
    disputed = _disputed(node)
    rows, unsupported, wrong = dict[tuple[Algorithm, bytes], ListRow](), list[str](), 0
    fingerprints = node.child("fingerprints")
    for one in fingerprints.children if fingerprints else ():
        word, said = _word(one.name), one.text.strip()
        algorithm = _ALGORITHMS.get(word)
        if algorithm is None:
            unsupported.append(word if word in _UNSUPPORTED else "OTHER")
        elif said or one.children:
            try:
                digest = _digest(said, algorithm)
            except _Fault as fault:
                faults.append(str(fault))
                wrong += 1
                continue
            rows[algorithm, digest] = ListRow(
                source_entry_id=record_id,
                algorithm=algorithm,
                digest=digest,
                opinion=Opinion.SEED if disputed & {word, ""} else Opinion.POSITIVE,
                label=label,
            )
    if wrong and not rows:
        return None
    return Record(record_id=record_id, stamp=stamp, rows=tuple(rows.values()), unsupported=tuple(unsupported))


def _record_id(node: Node) -> str:
    member = node.child("member")
    member_id = member.attributes.get("id", "") if member else ""
    if not _MEMBER.fullmatch(member_id):
        raise _Fault("member has no number")
    entry_id = node.said("id")
    if not entry_id or not entry_id.isprintable() or len(entry_id.encode()) > _ID_BYTES:
        raise _Fault(f"id is not 1 to {_ID_BYTES} bytes of printable text")
    # Images and videos of one member might share an id: a video must not replace an image's rows.
    return f"{'v' if node.name in ('video', 'deletedVideo') else ''}{member_id}/{entry_id}"


def _known_id(node: Node) -> str | None:
    try:
        return _record_id(node)
    except _Fault:
        return None


def _stamp(node: Node) -> int:
    moment = moment_of(node.said("timestamp"))
    if moment is None:
        raise _Fault("timestamp is not a moment with its zone")
    return moment


_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def moment_of(said: str) -> int | None:
    """Return UTC microseconds of a moment in ISO 8601, by whole numbers; None for what is none."""
    if not _MOMENT.fullmatch(said):
        return None
    try:
        moment = datetime.fromisoformat(said)
        since = moment - datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    except (ValueError, OverflowError):
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _label(node: Node, faults: list[str]) -> str | None:
    said = node.said("classification")
    if said.isprintable() and len(said.encode()) <= LABEL_BYTES:
        return said or None
    faults.append("classification is not a printable word")
    return None


def _disputed(node: Node) -> frozenset[str]:
    """The fingerprint types on which there is negative feedback; "" for feedback that names none."""
    feedback = node.child("feedback")
    return frozenset(
        _word(one.attributes.get("type", ""))
        for one in (feedback.children if feedback else ())
        if one.name == "negativeFeedback"
    )


def _digest(said: str, algorithm: Algorithm) -> bytes:
    if not _HEX.fullmatch(said):
        raise _Fault(f"{algorithm} is not hex")
    digest = bytes.fromhex(said)
    if len(digest) != algorithm.size:
        raise _Fault(f"{algorithm} has not its {algorithm.size} bytes")
    if not any(digest):
        raise _Fault(f"{algorithm} is nothing but zeros")
    return digest


def _word(name: str) -> str:
    """A fingerprint's type as one word, since feedback says Sha1 where fingerprints say sha1."""
    return name.upper().replace("-", "_")
