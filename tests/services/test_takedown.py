"""A takedown's one success condition, on a real ledger and store: nothing of the account is public."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from world import ADA, BEA, GATED, SENIOR, WATCHED, Upload, World, near, person, picture

from coverguard.errors import Refused, TransientError
from coverguard.messages import CoverUploaded, parse
from coverguard.model import Category, ListAction, NotScreenedReason, Surface
from coverguard.store import darkening, takedowns
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.testing.servers import Postgres

pytestmark = pytest.mark.thorough  # each on both databases, with everything that an account may have

HER = "her-account"
SUPPORT = person("Sue", "support")
MODERATOR = person("Mo", "moderator")


class Town(World):
    """A world whose takedowns are driven one thing at a time."""

    def __init__(self, home: Path, database: Database, **changed: object) -> None:
        super().__init__(home, database, takedown_threads=1, **changed)

    def tell(self, kind: str, **fields: object) -> None:
        assert self.deliver(self.message(kind, **fields)) is not None

    def terminate(self, reason: str = "child_safety", account: str = HER) -> None:
        self.tell("account.terminated", account_id=account, reason=reason)

    def reinstate(self, account: str = HER) -> None:
        self.tell("account.reinstated", account_id=account)

    def drive(self, *, turns: int = 60) -> None:
        """Let the keeper's driver go on until nothing is due."""
        for _ in range(turns):
            if not self.keeper.drive_takedowns() and not self.keeper.takedowns.under_way:
                assert not self.parts.log.counters["bug"], self.lines.getvalue()
                return
        raise AssertionError("it never rests")

    def later(self, **span: float) -> None:
        self.clock.go_on(timedelta(**span))

    def takedown(self):
        return self.rows("takedown")[-1]

    def public(self) -> list[str]:
        """Keys of everything that a stranger is served."""
        return [ref.key for ref in self.store.walk("public", prefix="")]

    @staticmethod
    def place(cover_id: str, version: int) -> str:
        """Where the template has that version's picture."""
        return f"covers/{WATCHED.value}/{cover_id}/{version}/full.jpg"

    def covers_of_hers(self) -> list[Upload]:
        """Everything an account may have: every surface, an old version, renditions, somebody's playlist."""
        named = self.rendition("named", "300.jpg")
        self.rendition("found", "64.jpg")
        made = [
            self.upload(picture(10), "avatar", uploader=HER, surface=WATCHED),
            self.upload(picture(11), "named", uploader=HER, surface=WATCHED, renditions=[named]),
            self.upload(picture(12), "found", uploader=HER, surface=WATCHED),
            self.upload(picture(13), "old", uploader=HER, surface=WATCHED, key="covers/old"),
            self.upload(picture(14), "old", version=2, uploader=HER, surface=WATCHED, key="covers/old"),
            self.upload(picture(15), "theirs", uploader=HER, owner="friend", playlist="p1", surface=WATCHED),
            self.upload(picture(16), "gated", uploader=HER, surface=GATED),
        ]
        published = self.put(picture(16), "published/gated")
        made.append(self.upload(b"", "gated2", uploader=HER, surface=WATCHED, ref=published))
        deleted = self.upload(picture(17), "deleted", uploader=HER, surface=WATCHED)
        self.delete(deleted)
        return [*made, deleted]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def town(request: pytest.FixtureRequest, tmp_path: Path, migrated_ledger: Path) -> Iterator[Town]:
    if request.param == "sqlite":
        (tmp_path / "ledger.db").write_bytes(migrated_ledger.read_bytes())
        made = Town(tmp_path, Database(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False))
        yield made
        made.close()
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = f"takedown_{uuid.uuid4().hex}"
    database = Database(postgres.create_database(name), durable=False)
    migrate(database)
    made = Town(tmp_path, database)
    yield made
    made.close()
    postgres.drop_database(name)


# ── everything goes dark ───────────────────────────────────────────────────────────────────────────────────


