"""The queue contract on SQS as two servers understand it; where they lie is named here."""

from __future__ import annotations

import pytest
from queue_contract import OUTCOMES, Bench, QueueContract
from sqs_place import make_place

pytestmark = pytest.mark.servers


class TestOnMinistack(QueueContract):
    @pytest.fixture
    def bench(self, ministack_sqs) -> Bench:
        place = make_place(ministack_sqs)
        return Bench.of_server(place.queue, faults=place.faults)


class TestOnMoto(QueueContract):
    @pytest.fixture
    def bench(self, moto_sqs) -> Bench:
        place = make_place(moto_sqs)
        return Bench.of_server(place.queue, faults=place.faults, tells_stale=False)

    @pytest.mark.xfail(strict=True, reason="moto deletes the message for whoever ever had a receipt of it")
    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_a_stale_receipt_settles_nothing(self, bench, outcome):
        super().test_a_stale_receipt_settles_nothing(bench, outcome)
