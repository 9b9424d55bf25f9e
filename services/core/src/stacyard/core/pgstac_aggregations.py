"""How many items a search means, when they are, and how they fall into buckets: one statement, one pass over them.

Every grouping is a column of the matching rows, and one `GROUPING SETS` counts by each of them: whatever is asked for,
an item is read once, and what the database keeps is a table of buckets for each grouping, on disk if it must.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stacyard.core.database import AsyncConnection
from stacyard.core.pgstac_queryables import Queryable
from stacyard.core.pgstac_where import ItemQuery, where_of
from stacyard.core.statement import Values

#: Buckets of one grouping at the most: those with the most items.
MOST_BUCKETS = 10_000

#: Makes SQL of the bucket that an item falls into, null if it falls into none.
Grouping = Callable[[Values], str]

_SHIFTED = "ST_ShiftLongitude(geometry)"
_WRAPPED = "ST_WrapX(ST_WrapX(ST_Centroid({}), 180, -360), -180, 360)"
# A footprint across the antimeridian is cut there (RFC 7946, section 3.1.9). Its parts are put together again before
# their middle is sought, which would lie on the other side of the globe: that of fewer than 180 degrees is meant. One
# that was not cut and goes on beyond 180 degrees has its middle where it is on the globe.
_CENTRE = f"""
CASE
    WHEN ST_NumGeometries(geometry) > 1
        AND ST_XMax(geometry) - ST_XMin(geometry) > 180
        AND ST_XMax({_SHIFTED}) - ST_XMin({_SHIFTED}) <= 180
    THEN {_WRAPPED.format(_SHIFTED)}
    WHEN ST_XMin(geometry) < -180 OR ST_XMax(geometry) > 180
    THEN {_WRAPPED.format("geometry")}
    ELSE ST_Centroid(geometry)
