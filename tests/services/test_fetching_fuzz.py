"""Changed answers, faults and deaths through the whole fetcher into a real ledger: the truth in the end.

A changed answer may be broken in any way, but it does not lie: one from which a client reads something whole
that the exchange never said is left out, since nobody could tell. In the end everything is asked for again.
"""

from __future__ import annotations

import json
import random
import shutil
import ssl
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from world import World

from coverguard.errors import CoverguardError, Refused
from coverguard.exchanges import Faulty, Record
from coverguard.fetching import LEASE, Report
from coverguard.model import Algorithm, Fingerprint, View
from coverguard.remote.exchanges import ncmec_xml, stopncii_json
from coverguard.remote.exchanges.ncmec import Environment, Login, NcmecExchange
from coverguard.remote.exchanges.stopncii import Keys, StopNciiExchange
from coverguard.remote.exchanges.wire import Reply, Wire
from coverguard.screening.knowledge import KnowledgeCache
from coverguard.store import fetches, lists
from coverguard.store.engine import Database
from coverguard.store.schema import exchange
from coverguard.testing.exchanges import ncmec, stopncii
from coverguard.testing.exchanges.ncmec import NcmecSimulation
from coverguard.testing.exchanges.serving import Answer, Server, Trouble
from coverguard.testing.exchanges.stopncii import StopNciiSimulation

pytestmark = pytest.mark.thorough

