"""The driver of takedowns: list, walk catalogue and buckets, block, verify by asking, look again; or lift.

    requested ─list, walk→ enumerated ─block→ dark ─ask every object→ verified_gone ─look again→ …

Everything it has to know to go on is in the ledger, so it may die anywhere: the next one lists from the
cursor, blocks what is `requested`, asks again. Every step is an *ensure* and ends in a move from a named
state, so two drivers on one takedown are harmless. Memory is one page of covers. Unknown is not gone, a
catalogue that does not answer is not an empty one: then the takedown waits, and rings when it waits too long.
It decides nothing: who goes dark, and why, is `store.takedowns`' and its callers' word.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final, Literal, TypeVar

from coverguard.acting import Enforcer
from coverguard.acting.enforcer import UNSETTLED
from coverguard.acting.inventory import Inventory
from coverguard.errors import CoverguardError, IllegalTransition, TransientError
from coverguard.lifecycle import TakedownState
from coverguard.messages import TakedownVerified, from_micros
from coverguard.model import Micros, Mode, ObjectRef, Surface, between, later
from coverguard.ports import Catalogue, Clock, Queue, Reach
from coverguard.retrying import uncontended
from coverguard.store import (
    Connection,
    Row,
    alarms,
    audit,
    cases,
    covers,
    darkening,
    obligations,
    outbox,
    takedowns,
)
from coverguard.store.engine import Database
from coverguard.takedown.stocktaking import StockTaking
from coverguard.takedown.walking import CatalogueWalk
from coverguard.telemetry import Log

T = TypeVar("T")
Drive = Generator["Progress", None, timedelta]
Phase = Literal["list", "catalogue", "block", "verify", "lift", "wait"]

PAGE: Final = 100
DUE_AT_ONCE: Final = 50
TRY_AGAIN: Final = timedelta(seconds=5)
WALK_AGAIN: Final = timedelta(days=1)
# A resizer may be late, a copy may be put back: soon, then hourly, then daily (time since it was verified).
LOOKS: Final = (
    (timedelta(minutes=15), timedelta(minutes=1)),
    (timedelta(days=1), timedelta(hours=1)),
)
DAILY: Final = timedelta(days=1)


class _ChangedMeanwhile(Exception):
    """The takedown is no longer what this drive of it began with; the next one takes it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakedownRules:
    target: timedelta  # from request to verified gone, before it rings
    review_target: timedelta
    threads: int  # objects acted on at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One bounded piece of work, done: how many cover versions of how many in this phase."""

    ref: str
    state: str
    phase: Phase
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakedownDriver:
    database: Database
    enforcer: Enforcer
    catalogue: Catalogue
    inventory: Inventory
    uploads: Queue
    clock: Clock
    log: Log
    modes: Mapping[Surface, Mode]
    buckets: frozenset[str]
    rules: TakedownRules
    _under_way: dict[int, Iterator[Progress]] = field(default_factory=dict, init=False, repr=False)

    @property
    def under_way(self) -> bool:
        """Whether a takedown is in the middle of its pages."""
        return bool(self._under_way)

    # ── driving ────────────────────────────────────────────────────────────────────────────────────────────

    def turn(self, *, beat: Callable[[], None] = lambda: None) -> int:
        """Do one page of work on each takedown that is due; return how many are under way or were."""
        with self.database.reading() as tx:
            due = takedowns.due(tx, now=self.clock.now(), limit=DUE_AT_ONCE)
        for takedown_id in due:
            self._under_way.setdefault(takedown_id, self.drive(takedown_id))
        for takedown_id, pages in list(self._under_way.items()):
            try:
                next(pages)
            except (StopIteration, TransientError):  # it could not even say that it waits: it is due still
                del self._under_way[takedown_id]
            except Exception as error:  # noqa: BLE001 - one takedown that fails must not stop the others
                del self._under_way[takedown_id]
                self.log.bug(error)
                self._look_again(self._row(takedown_id), TRY_AGAIN)
            beat()
        return len(due)

    def drive(self, takedown_id: int) -> Iterator[Progress]:
        """Take it as far as it gets now, a page at a time; ends when there is nothing to do until `look_at`.

        What the outside does to us is said and waited for, not raised.
        """
        seen = self._row(takedown_id)
        if seen.lifted_at is not None:
            return
        wait = TRY_AGAIN
        try:
            wait = yield from self._lifted(seen) if seen.lifting_at is not None else self._darkened(seen)
        except (_ChangedMeanwhile, IllegalTransition):
            return
        except CoverguardError as error:
            self.log.line("takedown_waits", subject=seen.ref, error=type(error.__cause__ or error).__name__)
        self._look_again(seen, wait)

    def _look_again(self, seen: Row[Any], wait: timedelta) -> None:
        """Set when to look next, unless somebody asked for it sooner meanwhile."""
        with self.database.transaction() as tx:
            takedowns.look_at(tx, seen.id, later(self.clock.now(), wait), unless_since=seen.look_at)

    def _darkened(self, seen: Row[Any]) -> Drive:
        """All the way to verified gone; the value is how long to wait then."""
        known_gone = seen.state == TakedownState.VERIFIED_GONE.value
        yield from self._list(seen)
        yield from self._block(seen)  # what we know of does not wait for the catalogue
        failed: CoverguardError | None = None
        try:
            yield from self._walk(seen)
        except CoverguardError as error:
            if not known_gone:
                raise
            failed = error
        self._enumerate(seen)
        yield from self._block(seen)
        if not self._darken(seen):
            return TRY_AGAIN
        wait = yield from self._verify(seen, look_anew=known_gone)
        if failed is not None:
            raise failed
        return wait

    def _row(self, takedown_id: int) -> Row[Any]:
        with self.database.reading() as tx:
            return takedowns.by_id(tx, takedown_id)

    def _locked(self, tx: Connection, seen: Row[Any]) -> Row[Any]:
        """Lock the account, and read the takedown anew: it has to be going the way that it went."""
        row = takedowns.lock_account_of(tx, seen)
        if row.lifted_at is not None or (row.lifting_at is None) != (seen.lifting_at is None):
            raise _ChangedMeanwhile
        return row

    def _progress(self, seen: Row[Any], phase: Phase, done: int) -> Progress:
        with self.database.reading() as tx:
            row = takedowns.by_id(tx, seen.id)
            of_account, claimed = darkening.counts(tx, row)
        total = of_account if phase in ("list", "catalogue") else max(claimed, done)
        return Progress(ref=row.ref, state=row.state, phase=phase, done=done, total=total)

    def _each(self, work: Callable[[int], T], over: Sequence[int]) -> Iterable[T]:
        """As many at a time as the rules say: what takes the time is waiting for others' answers."""
        if self.rules.threads == 1 or len(over) == 1:
            return [work(one) for one in over]
        with ThreadPoolExecutor(self.rules.threads, thread_name_prefix="takedown") as pool:
            return list(pool.map(work, over))

    # ── enumerate ──────────────────────────────────────────────────────────────────────────────────────────

    def _list(self, seen: Row[Any]) -> Iterator[Progress]:
        """Claim what the ledger knows: up from the cursor, then whatever escaped."""
        done = 0
        while claimed := uncontended(lambda: self._claim_page(seen), clock=self.clock):
            done += claimed
            yield self._progress(seen, "list", done)

    def _claim_page(self, seen: Row[Any]) -> int:
        with self.database.transaction() as tx:
            row = takedowns.by_id(tx, seen.id)
            ids = darkening.covers_after(tx, row.account_id, after=row.cursor, limit=PAGE)
            in_order = bool(ids)
            ids = ids or darkening.unclaimed(tx, row, limit=PAGE)
            found = covers.lock_many(tx, ids) if ids else ()
            row = self._locked(tx, seen)
            if found:
                darkening.claim(tx, row, found, now=self.clock.now())
            if in_order:
                darkening.list_up_to(tx, row, ids[-1])
        return len(ids)

    def _walk(self, seen: Row[Any]) -> Iterator[Progress]:
        """Ask platform and buckets what the account has. Raises `TransientError` where one does not say."""
        if not self._walk_is_due(seen):
            return
        if self.catalogue.exists:
            walk = CatalogueWalk(
                database=self.database, catalogue=self.catalogue, uploads=self.uploads, clock=self.clock,
                modes=self.modes, buckets=self.buckets,
            )  # fmt: skip
            for done in walk.pages(seen):
                yield self._progress(seen, "catalogue", done)
            yield from self._list(seen)
        stock = StockTaking(
            database=self.database, inventory=self.inventory, uploads=self.uploads, clock=self.clock
        )
        for done in stock.pages(seen):
            yield self._progress(seen, "catalogue", done)
        with self.database.transaction() as tx:
            takedowns.note_walked(tx, self._locked(tx, seen), now=self.clock.now())

    def _walk_is_due(self, seen: Row[Any]) -> bool:
        walked_at = self._row(seen.id).walked_at
        return walked_at is None or between(Micros(walked_at), self.clock.now()) >= WALK_AGAIN

    def _enumerate(self, seen: Row[Any]) -> None:
        with self.database.transaction() as tx:
            row = self._locked(tx, seen)
            if row.state != TakedownState.REQUESTED.value:
                return
            now = self.clock.now()
            takedowns.enumerated(tx, row, now=now)
            due = later(now, self.rules.review_target)
            obligations.owe(tx, kind="review", takedown_id=row.id, due_at=due, now=now)
            of_account, claimed = darkening.counts(tx, row)
            facts = {"covers": of_account, "claimed": claimed, **darkening.differences(tx, row.id)}
            audit.write(tx, now=now, verb="enumerate", subject=row.ref, facts=facts)

    # ── block ──────────────────────────────────────────────────────────────────────────────────────────────

    def _block(self, seen: Row[Any]) -> Iterator[Progress]:
        """Act for every claimed cover that is still `requested`; one that fails keeps no other public."""
        done = after = 0
        while True:
            with self.database.reading() as tx:
                ids = darkening.owing(tx, seen.id, after=after, limit=PAGE)
                going = takedowns.by_id(tx, seen.id)
            if not ids:
                return
            if going.lifting_at is not None:
                raise _ChangedMeanwhile
            self._settle(ids)
            done, after = done + len(ids), ids[-1]
            yield self._progress(seen, "block", done)

    def _settle(self, ids: Sequence[int]) -> None:
        failed = self.enforcer.settle_many(ids, each=self._each)
        for cover_version_id, error in failed.items():
            self.log.line("unsettled", error=type(error).__name__)
            with self.database.transaction() as tx:
                ref = covers.by_id(tx, cover_version_id).ref
                alarms.ring(tx, kind=UNSETTLED, subject=ref, now=self.clock.now())

    def _darken(self, seen: Row[Any]) -> bool:
        """Note that nothing of the account is unclaimed or unblocked; False where something is."""
        with self.database.transaction() as tx:
            row = self._locked(tx, seen)
            if not self._all_blocked(tx, row):
                return False
            if row.state == TakedownState.ENUMERATED.value:
                takedowns.darkened(tx, row, now=self.clock.now())
            return True

    @staticmethod
    def _all_blocked(tx: Connection, row: Row[Any]) -> bool:
        owing = darkening.owing(tx, row.id, after=0, limit=1)
        return not owing and not darkening.unclaimed(tx, row, limit=1)

    # ── verify ─────────────────────────────────────────────────────────────────────────────────────────────

    def _verify(self, seen: Row[Any], *, look_anew: bool) -> Drive:
        """Ask for every object as a stranger would; the value is how long to wait until the next look."""
        answers = dict.fromkeys((Reach.GONE, Reach.REACHABLE, Reach.UNKNOWN), 0)
        done = after = 0
        since = None if look_anew else self._row(seen.id).dark_at
        while True:
            with self.database.reading() as tx:
                ids = darkening.claimed(tx, seen.id, after=after, limit=PAGE)
            if not ids:
                break
            if look_anew:
                self._settle(ids)  # finds renditions that came late
            for asked in self._each(lambda one: self._ask(seen.id, one, since=since), ids):
                for reach in asked:
                    answers[reach if reach in answers else Reach.REACHABLE] += 1
            done, after = done + len(ids), ids[-1]
            yield self._progress(seen, "verify", done)
        if answers[Reach.REACHABLE]:
            with self.database.transaction() as tx:
                row, now = self._locked(tx, seen), self.clock.now()
                takedowns.reappeared(tx, row.id, now=now)
                takedowns.look_at(tx, row.id, later(now, TRY_AGAIN))
            yield from self._block(seen)
            return TRY_AGAIN
        if answers[Reach.UNKNOWN]:
            return TRY_AGAIN
        return self._verified(seen, objects=answers[Reach.GONE])

    def _ask(self, takedown_id: int, cover_version_id: int, *, since: Micros | None) -> Sequence[Reach]:
        """What a stranger gets of one cover; what was seen gone `since` it was all dark need not be asked."""
        with self.database.reading() as tx:
            rows = darkening.objects_of(tx, takedown_id, cover_version_id)
        asked = [row for row in rows if since is None or row.gone_at is None or row.checked_at < since]
        answers = [self.enforcer.verify_gone(row) for row in asked]
        public = [row for row, reach in zip(asked, answers, strict=True) if reach is not Reach.GONE]
        for row, reach in zip(asked, answers, strict=True):
            if reach is Reach.REACHABLE and (there := self.enforcer.put_again(row)) is not None:
                uncontended(partial(self._claim_again, takedown_id, row, there), clock=self.clock)
        if public:
            self.enforcer.drop_copies(public)  # a cache may have what the origin no longer gives
        elif any(row.gone_at is None for row in asked):
            self.enforcer.note_settled(cover_version_id)
        return [*answers, *[Reach.GONE] * (len(rows) - len(asked))]

    def _claim_again(self, takedown_id: int, row: Row[Any], there: ObjectRef) -> None:
        """The same bytes under a new version, or something at a rendition's place: hidden like the first."""
        with self.database.transaction() as tx:
            cover = covers.lock(tx, row.cover_version_id)
            live = takedowns.lock_account_of(tx, takedowns.by_id(tx, takedown_id))
            if live.lifting_at is None and live.lifted_at is None:
                darkening.claim_elsewhere(tx, live, cover, there, now=self.clock.now())

    def _verified(self, seen: Row[Any], *, objects: int) -> timedelta:
        with self.database.transaction() as tx:
            row = self._locked(tx, seen)
            now = self.clock.now()
            if row.state not in (TakedownState.DARK.value, TakedownState.VERIFIED_GONE.value):
                raise _ChangedMeanwhile  # something slipped in, or came back, while we asked
            if row.state == TakedownState.VERIFIED_GONE.value:
                takedowns.note_objects(tx, row, objects=objects)
                return _next_look(between(Micros(row.verified_at), now))
            if not self._all_blocked(tx, row):
                return TRY_AGAIN
            takedowns.verified(tx, row, objects=objects, now=now)
            self._tell_verified(tx, row, objects=objects, now=now)
            return _next_look(timedelta())

    def _tell_verified(self, tx: Connection, row: Row[Any], *, objects: int, now: Micros) -> None:
        event = TakedownVerified(
            event_id=f"{row.ref}:verified:{row.reopened}",
            occurred_at=from_micros(now),
            account_id=covers.platform_account(tx, row.account_id),
            objects=objects,
        )
        outbox.tell_safety(tx, event=event, now=now)
        audit.write(tx, now=now, verb="verify gone", subject=row.ref, facts={"objects": objects})
        darkening.settle_differences(tx, row.id, now=now)
        obligations.meet(tx, kind="account_takedown", takedown_id=row.id, now=now)
        for item_id in cases.confirmed_items(tx, row.account_id):
            obligations.meet(tx, kind="account_takedown", item_id=item_id, now=now)
        for kind in (takedowns.STUCK, takedowns.REOPENED):
            alarms.quiet(tx, kind=kind, subject=row.ref, now=now)

    # ── lift ───────────────────────────────────────────────────────────────────────────────────────────────

    def _lifted(self, seen: Row[Any]) -> Drive:
        """Give up every claim, put back what nobody else wants hidden; the value is how long to wait."""
        done = 0
        while ids := uncontended(lambda: self._give_up_page(seen), clock=self.clock):
            self._settle(ids)
            done += len(ids)
            yield self._progress(seen, "lift", done)
        after = 0
        while True:
            with self.database.reading() as tx:
                ids = darkening.unreleased(tx, seen.id, after=after, limit=PAGE)
            if not ids:
                break
            self._settle(ids)
            after = ids[-1]
            yield self._progress(seen, "lift", done)
        with self.database.transaction() as tx:
            row = self._locked(tx, seen)
            now = self.clock.now()
            if darkening.claimed(tx, row.id, after=0, limit=1):
                return TRY_AGAIN
            if darkening.unreleased(tx, row.id, after=0, limit=1):
                return TRY_AGAIN
            takedowns.lifted(tx, row, now=now)
            obligations.waive(tx, kinds=("account_takedown", "review"), takedown_id=row.id, now=now)
            cases.close_if_only_listed(tx, row.account_id, now=now)
            for kind in (takedowns.STUCK, takedowns.REOPENED):
                alarms.quiet(tx, kind=kind, subject=row.ref, now=now)
            audit.write(tx, now=now, verb="lift", subject=row.ref)
        return TRY_AGAIN

    def _give_up_page(self, seen: Row[Any]) -> Sequence[int]:
        with self.database.transaction() as tx:
            ids = darkening.claimed(tx, seen.id, after=0, limit=PAGE)
            if ids:
                covers.lock_many(tx, ids)
            row = self._locked(tx, seen)
            if ids:
                darkening.give_up(tx, row.id, ids, now=self.clock.now())
        return ids

    # ── what the keeper asks ───────────────────────────────────────────────────────────────────────────────

    def serve_terminations(self) -> int:
        """Act on what an earlier release stored of accounts' ends and did not serve."""
        with self.database.reading() as tx:
            waiting = takedowns.unserved_accounts(tx, limit=PAGE)
        for account_id in waiting:
            with self.database.transaction() as tx:
                now = self.clock.now()
                takedowns.judge_termination(tx, account_id, now=now)
                takedowns.mark_served(tx, account_id, now=now)
        return len(waiting)

    def ring_stuck(self) -> int:
        """Ring for every takedown that is not verified, or lifted, in time; what ended is quieted there."""
        now = self.clock.now()
        with self.database.reading() as tx:
            rung = {row.subject for row in alarms.ringing(tx) if row.kind == takedowns.STUCK}
            late = takedowns.late(tx, since=later(now, -self.rules.target))
        new = [row.ref for row in late if row.ref not in rung]
        if new:
            with self.database.transaction() as tx:
                for ref in new:
                    alarms.ring(tx, kind=takedowns.STUCK, subject=ref, now=now)
        return len(new)


def _next_look(verified_for: timedelta) -> timedelta:
    return next((every for until, every in LOOKS if verified_for < until), DAILY)
