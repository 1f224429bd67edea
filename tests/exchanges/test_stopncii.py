"""The facts of StopNCII that a client must know, and the bugs that others have had with it."""

from __future__ import annotations

import json
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.register_assert_rewrite("exchanging")

from exchanging import (  # noqa: E402 - after the rewrite
    DAY,
    HERE,
    NOW,
    Caller,
    clock_at,
    in_process,
    key_of,
    stopncii_client,
    stopncii_truth,
)

from coverguard.errors import IntegrityFailure, Refused, TransientError  # noqa: E402 - as above
from coverguard.exchanges import ExchangeBusy  # noqa: E402 - as above
from coverguard.model import Opinion  # noqa: E402 - as above
from coverguard.remote.exchanges import stopncii_json  # noqa: E402 - as above
from coverguard.remote.exchanges.stopncii import (  # noqa: E402 - as above
    CREDENTIALS_FILE,
    MAX_GAPS,
    ROOT,
    Keys,
    StopNciiExchange,
)
from coverguard.testing.exchanges.serving import Trouble  # noqa: E402 - as above
from coverguard.testing.exchanges.stopncii import StopNciiSimulation, written  # noqa: E402 - as above


@pytest.fixture
def simulation():
    return StopNciiSimulation(clock_at())


def asked_of(simulation):
    """The (startTimestamp, pageSize, whether with a token) of each request."""
    said = [parse_qs(urlsplit(request).query) for request in simulation.requests]
    return [(int(one["startTimestamp"][0]), int(one["pageSize"][0]), "nextPageToken" in one) for one in said]


def page_of(*records, **header) -> bytes:
    facts = {"count": len(records), "nextSetTimestamp": NOW, "nextPageToken": None, "hasMoreRecords": False}
    return json.dumps({**facts, **header, "hashRecords": list(records)}).encode()


def meant_by(body: bytes):
    told = list(stopncii_json.records(stopncii_json.read(body), number=1, key_of=key_of))
    return [one for one in told if hasattr(one, "rows")], [one for one in told if hasattr(one, "fault")]


def later(simulation, **span):
    simulation.clock.sleep(timedelta(**span))


# ── how it is asked ────────────────────────────────────────────────────────────────────────────────────────


def test_it_asks_as_documented(simulation):
    simulation.most = 3
    for _ in range(5):
        simulation.publish(at=NOW - 60)
    caller = Caller(stopncii_client(simulation)).run()
    assert asked_of(simulation) == [(10, 800, False), (10, 800, True)]
    assert urlsplit(simulation.requests[0]).path == "/v1/FetchHashes"
    assert caller.rows == stopncii_truth(simulation)
    assert ROOT == "https://api.stopncii.org/v1"


def test_a_run_goes_on_from_its_checkpoint(simulation):
    simulation.publish(at=NOW - 60)
    caller = Caller(stopncii_client(simulation)).run()
    later(simulation, hours=1)
    simulation.publish(at=NOW + 60)
    simulation.requests.clear()
    caller.run()
    assert asked_of(simulation) == [(NOW, 800, False)]
    assert caller.rows == stopncii_truth(simulation)


def test_of_several_moments_to_go_on_from_the_earliest_counts(simulation):
    simulation.most = 1
    for number in range(3):
        simulation.publish(at=NOW - 60 + number)
    client = stopncii_client(simulation)
    moments = iter([NOW - 5, NOW - 900, NOW - 3])
    true = simulation._written
    simulation._written = lambda header, told: true({**header, "nextSetTimestamp": next(moments)}, told)
    caller = Caller(client).run()
    assert json.loads(caller.checkpoint)["stopncii"] == NOW - 900


def test_a_moment_never_leads_back(simulation):
    caller = Caller(stopncii_client(simulation)).run()
    before = json.loads(caller.checkpoint)["stopncii"]
    true = simulation._written
    simulation._written = lambda header, told: true({**header, "nextSetTimestamp": 0}, told)
    caller.run()
    assert json.loads(caller.checkpoint)["stopncii"] == before == NOW


def test_only_the_first_load_and_a_stale_one_are_whole(simulation):
    client = stopncii_client(simulation)
    first = list(client.batches(None))
    assert [batch.whole for batch in first] == [True]
    later(simulation, days=30)
    assert [batch.whole for batch in client.batches(first[-1].checkpoint)] == [False]
    later(simulation, seconds=1)
    assert [batch.whole for batch in client.batches(first[-1].checkpoint)] == [True]
    assert asked_of(simulation)[-1][0] == 10