TRUST = ssl.create_default_context()
KINDS = ("ncmec", "stopncii")
ANSWERS = 200
HOUR = timedelta(hours=1)
COMPARED = ("md5", "sha1", "pdq")
SECOND = 1_000_000
PIECES = (
    b"<", b">", b"/>", b"&b;", b"&#0;", b"]]>", b"<!--", b"<!DOCTYPE a>", b'"', b"{", b"}", b"[", b"]", b",",
    b"\\", b"\\ud800", b"null", b"NaN", b"1e999", b"9" * 5000, b"\0", b"\xff", b"\xef\xbb\xbf", b"image",
    b"count", b"hashStatus", b"<image/>", b" xmlns='urn:x'",
)  # fmt: skip
FAULTS = (
    Trouble.CUT, Trouble.SHORT, Trouble.GARBLED, Trouble.NONSENSE, Trouble.ERROR, Trouble.BUSY,
    Trouble.UNWELL, Trouble.LOOP, Trouble.HOSTILE, Trouble.BOMB, Trouble.GONE, Trouble.SHUT,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class InProcess(Wire):
    """Asks a simulation without a socket."""

    simulation: ncmec.Simulation

    def once(self, address, *, headers):
        parts = urlsplit(address)
        asked = {name.lower(): said for name, said in headers.items()}
        answer = self.simulation.answer(f"{parts.path}?{parts.query}", asked)
        body, cut = answer.body[: answer.length], None
        if answer.trouble in (Trouble.CUT, Trouble.DRIP):
            body, cut = body[: len(body) // 2], "RemoteProtocolError"
        status = answer.status
        return Reply(status=status, headers=answer.headers, body=body if status == 200 else b"", cut=cut)


def shown(one):
    """A picture that has this digest, and others that nobody listed."""
    digests = {name: bytes(size) for name, size in (("md5", 16), ("sha1", 20), ("sha256", 32))}
    pdq = one.digest if one.algorithm is Algorithm.PDQ else bytes(32)
    views = (View(name="displayed", quality=100, signals={"pdq": pdq, "phash256": bytes(32)}),)
    digests |= {one.algorithm.value: one.digest} if one.algorithm is not Algorithm.PDQ else {}
    return Fingerprint(digests=digests, views=views, format="PNG", width=64, height=64)


class Place:
    """One exchange, its simulator on the world's clock, its list, and what matching knows of it."""

    def __init__(self, world, kind, *, size=3):
        self.world, self.kind = world, kind
        ours = kind == "ncmec"
        made = (
            NcmecSimulation(world.clock, page_size=size)
            if ours
            else StopNciiSimulation(world.clock, most=size)
        )
        self.simulation = made
        self.values = [self.simulation.digest() for _ in range(12)] if not ours else []
        self.list_id = world.list_of(name="l")
        self.cache = KnowledgeCache(world.database, world.keys, clock=world.clock)
        self.wire, self.url = None, "http://127.0.0.1:1" + self.simulation.root
        with world.database.transaction() as tx:
            fetches.create(
                tx, name="x", list_id=self.list_id, kind=kind, place="test-industry",
                every=HOUR // timedelta(microseconds=1), now=world.clock.now(),
            )  # fmt: skip
            if ours:  # from the beginning of time it is twenty empty answers further
                begun = json.dumps({"ncmec": "test-industry", "to": self.now - 1000, "gaps": []})
                tx.execute(update(exchange).values(checkpoint=begun))

    @property
    def now(self):
        return self.world.clock.now() // SECOND

    @property
    def row(self):
        (row,) = self.world.rows("exchange")
        return row

    def client(self, _row=None):
        wire = self.wire or InProcess(
            name=self.kind, credentials_file="keys/exchanges/x", clock=self.world.clock, trust=TRUST,
            simulation=self.simulation,
        )  # fmt: skip
        if self.kind == "ncmec":
            return NcmecExchange(
                environment=Environment.TEST_INDUSTRY, url=self.url, wire=wire, range_entries=6,
                credentials=lambda: Login(ncmec.USER, ncmec.PASSWORD),
            )  # fmt: skip
        return StopNciiExchange(
            url=self.url, wire=wire, key_of=self.key_of, page_sizes=(4, 2, 1),
            credentials=lambda: Keys(stopncii.FUNCTION_KEY, stopncii.SUBSCRIPTION_KEY),
        )  # fmt: skip

    def key_of(self, said):
        return self.world.keys.mac("lists", said).hex()[:32]

    def fetch(self, **how):
        fetcher = replace(self.world.parts.fetcher(), exchange_of=self.client)
        self.world.clock.go_on(timedelta(seconds=1))
        return fetcher.fetch("x", **how)

    def heal(self, *, whole):
        """Nothing befalls anybody any more: ask for what is left, or for everything again."""
        self.simulation.recover()
        self.simulation.poisoned.clear()
        self.world.clock.go_on(LEASE + timedelta(minutes=1))
        report = self.fetch(whole=whole, confirm_shrink=True)
        assert (report.fault, report.caught_up, report.gaps) == (None, True, 0)

    # ── what the exchange has ──────────────────────────────────────────────────────────────────────────────

    def publish(self, number):
        if self.kind == "ncmec":
            self.simulation.publish(f"e{number}", at=self.now)
        else:
            self.simulation.publish(self.values[number], at=self.now)

    def delete(self, number):
        if self.kind == "stopncii":
            if ("ImagePDQ", self.values[number]) in self.simulation.listed:
                self.simulation.publish(self.values[number], at=self.now, status="Withdrawn")
            return
        entry = self.simulation.entries.get((42, "image", f"e{number}"))
        if entry is not None:
            self.simulation.delete(entry, at=self.now)

    def truth(self):
        if self.kind == "ncmec":
            return sorted(
                bytes.fromhex(said)
                for one in self.simulation.entries.values() if not one.deleted
                for name, said in one.fingerprints if name in COMPARED
            )  # fmt: skip
        listed = self.simulation.listed.values()
        return sorted(bytes.fromhex(one.value) for one in listed if one.status == "Active")

    def known(self):
        """The digests in the index of a process that has followed every change: what covers meet."""
        self.world.clock.go_on(timedelta(seconds=2))
        index = self.cache.current().index
        with self.world.database.reading() as tx:
            loaded = list(lists.load(tx, self.world.keys).digests)
        assert len(index) == len(loaded)
        for one in loaded:
            found = index.candidates(shown(one), radius={Algorithm.PDQ: 0})
            assert one.entry_id in {candidate.entry_id for candidate in found}
        return sorted(one.digest for one in loaded)

    def unread_and_passed(self):
        """Records before the checkpoint that the ledger has not, where nothing says that any is missing."""
        if self.row.gaps or self.row.checkpoint is None or self.world.rows("dead_letter"):
            return []
        said = json.loads(self.row.checkpoint)
        known = {one.record_id for one in self.world.rows("exchange_record")}
        if self.kind == "ncmec":
            stamps = {f"{one.member}/{one.entry_id}": one.at for one in self.simulation.entries.values()}
            return [one for one, at in stamps.items() if at <= said["to"] and one not in known]
        listed = self.simulation.listed.values()
        return [
            one for one in listed
            if one.at < said["stopncii"] and self.key_of(f"ImagePDQ:{one.value}".encode()) not in known
        ]  # fmt: skip


@pytest.fixture(params=KINDS)
def place(request, make_world):
    return Place(make_world(), request.param)


# ── changed answers over sockets ───────────────────────────────────────────────────────────────────────────


def mutated(body, chance):
    """Change one to three places."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(body) + 1)
        end = min(len(body), at + chance.choice((1, 1, 8, 200)))
        piece = chance.choice((b"", bytes([chance.randrange(256)]), chance.choice(PIECES)))
        body = body[:at] + piece + body[chance.choice((at, end)) :]
    return body[: chance.randrange(len(body) + 1)] if chance.random() < 0.1 else body


class Changing:
    """Gives an exchange's answers changed, three in four, as long as they do not lie."""

    def __init__(self, place, chance):
        self.place, self.chance, self.true = place, chance, place.simulation.answer
        self.changed = 0
        place.simulation.answer = self

    def __call__(self, address, headers):
        answer = self.true(address, headers)
        if answer.status != 200 or self.chance.random() < 0.25:
            return answer
        for _ in range(20):
            body = mutated(answer.body, self.chance)
            if not self.lies(answer.body, body):
                self.changed += 1
                length = self.chance.choice((None, None, None, len(body) // 2, len(body) + 5))
                status = self.chance.choice((200, 200, 200, 200, 200, 404, 500, 503))
                return Answer(status=status, headers=answer.headers, body=body, length=length)
        return answer

    def lies(self, true, body):
        """Whether it says what was never said, or hides that something follows, and still reads well."""
        page, told = self.read(body)
        before, honest = self.read(true)
        if not {repr(one) for one in told if isinstance(one, Record)} <= {repr(one) for one in honest}:
            return True
        if page.broken:
            return False
        fields = ("next",) if self.place.kind == "ncmec" else ("token", "more", "next_start")
        if any(getattr(page, name) != getattr(before, name) for name in fields):
            return True
        ids = {one.record_id for one in told if isinstance(one, Record)}
        lost = {one.record_id for one in honest if isinstance(one, Record)} - ids
        return bool(lost) and not any(isinstance(one, Faulty) for one in told)

    def read(self, body):
        if self.place.kind == "ncmec":
            page = ncmec_xml.read(body)
            return page, list(ncmec_xml.records(page, number=1))
        page = stopncii_json.read(body)
        return page, list(stopncii_json.records(page, number=1, key_of=self.place.key_of))


def test_two_hundred_changed_answers_over_sockets_end_in_faults_and_the_truth(place):
    chance = random.Random(20)
    runs = faults = 0
    with Server(place.simulation) as server:
        place.url = server.url
        place.wire = Wire(
            name=place.kind, credentials_file="keys/exchanges/x", clock=place.world.clock, trust=TRUST,
            timeout=timedelta(seconds=5),
        )  # fmt: skip
        for number in range(8):
            place.publish(number)
        changing = Changing(place, chance)
        while changing.changed < ANSWERS:
            place.world.clock.go_on(timedelta(seconds=15))
            report = place.fetch()  # raises nothing
            runs, faults = runs + 1, faults + (report.fault is not None)
            assert place.row.holder is None
            assert (report.fault is None) == report.caught_up
            assert place.unread_and_passed() == []
            if chance.random() < 0.3:
                chance.choice((place.publish, place.delete))(chance.randrange(12))
        assert 0 < faults < runs, "some runs fail, and some do not"
        place.simulation.answer = changing.true
        place.heal(whole=True)
    assert place.known() == place.truth()
    assert place.world.parts.log.counters["bug"] == 0


# ── any sequence ───────────────────────────────────────────────────────────────────────────────────────────


class Killed(BaseException):
    """The process is no more."""


numbers = st.integers(0, 7)
steps = st.one_of(
    st.tuples(st.just("publish"), numbers),
    st.tuples(st.just("publish"), numbers),
    st.tuples(st.just("delete"), numbers),
    st.tuples(st.just("poison"), numbers),
    st.tuples(st.just("wait"), st.integers(1, 40 * 86_400)),
    st.tuples(st.just("fetch"), st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5]), st.booleans()),
    st.tuples(st.just("fetch"), st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5]), st.just(False)),
    st.tuples(st.just("kill"), st.integers(1, 6), st.booleans()),
)


