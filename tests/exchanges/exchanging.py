"""What the tests of exchanges share: clients without sockets, and what a caller makes of what they tell."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from coverguard.exchanges import Faulty, Record
from coverguard.model import Micros
from coverguard.remote.exchanges.ncmec import CREDENTIALS_FILE as NCMEC_FILE
from coverguard.remote.exchanges.ncmec import Environment, Login, NcmecExchange
from coverguard.remote.exchanges.stopncii import CREDENTIALS_FILE as STOPNCII_FILE
from coverguard.remote.exchanges.stopncii import Keys, StopNciiExchange
from coverguard.remote.exchanges.wire import Reply, Wire
from coverguard.testing.exchanges import ncmec, stopncii
from coverguard.testing.exchanges.serving import Simulation, Trouble
from coverguard.testing.platform import StillClock

NOW = 1_795_000_000  # seconds: November 2026
DAY = 86_400
HERE = "http://127.0.0.1:1"
TRUST = ssl.create_default_context()  # once: it reads every authority that the host knows


def clock_at(seconds: int = NOW) -> StillClock:
    return StillClock(Micros(seconds * 1_000_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class InProcess(Wire):
    """Asks a simulation without a socket."""

    simulation: Simulation

    def once(self, address, *, headers):
        parts = urlsplit(address)
        asked = {name.lower(): said for name, said in headers.items()}
        answer = self.simulation.answer(f"{parts.path}?{parts.query}", asked)
        body, cut = answer.body[: answer.length], None
        if answer.trouble in (Trouble.CUT, Trouble.DRIP):
            body = body[: len(body) // 2]
            cut = "RemoteProtocolError" if answer.trouble is Trouble.CUT else "TimeoutError"
        if len(body) > self.max_page_bytes:
            body, cut = body[: self.max_page_bytes], "too many bytes"
        status = answer.status
        return Reply(status=status, headers=answer.headers, body=body if status == 200 else b"", cut=cut)


def in_process(simulation, file, **chosen):
    facts = {"name": file.split("/")[1].split(".")[0], "credentials_file": file, "trust": TRUST}
    return InProcess(**(facts | chosen), clock=simulation.clock, simulation=simulation)


def over_http(simulation, file, **chosen):
    facts = {"name": file.split("/")[1].split(".")[0], "credentials_file": file, "trust": TRUST}
    return Wire(**(facts | {"timeout": timedelta(seconds=20)} | chosen), clock=simulation.clock)


def ncmec_client(simulation, *, wire=None, url=None, **chosen):
    return NcmecExchange(
        environment=Environment.TEST_INDUSTRY,
        credentials=lambda: Login(ncmec.USER, ncmec.PASSWORD),
        wire=wire or in_process(simulation, NCMEC_FILE),
        url=url or HERE + simulation.root,
        **chosen,
    )


def key_of(said: bytes) -> str:
    return hashlib.blake2b(said, key=b"of a test", digest_size=16).hexdigest()


def stopncii_client(simulation, *, wire=None, url=None, **chosen):
    return StopNciiExchange(
        credentials=lambda: Keys(stopncii.FUNCTION_KEY, stopncii.SUBSCRIPTION_KEY),
        key_of=key_of,
        wire=wire or in_process(simulation, STOPNCII_FILE),
        url=url or HERE + simulation.root,
        **chosen,
    )


@dataclass
class Caller:
    """Stores what it is told as docs/exchanges.md has it."""

    exchange: Any
    checkpoint: str | None = None
    held: dict[str, Record] = field(default_factory=dict)
    faulty: list[Faulty] = field(default_factory=list)
    gaps: int = 0
    told: int = 0  # batches

    def run(self, *, batches: int | None = None) -> Caller:
        """Take everything, or break off after so many batches."""
        seen, clean = set(), True
        for number, batch in enumerate(self.exchange.batches(self.checkpoint), start=1):
            for record in batch.records:
                known = self.held.get(record.record_id)
                if known is None or record.stamp >= known.stamp:
                    self.held[record.record_id] = record
            seen |= {record.record_id for record in batch.records}
            seen |= {one.record_id for one in batch.faulty}
            clean = clean and not batch.gaps and all(one.record_id for one in batch.faulty)
            self.faulty += batch.faulty
            self.gaps = batch.gaps
            self.told += 1
            if batch.checkpoint is not None:
                assert len(batch.checkpoint) <= 2000
                self.checkpoint = batch.checkpoint
                if batch.whole and clean:
                    self.held = {one: record for one, record in self.held.items() if one in seen}
            if number == batches:
                break
        return self

    @property
    def rows(self) -> set[tuple[str, str, bytes, str, str | None]]:
        return {
            (row.source_entry_id, row.algorithm.value, row.digest, row.opinion.value, row.label)
            for record in self.held.values()
            for row in record.rows
        }


def ncmec_truth(simulation) -> set[tuple[str, str, bytes, str, str | None]]:
    """The rows that a caller who has read everything must hold."""
    return {
        (
            f"{one.member}/{one.entry_id}",
            name,
            bytes.fromhex(said),
            "seed" if name.title() in one.disputed else "positive",
            one.classification,
        )
        for one in simulation.entries.values()
        if one.kind == "image" and not one.deleted
        for name, said in one.fingerprints
        if name in ("md5", "sha1", "pdq")
    }


def stopncii_truth(simulation) -> set[tuple[str, str, bytes, str, str | None]]:
    return {
        (
            key_of(f"ImagePDQ:{one.value}".encode()),
            "pdq",
            bytes.fromhex(one.value),
            "seed" if one.status == "Received" or "NotBlocked" in one.feedback else "positive",
            None,
        )
        for one in simulation.listed.values()
        if one.kind == "ImagePDQ" and one.status in ("Active", "Received")
    }
