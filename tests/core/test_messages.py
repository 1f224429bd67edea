"""What is sent can be read again; what cannot be read is refused without a word of what it said."""

import base64
import copy
import json
import pathlib
import traceback
from datetime import UTC, datetime, timedelta, timezone
from typing import get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard import messages
from coverguard.errors import BadMessage
from coverguard.messages import MAX_BODY_BYTES, SCHEMA, Incoming, Outgoing, dump, parse, parse_outgoing
from coverguard.model import Category, Micros, ReporterKind, Surface

CANARY = "zxqcanaryqxz"
ROOT = pathlib.Path(__file__).parents[2]

# ── an example of every type ───────────────────────────────────────────────────────────────────────────────

PLATFORM_IDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], include_characters=" "),
    min_size=1,
    max_size=50,
).filter(lambda text: len(text.encode()) <= 200)
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1970, 1, 3), datetime(2200, 1, 1), timezones=ZONES)  # noqa: DTZ001 - zones are drawn
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
COVERS = st.builds(
    messages.Cover,
    id=PLATFORM_IDS,
    version=st.integers(0, 2**63 - 1),
    surface=st.sampled_from(Surface),
)
OBJECTS = st.builds(
    messages.StoredObject,
    bucket=st.text("abc-", min_size=1, max_size=63),
    key=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40),
    version_id=st.text("abc.", min_size=1, max_size=40),
)
BY_FIELD = {
    "event_id": PLATFORM_IDS,
    "occurred_at": MOMENTS,
    "cover": COVERS,
    "object": OBJECTS,
    "renditions": st.lists(OBJECTS, max_size=3),
    "covers": st.lists(COVERS, max_size=3),
    "playlist_ids": st.lists(PLATFORM_IDS, max_size=3),
    "field": st.sampled_from(["title", "description", "track_title"]),
    "text": TEXTS,
    "new_name": TEXTS,
    "sha256": st.one_of(st.just(""), st.text("0123456789abcdef", min_size=64, max_size=64)),
    "verdict_seq": st.integers(1, 2**62),
    "objects": st.integers(0, 10**6),
    "category": TEXTS,
    "case_ref": TEXTS,
    "reference": TEXTS,
    "match_type": st.sampled_from(["exact", "near"]),
    "decision": st.sampled_from(["hold", "refer"]),
}
OCTETS = st.binary(min_size=32, max_size=32).map(bytes.hex)
REFERENCES = st.binary(min_size=8, max_size=8).map(lambda octets: f"report-{octets.hex()}")
SEALED = st.binary(min_size=1, max_size=90).map(lambda octets: base64.b64encode(octets).decode())
OF_REPORTS = {
    "reference": REFERENCES,
    "source": st.sampled_from(ReporterKind),
    "api_key": REFERENCES.map(lambda ref: ref.replace("report", "key")),
    "removal": st.booleans(),
    "mailbox": OCTETS,
    "network": OCTETS,
    "details": SEALED,
    "addition": SEALED,
    "account": st.integers(1, 2**63 - 1),
    "after": st.integers(0, 2**63 - 1),
}
BY_EVENT = {
    messages.ContentReported: {"category": st.sampled_from(Category), "urgent": st.booleans()},
    messages.ReportFiled: OF_REPORTS,
    messages.ReportAdded: OF_REPORTS,
    messages.ReportRescreen: OF_REPORTS,
}
REASONS = st.sampled_from(["child_safety", "other_violation", "user_request", "unknown"])


def types_of(union):
    """List the event classes of a union of unions."""
    return [one for part in get_args(union) for one in (types_of(part) if get_args(part) else [part])]


def strategy(event):
    values = {}
    for name, field in event.model_fields.items():
        if name in ("schema_", "type"):
            continue
        values[name] = REASONS if name == "reason" else BY_FIELD.get(name, PLATFORM_IDS)
        values[name] = BY_EVENT.get(event, {}).get(name, values[name])
        if not field.is_required() and field.default is None:
            values[name] = values[name] | st.none()
    return st.builds(event, **values)


