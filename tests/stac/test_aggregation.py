"""Aggregations held against a plain count of the same items, and asked for over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import morecantile
import orjson
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from stacyard.core.connection import connect
from stacyard.core.database import AsyncDatabase
from stacyard.core.pgstac_aggregations import Aggregates, aggregate_items, by_collection, by_interval, by_text
from stacyard.core.pgstac_where import ItemQuery
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.stac import aggregation_routes
from stacyard.stac.aggregation import FREQUENCIES, INTERVALS, VALUES
from stacyard.stac.app import create_app
from stacyard.stac.settings import StacSettings

START = datetime(2019, 12, 20, 17, 30, 0, 250_000, tzinfo=UTC)
COLLECTIONS = ("counted-a", "counted-b")
NAMES = [*VALUES, *FREQUENCIES]
DATELINE = {"type": "Polygon", "coordinates": [[[170, -80], [190, -80], [190, 80], [170, 80], [170, -80]]]}
GRID = morecantile.tms.get("WebMercatorQuad")
#: Of no number, of the edges of ranges and beside them, and beyond any percentage.
CLOUDS = [0, 4.99, 5, 14.999, 15, 39, 40, 100, 250, -1, None, "12", True, [3], {"a": 1}, 1e300]
ANGLES = [-190, -180, -0.1, 0, 4.9, 5, 179, 359.99, 360, 1e9, "5", None]


def footprint(number: int) -> shapely.Geometry:
    west, south = (number * 47.3) % 350 - 179, (number * 31.7) % 165 - 85
    return [
        shapely.Point(west, south),
        shapely.box(west, south, west + 7.1, south + 3.3),
        # across the antimeridian, more of it in the east or in the west
        shapely.MultiPolygon(
            [shapely.box(-180, south, number % 4 - 179, south + 2), shapely.box(178, south, 180, south + 2)]
        ),
        # far apart, with nothing across anything
        shapely.MultiPoint([(-100, south), (20, south), (95, south)]),
        shapely.box(-180, -90, 180, 90),
        shapely.Point([-180, 0, 180][number % 3], [90, -90, 0][number % 3]),
        # beyond the antimeridian and not cut, and nowhere on earth
        shapely.box(171 + number % 9, south, 187, south + 2),
        shapely.box(-190, south, -171 - number % 9, south + 2),
        [shapely.Point(500_000, 4_000_000), shapely.Point(10, 95)][number % 2],
    ][number % 9]  # fmt: skip


def item(number: int) -> dict[str, Any]:
    time = START + timedelta(hours=number * 37)
    times: dict[str, Any] = {"datetime": text(time)}
    if number % 5 == 0:
        times = {"datetime": None, "start_datetime": text(time), "end_datetime": text(time + timedelta(days=40))}
    properties = {
        "platform": ["landsat-8", "landsat-9", 'sentinel "2"', 9, ["a"]][number % 5],
        "grid:code": f"MGRS-{number % 7}",
        "gsd": [10, 10.0, 0.6, "10", 30][number % 5],
        "eo:cloud_cover": CLOUDS[number % len(CLOUDS)],
        "view:sun_elevation": ANGLES[number % len(ANGLES)],
        "view:sun_azimuth": number * 3.1,
        "view:off_nadir": None,
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"i{number}",
        "collection": COLLECTIONS[number % 7 > 2],
        "bbox": [0, 0, 1, 1],
        "geometry": orjson.loads(shapely.to_geojson(footprint(number))),
        "properties": times | {name: value for at, (name, value) in enumerate(properties.items()) if (number + at) % 6},
        "links": [],
        "assets": {},
    }


def text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


ITEMS = [item(number) for number in range(240)]


def collection(name: str) -> dict[str, Any]:
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    about = {"description": name, "license": "CC0-1.0", "extent": extent}
    # as if a client had stored what it read
    stored = [{"rel": "aggregate", "href": "https://elsewhere.example/aggregate"}]
    return {"type": "Collection", "stac_version": "1.1.0", "id": name, "links": stored, **about}


@pytest.fixture(scope="module")
def filled(database_settings: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A database that holds the items."""
    with connect(database_settings.url("ingest"), application_name="test") as writer:
        for name in COLLECTIONS:
            writer.execute("SELECT pgstac.upsert_collection(%s)", [json.dumps(collection(name))])
        writer.execute("SELECT pgstac.create_items(%s)", [json.dumps(ITEMS)])
        yield database_settings
        for name in COLLECTIONS:
            writer.execute("DELETE FROM pgstac.collections WHERE id = %s", [name])


Ask = Callable[..., httpx.Response]


