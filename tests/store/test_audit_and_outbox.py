"""The audit trail notices a changed row; what is owed to the platform is numbered and owed once."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coverguard.messages import Cover, CoverUploaded, StoredObject, from_micros, parse_outgoing
from coverguard.model import Micros, Mode
from coverguard.store import audit, covers, outbox

NOW = Micros(1_800_000_000_000_000)


def changed(database):
    with database.reading() as tx:
        return list(audit.changed_rows(tx))


def write(database, **values):
    settled = {"now": NOW, "verb": "decide", "subject": "item-1", "facts": {"matches": 1}} | values
    with database.transaction() as tx:
        audit.write(tx, **settled)


def tamper(database, sql):
    """As somebody with the file would."""
    names = ("audit_no_update", "audit_no_delete")
    with database.transaction() as tx:
        if tx.dialect.name == "postgresql":
            names = ("audit_append_only ON audit",)
        for name in names:
            tx.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        tx.exec_driver_sql(sql)


FACTS = st.dictionaries(
    st.text(max_size=8),
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12),
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(facts=FACTS, actor=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
def test_a_row_is_what_was_written(database, facts, actor):
    write(database, facts=facts, actor=actor)
    assert changed(database) == []


@pytest.mark.parametrize(
    "change",
    [
        "at = at + 1",
        "actor = 'Eve'",
        "role = 'nobody'",
        "verb = 'clear'",
        "subject = 'item-2'",
        "facts = '{\"matches\": 2}'",
        "facts = '{}'",
        "digest = (SELECT sealed.digest FROM audit AS sealed WHERE sealed.id = 3)",
    ],
)
def test_a_changed_row_is_noticed(database, change):
    for number in range(3):
        write(database, facts={"matches": 1, "number": number})
    assert changed(database) == []
    tamper(database, f"UPDATE audit SET {change} WHERE id = 2")
    assert changed(database) == [2]


def test_a_row_without_facts(database):
    write(database, facts=None, actor="Ada", role="moderator")
    assert changed(database) == []


# ── the outbox ─────────────────────────────────────────────────────────────────────────────────────────────


def announce(database, cover_id="c"):
    event = CoverUploaded(
        event_id=f"event {cover_id}",
        occurred_at=from_micros(NOW),
        cover=Cover(id=cover_id, version=1, surface="track_art"),
        uploader_id="u",
        owner_id="u",
        object=StoredObject(bucket="intake", key=cover_id, version_id="v"),
    )
    with database.transaction() as tx:
        return covers.announce(tx, event, mode=Mode.GATE, sent_at=NOW, now=NOW)


def tell(database, cover, event):
    with database.transaction() as tx:
        outbox.tell_pipeline(tx, cover=cover, event=event, now=NOW)


def told(database):
    with database.reading() as tx:
        return [parse_outgoing(row.body) for row in outbox.unsent(tx, limit=100)]


def test_verdicts_are_numbered_by_cover_version(database):
    one, other = announce(database, "a"), announce(database, "b")
    for cover, event in [(one, "cover.withheld"), (other, "cover.cleared"), (one, "cover.released"),
                         (one, "cover.removed")]:  # fmt: skip
        tell(database, cover, event)
    assert [(event.cover.id, event.type, event.verdict_seq) for event in told(database)] == [
        ("a", "cover.withheld", 1),
        ("b", "cover.cleared", 1),
        ("a", "cover.released", 2),
        ("a", "cover.removed", 3),
    ]


def test_an_event_names_exactly_the_object(database):
    tell(database, announce(database), "cover.withheld")
    (event,) = told(database)
    assert event.object == StoredObject(bucket="intake", key="c", version_id="v")
    assert event.sha256 == ""  # nothing was read yet


def test_a_number_is_not_given_again_when_the_transaction_failed(database):
    cover = announce(database)

    def fail():
        with database.transaction() as tx:
            outbox.tell_pipeline(tx, cover=cover, event="cover.cleared", now=NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    tell(database, cover, "cover.withheld")
    assert [(event.type, event.verdict_seq) for event in told(database)] == [("cover.withheld", 1)]


@pytest.mark.parametrize("event", ["cover.cleared", "cover.released"])
def test_nobody_is_told_to_publish_what_the_platform_deleted(database, event):
    cover = announce(database)
    with database.transaction() as tx:
        covers.mark_deleted(tx, cover, now=NOW)
    tell(database, cover, event)  # with the row as it was read before
    assert told(database) == []
    tell(database, cover, "cover.removed")
    assert [found.type for found in told(database)] == ["cover.removed"]


def test_what_was_sent_is_not_owed(database):
    cover = announce(database)
    tell(database, cover, "cover.withheld")
    tell(database, cover, "cover.removed")
    with database.transaction() as tx:
        first, _ = outbox.unsent(tx, limit=10)
        assert outbox.unsent(tx, limit=1) == [first]
        outbox.mark_sent(tx, [first.id], now=NOW)
        assert outbox.count_unsent(tx) == 1
    assert [event.type for event in told(database)] == ["cover.removed"]


def test_bodies_are_one_line_of_json(database):
    tell(database, announce(database), "cover.withheld")
    with database.reading() as tx:
        (row,) = outbox.unsent(tx, limit=10)
    assert "\n" not in row.body
    assert json.loads(row.body)["event_id"] == row.idempotency_key
