"""Exports held against the same searches read page by page as GeoJSON, and what happens when one cannot end well."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pyarrow.parquet as pq
import pytest
import rustac
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from stacyard.core.connection import connect
from stacyard.core.settings import DatabaseSettings
from stacyard.ingestor.sources import geoparquet

from .processes import served

MANY = 20_000
PARQUET, NDJSON, CSV = "application/vnd.apache.parquet", "application/x-ndjson", "text/csv"
# what is compressed may be in the sockets already when the test looks
PLAIN = {"Accept-Encoding": "identity"}
TIMES = ("datetime", "start_datetime", "end_datetime", "created", "updated")


def collection(name: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "description": name,
        "license": "CC0-1.0",
        "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }


def odd(number: int) -> dict[str, Any]:
    """Items that have little in common."""
    west, south = number * 5 - 170, number - 30
    places = [
        shapely.Point(west, south, 7.5),
        shapely.box(west, south, west + 1, south + 1),
        shapely.MultiPoint([(west, south), (west + 1, south + 1)]),
    ]
    place = places[number % 3]
    box = list(place.bounds)
    day = f"2021-03-{number % 28 + 1:02}T10:00:00"
    every: dict[str, Any] = {
        "odd:mixed": [number, f"n{number}", {"a": number}, [number, "x"], None, number % 2 == 0][number % 6],
        "odd:number": number if number % 2 else number + 0.25,
        "odd:large": 2**53 + number,
        "odd:huge": 2**63 + number if number == 40 else 5,
        "odd:text": ["=1+1", "@x", "a,b", 'say "Ä"', "two\nlines", "-"][number % 6],
        "odd:nothing": None,
        "odd:hollow": {},
        "odd:deep": {"list": [{"one": 1}, {"two": ["x", 2]}], "null": None} if number % 4 else {},
        "odd:list": [] if number % 3 else [[1.5], [2]],
        "odd:flag": number % 5 == 0,
        "created": f"{day}.12Z" if number % 5 else f"{day}.123456Z",
        "updated": f"{day}Z" if number % 7 else f"{day}+02:00",
    }
    times: dict[str, Any] = {"datetime": f"{day}Z"}
    if number % 4 == 0:
        times = {"datetime": None, "start_datetime": f"{day}Z", "end_datetime": "2021-12-31T00:00:00.5Z"}
    assets: dict[str, Any] = {"image": {"href": f"file:///yard/{number}.tif", "roles": ["data"], "gsd": number / 2}}
    if number % 3 == 0:
        assets[f"b{number % 2}"] = {"href": f"https://example.org/{number}", "raster:bands": [{"nodata": "nan"}]}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": f"odd-{number:02}",
        "collection": "export-odd",
        "bbox": [*box[:2], 7.5, *box[2:], 7.5] if place.has_z else box,
        "geometry": json.loads(shapely.to_geojson(place)),
        "properties": {
            **times,
            **{name: value for place, (name, value) in enumerate(every.items()) if place != number},
        },
        "links": [{"rel": "license", "href": "https://example.org", "title": "L"}] if number % 2 else [],
        "assets": assets,
    }


def common(number: int) -> dict[str, Any]:
    bands = [{"name": f"B{band:02}", "description": "a band of a sensor " * 3} for band in range(12)]
    return {
        **odd(1),
        "id": f"many-{number}",
        "collection": "export-many",
        "properties": {"datetime": "2021-03-01T10:00:00Z", "eo:cloud_cover": 5, "bands": bands},
    }


@dataclass(frozen=True)
class Service:
    """The service under test, and its database."""

    url: str
    process: int
    database: DatabaseSettings

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=120, **options)

    def search(self, body: dict[str, Any], **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/search", json=body, timeout=120, **options)

    def paged(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """All items that are found, page by page."""
        features, body = [], {"limit": 1000, **body}
        while True:
            answer = self.search(body).raise_for_status().json()
            features += answer["features"]
            onward = [link["body"] for link in answer["links"] if link["rel"] == "next"]
            if not onward:
                return features
            body = onward[0]

    def memory(self) -> int:
        """The most memory that it has had, in bytes."""
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.process}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024


@pytest.fixture(scope="module")
def items(database_settings: DatabaseSettings) -> Iterator[None]:
    with connect(database_settings.url("ingest"), application_name="test") as writer:
        for name in ("export-odd", "export-many"):
            writer.execute("SELECT pgstac.upsert_collection(%s)", [json.dumps(collection(name))])
        writer.execute("SELECT pgstac.create_items(%s)", [json.dumps([odd(number) for number in range(60)])])
        writer.execute("SELECT pgstac.create_items(%s)", [json.dumps([common(0)])])
        writer.execute(
            "INSERT INTO pgstac.items (id, geometry, collection, datetime, end_datetime, content)"
            " SELECT 'many-' || number, geometry, collection, datetime, end_datetime, content"
            " FROM pgstac.items, generate_series(1, %s) AS number WHERE id = 'many-0'",
            [MANY - 1],
        )
        yield
        for name in ("export-odd", "export-many"):
            writer.execute("DELETE FROM pgstac.collections WHERE id = %s", [name])


@pytest.fixture(scope="module")
def service(items: None, database_settings: DatabaseSettings, public_directory: Path) -> Iterator[Service]:
    limits = {"STACYARD_STAC_EXPORT_LIMIT": str(MANY), "STACYARD_STAC_EXPORTS_AT_ONCE": "1"}
    log = public_directory / "export.log"
    with served(database_settings, log, STACYARD_STORAGE_ASSETS="file:///yard", **limits) as (url, process):
        yield Service(url, process, database_settings)


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in answer.raise_for_status().content.splitlines()]


def bare(value: Any) -> Any:
    """Without what is null: in a table nothing tells it from what is missing."""
    if isinstance(value, dict):
        return {name: bare(each) for name, each in value.items() if each is not None}
    return [bare(each) for each in value] if isinstance(value, list | tuple) else value


def is_told(got: Any, value: Any) -> bool:
    """Whether a table gave back a value, or its JSON text since others have another type there."""
    if isinstance(value, dict) and isinstance(got, dict):
        return got.keys() == value.keys() and all(is_told(got[name], value[name]) for name in value)
    if isinstance(value, list) and isinstance(got, list):
        return len(got) == len(value) and all(map(is_told, got, value))
    return bool(got == value) or (
        isinstance(got, str) and got[:1] in '"[{0123456789tf' and bare(json.loads(got)) == value
    )


def flat(item: dict[str, Any]) -> dict[str, Any]:
    """The item as rustac reads it: its geometry in two dimensions, and times in one form."""
    item = json.loads(json.dumps(item))
    item["geometry"] = json.loads(
        shapely.to_geojson(shapely.force_2d(shapely.from_geojson(json.dumps(item["geometry"]))))
    )
    for name in TIMES:
        if item["properties"].get(name) is not None:
            item["properties"][name] = instant(item["properties"][name])
    return item


def as_in_table(item: dict[str, Any]) -> dict[str, Any]:
    """The item as a table of all of them holds it: what has no type in common with others is JSON text."""
    item = flat(item)
    properties = item["properties"]
    for name in ("odd:mixed", "odd:hollow", "odd:huge"):
        if properties.get(name) is not None:
            properties[name] = orjson.dumps(properties[name]).decode()
    for each in (properties.get("odd:deep") or {}).get("list", []):
        each.update(
            {name: [orjson.dumps(one).decode() for one in value] for name, value in each.items() if name == "two"}
        )
    return dict(bare(item))


def instant(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds")


def from_table(answer: httpx.Response) -> list[dict[str, Any]]:
    """Items as rustac reads them."""
    path = Path("/tmp") / f"stacyard-export-{time.monotonic_ns()}.parquet"
    path.write_bytes(answer.raise_for_status().content)
    try:
        features = rustac.read_sync(str(path))["features"]
    finally:
        path.unlink()
    for feature in features:
        for name in TIMES:
            if feature["properties"].get(name) is not None:
                feature["properties"][name] = instant(feature["properties"][name])
    return [bare(json.loads(json.dumps(feature))) for feature in features]


searches = st.fixed_dictionaries(
    {"collections": st.just(["export-odd"])},
    optional={
        "bbox": st.integers(-170, 60).map(lambda west: [west, -90, west + 100, 90]),
        "datetime": st.integers(1, 28).map(lambda day: f"2021-03-{day:02}T00:00:00Z/.."),
        "sortby": st.sampled_from(["id", "odd:number", "odd:text"]).map(
            lambda name: [{"field": name, "direction": "desc"}]
        ),
        "filter": st.just({"op": "=", "args": [{"property": "odd:flag"}, True]}),
        "limit": st.integers(1, 70),
    },
)


@settings(max_examples=15)
@given(body=searches)
def test_every_form_holds_what_the_pages_hold(service: Service, body: dict[str, Any]) -> None:
    limit = body.get("limit", 100)
    expected = service.paged({**body, "limit": 1000})[:limit]
    assert lines(service.search({**body, "f": "ndjson"})) == expected

    table = service.search({**body, "f": "geoparquet"})
    assert int(table.headers["OGC-NumberReturned"]) == len(expected)
    if expected:
        read = without_versions(from_table(table))
        assert len(read) == len(expected)
        for got, item in zip(read, without_versions([flat(bare(item)) for item in expected]), strict=True):
            assert is_told(got, item), (got, item)

    text = service.search({**body, "f": "csv"}).raise_for_status().content.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["id"] for row in rows] == [item["id"] for item in expected]
    for row, item in zip(rows, expected, strict=True):
        for name, value in item["properties"].items():
            assert row[name] == cell(value), name
        assert {name: row[name] for name in row if name.startswith("assets.") and row[name]} == {
            f"assets.{key}.href": asset["href"] for key, asset in item["assets"].items()
        }
        half = len(item["bbox"]) // 2
        edges = [*item["bbox"][:2], *item["bbox"][half : half + 2]]
        assert [float(row[edge]) for edge in ("west", "south", "east", "north")] == edges


def without_versions(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # rustac reads items into STAC 1.1, and leaves an empty list of extensions out
    return [
        {name: value for name, value in item.items() if name not in ("stac_version", "stac_extensions")}
        for item in found
    ]


def cell(value: Any) -> str:
    if isinstance(value, str):
        return f"'{value}" if value[:1] in "=+-@" else value
    return "" if value is None else json.dumps(value) if not isinstance(value, dict | list) else orjson_like(value)


def orjson_like(value: Any) -> str:
    # as PostgreSQL writes it
    return json.dumps(value, ensure_ascii=False)


def test_a_table_is_geoparquet_that_the_ingestor_takes_back(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    path.write_bytes(service.get("/collections/export-odd/items?f=parquet").raise_for_status().content)
    file = pq.ParquetFile(path)
    geo = json.loads(file.metadata.metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert (geo["version"], geo["primary_column"], column["encoding"]) == ("1.1.0", "geometry", "WKB")
    assert column["geometry_types"] == ["MultiPoint", "Point Z", "Polygon"]
    assert column["bbox"] == [-170.0, -30.0, 126.0, 30.0]
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    schema = file.schema_arrow
    assert str(schema.field("datetime").type) == "timestamp[us, tz=UTC]"
    assert str(schema.field("updated").type) == "string"
    assert str(schema.field("odd:large").type) == "int64"
    assert all(row["bbox"]["xmin"] <= row["bbox"]["xmax"] for row in file.read(["bbox"]).to_pylist())

    expected = service.paged({"collections": ["export-odd"]})
    written = shapely.from_wkb(file.read(["geometry"]).column("geometry").to_pylist())
    there = shapely.from_geojson([json.dumps(item["geometry"]) for item in expected])
    assert [place.wkt for place in written] == [place.wkt for place in there]

    reader = geoparquet.Reader()
    read = [orjson.loads(line.data) for found in geoparquet.find(str(path)) for line in reader.read(found.source)]
    reader.close()
    for item in read:
        item["properties"] |= {
            name: instant(item["properties"][name]) for name in TIMES if item["properties"].get(name)
        }
    assert without_versions([bare(item) for item in read]) == without_versions([as_in_table(item) for item in expected])


def test_accept_chooses_the_form(service: Service) -> None:
    def form(accept: str, name: str = "") -> str:
        path = f"/search?collections=export-odd&limit=2{name}"
        answer = service.get(path, headers={"Accept": accept})
        assert answer.status_code != 200 or "accept" in answer.headers["vary"].lower()
        return (
            answer.headers["content-type"].partition(";")[0] if answer.status_code == 200 else str(answer.status_code)
        )

    page = "application/geo+json"
    assert form("*/*") == form("application/json") == form("application/geo+json, */*;q=0.1") == page
    assert form("text/html,application/xhtml+xml,*/*;q=0.8") == page
    assert form(PARQUET) == form(f"{PARQUET}, */*") == form(f"*/*;q=0.5, {PARQUET}") == PARQUET
    assert form("text/csv;q=0.5, application/x-ndjson;q=0.9") == NDJSON
    assert form("text/*") == form("text/csv;charset=utf-8") == CSV
    assert form("application/json;q=0, application/geo+json;q=0, */*") == PARQUET
    assert form("text/html") == form("text/csv;q=0") == form("image/png, text/csv;q=nonsense") == "406"
    assert form("text/csv", "&f=json") == page
    assert form("*/*", "&f=geojsonl") == NDJSON
    assert form("*/*", "&f=xlsx") == "400"


def test_an_export_can_be_taken_in_parts(service: Service) -> None:
    whole = [item["id"] for item in service.paged({"collections": ["export-odd"]})]
    for form in ("ndjson", "csv", "geoparquet"):
        found: list[str] = []
        url: str | None = f"{service.url}/collections/export-odd/items?f={form}&limit=25&fields=id"
        while url is not None:
            answer = httpx.get(url).raise_for_status()
            if form == "ndjson":
                found += [item["id"] for item in lines(answer)]
            elif form == "csv":
                found += [row["id"] for row in csv.DictReader(io.StringIO(answer.text))]
            else:
                found += pq.read_table(io.BytesIO(answer.content)).column("id").to_pylist()
            url = answer.links.get("next", {}).get("url")
        assert found == whole, form
    answer = service.search({"collections": ["export-odd"], "limit": 25, "f": "csv"})
    assert "link" not in answer.headers
    rest = lines(service.search({"collections": ["export-odd"], "token": answer.headers["next-token"], "f": "ndjson"}))
    assert [item["id"] for item in rest] == whole[25:]


REFUSED = [
    ("/search?f=csv&limit=0", 400, "limit"),
    (f"/search?f=csv&limit={MANY + 1}", 400, f"an export holds {MANY} items at the most"),
    ("/search?f=csv&collections=export-odd,export-many", 400, f"more than the {MANY} items that an export holds"),
    ("/search?f=ndjson&collections=export-odd,export-many", 400, f"limit={MANY}"),
    ("/search?f=csv&token=prev:61:62:0", 400, "forwards"),
    ("/search?f=csv&sortby=geometry", 400, "sort"),
    ("/collections/export-none/items?f=geoparquet", 404, "does not exist"),
]


@pytest.mark.parametrize(("path", "status", "reason"), REFUSED)
def test_what_cannot_be_exported_is_refused_before_the_first_byte(
    service: Service, path: str, status: int, reason: str
) -> None:
    answer = service.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert reason in answer.json()["detail"]


def test_nothing_found_is_an_export_of_nothing(service: Service) -> None:
    path = "/search?collections=export-odd&ids=none&f="
    assert service.get(f"{path}ndjson").raise_for_status().content == b""
    assert service.get(f"{path}csv").raise_for_status().text.strip() == ""
    table = pq.read_table(io.BytesIO(service.get(f"{path}geoparquet").raise_for_status().content))
    assert table.num_rows == 0


def test_head_says_what_would_come(service: Service) -> None:
    for form, kind in (("geoparquet", PARQUET), ("ndjson", NDJSON), ("csv", CSV)):
        answer = httpx.head(f"{service.url}/collections/export-many/items?f={form}").raise_for_status()
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["ogc-numberreturned"] == str(MANY)
        assert answer.content == b""


def test_large_exports_take_no_more_memory_than_small_ones(service: Service) -> None:
    forms = ("ndjson", "csv", "geoparquet")
    for form in forms:
        service.get(f"/collections/export-many/items?f={form}&limit=1500").raise_for_status()
    before = service.memory()
    sizes = {}
    for form in forms:
        with httpx.stream(
            "GET", f"{service.url}/collections/export-many/items?f={form}", timeout=120, headers=PLAIN
        ) as answer:
            assert answer.headers["ogc-numberreturned"] == str(MANY)
            sizes[form] = sum(map(len, answer.iter_raw()))
    assert sizes["ndjson"] > 30 * 2**20
    assert service.memory() - before < 45 * 2**20


def test_a_large_export_is_whole(service: Service) -> None:
    content = service.get("/collections/export-many/items?f=parquet").raise_for_status().content
    file = pq.ParquetFile(io.BytesIO(content))
    assert file.metadata.num_row_groups > 1
    expected = {f"many-{number}" for number in range(MANY)}
    assert set(file.read(["id"]).column("id").to_pylist()) == expected
    answer = service.get("/collections/export-many/items?f=ndjson", headers={"Accept-Encoding": "zstd, gzip"})
    assert answer.headers["content-encoding"] in ("zstd", "gzip")
    found = lines(answer)
    assert len(found) == MANY
    assert {item["id"] for item in found} == expected


def test_an_export_goes_through_a_pooler(items: None, pgbouncer: DatabaseSettings, public_directory: Path) -> None:
    with served(pgbouncer, public_directory / "export-pooled.log") as (url, _):
        answer = httpx.get(f"{url}/collections/export-many/items?f=ndjson", timeout=120)
        assert len(lines(answer)) == MANY


def leave_the_service(database: DatabaseSettings, *, for_good: bool) -> None:
    """Take its connections from it; for good: it gets no others."""
    with connect(database.url("owner"), application_name="test") as owner:
        login = urlsplit(database.url("reader")).username
        if for_good:
            owner.execute(f'ALTER ROLE "{login}" CONNECTION LIMIT 0')
        owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [login])


def come_back(database: DatabaseSettings) -> None:
    with connect(database.url("owner"), application_name="test") as owner:
        owner.execute(f'ALTER ROLE "{urlsplit(database.url("reader")).username}" CONNECTION LIMIT -1')


def test_an_export_outlives_a_lost_connection(service: Service) -> None:
    with httpx.stream(
        "GET", f"{service.url}/collections/export-many/items?f=ndjson", timeout=60, headers=PLAIN
    ) as answer:
        pieces = answer.iter_raw()
        first = next(pieces)
        leave_the_service(service.database, for_good=False)
        assert (first + b"".join(pieces)).count(b"\n") == MANY


def test_an_export_that_is_cut_looks_cut(service: Service) -> None:
    url = f"{service.url}/collections/export-many/items"
    try:
        with httpx.stream("GET", url, params={"f": "ndjson"}, timeout=60, headers=PLAIN) as answer:
            pieces = answer.iter_raw()
            got = [next(pieces)]
            leave_the_service(service.database, for_good=True)
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                got.extend(pieces)
            assert 0 < b"".join(got).count(b"\n") < int(answer.headers["ogc-numberreturned"])
        # tables have been read as a whole before their first byte
        for form in ("csv", "geoparquet"):
            answer = httpx.get(url, params={"f": form}, timeout=60)
            assert answer.status_code == 503, form
            assert answer.headers["retry-after"]
    finally:
        come_back(service.database)
    # and its place was given back
    assert service.get("/collections/export-odd/items?f=csv").status_code == 200


def test_what_is_there_throughout_comes_once_while_others_come_and_go(service: Service) -> None:
    gone, come = range(0, MANY, 50), range(MANY, MANY + 200)
    with connect(service.database.url("ingest"), application_name="test") as writer:
        with httpx.stream("GET", f"{service.url}/search?collections=export-many&f=ndjson", headers=PLAIN) as answer:
            pieces = answer.iter_raw()
            got = [next(pieces)]
            writer.execute("DELETE FROM pgstac.items WHERE id = ANY (%s)", [[f"many-{number}" for number in gone]])
            new = [common(number) for number in come]
            writer.execute("SELECT pgstac.create_items(%s)", [json.dumps(new)])
            got.extend(pieces)
        found = [orjson.loads(line)["id"] for line in b"".join(got).splitlines()]
        assert len(found) == len(set(found))
        assert {f"many-{number}" for number in set(range(MANY)) - set(gone)} <= set(found)
        # as it was
        writer.execute("DELETE FROM pgstac.items WHERE id = ANY (%s)", [[f"many-{number}" for number in come]])
        writer.execute("SELECT pgstac.create_items(%s)", [json.dumps([common(number) for number in gone])])


def test_an_export_has_its_time(items: None, database_settings: DatabaseSettings, public_directory: Path) -> None:
    log = public_directory / "export-time.log"
    with served(database_settings, log, STACYARD_STAC_EXPORT_SECONDS="1") as (url, _):
        refused = httpx.get(f"{url}/collections/export-many/items?f=geoparquet", timeout=60)
        assert refused.status_code == 503
        assert "took too long" in refused.json()["detail"]
        with httpx.stream("GET", f"{url}/collections/export-many/items?f=ndjson", headers=PLAIN) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            time.sleep(1.5)
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                list(pieces)


def test_there_are_so_many_exports_at_once_and_searches_beside_them(service: Service) -> None:
    url = f"{service.url}/collections/export-many/items"
    with httpx.stream("GET", url, params={"f": "ndjson"}, timeout=60, headers=PLAIN) as slow:
        pieces = slow.iter_raw()
        next(pieces)
        refused = service.get("/collections/export-odd/items?f=csv")
        assert refused.status_code == 503
        assert "exports" in refused.json()["detail"]
        assert refused.headers["retry-after"]
        # a client that does not read holds no connection
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda _: service.get("/search?limit=10"), range(40)))
        assert {answer.status_code for answer in answers} == {200}
    deadline = time.monotonic() + 10
    while service.get("/collections/export-odd/items?f=csv").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_definition_tells_of_the_forms(service: Service) -> None:
    definition = service.get("/api").json()
    for path, method in (("/search", "get"), ("/search", "post"), ("/collections/{collection_id}/items", "get")):
        operation = definition["paths"][path][method]
        form = next(each for each in operation["parameters"] if each["name"] == "f")
        assert form["schema"]["enum"] == ["json", "geoparquet", "ndjson", "csv"]
        assert {PARQUET, NDJSON, CSV} <= operation["responses"]["200"]["content"].keys()
