"""Both web processes on PostgreSQL, each as its own database role and no other."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sites import Key, Site, served_as
from sqlalchemy import select
from world import WATCHED, World, picture

from coverguard.access import Role
from coverguard.errors import ConfigurationError
from coverguard.store import schema
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate, require_migrated
from coverguard.store.roles import apply_roles
from coverguard.testing.servers import Postgres

pytestmark = pytest.mark.servers

REPORT = {"category": "child_abuse", "account_ids": ["her"], "text": "zebrafinch"}


@pytest.fixture
def logins(postgres: Postgres) -> Iterator[dict[str, Database]]:
    number = uuid.uuid4().hex
    name = f"web_{number}"
    owner = Database(postgres.create_database(name), durable=False)
    migrate(owner)
    assert apply_roles(owner) == ()
    made = {"owner": owner}
    with psycopg.connect(postgres.url().replace("+psycopg", ""), autocommit=True) as server:
        for role in ("public", "platform"):
            server.execute(f"CREATE ROLE {role}_{number} LOGIN IN ROLE coverguard_{role}")
            made[role] = Database(postgres.url(name, user=f"{role}_{number}"), durable=False)
        yield made
        for opened in made.values():
            opened.close()
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        for role in ("public", "platform"):
            server.execute(f"DROP ROLE {role}_{number}")


@pytest.fixture
def world(logins: dict[str, Database], tmp_path: Path) -> World:
    return World(tmp_path, logins["owner"])


def test_the_public_process_takes_reports_and_shows_threads_with_its_own_few_rights(
    world: World, logins: dict[str, Database]
):
    mine = logins["public"]
    require_migrated(mine)
    world.upload(picture(1), "c1", uploader="her", surface=WATCHED)
    with served_as("public", world, mine) as site:
        answer = site.client.post("/v1/reports", json=REPORT)
        assert answer.status_code == 202
        assert answer.json()["document"]["named"][0]["public_covers"] == 1
        site.work()
        reference, token = answer.json()["document"]["reference"], answer.json()["token"]
        thread = site.client.post(f"/v1/reports/{reference}/thread", json={"token": token})
        assert "zebrafinch" in thread.json()["entries"][0]["text"]
        added = site.client.post(f"/v1/reports/{reference}/additions", json={"token": token, "text": "more"})
        assert added.status_code == 202


@pytest.mark.parametrize(
    "table",
    ["report", "report_target", "thread_entry", "reporter", "case_file", "verdict", "match", "list_entry",
     "api_key", "takedown", "audit", "statement", "queue_message"],
)  # fmt: skip
def test_the_public_process_can_read_nothing_that_was_told_or_decided(
    logins: dict[str, Database], table: str
):
    with pytest.raises(ConfigurationError, match="no right"), logins["public"].reading() as tx:
        tx.execute(select(getattr(schema, table).c.id).limit(1))


def test_the_platform_process_reports_looks_and_hides_with_its_own_few_rights(
    world: World, logins: dict[str, Database], key: Key
):
    mine = logins["platform"]
    require_migrated(mine)
    world.upload(picture(1), "c1", uploader="her", surface=WATCHED)
    with served_as("platform", world, mine) as site:
        answer = site.client.post("/v1/reports", json=REPORT, headers=key.headers)
        assert answer.status_code == 202
        site.work()
        path = f"/v1/reports/{answer.json()['document']['reference']}"
        assert site.client.get(path, headers=key.headers).status_code == 200
        hidden = _hidden_twice(site, key, "her"), _hidden_twice(site, key, "nobody has heard of")
        assert [one["covers"] for one in hidden] == [1, 0]


def _hidden_twice(site: Site, key: Key, account: str) -> dict:
    path = f"/v1/accounts/{account}/hide"
    answers = [site.client.post(path, headers=key.headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["takedown"] == answers[1].json()["takedown"]
    return answers[0].json()


@pytest.fixture
def key(world: World, make_key) -> Key:
    return make_key(Role.SUPPORT)


@pytest.mark.parametrize(
    "table", ["thread_entry", "thread_mail", "reporter", "verdict", "match", "list_entry"]
)
def test_the_platform_process_can_read_no_words_and_no_evidence(logins: dict[str, Database], table: str):
    with pytest.raises(ConfigurationError, match="no right"), logins["platform"].reading() as tx:
        tx.execute(select(getattr(schema, table).c.id).limit(1))
