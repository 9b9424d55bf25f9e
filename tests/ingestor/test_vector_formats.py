"""Vector files of five formats against what other readers say of them: GDAL of the FlatGeobuf, PostGIS of the table."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyproj
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.load_features import replace_table
from stacyard.ingestor.recipe import Layer as LayerRule
from stacyard.ingestor.session import Session
from stacyard.ingestor.stages.vector_geometry import clean
from stacyard.ingestor.stages.vectors import Layer, VectorReport, read_layer, to_flatgeobuf

from .conftest import Yard

UTM = "EPSG:32633"
FIELDS = shapely.box(np.arange(6) * 100 + 500_000, 5_100_000, np.arange(6) * 100 + 500_090, 5_100_070)
DEGREES = shapely.box(np.arange(4) * 0.01 + 14, 46, np.arange(4) * 0.01 + 14.008, 46.01)
ATTRIBUTES: Mapping[str, pa.Array] = {
    "number": pa.array([11, 12, 13, 14, 15, 16], pa.int64()),
    "organic": pa.array([True, None, False, True, False, None]),
    "count": pa.array([1, None, -(2**31), 2**31 - 1, 0, 7], pa.int32()),
    "registry": pa.array([2**53 + 1, None, -(2**53) - 1, 2**62 + 1, 0, 1], pa.int64()),
    "hectares": pa.array([1.5, None, 0.1, -1e-9, 1e15, 0.0]),
    "farmer": pa.array(["Žan\tNovak", None, "back\\slash", "two\nlines", "\\N", '"quoted", \\.']),
    "sown": pa.array([dt.date(2020, 3, 29), None, dt.date(1899, 12, 31), dt.date(2024, 2, 29), None, None]),
    "seen": pa.array(
        [dt.datetime(2020, 3, 29, 1, 59, 59, 250_000), None, dt.datetime(1969, 7, 20), None, None, None],
        pa.timestamp("ms", "UTC"),
    ),
}
SQL_TYPES = {
    "number": "bigint",
    "organic": "boolean",
    "count": "integer",
    "registry": "bigint",
    "hectares": "double precision",
    "farmer": "text",
    "sown": "date",
    "seen": "timestamp with time zone",
}
# what a format cannot write: whole numbers above 2^53, times, control characters, dates
MISSING: Mapping[str, tuple[str, ...]] = {
    "GeoJSON": ("registry",),
    "ESRI Shapefile": ("registry", "seen", "farmer"),
    "FlatGeobuf": ("sown",),
}
# where a format says less of a number's size, or more
SIZES: Mapping[str, Mapping[str, str]] = {"GeoJSON": {"number": "integer"}, "ESRI Shapefile": {"count": "bigint"}}
DRIVERS = {"GPKG": "gpkg", "GeoJSON": "geojson", "ESRI Shapefile": "shp", "FlatGeobuf": "fgb", "GeoParquet": "parquet"}


def write(
    path: Path,
    driver: str,
    geometries: Sequence[shapely.Geometry | None] | bytes,
    columns: Mapping[str, pa.Array],
    *,
    crs: str | None = "EPSG:4326",
) -> Path:
    """A vector file, made by GDAL, or by pyarrow from the GeoParquet specification."""
    wkb = pa.array(shapely.to_wkb(np.array(geometries, dtype=object)), pa.binary())
    if driver == "GeoParquet":
        return write_parquet(path, wkb, columns, crs=crs)
    pyogrio.write_arrow(
        pa.table({**columns, "shape": wkb}),
        path,
        driver=driver,
        geometry_name="shape",
        geometry_type="Unknown" if driver != "ESRI Shapefile" else "Polygon",
        crs=crs,
    )
    return path


def write_parquet(
    path: Path, wkb: pa.Array, columns: Mapping[str, pa.Array], *, crs: str | None, geo: Mapping[str, Any] = {}
) -> Path:
    """GeoParquet; `geo` replaces keys of what it says of its geometries."""
    about = {"encoding": "WKB", "geometry_types": [], "crs": pyproj.CRS(crs).to_json_dict() if crs else None, **geo}
    document = {"version": "1.1.0", "primary_column": "shape", "columns": {"shape": about}}
    table = pa.table({**columns, "shape": wkb}).replace_schema_metadata({"geo": json.dumps(document)})
    pq.write_table(table, path)
    return path


@contextlib.contextmanager
def session(yard: Yard) -> Iterator[Session]:
    opened = Session(yard.database.url("ingest"), patience_seconds=5)
    try:
        yield opened
    finally:
        opened.close()


def fill(yard: Yard, layer: Layer, table: str) -> None:
    with session(yard) as opened:
        replace_table(opened, layer, table=table, comment="Fields", collection="fields")


def layer_of(path: Path, directory: Path, **rule: Any) -> Layer:
    directory.mkdir(exist_ok=True)
    return read_layer(path, LayerRule(**rule), directory=directory)


def by_number(table: pa.Table, geometry: str) -> dict[int, dict[str, Any]]:
    rows = table.drop_columns([geometry]).to_pylist()
    shapes = shapely.from_wkb(table[geometry].to_numpy())
    return {row["number"]: {**row, "shape": shape} for row, shape in zip(rows, shapes, strict=True)}


def same_shape(one: shapely.Geometry, other: shapely.Geometry) -> bool:
    # 1e-9 degrees are a tenth of a millimetre: what two versions of PROJ may differ by
    return bool(shapely.equals_exact(shapely.normalize(one), shapely.normalize(other), tolerance=1e-9))


@pytest.mark.parametrize("driver", DRIVERS)
def test_flatgeobuf_and_table_hold_what_the_source_holds(yard: Yard, tmp_path: Path, driver: str) -> None:
    columns = {name: values for name, values in ATTRIBUTES.items() if name not in MISSING.get(driver, ())}
    crs = "EPSG:4326" if driver == "GeoJSON" else UTM
    to_degrees = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    placed = shapely.transform(FIELDS, lambda xy: np.column_stack(to_degrees.transform(xy[:, 0], xy[:, 1])))
    shapes = placed if driver == "GeoJSON" else FIELDS
    path = write(tmp_path / f"fields.{DRIVERS[driver]}", driver, shapes, columns, crs=crs)
    layer = layer_of(path, tmp_path / "work", id_column="number")
    assert layer.report == VectorReport(read=6, written=6)
    to_flatgeobuf(layer, tmp_path / "data.fgb", name="fields")
    fill(yard, layer, f"all_{DRIVERS[driver]}")
    expected = [
        dict(zip(columns, values, strict=True))
        for values in zip(*(c.to_pylist() for c in columns.values()), strict=True)
    ]

    meta, table = pyogrio.read_arrow(tmp_path / "data.fgb")
    assert (meta["crs"], meta["geometry_type"]) == ("EPSG:4326", "MultiPolygon")
    stored = by_number(table, "wkb_geometry")
    for row, shape in zip(expected, placed, strict=True):
        found = stored[row["number"]]
        # FlatGeobuf knows no date, only a time, and no time zone
        wanted = {
            **row,
            **({"sown": dt.datetime.combine(row["sown"], dt.time())} if row.get("sown") else {}),
            **({"seen": row["seen"].replace(tzinfo=None)} if row.get("seen") else {}),
        }
        assert {name: found[name] for name in row} == wanted
        assert same_shape(found["shape"], shapely.multipolygons([shape]))

    rows = yard.query(f"SELECT *, ST_AsBinary(geom) AS wkb, ST_SRID(geom) AS srid FROM features.all_{DRIVERS[driver]}")
    kept = {row["number"]: row for row in rows}
    for row, shape in zip(expected, placed, strict=True):
        assert {name: kept[row["number"]][name] for name in row} == row
        assert kept[row["number"]]["srid"] == 4326
        assert same_shape(shapely.from_wkb(kept[row["number"]]["wkb"]), shapely.multipolygons([shape]))
    types = yard.query(
        "SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0",
        f"features.all_{DRIVERS[driver]}",
    )
    given_types = {str(each["name"]): each["type"] for each in types}
    assert given_types.pop("geom") == "geometry(MultiPolygon,4326)"
    assert given_types == {name: SQL_TYPES[name] for name in columns} | SIZES.get(driver, {})


_YEARS = {"min_value": dt.datetime(1000, 1, 1), "max_value": dt.datetime(9998, 12, 31)}
_VALUES: Mapping[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "truth": (pa.bool_(), st.booleans()),
    "small": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "large": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "unsigned": (pa.uint32(), st.integers(0, 2**32 - 1)),
    "real": (pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
    "text": (pa.string(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)),
    "word": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["wheat", "maize", "\\.", "\\N", ""])),
    "day": (pa.date32(), st.dates(dt.date(1000, 1, 1), dt.date(9998, 12, 31))),
    "instant": (pa.timestamp("us", "UTC"), st.datetimes(**_YEARS, timezones=st.just(dt.UTC))),
}
_ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | values for name, (_, values) in _VALUES.items()}), min_size=1, max_size=12
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=_ROWS)
def test_any_value_and_any_null_comes_through_unchanged(yard: Yard, rows: list[dict[str, Any]]) -> None:
    columns = {name: pa.array([row[name] for row in rows], kind) for name, (kind, _) in _VALUES.items()}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        wkb = pa.array([shapely.to_wkb(shapely.Point(14, 46))] * len(rows), pa.binary())
        layer = layer_of(write_parquet(directory / "a.parquet", wkb, columns, crs="OGC:CRS84"), directory)
        fill(yard, layer, "any_value")
        to_flatgeobuf(layer, directory / "data.fgb", name="any")
        _, table = pyogrio.read_arrow(directory / "data.fgb")
    kept = yard.query(f"SELECT {', '.join(_VALUES)} FROM features.any_value ORDER BY id")
    assert kept == rows
    stored = table.sort_by("id").to_pylist()
    same = ("truth", "small", "large", "unsigned", "real", "text", "word")
    assert [{name: row[name] for name in same} for row in stored] == [
        {name: row[name] for name in same} for row in rows
    ]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rings=st.lists(st.lists(st.tuples(*[st.integers(0, 6)] * 2), min_size=3, max_size=9), min_size=1, max_size=5))
def test_repaired_polygons_are_those_of_postgis(yard: Yard, rings: list[list[tuple[int, int]]]) -> None:
    polygons = np.array([shapely.Polygon(ring) for ring in rings], dtype=object)
    cleaned = clean(polygons, CRS.from_epsg(4326))
    there = ~shapely.is_missing(cleaned.geometries)
    assert shapely.is_valid(cleaned.geometries[there]).all()
    assert not cleaned.repaired[~there].any()
    [row] = yard.query(
        "SELECT array_agg(ST_AsBinary(ST_CollectionExtract(ST_MakeValid(ST_GeomFromWKB(wkb)), 3)) ORDER BY number)"
        " AS mended FROM unnest(%s::bytea[]) WITH ORDINALITY AS given(wkb, number)",
        list(shapely.to_wkb(polygons)),
    )
    mended = shapely.from_wkb(np.array(row["mended"], dtype=object))
    assert (shapely.is_empty(mended) == ~there).all()
    apart = shapely.area(shapely.symmetric_difference(cleaned.geometries[there], mended[there]))
    assert np.allclose(apart, 0, atol=1e-9)


def test_rule_drop_leaves_invalid_features_out_and_counts_them(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([(14, 46), (15, 47), (15, 46), (14, 47)])
    path = write(tmp_path / "a.gpkg", "GPKG", [*DEGREES, bow_tie, None], {"number": ATTRIBUTES["number"]})
    layer = layer_of(path, tmp_path / "work", geometry="drop", id_column="number")
    assert layer.report == VectorReport(read=6, written=4, dropped=1, rejected=1)
    [batch] = layer.batches()
    assert sorted(batch.column("number").to_pylist()) == [11, 12, 13, 14]


def test_curved_geometries_become_straight_as_gdal_makes_them(tmp_path: Path) -> None:
    circle = "CURVEPOLYGON(CIRCULARSTRING(14 46, 14.01 46.01, 14.02 46, 14.01 45.99, 14 46))"
    (tmp_path / "a.csv").write_text(f'number,WKT\n1,"{circle}"\n2,"POINT(14 46)"\n3,"{circle}"\n')
    layer = layer_of(tmp_path / "a.csv", tmp_path / "work", crs="EPSG:4326", drop_columns=["WKT"])
    _, _, wkb, _ = pyogrio.raw.read(tmp_path / "a.csv")
    [batch] = layer.batches()
    shapes = shapely.from_wkb(batch.column("geom").to_numpy(zero_copy_only=False))
    assert shapely.equals(shapes, shapely.from_wkb(wkb)).all()
    assert shapes[0].area == pytest.approx(np.pi * 1e-4, rel=1e-2)
    assert layer.geometry_type == "Unknown"


def test_points_and_multi_points_become_one_type(yard: Yard, tmp_path: Path) -> None:
    shapes = [shapely.Point(14, 46), shapely.MultiPoint([(14, 46), (15, 47)])]
    layer = layer_of(write(tmp_path / "a.parquet", "GeoParquet", shapes, {}), tmp_path / "work")
    fill(yard, layer, "points")
    rows = yard.query("SELECT ST_AsText(geom) AS shape FROM features.points ORDER BY id")
    assert [shapely.from_wkt(row["shape"]).geom_type for row in rows] == ["MultiPoint", "MultiPoint"]
    lone = layer_of(write(tmp_path / "b.parquet", "GeoParquet", shapes[:1], {}), tmp_path / "work")
    assert lone.geometry_type == "Point"
    assert shapely.geometry.shape(lone.footprint).contains(shapes[0]), "a lone point has a footprint with an area"


BAD = pa.array([b"\x01\x03\x00\x00\x00\x02"], pa.binary())
GOOD = pa.array([shapely.to_wkb(DEGREES[0])], pa.binary())
METRES = pa.array([shapely.to_wkb(FIELDS[0])], pa.binary())


@pytest.mark.parametrize(
    ("wkb", "columns", "geo", "rule", "reason"),
    [
        (GOOD, {}, {"crs": None}, {}, "has no coordinate reference system: give `crs:`"),
        (GOOD, {}, {"crs": {"type": "nonsense"}}, {}, "has a coordinate reference system that cannot be read"),
        (GOOD, {}, {"crs": None}, {"crs": "EPSG:0"}, "'EPSG:0' is no coordinate reference system"),
        (GOOD, {}, {"encoding": "polygon"}, {}, "has geometries in the encoding 'polygon': export it again as WKB"),
        (BAD, {}, {}, {}, "feature 1 has a geometry that cannot be read"),
        (METRES, {}, {}, {}, "has coordinates that do not fit its coordinate reference system OGC:CRS84"),
        (GOOD, {"photo": pa.array([b"x"])}, {}, {}, "'photo' is of type binary, which no table can hold; leave it out"),
        (GOOD, {"time": pa.array([1], pa.duration("s"))}, {}, {}, "'time' is of type duration"),
        (GOOD, {"note": pa.array(["a\0b"])}, {}, {}, "'note' has a value that cannot be kept: it has a NUL"),
        (GOOD, {"big": pa.array([2**64 - 1], pa.uint64())}, {}, {}, "'big' has a value that cannot be kept"),
        (GOOD, {"a": pa.array([1])}, {}, {"id_column": "b"}, "has no column 'b' for id_column; it has a"),
        (GOOD, {"a": pa.array([1])}, {}, {"rename": {"b": "c"}}, "has no column 'b' to rename; it has a"),
        (GOOD, {"a": pa.array([1])}, {}, {"columns": {"A": "area"}}, "gives no column 'A' to describe"),
        (GOOD, {"a": pa.array([1]), "A": pa.array([1])}, {}, {}, "would have two columns 'a'"),
        (pa.array([None], pa.binary()), {}, {}, {}, "has no feature to keep"),
        (GOOD, {}, {}, {"layer": "fields"}, "layer 'fields' is not in"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    tmp_path: Path,
    wkb: pa.Array,
    columns: Mapping[str, pa.Array],
    geo: Mapping[str, Any],
    rule: Mapping[str, Any],
    reason: str,
) -> None:
    path = write_parquet(tmp_path / "a.parquet", wkb, columns, crs="OGC:CRS84", geo=geo)
    with pytest.raises(Rejected, match=reason):
        layer_of(path, tmp_path / "work", **rule)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize("driver", ["GeoParquet", "GPKG", "ESRI Shapefile"])
def test_the_recipe_names_the_crs_of_a_file_that_has_none(tmp_path: Path, driver: str) -> None:
    path = write(tmp_path / f"a.{DRIVERS[driver]}", driver, FIELDS, {"number": ATTRIBUTES["number"]}, crs=None)
    with pytest.raises(Rejected, match="has no coordinate reference system"):
        layer_of(path, tmp_path / "work")
    layer = layer_of(path, tmp_path / "work", crs=UTM)
    named = write(tmp_path / "b.fgb", "FlatGeobuf", FIELDS, {"number": ATTRIBUTES["number"]}, crs=UTM)
    assert layer.footprint == layer_of(named, tmp_path / "work").footprint


@pytest.mark.parametrize("number", [0, -1])
def test_a_geopackage_that_calls_its_crs_undefined_has_none(tmp_path: Path, number: int) -> None:
    path = write(tmp_path / "a.gpkg", "GPKG", FIELDS, {}, crs=UTM)
    with contextlib.closing(sqlite3.connect(path)) as package, package:
        package.execute("UPDATE gpkg_geometry_columns SET srs_id = ?", [number])
    with pytest.raises(Rejected, match="has no coordinate reference system"):
        layer_of(path, tmp_path / "work")
    assert layer_of(path, tmp_path / "work", crs=UTM).report.written == len(FIELDS)


def test_key_index_and_comments_are_there_whatever_the_tables_are_called(yard: Yard, tmp_path: Path) -> None:
    rule = {"id_column": "number", "rename": {"hectares": "area"}, "columns": {"area": "Area in hectares"}}
    columns = {name: ATTRIBUTES[name] for name in ("number", "hectares")}
    layer = layer_of(write(tmp_path / "a.gpkg", "GPKG", FIELDS, columns, crs=UTM), tmp_path / "work", **rule)
    long = "fields_of_a_farm_with_a_name_as_long_as_postgresql_lets_it_be"
    # PostgreSQL keeps indexes and tables in one list of names
    tables = [f"{long}_1", f"{long}_2", "field", "field_geom", "field_pkey", "field_new"]
    for table in [*tables, *tables]:
        fill(yard, layer, table)
    for table in tables:
        indexes = yard.query(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'features' AND tablename = %s ORDER BY 1", table
        )
        assert len(indexes) == 2
        assert "USING gist (geom)" in str(indexes[0]["indexdef"])
        assert "UNIQUE INDEX" in str(indexes[1]["indexdef"])
        comments = yard.query(
            "SELECT obj_description(attrelid) AS said, attname AS name, col_description(attrelid, attnum) AS meaning"
            " FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
            f"features.{table}",
        )
        assert {row["said"] for row in comments} == {"Fields"}
        assert {row["name"]: row["meaning"] for row in comments} == {
            "number": "number of the source",
            "area": "Area in hectares",
            "geom": "Geometry in EPSG:4326",
        }


def test_two_that_fill_a_new_table_at_the_same_moment_both_succeed(yard: Yard, tmp_path: Path) -> None:
    layers = [
        layer_of(write(tmp_path / f"{count}.fgb", "FlatGeobuf", DEGREES[:count], {}), tmp_path / str(count))
        for count in (2, 3)
    ]
    waiting = (
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor() as pool:
        with yard.connect() as other, other.transaction():
            # a swap that has renamed its table waits here to tell of it, and the other fill comes up behind it
            other.execute("SELECT stacyard.raise_catalog_revision('fields')")
            fills = [pool.submit(fill, yard, layer, "contested") for layer in layers]
            deadline = time.monotonic() + 20
            while yard.query(waiting) != [{"n": 2}]:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        for each in fills:
            each.result(timeout=20)
    [row] = yard.query("SELECT count(*) AS n FROM features.contested")
    assert row["n"] in (2, 3)
    assert len(yard.query("SELECT 1 FROM pg_indexes WHERE tablename = 'contested'")) == 2


MANY = 300_000
IN_A_CHILD = """
import sys
from pathlib import Path
from stacyard.ingestor.load_features import copy_lines
from stacyard.ingestor.recipe import Layer
from stacyard.ingestor.stages.vectors import read_layer, to_flatgeobuf

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

