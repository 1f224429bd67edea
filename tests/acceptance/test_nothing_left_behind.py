"""Issue 4 end to end: one termination and one report reach everything, and no report reaches the innocent.

Real processes (workers, keeper, both web processes) on real SQS, S3 and PostgreSQL; strangers ask real URLs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from quarter import PATIENCE, Open, Receipt, Reporter, pictures

from coverguard import bootstrap
from coverguard.messages import AccountTerminated, ContentReported, Cover, dump, from_micros
from coverguard.model import Surface
from coverguard.testing.platform import Upload

pytestmark = [pytest.mark.process, pytest.mark.servers, pytest.mark.timeout(900)]

HER, PARENT = "her-account", "203.0.113.7"
HOUR = 3_600_000_000  # microseconds
DAY_AND_MORE = 26 * HOUR
OTHERS = ("friend-1", "friend-2", "friend-3")
OF = "SELECT id FROM account WHERE platform_id"
OPENED = Callable[[str], Open]


# ── the news case ──────────────────────────────────────────────────────────────────────────────────────────


def her_pictures(town: Open) -> tuple[list[Upload], list[Upload]]:
    """Thirty: three on other people's playlists, four old versions. Two only the catalogue knows."""
    data = iter(pictures(30))
    own = [
        town.upload(
            next(data), f"hers-{one}", uploader=HER, surface=Surface.PLAYLIST_COVER, playlist=f"list-{one}"
        )
        for one in range(17)
    ]
    shared = [
        town.upload(
            next(data), f"shared-{one}", uploader=HER, surface=Surface.PLAYLIST_COVER,
            playlist=f"list-of-{friend}", owner=friend,
        )
        for one, friend in enumerate(OTHERS)
    ]  # fmt: skip
    tracks = [
        town.upload(next(data), f"track-{one}", uploader=HER, surface=Surface.TRACK_ART) for one in range(5)
    ]
    profile = [
        town.upload(next(data), "her-profile", uploader=HER, version=version) for version in range(1, 6)
    ]
    return [*own, *shared, *tracks, *profile[2:]], profile[:2]


def test_nothing_of_a_terminated_account_is_left_and_one_report_is_enough(town: Open) -> None:
    hers, bystander = all_shown(town)
    terminate(town, hers, bystander)
    parent = Reporter(town.public, PARENT)
    first = first_report(town, parent, hers)
    converse(town, parent, first)
    second = next_day(town, parent, first, hers)
    for receipt in (first, second):
        transcript_equals_log(town, parent, receipt)
    assert town.served([*town.urls(hers), *town.versions(hers)]) == []
    assert len(town.served(town.urls([bystander]))) == 3
    sound(town)


def all_shown(town: Open) -> tuple[list[Upload], Upload]:
    """All that she ever uploaded is public, as is somebody else's picture."""
    announced, unannounced = her_pictures(town)
    bystander = town.upload(pictures(1, first=90)[0], "bystander", uploader=OTHERS[0])
    town.announce([*announced, bystander])
    town.resize([*announced, *unannounced, bystander])
    hers = [*announced, *unannounced]
    assert len(town.served(town.urls(hers))) == 90  # else it would be no wonder that nothing is left
    return hers, bystander


def terminate(town: Open, hers: Sequence[Upload], bystander: Upload) -> None:
    """(a) Terminated for child safety: no stranger gets any object of hers, by no URL and no version."""
    now = from_micros(town.parts.clock.now())
    event = AccountTerminated(event_id="ended", occurred_at=now, account_id=HER, reason="child_safety")
    town.send(bootstrap.ACCOUNT_EVENTS, [dump(event)])
    verified = f"SELECT count(*) FROM takedown WHERE state = 'verified_gone' AND account_id IN ({OF} = :her)"
    town.wait(lambda: town.count(verified, her=HER) == 1, what="the takedown is not verified")
    # The platform has not done a thing so far: what is unreachable is so by ours alone.
    assert town.served(town.urls(hers)) == []
    assert town.served(town.versions(hers)) == []
    town.heed()
    assert town.served(town.urls(hers)) == []
    assert len(town.served(town.urls([bystander]))) == 3
    differences = "SELECT kind FROM takedown_difference JOIN takedown ON takedown.id = takedown_id"
    found = town.rows(f"{differences} WHERE account_id IN ({OF} = :her)", her=HER)
    assert [one.kind for one in found] == ["catalogue_only"] * 2


