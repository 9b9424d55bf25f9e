"""The quality rules: told right on pixels whose truth is known, kept with the item and with the task."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import rasterio
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.quality import anomalies, by_threshold, clear_series, learnt_threshold, read_series
from stacyard.ingestor.errors import RecipeError, Rejected
from stacyard.ingestor.pipeline import Prepared, Workshop, prepare
from stacyard.ingestor.queue import Task
from stacyard.ingestor.recipe import Asset, CloudRule, Quality, load_recipe, parse_recipe
from stacyard.ingestor.stages.anomalies import MOST_SCORE, Observation, anomaly_score, days_of_year_between, robust_z
from stacyard.ingestor.stages.clouds import cloud_cover
from stacyard.ingestor.stages.inspect import inspect
from stacyard.ingestor.stages.quality import judge

from .conftest import DEMO, Yard, recipe_of

BASIS = """
collection: {{id: {collection}, title: t, description: d, license: other}}
kind: imagery
files: {{pattern: '(?P<name>.+)\\.tif', item: '{{name}}'}}
time: {{datetime: 2020-06-01}}
assets:
  data: {{nodata: 0}}
properties: {{platform: {platform}}}
quality:
  {quality}
"""
finite = st.floats(-1e6, 1e6, allow_nan=False)


def write(path: Path, values: np.ndarray, *, x: float = 5e5, pixel: float = 10, **options: Any) -> Path:
    profile = {"driver": "GTiff", "width": values.shape[1], "height": values.shape[0], "count": 1}
    transform = Affine(pixel, 0, x, 0, -pixel, 5e6)
    with rasterio.open(
        path, "w", **profile, dtype=values.dtype, crs="EPSG:32633", transform=transform, **options
    ) as dataset:
        dataset.write(values, 1)
    return path


# -- clouds


def test_scene_classes_qa_bits_and_masks_give_the_share_that_was_painted(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    scl = random.choice(np.arange(12, dtype="uint8"), (700, 900))
    qa = random.integers(0, 2**16, (700, 900), dtype="uint16")
    mask = random.choice(np.array([0, 1, 2, 255], dtype="uint8"), (700, 900))
    paths = {
        "scl": write(tmp_path / "scl.tif", scl, tiled=True, blockxsize=256, blockysize=256),
        "qa": write(tmp_path / "qa.tif", qa),
        "mask": write(tmp_path / "mask.tif", mask, nodata=255),
    }

    def share(cloud: np.ndarray, known: np.ndarray) -> float:
        return round(100 * int((cloud & known).sum()) / int(known.sum()), 2)

    def told(**rule: Any) -> float | None:
        return cloud_cover(paths, CloudRule.model_validate(rule))

    clouds = (scl == 3) | (scl == 8) | (scl == 9) | (scl == 10)
    assert told(kind="scl", asset="scl") == share(clouds, scl > 0)
    assert told(kind="scl", asset="scl", values=[9]) == share(scl == 9, scl > 0)
    bits = {name: (qa // 2**bit) % 2 == 1 for name, bit in (("dilated_cloud", 1), ("cirrus", 2), ("cloud", 3))}
    shadow, seen = (qa // 16) % 2 == 1, qa % 2 == 0
    assert told(kind="landsat_qa", asset="qa") == share(np.logical_or.reduce([*bits.values(), shadow]), seen)
    assert told(kind="landsat_qa", asset="qa", bits=["cloud"]) == share(bits["cloud"], seen)
    assert told(asset="mask") == share(mask == 1, mask != 255)
    assert told(asset="mask", values=[1, 2]) == share((mask == 1) | (mask == 2), mask != 255)
    between = told(kind="threshold", thresholds={"scl": {"min": 8}, "mask": {"max": 1}})
    assert between == share((scl >= 8) & (mask <= 1), mask != 255)


def test_a_mask_that_knows_no_pixel_tells_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "scl.tif", np.zeros((9, 9), "uint8"))
    assert cloud_cover({"scl": path}, CloudRule(kind="scl", asset="scl")) is None
    assert cloud_cover({}, CloudRule(asset="clouds")) is None


def test_rasters_of_different_grids_are_not_compared(tmp_path: Path) -> None:
    values = np.ones((8, 8), "uint16")
    paths = {"red": write(tmp_path / "r.tif", values), "nir": write(tmp_path / "n.tif", values, pixel=20)}
    rule = CloudRule.model_validate({"kind": "threshold", "thresholds": {"red": {"min": 1}, "nir": {"min": 1}}})
    with pytest.raises(Rejected, match=r"'red' and 'nir' lie on different grids.*assets of one resolution"):
        cloud_cover(paths, rule)
    with pytest.raises(Rejected, match=r"has 1 bands, quality\.cloud reads number 2"):
        cloud_cover(paths, CloudRule(asset="red", band=2))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("cloud: {kind: threshold, asset: data}", "kind threshold takes thresholds and no asset"),
        ("cloud: {kind: scl}", "kind scl takes an asset and no thresholds"),
        ("cloud: {asset: data, bits: [cloud]}", "bits are of kind landsat_qa, not of mask"),
        ("cloud: {kind: landsat_qa, asset: data, values: [1]}", "values are of kind mask or scl"),
        ("cloud: {kind: threshold, thresholds: {data: {}}}", "give min, max, or both"),
        ("cloud: {asset: mask}", "'mask' is used but not among assets"),
        ("anomaly: {asset: ndvi}", "'ndvi' is used but not among assets"),
        ("footprint: {within: [10, 50, 11, 40]}", "is no box: write west, south, east, north"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_with_the_remedy(rule: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        parse_recipe(BASIS.format(collection="c", platform="p", quality=rule), "recipe.yaml")


def test_ndvi_thresholds_are_as_good_as_the_documents_say() -> None:
    dates = read_series()
    pixels, items = by_threshold(dates, 0.1)
    assert (len(dates), pixels.precision > 0.92, pixels.recall > 0.56) == (68, True, True)
    assert (items.precision > 0.99, items.recall > 0.55) == (True, True)
    learnt = learnt_threshold([date for date in dates if date.time.year < 2017])
    unseen, _ = by_threshold([date for date in dates if date.time.year == 2017], learnt)
    assert (unseen.precision > 0.61, unseen.recall > 0.83) == (True, True)


# -- anomalies


@settings(max_examples=200, deadline=None)
@given(finite, st.lists(finite, min_size=1, max_size=30))
def test_the_score_is_that_of_the_formula(value: float, series: list[float]) -> None:
    middle = float(np.median(series))
    mad = float(np.median(np.abs(np.array(series) - middle)))
    assume(mad > 1e-3)
    assert robust_z(value, series) == pytest.approx(
        max(-MOST_SCORE, min(MOST_SCORE, 0.6745 * (value - middle) / mad)), rel=1e-9
    )


@settings(max_examples=100, deadline=None)
@given(
    st.integers(-1000, 1000), st.lists(st.integers(-1000, 1000), min_size=1, max_size=30), st.integers(1, 50), finite
)
def test_the_score_does_not_depend_on_scale_offset_or_order(
    value: int, series: list[int], scale: int, offset: float
) -> None:
    score = robust_z(value, series)
    assert math.isfinite(score)
    assert robust_z(value, series[::-1]) == score
    offset = round(offset)
    assert robust_z(scale * value + offset, [scale * each + offset for each in series]) == pytest.approx(score)
    assert robust_z(-value, [-each for each in series]) == pytest.approx(-score)


def test_a_series_without_spread_still_gives_a_number() -> None:
    assert robust_z(5, [5, 5, 5]) == 0
    assert robust_z(6, [5, 5, 5]) == MOST_SCORE
    assert robust_z(4, [5, 5, 5]) == -MOST_SCORE
    # MAD is 0, the mean absolute deviation 1
    assert robust_z(9, [5, 5, 5, 9]) == pytest.approx(4 * math.sqrt(2 / math.pi))


def test_a_season_goes_round_the_turn_of_the_year_and_needs_enough_items() -> None:
    def day(year: int, month: int, day: int) -> datetime:
        return datetime(year, month, day, tzinfo=UTC)

    assert days_of_year_between(day(2019, 12, 31), day(2024, 1, 2)) == pytest.approx(2.25)
    assert days_of_year_between(day(2019, 6, 1), day(2019, 6, 11)) == 10
    winter = [Observation(time=day(2000 + n, 1, 5), value=n) for n in range(5)]
    summer = [Observation(time=day(2000 + n, 7, 5), value=100 + n) for n in range(5)]
    seen = Observation(time=day(2020, 12, 30), value=104)
    in_season = anomaly_score(seen, winter + summer, min_count=5, season_days=20)
    assert in_season == robust_z(104, [each.value for each in winter])
    assert anomaly_score(seen, winter + summer, min_count=6, season_days=20) is None
    assert anomaly_score(seen, winter + summer, min_count=6) is not None


def test_planted_faults_are_found_as_often_as_the_documents_say() -> None:
    clear = clear_series(read_series())
    fared = {kind: (judged, each) for kind, judged, each in anomalies(clear, season_days=45)}
    assert len(clear) == 36
    for kind in ("NDVI 0.3 too high", "lower half 0", "picture of another season"):
        judged, each = fared[kind]
        assert (judged, each.wrong) == (28, 0), kind
        assert each.recall > 0.58, kind
        assert each.right / judged > 0.74, kind


# -- the rules, from files to the catalog


def prepared(yard: Yard, recipe: Path, files: dict[str, Path], item: str, *, fields: dict[str, str]) -> Prepared:
    """What the stages make of one task, as the run and its ledger get it."""
    yard.settings.work_directory.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(
        recipe=load_recipe(recipe),
        assets=yard.storage.assets,
        directory=yard.settings.work_directory,
        database_url=yard.database.url("ingest"),
        patience_seconds=1,
        threads=1,
    )
    source = {"files": {key: str(path) for key, path in files.items()}, "fields": fields}
    return prepare(Task(id=1, key="k", item_id=item, source=source, attempts=1), workshop)


def verdicts(done: Prepared) -> dict[str, dict[str, Any]]:
    assert orjson.loads(orjson.dumps(done.report)) == done.report, "the ledger keeps JSON"
    return {each["rule"]: each for each in done.report["verdicts"]}


HERE = "[14.9, 44.9, 15.2, 45.3]"
RULES = {
    "valid": ("min_valid_percent: 60", "min_valid_percent: 40", "50.0 % valid pixels; at least 60 %"),
    "crs": ("crs: {codes: ['EPSG:3857']}", "crs: {codes: ['EPSG:32633']}", "is in EPSG:32633; .* asks for EPSG:3857"),
    "footprint": (
        "footprint: {within: [100, 44, 101, 46]}",
        f"footprint: {{within: {HERE}}}",
        "0 % of the footprint is inside 100, 44, 101, 46",
    ),
    "values": (
        "values: {data: {min_mean: 20}}",
        "values: {data: {min: 1, max: 10, min_mean: 5, max_mean: 6, min_stddev: 1, max_stddev: 9}}",
        "the mean 5.5, below the 20 of quality.values",
    ),
    "cloud": (
        "cloud: {kind: threshold, thresholds: {data: {min: 10}}, max_percent: 5}",
        "cloud: {kind: threshold, thresholds: {data: {min: 10}}, max_percent: 10}",
        "10 % is cloud; at most 5 % are allowed",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_rejects_or_warns_and_its_verdict_is_kept(yard: Yard, tmp_path: Path, rule: str) -> None:
    values = np.zeros((40, 50), "uint8")
    # half of it is valid, a tenth of that is 10
    values[:20] = np.arange(1000).reshape(20, 50) % 10 + 1
    path = write(tmp_path / "a.tif", values)
    broken, kept, reason = RULES[rule]
    recipe = tmp_path / "recipe.yaml"

    def told(quality: str) -> Prepared:
        recipe.write_text(BASIS.format(collection=yard.collection_id("rules"), platform="p", quality=quality))
        return prepared(yard, recipe, {"data": path}, "a", fields={"name": "a"})

    rejected = told(broken)
    assert rejected.item is None
    assert not verdicts(rejected)[rule]["passed"]
    assert verdicts(rejected)["readable"]["passed"], "what was found before is kept too"
    with pytest.raises(Rejected, match=reason):
        raise Rejected(str(rejected.rejected))
    assert not list(Path(tmp_path / "assets").rglob("*.tif")), "what is rejected is not published"
    passed = told(kept)
    assert passed.item is not None, passed
    assert verdicts(passed)[rule]["passed"]
    assert passed.item["properties"]["stacyard:warnings"] == []
    if rule != "valid":
        warned = told(broken.removesuffix("}") + ", severity: warn}" if rule != "values" else warned_values(broken))
        assert warned.item is not None, warned
        assert warned.item["properties"]["stacyard:warnings"] == [rule]
        [kept_verdict] = [each for each in warned.item["properties"]["stacyard:quality"] if not each["passed"]]
        assert kept_verdict["rule"] == rule
        assert kept_verdict["value"] == verdicts(warned)[rule]["value"]


def warned_values(rule: str) -> str:
    return rule.replace("min_mean: 20", "min_mean: 20, severity: warn")


def test_a_box_across_the_antimeridian_holds_what_lies_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 40, "height": 40, "count": 1, "dtype": "uint8", "crs": "EPSG:4326"}
    with rasterio.open(path, "w", **profile, transform=Affine(0.1, 0, 178, 0, -0.1, 2)) as dataset:
        dataset.write(np.ones((40, 40), "uint8"), 1)
    reports = {"data": inspect(path)}

    def inside(*within: float) -> dict[str, float]:
        rules = Quality.model_validate({"footprint": {"within": within, "min_inside_percent": 0}})
        verdict = judge(reports=reports, assets={"data": Asset()}, rules=rules).verdicts[-1]
        assert verdict.rule == "footprint"
        return dict(verdict.value)

    assert inside(178, -2, -178, 2) == {"inside_percent": 100, "covered_percent": 100}
    assert inside(179, -2, -178, 2)["inside_percent"] == 75
    assert inside(170, -2, 180, 2) == {"inside_percent": 50, "covered_percent": 20}
    assert inside(-178, -2, 178, 2)["inside_percent"] == 0


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_cannot_be_read_or_placed_has_its_verdict_too(yard: Yard, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(BASIS.format(collection="c", platform="p", quality="min_valid_percent: 1"))
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0 and no more")
    done = prepared(yard, recipe, {"data": path}, "a", fields={"name": "a"})
    assert (verdicts(done)["readable"]["passed"], verdicts(done)["readable"]["asset"]) == (False, "data")
    path.unlink()
    with rasterio.open(path, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8") as dataset:
        dataset.write(np.ones((1, 2, 2), "uint8"))
    done = prepared(yard, recipe, {"data": path}, "a", fields={"name": "a"})
    assert not verdicts(done)["crs"]["passed"]
    assert "readable" not in verdicts(done)


def test_the_same_scene_from_another_source_is_found_and_its_neighbour_is_not(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("scenes")
    recipe, source = tmp_path / "recipe.yaml", tmp_path / "source"
    source.mkdir()
    rule = "duplicate: {seconds: 60, min_overlap_percent: 80}"
    text = BASIS.format(collection=collection, platform="landsat-8", quality=rule)
    recipe.write_text(text)
    values = np.ones((100, 100), "uint8")
    write(source / "first.tif", values)
    assert yard.ingest(recipe, source).counts.loaded == 1

    def told(name: str, *, x: float = 5e5, text: str = text) -> Prepared:
        recipe.write_text(text)
        path = write(tmp_path / f"{name}.tif", values, x=x)
        return prepared(yard, recipe, {"data": path}, name, fields={"name": name})

    again = told("second", x=5e5 + 50)
    assert again.rejected is not None
    assert f"the catalog has this scene as {collection}/first" in again.rejected
    assert verdicts(again)["duplicate"]["value"] == [f"{collection}/first"]
    assert told("first").rejected is None, "an item is no duplicate of itself"
    assert told("neighbour", x=5e5 + 500).rejected is None
    assert told("later", text=text.replace("2020-06-01", "2020-06-01T00:01:01Z")).rejected is None
    assert told("soon", text=text.replace("2020-06-01", "2020-06-01T00:01:00Z")).rejected is not None
    assert told("earlier", text=text.replace("2020-06-01", "2020-05-31T23:58:59Z")).rejected is None
    assert told("before", text=text.replace("2020-06-01", "2020-05-31T23:59:00Z")).rejected is not None
    assert told("other", text=text.replace("landsat-8", "landsat-9")).rejected is None
    elsewhere = text.replace(f"id: {collection}", f"id: {collection}-b")
    assert told("copy", text=elsewhere).rejected is None
    both = elsewhere.replace("80}", f"80, collections: [{collection}]}}")
    assert told("copy", text=both).rejected is not None


ANOMALY = """
  anomaly:
    asset: ndvi
    season_days: 45
    min_count: 8