INCOMING, OUTGOING = types_of(Incoming), types_of(Outgoing)
READERS = [(event, parse) for event in INCOMING] + [(event, parse_outgoing) for event in OUTGOING]
NAMED = [pytest.param(*pair, id=pair[0].__name__) for pair in READERS]


EXAMPLES_OF_REPORTS = {
    "reference": "report-0123456789abcdef",
    "source": "hotline",
    "api_key": "key-0123456789abcdef",
    "removal": True,
    "mailbox": "0f" * 32,
    "network": "f0" * 32,
    "details": "c2VhbGVk",
    "addition": "c2VhbGVk",
    "account": 3,
    "after": 4,
    "category": "intimate_image",
    "urgent": True,
}


def example(event):
    """Return one valid document, the same on every run and with every optional field given."""
    cover = {"id": "c-1", "version": 3, "surface": "track_art"}
    stored = {"bucket": "covers", "key": "c/1.png", "version_id": "v1"}
    known = {
        "schema_": SCHEMA,
        "type": event.model_fields["type"].default,
        "occurred_at": "2026-01-02T03:04:05.678901Z",
        "cover": cover,
        "object": stored,
        "renditions": [stored],
        "covers": [cover],
        "playlist_ids": ["p-1"],
        "field": "title",
        "sha256": "",
        "verdict_seq": 1,
        "objects": 4,
        "match_type": "near",
        "decision": "hold",
        "reason": "unknown",
    }
    if event in BY_EVENT:
        known |= EXAMPLES_OF_REPORTS
    document = {name: copy.deepcopy(known.get(name, "x-1")) for name in event.model_fields}
    document["schema"] = document.pop("schema_")
    return document


@pytest.mark.parametrize(("event", "read"), NAMED)
def test_every_type_comes_back_as_it_was_sent(event, read):
    @given(strategy(event))
    def comes_back(sent):
        body = dump(sent)
        assert "\n" not in body
        back = read(body)
        assert type(back) is event
        assert back == sent
        assert back.occurred() == sent.occurred()

    comes_back()


@pytest.mark.parametrize(("event", "read"), NAMED)
def test_unknown_fields_are_ignored(event, read):
    document = example(event)
    assert read(json.dumps(document | {"later": {"on": [1]}})) == read(json.dumps(document))


def test_types_have_names_of_their_own():
    names = [event.model_fields["type"].default for event, _ in READERS]
    assert len(set(names)) == len(names)


# ── what is refused ────────────────────────────────────────────────────────────────────────────────────────


def refusal(body, read=parse):
    with pytest.raises(BadMessage) as caught:
        read(body)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in repr(caught.value)
    return str(caught.value)


