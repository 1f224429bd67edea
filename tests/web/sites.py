"""A web process on loopback, as its clients see it, and the deployment that takes in what it sends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from threading import Event

import httpx
from world import World

from coverguard.bootstrap import REPORTS
from coverguard.fronts import Front
from coverguard.local.keys import LocalSigner
from coverguard.ports import Queue
from coverguard.store.engine import Database
from coverguard.store.queue import TableQueue
from coverguard.web.fence import Fence
from coverguard.web.platform.keyring import written
from coverguard.web.serving import bind, server
from coverguard.worker import Heartbeat


@contextmanager
def served(application: Fence) -> Iterator[str]:
    """Serve it on loopback; yield its address."""
    listening = bind("127.0.0.1", 0)
    running = server(application)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(10)
        listening.close()


@dataclass
class Site:
    """One web process, as a client sees it, and the deployment behind it."""

    world: World
    client: httpx.Client
    address: str
    application: Fence

    def work(self) -> None:
        """Let a worker take in what was sent."""
        heartbeat = Heartbeat(lease=self.world.settings.lease, log=self.world.parts.log)
        while self.world.rows("queue_message"):
            self.world.worker.serve_once(heartbeat, Event())

    def sent(self) -> list[str]:
        """The bodies that wait on the queue."""
        return [row.body for row in self.world.rows("queue_message") if row.queue == REPORTS]


@contextmanager
def served_as(
    kind: str, world: World, database: Database, *, queue: Queue | None = None, **settings: object
) -> Iterator[Site]:
    """Serve one of the web processes on a connection to the ledger of its own."""
    front = Front(
        settings=replace(world.settings, **settings),
        database=database,
        queue=queue or TableQueue(database, REPORTS, clock=world.clock),
        clock=world.clock,
        log=world.parts.log,
    )
    with ExitStack() as stack:
        application = stack.enter_context(getattr(front, kind)())
        address = stack.enter_context(served(application))
        client = stack.enter_context(httpx.Client(base_url=address, trust_env=False))
        yield Site(world, client, address, application)


Open = Callable[..., Site]


@dataclass
class Key:
    ref: str
    secret: bytes
    signer: LocalSigner

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {written(self.ref, self.secret)}"}
