"""Open a source as the one raster that the recipe means. What can be read is what GDAL was built with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import Asset

# how a file of a format begins, its name, and the GDAL drivers of which one is needed to read it
_FORMATS: tuple[tuple[tuple[bytes, ...], str, frozenset[str]], ...] = (
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF", frozenset({"GTiff"})),
    ((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "JPEG 2000", frozenset({"JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID"})),
    ((b"CDF\x01", b"CDF\x02", b"CDF\x05"), "netCDF", frozenset({"netCDF"})),
    ((b"\x89HDF\r\n\x1a\n",), "HDF5", frozenset({"netCDF", "HDF5"})),
    ((b"\x0e\x03\x13\x01",), "HDF4", frozenset({"HDF4"})),
    ((b"msid",), "MrSID", frozenset({"MrSID"})),
    ((b"GRIB",), "GRIB", frozenset({"GRIB"})),
)
# formats of a few lines that make GDAL open other files or ask services
_POINTING_DRIVERS = frozenset({"VRT", "GTI", "WMS", "WMTS", "WCS", "STACTA", "STACIT", "MRF", "KMLSUPEROVERLAY"})
_HEAD_BYTES = 4096


@contextmanager
def open_source(path: Path, asset: Asset) -> Iterator[rasterio.DatasetReader]:
    """The raster of a source file: the file itself, or the sub-dataset that the recipe names.

    Raises:
        Rejected: it is empty, damaged, no raster, a format this GDAL was built without, a list of other files, or it
            has other sub-datasets than the recipe names.
        OSError: it is gone or cannot be read now.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise Rejected(f"{path} is empty (0 bytes): copy or export it again")
    if _points_elsewhere(head):
        raise _pointing(path)
    with _opened(path, str(path), head) as dataset:
        if dataset.driver in _POINTING_DRIVERS:
            raise _pointing(path)
        name = _chosen(path, asset, dataset)
        if name is None:
            yield dataset
            return
    with _opened(path, name, head) as dataset:
        yield dataset


@contextmanager
def _opened(path: Path, name: str, head: bytes) -> Iterator[rasterio.DatasetReader]:
    try:
        with warnings.catch_warnings():
            # a file of several variables has no place of its own, and whoever needs one looks for it
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(name)
    except RasterioError as error:
        raise Rejected(_unreadable(path, head, error)) from error
    with dataset:
        yield dataset


def _chosen(path: Path, asset: Asset, dataset: rasterio.DatasetReader) -> str | None:
    """The name under which GDAL opens the sub-dataset; None if the file itself is meant."""
    names: dict[str, str] = {_variable(name, path): name for name in dataset.subdatasets}
    wanted = asset.subdataset
    if wanted is None:
        if dataset.count:
            return None
        raise Rejected(f"{path} holds sub-datasets: name one with `subdataset:` in the recipe's asset{_listed(names)}")
    if wanted.strip("/") in names:
        return names[wanted.strip("/")]
    same = [name for variable, name in names.items() if variable.rsplit("/", 1)[-1] == wanted]
    if len(same) == 1:
        return same[0]
    # a file of one variable has no sub-datasets: it is that variable
    if not names and dataset.count and dataset.tags(1).get("NETCDF_VARNAME") == wanted:
        return None
    reason = f"has {len(same)} sub-datasets" if same else "has no sub-dataset"
    raise Rejected(f"{path} {reason} {wanted!r}: change `subdataset:` in the recipe's asset{_listed(names)}")


def _variable(name: str, path: Path) -> str:
    """`NETCDF:"a.nc":ndvi` is `ndvi`, `HDF5:"a.h5"://grid/ndvi` is `grid/ndvi`."""
    return name.split(str(path), 1)[-1].lstrip('":').strip("/")


def _listed(names: dict[str, str]) -> str:
    return f"; there are {', '.join(sorted(names))}" if names else ""


def _points_elsewhere(head: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if b"<VRTDataset" in head or text.startswith(b"<"):
        return True
    return text.startswith(b"{") and b'"' in text


def _pointing(path: Path) -> Rejected:
    return Rejected(f"{path} only points to other files or services: ingest those, or make one GeoTIFF of them first")


def _unreadable(path: Path, head: bytes, error: RasterioError) -> str:
    for beginnings, name, drivers in _FORMATS:
        if head.startswith(beginnings):
            if drivers.isdisjoint(_drivers()):
                return f"{path} is {name}, which this GDAL was built without: convert it to GeoTIFF first"
            return f"{path} is truncated or damaged: {error}; copy or export it again"
    return f"{path} is not a raster that GDAL can read: leave it out, or convert it first"


def _drivers() -> frozenset[str]:
    with rasterio.Env() as environment:
        return frozenset(environment.drivers())
