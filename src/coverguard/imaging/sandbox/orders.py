"""What a worker tells its launcher: verbs of a fixed size, one answer to each, in order."""

from __future__ import annotations

import struct
from typing import Final

ORDER: Final = struct.Struct(">4sI")
"""Verb, then a child's number, a wait status or flags."""

SPAWN: Final = b"SPWN"  # with the descriptor that becomes its channel; answered by the child's number
END: Final = b"END!"  # answered by how it ended
PROVE: Final = 1  # flag of SPAWN: the child shall decode every format before it greets
