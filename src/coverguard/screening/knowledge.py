"""What this process knows of the lists: one immutable snapshot, replaced whole when a list changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from coverguard.errors import ConfigurationError, IntegrityFailure, TransientError
from coverguard.imaging.signal_types import SignalTypes
from coverguard.matching import ListIndex
from coverguard.model import Fingerprint, Match
from coverguard.policy import judge, reach
from coverguard.ports import Clock, Keys
from coverguard.store import alarms, lists
from coverguard.store.engine import Database
from coverguard.store.lists import ListSnapshot

UNREADABLE: Final = ("lists_unreadable", "part:lists")
POLL: Final = timedelta(seconds=1) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    snapshot: ListSnapshot
    index: ListIndex

    @property
    def seq(self) -> int:
        """The list change this knowledge is as new as."""
        return self.snapshot.seq

    def known_lists(self) -> Mapping[int, bool]:
        """Whether clearing a match of a list takes two people, by list id."""
        return {list_id: rule.known for list_id, rule in self.snapshot.rules.items()}

    def matches(self, fingerprint: Fingerprint) -> tuple[Match, ...]:
        """Every match, shadow and suppressed ones included, strongest first."""
        rules = self.snapshot.rules
        near = reach((rule for rule in rules.values() if not rule.wide), algorithms=self.index.perceptual)
        far = reach((rule for rule in rules.values() if rule.wide), algorithms=self.index.perceptual)
        candidates = self.index.candidates(
            fingerprint, radius=near.radius, wide=far.radius, complement=near.complement or far.complement
        )
        return judge(
            candidates,
            fingerprint,
            entries=self.snapshot.entries,
            rules=rules,
            suppressions=self.snapshot.suppressions,
        )


class KnowledgeCache:
    """Keeps the snapshot fresh: asks for the newest sequence number at most once a second."""

    def __init__(
        self, database: Database, keys: Keys, *, clock: Clock, types: SignalTypes | None = None
    ) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._types = types or SignalTypes()
        self._known: Knowledge | None = None
        self._asked_at = 0

    def require_loaded(self) -> None:
        """Say whether the lists were read; may be asked from another thread.

        Raises:
            TransientError: not yet, or not any more.
        """
        if self._known is None:
            raise TransientError("the lists were not read yet")

    def current(self) -> Knowledge:
        """Return knowledge that is at most a second behind the database.

        Raises:
            TransientError: the database does not answer, and old knowledge is not used in its stead; or a
                list row does not open, and it rings until the lists can be read.
        """
        now = self._clock.now()
        if self._known is None or now - self._asked_at >= POLL:
            self._refresh()
            self._asked_at = now
        assert self._known is not None
        return self._known

    def _refresh(self) -> None:
        try:
            with self._database.reading() as tx:
                if self._known is not None and lists.newest_seq(tx) == self._known.seq:
                    return
                snapshot = lists.load(tx, self._keys, algorithms=self._types.algorithms)
        except (IntegrityFailure, ConfigurationError) as error:
            self._known = None
            self._ring(broken=True)
            raise TransientError("the lists cannot be read") from error
        wide = {list_id for list_id, rule in snapshot.rules.items() if rule.wide}
        index = ListIndex(snapshot.digests, seq=snapshot.seq, wide=wide, measures=self._types.measures)
        self._known = Knowledge(snapshot=snapshot, index=index)
        self._ring(broken=False)

    def _ring(self, *, broken: bool) -> None:
        kind, subject = UNREADABLE
        with self._database.reading() as tx:
            rings = any((one.kind, one.subject) == UNREADABLE for one in alarms.ringing(tx))
        if rings == broken:  # a look takes no write lock, and lists change all the time
            return
        with self._database.transaction() as tx:
            now = self._clock.now()
            if broken:
                alarms.ring(tx, kind=kind, subject=subject, now=now)
            else:
                alarms.quiet(tx, kind=kind, subject=subject, now=now)