def test_a_termination_for_child_safety_leaves_nothing_public(town: Town) -> None:
    """CASE-02, CASC-03, CASC-04."""
    hers = town.covers_of_hers()
    other = town.upload(picture(20), "other", uploader="friend", playlist="p1", surface=WATCHED)
    before = {ref.key for ref in town.store.walk("public", prefix="")}
    assert len(before) >= 8
    town.terminate()
    town.drive()
    assert town.public() == [other.ref.key]
    row = town.takedown()
    assert (row.state, row.level) == ("verified_gone", "hold")
    assert row.objects == len({(one.ref.bucket, one.ref.key, one.ref.version_id) for one in hers}) + 2
    (file,) = town.rows("case_file")
    assert len(town.rows("case_item", case_id=file.id)) == len(hers)
    assert town.types("safety") == ["account.takedown_verified"]
    assert town.told("safety")[0].account_id == HER
    assert not town.alarms()
    kinds = [(one.kind, one.takedown_id) for one in town.rows("obligation", met_at=None)]
    assert kinds == [("review", row.id)], "one clock for all, not one for each"
    assert picture(17) in town.vault(), "what was deleted and is stored is kept, too"
    assert not any(one.broken for one in town.parts.verifier().run() if one.check != "outbox_sent")


def test_a_termination_is_served_once_however_often_and_late_it_is_told(town: Town) -> None:
    """CASC-10."""
    town.covers_of_hers()
    body = town.message("account.terminated", account_id=HER, reason="child_safety")
    for _ in range(3):
        town.deliver(body)
        town.drive()
    assert len(town.rows("takedown")) == 1
    assert len(town.rows("takedown_cause")) == 1
    assert town.types("safety") == ["account.takedown_verified"]
    assert len(town.rows("case_file")) == 1


@pytest.mark.parametrize("reason", ["other_violation", "user_request", "unknown"])
def test_other_terminations_take_nothing_dark(town: Town, reason: str) -> None:
    town.covers_of_hers()
    before = town.public()
    town.terminate(reason)
    town.drive()
    assert town.public() == before
    assert not town.rows("takedown")
    assert not any(one.check == "events_served" and one.found for one in town.parts.verifier().run())


def test_an_unknown_reason_and_a_case_take_everything_dark_in_either_order(town: Town) -> None:
    town.list_of(near(picture(1)), action=ListAction.REFER, category=Category.OTHER)
    town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    town.terminate("unknown")
    town.drive()
    assert town.public()
    town.upload(picture(1), "c1", uploader=HER, surface=WATCHED)
    town.drive()
    assert not town.public()
    town.upload(picture(1), "c2", uploader="him", surface=WATCHED)
    town.terminate("unknown", account="him")
    town.drive()
    assert not town.public()


def test_deleting_the_account_during_a_case_destroys_no_evidence(town: Town) -> None:
    """CASC-11."""
    town.list_of(near(picture(1)))
    held = town.upload(picture(1), "c1", uploader=HER, surface=WATCHED)
    town.terminate("user_request")
    town.delete(held)
    town.drive()
    assert town.vault() == [picture(1)]
    assert town.holds(held)[0][1] == "held"


def test_a_termination_that_an_earlier_release_stored_is_served_by_the_keeper(town: Town) -> None:
    town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    town.terminate()
    with town.database.transaction() as tx:
        for table in ("takedown_cause", "takedown"):
            tx.exec_driver_sql(f"DELETE FROM {table}")
        tx.exec_driver_sql("UPDATE account SET takedown_id = NULL")
        tx.exec_driver_sql("UPDATE platform_event SET served_at = NULL")
    for step in town.keeper.acts():
        step()
    town.drive()
    assert not town.public()
    assert all(row.served_at for row in town.rows("platform_event"))


# ── verdicts ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_confirmed_verdict_takes_the_whole_account_down_in_the_same_case(town: Town) -> None:
    town.list_of(near(picture(1)))
    town.covers_of_hers()
    held = town.upload(picture(1), "c1", uploader=HER, surface=WATCHED)
    town.confirm(held)
    (owed,) = town.rows("obligation", kind="account_takedown")
    assert owed.due_at - town.clock.now() <= 3600 * 10**6
    town.drive()
    assert not town.public()
    assert len(town.rows("case_file")) == 1
    assert town.rows("obligation", kind="account_takedown")[0].met_at is not None
    assert town.verdict_events(held)[-1][0] == "removed", "and not withheld again"


