"""Searches held against pgSTAC's own: the same items, order, bodies and walks, whatever is asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import orjson
import psycopg
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.rows import TupleRow

from stacyard.core.connection import connect
from stacyard.core.database import AsyncDatabase
from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac import BaseItems
from stacyard.core.pgstac_count import Counting, count_items
from stacyard.core.pgstac_order import Position, SortKey
from stacyard.core.pgstac_pages import Catalog, Page, PageQuery, Row, read_one, read_page, statement_of
from stacyard.core.pgstac_queryables import Queryable
from stacyard.core.pgstac_steps import Steps
from stacyard.core.pgstac_where import ItemQuery
from stacyard.core.settings import DatabaseSettings
from stacyard.stac.paging import position_of, token_of
from stacyard.stac.search import search_of

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
        shapely.LineString([(west, south), (east, north), (east, south)]),
    ]
    return dict(orjson.loads(shapely.to_geojson(kinds[number % len(kinds)])))


def properties(number: int) -> dict[str, Any]:
    """Of many types, each missing somewhere; `t:mixed` is a number here and a text there."""
    every = {
        "t:number": number % 11,
        "t:tiny": 1.5e-7 * (number % 23),
        "t:name": f"{'Näme' if number % 2 else 'name'}_{number % 5}%",
        "t:flag": number % 3 == 0,
        "t:tags": ["a", "b", str(number % 4)][number % 3 :],
        "t:when": (START + timedelta(days=number % 13)).isoformat().replace("+00:00", "Z"),
        "t:day": (START + timedelta(days=number % 9)).date().isoformat(),
        "t:mixed": number % 4 if number % 3 == 0 else f"m{number % 4}",
        "t:deep": {"er": number % 6},
        "title": f"Barley of field {number % 3}" if number % 4 == 0 else "Bare soil",
    }
    return {name: value for place, (name, value) in enumerate(every.items()) if (number + place) % 8}


#: What is registered, and for which collections; the other properties are not.
QUERYABLES = [
    ("t:tiny", {"type": "number"}, None),
    ("t:number", {"type": "integer"}, ["pages-a"]),
    ("t:number", {"type": "number"}, ["pages-b"]),
    ("t:when", {"type": "string", "format": "date-time"}, None),
    ("t:day", {"type": "string", "format": "date"}, None),
    ("t:tags", {"type": "array"}, None),
]


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
        "properties": {**times, **properties(number)},
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
        for name, definition, collections in QUERYABLES:
            writer.execute(
                "INSERT INTO pgstac.queryables (name, definition, collection_ids) VALUES (%s, %s, %s)",
                [name, json.dumps(definition), collections],
            )
        with connect(database_settings.url("owner"), application_name="test") as owner:
            # for the histograms that stretches are made of
            owner.execute("ANALYZE pgstac.items")
        try:
            with connect(database_settings.url("reader"), application_name="test") as session:
                yield session
        finally:
            writer.execute("DELETE FROM pgstac.queryables WHERE name LIKE 't:%'")
            for name in COLLECTIONS:
                writer.execute("DELETE FROM pgstac.collections WHERE id = %s", [name])


ITEMS_OF_TEST = ItemQuery(collections=COLLECTIONS)
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


@pytest.fixture(scope="module", params=[500, 2], ids=["whole partitions", "stretches of two items"])
def catalog(request: pytest.FixtureRequest, reader: Connection) -> Catalog:
    """What is known of the database, in which partitions of a few items count as large ones once."""
    return Catalog(base_items=BaseItems(), steps=Steps(stretch=request.param))


Found = Callable[[PageQuery], Page]


@pytest.fixture(scope="module")
def page(run: Run, catalog: Catalog) -> Found:
    """Reads a page."""

    def found(query: PageQuery) -> Page:
        result: Page = run(lambda connection: read_page(connection, catalog, query))
        return result

    return found


def asked(search: dict[str, Any]) -> PageQuery:
    return search_of(search, page_limit=1000).page


def plain(rows: list[Row]) -> list[dict[str, Any]]:
    """Items as pgSTAC makes them whole."""
    documents = []
    for row in rows:
        members, assets = row.stored.whole(row.base)
        own = {"id": row.item, "collection": row.collection, "geometry": msgspec.Raw(row.geometry.encode())}
        documents.append({"type": "Feature", **members, **own, "assets": assets})
    return list(orjson.loads(msgspec.json.encode(documents)))


def searched(reader: Connection, search: dict[str, Any]) -> dict[str, Any]:
    """What pgSTAC finds, made whole by itself."""
    row = reader.execute("SELECT pgstac.search(%s)", [json.dumps(search)]).fetchone()
    assert row is not None
    return dict(row[0])


def ids(features: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["collection"], each["id"]) for each in features]


longitudes, latitudes = st.integers(-180, 180), st.integers(-90, 90)
boxes = st.tuples(longitudes, latitudes, longitudes, latitudes).map(
    lambda edges: [
        min(edges[0], edges[2]),
        min(edges[1], edges[3]),
        max(edges[0], edges[2]),
        max(edges[1], edges[3]),
    ]
)
shapes = st.one_of(
    st.tuples(longitudes, latitudes).map(shapely.Point),
    boxes.filter(lambda box: box[0] < box[2] and box[1] < box[3]).map(lambda box: shapely.box(*box)),
    st.lists(st.tuples(longitudes, latitudes), min_size=2, max_size=4, unique=True).map(shapely.LineString),
    st.lists(st.tuples(longitudes, latitudes), min_size=1, max_size=4).map(shapely.MultiPoint),
    st.tuples(longitudes, latitudes).map(
        lambda at: (
            shapely.GeometryCollection([shapely.Point(*at), shapely.Point(at[0], 0).buffer(9).envelope])
            if abs(at[0]) < 170
            else shapely.Point(*at)
        )
    ),
).map(lambda shape: orjson.loads(shapely.to_geojson(shape)))
moments = st.integers(-3, 40).map(lambda days: (START + timedelta(days=days)).isoformat())
intervals = st.one_of(
    moments,
    st.tuples(st.just("..") | moments, st.just("..") | moments)
    .filter(lambda ends: ends != ("..", "..") and (".." in ends or ends[0] <= ends[1]))
    .map("/".join),
)


def named(name: str) -> dict[str, str]:
    return {"property": name}


def operation(operators: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(operators.split())
    return st.builds(lambda op, args: {"op": op, "args": list(args)}, names, st.tuples(*arguments))


ORDERINGS = "= <> < <= > >= eq neq lt lte gt gte"
numbers = st.integers(-1, 12) | st.floats(-1, 12).map(lambda number: round(number, 1))
numeric = st.sampled_from(["t:number", "t:tiny", "properties.t:tiny", "t:deep.er"]).map(named)
texts = st.sampled_from(["t:name", "id", "collection"]).map(named)
words = st.sampled_from(["name_1%", "Näme_3%", "i5", "pages-a", "m", "x'; --", "\\"])
patterns = st.sampled_from(["n%", "N_me%", "%_3\\%", "i1_", "pages-%", "%", "%\\_%"])
stamps = moments.map(lambda text: {"timestamp": text})
times = st.sampled_from(["datetime", "end_datetime", "start_datetime", "t:when", "properties.datetime"]).map(named)
days = moments.map(lambda text: text[:10])
spans = st.one_of(
    st.tuples(moments, moments).filter(lambda ends: ends[0] <= ends[1]).map(lambda ends: {"interval": list(ends)}),
    days,
    stamps,
    moments,
    st.sampled_from(["datetime", "end_datetime", "t:when", "t:day"]).map(named),
    st.just({"interval": [named("datetime"), named("end_datetime")]}),
    days.map(lambda day: {"interval": ["..", day]}),
    st.tuples(moments, st.sampled_from(["P2D", "P1M", "PT36H"])).map("/".join),
)
TEMPORAL = (
    "t_before t_after t_meets t_metBy t_overlaps t_overlappedBy t_starts t_startedBy t_during t_contains t_finishes "
    "t_finishedBy t_equals t_disjoint t_intersects"
)
labels = st.lists(st.sampled_from(["a", "b", "0", "1"]), max_size=3, unique=True)
conditions = st.one_of(
    operation(ORDERINGS, numeric, numbers),
    operation(ORDERINGS, numbers, numeric),
    operation(ORDERINGS, texts, words),
    operation("= <>", st.just(named("t:flag")), st.booleans()),
    operation("= >", st.just(named("t:mixed")), words),
    operation(ORDERINGS, times, stamps | moments),
    operation("between", numeric, numbers, numbers),
    operation("between", times, stamps, stamps),
    operation("in", numeric, st.lists(numbers, min_size=1, max_size=4)),
    operation("in", texts, st.lists(words, min_size=1, max_size=4)),
    operation("like ilike", st.sampled_from(["t:name", "id", "collection"]).map(named), patterns),
    operation("=", operation("casei lower", st.just(named("t:name"))), operation("casei lower", words)),
    operation("=", operation("accenti", st.just(named("t:name"))), operation("accenti", words)),
    operation("isNull", st.sampled_from(["t:number", "t:name", "t:tags", "t:when", "datetime", "t:mixed"]).map(named)),
    operation("s_intersects s_within s_disjoint s_contains s_touches", st.just(named("geometry")), shapes).filter(
        lambda node: node["args"][1]["type"] != "GeometryCollection"
    ),
    operation("s_intersects", st.just(named("geometry")), boxes),
    operation(TEMPORAL, spans, spans),
    operation("a_equals a_contains a_contained_by a_overlaps", st.just(named("t:tags")), labels),
)
filters = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda args: {"op": "and", "args": args}),
        st.lists(inner, min_size=1, max_size=3).map(lambda args: {"op": "or", "args": args}),
        inner.map(lambda each: {"op": "not", "args": [each]}),
    ),
    max_leaves=5,
)
comparisons = st.dictionaries(st.sampled_from(["eq", "neq", "lt", "lte", "gt", "gte"]), numbers, min_size=1, max_size=2)
legacy = st.dictionaries(st.sampled_from(["t:tiny", "t:number", "t:deep.er"]), comparisons, min_size=1, max_size=2)
sorts = st.lists(
    st.tuples(
        st.sampled_from(
            ["datetime", "properties.datetime", "end_datetime", "id", "collection", "t:number", "t:tiny", "t:name"]
        ),
        st.sampled_from(["asc", "desc"]),
    ),
    max_size=3,
    unique_by=lambda key: key[0].removeprefix("properties."),
).map(lambda keys: [{"field": field, "direction": direction} for field, direction in keys])


@st.composite
def searches(draw: st.DrawFn) -> dict[str, Any]:
    place = draw(st.sampled_from(["bbox", "intersects", None, None]))
    how = draw(st.sampled_from(["filter", "filter", "query", None, None]))
    search = {
        "limit": draw(st.integers(1, 12)),
        # the database has other collections, too
        "collections": draw(st.lists(st.sampled_from([*COLLECTIONS, "none"]), min_size=1, unique=True)),
        "ids": draw(st.none() | st.lists(st.integers(0, ITEMS // 2).map("i{}".format), min_size=1, max_size=20)),
        "datetime": draw(st.none() | intervals),
        "sortby": draw(st.none() | sorts),
    }
    if place is not None:
        search[place] = draw(boxes if place == "bbox" else shapes)
    if how is not None:
        search[how] = draw(filters if how == "filter" else legacy)
    return {name: value for name, value in search.items() if value is not None}


@settings(max_examples=400)
@given(search=searches())
def test_a_page_is_what_pgstac_finds_to_the_last_digit(search: dict[str, Any], page: Found, reader: Connection) -> None:
    found, wanted = page(asked(search)), searched(reader, search)
    assert plain(found.rows) == wanted["features"]
    assert found.before is None
    assert (found.behind is not None) == any(link["rel"] == "next" for link in wanted["links"])


@settings(max_examples=60)
@given(search=searches())
def test_a_walk_there_and_back_passes_every_item_once(search: dict[str, Any], page: Found, reader: Connection) -> None:
    everything = ids(searched(reader, {**search, "limit": ITEMS})["features"])
    query = asked(search)
    current = page(query)
    pages = [current]
    while current.behind is not None:
        start, backwards = position_of(f"next:{token_of(current.behind)}")
        assert (start, backwards) == (current.behind, False)
        current = page(replace(query, start=start))
        assert current.before is not None
        assert len(pages) <= len(everything), "the walk goes round in a circle"
        pages.append(current)
    walked = [(row.collection, row.item) for one in pages for row in one.rows]
    assert walked == everything
    for before, behind in zip(reversed(pages[:-1]), reversed(pages[1:]), strict=True):
        back = page(replace(query, start=behind.before, backwards=True))
        assert plain(back.rows) == plain(before.rows)
        assert back.behind is not None
        assert (back.before is not None) == (before is not pages[0])


@settings(max_examples=40)
@given(search=searches())
def test_the_count_is_that_of_all_pages(search: dict[str, Any], run: Run, catalog: Catalog, reader: Connection) -> None:
    items = asked(search).items
    wanted = len(searched(reader, {**search, "limit": ITEMS})["features"])

    async def counted(connection: Any, most: int) -> Any:
        queryables = await catalog.queryables.of(connection, items.names(), items.collections)
        return await count_items(connection, items, queryables, most=most)

    count = run(lambda connection: counted(connection, ITEMS))
    assert (count.items, count.exact) == (wanted, True)
    if wanted > 2:
        beyond = run(lambda connection: counted(connection, 2))
        assert beyond.items > 2
        assert not beyond.exact


def test_a_token_without_values_stands_for_where_its_item_is(page: Found) -> None:
    query = replace(asked({"limit": 5, "sortby": [{"field": "t:name", "direction": "desc"}]}), items=ITEMS_OF_TEST)
    first = page(query)
    assert first.behind is not None
    second = page(replace(query, start=first.behind))
    again = page(replace(query, start=first.behind._replace(values=())))
    assert plain(second.rows) == plain(again.rows) != []
    with pytest.raises(InvalidRequest, match="gone"):
        page(replace(query, start=Position((), "pages-a", "nobody")))


def test_a_page_is_found_though_the_item_it_lies_behind_is_gone(page: Found) -> None:
    query = PageQuery(limit=5, items=ITEMS_OF_TEST)
    first, both = page(query), page(replace(query, limit=10))
    assert first.behind is not None
    last = first.behind
    nobody = last._replace(item=last.item[:-1] + chr(ord(last.item[-1]) - 1) + "~")
    assert plain(page(replace(query, start=nobody)).rows) == plain(both.rows)[5:]


def test_a_token_of_another_order_is_refused(page: Found) -> None:
    first = page(PageQuery(limit=5, items=ITEMS_OF_TEST))
    for sort in ([SortKey("t:name")], [SortKey("id")], [SortKey("datetime"), SortKey("t:tiny")]):
        with pytest.raises(InvalidRequest, match="another order"):
            page(PageQuery(limit=5, items=ITEMS_OF_TEST, sort=sort, start=first.behind))


def test_a_box_across_the_antimeridian_is_what_lies_on_either_side(page: Found, reader: Connection) -> None:
    search: dict[str, Any] = {"limit": ITEMS, "collections": list(COLLECTIONS)}
    halves = [[178, -90, 180, 90], [-180, -90, -178, 90]]
    either = {each for half in halves for each in ids(searched(reader, {**search, "bbox": half})["features"])}
    beyond = {"type": "Polygon", "coordinates": [[[178, -90], [182, -90], [182, 90], [178, 90], [178, -90]]]}
    ways: list[dict[str, Any]] = [
        {"bbox": [178, -90, -178, 90]},
        {"bbox": [178, -90, 0, -178, 90, 9000]},
        {"intersects": beyond},
        {"filter": {"op": "s_intersects", "args": [named("geometry"), {"bbox": [178, -90, -178, 90]}]}},
        {"filter": {"op": "s_intersects", "args": [beyond, named("geometry")]}},
    ]
    for way in ways:
        found = [(row.collection, row.item) for row in page(asked({**search, **way})).rows]
        assert set(found) == either
        assert len(found) == len(either) > 5


@pytest.mark.parametrize("sortby", [None, [{"field": "t:name", "direction": "desc"}], [{"field": "id"}]])
def test_words_are_found_page_by_page(sortby: Any, page: Found) -> None:
    search = {"collections": list(COLLECTIONS), "q": "barley -2", "sortby": sortby, "limit": 4}
    query = asked({name: value for name, value in search.items() if value})
    found = [page(query)]
    while found[-1].behind is not None:
        found.append(page(replace(query, start=found[-1].behind)))
    wanted = {
        (each["collection"], each["id"])
        for each in map(item, range(ITEMS))
        if "Barley" in each["properties"].get("title", "") and "2" not in each["properties"]["title"]
    }
    walked = [(row.collection, row.item) for one in found for row in one.rows]
    assert set(walked) == wanted != set()
    assert len(walked) == len(wanted)
    back = page(replace(query, start=found[-1].before, backwards=True))
    assert plain(back.rows) == plain(found[-2].rows)


def test_arithmetic_is_of_numbers_wherever_it_stands(page: Found) -> None:
    # pgSTAC reads the other side as text once this stands within `and`
    sum_ = {"op": "+", "args": [named("t:number"), {"op": "*", "args": [named("t:deep.er"), 2]}]}
    condition = {"op": "and", "args": [{"op": ">", "args": [sum_, 14]}]}
    found = page(asked({"collections": list(COLLECTIONS), "limit": ITEMS, "filter": condition}))
    wanted = {
        (each["collection"], each["id"])
        for each in map(item, range(ITEMS))
        if each["properties"].get("t:number", -99) + 2 * each["properties"].get("t:deep", {"er": -99})["er"] > 14
    }
    assert {(row.collection, row.item) for row in found.rows} == wanted != set()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"op": "=", "args": [named("t:nowhere"), 1]}, "no property 't:nowhere'"),
    ({"op": "=", "args": [named("properties."), 1]}, "no name"),
    ({"op": "=", "args": [named("t:tiny")]}, "takes 2"),
    ({"op": "soundslike", "args": [named("t:name"), "x"]}, "soundslike"),
    ({"op": "like", "args": [named("t:tiny"), "x"]}, "compares text"),
    ({"op": "like", "args": [named("datetime"), "x"]}, "compares text"),
    ({"op": "in", "args": [named("t:tiny"), []]}, "not empty"),
    ({"op": "and", "args": []}, "joins"),
    ({"op": "and", "args": [named("t:flag")]}, "looks like"),
    ({"op": "t_before", "args": [named("t:tiny"), "2020-01-01"]}, "no time"),
    ({"op": "t_before", "args": [named("datetime"), "soon"]}, "no time"),
    ({"op": "t_before", "args": [named("datetime"), {"interval": ["2021-01-01", "2020-01-01"]}]}, "before it starts"),
    ({"op": "s_intersects", "args": [named("t:name"), [0, 0, 1, 1]]}, "lies somewhere"),
    ({"op": "s_intersects", "args": [named("geometry"), "POINT (0 0)"]}, "GeoJSON"),
    ({"op": "a_equals", "args": [named("id"), ["a"]]}, "no list"),
]


@pytest.mark.parametrize(("condition", "reason"), REFUSED)
def test_a_filter_that_means_nothing_is_refused(condition: dict[str, Any], reason: str, page: Found) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        page(asked({"collections": list(COLLECTIONS), "filter": condition}))


def test_a_filter_without_end_is_refused() -> None:
    deep: dict[str, Any] = {"op": "=", "args": [named("id"), "a"]}
    for _ in range(10_000):
        deep = {"op": "not", "args": [deep]}
    wide = {"op": "in", "args": [named("id"), ["x"] * 10_000]}
    for each in (deep, wide):
        with pytest.raises(InvalidRequest, match="nested"):
            ItemQuery(filter=each).names()


def test_a_page_of_many_partitions_is_not_shared_among_workers(run: Run) -> None:
    query = PageQuery(limit=5, items=ItemQuery(collections=["pages-a"], boxes=[(-10.0, -10.0, 10.0, 10.0)]))
    statement, values = statement_of(query, {"datetime": Queryable(name="datetime", column="datetime")})

    async def planned(connection: Any) -> str:
        async with connection.transaction():
            # as cheap as many partitions make it look
            for name in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_index_scan_size"):
                await connection.execute(f"SET LOCAL {name} TO 0")
            await connection.execute("SET LOCAL min_parallel_table_scan_size TO 0")
            return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values))

    assert "Gather" not in run(planned)


def test_the_text_of_an_item_is_made_after_sorting(run: Run) -> None:
    query = PageQuery(limit=5, items=ItemQuery(collections=["pages-b"], boxes=[(-10.0, -10.0, 10.0, 10.0)]))
    statement, values = statement_of(query, {"datetime": Queryable(name="datetime", column="datetime")})
    plan = run(lambda connection: connection.fetch(f"EXPLAIN (VERBOSE, COSTS OFF) {statement}", *values))
    outputs = [row[0] for row in plan if "Output:" in row[0]]
    assert "::text" in outputs[0]
    assert "->  Sort" in "\n".join(row[0] for row in plan)
    # the last is of the scan
    assert "::text" not in outputs[-1]


def test_one_item_is_as_in_a_search(run: Run, reader: Connection) -> None:
    for name in COLLECTIONS:
        [wanted] = searched(reader, {"limit": 1, "collections": [name]})["features"]
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
