"""Clients of the SQS servers. The queue contract lies beside the tables' tests and is run from here, too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "store"))
pytest.register_assert_rewrite("queue_contract", "sqs_place")

from sqs_place import Place, caller, make_place  # noqa: E402 - after the rewrite is registered

from coverguard.aws import clients  # noqa: E402 - as above


@pytest.fixture(scope="session")
def ministack_sqs(ministack):
    return clients.sqs(**caller(ministack.endpoint))


@pytest.fixture(scope="session")
def moto_sqs(moto):
    return clients.sqs(**caller(moto.endpoint))


@pytest.fixture
def place(ministack_sqs) -> Place:
    return make_place(ministack_sqs)