def first_report(town: Open, parent: Reporter, hers: Sequence[Upload]) -> Receipt:
    """(a) One anonymous report afterwards: one receipt that verifies, one case with all thirty."""
    receipt = parent.report(account_ids=[HER], text="my daughter was made to post these", country="GB")
    assert town.holds(receipt.envelope)
    assert not town.holds({**receipt.envelope, "document": {**receipt.document, "urgent": True}})
    kept = town.folder / "receipt.json"
    kept.write_text(json.dumps({**receipt.envelope, "token": receipt.token}))
    key = str(town.folder / "public" / "keys" / "receipt.pub")
    said = json.loads(town.staff("receipt", "verify", str(kept), "--key", key, "--json"))
    assert said == {"verdict": "valid"}
    assert receipt.document["named"] == [{"kind": "account", "id": HER, "public_covers": 0}]
    town.wait(lambda: entries_of(town, receipt, "status"), what="the report is not taken in")
    assert parent.kinds(receipt) == ["report", "receipt", "status"]
    row = reported(town, receipt)
    assert (row.state, row.repeats_id) == ("hidden", None)
    receipted = "SELECT count(*) FROM outbox WHERE body LIKE '%report.receipted%' AND body LIKE :ref"
    assert town.count(receipted, ref=f"%{receipt.reference}%") == 1
    one_case_with(town, hers)
    return receipt


def one_case_with(town: Open, hers: Sequence[Upload]) -> None:
    """Exactly one, with exactly all that she uploaded as its items."""
    assert town.count(f"SELECT count(*) FROM case_file WHERE account_id IN ({OF} = :her)", her=HER) == 1
    items = town.rows(
        "SELECT surface, cover_id, version FROM case_item"
        " JOIN case_file ON case_file.id = case_id JOIN cover_version ON cover_version.id = cover_version_id"
        f" WHERE account_id IN ({OF} = :her)",
        her=HER,
    )
    assert sorted(map(tuple, items)) == sorted(one.key for one in hers)


def entries_of(town: Open, receipt: Receipt, kind: str) -> int:
    """How often that was said in the thread; asked of the ledger, for reporters may only look so often."""
    mine = "report_id IN (SELECT id FROM report WHERE ref = :ref)"
    query = f"SELECT count(*) FROM private.thread_entry WHERE kind = :kind AND {mine}"
    return town.count(query, kind=kind, ref=receipt.reference)


def converse(town: Open, parent: Reporter, receipt: Receipt) -> None:
    """The reporter adds something, staff answers."""
    added = parent.add(receipt, text="the police know of it", police_reference="CR/2026/17")
    assert town.holds(added)
    town.wait(lambda: entries_of(town, receipt, "addition"), what="the addition is not taken in")
    town.staff("reports", "reply", receipt.reference, "--text", "Thank you. Nothing of it is public.")
    assert parent.kinds(receipt) == ["report", "receipt", "status", "addition", "reply"]


def next_day(town: Open, parent: Reporter, first: Receipt, hers: Sequence[Upload]) -> Receipt:
    """(b) A second report the next day joins the same case, is more pressing, and resets no clock."""
    a_day_passes(town, first)
    before, clocks = reported(town, first), running_clocks(town)
    named = {"account_ids": [HER], "earlier_reference": first.reference}
    second = parent.report(**named, text="is anybody looking at this?")
    assert town.holds(second.envelope)
    assert first.reference in second.document["earlier_reference_text"]
    town.wait(lambda: entries_of(town, second, "status"), what="the second report is not taken in")
    after, repeat = reported(town, first), reported(town, second)
    assert repeat.earlier_ref == first.reference
    assert repeat.repeats_id == after.id  # what refers to the first is for staff: reporters learn of nobody
    assert (before.repeats, after.repeats) == (0, 1)
    assert before.priority < after.priority == repeat.priority
    assert after.received_at == before.received_at
    one_case_with(town, hers)
    now = running_clocks(town)
    assert {key: now.get(key) for key in clocks} == clocks
    assert {kind for kind, *_ in now.keys() - clocks.keys()} == {"repeat_review"}
    rung = "SELECT count FROM alarm WHERE kind = 'report_overdue_repeated' AND subject = :ref"
    assert [tuple(one) for one in town.rows(rung, ref=first.reference)] == [(1,)]
    listed = {one["report"]: one for one in json.loads(town.staff("reports", "list", "--json"))}
    assert listed[second.reference]["repeats"] == first.reference
    assert (listed[first.reference]["repeats"], listed[first.reference]["repeated"]) == ("-", 1)
    return second


