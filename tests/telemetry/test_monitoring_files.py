"""Alert rules and dashboard speak of metrics that exist, with labels and values that they have."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
import yaml

from coverguard.policy.alarms import ALARMS
from coverguard.telemetry import Metrics

ROOT = pathlib.Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "infra/monitoring/alerts.yaml").read_text("utf-8"))
DASHBOARD = json.loads((ROOT / "infra/monitoring/dashboard.json").read_text("utf-8"))
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SHOWN = {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in PANELS}

METRIC = re.compile(r"\b(coverguard_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z_]+)(=~|!=|!~|=)"([^"]*)"')
ANCHOR = re.compile(r"[^a-z0-9 -]")
PROMETHEUS_OWN = {"job", "instance", "le"}

FIXED = {
    "decision": {"pass", "refer", "hold", "not_screened"},
    "outcome": {"done", "retry", "rejected", "died", "given_back"},
    "state": {"visible", "delayed", "leased", "dead"},
    "severity": {"page", "ticket"},
    "reason": {"unreadable_content", "forbidden_call", "worn"},
    "queue": {"uploads"},
    "phase": {"total"},
    "event": {
        "bug", "transient", "unwell", "unsettled", "lease_lost", "not_settled", "not_extended", "rejected",
        "not_paged", "unprepared",
    },
}  # fmt: skip


def exist() -> dict[str, set[str]]:
    """Name to labels, of every series that there may be."""
    found = {}
    for collector, names in Metrics().registry._collector_to_names.items():
        found |= {name: {*collector._labelnames} for name in names}
    return found


SERIES = exist()
EXPRESSIONS = {
    **{f"alert {name}": rule["expr"] for name, rule in ALERTS.items()},
    **{f"panel {title} {n}": one for title, all_of in SHOWN.items() for n, one in enumerate(all_of)},
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_is_asked_for_exists(name):
    expression = EXPRESSIONS[name]
    for metric, matchers in METRIC.findall(expression):
        assert metric in SERIES
        for label, _, value in MATCHER.findall(matchers):
            assert label in SERIES[metric] | PROMETHEUS_OWN
            assert set(value.split("|")) <= FIXED[label] or label == "job"
    grouped = {one.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for one in by.split(",")}
    known = {label for metric, _ in METRIC.findall(expression) for label in SERIES[metric]}
    assert grouped <= known | PROMETHEUS_OWN
    assert METRIC.search(expression) or "up{" in expression
    assert expression.count("(") == expression.count(")")


def test_what_is_measured_is_looked_at():
    asked = {metric for one in EXPRESSIONS.values() for metric, _ in METRIC.findall(one)}
    ends = ("_created", "_sum", "_count", "_bucket", "_total")
    families = {re.sub(f"({'|'.join(ends)})$", "", name) for name in SERIES}
    unseen = {family for family in families if not any(one.startswith(family) for one in asked)}
    assert unseen == set()


def test_words_in_matchers_are_words_of_the_code():
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    for words in FIXED.values():
        assert [word for word in words if f'"{word}"' not in source] == []


# ── alerts ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_soon_what_and_what_to_do(name):
    rule = ALERTS[name]
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    assert rule["annotations"].keys() == {"summary", "runbook"}
    assert rule["annotations"]["summary"].endswith(".")
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    if anchor:
        text = (ROOT / page).read_text("utf-8")
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        assert anchor in {ANCHOR.sub("", one.lower()).replace(" ", "-") for one in headings}
    else:
        kind = pathlib.PurePath(page).stem
        assert page == f"docs/runbooks/{kind}.md"
        assert kind in ALARMS or kind == "{{ $labels.kind }}"


def test_alerts_have_names_of_their_own():
    names = [rule["alert"] for group in RULES["groups"] for rule in group["rules"]]
    assert len(names) == len(ALERTS)
    assert all(name.startswith("Coverguard") for name in names)


def test_every_alarm_of_the_ledger_reaches_prometheus_too():
    severities = {
        found for rule in ALERTS.values()
        for found in re.findall(r'coverguard_alarms_ringing\{severity="(\w+)"\}', rule["expr"])
    }  # fmt: skip
    assert severities == {known.severity.value for known in ALARMS.values()}


# ── dashboard ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_dashboard_is_one_that_grafana_takes():
    assert DASHBOARD["schemaVersion"] == 39
    assert DASHBOARD["uid"] == "coverguard"
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["name"]) == ("datasource", "datasource")
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)


def test_panels_do_not_lie_on_each_other():
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
