"""A simulated StopNCII exchange: what it has, and its pages as JSON, out of order.

A listing is answered from a copy made when its first page was asked for; a token leads on in it, by any page
size, and lives for some hours. Every hash is drawn from a seeded generator: none is of anything. For tests
and demonstrations.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from coverguard.ports import Clock
from coverguard.testing.exchanges.serving import Answer, Asked, Simulation, Trouble

FUNCTION_KEY: Final = "function-for-tests-only"
SUBSCRIPTION_KEY: Final = "subscription-for-tests-only"
TOKEN_LIFE: Final = 12 * 3600  # seconds
REMEMBERED: Final = 30 * 86_400  # seconds for which it says what is withdrawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The present version of one record."""

    value: str
    kind: str = "ImagePDQ"
    at: int  # seconds since 1970
    status: str = "Active"
    feedback: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)  # fields that replace or join those written


class StopNciiSimulation(Simulation):
    """Everything that the exchange has."""

    root = "/v1"

    def __init__(self, clock: Clock, *, most: int = 800, seed: int = 7) -> None:
        super().__init__(clock)
        self.most = most  # records a page, whatever is asked for
        self.listed: dict[tuple[str, str], Listed] = {}
        self.poisoned = set[str]()  # values at which a page breaks off
        self.mute = False  # such a page does not even say what follows it
        self._random = random.Random(seed)
        self._copies: list[tuple[int, list[Listed]]] = []  # when made, and what

    def digest(self) -> str:
        """Invent a PDQ, in hex."""
        return self._random.randbytes(32).hex()

    def publish(self, value: str | None = None, *, at: int | None = None, **facts: object) -> Listed:
        """Have a record; the same signal again replaces it."""
        with self._guard:
            listed = Listed(value=value or self.digest(), at=self._now() if at is None else at)
            listed = replace(listed, **facts)  # type: ignore[arg-type]
            self.listed[listed.kind, listed.value] = listed
            return listed

    def forget(self) -> None:
        """Leave out what was withdrawn too long ago."""
        with self._guard:
            for key, one in tuple(self.listed.items()):
                if one.status in ("Withdrawn", "Deleted") and self._now() - one.at > REMEMBERED:
                    del self.listed[key]

    def admits(self, headers: Mapping[str, str]) -> bool:
        keys = headers.get("x-functions-key"), headers.get("ocp-apim-subscription-key")
        return keys == (FUNCTION_KEY, SUBSCRIPTION_KEY)

    def page(self, asked: Asked, trouble: Trouble | None) -> Answer:
        if asked.path != f"{self.root}/FetchHashes":
            return Answer(status=404)
        place = self._place(asked.query)
        if place is None:
            return Answer(status=400)
        copy, offset = place
        made, held = self._copies[copy]
        end = offset + min(int(asked.query["pageSize"]), self.most)
        told, more = held[offset:end], end < len(held) or trouble is Trouble.LOOP
        token = asked.query.get("nextPageToken") if trouble is Trouble.LOOP else _token(copy, end)
        header = {
            "count": len(told) + (trouble is Trouble.MISCOUNT),
            "nextSetTimestamp": made,
            "nextPageToken": (token or _token(copy, 0)) if more else None,
            "hasMoreRecords": more,
        }
        return Answer(headers={"content-type": "application/json"}, body=self._written(header, told))

    def _place(self, query: Mapping[str, str]) -> tuple[int, int] | None:
        """Which copy, and from which record on; None for a token that is none (any more)."""
        if "nextPageToken" not in query:
            held = [one for one in self.listed.values() if one.at >= int(query["startTimestamp"])]
            self._random.shuffle(held)
            self._copies.append((self._now(), held))
            return len(self._copies) - 1, 0
        try:
            copy, offset = (int(one) for one in base64.b64decode(query["nextPageToken"]).split(b","))
            made, _ = self._copies[copy]
        except (ValueError, IndexError):
            return None
        return None if self._now() - made > TOKEN_LIFE else (copy, offset)

    def _written(self, header: dict[str, Any], told: list[Listed]) -> bytes:
        sound = list[bytes]()
        for one in told:
            if one.value in self.poisoned:
                head = b'{"count": 1' if self.mute else json.dumps(header).encode()[:-1]
                return head + b', "hashRecords": [' + b", ".join([*sound, b'{"lastMod'])
            sound.append(json.dumps(written(one)).encode())
        return json.dumps(header).encode()[:-1] + b', "hashRecords": [' + b", ".join(sound) + b"]}"

    def _now(self) -> int:
        return self.clock.now() // 1_000_000


def written(one: Listed) -> dict[str, Any]:
    """Write a record as the exchange does: without cases, their numbers are a list instead of an object."""
    answers = [{"source": "Simulated", "feedbackValue": said, "tags": []} for said in one.feedback]
    return {
        "lastModtimestamp": one.at,
        "signalType": one.kind,
        "hashValue": one.value,
        "hashStatus": one.status,
        "caseNumbers": [] if one.at % 2 else {"00000000-0000-0000-0000-000000000000": one.status},
        "hashRegions": ["UK"],
        "CSPFeedbacks": answers,
        **one.extra,
    }


def _token(copy: int, offset: int) -> str:
    return base64.b64encode(b"%d,%d" % (copy, offset)).decode()
