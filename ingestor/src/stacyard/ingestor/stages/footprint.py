"""Where a raster has data: a small polygon in EPSG:4326 that leaves no valid pixel out."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import shapely
import shapely.affinity
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.features import shapes
from rasterio.warp import transform as warp
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from stacyard.ingestor.errors import Rejected

Bbox: TypeAlias = tuple[float, float, float, float]

_MANY_PARTS = 32
_SMALL_HOLE = 0.01
_POINTS_A_SIDE = 8
_DECIMALS = 7
# a ring of fewer, its first repeated at its end, has no area
_LEAST_POINTS = 4


def footprint(coarse: NDArray[np.bool_], factor: int, size: tuple[int, int], transform: Affine, crs: CRS) -> Any:
    """The outline of valid data as GeoJSON in EPSG:4326, outer rings counter-clockwise; None if there is none.

    Args:
        coarse: shape (rows, columns): whether any pixel of a square of `factor` x `factor` pixels is valid.
        factor: pixels a side of such a square.
        size: height and width of the raster in pixels.
        transform: from pixels to `crs`.
        crs: of the raster.

    Raises:
        Rejected: the CRS cannot say where on Earth the outline lies.
    """
    if not coarse.any():
        return None
    height, width = size
    outline: BaseGeometry = shapely.box(0, 0, width, height)
    if not coarse.all():
        cells = [shape(cell) for cell, value in shapes(coarse.astype("uint8"), coarse, transform=Affine.scale(factor))]
        # grown before it is simplified, so that what simplifying cuts off holds no data
        grown = shapely.union_all(cells).buffer(factor, join_style="mitre")
        outline = _without_small_holes(grown.simplify(factor)).intersection(outline)
        if shapely.get_num_geometries(outline) > _MANY_PARTS:
            outline = outline.convex_hull
    # a straight edge in the raster's CRS is a curve in degrees: points between its ends follow it
    outline = shapely.segmentize(outline, max(width, height) / _POINTS_A_SIDE)
    return geojson(_on_earth(outline, transform, crs))


def geojson(geometry: BaseGeometry) -> Any:
    """A geometry in degrees as GeoJSON: valid, rounded to 1e-7 degrees (1 cm), outer rings counter-clockwise."""
    rounded = shapely.set_precision(shapely.force_2d(geometry), 10**-_DECIMALS)
    oriented = shapely.orient_polygons(rounded, exterior_cw=False)
    return _lists(mapping(oriented))


def bbox_of(geometry: Any) -> Bbox:
    """West, south, east, north of a GeoJSON geometry; west is greater than east if it crosses the antimeridian."""
    parsed = shape(geometry)
    west, south, east, north = (round(value, _DECIMALS) for value in parsed.bounds)
    parts = list(getattr(parsed, "geoms", [parsed]))
    if west <= -180 + 1e-6 and east >= 180 - 1e-6 and len(parts) > 1:
        eastern = [part.bounds[0] for part in parts if part.bounds[0] > 0]
        western = [part.bounds[2] for part in parts if part.bounds[2] < 0]
        if eastern and western and len(eastern) + len(western) == len(parts):
            return min(eastern), south, max(western), north
    return west, south, east, north


def _on_earth(outline: BaseGeometry, transform: Affine, crs: CRS) -> BaseGeometry:
    """An outline in pixels as degrees, cut at the antimeridian as RFC 7946, section 3.1.9, asks for."""
    placed = []
    for part in getattr(outline, "geoms", [outline]):
        exterior = _ring(part.exterior, transform, crs)
        holes = [_ring(ring, transform, crs) for ring in part.interiors]
        polygon = shapely.make_valid(shapely.Polygon(exterior), method="structure", keep_collapsed=False)
        for hole in holes:
            # a hole may have been followed from another side of the antimeridian than its polygon
            empty = shapely.make_valid(shapely.Polygon(hole))
            polygon = polygon.difference(shapely.union_all([_turned(empty, turn) for turn in (-360, 0, 360)]))
        placed.append(polygon)
    whole = shapely.union_all(placed)
    world = shapely.box(-180, -90, 180, 90)
    turns = (-720, -360, 0, 360, 720)
    pieces = [piece for turn in turns for piece in _polygons(_turned(whole, turn).intersection(world))]
    if not pieces:
        raise Rejected("its footprint has no area on Earth: see that its CRS and its georeference are right")
    return shapely.union_all(pieces)


def _ring(ring: BaseGeometry, transform: Affine, crs: CRS) -> NDArray[np.float64]:
    """A ring in pixels as degrees, shape (points, 2), followed without a jump, so that longitudes may pass 180.

    A ring around a pole does not come back to where it began; it is closed along the pole.
    """
    columns, rows = shapely.get_coordinates(ring).T
    x = transform.a * columns + transform.b * rows + transform.c
    y = transform.d * columns + transform.e * rows + transform.f
    degrees = _degrees(crs, x, y)
    degrees = degrees[np.isfinite(degrees).all(axis=1)]
    if len(degrees) < _LEAST_POINTS:
        raise Rejected(f"its footprint lies where {crs.to_string()[:60]} knows no place on Earth: give the right CRS")
    longitudes, latitudes = np.unwrap(degrees[:, 0], period=360), degrees[:, 1].clip(-90, 90)
    if abs(longitudes[-1] - longitudes[0]) > 180:
        pole = np.copysign(90.0, latitudes.mean())
        longitudes = np.append(longitudes, [longitudes[-1], longitudes[0], longitudes[0]])
        latitudes = np.append(latitudes, [pole, pole, latitudes[0]])
    return np.column_stack([longitudes, latitudes])


def _degrees(crs: CRS, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes and latitudes, shape (points, 2); infinite where the CRS knows no place, as beside a full disk."""
    try:
        return np.column_stack(warp(crs, "EPSG:4326", x, y))
    except CPLE_BaseError:
        # GDAL says no more than that one of them failed
        return np.array([_point(crs, *point) for point in zip(x, y, strict=True)])


def _point(crs: CRS, x: float, y: float) -> tuple[float, float]:
    try:
        [longitude], [latitude] = warp(crs, "EPSG:4326", [x], [y])
    except CPLE_BaseError:
        return np.inf, np.inf
    return longitude, latitude


def _turned(geometry: BaseGeometry, degrees: int) -> BaseGeometry:
    """The same place on Earth, by other longitudes."""
    moved: BaseGeometry = shapely.affinity.translate(geometry, xoff=degrees)
    return moved


def _polygons(geometry: BaseGeometry) -> list[BaseGeometry]:
    return [part for part in getattr(geometry, "geoms", [geometry]) if part.geom_type == "Polygon" and part.area > 0]


def _without_small_holes(geometry: BaseGeometry) -> BaseGeometry:
    parts = []
    for part in getattr(geometry, "geoms", [geometry]):
        holes = [ring for ring in part.interiors if shapely.Polygon(ring).area > _SMALL_HOLE * part.area]
        parts.append(shapely.Polygon(part.exterior, holes))
    return shapely.union_all(parts)


def _lists(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _lists(value) for key, value in document.items()}
    if isinstance(document, tuple | list):
        return [_lists(value) for value in document]
    return round(document, _DECIMALS) if isinstance(document, float) else document
