"""A report that follows on an earlier one: its receipt names that one, and nobody learns of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sites import Site
from sqlalchemy import event
from test_public import WORDS, pair, report, trusted

from coverguard import receipts

pytestmark = pytest.mark.thorough


def test_the_receipt_of_a_second_report_names_the_first(public: Site):
    first, _ = pair(report(public))
    public.work()
    answer = report(public, earlier_reference=first, text="is anybody looking at this?")
    assert receipts.checked(answer.json(), trusted(public)) is receipts.Verdict.VALID
    document = answer.json()["document"]
    assert document["earlier_reference"] == first
    assert f"You told us that this follows on {first}." in document["earlier_reference_text"]
    public.work()
    reference, token = pair(answer)
    transcript = public.client.post(f"/v1/reports/{reference}/transcript", json={"token": token}).json()
    assert f"Follows on: {first}" in transcript["document"]["entries"][0]["text"]
    (row,) = public.world.rows("report", ref=reference)
    assert row.earlier_ref == first


def test_a_page_takes_it_too_as_people_write_it(public: Site):
    form = {"category": "child_abuse", "account_ids": "someone"}
    page = public.client.post("/reports", data={**form, "earlier_reference": " REPORT-0123456789ABCDEF "})
    assert page.status_code == 202
    assert "You told us that this follows on report-0123456789abcdef." in page.text
    wrong = public.client.post("/reports", data={**form, "earlier_reference": "zebrafinch", "text": WORDS})
    assert wrong.status_code == 422
    assert 'href="#earlier_reference"' in wrong.text
    assert 'value="zebrafinch"' in wrong.text
    assert WORDS in wrong.text
    assert "follows on" not in public.client.post("/reports", data=form).text


@pytest.mark.parametrize(
    "written",
    ["zebrafinch", "report-", "report-zebrafinch", "report-0123456789abcde", "report-0123456789abcdef0",
     "key-0123456789abcdef", "REPORT-0123456789ABCDEF", "report-0123456789abcdeg",
     "report-0123456789abcdef\n", 7, None, ["x"]],
)  # fmt: skip
def test_a_program_has_to_send_a_reference_as_it_stands_on_a_receipt(public: Site, written: object):
    answer = report(public, earlier_reference=written)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["fields"]] == ["earlier_reference"]
    assert "zebrafinch" not in answer.text
    assert not public.sent()


def test_it_is_no_oracle_for_which_reports_there_are(public: Site):
    """Whatever is named, the answer and all that is asked of the ledger are the same."""
    mine, theirs = pair(report(public))[0], pair(report(public, account_ids=["else"]))[0]
    public.work()
    told: set[str] = set()
    for named in (mine, theirs, "report-0000000000000000"):
        asked: list[str] = []
        with statements_of(public, asked):
            answer = report(public, earlier_reference=named, covers=[{"id": "c", "surface": "track_art"}])
        assert answer.status_code == 202
        assert named not in str(asked)
        assert named not in public.sent()[-1], "it travels sealed"
        document = {**answer.json()["document"], "reference": "", "received_at": ""}
        told.add(json.dumps([document, len(asked), sorted(answer.headers)]).replace(named, "NAMED"))
    assert len(told) == 1


@contextmanager
def statements_of(site: Site, asked: list[str]) -> Iterator[None]:
    """Collect what is asked of the ledger meanwhile."""
    engine = site.world.database.engine

    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        asked.append(f"{statement} {parameters}")

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_who_names_a_strangers_report_reads_and_changes_nothing_of_it(public: Site):
    theirs, their_token = pair(report(public, text=WORDS, account_ids=["else"]))
    public.work()
    (before,) = public.world.rows("report", ref=theirs)
    mine, token = pair(report(public, earlier_reference=theirs))
    public.work()
    for act, body in (("thread", {}), ("transcript", {}), ("additions", {"text": "x"})):
        answer = public.client.post(f"/v1/reports/{theirs}/{act}", json={"token": token, **body})
        assert answer.status_code == 404
    assert WORDS not in public.client.post(f"/v1/reports/{mine}/thread", json={"token": token}).text
    shown = public.client.post(f"/v1/reports/{theirs}/thread", json={"token": their_token}).text
    assert mine not in shown
    assert public.world.rows("report", ref=theirs) == [before]
