"""A coverguard command in a process that is not quite well: its clock is wrong, or some bytes kill it.

    python bent.py [--ahead SECONDS] [--jump SECONDS --after SECONDS] [--deadly SHA256] -- --home HOME worker

`--ahead` may be negative. `--jump` moves the clock once, so long after the start. Bytes with the digest
`--deadly` end the process at once, as a host that is short of memory would.
"""

import argparse
import hashlib
import os
import signal
import time
from datetime import timedelta

from coverguard import bootstrap, cli
from coverguard.imaging.sandbox import Sandbox
from coverguard.model import Micros


class BentClock:
    """`ports.Clock` that is ahead of, or behind, the host's."""

    ahead, jump, after = 0.0, 0.0, 0.0
    began = time.monotonic()

    def now(self):
        jumped = self.jump if self.jump and time.monotonic() - self.began > self.after else 0.0
        return Micros(time.time_ns() // 1000 + round((self.ahead + jumped) * 1e6))

    def sleep(self, period: timedelta):
        time.sleep(max(0.0, period.total_seconds()))


def deadly(sha256, fingerprint):
    def look(sandbox, data, **asked):
        if hashlib.sha256(data).hexdigest() == sha256:
            os.kill(os.getpid(), signal.SIGKILL)
        return fingerprint(sandbox, data, **asked)

    return look


def main():
    parser = argparse.ArgumentParser()
    for name in ("--ahead", "--jump", "--after"):
        parser.add_argument(name, type=float, default=0.0)
    parser.add_argument("--deadly", default="")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    BentClock.ahead, BentClock.jump, BentClock.after = options.ahead, options.jump, options.after
    bootstrap.SystemClock = BentClock
    if options.deadly:
        Sandbox.fingerprint = deadly(options.deadly, Sandbox.fingerprint)
    return cli.main(options.command)


if __name__ == "__main__":
    raise SystemExit(main())