def test_after_a_stale_checkpoint_old_rows_do_not_stay(simulation):
    kept, taken = simulation.publish(at=NOW - 60), simulation.publish(at=NOW - 60)
    caller = Caller(stopncii_client(simulation)).run()
    assert len(caller.rows) == 2
    simulation.publish(taken.value, at=NOW + 5, status="Withdrawn")
    later(simulation, days=40)
    simulation.forget()  # the exchange no longer says that it was withdrawn
    assert set(simulation.listed) == {("ImagePDQ", kept.value)}
    assert caller.run().rows == stopncii_truth(simulation)
    assert len(caller.rows) == 1


# ── records ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", ["Withdrawn", "Deleted"])
def test_what_its_victim_withdrew_is_gone(simulation, status):
    value = simulation.publish(at=NOW - 60).value
    caller = Caller(stopncii_client(simulation)).run()
    assert len(caller.rows) == 1
    later(simulation, hours=1)
    simulation.publish(value, status=status)
    caller.run()
    assert caller.rows == set()
    assert [record.gone for record in caller.held.values()] == [True]


def test_a_hash_that_looks_like_a_status_is_none(simulation):
    """Others have compared `hashValue` with the words of `hashStatus`, so that nothing was ever withdrawn."""
    simulation.publish("Withdrawn", at=NOW, kind="Text")
    (record,) = Caller(stopncii_client(simulation)).run().held.values()
    assert not record.gone


def test_active_is_positive_and_received_is_a_seed(simulation):
    simulation.publish(at=NOW, status="Active")
    simulation.publish(at=NOW, status="Received")
    caller = Caller(stopncii_client(simulation)).run()
    assert sorted(row[3] for row in caller.rows) == ["positive", "seed"]
    assert {row[4] for row in caller.rows} == {None}


@pytest.mark.parametrize("status", ["Unknown", "active", "Approved", "", None, 3, ["Active"]])
def test_a_status_that_is_not_known_is_a_fault_and_never_guessed(simulation, status):
    simulation.publish(at=NOW, extra={"hashStatus": status})
    caller = Caller(stopncii_client(simulation)).run()
    assert caller.held == {}
    assert [one.fault for one in caller.faulty] == ["hashStatus is not a word coverguard knows"]
    assert caller.checkpoint is not None


@pytest.mark.parametrize("answer", ["NotBlocked", "Withdrawn", "Deleted"])
def test_a_platform_that_does_not_agree_makes_it_a_seed(simulation, answer):
    simulation.publish(at=NOW, feedback=("Blocked", answer))
    (record,) = Caller(stopncii_client(simulation)).run().held.values()
    assert record.rows[0].opinion is Opinion.SEED


@pytest.mark.parametrize("answer", ["Blocked", "None", "PendingReview", "QualityUnknown", "Undefined", "New"])
def test_other_answers_known_or_not_cost_no_record(simulation, answer):
    simulation.publish(at=NOW, feedback=(answer,))
    (record,) = Caller(stopncii_client(simulation)).run().held.values()
    assert record.rows[0].opinion is Opinion.POSITIVE


@pytest.mark.parametrize("answers", ["x", {"feedbackValue": 3}, [None], [{}], 7])
def test_answers_that_cannot_be_read_make_it_a_seed_and_are_told(simulation, answers):
    simulation.publish(at=NOW, extra={"CSPFeedbacks": answers})
    caller = Caller(stopncii_client(simulation)).run()
    assert [row[3] for row in caller.rows] == ["seed"]
    assert [one.fault for one in caller.faulty] == ["CSPFeedbacks cannot be read"]


@pytest.mark.parametrize("cases", [[], {}, {"00000000-0000-0000-0000-000000000000": "Active"}, None])
def test_case_numbers_may_be_a_list_or_an_object(simulation, cases):
    simulation.publish(at=NOW, extra={"caseNumbers": cases})
    caller = Caller(stopncii_client(simulation)).run()
    assert len(caller.rows) == 1
    assert caller.faulty == []


@pytest.mark.parametrize(
    ("kind", "word"),
    [("VideoMD5", "VIDEO_MD5"), ("VideoTMK", "TMK_PDQF"), ("Text", "TEXT"), ("URL", "URL"), ("New", "OTHER")],
)
def test_signals_that_are_no_pictures_are_counted(simulation, kind, word):
    simulation.publish("https://example.org/", at=NOW, kind=kind)
    (record,) = Caller(stopncii_client(simulation)).run().held.values()
    assert (record.rows, record.unsupported, record.gone) == ((), (word,), False)


