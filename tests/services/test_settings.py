"""Settings wire a safe system or stop the start, and the message names the setting."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from coverguard.errors import ConfigurationError
from coverguard.model import Mode, Surface
from coverguard.settings import FILE, STARTER, Settings, home_of, load


def written(home, text):
    (home / FILE).write_text(text, encoding="utf-8")
    return load(home)


def test_without_a_file_the_defaults_hold(tmp_path):
    read = load(tmp_path)
    assert read == Settings(home=tmp_path)
    assert read.modes == {
        Surface.PLAYLIST_COVER: Mode.GATE, Surface.PROFILE_IMAGE: Mode.WATCH, Surface.TRACK_ART: Mode.GATE,
    }  # fmt: skip
    assert (read.grace, read.relist) == (timedelta(minutes=10), timedelta(minutes=15))
    assert read.readable_buckets == {"intake", "public"}
    assert read.people == {}
    assert not read.verdict_on_cli


def test_the_file_that_a_new_deployment_gets_says_the_defaults(tmp_path):
    assert written(tmp_path, STARTER) == Settings(home=tmp_path)


def test_the_parts_that_platforms_run(tmp_path):
    read = written(
        tmp_path,
        """
        database = "postgresql://coverguard@db.example/coverguard"
        object_store = "s3"
        public_url = "https://covers.example/{key}"
        topics = { pipeline = "https://sqs.example/1/p", safety = "arn:aws:sns:eu-west-1:1:safety" }
        [queues]
        uploads = "https://sqs.example/1/uploads"
        account-events = "https://sqs.example/1/account-events"
        reports = "https://sqs.example/1/reports"
        sweep-shards = "https://sqs.example/1/sweep-shards"
        """,
    )
    assert read.database_url == "postgresql://coverguard@db.example/coverguard"
    assert not read.embedded
    assert read.queues["account-events"] == "https://sqs.example/1/account-events"
    assert read.topics["safety"] == "arn:aws:sns:eu-west-1:1:safety"


def test_the_environment_may_name_another_database_but_no_secret(tmp_path):
    url = "postgresql+psycopg://coverguard_keeper@db.example/coverguard"
    assert load(tmp_path, {"COVERGUARD_DATABASE": url}).database_url == url
    assert load(tmp_path, {}).database_url == f"sqlite:///{tmp_path / 'ledger.db'}"
    with pytest.raises(ConfigurationError, match="PGPASSFILE") as caught:
        load(tmp_path, {"COVERGUARD_DATABASE": url.replace("@", ":hush@")})
    assert "hush" not in str(caught.value)


def test_what_the_file_says(tmp_path):
    read = written(
        tmp_path,
        """
        grace = "90s"
        lease = "2m"
        review_target = "12h"
        preservation = "400d"
        hold_budget = 7
        max_bytes = 1000
        verdict_on_cli = true
        public_bucket = "covers"
        renditions = ["covers:a/{surface}/{id}/{version}/{*}"]
        [modes]
        track_art = "watch"
        [people]
        ada = ["moderator", "list_editor"]
        """,
    )
    assert (read.grace, read.lease) == (timedelta(seconds=90), timedelta(minutes=2))
    assert (read.review_target, read.preservation) == (timedelta(hours=12), timedelta(days=400))
    assert (read.hold_budget, read.max_bytes, read.verdict_on_cli) == (7, 1000, True)
    assert read.modes[Surface.TRACK_ART] is Mode.WATCH
    assert read.modes[Surface.PLAYLIST_COVER] is Mode.GATE
    assert read.people == {"ada": frozenset({"moderator", "list_editor"})}
    assert read.readable_buckets == {"intake", "covers"}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("unknown_one", "unknown_one = 1"),
        ("database", 'database = "mysql://localhost/ledger"'),
        ("database", 'database = "postgresql://worker:secret@localhost/ledger"'),
        ("database", 'database = "postgresql://worker@localhost/ledger?password=secret"'),
        ("database", 'database = "postgresql://[worker"'),
        ("object_store", 'object_store = "s4"'),
        ("public_url", 'object_store = "s3"'),
        ("queues", 'queues = { uploads = "https://sqs.example/1/uploads" }'),
        ("queues", "queues = 5"),
        ("topics", 'topics = { pipeline = "pipeline", safety = "https://sqs.example/1/safety" }'),
        ("heads_bucket", 'heads_bucket = "vault"'),
        ("heads_prefix", 'heads_prefix = "no-slash"'),
        ("heads_prefix", 'heads_prefix = "../"'),
        ("metrics_port", "metrics_port = 70000"),
        ("trust_object_metadata", 'trust_object_metadata = "yes"'),
        ("home", 'home = "/tmp"'),
        ("radius", "radius = 31"),
        ("grace", "grace = 10"),
        ("grace", 'grace = ""'),
        ("grace", 'grace = "m"'),
        ("grace", 'grace = "10"'),
        ("grace", 'grace = "10w"'),
        ("grace", 'grace = "1.5m"'),
        ("grace", 'grace = "-5m"'),
        ("grace", 'grace = "0s"'),
        ("preservation", 'preservation = "9999999999d"'),
        ("hold_budget", 'hold_budget = "5"'),
        ("hold_budget", "hold_budget = 1.5"),
        ("hold_budget", "hold_budget = true"),
        ("hold_budget", "hold_budget = -1"),
        ("max_bytes", "max_bytes = 0"),
        ("max_bytes", "max_bytes = -5"),
        ("file_server_port", "file_server_port = 70000"),
        ("file_server_port", "file_server_port = 0"),
        ("verdict_on_cli", "verdict_on_cli = 1"),
        ("verdict_on_cli", 'verdict_on_cli = "yes"'),
        ("vault_bucket", "vault_bucket = 3"),
        ("vault_bucket", 'vault_bucket = "public"'),
        ("vault_bucket", 'vault_bucket = "intake"'),
        ("modes", 'modes = "gate"'),
        ("modes", 'modes = { album_art = "gate" }'),
        ("modes", 'modes = { track_art = "open" }'),
        ("modes", "modes = { track_art = 1 }"),
        ("people", "people = 1"),
        ("people", 'people = { ada = ["king"] }'),
        ("people", 'people = { ada = "moderator" }'),
        ("people", "people = { ada = 1 }"),
        ("renditions", "renditions = 1"),
        ("renditions", 'renditions = "public:{surface}/{id}/{version}"'),
        ("renditions", 'renditions = ["public:{id}"]'),
        ("renditions", 'renditions = ["vault:{surface}/{id}/{version}"]'),
        ("renditions", 'renditions = ["public:{surface}/{id}/{version}", "public:{surface}/{version}/{id}"]'),
        ("public_url", 'public_url = "http://127.0.0.1/"'),
    ],
)
def test_what_is_malformed_is_named(tmp_path, name, line):
    with pytest.raises(ConfigurationError, match=name):
        written(tmp_path, line)


CATALOGUE_KINDS = {
    "https://covers.example/safety/v1": True,
    "https://covers.example:8443": True,
    "http://127.0.0.1:8080/catalogue": True,
    "http://[::1]:8080/catalogue": True,
    "http://covers.example/v1": False,
    "http://localhost:8080": False,
    "http://127.0.0.1.example/v1": False,
    "https://covers.example/v1/": False,
    "https://covers.example/v1?key=1": False,
    "https://covers.example/v1#x": False,
    "https://key@covers.example/v1": False,
    "https://a:b@covers.example/v1": False,
    "https://covers.example:99999/v1": False,
    "https://covers.example:x/v1": False,
    "https:///v1": False,
    "https://[covers/v1": False,
    "https://covers.example/a b": False,
    "https://covers.example/\u00e9": False,
    "file:///etc/covers": False,
    "covers.example/v1": False,
}


@pytest.mark.parametrize("url", CATALOGUE_KINDS)
def test_the_catalogues_key_goes_to_one_place_and_never_in_the_clear(tmp_path, url):
    if CATALOGUE_KINDS[url]:
        assert written(tmp_path, f'catalogue_url = "{url}"').catalogue_url == url
        return
    with pytest.raises(ConfigurationError, match="setting catalogue_url") as caught:
        written(tmp_path, f'catalogue_url = "{url}"')
    assert url not in str(caught.value)


@pytest.mark.parametrize("content", [b"= 1", b"\xff\xfe", b"grace = ", b"[people"])
def test_what_is_no_toml_is_refused(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ConfigurationError, match=FILE):
        load(tmp_path)


def test_a_folder_in_the_files_place_is_refused(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(ConfigurationError, match="IsADirectoryError"):
        load(tmp_path)


def test_no_renditions_at_all_is_a_choice(tmp_path):
    assert written(tmp_path, "renditions = []").renditions == ()


@pytest.mark.parametrize(
    ("option", "environment", "home"),
    [
        ("/a", {"COVERGUARD_HOME": "/b"}, "/a"),
        (None, {"COVERGUARD_HOME": "/b"}, "/b"),
        ("", {"COVERGUARD_HOME": "/b"}, "/b"),
        (None, {}, ".coverguard"),
        (None, {"COVERGUARD_HOME": ""}, ".coverguard"),
    ],
)
def test_where_the_deployment_is(option, environment, home):
    assert home_of(option, environment) == Path(home).absolute()


def test_the_urls_of_the_public_bucket_only(tmp_path):
    places = load(tmp_path).places()
    assert places.url("public", "a b") == "http://127.0.0.1:8765/public/a%20b"
    assert places.url("intake", "a") is None
    assert places.url("vault", "a") is None
