"""The catalogue contract on each adapter, and what only an adapter over HTTP can get wrong."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

pytest.register_assert_rewrite("catalogue")

from catalogue import PAGE, CatalogueBench, CatalogueContract, uploaded  # noqa: E402 - after the rewrite

from coverguard.errors import ConfigurationError, Refused, TransientError  # noqa: E402 - as above
from coverguard.local.catalogue import TOKEN_FILE, NoCatalogue, read_token  # noqa: E402 - as above
from coverguard.messages import CataloguePage, dump  # noqa: E402 - as above
from coverguard.model import Micros  # noqa: E402 - as above
from coverguard.remote import catalogue as remote  # noqa: E402 - as above
from coverguard.remote.catalogue import HttpCatalogue  # noqa: E402 - as above
from coverguard.testing.catalogue import (  # noqa: E402 - as above
    TOKEN,
    CatalogueServer,
    FakeCatalogue,
    Holdings,
    Kind,
)
from coverguard.testing.platform import StillClock  # noqa: E402 - as above

PATIENCE = timedelta(seconds=20)
HASTE = timedelta(milliseconds=50)
TRUST = ssl.create_default_context()  # once: it reads every authority that the host knows


@dataclass(frozen=True)
class Bench:
    holdings: Holdings
    catalogue: Any


class TestFakeCatalogue(CatalogueContract):
    @pytest.fixture
    def bench(self) -> CatalogueBench:
        holdings = Holdings()
        return Bench(holdings=holdings, catalogue=FakeCatalogue(holdings, page_covers=PAGE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hasty(HttpCatalogue):
    """Waits long for an answer, unless it is known that none will come: no test is to wait for nothing."""

    holdings: Holdings

    def _page(self, account_id: str, *, cursor: str | None, token: str) -> CataloguePage:
        first = cursor is None and self.holdings.page(account_id, start=0, limit=PAGE)[1] is not None
        silent = self.holdings.fault is Kind.SILENT and not first
        asked = replace(self, timeout=HASTE) if silent else self
        return HttpCatalogue._page(asked, account_id, cursor=cursor, token=token)


def client_of(server: CatalogueServer, **chosen: Any) -> HttpCatalogue:
    facts: dict[str, Any] = {"token": lambda: TOKEN, "timeout": PATIENCE, "page_covers": PAGE, "trust": TRUST}
    facts |= {"url": server.url, "clock": StillClock(Micros(0)), "holdings": server.holdings}
    return Hasty(**(facts | chosen))


@pytest.fixture
def server() -> Iterator[CatalogueServer]:
    with CatalogueServer(Holdings()) as made:
        yield made


@pytest.mark.process
class TestHttpCatalogue(CatalogueContract):
    @pytest.fixture
    def bench(self, server: CatalogueServer) -> CatalogueBench:
        return Bench(holdings=server.holdings, catalogue=client_of(server))


# ── over HTTP ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.process
def test_it_asks_as_documented(server):
    for number in range(PAGE + 1):
        server.holdings.put(uploaded("a/b", number))
    assert len(list(client_of(server).covers_of("a/b"))) == PAGE + 1
    first, second = (urlsplit(path) for path in server.requests)
    assert first.path == "/catalogue/accounts/a%2Fb/covers"
    assert unquote(first.path.split("/")[3]) == "a/b"
    assert parse_qs(first.query) == {"limit": [str(PAGE)]}
    assert parse_qs(second.query) == {"limit": [str(PAGE)], "cursor": [f"c-{PAGE}"]}


@pytest.mark.process
def test_a_hiccup_is_bridged_and_each_page_is_tried_three_times(server):
    server.holdings.put(uploaded("one", 0))
    server.holdings.fault = Kind.UNWELL
    with pytest.raises(TransientError, match="503"):
        list(client_of(server).covers_of("one"))
    assert len(server.requests) == 3


@pytest.mark.process
def test_a_wrong_key_is_said_and_asked_about_once(server):
    server.holdings.put(uploaded("one", 0))
    with pytest.raises(Refused, match=re.escape(TOKEN_FILE)) as caught:
        list(client_of(server, token=lambda: "wrong").covers_of("one"))
    assert "wrong" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.process
def test_a_wrong_address_is_not_an_account_without_covers(server):
    server.url += "/elsewhere"
    with pytest.raises(TransientError, match="404"):
        list(client_of(server).covers_of("one"))


@pytest.mark.process
@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::", "http://é\x7f"])
def test_nobody_there_is_not_nothing(url):
    with pytest.raises(TransientError) as caught:
        list(
            HttpCatalogue(
                url=url, token=lambda: TOKEN, clock=StillClock(Micros(0)), timeout=PATIENCE
            ).covers_of("one")
        )
    assert caught.value.__suppress_context__


@pytest.mark.process
def test_many_threads_may_ask(server):
    for account in range(8):
        for number in range(3 * PAGE):
            server.holdings.put(uploaded(f"account-{account}", number))
    asked = client_of(server)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: list(asked.covers_of(f"account-{one}")), range(8)))
    assert [len(covers) for covers in found] == [3 * PAGE] * 8
    assert [{one.uploader_id for one in covers} for covers in found] == [
        {f"account-{one}"} for one in range(8)
    ]


def answered(monkeypatch, document, *, headers=(), status=200):
    """A catalogue that is answered this by whoever it asks, without a socket."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    made, httpx = remote.httpx.AsyncClient, remote.httpx

    def answer(_request):
        return httpx.Response(status, headers=dict(headers), stream=httpx.ByteStream(body))

    monkeypatch.setattr(
        httpx, "AsyncClient", lambda **chosen: made(transport=httpx.MockTransport(answer), **chosen)
    )
    return HttpCatalogue(
        url="https://catalogue.example",
        token=lambda: TOKEN,
        clock=StillClock(Micros(0)),
        page_covers=PAGE,
        trust=TRUST,
    )


