"""Both web processes on loopback, beside a whole deployment that takes in what they send."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "services"))
pytest.register_assert_rewrite("world", "sites")

from sites import Key, Open, Site, served_as  # noqa: E402 - their place is known only now
from world import World  # noqa: E402

from coverguard.access import Role  # noqa: E402
from coverguard.local.keys import LocalSigner, raw_public_key  # noqa: E402
from coverguard.model import later  # noqa: E402
from coverguard.ports import Queue  # noqa: E402
from coverguard.store import api_keys  # noqa: E402
from coverguard.store.engine import Database  # noqa: E402
from coverguard.store.migrate import migrate  # noqa: E402


@pytest.fixture(scope="session")
def migrated_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "ledger.db"
    database = Database(f"sqlite:///{path}", durable=False)
    migrate(database)
    database.close()
    return path


@pytest.fixture
def world(tmp_path: Path, migrated_ledger: Path) -> Iterator[World]:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shutil.copy(migrated_ledger, home / "ledger.db")
    database = Database(f"sqlite:///{home / 'ledger.db'}", durable=False)
    made = World(home, database, platform_name="the music service")
    yield made
    made.close()


@pytest.fixture
def open_site(world: World) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_(kind: str, *, queue: Queue | None = None, **settings: object) -> Site:
            return stack.enter_context(served_as(kind, world, world.database, queue=queue, **settings))

        yield open_


@pytest.fixture
def public(open_site: Open) -> Site:
    return open_site("public")


@pytest.fixture
def platform(open_site: Open) -> Site:
    return open_site("platform")


@pytest.fixture
def make_key(world: World) -> Callable[..., Key]:
    def make(role: Role, *, name: str | None = None, days: int = 30) -> Key:
        secret, signer = secrets.token_bytes(32), LocalSigner(secrets.token_bytes(32))
        now = world.clock.now()
        with world.database.transaction() as tx:
            ref = api_keys.add(
                tx, name=name or f"{role.value} {secrets.token_hex(3)}", role=role, secret=secret,
                public_key=raw_public_key(signer.public_pem()), created_by="Olga", now=now,
                expires_at=later(now, timedelta(days=days)),
            )  # fmt: skip
        return Key(ref, secret, signer)

    return make
