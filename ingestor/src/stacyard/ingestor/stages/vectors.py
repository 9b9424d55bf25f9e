"""A layer of any vector file that OGR reads becomes a FlatGeobuf with a spatial index, in EPSG:4326.

EPSG:4326 and not the layer's own CRS, because tiles, features and search all ask in degrees, and because the table
that the recipe may name has the same geometry. A layer is held in memory while it is worked on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import Layer as LayerRule
from stacyard.ingestor.recipe import is_identifier
from stacyard.ingestor.stages.footprint import geojson
from stacyard.ingestor.stages.space import space_watched

Array: TypeAlias = NDArray[Any]

#: SQL type and table-extension type by OGR field type; a subtype, where there is one, wins.
_TYPES: Mapping[str, tuple[str, str]] = {
    "OFSTBoolean": ("boolean", "boolean"),
    "OFTInteger": ("integer", "int32"),
    "OFTInteger64": ("bigint", "int64"),
    "OFTReal": ("double precision", "double"),
    "OFTString": ("text", "string"),
    "OFTDate": ("date", "date"),
    "OFTDateTime": ("timestamp with time zone", "datetime"),
}
_RESERVED = ("geom", "geometry", "fid")
_MULTI = {0: "MultiPoint", 1: "MultiLineString", 2: "MultiPolygon"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One attribute: its name, its type in SQL and in the table extension, values, and which of them are missing."""

    name: str
    sql_type: str
    kind: str
    values: Array
    missing: Array


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer ready to be written: the first column is the key; geometries are of one kind, in EPSG:4326.

    `repaired` geometries were invalid; `dropped` features had none, or one that encloses nothing.
    """

    columns: tuple[Column, ...]
    geometries: Array
    geometry_type: str
    repaired: int
    dropped: int

    @property
    def footprint(self) -> Any:
        """GeoJSON that covers all features: their convex hull, or a little box round a lone point or line."""
        hull: Any = shapely.convex_hull(shapely.geometrycollections(self.geometries))
        return geojson(hull if hull.geom_type == "Polygon" else hull.envelope.buffer(1e-5, join_style="mitre"))


def read_layer(path: Path, rule: LayerRule) -> Layer:
    """Read one layer, mend or refuse its geometry, and bring it to EPSG:4326.

    Raises:
        Rejected: the file or layer cannot be read, has no CRS or no feature, has invalid geometry and the rule is to
            reject it, or has a key that is not unique.
    """
    if not path.stat().st_size:
        raise Rejected(f"{path} is empty (0 bytes): copy or export it again")
    try:
        name = _layer_name(path, rule)
        meta, fids, wkb, fields = pyogrio.raw.read(path, layer=name, force_2d=True, return_fids=True)
        geometries = shapely.from_wkb(wkb)
    except (DataSourceError, DataLayerError) as error:
        raise Rejected(f"{path} is not a vector file that OGR can read: {error}; export it again") from error
    except GEOSException as error:
        raise Rejected(f"{path} has a geometry that cannot be read: {error}; mend it and export it again") from error
    geometries, repaired = _valid(geometries, rule, path)
    there = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    if not there.any():
        raise Rejected(f"layer {name!r} of {path} has no feature with a geometry: leave it out, or export it again")
    crs = rule.crs if meta["crs"] is None else meta["crs"]
    geometries = _to_degrees(geometries[there], crs, path)
    geometry_type, geometries = _one_kind(geometries)
    columns = _columns(meta, [values[there] for values in fields], rule, path)
    return Layer(
        columns=_with_key(columns, len(fids[there]), rule, path),
        geometries=geometries,
        geometry_type=geometry_type,
        repaired=repaired,
        dropped=int(np.count_nonzero(~there)),
    )


def to_flatgeobuf(layer: Layer, target: Path, *, name: str) -> None:
    """Write a layer as FlatGeobuf with its spatial index.

    Raises:
        OutOfSpace: the target's disk is full.
    """
    try:
        with space_watched(target.parent):
            pyogrio.raw.write(
                target,
                shapely.to_wkb(layer.geometries),
                [_writable(column) for column in layer.columns],
                [column.name for column in layer.columns],
                field_mask=[column.missing for column in layer.columns],
                layer=name,
                driver="FlatGeobuf",
                geometry_type=layer.geometry_type,
                crs="EPSG:4326",
                layer_options={"SPATIAL_INDEX": "YES"},
            )
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _layer_name(path: Path, rule: LayerRule) -> str:
    names = [str(name) for name, _ in pyogrio.list_layers(path)]
    if rule.layer is None and len(names) == 1:
        return names[0]
    if rule.layer is None:
        raise Rejected(f"{path} has the layers {', '.join(names)}: name one with `layer:` in the recipe")
    if rule.layer not in names:
        raise Rejected(f"layer {rule.layer!r} is not in {path}, which has {', '.join(names)}: change `layer:`")
    return rule.layer


def _valid(geometries: Array, rule: LayerRule, path: Path) -> tuple[Array, int]:
    bad = np.flatnonzero(~shapely.is_valid(geometries) & ~shapely.is_missing(geometries))
    if bad.size and rule.geometry == "reject":
        reason = shapely.is_valid_reason(geometries[bad[0]])
        raise Rejected(
            f"{path} has {bad.size} invalid geometries, the first: {reason}; mend it or use geometry: repair"
        )
    mended = geometries.copy()
    for index in bad:
        mended[index] = _repaired(geometries[index])
    return mended, int(np.count_nonzero(~shapely.is_missing(mended[bad])))


def _repaired(geometry: BaseGeometry) -> BaseGeometry | None:
    """A valid geometry of the same dimension, without what collapses to lines or points; None if all of it does."""
    mended = shapely.make_valid(geometry)
    dimension = shapely.get_dimensions(geometry)
    parts = [part for part in shapely.get_parts(mended) if shapely.get_dimensions(part) == dimension]
    flat = [piece for part in parts for piece in shapely.get_parts(part)]
    return shapely.union_all(flat) if flat else None


def _to_degrees(geometries: Array, crs: str | None, path: Path) -> Array:
    if crs is None:
        raise Rejected(f"{path} has no coordinate reference system: give `crs:` in the recipe's layer")
    try:
        source = CRS.from_user_input(crs)
        if source == CRS.from_epsg(4326):
            return geometries

        def place(xy: Array) -> Array:
            x, y = transform(source, "EPSG:4326", xy[:, 0], xy[:, 1])[:2]
            return np.column_stack([x, y])

        placed: Array = shapely.transform(geometries, place)
    except (CRSError, RasterioError) as error:
        raise Rejected(f"{path} cannot be brought to EPSG:4326 from {crs}: {error}") from error
    if not np.isfinite(shapely.bounds(placed)).all():
        raise Rejected(f"{path} has coordinates outside of its coordinate reference system {crs}: see that it is right")
    return placed


def _one_kind(geometries: Array) -> tuple[str, Array]:
    dimensions = set(shapely.get_dimensions(geometries).tolist())
    if (shapely.get_type_id(geometries) == shapely.GeometryType.POINT).all():
        return "Point", geometries
    collections = shapely.get_type_id(geometries) == shapely.GeometryType.GEOMETRYCOLLECTION
    if len(dimensions) > 1 or collections.any():
        return "Unknown", geometries
    dimension = dimensions.pop()
    make: Any = {0: shapely.multipoints, 1: shapely.multilinestrings, 2: shapely.multipolygons}[dimension]
    single = shapely.get_type_id(geometries) < shapely.GeometryType.MULTIPOINT
    many = geometries.copy()
    for index in np.flatnonzero(single):
        many[index] = make([geometries[index]])
    return _MULTI[dimension], many


def _columns(meta: Mapping[str, Any], fields: list[Array], rule: LayerRule, path: Path) -> list[Column]:
    unknown = sorted(set(rule.rename) - set(meta["fields"].tolist()))
    if unknown:
        raise Rejected(f"{path} has no column {unknown[0]!r} to rename; it has {', '.join(meta['fields'])}")
    columns = []
    for source, kind, subtype, values in zip(
        meta["fields"], meta["ogr_types"], meta["ogr_subtypes"], fields, strict=True
    ):
        known = _TYPES.get(subtype) or _TYPES.get(kind)
        if known is None:
            raise Rejected(f"{path}: column {source!r} is of type {kind}, which no table can hold; leave it out")
        name = rule.rename.get(source, _plain_name(source))
        missing = np.array([value is None for value in values]) if values.dtype == object else _not_known(values)
        columns.append(Column(name=name, sql_type=known[0], kind=known[1], values=values, missing=missing))
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Rejected(f"{path} would have two columns {twice[0]!r}: tell them apart with `rename:`")
    return columns


def _plain_name(source: str) -> str:
    name = re.sub(r"[^a-z0-9_]+", "_", source.lower()).strip("_")[:60] or "column"
    name = f"c_{name}" if name[0].isdigit() else name
    return f"{name}_" if name in _RESERVED or not is_identifier(name) else name


def _not_known(values: Array) -> Array:
    kind = values.dtype.kind
    return np.isnat(values) if kind == "M" else np.isnan(values) if kind == "f" else np.zeros(len(values), dtype=bool)


def _with_key(columns: list[Column], count: int, rule: LayerRule, path: Path) -> tuple[Column, ...]:
    if rule.id_column is None:
        name = "id" if all(column.name != "id" for column in columns) else "stacyard_id"
        numbers = np.arange(1, count + 1)
        key = Column(name=name, sql_type="bigint", kind="int64", values=numbers, missing=np.zeros(count, dtype=bool))
        return (key, *columns)
    wanted = rule.rename.get(rule.id_column, _plain_name(rule.id_column))
    found = next((column for column in columns if column.name == wanted), None)
    if found is None:
        names = ", ".join(column.name for column in columns)
        raise Rejected(f"{path} has no column {rule.id_column!r} for id_column; it has {names}")
    if found.missing.any():
        raise Rejected(
            f"{path}: id_column {rule.id_column!r} is empty in some features; choose another or leave it out"
        )
    values, counts = np.unique(found.values, return_counts=True)
    if (counts > 1).any():
        first = int(np.argmax(counts > 1))
        raise Rejected(
            f"{path}: id_column {rule.id_column!r} is not unique, {values[first]} comes {counts[first]} times; "
            "choose another or leave it out"
        )
    return (found, *(column for column in columns if column is not found))


def _writable(column: Column) -> Array:
    """Values as the file format wants them: whole numbers that came as floats only because some are missing."""
    values = column.values
    if column.kind in ("int32", "int64") and values.dtype.kind == "f":
        return np.where(column.missing, 0, values).astype(column.kind)
    if column.kind == "boolean":
        return np.where(column.missing, False, values).astype(bool)
    if column.kind == "date":
        return values.astype("datetime64[D]")
    return values
