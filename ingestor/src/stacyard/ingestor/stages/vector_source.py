"""One layer of a vector file as a stream of small batches: GeoParquet by pyarrow, everything else by GDAL.

GDAL as pyogrio carries it has no Parquet driver. Both come as Arrow, which keeps whole numbers whole beside nulls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError
from rasterio.crs import CRS
from rasterio.errors import CRSError

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import Layer as LayerRule

Array: TypeAlias = NDArray[Any]

_UNREADABLE = (DataSourceError, DataLayerError, FeatureError, FieldError, GeometryError, pa.ArrowException, OSError)
_PARQUET = b"PAR1"
_MOST_ROWS = 4096
# WKB and Arrow of a batch; geometries built of it take about three times as much
_BATCH_BYTES = 32 * 1024 * 1024
# what a GeoParquet file without the key `crs` means
_PARQUET_CRS = "OGC:CRS84"
# GeoPackage's own words for srs_id 0 and -1
_UNDEFINED = ("Undefined geographic SRS", "Undefined Cartesian SRS", "Undefined cartesian SRS")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some features: their attributes, and geometries of the same length in the layer's CRS, None where none is."""

    attributes: pa.RecordBatch
    geometries: Array


@dataclass(frozen=True, kw_only=True)
class VectorSource:
    """A layer: its name, its CRS (None if it says none), the types of its attributes, and its features in file order.

    The batches can be read once, while the layer is open.
    """

    name: str
    crs: CRS | None
    schema: pa.Schema
    batches: Iterator[Batch]


@contextmanager
def open_source(path: Path, rule: LayerRule) -> Iterator[VectorSource]:
    """Open the layer that the rule names.

    Raises:
        Rejected: here or from the batches: the file, the layer, its CRS or a geometry cannot be read.
    """
    if not path.stat().st_size:
        raise Rejected(f"{path} is empty (0 bytes): copy or export it again")
    opened = _open_parquet(path, rule) if _is_parquet(path) else _open_ogr(path, rule)
    with opened as source:
        yield source


@contextmanager
def _open_ogr(path: Path, rule: LayerRule) -> Iterator[VectorSource]:
    with _reading(path):
        name = _layer_name(path, rule)
        features = pyogrio.read_info(path, layer=name)["features"]
        rows = _rows(path.stat().st_size, features)
        # feature ids find curved geometries again
        layer = pyogrio.raw.open_arrow(path, layer=name, batch_size=rows, return_fids=True, use_pyarrow=True)
        meta, reader = layer.__enter__()
    try:
        ids, geometry = meta["fid_column"], meta["geometry_name"] or "wkb_geometry"
        if geometry not in reader.schema.names:
            raise Rejected(f"layer {name!r} of {path} has no geometry: it is a plain table; name another with `layer:`")

        def batches() -> Iterator[Batch]:
            number = 1
            for batch in _read(reader, path):
                wkb = batch.column(geometry)
                try:
                    geometries = _decoded(wkb, path, number)
                except NotImplementedError:
                    with _reading(path):
                        fids = batch.column(ids).to_numpy()
                        _, _, straight, _ = pyogrio.raw.read(path, layer=name, columns=[], fids=fids)
                    geometries = _decoded(pa.array(straight, pa.binary()), path, number)
                yield Batch(attributes=batch.drop_columns([ids, geometry]), geometries=geometries)
                number += len(batch)

        yield VectorSource(
            name=name,
            crs=_crs(meta["crs"], path),
            schema=_without(reader.schema, ids, geometry),
            batches=batches(),
        )
    finally:
        layer.__exit__(None, None, None)


