"""Templates of public places: one cover's keys, and never another's."""

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coverguard.acting.places import Places, RenditionTemplate, segment
from coverguard.errors import ConfigurationError
from coverguard.model import ObjectRef, Surface

STANDARD = "public:covers/{surface}/{id}/{version}/{*}"
TEMPLATES = (
    STANDARD,
    "public:{surface}/{id}/{version}",
    "public:{*}/{surface}/{version}/{id}",
    "public:a/{*}/{surface}/{id}/{*}/{version}",
    "public:{id}/{*}/{version}/x/{surface}",
)
HOSTILE_IDS = (
    "12", "123", "1", "2", ".", "..", "...", "/", "a/b", "../12", "..%2f12", "%2F", "%2e%2e", "12/3", "{id}",
    "{*}", "*", "é", "e\u0301",
    "🦊", "a b", "a+b", "a%20b", "A", "a", "12?x=1", "12#", "\\", "covers", "12\u200b",
)  # fmt: skip
IDS = st.sampled_from(HOSTILE_IDS) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12
)
COVERS = st.tuples(st.sampled_from([surface.value for surface in Surface]), IDS, st.integers(0, 10**6))
NAMES = st.text("abc019._-%", min_size=1, max_size=6)


def places(*renditions, urls=None, **options):
    return Places(urls=urls or {}, renditions=renditions or (STANDARD,), **options)


def is_rendition(where, key, cover, bucket="public"):
    surface, cover_id, version = cover
    ref = ObjectRef(bucket=bucket, key=key, version_id="1")
    return where.is_rendition(ref, surface=surface, cover_id=cover_id, version=version)


def key_of(template, cover, wildcards):
    """Write a key of that cover as the platform's resizer would."""
    surface, cover_id, version = cover
    filled = {"{surface}": surface, "{id}": segment(cover_id), "{version}": str(version)}
    names = iter(wildcards)
    parts = template.partition(":")[2].split("/")
    return "/".join(next(names) if part == "{*}" else filled.get(part, part) for part in parts)


@given(st.sampled_from(TEMPLATES), COVERS, st.tuples(NAMES, NAMES))
def test_a_covers_own_rendition_is_found_where_it_is_looked_for(template, cover, names):
    where, key = places(template), key_of(template, cover, names)
    surface, cover_id, version = cover
    assert is_rendition(where, key, cover)
    ((bucket, prefix),) = where.searches(surface=surface, cover_id=cover_id, version=version)
    assert bucket == "public"
    assert key.startswith(prefix)


@given(st.sampled_from(TEMPLATES), COVERS, st.tuples(NAMES, NAMES))
def test_a_rendition_names_its_cover(template, cover, names):
    ref = ObjectRef(bucket="public", key=key_of(template, cover, names), version_id="1")
    assert places(template).cover_of(ref) == cover


@given(st.sampled_from(TEMPLATES), st.lists(st.sampled_from(["a", "x", "covers", "12", "%41", "01", ""])))
def test_what_names_no_cover_is_no_rendition_of_any(template, parts):
    where = places(template)
    ref = ObjectRef(bucket="public", key="/".join(parts), version_id="1")
    named = where.cover_of(ref)
    if named is None:
        return
    surface, cover_id, version = named
    assert where.is_rendition(ref, surface=surface, cover_id=cover_id, version=version)


@given(st.sampled_from(TEMPLATES), COVERS, COVERS, st.tuples(NAMES, NAMES))
def test_no_cover_has_anothers_rendition(template, one, other, names):
    assume(one != other)
    assert not is_rendition(places(template), key_of(template, one, names), other)


@given(st.sampled_from(TEMPLATES), COVERS, st.integers(0, 10**6), st.tuples(NAMES, NAMES))
def test_every_version_of_a_cover_is_where_its_history_is_looked_for(template, cover, version, names):
    surface, cover_id, _ = cover
    for _bucket, prefix in places(template).histories(surface=surface, cover_id=cover_id):
        assert prefix.endswith((f"{segment(cover_id)}/", f"{surface}/"))
        assert key_of(template, (surface, cover_id, version), names).startswith(prefix)


