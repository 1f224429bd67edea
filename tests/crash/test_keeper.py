"""The keeper does what nobody else takes up; what nobody saw gone is not gone; alarms ring, and stop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from crash_ledger import outbox_faults
from crash_stage import Bench, Checkpoint, Stage, add_list, never, person, picture, sha256_of

from coverguard.bootstrap import UPLOADS
from coverguard.local.fileserver import serve
from coverguard.model import Category, ListAction, Mode, Surface
from coverguard.ports import Reach
from coverguard.remote.probe import HttpProbe
from coverguard.store import alarms, covers
from coverguard.testing.faults import Death, FaultPlan
from coverguard.testing.platform import InProcessProbe, Upload

WATCH, GATE = Surface.PROFILE_IMAGE, Surface.PLAYLIST_COVER
LISTED, HARMLESS = picture(30), picture(31)
BEFORE, GRACE_IS_OVER = timedelta(minutes=9), timedelta(minutes=2)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Iterator[tuple[Bench, Checkpoint]]:
    root = tmp_path_factory.mktemp("keeper")
    bench = Bench(root / "home")
    with bench.stage() as stage:
        digests = [sha256_of(LISTED)]
        add_list(stage, "industry", category=Category.CHILD_ABUSE, action=ListAction.HOLD, digests=digests)
        checkpoint = bench.save(stage, root / "start")
    yield bench, checkpoint
    bench.close()


@pytest.fixture
def stage(start) -> Iterator[Stage]:
    bench, checkpoint = start
    with bench.stage(checkpoint) as stage:
        yield stage
        stage.keeper.relay()
        stage.keeper.seal()
        assert not outbox_faults(stage.home)
        assert not stage.deployment.auditor().run().flaws


def uploaded(stage: Stage, data: bytes, surface: Surface, *, cover_id: str = "one", **names) -> Upload:
    return stage.platform.upload(data, cover_id=cover_id, uploader="ann", surface=surface, **names)


def served(stage: Stage, upload: Upload) -> Upload:
    stage.announce(upload)
    stage.serve()
    return upload


def announced_and_lost(stage: Stage, upload: Upload) -> None:
    """The first transaction was committed; then the worker died, and its message with it."""
    now = stage.clock.now()
    with stage.observer.transaction() as tx:
        covers.announce(tx, upload.event, mode=upload.mode, sent_at=now, now=now)


def rings(stage: Stage) -> list[str]:
    with stage.observer.reading() as tx:
        return [row.kind for row in alarms.ringing(tx)]


def reached(stage: Stage, upload: Upload) -> set[Reach]:
    return {stage.probe.ask(url, sha256=b"") for url in stage.platform.urls(upload.key)}


def told(stage: Stage) -> str | None:
    query = (
        "SELECT group_concat(json_extract(body, '$.type')) FROM outbox WHERE topic = 'pipeline' ORDER BY id"
    )
    return stage.one(query)


# ── silence ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("surface", "in_silence", "events"),
    [
        (GATE, {Reach.GONE}, "cover.withheld,cover.cleared"),
        (WATCH, {Reach.GONE}, "cover.withheld,cover.released"),
    ],
)
def test_silence_after_the_announcement_is_an_answer_until_there_is_a_real_one(
    stage, surface, in_silence, events
):
    upload = uploaded(stage, HARMLESS, surface, found=["64.jpg"] if surface is WATCH else [])
    announced_and_lost(stage, upload)
    stage.clock.sleep(BEFORE)
    stage.tick()
    assert told(stage) is None
    stage.clock.sleep(GRACE_IS_OVER)
    stage.tick()
    stage.tick()
    assert stage.one("SELECT decision || reason FROM screening") == "not_screenedno_answer"
    assert told(stage) == "cover.withheld"
    assert reached(stage, upload) == in_silence
    assert rings(stage) == ["not_screened"]
    assert stage.depth() == {"visible": 1}, "it is to be screened after all"
    stage.settle_down()
    assert stage.one("SELECT decision FROM screening") == "pass"
    assert told(stage) == events
    assert Reach.GONE not in reached(stage, upload)
    assert not rings(stage)


@pytest.mark.thorough
def test_silence_of_a_listed_cover_stays_blocked_and_becomes_a_hold(stage):
    upload = uploaded(stage, LISTED, WATCH, named=["300.jpg"], found=["64.jpg"])
    announced_and_lost(stage, upload)
    stage.clock.sleep(BEFORE + GRACE_IS_OVER)
    stage.tick()
    assert reached(stage, upload) == {Reach.GONE}
    stage.settle_down()
    assert stage.one("SELECT count(*) FROM quarantine WHERE state = 'held' AND level = 'hold'") == 3
    assert reached(stage, upload) == {Reach.GONE}
    assert told(stage) == "cover.withheld"


@pytest.mark.thorough
@pytest.mark.parametrize("surface", [GATE, WATCH])
def test_a_cover_that_kills_its_handlers_is_dead_lettered_and_not_screened(stage, surface):
    upload = uploaded(stage, HARMLESS, surface)
    stage.announce(upload)
    stage.replan(EveryCall("store.read", error=Death))
    deaths = stage.deaths
    while stage.depth():
        stage.serve()
        stage.clock.sleep(timedelta(seconds=61))
        if stage.deaths - deaths == 5:
            stage.worker.serve_once(stage.heartbeat, never())
    assert stage.deaths - deaths == 5
    assert stage.queue(UPLOADS).depth()["dead"] == 1
    stage.clock.sleep(timedelta(minutes=6))
    stage.tick()
    assert stage.one("SELECT decision FROM screening") == "not_screened"
    assert reached(stage, upload) == {Reach.GONE}
    assert rings(stage) == ["not_screened", "dead_letters"]
    stage.plan.stop()
    assert stage.queue(UPLOADS).redrive() == 1
    stage.settle_down()
    assert Reach.GONE not in reached(stage, upload)
    assert not rings(stage)


class EveryCall(FaultPlan):
    """Of one name fails."""

    def __init__(self, name: str, **how) -> None:
        super().__init__(fail_at=self, **how)
        self._name = name

    def __contains__(self, _number: object) -> bool:
        return self.calls[-1] == self._name


# ── the outbox ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_that_is_relayed_twice_is_heeded_once(stage):
    upload = served(stage, uploaded(stage, HARMLESS, GATE))
    plan = FaultPlan(fail_at={2 + 1}, when="before", error=Death)  # sent, and not noted as sent
    stage.replan(plan)
    stage.survive(stage.keeper.relay)
    assert plan.failed == ["database.commit"]
    assert plan.calls[:2] == ["database.read", "queue.send"]
    stage.keeper.relay()
    bodies = [one.body for one in stage.queue("pipeline").receive(limit=9, wait=NONE, lease=NONE)]
    assert len(bodies) == 2
    assert len(set(bodies)) == 1
    assert stage.platform.consume(stage.queue("pipeline")) == 2
    assert stage.platform.shown == {upload.key: True}
    public = stage.store.versions("public", "covers/playlist_cover/one/1/full.jpg")
    assert len(public) == 1, "published once"


NONE = timedelta()


# ── gone, and not gone ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
def test_held_and_not_seen_gone_rings_until_somebody_can_be_asked(stage):
    upload = uploaded(stage, LISTED, WATCH)
    stage.probe.down = True
    served(stage, upload)
    assert stage.one("SELECT state FROM quarantine") == "held"
    assert stage.one("SELECT gone_at FROM quarantine") is None
    for _ in range(3):
        stage.clock.sleep(timedelta(seconds=6))
        stage.tick()
    assert rings(stage) == ["held_not_verified_gone"]
    assert stage.one("SELECT gone_at FROM quarantine") is None
    stage.probe.down = False
    stage.clock.sleep(timedelta(seconds=6))
    stage.tick()
    assert stage.one("SELECT gone_at FROM quarantine") is not None
    assert not rings(stage)


@pytest.mark.thorough
def test_a_file_server_that_is_down_is_not_an_object_that_is_gone(stage, unused_port):
    settings = stage.settings
    store = stage.store
    with HttpProbe(timeout=timedelta(seconds=2), limit=settings.max_bytes) as probe:
        stage.probe = Elsewhere(probe, settings.file_server_port, unused_port)
        stage.restart()
        served(stage, uploaded(stage, LISTED, WATCH))
        assert stage.one("SELECT gone_at FROM quarantine") is None
        assert rings(stage) == ["held_not_verified_gone"]
        with serve(store, public=frozenset({"public"}), port=unused_port):
            stage.clock.sleep(timedelta(seconds=6))
            stage.tick()
        assert stage.one("SELECT gone_at FROM quarantine") is not None
        assert not rings(stage)


class Elsewhere:
    """The same questions to a file server on another port."""

    def __init__(self, probe: HttpProbe, port: int, other: int) -> None:
        self._probe, self._port, self._other = probe, f":{port}/", f":{other}/"

    def ask(self, url: str, *, sha256: bytes) -> Reach:
        return self._probe.ask(url.replace(self._port, self._other), sha256=sha256)


@pytest.mark.thorough
def test_what_somebody_put_back_is_blocked_anew(stage):
    """The platform's own tool took our marker away: asking hourly finds it."""
    upload = served(stage, uploaded(stage, LISTED, WATCH))
    stage.settle_down()
    ref = upload.event.object.ref()
    for generation in (1, 2):
        token = f"{stage.one('SELECT ref FROM quarantine')}:{generation}"
        stage.store.unblock(ref, token=token)
        assert Reach.GONE not in reached(stage, upload)
        stage.clock.sleep(timedelta(hours=1, seconds=1))
        stage.settle_down()
        assert reached(stage, upload) == {Reach.GONE}
    assert stage.one("SELECT state FROM quarantine") == "held"
    assert "held_not_verified_gone" not in rings(stage)