def leaves(value, path=()):
    """Yield the path of everything in a document, containers too."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from leaves(part, (*path, key))


def replaced(document, path, value):
    document = copy.deepcopy(document)
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return document


PLANTS = {
    "text": CANARY,
    "long": CANARY * 2000,
    "control": f"{CANARY}\x07",
    "list": [CANARY],
    "object": {CANARY: CANARY},
    "nested": [{CANARY: [CANARY]}],
    "almost a time": f"2026-01-02T03:04:05{CANARY}",
}


@pytest.mark.thorough
@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize(("event", "read"), NAMED)
def test_no_error_says_what_a_field_said(event, read, plant):
    document = example(event)
    refused = 0
    for path in leaves(document):
        body = json.dumps(replaced(document, path, PLANTS[plant]))
        try:
            read(body)
        except BadMessage:
            fields = [str(part) for part in path if part not in ("type", "schema")]
            said = refusal(body, read)
            assert said.startswith("field ")
            assert not fields or fields[0] in said
            refused += 1
    assert refused


@pytest.mark.parametrize(("event", "read"), NAMED)
def test_every_required_field_is_missed_by_name(event, read):
    for name, field in event.model_fields.items():
        wire = "schema" if name == "schema_" else name
        document = {key: value for key, value in example(event).items() if key != wire}
        if field.is_required() or wire in ("schema", "type"):
            assert f"field {wire}" in refusal(json.dumps(document), read)
        else:
            read(json.dumps(document))


def uploaded(**change):
    return json.dumps(example(messages.CoverUploaded) | change)


@pytest.mark.parametrize(
    "body", ["", CANARY, f'{{"a": "{CANARY}"', "1" * 5000, "[" * 100_000, '{"a":' * 50_000]
)
def test_what_is_not_json_is_refused(body):
    assert refusal(body) == "message is not JSON"


def test_deep_nesting_is_refused_and_shallow_nesting_ignored():
    depth = 50_000
    assert refusal(uploaded()[:-1] + f', "later": {"[" * depth}{"]" * depth}}}') == "message is not JSON"
    parse(uploaded()[:-1] + f', "later": {"[" * 50}{"]" * 50}}}')


@pytest.mark.parametrize(
    "document", [[], "x", 1, None, {}, {"schema": "coverguard.event/2"}, {"schema": [CANARY]}]
)
def test_another_schema_is_refused(document):
    assert refusal(json.dumps(document)) == "field schema: must be coverguard.event/1"


@pytest.mark.parametrize("kind", [CANARY, None, 1, [CANARY], {"a": CANARY}, "cover.cleared"])
def test_an_unknown_type_is_refused(kind):
    assert refusal(uploaded(type=kind)) == "field type: is not a type coverguard knows"


def test_the_size_limit_counts_bytes():
    room = MAX_BODY_BYTES - len(uploaded(later="").encode())
    parse(uploaded(later="x" * room))
    assert refusal(uploaded(later="x" * (room + 1))) == "message is larger than 262144 bytes"
    body = uploaded()[:-1] + ', "later": "' + "é" * (MAX_BODY_BYTES // 2) + '"}'
    assert len(body) < MAX_BODY_BYTES
    assert refusal(body) == "message is larger than 262144 bytes"


@pytest.mark.parametrize("field", ["event_id", "uploader_id", "owner_id", "playlist_id"])
@pytest.mark.parametrize(
    ("value", "fine"),
    [
        ("a" * 200, True),
        ("a" * 201, False),
        ("é" * 100, True),
        ("é" * 101, False),
        ("", False),
        ("a\nb", False),
        ("a\u202eb", False),
        ("\ud800", False),
        (7, False),
    ],
)
def test_platform_ids_are_up_to_200_bytes(field, value, fine):
    if fine:
        assert getattr(parse(uploaded(**{field: value})), field) == value
    else:
        assert refusal(uploaded(**{field: value})).startswith(f"field {field}: ")


@pytest.mark.parametrize("value", ["2026-01-02T03:04:05", "2026-01-02", "soon", "", None, [], {}, True])
def test_times_without_a_zone_and_other_things_are_refused(value):
    assert refusal(uploaded(occurred_at=value)).startswith("field occurred_at: ")


@pytest.mark.parametrize("version", [-1, 2**63, "1", 1.0, True, None, 10**400])
def test_versions_are_whole_numbers_of_the_database(version):
    cover = {"id": "c", "version": version, "surface": "track_art"}
    assert refusal(uploaded(cover=cover)).startswith("field cover.version: ")


@pytest.mark.parametrize("field", ["renditions", "covers", "playlist_ids"])
def test_lists_have_at_most_a_hundred_parts(field):
    event = messages.CoverUploaded if field == "renditions" else messages.ContentReported
    document = example(event)
    parse(json.dumps(document | {field: document[field] * 100}))
    assert refusal(json.dumps(document | {field: document[field] * 101})).startswith(f"field {field}: ")


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.recursive(VALUES, st.lists, max_leaves=5), st.data())
def test_anything_in_any_field_is_read_or_refused(value, data):
    event, read = data.draw(st.sampled_from(READERS))
    document = example(event)
    path = data.draw(st.sampled_from(list(leaves(document))))
    try:
        back = read(json.dumps(replaced(document, path, value)))
    except BadMessage:
        return
    assert read(dump(back)) == back


@given(st.text() | st.binary().map(lambda body: body.decode(errors="surrogateescape")))
def test_any_body_is_refused_by_name(body):
    refusal(body)


# ── the published schemas ──────────────────────────────────────────────────────────────────────────────────


def validator(direction):
    schema = json.loads((ROOT / "docs" / "schemas" / f"{direction}.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


VALIDATORS = {
    "incoming": validator("incoming"),
    "outgoing": validator("outgoing"),
    "catalogue": validator("catalogue"),
}
DIRECTIONS = [("incoming", event) for event in INCOMING] + [("outgoing", event) for event in OUTGOING]
WAYS = [pytest.param(*pair, id=pair[1].__name__) for pair in DIRECTIONS]


@pytest.mark.thorough
@pytest.mark.parametrize(("direction", "event"), WAYS)
def test_what_is_sent_is_valid_by_the_published_schema(direction, event):
    VALIDATORS[direction].validate(example(event))

    @given(strategy(event))
    def valid(sent):
        VALIDATORS[direction].validate(json.loads(dump(sent)))

    valid()


@pytest.mark.parametrize(("direction", "event"), WAYS)
def test_the_published_schema_misses_what_the_code_misses(direction, event):
    for name in ("schema", "type", "event_id", "occurred_at"):
        document = {key: value for key, value in example(event).items() if key != name}
        assert not VALIDATORS[direction].is_valid(document)


@given(st.sampled_from(DIRECTIONS))
def test_the_two_directions_are_not_taken_for_each_other(pair):
    direction, event = pair
    other = "outgoing" if direction == "incoming" else "incoming"
    assert not VALIDATORS[other].is_valid(example(event))


PAGES = st.builds(
    lambda covers, cursor: {"covers": [json.loads(dump(one)) for one in covers], "next": cursor},
    st.lists(strategy(messages.CoverUploaded), max_size=3),
    st.none() | st.text("abc", min_size=1, max_size=9),
)


@given(PAGES)
def test_a_page_of_the_catalogue_is_valid_by_the_published_schema_and_read(page):
    VALIDATORS["catalogue"].validate(page)
    read = messages.parse_catalogue_page(json.dumps(page).encode())
    assert [json.loads(dump(one)) for one in read.covers] == page["covers"]
    assert read.next == page["next"]


@given(PAGES, st.data())
def test_what_a_page_misses_is_named_by_field_in_code_and_schema(page, data):
    page["covers"].append(example(messages.CoverUploaded))
    where = data.draw(st.sampled_from([page, page["covers"][-1]]))
    del where[data.draw(st.sampled_from(sorted(set(where) - {"playlist_id", "renditions"})))]
    assert not VALIDATORS["catalogue"].is_valid(page)
    with pytest.raises(BadMessage, match="field "):
        messages.parse_catalogue_page(json.dumps(page).encode())


@given(st.binary() | st.recursive(VALUES, st.lists, max_leaves=5).map(lambda one: json.dumps(one).encode()))
def test_any_page_is_read_or_refused(body):
    with pytest.raises(BadMessage):
        messages.parse_catalogue_page(body)


# ── time ───────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.datetimes(timezones=ZONES))
def test_micros_are_exact(moment):
    micros = messages.to_micros(moment)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert timedelta(microseconds=micros) == moment - epoch


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999).map(Micros))
def test_micros_come_back(micros):
    moment = messages.from_micros(micros)
    assert moment.utcoffset() == timedelta()
    assert messages.to_micros(moment) == micros