@contextmanager
def asking(database: DatabaseSettings, storage: StorageSettings) -> Iterator[Ask]:
    """Asks a service on this database."""
    app = create_app(StacSettings(database=database, storage=storage), mounted=True)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://yard.example")
        yield lambda method, path, **more: runner.run(client.request(method, path, **more))
        runner.run(client.aclose())
        runner.run(lifespan.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def ask(filled: DatabaseSettings, storage_settings: StorageSettings) -> Iterator[Ask]:
    """Asks the service."""
    with asking(filled, storage_settings) as ask:
        yield ask


def begin(each: dict[str, Any]) -> datetime:
    properties = each["properties"]
    return datetime.fromisoformat(properties["datetime"] or properties["start_datetime"])


def end(each: dict[str, Any]) -> datetime:
    properties = each["properties"]
    return datetime.fromisoformat(properties["datetime"] or properties["end_datetime"])


def centre(each: dict[str, Any]) -> tuple[float, float] | None:
    shape = shapely.from_geojson(json.dumps(each["geometry"]))
    if shape.geom_type == "MultiPolygon":
        shape = shapely.transform(shape, lambda at: at + [[360, 0]] * (at[:, :1] < 0))
    x, y = shape.centroid.x, shape.centroid.y
    x = x - 360 if x > 180 else x + 360 if x < -180 else x
    return (x, y) if abs(x) <= 180 and abs(y) <= 90 else None


def geohash(at: tuple[float, float] | None, precision: int) -> str | None:
    """By halves: longitude and latitude in turn, five bits a character."""
    if at is None:
        return None
    spans, bits = [[-180.0, 180.0], [-90.0, 90.0]], ""
    for place in range(5 * precision):
        span, value = spans[place % 2], at[place % 2]
        middle = sum(span) / 2
        bits += "1" if value >= middle else "0"
        span[value < middle] = middle
    letters = "0123456789bcdefghjkmnpqrstuvwxyz"
    return "".join(letters[int(bits[start : start + 5], 2)] for start in range(0, len(bits), 5))


def tile(at: tuple[float, float] | None, zoom: int) -> str | None:
    if at is None:
        return None
    found = GRID.tile(at[0], max(-85.05, min(85.05, at[1])), zoom)
    last = 2**zoom - 1
    return f"{zoom}/{max(0, min(found.x, last))}/{max(0, min(found.y, last))}"


def truncated(time: datetime, interval: str) -> str:
    day = time.replace(hour=0, minute=0, second=0, microsecond=0)
    starts = {
        "hour": time.replace(minute=0, second=0, microsecond=0),
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
        "quarter": day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1),
        "year": day.replace(day=1, month=1),
    }
    return f"{starts[interval]:%Y-%m-%dT%H:%M:%S.000Z}"


