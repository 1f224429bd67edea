"""The whole road on PostgreSQL, each process under its own database role and nobody else's."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from reporting_desk import Desk
from world import (
    ADA,
    BEA,
    EDITOR,
    GATED,
    SENIOR,
    WATCHED,
    World,
    exact,
    near,
    opinion,
    picture,
)

from coverguard.correspondence import NamedCover
from coverguard.errors import ConfigurationError
from coverguard.hashlist import ListFormat
from coverguard.model import Category, Done, ListAction, ReporterKind
from coverguard.store import lists
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.store.roles import apply_roles
from coverguard.testing.servers import Postgres

pytestmark = pytest.mark.servers

MEMBERS = ("worker", "keeper", "operator")


class Apart(World):
    """A world whose worker, keeper and people reach the ledger as different logins."""

    def __init__(self, home: Path, owner: Database, *, logins: dict[str, Database]) -> None:
        super().__init__(home, owner)  # who looks at the rows
        parts = {name: replace(self.parts, database=mine) for name, mine in logins.items()}
        self.intake = parts["worker"].intake()
        self.worker = parts["worker"].worker()
        self.keeper = parts["keeper"].keeper()
        self.review = parts["operator"].review()
        self.importer = parts["operator"].importer()
        self.verifier = parts["operator"].verifier()
        self.people = logins["operator"]

    def keep(self) -> None:
        """One tick, in which nothing may fail."""
        self.clock.go_on(timedelta(seconds=10))
        for step in (*self.keeper.steps(), self.keeper.find_late_renditions):
            step()


@pytest.fixture
def apart(postgres: Postgres, tmp_path: Path) -> Iterator[Apart]:
    number = uuid.uuid4().hex
    name = f"apart_{number}"
    owner = Database(postgres.create_database(name), durable=False)
    migrate(owner)
    assert apply_roles(owner) == ()
    logins = {}
    with psycopg.connect(postgres.url().replace("+psycopg", ""), autocommit=True) as server:
        for role in MEMBERS:
            server.execute(f"CREATE ROLE {role}_{number} LOGIN IN ROLE coverguard_{role}")
            logins[role] = Database(postgres.url(name, user=f"{role}_{number}"), durable=False)
        world = Apart(tmp_path, owner, logins=logins)
        yield world
        for opened in (owner, *logins.values()):
            opened.close()
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        for role in MEMBERS:
            server.execute(f"DROP ROLE {role}_{number}")


@pytest.fixture
def listed(apart: Apart) -> Apart:
    """A list of the picture 1, made and filled by people."""
    before, apart.database = apart.database, apart.people
    apart.list_of(near(picture(1)))
    apart.database = before
    return apart


def test_from_a_match_to_a_verdict_and_back(listed: Apart) -> None:
    rendition = listed.rendition("c1")
    upload = listed.upload(picture(1), "c1", surface=WATCHED)
    assert upload.outcome == Done(note="hold")
    assert not listed.served(upload.ref)
    assert not listed.served(rendition)
    assert listed.upload(picture(1), "c2", surface=GATED).outcome == Done(note="hold")
    assert listed.upload(picture(2), "c3", surface=GATED).outcome == Done(note="pass")
    listed.keep()
    assert listed.clear(upload, ADA, BEA).kind == "second"
    listed.keep()
    assert listed.served(upload.ref)
    listed.reopen(upload)
    listed.confirm(upload, SENIOR)
    listed.review.agree_to_hold(listed.item(upload).ref, actor=ADA, opinion=opinion())
    listed.keep()
    assert not listed.served(upload.ref)
    assert [finding.check for finding in listed.verifier.run() if finding.broken] == []


def test_what_could_not_be_screened(listed: Apart) -> None:
    upload = listed.announce(picture(1), "c1", surface=WATCHED)
    with listed.unreachable(upload.ref):
        listed.deliver(upload.body)
        listed.clock.go_on(listed.settings.grace)
        listed.keep()
    assert listed.answer(upload).decision == "not_screened"
    silent = listed.announce(picture(3), "c2", surface=WATCHED)
    listed.deliver(upload.body)
    assert listed.answer(upload).decision == "hold"
    listed.deliver(silent.body)
    listed.keep()


def test_what_else_the_platform_says(listed: Apart) -> None:
    upload = listed.upload(picture(2), "c1", surface=WATCHED, playlist="p")
    someone = {"account_id": "a"}
    for kind, fields in {
        "collaborator.added": {"playlist_id": "p", **someone},
        "collaborator.removed": {"playlist_id": "p", **someone},
        "playlist.edited": {"playlist_id": "p", "editor_id": "a", "field": "title", "text": "hello"},
        "playlist.deleted": {"playlist_id": "p"},
        "account.renamed": {**someone, "new_name": "new"},
        "account.tagged": {**someone, "by_account_id": "b"},
        "account.terminated": {**someone, "reason": "child_safety"},
        "account.reinstated": someone,
        "content.reported": {"report_id": "r", "text": "words"},
    }.items():
        body = listed.message(kind, **fields)
        assert isinstance(listed.settled(body), Done), kind
    assert listed.delete(upload) == Done(note="noted")
    assert len(listed.rows("statement")) == 2
    assert len(listed.rows("report")) == 1
    listed.clock.go_on(timedelta(days=200))
    listed.keep()
    assert listed.rows("fingerprint") == []
    assert listed.rows("statement") == []


def test_lists_are_for_people(listed: Apart, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    (row,) = [exact(picture(5))]
    path.write_text(row.digest.hex() + "\n")
    listed.database = listed.people
    listed.list_of(name="hex", action=ListAction.REFER, category=Category.TERRORISM)
    report = listed.importer.load_file(
        "hex", path, list_format=ListFormat.HEX, algorithm=row.algorithm, actor=EDITOR
    )
    assert report.upserts == 1
    with listed.people.transaction() as tx:
        found = lists.by_name(tx, "hex")
        lists.switch(tx, found.id, enabled=False, now=listed.clock.now())
        lists.switch(tx, found.id, enabled=True, now=listed.clock.now())
    assert listed.upload(picture(5), "c9").outcome == Done(note="refer")


def test_the_queue_is_served(listed: Apart) -> None:
    upload = listed.announce(picture(1), "c1", surface=WATCHED)
    listed.keeper.uploads.send([upload.body])
    (queue, *_) = listed.worker.queues
    listed.clock.go_on(timedelta(seconds=2))
    (delivery,) = queue.receive(limit=10, wait=timedelta(), lease=timedelta(seconds=30))
    assert json.loads(delivery.body)["type"] == "cover.uploaded"
    outcome = listed.worker.outcome_of(delivery)
    assert outcome == Done(note="hold")
    queue.settle(delivery, outcome)
    assert queue.depth()["visible"] == 0


@pytest.mark.parametrize("who", ["worker", "keeper"])
def test_no_process_decides_for_people(listed: Apart, who: str) -> None:
    """Else the tests above would say nothing."""
    upload = listed.upload(picture(1), "c1", surface=WATCHED)
    item = listed.claim(upload)
    theirs = {"worker": listed.intake.database, "keeper": listed.keeper.database}[who]
    with pytest.raises(ConfigurationError, match="role has no right"):
        replace(listed.review, database=theirs).confirm(
            item.ref, actor=ADA, opinion=opinion(Category.CHILD_ABUSE)
        )
    with pytest.raises(ConfigurationError, match="role has no right"), theirs.transaction() as tx:
        lists.switch(tx, 1, enabled=False, now=listed.clock.now())
    assert listed.rows("verdict") == []


def test_a_report_from_the_button_to_the_outcome(listed: Apart) -> None:
    desk = Desk(listed)
    named, other = (listed.upload(picture(n), f"c{n}", surface=WATCHED, uploader="u") for n in (3, 4))
    made = desk.file(named, accounts=["u"], contact="parent@example.org", text="please look")
    again = desk.file(named, net="other", category=Category.INTIMATE_IMAGE)
    assert not listed.served(named.ref)
    assert desk.add(made, "there is more").note == "added"
    staff = replace(listed.parts, database=listed.people).reporting()
    staff.reply(made.reference, "We look at it.", actor=ADA)
    assert len(staff.transcript(made.reference, actor=ADA)) == len(desk.mail(made))
    for cover in (named, other):
        listed.clear(cover, ADA)
        listed.keep()
    listed.keep()
    assert listed.served(named.ref)
    assert (desk.row(made).state, desk.row(again).state) == ("decided", "decided")
    unknown = desk.file(NamedCover(id="nothing", surface=WATCHED))
    staff.close(unknown.reference, actor=ADA)
    listed.clock.go_on(timedelta(days=200))
    listed.keep()
    assert listed.rows("reporter") == []
    assert desk.row(made).network is None


def test_a_hotlines_demand_and_a_list_that_grew(listed: Apart) -> None:
    desk = Desk(listed)
    named, other = (listed.upload(picture(n), f"c{n}", surface=WATCHED, uploader="u") for n in (3, 4))
    before, listed.database = listed.database, listed.people
    listed.list_of(near(picture(4)))
    listed.database = before
    listed.clock.go_on(timedelta(seconds=2))
    desk.file(named)
    assert desk.rescreen() == 1
    assert not listed.served(other.ref)
    desk.keyed(ReporterKind.HOTLINE, named, removal=True)
    for _ in range(5):
        listed.keep()
    assert listed.rows("takedown")[0].state == "verified_gone"
