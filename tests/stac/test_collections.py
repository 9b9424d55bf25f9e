"""`GET /collections` over HTTP, behind a transaction-mode pooler: pages, links, parameters, and what is refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pystac_client
import pytest
import uvicorn

from stacyard.core.connection import connect
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.local.ports import free_port
from stacyard.stac.app import create_app
from stacyard.stac.settings import StacSettings

COUNT = 25
ACROSS = [[-179.5, -20.0, 180.0, -10.0], [177.0, -20.0, 180.0, -10.0], [-179.5, -20.0, -178.0, -10.0]]


def collection(number: int, storage: StorageSettings) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": f"searched-{number:02}",
        "title": f"Heather number {number}",
        "description": "Of heather." if number else "Of heather, on both sides of the antimeridian.",
        "license": "other" if number % 2 else "CC0-1.0",
        "extent": {
            "spatial": {"bbox": [[number, 0, number + 1, 1]] if number else ACROSS},
            "temporal": {"interval": [[f"20{number:02}-01-01T00:00:00Z", None]]},
        },
        "assets": {"thumbnail": {"href": f"{storage.assets}/searched/{number}.png"}},
        "links": [{"rel": "license", "href": "license.txt"}, {"rel": "self", "href": "elsewhere"}],
    }


@pytest.fixture(scope="module")
def http(
    pgbouncer: DatabaseSettings, database_settings: DatabaseSettings, storage_settings: StorageSettings
) -> Iterator[httpx.Client]:
    settings = StacSettings(database=pgbouncer, storage=storage_settings, page_limit=20)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    with connect(database_settings.url("ingest"), application_name="test") as writer:
        for number in range(COUNT):
            document = json.dumps(collection(number, storage_settings))
            writer.execute("SELECT pgstac.upsert_collection(%s)", [document])
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.05)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()
            writer.execute("DELETE FROM pgstac.collections WHERE id LIKE 'searched-%'")


def get(http: httpx.Client, **parameters: Any) -> dict[str, Any]:
    answer = http.get("/collections", params={"q": "heather", **parameters})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ids(page: dict[str, Any]) -> list[str]:
    return [each["id"] for each in page["collections"]]


def link(page: dict[str, Any], relation: str) -> str | None:
    return next((each["href"] for each in page["links"] if each["rel"] == relation), None)


def test_a_walk_there_and_back_passes_every_collection_once(http: httpx.Client) -> None:
    pages = [get(http, limit=7, sortby="+license,-id", filter="title LIKE 'Heather%'")]
    while href := link(pages[-1], "next"):
        pages.append(http.get(href).json())
    walked = [each for page in pages for each in ids(page)]
    numbers = sorted(range(COUNT), key=lambda number: (number % 2, -number))
    assert walked == [f"searched-{number:02}" for number in numbers]
    assert [page["numberReturned"] for page in pages] == [7, 7, 7, 4]
    assert {page["numberMatched"] for page in pages} == {COUNT}
    back = [pages[-1]]
    while href := link(back[-1], "prev"):
        back.append(http.get(href).json())
    assert [ids(page) for page in reversed(back)] == [ids(page) for page in pages]


def test_from_beyond_the_end_a_link_leads_back(http: httpx.Client) -> None:
    beyond = get(http, limit=10, offset=1000)
    assert (beyond["numberMatched"], beyond["numberReturned"], link(beyond, "next")) == (COUNT, 0, None)
    href = link(beyond, "prev")
    assert href is not None
    assert len(ids(http.get(href).json())) == 10


def test_a_page_is_ten_unless_said_otherwise_and_no_larger_than_the_service_allows(http: httpx.Client) -> None:
    assert get(http)["numberReturned"] == 10
    assert get(http, limit=1000)["numberReturned"] == 20


def test_a_document_has_hrefs_that_clients_can_use(http: httpx.Client) -> None:
    [found] = get(http, q='"heather number 3"')["collections"]
    root = str(http.base_url) + "/"
    own = f"{root}collections/searched-03"
    assert [(each["rel"], each["href"]) for each in found["links"]] == [
        ("items", f"{own}/items"),
        ("parent", root),
        ("root", root),
        ("self", own),
        ("license", f"{root}license.txt"),
        ("http://www.opengis.net/def/rel/ogc/1.0/queryables", f"{own}/queryables"),
        ("alternate", f"{root}#collection=searched-03"),
        ("aggregate", f"{own}/aggregate"),
        ("aggregations", f"{own}/aggregations"),
    ]
    assert found["assets"]["thumbnail"]["href"] == f"{http.base_url}/assets/searched/3.png"
    one = http.get("/collections/searched-03").json()
    assert sorted(map(json.dumps, found.pop("links"))) == sorted(map(json.dumps, one.pop("links")))
    assert found == one


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"bbox": "3.5,0.5,5.5,0.7"}, [3, 4, 5]),
        ({"bbox": "3.5,0.5,-100,5.5,0.7,100"}, [3, 4, 5]),
        ({"bbox": "179,-15,-179,5"}, [0]),
        ({"bbox": "-30,-15,-20,5"}, []),
        ({"datetime": "../2002-01-01T00:00:00Z"}, [0, 1, 2]),
        ({"datetime": "2001-06-01T00:00:00+02:00"}, [0, 1]),
        ({"datetime": "2024-01-01T00:00:00Z/..", "bbox": "22.5,0,24.5,1"}, [22, 23, 24]),
        ({"q": "heathers antimeridian"}, []),
        ({"q": "(antimeridian OR nothing) AND heathers"}, [0]),
        ({"q": '"heather, on both sides", "number 7"'}, [0, 7]),
        ({"filter": "id IN ('searched-02', 'searched-03') AND license = 'other'"}, [3]),
        ({"filter": '{"op":"=","args":[{"property":"id"},"searched-02"]}', "filter-lang": "cql2-json"}, [2]),
        ({"query": '{"id": {"eq": "searched-04"}}'}, [4]),
    ],
)
def test_parameters_find_what_they_say(http: httpx.Client, parameters: dict[str, str], found: list[int]) -> None:
    assert ids(get(http, sortby="id", **parameters)) == [f"searched-{number:02}" for number in found]


def test_fields_choose_members(http: httpx.Client) -> None:
    [chosen] = get(http, q='"heather number 3"', fields="title,+extent.spatial")["collections"]
    assert set(chosen) == {"id", "title", "extent", "links"}
    assert set(chosen["extent"]) == {"spatial"}
    [without] = get(http, q='"heather number 3"', fields="-id,-assets,")["collections"]
    assert {"id", "assets"}.isdisjoint(without)
    assert without["title"] == "Heather number 3"


def test_a_client_of_the_standard_finds_all(http: httpx.Client) -> None:
    catalog = pystac_client.Client.open(str(http.base_url))
    search = catalog.collection_search(q="heather", limit=4, datetime="2005-01-01T00:00:00Z/..", sortby="-title")
    assert search.matched() == COUNT
    assert len({each.id for each in search.collections()}) == COUNT


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"q": "AND"}, "none before it"),
        ({"q": '"heather'}, "quotation mark"),
        ({"q": "heather\0"}, "NUL"),
        ({"offset": "-1"}, "offset is from 0"),
        ({"offset": str(10**30)}, "offset is from 0"),
        ({"limit": "0"}, "limit"),
        ({"query": "[1]"}, "object of objects"),
        ({"query": '{"id": 1}'}, "object of objects"),
        ({"query": '{"id": {"eq": "x"}}', "filter": "id = 'x'"}, "not both"),
        ({"filter": "id = "}, "filter"),
        ({"filter": "datetime < 'x'"}, "cannot be made"),
        ({"filter": "id"}, "a filter is a condition"),
        ({"filter": '["id"]', "filter-lang": "cql2-json"}, "with op and args"),
        # the parser would take years, or end the process
        ({"filter": "(" * 40 + "id = 'x' @" + ")" * 40}, "parentheses more than"),
        ({"filter": "(" * 1500 + "id = 'x'" + ")" * 1500}, "parentheses more than"),
        ({"filter": "id = " + "- " * 4000 + "1"}, "characters"),
        ({"filter": "NOT " * 100 + "(id = 'x')"}, "in a row"),
        ({"filter": '{"op":"not","args":[' * 300 + "1" + "]}" * 300, "filter-lang": "cql2-json"}, "nested"),
        ({"filter": "s_intersects(geometry, POLYGON((0 0, 1 1)))"}, ""),
        ({"sortby": ","}, "no name of a property"),
        ({"sortby": ",".join(["id"] * 20)}, "no more than"),
        ({"fields": ",".join(["a.b"] * 200)}, "no more than"),
        ({"bbox": "1,2,3"}, "4 or 6"),
        ({"datetime": "yesterday"}, "datetime"),
    ],
)
def test_what_cannot_be_found_is_refused_with_the_reason(
    http: httpx.Client, parameters: dict[str, str], reason: str
) -> None:
    answer = http.get("/collections", params=parameters)
    assert answer.status_code == 400, answer.text
    assert reason in answer.json()["detail"]
