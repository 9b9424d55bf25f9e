"""How much of an image is cloud: from a mask that came with it, or from its own values where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import CloudRule, CloudThreshold
from stacyard.ingestor.stages.convert import CACHE_BYTES
from stacyard.ingestor.stages.inspect import read_strip, strips

Mask: TypeAlias = NDArray[np.bool_]

# Sentinel-2 level 2A scene classification: 0 no data, 3 cloud shadow, 8 and 9 cloud of medium and high probability,
# 10 thin cirrus. https://sentiwiki.copernicus.eu/web/s2-processing
_SCL_NO_DATA = 0
_SCL_CLOUD = (3, 8, 9, 10)
# Landsat Collection 2 QA_PIXEL, bit numbers. USGS LSDS-1619, table 6-2
_QA_FILL = 0
_QA_BITS = {"dilated_cloud": 1, "cirrus": 2, "cloud": 3, "cloud_shadow": 4}


def cloud_cover(paths: Mapping[str, Path], rule: CloudRule) -> float | None:
    """Cloudy pixels in percent of those that are known, to two digits; None if nothing tells.

    Args:
        paths: the item's rasters by asset; those that the rule names lie on one grid.
        rule: how cloud is told.

    Raises:
        Rejected: an asset has no such band, a mask holds no whole numbers, rasters lie on different grids, or a block
            cannot be read.
    """
    if not all(asset in paths for asset in rule.assets):
        return None
    bands = {asset: rule.thresholds[asset].band if rule.asset is None else rule.band for asset in rule.assets}
    cloudy = known = 0
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), ExitStack() as stack:
        datasets = {asset: stack.enter_context(rasterio.open(paths[asset])) for asset in rule.assets}
        _check(datasets, bands, rule)
        for window in strips(next(iter(datasets.values()))):
            try:
                read = {asset: read_strip(dataset, window, bands[asset]) for asset, dataset in datasets.items()}
            except RasterioError as error:
                raise Rejected(
                    f"the assets of quality.cloud cannot be read: {error}; copy or export them again"
                ) from error
            cloud, seen = cloud_mask(read, rule)
            cloudy += int(np.count_nonzero(cloud))
            known += int(np.count_nonzero(seen))
    return round(100 * cloudy / known, 2) if known else None


def cloud_mask(read: Mapping[str, tuple[NDArray[Any], Mask]], rule: CloudRule) -> tuple[Mask, Mask]:
    """Which pixels are cloud, and of which it is known; shapes as those that came in.

    Args:
        read: by asset, values of the rule's band and which of them are valid.
        rule: how cloud is told.
    """
    if rule.asset is None:
        known = np.logical_and.reduce([valid for _, valid in read.values()])
        within = [_within(values, rule.thresholds[asset]) for asset, (values, _) in read.items()]
        return np.logical_and.reduce([known, *within]), known
    values, known = read[rule.asset]
    is_cloud, is_known = _TESTS[rule.kind](values, rule)
    return is_cloud & is_known & known, is_known & known


def _of_mask(values: NDArray[Any], rule: CloudRule) -> tuple[Mask, Mask]:
    return np.isin(values, rule.values or [1]), np.ones(values.shape, dtype=bool)


def _of_scl(values: NDArray[Any], rule: CloudRule) -> tuple[Mask, Mask]:
    return np.isin(values, rule.values or _SCL_CLOUD), values != _SCL_NO_DATA


def _of_landsat_qa(values: NDArray[Any], rule: CloudRule) -> tuple[Mask, Mask]:
    bits = sum(1 << _QA_BITS[name] for name in set(rule.bits))
    return values & bits != 0, values & (1 << _QA_FILL) == 0


_TESTS: Mapping[str, Callable[[NDArray[Any], CloudRule], tuple[Mask, Mask]]] = {
    "mask": _of_mask,
    "scl": _of_scl,
    "landsat_qa": _of_landsat_qa,
}


def _within(values: NDArray[Any], threshold: CloudThreshold) -> Mask:
    inside = np.ones(values.shape, dtype=bool)
    if threshold.min is not None:
        inside &= values >= threshold.min
    if threshold.max is not None:
        inside &= values <= threshold.max
    return inside


def _check(datasets: Mapping[str, rasterio.DatasetReader], bands: Mapping[str, int], rule: CloudRule) -> None:
    first, *others = datasets
    for asset, dataset in datasets.items():
        if bands[asset] > dataset.count:
            raise Rejected(
                f"asset {asset!r} has {dataset.count} bands, quality.cloud reads number {bands[asset]}: change `band:`"
            )
        if rule.kind == "landsat_qa" and np.dtype(dataset.dtypes[bands[asset] - 1]).kind not in "iu":
            raise Rejected(
                f"asset {asset!r} holds {dataset.dtypes[0]}, but kind landsat_qa reads bits of whole numbers"
            )
    for asset in others:
        if datasets[asset].shape != datasets[first].shape or not datasets[asset].transform.almost_equals(
            datasets[first].transform
        ):
            raise Rejected(
                f"assets {first!r} and {asset!r} lie on different grids, so quality.cloud.thresholds cannot compare "
                "their pixels: name assets of one resolution"
            )
