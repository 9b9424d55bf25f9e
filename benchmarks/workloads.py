"""Tiles that are asked for, by name: of the demo's data, the same of ours and of stock, and when an answer counts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import morecantile
import psycopg

from benchmarks.load import Accepts, Request
from stacyard.core.connection import connect
from stacyard.core.settings import DatabaseSettings

_TILES = morecantile.tms.get("WebMercatorQuad")
Requests = Sequence[Request]


@dataclass(frozen=True)
class Workload:
    """A service, the requests of a round (made from a seed, so that rounds differ and sides do not), and the check."""

    service: str
    requests: Callable[[DatabaseSettings, random.Random], Requests]
    accepts: Accepts
    about: str


def _is_image(status: int, body: bytes) -> bool:
    return status == 200 and len(body) > 500


def _is_tile(status: int, body: bytes) -> bool:
    return status == 200 and len(body) > 0


def _extent(connection: psycopg.Connection[tuple[object, ...]], collection: str) -> tuple[float, float, float, float]:
    row = connection.execute(
        "SELECT ST_XMin(e), ST_YMin(e), ST_XMax(e), ST_YMax(e) "
        "FROM (SELECT ST_Extent(geometry) AS e FROM pgstac.items WHERE collection = %s) AS extent",
        [collection],
    ).fetchone()
    if row is None or row[0] is None:
        raise RuntimeError(f"collection {collection!r} is empty; run ./stacyard demo --once first")
    west, south, east, north = (float(str(value)) for value in row)
    return west, south, east, north


def _mosaic_tiles(database: DatabaseSettings, chance: random.Random) -> Requests:
    with connect(database.url("reader"), application_name="stacyard-bench") as connection:
        west, south, east, north = _extent(connection, "landsat8-paraguay")
    width, height = (east - west) / 4, (north - south) / 4
    tiles = list(_TILES.tiles(west + width, south + height, east - width, north - height, zooms=[11, 12, 13]))
    query = "assets=red&assets=green&assets=blue&rescale=5950,8950&tilesize=256"
    return [
        Request(f"/collections/landsat8-paraguay/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}?{query}")
        for tile in chance.sample(tiles, min(40, len(tiles)))
    ]


def _vector_tiles(database: DatabaseSettings, chance: random.Random) -> Requests:
    with connect(database.url("reader"), application_name="stacyard-bench") as connection:
        points = connection.execute(
            "SELECT ST_X(p), ST_Y(p) FROM (SELECT ST_PointOnSurface(geom) AS p FROM features.parcels "
            "ORDER BY parcel_id) AS points"
        ).fetchall()
    # around a parcel, so that no tile is empty
    tiles = {_TILES.tile(x, y, zoom) for x, y in points for zoom in range(10, 18)}
    return [
        Request(f"/collections/features.parcels/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}")
        for tile in chance.sample(sorted(tiles), min(120, len(tiles)))
    ]


WORKLOADS = {
    "mosaic-tile": Workload("raster", _mosaic_tiles, _is_image, "true-colour tile of two overlapping scenes, no cache"),
    "vector-tile": Workload("vector", _vector_tiles, _is_tile, "tile of the parcels from PostGIS, no cache"),
}