def test_an_id_does_not_tell_the_hash_and_is_the_same_however_it_is_spelt(simulation):
    value = simulation.digest()
    (lower,), _ = meant_by(page_of(written(simulation.publish(value))))
    (upper,), _ = meant_by(page_of(written(simulation.publish(value.upper()))))
    assert lower.record_id == upper.record_id == lower.rows[0].source_entry_id
    assert value not in f"{lower!r}"
    (text,), _ = meant_by(page_of(written(simulation.publish(value, kind="Text"))))
    assert text.record_id != lower.record_id


@pytest.mark.parametrize("value", ["0" * 64, "0" * 32, "ab" * 31, "zz" * 32, "", None, 3])
def test_a_hash_that_is_none_is_told_and_the_next_one_read(simulation, value):
    bad = {**written(simulation.publish()), "hashValue": value}
    (record,), (fault,) = meant_by(page_of(bad, written(simulation.publish())))
    assert len(record.rows) == 1
    assert fault.place == "page 1, record 1"
    assert "hashValue" in fault.fault
    assert fault.raw


@pytest.mark.parametrize("moment", [None, "1625167804", -1, 1.5, True, 10**12])
def test_a_record_without_its_moment_is_told(simulation, moment):
    bad = {**written(simulation.publish()), "lastModtimestamp": moment}
    records, (fault,) = meant_by(page_of(bad))
    assert records == []
    assert "lastModtimestamp" in fault.fault


@pytest.mark.parametrize("record", [None, [], "x", 3])
def test_a_record_that_is_no_object_is_told(record):
    assert len(meant_by(page_of(record))[1]) == 1


def test_a_record_with_a_field_twice_is_told(simulation):
    text = json.dumps(written(simulation.publish()))
    body = page_of("RECORD").replace(b'"RECORD"', f'{text[:-1]}, "hashStatus": "Deleted"}}'.encode())
    records, (fault,) = meant_by(body)
    assert records == []
    assert "twice" in fault.fault


def test_what_is_faulty_counts_as_listed_and_does_not_hinder_a_withdrawal(simulation):
    kept, taken = simulation.publish(at=NOW - 60), simulation.publish(at=NOW - 60)
    caller = Caller(stopncii_client(simulation)).run()
    del simulation.listed["ImagePDQ", taken.value]
    simulation.publish(kept.value, at=NOW, extra={"hashStatus": "New"})
    later(simulation, days=40)
    caller.run()
    assert [one.record_id for one in caller.faulty] == list(caller.held)
    assert {row[2].hex() for row in caller.rows} == {kept.value}


# ── what cannot be read ────────────────────────────────────────────────────────────────────────────────────


def test_a_record_at_which_the_answer_breaks_off_is_a_gap_and_all_else_is_read(simulation):
    """Others stall for ever (truncated JSON), or skip the page and all that is on it."""
    values = [simulation.publish(at=NOW - 60).value for _ in range(2000)]
    simulation.poisoned.add(values[1234])
    caller = Caller(stopncii_client(simulation)).run()
    assert len(caller.rows) == 1999
    assert caller.gaps == 1
    (fault,) = caller.faulty
    assert "not JSON" in fault.fault
    sizes = [size for _, size, _ in asked_of(simulation)]
    assert set(sizes) == {800, 200, 50, 1}
    assert len(sizes) < 100


def test_a_gap_is_asked_for_again_until_it_heals(simulation):
    value = simulation.publish(at=NOW - 60).value
    caller = Caller(stopncii_client(simulation)).run()
    later(simulation, hours=1)
    bad, good = simulation.publish(), simulation.publish()
    simulation.poisoned.add(bad.value)
    caller.run()
    assert caller.gaps == 1
    assert {row[2].hex() for row in caller.rows} == {value, good.value}
    later(simulation, hours=1)
    caller.run()
    assert caller.gaps == 1
    simulation.poisoned.clear()
    later(simulation, hours=1)
    caller.run()
    assert caller.gaps == 0
    assert caller.rows == stopncii_truth(simulation)


