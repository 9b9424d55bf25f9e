"""All that the services know of pgSTAC's tables: how items lie in them, and how they become whole again.

pgSTAC stores an item without what it shares with its collection's base item ("dehydrated"). Which base item that was
stands in `content->>'pgstac:base_item'`; without it, it is the collection's oldest. Written against pgSTAC 0.10; a test
fails when the schema changes under it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import orjson
import psycopg
from hydraters import hydrate
from psycopg.rows import TupleRow

from stacyard.core.errors import InvalidRequest, NotFound

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
        self._known: dict[tuple[str, int | None], tuple[float, dict[str, Any]]] = {}

    def get(self, connection: Connection, collection: str, tag: int | None) -> dict[str, Any]:
        """The base item that items of the collection with this tag were dehydrated against."""
        key = (collection, tag)
        with self._lock:
            found = self._known.get(key)
        if found is not None and self._clock() - found[0] < self._seconds:
            return found[1]
        row = connection.execute(_BASE_ITEM, [collection, tag]).fetchone()
        base: dict[str, Any] = {k: v for k, v in ((row and row[0]) or {}).items() if v is not None}
        with self._lock:
            if len(self._known) >= self._limit:
                self._known.clear()
            self._known[key] = (self._clock(), base)
        return base


def hydrated(content: dict[str, Any], base_item: dict[str, Any]) -> dict[str, Any]:
    """The whole item from its stored content and its base item."""
    content.pop("pgstac:base_item", None)
    whole: dict[str, Any] = hydrate(base_item, content, strip_unmatched_markers=True)
    return whole


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


def tag_of(content: dict[str, Any]) -> int | None:
    """Which of its collection's base items an item was dehydrated against; None for the oldest."""
    tag = content.get("pgstac:base_item")
    return int(tag) if tag is not None else None


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
        whole = hydrated({"assets": assets or {}}, {"assets": base.get("assets", {})})
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
