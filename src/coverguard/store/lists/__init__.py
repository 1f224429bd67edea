"""Hash lists at rest: lists and rules, sealed entries, known false positives, and the one reader of digests.

Own lists are learnt from confirmed removals and look like any other.
"""

from coverguard.store.lists.entries import (
    PURPOSE,
    anything_sealed,
    length,
    raise_cap,
    row_mac,
    withdraw,
    withdraw_learnt,
    withdraw_other_algorithms,
    write_entries,
)
from coverguard.store.lists.rules import (
    TURN,
    add_rule,
    by_name,
    counts,
    create,
    newest_seq,
    note_change,
    rule_of,
    rules,
    switch,
)
from coverguard.store.lists.snapshot import ListChanges, ListSnapshot, changes, load, newest, refreshed
from coverguard.store.lists.suppressions import lift_suppressions, suppress

__all__ = [
    "PURPOSE",
    "TURN",
    "ListChanges",
    "ListSnapshot",
    "add_rule",
    "anything_sealed",
    "by_name",
    "changes",
    "counts",
    "create",
    "length",
    "lift_suppressions",
    "load",
    "newest",
    "newest_seq",
    "note_change",
    "raise_cap",
    "refreshed",
    "row_mac",
    "rule_of",
    "rules",
    "suppress",
    "switch",
    "withdraw",
    "withdraw_learnt",
    "withdraw_other_algorithms",
    "write_entries",
]
