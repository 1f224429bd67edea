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
from quarter import PATIENCE, Quarter, Receipt, Reporter, pictures

from coverguard import bootstrap
from coverguard.messages import AccountTerminated, ContentReported, Cover, dump, from_micros
from coverguard.model import Surface
from coverguard.testing.platform import Upload

pytestmark = [pytest.mark.process, pytest.mark.servers, pytest.mark.timeout(900)]

HER, PARENT = "her-account", "203.0.113.7"
HOUR = 3_600_000_000  # microseconds
DAY_AND_MORE = 26 * HOUR
OTHERS = ("friend-1", "friend-2", "friend-3")
Open = Callable[..., Quarter]


# ── the news case ──────────────────────────────────────────────────────────────────────────────────────────


def her_pictures(town: Quarter) -> tuple[list[Upload], list[Upload]]:
    """Thirty: three on other people's playlists, four old versions. Two only the platform's catalogue knows."""
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


def test_nothing_of_a_terminated_account_is_left_and_one_report_is_enough(open_quarter: Open) -> None:
    town = open_quarter()
    public, hers, bystander = news_town(town)
    terminate(town, hers, bystander)
    parent = Reporter(public, PARENT)
    first = first_report(town, parent, hers)
    converse(town, parent, first)
    second = next_day(town, parent, first)
    for receipt in (first, second):
        transcript_equals_log(town, parent, receipt)
    assert town.served([*town.urls(hers), *town.versions(hers)]) == []
    assert len(town.served(town.urls([bystander]))) == 3
    sound(town)


def news_town(town: Quarter) -> tuple[Any, list[Upload], Upload]:
    """All processes run, and all that she ever uploaded is public, as is somebody else's picture."""
    for role in ("worker", "keeper"):
        town.start(role)
    public = town.open_front("public")
    announced, unannounced = her_pictures(town)
    bystander = town.upload(pictures(1, first=90)[0], "bystander", uploader=OTHERS[0])
    town.announce([*announced, bystander])
    town.resize([*announced, *unannounced, bystander])
    hers = [*announced, *unannounced]
    assert len(town.served(town.urls(hers))) == 90  # else it would be no wonder that nothing is left
    return public, hers, bystander


def terminate(town: Quarter, hers: Sequence[Upload], bystander: Upload) -> None:
    """(a) Terminated for child safety: no stranger gets any object of hers, by no URL and no version."""
    now = from_micros(town.parts.clock.now())
    event = AccountTerminated(event_id="ended", occurred_at=now, account_id=HER, reason="child_safety")
    town.send(bootstrap.ACCOUNT_EVENTS, [dump(event)])
    verified = "SELECT count(*) FROM takedown WHERE state = 'verified_gone'"
    town.wait(lambda: town.count(verified) == 1, what="the takedown is not verified")
    # The platform has not done a thing so far: what is unreachable is so by ours alone.
    assert town.served(town.urls(hers)) == []
    assert town.served(town.versions(hers)) == []
    town.heed()
    assert town.served(town.urls(hers)) == []
    assert len(town.served(town.urls([bystander]))) == 3
    assert dict(town.rows("SELECT kind, count(*) FROM takedown_difference GROUP BY kind")) == {
        "catalogue_only": 2
    }


def first_report(town: Quarter, parent: Reporter, hers: Sequence[Upload]) -> Receipt:
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
    town.wait(lambda: "status" in parent.kinds(receipt), what="the report is not taken in")
    assert parent.kinds(receipt) == ["report", "receipt", "status"]
    (row,) = town.rows("SELECT ref, state, repeats_id FROM report")
    assert tuple(row) == (receipt.reference, "hidden", None)
    receipted = "SELECT count(*) FROM outbox WHERE body LIKE '%report.receipted%'"
    assert town.count(receipted) == 1
    one_case_with(town, hers)
    return receipt


def one_case_with(town: Quarter, hers: Sequence[Upload]) -> None:
    assert town.count("SELECT count(*) FROM case_file") == 1
    items = town.rows(
        "SELECT surface, cover_id, version FROM case_item"
        " JOIN cover_version ON cover_version.id = cover_version_id"
    )
    assert sorted(map(tuple, items)) == sorted(one.key for one in hers)


def converse(town: Quarter, parent: Reporter, receipt: Receipt) -> None:
    """The reporter adds something, staff answers."""
    added = parent.add(receipt, text="the police know of it", police_reference="CR/2026/17")
    assert town.holds(added)
    town.wait(lambda: "addition" in parent.kinds(receipt), what="the addition is not taken in")
    town.staff("reports", "reply", receipt.reference, "--text", "Thank you. Nothing of it is public.")
    assert parent.kinds(receipt) == ["report", "receipt", "status", "addition", "reply"]


