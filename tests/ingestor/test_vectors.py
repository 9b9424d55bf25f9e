"""Layers: geometry is mended or refused as the recipe says, and a table is either the old one or the new one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from stacyard.core.storage import local_path

from .conftest import Yard

RECIPE = """
collection: {{id: {collection}, title: t, description: d, license: other}}
kind: vector
files: {{pattern: '(?P<name>.+)\\.gpkg', item: '{{name}}'}}
time: {{datetime: 2020-01-01}}
layers:
  - {{table: {table}, id_column: number, geometry: {geometry}, description: Fields of a farm}}
"""
FIELD = shapely.box(14, 46, 14.01, 46.01)
OTHER = shapely.box(14.02, 46, 14.03, 46.01)
BOW_TIE = shapely.Polygon([(14, 46), (14.01, 46.01), (14.01, 46), (14, 46.01)])
NO_AREA = shapely.Polygon([(14, 46), (14.01, 46.01), (14, 46)])


class Farm:
    """A source of one layer, its recipe and its table."""

    def __init__(self, yard: Yard, directory: Path, *, geometry: str = "repair") -> None:
        self.yard = yard
        self.collection = yard.collection_id("farm")
        self.table = self.collection.replace("-", "_")
        self.source = directory / "source"
        self.source.mkdir()
        self.recipe = directory / "recipe.yaml"
        self.recipe.write_text(RECIPE.format(collection=self.collection, table=self.table, geometry=geometry))

    def write(
        self, *geometries: shapely.Geometry | None, numbers: Sequence[int] | None = None, name: str = "a"
    ) -> None:
        path = self.source / f"{name}.gpkg"
        path.unlink(missing_ok=True)
        keys = np.array(numbers or range(1, len(geometries) + 1), dtype="int64")
        wkb = shapely.to_wkb(np.array(geometries, dtype=object))
        pyogrio.raw.write(
            path, wkb, [keys], ["number"], driver="GPKG", geometry_type="Polygon", crs="EPSG:4326", layer="fields"
        )

    def rows(self) -> list[int]:
        return [int(str(row["number"])) for row in self.yard.query(f"SELECT number FROM features.{self.table}")]


@pytest.fixture
def farm(yard: Yard, tmp_path: Path) -> Farm:
    return Farm(yard, tmp_path)


def test_invalid_geometry_is_repaired_and_what_was_done_is_told(yard: Yard, farm: Farm) -> None:
    farm.write(FIELD, BOW_TIE, None, NO_AREA)
    assert yard.ingest(farm.recipe, farm.source).exit_code == 0
    [item] = yard.items(farm.collection).values()
    properties = item["properties"]
    assert properties["table:row_count"] == 2
    assert properties["stacyard:features"] == {"read": 4, "written": 2, "repaired": 1, "dropped": 2, "rejected": 0}
    assert properties["description"] == (
        "Fields of a farm. Invalid geometries that were repaired: 1. "
        "Features left out because they have no geometry: 2."
    )
    _, _, wkb, fields = pyogrio.raw.read(local_path(item["assets"]["data"]["href"]))
    shapes = dict(zip(fields[0].tolist(), shapely.from_wkb(wkb), strict=True))
    assert shapely.is_valid(list(shapes.values())).all()
    assert shapes[1].equals(FIELD)
    assert shapes[2].area == pytest.approx(FIELD.area / 2)
    rows = yard.query(
        f"SELECT number, ST_AsText(geom) AS shape, GeometryType(geom) AS kind FROM features.{farm.table} ORDER BY 1"
    )
    assert [(row["number"], row["kind"]) for row in rows] == [(1, "MULTIPOLYGON"), (2, "MULTIPOLYGON")]
    assert all(shapely.from_wkt(row["shape"]).equals(shapes[row["number"]]) for row in rows)


def test_invalid_geometry_is_refused_where_the_recipe_says_so(yard: Yard, tmp_path: Path) -> None:
    farm = Farm(yard, tmp_path, geometry="reject")
    farm.write(FIELD, BOW_TIE, BOW_TIE, None)
    [outcome] = yard.ingest(farm.recipe, farm.source).outcomes
    assert outcome.state == "rejected"
    assert "has 2 invalid geometries, the first: feature 2: Self-intersection" in outcome.reason
    assert "use geometry: repair" in outcome.reason
    assert yard.items(farm.collection) == {}
    assert yard.query("SELECT to_regclass(%s) AS made", f"features.{farm.table}") == [{"made": None}]
    farm.write(FIELD, None)
    assert yard.ingest(farm.recipe, farm.source).exit_code == 0, "a feature without geometry is no invalid geometry"


def test_a_key_that_comes_twice_is_refused_and_the_old_table_and_item_stay(yard: Yard, farm: Farm) -> None:
    farm.write(FIELD)
    yard.ingest(farm.recipe, farm.source)
    before = yard.items(farm.collection)
    farm.write(FIELD, OTHER, OTHER, numbers=[1, 7, 7])
    [outcome] = yard.ingest(farm.recipe, farm.source).outcomes
    assert outcome.state == "rejected"
    assert "id_column 'number' is not unique, 7 comes 2 times; choose another or leave it out" in outcome.reason
    assert farm.rows() == [1]
    assert yard.items(farm.collection) == before


def test_a_table_that_a_view_depends_on_stays_until_the_view_is_gone(yard: Yard, farm: Farm) -> None:
    farm.write(FIELD)
    yard.ingest(farm.recipe, farm.source)
    with yard.connect() as connection:
        connection.execute(f"CREATE VIEW features.{farm.table}_view AS SELECT number FROM features.{farm.table}")
    farm.write(FIELD, OTHER)
    [outcome] = yard.ingest(farm.recipe, farm.source).outcomes
    assert outcome.reason == (
        f"views or functions depend on features.{farm.table}: drop them, then run the same command again"
    )
    assert farm.rows() == [1]
    assert yard.query(f"SELECT * FROM features.{farm.table}_view") == [{"number": 1}]
    with yard.connect() as connection:
        connection.execute(f"DROP VIEW features.{farm.table}_view")
    assert yard.ingest(farm.recipe, farm.source).exit_code == 0
    assert sorted(farm.rows()) == [1, 2]


def test_a_swap_whose_connection_is_cut_half_way_leaves_the_old_table_and_is_made_again(yard: Yard, farm: Farm) -> None:
    farm.write(FIELD)
    yard.ingest(farm.recipe, farm.source)
    farm.write(FIELD, OTHER)

    def blocked() -> set[object]:
        statement = (
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DROP TABLE IF EXISTS %%'"
            " AND query LIKE %s"
        )
        return {row["pid"] for row in yard.query(statement, f'%"{farm.table}"%')}

    def next_blocked(known: set[object]) -> object:
        deadline = time.monotonic() + 20
        while not (new := blocked() - known):
            assert time.monotonic() < deadline, "the swap did not reach the old table"
            time.sleep(0.05)
        return new.pop()

    # a reader of the old table holds the swap where the new one is filled and the old one not yet dropped
    with ThreadPoolExecutor() as pool:
        with yard.connect() as reader, reader.transaction():
            reader.execute(f"SELECT FROM features.{farm.table}")
            ingest = pool.submit(yard.ingest, farm.recipe, farm.source)
            first = next_blocked(set())
            yard.query("SELECT pg_terminate_backend(%s)", first)
            next_blocked({first})
            assert reader.execute(f"SELECT number FROM features.{farm.table}").fetchall() == [{"number": 1}]
        summary = ingest.result(timeout=30)
    assert (summary.exit_code, summary.counts.loaded) == (0, 1)
    assert sorted(farm.rows()) == [1, 2]
    left = yard.query("SELECT relname FROM pg_class WHERE relname LIKE %s", "%$new%")
    assert left == []


def test_a_second_file_for_a_table_is_refused_and_does_not_replace_the_first(yard: Yard, farm: Farm) -> None:
    farm.write(FIELD, OTHER, name="a")
    farm.write(OTHER, name="b")
    [outcome] = yard.ingest(farm.recipe, farm.source).outcomes
    assert outcome.item_id == "b"
    assert f"b.gpkg would replace what {farm.source}/a.gpkg puts into the table {farm.table}" in outcome.reason
    assert sorted(farm.rows()) == [1, 2]
    assert list(yard.items(farm.collection)) == ["a"]
