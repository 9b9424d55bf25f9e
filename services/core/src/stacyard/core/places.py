"""Places of a search as PostGIS knows them, in EPSG:4326, right across the antimeridian."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import orjson

from stacyard.core.errors import InvalidRequest
from stacyard.core.statement import Values

Box = tuple[float, float, float, float]

# how many lists are around a position, how many positions the innermost holds at least, and whether it is a ring
_LEVELS = {
    "Point": (0, 1, False),
    "MultiPoint": (1, 1, False),
    "LineString": (1, 2, False),
    "MultiLineString": (2, 2, False),
    "Polygon": (2, 4, True),
    "MultiPolygon": (3, 4, True),
}
_DEEPEST_COLLECTION = 4
# once around to either side: enough for what was drawn on a map that repeats
_FARTHEST = 540.0


def boxes_of(bbox: Sequence[float]) -> list[Box]:
    """The boxes, west never greater than east, that a bbox of 4 or 6 numbers is made of: two across the antimeridian.

    Heights do not matter: footprints have none.

    Raises:
        InvalidRequest: it is no such box.
    """
    if len(bbox) not in (4, 6) or any(isinstance(edge, bool) or not isinstance(edge, int | float) for edge in bbox):
        raise InvalidRequest(f"a bbox has 4 or 6 numbers, this one has {len(bbox)}", parameter="bbox")
    west, south, east, north = (float(bbox[place]) for place in (0, 1, len(bbox) // 2, len(bbox) // 2 + 1))
    if not (-180 <= west <= 180 and -180 <= east <= 180):
        raise InvalidRequest(f"longitudes are from -180 to 180, these are {west} and {east}", parameter="bbox")
    if not (-90 <= south <= north <= 90):
        raise InvalidRequest(
            f"latitudes are from -90 to 90, south first; these are {south} and {north}", parameter="bbox"
        )
    if west > east:
        return [(west, south, 180.0, north), (-180.0, south, east, north)]
    return [(west, south, east, north)]


def envelope(box: Box, values: Values) -> str:
    """SQL of a box."""
    return f"ST_MakeEnvelope({', '.join(values.add(edge, 'float8') for edge in box)}, 4326)"


def meets_any(boxes: Sequence[Box], values: Values) -> str:
    """SQL that is true where the column `geometry` meets one of the boxes."""
    return f"({' OR '.join(f'ST_Intersects(geometry, {envelope(box, values)})' for box in boxes)})"


def box_of(bbox: Sequence[float], values: Values) -> str:
    """SQL of a bbox as one geometry.

    Raises:
        InvalidRequest: it is none.
    """
    parts = [envelope(box, values) for box in boxes_of(bbox)]
    return parts[0] if len(parts) == 1 else f"ST_Collect({', '.join(parts)})"


def place_of(geometry: Mapping[str, Any], values: Values) -> str:
    """SQL of a GeoJSON geometry. What lies beyond ±180 degrees is taken to where it is on the globe.

    Raises:
        InvalidRequest: it is no geometry.
    """
    positions = positions_of(geometry)
    if not positions:
        raise _invalid("the geometry has no coordinates")
    # nothing else, above all no CRS of its own
    plain = {name: geometry[name] for name in ("type", "coordinates", "geometries") if name in geometry}
    place = f"ST_GeomFromGeoJSON({values.add(orjson.dumps(plain).decode(), 'text')})"
    if all(abs(longitude) <= 180 for longitude, _ in positions):
        return place
    return f"ST_WrapX(ST_WrapX({place}, 180, -360), -180, 360)"


def positions_of(geometry: Mapping[str, Any]) -> list[tuple[float, float]]:
    """All positions of a GeoJSON geometry, longitude and latitude in degrees.

    Raises:
        InvalidRequest: it is none that RFC 7946, section 3.1, knows.
    """
    found: list[tuple[float, float]] = []
    waiting: list[tuple[int, Any]] = [(0, geometry)]
    while waiting:
        depth, part = waiting.pop()
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "GeometryCollection" and isinstance(part.get("geometries"), list) and depth < _DEEPEST_COLLECTION:
            waiting.extend((depth + 1, member) for member in part["geometries"])
        elif isinstance(kind, str) and kind in _LEVELS:
            found += _positions(part.get("coordinates"), *_LEVELS[kind])
        else:
            raise _invalid("a geometry has a type of GeoJSON's, such as Polygon, and coordinates")
    return found


def _positions(coordinates: Any, levels: int, fewest: int, closed: bool) -> list[tuple[float, float]]:
    """Positions so many lists deep; the innermost lists have at least so many, and are rings if closed."""
    if not isinstance(coordinates, list):
        raise _invalid("coordinates are lists of numbers, or lists of such lists, as the geometry's type says")
    if levels == 0:
        return [_position(coordinates)]
    if levels > 1:
        return [each for part in coordinates for each in _positions(part, levels - 1, fewest, closed)]
    if len(coordinates) < fewest:
        raise _invalid(f"a line has at least 2 positions and a ring 4; here is one of {len(coordinates)}")
    if closed and coordinates[0] != coordinates[-1]:
        raise _invalid("a ring of a polygon ends where it begins; here is one that does not")
    return [_position(each) for each in coordinates]


def _position(numbers: Any) -> tuple[float, float]:
    if (
        not isinstance(numbers, list)
        or not 2 <= len(numbers) <= 4
        or any(isinstance(each, bool) or not isinstance(each, int | float) or not isfinite(each) for each in numbers)
    ):
        raise _invalid("a position is longitude and latitude in degrees, and perhaps a height")
    longitude, latitude = numbers[:2]
    if abs(longitude) > _FARTHEST or abs(latitude) > 90:
        raise _invalid(f"longitudes are from -180 to 180 and latitudes from -90 to 90; here is {longitude}, {latitude}")
    return longitude, latitude


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest(reason, parameter="intersects")
