"""Whatever comes in, its pixels and what they mean come out, as a COG of the compressor that the table says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Compression, MaskFlags, Resampling
from rio_cogeo.cogeo import cog_validate

from stacyard.ingestor.errors import RecipeError, Rejected
from stacyard.ingestor.recipe import Asset, Band, Conversion, parse_recipe
from stacyard.ingestor.stages import formats
from stacyard.ingestor.stages.convert import to_cog
from stacyard.ingestor.stages.inspect import accept

PLACE = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
CHANCE = np.random.default_rng(7)
ROWS, COLUMNS = 700, 1100
Pixels = NDArray[Any]


def write(path: Path, pixels: Pixels, **profile: Any) -> None:
    bands, rows, columns = pixels.shape
    shape = {"driver": "GTiff", "count": bands, "height": rows, "width": columns, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **{**PLACE, **shape, **profile}) as dataset:
        dataset.write(pixels)


def noise(bands: int, data_type: str, low: int = 1, high: int = 250) -> Pixels:
    return CHANCE.integers(low, high, (bands, ROWS, COLUMNS)).astype(data_type)


def convert(source: Path, asset: Asset | None = None, conversion: Conversion | None = None) -> Path:
    """The COG, which is valid, and nothing is left beside it."""
    target = source.parent / "out" / "cog.tif"
    target.parent.mkdir(exist_ok=True)
    accept(source, asset or Asset())
    to_cog(source, target, asset or Asset(), conversion or Conversion(), threads=2)
    with rasterio.open(target) as dataset:
        is_line = min(dataset.shape) == 1
    # strictly, a line of more than 512 pixels should have overviews, but it cannot
    assert cog_validate(str(target), strict=not is_line, quiet=True)[0]
    assert list(target.parent.iterdir()) == [target]
    return target


@dataclass(frozen=True)
class Kind:
    """A way to make a source file and its pixels, what the recipe says, and what must come out."""

    make: Callable[[Path], Pixels]
    name: str = "source.tif"
    asset: Asset = field(default_factory=Asset)
    compression: Compression = Compression.deflate
    predictor: str | None = "2"
    overviews: str = "AVERAGE"
    holds: Callable[[rasterio.DatasetReader], bool] = lambda _: True


def drone(path: Path) -> Pixels:
    pixels = noise(4, "uint8")
    pixels[3] = np.where(pixels[3] > 60, 255, 0)
    write(path, pixels, photometric="RGB", alpha="yes")
    return pixels


def reflectance(path: Path) -> Pixels:
    pixels = noise(1, "uint16", 0, 9000)
    write(path, pixels, nodata=0)
    return pixels


def scaled(path: Path) -> Pixels:
    pixels = noise(2, "int16", -9000, 9000)
    write(path, pixels, nodata=-32768)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001, 0.5), (0.0, -3.0)
        dataset.units, dataset.descriptions = ("1", "K"), ("ndvi", "heat")
    return pixels


def measured(path: Path) -> Pixels:
    pixels = CHANCE.normal(size=(1, ROWS, COLUMNS)).astype("float32")
    pixels[:, 100:200, 300:500] = np.nan
    write(path, pixels)
    return pixels


def coloured(path: Path) -> Pixels:
    pixels = noise(1, "uint8", 0, 3)
    write(path, pixels)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {0: (0, 0, 0, 255), 1: (9, 99, 9, 255), 2: (250, 240, 9, 255)})
    return pixels


def classes(path: Path) -> Pixels:
    pixels = noise(1, "uint8", 0, 9)
    write(path, pixels, nodata=255)
    return pixels


def bits(path: Path) -> Pixels:
    pixels = noise(1, "uint8", 0, 2)
    write(path, pixels, nbits=1)
    return pixels


def masked(path: Path) -> Pixels:
    pixels = noise(3, "uint8")
    write(path, pixels, photometric="RGB")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 3 > 0)
    return pixels


def lines(path: Path) -> Pixels:
    pixels = noise(1, "uint16", 0, 65535)
    write(path, pixels, compress="lzw", blockysize=1)
    return pixels


def complex_numbers(path: Path) -> Pixels:
    pixels = (noise(1, "float32") + 1j * noise(1, "float32")).astype("complex64")
    write(path, pixels)
    return pixels


def whole(path: Path) -> Pixels:
    pixels = noise(1, "int64", -(2**60), 2**60)
    write(path, pixels)
    return pixels


def jpeg2000(path: Path) -> Pixels:
    pixels = noise(3, "uint16", 0, 9000)
    write(path.with_suffix(".tif"), pixels)
    rasterio.shutil.copy(
        str(path.with_suffix(".tif")), str(path), driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES"
    )
    path.with_suffix(".tif").unlink()
    return pixels


def variables(path: Path) -> Pixels:
    """A netCDF file of three variables; the second is meant."""
    pixels = CHANCE.normal(size=(3, ROWS, COLUMNS)).astype("float32")
    write(path.with_suffix(".tif"), pixels, nodata=-9999)
    rasterio.shutil.copy(str(path.with_suffix(".tif")), str(path), driver="netCDF", FORMAT="NC4")
    path.with_suffix(".tif").unlink()
    return pixels[1:2]


def variable(path: Path) -> Pixels:
    """A netCDF file of one variable, which GDAL shows as the file itself."""
    pixels = noise(1, "int16", -9000, 9000)
    write(path.with_suffix(".tif"), pixels, nodata=-1)
    rasterio.shutil.copy(str(path.with_suffix(".tif")), str(path), driver="netCDF")
    path.with_suffix(".tif").unlink()
    return pixels


def stack(path: Path) -> Pixels:
    """Five bands, of which the recipe takes two in another order."""
    pixels = noise(5, "uint16", 0, 9000)
    write(path, pixels, nodata=0, photometric="MINISBLACK")
    return pixels[[3, 1]]


def is_scaled(dataset: rasterio.DatasetReader) -> bool:
    facts = (dataset.scales, dataset.offsets, dataset.units, dataset.descriptions, dataset.nodata)
    return facts == ((0.0001, 0.5), (0.0, -3.0), ("1", "K"), ("ndvi", "heat"), -32768)


def is_masked(dataset: rasterio.DatasetReader) -> bool:
    expected = np.where(np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 3 > 0, 255, 0)
    return bool((dataset.dataset_mask() == expected).all())


KINDS = {
    "drone": Kind(drone, holds=lambda dataset: dataset.colorinterp[3] == ColorInterp.alpha),
    "reflectance": Kind(reflectance, holds=lambda dataset: dataset.nodata == 0),
    "scaled": Kind(scaled, holds=is_scaled),
    "measured": Kind(
        measured,
        compression=Compression.zstd,
        predictor="3",
        holds=lambda dataset: np.isnan(dataset.nodata) and not np.isnan(dataset.read(1, out_shape=(175, 275))).all(),
    ),
    "coloured": Kind(
        coloured, predictor=None, overviews="MODE", holds=lambda dataset: dataset.colormap(1)[1] == (9, 99, 9, 255)
    ),
    "classes": Kind(classes, asset=Asset(categorical=True), predictor=None, overviews="MODE"),
    "bits": Kind(bits, predictor=None, overviews="MODE"),
    "masked": Kind(masked, holds=is_masked),
    "lines": Kind(lines),
    "complex": Kind(complex_numbers, compression=Compression.zstd, predictor=None),
    "whole": Kind(whole),
    "jpeg2000": Kind(jpeg2000, name="source.jp2"),
    "variables": Kind(
        variables,
        name="source.nc",
        asset=Asset(subdataset="Band2", bands=[Band(name="ndvi")]),
        compression=Compression.zstd,
        predictor="3",
        holds=lambda dataset: dataset.descriptions == ("ndvi",) and dataset.nodata == -9999,
    ),
    "variable": Kind(variable, name="source.nc", asset=Asset(subdataset="Band1")),
    "stack": Kind(
        stack,
        asset=Asset(indexes=[4, 2], bands=[Band(name="nir"), Band(name="green")]),
        holds=lambda dataset: dataset.descriptions == ("nir", "green") and dataset.nodata == 0,
    ),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_pixels_and_their_meaning_survive(kind: Kind, tmp_path: Path) -> None:
    source = tmp_path / kind.name
    pixels = kind.make(source)
    with rasterio.open(convert(source, kind.asset)) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
        assert dataset.dtypes[0] == pixels.dtype
        assert (dataset.crs.to_epsg(), dataset.transform) == (32633, PLACE["transform"])
        assert dataset.compression == kind.compression
        assert dataset.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR") == kind.predictor
        assert dataset.overviews(1) == [2, 4]
        assert dataset.tags()["OVERVIEW_RESAMPLING"] == kind.overviews
        assert kind.holds(dataset)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data_type=st.sampled_from(["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]),
    bands=st.integers(1, 5),
    rows=st.integers(1, 600),
    columns=st.integers(1, 600),
    tiled=st.booleans(),
    compression=st.sampled_from(["auto", "deflate", "zstd", "lzw", "lerc"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_whatever_the_shape_pixels_survive(
    data_type: str, bands: int, rows: int, columns: int, tiled: bool, compression: Any, seed: int, tmp_path: Path
) -> None:
    raw = np.random.default_rng(seed).bytes(bands * rows * columns * np.dtype(data_type).itemsize)
    pixels = np.frombuffer(raw, dtype=data_type).reshape(bands, rows, columns)
    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels)
    source = tmp_path / "source.tif"
    source.unlink(missing_ok=True)
    write(source, pixels, tiled=tiled, photometric="MINISBLACK")
    with rasterio.open(convert(source, conversion=Conversion(compression=compression))) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)


def overview(path: Path, bands: int = 1) -> Pixels:
    with rasterio.open(path, overview_level=0) as dataset:
        return dataset.read(range(1, bands + 1))


def test_overviews_average_amounts_and_keep_classes_whatever_the_source_had(tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    corner = np.array([[1, 1, 9, 9], [1, 9, 9, 5]], dtype="uint8")
    pixels = np.tile(corner, (ROWS // 2, COLUMNS // 4))[np.newaxis]
    write(source, pixels, tiled=True)
    with rasterio.open(source, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.nearest)
    assert set(np.unique(overview(source))) == {1, 9}
    assert set(np.unique(overview(convert(source)))) == {3, 8}
    assert set(np.unique(overview(convert(source, Asset(categorical=True))))) == {1, 9}
    assert set(np.unique(overview(convert(source, conversion=Conversion(resampling="nearest"))))) == {1, 9}


def test_missing_pixels_do_not_bleed_into_overviews(tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    holes = np.zeros((ROWS, COLUMNS), dtype=bool)
    holes[::2, ::2] = True
    amounts = np.full((1, ROWS, COLUMNS), 7, dtype="float32")
    amounts[0, holes] = np.nan
    write(source, amounts)
    assert set(np.unique(overview(convert(source)))) == {7}
    colours = np.full((4, ROWS, COLUMNS), 200, dtype="uint8")
    colours[3] = 255
    colours[:, holes] = 0
    write(source, colours, photometric="RGB", alpha="yes")
    assert set(np.unique(overview(convert(source), 3))) == {200}


def test_a_valid_cog_is_copied_and_anything_less_is_not(tmp_path: Path) -> None:
    source, cog = tmp_path / "source.tif", tmp_path / "cog.tif"
    write(source, noise(1, "uint8"), nodata=0)
    rasterio.shutil.copy(str(source), str(cog), driver="COG", COMPRESS="LZW")
    as_it_is = cog.read_bytes()
    for asset in (Asset(), Asset(nodata=0, crs="EPSG:4326")):
        assert convert(cog, asset).read_bytes() == as_it_is
    changed = [Asset(nodata=1), Asset(bands=[Band(name="red")]), Asset(categorical=True), Asset(indexes=[1])]
    for asset in changed:
        assert convert(cog, asset).read_bytes() != as_it_is
    # what we made of classes says how its overviews were made, and so need not be made again
    made = shutil.copy(convert(cog, Asset(categorical=True)), tmp_path / "made.tif")
    assert convert(made, Asset(categorical=True), Conversion(compression="lzw")).read_bytes() == made.read_bytes()
    # what a file beside it says is a part of it
    beside = '<PAMDataset><PAMRasterBand band="1"><Description>red</Description></PAMRasterBand></PAMDataset>'
    cog.with_name("cog.tif.aux.xml").write_text(beside)
    with rasterio.open(convert(cog)) as dataset:
        assert dataset.descriptions == ("red",)


def test_lossy_compressors_lose_little_and_never_classes(tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS]
    colours = np.stack([rows / 4, columns / 6, (rows + columns) / 9, 255 * (rows > 200)]).astype("uint8")
    write(source, colours, photometric="RGB", alpha="yes")
    names = [Band(name=name) for name in ("red", "green", "blue")]
    jpeg = convert(source, Asset(bands=names), Conversion(compression="jpeg", quality=90))
    with rasterio.open(jpeg) as dataset:
        assert (dataset.count, dataset.descriptions) == (3, ("red", "green", "blue"))
        assert dataset.mask_flag_enums[0] == [MaskFlags.per_dataset]
        np.testing.assert_array_equal(dataset.dataset_mask(), colours[3])
        assert np.abs(dataset.read()[:, 220:].astype(int) - colours[:3, 220:]).mean() < 2
    with rasterio.open(convert(source, conversion=Conversion(compression="webp", quality=90))) as dataset:
        assert (dataset.count, dataset.compression) == (4, Compression.webp)
        np.testing.assert_array_equal(dataset.read(4), colours[3])
    heights = np.sin(rows / 90) * np.cos(columns / 70) * 300
    write(source, heights[np.newaxis].astype("float32"))
    with rasterio.open(convert(source, conversion=Conversion(compression="lerc", max_error=0.05))) as dataset:
        error = np.abs(dataset.read(1) - heights).max()
        assert 0.01 < error <= 0.0501
    pixels = classes(source)
    with rasterio.open(convert(source, Asset(categorical=True), Conversion(compression="jpeg"))) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
    # an asset's own conversion comes before the recipe's
    own = Asset(conversion=Conversion(compression="lzw"))
    with rasterio.open(convert(source, own, Conversion(compression="jpeg"))) as dataset:
        assert dataset.compression == Compression.lzw


REFUSED: dict[str, tuple[Callable[[Path], Any], Asset, Conversion, str]] = {
    "jpeg_of_words": (lines, Asset(), Conversion(compression="jpeg"), "is uint16 in 1 band, and jpeg holds bytes"),
    "webp_of_one": (lambda path: write(path, noise(1, "uint8")), Asset(), Conversion(compression="webp"), "webp holds"),
    "lerc_of_long": (whole, Asset(), Conversion(compression="lerc"), "int64 in 1 band, which lerc cannot hold"),
    "blurred_nodata": (
        lambda path: write(path, noise(1, "uint8"), nodata=0),
        Asset(),
        Conversion(compression="jpeg"),
        "by the value 0, which jpeg would blur",
    ),
    "negative_nodata": (
        lambda path: write(path, noise(1, "uint8")),
        Asset(nodata=-9999),
        Conversion(),
        "holds uint8, which has no -9999: change `nodata:`",
    ),
    "names": (
        lambda path: write(path, noise(2, "uint8")),
        Asset(bands=[Band(name="red")]),
        Conversion(),
        r"has 2 bands, the recipe names 1 \(red\)",
    ),
    "no_such_band": (
        lambda path: write(path, noise(2, "uint8")),
        Asset(indexes=[1, 3]),
        Conversion(),
        "has 2 bands, the recipe takes number 3: change `indexes:`",
    ),
    "unnamed_variable": (
        variables,
        Asset(),
        Conversion(),
        "name one with `subdataset:`.*; there are Band1, Band2, Band3",
    ),
    "no_such_variable": (variables, Asset(subdataset="NDVI"), Conversion(), "has no sub-dataset 'NDVI'.*Band1, Band2"),
    "no_variables": (reflectance, Asset(subdataset="NDVI"), Conversion(), "has no sub-dataset 'NDVI'"),
    "vrt": (
        lambda path: path.write_text('<VRTDataset rasterXSize="1" rasterYSize="1"/>'),
        Asset(),
        Conversion(),
        "only points to other files or services",
    ),
    "hidden_vrt": (
        lambda path: path.write_bytes(b"P5 1 1 255\n#<VRTDataset>"),
        Asset(),
        Conversion(),
        "only points to other files or services",
    ),
    "service": (
        lambda path: path.write_text("\n <GDAL_WMS><Service name='TMS'/></GDAL_WMS>"),
        Asset(),
        Conversion(),
        "only points to other files or services",
    ),
    "hdf4": (
        lambda path: path.write_bytes(b"\x0e\x03\x13\x01" + bytes(100)),
        Asset(),
        Conversion(),
        "is HDF4, which this GDAL was built without: convert it to GeoTIFF first",
    ),
    "broken_netcdf": (
        lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)),
        Asset(),
        Conversion(),
        "is truncated or damaged",
    ),
}


@pytest.mark.parametrize(("make", "asset", "conversion", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_kept_is_refused_with_a_remedy(
    make: Callable[[Path], Any], asset: Asset, conversion: Conversion, reason: str, tmp_path: Path
) -> None:
    source = tmp_path / ("source.nc" if make is variables else "source.tif")
    make(source)
    (tmp_path / "out").mkdir()
    with pytest.raises(Rejected, match=reason):
        to_cog(source, tmp_path / "out" / "cog.tif", asset, conversion)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_format_without_its_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg2000(tmp_path / "scene.jp2")
    (tmp_path / "scene.jp2").write_bytes((tmp_path / "scene.jp2").read_bytes()[:40])
    monkeypatch.setattr(formats, "_drivers", lambda: frozenset({"GTiff"}))
    with pytest.raises(Rejected, match="is JPEG 2000, which this GDAL was built without"):
        accept(tmp_path / "scene.jp2", Asset())


@pytest.mark.parametrize(
    ("conversion", "reason"),
    [
        ("{compression: lzw, level: 6}", "level is not for compression lzw, but for auto, deflate, zstd"),
        ("{compression: deflate, level: 15}", "deflate ends at 12"),
        ("{quality: 80}", "quality is not for compression auto, but for jpeg, webp"),
        ("{compression: jpeg, max_error: 1}", "max_error is not for compression jpeg, but for lerc"),
    ],
)
def test_options_of_another_compressor_are_refused(conversion: str, reason: str) -> None:
    recipe = (
        "collection: {id: c, title: t, description: d, license: other}\nkind: imagery\n"
        "files: {pattern: '.+', item: '{stem}'}\ntime: {datetime: 2020-01-01}\nassets: {data: {}}\n"
        f"conversion: {conversion}\n"
    )
    with pytest.raises(RecipeError, match=reason):
        parse_recipe(recipe, "recipe.yaml")