def covers(count, **changed):
    return [json.loads(dump(uploaded("one", number))) | changed for number in range(count)]


WRONG = {
    "next: Field required": {"covers": []},
    "covers: Field required": {"next": None},
    "next: Input should be a valid string": {"covers": [], "next": 7},
    "next: String should have at least 1": {"covers": [], "next": ""},
    "next: String should have at most 1000": {"covers": [], "next": "x" * 1001},
    "covers: Input should be a valid list": {"covers": {}, "next": None},
    "covers: more than were asked for": {"covers": covers(PAGE + 1), "next": None},
    "covers: List should have at most 500": {"covers": covers(501), "next": None},
    "covers.1.uploader_id: must be 1 to 200 bytes": {
        "covers": [*covers(1), *covers(1, uploader_id="\0secret")], "next": None,
    },
    "covers.uploader_id: is not the account": {"covers": covers(1, uploader_id="secret"), "next": None},
    "covers.0.type: Input should be 'cover.uploaded'": {
        "covers": covers(1, type="cover.deleted"), "next": None,
    },
    "covers.0.schema: Input should be": {"covers": covers(1, schema="secret/2"), "next": None},
    "covers.0.occurred_at": {"covers": covers(1, occurred_at="secret"), "next": None},
    "covers.0: needs schema and type": {
        "covers": [{name: it for name, it in covers(1)[0].items() if name != "type"}], "next": None,
    },
    "type: Input should be a valid dictionary": [],
    "not JSON": b"\xff\xfe secret",
    "JSON": b"[" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_makes_no_sense_is_named_by_its_field_and_never_by_its_value(monkeypatch, fault):
    with pytest.raises(TransientError) as caught:
        list(answered(monkeypatch, WRONG[fault]).covers_of("one"))
    assert fault.partition(":")[0] in str(caught.value)
    assert fault.partition(":")[2] in str(caught.value)
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_page_of_too_many_bytes_is_not_read_to_its_end(monkeypatch):
    asked = replace(answered(monkeypatch, {"covers": covers(PAGE), "next": None}), max_page_bytes=1000)
    with pytest.raises(TransientError, match="too many bytes"):
        list(asked.covers_of("one"))


def test_no_encoding_is_undone(monkeypatch):
    asked = answered(monkeypatch, b"bomb", headers={"Content-Encoding": "gzip"}.items())
    with pytest.raises(TransientError, match="encoding"):
        list(asked.covers_of("one"))


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 400, 404, 408, 410, 429, 500, 502])
def test_only_200_is_an_answer_and_nothing_is_followed(monkeypatch, status):
    elsewhere = {"Location": "https://elsewhere.example/"}.items()
    asked = answered(monkeypatch, {"covers": [], "next": None}, headers=elsewhere, status=status)
    with pytest.raises(TransientError, match=str(status)):
        list(asked.covers_of("one"))


def test_what_is_added_later_is_ignored(monkeypatch):
    page = {"covers": covers(2, hidden_at=None), "next": None, "total": 2}
    assert list(answered(monkeypatch, page).covers_of("one")) == [uploaded("one", 0), uploaded("one", 1)]


def test_pages_without_covers_end_some_day(monkeypatch):
    cursors = iter(range(10**9))
    monkeypatch.setattr(remote, "MAX_PAGES", 7)
    asked = answered(monkeypatch, b"")
    monkeypatch.setattr(
        remote,
        "parse_catalogue_page",
        lambda _: remote.CataloguePage.model_validate({"covers": [], "next": f"c{next(cursors)}"}),
    )
    with pytest.raises(TransientError, match="too many pages"):
        list(asked.covers_of("one"))
    assert next(cursors) == 7


def test_neither_key_nor_account_is_in_its_words(monkeypatch):
    assert TOKEN not in repr(answered(monkeypatch, b""))


# ── without one, and its key ───────────────────────────────────────────────────────────────────────────────


def test_without_a_catalogue_nothing_is_known_and_it_says_so():
    assert not NoCatalogue().exists
    assert list(NoCatalogue().covers_of("one")) == []
    NoCatalogue().check()


@pytest.mark.parametrize("written", [b"a-key", b"a-key\n", b"a-key\r\n"])
def test_the_key_is_a_line_of_a_private_file(tmp_path, written):
    token_file(tmp_path, written)
    assert read_token(tmp_path) == "a-key"


@pytest.mark.parametrize(
    "written", [b"", b"\n", b"two words", b"two\nlines\n", b"\xc3\xa9", b"x" * 4097, b"a\tb"]
)
def test_what_is_no_key_is_refused_without_being_told(tmp_path, written):
    token_file(tmp_path, written)
    with pytest.raises(ConfigurationError, match=re.escape("keys/catalogue.token")) as caught:
        read_token(tmp_path)
    assert "two" not in str(caught.value)


def test_a_key_that_others_may_read_or_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="FileNotFoundError"):
        read_token(tmp_path)
    token_file(tmp_path, b"a-key").chmod(0o640)
    with pytest.raises(ConfigurationError, match="open to group or others"):
        read_token(tmp_path)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / TOKEN_FILE).symlink_to(tmp_path / TOKEN_FILE)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_token(tmp_path / "linked")
    (tmp_path / "folder" / TOKEN_FILE).mkdir(parents=True)
    with pytest.raises(ConfigurationError):
        read_token(tmp_path / "folder")


def token_file(folder: Path, written: bytes) -> Path:
    path = folder / TOKEN_FILE
    path.touch(mode=0o600)
    path.write_bytes(written)
    return path