def a_day_passes(town: Open, receipt: Receipt) -> None:
    """Everything of the report happened so much earlier; nobody has looked."""
    mine = {"id": reported(town, receipt).id}
    town.change(f"UPDATE report SET received_at = received_at - {DAY_AND_MORE} WHERE id = :id", **mine)
    for name in ("due_at", "opened_at"):
        town.change(f"UPDATE obligation SET {name} = {name} - {DAY_AND_MORE} WHERE report_id = :id", **mine)
    town.overdue.append(f"report_review of {receipt.reference}")


def reported(town: Open, receipt: Receipt) -> Any:
    (row,) = town.rows("SELECT * FROM report WHERE ref = :ref", ref=receipt.reference)
    return row


def running_clocks(town: Open) -> Mapping[tuple[Any, ...], int]:
    """When each thing that is owed is due."""
    rows = town.rows(
        "SELECT kind, item_id, takedown_id, report_id, due_at FROM obligation WHERE met_at IS NULL"
    )
    return {tuple(row[:4]): row.due_at for row in rows}


def transcript_equals_log(town: Open, parent: Reporter, receipt: Receipt) -> None:
    """(e) What the reporter downloads is what staff reads, entry by entry; nobody else is in it."""
    transcript = parent.transcript(receipt)
    assert town.holds(transcript)
    assert transcript["document"]["reference"] == receipt.reference
    theirs = [told(entry) for entry in transcript["document"]["entries"]]
    shown = json.loads(town.staff("reports", "show", receipt.reference, "--json"))
    assert theirs == [told(entry) for entry in shown["thread"]]
    assert [seq for seq, *_ in theirs] == list(range(1, len(theirs) + 1))
    words = json.dumps(transcript)
    assert not [name for name in (*OTHERS, PARENT, "bystander") if name in words]


