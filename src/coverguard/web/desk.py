"""Taking in a report over HTTP: seal it, send it, and only then sign the receipt.

The desk makes the token; the token makes the mailbox in which the answers will lie, and the mailbox the
reference, so that a pair of reference and token can be checked without asking anybody. What was told is
sealed to the staff's key before it leaves this process and is not kept here. Nothing is receipted that is not
on the queue. Public covers of a named account are counted meanwhile, for a moment only: a count that does not
come in time is left out and holds up nobody's report. Judges nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field
from typing import Any, Final

from coverguard import receipts
from coverguard.correspondence import (
    Mail,
    ReportAddition,
    ReportDetails,
    added_context,
    filed_context,
    mail_context,
    sealed_text,
    to_seal,
    unsealed,
)
from coverguard.errors import BadMessage, CoverguardError, NotFound
from coverguard.local.boxes import TOKEN_BYTES, Mailbox, seal
from coverguard.messages import ReportAdded, ReportFiled, dump, from_micros
from coverguard.model import ReporterKind
from coverguard.ports import Clock, Queue, Signer
from coverguard.store import threads
from coverguard.store.engine import Database

COUNT_SECONDS: Final = 0.4
COUNTING_THREADS: Final = 4
NO_THREAD: Final = "This reference and this token do not belong together. Check both, as on your receipt."

Count = Callable[[Sequence[str]], Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """As whom somebody reports, and under which name of ours."""

    source: ReporterKind = ReporterKind.ANONYMOUS
    api_key: str | None = None
    network: bytes | None = None
    token: bytes | None = None  # where the same request has to get the same receipt
    removal: str | None = (
        None  # of a signed demand: its event, whose name is the same however often it is sent
    )
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipted:
    """A signed receipt, and the token of its thread, which is shown once."""

    reference: str
    envelope: Mapping[str, Any]
    token: str = field(repr=False)

    def document(self) -> dict[str, Any]:
        """All of it, as the reporter takes it home."""
        return {**self.envelope, "token": self.token}


class Counting:
    """Counts the public covers of accounts, or gives up in time."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(COUNTING_THREADS, thread_name_prefix="counting")

    def begin(self, account_ids: Sequence[str]) -> Future[Mapping[str, int]]:
        return self._pool.submit(self._count, account_ids) if account_ids else _nothing()

    @staticmethod
    def end(counted: Future[Mapping[str, int]], account_ids: Sequence[str]) -> Mapping[str, int | None]:
        """What was counted by now; None for what was not."""
        try:
            found = counted.result(timeout=COUNT_SECONDS)
        except (CoverguardError, NotInTime):
            counted.cancel()
            found = {}
        return {account_id: found.get(account_id) for account_id in account_ids}

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _nothing() -> Future[Mapping[str, int]]:
    done: Future[Mapping[str, int]] = Future()
    done.set_result({})
    return done


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One process's desk. Safe to use by several threads."""

    queue: Queue
    database: Database
    signer: Signer
    staff_key: bytes = field(repr=False)
    clock: Clock
    counting: Counting
    targets: receipts.Targets

    def file(self, told: ReportDetails, *, caller: Caller | None = None) -> Receipted:
        """Take in a report and return its receipt.

        Raises:
            TransientError: the queue did not take it; nothing was receipted.
        """
        caller, now = caller or Caller(), self.clock.now()
        counted = self.counting.begin(told.account_ids)
        token = caller.token or secrets.token_bytes(TOKEN_BYTES)
        box = Mailbox.of(token)
        reference = reference_of(box)
        sealed = seal(self.staff_key, to_seal(told), context=filed_context(reference))
        event = ReportFiled(
            event_id=caller.removal or f"filed-{reference}",
            occurred_at=from_micros(now),
            reference=reference,
            source=caller.source,
            api_key=caller.api_key,
            removal=caller.removal is not None,
            mailbox=box.public_key.hex(),
            network=caller.network.hex() if caller.network is not None else None,
            details=sealed_text(sealed),
        )
        self.queue.send([dump(event)])
        filing = receipts.Filing(
            reference=reference,
            at=now,
            source=caller.source,
            told=told,
            public_covers=self.counting.end(counted, told.account_ids),
            demanded=caller.removal is not None,
            notes=caller.notes,
        )
        envelope = receipts.signed(receipts.receipt(filing, self.targets), self.signer)
        return Receipted(reference=reference, envelope=envelope, token=_written(token))

    def add(self, reference: str, token: str, addition: ReportAddition) -> Mapping[str, Any]:
        """Take in what a reporter adds, and return its signed receipt.

        Raises:
            NotFound: reference and token do not belong together.
            TransientError: the queue did not take it; nothing was receipted.
        """
        box, now = _box(reference, token), self.clock.now()
        sealed = seal(self.staff_key, to_seal(addition), context=added_context(reference))
        event = ReportAdded(
            event_id=f"added-{secrets.token_hex(16)}",
            occurred_at=from_micros(now),
            reference=reference,
            mailbox=box.public_key.hex(),
            addition=sealed_text(sealed),
        )
        self.queue.send([dump(event)])
        return receipts.signed(receipts.addition(reference=reference, at=now), self.signer)

    def thread(self, reference: str, token: str) -> Sequence[Mapping[str, Any]]:
        """Everything that was said about a report, in its order; nothing until it was taken in.

        Raises:
            NotFound: reference and token do not belong together.
            TransientError: the ledger does not answer.
            IntegrityFailure: what lies in the mailbox was not sealed for it.
        """
        found = self._mail(_box(reference, token), reference)
        return [
            {
                "seq": one.seq,
                "at": one.at.isoformat(timespec="seconds"),
                "author": one.author,
                "kind": one.kind,
                "text": one.text,
            }
            for one in found
        ]

    def transcript(self, reference: str, token: str) -> Mapping[str, Any]:
        """The same, signed. Raises as `thread` does."""
        document = {
            "schema": receipts.TRANSCRIPT,
            "reference": reference,
            "made_at": from_micros(self.clock.now()).isoformat(timespec="seconds"),
            "entries": [dict(entry) for entry in self.thread(reference, token)],
        }
        return receipts.signed(document, self.signer)

    def _mail(self, box: Mailbox, reference: str) -> Sequence[Mail]:
        """What lies in the mailbox, opened."""
        with self.database.reading() as tx:
            rows = threads.mail(tx, box.address)
        return [unsealed(Mail, box.open(body, context=mail_context(reference, seq))) for seq, body in rows]


def _written(token: bytes) -> str:
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def reference_of(box: Mailbox) -> str:
    """The reference of the report whose mail lies in this box."""
    return f"report-{hashlib.sha256(b'coverguard/1/reference' + box.public_key).hexdigest()[:16]}"


def _box(reference: str, token: str) -> Mailbox:
    """The mailbox of a reference and a token as they stand on a receipt.

    Raises:
        NotFound: they do not belong together.
    """
    text = token.strip()
    try:
        written = base64.b64decode(f"{text}{'=' * (-len(text) % 4)}", altchars=b"-_", validate=True)
        box = Mailbox.of(written)
    except (binascii.Error, ValueError, BadMessage):
        raise NotFound(NO_THREAD) from None
    if reference_of(box) != reference.strip().lower():
        raise NotFound(NO_THREAD)
    return box
