"""From files to a catalog: the straight way, and that going it twice changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import orjson
import pyogrio
import pystac
import rasterio
from affine import Affine
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import box, shape

from stacyard.core.storage import local_path

from .conftest import DEMO, Yard, recipe_of

NDVI_DATES = ("20170725T100536", "20170730T100535", "20170804T100608")


def landsat(tmp_path: Path) -> Path:
    source = tmp_path / "landsat"
    source.mkdir()
    for path in (DEMO / "landsat8").glob("*_224078_*.TIF"):
        shutil.copy(path, source)
    return source


def ndvi(tmp_path: Path) -> Path:
    source = tmp_path / "ndvi"
    source.mkdir()
    for date in NDVI_DATES:
        for path in (DEMO / "sentinel2_ndvi").glob(f"*_{date}.tif"):
            shutil.copy(path, source)
    return source


def test_three_band_files_become_one_item_with_cogs_that_keep_every_pixel(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("landsat")
    source = landsat(tmp_path)
    summary = yard.ingest(recipe_of("landsat8", collection, tmp_path / "recipe.yaml"), source)
    assert (summary.exit_code, summary.counts.discovered, summary.counts.loaded) == (0, 1, 1)
    [item] = yard.items(collection).values()
    assert item["properties"]["datetime"] == "2020-05-18T00:00:00Z"
    assert item["properties"]["proj:code"] == "EPSG:32621"
    assert item["properties"]["renders"]["true_color"]["assets"] == ["red", "green", "blue"]
    for name, band in (("red", "B4"), ("green", "B3"), ("blue", "B2")):
        asset = item["assets"][name]
        path = local_path(asset["href"])
        assert cog_validate(str(path), strict=True, quiet=True)[0]
        with rasterio.open(path) as cog, rasterio.open(next(source.glob(f"*_{band}.TIF"))) as original:
            np.testing.assert_array_equal(cog.read(), original.read())
            valid = original.read(1, masked=True)
            assert cog.descriptions == (band,)
            assert cog.nodata == 0
        [described] = asset["raster:bands"]
        assert described["statistics"]["minimum"] == valid.min()
        assert described["statistics"]["maximum"] == valid.max()
        assert abs(described["statistics"]["mean"] - valid.mean()) < 1e-3
        assert abs(described["statistics"]["stddev"] - valid.std()) < 1e-3
        assert asset["bands"][0]["statistics"] == described["statistics"]
        assert asset["file:size"] == path.stat().st_size
        assert 0 < asset["file:header_size"] < 5000


def test_items_validate_as_stac_and_footprints_leave_nodata_out(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("landsat")
    yard.ingest(recipe_of("landsat8", collection, tmp_path / "recipe.yaml"), landsat(tmp_path))
    [item] = yard.items(collection).values()
    linked = {**item, "links": [{"rel": "collection", "href": "c.json"}], "stac_extensions": []}
    pystac.Item.from_dict(linked, migrate=False).validate()
    footprint = shape(item["geometry"])
    assert footprint.is_valid
    assert footprint.exterior.is_ccw
    assert footprint.area < 0.97 * box(*footprint.bounds).area, "the scene's slanted edge should be cut off"
    [row] = yard.query("SELECT content FROM pgstac.collections WHERE id = %s", collection)
    document = pystac.Collection.from_dict({**row["content"], "stac_extensions": []}, migrate=False)
    document.validate()
    assert row["content"]["extent"]["spatial"]["bbox"][0] == [round(value, 7) for value in footprint.bounds]


def test_ndvi_keeps_its_scale_and_says_how_cloudy_it_is(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("ndvi")
    yard.ingest(recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml"), ndvi(tmp_path))
    items = yard.items(collection)
    assert sorted(items) == [f"S2_{date}" for date in NDVI_DATES]
    for date in NDVI_DATES:
        item = items[f"S2_{date}"]
        with rasterio.open(DEMO / "sentinel2_ndvi" / f"S2_CLM_{date}.tif") as mask:
            assert item["properties"]["eo:cloud_cover"] == round(100 * float((mask.read(1) == 1).mean()), 2)
        assert item["assets"]["ndvi"]["raster:bands"][0]["scale"] == 0.0001
        assert item["assets"]["ndvi"]["raster:bands"][0]["nodata"] == -32768


def test_the_same_again_does_no_work(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("ndvi")
    recipe, source = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml"), ndvi(tmp_path)

    def state() -> tuple[object, ...]:
        assets = local_path(yard.storage.assets)
        objects = {path: path.stat().st_mtime_ns for path in assets.rglob("*") if path.is_file()}
        rows = yard.query("SELECT content::text, xmin FROM pgstac.items WHERE collection = %s ORDER BY id", collection)
        revision = yard.query("SELECT revision FROM stacyard.catalog_revision WHERE collection = %s", collection)
        return objects, rows, revision

    assert yard.ingest(recipe, source).counts.unchanged == 0
    before = state()
    again = yard.ingest(recipe, source)
    assert (again.counts.loaded, again.counts.unchanged, again.exit_code) == (3, 3, 0)
    assert state() == before


def test_items_come_out_the_same_byte_for_byte_when_they_are_made_again(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("ndvi")
    recipe, source = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml"), ndvi(tmp_path)
    yard.ingest(recipe, source)
    before = orjson.dumps(yard.items(collection), option=orjson.OPT_SORT_KEYS)
    yard.query("DELETE FROM pgstac.items WHERE collection = %s RETURNING id", collection)
    again = yard.ingest(recipe, source)
    assert again.counts.unchanged == 0, "an item that is gone from the catalog was called unchanged"
    assert orjson.dumps(yard.items(collection), option=orjson.OPT_SORT_KEYS) == before


def test_a_recipe_that_changes_the_output_is_done_again_and_a_title_is_not(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("ndvi")
    source, target = ndvi(tmp_path), tmp_path / "recipe.yaml"
    yard.ingest(recipe_of("sentinel2_ndvi", collection, target), source)
    retitled = yard.ingest(recipe_of("sentinel2_ndvi", collection, target, kilometre="mile"), source)
    assert retitled.counts.unchanged == 3
    [row] = yard.query("SELECT content->>'title' AS title FROM pgstac.collections WHERE id = %s", collection)
    assert "mile" in row["title"]
    redone = yard.ingest(recipe_of("sentinel2_ndvi", collection, target, **{"gsd: 10": "gsd: 11"}), source)
    assert redone.counts.unchanged == 0
    assert {item["properties"]["gsd"] for item in yard.items(collection).values()} == {11}


def test_going_back_to_an_earlier_content_is_a_change(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("ndvi")
    source, target = ndvi(tmp_path), tmp_path / "recipe.yaml"
    for gsd in (10, 11, 10):
        recipe = recipe_of("sentinel2_ndvi", collection, target, **{"gsd: 10": f"gsd: {gsd}"})
        assert yard.ingest(recipe, source).counts.unchanged == 0
    assert {item["properties"]["gsd"] for item in yard.items(collection).values()} == {10}


def test_a_layer_becomes_a_flatgeobuf_and_a_table(yard: Yard, tmp_path: Path) -> None:
    collection, table = yard.collection_id("parcels"), "parcels_under_test"
    recipe = recipe_of("parcels", collection, tmp_path / "recipe.yaml", **{"table: parcels": f"table: {table}"})
    assert yard.ingest(recipe, DEMO / "parcels").exit_code == 0
    [item] = yard.items(collection).values()
    info = pyogrio.read_info(local_path(item["assets"]["data"]["href"]))
    assert (info["driver"], info["features"], info["crs"]) == ("FlatGeobuf", 88, "EPSG:4326")
    [row] = yard.query(
        f"SELECT count(*), bool_and(ST_IsValid(geom)) AS valid, sum(area) AS said,"
        f" sum(ST_Area(geom::geography)) AS measured, obj_description('features.{table}'::regclass) AS comment,"
        f" has_table_privilege('stacyard_reader', 'features.{table}', 'SELECT') AS readable FROM features.{table}"
    )
    assert (row["count"], row["valid"], row["readable"]) == (88, True, True)
    assert "square metres" in row["comment"]
    assert abs(row["measured"] / row["said"] - 1) < 0.01
    with yard.connect() as connection:
        connection.execute(f"DROP TABLE features.{table}")
    assert yard.ingest(recipe, DEMO / "parcels").counts.unchanged == 0, "the table was gone and not made again"
    assert yard.query(f"SELECT count(*) FROM features.{table}") == [{"count": 88}]


def test_one_file_of_four_bands_becomes_two_assets_of_one_item(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("parts")
    pixels = np.arange(4 * 64 * 64, dtype="uint16").reshape(4, 64, 64)
    source = tmp_path / "raw" / "field_20240501.tif"
    source.parent.mkdir()
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 4, "height": 64, "width": 64, "crs": "EPSG:32633"}
    with rasterio.open(source, "w", **profile, transform=Affine(10, 0, 500_000, 0, -10, 5_000_000)) as dataset:
        dataset.write(pixels)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"""
collection: {{id: {collection}, title: t, description: d, license: other}}
kind: imagery
files: {{pattern: 'field_(?P<date>\\d+)\\.tif', item: 'field_{{date}}'}}
time: {{group: date, format: '%Y%m%d'}}
assets:
  colour: {{indexes: [1, 2, 3], bands: [{{name: red}}, {{name: green}}, {{name: blue}}]}}
  nir: {{indexes: [4], bands: [{{name: nir}}]}}
"""
    )
    assert yard.ingest(recipe, source.parent).exit_code == 0
    [item] = yard.items(collection).values()
    for key, bands in (("colour", pixels[:3]), ("nir", pixels[3:])):
        path = local_path(item["assets"][key]["href"])
        assert path is not None
        with rasterio.open(path) as dataset:
            assert np.array_equal(dataset.read(), bands)
    assert yard.ingest(recipe, source.parent).counts.unchanged == 1
