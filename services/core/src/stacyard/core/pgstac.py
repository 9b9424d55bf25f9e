"""What the services know of pgSTAC's tables besides searches: base items, single items, what mosaics and quality ask.

Written against pgSTAC 0.10; a test fails when the schema changes under it. Searches are in the rooms `pgstac_…`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import orjson
import psycopg
from psycopg.rows import TupleRow

from stacyard.core.errors import InvalidRequest, NotFound
from stacyard.core.pgstac_hydration import BaseItem, hydrated, tag_of

Connection = psycopg.Connection[TupleRow]

_BASE_ITEM = "SELECT pgstac.collection_base_item(%s, %s)"

_COLLECTION = "SELECT content FROM pgstac.collections WHERE id = %s"

_ITEM = """
SELECT content || jsonb_build_object(
    'id', id, 'collection', collection, 'type', 'Feature', 'geometry', ST_AsGeoJSON(geometry, 15)::jsonb
)
FROM pgstac.items WHERE collection = %s AND id = %s
"""

_SEARCH = "SELECT search, metadata FROM pgstac.searches WHERE hash = %s"

# within a read-only session this computes the clauses and stores nothing
_CLAUSES = """
SELECT hash, search, _where, orderby, lastused, usecount, metadata FROM pgstac.search_query(%s, _metadata => %s)
"""


@dataclass(frozen=True)
class SearchClauses:
    """A search as pgSTAC understands it. `where` and `orderby` are SQL that pgSTAC wrote, with every value quoted."""

    hash: str
    search: dict[str, Any]
    where: str
    orderby: str
    metadata: dict[str, Any]


class BaseItems:
    """Base items by collection and tag, kept for a minute: a collection that is deleted and made anew has new ones."""

    def __init__(
        self, *, seconds: float = 60.0, limit: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._limit = limit
        self._clock = clock
        self._lock = Lock()
        self._known: dict[tuple[str, int | None], tuple[float, BaseItem]] = {}

    def known(self, collection: str, tag: int | None) -> BaseItem | None:
        """The base item that items of the collection with this tag were dehydrated against, if it is at hand."""
        with self._lock:
            found = self._known.get((collection, tag))
        return found[1] if found is not None and self._clock() - found[0] < self._seconds else None

    def keep(self, collection: str, tag: int | None, document: dict[str, Any] | None) -> BaseItem:
        """Have it at hand from now on, as pgSTAC gives it."""
        base = BaseItem(document)
        with self._lock:
            if len(self._known) >= self._limit:
                self._known.clear()
            self._known[collection, tag] = (self._clock(), base)
        return base

    def clear(self) -> None:
        """Have none at hand."""
        with self._lock:
            self._known.clear()

    def get(self, connection: Connection, collection: str, tag: int | None) -> BaseItem:
        """The base item, which is read if it is not at hand."""
        found = self.known(collection, tag)
        if found is not None:
            return found
        row = connection.execute(_BASE_ITEM, [collection, tag]).fetchone()
        return self.keep(collection, tag, row[0] if row else None)


def read_collection(connection: Connection, collection: str) -> dict[str, Any]:
    """A collection as it is stored.

    Raises:
        NotFound: there is none of this id.
    """
    row = connection.execute(_COLLECTION, [collection]).fetchone()
    if row is None:
        raise NotFound(f"there is no collection {collection!r}")
    content: dict[str, Any] = row[0]
    return content


def read_item(connection: Connection, base_items: BaseItems, collection: str, item: str) -> dict[str, Any]:
    """One whole item, with its geometry.

    Raises:
        NotFound: there is none of this id in the collection.
    """
    row = connection.execute(_ITEM, [collection, item]).fetchone()
    if row is None:
        raise NotFound(f"there is no item {item!r} in collection {collection!r}")
    content: dict[str, Any] = row[0]
    return hydrated(content, base_items.get(connection, collection, tag_of(content)))


def search_clauses(
    connection: Connection, search: dict[str, Any], metadata: dict[str, Any] | None = None
) -> SearchClauses:
    """Let pgSTAC turn a search into SQL clauses. The session must be read-only for pgSTAC, so that nothing is stored.

    Raises:
        InvalidRequest: pgSTAC cannot make sense of the search.
    """
    try:
        row = connection.execute(
            _CLAUSES, [orjson.dumps(search).decode(), orjson.dumps(metadata or {}).decode()]
        ).fetchone()
    except (psycopg.DataError, psycopg.errors.RaiseException) as error:
        reason = error.diag.message_primary or "it cannot be understood"
        raise InvalidRequest(f"this search cannot be made: {reason}") from error
    assert row is not None  # noqa: S101 - the function always returns one row
    return SearchClauses(hash=row[0], search=row[1], where=row[2], orderby=row[3], metadata=row[6])


def registered_search(connection: Connection, search_hash: str) -> SearchClauses:
    """The clauses of a search that was registered before.

    Raises:
        NotFound: no search of this id was registered.
    """
    row = connection.execute(_SEARCH, [search_hash]).fetchone()
    if row is None:
        raise NotFound(f"no search {search_hash!r} is registered; register it by POST to /searches/register")
    return search_clauses(connection, row[0], row[1])


def items_intersecting(
    connection: Connection, base_items: BaseItems, clauses: SearchClauses, geometry: str, limit: int
) -> list[dict[str, Any]]:
    """Items of a search that meet a geometry, in the order of the search, with what a tiler needs of them.

    Args:
        connection: a connection of the reader.
        base_items: the cache of base items.
        clauses: the search.
        geometry: GeoJSON in EPSG:4326.
        limit: how many at the most.

    Returns:
        Dictionaries with `id`, `collection`, `bbox`, `assets` and `footprint` (WKB in EPSG:4326).
    """
    # psycopg reads % as the start of a parameter, pgSTAC writes it in LIKE patterns
    where, orderby = clauses.where.replace("%", "%%"), clauses.orderby.replace("%", "%%")
    statement = f"""
    SELECT id, collection, content->'bbox', content->'assets', content->>'pgstac:base_item', ST_AsBinary(geometry)
    FROM pgstac.items
    WHERE ({where}) AND ST_Intersects(geometry, ST_SetSRID(ST_GeomFromGeoJSON(%s), 4326))
    ORDER BY {orderby} LIMIT %s
    """  # noqa: S608 - both clauses come from pgSTAC, which quotes every value
    rows: Sequence[TupleRow] = connection.execute(statement.encode(), [geometry, limit]).fetchall()
    items = []
    for item, collection, bbox, assets, tag, footprint in rows:
        base = base_items.get(connection, collection, int(tag) if tag is not None else None)
        whole = hydrated({"assets": assets or {}}, BaseItem({"assets": base.document.get("assets", {})}))
        items.append(
            {
                "id": item,
                "collection": collection,
                "bbox": bbox,
                "assets": whole["assets"],
                "footprint": bytes(footprint),
            }
        )
    return items


# shared area over the larger of the two, so that a sliver inside a neighbour's overlap is no second of it
_SHARED_PERCENT = """
100 * ST_Area(ST_Intersection(items.geometry, place.geometry))
    / nullif(greatest(ST_Area(items.geometry), ST_Area(place.geometry)), 0)
