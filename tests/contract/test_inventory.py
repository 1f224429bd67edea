"""What the buckets hold of a cover, on each store: all versions, known or not, and nothing of another."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from coverguard.acting.inventory import Inventory
from coverguard.acting.places import Places, segment
from coverguard.aws.s3 import S3Store
from coverguard.errors import Refused
from coverguard.local.clock import SystemClock
from coverguard.local.folder import FolderStore
from coverguard.model import ObjectRef
from coverguard.ports import ObjectStore
from coverguard.testing.buckets import S3Buckets
from coverguard.testing.platform import Buckets
from coverguard.testing.servers import Ministack, Seaweed

STORES = ("folder", pytest.param("seaweed", marks=pytest.mark.servers),
          pytest.param("ministack", marks=pytest.mark.servers))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A store and the platform's side of it; `root` is of one test, so that many share the buckets."""

    store: ObjectStore
    platform: Buckets
    bucket: str = "covers"
    other_bucket: str = "renditions"
    root: str = field(default_factory=lambda: uuid4().hex)

    def put(self, key: str, bucket: str | None = None) -> ObjectRef:
        place = f"{self.root}/{key}"
        return self.platform.put(bucket or self.bucket, place, b"generated", content_type="image/png")

    def inventory(self, *templates: str) -> Inventory:
        """Templates are `bucket:path` below the root; the usual one, if there is none."""
        named = templates or (f"{self.bucket}:covers/{{surface}}/{{id}}/{{version}}/{{*}}",)
        rooted = [one.replace(":", f":{self.root}/", 1) for one in named]
        return Inventory(store=self.store, places=Places(urls={}, renditions=rooted))


def on_s3(server: Seaweed | Ministack) -> Bench:
    platform, name = S3Buckets.at(server.endpoint), f"t{uuid4().hex[:12]}"
    names = [f"{name}-covers", f"{name}-renditions", f"{name}-vault"]
    for one in names:
        platform.make(one, locked=one == names[2])
    store = S3Store(platform.client, buckets=frozenset(names[:2]), vault=names[2], clock=SystemClock())
    return Bench(store=store, platform=platform, bucket=names[0], other_bucket=names[1])


@pytest.fixture(scope="module")
def seaweed_bench(seaweed: Seaweed) -> Bench:
    return on_s3(seaweed)


@pytest.fixture(scope="module")
def ministack_bench(ministack: Ministack) -> Bench:
    return on_s3(ministack)


@pytest.fixture(params=STORES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    if request.param != "folder":
        shared: Bench = request.getfixturevalue(f"{request.param}_bench")
        return Bench(
            store=shared.store,
            platform=shared.platform,
            bucket=shared.bucket,
            other_bucket=shared.other_bucket,
        )
    buckets = frozenset({"covers", "renditions", "vault"})
    store = FolderStore(root=tmp_path / "store", buckets=buckets, vault="vault", durable=False)
    return Bench(store=store, platform=store)


def found(asked: Inventory, cover_id: str, surface: str = "track_art"):
    return list(asked.of_cover(surface=surface, cover_id=cover_id))


def test_every_version_is_found_with_its_number(bench):
    refs = {
        (version, name): bench.put(f"covers/track_art/12/{version}/{name}")
        for version in (0, 1, 7, 10) for name in ("full.jpg", "w300.jpg")
    }  # fmt: skip
    got = found(bench.inventory(), "12")
    assert {(one.version, one.ref.key.rpartition("/")[2]): one.ref for one in got} == refs
    assert [one.ref.key for one in got] == sorted(one.ref.key for one in got)
    assert {(one.surface, one.cover_id) for one in got} == {("track_art", "12")}


def test_nothing_of_another_cover_is_found(bench):
    mine = bench.put("covers/track_art/12/1/a")
    for key in (
        "covers/track_art/123/1/a", "covers/track_art/1/2/a", "covers/track_art/1/12/a",
        "covers/profile_image/12/1/a", "covers/track_art/12-/1/a", "covers/track_art/012/1/a",
    ):  # fmt: skip
        bench.put(key)
    bench.put("covers/track_art/12/1/a", bench.other_bucket)
    assert [one.ref for one in found(bench.inventory(), "12")] == [mine]


def test_what_lies_there_and_is_no_rendition_is_left_out(bench):
    for key in ("12/notes", "12/x/a", "12/01/a", "12/1/a/b"):
        bench.put(f"covers/track_art/{key}")
    assert found(bench.inventory(), "12") == []


@pytest.mark.parametrize("cover_id", ["a/b", "..", "é", "a b", "100%", "🦊"])
def test_ids_of_any_kind(bench, cover_id):
    mine = bench.put(f"covers/track_art/{segment(cover_id)}/3/a")
    assert [(one.cover_id, one.version, one.ref) for one in found(bench.inventory(), cover_id)] == [
        (cover_id, 3, mine)
    ]


def test_what_nobody_is_served_is_not_found(bench):
    shown, blocked = bench.put("covers/track_art/12/1/a"), bench.put("covers/track_art/12/1/b")
    bench.put("covers/track_art/12/2/a")
    bench.platform.delete(bench.bucket, f"{bench.root}/covers/track_art/12/2/a")
    bench.store.block(blocked, token="t1")
    assert [one.ref for one in found(bench.inventory(), "12")] == [shown]


def test_each_template_is_looked_at_that_can_be(bench):
    asked = bench.inventory(
        f"{bench.bucket}:a/{{surface}}/{{id}}/{{version}}",
        f"{bench.other_bucket}:{{surface}}/{{version}}/{{id}}",
    )  # fmt: skip
    mine = bench.put("a/track_art/12/4")
    bench.put("track_art/5/12", bench.other_bucket)
    assert [(one.version, one.ref) for one in found(asked, "12")] == [(4, mine)]
    assert not asked.complete
    assert bench.inventory().complete


def test_a_bucket_that_is_not_ours_is_refused(bench):
    with pytest.raises(Refused):
        found(bench.inventory("elsewhere:{surface}/{id}/{version}"), "12")
