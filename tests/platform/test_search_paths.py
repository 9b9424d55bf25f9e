"""Searches over HTTP: answered as the stock service answers them, and by pages that lead there and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from benchmarks import services
from stacyard.core.settings import DatabaseSettings

# true of every item, and not what the usual order goes by
ALWAYS = {"op": ">", "args": [{"property": "datetime"}, {"timestamp": "1900-01-01T00:00:00Z"}]}

SEARCHES: list[dict[str, Any]] = [
    {"limit": 7},
    {"collections": ["naip"], "limit": 25, "bbox": [-90, 30, -80, 35]},
    {"collections": ["naip"], "limit": 30, "datetime": "2016-01-01T00:00:00Z/2017-06-30T00:00:00Z"},
    {"collections": ["naip"], "limit": 100, "sortby": [{"field": "datetime", "direction": "asc"}]},
    {"collections": ["naip"], "limit": 9, "sortby": [
        {"field": "gsd", "direction": "asc"}, {"field": "id", "direction": "desc"}]},
    {"collections": ["naip"], "limit": 20, "query": {"gsd": {"gte": 1}, "naip:state": {"eq": "al"}}},
    {"collections": ["naip"], "limit": 20, "filter": {"op": "and", "args": [
        ALWAYS, {"op": "in", "args": [{"property": "naip:state"}, ["al", "ga"]]}]}},
    {"collections": ["naip"], "limit": 3, "fields": {"include": ["id", "properties.gsd"], "exclude": ["geometry"]}},
    {"collections": ["naip"], "limit": 3, "fields": {"exclude": ["assets", "properties.gsd"]}},
    {"intersects": {"type": "Point", "coordinates": [-85.5, 32.5]}, "limit": 5},
    {"ids": ["no-such-item"]},
    {"collections": ["no-such-collection"]},
]  # fmt: skip


@pytest.fixture(scope="module")
def stock(database_settings: DatabaseSettings) -> Iterator[httpx.Client]:
    """The unmodified service on the same database, with a role that may write, as it does on searches."""
    service = services.stock("stac", database_settings)
    with (
        services.started(service) as running,
        httpx.Client(base_url=f"http://127.0.0.1:{running.port}", timeout=30) as client,
    ):
        yield client


def comparable(answer: httpx.Response, base: str) -> dict[str, Any]:
    """The answer, without what tells which service it is of, how pages are found, and the way to our map."""
    document = json.loads(answer.text.replace(base, "https://stac.example"))
    for links in [document["links"], *(feature["links"] for feature in document["features"])]:
        links[:] = [link for link in links if (link["rel"], link.get("type")) != ("alternate", "text/html")]
        for link in links:
            link.pop("body", None)
            link["href"] = link["href"].split("?")[0]
        links.sort(key=lambda link: (link["rel"], link["href"]))
    return dict(document)


@pytest.mark.parametrize("search", SEARCHES)
def test_the_same_search_is_answered_as_by_stock(http: httpx.Client, stock: httpx.Client, search: Any) -> None:
    ours, theirs = http.post("/stac/search", json=search), stock.post("/search", json=search)
    assert (ours.status_code, theirs.status_code) == (200, 200), (ours.text, theirs.text)
    assert ours.headers["content-type"] == "application/geo+json"
    mine, wanted = comparable(ours, f"{http.base_url}/stac"), comparable(theirs, str(stock.base_url).rstrip("/"))
    if "fields" in search:
        # stock leaves the search's own links out then
        del mine["links"], wanted["links"]
    assert mine == wanted


def test_a_walk_goes_on_with_a_filter_that_is_true_of_every_item(http: httpx.Client) -> None:
    whole = http.get("/stac/collections/naip/items", params={"limit": 30}).json()["features"]
    first = http.get("/stac/collections/naip/items", params={"limit": 10}).json()
    [behind] = [link["href"] for link in first["links"] if link["rel"] == "next"]
    [token] = parse_qs(urlsplit(behind).query)["token"]
    second = http.get(behind).json()
    filtered = {"limit": 10, "token": token, "filter": "datetime > TIMESTAMP('1900-01-01T00:00:00Z')"}
    again = http.get("/stac/collections/naip/items", params=filtered).json()
    assert second["features"] == again["features"] == whole[10:20]
    [back] = [link["href"] for link in again["links"] if link["rel"] == "previous"]
    assert http.get(back).json()["features"] == whole[:10]


def test_an_item_by_its_id_is_what_a_search_finds(http: httpx.Client) -> None:
    found = http.post("/stac/search", json={"ids": ["S2_20160506T100527"], "filter": ALWAYS}).json()["features"]
    item = http.get("/stac/collections/sentinel2-ndvi/items/S2_20160506T100527")
    assert item.headers["content-type"] == "application/geo+json"
    assert [item.json()] == found
    for path, reason in (("naip/items/none", "Item none"), ("none/items/none", "Collection none does not exist")):
        missing = http.get(f"/stac/collections/{path}")
        assert missing.status_code == 404
        assert reason in missing.json()["detail"]


def test_a_box_across_the_antimeridian_finds_what_lies_on_its_two_sides_and_nothing_between(http: httpx.Client) -> None:
    # from Sumatra eastward to Slovenia's meridian lies America; from Slovenia eastward to Sumatra it does not
    across = {"collections": ["naip"], "bbox": [100, -80, 15, 80], "limit": 5}
    assert len(http.post("/stac/search", json=across).json()["features"]) == 5
    between = {"collections": ["naip"], "bbox": [15, -80, 100, 80], "limit": 5}
    assert http.post("/stac/search", json=between).json()["features"] == []
