"""Kill switches: an entry, a list or all lists of a source that people stopped, perhaps until some time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coverguard.model import Micros

Until = Micros | None
"""None: until a person lifts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """What is stopped, by id; a source is the lists that it has."""

    entries: Mapping[int, Until] = field(default_factory=dict)
    lists: Mapping[int, Until] = field(default_factory=dict)

    def cover(self, *, entry_id: int, list_id: int, now: Micros) -> bool:
        """Whether the entry counts for nothing at that time."""
        return _lasts(self.entries, entry_id, now) or _lasts(self.lists, list_id, now)


def _lasts(stops: Mapping[int, Until], one: int, now: Micros) -> bool:
    if one not in stops:
        return False
    until = stops[one]
    return until is None or now < until
