"""Secrets are planted everywhere, a whole story is played, errors included, and nothing of them comes out.

Lists, evidence and people's words may be in sealed rows only. What the ledger must know in plain (platform
ids, object keys, digests of covers) may be in their own columns and in the events that are about them, and
not in a log line, an error, an alarm, an audit row or the reason of a dead letter.
"""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from urllib.parse import quote

import pytest
from world import (
    ADA,
    BEA,
    CLEO,
    EDITOR,
    SENIOR,
    WATCHED,
    World,
    exact,
    fingerprint,
    listed,
    near,
    opinion,
    person,
    picture,
)

from coverguard.errors import CoverguardError
from coverguard.hashlist import ListFormat
from coverguard.model import Algorithm, Category, ListAction, Reject, Retry, Surface
from coverguard.store import lists
from coverguard.store.engine import Database
from coverguard.testing.pictures import hostile
from coverguard.worker import Heartbeat

pytestmark = pytest.mark.thorough

TITLE = "Canary: amber harbour in autumn"
NAME = "Canary Velvetson"
REASON = "Canary, the reviewer wrote this down"
REPORT = "Canary, somebody reported with these words"
LIST = "canary-list-of-the-industry"
UPLOADER = "canary-uploader-77"
FRIEND = "canary-friend-78"
COVER = "canary-cover-79"
PLAYLIST = "canary-playlist-80"
KEY = "canary/object key/81"
UNKNOWN = "canary-in-a-broken-message"

UNLISTED = bytes(range(7, 39))  # an entry that nothing matches
HELD, REFERRED, EXACT = picture(1), picture(2), picture(3)
ENTRIES = (near(HELD), near(REFERRED), exact(EXACT, Algorithm.MD5), listed(UNLISTED, Algorithm.SHA256))
WORDS = (TITLE, NAME, REASON, REPORT)
IDS = (LIST, UPLOADER, FRIEND, COVER, PLAYLIST, KEY, UNKNOWN, *(row.source_entry_id for row in ENTRIES))


def digest_forms(digest: bytes) -> Iterator[str]:
    yield from (digest.hex(), digest.hex().upper(), str(int.from_bytes(digest)), repr(digest)[2:-1])
    yield from (base64.b64encode(digest).decode()[:20], base64.urlsafe_b64encode(digest).decode()[:20])


def secret_digests() -> list[str]:
    own = [signal for data in (HELD, REFERRED, EXACT) for signal in _signals(data)]
    return [form for digest in [*(row.digest for row in ENTRIES), *own] for form in digest_forms(digest)]


def _signals(data: bytes) -> list[bytes]:
    made = fingerprint(data)
    return [*(signal for view in made.views for signal in view.signals.values()), *made.digests.values()]


def picture_forms() -> list[str]:
    starts = (HELD[40:72], HELD[:24], REFERRED[:24])
    return [
        form
        for start in starts
        for form in (start.hex(), base64.b64encode(start).decode(), repr(start)[2:-1])
    ]


def word_forms(words: Sequence[str]) -> list[str]:
    return [form for word in words for form in (word, word.lower(), quote(word), json.dumps(word)[1:-1])]


