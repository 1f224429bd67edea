"""The object store contract, on each adapter there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.register_assert_rewrite("object_store")

from object_store import HOSTILE_KEYS, Bench, ObjectStoreContract, Served  # noqa: E402 - after the rewrite
from s3_platform import client_of, s3_bench  # noqa: E402 - as above

from coverguard.local.folder import FolderStore  # noqa: E402 - as above
from coverguard.local.stack import StoredVersion  # noqa: E402 - as above
from coverguard.testing.servers import Ministack, Seaweed  # noqa: E402 - as above


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


@pytest.mark.servers
class TestSeaweed(ObjectStoreContract):
    # A key that ends in a slash is a directory to it, and so is every part before one.
    hostile_keys = tuple(key for key in HOSTILE_KEYS if not key.endswith("/"))

    @pytest.fixture
    def bench(self, seaweed: Seaweed) -> Bench:
        return s3_bench(client_of(seaweed.endpoint))


@pytest.mark.servers
class TestMinistack(ObjectStoreContract):
    @pytest.fixture
    def bench(self, ministack: Ministack) -> Bench:
        return s3_bench(client_of(ministack.endpoint))
