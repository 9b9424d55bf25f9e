"""Items and collections are valid STAC 1.1 with valid extension fields, and come out the same when made again.

The core is validated by pystac against the schemas that it brings. Those of extensions are documents on the web and
cannot be had here: fields of extensions are held against what their specifications say.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine

from stacyard.ingestor.collection import describe_collection
from stacyard.ingestor.errors import RecipeError, Rejected
from stacyard.ingestor.recipe import Recipe, parse_recipe
from stacyard.ingestor.stages.describe import StoredAsset, When, describe_image, describe_layer
from stacyard.ingestor.stages.extensions import (
    EO,
    FILE,
    PROCESSING,
    PROJECTION,
    RASTER,
    RENDER,
    TABLE,
    extensions_of,
    problems,
)
from stacyard.ingestor.stages.inspect import inspect
from stacyard.ingestor.stages.quality import judge

from .conftest import DEMO

RECIPE = """
collection: {id: c, title: t, description: d, license: other, providers: [{name: p, roles: [processor]}]}
kind: imagery
files: {pattern: '(?P<name>.+)\\.tif', item: '{name}'}
time: {datetime: 2020-06-01}
assets: {data: {nodata: 0}}
renders: {plain: {assets: [data], rescale: [[0, 9]]}}
properties: {platform: p, 'processing:level': L2}
"""
TIME = When(start=datetime(2020, 6, 1, tzinfo=UTC))
STORED = StoredAsset(href="s3://bucket/a.tif", size=100, sha256="ab" * 32, header_size=10)


def image(path: Path, values: np.ndarray, recipe: Recipe, *, crs: Any = "EPSG:32660") -> dict[str, Any]:
    profile = {"driver": "GTiff", "width": values.shape[1], "height": values.shape[0], "count": 1}
    with rasterio.open(
        path, "w", **profile, dtype=values.dtype, crs=crs, transform=Affine(1000, 0, 8e5, 0, -1000, 1e6)
    ) as dataset:
        dataset.write(values, 1)
    reports = {"data": inspect(path)}
    judgement = judge(reports=reports, assets=recipe.assets, rules=recipe.quality, cloud_cover=12.5)
    return describe_image(
        item_id="a",
        recipe=recipe,
        time=TIME,
        reports=reports,
        stored={"data": STORED},
        judgement=judgement,
        sources=["/fields/2020/a.tif", "https://a.example/b.tif?Signature=secret"],
    )


def valid(item: dict[str, Any]) -> None:
    linked = {**item, "links": [{"rel": "collection", "href": "c.json"}], "stac_extensions": []}
    pystac.Item.from_dict(copy.deepcopy(linked), migrate=False).validate()
    assert problems(item) == []
    assert item["stac_extensions"] == extensions_of(item)


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32", "complex64", "complex128"])
def test_an_image_of_every_data_type_is_a_valid_item(tmp_path: Path, kind: str) -> None:
    values = (np.arange(100 * 100).reshape(100, 100) % 200 + 1).astype(kind)
    item = image(tmp_path / "a.tif", values, parse_recipe(RECIPE, "recipe.yaml"))
    valid(item)
    assert item["stac_extensions"] == [EO, FILE, PROCESSING, PROJECTION, RASTER, RENDER]
    properties = item["properties"]
    assert properties["eo:cloud_cover"] == 12.5
    assert properties["processing:level"] == "L2"
    assert properties["processing:lineage"] == "Cloud-optimized GeoTIFF of a.tif, b.tif"
    assert set(properties["processing:software"]) == {"stacyard", "GDAL"}
    west, _, east, _ = item["bbox"]
    assert (item["geometry"]["type"], west > 170, east < -170) == ("MultiPolygon", True, True)


def test_an_extension_is_declared_only_where_it_is_used(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE.replace("renders", "# renders"), "recipe.yaml")
    values = np.ones((9, 9), "uint8")
    item = image(tmp_path / "a.tif", values, recipe)
    assert RENDER not in item["stac_extensions"]
    without = {**item, "properties": {k: v for k, v in item["properties"].items() if not k.startswith("eo:")}}
    assert EO not in extensions_of(without)
    assert describe_collection(recipe, None)["stac_extensions"] == []


def test_a_crs_without_a_code_is_written_out(tmp_path: Path) -> None:
    crs = rasterio.crs.CRS.from_string("+proj=laea +lat_0=40 +lon_0=170 +datum=WGS84 +units=m")
    item = image(tmp_path / "a.tif", np.ones((9, 9), "uint8"), parse_recipe(RECIPE, "recipe.yaml"), crs=crs)
    valid(item)
    assert item["properties"]["proj:code"] is None
    assert "Lambert Azimuthal" in item["properties"]["proj:wkt2"]


def test_the_same_made_again_is_the_same(tmp_path: Path) -> None:
    recipe, values = parse_recipe(RECIPE, "recipe.yaml"), np.ones((9, 9), "float32")
    assert image(tmp_path / "a.tif", values, recipe) == image(tmp_path / "b.tif", values, recipe)


def test_a_layer_is_a_valid_item() -> None:
    recipe = parse_recipe((DEMO / "parcels" / "recipe.yaml").read_text(), "recipe.yaml")
    item = describe_layer(
        item_id="a",
        recipe=recipe,
        time=TIME,
        geometry={"type": "Polygon", "coordinates": [[[15, 45], [16, 45], [16, 46], [15, 45]]]},
        columns=[{"name": "crop", "type": "string"}],
        features={"read": 3, "written": 2, "dropped": 1},
        title="Parcels",
        description=None,
        stored=STORED,
        source="/fields/parcels.gpkg",
    )
    valid(item)
    assert item["stac_extensions"] == [FILE, PROCESSING, PROJECTION, TABLE]
    assert item["properties"]["processing:lineage"] == "FlatGeobuf of parcels.gpkg"


@pytest.mark.parametrize("product", ["landsat8", "sentinel2_ndvi", "parcels"])
def test_the_collections_of_the_demo_are_valid(product: str) -> None:
    recipe = parse_recipe((DEMO / product / "recipe.yaml").read_text(), "recipe.yaml")
    document = describe_collection(recipe, None)
    assert problems(document) == []
    assert (RENDER in document["stac_extensions"]) == bool(recipe.renders)
    assert document.get("renders", {}).keys() == recipe.renders.keys()
    # by the names that the vector service gives its layers
    tables = [table["name"] for table in document.get("table:tables", [])]
    assert tables == (["features.parcels"] if product == "parcels" else [])
    assert (TABLE in document["stac_extensions"]) == bool(tables)
    pystac.Collection.from_dict({**document, "stac_extensions": []}, migrate=False).validate()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eo:cloud_cover", 101),
        ("proj:code", 32633),
        ("proj:shape", [1.5, 2]),
        ("proj:transform", [1, 2, 3]),
        ("processing:software", ["GDAL"]),
        ("processing:lineage", 7),
        ("renders", {"plain": {"rescale": [[0, 1]]}}),
        ("file:size", -1),
        ("file:checksum", "xyz"),
        ("raster:bands", [{"data_type": "complex64"}]),
        ("raster:bands", [{"data_type": "uint8", "statistics": {"median": 1}}]),
        ("raster:bands", [{"nodata": "none"}]),
        ("table:columns", [{"type": "string"}]),
    ],
)
def test_a_wrong_extension_field_is_named(name: str, value: Any) -> None:
    assert [each.split(" of ")[0] for each in problems({"properties": {name: value}, "assets": {}})] == [name]
    [problem] = problems({"properties": {}, "assets": {"data": {name: value}}})
    assert problem == f"{name} of asset 'data' is {value!r}"


def test_a_property_of_the_recipe_that_no_extension_allows_is_refused(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE.replace("'processing:level': L2", "'eo:snow_cover': 300"), "recipe.yaml")
    with pytest.raises(Rejected, match="eo:snow_cover of the item is 300; look at the recipe's properties"):
        image(tmp_path / "a.tif", np.ones((9, 9), "uint8"), recipe)


def test_a_common_name_that_the_extension_does_not_know_is_refused_by_the_recipe() -> None:
    recipe = RECIPE.replace("{nodata: 0}", "{bands: [{name: B1, common_name: redish}]}")
    with pytest.raises(RecipeError, match="common_name"):
        parse_recipe(recipe, "recipe.yaml")