@given(st.sampled_from(TEMPLATES), COVERS, COVERS, st.tuples(NAMES, NAMES))
def test_no_cover_is_in_anothers_history(template, one, other, names):
    assume(one[:2] != other[:2])
    surface, cover_id, _ = one
    for _bucket, prefix in places(template).histories(surface=surface, cover_id=cover_id):
        assert not key_of(template, other, names).startswith(prefix)


@pytest.mark.parametrize(
    ("template", "prefix"),
    [
        (STANDARD, "covers/track_art/12/"),
        ("public:{surface}/{id}/{version}", "track_art/12/"),
        ("public:{id}/x/{surface}/{version}/{*}", "12/x/track_art/"),
        ("public:{surface}/{version}/{id}", None),
        ("public:{*}/{surface}/{id}/{version}", None),
        ("public:{surface}/{*}/{id}/{version}", None),
        ("public:{id}/{version}/{surface}", None),
    ],
)
def test_a_history_is_listed_only_where_the_template_names_the_cover_first(template, prefix):
    where = places(template)
    assert list(where.histories(surface="track_art", cover_id="12")) == (
        [("public", prefix)] if prefix else []
    )
    assert where.can_list_versions is (prefix is not None)


@pytest.mark.parametrize("one", HOSTILE_IDS)
def test_hostile_ids_stay_in_their_segment(one):
    where = places()
    key = key_of(STANDARD, ("track_art", one, 1), ["300"])
    assert key.count("/") == 4
    assert not {".", ".."} & set(key.split("/"))
    met = [other for other in HOSTILE_IDS if is_rendition(where, key, ("track_art", other, 1))]
    assert met == [one]


@pytest.mark.parametrize(
    "key",
    [
        "covers/track_art/12/1/",
        "covers/track_art/12/1",
        "covers/track_art/12/1/a/b",
        "covers/track_art/12//a",
        "covers/track_art/123/1/a",
        "covers/track_art/12/11/a",
        "covers/track_art/12/01/a",
        "covers/profile_image/12/1/a",
        "Covers/track_art/12/1/a",
        "/covers/track_art/12/1/a",
        "covers/track_art/12/1/a/",
        "covers/track_art/%31%32/1/a",
        "",
    ],
)
def test_what_is_no_rendition(key):
    where = places()
    assert is_rendition(where, "covers/track_art/12/1/a", ("track_art", "12", 1))
    assert not is_rendition(where, key, ("track_art", "12", 1))


@pytest.mark.parametrize(
    "key", ["covers/track_art/%41/1/x", "covers/track_art/a/01/x", "covers/track_art/a/b/x"]
)
def test_a_key_that_we_would_not_write_names_no_cover(key):
    assert places().cover_of(ObjectRef(bucket="public", key=key, version_id="1")) is None


def test_another_buckets_key_is_no_rendition():
    assert not is_rendition(places(), "covers/track_art/12/1/a", ("track_art", "12", 1), bucket="intake")


@given(IDS)
def test_a_segment_is_reversible_and_cannot_climb(platform_id):
    made = segment(platform_id)
    assert unquote(made) == platform_id
    assert made
    assert "/" not in made
    assert made not in (".", "..")
    assert made.isascii()


