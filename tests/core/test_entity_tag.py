"""Tags of answers before they are made: equal only if the answers are, and what a client is told by them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from stacyard.core.access import Caller
from stacyard.core.assembly import answer_with_problems, assemble
from stacyard.core.cache import AnswerCache
from stacyard.core.entity_tag import CatalogTags, is_known, made_by, not_modified, tag_of
from stacyard.core.revision import RevisionPoll
from stacyard.core.settings import DatabaseSettings, HttpSettings
from stacyard.stac.settings import StacSettings

PLAIN: dict[str, Any] = {
    "scheme": "https",
    "host": "maps.example.org",
    "root_path": "/stac",
    "path": "/stac/search",
    "query": "limit=10",
    "accept": "application/geo+json",
    "subject": "anonymous",
    "states": {"naip": 7, "landsat": 3},
    "collections": ["naip"],
    "body": b"",
    "edition": "",
    "made_by": b"stac 0.1.0",
}
CHANGES: dict[str, Any] = {
    "scheme": "http",
    "host": "yard.example.org",
    "root_path": "/stac/v1",
    "path": "/stac/search/",
    "query": "limit=11",
    "accept": "application/json",
    "subject": "ann",
    "states": {"naip": 8, "landsat": 3},
    "collections": ["naip", "landsat"],
    "body": b"{}",
    "edition": "2",
    "made_by": b"stac 0.1.1",
}


async def tag(**changes: Any) -> str:
    asked = PLAIN | changes

    async def read() -> Mapping[str, int]:
        states: Mapping[str, int] = asked["states"]
        return states

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": asked["scheme"],
        "root_path": asked["root_path"],
        "path": asked["path"],
        "query_string": asked["query"].encode(),
        "headers": [(b"host", asked["host"].encode()), (b"accept", asked["accept"].encode())],
        "state": {"caller": Caller(asked["subject"])},
    }
    tags = CatalogTags(revisions=RevisionPoll(read), made_by=asked["made_by"])
    names = {"collections": asked["collections"], "body": asked["body"], "edition": asked["edition"]}
    return await tags.of(Request(scope), **names)


async def test_whatever_decides_an_answer_decides_its_tag() -> None:
    assert await tag() == await tag()
    tags = {name: await tag(**{name: value}) for name, value in CHANGES.items()}
    assert len({*tags.values(), await tag()}) == len(CHANGES) + 1


async def test_what_decides_nothing_changes_no_tag() -> None:
    assert await tag(states={"naip": 7, "landsat": 99, "new": 1}) == await tag()
    assert await tag(collections=["naip", "landsat", "naip"]) == await tag(collections=["landsat", "naip"])
    # an answer over all collections is another when there is one more
    everything = await tag(collections=None)
    assert everything != await tag(collections=None, states={"naip": 7, "landsat": 3, "new": 1})
    assert everything != await tag(collections=["naip", "landsat"])
    assert await tag(collections=None, states={}) != await tag(collections=[], states={})
    assert await tag(collections=["\ud800"]) != await tag(collections=["\ud801"])


async def test_a_tag_over_all_collections_follows_each_of_them(catalog: Catalog) -> None:
    request = Request({"type": "http", "scheme": "http", "path": "/", "query_string": b"", "headers": []})
    tags = set()
    for states in ({"naip": 1}, {"naip": 2}, {"naip": 2, "landsat": 1}):
        catalog.states = states
        assert await catalog.tags.of(request, collections=None) == await catalog.tags.of(request, collections=None)
        tags.add(await catalog.tags.of(request, collections=None))
    assert len(tags) == 3


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_parts_do_not_run_into_each_other(one: list[bytes], other: list[bytes]) -> None:
    assert (tag_of(*one) == tag_of(*other)) == (one == other)


def test_settings_and_versions_count_and_secrets_do_not() -> None:
    def made(**settings: Any) -> bytes:
        return made_by("stacyard-core", "stacyard-stac", settings=[StacSettings(**settings)])

    assert made() == made()
    assert made() != made(page_limit=999)
    assert made() != made_by("stacyard-core", settings=[StacSettings()])
    urls = [f"postgresql://reader:{password}@db/yard" for password in ("a", "b")]
    assert len({made(database=DatabaseSettings(reader_url=url)) for url in urls}) == 1


@pytest.mark.parametrize(
    ("header", "known"),
    [('W/"a"', True), ('"a"', True), ('"b", W/"a"', True), ('"b"', False), ("*", True), ("", False), ("a", False)],
)
def test_tags_are_compared_weakly(header: str, known: bool) -> None:
    assert is_known(header, 'W/"a"') is known
    assert not is_known(None, 'W/"a"')


@pytest.mark.parametrize(
    ("method", "header", "told"),
    [("GET", 'W/"a"', True), ("HEAD", '"a"', True), ("POST", '"a"', False), ("GET", "*", False), ("GET", '"b"', False)],
)
def test_only_one_who_names_the_tag_of_a_get_is_told_before_the_answer_is_known(
    method: str, header: str, told: bool
) -> None:
    request = Request({"type": "http", "method": method, "headers": [(b"if-none-match", header.encode())]})
    answer = not_modified(request, 'W/"a"')
    assert (answer is not None) is told
    assert answer is None or (answer.status_code, answer.body, answer.headers["etag"]) == (304, b"", 'W/"a"')


class Catalog:
    """What a search route becomes with tags and a cache: it counts what the database is asked."""

    def __init__(self) -> None:
        self.states = {"naip": 1}
        self.asked = 0
        self.tags = CatalogTags(revisions=RevisionPoll(self._states, seconds=0), made_by=b"test")
        self.answers = AnswerCache[bytes](most_bytes=1_000_000, size=len)

    async def _states(self) -> Mapping[str, int]:
        return self.states

    async def _search(self) -> bytes:
        self.asked += 1
        return orjson.dumps({"state": self.states["naip"], "text": "field " * 1000})

    async def search(self, request: Request) -> Response:
        tag = await self.tags.of(request, collections=["naip"])
        if (known := not_modified(request, tag)) is not None:
            return known
        body = await self.answers.get(tag, self._search)
        return Response(body, headers={"ETag": tag}, media_type="application/geo+json")


@pytest.fixture
def catalog() -> Catalog:
    return Catalog()


@pytest.fixture
async def client(catalog: Catalog) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.add_api_route("/search", catalog.search)
    answer_with_problems(app, {})
    assemble(app, http=HttpSettings(), service="test", ready={}, caches={"answers": catalog.answers})
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://yard") as client:
        yield client


async def test_a_search_is_made_once_until_the_catalog_changes(catalog: Catalog, client: httpx.AsyncClient) -> None:
    first = await client.get("/search")
    again = await client.get("/search")
    assert (again.json(), again.headers["etag"], catalog.asked) == (first.json(), first.headers["etag"], 1)
    catalog.states = {"naip": 2}
    changed = await client.get("/search", headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.json()["state"], catalog.asked) == (200, 2, 2)
    assert changed.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "identity"])
async def test_nobody_is_asked_for_what_the_client_has(
    catalog: Catalog, client: httpx.AsyncClient, coding: str
) -> None:
    headers = {"Accept-Encoding": coding}
    tag = (await client.get("/search", headers=headers)).headers["etag"]
    catalog.answers.clear()
    for method in ("GET", "HEAD"):
        answer = await client.request(method, "/search", headers={**headers, "If-None-Match": tag})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert answer.headers["cache-control"] == "no-cache"
        assert "Accept-Encoding" in answer.headers["vary"]
        assert "content-length" not in answer.headers
        assert "content-encoding" not in answer.headers
    assert catalog.asked == 1


async def test_another_public_url_is_another_answer(catalog: Catalog, client: httpx.AsyncClient) -> None:
    here = await client.get("/search")
    proxied = {"X-Forwarded-Host": "maps.example.org", "If-None-Match": here.headers["etag"]}
    there = await client.get("/search", headers=proxied)
    assert (there.status_code, catalog.asked) == (200, 2)
    assert there.headers["etag"] != here.headers["etag"]


async def test_head_is_that_of_get_and_a_range_of_a_document_is_all_of_it(client: httpx.AsyncClient) -> None:
    of_get = await client.get("/search", headers={"Accept-Encoding": "gzip"})
    of_head = await client.head("/search", headers={"Accept-Encoding": "gzip"})
    names = of_get.headers.keys() - {"x-request-id"}
    assert {name: of_head.headers.get(name) for name in names} == {name: of_get.headers[name] for name in names}
    # RFC 9110, section 14.2: who knows no ranges of something ignores that they are asked for
    ranged = await client.get("/search", headers={"Range": "bytes=0-9"})
    assert (ranged.status_code, ranged.json()) == (200, of_get.json())
    assert "content-range" not in ranged.headers
    assert "content-encoding" not in ranged.headers


async def test_the_cache_is_measured(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await client.get("/search")
    metrics = (await client.get("/metrics")).text
    assert 'stacyard_cache_requests_total{cache="answers",result="miss",service="test"} 1.0' in metrics
    assert 'stacyard_cache_requests_total{cache="answers",result="hit",service="test"} 2.0' in metrics
    [size] = [line.split()[-1] for line in metrics.splitlines() if line.startswith("stacyard_cache_bytes{")]
    assert 6000 < float(size) < 7000


async def test_a_tag_costs_a_few_microseconds() -> None:
    states = {f"collection-{n}": n for n in range(10_000)}

    async def read() -> Mapping[str, int]:
        return states

    tags = CatalogTags(revisions=RevisionPoll(read, seconds=60), made_by=b"test")
    request = Request({"type": "http", "scheme": "http", "path": "/search", "query_string": b"limit=10", "headers": []})
    for collections in (["collection-7"], None):
        best = 1.0
        for _ in range(50):
            started = time.perf_counter()
            await tags.of(request, collections=collections)
            best = min(best, time.perf_counter() - started)
        assert best < 0.0002, collections
