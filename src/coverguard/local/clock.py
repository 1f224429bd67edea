"""The machine's clock. Says nothing of how good it is: NTP is the host's business."""

from __future__ import annotations

import time
from datetime import timedelta

from coverguard.model import Micros


class SystemClock:
    """`ports.Clock` on the host's wall clock."""

    def now(self) -> Micros:
        return Micros(time.time_ns() // 1000)

    def sleep(self, period: timedelta) -> None:
        time.sleep(max(0.0, period.total_seconds()))
