"""Every alarm has a page that says what to do, and every page an alarm: ledger, CloudWatch, Prometheus."""

import re
from pathlib import Path

import pytest
from deployed_stack import PATH as TEMPLATE

from coverguard.policy.alarms import ALARMS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "runbooks"
MONITORING = ROOT / "infra" / "monitoring"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.name != "README.md")
HEADINGS = ["What it means", "In five minutes", "It is over when", "Never"]


def named_in(text):
    """Return the runbooks that a file names, by link or by the template's map."""
    links = re.findall(r"docs/runbooks/([a-z_0-9]+)\.md", text)
    return {*links, *re.findall(r"Runbook: ([a-z_0-9]+)", text)}


def test_every_alarm_has_a_runbook_and_every_runbook_an_alarm():
    cloudwatch = named_in(TEMPLATE.read_text("utf-8"))
    assert {page.stem for page in PAGES} == {*ALARMS} | cloudwatch


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_says_the_same_four_things(page):
    text = page.read_text("utf-8")
    assert text.startswith(f"# {page.stem}: ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    never = text.rpartition("## Never")[2]
    assert never.strip().startswith("- Never")


def test_the_list_of_runbooks_has_them_all():
    text = (FOLDER / "README.md").read_text("utf-8")
    assert {*re.findall(r"\]\(([a-z_0-9]+)\.md\)", text)} == {page.stem for page in PAGES}


def test_what_rings_outside_names_pages_that_exist():
    for path in [TEMPLATE, *MONITORING.glob("*.yaml")]:
        assert named_in(path.read_text("utf-8")) <= {page.stem for page in PAGES}


def test_every_prometheus_alert_names_something_to_read():
    text = (MONITORING / "alerts.yaml").read_text("utf-8")
    alerts = re.split(r"^\s+- alert: ", text, flags=re.MULTILINE)[1:]
    assert alerts
    for one in alerts:
        (page,) = re.findall(r"runbook: (?:\"?)(docs/[a-z_0-9/]+\.md)", one) or re.findall(
            r"(docs/runbooks/)\{\{", one
        )
        assert (ROOT / page).exists(), one.splitlines()[0]
