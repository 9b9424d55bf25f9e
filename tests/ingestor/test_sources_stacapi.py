"""Items harvested from a real STAC API, our own, which is made busy, forgetful and short of features."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
import rustac
import uvicorn

from stacyard.core.settings import DatabaseSettings
from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources import stacapi
from stacyard.ingestor.sources.found import Found
from stacyard.ingestor.sources.polite import Patience, Server
from stacyard.stac.app import create_app
from stacyard.stac.settings import StacSettings

from .conftest import DEMO, Yard, recipe_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: Status, headers and body to answer with, or None to let the API answer. Gets path and parameters.
Fault = Callable[[str, dict[str, list[str]]], "tuple[int, dict[str, str], bytes] | None"]
#: Changes the API's answers.
Change = Callable[[str, Any], Any]


@dataclass
class Api:
    """An API with items in it."""

    url: str
    collection: str
    ids: set[str]
    fault: Fault | None = None
    change: Change | None = None
    asked: list[tuple[str, str, dict[str, list[str]]]] = field(default_factory=list)

    @property
    def source(self) -> str:
        return f"{self.url}/collections/{self.collection}"

    def searches(self) -> list[dict[str, list[str]]]:
        return [parameters for _, path, parameters in self.asked if path.endswith(("/search", "/items"))]


@contextmanager
def served(database: DatabaseSettings, collection: str, ids: set[str]) -> Iterator[Api]:
    app = create_app(StacSettings(database=database))
    api = Api("", collection, ids)

    async def faulty(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        parameters = parse_qs(scope["query_string"].decode())
        api.asked.append((scope["method"], scope["path"], parameters))
        fault = api.fault(scope["path"], parameters) if api.fault else None
        if fault is not None:
            status, headers, body = fault
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": body})
            return
        messages: list[Any] = []

        async def keep(message: Any) -> None:
            messages.append(message)

        plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
        await app({**scope, "headers": plain}, receive, keep)
        body = b"".join(message.get("body", b"") for message in messages)
        if api.change is not None:
            body = orjson.dumps(api.change(scope["path"], orjson.loads(body)))
        kept = [(name, value) for name, value in messages[0]["headers"] if name.lower() != b"content-length"]
        await send({**messages[0], "headers": kept})
        await send({"type": "http.response.body", "body": body})

    server = uvicorn.Server(uvicorn.Config(faulty, port=0, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    api.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield api
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def api(yard: Yard, tmp_path: Path) -> Iterator[Api]:
    """The API with the demo's thousand items."""
    collection = yard.collection_id("harvest")
    recipe = recipe_of("naip", collection, tmp_path / "recipe.yaml")
    assert yard.ingest(recipe, DEMO / "naip").exit_code == 0
    with served(yard.database, collection, set(yard.items(collection))) as api:
        yield api


@dataclass
class Clock:
    """Time that passes only by waiting."""

    waits: list[float] = field(default_factory=list)

    def patience(self, **changes: Any) -> Patience:
        return Patience(sleep=self.waits.append, share=lambda: 1.0, now=lambda: NOW, **changes)


def harvest(api: Api, *, source: str | None = None, cursor: Any = None, clock: Clock | None = None) -> list[Found]:
    return list(stacapi.find(source or api.source, cursor=cursor, patience=(clock or Clock()).patience()))


