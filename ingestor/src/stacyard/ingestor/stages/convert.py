"""Any raster that GDAL reads becomes a valid cloud-optimized GeoTIFF.

GDAL's own COG driver does it, not rio-cogeo's `cog_translate`: it writes overviews and tiles in one pass through
bounded buffers on disk, uses several threads, and keeps scale, offset, colour table and band names. What the recipe
overrides goes through a VRT, a text file of a few kilobytes, so that no pixel is written twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rio_cogeo.cogeo import cog_validate

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import Asset, Conversion
from stacyard.ingestor.stages.space import PARTIAL, space_watched

#: What a worker's GDAL may keep of blocks, in MB; GDAL's own default is a share of the machine, for each worker.
CACHE_MB = 128


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A valid COG. `size` in bytes; `header_size` is how many bytes hold all that precedes the first pixel."""

    path: Path
    size: int
    header_size: int


def to_cog(source: Path, target: Path, asset: Asset, conversion: Conversion, *, threads: int = 1) -> Converted:
    """Write `target` as a COG of `source`; if it is one already and nothing is overridden, copy it.

    The target appears complete or not at all. What lies beside it under `.partial` and `.vrt` is removed.

    Raises:
        Rejected: the source is damaged, or what came out is no valid COG.
        OutOfSpace: the target's disk is full.
    """
    partial = target.with_name(f"{target.name}{PARTIAL}.tif")
    described = target.with_name(f"{target.name}.vrt")
    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE_MB, GDAL_TIFF_INTERNAL_MASK=True), space_watched(target.parent):
            try:
                _write(source, partial, described, asset, conversion, threads=threads)
            except (RasterioError, *_gdal_errors()) as error:
                raise Rejected(f"{source} is truncated or damaged: {error}; copy or export it again") from error
            header_size = _checked_header(partial, source)
            partial.replace(target)
    finally:
        described.unlink(missing_ok=True)
        for left in target.parent.glob(f"{partial.name}*"):
            left.unlink()
    return Converted(path=target, size=target.stat().st_size, header_size=header_size)


def _write(source: Path, partial: Path, described: Path, asset: Asset, conversion: Conversion, *, threads: int) -> None:
    with rasterio.open(source) as dataset:
        changes = _differs(dataset, asset)
        options = _options(dataset, asset, conversion, threads)
        width, height = dataset.width, dataset.height
    if not changes and _is_cog(source) and not asset.categorical:
        shutil.copyfile(source, partial)
        return
    rasterio.shutil.copy(str(source), str(described), driver="VRT")
    if changes:
        with rasterio.open(described, "r+") as dataset:
            _override(dataset, asset)
    rasterio.shutil.copy(str(described), str(partial), driver="COG", **options)
    with rasterio.open(partial) as written:
        if (written.width, written.height) != (width, height):
            raise Rejected(f"{source} came out as {written.width} x {written.height} pixels, not {width} x {height}")


def _options(dataset: rasterio.DatasetReader, asset: Asset, conversion: Conversion, threads: int) -> dict[str, str]:
    resampling = conversion.resampling if not asset.categorical else None
    options = {
        "COMPRESS": conversion.compression.upper(),
        "PREDICTOR": "YES",
        "BLOCKSIZE": str(_blocksize(conversion.blocksize, dataset.width, dataset.height)),
        "OVERVIEW_RESAMPLING": (resampling or ("mode" if asset.categorical else "average")).upper(),
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": str(threads),
    }
    if conversion.level is not None and conversion.compression != "lzw":
        options["LEVEL"] = str(conversion.level)
    return options


def _blocksize(wanted: int, width: int, height: int) -> int:
    """The wanted size, or the smallest of 128, 256 … that holds the whole raster: padding costs every reader."""
    size = 128
    while size < wanted and size < max(width, height):
        size *= 2
    return size


def _differs(dataset: rasterio.DatasetReader, asset: Asset) -> bool:
    if asset.nodata is not None and dataset.nodata != asset.nodata:
        return True
    if asset.crs is not None and dataset.crs is None:
        return True
    if asset.bands and len(asset.bands) != dataset.count:
        names = ", ".join(band.name for band in asset.bands)
        raise Rejected(f"{dataset.name} has {dataset.count} bands, the recipe names {len(asset.bands)} ({names})")
    return any(
        band.name != name
        or (band.scale is not None and band.scale != scale)
        or (band.offset is not None and band.offset != offset)
        or (band.unit is not None and band.unit != unit)
        for band, name, scale, offset, unit in zip(
            asset.bands, dataset.descriptions, dataset.scales, dataset.offsets, dataset.units, strict=False
        )
    )


def _override(dataset: rasterio.io.DatasetWriter, asset: Asset) -> None:
    if asset.nodata is not None:
        dataset.nodata = asset.nodata
    if asset.crs is not None and dataset.crs is None:
        dataset.crs = CRS.from_user_input(asset.crs)
    if asset.bands:
        bands = asset.bands
        dataset.descriptions = tuple(band.name for band in bands)
        dataset.scales = _chosen([band.scale for band in bands], dataset.scales)
        dataset.offsets = _chosen([band.offset for band in bands], dataset.offsets)
        dataset.units = tuple(band.unit or unit or "" for band, unit in zip(bands, dataset.units, strict=True))


def _chosen(wanted: Sequence[float | None], there: Sequence[float]) -> tuple[float, ...]:
    return tuple(old if new is None else new for new, old in zip(wanted, there, strict=True))


def _is_cog(path: Path) -> bool:
    try:
        return bool(cog_validate(str(path), strict=True, quiet=True)[0])
    except Exception:  # whatever stops the validator, the file is then written anew
        return False


def _checked_header(path: Path, source: Path) -> int:
    valid, errors, _ = cog_validate(str(path), quiet=True)
    if not valid:
        raise Rejected(f"{source} did not become a valid COG: {'; '.join(errors)}")
    with rasterio.open(path) as dataset:
        levels = [None, *range(len(dataset.overviews(1)))]
        offsets = [dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1, ovr=level) for level in levels]
    known = [int(offset) for offset in offsets if offset]
    # four bytes before each block of a COG hold its length
    return min(known) - 4 if known else path.stat().st_size


def _gdal_errors() -> tuple[type[Exception], ...]:
    from rasterio._err import CPLE_BaseError

    return (CPLE_BaseError,)