def told(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    at = datetime.fromisoformat(entry["at"]).replace(microsecond=0)
    return entry["seq"], at, entry["author"], entry["kind"], entry["text"]


def sound(town: Open) -> None:
    """The deployment finds nothing wrong with itself but what is late here; no process met a fault."""
    broken: dict[str, list[str]] = {}

    def whole() -> bool:
        town.heed()
        broken.clear()
        broken.update({one.check: list(one.found) for one in town.parts.verifier().run() if one.broken})
        return broken == ({"obligations_in_time": town.overdue} if town.overdue else {})

    try:
        town.wait(whole, what="verify finds something", patience=60)
    except AssertionError as error:
        raise AssertionError(f"{error}: {broken}") from None
    assert town.bugs() == []


# ── reports en masse ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Mass:
    accounts: int
    reports: int
    network_cap: int
    total_cap: int
    networks: int
    patience: float = PATIENCE


FEW = Mass(accounts=40, reports=200, network_cap=4, total_cap=14, networks=10)
MANY = Mass(accounts=1000, reports=10_000, network_cap=20, total_cap=500, networks=40, patience=5400)


@pytest.fixture(scope="module")
def town(open_town: OPENED) -> Open:
    return open_town(caps_of(FEW))


def caps_of(mass: Mass) -> str:
    return f"report_hides_network = {mass.network_cap}\nreport_hides_total = {mass.total_cap}"


def test_reports_en_masse_hide_no_unnamed_cover_and_the_named_within_the_caps(town: Open) -> None:
    reported_en_masse(town, FEW)


@pytest.mark.by_hand
@pytest.mark.long
@pytest.mark.timeout(9000)
def test_ten_thousand_reports_do_no_more_than_few(open_town: OPENED) -> None:
    reported_en_masse(open_town(caps_of(MANY)), MANY)


def reported_en_masse(town: Open, mass: Mass) -> None:
    """(c) Two workers take in reports on innocent accounts: nobody loses more than the caps allow."""
    an_hour_passes(town)
    named, unnamed = innocent(town, mass)
    reporting = [Reporter(town.public, f"198.51.{number}.9") for number in range(mass.networks)]
    given = filed_by_many(reporting, mass)
    assert len({receipt.reference for _, receipt in given}) == mass.reports
    assert all(town.holds(receipt.envelope) for _, receipt in given)
    references = [receipt.reference for _, receipt in given]
    town.wait(lambda: taken_in(town, references), what="reports are not taken in", patience=mass.patience)
    settled = "SELECT count(*) FROM quarantine WHERE state = 'requested' OR gone_at IS NULL"
    town.wait(lambda: town.count(settled) == 0, what="hides are not done", patience=mass.patience)
    town.heed()
    within_caps(town, mass, named)
    assert len(town.served(town.urls(unnamed))) == len(unnamed)
    for sender, receipt in given[:: max(1, mass.reports // 25)]:
        assert sender.kinds(receipt)[:2] == ["report", "receipt"]
    entries = (
        "SELECT report_id FROM private.thread_entry WHERE kind IN ('report', 'receipt') GROUP BY report_id"
    )
    threads = f"SELECT ref FROM report WHERE id IN ({entries} HAVING count(*) = 2)"
    assert {*references} <= {row.ref for row in town.rows(threads)}
    sound(town)


def an_hour_passes(town: Open) -> None:
    """What was hidden before counts against no cap any more."""
    town.change(f"UPDATE quarantine_claim SET claimed_at = claimed_at - {2 * HOUR}")


def taken_in(town: Open, references: Sequence[str]) -> bool:
    """Whether all of these reports are written down, and all that they name is served."""
    waiting = "SELECT report_id FROM report_target WHERE effected_at IS NULL"
    return {*references} <= {
        row.ref for row in town.rows(f"SELECT ref FROM report WHERE id NOT IN ({waiting})")
    }


def innocent(town: Open, mass: Mass) -> tuple[list[Upload], list[Upload]]:
    """Each account has one cover that is going to be named and one that is not; all are public."""
    data = pictures(16, first=100)
    covers = [
        town.upload(data[(2 * number + which) % 16], f"{kind}-{number}", uploader=f"innocent-{number}")
        for number in range(mass.accounts)
        for which, kind in enumerate(("named", "other"))
    ]
    town.send(bootstrap.UPLOADS, [one.body for one in covers])
    town.wait(lambda: town.screened(covers), what="not all are screened", patience=mass.patience)
    assert len(town.served(town.urls(covers))) == len(covers)
    return covers[::2], covers[1::2]


def filed_by_many(reporting: Sequence[Reporter], mass: Mass) -> list[tuple[Reporter, Receipt]]:
    """Every account is reported as often: four times its cover is named, the fifth time the whole account."""

    def file(number: int) -> tuple[Reporter, Receipt]:
        account, turn = number % mass.accounts, number // mass.accounts
        sender = reporting[(account + turn) % len(reporting)]
        if turn % 5 == 4:
            return sender, sender.report(account_ids=[f"innocent-{account}"])
        return sender, sender.report(covers=[{"id": f"named-{account}", "surface": "profile_image"}])

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(file, range(mass.reports)))


def within_caps(town: Open, mass: Mass, named: Sequence[Upload]) -> None:
    hides = town.rows(
        "SELECT cover_id, claimed_at, network FROM quarantine_claim"
        " JOIN cover_version ON cover_version.id = cover_version_id"
        " JOIN report ON report.id = report_id"
        f" WHERE uploader_id IN ({OF} LIKE 'innocent-%') ORDER BY claimed_at"
    )
    hidden = {row.cover_id for row in hides}
    assert hidden <= {one.event.cover.id for one in named}
    first: dict[str, tuple[int, bytes]] = {}
    for row in hides:
        first.setdefault(row.cover_id, (row.claimed_at, bytes(row.network)))
    by_network = defaultdict(list)
    for at, network in first.values():
        by_network[network].append(at)
    assert most_in_an_hour([at for at, _ in first.values()]) == mass.total_cap  # spent, and not passed
    assert all(most_in_an_hour(times) <= mass.network_cap for times in by_network.values())
    shown = [one for one in named if one.event.cover.id not in hidden]
    assert town.served(town.urls(named)) == town.urls(shown)
    theirs = f"account_id IN ({OF} LIKE 'innocent-%')"
    assert town.count(f"SELECT count(*) FROM takedown WHERE {theirs}") == 0
    assert town.count(f"SELECT count(*) FROM case_file WHERE {theirs}") == mass.accounts
    held = "SELECT count(*) FROM quarantine JOIN cover_version ON cover_version.id = cover_version_id"
    assert town.count(f"{held} WHERE level = 'hold' AND uploader_id IN ({OF} LIKE 'innocent-%')") == 0
    assert town.count("SELECT count(*) FROM alarm WHERE kind = 'report_hides_capped'") == 1


def most_in_an_hour(times: Sequence[int]) -> int:
    return max(sum(at <= other < at + HOUR for other in times) for at in times)


# ── who reports a child ────────────────────────────────────────────────────────────────────────────────────


def test_a_groomer_silences_nothing_of_a_child_but_what_is_named(town: Open) -> None:
    """(d) However often one person says it, and by every road at once. Support's word is another matter."""
    an_hour_passes(town)
    childs = [
        town.upload(data, f"childs-{number}", uploader="child", playlist="of-both" if number == 2 else None)
        for number, data in enumerate(pictures(6, first=200))
    ]
    groomers = [
        town.upload(data, f"groomers-{number}", uploader="groomer")
        for number, data in enumerate(pictures(2, first=210))
    ]
    town.announce([*childs, *groomers])
    references = by_form(town)
    only_named(town, childs, references)
    references += by_button(town)
    only_named(town, childs, references)
    assert len(town.served(town.urls(groomers))) == 2
    support_hides(town, groomers)
    only_named(town, childs, references)
    sound(town)


FORMS, PRESSES = 20, 5


def only_named(town: Open, childs: Sequence[Upload], references: Sequence[str]) -> None:
    """When all is taken in, two covers and what a playlist shows are hidden; the rest is public."""
    town.wait(lambda: taken_in(town, references), what="reports are not taken in")
    assert town.count(f"SELECT count(*) FROM takedown WHERE account_id IN ({OF} = 'child')") == 0
    town.wait(lambda: len(town.served(town.urls(childs[:3]))) == 0, what="what is named is not hidden")
    assert town.served(town.urls(childs[3:])) == town.urls(childs[3:])


def by_form(town: Open) -> list[str]:
    """Anonymously from ten networks, twice each: two covers, a playlist, and the account itself."""
    covers = [{"id": f"childs-{one}", "surface": "profile_image"} for one in (0, 1)]
    given = []
    for number in range(FORMS):
        groomer = Reporter(town.public, f"192.0.{number % 10}.4")
        named = {"covers": covers, "playlist_ids": ["of-both"]} if number < 10 else {"account_ids": ["child"]}
        given.append(groomer.report(**named, urgent=number % 3 == 0))
    assert all(town.holds(one.envelope) for one in given)
    return [one.reference for one in given]


def by_button(town: Open) -> list[str]:
    """With the platform's own button, from the one account that the groomer has."""
    covers = [Cover(id=f"childs-{one}", version=1, surface=Surface.PROFILE_IMAGE) for one in (0, 1)]
    now = from_micros(town.parts.clock.now())
    events = [
        ContentReported(
            event_id=f"pressed-{number}", occurred_at=now, report_id=f"button-{number}",
            reporter_id="groomer", account_id="child", covers=covers, playlist_ids=["of-both"],
        )
        for number in range(PRESSES)
    ]  # fmt: skip
    town.send(bootstrap.REPORTS, [dump(one) for one in events])
    pressed = "SELECT ref FROM report WHERE event_id LIKE 'pressed-%'"
    town.wait(lambda: len(town.rows(pressed)) == PRESSES, what="the button's reports are not taken in")
    return [row.ref for row in town.rows(pressed)]


def support_hides(town: Open, theirs: Sequence[Upload]) -> None:
    """One call of support's, which sees nothing and cannot show it again: nothing of the account is left."""
    lines = town.staff("keys", "add", "front line", "--role", "support").split()
    (secret,) = (one for one in lines if one.startswith("cgk_"))
    answer = town.front_line.post("/v1/accounts/groomer/hide", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 202
    assert town.front_line.post("/v1/accounts/child/hide").status_code == 401
    verified = (
        f"SELECT count(*) FROM takedown WHERE state = 'verified_gone' AND account_id IN ({OF} = 'groomer')"
    )
    town.wait(lambda: town.count(verified) == 1, what="what support hid is not verified")
    assert town.served([*town.urls(theirs), *town.versions(theirs)]) == []
