"""The public interface: one report is enough, its receipt is signed, and nobody but its reporter reads on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sites import Open, Site
from world import WATCHED, picture

from coverguard import contacts, receipts
from coverguard.correspondence import ReportDetails, filed_context, unsealed
from coverguard.errors import ConfigurationError, TransientError
from coverguard.local.boxes import StaffBox
from coverguard.local.keys import RECEIPT, PublicKeys
from coverguard.messages import ReportFiled, from_micros, parse
from coverguard.web.guard import ANYBODY, needs

pytestmark = pytest.mark.thorough

CHILD = {"category": "child_abuse"}
WORDS = "zebrafinch is what she wrote"


def report(site: Site, **told: object):
    return site.client.post("/v1/reports", json={**CHILD, "account_ids": ["someone"], **told})


def trusted(site: Site) -> PublicKeys:
    return PublicKeys.beside(site.world.home / "keys", name=RECEIPT)


def pair(answer) -> tuple[str, str]:
    return answer.json()["document"]["reference"], answer.json()["token"]


# ── one report ─────────────────────────────────────────────────────────────────────────────────────────────


def test_anybody_may_report_and_gets_a_signed_receipt_of_all_that_they_named(public: Site):
    covers = [{"id": f"c{n}", "surface": "playlist_cover"} for n in range(3)]
    answer = report(public, covers=covers, playlist_ids=["p1"], urgent=True, country="GB")
    assert answer.status_code == 202
    assert receipts.checked(answer.json(), trusted(public)) is receipts.Verdict.VALID
    document = answer.json()["document"]
    assert [(one["kind"], one["id"]) for one in document["named"]] == [
        ("cover", "c0"), ("cover", "c1"), ("cover", "c2"), ("playlist", "p1"), ("account", "someone")
    ]  # fmt: skip
    assert document["category"] == "child_abuse"
    assert "4 hours" in {step["within"] for step in document["next"]}
    assert document["outcomes"]
    assert document["redress"]
    assert document["opt_out"]
    pointed_to = {one["name"].partition(" (")[0] for one in document["help"]["contacts"]}
    assert {"Report Remove", "CEOP Safety Centre", "Take It Down", "StopNCII.org"} <= pointed_to


def test_what_was_told_travels_sealed_to_the_staff_alone(public: Site):
    reference, token = pair(report(public, text=WORDS, contact="mum@example.org", police_reference="CR/1"))
    (body,) = public.sent()
    for secret in (WORDS, "mum@example.org", "CR/1", "someone", token):
        assert secret not in body
    event = parse(body)
    assert isinstance(event, ReportFiled)
    assert event.reference == reference
    box = StaffBox.open_or_create(public.world.home / "keys")
    told = unsealed(ReportDetails, box.open(event.sealed(), context=filed_context(reference)))
    assert told.text == WORDS
    assert told.account_ids == ["someone"]


def test_the_receipt_counts_the_public_covers_of_a_named_account_and_no_others(public: Site):
    public.world.upload(picture(1), "c1", uploader="someone", surface=WATCHED)
    public.world.upload(picture(2), "c2", uploader="someone", surface=WATCHED)
    public.world.upload(picture(3), "c3", uploader="else", surface=WATCHED)
    named = report(public, account_ids=["someone", "nobody"]).json()["document"]["named"]
    assert [one["public_covers"] for one in named] == [2, 0]


def test_a_count_that_does_not_come_holds_up_no_receipt(public: Site):
    public.world.database.close()
    with public.world.database.transaction() as tx:
        tx.exec_driver_sql("ALTER TABLE account RENAME TO away")
    answer = report(public)
    assert answer.status_code == 202
    assert answer.json()["document"]["named"][0]["public_covers"] is None


class Dead:
    """A queue that takes nothing."""

    def send(self, bodies: Sequence[str], **_: object) -> None:
        raise TransientError("cannot send to SQS: down")


def test_nothing_is_receipted_that_is_not_on_the_queue(open_site: Open):
    site = open_site("public", queue=Dead())
    answer = report(site)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "token" not in answer.text
    assert "Local emergency services" in answer.text
    form = {"category": "child_abuse", "account_ids": "someone", "text": WORDS}
    page = site.client.post("/reports", data=form)
    assert page.status_code == 503
    assert WORDS in page.text  # nobody has to write it again
    assert "someone" in page.text
    assert "emergency" in page.text


# ── what is turned away ────────────────────────────────────────────────────────────────────────────────────


def test_over_the_limit_of_a_network_reports_about_children_are_still_receipted(open_site: Open):
    site = open_site("public", report_rate=3)
    others = [report(site, category="other") for _ in range(3)]
    assert [answer.status_code for answer in others] == [202, 429, 429]
    assert int(others[1].headers["retry-after"]) > 0
    assert {report(site).status_code for _ in range(20)} == {202}


@pytest.mark.parametrize("path", ["/reports", "/v1/reports"])
def test_a_picture_is_refused_with_guidance(public: Site, path: str):
    answer = public.client.post(path, files={"picture": ("p.png", picture(1), "image/png")}, data=CHILD)
    assert answer.status_code == 415
    assert "never send us a picture" in answer.text
    assert not public.sent()


def test_too_much_is_refused_before_it_is_read(public: Site):
    def drip():
        for _ in range(70):
            yield b"x" * 1024

    headers = {"Content-Type": "application/json"}
    for content in (b"x" * 70_000, drip()):
        answer = public.client.post("/v1/reports", content=content, headers=headers)
        assert answer.status_code == 413


@pytest.mark.parametrize(
    "told",
    [
        {"category": "zebrafinch"},
        {"zebrafinch": 1},
        {"covers": [{"id": "c", "surface": "playlist_cover", "zebrafinch": 1}]},
        {"account_ids": ["\ud800 zebrafinch"]},
        {"account_ids": ["zebrafinch" * 30]},
        {"account_ids": ["zebra\x00finch"]},
        {"text": "zebrafinch\x00"},
        {"account_ids": ["zebrafinch"] * 21},
        {"country": "zebrafinch"},
    ],
)
def test_a_fault_is_named_by_field_and_never_by_value(public: Site, told: dict):
    answer = public.client.post(
        "/v1/reports",
        content=json.dumps({**CHILD, "account_ids": ["a"], **told}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422
    assert answer.json()["fields"]
    assert "zebrafinch" not in answer.text
    assert not public.sent()


def test_a_report_has_to_be_about_something(public: Site):
    assert public.client.post("/v1/reports", json=CHILD).status_code == 422
    assert (
        public.client.post("/v1/reports", json={**CHILD, "text": "on the list called X"}).status_code == 202
    )


def test_another_sites_form_cannot_report_in_its_visitors_names(public: Site):
    form = {"category": "child_abuse", "account_ids": "someone"}
    answer = public.client.post("/reports", data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert (
        public.client.post("/reports", data=form, headers={"Sec-Fetch-Site": "same-origin"}).status_code
        == 202
    )


# ── threads ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_reporter_follows_adds_and_downloads_and_the_transcript_is_the_log(public: Site):
    reference, token = pair(report(public, text=WORDS))
    thread = f"/v1/reports/{reference}/thread"
    assert public.client.post(thread, json={"token": token}).json()["taken_in"] is False
    public.work()
    added = public.client.post(
        f"/v1/reports/{reference}/additions",
        json={"token": token, "text": "more", "police_reference": "CR/2"},
    )
    assert added.status_code == 202
    assert receipts.checked(added.json(), trusted(public)) is receipts.Verdict.VALID
    public.work()
    shown = public.client.post(thread, json={"token": token}).json()
    assert shown["taken_in"]
    assert WORDS in shown["entries"][0]["text"]
    assert any("CR/2" in entry["text"] for entry in shown["entries"])
    assert [entry["seq"] for entry in shown["entries"]] == list(range(1, len(shown["entries"]) + 1))
    transcript = public.client.post(f"/v1/reports/{reference}/transcript", json={"token": token})
    assert "attachment" in transcript.headers["content-disposition"]
    assert receipts.checked(transcript.json(), trusted(public)) is receipts.Verdict.VALID
    assert transcript.json()["document"]["entries"] == shown["entries"]


def test_without_its_own_token_nobody_reads_or_adds(public: Site):
    mine, theirs = report(public), report(public)
    public.work()
    reference, other = pair(mine)[0], pair(theirs)[1]
    for token in (other, "A" * 43, "A" * 40):
        for act in ("thread", "transcript", "additions"):
            body = {"token": token, **({"text": "x"} if act == "additions" else {})}
            answer = public.client.post(f"/v1/reports/{reference}/{act}", json=body)
            assert answer.status_code == 404, act
    assert not public.sent()


def test_pages_do_all_of_it_without_script(public: Site):
    form = {
        "category": "child_abuse",
        "account_ids": "https://music.example/user/so%20me?x=1\nother",
        "text": WORDS,
    }
    page = public.client.post("/reports", data=form)
    assert page.status_code == 202
    assert "so me" in page.text
    file = between(page.text, 'name="file" value="')
    saved = public.client.post("/receipts/download", data={"file": file})
    assert receipts.checked(saved.json(), trusted(public)) is receipts.Verdict.VALID
    reference, token = pair(saved)
    public.work()
    told = {"reference": reference, "token": token}
    assert WORDS in public.client.post("/thread", data=told).text
    assert public.client.post("/thread/additions", data={**told, "text": "more"}).status_code == 202
    transcript = public.client.post("/thread/transcript", data=told)
    verified = public.client.post("/receipts/verify", data={"text": transcript.text})
    assert "<h2>Valid</h2>" in verified.text
    assert "<script" not in page.text + verified.text


def test_an_error_keeps_what_was_written_and_says_where_it_is(public: Site):
    page = public.client.post("/reports", data={"text": WORDS, "contact": '"><b>x'})
    assert page.status_code == 422
    assert WORDS in page.text
    assert 'href="#category"' in page.text
    assert "<b>x" not in page.text
    unknown = public.client.post("/reports", data={"category": "other", "zebrafinch": "1"})
    assert unknown.status_code == 422
    assert "zebrafinch" not in unknown.text


def test_a_link_to_the_form_fills_it_in(public: Site):
    page = public.client.get(
        "/", params={"cover": "c<9>", "surface": "track_art", "category": "intimate_image"}
    )
    assert "c&lt;9&gt;</textarea>" in page.text
    assert 'value="intimate_image" checked' in page.text
    assert public.client.get("/?cover=%ff&surface=nonsense&x=1").status_code == 200


# ── receipts ───────────────────────────────────────────────────────────────────────────────────────────────


def test_verification_says_valid_changed_unknown_or_not_ours(public: Site, open_site: Open):
    envelope = report(public).json()

    def verdict(given: object) -> str:
        text = given if isinstance(given, str) else json.dumps(given)
        return public.client.post("/v1/receipts/verify", json={"text": text}).json()["verdict"]

    assert verdict(envelope) == "valid"
    changed = json.loads(json.dumps(envelope))
    changed["document"]["named"][0]["id"] = "other"
    assert verdict(changed) == "changed"
    strange = json.loads(json.dumps(envelope))
    strange["signature"]["key_id"] = "0" * 64
    assert verdict(strange) == "unknown_key"
    for nothing in ("", "[]", "{", '{"document": 1}', "[" * 20_000, '{"document":{"schema":"x","n":0.5}}'):
        assert verdict(nothing) == "not_ours"


def test_help_on_receipts_that_nobody_reviewed_in_time_breaks_a_promise(public: Site):
    def checked() -> tuple[list[str], bool]:
        (found,) = [one for one in public.world.parts.verifier().run() if one.check == "contacts_reviewed"]
        return list(found.found), found.broken

    due = contacts.every()["world"].review_by
    clock = public.world.clock
    for day, broken in ((due, False), (due + timedelta(days=1), True)):
        clock.go_on(datetime(day.year, day.month, day.day, 12, tzinfo=UTC) - from_micros(clock.now()))
        assert checked()[1] is broken
    assert any(one.startswith(f"world: to be reviewed by {due}") for one in checked()[0])


def test_only_our_own_receipts_are_handed_out_as_files(public: Site):
    for file in ("", "e30=", "&&&", "¿"):
        assert public.client.post("/receipts/download", data={"file": file}).status_code == 422


def test_the_public_keys_are_public(public: Site):
    keys = public.client.get("/v1/receipts/keys").json()["keys"]
    (pem,) = keys.values()
    assert receipts.checked(report(public).json(), PublicKeys([pem.encode()])) is receipts.Verdict.VALID


def test_a_fault_of_ours_says_nothing_and_is_noted(public: Site):
    @public.application.app.get("/v1/boom")
    @needs(ANYBODY)
    def boom() -> None:
        raise RuntimeError(WORDS)

    answer = public.client.get("/v1/boom")
    assert answer.status_code == 500
    assert answer.json()["error"] == "our_fault"
    assert answer.headers["x-content-type-options"] == "nosniff"
    public.client.get("/healthz")  # its line is written after the answer, and before the next one
    assert WORDS not in answer.text + public.world.lines.getvalue()
    assert '"error":"RuntimeError"' in public.world.lines.getvalue()


# ── what every answer has ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", ["/", "/thread", "/help?country=de", "/static/report.css", "/nothing", "/healthz"]
)
def test_no_page_can_run_script_load_from_elsewhere_or_set_a_cookie(public: Site, path: str):
    answer = public.client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in answer.headers
    assert "server" not in answer.headers
    assert "style=" not in answer.text


def test_a_request_is_one_line_that_says_nothing_of_anybody(public: Site):
    before = len(public.world.lines.getvalue().splitlines())
    reference, token = pair(report(public, text=WORDS))
    public.client.post(f"/v1/reports/{reference}/thread", json={"token": token})
    public.client.get("/?cover=zebrafinch")
    lines = [json.loads(line) for line in public.world.lines.getvalue().splitlines()[before:]]
    assert [line["route"] for line in lines] == ["public.report", "public.thread", "page.form"]
    for line in lines:
        assert set(line) == {"ts", "event", "route", "status", "total_ms"}


def between(text: str, start: str) -> str:
    return text.partition(start)[2].partition('"')[0]


def test_a_receipt_key_whose_public_half_is_another_is_refused(public: Site, open_site: Open):
    """Else each receipt would be "unknown key" on our own page, to the people who need it most."""
    keys = public.world.home / "keys"
    (keys / "receipt.key").unlink()
    with pytest.raises(ConfigurationError, match=r"receipt\.pub is not of receipt\.key"):
        open_site("public")
    (keys / "receipt.pub").rename(keys / "receipt-2026-10.pub")
    assert len(trusted(open_site("public")).pems()) == 2
