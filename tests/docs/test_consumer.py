"""The example consumer obeys the newest verdict, whatever order, delay or repetition its messages come in."""

import contextlib
import hashlib
import importlib.util
import pathlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard import messages

EXAMPLE = pathlib.Path(__file__).parents[2] / "docs" / "examples" / "consumer.py"


def load():
    spec = importlib.util.spec_from_file_location("example_consumer", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


example = load()

TYPES = {
    "cover.cleared": messages.CoverCleared,
    "cover.withheld": messages.CoverWithheld,
    "cover.released": messages.CoverReleased,
    "cover.removed": messages.CoverRemoved,
}
SHOWN = {"cover.cleared", "cover.released"}


def stored(cover_id, version):
    return messages.StoredObject(bucket="intake", key=f"{cover_id}/{version}", version_id=f"v{version}")


def place(cover_id, version):
    return example.ObjectVersion(**stored(cover_id, version).model_dump())


def picture(cover_id, version):
    return f"harmless bytes of {cover_id} {version}".encode()


def verdict(kind, seq, *, cover_id="c", version=1, surface="playlist_cover", sha256=None):
    if sha256 is None:
        sha256 = hashlib.sha256(picture(cover_id, version)).hexdigest()
    event = TYPES[kind](
        event_id=f"cover-{surface}-{cover_id}-{version}:{seq}",
        occurred_at=messages.from_micros(1_700_000_000_000_000 + seq),
        cover=messages.Cover(id=cover_id, version=version, surface=surface),
        object=stored(cover_id, version),
        sha256=sha256,
        verdict_seq=seq,
    )
    return messages.dump(event)


def platform():
    covers = [(cover_id, version) for cover_id in "abc" for version in (1, 2)]
    return example.InMemory({place(*cover): picture(*cover) for cover in covers})


def cover_of(cover_id="c", version=1, surface="playlist_cover"):
    return example.CoverVersion(surface, cover_id, version)


histories = st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=6)


@st.composite
def deliveries(draw):
    """One history of verdicts, and one order in which all of them arrive, some more than once."""
    history = draw(histories)
    numbered = list(enumerate(history, start=1))
    again = draw(st.lists(st.sampled_from(numbered), max_size=6))
    return history, draw(st.permutations(numbered + again))


@given(deliveries())
def test_late_repeated_and_reordered_verdicts_end_the_same(case):
    history, arriving = case
    one = platform()
    consumer = one.consumer()
    newest = 0
    for seq, kind in arriving:
        became = consumer.handle(verdict(kind, seq))
        assert became == ("done" if seq > newest else "repeated" if seq == newest else "late")
        newest = max(newest, seq)
        assert (cover_of() in one.shown) is (history[newest - 1] in SHOWN)  # never wrong for what has come
    assert one.shown == ({cover_of(): picture("c", 1)} if history[-1] in SHOWN else {})


@given(st.data())
def test_covers_versions_and_surfaces_do_not_meet(data):
    keys = [("a", 1, "playlist_cover"), ("a", 2, "playlist_cover"), ("a", 1, "profile_image")]
    plans = {key: data.draw(histories) for key in keys}
    arriving = data.draw(
        st.permutations([(key, seq, kind) for key in keys for seq, kind in enumerate(plans[key], start=1)])
    )
    one = platform()
    consumer = one.consumer()
    for (cover_id, version, surface), seq, kind in arriving:
        consumer.handle(verdict(kind, seq, cover_id=cover_id, version=version, surface=surface))
    expected = {
        cover_of(*key): picture(key[0], key[1]) for key, history in plans.items() if history[-1] in SHOWN
    }
    assert one.shown == expected


@given(deliveries(), st.data())
def test_a_crash_before_the_number_is_noted_only_repeats_the_act(case, data):
    history, arriving = case
    one = platform()
    dying = one.consumer()
    fatal = data.draw(st.sets(st.integers(0, len(arriving) - 1)))

    def die_after(act):
        def call(*arguments):
            act(*arguments)
            raise ConnectionError

        return call

    broken = example.Consumer(
        locked=dying.locked,
        read=dying.read,
        publish=die_after(dying.publish),
        unpublish=die_after(dying.unpublish),
    )
    for number, (seq, kind) in enumerate(arriving):
        if number in fatal:
            with contextlib.suppress(ConnectionError):  # not acknowledged, so the queue brings it again
                broken.handle(verdict(kind, seq))
        dying.handle(verdict(kind, seq))
    assert (cover_of() in one.shown) is (history[-1] in SHOWN)


@pytest.mark.parametrize("sha256", ["", hashlib.sha256(b"other bytes").hexdigest()])
@pytest.mark.parametrize("kind", sorted(SHOWN))
def test_other_bytes_than_the_screened_ones_are_never_published(kind, sha256):
    one = platform()
    consumer = one.consumer()
    consumer.handle(verdict("cover.withheld", 1))
    with pytest.raises(example.WrongBytes):
        consumer.handle(verdict(kind, 2, sha256=sha256))
    assert not one.shown
    assert consumer.handle(verdict(kind, 2)) == "done"  # the failure was not noted as obeyed
    assert one.shown


def test_exactly_the_named_version_is_read():
    asked = []
    one = platform()
    whole = one.consumer()

    def read(named):
        asked.append(named)
        return whole.read(named)

    consumer = example.Consumer(
        locked=whole.locked, read=read, publish=whole.publish, unpublish=whole.unpublish
    )
    consumer.handle(verdict("cover.cleared", 1, version=2))
    assert asked == [place("c", 2)]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "null",
        "7",
        "{}",
        '{"schema":"coverguard.event/2","type":"cover.cleared"}',
        '{"schema":"coverguard.event/1","type":"match.found"}',
        '{"schema":"coverguard.event/1","type":["cover.cleared"]}',
    ],
)
def test_what_is_not_understood_is_not_swallowed(body):
    with pytest.raises(example.NotUnderstood):
        platform().consumer().handle(body)


def test_a_field_of_a_later_release_is_no_fault():
    body = verdict("cover.cleared", 1)
    assert platform().consumer().handle(body[:-1] + ',"colour":"new"}') == "done"


def test_it_runs(capsys):
    example.main()
    assert [line.split("->")[1].split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "done",
        "done",
        "late",
        "repeated",
    ]
