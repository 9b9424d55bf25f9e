"""Pages of our own statement, held against pgSTAC's search: the same items, order, bodies and walks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import psycopg
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.rows import TupleRow

from stacyard.core.connection import connect
from stacyard.core.database import AsyncDatabase
from stacyard.core.pgstac import BaseItems
from stacyard.core.pgstac_pages import (
    Counting,
    Page,
    PageQuery,
    Position,
    read_one,
    read_page,
    statement_of,
)
from stacyard.core.settings import DatabaseSettings

Connection = psycopg.Connection[TupleRow]
COLLECTIONS = ("pages-a", "pages-b", "pages-c")
START = datetime(2020, 1, 1, tzinfo=UTC)
ITEMS = 90


def collection(name: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "description": name,
        "license": "CC0-1.0",
        "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "item_assets": {"image": {"type": "image/tiff", "roles": ["data"], "title": name}} if name != "pages-b" else {},
    }


def geometry(number: int) -> dict[str, Any]:
    """Points, boxes and pairs of boxes over the whole world, some of them around the antimeridian."""
    west, south = (number * 47) % 360 - 180, (number * 31) % 160 - 80
    east, north = min(180, west + 8), south + 6
    kinds = [
        shapely.Point(west, south),
        shapely.box(west, south, east, north),
        shapely.MultiPolygon([shapely.box(-180, south, -178, north), shapely.box(179, south, 180, north)]),
        shapely.LineString(
            [
                (west, south),
                (
                    east,
                    north,
                ),
                (east, south),
            ]
        ),
    ]
    return dict(orjson.loads(shapely.to_geojson(kinds[number % len(kinds)])))


def item(number: int) -> dict[str, Any]:
    # many share their time, and every seventh lasts
    time = START + timedelta(days=number % 17, microseconds=number % 2)
    times = {"datetime": time.isoformat().replace("+00:00", "Z")}
    if number % 7 == 0:
        end = (time + timedelta(days=20)).isoformat().replace("+00:00", "Z")
        times = {"datetime": None, "start_datetime": times["datetime"], "end_datetime": end}  # type: ignore[dict-item]
    image = {"type": "image/tiff", "roles": ["data"], "href": f"file:///yard/{number}.tif"}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        # ids repeat from collection to collection
        "id": f"i{number // 2}",
        "collection": COLLECTIONS[number % 3],
        "bbox": [0, 0, 1, 1],
        "geometry": geometry(number),
        "properties": {**times, "number": number, "tiny": 1.5e-7 * number},
        "links": [{"rel": "license", "href": "https://example.org"}],
        "assets": {"image": image | ({"title": COLLECTIONS[number % 3]} if number % 5 else {})},
    }


@pytest.fixture(scope="module")
def reader(database_settings: DatabaseSettings) -> Iterator[Connection]:
    """A session that may read, beside three collections, one of them by month and one whose base item has changed."""
    with connect(database_settings.url("ingest"), application_name="test") as writer:
        for name in COLLECTIONS:
            writer.execute("SELECT pgstac.upsert_collection(%s)", [json.dumps(collection(name))])
        writer.execute("UPDATE pgstac.collections SET partition_trunc = 'month' WHERE id = 'pages-a'")
        first = [item(number) for number in range(ITEMS) if number % 2]
        writer.execute("SELECT pgstac.create_items(%s)", [json.dumps(first)])
        changed = {**collection("pages-a"), "item_assets": {"image": {"roles": ["data"]}, "other": {"x": 1}}}
        writer.execute("SELECT pgstac.upsert_collection(%s)", [json.dumps(changed)])
        writer.execute("SELECT pgstac.create_items(%s)", [json.dumps([item(n) for n in range(0, ITEMS, 2)])])
        try:
            with connect(database_settings.url("reader"), application_name="test") as session:
                yield session
        finally:
            for name in COLLECTIONS:
                writer.execute("DELETE FROM pgstac.collections WHERE id = %s", [name])


Run = Callable[[Callable[[asyncpg.Connection], Awaitable[Any]]], Any]


@pytest.fixture(scope="module")
def run(reader: Connection, database_settings: DatabaseSettings) -> Iterator[Run]:
    """Runs a coroutine on a connection of the service's own pool."""
    database = AsyncDatabase(database_settings, "reader", application_name="test")
    with asyncio.Runner() as runner:
        runner.run(database.open())

        async def on_connection(work: Callable[[Any], Awaitable[Any]]) -> Any:
            async with database.connection() as connection:
                return await work(connection)

        yield lambda work: runner.run(on_connection(work))
        runner.run(database.close())