def next_day(town: Quarter, parent: Reporter, first: Receipt) -> Receipt:
    """(b) A second report the next day joins the same case, is more pressing, and resets no clock."""
    with town.parts.database.transaction() as tx:
        for statement in (
            f"UPDATE report SET received_at = received_at - {DAY_AND_MORE}",
            f"UPDATE obligation SET opened_at = opened_at - {DAY_AND_MORE}, due_at = due_at - {DAY_AND_MORE}"
            " WHERE report_id IS NOT NULL",
        ):
            tx.exec_driver_sql(statement)
    before, clocks = reported(town, first), running_clocks(town)
    items = town.rows("SELECT id, cover_version_id FROM case_item ORDER BY id")
    second = parent.report(account_ids=[HER], text="is anybody looking at this?")
    assert town.holds(second.envelope)
    town.wait(lambda: "status" in parent.kinds(second), what="the second report is not taken in")
    after, repeat = reported(town, first), reported(town, second)
    assert repeat.repeats_id == after.id  # what refers to the first is for staff: reporters learn of nobody
    assert (before.repeats, after.repeats) == (0, 1)
    assert before.priority < after.priority == repeat.priority
    assert after.received_at == before.received_at
    assert town.count("SELECT count(*) FROM case_file") == 1
    assert town.rows("SELECT id, cover_version_id FROM case_item ORDER BY id") == items
    now = running_clocks(town)
    assert {key: now.get(key) for key in clocks} == clocks
    assert {kind for kind, *_ in now.keys() - clocks.keys()} == {"repeat_review"}
    rung = "SELECT count FROM alarm WHERE kind = 'report_overdue_repeated' AND subject = :ref"
    assert [tuple(one) for one in town.rows(rung, ref=first.reference)] == [(1,)]
    listed = {one["report"]: one for one in json.loads(town.staff("reports", "list", "--json"))}
    assert listed[second.reference]["repeats"] == first.reference
    assert (listed[first.reference]["repeats"], listed[first.reference]["repeated"]) == ("-", 1)
    return second


def reported(town: Quarter, receipt: Receipt) -> Any:
    (row,) = town.rows("SELECT * FROM report WHERE ref = :ref", ref=receipt.reference)
    return row


def running_clocks(town: Quarter) -> Mapping[tuple[Any, ...], int]:
    """When each thing that is owed is due."""
    rows = town.rows(
        "SELECT kind, item_id, takedown_id, report_id, due_at FROM obligation WHERE met_at IS NULL"
    )
    return {tuple(row[:4]): row.due_at for row in rows}


def transcript_equals_log(town: Quarter, parent: Reporter, receipt: Receipt) -> None:
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
    at = datetime.fromisoformat(entry["at"].replace("Z", "+00:00")).replace(microsecond=0)
    return entry["seq"], at, entry["author"], entry["kind"], entry["text"]


def sound(town: Quarter) -> None:
    """The deployment's own check of itself finds nothing, and no process met a fault of its own."""
    broken: dict[str, list[str]] = {}

    def whole() -> bool:
        town.heed()
        broken.clear()
        broken.update({one.check: list(one.found) for one in town.parts.verifier().run() if one.broken})
        return not broken

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


FEW = Mass(accounts=40, reports=200, network_cap=3, total_cap=12, networks=10)
MANY = Mass(accounts=1000, reports=10_000, network_cap=20, total_cap=500, networks=40, patience=5400)