"""

_SAME_SCENES = f"""
WITH place AS (SELECT ST_SetSRID(ST_GeomFromGeoJSON(%(geometry)s), 4326) AS geometry)
SELECT items.collection, items.id
FROM pgstac.items AS items, place
WHERE items.collection = ANY (%(collections)s)
    AND (items.collection, items.id) <> (%(collection)s, %(item)s)
    AND items.datetime BETWEEN %(first)s AND %(last)s
    AND (
        items.content->'properties'->>'platform' = %(platform)s
        OR (items.content->'properties'->>'platform' IS NULL OR %(platform)s::text IS NULL)
            AND items.content->'properties'->>'constellation' IS NOT DISTINCT FROM %(constellation)s
    )
    AND ST_Intersects(items.geometry, place.geometry)
    AND {_SHARED_PERCENT} >= %(min_overlap_percent)s
ORDER BY items.collection, items.id
LIMIT %(limit)s
"""  # noqa: S608 - a constant of this module, no value

_SERIES = f"""
WITH place AS (SELECT ST_SetSRID(ST_GeomFromGeoJSON(%(geometry)s), 4326) AS geometry)
SELECT datetime, value
FROM (
    SELECT items.datetime,
        items.content #> %(path)s::text[] AS value,
        items.content #> '{{properties,eo:cloud_cover}}' AS cloud_cover
    FROM pgstac.items AS items, place
    WHERE items.collection = %(collection)s AND items.id <> %(item)s
        AND items.datetime BETWEEN %(first)s AND %(last)s
        AND ST_Intersects(items.geometry, place.geometry)
        AND {_SHARED_PERCENT} >= %(min_overlap_percent)s
) AS seen
WHERE jsonb_typeof(value) = 'number'
    AND (jsonb_typeof(cloud_cover) = 'number' AND cloud_cover <= to_jsonb(%(max_cloud_percent)s::numeric)
        OR cloud_cover IS NULL)