def perform(place, step):
    match step:
        case "publish", number:
            place.publish(number)
        case "delete", number:
            place.delete(number)
        case "poison", number:
            name = f"e{number}" if place.kind == "ncmec" else place.values[number]
            place.simulation.poisoned ^= {name}
        case "wait", seconds:
            place.world.clock.go_on(timedelta(seconds=seconds))
            if place.kind == "stopncii":
                place.simulation.forget()
        case "fetch", seed, share, whole:
            chance = random.Random(seed)
            for trouble in FAULTS:
                strikes = lambda _, share=share: chance.random() < share / len(FAULTS)  # noqa: E731
                place.simulation.befall(trouble, when=strikes)
            place.fetch(whole=whole)
            place.simulation.recover()
        case "kill", batches, whole:
            killed(place, batches, whole=whole)


def killed(place, batches, *, whole):
    """Die after so many batches: nothing is given back, and the lease ends by itself."""
    told = []

    def die(_report):
        told.append(1)
        if len(told) == batches:
            raise Killed

    fetcher = replace(place.world.parts.fetcher(), exchange_of=place.client)
    row = fetcher._take("x")
    try:
        fetcher._run(
            row,
            Report(),
            since=None if whole else row.checkpoint,
            confirm_shrink=True,
            progress=die,
            stop=None,
        )
    except (Killed, CoverguardError):
        place.world.clock.go_on(LEASE + timedelta(seconds=1))


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_happens_matching_knows_the_truth_in_the_end(kind, tmp_path_factory, migrated_ledger):
    root = tmp_path_factory.mktemp("sequences")

    @settings(max_examples=8)
    @given(st.lists(steps, max_size=12))
    def holds(wanted):
        home = root / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)
        shutil.copy(migrated_ledger, home / "ledger.db")
        with closing(Database(f"sqlite:///{home / 'ledger.db'}", durable=False)) as database:
            place = Place(World(home, database), kind)
            for step in wanted:
                perform(place, step)
                assert place.unread_and_passed() == []
            place.heal(whole=False)
            assert not Counter(place.truth()) - Counter(place.known()), (
                "an ordinary run finds all that is there"
            )
            place.heal(whole=True)
            assert place.known() == place.truth()

    holds()