def number_of(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def range_of(value: Any, edges: list[int]) -> str | None:
    number = number_of(value)
    if number is None:
        return None
    low = max((edge for edge in edges if edge <= number), default=None)
    high = min((edge for edge in edges if edge > number), default=None)
    return "-".join("*" if edge is None else f"{edge}.0" for edge in (low, high))


def keys(name: str, each: dict[str, Any], request: dict[str, Any]) -> str | None:
    """The bucket that an item belongs in."""
    properties = each["properties"]
    precision = request.get(f"{name}_precision")
    angles = list(range(-180, 365, 5))
    gsd = number_of(properties.get("gsd"))
    platform, code = properties.get("platform"), properties.get("grid:code")
    everything: dict[str, Callable[[], str | None]] = {
        "collection_frequency": lambda: each["collection"],
        "platform_frequency": lambda: platform if isinstance(platform, str) else None,
        "grid_code_frequency": lambda: code,
        "gsd_frequency": lambda: f"{gsd:g}" if gsd is not None else None,
        "cloud_cover_frequency": lambda: range_of(properties.get("eo:cloud_cover"), [5, 15, 40]),
        "sun_elevation_frequency": lambda: range_of(properties.get("view:sun_elevation"), angles),
        "sun_azimuth_frequency": lambda: range_of(properties.get("view:sun_azimuth"), angles),
        "off_nadir_frequency": lambda: None,
        "datetime_frequency": lambda: truncated(begin(each), request.get("datetime_frequency_interval", "month")),
        "centroid_geohash_grid_frequency": lambda: geohash(centre(each), precision or 1),
        "grid_geohash_frequency": lambda: geohash(centre(each), precision or 1),
        "centroid_geotile_grid_frequency": lambda: tile(centre(each), precision or 0),
        "grid_geotile_frequency": lambda: tile(centre(each), precision or 0),
    }
    return everything[name]()


def matches(each: dict[str, Any], request: dict[str, Any]) -> bool:
    """Whether a search with these parameters finds the item."""
    shape = shapely.from_geojson(json.dumps(each["geometry"]))
    if "bbox" in request:
        west, south, east, north = request["bbox"]
        spans = [(west, east)] if west <= east else [(west, 180), (-180, east)]
        if not any(shape.intersects(shapely.box(a, south, b, north)) for a, b in spans):
            return False
    if request.get("intersects") == DATELINE:
        sides = shapely.union_all([shapely.box(170, -80, 180, 80), shapely.box(-180, -80, -170, 80)])
        if not shape.intersects(sides):
            return False
    if "datetime" in request:
        first, last = request["datetime"].split("/")
        if (last != ".." and begin(each) > datetime.fromisoformat(last)) or (
            first != ".." and end(each) < datetime.fromisoformat(first)
        ):
            return False
    if "query" in request and not (number_of(each["properties"].get("view:sun_azimuth", 1e9)) or 0) < 300:
        return False
    if "filter" in request and each["properties"].get("grid:code") not in ("MGRS-1", "MGRS-4"):
        return False
    return each["id"] in request.get("ids", [each["id"]]) and each["collection"] in request["collections"]


moments = st.integers(-5, 400).map(lambda days: text(START + timedelta(days=days)))
spans = st.tuples(moments | st.just(".."), moments | st.just("..")).filter(
    lambda ends: ends != ("..", "..") and (".." in ends or ends[0] <= ends[1])
)
boxes = st.tuples(
    st.integers(-180, 180), st.integers(-90, 90), st.integers(-180, 180), st.integers(-90, 90)
).map(lambda edges: [edges[0], min(edges[1], edges[3]), edges[2], max(edges[1], edges[3])])  # fmt: skip

places: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}), boxes.map(lambda box: {"bbox": box}), st.just({"intersects": DATELINE})
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    request: dict[str, Any] = {
        "collections": draw(st.just(list(COLLECTIONS)) | st.lists(st.sampled_from([*COLLECTIONS, "x"]), min_size=1)),
        "ids": draw(st.none() | st.lists(st.integers(0, 300).map("i{}".format), min_size=1, max_size=60)),
        "datetime": draw(st.none() | spans.map("/".join)),
        "query": draw(st.none() | st.just({"view:sun_azimuth": {"lt": 300}})),
        "filter": draw(st.none() | st.just({"op": "in", "args": [{"property": "grid:code"}, ["MGRS-1", "MGRS-4"]]})),
        **draw(places),
        "aggregations": draw(st.lists(st.sampled_from(NAMES), unique=True) | st.just(NAMES)),
        "datetime_frequency_interval": draw(st.none() | st.sampled_from(INTERVALS)),
    }
    for name, frequency in FREQUENCIES.items():
        if frequency.precision is not None:
            # finer cells tell the last digits of a centre from each other
            request[f"{name}_precision"] = draw(st.none() | st.integers(frequency.precision[0], 8))
    return {name: value for name, value in request.items() if value is not None}


def check(answer: httpx.Response, request: dict[str, Any]) -> None:
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["type"] == "AggregationCollection"
    found = [each for each in ITEMS if matches(each, request)]
    ends = {"datetime_min": min(map(begin, found), default=None), "datetime_max": max(map(end, found), default=None)}
    assert [each["name"] for each in document["aggregations"]] == request["aggregations"]
    for each in document["aggregations"]:
        name = each["name"]
        if name == "total_count":
            assert each["value"] == len(found)
        elif name in ends:
            value = each["value"]
            assert value == ends[name] if value is None else datetime.fromisoformat(value) == ends[name]
        else:
            wanted = Counter(keys(name, item, request) for item in found)
            nowhere = wanted.pop(None, 0)
            got = {bucket["key"]: bucket["frequency"] for bucket in each["buckets"]}
            assert len(got) == len(each["buckets"])
            assert Counter(got) == wanted, name
            assert each["overflow"] == nowhere


def in_query(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)


@settings(max_examples=150)
@given(request=requests())
def test_what_is_said_is_what_a_plain_count_says(request: dict[str, Any], ask: Ask) -> None:
    check(ask("POST", "/aggregate", json=request), request)
    check(ask("GET", "/aggregate", params={name: in_query(value) for name, value in request.items()}), request)


