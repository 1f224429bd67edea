"""Decoding where a hostile file can do no harm: a warm launcher, forked children, and who gives them covers.

    worker ── pool.Sandbox ── children.Launcher ─ socket ─ launcher ─ fork ─ child ── confinement, seccomp
                        └──── children.Child ──── socket ──────────────────── child ── imaging.fingerprint

The worker's side never decodes and believes nothing; the children's side imports nothing that could reach
out. `frames` and `orders` are what the two say to each other. Why it is so: docs/adr/0031.
"""

from coverguard.imaging.sandbox.children import Ending
from coverguard.imaging.sandbox.confinement import Confinement
from coverguard.imaging.sandbox.pool import Ended, Sandbox

__all__ = ["Confinement", "Ended", "Ending", "Sandbox"]
