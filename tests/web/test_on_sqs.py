"""A public process as its host runs it: queues on SQS, a public key of ours, and no secret but its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

sys.path.append(str(Path(__file__).parents[1] / "aws"))

from sites import served
from sqs_place import caller, make_place

from coverguard import bootstrap, fronts, preparing
from coverguard.aws import clients
from coverguard.messages import ReportFiled, parse
from coverguard.settings import FILE, QUEUES
from coverguard.telemetry import Log

pytestmark = pytest.mark.servers


@pytest.fixture
def worker_home(tmp_path: Path, ministack, monkeypatch) -> Iterator[Path]:
    for name, value in ministack.endpoint.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", ministack.endpoint.url)
    client = clients.sqs(**caller(ministack.endpoint))
    home = tmp_path / "worker"
    home.mkdir(mode=0o700)
    addresses = [f'{name} = "{make_place(client).url}"' for name in QUEUES]
    ledger = f'database = "sqlite:///{home}/ledger.db"'
    (home / FILE).write_text("\n".join([ledger, "[queues]", *addresses]))
    preparing.prepare(home)
    return home


def test_a_report_goes_over_sqs_and_its_thread_comes_back(worker_home: Path, tmp_path: Path):
    home = tmp_path / "public"
    (home / "keys").mkdir(mode=0o700, parents=True)
    shutil.copy(worker_home / FILE, home)
    shutil.copy(worker_home / "keys" / "letters.pub", home / "keys")
    with (
        fronts.front(home, log=Log(stream=None)) as parts,
        parts.public() as application,
        served(application) as address,
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        answer = client.post(
            "/v1/reports", json={"category": "child_abuse", "account_ids": ["her"], "text": "w"}
        )
        assert answer.status_code == 202
        assert {file.name for file in (home / "keys").iterdir()} == {
            "letters.pub", "networks.key", "receipt.key", "receipt.pub"
        }  # fmt: skip
        _take_in(worker_home)
        reference, token = answer.json()["document"]["reference"], answer.json()["token"]
        thread = client.post(f"/v1/reports/{reference}/thread", json={"token": token}).json()
        assert [entry["author"] for entry in thread["entries"]] == ["reporter", "automatic"]


def _take_in(home: Path) -> None:
    """What a worker does with the one message that waits."""
    with bootstrap.deployment(home, log=Log(stream=None)) as parts:
        queue = parts.queue(bootstrap.REPORTS)
        (delivery,) = queue.receive(limit=1, wait=timedelta(seconds=5), lease=timedelta(seconds=60))
        assert isinstance(parse(delivery.body), ReportFiled)
        queue.settle(delivery, parts.intake().handle(delivery))
