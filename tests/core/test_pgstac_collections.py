"""Pages of collections, held against pgSTAC's `collection_search`, and what they are found by, kept by triggers.

They differ on purpose where pgSTAC is wrong: it takes an extent across the antimeridian for all the world but that
extent, and the lowest height of one with heights for its east.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.rows import TupleRow

from stacyard.core.connection import connect
from stacyard.core.database import AsyncDatabase
from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_collections import CollectionPage, CollectionQuery, read_collections
from stacyard.core.pgstac_order import SortKey
from stacyard.core.pgstac_text import text_query
from stacyard.core.settings import DatabaseSettings

Connection = psycopg.Connection[TupleRow]
COUNT = 40
TOPICS = ["snow cover", "land cover", "snow depth", "Ocean's colour", "crop"]
LICENSES = ["CC0-1.0", "CC-BY-4.0", "other"]


def collection(number: int) -> dict[str, Any]:
    """Some have no title, no start, no end or no number; each has an extent that pgSTAC gets right."""
    west, south = (number * 47) % 340 - 180, (number * 31) % 160 - 80
    start = None if number % 11 == 0 else f"20{number % 20:02}-01-01T00:00:00Z"
    end = None if number % 3 == 0 else f"20{number % 20 + 1:02}-06-30T00:00:00Z"
    document = {
        "type": "Collection",
        "stac_version": "1.1.0" if number % 2 else "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"] if number % 4 else [],
        "id": f"collections-{number:02}",
        "description": f"About {TOPICS[number % 5]} and {TOPICS[number % 4]}.",
        "license": LICENSES[number % 3],
        "keywords": [TOPICS[number % 3], "field"],
        "extent": {
            "spatial": {"bbox": [[west, south, west + 15, south + 10]]},
            "temporal": {"interval": [[start, end]]},
        },
        "links": [{"rel": "license", "href": "https://example.org"}],
        "assets": {"thumbnail": {"href": f"file:///{number}.png", "type": f"image/{'png' if number % 2 else 'jpeg'}"}},
        "item_assets": {"image": {"type": "image/tiff", "gsd": number % 4}},
        "gsd": number % 6 * 10,
    }
    if number % 5:
        document["title"] = f"{TOPICS[number % 5].title()} {number % 7}"
    if number % 4 == 0:
        del document["gsd"]
    return document


def upsert(writer: Connection, document: dict[str, Any]) -> None:
    writer.execute("SELECT pgstac.upsert_collection(%s)", [json.dumps(document)])


@pytest.fixture(scope="module")
def writer(database_settings: DatabaseSettings) -> Iterator[Connection]:
    """A session that may write, beside the collections of this module."""
    with connect(database_settings.url("ingest"), application_name="test") as session:
        for number in range(COUNT):
            upsert(session, collection(number))
        yield session
        session.execute("DELETE FROM pgstac.collections WHERE id LIKE 'collections-%'")


Read = Callable[[CollectionQuery], CollectionPage]


@pytest.fixture(scope="module")
def read(writer: Connection, database_settings: DatabaseSettings) -> Iterator[Read]:
    """Reads a page on a connection of the service's own pool."""
    database = AsyncDatabase(database_settings, "reader", application_name="test")
    with asyncio.Runner() as runner:
        runner.run(database.open())

        async def on_connection(work: Callable[[asyncpg.Connection], Awaitable[CollectionPage]]) -> CollectionPage:
            async with database.connection() as connection:
                return await work(connection)  # type: ignore[arg-type]

        yield lambda query: runner.run(on_connection(lambda connection: read_collections(connection, query)))
        runner.run(database.close())


def found(read: Read, query: CollectionQuery) -> list[str]:
    return [identifier for identifier, _ in read(query).collections]


def searched(writer: Connection, query: CollectionQuery, q: list[str] | None = None) -> dict[str, Any]:
    """What pgSTAC finds."""
    search: dict[str, Any] = {"limit": query.limit, "offset": query.offset, **query.filter}
    if query.boxes:
        search["bbox"] = list(query.boxes[0])
    if query.first or query.last:
        search["datetime"] = "/".join(end.isoformat() if end else ".." for end in (query.first, query.last))
    if q:
        search["q"] = q
    if query.order:
        search["sortby"] = [
            {"field": each.name, "direction": "asc" if each.ascending else "desc"} for each in query.order
        ]
    if query.fields:
        search["fields"] = query.fields
    row = writer.execute("SELECT pgstac.collection_search(%s)", [json.dumps(search)]).fetchone()
    assert row is not None
    return dict(row[0])


def operation(op: str, name: str, *values: Any) -> dict[str, Any]:
    return {"op": op, "args": [{"property": name}, *values]}