def test_another_category_takes_down_nothing_else(town: Town) -> None:
    town.list_of(near(picture(1)), category=Category.TERRORISM)
    other = town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    held = town.upload(picture(1), "c1", uploader=HER, surface=WATCHED)
    town.confirm(held, category=Category.TERRORISM)
    town.drive()
    assert town.public() == [other.ref.key]


def test_an_appeal_leaves_it_dark_until_it_is_decided_and_then_lifts_it(town: Town) -> None:
    town.list_of(near(picture(1)), known=False)
    other = town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    held = town.upload(picture(1), "c1", uploader=HER, surface=WATCHED)
    town.confirm(held)
    town.drive()
    town.reopen(held)
    town.drive()
    assert not town.public()
    town.clear(held, BEA)
    town.drive()
    assert sorted(town.public()) == sorted([other.ref.key, held.ref.key])
    assert town.takedown().state == "lifted"


def test_a_cleared_cover_of_a_dark_account_stays_dark_until_the_takedown_is_lifted(town: Town) -> None:
    town.list_of(near(picture(1)), known=False)
    held = town.upload(picture(1), "c1", uploader=HER, surface=GATED)
    town.terminate()
    town.drive()
    town.clear(held)
    town.drive()
    assert town.verdict_events(held) == [("withheld", 1)]
    town.reinstate()
    town.drive()
    assert town.verdict_events(held) == [("withheld", 1), ("released", 2)]
    assert town.served(held.ref)


# ── uploads that slip in ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("surface", [WATCHED, GATED])
def test_an_upload_of_a_dark_account_is_never_shown(town: Town, surface: Surface) -> None:
    town.terminate()
    town.drive()
    late = town.upload(picture(30), "late", uploader=HER, surface=surface)
    assert not town.served(late.ref)
    assert town.verdict_events(late) == [("withheld", 1)]
    assert ("takedown_reopened", town.takedown().ref) in town.alarms()
    town.drive()
    assert town.takedown().state == "verified_gone"
    assert not town.alarms()
    assert len(town.rows("case_item")) == 1
    assert town.types("safety").count("account.takedown_verified") == 2


@pytest.mark.parametrize("answer", ["none", "not_screened", "refer"])
def test_lifting_never_publishes_what_waits_at_the_gate_for_its_answer(town: Town, answer: str) -> None:
    town.terminate()
    if answer == "refer":
        town.list_of(near(picture(1)), action=ListAction.REFER)
    made = town.announce(picture(1), "c1", uploader=HER, surface=GATED)
    event = parse(made.body)
    assert isinstance(event, CoverUploaded)
    if answer == "none":
        with town.database.transaction() as tx:
            from coverguard.store import covers  # noqa: PLC0415 - this branch alone

            now = town.clock.now()
            covers.announce(tx, event, mode=town.settings.modes[GATED], sent_at=now, now=now)
    elif answer == "not_screened":
        with town.unreachable(made.ref), pytest.raises(TransientError):
            town.deliver(made.body)  # it cannot be kept, either
        assert town.answer(made).reason == NotScreenedReason.STORE_UNREACHABLE.value
    else:
        town.deliver(made.body)
    town.drive()
    town.reinstate()
    town.drive()
    assert town.takedown().state == "lifted"
    assert [name for name, _ in town.verdict_events(made)] == ["withheld"] * len(town.told(upload=made))


# ── it comes back ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_late_rendition_reopens_it(town: Town) -> None:
    town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    town.terminate()
    town.drive()
    town.rendition("c0")
    assert town.public()
    town.later(minutes=2)
    town.drive()
    assert town.takedown().reopened == 1
    assert not town.public()
    assert town.takedown().state == "verified_gone"


def test_an_object_that_is_put_again_reopens_it(town: Town) -> None:
    upload = town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    town.terminate()
    town.drive()
    town.put(picture(10), upload.ref.key)
    assert town.public()
    town.later(minutes=2)
    town.drive()
    assert not town.public()
    town.later(seconds=6)
    town.drive()
    assert (town.takedown().state, town.takedown().reopened) == ("verified_gone", 1)


