"""An example: how a platform obeys the pipeline topic, whatever order its messages arrive in.

coverguard never publishes. It says what may be done with exactly these bytes, and numbers what it says: of
two messages about one cover version the one with the higher `verdict_seq` holds. Delivery is at least once,
so a message may come twice, late, or before one that was sent earlier. Three rules are enough:

1. Under a lock on the cover version, ignore a `verdict_seq` that is not higher than the newest one obeyed.
2. Act first, then note the number. A crash in between repeats the act, and doing it twice is doing it once.
3. Publish only the object version that the message names, and only if its bytes have the digest it names.

Nothing here knows a queue, a database or an object store: they are passed in. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

SCHEMA: Final = "coverguard.event/1"
MAY_BE_SHOWN: Final = frozenset({"cover.cleared", "cover.released"})
MUST_NOT_BE_SHOWN: Final = frozenset({"cover.withheld", "cover.removed"})


class CoverVersion(NamedTuple):
    """What a verdict is about. A cover's id means something only together with its surface."""

    surface: str
    cover_id: str
    version: int


class ObjectVersion(NamedTuple):
    bucket: str
    key: str
    version_id: str


@dataclass(slots=True)
class Obeyed:
    """The newest verdict that was carried out for one cover version: one row of the platform's database."""

    verdict_seq: int = 0
    event_id: str = ""


class NotUnderstood(Exception):
    """The message is not one of ours. Do not acknowledge it: set it aside and look."""


class WrongBytes(Exception):
    """The store does not have the bytes that were screened. Nothing was published; the message stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """Carries out verdicts. Every callable may be called twice with the same arguments."""

    locked: Callable[[CoverVersion], AbstractContextManager[Obeyed]]
    """Lock the cover version's row, lend it, and store it in the end unless something was raised."""

    read: Callable[[ObjectVersion], bytes]
    """Return exactly that version of the object, not the newest."""

    publish: Callable[[CoverVersion, ObjectVersion, bytes], None]
    """Let the public see these bytes as this version of the cover, if it is the one the owner has chosen."""

    unpublish: Callable[[CoverVersion], None]
    """Let nobody see this version of the cover, nor a resized or cached copy of it."""

    def handle(self, body: str) -> str:
        """Carry out one message and say what became of it: `done`, `repeated` or `late`.

        Acknowledge the message when this returns, and only then.

        Raises:
            NotUnderstood: it is no pipeline message of this schema.
            WrongBytes: the bytes are not the ones that were screened.
        """
        event = _understood(body)
        named = event["cover"]
        cover = CoverVersion(named["surface"], named["id"], named["version"])
        with self.locked(cover) as obeyed:
            if event["event_id"] == obeyed.event_id:
                return "repeated"
            if event["verdict_seq"] <= obeyed.verdict_seq:
                return "late"
            if event["type"] in MAY_BE_SHOWN:
                self._publish(cover, event)
            else:
                self.unpublish(cover)
            obeyed.verdict_seq, obeyed.event_id = event["verdict_seq"], event["event_id"]
        return "done"

    def _publish(self, cover: CoverVersion, event: dict[str, Any]) -> None:
        place = event["object"]
        named = ObjectVersion(place["bucket"], place["key"], place["version_id"])
        data = self.read(named)
        if hashlib.sha256(data).hexdigest() != event["sha256"]:
            raise WrongBytes("the object's bytes do not have the digest that the verdict names")
        self.publish(cover, named, data)


def _understood(body: str) -> dict[str, Any]:
    """Return the message. A field we do not know is no fault; a type or schema we do not know is one."""
    try:
        event: dict[str, Any] = json.loads(body)
        known = event["schema"] == SCHEMA and event["type"] in MAY_BE_SHOWN | MUST_NOT_BE_SHOWN
    except (ValueError, TypeError, KeyError) as error:
        raise NotUnderstood("not a message of coverguard's pipeline topic") from error
    if not known:
        raise NotUnderstood("another schema or type of message")
    return event


# ── a run of it, with everything in memory ─────────────────────────────────────────────────────────────────


class InMemory:
    """A platform small enough to print: what is shown, and what was obeyed. A real one has a database."""

    def __init__(self, objects: dict[ObjectVersion, bytes]) -> None:
        self.objects = objects
        self.shown: dict[CoverVersion, bytes] = {}
        self._rows: dict[CoverVersion, Obeyed] = {}

    def consumer(self) -> Consumer:
        return Consumer(
            locked=self._locked,
            read=self.objects.__getitem__,
            publish=self._publish,
            unpublish=self._unpublish,
        )

    @contextmanager
    def _locked(self, cover: CoverVersion) -> Iterator[Obeyed]:
        stored = self._rows.get(cover, Obeyed())
        row = Obeyed(stored.verdict_seq, stored.event_id)
        yield row
        self._rows[cover] = row  # not reached when something was raised: nothing is stored then

    def _publish(self, cover: CoverVersion, _place: ObjectVersion, data: bytes) -> None:
        self.shown[cover] = data

    def _unpublish(self, cover: CoverVersion) -> None:
        self.shown.pop(cover, None)


def main() -> None:
    """Show that late and repeated messages change nothing."""
    data = b"these bytes stand for a harmless picture"
    place = ObjectVersion("intake", "c/1", "v1")
    platform = InMemory({place: data})
    consumer = platform.consumer()
    for seq, kind in (
        (1, "cover.withheld"),
        (3, "cover.removed"),
        (2, "cover.released"),
        (3, "cover.removed"),
    ):
        event = {
            "schema": SCHEMA,
            "type": kind,
            "event_id": f"cover-example:{seq}",
            "occurred_at": "2026-01-02T03:04:05Z",
            "cover": {"id": "c-1", "version": 1, "surface": "playlist_cover"},
            "object": place._asdict(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "verdict_seq": seq,
        }
        became = consumer.handle(json.dumps(event))
        print(f"verdict_seq {seq} {kind:14} -> {became:8} shown: {len(platform.shown)}")


if __name__ == "__main__":
    main()
