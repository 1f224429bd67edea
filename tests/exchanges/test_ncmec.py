"""The facts of NCMEC Hash Sharing that a client must know, and the bugs that others have had with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
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
    ncmec_client,
    ncmec_truth,
)

from coverguard.errors import IntegrityFailure, Refused, TransientError  # noqa: E402 - as above
from coverguard.exchanges import ExchangeBusy  # noqa: E402 - as above
from coverguard.model import Algorithm, Opinion  # noqa: E402 - as above
from coverguard.remote.exchanges import ncmec_xml  # noqa: E402 - as above
from coverguard.remote.exchanges.ncmec import (  # noqa: E402 - as above
    CREDENTIALS_FILE,
    LAG,
    MAX_GAPS,
    ROOTS,
    Environment,
    Login,
    NcmecExchange,
)
from coverguard.testing.exchanges.ncmec import NAMESPACE, NcmecSimulation  # noqa: E402 - as above
from coverguard.testing.exchanges.serving import Trouble  # noqa: E402 - as above


@pytest.fixture
def simulation():
    return NcmecSimulation(clock_at(), page_size=10)


def asked_of(simulation):
    """The (from, to, start) of each request for entries."""
    found = []
    for request in simulation.requests:
        parts = urlsplit(request)
        if parts.path.endswith("/v2/entries"):
            said = {name: values[0] for name, values in parse_qs(parts.query).items()}
            found.append((said["from"], said["to"], int(said.get("start", 1))))
    return found


def page_of(*entries: str) -> bytes:
    return f'<queryResult xmlns="{NAMESPACE}"><images>{"".join(entries)}</images></queryResult>'.encode()


def image(prints: str, *, more: str = "", name: str = "image") -> str:
    return (
        f'<{name}><member id="42">Example</member><timestamp>2017-10-24T15:00:00Z</timestamp>'
        f"<id>image1</id><fingerprints>{prints}</fingerprints>{more}</{name}>"
    )


def meant_by(body: bytes):
    found = ncmec_xml.read(body)
    told = list(ncmec_xml.records(found, number=1))
    return [one for one in told if hasattr(one, "rows")], [one for one in told if hasattr(one, "fault")]


# ── where, and how it is asked ─────────────────────────────────────────────────────────────────────────────


def test_every_environment_has_its_root():
    assert set(ROOTS) == set(Environment)
    assert len(set(ROOTS.values())) == len(ROOTS) == 14
    assert all(root.startswith("https://") and not root.endswith("/") for root in ROOTS.values())
    assert ROOTS[Environment.INDUSTRY] == "https://report.cybertip.org/hashsharing"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x",
        "ftp://127.0.0.1/",
        "https://u:p@example.org/",
        "https://example.org/?a",
        "https:///x",
    ],
)
def test_credentials_go_over_tls_or_stay_on_this_host(simulation, url):
    with pytest.raises(ValueError, match="address"):
        ncmec_client(simulation, url=url)


@pytest.mark.parametrize("url", ["https://example.org/x", "http://localhost:8/x", "http://[::1]:8/x"])
def test_another_root_may_be_given(simulation, url):
    assert ncmec_client(simulation, url=url).root == url


def test_a_range_is_asked_for_in_utc_whatever_the_hosts_zone(simulation, monkeypatch):
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    try:
        assert time.localtime().tm_gmtoff != 0
        simulation.publish("one", at=NOW - 60)
        caller = Caller(ncmec_client(simulation)).run()
        assert caller.rows == ncmec_truth(simulation)
        assert asked_of(simulation)[0][:2] == ("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z")
        assert asked_of(simulation)[-1][1] == "2026-11-18T11:06:30Z"
        assert caller.held["42/one"].stamp == (NOW - 60) * 1_000_000
    finally:
        monkeypatch.undo()
        time.tzset()


def test_in_a_process_of_another_zone_all_is_the_same():
    script = (
        "from coverguard.remote.exchanges import ncmec, ncmec_xml;"
        "print(ncmec._moment(0), ncmec_xml.moment_of('1970-01-01T00:00:01Z'))"
    )
    for zone in ("America/Los_Angeles", "Asia/Kolkata"):
        told = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "TZ": zone}, capture_output=True, check=True
        )
        assert told.stdout.split() == [b"1970-01-01T00:00:00Z", b"1000000"]


def test_the_last_second_read_is_complete(simulation):
    simulation.publish("late", at=NOW - 1)
    caller = Caller(ncmec_client(simulation)).run()
    assert json.loads(caller.checkpoint)["to"] == NOW - LAG
    assert not caller.held


def test_a_run_goes_on_from_its_checkpoint_and_never_asks_for_everything_again(simulation):
    simulation.publish("one", at=NOW - 300)
    caller = Caller(ncmec_client(simulation)).run()
    simulation.requests.clear()
    simulation.clock.sleep(timedelta(minutes=10))
    simulation.publish("two", at=NOW + 60)
    caller.run()
    assert asked_of(simulation) == [("2026-11-18T11:06:30Z", "2026-11-18T11:16:30Z", 1)]
    assert caller.rows == ncmec_truth(simulation)


def test_a_run_that_is_up_to_date_asks_for_nothing(simulation):
    caller = Caller(ncmec_client(simulation)).run()
    simulation.requests.clear()
    caller.run()
    assert simulation.requests == []


# ── ranges ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_pages_come_in_no_order_of_time_and_a_checkpoint_only_at_the_end_of_a_range(simulation):
    for number in range(95):
        simulation.publish(f"e{number}", at=NOW - DAY // 2 + number)
    begun = json.dumps({"ncmec": "test-industry", "to": NOW - DAY // 2 - 100, "gaps": []})
    batches = list(ncmec_client(simulation).batches(begun))
    assert len(batches) == 10
    assert [batch.checkpoint is not None for batch in batches] == [False] * 9 + [True]
    stamps = [record.stamp for batch in batches for record in batch.records]
    assert len(stamps) == 95
    assert stamps != sorted(stamps)
    assert "page 10" in batches[-1].position


def test_a_crash_amid_a_range_loses_nothing(simulation):
    for number in range(95):
        simulation.publish(f"e{number}", at=NOW - 1000 + number)
    caller = Caller(ncmec_client(simulation, range_entries=30))
    while len(caller.held) < 20:
        caller.run(batches=3 + caller.told)
    caller.run()
    assert caller.rows == ncmec_truth(simulation)


@pytest.mark.parametrize(
    ("records", "page_size"),
    [(3000, 30), pytest.param(100_000, 1000, marks=pytest.mark.long)],
)
def test_a_second_of_a_hundred_pages_is_exhausted(records, page_size):
    """Others were stuck on a second that had more records than they would take at once."""
    simulation = NcmecSimulation(clock_at(), page_size=page_size)
    for number in range(records):
        simulation.publish(f"e{number}", at=NOW - 500, types=("md5",))
    for number in range(100):
        simulation.publish(f"f{number}", at=NOW - 400 + number, types=("md5",))
    begun = json.dumps({"ncmec": "test-industry", "to": NOW - 700, "gaps": []})
    caller = Caller(ncmec_client(simulation, range_entries=page_size), checkpoint=begun).run()
    assert len(caller.held) == records + 100
    deepest = {(begin, end) for begin, end, start in asked_of(simulation) if start > records - page_size}
    assert deepest == {("2026-11-18T10:58:19Z", "2026-11-18T10:58:20Z")}
    assert json.loads(caller.checkpoint) == {"ncmec": "test-industry", "to": NOW - LAG, "gaps": []}


def test_ranges_shrink_where_there_is_much_and_grow_where_there_is_little(simulation):
    for number in range(400):
        simulation.publish(f"e{number}", at=NOW - 2 * DAY + 200 * number)
    caller = Caller(ncmec_client(simulation, range_entries=40)).run()
    assert caller.rows == ncmec_truth(simulation)
    pages = len(asked_of(simulation))
    assert pages < 250  # of 40 that are needed, where they are known beforehand
    busy = [start for begin, _, start in asked_of(simulation) if begin > "2026-11-16"]
    assert busy.count(1) > 10


def test_a_link_is_good_for_its_own_range_alone(simulation):
    for number in range(25):
        simulation.publish(f"e{number}", at=NOW - 1000)
    Caller(ncmec_client(simulation)).run()
    following = [(begin, end) for begin, end, start in asked_of(simulation) if start > 1]
    first = [(begin, end) for begin, end, start in asked_of(simulation) if start == 1]
    assert following
    assert set(following) <= set(first)


def test_an_expired_link_makes_its_range_begin_again(simulation):
    for number in range(35):
        simulation.publish(f"e{number}", at=NOW - 1000)
    client = ncmec_client(simulation)
    told = client.batches(None)
    records = []
    for batch in told:
        records += batch.records
        if len(records) == 20:  # amid the range: whoever stores it takes half a day over it
            simulation.clock.sleep(timedelta(hours=13))
    assert len({record.record_id for record in records}) == 35
    assert [start for _, _, start in asked_of(simulation)].count(11) == 2


def test_a_link_that_is_refused_makes_its_range_begin_again_but_not_for_ever(simulation):
    for number in range(15):
        simulation.publish(f"e{number}", at=NOW - 1000)
    caller = Caller(ncmec_client(simulation))
    simulation.befall(Trouble.GONE, when=lambda one: "start" in one.query)
    with pytest.raises(TransientError, match="links die"):
        caller.run()
    simulation.recover()
    assert caller.run().rows == ncmec_truth(simulation)


# ── records ────────────────────────────────────────────────────────────────────────────────────────────────


def test_md5_and_sha1_of_images_are_kept_beside_pdq(simulation):
    simulation.publish("one", at=NOW - 60)
    caller = Caller(ncmec_client(simulation)).run()
    (record,) = caller.held.values()
    assert [row.algorithm for row in record.rows] == [Algorithm.MD5, Algorithm.SHA1, Algorithm.PDQ]
    assert {row.source_entry_id for row in record.rows} == {"42/one"}


def test_the_classification_is_the_rows_label(simulation):
    for word in ("A1", "A2", "B1", "B2", None):
        simulation.publish(f"of {word}", at=NOW - 60, classification=word)
    caller = Caller(ncmec_client(simulation)).run()
    assert {row.label for record in caller.held.values() for row in record.rows} == {
        "A1",
        "A2",
        "B1",
        "B2",
        None,
    }


def test_entries_of_two_members_may_have_one_id(simulation):
    simulation.publish("same", at=NOW - 60, member=1)
    simulation.publish("same", at=NOW - 60, member=2)
    assert set(Caller(ncmec_client(simulation)).run().held) == {"1/same", "2/same"}


def test_an_update_replaces_all_earlier_rows(simulation):
    simulation.publish("one", at=NOW - 1000)
    caller = Caller(ncmec_client(simulation)).run()
    simulation.publish("one", at=NOW, classification="B2", types=("sha1",))
    simulation.clock.sleep(timedelta(minutes=1))
    assert caller.run().rows == ncmec_truth(simulation)
    assert len(caller.rows) == 1


def test_a_deleted_image_leaves_a_tombstone(simulation):
    entry = simulation.publish("one", at=NOW - 1000)
    caller = Caller(ncmec_client(simulation)).run()
    simulation.delete(entry, at=NOW)
    simulation.clock.sleep(timedelta(minutes=1))
    caller.run()
    assert caller.held["42/one"].gone
    assert caller.rows == set()


def test_a_video_is_counted_and_never_replaces_an_image(simulation):
    simulation.publish("same", at=NOW - 100)
    video = simulation.publish("same", at=NOW - 60, kind="video", types=("md5",))
    caller = Caller(ncmec_client(simulation)).run()
    assert caller.held["v42/same"].unsupported == ("VIDEO",)
    assert len(caller.rows) == 3
    simulation.delete(video, at=NOW)
    simulation.clock.sleep(timedelta(minutes=1))
    assert len(caller.run().rows) == 3


def test_fingerprints_that_cannot_be_compared_are_counted(simulation):
    names = ("pdna", "netclean", "videntifier", "tmk-pdqf", "ssvh_pdna", "ssvh-safer-hash", "new", "md5")
    prints = "".join(f"<{name}>{'a1' * 16}</{name}>" for name in names)
    (record,), faults = meant_by(page_of(image(prints)))
    assert record.unsupported == (
        "PDNA", "NETCLEAN", "VIDENTIFIER", "TMK_PDQF", "SSVH_PDNA", "SSVH_SAFER_HASH", "OTHER",
    )  # fmt: skip
    assert len(record.rows) == 1
    assert not faults


def test_large_fingerprints_are_links_that_nobody_follows(simulation):
    link = '<tmk-pdqf rel="self" href="/v2/entries/1/fingerprints/TMK_PDQF"/>'
    (record,), faults = meant_by(page_of(image(link)))
    assert (record.rows, record.unsupported, faults) == ((), ("TMK_PDQF",), [])


@pytest.mark.parametrize("wrong", ["0" * 32, "0" * 64, "ab", "zz" * 32, "a" * 63, "ab" * 33])
def test_a_digest_that_is_none_is_told_and_costs_no_other(wrong):
    good = "a1" * 16
    (record,), (fault,) = meant_by(page_of(image(f"<md5>{good}</md5><pdq>{wrong}</pdq>")))
    assert [row.digest.hex() for row in record.rows] == [good]
    assert fault.place == "page 1, record 1"
    assert wrong.encode() in fault.raw
    assert wrong not in f"{fault!r}"


def test_a_version_of_which_nothing_is_valid_erases_nothing():
    records, (fault,) = meant_by(page_of(image("<pdq>00</pdq>")))
    assert records == []
    assert "pdq" in fault.fault


def test_feedback_that_disagrees_makes_its_fingerprint_a_seed(simulation):
    simulation.publish("one", at=NOW - 60, disputed=("Sha1",))
    caller = Caller(ncmec_client(simulation)).run()
    (record,) = caller.held.values()
    opinions = {row.algorithm: row.opinion for row in record.rows}
    assert opinions[Algorithm.SHA1] is Opinion.SEED
    assert opinions[Algorithm.MD5] is opinions[Algorithm.PDQ] is Opinion.POSITIVE


def test_feedback_that_names_no_type_doubts_all():
    more = "<feedback><negativeFeedback/></feedback>"
    (record,), _ = meant_by(page_of(image(f"<md5>{'a1' * 16}</md5>", more=more)))
    assert record.rows[0].opinion is Opinion.SEED


def test_feedback_that_agrees_changes_nothing():
    more = '<feedback><affirmativeFeedback type="Md5"/></feedback>'
    (record,), _ = meant_by(page_of(image(f"<md5>{'a1' * 16}</md5>", more=more)))
    assert record.rows[0].opinion is Opinion.POSITIVE


BAD = {
    "member": image("").replace('id="42"', 'id="x"'),
    "id is": image("").replace("image1", "x" * 200),
    "id": image("").replace("image1", ""),
    "timestamp": image("").replace("15:00:00Z", "15:00:00"),
    "timestamp is": image("").replace("2017-10", "2017-13"),
    "unknown kind": image("", name="audio"),
    "too large": image("<md5>" + "a" * 20_000 + "</md5>"),
    "too large ": image("<x/>" * 6000),
    "classification": image(f"<md5>{'a1' * 16}</md5>", more=f"<classification>{'x' * 65}</classification>"),
}


@pytest.mark.parametrize("fault", BAD)
def test_an_entry_that_cannot_be_read_is_told_and_the_next_one_read(fault):
    good = image(f"<md5>{'a1' * 16}</md5>").replace("image1", "image2")
    records, (told,) = meant_by(page_of(BAD[fault], good))
    assert fault.strip() in told.fault
    assert told.place == "page 1, record 1"
    assert 0 < len(told.raw) <= 4096
    assert records[-1].record_id == "42/image2"


def test_a_page_with_fewer_records_than_it_states_is_told(simulation):
    simulation.publish("one", at=NOW - 60)
    simulation.befall(Trouble.MISCOUNT, times=1)
    caller = Caller(ncmec_client(simulation)).run()
    assert ["number" in one.fault or "not as many" in one.fault for one in caller.faulty] == [True]


def test_without_namespace_or_with_foreign_elements_it_is_read_all_the_same():
    body = page_of(image(f"<md5>{'a1' * 16}</md5>"), '<x:y xmlns:x="urn:x"/>', "<summary>many</summary>")
    for one in (body, body.replace(f' xmlns="{NAMESPACE}"'.encode(), b"")):
        records, faults = meant_by(one)
        assert (len(records), faults) == (1, [])


# ── what cannot be read ────────────────────────────────────────────────────────────────────────────────────


def test_a_second_that_cannot_be_read_is_a_gap_and_all_else_is_read(simulation):
    for number in range(40):
        simulation.publish(f"e{number}", at=NOW - DAY + 2000 * number)
    simulation.poisoned.add("e17")
    caller = Caller(ncmec_client(simulation)).run()
    assert set(caller.held) == {f"42/e{number}" for number in range(40) if number != 17}
    assert caller.gaps == 1
    assert json.loads(caller.checkpoint)["gaps"] == [NOW - DAY + 2000 * 17]
    (fault,) = caller.faulty
    assert "not well-formed" in fault.fault
    assert fault.raw


def test_a_gap_is_asked_for_again_until_it_heals_and_told_of_once(simulation):
    simulation.publish("bad", at=NOW - 5000)
    simulation.publish("good", at=NOW - 4000)
    simulation.poisoned.add("bad")
    caller = Caller(ncmec_client(simulation)).run()
    caller.run()
    caller.run()
    assert (caller.gaps, len(caller.faulty)) == (1, 1)
    simulation.poisoned.clear()
    caller.run()
    assert caller.gaps == 0
    assert caller.rows == ncmec_truth(simulation)
    assert json.loads(caller.checkpoint)["gaps"] == []


def test_what_was_complete_before_a_fault_is_kept(simulation):
    for number in range(8):
        simulation.publish(f"e{number}", at=NOW - 5000)
    simulation.poisoned.add("e3")
    caller = Caller(ncmec_client(simulation)).run()
    assert caller.gaps == 1
    assert 0 < len(caller.held) < 8


def test_too_many_gaps_are_an_error(simulation):
    for number in range(MAX_GAPS + 1):
        simulation.publish(f"e{number}", at=NOW - 5000 + number)
        simulation.poisoned.add(f"e{number}")
    caller = Caller(ncmec_client(simulation))
    with pytest.raises(TransientError, match="too many gaps"):
        caller.run()
    assert caller.gaps == MAX_GAPS
    assert len(json.loads(caller.checkpoint)["gaps"]) == MAX_GAPS


@pytest.mark.parametrize("trouble", [Trouble.ERROR, Trouble.NONSENSE, Trouble.CUT, Trouble.GARBLED])
def test_an_exchange_that_is_unwell_is_no_gap(simulation, trouble):
    simulation.publish("one", at=NOW - 60)
    simulation.befall(trouble)
    caller = Caller(ncmec_client(simulation))
    with pytest.raises(TransientError):
        caller.run()
    assert caller.checkpoint is None
    simulation.recover()
    assert caller.run().rows == ncmec_truth(simulation)
    assert caller.gaps == 0


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble.ERROR, Trouble.CUT, Trouble.SHORT, Trouble.DRIP, Trouble.GARBLED, Trouble.NONSENSE,
        Trouble.ENCODED, Trouble.BOMB, Trouble.HOSTILE, Trouble.LOOP, Trouble.HUGE,
    ],
)  # fmt: skip
def test_whatever_befalls_a_page_is_bridged_or_a_gap(simulation, trouble):
    for number in range(30):
        simulation.publish(f"e{number}", at=NOW - 40_000 + 50 + 100 * number)
    moment = "2026-11-18T00:"
    simulation.befall(trouble, when=lambda one: one.query.get("from", "") < moment <= one.query.get("to", ""))
    wire = in_process(simulation, CREDENTIALS_FILE, max_page_bytes=100_000)
    simulation.huge = 100_000
    caller = Caller(ncmec_client(simulation, wire=wire)).run()
    assert caller.gaps == 1
    assert caller.rows == ncmec_truth(simulation)  # in that second there was nothing
    simulation.recover()
    assert caller.run().gaps == 0


def test_a_hiccup_is_bridged(simulation):
    simulation.publish("one", at=NOW - 60)
    simulation.befall(Trouble.CUT, times=2)
    caller = Caller(ncmec_client(simulation)).run()
    assert caller.rows == ncmec_truth(simulation)
    assert not caller.faulty


def test_no_link_leads_elsewhere(simulation):
    root = HERE + simulation.root
    from coverguard.remote.exchanges.ncmec import _followed  # noqa: PLC0415 - the rule itself, word for word

    query = "from=1970-01-01T00%3A00%3A00.000Z&to=1970-01-02T00%3A00%3A00.000Z&start=2001&size=1000&max=3000"
    right = {"start": 0, "end": DAY}
    assert _followed(root, f"/v2/entries?{query}", **right) == f"{root}/v2/entries?{query}"
    assert _followed(root, f"{root}/v2/entries?{query}", **right) is not None
    for link in (
        f"//elsewhere.example/v2/entries?{query}",
        f"https://elsewhere.example/hashsharing/v2/entries?{query}",
        f"http://127.0.0.1:1@elsewhere.example/hashsharing/v2/entries?{query}",
        f"http://127.0.0.1:11/hashsharing/v2/entries?{query}",
        f"@elsewhere.example/v2/entries?{query}",
        f".elsewhere.example/v2/entries?{query}",
        f"/v2/members?{query}",
        f"/v2/../v2/entries?{query}",
        f"/v2/entries?{query}#x",
        f"/v2/entries?{query}\n",
        f"/v2/entries?{query}&x={'y' * 2000}",
        f"/v2/entries?{query}&to=2030-01-01T00:00:00Z",
        "/v2/entries?start=2001",
        "",
    ):
        assert _followed(root, link, **right) is None
    assert _followed(root, f"/v2/entries?{query}", start=0, end=DAY + 1) is None


# ── refusals ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_password_names_the_file_to_look_at(simulation):
    client = NcmecExchange(
        environment=Environment.TEST_INDUSTRY,
        credentials=lambda: Login("somebody", "secret"),
        wire=in_process(simulation, CREDENTIALS_FILE),
        url=HERE + simulation.root,
    )
    for asked in (client.check, lambda: list(client.batches(None))):
        with pytest.raises(Refused, match=re.escape("keys/ncmec.credentials")) as caught:
            asked()
        assert "secret" not in str(caught.value)
    assert len(simulation.requests) == 2
    assert "secret" not in repr(client)


@pytest.mark.parametrize("trouble", [Trouble.BUSY, Trouble.UNWELL])
def test_a_busy_exchange_is_left_alone(simulation, trouble):
    simulation.befall(trouble)
    with pytest.raises(ExchangeBusy) as caught:
        ncmec_client(simulation).check()
    assert 119 <= caught.value.after.total_seconds() <= 120
    assert len(simulation.requests) == 1


@pytest.mark.parametrize("trouble", [Trouble.BUSY, Trouble.UNWELL])
def test_a_short_wait_is_waited_for(simulation, trouble):
    simulation.retry_after = 20
    simulation.befall(trouble, times=2)
    simulation.publish("one", at=NOW - 60)
    assert Caller(ncmec_client(simulation)).run().rows == ncmec_truth(simulation)
    assert simulation.clock.now() >= (NOW + 38) * 1_000_000


def test_a_redirect_is_not_followed_and_says_so(simulation):
    simulation.befall(Trouble.MOVED)
    with pytest.raises(TransientError, match="302"):
        list(ncmec_client(simulation).batches(None))
    assert len(simulation.requests) == 1


def test_check_asks_once(simulation):
    ncmec_client(simulation).check()
    assert simulation.requests == ["/hashsharing/v2/status?"]
    assert ncmec_client(simulation).name == "ncmec test-industry"


@pytest.mark.parametrize(
    "stored",
    [
        "", "x", "[]", "{}", "null", "[" * 5000, '{"ncmec": "industry", "to": 5, "gaps": []}',
        '{"ncmec": "test-industry", "to": -5, "gaps": []}', '{"ncmec": "test-industry", "to": 5}',
        '{"ncmec": "test-industry", "to": true, "gaps": []}',
        '{"ncmec": "test-industry", "to": 5, "gaps": ["x"]}',
        '{"stopncii": 5, "at": 5, "gaps": 0}',
        json.dumps({"ncmec": "test-industry", "to": NOW + 2 * DAY, "gaps": []}),
    ],
)  # fmt: skip
def test_a_checkpoint_that_is_none_never_means_to_start_anew(simulation, stored):
    with pytest.raises(IntegrityFailure):
        ncmec_client(simulation).batches(stored)
    assert simulation.requests == []


@pytest.mark.parametrize("line", ["", "user", ":x", "user:", "us\0er:x", "a:b\nc"])
def test_what_is_no_login_is_refused_without_being_told(line):
    with pytest.raises(ValueError, match="user:password") as caught:
        Login.parse(line)
    assert "us\0er" not in str(caught.value)


def test_a_login_may_have_colons_in_its_password():
    assert Login.parse("user:pass:word\n") == Login("user", "pass:word")
