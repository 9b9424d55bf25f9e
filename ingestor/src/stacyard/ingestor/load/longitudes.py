"""The smallest interval of longitudes that holds what a collection covers, where that lies across the antimeridian."""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

from stacyard.ingestor.session import Connection

Interval = tuple[float, float]

#: Gaps that are narrower, in degrees, may not be seen.
NARROWEST_GAP = 1.0

# so many items of a collection of the whole world leave no gap, and no others need be looked at
_SAMPLE = 20_000

# what begins within the same degree is made one: these are 361 at the most, however many the items are, and no gap of a
# degree is lost, since it lies between what begins in different ones
_COVERED: LiteralString = """
SELECT min(west), max(east) FROM (
    SELECT ST_XMin(part.geom) AS west, ST_XMax(part.geom) AS east
    FROM (SELECT geometry FROM pgstac.items WHERE collection = %(collection)s LIMIT %(limit)s) AS item,
        ST_Dump(item.geometry) AS part
) AS parts GROUP BY floor(west)
"""


def find_across(connection: Connection, collection: str, whole: Interval) -> Interval | None:
    """The smallest interval that holds all items of a collection, if it lies across the antimeridian: west > east.

    Args:
        connection: within one transaction that sees one moment.
        collection: which has items.
        whole: the least and the greatest longitude of its items, in degrees.

    Returns:
        West and east in degrees; None if `whole` is no larger, or there is no gap of `NARROWEST_GAP` in it.
    """
    ends = [(degrees, degrees) for degrees in whole]
    across = None
    for limit in (_SAMPLE, None):
        covered = connection.execute(_COVERED, {"collection": collection, "limit": limit}).fetchall()
        across = across_antimeridian([*ends, *((row[0], row[1]) for row in covered)])
        # what is covered by some is covered by all
        if across is None:
            break
    return across


def across_antimeridian(covered: Iterable[Interval]) -> Interval | None:
    """The smallest interval that holds all of these, if it lies across the antimeridian, as `find_across` gives it.

    `covered` are intervals in degrees from -180 to 180, at least one, and none of them across the antimeridian.
    """
    ordered = sorted(covered)
    leftmost, reached = ordered[0]
    smallest, widest = None, NARROWEST_GAP
    for west, east in ordered[1:]:
        if west - reached >= widest:
            smallest, widest = (west, reached), west - reached
        reached = max(reached, east)
    return smallest if widest > leftmost + 360 - reached else None
