"""Each process's database role can do what the table says and nothing else: tried, not looked up."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from coverguard.errors import ConfigurationError
from coverguard.store import roles
from coverguard.store.engine import Database
from coverguard.store.migrate import migrate
from coverguard.store.roles import RIGHTS, ROLES, VERSION_TABLE, apply_roles, rights
from coverguard.store.schema import metadata

ONLY_ADDED_TO = {
    "verdict", "audit", "audit_chain", "list_change", "list_rule", "party", "platform_event",
    "private.thread_entry", "private.thread_mail",
}  # fmt: skip
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")


def tables() -> dict[str, list[str]]:
    """Every table, with its columns."""
    named = {table.fullname: [column.name for column in table.columns] for table in metadata.sorted_tables}
    return named | {VERSION_TABLE: ["version_num"]}


# ── the table itself ───────────────────────────────────────────────────────────────────────────────────────


def test_every_table_has_its_rights() -> None:
    assert set(RIGHTS) == set(tables())
    for right in rights():
        assert set(right.columns) <= set(tables()[right.table])
        assert not (right.verb in ("INSERT", "DELETE") and right.columns)
    assert all(
        "".join(map("".join, roles._RIGHT.findall(said))) for row in RIGHTS.values() for said in row if said
    )


def test_what_is_only_added_to_is_changed_by_nobody() -> None:
    assert not [
        right
        for right in rights()
        if right.table in ONLY_ADDED_TO
        and right.verb in ("UPDATE", "DELETE")
        and (right.table, right.columns) != ("platform_event", ("served_at",))
    ]


def test_what_people_wrote_in_statements_is_read_by_the_keeper_alone() -> None:
    read = [right for right in rights() if right.table == "private.statement" and right.verb == "SELECT"]
    assert all(right.columns for right in read)
    openers = {right.role for right in read if "text_sealed" in right.columns}
    assert openers == {"coverguard_keeper"}  # acts on the reports that release 0.1 only stored
    private = {(right.role, right.table) for right in rights() if right.table.startswith("private.")}
    assert {role for role, _ in private} == {*ROLES[:3], "coverguard_public"}
    # sealed to the tokens on receipts, which nobody here has
    assert {table for role, table in private if role == "coverguard_public"} == {"private.thread_mail"}


def test_only_people_decide() -> None:
    assert {right.role for right in rights() if right.table == "verdict" and right.verb == "INSERT"} == {
        "coverguard_operator"
    }
    written = {"list_rule", "list_attestation", "list_review", "suppression"}
    assert {right.role for right in rights() if right.table in written and right.verb != "SELECT"} == {
        "coverguard_operator"
    }
    others = [right for right in rights() if right.table == "hash_list" and right.verb != "SELECT"]
    assert {(right.role, right.columns) for right in others if right.role != "coverguard_operator"} == {
        ("coverguard_importer", ("refreshed_at",))
    }


def test_the_auditor_reads_the_trail_and_writes_nothing() -> None:
    mine = [right for right in rights() if right.role == "coverguard_reader"]
    assert {right.verb for right in mine} == {"SELECT"}
    assert {right.table for right in mine} == {VERSION_TABLE, "audit", "audit_chain", "audit_head"}


def test_the_process_that_faces_the_internet_puts_messages_on_a_queue_and_writes_nothing_else() -> None:
    mine = [right for right in rights() if right.role == "coverguard_public"]
    assert {(right.table, right.verb) for right in mine if right.verb != "SELECT"} == {
        ("queue_message", "INSERT")
    }
    shown = {right.table: right.columns for right in mine if right.verb == "SELECT"}
    whole = {table for table, columns in shown.items() if not columns}
    assert whole == {VERSION_TABLE, "private.thread_mail"}
    assert not {"case_file", "case_item", "match", "hash_list", "verdict", "report", "audit"} & shown.keys()


def test_the_platforms_process_reads_no_list_no_match_no_verdict_and_nobodys_words() -> None:
    mine = {right.table for right in rights() if right.role == "coverguard_platform"}
    assert not {"hash_list", "list_entry", "match", "verdict", "quarantine_claim"} & mine
    assert not {table for table in mine if table.startswith("private.")}


def test_sqlite_has_no_roles(ledger_file, reused) -> None:
    assert apply_roles(reused[1]) == ()


# ── on a server ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def applied(on_postgresql: Database) -> Database:
    assert apply_roles(on_postgresql) == ()
    return on_postgresql


class As:
    """Somebody's own connection."""

    def __init__(self, url: str, role: str | None = None) -> None:
        self._connection = psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True)
        if role:
            self._connection.execute(f"SET ROLE {role}")

    def close(self) -> None:
        self._connection.close()

    def may(self, sql: str) -> bool:
        """Whether the server refuses it for want of a right, and for nothing else."""
        try:
            with self._connection.transaction(force_rollback=True):
                self._connection.execute(sql)
        except psycopg.errors.InsufficientPrivilege:
            return False
        except (psycopg.errors.IntegrityError, psycopg.errors.RaiseException):
            pass
        return True


@pytest.fixture
def as_role(applied: Database, ledger_url: str, request: pytest.FixtureRequest) -> Iterator[As]:
    opened = As(ledger_url, request.param)
    yield opened
    opened.close()


