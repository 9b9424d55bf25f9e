"""Which items a mosaic is made of, in which order, and when there are enough: one read-only statement a tile.

Stock titiler-pgstac registers a search for each collection and looks items up through a function that makes a temporary
table. Neither is possible on a replica or behind a transaction-mode pooler, so both are replaced here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attr
import shapely
from geojson_pydantic.geometries import Geometry
from morecantile import Tile
from rio_tiler.errors import TileOutsideBounds
from titiler.pgstac.backend import PGSTACBackend
from titiler.pgstac.model import Search

from stacyard.core.database import SyncDatabase
from stacyard.core.pgstac import BaseItems, SearchClauses, items_intersecting


@attr.s
class Mosaic(PGSTACBackend):
    """titiler-pgstac's mosaic backend over search clauses instead of the id of a registered search."""

    input: SearchClauses
    pool: SyncDatabase
    base_items: BaseItems = attr.ib(kw_only=True)

    def assets_for_tile(self, x: int, y: int, z: int, **options: Any) -> list[dict[str, Any]]:
        """Items for a tile of the tile matrix set.

        Raises:
            TileOutsideBounds: the matrix set has no such zoom, or no such row or column at this zoom.
        """
        if not self.tms.is_valid(Tile(x, y, z)):
            raise TileOutsideBounds(
                f"{self.tms.id} has no tile {z}/{x}/{y}: its zooms are {self.tms.minzoom} to {self.tms.maxzoom}, rows "
                f"and columns of zoom z go from 0 to 2^z - 1 in most sets"
            )
        items: list[dict[str, Any]] = super().assets_for_tile(x, y, z, **options)
        return items

    def get_assets(
        self,
        geom: Geometry,
        items_limit: int = 100,
        exitwhenfull: bool = True,
        skipcovered: bool = True,
    ) -> list[dict[str, Any]]:
        """Items of the search that meet a geometry (EPSG:4326), with `id`, `collection`, `bbox` and `assets`.

        Args:
            geom: the tile, bounding box or point.
            items_limit: how many at the most.
            exitwhenfull: stop at the item with which the geometry is covered.
            skipcovered: leave out items that would lie wholly below earlier ones.
        """
        geojson = geom.model_dump_json(exclude_none=True)
        with self.pool.connection() as connection:
            items = items_intersecting(connection, self.base_items, self.input, geojson, items_limit)
        footprints = [shapely.from_wkb(item.pop("footprint")) for item in items]
        target = shapely.from_geojson(geojson)
        chosen = needed(footprints, target, stop_when_full=exitwhenfull, skip_covered=skipcovered)
        return [items[index] for index in chosen]

    def info(self) -> Search:
        """The search as titiler-pgstac describes it."""
        return Search(
            hash=self.input.hash,
            search=self.input.search,
            _where=self.input.where,
            orderby=self.input.orderby,
            lastused=datetime.now(UTC),
            usecount=1,
            metadata=self.input.metadata,
        )


def needed(
    footprints: list[shapely.Geometry], target: shapely.Geometry, *, stop_when_full: bool, skip_covered: bool
) -> list[int]:
    """Which footprints, drawn in order with the first on top, are seen inside the target; their indexes, in order."""
    if shapely.area(target) == 0:
        return list(range(len(footprints)))
    covered: shapely.Geometry = shapely.Polygon()
    chosen = []
    for index, footprint in enumerate(footprints):
        part = shapely.intersection(footprint, target)
        if skip_covered and shapely.covers(covered, part):
            continue
        chosen.append(index)
        covered = shapely.union(covered, part)
        if stop_when_full and shapely.covers(covered, target):
            break
    return chosen