square = {"type": "Polygon", "coordinates": [[[-40, -40], [60, -40], [60, 40], [-40, 40], [-40, -40]]]}
predicates = st.sampled_from(
    [
        operation("=", "license", "other"),
        operation("<>", "license", "other"),
        operation("<", "gsd", 30),
        operation("between", "gsd", 10, 40),
        operation("in", "license", ["other", "CC0-1.0"]),
        operation("like", "title", "%Snow%"),
        operation("isNull", "title"),
        operation("=", "id", "collections-07"),
        operation("like", "description", "%\u00ad$1 content->'properties'->'x' ''%"),
        operation("a_contains", "keywords", ["field"]),
        # what the table of searches leaves out, and what pgSTAC keeps apart
        operation("=", "assets.thumbnail.type", "image/png"),
        operation("=", "item_assets.image.gsd", 2),
        operation("=", "stac_version", "1.0.0"),
        operation("isNull", "links"),
        {"op": "s_intersects", "args": [{"property": "geometry"}, square]},
        operation("t_after", "datetime", {"timestamp": "2010-01-01T00:00:00Z"}),
        operation(">", "end_datetime", "2012-01-01T00:00:00Z"),
        operation("=", "nothing.of.this", 1),
    ]
)
filters = st.recursive(
    predicates,
    lambda inner: st.one_of(
        st.builds(lambda one: {"op": "not", "args": [one]}, inner),
        st.builds(
            lambda op, args: {"op": op, "args": args}, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2)
        ),
    ),
    max_leaves=4,
)
conditions = st.lists(
    st.sampled_from([("license", {"eq": "other"}), ("gsd", {"gt": 10, "lte": 40}), ("title", {"neq": "Crop 4"})]),
    min_size=1,
).map(dict)
sortable = [
    "datetime",
    "id",
    "title",
    "gsd",
    "license",
    "end_datetime",
    "stac_version",
    "assets.thumbnail.type",
    "none",
]
names = ["id", "title", "extent.spatial", "assets", "nothing", "links", "item_assets.image.gsd", "description"]
years = st.none() | st.integers(2000, 2021).map(lambda year: datetime(year, 3, 1, 12, tzinfo=UTC))
longitudes, latitudes = st.integers(-180, 180), st.integers(-90, 90)
boxes = st.tuples(longitudes, latitudes, longitudes, latitudes).map(
    lambda edges: (
        float(min(edges[0], edges[2])),
        float(min(edges[1], edges[3])),
        float(max(edges[0], edges[2])),
        float(max(edges[1], edges[3])),
    )
)
texts = st.none() | st.lists(
    st.sampled_from(
        ["snow", "cover", "snow cover", "snow -depth", "-snow", '"land cover"', "oceans", "the", "depth field"]
    ),
    min_size=1,
    max_size=2,
)


@st.composite
def queries(draw: st.DrawFn) -> CollectionQuery:
    ends = sorted((draw(years), draw(years)), key=str)
    first, last = ends if ends[1] is None or ends[0] is None else (ends[0], ends[1])
    conditioned = draw(st.sampled_from(["nothing", "nothing", "filter", "query"]))
    return CollectionQuery(
        limit=draw(st.integers(1, 12)),
        offset=draw(st.sampled_from([0, 0, 3, 30, 300])),
        boxes=draw(st.just([]) | boxes.map(lambda box: [box])),
        first=first,
        last=last,
        filter={}
        if conditioned == "nothing"
        else {conditioned: draw(filters if conditioned == "filter" else conditions)},
        order=draw(
            st.lists(
                st.builds(
                    lambda name, ascending: SortKey(name=name, ascending=ascending),
                    st.sampled_from(sortable),
                    st.booleans(),
                ),
                max_size=3,
                unique_by=lambda each: each.name,
            )
        ),
        fields={
            name: chosen
            for name, chosen in (
                ("include", draw(st.lists(st.sampled_from(names), max_size=3, unique=True))),
                ("exclude", draw(st.lists(st.sampled_from(names), max_size=3, unique=True))),
            )
            if chosen
        },
    )


@settings(max_examples=200)
@given(query=queries(), q=texts)
def test_a_page_is_what_pgstac_finds(
    query: CollectionQuery, q: list[str] | None, read: Read, writer: Connection
) -> None:
    page = read(replace(query, text=text_query(q) if q else None))
    wanted = searched(writer, query, q)
    assert [document for _, document in page.collections] == wanted["collections"]
    assert page.matched == wanted["numberMatched"]


def test_the_ids_are_known_where_the_documents_leave_them_out(read: Read) -> None:
    page = read(
        CollectionQuery(limit=3, fields={"exclude": ["id"]}, order=[SortKey(name="id", ascending=True)], text="'snow'")
    )
    assert [identifier for identifier, _ in page.collections] == sorted(
        identifier for identifier, _ in read(CollectionQuery(limit=99, text="'snow'")).collections
    )[:3]
    assert all("id" not in document for _, document in page.collections)


