"""What a load brings in can be searched by at once, over HTTP: by its name, with its type, and by nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from pystac_client import Client

from stacyard.core.settings import DatabaseSettings, HttpSettings, StorageSettings
from stacyard.ingestor.session import Session
from stacyard.stac.settings import StacSettings

from ..stac.conftest import serve_catalog
from .conftest import Yard
from .test_load import item, load, new_collection

ITEMS: list[dict[str, Any]] = [
    {"size": 9, "cover": 2.5, "mixed": 5, "seen": "2024-05-01T00:00:00+02:00", "tags": ["x", "y"], "a.b": 1},
    {"size": 10, "cover": 20, "mixed": "five", "seen": "2024-04-30T23:00:00Z", "tags": ["y"], "a.b": 2},
    {"size": 2**40, "cover": 100.0, "mixed": 40, "seen": None, "nested": {"deep": 3}},
]


@pytest.fixture(scope="module")
def url(database_settings: DatabaseSettings, storage_settings: StorageSettings) -> Iterator[str]:
    settings = StacSettings(database=database_settings, storage=storage_settings, http=HttpSettings(access_log=False))
    with serve_catalog(settings) as served:
        yield served


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture
def loaded(yard: Yard) -> str:
    """A collection with items `0`, `1` and `2`, just loaded."""
    session = Session(yard.database.url("ingest"), patience_seconds=1)
    c = new_collection(yard, session, "searchable")
    load(session, c, *(item(c, str(number), **properties) for number, properties in enumerate(ITEMS)))
    session.close()
    return c


def found(http: httpx.Client, collection: str, **parameters: Any) -> str:
    answer = http.get("/search", params={"collections": collection, "limit": 50, **parameters})
    assert answer.status_code == 200, answer.text
    return " ".join(feature["id"] for feature in answer.json()["features"])


def test_what_was_loaded_is_found_by_its_type_at_once(http: httpx.Client, loaded: str) -> None:
    for expression, ids in {
        # as text, 10 would come before 9
        "size > 9": "1 2",
        "size < 9.5": "0",
        f"size = {2**40}": "2",
        "cover < 10": "0",
        "cover BETWEEN 20 AND 100": "1 2",
        # the instant, not how it is written
        "seen < TIMESTAMP('2024-04-30T22:30:00Z')": "0",
        "seen = '2024-05-01T01:00:00+02:00'": "1",
        "a_contains(tags, ('x'))": "0",
        # of several types: numbers beside numbers, text beside text
        "mixed < 30": "0",
        "mixed = 'five'": "1",
        "mixed > 30": "2",
        '"a.b" = 2': "1",
        '"nested.deep" = 3': "2",
    }.items():
        assert found(http, loaded, filter=expression, sortby="id") == ids, expression
    assert found(http, loaded, sortby="-cover") == "2 1 0"
    assert found(http, loaded, sortby="size") == "0 1 2"
    assert found(http, loaded, query=json.dumps({"size": {"gte": 10}}), sortby="id") == "1 2"


def test_a_name_that_was_just_refused_is_known_after_the_load(http: httpx.Client, loaded: str, yard: Yard) -> None:
    assert http.get("/search", params={"collections": loaded, "filter": "late = 1"}).status_code == 400
    session = Session(yard.database.url("ingest"), patience_seconds=1)
    load(session, loaded, item(loaded, "3", late=1))
    session.close()
    assert found(http, loaded, filter="late = 1") == "3"


def test_an_unknown_name_is_refused_wherever_it_stands(http: httpx.Client, loaded: str) -> None:
    unknown = {
        "filter": "nobody < 1",
        "query": json.dumps({"nobody": {"lt": 1}}),
        "sortby": "-nobody",
    }
    for parameter, value in unknown.items():
        answer = http.get("/search", params={"collections": loaded, parameter: value})
        assert answer.status_code == 400, parameter
        assert "no property 'nobody'" in answer.json()["detail"]
        if parameter == "sortby":
            assert answer.json()["parameter"] == "sortby"


def test_the_document_is_json_schema_of_what_there_is_and_of_nothing_else(http: httpx.Client, loaded: str) -> None:
    answer = http.get(f"/collections/{loaded}/queryables")
    document = answer.json()
    jsonschema.Draft7Validator.check_schema(document)
    assert answer.headers["content-type"].startswith("application/schema+json")
    assert document["$id"] == str(answer.url)
    assert document["additionalProperties"] is False
    properties = document["properties"]
    assert {name: definition for name, definition in properties.items() if name in ITEMS[0] or name == "nested"} == {
        "size": {"title": "size", "type": "integer"},
        "cover": {"title": "cover", "type": "number"},
        "mixed": {"title": "mixed"},
        "seen": {"title": "seen", "type": "string", "format": "date-time"},
        "tags": {"title": "tags", "type": "array", "items": {"type": "string"}},
        "a.b": {"title": "a.b", "type": "integer"},
        "nested": {"title": "nested", "type": "object"},
    }
    # every name in it can be asked for, and some item's properties hold to what it says
    for name in properties.keys() - {"geometry"}:
        assert http.get("/search", params={"collections": loaded, "sortby": name}).status_code in (200, 400), name
        answer = http.get("/search", params={"collections": loaded, "filter": f'"{name}" IS NULL'})
        assert answer.status_code == 200, (name, answer.text)
    resolved = {**document, "properties": {name: each for name, each in properties.items() if "$ref" not in each}}
    for each in ITEMS[:2]:
        jsonschema.validate(each, resolved)
    everything = http.get("/queryables").json()
    jsonschema.Draft7Validator.check_schema(everything)
    assert properties.keys() <= everything["properties"].keys()
    assert http.get("/collections/nobody/queryables").status_code == 404


def test_pystac_client_reads_them(url: str, loaded: str) -> None:
    client = Client.open(url)
    assert client.get_collection(loaded).get_queryables()["properties"]["cover"]["type"] == "number"
    assert "cover" in client.get_queryables()["properties"]
    search = client.search(collections=[loaded], filter="cover < 10", filter_lang="cql2-text")
    assert [each.id for each in search.items()] == ["0"]


def test_what_an_operator_registered_decides_and_stays(http: httpx.Client, yard: Yard) -> None:
    session = Session(yard.database.url("ingest"), patience_seconds=1)
    c = new_collection(yard, session, "by-hand")
    own = {"title": "By hand", "type": "string"}
    rows = "SELECT * FROM pgstac.queryables ORDER BY id"
    with yard.connect() as connection:
        connection.execute("SELECT pgstac.upsert_queryable('code', %s, collection_ids => %s)", [json.dumps(own), [c]])
    before = yard.query(rows)
    load(session, c, item(c, "0", code=9), item(c, "1", code=10))
    session.close()
    assert yard.query(rows) == before
    # as text 10 comes before 9
    assert found(http, c, sortby="code") == "1 0"
    document = http.get(f"/collections/{c}/queryables").json()
    assert document["properties"]["code"] == own


def test_items_that_others_loaded_are_in_the_document_without_a_type(http: httpx.Client, yard: Yard) -> None:
    session = Session(yard.database.url("ingest"), patience_seconds=1)
    c = new_collection(yard, session, "others")
    session.close()
    with yard.connect() as connection:
        connection.execute("SELECT pgstac.create_items(%s)", [json.dumps([item(c, "0", theirs=1)])])
    document = http.get(f"/collections/{c}/queryables").json()
    assert document["properties"]["theirs"] == {"title": "theirs"}
    assert found(http, c, filter="theirs = 1") == "0"


def test_what_others_write_of_another_type_is_left_out_and_no_error(
    http: httpx.Client, yard: Yard, loaded: str
) -> None:
    theirs = [item(loaded, "late", cover="cloudy", seen="yesterday", size=None), item(loaded, "odd", seen=3, cover=[1])]
    with yard.connect() as connection:
        connection.execute("SELECT pgstac.create_items(%s)", [json.dumps(theirs)])
    assert found(http, loaded, filter="cover < 1000", sortby="id") == "0 1 2"
    assert found(http, loaded, filter="seen > '2000-01-01T00:00:00Z'", sortby="id") == "0 1"
    assert found(http, loaded, filter="T_AFTER(seen, TIMESTAMP('2000-01-01T00:00:00Z'))", sortby="id") == "0 1"
    assert found(http, loaded, filter="cover IS NULL") == ""
    assert found(http, loaded, filter="seen IS NULL") == "2"
    assert found(http, loaded, filter="tags IS NULL", sortby="id") == "2 late odd"
    assert found(http, loaded, sortby="-cover").split()[-3:] == ["2", "1", "0"]


def test_a_collection_of_texts_does_not_spoil_the_search_of_all(http: httpx.Client, yard: Yard, loaded: str) -> None:
    session = Session(yard.database.url("ingest"), patience_seconds=1)
    c = new_collection(yard, session, "texts")
    load(session, c, item(c, "text", cover="cloudy"))
    session.close()
    ids = found(http, f"{loaded},{c}", filter="cover < 10")
    assert re.fullmatch("0", ids)
