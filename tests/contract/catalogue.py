"""What every `ports.Catalogue` over a platform that has one must do: one suite, run on each adapter.

A bench has the platform's holdings, told in pages of `PAGE` covers, and a catalogue over them.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol

import pytest

from coverguard.errors import Refused, TransientError
from coverguard.messages import Cover, CoverUploaded, StoredObject
from coverguard.model import Surface
from coverguard.ports import Catalogue
from coverguard.testing.catalogue import Holdings, Kind

PAGE = 5
ACCOUNTS = (
    "account-1", "account-12", "12", "123", ".", "..", "a/b", "../account-1", "a?limit=1", "a#b", "a%2Fb",
    "a b", "a+b", "a&b", "naïve", "🦊", "\\", "x" * 200,
)  # fmt: skip
BROKEN = tuple(kind for kind in Kind if kind not in (Kind.NONE, Kind.SHUT))


class CatalogueBench(Protocol):
    catalogue: Catalogue
    holdings: Holdings


def uploaded(account: str, number: int, **changed: object) -> CoverUploaded:
    """A cover version of an account; every third lies on somebody else's playlist."""
    cover = Cover(id=f"cover-{number // 2}", version=number % 2, surface=Surface.PLAYLIST_COVER)
    facts: dict[str, object] = {
        "event_id": f"event-{account}-{number}"[:100],
        "occurred_at": datetime(2026, 1, 2, 3, 4, 5, number, tzinfo=UTC),
        "cover": cover,
        "uploader_id": account,
        "owner_id": account if number % 3 else "somebody",
        "playlist_id": None if number % 3 else "shared",
        "object": StoredObject(bucket="public", key=f"covers/{number}/naïve 🦊", version_id="1"),
        "renditions": [
            StoredObject(bucket="public", key=f"r/{number}/{size}", version_id="2") for size in (64, 300)
        ],
    }
    return CoverUploaded.model_validate({**facts, **changed})


def told(bench: CatalogueBench, account: str) -> list[CoverUploaded]:
    return list(bench.catalogue.covers_of(account))


def keys(covers: list[CoverUploaded]) -> Counter[tuple[str, int]]:
    return Counter((one.cover.id, one.cover.version) for one in covers)


class CatalogueContract:
    @pytest.fixture
    def bench(self, request: pytest.FixtureRequest) -> CatalogueBench:
        raise NotImplementedError

    def test_it_says_that_it_is_there(self, bench: CatalogueBench) -> None:
        assert bench.catalogue.exists

    def test_an_account_that_nobody_knows_has_nothing(self, bench: CatalogueBench) -> None:
        bench.holdings.put(uploaded("account-1", 0))
        assert told(bench, "account-2") == []

    @pytest.mark.parametrize("count", [1, PAGE - 1, PAGE, PAGE + 1, 4 * PAGE + 2])
    def test_everything_is_told_as_it_would_be_announced(self, bench: CatalogueBench, count: int) -> None:
        had = [uploaded("account-1", number) for number in range(count)]
        for one in had:
            bench.holdings.put(one)
        assert sorted(told(bench, "account-1"), key=lambda one: one.occurred_at) == had
        assert told(bench, "account-1") == told(bench, "account-1")

    def test_each_account_has_its_own(self, bench: CatalogueBench) -> None:
        for number, account in enumerate(ACCOUNTS):
            for one in range(number + 1):
                bench.holdings.put(uploaded(account, one))
        for number, account in enumerate(ACCOUNTS):
            covers = told(bench, account)
            assert len(covers) == number + 1
            assert {one.uploader_id for one in covers} == {account}

    def test_what_was_forgotten_is_not_told(self, bench: CatalogueBench) -> None:
        had = [uploaded("account-1", number) for number in range(3)]
        for one in had:
            bench.holdings.put(one)
        bench.holdings.forget(had[1])
        assert told(bench, "account-1") == [had[0], had[2]]

    def test_it_asks_for_no_more_than_is_consumed(self, bench: CatalogueBench) -> None:
        for number in range(3 * PAGE):
            bench.holdings.put(uploaded("account-1", number))
        listing = bench.catalogue.covers_of("account-1")
        assert sum(bench.holdings.befell.values()) == 0
        assert len(list(islice(listing, PAGE))) == PAGE
        assert sum(bench.holdings.befell.values()) == 1

    @pytest.mark.parametrize("fault", BROKEN)
    @pytest.mark.parametrize("count", [1, 2 * PAGE + 1])
    def test_a_listing_that_broke_off_never_looks_whole(
        self, bench: CatalogueBench, fault: Kind, count: int
    ) -> None:
        for number in range(count):
            bench.holdings.put(uploaded("account-1", number))
        bench.holdings.fault = fault
        covers = bench.catalogue.covers_of("account-1")
        got = list(islice(covers, PAGE)) if count > PAGE else []
        with pytest.raises(TransientError) as caught:
            got.extend(covers)
        assert bench.holdings.befell[fault]
        assert all(one.uploader_id == "account-1" for one in got)
        assert "account-1" not in str(caught.value)
        assert "somebody-else" not in str(caught.value)
        bench.holdings.fault = Kind.NONE
        assert keys(told(bench, "account-1")) == keys([uploaded("account-1", one) for one in range(count)])

    def test_without_the_key_nothing_is_told(self, bench: CatalogueBench) -> None:
        bench.holdings.put(uploaded("account-1", 0))
        bench.holdings.fault = Kind.SHUT
        for ask in (bench.catalogue.check, lambda: told(bench, "account-1")):
            with pytest.raises(Refused):
                ask()

    @pytest.mark.parametrize("fault", [Kind.UNWELL, Kind.NONSENSE, Kind.CUT])
    def test_it_says_whether_it_would_answer(self, bench: CatalogueBench, fault: Kind) -> None:
        bench.catalogue.check()
        bench.holdings.fault = fault
        with pytest.raises(TransientError):
            bench.catalogue.check()
