"""Lists from allow-listed buckets, and what `lists load` says of columns, of going on, and of freshness."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace

import pytest
from test_importing import csv_of, rows_of
from world import EDITOR

from coverguard import cli
from coverguard.errors import BadListFile, ConfigurationError, NotFound, Refused
from coverguard.hashlist import ListFormat
from coverguard.local.folder import FolderStore
from coverguard.settings import load

BUCKET = "lists-in"
KEY = "industry/newest.csv"


@pytest.fixture
def town(make_world):
    made = make_world(list_buckets=(BUCKET,))
    made.list_of()
    return made


def put(world, data, key=KEY):
    store = FolderStore(
        root=world.home / "objects", buckets=frozenset([BUCKET]), vault=world.settings.vault_bucket
    )
    return store, store.put(BUCKET, key, data, content_type="text/csv", metadata={})


def loaded(world, place=f"s3://{BUCKET}/{KEY}", **options):
    return world.importer.load_file("industry", place, list_format=ListFormat.CSV, actor=EDITOR, **options)


def files(world):
    """What lies in the deployment's own folder, the ledger and objects apart."""
    return {path.name for path in world.home.iterdir() if not path.name.startswith("ledger")}


def test_a_list_is_loaded_from_the_newest_version_of_an_object(town):
    put(town, csv_of(rows_of(1)).encode())
    put(town, csv_of(rows_of(1, 2, 3)).encode())
    put(town, b"nonsense", key=KEY + ".old")
    before = files(town)
    assert loaded(town, dry_run=True).upserts == 3
    assert loaded(town).upserts == 3
    assert files(town) == before


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("s3://public/x.csv", Refused),
        ("s3://vault/x.csv", Refused),
        (f"s3://{BUCKET}-2/x.csv", Refused),
        (f"s3://{BUCKET}/{KEY[:-1]}", NotFound),
        (f"s3://{BUCKET}/", BadListFile),
        (f"s3://{BUCKET}", BadListFile),
        ("s3:///x", BadListFile),
    ],
)
def test_what_is_not_allowed_or_not_there_is_not_loaded(town, place, error):
    put(town, csv_of(rows_of(1)).encode())
    before = files(town)
    with pytest.raises(error) as caught:
        loaded(town, place)
    assert "x.csv" not in str(caught.value)
    assert files(town) == before


def test_an_object_that_was_deleted_is_not_loaded(town):
    store, _ = put(town, csv_of(rows_of(1)).encode())
    store.delete(BUCKET, KEY)
    with pytest.raises(NotFound):
        loaded(town)


def test_without_list_buckets_no_bucket_is_read(world):
    world.list_of()
    with pytest.raises(Refused, match="list_buckets"):
        loaded(world)


def test_nothing_is_left_behind_by_an_object_that_makes_no_sense(town):
    put(town, b"canary,algorithm\n")
    before = files(town)
    with pytest.raises(BadListFile):
        loaded(town)
    assert files(town) == before


def test_an_object_that_is_too_large_is_refused(town):
    put(town, csv_of(rows_of(1, 2)).encode())
    town.importer = replace(town.importer, buckets=replace(town.importer.buckets, largest=40))
    with pytest.raises(BadListFile, match="more than 40 bytes"):
        loaded(town)


@pytest.mark.parametrize("bucket", ["public_bucket", "vault_bucket", "heads_bucket", "intake_bucket"])
def test_a_bucket_of_covers_is_none_of_lists(tmp_path, bucket):
    tmp_path.chmod(0o700)
    mine = f'{bucket} = "same-one"\nlist_buckets = ["same-one"]\n'
    (tmp_path / "coverguard.toml").write_text(mine)
    with pytest.raises(ConfigurationError, match="list_buckets: must be buckets of their own"):
        load(tmp_path, {})


# ── the command ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def said(tmp_path, capsys):
    """Run a command; return its exit code and what it said."""
    home = tmp_path / "home"

    def run(*words):
        code = cli.main(["--home", str(home), *words])
        told = capsys.readouterr()
        return code, told.out + told.err

    run("migrate")
    me = pwd.getpwuid(os.getuid()).pw_name
    (home / "coverguard.toml").write_text(f'[people]\n{me} = ["list_editor"]\n')
    assert run("lists", "add", "l", "--source", "s", "--category", "other")[0] == 0
    return run


def test_the_command_takes_the_names_of_columns(said, tmp_path):
    path = tmp_path / "delivery.csv"
    path.write_text(f"Ref,HashMD5,More\n17,{'ab' * 16},x\n")
    options = ("lists", "load", "l", str(path), "--format", "iwf", "--columns")
    code, told = said(*options, "id=Ref,md5=HashMD5")
    assert code == 0
    assert "not read: column 3, in 1 rows" in told
    assert "must be WORD=NAME" in said(*options, "id")[1]
    assert "no column for sha1" in said(*options, "sha1=Missing")[1]


def test_the_command_takes_columns_for_deliveries_only(said, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(csv_of(rows_of(1)))
    code, told = said("lists", "load", "l", str(path), "--columns", "md5=X")
    assert code != 0
    assert "for --format iwf and gifct" in told


@pytest.mark.parametrize("dry", [True, False])
def test_the_command_says_when_a_list_that_ages_was_not_made_fresh(said, tmp_path, dry):
    path = tmp_path / "list.csv"
    load_it = ("lists", "load", "l", str(path), *(("--dry-run",) if dry else ()))
    path.write_text(csv_of(rows_of(1)) + "a\n")
    assert "fresh" not in said(*load_it)[1], "it never gets stale"
    assert said("lists", "rule", "l", "--max-age", "7d", "--note", "n")[0] == 0
    assert "the list fresh, as it has faulty lines" in said(*load_it)[1]
    path.write_text(csv_of([*rows_of(1), *rows_of(1)]))
    assert "fresh" not in said(*load_it)[1], "a mere repeat casts no doubt"
