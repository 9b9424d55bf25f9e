"""Look at every pixel: is the file readable and georeferenced, where is its data, are the rules kept?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import Asset, Quality
from stacyard.ingestor.stages.convert import CACHE_MB
from stacyard.ingestor.stages.footprint import footprint

# longest side of the coarse mask that outlines are drawn from
_COARSE_CELLS = 256
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# pixels read at once: 16 blocks of 512 x 512, some 8 MB for a 16-bit band
_STRIP_BLOCKS = 16


@dataclass(frozen=True, kw_only=True)
class BandReport:
    """One band, in the file's own numbers before scale and offset; without valid pixels there are no statistics."""

    name: str | None
    data_type: str
    nodata: float | None
    scale: float
    offset: float
    unit: str | None
    statistics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class RasterReport:
    """What is true of a raster. `bbox` and `transform` in `crs`, `footprint` as GeoJSON in EPSG:4326."""

    crs: str | None
    wkt2: str
    shape: tuple[int, int]
    transform: tuple[float, ...]
    bbox: tuple[float, float, float, float]
    bands: tuple[BandReport, ...]
    valid_percent: float
    footprint: Any
    tags: Mapping[str, str]
    values: Mapping[int, int] = field(default_factory=dict)
    valid_pixels: int = 0


@dataclass
class _Sums:
    """Running statistics of one band, merged strip by strip (Chan, Golub, LeVeque 1979), which loses no digits."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: NDArray[Any]) -> None:
        if not values.size:
            return
        numbers = values.astype("float64")
        count, mean = numbers.size, float(numbers.mean())
        squares = float(np.square(numbers - mean).sum())
        both = self.count + count
        shift = mean - self.mean
        self.squares += squares + shift * shift * self.count * count / both
        self.mean += shift * count / both
        self.count = both
        self.low = min(self.low, float(numbers.min()))
        self.high = max(self.high, float(numbers.max()))

    def statistics(self, pixels: int) -> dict[str, float]:
        percent = 100 * self.count / pixels
        if not self.count:
            return {"valid_percent": percent}
        return {
            "minimum": self.low,
            "maximum": self.high,
            "mean": self.mean,
            "stddev": math.sqrt(self.squares / self.count),
            "valid_percent": percent,
        }


def accept(path: Path, asset: Asset) -> None:
    """See that a source file is a georeferenced raster before work is put into it.

    Raises:
        Rejected: it is empty, no raster, damaged, or nobody knows where on Earth it lies; each has its own reason.
        OSError: it is gone or cannot be read now.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise Rejected(f"{path} is empty (0 bytes): copy or export it again")
    try:
        with rasterio.open(path) as dataset:
            crs, transform, count = dataset.crs, dataset.transform, dataset.count
    except RasterioError as error:
        if head in _TIFF_MAGIC:
            raise Rejected(f"{path} is truncated or damaged: {error}; copy or export it again") from error
        raise Rejected(f"{path} is not a raster that GDAL can read: leave it out, or convert it first") from error
    if not count:
        raise Rejected(f"{path} holds no bands but sub-datasets: extract the one you mean")
    if crs is None and asset.crs is None:
        raise Rejected(
            f"{path} has no coordinate reference system: give `crs:` in the recipe's asset or georeference the file"
        )
    if transform.is_identity:
        raise Rejected(f"{path} has a CRS but no geotransform: georeference the file")


def inspect(path: Path, *, count_values: Sequence[int] = ()) -> RasterReport:
    """Read every block of every band of a raster once, in strips.

    Args:
        path: a georeferenced raster.
        count_values: values whose pixels are counted in the first band.

    Raises:
        Rejected: a block cannot be read.
    """
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB), rasterio.open(path) as dataset:
        height, width = dataset.height, dataset.width
        factor = max(1, math.ceil(max(height, width) / _COARSE_CELLS))
        coarse = np.zeros((math.ceil(height / factor), math.ceil(width / factor)), dtype=bool)
        sums = [_Sums() for _ in dataset.indexes]
        counted = dict.fromkeys(count_values, 0)
        valid = 0
        for window in _strips(dataset):
            try:
                strip = dataset.read(window=window)  # (bands, rows, columns)
                masks = dataset.read_masks(window=window) != 0
            except RasterioError as error:
                raise Rejected(f"{path} is truncated or damaged: {error}; copy or export it again") from error
            if strip.dtype.kind in "fc":
                masks &= np.isfinite(strip)
            for band, mask, band_sums in zip(strip, masks, sums, strict=True):
                band_sums.add(band[mask])
            for value in counted:
                counted[value] += int(np.count_nonzero((strip[0] == value) & masks[0]))
            drawn = masks.any(axis=0)
            valid += int(np.count_nonzero(drawn))
            _outline(coarse, drawn, window, factor)
        pixels = height * width
        epsg = dataset.crs.to_epsg()
        return RasterReport(
            crs=f"EPSG:{epsg}" if epsg else None,
            wkt2=dataset.crs.to_wkt(version="WKT2_2019"),
            shape=(height, width),
            transform=tuple(dataset.transform)[:6],
            bbox=tuple(dataset.bounds),
            bands=tuple(_band(dataset, index, sums[index].statistics(pixels)) for index in range(dataset.count)),
            valid_percent=100 * valid / pixels,
            footprint=footprint(coarse, factor, (height, width), dataset.transform, dataset.crs),
            tags=dataset.tags(),
            values=counted,
            valid_pixels=sums[0].count,
        )


