"""Prometheus metrics; the only home of prometheus_client.

Every label has few values, all of them words of this package: queues, outcomes, decisions, reasons, surfaces,
modes, phases, alarm kinds. No uploader, cover, list or bucket is ever a label. Each process has a registry
of its own and counts what it did itself; what all did together is in the ledger, and the keeper takes figures
of it. Counters start at nothing with the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PHASES: Final = ("read", "fingerprint", "match", "record", "act", "total")
DECODERS_END: Final = (
    "worn", "grown", "cpu_limit", "time_limit", "crashed", "killed", "forbidden_call", "out_of_memory",
    "malformed", "not_started",
)  # fmt: skip
PHASE_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WAIT_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 86_400)

Number = int | float
Fact = str | int | float | bool | None


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)
        self._events = Counter(
            "coverguard_events",
            "Log lines, and notes in delivery lines, by name",
            ["event"],
            registry=registry,
        )
        self._deliveries = Counter(
            "coverguard_deliveries",
            "Deliveries by what became of them",
            ["queue", "outcome"],
            registry=registry,
        )
        self._leases = Counter(
            "coverguard_lease_faults",
            "Deliveries whose lease was lost, whose settling failed, or extensions that failed",
            ["queue", "fault"],
            registry=registry,
        )
        self._covers = Counter(
            "coverguard_covers",
            "Answers given about covers; a redelivery gives its answer again",
            ["surface", "mode", "decision", "reason"],
            registry=registry,
        )
        self._decoders = Counter(
            "coverguard_decoders_ended",
            "Decoding children that were replaced, by why",
            ["reason"],
            registry=registry,
        )
        self._phases = Histogram(
            "coverguard_phase_seconds",
            "Time of one delivery, by phase",
            ["phase"],
            buckets=PHASE_BUCKETS,
            registry=registry,
        )
        self._waits = Histogram(
            "coverguard_answer_seconds",
            "From an upload's message to its answer, redeliveries included",
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._unreachable = Histogram(
            "coverguard_unreachable_seconds",
            "From an upload's message to its blocked object seen gone (keeper)",
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._gauges: dict[str, Gauge] = {}
        for name, (words, labels) in GAUGES.items():
            self._gauges[name] = Gauge(name, words, labels, registry=registry)
        self._begin()

    def _begin(self) -> None:
        """Show what has not happened yet: a counter that comes with its first event shows no increase."""
        for phase in PHASES:
            self._phases.labels(phase)
        for reason in DECODERS_END:
            self._decoders.labels(reason)

    # ── from lines ─────────────────────────────────────────────────────────────────────────────────────────

    def count(self, event: str) -> None:
        """Count a line or a note by its name, which is always a literal in the code."""
        self._events.labels(event).inc()

    def take(self, event: str, facts: Mapping[str, Fact]) -> None:
        """Count what a line says."""
        if event == "delivery":
            self._take_delivery(facts)
        if event == "decoder_ended":
            self._decoders.labels(str(facts.get("reason", ""))).inc()
        if "decision" in facts:
            named = (str(facts.get(name, "")) for name in ("surface", "mode", "decision", "reason"))
            self._covers.labels(*named).inc()
            self._waits.observe(float(facts.get("wait_ms") or 0) / 1000)

    def _take_delivery(self, facts: Mapping[str, Fact]) -> None:
        queue = str(facts.get("queue", ""))
        self._deliveries.labels(queue, str(facts.get("outcome", ""))).inc()
        if facts.get("lease") != "kept":
            self._leases.labels(queue, str(facts.get("lease", ""))).inc()
        if failed := facts.get("not_extended"):
            self._leases.labels(queue, "not_extended").inc(float(failed))
        for phase in PHASES:
            if (spent := facts.get(f"{phase}_ms")) is not None:
                self._phases.labels(phase).observe(float(spent) / 1000)

    # ── from figures ───────────────────────────────────────────────────────────────────────────────────────

    def gone(self, seconds: Iterable[Number]) -> None:
        """Note how long covers took from their message to being seen gone."""
        for one in seconds:
            self._unreachable.observe(one)

    def gauge(self, name: str, value: Number, **labels: str) -> None:
        """Set a gauge of `GAUGES`."""
        found = self._gauges[name]
        (found.labels(**labels) if labels else found).set(value)

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "coverguard_loop_age_seconds": ("Since a loop of this process last made progress", ("loop",)),
    "coverguard_ready": ("Whether a part answered when /readyz or /metrics last asked", ("part",)),
    "coverguard_figures_at_seconds": ("When the keeper last took its figures, Unix time", ()),
    "coverguard_alarms_ringing": ("Alarms that ring, by kind (keeper)", ("kind", "severity")),
    "coverguard_alarms_untold": ("Alarms due to be told to somebody and not yet told (keeper)", ()),
    "coverguard_queue_messages": ("Messages by queue and state (keeper)", ("queue", "state")),
    "coverguard_outbox_owed": ("Events that wait to be relayed (keeper)", ()),
    "coverguard_outbox_oldest_seconds": ("Age of the oldest of them, or 0 (keeper)", ()),
    "coverguard_unanswered_covers": ("Announced covers without an answer (keeper)", ()),
    "coverguard_unanswered_oldest_seconds": ("Age of the oldest of them, or 0 (keeper)", ()),
    "coverguard_holds_not_gone": ("Blocked objects that nobody has seen gone (keeper)", ()),
    "coverguard_holds_not_gone_oldest_seconds": ("Age of the oldest of them, or 0 (keeper)", ()),
    "coverguard_takedowns_not_verified": ("Accounts to be dark and not proven to be (keeper)", ()),
    "coverguard_takedowns_not_verified_oldest_seconds": ("Since the first of them began, or 0 (keeper)", ()),
    "coverguard_audit_unsealed": ("Audit rows that are not chained yet (keeper)", ()),
    "coverguard_audit_unsealed_oldest_seconds": ("Age of the oldest of them, or 0 (keeper)", ()),
    "coverguard_disk_free_bytes": ("Free on the home's file system (keeper)", ()),
}  # fmt: skip
