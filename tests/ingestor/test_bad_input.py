"""One bad file is rejected with a reason that says what to do; the rest of the batch goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine

from stacyard.ingestor.errors import SourceError

from .conftest import DEMO, Yard

RECIPE = """
collection: {{id: {collection}, title: t, description: d, license: other}}
kind: imagery
files: {{pattern: '(?P<name>.+)\\.tif', item: '{{name}}'}}
time: {{datetime: 2020-01-01}}
assets:
  data: {{nodata: 0}}
quality: {{min_valid_percent: 50}}
"""


def write(path: Path, *, crs: str | None = "EPSG:32633", values: np.ndarray | None = None, **options: object) -> None:
    data = np.random.default_rng(7).integers(1, 60000, (600, 600), dtype="uint16") if values is None else values
    profile = {"driver": "GTiff", "width": data.shape[1], "height": data.shape[0], "count": 1, "dtype": data.dtype}
    with rasterio.open(path, "w", **profile, crs=crs, transform=Affine(10, 0, 5e5, 0, -10, 5e6), **options) as dataset:
        dataset.write(data, 1)


def truncated(path: Path) -> None:
    write(path, tiled=True, compress="deflate")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncated_cog(path: Path) -> None:
    # with the nodata of the recipe, so that it is taken as it is and not converted
    write(path.with_suffix(".source"), nodata=0)
    rasterio.shutil.copy(str(path.with_suffix(".source")), str(path), driver="COG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])


BAD = {
    "empty": (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
    "text": (lambda path: path.write_text("not a raster"), "is not a raster that GDAL can read"),
    "truncated": (truncated, "is truncated or damaged"),
    "truncated_cog": (truncated_cog, "is truncated or damaged"),
    "no_crs": (lambda path: write(path, crs=None), "give `crs:` in the recipe's asset or georeference the file"),
    "no_data": (lambda path: write(path, values=np.zeros((64, 64), "uint16")), "has 0.0 % valid pixels"),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_each_kind_of_bad_file_has_its_reason_and_the_good_one_is_loaded(yard: Yard, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write(source / "good.tif")
    for name, (make, _) in BAD.items():
        make(source / f"{name}.tif")
    recipe = tmp_path / "recipe.yaml"
    collection = yard.collection_id("bad")
    recipe.write_text(RECIPE.format(collection=collection))
    summary = yard.ingest(recipe, source)
    assert (summary.counts.loaded, summary.counts.rejected, summary.counts.failed) == (1, len(BAD), 0)
    assert summary.exit_code == 1
    reasons = {outcome.item_id: outcome.reason for outcome in summary.outcomes}
    for name, (_, reason) in BAD.items():
        assert reason in reasons[name], name
        assert reason in yard.output.getvalue()
    assert list(yard.items(collection)) == ["good"]
    [published] = (tmp_path / "assets").rglob("*.tif")
    assert published.parent.name == "good"


def test_a_missing_band_is_named(yard: Yard, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in (DEMO / "landsat8").glob("*_224078_*_B[34].TIF"):
        shutil.copy(path, source)
    recipe = tmp_path / "recipe.yaml"
    text = (DEMO / "landsat8" / "recipe.yaml").read_text()
    recipe.write_text(text.replace("landsat8-paraguay", yard.collection_id("landsat")))
    [outcome] = yard.ingest(recipe, source).outcomes
    assert outcome.state == "rejected"
    assert "asset 'blue' is missing" in outcome.reason


def test_a_source_that_is_not_there_or_has_nothing_opens_no_run(yard: Yard, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(collection=yard.collection_id("none")))
    before = yard.query("SELECT count(*) FROM stacyard.ingest_run")
    with pytest.raises(SourceError, match="does not exist: name a file, a directory or a glob"):
        yard.ingest(recipe, tmp_path / "nowhere")
    with pytest.raises(SourceError, match="no file of the sources matches"):
        yard.ingest(recipe, recipe)
    assert yard.query("SELECT count(*) FROM stacyard.ingest_run") == before
