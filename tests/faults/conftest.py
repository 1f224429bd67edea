"""Servers that these tests may kill, and the stories of a run in which nothing went wrong."""

import contextlib

import pytest
import town as towns

from coverguard.testing.servers import Postgres, Seaweed


@pytest.fixture(scope="session")
def mortal_postgres():
    """With fsync, for it will be killed."""
    with Postgres(durable=True) as server:
        yield server
        server.kill()  # quicker, and nobody is sorry


@pytest.fixture(scope="session")
def mortal_seaweed():
    with Seaweed() as server:
        yield server
        server.kill()


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    """Each kind of cover's story, from a run on the embedded profile in which nothing went wrong."""
    with towns.embedded(tmp_path_factory.mktemp("clean") / "home") as place:
        town = towns.Town(place, 0)
        town.announce(2 * towns.DISTINCT)
        with (
            town.stranger,
            towns.process(place, "worker", "worker"),
            towns.process(place, "keeper", "keeper"),
        ):
            towns.until(town.drained)
        town.judge()
        return town.clean_stories()


@pytest.fixture
def settle(tmp_path, monkeypatch, ministack, mortal_seaweed, mortal_postgres):
    """Makes the place of a town on SQS, S3 and PostgreSQL; takes settings."""

    @contextlib.contextmanager
    def made(**chosen):
        servers = {"sqs": ministack.endpoint, "s3": mortal_seaweed.endpoint, "postgres": mortal_postgres}
        with towns.on_servers(tmp_path / "home", monkeypatch, **servers, **chosen) as place:
            place.servers = {"postgres": mortal_postgres, "s3": mortal_seaweed}
            yield place

    return made
