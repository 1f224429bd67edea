"""Deployments with all their processes: one for the tests of a module, more for who asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

pytest.register_assert_rewrite("quarter")

from quarter import Open, opened  # noqa: E402 - after the rewrite is registered

from coverguard.testing.servers import Ministack, Postgres, Seaweed  # noqa: E402 - as above


@pytest.fixture(scope="module")
def open_town(
    tmp_path_factory: pytest.TempPathFactory, ministack: Ministack, seaweed: Seaweed, postgres: Postgres
) -> Iterator[Callable[[str], Open]]:
    """Opens a town with further settings."""
    with ExitStack() as stack:

        def open_(more: str) -> Open:
            folder = tmp_path_factory.mktemp("town")
            return stack.enter_context(
                opened(folder, sqs=ministack, s3=seaweed, postgres=postgres, more=more)
            )

        yield open_
