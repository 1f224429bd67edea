"""What a worker takes for an answer: every sound one, whole, and nothing else."""

import contextlib
import struct
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard.errors import RejectReason
from coverguard.imaging.sandbox import frames
from coverguard.imaging.sandbox.frames import (
    HEADER,
    MAX_ANSWER,
    MAX_VIEWS,
    Fault,
    Greeting,
    Kind,
    Malformed,
    Rejected,
    Request,
)
from coverguard.model import DIHEDRAL, Fingerprint, View

SIGNALS = {**frames.REQUIRED, "plug.2": 7}
DIGESTS = {"sha256": b"s" * 32}

bytes_of = st.binary(min_size=32, max_size=32)
names = st.from_regex(r"[a-z][a-z0-9_]{0,9}(/[a-z][a-z0-9_]{0,9}){0,2}", fullmatch=True)


@st.composite
def views(draw, name):
    pdq = draw(bytes_of)
    turned = draw(st.sampled_from([0, len(DIHEDRAL) - 1]))
    signals = {"pdq": pdq, "phash256": draw(bytes_of)}
    if draw(st.booleans()):
        signals["plug.2"] = draw(st.binary(min_size=7, max_size=7))
    dihedral = (pdq, *(draw(bytes_of) for _ in range(turned))) if turned else ()
    return View(
        name=name, quality=draw(st.integers(0, 100)), signals=signals, dihedral=dihedral, **truths(draw, View)
    )


def truths(draw, of):
    return {one.name: draw(st.booleans()) for one in fields(of) if one.type == "bool"}


@st.composite
def fingerprints(draw):
    sides = st.integers(1, frames.MAX_SIDE)
    seen = {
        kind: tuple(
            draw(views(name))
            for name in draw(st.lists(names, min_size=kind == "views", max_size=4, unique=True))
        )
        for kind in frames._KINDS_OF_VIEWS
    }
    return Fingerprint(
        digests=DIGESTS,
        **seen,
        format=draw(st.from_regex(r"[a-z][a-z0-9]{0,15}", fullmatch=True)),
        width=draw(sides),
        height=draw(sides),
        **truths(draw, Fingerprint),
    )


answers = st.one_of(
    fingerprints(),
    st.builds(Rejected, reason=st.sampled_from(RejectReason)),
    st.builds(Fault, error=st.just("KeyError"), at=st.just("coverguard.imaging.pdq:12")),
)


def read(data, number=1, signals=SIGNALS):
    kind, size = frames.answer_of(data[: HEADER.size], number=number)
    assert size <= MAX_ANSWER
    if len(data) != HEADER.size + size:
        raise Malformed("the worker waits for more, or more is left")
    return frames.parse(kind, data[HEADER.size : HEADER.size + size], digests=DIGESTS, signals=signals)


@given(answer=answers, number=st.integers(0, 2**32 - 1))
def test_an_answer_arrives_as_it_was_given(answer, number):
    data = frames.pack(answer, number=number)
    assert read(data, number) == answer
    assert frames.answer_of(data[: HEADER.size], number=number)[1] == len(data) - HEADER.size


def test_every_field_of_a_fingerprint_is_carried():
    """A field that is added has to be carried, too; truth values are by themselves."""
    carried = {"digests", *frames._KINDS_OF_VIEWS, "format", "width", "height", "version"}
    assert "views" in carried
    assert {one.name for one in fields(Fingerprint) if one.type != "bool"} == carried
    carried = {"name", "quality", "signals", "dihedral"}
    assert {one.name for one in fields(View) if one.type != "bool"} == carried
    assert len(truths(lambda _: True, View)) < 8


@given(answer=answers, data=st.data())
def test_a_changed_answer_is_another_sound_one_or_malformed(answer, data):
    packed = bytearray(frames.pack(answer, number=1))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    packed = packed[: data.draw(st.integers(0, len(packed)))] if data.draw(st.booleans()) else packed
    found = outcome(bytes(packed))
    if found is not None and not isinstance(found, Fault):
        assert frames.pack(found, number=1) == bytes(packed)  # one way to say each thing


def outcome(data):
    try:
        return read(data.ljust(HEADER.size, b"\0"))
    except Malformed:
        return None


@given(kind=st.sampled_from([Kind.FINGERPRINT, Kind.REJECTED, Kind.FAULT]), payload=st.binary(max_size=400))
def test_any_payload_is_sound_or_malformed(kind, payload):
    outcome(HEADER.pack(b"CGA1", kind, 1, len(payload)) + payload)


@given(header=st.binary(min_size=HEADER.size, max_size=HEADER.size))
def test_any_header_is_sound_or_malformed(header):
    outcome(header)