source, directory = map(Path, sys.argv[1:])
before = peak()
layer = read_layer(source, Layer(id_column="number"), directory=directory)
written = sum(len(copy_lines(batch)) for batch in layer.batches())
to_flatgeobuf(layer, directory / "data.fgb", name="many")
print(peak() - before, written, layer.report.written)
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """300,000 fields of 33 vertices: 160 MB of WKB."""
    number = np.arange(MANY)
    turn = np.linspace(0, 2 * np.pi, 33)[:-1]
    x = (number % 600)[:, None] * 0.001 + 0.0005 * np.cos(turn)
    y = (number // 600)[:, None] * 0.001 + 0.0005 * np.sin(turn)
    wkb = shapely.to_wkb(shapely.polygons(np.stack([x, y], axis=-1)))
    return pa.table({"number": number, "shape": pa.array(wkb, pa.binary())})


@pytest.mark.parametrize("driver", ["FlatGeobuf", "GeoParquet"])
def test_a_large_layer_takes_little_memory_and_its_index_spares_reading(
    tmp_path: Path, many: pa.Table, driver: str
) -> None:
    path = tmp_path / f"many.{DRIVERS[driver]}"
    columns = {"number": many["number"].combine_chunks()}
    if driver == "GeoParquet":
        write_parquet(path, many["shape"].combine_chunks(), columns, crs="OGC:CRS84")
    else:
        pyogrio.write_arrow(
            many, path, driver=driver, geometry_name="shape", geometry_type="Polygon", crs="EPSG:4326",
            layer_options={"SPATIAL_INDEX": "NO"},
        )  # fmt: skip
    command = [sys.executable, "-c", IN_A_CHILD, str(path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    kilobytes, copied, written = map(int, done.stdout.split())
    assert written == MANY
    assert copied > 300 * 1024**2
    # the largest of it: three times a batch of 32 MB, and about 100 bytes a feature for the index
    assert kilobytes < 256 * 1024

    target = tmp_path / "data.fgb"
    box = (0.2, 0.2, 0.21, 0.21)
    assert pyogrio.read_info(target)["capabilities"]["fast_spatial_filter"]
    before = bytes_read()
    _, _, _, [numbers] = pyogrio.raw.read(target, bbox=box)
    assert bytes_read() - before < 0.01 * target.stat().st_size
    hit = shapely.intersects(shapely.box(*box), shapely.from_wkb(many["shape"].to_numpy()))
    assert sorted(numbers) == np.flatnonzero(hit).tolist()
    os.truncate(target, 0)


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])