def page(run: Run, query: PageQuery) -> Page:
    found: Page = run(lambda connection: read_page(connection, BaseItems(), query))
    return found


def plain(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(orjson.loads(orjson.dumps(items)))


def searched(reader: Connection, query: PageQuery, token: str | None = None) -> dict[str, Any]:
    """What pgSTAC finds, made whole by itself."""
    search: dict[str, Any] = {"limit": query.limit}
    if query.collections:
        search["collections"] = list(query.collections)
    if query.ids is not None:
        search["ids"] = list(query.ids)
    if query.boxes:
        search["bbox"] = list(query.boxes[0])
    if query.geometry is not None:
        search["intersects"] = json.loads(query.geometry)
    if query.first or query.last:
        search["datetime"] = "/".join(end.isoformat() if end else ".." for end in (query.first, query.last))
    if query.ascending:
        search["sortby"] = [{"field": "datetime", "direction": "asc"}]
    if token:
        search["token"] = token
    row = reader.execute("SELECT pgstac.search(%s)", [json.dumps(search)]).fetchone()
    assert row is not None
    return dict(row[0])


longitudes, latitudes = st.integers(-180, 180), st.integers(-90, 90)
boxes = st.tuples(longitudes, latitudes, longitudes, latitudes).map(
    lambda edges: (
        float(min(edges[0], edges[2])),
        float(min(edges[1], edges[3])),
        float(max(edges[0], edges[2])),
        float(max(edges[1], edges[3])),
    )
)
places = st.one_of(
    st.tuples(longitudes, latitudes).map(shapely.Point),
    boxes.filter(lambda box: box[0] < box[2] and box[1] < box[3]).map(lambda box: shapely.box(*box)),
    st.lists(st.tuples(longitudes, latitudes), min_size=2, max_size=4, unique=True).map(shapely.LineString),
    st.lists(st.tuples(longitudes, latitudes), min_size=1, max_size=4).map(shapely.MultiPoint),
).map(shapely.to_geojson)
moments = st.integers(-3, 40).map(lambda days: START + timedelta(days=days))
intervals = st.tuples(st.none() | moments, st.none() | moments).filter(
    lambda ends: None in ends or ends[0] <= ends[1]  # type: ignore[operator]
)


@st.composite
def queries(draw: st.DrawFn) -> PageQuery:
    first, last = draw(intervals)
    # pgSTAC takes a place as a box or as a geometry
    box, place = draw(st.sampled_from([(None, None), (boxes, None), (None, places)]))
    return PageQuery(
        limit=draw(st.integers(1, 12)),
        # the database has other collections, too
        collections=draw(st.lists(st.sampled_from([*COLLECTIONS, "none"]), min_size=1, unique=True)),
        ids=draw(st.none() | st.lists(st.integers(0, ITEMS // 2).map("i{}".format), min_size=1, max_size=20)),
        boxes=[draw(box)] if box is not None else [],
        geometry=draw(place) if place is not None else None,
        first=first,
        last=last,
        ascending=draw(st.booleans()),
    )


@settings(max_examples=150)
@given(query=queries())
def test_a_page_is_what_pgstac_finds_to_the_last_digit(query: PageQuery, run: Run, reader: Connection) -> None:
    found, wanted = page(run, query), searched(reader, query)
    assert plain(found.items) == wanted["features"]
    assert not found.more_before
    assert found.more_behind == any(link["rel"] == "next" for link in wanted["links"])
    assert [(position.collection, position.item) for position in found.positions] == [
        (each["collection"], each["id"]) for each in wanted["features"]
    ]


@settings(max_examples=30)
@given(query=queries())
def test_a_walk_there_and_back_passes_every_item_once(query: PageQuery, run: Run, reader: Connection) -> None:
    everything = [
        (each["collection"], each["id"]) for each in searched(reader, replace(query, limit=ITEMS))["features"]
    ]
    current = page(run, query)
    pages = [current]
    while current.more_behind:
        current = page(run, replace(query, start=current.positions[-1]))
        assert current.more_before
        assert len(pages) <= len(everything), "the walk goes round in a circle"
        pages.append(current)
    walked = [(each.collection, each.item) for one in pages for each in one.positions]
    assert walked == everything
    for before, behind in zip(reversed(pages[:-1]), reversed(pages[1:]), strict=True):
        back = page(run, replace(query, start=behind.positions[0], backwards=True))
        assert (plain(back.items), back.positions) == (plain(before.items), before.positions)
        assert back.more_behind
        assert back.more_before == (before is not pages[0])


def test_a_page_is_found_though_the_item_it_lies_behind_is_gone(run: Run) -> None:
    query = PageQuery(limit=5, collections=COLLECTIONS)
    first, second = page(run, query).positions[-1], page(run, replace(query, limit=10)).positions[5:]
    nobody = Position(first.time, first.collection, first.item[:-1] + chr(ord(first.item[-1]) - 1) + "~")
    assert page(run, replace(query, start=nobody)).positions == second


def test_two_boxes_are_what_lies_in_either(run: Run, reader: Connection) -> None:
    query = PageQuery(limit=ITEMS, collections=COLLECTIONS)
    halves = [(178.0, -90.0, 180.0, 90.0), (-180.0, -90.0, -178.0, 90.0)]
    either = {
        (each["collection"], each["id"])
        for half in halves
        for each in searched(reader, replace(query, boxes=[half]))["features"]
    }
    found = page(run, replace(query, boxes=halves)).positions
    assert {(each.collection, each.item) for each in found} == either
    assert len(found) == len(either) > 5


def test_a_page_of_many_partitions_is_not_shared_among_workers(run: Run) -> None:
    statement, values = statement_of(PageQuery(limit=5, collections=["pages-a"], boxes=[(-10.0, -10.0, 10.0, 10.0)]))

    async def planned(connection: Any) -> str:
        async with connection.transaction():
            # as cheap as many partitions make it look
            for name in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_index_scan_size"):
                await connection.execute(f"SET LOCAL {name} TO 0")
            await connection.execute("SET LOCAL min_parallel_table_scan_size TO 0")
            return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values))

    assert "Gather" not in run(planned)


def test_one_item_is_as_in_a_search(run: Run, reader: Connection) -> None:
    for name in COLLECTIONS:
        [wanted] = searched(reader, PageQuery(limit=1, collections=[name]))["features"]
        found = run(lambda connection: read_one(connection, BaseItems(), wanted["collection"], wanted["id"]))  # noqa: B023
        assert plain([found]) == [wanted]
    assert run(lambda connection: read_one(connection, BaseItems(), "pages-a", "none")) is None


def test_whether_pgstac_counts_is_asked_once_a_minute(run: Run, database_settings: DatabaseSettings) -> None:
    now = [0.0]
    counting = Counting(clock=lambda: now[0])
    assert run(counting.is_on) is False
    with connect(database_settings.url("owner"), application_name="test") as owner:
        owner.execute("UPDATE pgstac.pgstac_settings SET value = 'on' WHERE name = 'context'")
        try:
            now[0] = 59.0
            assert run(counting.is_on) is False
            now[0] = 60.0
            assert run(counting.is_on) is True
        finally:
            owner.execute("UPDATE pgstac.pgstac_settings SET value = 'off' WHERE name = 'context'")