@pytest.mark.parametrize(
    "mass", [FEW, pytest.param(MANY, marks=[pytest.mark.long, pytest.mark.timeout(9000)])]
)
def test_reports_en_masse_hide_no_unnamed_cover_and_the_named_within_the_caps(
    open_quarter: Open, mass: Mass
) -> None:
    """(c) Two workers take in reports on innocent accounts: nobody loses more than the caps allow."""
    caps = f"report_hides_network = {mass.network_cap}\nreport_hides_total = {mass.total_cap}"
    town = open_quarter(caps)
    for role in ("worker", "worker", "keeper"):
        town.start(role)
    public = town.open_front("public")
    named, unnamed = innocent(town, mass)
    reporting = [Reporter(public, f"198.51.{number}.9") for number in range(mass.networks)]
    given = filed_by_many(reporting, mass)
    assert len({receipt.reference for _, receipt in given}) == mass.reports
    assert all(town.holds(receipt.envelope) for _, receipt in given)
    served = "SELECT count(*) FROM report WHERE id NOT IN (SELECT report_id FROM report_target"
    town.wait(
        lambda: town.count(f"{served} WHERE effected_at IS NULL)") == mass.reports,
        what="reports are not taken in", patience=mass.patience,
    )  # fmt: skip
    settled = "SELECT count(*) FROM quarantine WHERE state = 'requested' OR gone_at IS NULL"
    town.wait(lambda: town.count(settled) == 0, what="hides are not done", patience=mass.patience)
    town.heed()
    within_caps(town, mass, named)
    assert len(town.served(town.urls(unnamed))) == len(unnamed)
    for sender, receipt in given[:: max(1, mass.reports // 25)]:
        assert sender.kinds(receipt)[:2] == ["report", "receipt"]
    mailboxes = "SELECT count(*) FROM (SELECT mailbox FROM private.thread_mail GROUP BY mailbox"
    assert town.count(f"{mailboxes} HAVING count(*) >= 2) AS boxes") == mass.reports
    sound(town)


def innocent(town: Quarter, mass: Mass) -> tuple[list[Upload], list[Upload]]:
    """Each account has one cover that is going to be named and one that is not; all are public."""
    data = pictures(16, first=100)
    covers = [
        town.upload(data[(2 * number + which) % 16], f"{kind}-{number}", uploader=f"innocent-{number}")
        for number in range(mass.accounts)
        for which, kind in enumerate(("named", "other"))
    ]
    town.send(bootstrap.UPLOADS, [one.body for one in covers])
    answered = "SELECT count(*) FROM screening WHERE decision = 'pass'"
    town.wait(
        lambda: town.count(answered) == len(covers), what="not all are screened", patience=mass.patience
    )
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


def within_caps(town: Quarter, mass: Mass, named: Sequence[Upload]) -> None:
    hides = town.rows(
        "SELECT cover_id, claimed_at, network FROM quarantine_claim"
        " JOIN cover_version ON cover_version.id = cover_version_id"
        " JOIN report ON report.id = report_id ORDER BY claimed_at"
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
    assert town.count("SELECT count(*) FROM takedown") == 0
    assert town.count("SELECT count(*) FROM quarantine WHERE level = 'hold'") == 0
    assert town.count("SELECT count(*) FROM alarm WHERE kind = 'report_hides_capped'") == 1
    assert town.count("SELECT count(*) FROM case_file") == mass.accounts


def most_in_an_hour(times: Sequence[int]) -> int:
    return max(sum(at <= other < at + HOUR for other in times) for at in times)


# ── who reports a child ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("roads", [("form",), ("button",), ("form", "button")], ids="+".join)
def test_a_groomer_silences_nothing_of_a_child_but_what_is_named(
    open_quarter: Open, roads: Sequence[str]
) -> None:
    """(d) However often one person says it, and by whatever road. What support says is another matter."""
    town = open_quarter()
    for role in ("worker", "keeper"):
        town.start(role)
    public = town.open_front("public")
    childs = [
        town.upload(data, f"childs-{number}", uploader="child", playlist="of-both" if number == 2 else None)
        for number, data in enumerate(pictures(6, first=200))
    ]
    groomers = [
        town.upload(data, f"groomers-{number}", uploader="groomer")
        for number, data in enumerate(pictures(2, first=210))
    ]
    town.announce([*childs, *groomers])
    count = sum(GROOMER[road](town, public) for road in roads)
    served = "SELECT count(*) FROM report WHERE id NOT IN (SELECT report_id FROM report_target"
    town.wait(
        lambda: town.count(f"{served} WHERE effected_at IS NULL)") == count, what="reports are not taken in"
    )
    assert town.count("SELECT count(*) FROM takedown") == 0
    town.wait(lambda: len(town.served(town.urls(childs[:3]))) == 0, what="what is named is not hidden")
    assert town.served(town.urls(childs[3:])) == town.urls(childs[3:])
    assert len(town.served(town.urls(groomers))) == 2
    support_hides(town, groomers)
    assert town.served(town.urls(childs[3:])) == town.urls(childs[3:])
    sound(town)


def by_form(town: Quarter, public: Any) -> int:
    """Anonymously from ten networks, thrice each: two covers, a playlist, and the account itself."""
    covers = [{"id": f"childs-{one}", "surface": "profile_image"} for one in (0, 1)]
    for number in range(30):
        groomer = Reporter(public, f"192.0.{number % 10}.4")
        named = {"covers": covers, "playlist_ids": ["of-both"]} if number % 2 else {"account_ids": ["child"]}
        assert town.holds(groomer.report(**named, urgent=number % 3 == 0).envelope)
    return 30


def by_button(town: Quarter, public: Any) -> int:
    """With the platform's own button, from the one account that the groomer has."""
    covers = [Cover(id=f"childs-{one}", version=1, surface=Surface.PROFILE_IMAGE) for one in (0, 1)]
    now = from_micros(town.parts.clock.now())
    events = [
        ContentReported(
            event_id=f"pressed-{number}", occurred_at=now, report_id=f"button-{number}",
            reporter_id="groomer", account_id="child", covers=covers, playlist_ids=["of-both"],
        )
        for number in range(10)
    ]  # fmt: skip
    town.send(bootstrap.REPORTS, [dump(one) for one in events])
    return len(events)


GROOMER = {"form": by_form, "button": by_button}


def support_hides(town: Quarter, theirs: Sequence[Upload]) -> None:
    """One call of support's, which sees nothing and cannot show it again: nothing of the account is left."""
    platform = town.open_front("platform")
    lines = town.staff("keys", "add", "front line", "--role", "support").split()
    (secret,) = (one for one in lines if one.startswith("cgk_"))
    answer = platform.post("/v1/accounts/groomer/hide", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 202
    assert platform.post("/v1/accounts/child/hide").status_code == 401
    verified = "SELECT count(*) FROM takedown WHERE state = 'verified_gone'"
    town.wait(lambda: town.count(verified) == 1, what="what support hid is not verified")
    assert town.served([*town.urls(theirs), *town.versions(theirs)]) == []
