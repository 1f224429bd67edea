"""The road of one upload message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from coverguard import __version__
from coverguard.acting import Enforcer
from coverguard.errors import (
    BadMessage,
    ContentRejected,
    DecoderUnavailable,
    IntegrityFailure,
    ObjectMissing,
    RejectReason,
    TransientError,
)
from coverguard.messages import CoverUploaded
from coverguard.model import (
    Decision,
    Done,
    Fingerprint,
    Hold,
    Match,
    Micros,
    Mode,
    NotScreened,
    NotScreenedReason,
    Origin,
    Outcome,
    Pass,
    Retry,
    Surface,
)
from coverguard.policy import decide
from coverguard.ports import Clock
from coverguard.screening.knowledge import Knowledge, KnowledgeCache, ListsUnknown
from coverguard.screening.looking import Eyes
from coverguard.screening.recording import AnswerRecorder
from coverguard.store import Row, covers, screenings
from coverguard.store.engine import Database
from coverguard.store.screenings import Answer
from coverguard.telemetry import Log, Stopwatch

UPLOAD_ORIGIN_ID = ""
NO_ANSWER = (ContentRejected, DecoderUnavailable, ObjectMissing, TransientError, IntegrityFailure)


Newest = Callable[[], Knowledge]


class _Judged(NamedTuple):
    seen: Fingerprint
    matches: tuple[Match, ...]
    decision: Decision
    knowledge: Knowledge


class _Looked(NamedTuple):
    """An answer, and what was known when it was given; of what was not screened, nothing had to be known."""

    decision: Decision
    matches: tuple[Match, ...] = ()
    fingerprint: Fingerprint | None = None
    knowledge: Knowledge | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Screener:
    database: Database
    eyes: Eyes
    knowledge: KnowledgeCache
    recorder: AnswerRecorder
    enforcer: Enforcer
    clock: Clock
    log: Log
    modes: Mapping[Surface, Mode]
    buckets: frozenset[str]  # where a message may point

    def screen(self, event: CoverUploaded, *, sent_at: Micros, mode: Mode | None = None) -> Outcome:
        """Answer one upload message; whatever happened to an earlier delivery of it is taken up, not redone.

        `mode` is the surface's, unless the place of the object says another.

        Raises:
            BadMessage: it points outside the allow-listed buckets, or contradicts an earlier announcement.
            TransientError: something outside is unwell and nothing could be recorded.
        """
        watch = Stopwatch()
        self._allow_listed(event)
        with watch.phase("record"), self.database.transaction() as tx:
            chosen = mode or self.modes[event.cover.surface]
            cover = covers.announce(tx, event, mode=chosen, sent_at=sent_at, now=self.clock.now())
            row = screenings.get(tx, cover.id, Origin.UPLOAD, UPLOAD_ORIGIN_ID)
        self.log.add(cover=cover.ref, surface=cover.surface, mode=cover.mode)
        if row is None or _may_improve(row):
            row = self._answer(cover, watch)
        if row.settled_at is None:
            with watch.phase("act"):
                self.enforcer.settle(cover.id)
        self.log.note(
            "screened", cover=cover.ref, surface=cover.surface, mode=cover.mode, decision=row.decision,
            reason=row.reason, seq=row.judged_seq, wait_ms=(self.clock.now() - sent_at) / 1000,
            **watch.milliseconds(),
        )  # fmt: skip
        return self._outcome(row)

    def _allow_listed(self, event: CoverUploaded) -> None:
        if any(place.bucket not in self.buckets for place in (event.object, *event.renditions)):
            raise BadMessage("field object: bucket is not one coverguard may read")

    def _answer(self, cover: Row[Any], watch: Stopwatch) -> Row[Any]:
        """Answer by what is known of the lists when the picture is matched: to look at it takes seconds.

        What is listed after that, and before the answer is stored, is not missed either: the answer says
        which list change it was given at, and that is an earlier one.
        """
        earlier = self.knowledge.current()  # without lists nothing need be read
        looked = self._look(cover, self.knowledge.current, watch)
        knowledge = looked.knowledge or earlier
        answer = Answer(
            cover_version_id=cover.id,
            origin=Origin.UPLOAD,
            origin_id=UPLOAD_ORIGIN_ID,
            decision=looked.decision,
            matches=looked.matches,
            fingerprint=looked.fingerprint,
            judged_seq=knowledge.seq if looked.fingerprint else None,
        )
        with watch.phase("record"), self.database.transaction() as tx:
            return self.recorder.record(tx, answer, known_lists=knowledge.known_lists(), now=self.clock.now())

    def look(
        self, cover: Row[Any], knowledge: Knowledge, watch: Stopwatch, *, for_lists: bool = False
    ) -> tuple[Decision, tuple[Match, ...], Fingerprint | None]:
        """Read, fingerprint, match and decide: no row is written, and no error escapes as an answer.

        What a person may come to remove is fingerprinted for our own lists, too, while its bytes are at hand:
        what is held or referred, and with `for_lists` whatever it is.
        """
        looked = self._look(cover, lambda: knowledge, watch, for_lists=for_lists)
        return looked.decision, looked.matches, looked.fingerprint

    def _look(self, cover: Row[Any], newest: Newest, watch: Stopwatch, *, for_lists: bool = False) -> _Looked:
        try:
            data, seen = self.eyes.original(cover, watch)
            judged = self._judge(seen, newest, watch)
            if not isinstance(judged.decision, Hold):  # what is held is held at once
                judged = self._judge_copy(judged, cover, newest, watch)
        except ListsUnknown:  # no fault of the cover's: the delivery comes again
            raise
        except NO_ANSWER as error:
            return _not_screened(*_why(error))
        if isinstance(judged.decision, Pass) and judged.knowledge.withholds(now=self.clock.now()):
            return _not_screened(NotScreenedReason.LISTS_STALE)
        seen = judged.seen
        if for_lists or not isinstance(judged.decision, Pass):
            seen = self.eyes.with_parts(data, seen, watch)
        return _Looked(judged.decision, judged.matches, seen, judged.knowledge)

    def _judge(self, seen: Fingerprint, newest: Newest, watch: Stopwatch) -> _Judged:
        knowledge = newest()
        with watch.phase("match"):
            matches = knowledge.matches(seen, now=self.clock.now())
        decision = decide(matches, seen)
        if isinstance(decision, Pass) and decision.low_information and seen.truncated:
            raise ContentRejected(RejectReason.TRUNCATED)  # hardly anything of it was there to be seen
        return _Judged(seen, matches, decision, knowledge)

    def _judge_copy(self, judged: _Judged, cover: Row[Any], newest: Newest, watch: Stopwatch) -> _Judged:
        """What strangers are served may show more; a copy that cannot be had now undoes no finding."""
        try:
            seen = self.eyes.with_copy(cover, judged.seen, watch)
        except (TransientError, DecoderUnavailable, IntegrityFailure):
            if isinstance(judged.decision, Pass):
                raise
            return judged
        return judged if seen is judged.seen else self._judge(seen, newest, watch)

    def _outcome(self, row: Row[Any]) -> Outcome:
        """A failure that may be cured stays on the queue; the ledger, not the queue, counts its attempts."""
        if row.retry_at is None:
            return Done(note=row.decision)
        wait = max(row.retry_at - self.clock.now(), 0)
        return Retry(after=timedelta(microseconds=wait), note="not_screened")


def _why(error: Exception) -> tuple[NotScreenedReason, str]:
    """Say as a reason, and its detail, why there is no answer."""
    match error:
        case ContentRejected():
            return NotScreenedReason.UNREADABLE_CONTENT, error.reason.value
        case DecoderUnavailable():
            return NotScreenedReason.DECODER_UNAVAILABLE, ""
        case ObjectMissing():
            return NotScreenedReason.OBJECT_MISSING, ""
        case IntegrityFailure():
            return NotScreenedReason.STORE_UNREACHABLE, "integrity_failure"
        case _:
            return NotScreenedReason.STORE_UNREACHABLE, ""


def _not_screened(reason: NotScreenedReason, detail: str = "") -> _Looked:
    return _Looked(NotScreened(reason=reason, detail=detail))


def _may_improve(row: Row[Any]) -> bool:
    """Whether looking again can change the answer: real ones are final, and some bytes can never be read."""
    if row.decision != "not_screened":
        return False
    return bool(row.reason != NotScreenedReason.UNREADABLE_CONTENT.value or row.software != __version__)
