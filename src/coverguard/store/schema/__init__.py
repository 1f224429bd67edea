"""The tables: every invariant that a database can state is stated here, for SQLite and PostgreSQL alike.

Keys: a cover version is (surface, cover id, version); a screening is unique by (cover version, origin, origin
id, fingerprint version), and the index position it was judged at is a column; one live quarantine per
(bucket, key, version id); one open case per account. Ids are internal BIGINTs, `ref` is what people see. Time
is UTC microseconds. Verdicts and audit rows are append-only (triggers, see the first migration). What people
wrote or are called is in the `private` schema, encrypted under its own key. State CHECKs are generated from
`lifecycle`.
"""

from coverguard.store.schema.answers import fingerprint, fingerprint_view, screening
from coverguard.store.schema.cases import batch, case_file, case_item, party, verdict
from coverguard.store.schema.columns import metadata
from coverguard.store.schema.holds import own_write, quarantine, quarantine_claim
from coverguard.store.schema.lists import (
    bookmark,
    dead_letter,
    exchange,
    exchange_record,
    hash_list,
    list_attestation,
    list_change,
    list_entry,
    list_import,
    list_review,
    list_rule,
    list_stop,
    lost_ground,
    match,
    staged_entry,
    suppression,
)
from coverguard.store.schema.owed import (
    alarm,
    audit,
    audit_chain,
    audit_head,
    obligation,
    outbox,
    queue_message,
)
from coverguard.store.schema.platform import account, collaboration, cover_version, platform_event
from coverguard.store.schema.private import statement
from coverguard.store.schema.reports import (
    api_key,
    report,
    report_item,
    report_target,
    reporter,
    thread_entry,
    thread_mail,
)
from coverguard.store.schema.takedowns import takedown, takedown_cause, takedown_difference

__all__ = [
    "account",
    "alarm",
    "api_key",
    "audit",
    "audit_chain",
    "audit_head",
    "batch",
    "bookmark",
    "case_file",
    "case_item",
    "collaboration",
    "cover_version",
    "dead_letter",
    "exchange",
    "exchange_record",
    "fingerprint",
    "fingerprint_view",
    "hash_list",
    "list_attestation",
    "list_change",
    "list_entry",
    "list_import",
    "list_review",
    "list_rule",
    "list_stop",
    "lost_ground",
    "match",
    "metadata",
    "obligation",
    "outbox",
    "own_write",
    "party",
    "platform_event",
    "quarantine",
    "quarantine_claim",
    "queue_message",
    "report",
    "report_item",
    "report_target",
    "reporter",
    "screening",
    "staged_entry",
    "statement",
    "suppression",
    "takedown",
    "takedown_cause",
    "takedown_difference",
    "thread_entry",
    "thread_mail",
    "verdict",
]
