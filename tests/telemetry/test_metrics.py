"""Metrics are counted from the lines that are written; their labels are few words of ours."""

from __future__ import annotations

import ast
import pathlib

import pytest
from prometheus_client.parser import text_string_to_metric_families

from coverguard.imaging.sandbox import Ending
from coverguard.telemetry import Log, Metrics
from coverguard.telemetry.metrics import DECODERS_END, GAUGES, PHASES

SOURCE = pathlib.Path(__file__).parents[2] / "src" / "coverguard"
LABELS = {
    "event", "queue", "outcome", "fault", "surface", "mode", "decision", "reason", "phase", "loop", "part",
    "kind", "severity", "state", "le",
}  # fmt: skip


@pytest.fixture
def log():
    return Log(None)


def value(log: Log, name: str, **labels: str) -> float | None:
    return log.metrics.registry.get_sample_value(name, labels)


def deliver(log: Log, **facts: object) -> None:
    with log.delivery(queue="uploads", attempt=1):
        log.add(outcome="done", lease="kept", **facts)


def test_a_delivery_is_counted_by_queue_and_outcome(log):
    deliver(log)
    deliver(log)
    with log.delivery(queue="reports", attempt=3):
        log.add(outcome="retry", lease="lost", not_extended=2)
    assert value(log, "coverguard_deliveries_total", queue="uploads", outcome="done") == 2
    assert value(log, "coverguard_deliveries_total", queue="reports", outcome="retry") == 1
    assert value(log, "coverguard_lease_faults_total", queue="reports", fault="lost") == 1
    assert value(log, "coverguard_lease_faults_total", queue="reports", fault="not_extended") == 2
    assert value(log, "coverguard_lease_faults_total", queue="uploads", fault="lost") is None


def test_an_answer_is_counted_by_what_was_decided_and_where(log):
    facts = {"surface": "profile_image", "mode": "watch", "decision": "hold"}
    deliver(log, **facts, wait_ms=1500.0, read_ms=20.0, act_ms=400.0)
    labels = facts | {"reason": ""}
    assert value(log, "coverguard_covers_total", **labels) == 1
    assert value(log, "coverguard_answer_seconds_sum") == 1.5
    assert value(log, "coverguard_phase_seconds_sum", phase="read") == pytest.approx(0.02)
    assert value(log, "coverguard_phase_seconds_sum", phase="act") == pytest.approx(0.4)
    assert value(log, "coverguard_phase_seconds_count", phase="match") == 0
    assert value(log, "coverguard_phase_seconds_count", phase="total") == 1


def test_what_is_no_answer_is_not_counted_as_one(log):
    deliver(log, cover="cover-1")
    assert value(log, "coverguard_answer_seconds_count") == 0


def test_lines_and_notes_are_counted_alike(log):
    log.line("unwell", error="OSError")
    with log.delivery(queue="uploads", attempt=1):
        log.note("transient", error="OSError")
    log.note("transient", error="OSError")
    assert log.counters == {"unwell": 1, "transient": 2, "delivery": 1}
    for event, count in log.counters.items():
        assert value(log, "coverguard_events_total", event=event) == count


def test_gauges(log):
    log.metrics.gauge("coverguard_queue_messages", 7, queue="uploads", state="visible")
    log.metrics.gauge("coverguard_outbox_owed", 3)
    assert value(log, "coverguard_queue_messages", queue="uploads", state="visible") == 7
    assert value(log, "coverguard_outbox_owed") == 3
    with pytest.raises(KeyError):
        log.metrics.gauge("coverguard_made_up", 1)


def test_each_process_counts_for_itself():
    one, other = Log(None), Log(None)
    one.line("unwell")
    assert value(other, "coverguard_events_total", event="unwell") is None


def test_it_can_be_read(log):
    deliver(log, decision="pass", surface="track_art", mode="gate")
    log.metrics.gone([0.2, 90.0])
    families = {one.name: one for one in text_string_to_metric_families(log.metrics.exposition().decode())}
    assert {*GAUGES} <= set(families)
    (count,) = (s for s in families["coverguard_unreachable_seconds"].samples if s.name.endswith("_count"))
    assert count.value == 2
    assert all(family.documentation for family in families.values())


def test_labels_are_the_ones_that_have_few_values():
    metrics = Metrics()
    named = {label for collector in metrics.registry._collector_to_names for label in collector._labelnames}
    assert named <= LABELS
    assert {"queue", "event"} <= named
    assert PHASES[-1] == "total"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_the_name_of_a_line_is_written_out_where_it_is_logged(path):
    """It is a label: whatever comes from outside must not become one."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        called = ast.unparse(node.func)
        if called.endswith(("log.line", "log.note")) and "telemetry" not in path.parts:
            assert isinstance(node.args[0], ast.Constant), f"line {node.lineno}"


def test_every_end_of_a_decoding_child_is_counted(log):
    assert set(DECODERS_END) == set(Ending)
    for ending in Ending:
        log.line("decoder_ended", reason=ending, error="KeyError", at="coverguard.imaging.pdq:12")
        assert value(log, "coverguard_decoders_ended_total", reason=ending.value) == 1
