"""Hash list files as rows, and what a whole list says against what is stored.

Formats of ours: CSV with a header, JSON Lines, and one hex digest a line (`formats`); deliveries of others as
they describe them (`deliveries`). Every line becomes rows or a fault; nothing is dropped in silence. A file
with malformed rows (mere repeats apart) withdraws nothing.

It opens no file, knows no database, no source's own wire format and no rule of a list.
"""

from coverguard.hashlist.deliveries import COLUMNS
from coverguard.hashlist.formats import FIELDS, LABEL_BYTES, Valid
from coverguard.hashlist.reading import DEFAULT_LIMITS, OURS, ListFile, Parsed, parse
from coverguard.hashlist.rows import (
    CONTRADICTED,
    REPEATED,
    SHRINK,
    Delta,
    Entry,
    Facts,
    ListFormat,
    ListLimits,
    ListRow,
    Malformed,
    canonical,
    delta,
    row_of,
    shrinks_too_much,
)

__all__ = [
    "COLUMNS",
    "CONTRADICTED",
    "DEFAULT_LIMITS",
    "FIELDS",
    "LABEL_BYTES",
    "OURS",
    "REPEATED",
    "SHRINK",
    "Delta",
    "Entry",
    "Facts",
    "ListFile",
    "ListFormat",
    "ListLimits",
    "ListRow",
    "Malformed",
    "Parsed",
    "Valid",
    "canonical",
    "delta",
    "parse",
    "row_of",
    "shrinks_too_much",
]
