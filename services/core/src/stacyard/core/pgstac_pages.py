"""A page of items straight from pgSTAC's table: one statement with parameters, which writes nothing.

It knows what a search by place, time, collection and id needs; the order is that of pgSTAC's searches that name none,
or the reverse. A page is found again by the position of an item in that order, whatever came and went meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from stacyard.core.database import AsyncConnection
from stacyard.core.pgstac import BaseItems, hydrated, tag_of

Box = tuple[float, float, float, float]

# digits as pgSTAC writes them
_COLUMNS = "id, collection, datetime, content, ST_AsGeoJSON(geometry, 20)"
_ITEM = f"SELECT {_COLUMNS} FROM pgstac.items WHERE collection = $1 AND id = $2 LIMIT 1"  # noqa: S608 - a constant
_BASE_ITEM = "SELECT pgstac.collection_base_item($1, $2)"
_CONTEXT = "SELECT pgstac.context()"


class Position(NamedTuple):
    """Where an item stands in the order of a search."""

    time: datetime
    collection: str
    item: str


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """Which items, and which of them.

    Args:
        limit: how many at the most.
        collections: one of these; empty: any.
        ids: one of these; None: any.
        boxes: meets one of these: west, south, east, north in degrees, west not greater than east; empty: anywhere.
        geometry: meets this too, GeoJSON in EPSG:4326.
        first: ends then or later.
        last: begins then or before.
        ascending: the oldest first; else the newest.
        start: only what comes behind this in that order; with `backwards` what comes before it, the nearest.
        backwards: see there.
    """

    limit: int
    collections: Sequence[str] = ()
    ids: Sequence[str] | None = None
    boxes: Sequence[Box] = ()
    geometry: str | None = None
    first: datetime | None = None
    last: datetime | None = None
    ascending: bool = False
    start: Position | None = None
    backwards: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """Whole items in the order of the search, the position of each, and whether there are more beyond either end.

    The geometry of an item is a fragment of JSON.
    """

    items: list[dict[str, Any]]
    positions: list[Position]
    more_before: bool
    more_behind: bool


def statement_of(query: PageQuery) -> tuple[str, list[Any]]:
    """SQL and its parameters; it asks for one item more than the page holds, to know whether there are more."""
    values: list[Any] = []

    def value(of: Any, kind: str) -> str:
        values.append(of)
        return f"${len(values)}::{kind}"

    conditions = []
    if query.collections:
        conditions.append(f"collection = ANY ({value(list(query.collections), 'text[]')})")
    if query.ids is not None:
        conditions.append(f"id = ANY ({value(list(query.ids), 'text[]')})")
    if query.last is not None:
        conditions.append(f"datetime <= {value(query.last, 'timestamptz')}")
    if query.first is not None:
        conditions.append(f"end_datetime >= {value(query.first, 'timestamptz')}")
    boxes = [", ".join(value(edge, "float8") for edge in box) for box in query.boxes]
    if boxes:
        conditions.append(f"({' OR '.join(f'ST_Intersects(geometry, ST_MakeEnvelope({box}, 4326))' for box in boxes)})")
    if query.geometry is not None:
        conditions.append(f"ST_Intersects(geometry, ST_GeomFromGeoJSON({value(query.geometry, 'text')}))")
    rising = query.ascending is not query.backwards
    if query.start is not None:
        place = ", ".join(
            value(of, kind) for of, kind in zip(query.start, ("timestamptz", "text", "text"), strict=True)
        )
        conditions.append(f"(datetime, collection, id) {'>' if rising else '<'} ({place})")
    direction = "ASC" if rising else "DESC"
    statement = (
        f"SELECT {_COLUMNS} FROM pgstac.items WHERE {' AND '.join(conditions) or 'true'}"  # noqa: S608 - no value in it
        f" ORDER BY datetime {direction}, collection {direction}, id {direction}"
        f" LIMIT {value(query.limit + 1, 'bigint')}"
    )
    return statement, values


class Counting:
    """Whether pgSTAC was told, by its setting `context`, to count what a search matches; asked once a minute."""

    def __init__(self, *, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._on = False
        self._asked = -math.inf

    async def is_on(self, connection: AsyncConnection) -> bool:
        """Whether answers are to say it, which only pgSTAC's own search does."""
        now = self._clock()
        if now - self._asked >= self._seconds:
            self._on, self._asked = await connection.fetchval(_CONTEXT) != "off", now
        return self._on


async def read_page(connection: AsyncConnection, base_items: BaseItems, query: PageQuery) -> Page:
    """The page.

    Raises:
        asyncpg.PostgresError: the geometry is none that PostGIS can compare with.
    """
    statement, values = statement_of(query)
    rows = await connection.fetch(statement, *values)
    more, rows = len(rows) > query.limit, rows[: query.limit]
    if query.backwards:
        rows.reverse()
    return Page(
        items=[await _whole(connection, base_items, row) for row in rows],
        positions=[Position(row[2], row[1], row[0]) for row in rows],
        # where we came from there is at least what we came from
        more_before=more if query.backwards else query.start is not None,
        more_behind=query.backwards or more,
    )


async def read_one(
    connection: AsyncConnection, base_items: BaseItems, collection: str, item: str
) -> dict[str, Any] | None:
    """A whole item, its geometry a fragment of JSON; None if there is none."""
    row = await connection.fetchrow(_ITEM, collection, item)
    return None if row is None else await _whole(connection, base_items, row)


async def _whole(connection: AsyncConnection, base_items: BaseItems, row: Any) -> dict[str, Any]:
    item, collection, _, content, geometry = row
    tag = tag_of(content)
    base = base_items.known(collection, tag)
    if base is None:
        base = base_items.keep(collection, tag, await connection.fetchval(_BASE_ITEM, collection, tag))
    own = {"id": item, "collection": collection, "geometry": orjson.Fragment(geometry)}
    return {"type": "Feature", **hydrated(content, base), **own}