def ids_of(found: list[Found]) -> list[str]:
    return [orjson.loads(line.data)["id"] for each in found for line in each.lines or ()]


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and shards small enough for a thousand items to have many."""
    monkeypatch.setattr(stacapi, "_LIMITS", (100,))
    monkeypatch.setattr(stacapi, "_SHARD_ITEMS", 300)


def counting(api: Api, times: dict[str, datetime]) -> Change:
    """Answers that say how many items match, which this API does not."""

    def change(path: str, answer: Any) -> Any:
        if "features" not in answer:
            return answer
        interval = api.asked[-1][2].get("datetime", ["../.."])[0].split("/")
        first, last = (None if moment == ".." else datetime.fromisoformat(moment) for moment in interval)
        matched = sum((not first or first <= time) and (not last or time <= last) for time in times.values())
        return {**answer, "numberMatched": matched}

    return change


def times_of(found: list[Found]) -> dict[str, datetime]:
    items = [orjson.loads(line.data) for each in found for line in each.lines or ()]
    return {item["id"]: datetime.fromisoformat(item["properties"]["datetime"]) for item in items}


def test_every_way_of_asking_harvests_every_item(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    by_month = harvest(api)
    assert set(ids_of(by_month)) == api.ids
    assert sum(each.items for each in by_month) == len(ids_of(by_month)) < 1100
    assert len(api.searches()) < 40, "years without items are passed over in strides"
    assert list(stacapi.read(by_month[0].source)) == by_month[0].lines
    times = times_of(by_month)
    small(monkeypatch)
    api.change = counting(api, times)
    sharded = harvest(api)
    assert set(ids_of(sharded)) == api.ids
    assert len({each.item_id for each in sharded}) == len(sharded) > 10
    assert {each.items for each in sharded} <= set(range(1, 101))

    def only_post(path: str, answer: Any) -> Any:
        if path == "/":
            links = [link for link in answer["links"] if link["rel"] != "search" or link.get("method") == "POST"]
            return {**answer, "links": links}
        # the next page by what changes in the request
        links = [
            {**link, "merge": True, "body": {"token": link["body"]["token"]}} if link["rel"] == "next" else link
            for link in answer["links"]
        ]
        return {**answer, "links": links}

    api.change = only_post
    assert set(ids_of(harvest(api))) == api.ids
    assert api.asked[-1][:2] == ("POST", "/search")

    def declared_too_short(path: str, answer: Any) -> Any:
        if path.endswith(api.collection):
            return {**answer, "extent": {"temporal": {"interval": [["2013-01-01T00:00:00Z", "2017-01-01T00:00:00Z"]]}}}
        return answer

    api.change = declared_too_short
    assert set(ids_of(harvest(api))) == api.ids

    def features_alone(path: str, answer: Any) -> Any:
        return {**answer, "links": [], "conformsTo": []} if path == "/" else answer

    api.change = features_alone
    assert set(ids_of(harvest(api))) == api.ids
    assert api.asked[-1][1] == f"/collections/{api.collection}/items"
    api.change = None
    search = f"{api.url}/search?collections={api.collection}&datetime=2013-01-01T00:00:00Z/2017-09-30T00:00:00Z"
    between = {
        name
        for name, time in times.items()
        if datetime(2013, 1, 1) <= time.replace(tzinfo=None) <= datetime(2017, 9, 30)
    }
    assert set(ids_of(harvest(api, source=search))) == between != api.ids
    assert set(ids_of(harvest(api, source=f"{api.source}/items?datetime=2024-01-01T00:00:00Z/.."))) == set()


def test_a_busy_server_gets_the_time_it_asks_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    date = format_datetime(NOW + timedelta(seconds=40), usegmt=True)
    answers: list[Any] = [
        (429, {"Retry-After": "7"}, b""), (503, {"Retry-After": date}, b""),
        (503, {}, b""), (500, {}, b""), (502, {}, b""),
    ]  # fmt: skip
    api.fault = lambda path, _: answers.pop(0) if answers and path == "/search" else None
    clock = Clock()
    assert set(ids_of(harvest(api, clock=clock))) == api.ids
    # what it asked for and a share of a second; else a share of a time that doubles with every attempt
    assert clock.waits == [8.0, 41.0, 4.0, 8.0, 16.0]
    api.fault = lambda *_: (429, {"Retry-After": "3600"}, b"")
    with pytest.raises(SourceError, match="answers 429 and wants to be asked in 3600 s again: run the same command"):
        harvest(api)
    clock.waits.clear()
    api.fault = lambda *_: (503, {}, b"busy")
    with pytest.raises(SourceError, match=r"did not answer in 6 attempts \(503: busy\): run the same command again"):
        harvest(api, clock=clock)
    assert clock.waits == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_large_pages_and_an_order_are_given_up_if_the_server_refuses_them(api: Api) -> None:
    def fault(_: str, parameters: dict[str, list[str]]) -> Any:
        if int(parameters.get("limit", ["1"])[0]) > 250:
            return 413, {}, b"too large"
        return (400, {}, b"no sorting") if "sortby" in parameters else None

    api.fault = fault
    assert set(ids_of(harvest(api))) == api.ids
    pages = [parameters for parameters in api.searches() if parameters.get("limit") != ["1"]]
    assert [("sortby" in page, page["limit"]) for page in pages[:5]] == [
        (True, ["1000"]), (False, ["1000"]), (True, ["250"]), (False, ["250"]), (False, ["250"]),
    ]  # fmt: skip
    api.fault = lambda path, _: (403, {}, b"members only") if path == "/search" else None
    with pytest.raises(SourceError, match=r"/search.* answers 403: members only"):
        harvest(api)


def test_a_harvest_goes_on_at_the_page_it_was_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    whole = harvest(api)
    for at in (0, 1, 5, len(whole) - 2, len(whole) - 1):
        cursor = orjson.loads(orjson.dumps({"source": 0, **(whole[at].cursor or {})}))
        api.asked.clear()
        rest = harvest(api, cursor=cursor)
        assert {*ids_of(whole[: at + 1]), *ids_of(rest)} == api.ids
        known = {each.key("c", "h") for each in whole[: at + 1]}
        assert not known & {each.key("c", "h") for each in rest}, "no page is asked for twice"
        if cursor.get("request"):
            [first, *_] = api.searches()
            assert first == parse_qs(cursor["request"]["url"].partition("?")[2])
    # the server has forgotten the page: its shard is asked for anew
    page = next(each for each in whole if (each.cursor or {}).get("request"))
    lost = [(400, {}, b"unknown token")]
    api.fault = lambda _, parameters: lost.pop() if lost and "token" in parameters else None
    assert {*ids_of(whole[: whole.index(page) + 1]), *ids_of(harvest(api, cursor=page.cursor))} == api.ids
    assert not lost


@pytest.mark.parametrize(
    ("href", "reason"),
    [
        ("https://elsewhere.example/search?page=2", "another origin and is not followed"),
        ("//127.0.0.1:1/search", "another origin and is not followed"),
        ("?page=again", "comes round to itself"),
    ],
)
def test_pages_that_lead_elsewhere_or_round_are_not_followed(api: Api, href: str, reason: str) -> None:
    def change(path: str, answer: Any) -> Any:
        return {**answer, "links": [{"rel": "next", "href": href}]} if path == "/search" else answer

    api.change = change
    with pytest.raises(SourceError, match=reason):
        harvest(api)


def test_only_an_encrypted_address_without_a_password_is_asked(api: Api) -> None:
    for url, reason in [
        ("http://example.org/collections/x", "is not encrypted: write https://"),
        ("ftp://localhost/collections/x", "is not encrypted"),
        ("https://me:secret@example.org/collections/x", "holds a password"),
    ]:
        with pytest.raises(SourceError, match=reason) as raised:
            Server(url)
        assert "secret" not in str(raised.value)
    api.fault = lambda path, _: (302, {"Location": "http://127.0.0.1:1/"}, b"") if path == "/" else None
    with pytest.raises(SourceError, match="another origin"):
        harvest(api)
    api.fault = lambda path, _: (200, {}, b" " * (65 * 2**20)) if path == "/" else None
    with pytest.raises(SourceError, match="more than 64 MB"):
        harvest(api)
    api.fault = lambda path, _: (200, {}, b"<html>") if path == "/" else None
    with pytest.raises(SourceError, match="answers no JSON"):
        harvest(api)


def test_an_api_a_table_and_a_static_catalog_come_to_the_same_items_as_a_file(
    api: Api, yard: Yard, tmp_path: Path
) -> None:
    with gzip.open(DEMO / "naip" / "naip_1000.ndjson.gz") as file:
        originals = [orjson.loads(line) for line in file]
    table = tmp_path / "naip.parquet"
    rustac.write_sync(str(table), originals)
    catalog = tmp_path / "static" / "catalog.json"
    catalog.parent.mkdir()
    for item in originals:
        (catalog.parent / f"{item['id']}.json").write_bytes(orjson.dumps(item))
    links = [{"rel": "item", "href": f"{item['id']}.json"} for item in originals]
    catalog.write_bytes(orjson.dumps({"type": "Catalog", "id": "c", "links": links}))
    expected = {name: comparable(item) for name, item in yard.items(api.collection).items()}
    for source in (api.source, str(table), str(catalog)):
        collection = yard.collection_id("copy")
        recipe = recipe_of("naip", collection, tmp_path / f"{collection}.yaml")
        summary = yard.ingest(recipe, source)  # type: ignore[arg-type]
        assert (summary.counts.loaded >= 1000, summary.exit_code) == (True, 0), yard.output.getvalue()
        assert {name: comparable(item) for name, item in yard.items(collection).items()} == expected
        again = yard.ingest(recipe, source)  # type: ignore[arg-type]
        assert again.counts.unchanged == again.counts.loaded >= 1000


def comparable(item: dict[str, Any]) -> dict[str, Any]:
    """An item without what differs by where it was read from."""
    left_out = ("collection", "stac_version", "links")
    return {key: value for key, value in item.items() if key not in left_out}
