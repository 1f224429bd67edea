"""What all tests share: the Hypothesis profiles, and the servers, each started once when it is first needed.

Other fixtures live beside the tests that need them. A test that needs a server has the mark `servers`.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from coverguard.testing.servers import Ministack, Moto, Postgres, Seaweed

# No deadline: a slow neighbour on a shared machine is not a fault of the code.
settings.register_profile("coverguard", deadline=None, max_examples=60, print_blob=True)
settings.register_profile("fast", settings.get_profile("coverguard"), max_examples=12)
settings.load_profile(os.environ.get("COVERGUARD_HYPOTHESIS", "coverguard"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("by_hand") and not os.environ.get("COVERGUARD_BY_HAND"):
        pytest.skip("takes a quarter of an hour and more: run it by hand")


@pytest.fixture(scope="session")
def ministack() -> Iterator[Ministack]:
    with Ministack() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    with Moto() as server:
        yield server


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Seaweed]:
    with Seaweed() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server
