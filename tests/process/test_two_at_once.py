"""Two workers on one message at the same moment: one answer, one item, one hold, told once."""

import dataclasses
import threading

import pytest
from sqlalchemy import text

from coverguard import bootstrap, preparing
from coverguard.hashlist import ListRow
from coverguard.imaging import fingerprint
from coverguard.model import Algorithm, Category, Done, ListAction, Surface
from coverguard.policy import ListRule
from coverguard.store import lists
from coverguard.telemetry import Log
from coverguard.testing.pictures import Kind, draw, encode
from coverguard.testing.platform import InProcessProbe, Platform
from coverguard.testing.vouching import vouch

pytestmark = pytest.mark.process
ROUNDS = 8
COUNTED = (
    "cover_version",
    "screening",
    "case_file",
    "case_item",
    "quarantine",
    "quarantine_claim",
    "obligation",
)


@pytest.fixture
def home(tmp_path):
    preparing.prepare(tmp_path / "home")
    return tmp_path / "home"


def honest(parts):
    """The same deployment, asked without sockets."""
    store = bootstrap.folder_store(parts.settings)
    return dataclasses.replace(parts, probe=InProcessProbe(settings=parts.settings, store=store))


def meeting(screener, barrier):
    """The same screener, which waits for its twin once both have the fingerprint and neither an answer."""

    def together(data, **asked):
        made = screener.eyes.fingerprint(data, **asked)
        if not asked:
            barrier.wait(timeout=30)
        return made

    eyes = dataclasses.replace(screener.eyes, fingerprint=together)
    return dataclasses.replace(screener, eyes=eyes)


@pytest.mark.parametrize("surface", [Surface.PROFILE_IMAGE, Surface.PLAYLIST_COVER])
def test_one_answer_whoever_comes_first(home, surface):
    data = encode(draw(Kind.SCENE, 5, side=128))
    with (
        bootstrap.deployment(home, log=Log(stream=None)) as one,
        bootstrap.deployment(home, log=Log(stream=None)) as two,
    ):
        pair = [honest(one), honest(two)]
        _list(pair[0], fingerprint(data).views[0].signals["pdq"])
        platform = Platform(
            settings=one.settings, store=bootstrap.folder_store(one.settings), clock=one.clock
        )
        for number in range(ROUNDS):
            event = platform.upload(data, cover_id=f"cover-{number}", uploader="u", surface=surface).event
            assert _both(pair, event) == [Done(note="hold"), Done(note="hold")]
        with one.database.reading() as tx:
            rows = {name: tx.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in COUNTED}
            states = set(tx.execute(text("SELECT state FROM quarantine")).scalars())
            told = tx.execute(text("SELECT count(*) FROM outbox WHERE topic = 'pipeline'")).scalar_one()
    assert rows == dict.fromkeys(COUNTED, ROUNDS) | {"case_file": 1}
    assert (states, told) == ({"held"}, ROUNDS)


def _both(pair, event):
    barrier, outcomes = threading.Barrier(2), {}

    def run(number):
        screener = meeting(pair[number].screener(), barrier)
        outcomes[number] = screener.screen(event, sent_at=pair[number].clock.now())

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes.get(number) for number in range(2)]


def _list(parts, pdq):
    rule = ListRule(list_id=0, version=0, category=Category.CHILD_ABUSE, action=ListAction.HOLD)
    with parts.database.transaction() as tx:
        now = parts.clock.now()
        list_id, _ = lists.create(tx, name="l", source="tests", rule=rule, actor="tests", note="-", now=now)
        vouch(tx, list_id, now=now)
        row = ListRow(source_entry_id="e", algorithm=Algorithm.PDQ, digest=pdq)
        lists.write_entries(tx, parts.keys, list_id=list_id, rows=[row], now=now)