END
"""
# what is in some other CRS by mistake has no place
_ON_EARTH = "abs(ST_X(centre)) <= 180 AND abs(ST_Y(centre)) <= 90"
# OFFSET keeps the planner from reading the content again for every property; columns nobody asks for are not computed
_MATCHING = """
SELECT collection, datetime, end_datetime, content->'properties' AS properties, {centre} AS centre
FROM pgstac.items WHERE {where} OFFSET 0
"""
_COUNTED = """
SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY kind ORDER BY {order}) AS place FROM (
        SELECT {kind} AS kind, count(*) AS frequency, min(datetime) AS first, max(end_datetime) AS last{names}
        FROM (SELECT datetime, end_datetime{keys} FROM ({matching}) AS matching) AS keyed
        GROUP BY GROUPING SETS (()
        {sets})
    ) AS counted
) AS placed WHERE place <= {most}
"""


@dataclass(frozen=True, kw_only=True)
class Aggregates:
    """What is said of items together.

    Args:
        count: how many there are.
        first: when the first of them begins; None if there are none.
        last: when the last of them ends.
        buckets: for each grouping its buckets and how many items are in each, the most first; items in no bucket, or
            in one beyond the most that are kept, are those that are missing from the sum.
    """

    count: int
    first: datetime | None
    last: datetime | None
    buckets: Mapping[str, Sequence[tuple[Any, int]]]


def by_collection(_: Values) -> str:
    """By collection: its id."""
    return "collection"


def by_interval(unit: str) -> Grouping:
    """By when it begins: the start, in UTC without saying so, of its hour, day, week, month, quarter or year.

    Weeks begin on Mondays.
    """
    return lambda values: f"date_trunc({values.add(unit, 'text')}, datetime AT TIME ZONE 'UTC')"


def by_text(name: str) -> Grouping:
    """By a property that is text; what is none falls into no bucket."""

    def key(values: Values) -> str:
        place = _property(name, values)
        return f"CASE jsonb_typeof({place}) WHEN 'string' THEN {place} #>> '{{}}' END"

    return key


def by_number(name: str) -> Grouping:
    """By a property that is a number, whatever number it is; what is none falls into no bucket."""
    return lambda values: _number(name, values)


def by_range(name: str, edges: Sequence[int]) -> Grouping:
    """By which ranges between these edges a number is in: 0 is below the first, 1 from the first on, and so forth."""
    return lambda values: f"width_bucket({_number(name, values)}, {values.add(list(edges), 'numeric[]')})"


def by_geohash(precision: int) -> Grouping:
    """By the geohash, of so many characters, of the centre of its footprint."""
    return lambda values: f"CASE WHEN {_ON_EARTH} THEN ST_GeoHash(centre, {values.add(precision, 'int')}) END"


def by_tile(zoom: int) -> Grouping:
    """By the tile `zoom/x/y` of the web map (WebMercatorQuad) that the centre of its footprint is in."""

    def key(values: Values) -> str:
        # the poles are beyond the map: they are in its first and last rows
        last = values.add(2**zoom - 1, "float8")
        share = {
            "x": "(ST_X(centre) + 180) / 360",
            "y": "(1 - asinh(tan(radians(ST_Y(centre)))) / pi()) / 2",
        }
        column, row = (f"greatest(0, least({last}, floor({share[axis]} * ({last} + 1))))::bigint" for axis in "xy")
        return f"CASE WHEN {_ON_EARTH} THEN concat_ws('/', {values.add(zoom, 'int')}, {column}, {row}) END"

    return key


async def aggregate_items(
    connection: AsyncConnection,
    query: ItemQuery,
    queryables: Mapping[str, Queryable],
    groupings: Mapping[str, Grouping],
    *,
    most: int = MOST_BUCKETS,
) -> Aggregates:
    """What there is to say of the items that the query means.

    Args:
        connection: of a role whose statements have a time limit.
        query: which items.
        queryables: what the names in it mean.
        groupings: by name, how they are to be counted.
        most: buckets of one grouping.

    Raises:
        InvalidRequest: the query cannot be made.
        asyncpg.QueryCanceledError: it took longer than the role's statements may.
    """
    statement, values = _statement_of(query, queryables, list(groupings.values()), most)
    # GROUPING has a bit for each column, the highest for the first, which is 0 in rows that count by the column
    bits = [2**place for place in reversed(range(len(groupings)))]
    counted = {
        sum(bits) - bit: (name, f"k{place}") for place, (name, bit) in enumerate(zip(groupings, bits, strict=True))
    }
    buckets: dict[str, list[tuple[Any, int]]] = {name: [] for name in groupings}
    count, first, last = 0, None, None
    for row in await connection.fetch(statement, *values):
        if row["kind"] not in counted:
            count, first, last = row["frequency"], row["first"], row["last"]
            continue
        name, column = counted[row["kind"]]
        if row[column] is not None:
            buckets[name].append((row[column], row["frequency"]))
    kept = {name: found[:most] for name, found in buckets.items()}
    return Aggregates(count=count, first=first, last=last, buckets=kept)


def _statement_of(
    query: ItemQuery, queryables: Mapping[str, Queryable], groupings: Sequence[Grouping], most: int
) -> tuple[str, list[Any]]:
    values = Values()
    names = [f"k{place}" for place in range(len(groupings))]
    keys = [f"{grouping(values)} AS {name}" for name, grouping in zip(names, groupings, strict=True)]
    matching = _MATCHING.format(centre=_CENTRE, where=where_of(query, queryables, values))
    statement = _COUNTED.format(
        kind=f"grouping({', '.join(names)})" if names else "0",
        names="".join(f", {name}" for name in names),
        keys="".join(f", {key}" for key in keys),
        sets="".join(f", ({name})" for name in names),
        order=", ".join(["frequency DESC", *names]),
        matching=matching,
        # one more, since items in no bucket are counted too
        most=values.add(most + 1, "bigint"),
    )
    return statement, values.all


def _property(name: str, values: Values) -> str:
    return f"(properties->{values.add(name, 'text')})"


def _number(name: str, values: Values) -> str:
    place = _property(name, values)
    return f"CASE jsonb_typeof({place}) WHEN 'number' THEN {place}::numeric END"
