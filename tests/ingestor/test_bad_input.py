"""One bad file is rejected with a reason that says what to do; the rest of the batch goes on."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
import rasterio
import rasterio.shutil
from affine import Affine

from stacyard.ingestor.commands import list_runs
from stacyard.ingestor.errors import RunStopped, SourceError
from stacyard.ingestor.report import RunSummary

from .conftest import DEMO, Yard, recipe_of
from .s3_server import s3_bucket
from .test_items import ITEM

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


def ingested(yard: Yard, tmp_path: Path, source: Path | str) -> tuple[str, RunSummary]:
    """Ready-made items of a source under a collection of their own."""
    collection = yard.collection_id("items")
    return collection, yard.ingest(recipe_of("naip", collection, tmp_path / "items.yaml"), source)  # type: ignore[arg-type]


def test_a_poison_file_among_a_thousand_costs_only_itself(yard: Yard, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    write(images / "i000.tif", values=np.full((16, 16), 7, "uint16"))
    for number in range(1, 1000):
        shutil.copy(images / "i000.tif", images / f"i{number:03}.tif")
    (images / "i500.tif").write_bytes((images / "i500.tif").read_bytes()[:300])
    recipe = tmp_path / "recipe.yaml"
    collection = yard.collection_id("poison")
    recipe.write_text(RECIPE.format(collection=collection))
    summary = yard.ingest(recipe, images)
    assert (summary.counts.loaded, summary.counts.rejected, summary.counts.failed) == (999, 1, 0)
    assert [outcome.item_id for outcome in summary.outcomes] == ["i500"]
    assert yard.items(collection).keys() == {f"i{number:03}" for number in range(1000)} - {"i500"}


POISON = {
    "i0500.json": (b"{", "is no JSON"),
    "i0501.json.gz": (gzip.compress(orjson.dumps(ITEM))[:-9], "cannot be read"),
    "i0502.ndjson.zst": (b"no zstd", "cannot be read"),
    "i0503.parquet": (b"PAR1 no more", "cannot be read as Parquet"),
}


def test_a_poison_file_among_a_thousand_of_ready_made_items_costs_only_itself(yard: Yard, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(1000):
        (source / f"i{number:04}.json").write_bytes(orjson.dumps({**ITEM, "id": f"i{number:04}"}))
    for name, (content, _) in POISON.items():
        (source / f"{name[:5]}.json").unlink()
        (source / name).write_bytes(content)
    collection, summary = ingested(yard, tmp_path, source)
    assert (summary.counts.loaded, summary.counts.rejected, summary.counts.failed) == (996, len(POISON), 0)
    reasons = {outcome.item_id: outcome.reason for outcome in summary.outcomes}
    for name, (_, reason) in POISON.items():
        assert f"{source / name} {reason}" in reasons[name]
    assert len(yard.items(collection)) == 996
    # what was mended is loaded by the same command
    (source / "i0500.json").write_bytes(orjson.dumps({**ITEM, "id": "i0500"}))
    recipe = tmp_path / "items.yaml"
    assert yard.ingest(recipe, source).counts.loaded == 997


BAD_ITEMS: dict[str, tuple[dict[str, Any], str]] = {
    "no geometry": ({"geometry": None}, "its geometry is null"),
    "before all time": ({"properties": {"datetime": "0000-06-01T00:00:00Z"}}, "which is no RFC 3339 time"),
    "after all time": ({"properties": {"datetime": "10000-01-01T00:00:00Z"}}, "which is no RFC 3339 time"),
    "no such day": ({"properties": {"datetime": "2023-02-29T00:00:00Z"}}, "which is no RFC 3339 time"),
    "leaves time": ({"properties": {"datetime": "9999-12-31T23:00:00-05:00"}}, "which is no RFC 3339 time"),
    "ends first": (
        {
            "properties": {
                "datetime": None,
                "start_datetime": "2020-01-02T00:00:00Z",
                "end_datetime": "2020-01-01T00:00:00Z",
            }
        },
        "it ends (2020-01-01T00:00:00Z) before it starts (2020-01-02T00:00:00Z)",
    ),
    "twice": ({"bbox": [0, 0, 3, 3]}, "came twice in this run with different content: make the ids differ"),
}


def test_each_kind_of_bad_item_has_its_line_and_its_reason(yard: Yard, tmp_path: Path) -> None:
    first, last = ({"properties": {"datetime": f"{time}Z"}} for time in ("0001-01-01T00:00:00", "9999-12-31T23:59:59"))
    good = {"good": {}, "twice": {}, "first of all": first, "last of all": last}
    path = tmp_path / "items.ndjson"
    named = [*good.items(), *((name, changes) for name, (changes, _) in BAD_ITEMS.items())]
    path.write_bytes(b"\n".join(orjson.dumps({**ITEM, "id": name, **changes}) for name, changes in named))
    collection, summary = ingested(yard, tmp_path, path)
    assert (summary.counts.loaded, summary.counts.rejected) == (len(good), len(BAD_ITEMS))
    reasons = {outcome.item_id: outcome.reason for outcome in summary.outcomes}
    for line, (name, (_, reason)) in enumerate(BAD_ITEMS.items(), start=len(good) + 1):
        assert reasons[name].startswith(f"line {line} of {path}: ")
        assert reason in reasons[name]
    items = yard.items(collection)
    assert items.keys() == good.keys()
    assert items["twice"]["bbox"] == ITEM["bbox"]
    assert items["last of all"]["properties"]["datetime"] == "9999-12-31T23:59:59Z"  # type: ignore[index]


def test_an_item_of_200_mb_is_named_and_the_file_beside_it_is_loaded(yard: Yard, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    head, tail = orjson.dumps({**ITEM, "id": "huge", "text": "#"}).split(b"#")
    with (source / "huge.json").open("wb") as file:
        file.write(head)
        for _ in range(200):
            file.write(b"x" * 2**20)
        file.write(tail)
    (source / "small.json").write_bytes(orjson.dumps({**ITEM, "id": "small"}))
    collection, summary = ingested(yard, tmp_path, source)
    shutil.rmtree(source)
    assert (summary.counts.loaded, summary.counts.rejected) == (1, 1)
    assert "of more than 16 MB: leave out what no client reads" in summary.outcomes[0].reason
    assert list(yard.items(collection)) == ["small"]


def test_links_in_a_circle_neither_hang_a_run_nor_double_what_is_there(yard: Yard, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    write(source / "deep" / "good.tif")
    (source / "deep" / "up").symlink_to(source, target_is_directory=True)
    (source / "self.tif").symlink_to(source / "self.tif")
    recipe = tmp_path / "recipe.yaml"
    collection = yard.collection_id("loop")
    recipe.write_text(RECIPE.format(collection=collection))
    summary = yard.ingest(recipe, source)
    assert (summary.counts.loaded, summary.counts.rejected) == (1, 1)
    assert "self.tif cannot be read: Too many levels of symbolic links" in summary.outcomes[0].reason
    assert list(yard.items(collection)) == ["good"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ((503, "SlowDown"), "does not answer (SlowDown); run the same command again, which goes on"),
        ((400, "ExpiredToken"), "refuses the credentials (ExpiredToken): renew them and run the same command again"),
    ],
)
def test_a_listing_that_fails_in_the_middle_keeps_what_it_had_and_goes_on_from_there(
    fault: tuple[int, str], reason: str, yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    with s3_bucket(monkeypatch) as bucket:
        # a page has 1,000 keys
        for number in range(980):
            bucket.put(f"in/a{number}.txt")
        for number in range(30):
            bucket.put(f"in/i{number}.json", orjson.dumps({**ITEM, "id": f"i{number}"}))
        collection = yard.collection_id("listing")
        recipe = recipe_of("naip", collection, tmp_path / "recipe.yaml")
        source: Path = f"s3://{bucket.name}/in/"  # type: ignore[assignment]
        bucket.fault = lambda method, _, query: (
            fault if "continuation-token" in query or "start-after" in query else None
        )
        with pytest.raises(SourceError) as stopped:
            yard.ingest(recipe, source)
        assert reason in str(stopped.value)
        [counts] = [counts for each, counts in list_runs(platform=yard.platform) if each.collection == collection]
        assert counts.add_up
        # what was found since the last writing is found again
        assert 10 < counts.discovered <= 20
        asked: list[str] = []
        bucket.fault = lambda method, _, query: asked.append(query) if "list-type" in query else None
        summary = yard.ingest(recipe, source)
        assert (summary.exit_code, summary.counts.discovered, summary.counts.loaded) == (0, 30, 30)
        assert "start-after" in asked[0], "it began at the beginning"
        assert len(yard.items(collection)) == 30


def test_a_credential_that_expires_in_the_middle_stops_a_run_that_goes_on_later(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_bucket(monkeypatch) as bucket:
        for number in range(12):
            path = tmp_path / f"i{number:02}.tif"
            write(path, values=np.full((16, 16), number + 1, "uint16"))
            bucket.put(f"in/{path.name}", path.read_bytes())
        collection = yard.collection_id("expired")
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(RECIPE.format(collection=collection))
        source: Path = f"s3://{bucket.name}/in/"  # type: ignore[assignment]
        bucket.fault = lambda method, path, _: (400, "ExpiredToken") if method == "GET" and "i07" in path else None
        with pytest.raises(RunStopped, match="renew them and run the same command again"):
            yard.ingest(recipe, source)
        bucket.fault = None
        summary = yard.ingest(recipe, source)
        assert (summary.exit_code, summary.counts.loaded) == (0, 12)
        assert len(yard.items(collection)) == 12
