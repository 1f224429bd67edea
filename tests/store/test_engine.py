"""What a database's errors mean to who called, and what every session on PostgreSQL is."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from coverguard.errors import ConfigurationError, Contention, TransientError
from coverguard.model import Micros
from coverguard.store import covers, engine
from coverguard.store.engine import Database
from coverguard.store.schema import account

NOW = Micros(1_800_000_000_000_000)
SECRET = "not for the log"


def count(tx):
    return len(tx.execute(select(account.c.id)).all())


def test_a_read_sees_one_moment(database):
    """However many statements it takes; a snapshot of the lists must not be of two moments."""
    with database.reading() as tx:
        assert count(tx) == 0
        with database.transaction() as other:
            covers.know_account(other, "a", now=NOW)
        assert count(tx) == 0
    with database.reading() as tx:
        assert count(tx) == 1


def fail(database, state):
    """An error as the server would tell of it."""
    raising = f"DO $$ BEGIN RAISE EXCEPTION '{SECRET}' USING ERRCODE = '{state}'; END $$"
    with database.transaction() as tx:
        tx.exec_driver_sql(raising)


@pytest.mark.servers
@pytest.mark.parametrize(
    ("state", "meaning"),
    [
        ("40001", Contention),  # serialisation failure
        ("40P01", Contention),  # deadlock
        ("08006", TransientError),  # connection failure
        ("25006", TransientError),  # the primary has become a standby
        ("25P03", TransientError),  # idle in transaction for too long
        ("53100", TransientError),  # disk full
        ("53200", TransientError),  # out of memory
        ("53300", TransientError),  # too many connections
        ("55P03", TransientError),  # lock not available
        ("57014", TransientError),  # cancelled: statement timeout
        ("57P01", TransientError),  # shutdown by an administrator
        ("57P03", TransientError),  # starting up
        ("58030", TransientError),  # I/O error
        ("42501", ConfigurationError),  # no right to that
    ],
)
def test_an_error_means_what_the_caller_must_do(on_postgresql, state, meaning):
    with pytest.raises(meaning) as caught:
        fail(on_postgresql, state)
    assert type(caught.value) is meaning
    assert SECRET not in str(caught.value)
    with on_postgresql.transaction() as tx:
        assert tx.execute(text("SELECT 1")).scalar_one() == 1


@pytest.mark.servers
@pytest.mark.parametrize("state", ["23505", "23514", "42601", "42P01", "P0001", "22023", "XX000"])
def test_what_is_not_transient_is_a_bug(on_postgresql, state):
    with pytest.raises(DBAPIError):
        fail(on_postgresql, state)


@pytest.mark.servers
def test_an_error_quotes_no_value(on_postgresql):
    quoting = {
        "its detail does": "INSERT INTO account (platform_id, seen_at) VALUES ('{0}', 1), ('{0}', 1)",
        "it does itself": "INSERT INTO account (platform_id, seen_at) VALUES ('a', ('{0}'::text)::bigint)",
    }
    for sql in quoting.values():
        with pytest.raises(DBAPIError) as caught, on_postgresql.transaction() as tx:
            tx.execute(text(sql.format(SECRET)))
        said = f"{caught.value.args}{caught.value.orig}{caught.value.orig!r}"
        assert SECRET not in said
    with pytest.raises(IntegrityError, match="uq_account_platform_id"), on_postgresql.transaction() as tx:
        tx.execute(text(quoting["its detail does"].format("a")))


@pytest.mark.servers
def test_a_session_that_was_ended_is_not_used_again(on_postgresql):
    with on_postgresql.reading() as tx:
        mine = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with on_postgresql.transaction() as tx:
        covers.know_account(tx, "a", now=NOW)
        end = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                   " AND pid <> pg_backend_pid()")  # fmt: skip
        tx.execute(end)
    with on_postgresql.reading() as tx:
        assert count(tx) == 1
    with pytest.raises(TransientError), on_postgresql.transaction() as tx:
        tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with on_postgresql.reading() as tx:
        assert tx.execute(text("SELECT pg_backend_pid()")).scalar_one() != mine


def last_too_long(database, setting, slow, *, beside):
    with database.transaction() as tx:
        tx.execute(text(f"SET LOCAL {setting} = '50ms'"))
        if slow:
            tx.execute(text(slow))
        else:
            beside.execute(text("SELECT pg_sleep(0.5)"))  # meanwhile the other does nothing
            tx.execute(text("SELECT 1"))


@pytest.mark.servers
@pytest.mark.parametrize(
    ("setting", "slow"),
    [
        ("statement_timeout", "SELECT pg_sleep(60)"),
        ("idle_in_transaction_session_timeout", None),
        ("lock_timeout", "LOCK TABLE account"),
    ],
)
def test_nothing_lasts_for_ever(on_postgresql, ledger_url, setting, slow):
    other = Database(ledger_url, durable=False)
    with other.transaction() as holder:
        holder.execute(text("LOCK TABLE account"))
        with pytest.raises(TransientError) as caught:
            last_too_long(on_postgresql, setting, slow, beside=holder)
        assert not isinstance(caught.value, Contention)
    other.close()


@pytest.mark.servers
@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_every_session_is_limited(ledger_url, durable, scheme):
    database = Database(ledger_url.replace("postgresql+psycopg", scheme), durable=durable)
    with database.transaction() as tx:
        shown = {name: tx.execute(text(f"SHOW {name}")).scalar_one() for name in engine.SESSION}
        commit = tx.execute(text("SHOW synchronous_commit")).scalar_one()
        level = tx.execute(text("SHOW transaction_isolation")).scalar_one()
        name = tx.execute(text("SHOW application_name")).scalar_one()
    database.close()
    assert shown == {
        "statement_timeout": "1min",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "1min",
        "search_path": "public",
        "timezone": "UTC",
    }
    assert (level, name) == ("read committed", "coverguard")
    assert durable or commit == "off"


@pytest.mark.servers
def test_a_url_may_say_more_about_the_connection(ledger_url):
    database = Database(f"{ledger_url}?application_name=coverguard-worker", durable=False)
    with database.reading() as tx:
        assert tx.execute(text("SHOW application_name")).scalar_one() == "coverguard-worker"
    database.close()


@pytest.mark.servers
def test_a_read_writes_nothing(on_postgresql):
    with pytest.raises(TransientError), on_postgresql.reading() as tx:
        tx.execute(text("DELETE FROM queue_message"))


@pytest.mark.servers
def test_more_at_once_than_there_are_connections_wait_and_are_told(ledger_url, monkeypatch):
    monkeypatch.setattr(engine, "POOL", {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.05})
    database = Database(ledger_url, durable=False)
    with database.transaction(), pytest.raises(TransientError, match="in use"), database.reading():
        pass
    database.close()


def test_a_server_that_is_not_there_is_transient():
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    for opened in (database.transaction, database.reading):
        with pytest.raises(TransientError, match="database: OperationalError"), opened():
            pass
    database.close()
