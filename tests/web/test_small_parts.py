"""Networks, rates and forms: small parts whose edges matter."""

from __future__ import annotations

import hashlib
import socket
from contextlib import closing
from datetime import timedelta
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.requests import Request

from coverguard.correspondence import ReportDetails, reference_in, unsealed
from coverguard.errors import BadMessage, ConfigurationError
from coverguard.model import Micros, later
from coverguard.web.bodies import ReportBody
from coverguard.web.networks import Buckets, Networks
from coverguard.web.public import forms
from coverguard.web.serving import bind

START = Micros(1_800_000_000_000_000)


def mac(data: bytes) -> bytes:
    return hashlib.sha256(b"key" + data).digest()


def asked(client: str, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
    return Request({"type": "http", "client": (client, 1), "headers": headers})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.5", "203.0.113.250", True),
        ("203.0.113.5", "203.0.114.5", False),
        ("2001:db8:1::1", "2001:db8:1:ffff::9", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("::ffff:203.0.113.5", "203.0.113.9", True),
        ("testclient", "nonsense", True),  # unknown is one network, not many
    ],
)
def test_a_network_is_its_prefix(one: str, other: str, same: bool):  # noqa: FBT001
    networks = Networks(mac=mac)
    assert (networks.digest(asked(one)) == networks.digest(asked(other))) is same


def test_a_header_is_believed_of_named_proxies_alone_and_from_the_nearest_outwards():
    networks = Networks(mac=mac, proxies=[ip_network("10.0.0.0/8")])
    real = networks.digest(asked("198.51.100.7"))
    assert networks.digest(asked("10.0.0.1", "198.51.100.7")) == real
    assert networks.digest(asked("10.0.0.1", "1.2.3.4, 198.51.100.7, 10.2.2.2")) == real
    assert networks.digest(asked("10.0.0.1", "1.2.3.4", "198.51.100.7")) == real
    assert networks.digest(asked("198.51.100.7", "1.2.3.4")) == real
    assert Networks(mac=mac).digest(asked("10.0.0.1", "198.51.100.7")) != real


@given(steps=st.lists(st.integers(0, 3_600), max_size=60))
def test_a_bucket_never_gives_more_than_its_rate(steps: list[int]):
    buckets, now, given_ = Buckets(at_once=5, an_hour=60), START, 0
    for seconds in steps:
        now = later(now, timedelta(seconds=seconds))
        wait = buckets.take(b"n", now=now)
        given_ += not wait
        assert given_ <= 5 + (now - START) * 60 / 3_600_000_000 + 1e-6


def test_after_the_wait_there_is_one():
    buckets = Buckets(at_once=1, an_hour=60)
    assert not buckets.take(b"n", now=START)
    wait = buckets.take(b"n", now=START)
    assert timedelta() < wait <= timedelta(minutes=1)
    assert not buckets.take(b"n", now=later(START, wait))


@given(body=st.binary(max_size=200))
def test_any_body_is_a_form_or_refused(body: bytes):
    try:
        told = forms.fields_of(body, known=forms.FIELDS)
    except BadMessage:
        return
    assert set(told) <= forms.FIELDS
    forms.report_of(forms.Filled(values=told))


@pytest.mark.parametrize(
    "body", [b"text=a&text=b", b"x=1", b"text=%ff", b"&".join([b"text=1"] * 50), b"\xff"]
)
def test_a_field_is_known_and_comes_once(body: bytes):
    with pytest.raises(BadMessage):
        forms.fields_of(body, known=forms.FIELDS)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("https://music.example/playlist/37i9?si=1#x", "37i9"),
        ("https://music.example/user/so%20me/", "so me"),
        ("http://music.example", "http://music.example"),
        ("http://[", "http://["),
        (" service:user:x ", "service:user:x"),
    ],
)
def test_of_a_link_the_last_part_is_the_id(line: str, named: str):
    filled = forms.Filled(values={"category": "other", "account_ids": f"{line}\n\n{line}"})
    report, faults = forms.report_of(filled)
    assert not faults
    assert report.account_ids == [named]


def test_all_faults_of_a_form_are_told_at_once_and_by_label():
    _, faults = forms.report_of(forms.Filled(values={"country": "zebrafinch"}))
    assert [fault.field for fault in faults] == ["category", "country", "account_ids"]
    assert "zebrafinch" not in str(faults)


# ── the reference of an earlier report ─────────────────────────────────────────────────────────────────────

HEX = st.text("0123456789abcdef", min_size=14, max_size=18)
WRITTEN = st.text(max_size=30) | HEX.map("report-{}".format) | HEX.map("REPORT-{}\n".format)


def well_formed(text: str) -> bool:
    return text[:7] == "report-" and len(text) == 23 and set(text[7:]) <= set("0123456789abcdef")


@given(written=WRITTEN)
def test_only_its_form_is_looked_at_the_same_on_every_road(written: str):
    """A program has to send it as it is; what people write into a form is tidied before."""
    told = {"category": "other", "account_ids": ["a"]}
    tidied = written.strip().lower()
    try:
        by_program = ReportBody.model_validate({**told, "earlier_reference": written})
    except ValidationError:
        by_program = None
    assert (by_program is not None) == (written == "" or well_formed(written))
    by_form, faults = forms.report_of(
        forms.Filled(values={"category": "other", "account_ids": "a", "earlier_reference": written})
    )
    assert (by_form is not None) == (tidied == "" or well_formed(tidied))
    assert [fault.field for fault in faults] == ([] if by_form else ["earlier_reference"])
    assert reference_in(written) == (tidied if well_formed(tidied) else "")
    for report in filter(None, (by_program, by_form)):
        assert report.earlier_reference in ("", tidied)


def test_details_that_were_sealed_before_there_was_one_are_read():
    assert unsealed(ReportDetails, b'{"category": "other"}').earlier_reference == ""


def test_an_address_that_was_announced_takes_calls_before_anybody_serves_them():
    with closing(bind("127.0.0.1", 0)) as listening:
        socket.create_connection(listening.getsockname(), timeout=5).close()
        with pytest.raises(ConfigurationError, match="--port"):
            bind(*listening.getsockname())