def test_a_whole_listing_with_a_gap_withdraws_nothing(simulation):
    bad, _ = simulation.publish(at=NOW - 60), simulation.publish(at=NOW - 60)
    caller = Caller(stopncii_client(simulation)).run()
    simulation.poisoned.add(bad.value)
    later(simulation, days=40)
    caller.run()
    assert caller.gaps == 1
    assert caller.rows == stopncii_truth(simulation)


def test_where_nothing_says_what_follows_it_goes_on_nearer_to_now(simulation):
    old = simulation.publish(at=NOW - 1000 * DAY)
    new = [simulation.publish(at=NOW - 60).value for _ in range(20)]
    simulation.poisoned.add(old.value)
    simulation.mute = True
    caller = Caller(stopncii_client(simulation)).run()
    assert {row[2].hex() for row in caller.rows} == set(new)
    assert caller.gaps > 0
    assert caller.checkpoint is not None
    simulation.mute = False
    simulation.poisoned.clear()
    later(simulation, hours=1)
    assert caller.run().gaps == 0
    assert caller.rows == stopncii_truth(simulation)


def test_too_many_gaps_are_an_error(simulation):
    for _ in range(MAX_GAPS + 1):
        simulation.poisoned.add(simulation.publish(at=NOW - 60).value)
    caller = Caller(stopncii_client(simulation))
    with pytest.raises(TransientError, match="too many gaps"):
        caller.run()
    assert caller.checkpoint is None


def test_a_count_that_is_not_kept_is_a_fault(simulation):
    values = {simulation.publish(at=NOW - 60).value for _ in range(3)}
    simulation.befall(Trouble.MISCOUNT, when=lambda one: int(one.query["startTimestamp"]) == 10)
    caller = Caller(stopncii_client(simulation)).run()
    assert {row[2].hex() for row in caller.rows} == values
    assert "another number of records" in caller.faulty[0].fault
    assert caller.gaps == 3


def test_a_token_that_comes_again_is_a_fault_and_never_an_endless_loop(simulation):
    simulation.most = 2
    for _ in range(6):
        simulation.publish(at=NOW - 60)
    simulation.befall(Trouble.LOOP, when=lambda one: int(one.query["startTimestamp"]) < NOW)
    caller = Caller(stopncii_client(simulation)).run()
    assert caller.gaps > 0
    assert "token came before" in caller.faulty[0].fault
    assert len(simulation.requests) < 2000
    simulation.recover()
    assert caller.run().rows == stopncii_truth(simulation)


def test_a_token_that_is_refused_makes_the_run_begin_again(simulation):
    simulation.most = 2
    for _ in range(5):
        simulation.publish(at=NOW - 60)
    records = []
    for number, batch in enumerate(stopncii_client(simulation).batches(None)):
        records += batch.records
        if number == 1:
            later(simulation, hours=13)  # whoever stores it takes half a day over it
    assert len({record.record_id for record in records}) == 5
    assert [token for _, _, token in asked_of(simulation)].count(False) == 2


def test_tokens_that_are_always_refused_are_an_error(simulation):
    simulation.most = 2
    for _ in range(5):
        simulation.publish(at=NOW - 60)
    simulation.befall(Trouble.GONE, when=lambda one: "nextPageToken" in one.query)
    with pytest.raises(TransientError, match="tokens die"):
        Caller(stopncii_client(simulation)).run()


def test_a_token_that_is_good_for_one_page_size_alone(simulation):
    values = [simulation.publish(at=NOW - 60).value for _ in range(900)]
    simulation.poisoned.add(values[0])
    sizes: dict[str, str] = {}

    def changed(one):
        said = one.query
        was = said["pageSize"] if "nextPageToken" not in said else sizes.get("now", said["pageSize"])
        sizes["now"] = said["pageSize"]
        return was != said["pageSize"]

    simulation.befall(Trouble.GONE, when=changed)
    caller = Caller(stopncii_client(simulation)).run()
    assert len(caller.rows) == 899
    assert caller.gaps == 1