def judge(reports: Mapping[str, RasterReport], assets: Mapping[str, Asset], rules: Quality) -> float | None:
    """Hold an item's assets against the recipe's rules; returns the cloud cover in percent if a mask tells it.

    Raises:
        Rejected: a rule is broken; the message has the value and the limit.
    """
    for key, report in reports.items():
        if "data" in assets[key].roles and (report.footprint is None or report.valid_percent < rules.min_valid_percent):
            raise Rejected(
                f"asset {key!r} has {report.valid_percent:.1f} % valid pixels; at least "
                f"{max(rules.min_valid_percent, 0.1):g} % are asked for by quality.min_valid_percent"
            )
        wanted = rules.values.get(key)
        for band in report.bands if wanted else ():
            low, high = band.statistics.get("minimum"), band.statistics.get("maximum")
            if wanted and wanted.min is not None and low is not None and low < wanted.min:
                raise Rejected(f"asset {key!r} has the value {low:g}, below the {wanted.min:g} of quality.values")
            if wanted and wanted.max is not None and high is not None and high > wanted.max:
                raise Rejected(f"asset {key!r} has the value {high:g}, above the {wanted.max:g} of quality.values")
    return _cloud_cover(reports, rules)


def _cloud_cover(reports: Mapping[str, RasterReport], rules: Quality) -> float | None:
    if rules.cloud is None or rules.cloud.asset not in reports:
        return None
    report = reports[rules.cloud.asset]
    if not report.valid_pixels:
        return None
    share = round(100 * sum(report.values.values()) / report.valid_pixels, 2)
    if share > rules.cloud.max_percent:
        raise Rejected(f"{share:g} % is cloud; at most {rules.cloud.max_percent:g} % are allowed by quality.cloud")
    return share


def _strips(dataset: rasterio.DatasetReader) -> list[Window]:
    """Windows of whole blocks, one block row high, a few blocks wide."""
    rows, columns = dataset.block_shapes[0]
    # a file of one giant strip or of single lines is cut so that memory stays bounded and calls stay few
    rows = min(max(rows, 64), 1024)
    columns = min(columns * _STRIP_BLOCKS, 8192)
    return [
        Window(left, top, min(columns, dataset.width - left), min(rows, dataset.height - top))
        for top in range(0, dataset.height, rows)
        for left in range(0, dataset.width, columns)
    ]


def _outline(coarse: NDArray[np.bool_], drawn: NDArray[np.bool_], window: Window, factor: int) -> None:
    """Set the cells of the coarse mask in which a strip, shape (rows, columns), has any valid pixel."""
    top, left = int(window.row_off), int(window.col_off)
    rows, columns = (
        [0, *range(factor - start % factor, length, factor)]
        for start, length in ((top, drawn.shape[0]), (left, drawn.shape[1]))
    )
    cells = np.logical_or.reduceat(np.logical_or.reduceat(drawn, rows, axis=0), columns, axis=1)
    top, left = top // factor, left // factor
    coarse[top : top + len(rows), left : left + len(columns)] |= cells


def _band(dataset: rasterio.DatasetReader, index: int, statistics: dict[str, float]) -> BandReport:
    return BandReport(
        name=dataset.descriptions[index],
        data_type=dataset.dtypes[index],
        nodata=dataset.nodatavals[index],
        scale=dataset.scales[index],
        offset=dataset.offsets[index],
        unit=dataset.units[index],
        statistics=statistics,
    )
