"""Answers with bytes changed, left out, put in: no foreign exception, and nothing dropped without a word."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import pytest

pytest.register_assert_rewrite("exchanging")

from exchanging import (  # noqa: E402 - after the rewrite
    NOW,
    Caller,
    InProcess,
    clock_at,
    key_of,
    ncmec_client,
    over_http,
    stopncii_client,
)

from coverguard.errors import CoverguardError  # noqa: E402 - as above
from coverguard.exchanges import Faulty, Record  # noqa: E402 - as above
from coverguard.remote.exchanges import ncmec, ncmec_xml, stopncii, stopncii_json  # noqa: E402 - as above
from coverguard.remote.exchanges.wire import Reply  # noqa: E402 - as above
from coverguard.testing.exchanges.ncmec import NcmecSimulation  # noqa: E402 - as above
from coverguard.testing.exchanges.serving import Answer, Server  # noqa: E402 - as above
from coverguard.testing.exchanges.stopncii import StopNciiSimulation  # noqa: E402 - as above

pytestmark = pytest.mark.thorough

ENTRIES = 4
PIECES = (
    b"<", b">", b"/>", b"&b;", b"&#0;", b"]]>", b"<![CDATA[", b"<!--", b"-->", b"<!DOCTYPE a>", b"<?x?>",
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\ud800", b"null", b"NaN", b"1e999", b"9" * 5000,
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xc3", b"image", b"count", b"hashStatus", b"id=", b"<image/>",
    b" xmlns='urn:x'",
)  # fmt: skip


def mutated(body: bytes, chance: random.Random) -> bytes:
    """Change one to three places."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(body) + 1)
        end = min(len(body), at + chance.choice((1, 1, 8, 200)))
        match chance.randrange(6):
            case 0:
                body = body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
            case 1:
                body = body[:at] + body[end:]
            case 2:
                body = body[:end] + body[at:]
            case 3:
                body = body[:at] + chance.choice(PIECES) + body[at:]
            case 4:
                body = body[:at] + chance.choice(PIECES) + body[end:]
            case _:
                bit = 1 << chance.randrange(8)
                body = body[:at] + bytes(one ^ bit for one in body[at : at + 1]) + body[at + 1 :]
    return body[: chance.randrange(len(body) + 1)] if chance.random() < 0.05 else body


def lists():
    simulation = NcmecSimulation(clock_at(), page_size=10)
    for number in range(ENTRIES - 1):
        simulation.publish(
            f"e{number}", at=NOW - 60, disputed=("Sha1",), types=("md5", "sha1", "pdq", "pdna")
        )
    simulation.delete(simulation.publish("gone", at=NOW - 60), at=NOW - 60)
    return simulation


def victims():
    simulation = StopNciiSimulation(clock_at(), most=10)
    for number in range(ENTRIES - 1):
        simulation.publish(at=NOW - 60 + number, feedback=("Blocked",))
    simulation.publish(at=NOW - 60, status="Withdrawn")
    return simulation


def body_of(simulation, client):
    """The true page."""
    bodies = []

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Listening(InProcess):
        def once(self, address, *, headers):
            reply = InProcess.once(self, address, headers=headers)
            bodies.append(reply.body)
            return reply

    wire = Listening(name="x", credentials_file="x/x", clock=simulation.clock, simulation=simulation)
    list(client(simulation, wire=wire).batches(None))
    return max(bodies, key=len)


CASES = {
    "ncmec": (lists, ncmec_client, ncmec_xml.read, ncmec_xml.records, ncmec.CREDENTIALS_FILE),
    "stopncii": (
        victims, stopncii_client, stopncii_json.read, partial(stopncii_json.records, key_of=key_of),
        stopncii.CREDENTIALS_FILE,
    ),
}  # fmt: skip
BEGUN = {"ncmec": json.dumps({"ncmec": "test-industry", "to": NOW - 63, "gaps": []}), "stopncii": None}


@pytest.mark.parametrize("case", CASES)
def test_ten_thousand_changed_pages_are_read_or_said_to_be_broken(case):
    made, client, read, records, _ = CASES[case]
    body = body_of(made(), client)
    whole = 0
    for seed in range(10_000):
        page = read(mutated(body, random.Random(seed)))
        told = list(records(page, number=1))
        if page.broken is None:
            whole += 1
            kept = {one.record_id for one in told if isinstance(one, Record)}
            assert len(kept) >= ENTRIES or any(isinstance(one, Faulty) for one in told), seed
    assert whole > 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbling(InProcess):
    """Changes three answers in four, whatever is asked."""

    chance: random.Random

    def once(self, address, *, headers):
        reply = InProcess.once(self, address, headers=headers)
        if self.chance.random() < 0.25:
            return reply
        status = self.chance.choice((200, 200, 200, 200, 404, 429, 500, 503))
        facts = {"retry-after": mutated(b"120", self.chance).decode("latin-1")}
        return Reply(status=status, headers=facts, body=mutated(reply.body, self.chance))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("runs", [25, pytest.param(300, marks=pytest.mark.long)])
def test_whole_runs_over_changed_answers_end_in_our_own_errors_and_lose_nothing(case, runs):
    made, client, _, _, file = CASES[case]
    for seed in range(runs):
        simulation = made()
        wire = Garbling(
            name="x", credentials_file=file, clock=simulation.clock, simulation=simulation,
            chance=random.Random(seed),
        )  # fmt: skip
        caller = Caller(client(simulation, wire=wire), checkpoint=BEGUN[case])
        for _ in range(3):
            with suppress(CoverguardError):
                caller.run()
        caller.exchange = client(simulation)
        simulation.clock.sleep(timedelta(minutes=1))
        caller.run()
        assert caller.gaps == 0
        assert len(caller.held) >= ENTRIES or caller.faulty, seed


@pytest.mark.process
@pytest.mark.parametrize("case", CASES)
def test_a_hundred_changed_answers_over_sockets(case):
    made, client, _, _, file = CASES[case]
    simulation = made()
    chance = random.Random(1)
    true = simulation.answer

    def changed(address, headers):
        answer = true(address, headers)
        body = mutated(answer.body, chance)
        length = chance.choice((None, None, len(body) // 2, len(body) + 5))
        return Answer(status=200, headers=answer.headers, body=body, length=length)

    simulation.answer = changed
    with Server(simulation) as server:
        wire = over_http(simulation, file, timeout=timedelta(seconds=5))
        exchange = client(simulation, wire=wire, url=server.url)
        while len(simulation.requests) < 100:
            with suppress(CoverguardError):
                exchange.check()
            with suppress(CoverguardError):
                for _ in zip(range(3), exchange.batches(BEGUN[case]), strict=False):
                    pass