# ── the end of a whole listing ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shorter(make_world):
    """Ten records, of which the exchange has forgotten one since; the last run was too long ago."""
    place = Place(make_world(), "stopncii", size=20)
    for number in range(10):
        place.publish(number)
    place.fetch()
    place.simulation.listed.pop(("ImagePDQ", place.values[0]))
    place.world.clock.go_on(timedelta(days=31))
    return place


def test_who_dies_after_a_whole_listing_and_before_its_withdrawals_withdraws_them_the_next_time(shorter):
    before = shorter.row.checkpoint
    killed(shorter, 1, whole=False)
    assert shorter.row.checkpoint == before
    assert len(shorter.known()) == 10
    shorter.fetch()
    assert shorter.known() == shorter.truth()
    assert shorter.row.checkpoint != before


def test_a_listing_that_leaves_out_too_much_stays_a_fault_until_a_person_has_said_yes(shorter):
    for number in range(1, 5):
        shorter.simulation.listed.pop(("ImagePDQ", shorter.values[number]))
    for failures in (1, 2):
        assert "leaves out 5 of 10" in shorter.fetch().fault
        assert (shorter.row.failures, len(shorter.known())) == (failures, 10)
    assert shorter.fetch(confirm_shrink=True).withdrawals == 5
    assert shorter.known() == shorter.truth()


def test_a_record_that_this_very_listing_could_not_read_is_not_settled_by_its_end(shorter):
    shorter.publish(0)
    shorter.simulation.publish(shorter.values[1], at=shorter.now, status="Unheard")
    report = shorter.fetch()
    assert (report.unread, report.withdrawals, report.fault) == (1, 0, None)
    assert [letter.settled_at for letter in shorter.world.rows("dead_letter")] == [None]
    shorter.publish(1)
    shorter.fetch(whole=True)
    assert [letter.settled_at is None for letter in shorter.world.rows("dead_letter")] == [False]


def test_a_bug_is_a_failure_on_record_and_gives_the_lease_back(place):
    def broken(_report):
        raise ZeroDivisionError

    place.publish(1)
    with pytest.raises(ZeroDivisionError):
        place.fetch(progress=broken)
    assert (place.row.holder, place.row.failures) == (None, 1)
    assert place.row.fault == "a bug, see the log: ZeroDivisionError"


def test_whoever_presses_ctrl_c_gives_the_lease_back(place):
    def pressed(_report):
        raise KeyboardInterrupt

    place.publish(1)
    with pytest.raises(KeyboardInterrupt):
        place.fetch(progress=pressed)
    assert (place.row.holder, place.row.failures, place.row.fault) == (None, 0, None)
    assert place.fetch().caught_up


def test_a_list_comes_from_one_exchange_alone(place):
    with place.world.database.transaction() as tx, pytest.raises(Refused, match="another exchange"):
        fetches.create(
            tx, name="y", list_id=place.list_id, kind="ncmec", place="test-ngo", every=1,
            now=place.world.clock.now(),
        )  # fmt: skip