class Story:
    """Everything that was said in it, by outlet."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.errors: list[str] = []
        self.bodies: list[str] = []
        self.play()

    def attempt(self, call, *arguments, **named):
        """Call, and keep whatever comes of it: each error with its causes, by words and by repr."""
        try:
            return call(*arguments, **named)
        except CoverguardError as error:
            found: BaseException | None = error
            while found is not None:
                self.errors += [str(found), repr(found), str(found.args)]
                found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)

    def play(self) -> None:
        world = self.world
        world.list_of(*ENTRIES[:1], *ENTRIES[2:], name=LIST)
        world.list_of(ENTRIES[1], name=f"{LIST}-refers", action=ListAction.REFER)
        self.say()
        self.upload()
        self.judge()
        self.bring_lists()
        self.send_nonsense()
        self.go_wrong()
        self.serve()
        self.keep()

    def say(self) -> None:
        world = self.world
        cover = {"id": COVER, "version": 1, "surface": "playlist_cover"}
        texts = [
            (
                "playlist.edited",
                {"playlist_id": PLAYLIST, "editor_id": FRIEND, "field": "title", "text": TITLE},
            ),
            ("account.renamed", {"account_id": UPLOADER, "new_name": NAME}),
            (
                "content.reported",
                {"report_id": "r1", "account_id": UPLOADER, "covers": [cover], "text": REPORT},
            ),
            ("collaborator.added", {"playlist_id": PLAYLIST, "account_id": FRIEND}),
            ("account.tagged", {"account_id": FRIEND, "by_account_id": UPLOADER, "playlist_id": PLAYLIST}),
            ("account.terminated", {"account_id": UPLOADER, "reason": "child_safety"}),
        ]
        for kind, fields in texts:
            self.attempt(world.deliver, world.message(kind, **fields))

    def upload(self) -> None:
        world = self.world
        shared = {"uploader": UPLOADER, "playlist": PLAYLIST}
        story = [HELD, REFERRED, EXACT, picture(4), hostile()["garbage"], HELD[:200]]
        self.uploads = [
            world.upload(
                data, f"{COVER}-{number}", surface=surface, key=f"{KEY} {number} {surface}", **shared
            )
            for number, data in enumerate(story)
            for surface in (WATCHED, Surface.TRACK_ART)
        ]
        unread = world.announce(HELD, f"{COVER}-unread", key=f"{KEY} unread", surface=WATCHED, **shared)
        with world.unreachable(unread.ref, whole=True):
            self.attempt(world.deliver, unread.body)
            world.settled(unread.body)
            world.clock.go_on(world.settings.grace)
            self.attempt(world.deliver, unread.body)
            world.settled(unread.body)
        self.attempt(world.deliver, unread.body)
        self.attempt(world.upload, REFERRED, f"{COVER}-0", surface=WATCHED, key=f"{KEY} other", **shared)

    def judge(self) -> None:
        world, said = self.world, opinion(Category.CHILD_ABUSE, REASON)
        held, _, referred, *_ = self.uploads
        for upload in (held, referred):
            for who in (ADA, BEA):
                ref = world.item(upload).ref
                for verb in ("confirm", "clear", "unsure", "agree_to_hold", "reopen"):
                    for wrong in (CLEO, person("Canto", "operator")):
                        self.attempt(getattr(world.review, verb), ref, actor=wrong, opinion=said)
                self.attempt(world.review.claim, ref, actor=who)
                self.attempt(world.review.clear, ref, actor=who, opinion=said)
                self.attempt(world.review.clear, ref, actor=who, opinion=opinion(reason=REASON * 100))
        self.attempt(world.review.reopen, world.item(held).ref, actor=SENIOR, opinion=said)
        self.attempt(world.review.claim, world.item(held).ref, actor=CLEO)
        self.attempt(world.review.confirm, world.item(held).ref, actor=CLEO, opinion=said)
        self.attempt(world.review.agree_to_hold, world.item(held).ref, actor=ADA, opinion=said)
        self.attempt(world.review.claim, UNKNOWN, actor=ADA)

    def bring_lists(self) -> None:
        world, path = self.world, self.world.home / "list.csv"
        bad = (
            f"id,algorithm,digest\n{UNKNOWN},sha256,{UNLISTED.hex()}0\n{UNKNOWN},{UNKNOWN},{UNLISTED.hex()}\n"
        )
        for name, text in (
            (LIST, bad),
            (LIST, f"{UNKNOWN}\n"),
            (UNKNOWN, bad),
            (LIST, "id,algorithm,digest\n"),
        ):
            path.write_text(text)
            report = self.attempt(
                world.importer.load_file, name, path, list_format=ListFormat.CSV, actor=EDITOR
            )
            self.errors += [repr(report)]
        path.unlink()
        self.attempt(world.importer.load_file, LIST, path, list_format=ListFormat.CSV, actor=EDITOR)

    def send_nonsense(self) -> None:
        """Messages with a canary in every place where something can be wrong."""
        good = json.loads(self.uploads[0].body)
        wrong = [{**good, name: UNKNOWN} for name in ("schema", "type", "occurred_at", "cover", "object")]
        wrong += [{**good, name: {UNKNOWN: UNKNOWN}} for name in good]
        wrong += [{**good, "cover": {**good["cover"], name: UNKNOWN * 20}} for name in good["cover"]]
        wrong += [{**good, "object": {**good["object"], name: UNKNOWN * 99}} for name in good["object"]]
        wrong += [{**good, "object": {**good["object"], "bucket": UNKNOWN}}]
        wrong += [{**good, "uploader_id": f"{UNKNOWN}\n"}, {**good, "renditions": [UNKNOWN]}]
        bodies = [json.dumps(one) for one in wrong] + [UNKNOWN, f'["{UNKNOWN}"]', f'{{"{UNKNOWN}": ']
        for body in bodies:
            self.attempt(self.world.deliver, body)
        self.bodies = bodies

    def go_wrong(self) -> None:
        """Rows tampered with, bytes damaged, the database away: what raises where nobody expects it."""
        world = self.world
        damaged = world.announce(
            HELD, f"{COVER}-damaged", key=f"{KEY} damaged", surface=WATCHED, uploader=UPLOADER
        )
        next((world.home / "objects").rglob(damaged.ref.version_id)).write_bytes(REFERRED)
        self.attempt(world.deliver, damaged.body)
        with world.database.transaction() as tx:
            tx.exec_driver_sql(
                "UPDATE list_entry SET digest_sealed = substr(digest_sealed, 1, 30),"
                " changed_seq = (SELECT max(seq) + 1 FROM list_change)"
            )
            lists.note_change(tx, list_id=1, kind="entries", entries=1, now=world.clock.now())
        hidden = world.announce(picture(5), f"{COVER}-hidden", key=f"{KEY} hidden", uploader=UPLOADER)
        self.attempt(world.deliver, hidden.body)
        assert isinstance(world.settled(hidden.body), Retry)
        self.bodies.append(hidden.body)

    def serve(self) -> None:
        """The same messages through a queue, to a handler that dies of them: they end as dead letters."""
        world = self.world
        with world.database.transaction() as tx:
            tx.exec_driver_sql(
                "CREATE TRIGGER bug BEFORE INSERT ON account BEGIN SELECT RAISE(ABORT, 'a bug'); END"
            )
        assert world.settled(self.bodies[-1]) is None
        queue = world.parts.queue("uploads")
        queue.send(self.bodies)
        heartbeat, stop = Heartbeat(lease=world.settings.lease, log=world.parts.log), threading.Event()
        for _ in range(60):
            world.worker.serve_once(heartbeat, stop)
            world.clock.go_on(timedelta(minutes=3))
        assert queue.depth()["dead"] >= len(self.bodies)
        with world.database.transaction() as tx:
            tx.exec_driver_sql("DROP TRIGGER bug")

    def keep(self) -> None:
        world = self.world
        world.probe.blind = True
        for days in (0, 1, 2, 400):
            world.clock.go_on(timedelta(days=days))
            for step in world.keeper.steps():
                if step.__name__ != "relay":
                    self.attempt(step)

    # ── outlets ────────────────────────────────────────────────────────────────────────────────────────────

    def log(self) -> str:
        return self.world.lines.getvalue()

    def metrics(self) -> str:
        return self.world.parts.log.metrics.exposition().decode()

    def events(self, topic: str) -> list[str]:
        return [row.body for row in self.world.rows("outbox", topic=topic)]

    def alarms(self) -> str:
        return repr([tuple(row) for row in self.world.rows("alarm")])

    def audit(self) -> str:
        return repr([tuple(row)[:-1] for row in self.world.rows("audit")])

    def faults(self) -> str:
        return repr([row.fault for row in self.world.rows("queue_message")])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, migrated_ledger):
    home = tmp_path_factory.mktemp("story")
    shutil.copy(migrated_ledger, home / "ledger.db")
    world = World(home, Database(f"sqlite:///{home / 'ledger.db'}", durable=False))
    yield Story(world)
    world.close()


def found(text: str, canaries: Sequence[str]) -> list[str]:
    return [canary for canary in canaries if canary in text]


def everything() -> list[str]:
    return [*secret_digests(), *picture_forms(), *word_forms([*WORDS, *IDS])]


def test_the_story_has_everything_in_it(story):
    world = story.world
    assert {row.decision for row in world.rows("screening")} == {"pass", "refer", "hold", "not_screened"}
    kinds = {(row.kind, row.outcome) for row in world.rows("verdict")}
    assert {
        ("proposal", "clear"),
        ("second", "clear"),
        ("appeal", "reopen"),
        ("decision", "confirm"),
    } <= kinds
    told = [json.loads(line) for line in story.log().splitlines()]
    assert {line["event"] for line in told} >= {"delivery", "screened", "transient", "bug", "page"}
    assert {line.get("outcome") for line in told} >= {"rejected", "died"}
    assert len({error for error in story.errors if error}) > 20
    assert {row.kind for row in world.rows("alarm")} >= {
        "not_screened", "held_not_verified_gone", "overdue_review",
    }  # fmt: skip
    assert {row.topic for row in world.rows("outbox")} == {"pipeline", "safety"}
    assert {row.kind for row in world.rows("thread_entry")} >= {"report", "receipt"}


@pytest.mark.parametrize("outlet", ["log", "metrics", "errors", "alarms", "audit", "faults"])
def test_nothing_comes_out_of(story, outlet):
    said = repr(story.errors) if outlet == "errors" else getattr(story, outlet)()
    assert len(said) > 200
    assert found(said, everything()) == []
    assert "canary" not in said.lower()


def test_a_rejection_names_the_field(story):
    faults = [row.fault for row in story.world.rows("queue_message") if row.fault]
    assert any("cover.id" in fault for fault in faults)
    assert all(fault.startswith(("field", "message", "leased")) for fault in faults)
    assert Reject(reason=faults[0])


def test_the_pipeline_learns_no_cause(story):
    events = story.events("pipeline")
    assert len(events) > 8
    for body in events:
        event = json.loads(body)
        assert event.keys() == {
            "schema", "type", "event_id", "occurred_at", "cover", "object", "sha256", "verdict_seq",
        }  # fmt: skip
        assert event["cover"].keys() == {"id", "version", "surface"}
        assert event["object"].keys() == {"bucket", "key", "version_id"}
        rest = body.replace(event["sha256"] or "no digest", "").replace("playlist_cover", "")
        rest = rest.replace(event["cover"]["id"], "")
        rest = rest.replace(json.dumps(event["object"]["key"])[1:-1], "")
        causes = [
            "child_abuse", "hold", "refer", "match", "not_screened", "near", "exact", "unread", "entry",
            "list", "case", "item", "verdict-", "uploader", "account",
        ]  # fmt: skip
        assert found(rest.replace("verdict_seq", ""), causes) == []
        assert found(rest, everything()) == []


def test_withheld_looks_the_same_whatever_the_cause(story):
    """But for the cover's own facts: whoever compares two events learns no more than that."""
    shapes = {tuple(json.loads(body)) for body in story.events("pipeline") if '"cover.withheld"' in body}
    assert len(shapes) == 1