@contextmanager
def _open_parquet(path: Path, rule: LayerRule) -> Iterator[VectorSource]:
    if rule.layer not in (None, path.stem):
        raise Rejected(f"layer {rule.layer!r} is not in {path}, which has {path.stem}: change `layer:`")
    with _reading(path):
        file = pq.ParquetFile(path, memory_map=True)
    with file:
        geo = _geo(file.schema_arrow, path)
        geometry = geo["primary_column"]
        about = geo["columns"][geometry]
        rows = _rows(
            sum(file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups)),
            file.metadata.num_rows,
        )

        def batches() -> Iterator[Batch]:
            number = 1
            for batch in _read(file.iter_batches(batch_size=rows), path):
                try:
                    geometries = _decoded(batch.column(geometry), path, number)
                except NotImplementedError as error:
                    raise Rejected(f"{path} has curved geometries, which GeoParquet cannot hold: {error}") from error
                yield Batch(attributes=batch.drop_columns([geometry]), geometries=geometries)
                number += len(batch)

        crs = about.get("crs", _PARQUET_CRS)
        yield VectorSource(
            name=path.stem,
            crs=_crs(orjson.dumps(crs).decode() if isinstance(crs, dict) else crs, path),
            schema=_without(file.schema_arrow, geometry),
            batches=batches(),
        )


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


def _geo(schema: pa.Schema, path: Path) -> dict[str, Any]:
    """The file's `geo` metadata (GeoParquet 1.1), known to name a column that is there and holds WKB."""
    text = (schema.metadata or {}).get(b"geo")
    if text is None:
        raise Rejected(f"{path} is Parquet without `geo` metadata, so no GeoParquet: export it again as GeoParquet")
    try:
        geo = orjson.loads(text)
        geometry = geo["primary_column"]
        encoding = geo["columns"][geometry]["encoding"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise Rejected(f"{path} has `geo` metadata that cannot be read ({error}): export it again") from error
    if geometry not in schema.names:
        raise Rejected(f"{path} names the geometry column {geometry!r}, which it does not have: export it again")
    if encoding != "WKB":
        raise Rejected(f"{path} has geometries in the encoding {encoding!r}: export it again as WKB")
    return dict(geo)


def _layer_name(path: Path, rule: LayerRule) -> str:
    names = [str(name) for name, _ in pyogrio.list_layers(path)]
    if rule.layer is None and len(names) == 1:
        return names[0]
    if rule.layer is None:
        raise Rejected(f"{path} has the layers {', '.join(names)}: name one with `layer:` in the recipe")
    if rule.layer not in names:
        raise Rejected(f"layer {rule.layer!r} is not in {path}, which has {', '.join(names)}: change `layer:`")
    return rule.layer


def _crs(text: str | None, path: Path) -> CRS | None:
    if text is None or any(f'"{name}"' in text for name in _UNDEFINED):
        return None
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise Rejected(f"{path} has a coordinate reference system that cannot be read: {error}") from error


def _rows(size: int, features: int) -> int:
    """How many features fit a batch, by their mean size in bytes; where they are not counted, a cautious number."""
    if features < 0:
        return _MOST_ROWS // 4
    return max(1, min(_MOST_ROWS, _BATCH_BYTES * features // size))


def _without(schema: pa.Schema, *names: str) -> pa.Schema:
    return pa.schema([field for field in schema if field.name not in names])


def _decoded(wkb: pa.Array, path: Path, first: int) -> Array:
    """Geometries in two dimensions.

    Raises:
        Rejected: one cannot be read; `first` is the number of the first feature.
        NotImplementedError: one is curved.
    """
    values = wkb.to_numpy(zero_copy_only=False)
    geometries: Array = shapely.from_wkb(values, on_invalid="ignore")
    unread = np.flatnonzero(shapely.is_missing(geometries) & np.asarray(wkb.is_valid()))
    if unread.size:
        raise Rejected(f"{path}: feature {first + unread[0]} has a geometry that cannot be read; mend it, export again")
    return np.asarray(shapely.force_2d(geometries))


def _read(batches: Iterator[pa.RecordBatch], path: Path) -> Iterator[pa.RecordBatch]:
    while True:
        with _reading(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise Rejected(f"{path} is not a vector file that can be read: {error}; export it again") from error
