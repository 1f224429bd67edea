"""The CDN contract, on each adapter there is."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import pytest

pytest.register_assert_rewrite("cdn")

from cdn import CdnBench, CdnContract  # noqa: E402 - after the rewrite is registered

from coverguard.aws import clients  # noqa: E402 - as above
from coverguard.aws.cloudfront import CloudFrontCdn  # noqa: E402 - as above
from coverguard.local.cdn import LocalCdn  # noqa: E402 - as above
from coverguard.local.clock import SystemClock  # noqa: E402 - as above
from coverguard.local.fileserver import Server  # noqa: E402 - as above
from coverguard.local.folder import FolderStore  # noqa: E402 - as above


@dataclass(frozen=True)
class LocalBench:
    cdn: LocalCdn
    store: FolderStore
    bucket: str = "covers"

    def cache(self, key: str) -> None:
        ref = self.store.put(self.bucket, key, b"generated", content_type="image/png")
        assert self._ask(key) == 200
        self.store.block(ref, token="t1")

    def cached(self, key: str) -> bool:
        return self._ask(key) == 200

    def _ask(self, key: str) -> int:
        try:
            with urllib.request.urlopen(f"{self.cdn.url}/{self.bucket}/{quote(key)}", timeout=10) as found:
                return found.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code


class TestLocalCdn(CdnContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[CdnBench]:
        store = FolderStore(
            root=tmp_path / "store", buckets=frozenset({"covers"}), vault="vault", durable=False
        )
        with (
            Server(store, public=frozenset({"covers"}), port=0) as origin,
            LocalCdn(f"http://127.0.0.1:{origin.port}") as cdn,
        ):
            yield LocalBench(cdn=cdn, store=store)


@dataclass(frozen=True)
class CloudFrontBench:
    """The server has no edges: it is asked what it was told to forget, and whether it says that it has."""

    cdn: CloudFrontCdn
    client: Any
    distribution: str
    bucket: str = "covers"

    def cache(self, key: str) -> None:
        """Everything counts as cached until it is named."""

    def cached(self, key: str) -> bool:
        listed = self.client.list_invalidations(DistributionId=self.distribution)["InvalidationList"]
        for summary in listed.get("Items", []):
            found = self.client.get_invalidation(DistributionId=self.distribution, Id=summary["Id"])
            assert found["Invalidation"]["Status"] == "Completed"
            paths = found["Invalidation"]["InvalidationBatch"]["Paths"]["Items"]
            if f"/{key}" in {unquote(path) for path in paths}:
                return False
        return True


@pytest.fixture(scope="module")
def client(ministack):
    caller = ministack.endpoint
    return clients.cloudfront(
        endpoint_url=caller.url,
        aws_access_key_id=caller.access_key,
        aws_secret_access_key=caller.secret_key,
        region_name=caller.region,
    )


@pytest.mark.servers
class TestCloudFront(CdnContract):
    @pytest.fixture
    def bench(self, client) -> CdnBench:
        made = client.create_distribution(DistributionConfig=distribution_config())
        distribution = made["Distribution"]["Id"]
        cdn = CloudFrontCdn(client, distribution=distribution, clock=SystemClock())
        return CloudFrontBench(cdn=cdn, client=client, distribution=distribution)


def distribution_config() -> dict[str, Any]:
    origin = {
        "Id": "covers",
        "DomainName": "covers.s3.amazonaws.com",
        "S3OriginConfig": {"OriginAccessIdentity": ""},
    }
    behaviour = {
        "TargetOriginId": "covers",
        "ViewerProtocolPolicy": "https-only",
        "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
        "MinTTL": 0,
    }
    return {
        "CallerReference": uuid4().hex,
        "Comment": "",
        "Enabled": True,
        "Origins": {"Quantity": 1, "Items": [origin]},
        "DefaultCacheBehavior": behaviour,
    }