@settings(max_examples=20)
@given(request=requests(), name=st.sampled_from(COLLECTIONS))
def test_a_collection_is_asked_about_itself(request: dict[str, Any], name: str, ask: Ask) -> None:
    del request["collections"]
    answer = ask("POST", f"/collections/{name}/aggregate", json=request)
    check(answer, {**request, "collections": [name]})
    assert {link["rel"]: link["href"] for link in answer.json()["links"]} == {
        "root": "http://yard.example/",
        "self": f"http://yard.example/collections/{name}/aggregate",
        "collection": f"http://yard.example/collections/{name}",
        "parent": f"http://yard.example/collections/{name}",
    }


def test_nothing_is_said_that_nobody_asked_for(ask: Ask) -> None:
    assert ask("GET", "/aggregate").json()["aggregations"] == []


def test_buckets_come_in_an_order_that_can_be_drawn(ask: Ask) -> None:
    request = {"collections": COLLECTIONS, "aggregations": NAMES, "grid_geotile_frequency_precision": 2}
    said = {each["name"]: each for each in ask("POST", "/aggregate", json=request).json()["aggregations"]}
    months = [bucket["key"] for bucket in said["datetime_frequency"]["buckets"]]
    assert months == sorted(months)
    assert months[0] == "2019-12-01T00:00:00.000Z"
    assert said["datetime_min"]["value"] == "2019-12-20T17:30:00.250Z"
    clouds = said["cloud_cover_frequency"]["buckets"]
    assert [(each["key"], each.get("from"), each.get("to")) for each in clouds] == [
        ("*-5.0", None, 5), ("5.0-15.0", 5, 15), ("15.0-40.0", 15, 40), ("40.0-*", 40, None)]  # fmt: skip
    tiles = [bucket["frequency"] for bucket in said["grid_geotile_frequency"]["buckets"]]
    assert tiles == sorted(tiles, reverse=True)
    empty = ask("POST", "/aggregate", json=request | {"ids": ["nobody"]}).json()["aggregations"]
    assert [each["frequency"] for each in empty[NAMES.index("cloud_cover_frequency")]["buckets"]] == [0, 0, 0, 0]


def test_of_too_many_buckets_those_with_the_most_items_are_kept(filled: DatabaseSettings) -> None:
    async def found() -> Aggregates:
        database = AsyncDatabase(filled, "reader", application_name="test")
        await database.open()
        groupings = {"code": by_text("grid:code"), "collection": by_collection, "year": by_interval("year")}
        query = ItemQuery(collections=COLLECTIONS)
        async with database.connection() as connection, connection.transaction():
            # where it is the next year already, when it is not yet in UTC
            await connection.execute("SET LOCAL timezone = 'Pacific/Kiritimati'")
            aggregates = await aggregate_items(connection, query, {}, groupings, most=3)
        await database.close()
        return aggregates

    aggregates = asyncio.run(found())
    codes = Counter(each["properties"].get("grid:code") for each in ITEMS)
    del codes[None]
    assert aggregates.count == len(ITEMS)
    assert [frequency for _, frequency in aggregates.buckets["code"]] == sorted(codes.values(), reverse=True)[:3]
    assert dict(aggregates.buckets["year"]) == Counter(datetime(begin(each).year, 1, 1) for each in ITEMS)
    assert dict(aggregates.buckets["collection"]) == Counter(each["collection"] for each in ITEMS)


def test_what_is_beyond_the_bound_is_said_to_overflow(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregation_routes, "aggregate_items", partial(aggregate_items, most=2))
    request = {"collections": COLLECTIONS, "aggregations": ["datetime_frequency"], "datetime_frequency_interval": "day"}
    (said,) = ask("POST", "/aggregate", json=request).json()["aggregations"]
    assert len(said["buckets"]) == 2
    assert said["overflow"] == len(ITEMS) - sum(each["frequency"] for each in said["buckets"])


def test_through_a_pooler_it_is_the_same(
    filled: DatabaseSettings, pgbouncer: DatabaseSettings, storage_settings: StorageSettings, ask: Ask
) -> None:
    request = {"collections": COLLECTIONS, "aggregations": NAMES}
    with asking(pgbouncer, storage_settings) as pooled:
        answers = [pooled("POST", "/aggregate", json=request) for _ in range(5)]
    assert {answer.text for answer in answers} == {ask("POST", "/aggregate", json=request).text}