@pytest.mark.thorough
def test_an_object_that_cannot_be_kept_is_blocked_and_keeps_nobody_else_public(stage):
    """Its bytes are damaged between the answer and the act: stop, ring, and go on with the others."""
    broken, whole = (uploaded(stage, LISTED, WATCH, cover_id=one, found=["64.jpg"]) for one in ("a", "b"))

    def damage() -> None:
        for path in (stage.home / "objects/public/=covers/=profile_image/=a/=1/=full.jpg").rglob("0*-*"):
            path.write_bytes(b"other bytes than were recorded")

    stage.replan(EveryCall("store.block", instead=damage))
    stage.announce(broken, whole)
    for _ in range(3):
        stage.serve()
        stage.clock.sleep(timedelta(seconds=6))
        stage.tick()
    assert [reached(stage, upload) for upload in (broken, whole)] == [{Reach.GONE}, {Reach.GONE}]
    ordered = "SELECT rendition || state AS told FROM quarantine ORDER BY cover_version_id, rendition"
    assert stage.one(f"SELECT group_concat(told) FROM ({ordered})") == "0requested,1held,0held,1held"
    assert rings(stage) == ["unsettled"]
    assert stage.log.counters["bug"], "a worker gives such a message up in the end"


# ── renditions ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("after", "ends"), [(timedelta(minutes=14), Reach.GONE), (timedelta(minutes=16), Reach.REPLACED)]
)
def test_a_late_rendition_is_found_as_long_as_is_looked_for_it(stage, after, ends):
    upload = served(stage, uploaded(stage, LISTED, WATCH))
    stage.clock.sleep(after)
    stage.platform.resize(upload.event.cover, upload.data, "64.jpg")
    stage.keeper.find_late_renditions()
    assert stage.probe.ask(stage.platform.urls(upload.key)[-1], sha256=b"") is ends