VIEW = View(name="displayed", quality=80, signals={"pdq": b"p" * 32, "phash256": b"h" * 32})
GOOD = Fingerprint(digests=DIGESTS, views=(VIEW,), format="png", width=3, height=2)
HOSTILE = {
    "no view": replace(GOOD, views=()),
    "two of a name": replace(GOOD, views=(VIEW, VIEW)),
    "quality 101": replace(GOOD, views=(replace(VIEW, quality=101),)),
    "no width": replace(GOOD, width=0),
    "huge height": replace(GOOD, height=2**31),
    "a name that is none": replace(GOOD, views=(replace(VIEW, name="a\nb"),)),
    "a long name": replace(GOOD, views=(replace(VIEW, name="a" * 33),)),
    "a format that is none": replace(GOOD, format="../png"),
    "a signal that nobody knows": replace(GOOD, views=(replace(VIEW, signals={**VIEW.signals, "x": b""}),)),
    "a signal is missing": replace(GOOD, views=(replace(VIEW, signals={"pdq": b"p" * 32}),)),
    "a signal is short": replace(GOOD, views=(replace(VIEW, signals={**VIEW.signals, "pdq": b"p" * 31}),)),
    "another upright": replace(GOOD, views=(replace(VIEW, dihedral=(b"q" * 32,) * 8),)),
    "seven orientations": replace(GOOD, views=(replace(VIEW, dihedral=(b"p" * 32,) * 7),)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_lie_in_form_is_malformed(name):
    with pytest.raises(Malformed):
        read(frames.pack(HOSTILE[name], number=1))


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.REJECTED, b"\x05clean"),
        (Kind.REJECTED, b"\x05empty!"),
        (Kind.FAULT, b"\x03a b\x03a:1"),
        (Kind.FAULT, b"\x08KeyError\x00"),
        (Kind.FINGERPRINT, b""),
        (Kind.FINGERPRINT, b"\x03png" + struct.pack(">IIBB", 1, 1, 0xFF, 1)),
        (Kind.FINGERPRINT, b"\x03png" + struct.pack(">IIBB", 1, 1, 0, 255)),
        (Kind.FINGERPRINT, b"\x03png" + struct.pack(">IIBB", 1, 1, 0, 0)),
    ],
)
def test_a_payload_out_of_its_bounds_is_malformed(kind, payload):
    with pytest.raises(Malformed):
        read(HEADER.pack(b"CGA1", kind, 1, len(payload)) + payload)


@pytest.mark.parametrize(
    "header",
    [
        HEADER.pack(b"CGR1", Kind.REJECTED, 1, 5),
        HEADER.pack(b"CGA1", Kind.WORK, 1, 5),
        HEADER.pack(b"CGA1", 77, 1, 5),
        HEADER.pack(b"CGA1", Kind.REJECTED, 2, 5),
        HEADER.pack(b"CGA1", Kind.FINGERPRINT, 1, MAX_ANSWER + 1),
        HEADER.pack(b"CGA1", Kind.REJECTED, 1, 5).replace(b"\0", b"\1", 1),
    ],
    ids=["a request", "work", "no kind", "another's number", "too long", "padding"],
)
def test_a_header_out_of_its_bounds_is_malformed(header):
    with pytest.raises(Malformed):
        frames.answer_of(header, number=1)


def test_a_child_does_not_write_what_would_not_be_read():
    crowd = tuple(replace(VIEW, name=f"v{number}") for number in range(MAX_VIEWS + 1))
    with pytest.raises(Malformed):
        frames.pack(replace(GOOD, views=crowd), number=1)
    full = tuple(replace(one, dihedral=(b"p" * 32,) * 8) for one in crowd[:MAX_VIEWS])
    assert len(read(frames.pack(replace(GOOD, views=full), number=1)).views) == MAX_VIEWS


def test_a_request_says_how_much_follows():
    for request in (Request(number=7, size=100), Request(number=8, size=0, for_lists=True)):
        assert Request.parse(request.pack(), limit=100) == request
    for header in (Request(number=7, size=101).pack(), frames.pack(GOOD, number=1)[: HEADER.size]):
        with pytest.raises(Malformed):
            Request.parse(header, limit=100)


@given(
    kind=st.sampled_from([Kind.READY, Kind.FAILED]),
    version=st.integers(0, 65_535),
    flags=st.integers(0, 65_535),
    text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=247),
)
def test_a_greeting_arrives_as_it_was_given(kind, version, flags, text):
    greeting = Greeting(kind=kind, fingerprint_version=version, flags=flags, text=text)
    assert Greeting.parse(greeting.pack()) == greeting


@given(data=st.binary(max_size=300))
def test_any_greeting_is_sound_or_malformed(data):
    with contextlib.suppress(Malformed):
        Greeting.parse(data)