@pytest.mark.parametrize(
    "template",
    [
        "",
        "public",
        "covers/{surface}/{id}/{version}",  # no bucket
        ":covers/{surface}/{id}/{version}",
        "public:covers/{surface}/{id}",
        "public:covers/{surface}/{version}/{*}",
        "public:covers/{id}/{version}/{*}",  # the id of a profile image and of a playlist may be the same
        "public:covers/{surface}/{id}-{version}",
        "public:covers/{surface}/v{version}/{id}",
        "public:covers/{surface}/{id}/{version}/*",
        "public:covers/{surface}/{id}/{version}/{size}",
        "public:covers/{surface}/{id}/{id}/{version}",
        "public:covers/{surface}/{surface}/{id}/{version}",
        "public:/covers/{surface}/{id}/{version}",
        "public:covers//{surface}/{id}/{version}",
        "public:covers/{surface}/{id}/{version}/",
        "public:covers/{surface}/{id}/{version}/a b",
        "public:covers/{surface}/{id}/{version}/.*",
    ],
)
def test_a_malformed_template_is_refused_at_the_start(template):
    with pytest.raises(ConfigurationError, match="renditions"):
        RenditionTemplate.parse(template)
    with pytest.raises(ConfigurationError, match="renditions"):
        places(template)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (STANDARD, STANDARD),
        (STANDARD, "public:covers/{surface}/{version}/{id}/{*}"),
        (STANDARD, "public:{*}/{surface}/{id}/{version}/{*}"),
        (STANDARD, "public:covers/{surface}/{id}/{version}/small"),
        ("public:a/{surface}/{id}/{version}", "public:{surface}/{id}/{version}/{*}"),
    ],
)
def test_templates_that_could_meet_are_refused_at_the_start(one, other):
    with pytest.raises(ConfigurationError, match="two templates"):
        places(one, other)
    with pytest.raises(ConfigurationError, match="two templates"):
        places(other, one)


def test_templates_apart_are_taken():
    places(
        STANDARD,
        "intake:covers/{surface}/{id}/{version}/{*}",
        "public:thumbs/{surface}/{id}/{version}/{*}",
        "public:covers/{surface}/{id}/{version}",
    )


@given(st.sampled_from(TEMPLATES), st.sampled_from(TEMPLATES), COVERS, COVERS, st.tuples(NAMES, NAMES))
def test_templates_that_do_not_meet_share_no_key(one, other, mine, theirs, names):
    first, second = RenditionTemplate.parse(one), RenditionTemplate.parse(other)
    assert first.meets(second) is second.meets(first)
    assume(not first.meets(second))
    assert not is_rendition(places(other), key_of(one, mine, names), theirs)


def test_a_template_of_somebody_elses_bucket_is_refused():
    with pytest.raises(ConfigurationError, match="bucket elsewhere"):
        places("elsewhere:{surface}/{id}/{version}", buckets=frozenset({"public", "intake"}))


# ── URLs ───────────────────────────────────────────────────────────────────────────────────────────────────

URLS = {"public": "https://img.example/{bucket}/{key}", "other": "https://other.example/{key}?w=1"}


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("a/b.jpg", "https://img.example/public/a/b.jpg"),
        ("a b", "https://img.example/public/a%20b"),
        ("100%", "https://img.example/public/100%25"),
        ("a%2Fb", "https://img.example/public/a%252Fb"),
        ("a?b#c&d=e", "https://img.example/public/a%3Fb%23c%26d%3De"),
        ("é", "https://img.example/public/%C3%A9"),
        ("{bucket}", "https://img.example/public/%7Bbucket%7D"),
        ("http://evil.example/", "https://img.example/public/http%3A//evil.example/"),
    ],
)
def test_a_key_becomes_a_url(key, url):
    assert places(urls=URLS).url("public", key) == url


def test_a_private_bucket_has_no_url():
    assert places(urls=URLS).url("intake", "a") is None


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_key_cannot_leave_its_place_in_the_url(key):
    split = urlsplit(places(urls=URLS).url("public", key))
    assert (split.scheme, split.netloc, split.query, split.fragment) == ("https", "img.example", "", "")
    assert unquote(split.path) == f"/public/{key}"


def test_a_url_template_without_the_key_is_refused():
    """Every key would have the same URL, and one 404 would say that everything is gone."""
    with pytest.raises(ConfigurationError, match="public_url"):
        places(urls={"public": "https://img.example/cover"})
