"""What a recipe says of a raster wins over what the file says. It is written into a VRT; no pixel is touched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import MaskFlags

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import Asset

_Value = TypeVar("_Value")


def differs(dataset: rasterio.DatasetReader, asset: Asset) -> bool:
    """Whether the recipe says anything else of the raster than the file does."""
    if asset.nodata is not None and not _same(dataset.nodata, asset.nodata):
        return True
    if asset.crs is not None and dataset.crs is None:
        return True
    if asset.bands and len(asset.bands) != dataset.count:
        return True
    return any(
        band.name != name
        or (band.scale is not None and band.scale != scale)
        or (band.offset is not None and band.offset != offset)
        or (band.unit is not None and band.unit != unit)
        for band, name, scale, offset, unit in zip(
            asset.bands, dataset.descriptions, dataset.scales, dataset.offsets, dataset.units, strict=False
        )
    )


def override(dataset: rasterio.io.DatasetWriter, source: Path, asset: Asset, *, bands: int) -> None:
    """Write what the recipe says into a dataset that is open for change.

    Real numbers without a nodata value, alpha or mask get NaN for it: it is none of their values, and overviews would
    else spread it.

    Args:
        dataset: the VRT.
        source: what errors name.
        asset: the recipe's.
        bands: how many of the bands, from the first, are there to be named; an alpha band that becomes a mask is not.

    Raises:
        Rejected: the recipe does not fit the file.
    """
    _override_nodata(dataset, source, asset)
    if asset.crs is not None and dataset.crs is None:
        dataset.crs = CRS.from_user_input(asset.crs)
    if not asset.bands:
        return
    named = asset.bands
    if len(named) != bands:
        names = ", ".join(band.name for band in named)
        raise Rejected(f"{source} has {bands} bands, the recipe names {len(named)} ({names})")
    dataset.descriptions = (*(band.name for band in named), *dataset.descriptions[bands:])
    dataset.scales = _chosen([band.scale for band in named], dataset.scales)
    dataset.offsets = _chosen([band.offset for band in named], dataset.offsets)
    dataset.units = _chosen([band.unit for band in named], [unit or "" for unit in dataset.units])


def _override_nodata(dataset: rasterio.io.DatasetWriter, source: Path, asset: Asset) -> None:
    if asset.nodata is not None:
        for data_type in dataset.dtypes:
            if not _holds(data_type, asset.nodata):
                raise Rejected(
                    f"{source} holds {data_type}, which has no {asset.nodata:g}: change `nodata:` in the recipe's asset"
                )
        dataset.nodata = asset.nodata
    elif any(not _same(value, dataset.nodata) for value in dataset.nodatavals):
        values = ", ".join(str(value) for value in dataset.nodatavals)
        raise Rejected(
            f"{source} has bands of different nodata values ({values}), and a GeoTIFF has one: "
            "make assets of them with `indexes:`"
        )
    elif dataset.dtypes[0].startswith("float") and all(
        flags == [MaskFlags.all_valid] for flags in dataset.mask_flag_enums
    ):
        dataset.nodata = math.nan


def _holds(data_type: str, value: float) -> bool:
    if "int" not in data_type or data_type.startswith("complex"):
        return True
    return value.is_integer() and np.iinfo(data_type).min <= value <= np.iinfo(data_type).max


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or (math.isnan(one) and math.isnan(other))


def _chosen(wanted: Sequence[_Value | None], there: Sequence[_Value]) -> tuple[_Value, ...]:
    """What is wanted, else what is there; bands beyond those that are named keep what they have."""
    kept = there[len(wanted) :]
    return (*(old if new is None else new for new, old in zip(wanted, there, strict=False)), *kept)