def test_the_safety_topic_has_categories_and_no_evidence(story):
    events = story.events("safety")
    allowed = {
        "match.found": {"case_ref", "cover", "category", "match_type", "decision"},
        "account.flagged": {"case_ref", "account_id", "category"},
        "cover.not_screened": {"cover", "reason"},
        "report.receipted": {"report_id", "reference"},
    }
    assert {json.loads(body)["type"] for body in events} == set(allowed)
    for body in events:
        event = json.loads(body)
        assert event.keys() == allowed[event["type"]] | {"schema", "type", "event_id", "occurred_at"}
        own = [event.get("account_id", "-"), event.get("cover", {}).get("id", "-")]
        rest = body
        for one in own:
            rest = rest.replace(one, "")
        assert found(rest, everything()) == []


def test_what_people_wrote_and_what_lists_say_is_sealed_at_rest(story):
    """Texts came by hand and not through the queue in the same file, so that nothing of them may be in it."""
    world = story.world
    held = [path.read_bytes() for path in world.home.iterdir() if path.name.startswith("ledger.db")]
    assert any(UPLOADER.encode() in data for data in held), "this would find what is there"
    unsealed = [row.digest for row in (ENTRIES[0], ENTRIES[1], ENTRIES[3])]  # no cover has these
    canaries = [word.encode() for word in word_forms(WORDS)]
    canaries += [form.encode() for digest in unsealed for form in digest_forms(digest)]
    canaries += [*unsealed, HELD[:64], REFERRED[40:104]]
    assert [canary for canary in canaries for data in held if canary in data] == []


def test_what_is_sealed_can_be_read_by_those_who_may(story):
    world = story.world
    said = {
        world.keys.open("private", row.reason_sealed, context=_item(world, row.item_id).ref.encode()).decode()
        for row in world.rows("verdict")
    }
    assert said == {REASON}


def _item(world: World, item_id: int):
    (item,) = world.rows("case_item", id=item_id)
    return item