# ── people ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_that_somebody_left_lapses(stage):
    upload = served(stage, uploaded(stage, LISTED, GATE))
    stage.deployment.review().claim(stage.item(upload), actor=person("mo"))
    stage.clock.sleep(timedelta(minutes=29))
    assert stage.keeper.lapse_claims() == 0
    stage.clock.sleep(timedelta(minutes=2))
    assert stage.keeper.lapse_claims() == 1
    assert stage.state(upload) == "open"
    assert stage.keeper.lapse_claims() == 0


def test_what_is_overdue_rings_once_until_it_is_met(stage):
    upload = served(stage, uploaded(stage, LISTED, GATE))
    assert stage.keeper.watch.ring_overdue() == 0
    stage.clock.sleep(timedelta(hours=24, seconds=1))
    assert [stage.keeper.watch.ring_overdue() for _ in range(3)] == [1, 0, 0]
    assert rings(stage) == ["overdue_review"]
    assert stage.one("SELECT count FROM alarm") == 1
    stage.deployment.review().claim(stage.item(upload), actor=person("mo"))
    with stage.observer.transaction() as tx:
        tx.exec_driver_sql("UPDATE obligation SET met_at = 1")
    stage.keeper.watch.ring_overdue()
    assert not rings(stage)


# ── the probe these tests ask ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
def test_the_probe_in_this_process_says_what_one_over_http_says(stage, unused_port):
    put = stage.store.put
    shown = put("public", "a/b c", b"shown", content_type="image/png")
    hidden = put("public", "hidden", b"hidden", content_type="image/png")
    put("intake", "private", b"private", content_type="image/png")
    damaged = put("public", "damaged", b"damaged", content_type="image/png")
    stage.store.block(hidden, token="t")
    (stage.home / "objects/public/=damaged/@" / damaged.version_id).write_bytes(b"else")
    other = str(stage.settings.file_server_port)
    sha256 = stage.store.current("public", shown.key).sha256
    paths = ["public/a/b%20c", "public/hidden", "public/never", "intake/private", "public/damaged"]
    inside = InProcessProbe(settings=stage.settings, store=stage.store)
    questions = [(path, digest) for path in paths for digest in (b"", sha256)]
    with HttpProbe(timeout=timedelta(seconds=2), limit=1000) as probe:
        with serve(stage.store, public=frozenset({"public"}), port=unused_port):
            real = [probe.ask(f"http://127.0.0.1:{unused_port}/{path}", sha256=d) for path, d in questions]
        assert probe.ask(f"http://127.0.0.1:{unused_port}/public/a", sha256=b"") is Reach.UNKNOWN
    asked = [inside.ask(f"http://127.0.0.1:{other}/{path}", sha256=digest) for path, digest in questions]
    assert asked == real
    assert set(real) == set(Reach)
    inside.down = True
    assert inside.ask(f"http://127.0.0.1:{other}/{paths[0]}", sha256=b"") is Reach.UNKNOWN


@pytest.fixture
def unused_port(stage) -> int:
    with serve(stage.store, public=frozenset({"public"}), port=0) as server:
        return server.port


def test_the_modes_of_the_surfaces_are_what_these_tests_think(stage):
    assert stage.settings.modes[GATE] is Mode.GATE
    assert stage.settings.modes[WATCH] is Mode.WATCH
