"""The whole exception tree, sorted by what the caller must do.

    CoverguardError
    ├── TransientError        the outside is unwell            -> Retry
    │   ├── DecoderUnavailable nobody decodes for us now       -> NotScreened(decoder_unavailable)
    │   ├── LeaseLost         somebody else holds the delivery -> stop, settle nothing
    │   └── Contention        two transactions in each other's way -> the whole verb again, at once
    ├── ContentRejected       these bytes cannot be screened   -> NotScreened(reason), never "clean"
    ├── ObjectMissing         gone before we looked            -> NotScreened(object_missing)
    ├── IntegrityFailure      bytes are not what was recorded  -> stop, alarm, change nothing
    ├── BadMessage            this event makes no sense        -> Reject
    ├── BadListFile           this list file makes no sense    -> refuse the file, name the line
    ├── Refused               a rule says no to this request   -> tell them which rule
    ├── IllegalTransition     somebody was faster, or a bug    -> nothing was changed
    ├── NotFound              no such case, item, list         -> tell them
    └── ConfigurationError    refuse to start

Adapters translate foreign exceptions with `raise … from exc`; none passes a port. Messages name what was
wrong (a field, a limit, a rule) and never carry a value that came from outside: no digest, title or name.
"""

from __future__ import annotations

from enum import StrEnum


class CoverguardError(Exception):
    """Anything coverguard raises on purpose."""


class TransientError(CoverguardError):
    """The outside is unwell; the same call may succeed later."""


class DecoderUnavailable(TransientError):
    """No decoding child can be had, or it was ended for no fault of the file's; the message says why."""


class LeaseLost(TransientError):
    """The delivery is no longer ours; whoever has it now settles it."""


class Contention(TransientError):
    """The database gave up one of two transactions that waited for each other; nothing of it was written."""


class RejectReason(StrEnum):
    """Why bytes could not be screened. Every value is safe to log and to count."""

    EMPTY = "empty"
    TOO_MANY_BYTES = "too_many_bytes"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TOO_MANY_PIXELS = "too_many_pixels"
    SIDE_TOO_LONG = "side_too_long"
    TOO_MANY_FRAMES = "too_many_frames"
    TOO_MANY_SCANS = "too_many_scans"
    TOO_MUCH_TEXT = "too_much_text"
    OUT_OF_MEMORY = "out_of_memory"
    CPU_LIMIT = "cpu_limit"
    DECODER_CRASHED = "decoder_crashed"  # twice, the second time a child that had seen nothing else
    FORBIDDEN_CALL = "forbidden_call"  # decoding it tried what decoding never needs: treat it as an attack


class ContentRejected(CoverguardError):
    """These bytes cannot be screened, for a named reason."""

    def __init__(self, reason: RejectReason) -> None:
        super().__init__(f"content rejected: {reason.value}")
        self.reason = reason


class ObjectMissing(CoverguardError):
    """The object version does not exist (any more)."""


class IntegrityFailure(CoverguardError):
    """Bytes do not have the digest that was recorded for them."""


class BadMessage(CoverguardError):
    """The message cannot be understood; sending it again cannot help."""


class BadListFile(CoverguardError):
    """A hash list file is malformed; the message names the line, never its content."""


class Refused(CoverguardError):
    """A rule (of access, review, an allow-list) says no; nothing was changed."""


class IllegalTransition(CoverguardError):
    """The state machine has no such move from here; nothing was changed."""


class NotFound(CoverguardError):
    """Nothing has that reference."""


class ConfigurationError(CoverguardError):
    """The settings do not make a safe system; the process refuses to start."""
