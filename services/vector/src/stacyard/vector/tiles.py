"""Tiles of features: which there are. tipg makes them today; the statement that replaces its own belongs here."""

from __future__ import annotations

from functools import cache

from fastapi import Request
from morecantile import Tile, TileMatrixSet
from morecantile.defaults import tms as matrix_sets

from stacyard.core.errors import NotFound


async def check_tile(request: Request) -> None:
    """Dependency: let a tile pass that its tile matrix set has.

    Raises:
        NotFound: the matrix set has no such zoom, or no such row or column at this zoom.
    """
    path = request.path_params
    if not {"tileMatrixSetId", "z", "x", "y"} <= path.keys() or path["tileMatrixSetId"] not in matrix_sets.list():
        return
    matrix_set = _matrix_set(path["tileMatrixSetId"])
    z, x, y = path["z"], path["x"], path["y"]
    if all(part.isdigit() for part in (z, x, y)) and not matrix_set.is_valid(Tile(int(x), int(y), int(z))):
        raise NotFound(
            f"{matrix_set.id} has no tile {z}/{x}/{y}: its zooms are {matrix_set.minzoom} to {matrix_set.maxzoom}"
        )


@cache
def _matrix_set(name: str) -> TileMatrixSet:
    """A tile matrix set of morecantile, whose own `get` copies it deeply at each call."""
    return matrix_sets.get(name)
