"""The main use case: one cover version in, one answer recorded, every act done, then the outcome.

Announce, read, fingerprint, match, decide, record intent, act, settle: a live upload walks this road once,
and a redelivery walks it again to the same end. Nothing here talks to a queue.
"""

from coverguard.screening.knowledge import Knowledge, KnowledgeCache
from coverguard.screening.looking import Eyes, Fingerprinter
from coverguard.screening.recording import AnswerRecorder, RecordingRules
from coverguard.screening.screener import Screener

__all__ = [
    "AnswerRecorder",
    "Eyes",
    "Fingerprinter",
    "Knowledge",
    "KnowledgeCache",
    "RecordingRules",
    "Screener",
]
