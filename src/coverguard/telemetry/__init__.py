"""What coverguard says of itself: JSON lines, metrics, and whether it lives and is ready.

`lines` is the only source: metrics are counted from the lines that are written, and from figures that the
keeper takes of the ledger. Nothing here decides anything, and no platform id, name, title, digest or list
name gets into a line or a label. Alarms are rows of the ledger (`store.alarms`), not telemetry.
"""

from coverguard.telemetry.health import Health, Pulse
from coverguard.telemetry.lines import FIELDS, Log, LogPager, Stopwatch, Value
from coverguard.telemetry.metrics import Metrics
from coverguard.telemetry.serving import Monitor

__all__ = ["FIELDS", "Health", "Log", "LogPager", "Metrics", "Monitor", "Pulse", "Stopwatch", "Value"]
