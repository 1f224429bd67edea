"""A log line has known fields with values of their kind, or it is not written at all."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard.errors import BadMessage
from coverguard.lifecycle import ItemState
from coverguard.telemetry import FIELDS, Log, Stopwatch

DIGESTS = [hashlib.new(name, b"anything").hexdigest() for name in ("md5", "sha1", "sha256")]
LETTERED = ["abcdef01" * 4, "ABCDEF01" * 4, "deadbeef" * 8, "cafe" * 10, "x" + "0f" * 20]


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def log(stream):
    return Log(stream)


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_line_of_json(log, stream):
    log.line(
        "screened", cover="cover-0123456789abcdef", surface="track_art", seq=7, total_ms=1.23456, reason=None
    )
    log.line("unwell", error="OperationalError", at="coverguard.store.engine:60", state=ItemState.OPEN)
    first, second = lines(stream)
    assert first.pop("ts") > 0
    assert first == {
        "event": "screened", "cover": "cover-0123456789abcdef", "surface": "track_art", "seq": 7,
        "total_ms": 1.235,
    }  # fmt: skip
    assert second["state"] == "open"
    assert log.counters == {"screened": 1, "unwell": 1}


@pytest.mark.parametrize("field", ["title", "key", "uploader", "body", "message", "ts", "sha256", "Event"])
def test_an_unknown_field_is_refused(log, stream, field):
    with pytest.raises(ValueError, match=field):
        log.line("screened", **{field: 1})
    assert stream.getvalue() == ""


SAMPLES = {"word": "held", "ref": "case-1", "name": "ValueError", "number": 3}
UNFIT = [
    "two words", "", " ", "Amber harbour", "line\nbreak", "naïve", "a/b", "a@b", '"', "{}", "💙", "-", "0x",
    *DIGESTS, *LETTERED,
]  # fmt: skip


def test_every_kind_of_field_is_known():
    assert set(FIELDS.values()) == set(SAMPLES)


@pytest.mark.parametrize("field", list(FIELDS))
def test_a_value_of_another_kind_is_refused(log, stream, field):
    for value in [*UNFIT, *(SAMPLES.values()), b"bytes", ["list"], {"a": 1}]:
        fits = value == SAMPLES[FIELDS[field]] or (FIELDS[field] == "name" and value == SAMPLES["word"])
        if fits or (FIELDS[field] == "word" and value == SAMPLES["ref"]):
            continue
        with pytest.raises(ValueError, match="log field"):
            log.line(*(() if field == "event" else ("e",)), **{field: value})
    assert stream.getvalue() == ""


@pytest.mark.parametrize("field", [name for name, kind in FIELDS.items() if kind != "number"])
def test_a_digest_is_refused_wherever_it_stands(log, stream, field):
    head = {"ref": "case-", "word": "w.", "name": "Name."}[FIELDS[field]]
    for digest in [*DIGESTS, *LETTERED]:
        for value in (digest, head + digest, head + digest.lower()):
            with pytest.raises(ValueError, match="log field"):
                log.line(*(() if field == "event" else ("e",)), **{field: value})
    assert stream.getvalue() == ""


@given(st.text(max_size=40) | st.binary(min_size=16, max_size=32).map(bytes.hex))
def test_what_passes_is_harmless(value):
    stream = io.StringIO()
    log = Log(stream)
    for field in ("note", "case", "error"):
        try:
            log.line("e", **{field: value})
        except ValueError:
            continue
        assert value.isascii()
        assert not set(value) & set(" \n\t/\"'@<>\\")
        assert len(value) <= 90
        assert json.loads(stream.getvalue().splitlines()[-1])[field] == value


def test_a_bug_is_told_by_class_and_place_and_never_by_its_words(log, stream):
    def fail():
        raise BadMessage("field title: Amber harbour before rain")

    try:
        fail()
    except BadMessage as error:
        log.bug(error)
    (line,) = lines(stream)
    assert line["error"] == "BadMessage"
    assert line["at"].startswith("test_telemetry:")
    assert "Amber" not in stream.getvalue()


def test_a_bug_that_was_never_raised_has_no_place(log, stream):
    log.bug(ValueError("Amber"))
    assert "at" not in lines(stream)[0]


def test_silence_still_counts():
    log = Log(None)
    log.line("screened")
    assert log.counters["screened"] == 1


def test_a_stopwatch_adds_up_also_when_a_phase_fails():
    ticks = iter([0.0, 1.0, 1.5, 2.0, 4.0, 10.0])
    watch = Stopwatch(lambda: next(ticks))

    def fail():
        with watch.phase("read"):
            raise ZeroDivisionError

    with watch.phase("read"):
        pass
    with pytest.raises(ZeroDivisionError):
        fail()
    assert watch.milliseconds() == {"read_ms": 2500.0, "total_ms": 10000.0}
