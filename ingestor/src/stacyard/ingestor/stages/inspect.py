"""Read every pixel once: is the file readable and georeferenced, where is its data, what are its statistics?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import Asset
from stacyard.ingestor.stages.convert import CACHE_BYTES
from stacyard.ingestor.stages.footprint import footprint
from stacyard.ingestor.stages.formats import open_source
from stacyard.ingestor.verdicts import Verdict

# longest side of the coarse mask that outlines are drawn from
_COARSE_CELLS = 256
# pixels read at once: 16 blocks of 512 x 512, some 8 MB for a 16-bit band
_STRIP_BLOCKS = 16


@dataclass(frozen=True, kw_only=True)
class BandReport:
    """One band, in the file's own numbers before scale and offset; without valid pixels there are no statistics.

    Statistics of complex numbers are those of their magnitudes.
    """

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
        numbers = (np.abs(values) if values.dtype.kind == "c" else values).astype("float64")
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
        Rejected: as `open_source`, or nobody knows where on Earth it lies; each has its own reason.
        OSError: it is gone or cannot be read now.
    """
    with open_source(path, asset) as dataset:
        crs, transform = dataset.crs, dataset.transform
    if crs is None and asset.crs is None:
        raise _nowhere(
            f"{path} has no coordinate reference system: give `crs:` in the recipe's asset or georeference the file"
        )
    if transform.is_identity:
        raise _nowhere(f"{path} has a CRS but no geotransform: georeference the file")


def inspect(path: Path) -> RasterReport:
    """Read every block of every band of a georeferenced raster once, in strips.

    Raises:
        Rejected: a block cannot be read.
    """
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), rasterio.open(path) as dataset:
        height, width = dataset.height, dataset.width
        factor = max(1, math.ceil(max(height, width) / _COARSE_CELLS))
        coarse = np.zeros((math.ceil(height / factor), math.ceil(width / factor)), dtype=bool)
        sums = [_Sums() for _ in dataset.indexes]
        valid = 0
        for window in strips(dataset):
            try:
                strip, masks = read_strip(dataset, window)
            except RasterioError as error:
                raise Rejected(f"{path} is truncated or damaged: {error}; copy or export it again") from error
            for band, mask, band_sums in zip(strip, masks, sums, strict=True):
                band_sums.add(band[mask])
            drawn = np.logical_or.reduce(masks)
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
        )


def strips(dataset: rasterio.DatasetReader) -> list[Window]:
    """Windows that cover a raster: whole blocks, one block row high, a few blocks wide."""
    rows, columns = dataset.block_shapes[0]
    # a file of one giant strip or of single lines is cut so that memory stays bounded and calls stay few
    rows = min(max(rows, 64), 1024)
    columns = min(columns * _STRIP_BLOCKS, 8192)
    return [
        Window(left, top, min(columns, dataset.width - left), min(rows, dataset.height - top))
        for top in range(0, dataset.height, rows)
        for left in range(0, dataset.width, columns)
    ]


def read_strip(
    dataset: rasterio.DatasetReader, window: Window, band: int | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pixels of a window and which of them are valid, each of shape (bands, rows, columns) or of one band.

    Raises:
        RasterioError: a block cannot be read.
    """
    pixels = dataset.read(band, window=window)
    valid = dataset.read_masks(band, window=window) != 0
    if pixels.dtype.kind in "fc":
        valid &= np.isfinite(pixels)
    return pixels, valid


@contextmanager
def reading(asset: str) -> Iterator[None]:
    """Whatever is rejected inside is so because this asset cannot be read, unless it brings another verdict."""
    try:
        yield
    except Rejected as error:
        message = str(error)
        verdict = Verdict(rule="readable", asset=asset, passed=False, value=False, limit=True, message=message)
        raise Rejected(message, verdicts=error.verdicts or [verdict]) from error


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


def _nowhere(message: str) -> Rejected:
    return Rejected(message, verdicts=[Verdict(rule="crs", passed=False, message=message)])
