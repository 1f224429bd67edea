"""A deployment a test, on servers that all share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.register_assert_rewrite("quarter")

from quarter import Quarter, opened  # noqa: E402 - after the rewrite is registered

from coverguard.testing.servers import Ministack, Postgres, Seaweed  # noqa: E402 - as above


@pytest.fixture
def open_quarter(
    tmp_path: Path, ministack: Ministack, seaweed: Seaweed, postgres: Postgres
) -> Iterator[Callable[..., Quarter]]:
    with ExitStack() as stack:

        def open_(more: str = "") -> Quarter:
            return stack.enter_context(
                opened(tmp_path, sqs=ministack, s3=seaweed, postgres=postgres, more=more)
            )

        yield open_
