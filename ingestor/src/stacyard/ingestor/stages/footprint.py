"""Where a raster has data: a small polygon in EPSG:4326 that leaves no valid pixel out."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import shapes
from rasterio.warp import transform_geom
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

Bbox: TypeAlias = tuple[float, float, float, float]

_MANY_PARTS = 32
_SMALL_HOLE = 0.01
_POINTS_A_SIDE = 8
_DECIMALS = 7


def footprint(coarse: NDArray[np.bool_], factor: int, size: tuple[int, int], transform: Affine, crs: CRS) -> Any:
    """The outline of valid data as GeoJSON in EPSG:4326, outer rings counter-clockwise; None if there is none.

    Args:
        coarse: shape (rows, columns): whether any pixel of a square of `factor` x `factor` pixels is valid.
        factor: pixels a side of such a square.
        size: height and width of the raster in pixels.
        transform: from pixels to `crs`.
        crs: of the raster.
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
    placed = shapely.transform(outline, lambda xy: _place(transform, xy))
    return geojson(shape(transform_geom(crs, "EPSG:4326", mapping(placed), precision=_DECIMALS)))


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


def _place(transform: Affine, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    columns, rows = xy[:, 0], xy[:, 1]
    return np.column_stack(
        [
            transform.a * columns + transform.b * rows + transform.c,
            transform.d * columns + transform.e * rows + transform.f,
        ]
    )


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