ORDER BY abs(extract(epoch FROM datetime - %(time)s)), datetime
LIMIT %(limit)s
"""  # noqa: S608 - a constant of this module, no value


def same_scenes(
    connection: Connection,
    *,
    collection: str,
    item: str,
    collections: Sequence[str],
    geometry: str,
    time: datetime,
    tolerance: timedelta,
    platform: str | None,
    constellation: str | None,
    min_overlap_percent: float,
    limit: int = 10,
) -> list[str]:
    """Items, as collection/id, of the same platform (constellation where one says none), time and footprint.

    Args:
        connection: of a role that may read.
        collection: of the item that is compared.
        item: its id; the item itself is left out.
        collections: where to look.
        geometry: its footprint, GeoJSON in EPSG:4326.
        time: its datetime.
        tolerance: by which the datetimes may differ.
        platform: its platform.
        constellation: its constellation.
        min_overlap_percent: of the larger footprint's area, in degrees.
        limit: how many at the most.
    """
    parameters = {
        "collection": collection,
        "item": item,
        "collections": list(collections),
        "geometry": geometry,
        "first": time - tolerance,
        "last": time + tolerance,
        "platform": platform,
        "constellation": constellation,
        "min_overlap_percent": min_overlap_percent,
        "limit": limit,
    }
    return [f"{row[0]}/{row[1]}" for row in connection.execute(_SAME_SCENES.encode(), parameters).fetchall()]


def series_of_place(
    connection: Connection,
    *,
    collection: str,
    item: str,
    path: Sequence[str],
    geometry: str,
    time: datetime,
    history: timedelta,
    max_cloud_percent: float,
    min_overlap_percent: float,
    limit: int = 1000,
) -> list[tuple[datetime, float]]:
    """Times and values of a number in the other items of a place, the nearest in time first.

    Args:
        connection: of a role that may read.
        collection: where to look.
        item: the id that is left out.
        path: to the number in an item; nothing that the collection's item assets hold as well.
        geometry: the place, GeoJSON in EPSG:4326.
        time: around which to look.
        history: how far to look to either side.
        max_cloud_percent: items of more `eo:cloud_cover` are left out; those without one are not.
        min_overlap_percent: of the larger footprint's area, in degrees.
        limit: how many at the most.
    """
    parameters = {
        "collection": collection,
        "item": item,
        "path": list(path),
        "geometry": geometry,
        "time": time,
        "first": time - history,
        "last": time + history,
        "max_cloud_percent": max_cloud_percent,
        "min_overlap_percent": min_overlap_percent,
        "limit": limit,
    }
    rows = connection.execute(_SERIES.encode(), parameters).fetchall()
    return [(row[0], float(row[1])) for row in rows]