@pytest.mark.parametrize("trouble", [Trouble.ERROR, Trouble.NONSENSE, Trouble.CUT, Trouble.GARBLED])
def test_an_exchange_that_is_unwell_is_no_gap(simulation, trouble):
    simulation.publish(at=NOW - 60)
    simulation.befall(trouble)
    caller = Caller(stopncii_client(simulation))
    with pytest.raises(TransientError):
        caller.run()
    assert caller.checkpoint is None
    simulation.recover()
    assert caller.run().rows == stopncii_truth(simulation)
    assert caller.gaps == 0


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble.ERROR, Trouble.CUT, Trouble.SHORT, Trouble.DRIP, Trouble.GARBLED, Trouble.NONSENSE,
        Trouble.ENCODED, Trouble.HUGE,
    ],
)  # fmt: skip
def test_whatever_befalls_a_page_is_bridged_or_a_gap(simulation, trouble):
    for _ in range(30):
        simulation.publish(at=NOW - 60)
    simulation.befall(trouble, when=lambda one: int(one.query["startTimestamp"]) < NOW - 1000)
    wire = in_process(simulation, CREDENTIALS_FILE, max_page_bytes=100_000)
    simulation.huge = 100_000
    caller = Caller(stopncii_client(simulation, wire=wire)).run()
    assert 0 <= len(stopncii_truth(simulation) - caller.rows) <= caller.gaps
    assert caller.gaps > 0
    assert caller.checkpoint is not None
    simulation.recover()
    assert caller.run().gaps == 0
    assert caller.rows == stopncii_truth(simulation)


BROKEN = {
    "not UTF-8": page_of()[:-1] + b"\xff}",
    "not JSON": page_of()[:-1],
    "not JSON ": page_of() + b"x",
    "not JSON  ": b"[]",
    "not JSON   ": b"",
    "not JSON    ": b"[" * 100_000,
    "not JSON     ": b'{"x": ' + b"[" * 100_000,
    "not JSON      ": page_of()[:-1] + b', "count": 0}',
    "not JSON       ": b'{"count": ' + b"9" * 10_000 + b"}",
    "what follows": page_of(hasMoreRecords=True),
    "what follows ": page_of(hasMoreRecords="yes"),
    "what follows  ": page_of(hasMoreRecords=True, nextPageToken="x" * 5000),
    "what follows   ": page_of(nextSetTimestamp="soon"),
    "another number": page_of(count=3),
    "another number ": page_of(count=None),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_page_that_makes_no_sense_is_broken(fault):
    assert fault.strip() in (stopncii_json.read(BROKEN[fault]).broken or "")


# ── refusals ───────────────────────────────────────────────────────────────────────────────────────────────


def test_wrong_keys_name_the_file_to_look_at(simulation):
    client = StopNciiExchange(
        credentials=lambda: Keys("wrong", "secret"),
        key_of=key_of,
        wire=in_process(simulation, CREDENTIALS_FILE),
        url=HERE + simulation.root,
    )
    for asked in (client.check, lambda: list(client.batches(None))):
        with pytest.raises(Refused, match=r"keys/stopncii\.credentials") as caught:
            asked()
        assert "secret" not in f"{caught.value!r} {client!r}"
    assert len(simulation.requests) == 2


def test_a_busy_exchange_is_left_alone(simulation):
    simulation.befall(Trouble.BUSY)
    with pytest.raises(ExchangeBusy) as caught:
        list(stopncii_client(simulation).batches(None))
    assert caught.value.after == timedelta(minutes=2)


def test_check_asks_for_one_record_once(simulation):
    stopncii_client(simulation).check()
    assert asked_of(simulation) == [(NOW, 1, False)]
    assert stopncii_client(simulation).name == "stopncii"


@pytest.mark.parametrize(
    "stored",
    [
        "", "x", "[]", "{}", "null", "[" * 5000, '{"ncmec": "industry", "to": 5, "gaps": []}',
        '{"stopncii": -1, "at": 5, "gaps": 0}', '{"stopncii": 5, "at": 5}',
        '{"stopncii": true, "at": 5, "gaps": 0}',
        json.dumps({"stopncii": 5, "at": NOW + 2 * DAY, "gaps": 0}),
    ],
)  # fmt: skip
def test_a_checkpoint_that_is_none_never_means_to_start_anew(simulation, stored):
    with pytest.raises(IntegrityFailure):
        stopncii_client(simulation).batches(stored)
    assert simulation.requests == []


@pytest.mark.parametrize(
    "line", ["", "one", ",", "one,", "a,b,https://elsewhere.example", "a,b\nc", "é,b", "a, b"]
)
def test_what_are_no_keys_is_refused_without_being_told(line):
    with pytest.raises(ValueError, match="function-key,subscription-key") as caught:
        Keys.parse(line)
    assert "elsewhere" not in str(caught.value)


def test_keys_are_a_line():
    assert Keys.parse("one,two\n") == Keys("one", "two")