def test_what_takes_longer_than_a_statement_may_is_left_and_said_so(
    filled: DatabaseSettings, storage_settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = replace(FREQUENCIES["platform_frequency"], grouping=lambda *_: lambda _: "pg_sleep(0.05)::text")
    monkeypatch.setitem(FREQUENCIES, "platform_frequency", slow)
    hasty = filled.model_copy(update={"reader_url": SecretStr(f"{filled.url('reader')}?statement_timeout=300")})
    with asking(hasty, storage_settings) as ask:
        answer = ask("GET", "/aggregate", params={"aggregations": "platform_frequency"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


WRONG = [
    ({"aggregations": ["total_count", "colour_frequency"]}, "aggregations", "no aggregation 'colour_frequency'"),
    ({"aggregations": "total_count"}, "aggregations", "a list"),
    ({"aggregations": [1]}, "aggregations", "a list"),
    ({"datetime_frequency_interval": "fortnight"}, "datetime_frequency_interval", "hour, day, week"),
    ({"datetime_frequency_interval": ["day"]}, "datetime_frequency_interval", "hour, day, week"),
    ({"aggregations": ["grid_geohash_frequency"], "grid_geohash_frequency_precision": 13}, None, "from 1 to 12"),
    ({"aggregations": ["grid_geotile_frequency"], "grid_geotile_frequency_precision": True}, None, "from 0 to 29"),
    ({"aggregations": ["grid_geotile_frequency"], "grid_geotile_frequency_precision": "²"}, None, "from 0 to 29"),
    ({"bbox": [0, 0, 1, 1], "intersects": DATELINE}, "intersects", "not by both"),
    ({"datetime": "yesterday"}, "datetime", "yesterday"),
    ({"filter": {"op": "near"}}, "filter", "args"),
    ({"query": {"no:such": {"eq": 1}}}, None, "no property"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "parameter", "message"), WRONG)
def test_what_cannot_be_told_is_refused(wrong: dict[str, Any], parameter: str | None, message: str, ask: Ask) -> None:
    answer = ask("POST", "/aggregate", json={"collections": COLLECTIONS} | wrong)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["detail"]
    if parameter is not None:
        assert answer.json()["parameter"] == parameter


def test_a_refusal_names_what_there_is(ask: Ask) -> None:
    answer = ask("GET", "/collections/counted-a/aggregate", params={"aggregations": "total_count,nothing"})
    assert answer.status_code == 400
    assert all(name in answer.json()["detail"] for name in NAMES)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_of_a_collection_that_is_not_there_nothing_is_said(method: str, ask: Ask) -> None:
    for name in ("aggregate", "aggregations"):
        assert (
            ask(method, f"/collections/nowhere/{name}", **({"json": {}} if method == "POST" else {})).status_code == 404
        )
    assert ask("POST", "/aggregate", content=b"[").status_code == 400


def test_everything_that_may_be_asked_for_is_advertised(ask: Ask) -> None:
    for path in ("/aggregations", "/collections/counted-b/aggregations"):
        for method in ("GET", "POST"):
            document = ask(method, path).json()
            assert [each["name"] for each in document["aggregations"]] == NAMES
            assert {"rel": "self", "type": "application/json", "href": f"http://yard.example{path}"} in document[
                "links"
            ]


def test_landing_page_and_collections_lead_to_their_aggregations(ask: Ask) -> None:
    landing, single = ask("GET", "/").json(), ask("GET", "/collections/counted-a").json()
    listed = ask("GET", "/collections", params={"limit": 1000}).json()["collections"]
    (same,) = (each for each in listed if each["id"] == "counted-a")
    for document, base in ((landing, ""), (single, "/collections/counted-a"), (same, "/collections/counted-a")):
        for name in ("aggregate", "aggregations"):
            links = [link["href"] for link in document["links"] if link["rel"] == name]
            assert links == [f"http://yard.example{base}/{name}"]
            assert ask("GET", links[0]).status_code == 200
    declared = [name for name in landing["conformsTo"] if "aggregation" in name]
    assert declared == [f"https://api.stacspec.org/v0.3.0/aggregation{part}" for part in ("", "#filter", "#query")]


def test_the_definition_names_every_parameter(ask: Ask) -> None:
    paths = ask("GET", "/api").json()["paths"]
    for prefix in ("", "/collections/{collection_id}"):
        for method in ("get", "post"):
            assert method in paths[f"{prefix}/aggregate"]
            assert method in paths[f"{prefix}/aggregations"]
            for name in ("aggregate", "aggregations"):
                named = {each["name"]: each["in"] for each in paths[f"{prefix}/{name}"][method].get("parameters", [])}
                assert (named.get("collection_id") == "path") == bool(prefix)
        query = {each["name"] for each in paths[f"{prefix}/aggregate"]["get"]["parameters"]}
        precisions = {f"{name}_precision" for name, each in FREQUENCIES.items() if each.precision is not None}
        assert precisions | {"aggregations", "datetime_frequency_interval", "filter", "query", "bbox"} <= query
