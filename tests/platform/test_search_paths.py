"""Two ways through the catalog, our own statement and pgSTAC's search, answer alike over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

# true of every item, and for pgSTAC alone to decide
ALWAYS = {"op": ">", "args": [{"property": "datetime"}, {"timestamp": "1900-01-01T00:00:00Z"}]}

SEARCHES: list[dict[str, Any]] = [
    {"limit": 7},
    {"collections": ["naip"], "limit": 25, "bbox": [-90, 30, -80, 35]},
    {"collections": ["naip", "sentinel2-ndvi"], "limit": 30, "datetime": "2016-01-01T00:00:00Z/2017-06-30T00:00:00Z"},
    {"collections": ["sentinel2-ndvi"], "limit": 100, "sortby": [{"field": "datetime", "direction": "asc"}]},
    {"intersects": {"type": "Point", "coordinates": [14.55, 45.87]}, "limit": 5},
    {"ids": ["S2_20160506T100527", "no-such-item"]},
    {"collections": ["no-such-collection"]},
]


def without_tokens(document: dict[str, Any]) -> dict[str, Any]:
    """The answer, in which a link to a page says which direction it takes and nothing of how it is found."""
    links = [link for link in document["links"] if link["rel"] not in ("next", "prev", "previous")]
    pages = sorted(link["rel"] for link in document["links"] if link not in links)
    return {**document, "links": links, "pages": pages}


@pytest.mark.parametrize("search", SEARCHES)
def test_the_same_search_is_answered_alike_on_either_way(http: httpx.Client, search: dict[str, Any]) -> None:
    ours = http.post("/stac/search", json=search)
    theirs = http.post("/stac/search", json={**search, "filter": ALWAYS, "filter-lang": "cql2-json"})
    assert (ours.status_code, theirs.status_code) == (200, 200), (ours.text, theirs.text)
    assert ours.headers["content-type"] == theirs.headers["content-type"] == "application/geo+json"
    assert without_tokens(ours.json()) == without_tokens(theirs.json())


def test_a_walk_may_change_from_one_way_to_the_other(http: httpx.Client) -> None:
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