renders:"""


def summers() -> Iterator[str]:
    for date in clear_series(read_series()):
        if 5 <= date.time.month <= 10:
            yield f"{date.time:%Y%m%dT%H%M%S}"


def searched(yard: Yard, collection: str, operator: str, name: str, value: Any) -> set[str]:
    """Ids that pgSTAC's own search finds by a property."""
    narrowed = {"op": "=", "args": [{"property": "collection"}, collection]}
    compared = {"op": operator, "args": [{"property": name}, value]}
    search = {"filter-lang": "cql2-json", "filter": {"op": "and", "args": [narrowed, compared]}, "limit": 100}
    [row] = yard.query("SELECT pgstac.search(%s) AS found", orjson.dumps(search).decode())
    return {feature["id"] for feature in row["found"]["features"]}  # type: ignore[index]


def test_a_planted_anomaly_stands_out_of_the_catalogs_own_series(yard: Yard, tmp_path: Path) -> None:
    collection, source, dates = yard.collection_id("ndvi"), tmp_path / "ndvi", list(summers())
    source.mkdir()
    assert len(dates) > 15
    judged = dates[-8]
    for date in dates:
        for product in ("NDVI", "CLM") if date != judged else ():
            shutil.copy(DEMO / "sentinel2_ndvi" / f"S2_{product}_{date}.tif", source)
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml", **{"\nrenders:": ANOMALY})
    assert yard.ingest(recipe, source).counts.loaded == len(dates) - 1
    files = {
        "ndvi": tmp_path / f"S2_NDVI_{judged}.tif",
        "clouds": DEMO / "sentinel2_ndvi" / f"S2_CLM_{judged}.tif",
    }
    original = DEMO / "sentinel2_ndvi" / files["ndvi"].name

    def told() -> dict[str, Any]:
        done = prepared(yard, recipe, files, f"S2_{judged}", fields={"time": judged, "product": "CLM"})
        assert done.item is not None, done
        assert verdicts(done)["anomaly"]["value"] == done.item["properties"].get("stacyard:anomaly_score")
        return done.item["properties"]

    with rasterio.open(original) as dataset:
        profile, ndvi = dataset.profile, dataset.read()
    shutil.copy(original, files["ndvi"])
    usual = told()
    assert abs(usual["stacyard:anomaly_score"]) < 3.5
    assert usual["stacyard:warnings"] == []
    ndvi[:, 50:] = 0
    with rasterio.open(files["ndvi"], "w", **profile) as dataset:
        dataset.write(ndvi)
    broken = told()
    assert broken["stacyard:anomaly_score"] < -3.5
    assert broken["stacyard:warnings"] == ["anomaly"]
    # the catalog's series gives what the pure function says of the files
    times = [datetime.strptime(date, "%Y%m%dT%H%M%S").replace(tzinfo=UTC) for date in dates]
    values = {}
    for date, time in zip(dates, times, strict=True):
        with rasterio.open(DEMO / "sentinel2_ndvi" / f"S2_NDVI_{date}.tif") as dataset:
            values[time] = float(dataset.read(1, masked=True).mean())
    now = times[dates.index(judged)]
    others = [Observation(time=time, value=value) for time, value in values.items() if time != now]
    expected = anomaly_score(Observation(time=now, value=float(ndvi.mean())), others, min_count=8, season_days=45)
    assert broken["stacyard:anomaly_score"] == pytest.approx(expected, abs=0.002)
    # loaded, it is found by what its rules said; what the others said depends on the order in which they came
    shutil.copy(files["ndvi"], source)
    shutil.copy(files["clouds"], source)
    assert yard.ingest(recipe, source).counts.loaded == len(dates)
    items = yard.items(collection)
    warned = {item_id for item_id, item in items.items() if "anomaly" in item["properties"]["stacyard:warnings"]}
    low = {item_id for item_id, item in items.items() if item["properties"].get("stacyard:anomaly_score", 0) < -3.5}
    assert f"S2_{judged}" in warned & low
    assert searched(yard, collection, "a_contains", "stacyard:warnings", ["anomaly"]) == warned
    assert searched(yard, collection, "<", "stacyard:anomaly_score", -3.5) == low
    # cloudy items neither judge nor are judged
    files["clouds"] = DEMO / "sentinel2_ndvi" / "S2_CLM_20171222T100415.tif"
    assert "stacyard:anomaly_score" not in told()
    yard.query(
        "UPDATE pgstac.items SET content = jsonb_set(content, '{properties,eo:cloud_cover}', '21') "
        "WHERE collection = %s RETURNING id",
        collection,
    )
    files["clouds"] = DEMO / "sentinel2_ndvi" / f"S2_CLM_{judged}.tif"
    assert "stacyard:anomaly_score" not in told()
