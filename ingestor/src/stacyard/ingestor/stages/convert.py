"""Any raster that GDAL reads becomes a valid cloud-optimized GeoTIFF.

GDAL's own COG driver does it, not rio-cogeo's `cog_translate`: it writes overviews and tiles in one pass through
bounded buffers on disk, uses several threads, and keeps scale, offset, colour table and band names. What the recipe
overrides goes through a VRT, a text file of a few kilobytes, so that no pixel is written twice.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rio_cogeo.cogeo import cog_validate

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import Asset, Conversion
from stacyard.ingestor.stages.compression import Pixels, compressor, creation_options, overview_resampling, refusal
from stacyard.ingestor.stages.formats import open_source
from stacyard.ingestor.stages.overrides import differs, override
from stacyard.ingestor.stages.space import PARTIAL, space_watched

#: What a worker's GDAL may keep of blocks; GDAL's own default is a share of the machine, for each worker. In bytes:
#: rasterio hands the number on as it is, and GDAL takes small ones for megabytes only where it reads them as text.
CACHE_BYTES = 128 * 1024 * 1024

# overviews wait on the disk for their place in the file: up to so many bytes as they are, beyond that compressed
_MOST_PLAIN_OVERVIEW_BYTES = 1024**3
# the name under which rio-cogeo, and so we, note how overviews were made
_OVERVIEW_TAG = "OVERVIEW_RESAMPLING"


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A valid COG. `size` in bytes; `header_size` is how many bytes hold all that precedes the first pixel."""

    path: Path
    size: int
    header_size: int


def to_cog(source: Path, target: Path, asset: Asset, conversion: Conversion, *, threads: int = 1) -> Converted:
    """Write `target` as a COG of `source`; if it is one already and nothing is overridden, copy it.

    The target appears complete or not at all. What lies beside it under `.partial` is removed.

    Args:
        source: any raster that GDAL reads.
        target: where the COG is to be.
        asset: which part of the source is meant, and what the recipe says of it; its own conversion comes first.
        conversion: the recipe's.
        threads: that compress, decompress and make overviews.

    Raises:
        Rejected: the source is damaged or does not fit the recipe, or what came out is no valid COG.
        OutOfSpace: the target's disk is full.
        OSError: the source is gone or cannot be read now.
    """
    partial = target.with_name(f"{target.name}{PARTIAL}.tif")
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_NUM_THREADS=str(threads), GDAL_TIFF_INTERNAL_MASK=True),
            space_watched(target.parent),
        ):
            try:
                _write(source, partial, asset, asset.conversion or conversion, threads=threads)
            except (RasterioError, *_gdal_errors()) as error:
                raise Rejected(f"{source} is truncated or damaged: {error}; copy or export it again") from error
            header_size = _checked_header(partial, source)
            partial.replace(target)
    finally:
        for left in target.parent.glob(f"{partial.name}*"):
            left.unlink()
    return Converted(path=target, size=target.stat().st_size, header_size=header_size)


def _write(source: Path, partial: Path, asset: Asset, conversion: Conversion, *, threads: int) -> None:
    with open_source(source, asset) as dataset:
        if _is_cog(dataset, source, asset):
            shutil.copyfile(source, partial)
            return
        described = _described(dataset, source, partial, asset)
    with rasterio.open(described, "r+") as dataset:
        pixels = _pixels(dataset, asset)
        reason = refusal(pixels, conversion)
        if reason is not None:
            raise Rejected(f"{source} {reason}")
        becomes_mask = pixels.alpha and compressor(pixels, conversion) == "jpeg"
        override(dataset, source, asset, bands=pixels.bands - (1 if becomes_mask else 0))
        dataset.update_tags(**{_OVERVIEW_TAG: overview_resampling(pixels, conversion).upper()})
    options = creation_options(pixels, conversion, threads=threads)
    overview_bytes = pixels.width * pixels.height * pixels.bands * pixels.bits // 8 // 3
    # GDAL's own choice here is zstd, which costs as much time as the rest of making overviews
    plain = {"COG_TMP_COMPRESSION": "NONE"} if overview_bytes <= _MOST_PLAIN_OVERVIEW_BYTES else {}
    with rasterio.Env(**plain):
        rasterio.shutil.copy(str(described), str(partial), driver="COG", **options)
    with rasterio.open(partial) as written:
        if (written.width, written.height) != (pixels.width, pixels.height):
            raise Rejected(
                f"{source} came out as {written.width} x {written.height} pixels, not {pixels.width} x {pixels.height}"
            )


def _described(dataset: rasterio.DatasetReader, source: Path, partial: Path, asset: Asset) -> Path:
    """A VRT of the bands that are meant, beside the file that is being written."""
    if asset.indexes and max(asset.indexes) > dataset.count:
        raise Rejected(
            f"{source} has {dataset.count} bands, the recipe takes number {max(asset.indexes)}: "
            "change `indexes:` in the recipe's asset"
        )
    whole = partial.with_name(f"{partial.name}.vrt")
    rasterio.shutil.copy(dataset.name, str(whole), driver="VRT")
    if not asset.indexes:
        return whole
    chosen = partial.with_name(f"{partial.name}.bands.vrt")
    # https://gdal.org/drivers/raster/vrt.html#vrt-connection-string
    bands = ",".join(map(str, asset.indexes))
    rasterio.shutil.copy(f"vrt://{whole}?bands={bands}", str(chosen), driver="VRT")
    return chosen


def _pixels(dataset: rasterio.DatasetReader, asset: Asset) -> Pixels:
    written = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
    return Pixels(
        width=dataset.width,
        height=dataset.height,
        bands=dataset.count,
        data_type=max(dataset.dtypes, key=_bits),
        bits=int(written) if written else max(map(_bits, dataset.dtypes)),
        classes=asset.categorical or ColorInterp.palette in dataset.colorinterp,
        alpha=dataset.colorinterp[-1] == ColorInterp.alpha,
        nodata=asset.nodata if asset.nodata is not None else dataset.nodata,
    )


def _bits(data_type: str) -> int:
    # GDAL has two 16-bit parts in one number here, which numpy has not
    return 32 if data_type == "complex_int16" else 8 * np.dtype(data_type).itemsize


def _is_cog(dataset: rasterio.DatasetReader, source: Path, asset: Asset) -> bool:
    """Whether the source is, as it is, what would be written."""
    # what another file beside it says would be lost; a part of it would still be all of it
    if dataset.driver != "GTiff" or len(dataset.files) != 1 or asset.indexes or differs(dataset, asset):
        return False
    pixels = _pixels(dataset, asset)
    if pixels.classes and dataset.overviews(1) and dataset.tags().get(_OVERVIEW_TAG) not in ("MODE", "NEAREST"):
        return False
    try:
        return bool(cog_validate(str(source), strict=True, quiet=True)[0])
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