def test_an_object_whose_block_somebody_took_away_is_blocked_again_and_said(town: Town) -> None:
    upload = town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    town.terminate()
    town.drive()
    (row,) = town.rows("quarantine")
    town.store.unblock(upload.ref, token=f"{row.ref}:1")
    assert town.served(upload.ref)
    town.later(hours=2)
    town.keeper.verify_gone()
    assert town.takedown().state == "enumerated"
    assert ("takedown_reopened", town.takedown().ref) in town.alarms()
    town.drive()
    assert not town.public()
    assert town.takedown().state == "verified_gone"


def test_unknown_is_not_gone(town: Town) -> None:
    town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    town.probe.blind = True
    town.terminate()
    town.drive()
    assert town.takedown().state == "dark"
    assert not town.types("safety")
    town.later(minutes=16)
    town.keeper.takedowns.ring_stuck()
    assert ("takedown_stuck", town.takedown().ref) in town.alarms()
    found = {one.check: one.found for one in town.parts.verifier().run()}
    assert found["takedowns_served"]
    town.probe.blind = False
    town.drive()
    assert town.takedown().state == "verified_gone"
    assert not [kind for kind, _ in town.alarms() if kind.startswith("takedown")]


def test_it_is_looked_at_soon_then_hourly_then_daily(town: Town) -> None:
    town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    town.terminate()
    town.drive()
    waits = []
    for _ in range(60):
        next_look = town.takedown().look_at
        waits.append((next_look - town.clock.now()) // 10**6)
        town.clock.go_on(timedelta(microseconds=next_look - town.clock.now()))
        town.drive()
    assert waits == sorted(waits)
    assert set(waits) == {60, 3600, 86400}


# ── lifting ────────────────────────────────────────────────────────────────────────────────────────────────


def shown(town: Town) -> dict[str, object]:
    """What strangers are served: bytes, content type and metadata by key."""
    found = {}
    for ref in town.store.walk("public", prefix=""):
        said = town.store.describe(ref)
        found[ref.key] = (town.store.read(ref, limit=10**7), said.content_type, dict(said.metadata))
    return found


def test_a_reinstatement_restores_exactly_what_was_hidden_and_leaves_other_holds(town: Town) -> None:
    """CASE-08."""
    town.list_of(near(picture(1)))
    held = town.upload(picture(1), "c1", uploader=HER, surface=WATCHED)
    hers = town.covers_of_hers()
    before, told = shown(town), len(town.told())
    town.terminate()
    town.drive()
    assert not shown(town)
    town.later(days=3)
    town.reinstate()
    town.drive()
    assert shown(town) == before
    assert town.takedown().state == "lifted"
    assert not town.served(held.ref)
    assert town.holds(held)[0][1] == "held"
    released = {event.cover.id for event in town.told()[told:] if event.type == "cover.released"}
    assert released == {one.cover_id for one in hers if town.served(one.ref)}
    with town.database.reading() as tx:
        assert takedowns.live(tx, town.cover(held).uploader_id) is None


def test_a_reinstatement_older_than_the_termination_lifts_nothing(town: Town) -> None:
    town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    stale = town.message("account.reinstated", account_id=HER)
    town.later(hours=1)
    town.terminate()
    town.drive()
    town.deliver(stale)
    town.drive()
    assert not town.public()
    assert town.takedown().lifting_at is None


def test_a_termination_older_than_the_reinstatement_that_came_first_takes_nothing_dark(town: Town) -> None:
    town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    stale = town.message("account.terminated", account_id=HER, reason="child_safety")
    town.later(hours=1)
    town.reinstate()
    town.deliver(stale)
    town.drive()
    assert town.public()


def test_of_two_causes_one_withdrawn_leaves_it_dark(town: Town) -> None:
    town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    town.terminate()
    town.parts.takedown_verbs().take_down(HER, actor=SUPPORT, reason="a parent called")
    town.drive()
    town.reinstate()
    town.drive()
    assert not town.public()
    town.parts.takedown_verbs().lift(HER, actor=SENIOR, reason="she is safe, and wants it back")
    town.drive()
    assert town.public()


def test_a_new_cause_while_it_is_lifted_takes_everything_dark_again(town: Town) -> None:
    town.covers_of_hers()
    town.terminate()
    town.drive()
    town.reinstate()
    town.keeper.drive_takedowns()  # some of it
    town.later(minutes=1)
    town.terminate()
    town.drive()
    assert not town.public()
    assert town.takedown().state == "verified_gone"
    assert len(town.rows("takedown")) == 1


# ── people ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_support_blocks_and_moderators_hold(town: Town) -> None:
    verbs = town.parts.takedown_verbs()
    upload = town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    first = verbs.take_down(HER, actor=SUPPORT, reason="r")
    town.drive()
    assert (town.holds(upload)[0][:2], town.vault()) == (("block", "held"), [])
    assert verbs.take_down(HER, actor=SUPPORT, reason="r").id == first.id
    assert len(town.rows("takedown_cause")) == 1
    verbs.take_down(HER, actor=MODERATOR, reason="r")
    town.drive()
    assert (town.holds(upload)[0][:2], town.vault()) == (("hold", "held"), [picture(10)])
    assert town.takedown().state == "verified_gone"
    assert b"a parent" not in town.rows("takedown_cause")[0].reason_sealed


def test_nobody_lifts_alone_and_support_lifts_nothing(town: Town) -> None:
    verbs = town.parts.takedown_verbs()
    town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    verbs.take_down(HER, actor=SENIOR, reason="r")
    for who in (SUPPORT, MODERATOR, SENIOR):
        with pytest.raises(Refused):
            verbs.lift(HER, actor=who, reason="r")
    with pytest.raises(Refused, match="reason"):
        verbs.lift(HER, actor=person("Selma", "senior_moderator"), reason=" ")
    verbs.lift(HER, actor=person("Selma", "senior_moderator"), reason="r")
    town.drive()
    assert town.public()


def test_what_a_termination_calls_for_nobody_lifts_by_command(town: Town) -> None:
    town.terminate()
    with pytest.raises(Refused, match="reinstate"):
        town.parts.takedown_verbs().lift(HER, actor=SENIOR, reason="r")


def test_who_may_neither_take_down_nor_hide_does_not(town: Town) -> None:
    with pytest.raises(Refused):
        town.parts.takedown_verbs().take_down(HER, actor=person("Opal", "operator"), reason="r")
    assert not town.rows("takedown")
    assert ADA.roles == {"moderator"}


# ── the catalogue ──────────────────────────────────────────────────────────────────────────────────────────


class ToldCatalogue:
    """What the platform says, as a test tells it."""

    exists = True

    def __init__(self, bodies: Sequence[str] = (), *, down: bool = False) -> None:
        self.bodies, self.down = bodies, down

    def covers_of(self, account_id: str) -> Iterator[CoverUploaded]:
        for body in self.bodies:
            event = parse(body)
            assert isinstance(event, CoverUploaded)
            assert event.uploader_id == account_id
            yield event
        if self.down:
            raise TransientError("the catalogue does not answer")


@pytest.fixture
def with_catalogue(town: Town) -> Callable[[ToldCatalogue], None]:
    def give(catalogue: ToldCatalogue) -> None:
        town.parts = type(town.parts)(
            **{name: getattr(town.parts, name) for name in town.parts.__slots__ if name != "catalogue"},
            catalogue=catalogue,
        )
        town.keeper = town.parts.keeper()

    return give


def test_what_only_the_catalogue_knows_goes_dark_is_screened_and_shown(town: Town, with_catalogue) -> None:
    known = town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    only_ledger = town.upload(picture(11), "c1", uploader=HER, surface=WATCHED)
    unknown = town.announce(picture(12), "c2", uploader=HER, surface=WATCHED)
    with_catalogue(ToldCatalogue([known.body, unknown.body]))
    town.terminate()
    town.drive()
    assert not town.public()
    assert town.takedown().state == "verified_gone"
    kinds = {(row.kind, row.key) for row in town.rows("takedown_difference")}
    assert kinds == {("catalogue_only", unknown.ref.key), ("ledger_only", only_ledger.ref.key)}
    assert [row.queue for row in town.rows("queue_message")] == ["uploads"]


def test_a_silent_catalogue_keeps_nothing_public_and_proves_nothing(town: Town, with_catalogue) -> None:
    town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    hidden = town.announce(picture(12), "c2", uploader=HER, surface=WATCHED)
    silent = ToldCatalogue(down=True)
    with_catalogue(silent)
    town.terminate()
    town.drive()
    assert town.public() == [hidden.ref.key], "what the ledger knows is dark"
    assert town.takedown().state == "requested"
    town.later(minutes=16)
    town.keeper.takedowns.ring_stuck()
    assert ("takedown_stuck", town.takedown().ref) in town.alarms()
    silent.bodies, silent.down = [hidden.body], False
    town.drive()
    assert not town.public()
    assert town.takedown().state == "verified_gone"


def test_what_the_catalogue_places_elsewhere_or_gives_another_account_goes_dark_too(
    town: Town, with_catalogue
) -> None:
    moved = town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    elsewhere = town.announce(picture(13), "c0", uploader=HER, surface=WATCHED, key="elsewhere/c0")
    shared = town.upload(picture(14), "c1", uploader="friend", surface=WATCHED)
    claimed = town.announce(picture(14), "c1", uploader=HER, surface=WATCHED, ref=shared.ref)
    with_catalogue(ToldCatalogue([elsewhere.body, claimed.body]))
    town.terminate()
    town.drive()
    assert not town.public()
    kinds = {(row.kind, row.key) for row in town.rows("takedown_difference")}
    assert {("catalogue_only", "elsewhere/c0"), ("unattributed", shared.ref.key)} <= kinds
    assert moved.ref.key not in town.public()
    town.reinstate()
    town.drive()
    assert sorted(town.public()) == sorted([moved.ref.key, "elsewhere/c0", shared.ref.key])


def test_nothing_is_left_unclaimed_that_an_older_worker_announced(town: Town) -> None:
    """A worker of the release before does not look whether the uploader is dark."""
    first = town.upload(picture(10), "c0", uploader=HER, surface=WATCHED)
    town.terminate()
    town.drive()
    with town.database.transaction() as tx:
        tx.exec_driver_sql("UPDATE account SET takedown_id = NULL")
    town.upload(picture(11), "c1", uploader=HER, surface=WATCHED)
    with town.database.transaction() as tx:
        row = takedowns.by_id(tx, town.takedown().id)
        assert darkening.unclaimed(tx, row, limit=5)
    assert [one.found for one in town.parts.verifier().run() if one.check == "takedowns_served"] != [[]]
    town.later(minutes=2)
    town.drive()
    assert not town.public()
    assert first.ref.key not in town.public()


# ── the buckets ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stored_version_that_nobody_announced_goes_dark_with_its_cover(town: Town) -> None:
    town.upload(picture(10), "avatar", version=3, uploader=HER, surface=WATCHED, key=town.place("avatar", 3))
    forgotten = [town.put(picture(20 + n), town.place("avatar", n)) for n in (1, 2)]
    town.upload(picture(12), "avatar2", uploader="friend", surface=WATCHED, key=town.place("avatar2", 1))
    town.terminate()
    town.drive()
    assert town.public() == [town.place("avatar2", 1)], "another cover, whose id begins the same"
    assert town.takedown().state == "verified_gone"
    told = {(row.kind, row.key) for row in town.rows("takedown_difference")}
    assert {("unattributed", ref.key) for ref in forgotten} <= told
    town.reinstate()
    town.drive()
    assert len(town.public()) == 4


def test_a_stored_version_that_may_be_somebody_elses_is_screened_and_stays(town: Town) -> None:
    town.upload(picture(10), "shared", version=2, uploader=HER, surface=WATCHED, key=town.place("shared", 2))
    town.upload(
        picture(11), "shared", version=3, uploader="friend", surface=WATCHED, key=town.place("shared", 3)
    )
    whose = town.put(picture(12), town.place("shared", 1))
    town.terminate()
    town.drive()
    assert sorted(town.public()) == [whose.key, town.place("shared", 3)]
    assert town.takedown().state == "verified_gone"
    assert ("unattributed", whose.key) in {(row.kind, row.key) for row in town.rows("takedown_difference")}
    (sent,) = [row for row in town.rows("queue_message") if whose.key in row.body]
    assert '"uploader_id":"nobody' in sent.body.replace(" ", "")
