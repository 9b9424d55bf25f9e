"""What we know of pgSTAC's tables, held against pgSTAC's own functions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow

from stacyard.core.connection import connect
from stacyard.core.errors import InvalidRequest, NotFound
from stacyard.core.migrate import PGSTAC_VERSION
from stacyard.core.pgstac import (
    BaseItems,
    items_intersecting,
    read_collection,
    read_item,
    registered_search,
    search_clauses,
)
from stacyard.core.settings import DatabaseSettings

Connection = psycopg.Connection[TupleRow]
COLLECTION = "test-pgstac"


def collection(description: str, roles: list[str]) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": COLLECTION,
        "description": description,
        "license": "CC0-1.0",
        "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "item_assets": {"B4": {"type": "image/tiff", "roles": roles, "eo:bands": [{"name": "B4"}]}},
    }


def item(number: int, **properties: Any) -> dict[str, Any]:
    west = number / 10
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"field_{number}",
        "collection": COLLECTION,
        "bbox": [west, 0, west + 1, 1],
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[west, 0], [west + 1, 0], [west + 1, 1], [west, 1], [west, 0]]],
        },
        "properties": {"datetime": f"2020-05-{number % 28 + 1:02}T00:00:00Z", "note": "100%", **properties},
        "links": [],
        "assets": {
            "B4": {
                "type": "image/tiff",
                "roles": ["data"],
                "href": f"file:///yard/{number}.tif",
                "eo:bands": [{"name": "B4"}],
            },
            "thumbnail": {"href": "https://example.org/t.png", "type": None},
        },
    }


@pytest.fixture(scope="module")
def writer(database_settings: DatabaseSettings) -> Iterator[Connection]:
    """The ingest role, after it made a collection, five items, changed the collection, and made five more."""
    with connect(database_settings.url("ingest"), application_name="test") as connection:
        connection.execute("SELECT pgstac.create_collection(%s)", [json.dumps(collection("first", ["data"]))])
        for number in range(5):
            connection.execute("SELECT pgstac.create_item(%s)", [json.dumps(item(number))])
        connection.execute("SELECT pgstac.update_collection(%s)", [json.dumps(collection("second", ["reflectance"]))])
        for number in range(5, 10):
            connection.execute("SELECT pgstac.create_item(%s)", [json.dumps(item(number, gsd=30))])
        yield connection
        connection.execute("SELECT pgstac.delete_collection(%s)", [COLLECTION])


@pytest.fixture
def reader(database_settings: DatabaseSettings, writer: Connection) -> Iterator[Connection]:
    with connect(database_settings.url("reader"), application_name="test") as connection:
        yield connection


def test_the_schema_is_the_one_that_this_room_was_written_for(reader: Connection) -> None:
    version = reader.execute("SELECT pgstac.get_version()").fetchone()
    assert version == (PGSTAC_VERSION,)
    columns = reader.execute(
        "SELECT table_name, string_agg(column_name, ' ' ORDER BY ordinal_position) FROM information_schema.columns "
        "WHERE table_schema = 'pgstac' AND table_name IN "
        "('items', 'collections', 'base_items', 'searches', 'queryables', 'partition_stats') GROUP BY 1"
    ).fetchall()
    assert dict(columns) == {
        "items": "id geometry collection datetime end_datetime content private",
        "collections": "key id content base_item geometry datetime end_datetime private partition_trunc",
        "base_items": "collection id base_item",
        "searches": "hash search _where orderby lastused usecount metadata",
        "queryables": "id name collection_ids definition property_path property_wrapper property_index_type",
        "partition_stats": "partition collection partition_dtrange dtrange edtrange spatial last_updated keys",
    }


def test_items_become_whole_as_pgstac_makes_them_before_and_after_their_collection_changed(reader: Connection) -> None:
    tags = reader.execute(
        "SELECT DISTINCT content->>'pgstac:base_item' FROM pgstac.items WHERE collection = %s", [COLLECTION]
    ).fetchall()
    assert len(tags) == 2, "the test needs items of two base items"
    base_items = BaseItems()
    for number in range(10):
        ours = read_item(reader, base_items, COLLECTION, f"field_{number}")
        theirs = reader.execute("SELECT pgstac.get_item(%s, %s)", [f"field_{number}", COLLECTION]).fetchone()
        assert theirs is not None
        assert ours == theirs[0]
        assert ours["assets"]["B4"]["roles"] == ["data"]


def test_what_is_not_there_is_said_by_name(reader: Connection) -> None:
    with pytest.raises(NotFound, match="'field_99'"):
        read_item(reader, BaseItems(), COLLECTION, "field_99")
    with pytest.raises(NotFound, match="'nowhere'"):
        read_collection(reader, "nowhere")
    with pytest.raises(NotFound, match="'0000'"):
        registered_search(reader, "0000")


def test_the_items_of_a_search_come_in_its_order_and_meet_the_geometry(reader: Connection) -> None:
    search = {"collections": [COLLECTION], "sortby": [{"field": "datetime", "direction": "asc"}]}
    clauses = search_clauses(reader, search)
    area = json.dumps({"type": "Point", "coordinates": [0.55, 0.5]})
    found = items_intersecting(reader, BaseItems(), clauses, area, 100)
    assert [entry["id"] for entry in found] == [f"field_{number}" for number in range(6)]
    assert found[0]["assets"]["B4"] == item(0)["assets"]["B4"]
    assert found[0]["bbox"] == [0, 0, 1, 1]
    assert len(items_intersecting(reader, BaseItems(), clauses, area, 2)) == 2


def test_a_percent_sign_in_a_filter_is_no_parameter(reader: Connection) -> None:
    search = {
        "collections": [COLLECTION],
        "filter-lang": "cql2-json",
        "filter": {"op": "like", "args": [{"property": "note"}, "1%"]},
    }
    found = items_intersecting(
        reader, BaseItems(), search_clauses(reader, search), '{"type": "Point", "coordinates": [0.05, 0.5]}', 10
    )
    assert [entry["id"] for entry in found] == ["field_0"]


def test_quotes_in_a_filter_stay_a_value(reader: Connection) -> None:
    search = {
        "collections": [COLLECTION],
        "filter-lang": "cql2-json",
        "filter": {"op": "=", "args": [{"property": "note"}, "'; DROP TABLE pgstac.items; --"]},
    }
    point = '{"type": "Point", "coordinates": [0.05, 0.5]}'
    assert items_intersecting(reader, BaseItems(), search_clauses(reader, search), point, 10) == []


def test_making_clauses_stores_nothing(reader: Connection) -> None:
    count = "SELECT count(*), coalesce(sum(usecount), 0) FROM pgstac.searches"
    before = reader.execute(count).fetchone()
    search_clauses(reader, {"collections": [COLLECTION]}, {"name": "test"})
    assert reader.execute(count).fetchone() == before


def test_a_search_that_pgstac_refuses_is_the_clients_fault(reader: Connection) -> None:
    with pytest.raises(InvalidRequest, match="nonsense"):
        search_clauses(reader, {"filter-lang": "cql2-json", "filter": {"op": "nonsense", "args": [1, 2]}})


def test_base_items_are_read_once_and_again_after_their_time(reader: Connection) -> None:
    now = 0.0
    base_items = BaseItems(seconds=60, clock=lambda: now)
    first = base_items.get(reader, COLLECTION, None)
    assert base_items.get(reader, COLLECTION, None) is first
    now = 61.0
    again = base_items.get(reader, COLLECTION, None)
    assert again.document == first.document
    assert again is not first