EAST, WEST, BETWEEN = (178.0, -15.0, 179.0, -14.0), (-179.0, -15.0, -178.5, -14.0), (0.0, -15.0, 1.0, -14.0)
WHOLE, EASTERN, WESTERN = [-179.5, -20.0, 180.0, -10.0], [177.0, -20.0, 180.0, -10.0], [-179.5, -20.0, -178.0, -10.0]


@pytest.mark.parametrize(
    ("extent", "places"),
    [
        # as it is stored by us
        ([WHOLE, EASTERN, WESTERN], [EAST, WEST]),
        # as RFC 7946 writes it
        ([[177, -20, -178, -10]], [EAST, WEST]),
        ([[177, -20, 0, -178, -10, 50]], [EAST, WEST]),
        # with heights, in the middle of which pgSTAC looks for the east
        ([[177, -20, 0, 180, -10, 50]], [EAST]),
        # three boxes that are no such thing
        ([WHOLE, EASTERN, [0, -20, 1, -10]], [EAST, WEST, BETWEEN]),
        ([WHOLE], [EAST, WEST, BETWEEN]),
        # what no specification knows is found where pgSTAC finds it, or nowhere
        ([["-1", "-20", "2", "-10"], ["x"]], [BETWEEN]),
        ([], []),
        (None, []),
    ],
)
def test_a_collection_is_found_where_it_is(extent: Any, places: list[Any], read: Read, writer: Connection) -> None:
    document = {**collection(7), "id": "collections-placed", "title": "Placed"}
    document["extent"] = {**document["extent"], "spatial": {"bbox": extent}}
    upsert(writer, document)
    query = CollectionQuery(limit=99, text="'placed'")
    assert [box for box in (EAST, WEST, BETWEEN) if found(read, replace(query, boxes=[box]))] == places
    assert bool(found(read, replace(query, boxes=[EAST, WEST]))) == bool({EAST, WEST} & set(places))


def test_whoever_writes_a_collection_changes_what_is_found_at_once(
    read: Read, writer: Connection, database_settings: DatabaseSettings
) -> None:
    def words(text: str) -> list[str]:
        return found(read, CollectionQuery(limit=99, text=text_query([text])))

    document = {**collection(7), "id": "collections-written", "title": "Marmots"}
    writer.execute("INSERT INTO pgstac.collections (content) VALUES (%s)", [orjson.dumps(document).decode()])
    assert words("marmot") == ["collections-written"]
    with psycopg.connect(database_settings.url("ingest")) as other:
        update = "UPDATE pgstac.collections SET content = content || %s WHERE id = 'collections-written'"
        other.execute(update, ['{"title": "Ibex"}'])
        assert words("ibex") == []
    assert (words("marmot"), words("ibex")) == ([], ["collections-written"])
    # a catalog, which pgSTAC keeps among collections, is none
    upsert(writer, {**document, "type": "Catalog"})
    assert words("marmot") == []
    upsert(writer, document)
    assert words("marmot") == ["collections-written"]
    writer.execute("SELECT pgstac.delete_collection('collections-written')")
    assert words("marmot") == []


def test_no_text_is_too_long_to_be_stored(read: Read, writer: Connection) -> None:
    # a megabyte of words that are all different is what PostgreSQL refuses
    document = {
        **collection(7),
        "id": "collections-long",
        "description": " ".join(f"word{n:x}" for n in range(150_000)),
    }
    document["title"] = "Endless"
    upsert(writer, document)
    assert found(read, CollectionQuery(limit=9, text="'endless'")) == ["collections-long"]
    assert found(read, CollectionQuery(limit=9, text="'word0' & 'endless'")) == ["collections-long"]


@pytest.mark.parametrize(
    "query",
    [
        CollectionQuery(limit=1, filter={"filter": operation("=", "datetime", "no time")}),
        CollectionQuery(limit=1, filter={"filter": operation("no such", "id", 1)}),
        CollectionQuery(limit=1, filter={"filter": operation("=", "", 1)}),
        CollectionQuery(limit=1, filter={"filter": operation("s_intersects", "geometry", {"type": "Polygon"})}),
        CollectionQuery(limit=1, filter={"filter": operation("=", "id", "\0")}),
        CollectionQuery(limit=1, filter={"query": {"gsd": {"lt": "x"}}, "filter": operation("=", "id", 1)}),
        CollectionQuery(limit=1, order=[SortKey(name="", ascending=True)]),
        CollectionQuery(limit=1, order=[SortKey(name="properties", ascending=True)]),
    ],
)
def test_what_cannot_be_understood_is_refused(query: CollectionQuery, read: Read) -> None:
    with pytest.raises(InvalidRequest):
        read(query)
