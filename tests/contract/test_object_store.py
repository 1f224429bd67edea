"""The object store contract, on each adapter there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.register_assert_rewrite("object_store", "s3_platform")

from object_store import HOSTILE_KEYS, Bench, ObjectStoreContract, Served  # noqa: E402 - after the rewrite
from s3_platform import S3Place, client_of  # noqa: E402 - as above

from coverguard.local.folder import FolderStore  # noqa: E402 - as above
from coverguard.local.stack import StoredVersion  # noqa: E402 - as above
from coverguard.testing.servers import Ministack, Seaweed  # noqa: E402 - as above

# Without those that only a folder could stumble over: they cost a dozen calls each.
S3_KEYS = tuple(key for key in HOSTILE_KEYS if key not in {"=a", "@", "@/versions.json", "lock", "A", "a"})


@dataclass(frozen=True)
class FolderPlatform:
    store: FolderStore

    def put(self, bucket, key, data, **described):
        return self.store.put(bucket, key, data, **described)

    def delete(self, bucket, key):
        self.store.delete(bucket, key)

    def served(self, bucket, key):
        info = self.store.current(bucket, key)
        if info is None:
            return None
        return Served(
            data=self.store.read(info.ref, limit=info.size),
            content_type=info.content_type,
            metadata=info.metadata,
            tags=self._version(info.ref).tags,
            headers=self._version(info.ref).headers,
        )

    def legal_hold(self, ref):
        return self._version(ref).legal_hold

    def _version(self, ref):
        found = [
            entry for entry in self.store.versions(ref.bucket, ref.key) if entry.version_id == ref.version_id
        ]
        assert isinstance(found[0], StoredVersion)
        return found[0]


class TestFolderStore(ObjectStoreContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        buckets = frozenset({"covers", "renditions", "vault"})
        store = FolderStore(root=tmp_path / "store", buckets=buckets, vault="vault", durable=False)
        return Bench(store=store, platform=FolderPlatform(store))


@pytest.fixture(scope="module")
def seaweed_s3(seaweed: Seaweed):
    return S3Place(client_of(seaweed.endpoint))


@pytest.fixture(scope="module")
def ministack_s3(ministack: Ministack):
    return S3Place(client_of(ministack.endpoint))


@pytest.mark.servers
class TestSeaweed(ObjectStoreContract):
    # Keys are paths to it: it refuses dots, takes empty parts away, turns backslashes round, and takes what
    # ends in a slash for a directory.
    hostile_keys = tuple(
        key for key in HOSTILE_KEYS if not {"", ".", ".."}.intersection(key.split("/")) and "\\" not in key
    )

    @pytest.fixture
    def bench(self, seaweed_s3) -> Bench:
        return seaweed_s3.emptied()


@pytest.mark.servers
class TestMinistack(ObjectStoreContract):
    hostile_keys = S3_KEYS
    reads_tags_under_a_marker = False

    @pytest.fixture
    def bench(self, ministack_s3) -> Bench:
        return ministack_s3.emptied()
