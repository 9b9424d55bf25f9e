"""Geometries of one batch, as arrays: valid, in EPSG:4326, of one family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform
from shapely import GeometryType
from shapely.geometry.base import BaseGeometry

Array: TypeAlias = NDArray[Any]

# degrees; what rounding may add at the edge of the world
_EDGE = 1e-6
_SAME_DEGREES = ("EPSG:4326", "OGC:CRS84")
_LITTLE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """Valid geometries in EPSG:4326, None where there is none; `repaired` says which of them were not as they are."""

    geometries: Array
    repaired: NDArray[np.bool_]


def invalid(geometries: Array) -> NDArray[np.bool_]:
    """Which geometries break the rules of OGC Simple Features; one that is missing breaks none."""
    return ~(shapely.is_valid(geometries) | shapely.is_missing(geometries))


def clean(geometries: Array, crs: CRS) -> Cleaned:
    """Mend what is invalid, bring all to EPSG:4326, and mend what became invalid on the way.

    Raises:
        ValueError: a place is nowhere on earth, or the CRS cannot be transformed.
    """
    repaired = invalid(geometries)
    placed = _to_degrees(_with_mended(geometries, repaired), crs)
    broken = invalid(placed)
    whole = _with_mended(placed, broken)
    kept = ~(shapely.is_missing(whole) | shapely.is_empty(whole))
    whole[~kept] = None
    return Cleaned(geometries=_as_multi(whole), repaired=(repaired | broken) & kept)


def family(types: set[int]) -> str:
    """The geometry type of a layer whose features are of these types (ids of GEOS), as OGR and PostGIS name it.

    Lines and polygons count as their multi-part types, as `clean` gives them.
    """
    if types == {GeometryType.POINT}:
        return "Point"
    if types <= {GeometryType.POINT, GeometryType.MULTIPOINT}:
        return "MultiPoint"
    if types == {GeometryType.MULTILINESTRING}:
        return "MultiLineString"
    return "MultiPolygon" if types == {GeometryType.MULTIPOLYGON} else "Unknown"


def multi_points(geometries: Array) -> Array:
    """Points as multi-points; a layer has one type, and others of it have several points."""
    single = shapely.get_type_id(geometries) == GeometryType.POINT
    many = geometries.copy()
    many[single] = shapely.multipoints(geometries[single], indices=np.arange(np.count_nonzero(single)))
    return many


def grown_hull(hull: BaseGeometry | None, geometries: Array) -> BaseGeometry:
    """The convex hull of what was covered before and these geometries."""
    covered = [*([] if hull is None else [hull]), *geometries]
    grown: BaseGeometry = shapely.convex_hull(shapely.geometrycollections(covered))
    return grown


def as_area(hull: BaseGeometry) -> BaseGeometry:
    """A hull as a polygon: of a lone point or straight line, a little box of some metres around it."""
    if hull.geom_type == "Polygon":
        return hull
    box = hull.envelope.buffer(_LITTLE, join_style="mitre")
    return shapely.intersection(box, shapely.box(-180, -90, 180, 90))


def _with_mended(geometries: Array, bad: NDArray[np.bool_]) -> Array:
    whole = geometries.copy()
    if bad.any():
        whole[bad] = _mended(geometries[bad])
    return whole


def _mended(geometries: Array) -> Array:
    """Valid geometries of the same dimension, without what collapses to lines or points; None if all of it does."""
    coordinates, owner = shapely.get_coordinates(geometries, return_index=True)
    nowhere = np.unique(owner[~np.isfinite(coordinates).all(axis=1)])
    geometries = geometries.copy()
    geometries[nowhere] = None
    dimension = shapely.get_dimensions(geometries)
    parts, owner = shapely.get_parts(shapely.make_valid(geometries), return_index=True)
    # a collection may hold a multi-part geometry
    parts, inner = shapely.get_parts(parts, return_index=True)
    owner = owner[inner]
    kept = shapely.get_dimensions(parts) == dimension[owner]
    parts, owner = parts[kept], owner[kept]
    whole = np.full(len(geometries), None, dtype=object)
    owners, starts = np.unique(owner, return_index=True)
    for place, group in zip(owners, np.split(parts, starts[1:]), strict=False):
        whole[place] = shapely.union_all(group)
    return whole


def _to_degrees(geometries: Array, crs: CRS) -> Array:
    placed = geometries
    if not any(crs == CRS.from_user_input(same) for same in _SAME_DEGREES):
        placed = np.asarray(shapely.transform(geometries, lambda xy: _transformed(xy, crs)))
    west, south, east, north = shapely.total_bounds(placed)
    # without any geometry all are NaN
    if west < -180 - _EDGE or south < -90 - _EDGE or east > 180 + _EDGE or north > 90 + _EDGE:
        raise ValueError(f"they would reach from {west:.6g}, {south:.6g} to {east:.6g}, {north:.6g} degrees")
    return placed


def _transformed(xy: Array, crs: CRS) -> Array:
    x, y = transform(crs, "EPSG:4326", xy[:, 0], xy[:, 1])[:2]
    placed = np.column_stack([x, y])
    if not np.isfinite(placed).all():
        first = int(np.argmax(~np.isfinite(placed).all(axis=1)))
        raise ValueError(f"{xy[first, 0]:.10g}, {xy[first, 1]:.10g} is outside of it")
    return placed


def _as_multi(geometries: Array) -> Array:
    many = geometries.copy()
    types = shapely.get_type_id(geometries)
    for single, make in (
        (GeometryType.LINESTRING, shapely.multilinestrings),
        (GeometryType.POLYGON, shapely.multipolygons),
    ):
        which = types == single
        many[which] = make(geometries[which], indices=np.arange(np.count_nonzero(which)))
    return many