def tried(table: str, verb: str, column: str) -> str:
    place = ".".join(f'"{part}"' for part in table.split("."))
    return {
        "SELECT": f'SELECT "{column}" FROM {place}',
        "INSERT": f"INSERT INTO {place} DEFAULT VALUES",
        "UPDATE": f'UPDATE {place} SET "{column}" = NULL WHERE false',
        "DELETE": f"DELETE FROM {place} WHERE false",
    }[verb]


@pytest.mark.servers
@pytest.mark.parametrize("as_role", ROLES, indirect=True)
def test_a_role_may_do_what_the_table_says_and_nothing_else(
    as_role: As, request: pytest.FixtureRequest
) -> None:
    role = request.node.callspec.params["as_role"]
    given = {(right.table, right.verb): right.columns for right in rights() if right.role == role}
    wrong = []
    for table, columns in tables().items():
        for verb in VERBS:
            for column in columns if verb in ("SELECT", "UPDATE") else columns[:1]:
                allowed = (table, verb) in given and column in (given[table, verb] or columns)
                if as_role.may(tried(table, verb, column)) != allowed:
                    wrong.append((table, verb, column, allowed))
    assert wrong == []


@pytest.mark.servers
@pytest.mark.parametrize("as_role", ROLES, indirect=True)
def test_no_role_may_change_what_the_ledger_is(as_role: As) -> None:
    for sql in (
        "TRUNCATE queue_message",
        "DROP TABLE queue_message",
        "ALTER TABLE audit DISABLE TRIGGER audit_append_only",
        "ALTER TABLE audit ADD COLUMN x int",
        "DROP TRIGGER audit_append_only ON audit",
        "ALTER FUNCTION audit_append_only() RENAME TO harmless",
        "SET session_replication_role = replica",
        "CREATE TABLE mine (x int)",
        "CREATE TABLE private.mine (x int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE private.statement OWNER TO CURRENT_USER",
        "SELECT setval('audit_id_seq', 1)",
        "CREATE ROLE friend",
    ):
        assert not as_role.may(sql), sql


@pytest.mark.servers
@pytest.mark.parametrize("as_role", ROLES[:3], indirect=True)
def test_numbers_are_given_to_who_may_insert(as_role: As) -> None:
    assert as_role.may(
        "INSERT INTO audit (at, actor, role, verb, subject, facts, digest) "
        "VALUES (1, 'a', 'r', 'v', 's', '{}', '\\x00') RETURNING id"
    )


@pytest.fixture
def login(postgres, administer) -> Iterator[str]:
    """A login of its own, a member of no role."""
    name = f"login_{uuid.uuid4().hex}"
    administer(f"CREATE ROLE {name} LOGIN")
    yield name
    administer(f"DROP ROLE {name}")


@pytest.mark.servers
def test_a_stranger_may_do_nothing(applied, ledger_url, login) -> None:
    stranger = As(ledger_url.replace("//postgres@", f"//{login}@"))
    for table, columns in tables().items():
        for verb in VERBS:
            assert not stranger.may(tried(table, verb, columns[0])), (table, verb)
    assert not stranger.may("CREATE TABLE mine (x int)")
    stranger.close()


@pytest.mark.servers
def test_what_a_role_lacks_is_said_clearly(applied, ledger_url, login, administer) -> None:
    administer(f"GRANT coverguard_worker TO {login}")
    mine = Database(ledger_url.replace("//postgres@", f"//{login}@"), durable=False)
    with pytest.raises(ConfigurationError, match="role has no right"), mine.transaction() as tx:
        tx.exec_driver_sql("DELETE FROM verdict")
    with mine.reading() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM hash_list").scalar_one() == 0
    mine.close()


@pytest.mark.servers
def test_applying_again_takes_away_what_was_given_otherwise(applied, ledger_url) -> None:
    with applied.transaction() as tx:
        for sql in (
            "GRANT ALL ON ALL TABLES IN SCHEMA public, private TO coverguard_reader, PUBLIC",
            "GRANT UPDATE (platform_id) ON account TO coverguard_worker",
            "GRANT ALL ON SCHEMA private TO coverguard_reader",
        ):
            tx.exec_driver_sql(sql)
    assert apply_roles(applied) == ()
    reader, worker = As(ledger_url, "coverguard_reader"), As(ledger_url, "coverguard_worker")
    assert not reader.may("SELECT id FROM account")
    assert not reader.may("SELECT id FROM private.statement")
    assert not worker.may("UPDATE account SET platform_id = 'x' WHERE false")
    reader.close()
    worker.close()


@pytest.mark.servers
def test_who_may_not_create_roles_is_told_which_are_missing(
    postgres, administer, login, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rights are given to those that are there; the others are for somebody else to make."""
    names = tuple(f"{role}_{uuid.uuid4().hex[:8]}" for role in ROLES)
    monkeypatch.setattr(roles, "ROLES", names)
    ledger = f"theirs_{uuid.uuid4().hex}"
    administer(f"CREATE DATABASE {ledger} OWNER {login}")
    mine = Database(postgres.url(ledger, user=login), durable=False)
    migrate(mine)
    assert apply_roles(mine) == names
    for name in names[:2]:
        administer(roles.creation(name))
    assert apply_roles(mine) == names[2:]
    worker = As(postgres.url(ledger), names[0])
    assert worker.may("SELECT id FROM account")
    assert not worker.may("SELECT seq FROM audit_head")
    worker.close()
    mine.close()
    administer(f"DROP DATABASE {ledger} WITH (FORCE)")
    for name in names[:2]:
        administer(f"DROP ROLE {name}")
